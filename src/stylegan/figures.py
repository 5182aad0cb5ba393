"""The figures of the paper that show images, one function each; `FIGURES` has all that there are.

Figures without text are images, uint8 [C, H, W]; those with text are matplotlib's, which become PNG or PDF files.
`recipe` says which images; its defaults are the seeds of the paper's figures, and the model's own truncation.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylegan import marks, weights
from stylegan.config import at_least, check
from stylegan.data.store import open_store
from stylegan.errors import InputError
from stylegan.extras import need_matplotlib
from stylegan.files import atomic_file
from stylegan.images import crop_padding, enlarge, from_uint8, grid, on_white, png_text, save_image, to_uint8
from stylegan.networks.generator import Generator
from stylegan.plots import WIDTH, entanglement, page, training
from stylegan.recipe import Recipe, Seeds, opened, random_planes, record_of_sheet, resolve
from stylegan.sampling import draw, mixing_table, noise_of_seeds, style_ranges

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# --- figures 2, 7 and 10 to 12: many images

USUAL = Recipe()
MOSAIC = (0, 0, 1, 1, 2, 2)
"""The columns of a mosaic: images at full size, half and a quarter."""
MOSAIC_COUNT = 3 * sum(2**level for level in MOSAIC)


@torch.no_grad()
def uncurated(generator: Generator, recipe: Recipe = USUAL) -> Tensor:
    """Figures 2 and 10 to 12: images as they come, in three sizes, truncated at low resolutions only.

    recipe: 42 images; by default z from the stream of seed 5. psi is of coarse and middle styles, so that the fine ones
    keep their variety, unless the recipe has a cutoff.
    """
    if recipe.seeds is None and recipe.latents is None:
        z = np.random.RandomState(5).randn(MOSAIC_COUNT, generator.config.z_dim).astype(np.float32)
        recipe = replace(recipe, latents=torch.from_numpy(z))
    recipe = opened(recipe, generator)
    if len(recipe) < MOSAIC_COUNT:
        raise InputError(f"this figure shows {MOSAIC_COUNT} images; give as many latents, not {len(recipe)}")
    if recipe.cutoff is None:
        recipe = replace(recipe, cutoff=style_ranges(generator.synthesis.grown.resolution)["fine"].start)
    some = resolve(recipe, generator, slice(MOSAIC_COUNT))
    return mosaic(draw(generator, some.w, some.noise))


def reals(data: Path | str) -> Tensor:
    """Figure 7: the first images of a store, which are a random draw, in three sizes."""
    store = open_store(data)
    if store.count < MOSAIC_COUNT:
        raise InputError(f"this figure shows {MOSAIC_COUNT} images, and {data} holds {store.count}")
    return mosaic(torch.tensor(store.images()[:MOSAIC_COUNT]).permute(0, 3, 1, 2))


def mosaic(images: Tensor) -> Tensor:
    """42 images [42, C, H, W] in columns of three, six and twelve: [C, H', W'], all uint8.

    The largest are as they are, or enlarged to 256; smaller ones are box-filtered.
    """
    height, width = (side // 4 * 4 for side in images.shape[2:])  # what can be halved twice
    images, largest = images[:, :, :height, :width], max(1, 256 // width)
    columns, done = [], 0
    for level in MOSAIC:
        chosen = images[done : done + 3 * 2**level]
        done += len(chosen)
        factor = 2**level // largest
        if factor > 1:
            chosen = to_uint8(torch.nn.functional.avg_pool2d(from_uint8(chosen), factor))
        columns.append(grid(enlarge(chosen, max(1, largest // 2**level)), columns=1))
    return torch.cat(columns, dim=2)


# --- figures 3 and 8: styles


@torch.no_grad()
def style_mixing(
    generator: Generator,
    recipe: Recipe = USUAL,
    *,
    destinations: Sequence[int] | str = (888, 829, 1898, 1733, 1614, 845),
) -> "Figure":
    """Figure 3: coarse, then middle, then fine styles of the row's image replaced by those of the column's.

    recipe: the top row (source B), whose first image's noise planes are those of all, so that only styles differ.
    destinations: seeds of the left column (source A), three or more; a third of them shows middle styles, a sixth fine
    ones, the rest coarse ones. Raises InputError for a traditional generator.
    """
    recipe = opened(recipe.of((639, 701, 687, 615, 2268)), generator)
    left = replace(recipe, seeds=destinations, latents=None)
    rows = len(left)
    if rows < 3:
        raise InputError(f"style mixing has three ranges of styles; give three or more destinations, not {rows}")
    middle, fine = max(1, rows // 3), max(1, rows // 6)
    counts = {"coarse": rows - middle - fine, "middle": middle, "fine": fine}
    ranges = style_ranges(generator.synthesis.grown.resolution)
    layers = [ranges[name] for name, count in counts.items() for _ in range(count)]
    top, noise = resolve(recipe, generator).w, resolve(recipe, generator, slice(1)).noise
    table = mixing_table(generator, top, resolve(left, generator).w, layers, noise=noise, gap=_gap(generator))

    row = (table.shape[1] + _gap(generator)) / (rows + 1)
    resolutions = generator.synthesis.layer_resolutions()
    beside, start = [], 1
    for name, count in counts.items():
        span = _span([resolutions[layer] for layer in ranges[name]])
        beside.append(((start + count / 2) * row, f"{name.capitalize()} styles\n({span}) from B"))
        start += count
    column = (table.shape[2] + _gap(generator)) / (len(top) + 1)
    above = [(column / 2, "Source A"), ((1 + len(top) / 2) * column, "Source B")]
    return _labeled(table, above=above, left=beside)


@torch.no_grad()
def truncation(
    generator: Generator,
    recipe: Recipe = USUAL,
    *,
    psis: Sequence[float] = (1, 0.7, 0.5, 0, -0.5, -1),
) -> "Figure":
    """Figure 8: truncation in all layers, from the image through the average to the "anti-face".

    Raises InputError for a traditional generator without mapping layers, which has no W.
    """
    if recipe.psi is not None or recipe.cutoff is not None:
        raise InputError("the figure truncation takes no --psi or --cutoff; its columns are --psis, of all layers")
    some = resolve(replace(recipe.of((91, 388)), psi=1.0), generator)
    w, noise = some.w, some.noise
    scaled = torch.stack([generator.truncate(w, psi, w.shape[1]) for psi in psis], dim=1)  # [N, psis, layers, w_dim]
    planes = noise if isinstance(noise, str) else [plane.repeat_interleave(len(psis), dim=0) for plane in noise]
    table = grid(draw(generator, scaled.flatten(0, 1), planes), columns=len(psis), gap=_gap(generator))
    return _labeled(table, above=_over_columns(table, [f"$\\psi = {psi:g}$" for psi in psis]))


# --- figures 4 and 5: noise


@torch.no_grad()
def noise_detail(
    generator: Generator,
    recipe: Recipe = USUAL,
    *,
    count: int = 100,
) -> "Figure":
    """Figure 4: images, the same detail with four realizations of noise, and each pixel's standard deviation.

    The detail is the quarter of the image's width and height that noise changes most. count: realizations for the
    deviation. Raises InputError for a generator without noise inputs.
    """
    _need_noise(generator)
    some = resolve(recipe.of((1157, 1012)), generator)
    w, deviation = some.w, noise_deviation(generator, some.w, count)
    images, (height, width) = on_white(draw(generator, w, some.noise)), deviation.shape[1:]
    maps = (deviation * (255 / deviation.max().clamp_min(1e-6))).round().to(torch.uint8)[:, None].expand_as(images)
    change = torch.nn.functional.avg_pool2d(deviation[:, None], (height // 4, width // 4), stride=1)[:, 0]
    cells, corners = [], []
    for one, image, map_, spread in zip(w[:, None], images, maps, change, strict=True):
        y, x = divmod(int(spread.argmax()), spread.shape[1])
        again = on_white(draw(generator, one.expand(4, -1, -1), noise_of_seeds(range(4), generator)))
        details = grid(enlarge(again[:, :, y : y + height // 4, x : x + width // 4], 2), columns=2)
        rest = (0, width - details.shape[2], 0, height - details.shape[1])  # where a side is no multiple of four
        cells += [image, torch.nn.functional.pad(details, rest, value=255), map_]
        corners.append((x, y))

    gap = _gap(generator)
    table = grid(torch.stack(cells), columns=3, gap=gap)
    titles = ["(a) Generated image", "(b) Details with other noise"]
    titles += [f"(c) Deviation, white: {deviation.max():.1f} of 255"]
    figure = _labeled(table, above=_over_columns(table, titles))
    from matplotlib.patches import Rectangle

    for i, (x, y) in enumerate(corners):
        corner, size = (x, y + i * (height + gap)), (width // 4, height // 4)
        figure.axes[0].add_patch(Rectangle(corner, *size, fill=False, edgecolor="white", linewidth=0.8))
    return figure


@torch.no_grad()
def noise_deviation(generator: Generator, w: Tensor, count: int = 100, *, batch: int = 16) -> Tensor:
    """Standard deviation of each pixel over `count` realizations of noise, [N, H, W], in levels of 255.

    w: [N, num_layers, w_dim]. The realizations are those of seeds 0, 1, ... The deviation is the root mean square over
    channels. Raises InputError for a generator without noise inputs.
    """
    _need_noise(generator)
    deviations = []
    for one in w[:, None]:
        total = squares = torch.zeros(())
        for start in range(0, count, batch):
            planes = noise_of_seeds(range(start, min(start + batch, count)), generator)
            images = (
                generator.synthesis(one.expand(len(planes[0]), -1, -1), noise=planes).clamp(-1, 1).cpu().double()
                * 127.5
            )
            total, squares = total + images.sum(dim=0), squares + images.square().sum(dim=0)
        variance = squares / count - (total / count).square()
        deviations.append(variance.clamp_min(0).mean(dim=0).sqrt())
    return crop_padding(torch.stack(deviations)[:, None], generator.config.aspect)[:, 0].float()


@torch.no_grad()
def noise_layers(generator: Generator, recipe: Recipe = USUAL) -> "Figure":
    """Figure 5: noise in all layers, in none, in the fine ones, in the coarse (and middle) ones.

    Below the images is their difference from (b), so many times that it can be seen. Raises InputError for a generator
    without noise inputs.
    """
    _need_noise(generator)
    resolutions = generator.synthesis.layer_resolutions(generator.synthesis.grown.resolution)
    fine = style_ranges(resolutions[-1])["fine"].start
    chosen = {
        "(a) All layers": range(len(resolutions)),
        "(b) No noise": range(0),
        f"(c) Fine layers ({_span(resolutions[fine:])})": range(fine, len(resolutions)),
        f"(d) Coarse layers ({_span(resolutions[:fine])})": range(fine),
    }
    if recipe.noise in ("const", "none"):
        raise InputError("the figure noise-layers takes no --noise; it shows random noise, and none")
    recipe, columns = opened(replace(recipe.of((1967, 1555)), noise="random"), generator), []
    w, planes = resolve(recipe, generator).w, random_planes(recipe, generator)
    for layers in chosen.values():
        columns.append(on_white(draw(generator, w, [plane * (i in layers) for i, plane in enumerate(planes)])))
    images = torch.stack(columns, dim=1)  # [N, 4, C, H, W]
    difference = images.float() - images[:, 1:2].float()
    gain = 2 ** int(math.log2(127 / float(difference.abs().max().clamp(1, 127))))
    rows = torch.stack([images, (difference * gain + 128).clamp(0, 255).to(torch.uint8)], dim=1)  # [N, 2, 4, C, H, W]
    table = grid(rows.flatten(0, 2), columns=4, gap=_gap(generator))
    middles = [(i + 0.5) * table.shape[1] / (2 * len(w)) for i in range(2 * len(w))]
    left = [(y, f"Difference × {gain}") for y in middles[1::2]]
    return _labeled(table, above=_over_columns(table, list(chosen)), left=left)


def _need_noise(generator: Generator) -> None:
    if not generator.config.use_noise:
        raise InputError("this generator has no noise inputs (configs a to d have none); use one of config e or f")


# --- a run's own


def progress(grids: Sequence[Path], grid_rows: int, *, rows: int = 10, factor: int = 2) -> Image.Image:
    """How a run's samples came about: the first row of some of its grids, from the first to the last.

    grids: the files `fakes-*.png` of a run, in order. grid_rows: rows of images in each of them. rows: how many are
    shown, at most. factor: enlargement.
    """
    shown = [grids[round(i * (len(grids) - 1) / max(rows - 1, 1))] for i in range(rows)]
    shown = list(dict.fromkeys(shown))
    with Image.open(shown[0]) as first:
        height = first.height // grid_rows
        sheet = Image.new(first.mode, (first.width, height * len(shown)))
    for i, path in enumerate(shown):
        with Image.open(path) as picture:
            sheet.paste(picture.crop((0, 0, sheet.width, height)), (0, i * height))
    return sheet.resize((sheet.width * factor, sheet.height * factor), Image.Resampling.NEAREST)


# --- what the figures share


def _gap(generator: Generator) -> int:
    """Pixels between the images of a table."""
    return max(1, generator.synthesis.grown.resolution // 64)


def _span(resolutions: Sequence[int]) -> str:
    return f"{resolutions[0]}–{resolutions[-1]}" if resolutions[0] != resolutions[-1] else f"{resolutions[0]}"


def _over_columns(table: Tensor, texts: Sequence[str]) -> list[tuple[float, str]]:
    """Texts over the middle of a table's equal columns."""
    return [((i + 0.5) * table.shape[2] / len(texts), text) for i, text in enumerate(texts)]


