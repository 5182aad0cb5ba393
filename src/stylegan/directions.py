"""Editing directions: kept in a file, applied to w, shown as strips of pictures; `finders` finds them.

In a traditional generator without mapping layers w is the normalized z, and directions are those of Z.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from stylegan import weights
from stylegan.classifiers.model import AttributeClassifiers
from stylegan.errors import InputError
from stylegan.files import read_tensors, write_tensors
from stylegan.images import contact_sheet, labeled_table, save_image
from stylegan.metrics.stream import to_channels
from stylegan.networks.generator import Generator, NoiseInput
from stylegan.recipe import Recipe, resolve, seeds_of
from stylegan.sampling import draw, noise_of_seeds, save_latents
from stylegan.weights import PRETRAINED, check_fingerprint

KIND = "stylegan-directions"  # of the file
FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class Directions:
    """D directions in the W of one model. The tensors are float32, on the CPU."""

    names: tuple[str, ...]
    vectors: Tensor  # [D, w_dim] of length 1
    scales: Tensor  # [D] standard deviation of w along each; strengths count in it
    offsets: Tensor  # [D] vector . w + offset is 0 on the hyperplane, or in the middle of W where there is none
    method: str
    """How they were found: svm, labels, text, pca, sefa or import."""
    model: str = ""
    """Name of the model."""
    layers: tuple[int, ...] = ()
    """The layers whose styles they were found in, and which they change unless others are chosen; () for all."""
    fingerprint: str = ""
    """Of the generator they were found for, see `weights.fingerprint`; empty where that is not known."""

    def step(self, name: str, hold: Sequence[str] = ()) -> Tensor:
        """The change of w [w_dim] of strength 1: one standard deviation along a direction.

        hold: names of directions that must not be changed, see `orthogonalized`. Raises InputError for unknown names.
        """
        vector = self.vectors[self.index(name)]
        if hold:
            vector = orthogonalized(vector, self.vectors[[self.index(other) for other in hold]])
        return vector * self.scales[self.index(name)]

    def index(self, name: str) -> int:
        if name not in self.names:
            raise InputError(f"there is no direction {name}; the file has {', '.join(self.names)}")
        return self.names.index(name)


def renamed(directions: Directions, names: Sequence[str]) -> Directions:
    """The same directions by other names."""
    return replace(directions, names=tuple(names))


# --- applying them


@dataclass(frozen=True, eq=False)
class Edited:
    """N edited images."""

    before: Tensor  # uint8 [N, C, H, W]
    images: Tensor  # uint8 [N, C, H, W]
    w: Tensor  # [N, num_layers, w_dim]
    noise: NoiseInput  # the planes of both, as `generator.synthesis` takes them


def edit(
    model: Generator | Path | str,
    directions: Directions | Path | str,
    changes: Mapping[str, float],
    recipe: Recipe | Sequence[int] | None = None,
    *,
    layers: Sequence[int] | None = None,
    hold: Sequence[str] = (),
) -> Edited:
    """Move images along directions: `edit("portraits-32", "directions.safetensors", {"smiling": 2}, range(8))`.

    model: a generator, or what `stylegan.load` takes. changes: strengths, in standard deviations of w along each
    direction. recipe: the images to edit, or seeds; 0 to 31 by default. layers: those changed, by default the
    directions' own. hold: directions that must not change (conditional editing). Raises InputError.
    """
    generator = model if isinstance(model, Generator) else weights.load(model)
    directions = directions if isinstance(directions, Directions) else load(directions, generator)
    start = resolve(recipe if isinstance(recipe, Recipe) else Recipe(recipe), generator)
    w, layers = start.w, chosen_layers(directions, layers)
    if both := set(changes) & set(hold):
        raise InputError(f"{', '.join(sorted(both))} cannot be both changed and held; leave out one of them")
    for name, strength in changes.items():
        w = shift(w, directions.step(name, hold), strength, layers)
    before, after = (draw(generator, each, start.noise) for each in (start.w, w))
    return Edited(before, after, w, start.noise)


def write_edited(
    folder: Path,
    edited: Edited,
    generator: Generator,
    titles: Sequence[str],
    made: Sequence[dict[str, Any] | None] | None = None,
    whole: dict[str, Any] | None = None,
) -> None:
    """Write edited0000.png and so on, comparison.png (before and, below, after) and latents.safetensors.

    titles: what stands below the 2 N images of the comparison. made: how each edited image was made, for its file;
    whole: the comparison.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for i, (image, how) in enumerate(zip(edited.images, made or [None] * len(edited.images), strict=True)):
        save_image(image, folder / f"edited{i:04d}.png", made=how)
    pairs = torch.cat([edited.before, edited.images])
    save_image(
        contact_sheet(pairs, titles, columns=len(edited.images)), folder / "comparison.png", sheet=True, made=whole
    )
    save_latents(folder / "latents.safetensors", w=edited.w, noise=edited.noise, model=generator)


