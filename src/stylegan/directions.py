"""Editing directions: found in W, kept in a file, applied to w, shown as strips of pictures.

Ways to find them: hyperplanes of linear SVMs between images with and without an attribute (InterFaceGAN, Shen et al.,
2020), principal components of w (GANSpace, Harkonen et al., 2020), and the singular vectors of the style affines
(SeFa, Shen and Zhou, 2021). In a traditional generator without mapping layers w is the normalised z, and directions
are those of Z.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylegan import weights
from stylegan.classifiers.model import AttributeClassifiers, load_classifiers
from stylegan.errors import InputError
from stylegan.files import read_tensors, write_tensors
from stylegan.images import contact_sheet, labelled_table, save_image
from stylegan.metrics.metric import latents_and_logits
from stylegan.metrics.separability import Separability, separability
from stylegan.metrics.stream import Sampler, numbers_in_batches, to_channels
from stylegan.networks.generator import Generator, NoiseInput
from stylegan.recipe import Recipe, resolve, seeds_of, untruncated_w
from stylegan.sampling import draw, noise_of_seeds, sample_w, save_latents
from stylegan.weights import check_fingerprint, fingerprint

FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class Directions:
    """D directions in the W of one model. The tensors are float32, on the CPU."""

    names: tuple[str, ...]
    vectors: Tensor  # [D, w_dim] of length 1
    scales: Tensor  # [D] standard deviation of w along each; strengths count in it
    offsets: Tensor  # [D] vector . w + offset is 0 on the hyperplane, or in the middle of W where there is none
    method: str
    """How they were found: svm, labels, pca, sefa or import."""
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


def write_edited(folder: Path, edited: Edited, generator: Generator, titles: Sequence[str]) -> None:
    """Write edited0000.png and so on, comparison.png (before and, below, after) and latents.safetensors.

    titles: what stands below the 2 N images of the comparison.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(edited.images):
        save_image(image, folder / f"edited{i:04d}.png")
    pairs = torch.cat([edited.before, edited.images])
    save_image(contact_sheet(pairs, titles, columns=len(edited.images)), folder / "comparison.png", sheet=True)
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


# --- finding them

Method = Literal["svm", "labels", "pca", "sefa", "import"]


@dataclass(frozen=True)
class FindConfig:
    """How directions are found."""

    method: Method = "svm"
    """svm: hyperplanes between images that classifiers tell apart; labels: the same from a CSV file of yours; pca:
    principal components of w (GANSpace); sefa: what changes the styles most (SeFa); import: .npy boundaries
    (InterFaceGAN)."""
    classifiers: str | None = None
    """For svm: file of `stylegan classifiers`, or bundled ones. Default: those of the model's name."""
    labels: Path | None = None
    """For labels: CSV file whose first line is such as seed,smiling,hat (or row,smiling,hat with --latents), and then
    for each image 1, 0, or nothing where it is not known."""
    latents: Path | None = None
    """For labels: file of the z or w whose rows, from 0, the CSV names."""
    boundaries: tuple[Path, ...] = ()
    """For import: .npy files, [1, w_dim] each, named after the attribute."""
    components: int = 10
    """For pca and sefa: number of directions."""
    layers: str | None = None
    """For sefa: layers whose styles count, such as 0-3. Default: all."""
    count: int = 20_000
    """Number of samples that are judged (svm), or whose components are found (pca)."""
    seed: int = 0
    """Seed of the samples."""

    def __post_init__(self) -> None:
        if self.count < 2:
            raise InputError(f"count is {self.count}; give 2 or more")
        needed = {"labels": ("labels", "a CSV file: --labels FILE")}
        needed["import"] = ("boundaries", "files: --boundaries smile.npy age.npy")
        name, what = needed.get(self.method, ("method", ""))
        if not getattr(self, name):
            raise InputError(f"the method {self.method} needs {what}")


