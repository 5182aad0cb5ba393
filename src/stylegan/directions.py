"""Editing directions: found in W, kept in a file, applied to w, shown as strips of pictures.

Ways to find them: hyperplanes of linear SVMs between images with and without an attribute (InterFaceGAN, Shen et al.,
2020), principal components of w (GANSpace, Harkonen et al., 2020), and the singular vectors of the style affines
(SeFa, Shen and Zhou, 2021). In a traditional generator without mapping layers w is the normalised z, and directions
are those of Z.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from stylegan.classifiers.model import AttributeClassifiers
from stylegan.errors import InputError
from stylegan.files import read_tensors, write_tensors
from stylegan.images import enlarge, to_pil
from stylegan.metrics.metric import latents_and_logits
from stylegan.metrics.separability import Separability, separability
from stylegan.metrics.stream import Sampler, numbers_in_batches, to_channels
from stylegan.networks.generator import Generator
from stylegan.sampling import draw, noise_of_seeds
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

        hold: names of directions that must not be changed, see `orthogonalised`. Raises InputError for unknown names.
        """
        vector = self.vectors[self.index(name)]
        if hold:
            vector = orthogonalised(vector, self.vectors[[self.index(other) for other in hold]])
        return vector * self.scales[self.index(name)]

    def index(self, name: str) -> int:
        if name not in self.names:
            raise InputError(f"there is no direction {name}; the file has {', '.join(self.names)}")
        return self.names.index(name)


# --- applying them


def edit(w: Tensor, direction: Tensor, strength: Tensor | float, layers: slice | Sequence[int] | None = None) -> Tensor:
    """w [N, num_layers, w_dim] moved along a direction [w_dim], in all layers or in those given.

    strength: for all, or a tensor that broadcasts to [N, layers, 1]; in units of the direction's length.
    """
    if layers is None:
        return w + strength * direction.to(w)
    edited = w.clone()
    edited[:, layers] += strength * direction.to(w)
    return edited


def orthogonalised(vector: Tensor, others: Tensor) -> Tensor:
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
    w = sample_w(generator, count, seed).double()
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


def sample_w(generator: Generator, count: int = 10_000, seed: int = 0) -> Tensor:
    """w [count, w_dim] of fresh samples, not truncated, on the CPU; of all classes in turn by chance."""
    sampler = _sampler(generator, seed)
    parts = numbers_in_batches(count, 1000, "w", progress=False)
    return torch.cat([sampler.w(numbers)[:, 0].cpu() for numbers in parts])


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
    along = sample_w(generator).double() @ vectors.T
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
                images = generator.synthesis(edit(some, step, strength, layers), noise=noise)
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
) -> Image.Image:
    """What directions do: a row for each direction and w, a column for each strength (in deviations), with labels.

    w: [N, num_layers, w_dim]. names: the directions, all unless given. layers: those changed, unless given the
    directions' own. hold: directions that are not changed, see `Directions.step`; a held one itself is shown as it is.
    """
    rows, titles = [], []
    steps = torch.tensor(strengths, dtype=torch.float32, device=w.device)[:, None, None]
    for name in names or directions.names:
        step = directions.step(name, [other for other in hold if other != name])
        for one in w[:, None]:
            moved = edit(one.expand(len(steps), -1, -1), step, steps, chosen_layers(directions, layers))
            rows.append(draw(generator, moved))
            titles.append(name.replace("_", " "))
    return labelled(torch.stack(rows), titles, [f"{strength:+g}" if strength else "0" for strength in strengths])


def chosen_layers(directions: Directions, layers: Sequence[int] | None) -> Sequence[int] | None:
    """The layers to change: those asked for, else the directions' own, else None for all."""
    return layers if layers is not None else directions.layers or None


def labelled(images: Tensor, rows: Sequence[str], columns: Sequence[str]) -> Image.Image:
    """A table of images uint8 [R, K, C, H, W] with a title for each row, on the left, and for each column, above.

    A title that is the same as that of the row before is left out. Small images are enlarged.
    """
    _, _, _, height, width = images.shape
    factor = max(1, 96 // width)
    height, width = height * factor, width * factor
    font = ImageFont.load_default(size=16)
    left, top = 16 + max(round(font.getlength(title)) for title in rows), 26
    sheet = Image.new("RGB", (left + width * len(columns), top + height * len(rows)), "white")
    pen = ImageDraw.Draw(sheet)
    for column, title in enumerate(columns):
        pen.text((left + (column + 0.5) * width, top / 2), title, "black", font, anchor="mm")
    for row, title in enumerate(rows):
        if row == 0 or title != rows[row - 1]:
            pen.text((left - 8, top + (row + 0.5) * height), title, "black", font, anchor="rm")
        for column, image in enumerate(images[row]):
            sheet.paste(to_pil(enlarge(image, factor)), (left + column * width, top + row * height))
    return sheet