def change_of(text: str) -> tuple[str, float]:
    """ "smiling=2" -> ("smiling", 2.0). Raises InputError for anything else."""
    name, _, number = text.rpartition("=")
    try:
        strength = float(number)
    except ValueError:
        strength = math.nan
    if not name or not math.isfinite(strength):
        raise InputError(f"{text!r} is no change; write a direction and a strength, such as smiling=2")
    return name, strength


def shift(
    w: Tensor, direction: Tensor, strength: Tensor | float, layers: slice | Sequence[int] | None = None
) -> Tensor:
    """w [N, num_layers, w_dim] moved along a direction [w_dim], in all layers or in those given.

    strength: for all, or a tensor that broadcasts to [N, layers, 1]; in units of the direction's length.
    """
    if layers is None:
        return w + strength * direction.to(w)
    shifted = w.clone()
    shifted[:, layers] += strength * direction.to(w)
    return shifted


def orthogonalized(vector: Tensor, others: Tensor) -> Tensor:
    """The part of vector [w_dim] at right angles to others [K, w_dim], of length 1: conditional editing (InterFaceGAN).

    A step along it does not change the signed distance from the others' hyperplanes. Raises InputError where the
    others leave nothing of it.
    """
    basis = torch.linalg.qr(others.double().T).Q  # [w_dim, K]
    rest = vector.double()
    for _ in range(2):  # the second time takes off what rounding has left
        rest = rest - basis @ (basis.T @ rest)
    if rest.norm() < 1e-6 * vector.norm():
        raise InputError("the direction lies in the span of those to hold; hold fewer")
    return (rest / rest.norm()).to(vector)


def layers_of(text: str | None, count: int) -> list[int] | None:
    """ "0-3,7" -> [0, 1, 2, 3, 7]; None stays None. Raises InputError for what is not below `count`."""
    if text is None:
        return None
    try:
        layers = list(seeds_of(text))
    except InputError:
        layers = [count]
    if max(layers) >= count:
        raise InputError(f"{text!r} are no layers of this model; write numbers and ranges from 0 to {count - 1}")
    return layers


# --- the file


def save(path: Path | str, directions: Directions) -> None:
    """Write a file of directions: safetensors, see docs/file-formats.md."""
    header = {
        "kind": KIND,
        "format_version": FORMAT_VERSION,
        "names": directions.names,
        "method": directions.method,
        "model": directions.model,
        "layers": directions.layers,
        "fingerprint": directions.fingerprint,
    }
    write_tensors(path, {name: getattr(directions, name) for name in ("vectors", "scales", "offsets")}, header)


def bundled_directions() -> list[str]:
    """Names of the models whose directions come with the program."""
    return sorted(path.stem.removesuffix("-directions") for path in PRETRAINED.glob("*-directions.safetensors"))


def default_of(model: Path | str) -> str | None:
    """What `load` takes for a bundled model's own directions; None for a model that brings none.

    model: as for `weights.find`.
    """
    path = weights.find(model)
    return path.stem if path.parent == PRETRAINED and path.stem in bundled_directions() else None


