"""The figures of the paper that plot numbers: 6, entanglement, and 9, the course of training.

They are matplotlib's, and become PNG or PDF files.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from stylegan.classifiers.model import AttributeClassifiers, bundled_classifiers, load_classifiers
from stylegan.data.store import open_store
from stylegan.errors import InputError
from stylegan.extras import need_matplotlib
from stylegan.images import enlarge, from_uint8, grid, on_white, to_uint8
from stylegan.metrics.record import read_record
from stylegan.metrics.stream import to_channels
from stylegan.networks import ops
from stylegan.networks.generator import Generator
from stylegan.recipe import Recipe, resolve
from stylegan.run_files import read_stats

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 7.0  # inches, that of a page's text


@contextmanager
def page() -> "Iterator[type[Figure]]":
    """Matplotlib's Figure, whose texts have the size of a caption. Raises InputError where it is not installed."""
    need_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": 8, "axes.titlesize": 8, "axes.linewidth": 0.6, "figure.dpi": 200}):
        yield Figure


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
    orthogonal to the first); where they have two dimensions, that is all there is of them. A point has the color of
    its image's scores, so that bent bands of color are bent factors of variation. R2 is how much of the scores'
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
        logits = judge(to_channels(images, judge.channels))[:, columns]
        while images.shape[3] > 64:
            images = ops.downsample(images)
        return logits.cpu(), to_uint8(images).cpu()

    for start in range(0, count, 64):
        seeds = range(start, min(start + 64, count))
        real = torch.tensor(stored[seeds.start : seeds.stop]).permute(0, 3, 1, 2)
        drawn = resolve(Recipe(range(count), label=label, psi=1.0), generator, slice(seeds.start, seeds.stop))
        fake = generator.synthesis(drawn.w, noise=drawn.noise)
        seen["reals"].append(look(from_uint8(real).to(device)))
        seen["fakes"].append(look(ops.upsample_to(fake, generator.config.resolution)))
        latents["z"].append(drawn.z)
        latents["w"].append(drawn.w[:, 0].cpu())

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
"""Colors of (low, low) and (high, low) scores, then of (low, high) and (high, high)."""


def _drawn_panels(panels: Sequence[_Panel], attributes: Sequence[str]) -> "Figure":
    """Above, the points in the colors of their scores; below, images at their places."""
    places = 9
    with page() as Figure:
        figure = Figure((WIDTH, 2 * WIDTH / len(panels) + 0.3), layout="constrained")
        axes = figure.subplots(2, len(panels), squeeze=False)
        for i, (title, points, scores, images) in enumerate(panels):
            x, y = scores[:, 0, None], scores[:, 1, None]
            low_row, high_row = torch.lerp(CORNERS[:, :1], CORNERS[:, 1:], x)  # [N, 3] each
            colors = torch.lerp(low_row, high_row, y)
            low, high = torch.quantile(points, torch.tensor([0.005, 0.995]), dim=0)
            (left, bottom), (right, top) = low.tolist(), high.tolist()
            axes[0, i].scatter(*points.T.numpy(), c=colors.numpy(), s=3, linewidths=0, rasterized=True)
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
            sheet = on_white(grid(torch.stack(cells), places))
            axes[1, i].imshow(enlarge(sheet, 2).permute(1, 2, 0).numpy(), interpolation="antialiased")
            axes[1, i].set_axis_off()
    return figure


# --- figure 9: training


def training(runs: Sequence[Path | str]) -> "Figure":
    """Figure 9: FID (or KID, where it is not measured) and path lengths over the images seen, a line for each run.

    runs: folders with a metrics.jsonl. The dashed line is where the first of them has reached full resolution. Raises
    InputError where nothing was measured.
    """
    records = [(Path(run).name, _scores_of(Path(run))) for run in runs]
    measured = {name for _, record in records for name in record}
    panels: list[Sequence[str]] = [[name for name in ("fid", "kid") if name in measured][:1]]
    panels += [[name for name in ("ppl_zfull", "ppl_zend", "ppl_wfull", "ppl_wend") if name in measured]]
    panels = [names for names in panels if names]
    if not panels:
        raise InputError("these runs have measured neither fid, kid nor path lengths; see stylegan train --evaluation")

    with page() as Figure:
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
                axes.axvline(grown, linestyle="--", color="gray", linewidth=0.8)
            axes.legend()
    return figure


def _scores_of(run: Path) -> dict[str, list[tuple[float, float]]]:
    """From a run's record: by name, (thousand images seen, value), each with one latent to an image."""
    scores: dict[str, dict[float, float]] = {}
    for line in read_record(run / "metrics.jsonl"):
        if line.get("latents", 1) == 1 and "images_seen" in line:
            for name, value in line["values"].items():
                scores.setdefault(name, {})[line["images_seen"] / 1000] = value
    return {name: sorted(values.items()) for name, values in scores.items()}


def _grown_at(run: Path) -> float | None:
    """Thousand images after which a run's reports first have the full resolution; None where they do not say."""
    reports = read_stats(run)
    full = max((report.get("resolution", 0) for report in reports), default=0)
    reached = [r["images_seen"] / 1000 for r in reports if r.get("resolution") == full and r.get("fade") == 0]
    return min(reached, default=None)
