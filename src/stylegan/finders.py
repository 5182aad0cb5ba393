"""Ways to find editing directions: each a function of a generator, and `find_directions`, which chooses by a name.

Hyperplanes of linear SVMs between images with and without an attribute (InterFaceGAN, Shen et al., 2020), principal
components of w (GANSpace, Harkonen et al., 2020), words (regression of CLIP's likeness on w), and the singular vectors
of the style affines (SeFa, Shen and Zhou, 2021).
In a traditional generator without mapping layers w is the normalized z, and directions are those of Z.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from stylegan import weights
from stylegan.classifiers.model import AttributeClassifiers, load_classifiers
from stylegan.config import SEED, at_least, check
from stylegan.directions import Directions, layers_of
from stylegan.errors import InputError
from stylegan.extras import need_scikit_learn
from stylegan.metrics.metric import latents_and_logits
from stylegan.metrics.separability import Separability, separability
from stylegan.metrics.stream import Sampler, numbers_in_batches
from stylegan.networks.generator import Generator
from stylegan.recipe import Recipe, untruncated_w
from stylegan.resolutions import resolutions
from stylegan.sampling import coordinates, sample_w
from stylegan.weights import fingerprint
from stylegan.words import Clip, load_clip

RIDGE = 0.1  # of `by_text`: what is added to the variance of W, 1 in all directions

Method = Literal["svm", "labels", "text", "pca", "sefa", "import"]


@dataclass(frozen=True)
class FindConfig:
    """How directions are found."""

    method: Method = "svm"
    """Method: svm (hyperplanes between images that classifiers tell apart), labels (the same from a CSV file of yours),
    text (towards what --text says, away from what --against says, as CLIP sees them; `stylegan fetch clip`), pca
    (principal components of w, GANSpace), sefa (what changes the styles most, SeFa), or import (.npy boundaries,
    InterFaceGAN)."""
    classifiers: str | None = None
    """File of `stylegan classifiers`, or bundled ones, for svm. Default: those of the model's name."""
    labels: Path | None = None
    """CSV file for labels, whose first line is such as seed,smiling,hat (or row,smiling,hat with --latents), and then
    for each image 1, 0, or nothing where it is not known."""
    latents: Path | None = None
    """File of the z or w whose rows, from 0, the CSV file of labels names."""
    text: str | None = None
    """What images are to be more like, in words: "a smiling face"."""
    against: str | None = None
    """What they are to be less like: "a serious face"."""
    boundaries: tuple[Path, ...] = ()
    """Files to import: .npy, [1, w_dim] each, named after the attribute."""
    components: Annotated[int, at_least(1)] = 10
    """Number of directions of pca and sefa."""
    layers: str | None = None
    """Layers whose styles count in sefa, such as 0-3. Default: all."""
    count: Annotated[int | None, at_least(2)] = None
    """Number of samples that are judged (svm, text), or whose components are found (pca). Default: 20,000, for text
    2,000."""
    seed: Annotated[int, SEED] = 0
    """Seed of the samples."""

    def __post_init__(self) -> None:
        check(self)
        needed = {"labels": ("labels", "a CSV file: --labels FILE")}
        needed["text"] = ("text", "words: --text WORDS --against WORDS")
        needed["import"] = ("boundaries", "files: --boundaries smile.npy age.npy")
        name, what = needed.get(self.method, ("method", ""))
        if not getattr(self, name) or (self.method == "text" and not self.against):
            raise InputError(f"the method {self.method} needs {what}")
        for option, methods in _OPTIONS_OF.items():
            if self.method not in methods and getattr(self, option) != getattr(FindConfig, option):
                raise InputError(f"the method {self.method} takes no --{option}; that is for {' and '.join(methods)}")


_OPTIONS_OF = {
    "classifiers": ("svm",),
    "labels": ("labels",),
    "latents": ("labels",),
    "text": ("text",),
    "against": ("text",),
    "boundaries": ("import",),
    "components": ("pca", "sefa"),
    "layers": ("sefa",),
    "count": ("svm", "text", "pca"),
    "seed": ("svm", "text", "pca"),
}


def find_directions(
    model: Generator | Path | str, config: FindConfig | None = None, *, device: torch.device | str = "cpu"
) -> Directions:
    """Find directions: `find_directions("portraits-32", FindConfig("pca", components=5))`.

    model: a generator, or what `stylegan.load` takes. Raises InputError for what is missing or does not fit.
    """
    config = config or FindConfig()
    if config.method in ("svm", "labels"):
        need_scikit_learn()
    name = "" if isinstance(model, Generator) else Path(model).name
    generator = model if isinstance(model, Generator) else weights.load(model, device)
    if config.method == "svm":
        try:
            judge = load_classifiers(config.classifiers or Path(name).stem).to(generator.w_avg.device)
        except InputError as error:
            if config.classifiers:
                raise
            raise InputError(f"{error}; or find directions without any: --method pca") from None
        found = by_svm(generator, judge, count=config.count or 20_000, seed=config.seed)
    elif config.method == "labels":
        found = by_labels(generator, *_labeled_w(generator, config))
    elif config.method == "pca":
        found = by_pca(generator, config.components, count=config.count or 20_000, seed=config.seed)
    elif config.method == "text":
        clip, many = load_clip().to(generator.w_avg.device), config.count or 2000
        found = by_text(generator, clip, {config.text or "": config.against or ""}, count=many, seed=config.seed)
    elif config.method == "sefa":
        found = by_sefa(generator, config.components, layers_of(config.layers, generator.config.num_layers))
    else:
        found = by_import(generator, config.boundaries)
    return replace(found, model=name)


def _labeled_w(generator: Generator, config: FindConfig) -> tuple[Tensor, dict[str, Tensor]]:
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


def by_text(
    generator: Generator,
    clip: Clip,
    words: Mapping[str, str],
    *,
    count: int = 2000,
    seed: int = 0,
    batch: int = 16,
    progress: bool = True,
) -> Directions:
    """Directions in which images come to be more like one text and less like another, each named after the first.

    words: the texts, and what each is held against. `count` samples, drawn once for all, are scored by the difference
    of their likeness to the two; a ridge regression of the scores on w, in coordinates in which W has unit variance,
    says where they rise most. Raises InputError where all samples score alike.
    """
    texts = clip.of_texts([*words, *words.values()])
    towards = texts[: len(words)] - texts[len(words) :]
    sampler, ws, scores = _sampler(generator, seed), [], []
    with torch.no_grad():
        for numbers in numbers_in_batches(count, batch, "images to look at", progress=progress):
            w = sampler.w(numbers)
            ws.append(w[:, 0])
            scores.append(clip.of_images(sampler.synthesize(w, sampler.noise(numbers))) @ towards.T)
    w, scored = torch.cat(ws).cpu().double(), torch.cat(scores).cpu().double()
    if not (scored.std(dim=0) > 1e-6).all():
        raise InputError("all samples are alike to these words; choose others")
    middle, spread = coordinates(w)
    v = torch.linalg.solve(spread, (w - middle).T).T  # [count, w_dim]
    inner = v.T @ v + RIDGE * len(v) * torch.eye(v.shape[1], dtype=torch.float64)
    slopes = torch.linalg.solve(inner, v.T @ (scored - scored.mean(dim=0)))  # [w_dim, D]
    names = tuple("_".join(text.split()) for text in words)
    return _directions(generator, names, (spread @ slopes).T, "text")


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
    blocks = [generator.synthesis.block(r) for r in resolutions(generator.config.resolution)]
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