def load(path: Path | str, generator: Generator | None = None) -> Directions:
    """Read a file of directions, or the bundled model's of that name.

    Raises InputError where it is none, and where it does not fit the generator (if given) or was found for another.
    """
    if not Path(path).is_file() and str(path) in bundled_directions():
        path = PRETRAINED / f"{path}-directions.safetensors"
    header, tensors = read_tensors(
        path,
        "a file of directions",
        kind=KIND,
        version=FORMAT_VERSION,
        hint="find directions with: stylegan directions find MODEL FILE --method pca",
    )
    try:
        vectors, scales, offsets = (tensors[name] for name in ("vectors", "scales", "offsets"))
        names, layers = tuple(map(str, header["names"])), tuple(map(int, header["layers"]))
        if vectors.ndim != 2 or not len(names) == len(vectors) == len(scales) == len(offsets):
            raise ValueError("its parts do not match")
        origin = header["method"], header["model"], layers, str(header.get("fingerprint", ""))
        directions = Directions(names, vectors, scales, offsets, *origin)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a file of directions, or is damaged ({error})") from error
    if generator is not None:
        config = generator.config
        if vectors.shape[1] != config.w_dim or max(layers, default=0) >= config.num_layers:
            raise InputError(
                f"the directions in {path} are of a w of {vectors.shape[1]} numbers (model {directions.model}), this "
                f"model's w has {config.w_dim} in {config.num_layers} layers; find its own"
            )
        subject = f"the directions in {path} (found in {directions.model or 'a model without name'}) are"
        check_fingerprint(
            directions.fingerprint, generator, subject, "find its own: stylegan directions find MODEL FILE"
        )
    return directions


# --- looking at them


@torch.no_grad()
def judged(
    generator: Generator,
    directions: Directions,
    classifiers: AttributeClassifiers,
    w: Tensor,
    strengths: Sequence[float],
    *,
    layers: Sequence[int] | None = None,
    hold: Sequence[str] = (),
    batch: int = 50,
) -> Tensor:
    """What each direction does to each attribute of each image: probabilities after steps of the strengths, float64
    [D, S, N, A].

    w: [N, num_layers, w_dim], each drawn with noise planes of its own. classifiers: the judge, which should not be that
    the directions were found with. layers, hold: as for `strips`.
    """
    classifiers.check(generator.config)
    channels = classifiers.channels
    layers = chosen_layers(directions, layers)
    parts = []
    for start in range(0, len(w), batch):
        some = w[start : start + batch]
        noise = noise_of_seeds(range(start, start + len(some)), generator)
        part = torch.zeros(
            len(directions.names), len(strengths), len(some), len(classifiers.names), dtype=torch.float64
        )
        for i, name in enumerate(directions.names):
            step = directions.step(name, [other for other in hold if other != name])
            for j, strength in enumerate(strengths):
                images = generator.synthesis(shift(some, step, strength, layers), noise=noise)
                part[i, j] = torch.sigmoid(2 * classifiers(to_channels(images, channels)).double()).cpu()
        parts.append(part)
    return torch.cat(parts, dim=2)


@torch.no_grad()
def strips(
    generator: Generator,
    directions: Directions,
    w: Tensor,
    *,
    names: Sequence[str] = (),
    strengths: Sequence[float] = (-3, -2, -1, 0, 1, 2, 3),
    layers: Sequence[int] | None = None,
    hold: Sequence[str] = (),
    noise: NoiseInput = "const",
) -> Image.Image:
    """What directions do: a row for each direction and w, a column for each strength (in deviations), with labels.

    w: [N, num_layers, w_dim]. names: the directions, all unless given. layers: those changed, unless given the
    directions' own. hold: directions that are not changed, see `Directions.step`; a held one itself is shown as it is.
    noise: as for `synthesis`, the planes of each w.
    """
    if not strengths or not all(map(math.isfinite, strengths)):
        raise InputError("strengths are one or more numbers, such as -3 0 3")
    rows, titles = [], []
    steps = torch.tensor(strengths, dtype=torch.float32, device=w.device)[:, None, None]
    for name in names or directions.names:
        step = directions.step(name, [other for other in hold if other != name])
        for i, one in enumerate(w[:, None]):
            planes = noise if isinstance(noise, str) else [plane[[i % len(plane)]] for plane in noise]
            moved = shift(one.expand(len(steps), -1, -1), step, steps, chosen_layers(directions, layers))
            rows.append(draw(generator, moved, planes))
            titles.append(name.replace("_", " "))
    return labeled_table(torch.stack(rows), titles, [f"{strength:+g}" if strength else "0" for strength in strengths])


def chosen_layers(directions: Directions, layers: Sequence[int] | None) -> Sequence[int] | None:
    """The layers to change: those asked for, else the directions' own, else None for all."""
    return layers if layers is not None else directions.layers or None