def _labeled(
    picture: Tensor, *, above: Sequence[tuple[float, str]] = (), left: Sequence[tuple[float, str]] = ()
) -> "Figure":
    """A picture uint8 [C, H, W] with texts above it and, upright, to its left; their middles in its pixels.

    Its pixels stay what they are: each becomes a square of whole pixels.
    """
    factor = max(1, round(1400 / picture.shape[2]))
    pixels = enlarge(on_white(picture), factor).permute(1, 2, 0).numpy()
    dpi = round(pixels.shape[1] / WIDTH)
    top, side = round(0.25 * dpi), round(0.4 * dpi) if left else 0
    height, width = pixels.shape[0] + top, pixels.shape[1] + side
    with page() as Figure:
        figure = Figure((width / dpi, height / dpi), dpi)
        axes = figure.add_axes((side / width, 0, pixels.shape[1] / width, pixels.shape[0] / height))
        axes.imshow(pixels, interpolation="none", extent=(0, picture.shape[2], picture.shape[1], 0))
        axes.set_axis_off()
        for x, text in above:
            axes.annotate(text, (x, 0), (0, 4), textcoords="offset points", ha="center", va="bottom")
        for y, text in left:
            axes.annotate(text, (0, y), (-3, 0), textcoords="offset points", ha="right", va="center", rotation=90)
    return figure