def find_directions(
    model: Generator | Path | str, config: FindConfig | None = None, *, device: torch.device | str = "cpu"
) -> Directions:
    """Find directions: `find_directions("portraits-32", FindConfig("pca", components=5))`.

    model: a generator, or what `stylegan.load` takes. Raises InputError for what is missing or does not fit.
    """
    config = config or FindConfig()
    name = "" if isinstance(model, Generator) else Path(model).stem
    generator = model if isinstance(model, Generator) else weights.load(model, device)
    if config.method == "svm":
        judge = load_classifiers(config.classifiers or name).to(generator.w_avg.device)
        found = by_svm(generator, judge, count=config.count, seed=config.seed)
    elif config.method == "labels":
        found = by_labels(generator, *_labelled_w(generator, config))
    elif config.method == "pca":
        found = by_pca(generator, config.components, count=config.count, seed=config.seed)
    elif config.method == "sefa":
        found = by_sefa(generator, config.components, layers_of(config.layers, generator.config.num_layers))
    else:
        found = by_import(generator, config.boundaries)
    return replace(found, model=name)


def _labelled_w(generator: Generator, config: FindConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """w [N, num_layers, w_dim], not truncated, and the values of each attribute, as a CSV file says."""
    kind, numbers, values = read_labels(config.labels)
    if (kind == "row") != (config.latents is not None):
        raise InputError(f"{config.labels} names {kind}s; give --latents FILE for rows, and only for them")
    if config.latents is None:
        return untruncated_w(Recipe(numbers), generator), values
    w = untruncated_w(Recipe(latents=config.latents), generator)
    if max(numbers) >= len(w):
        raise InputError(f"{config.labels} names row {max(numbers)}; {config.latents} has rows 0 to {len(w) - 1}")
    return w[numbers], values


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


def by_svm(
    generator: Generator,
    classifiers: AttributeClassifiers,
    *,
    count: int = 20_000,
    seed: int = 0,
    batch: int = 16,
    progress: bool = True,
) -> Directions:
    """Normals of the hyperplanes that tell images with an attribute from those without, a direction for each.

    The `count` images, untruncated, are judged by the classifiers; the more confident half counts, as for linear
    separability. An attribute that all or none of them have is left out. Raises InputError where that are all, and
    where images do not fit the classifiers.
    """
    classifiers.check(generator.config)
    batches = numbers_in_batches(count, batch, "images to judge", progress=progress)
    _, w, logits = latents_and_logits(_sampler(generator, seed), classifiers, batches, count)
    return of_hyperplanes(generator, classifiers.names, separability(w, logits))


def by_labels(generator: Generator, w: Tensor, labels: dict[str, Tensor]) -> Directions:
    """The same from known labels: for each attribute 1 (has it), 0 (has not) or NaN (not known) for each row of w.

    w: [N, num_layers, w_dim] (a w+ counts as its mean over the layers) or [N, w_dim]. labels: [N] each. Raises
    InputError for an attribute without examples of both.
    """
    points = w.mean(dim=1) if w.ndim == 3 else w
    found = []
    for name, values in labels.items():
        known = ~values.isnan()
        if not 0 < values[known].sum() < known.sum():
            raise InputError(f"the labels of {name} must have examples with it (1) and without it (0)")
        one = separability(points[known], values[known, None] * 2 - 1, keep=1)
        found.append((one.normals[0], one.offsets[0]))
    normals, offsets = zip(*found, strict=True)
    return _directions(generator, tuple(labels), torch.stack(normals), "labels", offsets=torch.stack(offsets))


def by_pca(generator: Generator, components: int = 10, *, count: int = 10_000, seed: int = 0) -> Directions:
    """The principal components of `count` sampled w, the largest first (GANSpace).

    The sign is such that the largest entry is positive. Raises InputError where there is no W, and for more components
    than it has dimensions.
    """
    if not generator.has_w:
        raise InputError(
            "a traditional generator without mapping layers has no W, and its Z is alike in all directions"
        )
    _check_components(generator, components)
    w = sample_w(generator, count, seed).cpu().double()
    vectors = torch.linalg.eigh(torch.cov(w.T)).eigenvectors.T.flip(0)[:components]
    return _directions(generator, _numbered("pca", components), _with_sign(vectors), "pca")


def by_sefa(generator: Generator, components: int = 10, layers: Sequence[int] | None = None) -> Directions:
    """Unit vectors n that change the styles most, |A n| at a maximum, each at right angles to those before it (SeFa).

    A: the affine maps from w to the styles of the layers (all unless given), one below the other; the dense layer that
    w enters through in a traditional generator. They are the eigenvectors of A^T A. Raises InputError for more
    components than dimensions, and for layers that are not there.
    """
    _check_components(generator, components)
    a = style_matrix(generator, layers).double()
    vectors = torch.linalg.eigh(a.T @ a).eigenvectors.T.flip(0)[:components]
    return _directions(
        generator, _numbered("sefa", components), _with_sign(vectors), "sefa", layers=tuple(layers or ())
    )


def by_import(generator: Generator, files: Sequence[Path | str]) -> Directions:
    """Boundaries in `.npy` files, as InterFaceGAN writes them: [1, w_dim] (or [D, w_dim], or [w_dim]) each.

    Named after their files. Raises InputError where they do not fit.
    """
    names, vectors = [], []
    for path in map(Path, files):
        try:
            rows = torch.from_numpy(np.atleast_2d(np.load(path, allow_pickle=False))).double()
        except FileNotFoundError:
            raise InputError(f"there is no file {path}; give .npy boundaries") from None
        except (ValueError, TypeError, EOFError) as error:
            raise InputError(f"{path} is not a .npy file of numbers ({error})") from error
        if rows.ndim != 2 or rows.shape[1] != generator.config.w_dim or not (rows.norm(dim=1) > 0).all():
            raise InputError(
                f"{path} holds {list(rows.shape)}; a boundary of this model is [1, {generator.config.w_dim}], not 0"
            )
        names += [path.stem] if len(rows) == 1 else [f"{path.stem}{i}" for i in range(len(rows))]
        vectors.append(rows)
    return _directions(generator, tuple(names), torch.cat(vectors), "import")


def of_hyperplanes(generator: Generator, names: Sequence[str], found: Separability) -> Directions:
    """The hyperplanes that linear separability has found. Raises InputError if there is none."""
    there = found.normals.norm(dim=1) > 0  # 0 for an attribute that all or none of the samples have
    if not there.any():
        raise InputError("all samples have the same attributes: there is no hyperplane between them")
    kept = tuple(name for name, is_there in zip(names, there.tolist(), strict=True) if is_there)
    return _directions(generator, kept, found.normals[there], "svm", offsets=found.offsets[there])


def style_matrix(generator: Generator, layers: Sequence[int] | None = None) -> Tensor:
    """The affine maps from w to the styles (scales and biases) of the layers, one below the other: [rows, w_dim]."""
    blocks = list(generator.synthesis.blocks.values())
    if generator.config.use_styles:
        dense = [epilogue.style.affine for block in blocks for epilogue in (block.layer0, block.layer1)]
    else:
        dense = [blocks[0].dense]
    chosen = range(len(dense)) if layers is None else layers
    if not set(chosen) <= set(range(len(dense))) or not len(chosen):
        raise InputError(f"layers {list(chosen)} are not all there; this generator has 0 to {len(dense) - 1}")
    return torch.cat([dense[i].weight.detach() * dense[i].scale for i in chosen]).cpu()


def read_labels(path: Path | str) -> tuple[str, list[int], dict[str, Tensor]]:
    """A CSV of labels: the kind of its first column (`seed` or `row`), that column, and each attribute's values [N].

    The first line names the columns; values are 1, 0 (or -1), or nothing where it is not known (NaN). Raises
    InputError for anything else.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            header, *rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row] or [[""]]
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path} is not a CSV file of labels ({error})") from error
    kind, names = header[0], header[1:]
    if kind not in ("seed", "row") or not names or len(set(names)) < len(names) or not rows:
        raise InputError(
            f"{path} must begin with a line such as seed,smiling,hat (or row,...), and have lines below it"
        )
    values = {"1": 1.0, "0": 0.0, "-1": 0.0, "": float("nan")}
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header) or not row[0].isdecimal() or not set(row[1:]) <= set(values):
            raise InputError(f"line {number} of {path} is not a {kind} and {len(names)} labels, each 1, 0 or nothing")
    columns = zip(*(row[1:] for row in rows), strict=True)
    labels = {name: torch.tensor([values[v] for v in column]) for name, column in zip(names, columns, strict=True)}
    return kind, [int(row[0]) for row in rows], labels


def _sampler(generator: Generator, seed: int) -> Sampler:
    classes = generator.config.label_count
    return Sampler(generator, seed=seed, labels=np.arange(classes) if classes else None)


def _directions(
    generator: Generator,
    names: tuple[str, ...],
    vectors: Tensor,
    method: str,
    *,
    offsets: Tensor | None = None,
    layers: tuple[int, ...] = (),
) -> Directions:
    """With lengths of 1, and the spread of w along them."""
    vectors = vectors.double() / vectors.double().norm(dim=1, keepdim=True)
    along = sample_w(generator).cpu().double() @ vectors.T
    offsets = -along.mean(dim=0) if offsets is None else offsets
    return Directions(
        names,
        vectors.float(),
        along.std(dim=0).float(),
        offsets.float(),
        method=method,
        layers=layers,
        fingerprint=fingerprint(generator),
    )


def _check_components(generator: Generator, components: int) -> None:
    if not 1 <= components <= generator.config.w_dim:
        raise InputError(f"{components} components cannot be had; this model has 1 to {generator.config.w_dim}")


def _with_sign(vectors: Tensor) -> Tensor:
    """Vectors [D, w_dim], each with the sign that makes its largest entry positive."""
    return vectors * vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True)).sign()


def _numbered(name: str, count: int) -> tuple[str, ...]:
    return tuple(f"{name}{i}" for i in range(count))


# --- the file


def save(path: Path | str, directions: Directions) -> None:
    """Write a file of directions: safetensors, see docs/file-formats.md."""
    header = {
        "kind": "stylegan-directions",
        "format_version": FORMAT_VERSION,
        "names": directions.names,
        "method": directions.method,
        "model": directions.model,
        "layers": directions.layers,
        "fingerprint": directions.fingerprint,
    }
    write_tensors(path, {name: getattr(directions, name) for name in ("vectors", "scales", "offsets")}, header)


def load(path: Path | str, generator: Generator | None = None) -> Directions:
    """Read a file of directions.

    Raises InputError where it is none, and where it does not fit the generator (if given) or was found for another.
    """
    header, tensors = read_tensors(
        path,
        "a file of directions",
        kind="stylegan-directions",
        version=FORMAT_VERSION,
        hint="find directions with: stylegan directions find MODEL FILE",
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
def effects(
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
    """What each direction does to each attribute: the mean probability after steps of the strengths, [D, S, A].

    w: [N, num_layers, w_dim], each drawn with noise planes of its own. classifiers: the judge, which should not be that
    the directions were found with. layers, hold: as for `strips`.
    """
    classifiers.check(generator.config)
    channels = classifiers.networks[0].config.channels
    layers = chosen_layers(directions, layers)
    table = torch.zeros(len(directions.names), len(strengths), len(classifiers.names), dtype=torch.float64)
    for start in range(0, len(w), batch):
        some = w[start : start + batch]
        noise = noise_of_seeds(range(start, start + len(some)), generator)
        for i, name in enumerate(directions.names):
            step = directions.step(name, [other for other in hold if other != name])
            for j, strength in enumerate(strengths):
                images = generator.synthesis(shift(some, step, strength, layers), noise=noise)
                logits = classifiers(to_channels(images, channels))
                table[i, j] += torch.sigmoid(2 * logits.double()).sum(dim=0).cpu()
    return table / len(w)


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
    rows, titles = [], []
    steps = torch.tensor(strengths, dtype=torch.float32, device=w.device)[:, None, None]
    for name in names or directions.names:
        step = directions.step(name, [other for other in hold if other != name])
        for i, one in enumerate(w[:, None]):
            planes = noise if isinstance(noise, str) else [plane[[i % len(plane)]] for plane in noise]
            moved = shift(one.expand(len(steps), -1, -1), step, steps, chosen_layers(directions, layers))
            rows.append(draw(generator, moved, planes))
            titles.append(name.replace("_", " "))
    return labelled_table(torch.stack(rows), titles, [f"{strength:+g}" if strength else "0" for strength in strengths])


def chosen_layers(directions: Directions, layers: Sequence[int] | None) -> Sequence[int] | None:
    """The layers to change: those asked for, else the directions' own, else None for all."""
    return layers if layers is not None else directions.layers or None
