"""The figures of the paper, and of a run, one function each. `FIGURES` says what there is.

Figures without text are images, uint8 [C, H, W]; those with text are matplotlib's, which become PNG or PDF files.
`latents` are seeds, or w [N, num_layers, w_dim]; the defaults are the seeds of the paper's figures. `label` is the
class of seeds, for a conditional network. All images of a figure share their noise planes where only styles differ.
"""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylegan.classifiers.model import AttributeClassifiers, bundled_classifiers, load_classifiers
from stylegan.data.store import open_store
from stylegan.errors import InputError
from stylegan.files import atomic_file
from stylegan.images import crop_padding, enlarge, from_uint8, grid, save_image, to_uint8
from stylegan.metrics.record import read_record
from stylegan.metrics.stream import to_channels, to_rgb
from stylegan.networks import ops
from stylegan.networks.generator import Generator
from stylegan.sampling import (
    Latents,
    draw,
    labels_of,
    mixing_table,
    noise_of_seeds,
    style_ranges,
    w_of,
    w_of_z,
    z_of_seeds,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# --- figures 2, 7 and 10 to 12: many images

MOSAIC = (0, 0, 1, 1, 2, 2)
"""The columns of a mosaic: images at full size, half and a quarter."""
MOSAIC_COUNT = 3 * sum(2**level for level in MOSAIC)


@torch.no_grad()
def uncurated(
    generator: Generator, *, latents: Latents | None = None, psi: float | None = None, label: int | None = None
) -> Tensor:
    """Figures 2 and 10 to 12: images as they come, in three sizes, truncated at low resolutions only.

    latents: 42 of them; unless given, z from the stream of seed 5. psi: of coarse and middle styles, so that the fine
    ones keep their variety; the model's own by default.
    """
    if latents is None:
        z = np.random.RandomState(5).randn(MOSAIC_COUNT, generator.config.z_dim).astype(np.float32)
        labels = labels_of(generator, label, MOSAIC_COUNT)
        w = w_of_z(generator, torch.from_numpy(z), labels)
    else:
        w = w_of(generator, latents, label)[:MOSAIC_COUNT]
    if len(w) < MOSAIC_COUNT:
        raise InputError(f"this figure shows {MOSAIC_COUNT} images; give as many latents, not {len(w)}")
    psi = _psi(generator, psi)
    cutoff = style_ranges(generator.synthesis.grown[0])["fine"].start
    return mosaic(
        draw(
            generator,
            generator.truncate(w, psi, cutoff),
            noise_of_seeds(range(len(w)) if latents is None else _noise_seeds(latents)[: len(w)], generator),
        )
    )


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
    *,
    latents: Latents = (639, 701, 687, 615, 2268),
    destinations: Latents = (888, 829, 1898, 1733, 1614, 845),
    psi: float | None = None,
    label: int | None = None,
) -> "Figure":
    """Figure 3: coarse, then middle, then fine styles of the row's image replaced by those of the column's.

    latents: the top row (source B). destinations: the left column (source A), three or more; a third of them shows
    middle styles, a sixth fine ones, the rest coarse ones. Raises InputError for a traditional generator.
    """
    rows = len(destinations)
    if rows < 3:
        raise InputError(f"style mixing has three ranges of styles; give three or more destinations, not {rows}")
    middle, fine = max(1, rows // 3), max(1, rows // 6)
    counts = {"coarse": rows - middle - fine, "middle": middle, "fine": fine}
    ranges = style_ranges(generator.synthesis.grown[0])
    layers = [ranges[name] for name, count in counts.items() for _ in range(count)]
    w_top, w_left = w_of(generator, latents, label), w_of(generator, destinations, label)
    planes = noise_of_seeds(_noise_seeds(latents)[:1], generator)
    table = mixing_table(
        generator,
        w_top,
        w_left,
        layers,
        psi=_psi(generator, psi),
        cutoff=generator.truncation[1],
        noise=planes,
        gap=_gap(generator),
    )

    row = (table.shape[1] + _gap(generator)) / (rows + 1)
    resolutions = generator.synthesis.layer_resolutions()
    left, start = [], 1
    for name, count in counts.items():
        span = _span([resolutions[layer] for layer in ranges[name]])
        left.append(((start + count / 2) * row, f"{name.capitalize()} styles\n({span}) from B"))
        start += count
    column = (table.shape[2] + _gap(generator)) / (len(latents) + 1)
    above = [(column / 2, "Source A"), ((1 + len(latents) / 2) * column, "Source B")]
    return _labelled(table, above=above, left=left)


@torch.no_grad()
def truncation(
    generator: Generator,
    *,
    latents: Latents = (91, 388),
    psis: Sequence[float] = (1, 0.7, 0.5, 0, -0.5, -1),
    label: int | None = None,
) -> "Figure":
    """Figure 8: truncation in all layers, from the image through the average to the "anti-face".

    Raises InputError for a traditional generator without mapping layers, which has no W.
    """
    w = w_of(generator, latents, label)
    scaled = torch.stack([generator.truncate(w, psi, w.shape[1]) for psi in psis], dim=1)  # [N, psis, layers, w_dim]
    planes = noise_of_seeds(_noise_seeds(latents), generator)
    planes = [plane.repeat_interleave(len(psis), dim=0) for plane in planes]
    table = grid(draw(generator, scaled.flatten(0, 1), planes), columns=len(psis), gap=_gap(generator))
    return _labelled(table, above=_over_columns(table, [f"$\\psi = {psi:g}$" for psi in psis]))


# --- figures 4 and 5: noise


@torch.no_grad()
def noise_detail(
    generator: Generator,
    *,
    latents: Latents = (1157, 1012),
    psi: float | None = None,
    count: int = 100,
    label: int | None = None,
) -> "Figure":
    """Figure 4: images, the same detail with four realisations of noise, and each pixel's standard deviation.

    The detail is the quarter of the image's width and height that noise changes most. count: realisations for the
    deviation. Raises InputError for a generator without noise inputs.
    """
    _need_noise(generator)
    w = _truncated(generator, w_of(generator, latents, label), psi)
    deviation = noise_deviation(generator, w, count)
    planes = noise_of_seeds(_noise_seeds(latents), generator)
    images, (height, width) = to_rgb(draw(generator, w, planes)), deviation.shape[1:]
    maps = (deviation * (255 / deviation.max().clamp_min(1e-6))).round().to(torch.uint8)[:, None].expand_as(images)
    change = torch.nn.functional.avg_pool2d(deviation[:, None], (height // 4, width // 4), stride=1)[:, 0]
    cells, corners = [], []
    for one, image, map_, spread in zip(w[:, None], images, maps, change, strict=True):
        y, x = divmod(int(spread.argmax()), spread.shape[1])
        again = to_rgb(draw(generator, one.expand(4, -1, -1), noise_of_seeds(range(4), generator)))
        details = grid(enlarge(again[:, :, y : y + height // 4, x : x + width // 4], 2), columns=2)
        rest = (0, width - details.shape[2], 0, height - details.shape[1])  # where a side is no multiple of four
        cells += [image, torch.nn.functional.pad(details, rest, value=255), map_]
        corners.append((x, y))

    gap = _gap(generator)
    table = grid(torch.stack(cells), columns=3, gap=gap)
    titles = ["(a) Generated image", "(b) Details with other noise"]
    titles += [f"(c) Deviation, white: {deviation.max():.1f} of 255"]
    figure = _labelled(table, above=_over_columns(table, titles))
    from matplotlib.patches import Rectangle

    for i, (x, y) in enumerate(corners):
        corner, size = (x, y + i * (height + gap)), (width // 4, height // 4)
        figure.axes[0].add_patch(Rectangle(corner, *size, fill=False, edgecolor="white", linewidth=0.8))
    return figure


@torch.no_grad()
def noise_deviation(generator: Generator, w: Tensor, count: int = 100, *, batch: int = 16) -> Tensor:
    """Standard deviation of each pixel over `count` realisations of noise, [N, H, W], in levels of 255.

    w: [N, num_layers, w_dim]. The realisations are those of seeds 0, 1, ... The deviation is the root mean square over
    channels. Raises InputError for a generator without noise inputs.
    """
    _need_noise(generator)
    deviations = []
    for one in w[:, None]:
        total = squares = 0
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
def noise_layers(
    generator: Generator, *, latents: Latents = (1967, 1555), psi: float | None = None, label: int | None = None
) -> "Figure":
    """Figure 5: noise in all layers, in none, in the fine ones, in the coarse (and middle) ones.

    Below the images is their difference from (b), so many times that it can be seen. Raises InputError for a generator
    without noise inputs.
    """
    _need_noise(generator)
    resolutions = generator.synthesis.layer_resolutions(generator.synthesis.grown[0])
    fine = style_ranges(resolutions[-1])["fine"].start
    chosen = {
        "(a) All layers": range(len(resolutions)),
        "(b) No noise": range(0),
        f"(c) Fine layers ({_span(resolutions[fine:])})": range(fine, len(resolutions)),
        f"(d) Coarse layers ({_span(resolutions[:fine])})": range(fine),
    }
    w = _truncated(generator, w_of(generator, latents, label), psi)
    planes, columns = noise_of_seeds(_noise_seeds(latents), generator), []
    for layers in chosen.values():
        columns.append(to_rgb(draw(generator, w, [plane * (i in layers) for i, plane in enumerate(planes)])))
    images = torch.stack(columns, dim=1)  # [N, 4, C, H, W]
    difference = images.float() - images[:, 1:2].float()
    gain = 2 ** int(math.log2(127 / float(difference.abs().max().clamp(1, 127))))
    rows = torch.stack([images, (difference * gain + 128).clamp(0, 255).to(torch.uint8)], dim=1)  # [N, 2, 4, C, H, W]
    table = grid(rows.flatten(0, 2), columns=4, gap=_gap(generator))
    middles = [(i + 0.5) * table.shape[1] / (2 * len(w)) for i in range(2 * len(w))]
    left = [(y, f"Difference × {gain}") for y in middles[1::2]]
    return _labelled(table, above=_over_columns(table, list(chosen)), left=left)


def _noise_seeds(latents: Latents) -> Sequence[int]:
    """Of the images' own planes: their seeds, or 0, 1, 2, ... for w."""
    return range(len(latents)) if isinstance(latents, Tensor) else latents


def _psi(generator: Generator, psi: float | None) -> float:
    return generator.truncation[0] if psi is None else psi


def _truncated(generator: Generator, w: Tensor, psi: float | None) -> Tensor:
    """w truncated as its makers drew, or with another psi."""
    return generator.truncate(w, _psi(generator, psi), generator.truncation[1])


def _need_noise(generator: Generator) -> None:
    if not generator.config.use_noise:
        raise InputError("this generator has no noise inputs (configs a to d have none); use one of config e or f")


# --- figure 9: training


def training(runs: Sequence[Path | str]) -> "Figure":
    """Figure 9: FID (or KID, where it is not measured) and path lengths over the images seen, a line for each run.

    runs: folders with a metrics.jsonl. The dashed line is where the first of them has reached full resolution. Raises
    InputError where nothing was measured.
    """
    records = [(Path(run).name, _figures_of(Path(run))) for run in runs]
    measured = {name for _, record in records for name in record}
    panels = [[name for name in ("fid", "kid") if name in measured][:1]]
    panels += [[name for name in ("ppl_zfull", "ppl_zend", "ppl_wfull", "ppl_wend") if name in measured]]
    panels = [names for names in panels if names]
    if not panels:
        raise InputError("these runs have measured neither fid, kid nor path lengths; see stylegan train --evaluation")

    with _page() as Figure:
        figure = Figure((WIDTH / 2 * len(panels), WIDTH * 0.4), layout="constrained")
        for names, axes in zip(panels, figure.subplots(1, len(panels), squeeze=False)[0], strict=True):
            for run, record in records:
                for name in names:
                    if name in record:
                        text = f"{run}, {name[4].upper()} {name[5:]}" if name.startswith("ppl") else run
                        axes.plot(*zip(*record[name], strict=True), marker=".", linewidth=1, label=text)
            axes.set(xlabel="thousand images seen", ylabel=names[0].upper() if len(names[0]) == 3 else "path length")
            axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
            if (grown := _grown_at(Path(runs[0]))) is not None:
                axes.axvline(grown, linestyle="--", color="grey", linewidth=0.8)
            axes.legend()
    return figure


def _figures_of(run: Path) -> dict[str, list[tuple[float, float]]]:
    """From a run's record: by name, (thousand images seen, value), each with one latent to an image."""
    figures: dict[str, dict[float, float]] = {}
    for line in read_record(run / "metrics.jsonl"):
        if line.get("latents", 1) == 1 and "images_seen" in line:
            for name, value in line["values"].items():
                figures.setdefault(name, {})[line["images_seen"] / 1000] = value
    return {name: sorted(values.items()) for name, values in figures.items()}


def _grown_at(run: Path) -> float | None:
    """Thousand images after which a run's reports first have the full resolution; None where they do not say."""
    if not (run / "stats.jsonl").exists():
        return None
    reports = []
    for line in (run / "stats.jsonl").read_text().splitlines():
        with suppress(ValueError):  # a line cut short
            reports.append(json.loads(line))
    full = max((report["resolution"] for report in reports), default=0)
    reached = [r["images_seen"] / 1000 for r in reports if r["resolution"] == full and r["fade"] == 0]
    return min(reached, default=None)


# --- figure 6: entanglement


@torch.no_grad()
def entanglement(
    generator: Generator,
    *,
    data: Path | str,
    attributes: Sequence[str],
    classifiers: str | None = None,
    count: int = 4000,
    label: int | None = None,
) -> "Figure":
    """Figure 6 made real: how two attributes lie (a) in the training set, (b) in Z, (c) in W.

    Two classifiers score every image: the score is the share of training images of which the classifier is less sure.
    Z and W are seen along the directions in which the two scores rise (fitted by least squares, the second made
    orthogonal to the first); where they have two dimensions, that is all there is of them. A point has the colour of
    its image's scores, so that bent bands of colour are bent factors of variation. R2 is how much of the scores'
    variance the straight directions explain. Below, for each place, the image whose point is nearest.

    data: the store the generator was trained on. attributes: two names that the classifiers know. classifiers: a file,
    or the name of bundled ones; unless given, bundled ones that know both. count: images of each kind. Raises
    InputError where the classifiers do not fit.
    """
    store = open_store(data)
    judge, columns = _judge(attributes, classifiers)
    judge.check(generator.config)
    if store.resolution < judge.resolution:
        raise InputError(f"{data} has images of {store.resolution} pixels; the classifiers want {judge.resolution}")
    count, stored, device = min(count, store.count), store.images(), generator.w_avg.device
    judge = judge.to(device)
    latents: dict[str, list[Tensor]] = {"z": [], "w": []}
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {"reals": [], "fakes": []}  # logits [n, 2], small images

    def look(images: Tensor) -> tuple[Tensor, Tensor]:
        logits = judge(to_channels(images, judge.networks[0].config.channels))[:, columns]
        while images.shape[3] > 64:
            images = ops.downsample(images)
        return logits.cpu(), to_uint8(images).cpu()

    for start in range(0, count, 64):
        seeds = range(start, min(start + 64, count))
        real = torch.tensor(stored[seeds.start : seeds.stop]).permute(0, 3, 1, 2)
        z = z_of_seeds(seeds, generator.config.z_dim)
        w = w_of_z(generator, z, labels_of(generator, label, len(z)))
        fake = generator.synthesis(w, noise=noise_of_seeds(seeds, generator))
        seen["reals"].append(look(from_uint8(real).to(device)))
        seen["fakes"].append(look(ops.upsample_to(fake, generator.config.resolution)))
        latents["z"].append(z)
        latents["w"].append(w[:, 0].cpu())

    logits, images = ({k: torch.cat([pair[i] for pair in pairs]) for k, pairs in seen.items()} for i in (0, 1))
    ascending = logits["reals"].T.contiguous().sort(dim=1).values  # [2, N]
    scores = {k: torch.searchsorted(ascending, values.T.contiguous()).T / count for k, values in logits.items()}
    panels = [_Panel("(a) Training set", scores["reals"], scores["reals"], images["reals"])]
    for space, title in (("z", "(b) Z"), ("w", "(c) W"))[: 2 if generator.has_w else 1]:
        points, explained = _along_the_scores(torch.cat(latents[space]), scores["fakes"])
        panels.append(_Panel(f"{title}, $R^2$ = {explained:.2f}", points, scores["fakes"], images["fakes"]))
    return _drawn_panels(panels, attributes)


class _Panel(NamedTuple):
    title: str
    points: Tensor  # [N, 2]: where the images lie
    scores: Tensor  # [N, 2] in [0, 1]
    images: Tensor  # uint8 [N, C, H, W]


def _judge(attributes: Sequence[str], classifiers: str | None) -> tuple[AttributeClassifiers, list[int]]:
    """Classifiers, and which of their outputs the two attributes are."""
    if len(attributes) != 2:
        raise InputError(f"this figure shows two attributes, not {len(attributes)}")
    found = [load_classifiers(name) for name in ([classifiers] if classifiers else bundled_classifiers())]
    fitting = [judge for judge in found if set(attributes) <= set(judge.names)]
    if not fitting:
        known = ", ".join(name for judge in found for name in judge.names)
        raise InputError(f"there is no classifier of {' and '.join(attributes)}; the classifiers know {known}")
    return fitting[0], [fitting[0].names.index(name) for name in attributes]


def _along_the_scores(latents: Tensor, scores: Tensor) -> tuple[Tensor, float]:
    """Latents [N, D] seen along the directions of the two scores [N, 2]: [N, 2]; and R2 of the linear fit."""
    x, y = latents.double() - latents.double().mean(dim=0), scores.double() - scores.double().mean(dim=0)
    directions = torch.linalg.lstsq(x, y, driver="gelsd").solution  # [D, 2]; W may have fewer dimensions than numbers
    explained = 1 - (y - x @ directions).square().sum() / y.square().sum()
    first = torch.nn.functional.normalize(directions[:, 0], dim=0)
    second = torch.nn.functional.normalize(directions[:, 1] - (directions[:, 1] @ first) * first, dim=0)
    return torch.stack([x @ first, x @ second], dim=1).float(), float(explained)


CORNERS = torch.tensor([[[0.20, 0.25, 0.55], [0.95, 0.65, 0.15]], [[0.15, 0.65, 0.70], [0.85, 0.20, 0.30]]])
"""Colours of (low, low) and (high, low) scores, then of (low, high) and (high, high)."""


def _drawn_panels(panels: Sequence[_Panel], attributes: Sequence[str]) -> "Figure":
    """Above, the points in the colours of their scores; below, images at their places."""
    places = 9
    with _page() as Figure:
        figure = Figure((WIDTH, 2 * WIDTH / len(panels) + 0.3), layout="constrained")
        axes = figure.subplots(2, len(panels), squeeze=False)
        for i, (title, points, scores, images) in enumerate(panels):
            x, y = scores[:, 0, None], scores[:, 1, None]
            colours = (1 - y) * torch.lerp(*CORNERS[0], x) + y * torch.lerp(*CORNERS[1], x)
            low, high = torch.quantile(points, torch.tensor([0.005, 0.995]), dim=0)
            (left, bottom), (right, top) = low.tolist(), high.tolist()
            axes[0, i].scatter(*points.T.numpy(), c=colours.numpy(), s=3, linewidths=0, rasterized=True)
            axes[0, i].set(title=title, xlim=(left, right), ylim=(bottom, top), box_aspect=1)
            more = [f"{name.replace('_', ' ')} →" for name in attributes]
            axes[0, i].set(xlabel=more[0], ylabel=more[1], xticks=[], yticks=[])

            place = (points - low) / (high - low) * places - 0.5  # a whole number in the middle of each
            cells = [torch.full_like(images[0], 255) for _ in range(places**2)]
            for row in range(places):
                for column in range(places):
                    distance = (place - torch.tensor([column, row])).norm(dim=1)
                    if distance.min() < 0.5:
                        cells[(places - 1 - row) * places + column] = images[distance.argmin()]
            sheet = to_rgb(grid(torch.stack(cells), places)[None])[0]
            axes[1, i].imshow(enlarge(sheet, 2).permute(1, 2, 0).numpy(), interpolation="antialiased")
            axes[1, i].set_axis_off()
    return figure


# --- a run's own


def progress(grids: Sequence[Path], height: int, *, rows: int = 10, factor: int = 3) -> Image.Image:
    """How a run's samples came about: the first row of some of its grids, from the first to the last.

    grids: the files `fakes-*.png` of a run, in order. height: that of one image in them, in pixels. rows: how many
    are shown, at most. factor: enlargement.
    """
    shown = [grids[round(i * (len(grids) - 1) / max(rows - 1, 1))] for i in range(rows)]
    shown = list(dict.fromkeys(shown))
    with Image.open(shown[0]) as first:
        sheet = Image.new(first.mode, (first.width, height * len(shown)))
    for i, path in enumerate(shown):
        with Image.open(path) as picture:
            sheet.paste(picture.crop((0, 0, sheet.width, height)), (0, i * height))
    return sheet.resize((sheet.width * factor, sheet.height * factor), Image.Resampling.NEAREST)


# --- what the figures share


def _gap(generator: Generator) -> int:
    """Pixels between the images of a table."""
    return max(1, generator.synthesis.grown[0] // 64)


def _span(resolutions: Sequence[int]) -> str:
    return f"{resolutions[0]}–{resolutions[-1]}" if resolutions[0] != resolutions[-1] else f"{resolutions[0]}"


def _over_columns(table: Tensor, texts: Sequence[str]) -> list[tuple[float, str]]:
    """Texts over the middle of a table's equal columns."""
    return [((i + 0.5) * table.shape[2] / len(texts), text) for i, text in enumerate(texts)]


WIDTH = 7.0  # inches, that of a page's text


@contextmanager
def _page() -> "Iterator[type[Figure]]":
    """Matplotlib's Figure, whose texts have the size of a caption. Raises InputError where it is not installed."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            "figures with text need matplotlib; install it with: pip install 'stylegan[figures]'"
        ) from error
    with rc_context({"font.size": 8, "axes.titlesize": 8, "axes.linewidth": 0.6, "figure.dpi": 200}):
        yield Figure


def _labelled(
    picture: Tensor, *, above: Sequence[tuple[float, str]] = (), left: Sequence[tuple[float, str]] = ()
) -> "Figure":
    """A picture uint8 [C, H, W] with texts above it and, upright, to its left; their middles in its pixels.

    Its pixels stay what they are: each becomes a square of whole pixels.
    """
    factor = max(1, round(1400 / picture.shape[2]))
    pixels = enlarge(to_rgb(picture[None])[0] if len(picture) == 1 else picture, factor).permute(1, 2, 0).numpy()
    dpi = round(pixels.shape[1] / WIDTH)
    top, side = round(0.25 * dpi), round(0.4 * dpi) if left else 0
    height, width = pixels.shape[0] + top, pixels.shape[1] + side
    with _page() as Figure:
        figure = Figure((width / dpi, height / dpi), dpi)
        axes = figure.add_axes((side / width, 0, pixels.shape[1] / width, pixels.shape[0] / height))
        axes.imshow(pixels, interpolation="none", extent=(0, picture.shape[2], picture.shape[1], 0))
        axes.set_axis_off()
        for x, text in above:
            axes.annotate(text, (x, 0), (0, 4), textcoords="offset points", ha="center", va="bottom")
        for y, text in left:
            axes.annotate(text, (0, y), (-3, 0), textcoords="offset points", ha="right", va="center", rotation=90)
    return figure


def save_figure(figure: "Tensor | Figure", path: Path | str) -> None:
    """Write a figure as PNG; one with text also as PDF. Raises InputError for another ending."""
    path = Path(path)
    if isinstance(figure, Tensor):
        if path.suffix != ".png":
            raise InputError(f"{path}: this figure has no text and is an image; write a .png file")
        save_image(figure, path, sheet=True)
        return
    if path.suffix not in (".png", ".pdf"):
        raise InputError(f"{path}: figures are written as .png or .pdf")
    with atomic_file(path) as file:
        figure.savefig(file, format=path.suffix[1:])


FIGURES = {
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