def save_figure(figure: "Tensor | Figure", path: Path | str, *, made: dict[str, Any] | None = None) -> None:
    """Write a figure as PNG; one with text also as PDF. Raises InputError for another ending.

    made: how it was made, kept in the file; in a PDF file as its keywords.
    """
    path = Path(path)
    if isinstance(figure, Tensor):
        if path.suffix != ".png":
            raise InputError(f"{path}: this figure has no text and is an image; write a .png file")
        save_image(figure, path, sheet=True, made=made)
        return
    if path.suffix not in (".png", ".pdf"):
        raise InputError(f"{path}: figures are written as .png or .pdf")
    with atomic_file(path) as file:
        if path.suffix == ".png":
            figure.savefig(file, format="png", pil_kwargs={"pnginfo": png_text(sheet=True, made=made)})
        else:
            words = {} if made is None else {"Creator": marks.PROGRAM, "Keywords": marks.text_of(made)}
            figure.savefig(file, format="pdf", metadata=words)


@dataclass(frozen=True)
class FigureConfig:
    """What single figures can be told."""

    destinations: Seeds = None
    """Seeds of the left column of style-mixing. Default: the paper's."""
    psis: tuple[float, ...] | None = None
    """Columns of truncation. Default: 1 0.7 0.5 0 -0.5 -1."""
    count: Annotated[int, at_least(1)] | None = None
    """Realizations of noise in noise-detail (default: 100); images of entanglement (default: 4000)."""
    data: Path | None = None
    """Store that entanglement compares with."""
    attributes: tuple[str, ...] | None = None
    """Two names that the classifiers of entanglement know."""
    classifiers: str | None = None
    """File of `stylegan classifiers`, or bundled ones, for entanglement. Default: bundled ones that know both."""

    def __post_init__(self) -> None:
        check(self)
        if self.psis is not None and not self.psis:
            raise InputError("psis has no numbers; give one or more, such as 1 0.7 0")


FIGURES: dict[str, Callable[..., "Tensor | Figure"]] = {
    "uncurated": uncurated,
    "style-mixing": style_mixing,
    "noise-detail": noise_detail,
    "noise-layers": noise_layers,
    "entanglement": entanglement,
    "reals": reals,
    "truncation": truncation,
    "training": training,
}
"""The figures of `stylegan figure`, in the paper's order."""
PICTURES = ("uncurated", "reals")
"""Those without text."""


def make(
    name: str,
    subjects: Sequence[str | Generator] = (),
    recipe: Recipe = USUAL,
    config: FigureConfig | None = None,
    *,
    device: torch.device | str = "cpu",
) -> "Tensor | Figure":
    """A figure by its name.

    subjects: one model, or a generator; for reals a store, for training one or more runs. Raises InputError for a
    figure that is not there, for what it does not show, and for options that it does not take or lacks.
    """
    if name not in FIGURES:
        raise InputError(f"there is no figure {name}; use one of: {', '.join(FIGURES)}")
    figure, takes = FIGURES[name], signature(FIGURES[name]).parameters
    options = {f.name: getattr(config, f.name) for f in fields(FigureConfig)} if config else {}
    options = {option: value for option, value in options.items() if value is not None}
    if "recipe" in takes:
        options["recipe"] = recipe
    else:
        options |= {f.name: value for f in fields(Recipe) if (value := getattr(recipe, f.name)) != f.default}
    for option in options:
        if option not in takes:
            spelled = {"label": "class"}.get(option, option).replace("_", "-")
            raise InputError(f"the figure {name} takes no --{spelled}")
    missing = [key for key, p in takes.items() if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if any(key not in options for key in missing):
        raise InputError(f"the figure {name} needs {' and '.join(f'--{key}' for key in missing)}")
    if name not in PICTURES:
        need_matplotlib()
    subjects = subjects or ((weights.DEFAULT_MODEL,) if "generator" in takes else ())
    if not subjects or (len(subjects) > 1 and name != "training"):
        of = {"reals": "one store", "training": "one or more runs"}.get(name, "one model")
        raise InputError(f"the figure {name} is of {of}; {len(subjects)} are given")
    if "generator" in takes:
        subject = subjects[0]
        return figure(subject if isinstance(subject, Generator) else weights.load(subject, device), **options)
    return figure(subjects if name == "training" else subjects[0], **options)


def record(
    name: str, subjects: Sequence[str], recipe: Recipe, config: FigureConfig | None = None
) -> dict[str, Any] | None:
    """How a figure was made, for its file; None for one that shows training images, or numbers."""
    if "generator" not in signature(FIGURES[name]).parameters:
        return None
    model = subjects[0] if subjects else weights.DEFAULT_MODEL
    # (not the files: where they lie is nobody's business)
    kept = ("destinations", "psis", "count", "attributes")
    options = {} if config is None else {key: value for key in kept if (value := getattr(config, key)) is not None}
    return record_of_sheet(recipe, weights.load(model), {"figure": name, "options": options})
