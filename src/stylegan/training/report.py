"""report.html: a page about a run, in one file, renewed while it trains: samples, curves, scores, advice, options."""

import base64
import io
import json
import re
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from PIL import Image

from stylegan import run_files
from stylegan.config import to_dict
from stylegan.data.store import Store
from stylegan.errors import InputWarning
from stylegan.files import atomic_file
from stylegan.metrics.metric import METRICS
from stylegan.metrics.record import named_values, read_record
from stylegan.training.advice import About, advise, history
from stylegan.training.config import TrainingConfig
from stylegan.training.monitor import passes
from stylegan.training.report_page import PAGE

NAME = "report.html"
PAIRS = "memorization.png"  # of the metric, beside the scores
GRIDS = 24  # at most so many, evenly spaced
WIDTH = 720  # pixels of a grid in the page, at most
QUALITY = 78  # of their JPEG
POINTS = 400  # of a curve, at most
INTERVAL = 30  # seconds between renewals, at least
SHARE = 0.01  # of the time, at most
CURVES = {
    "Losses": {"loss_g": "G", "loss_d": "D"},
    "Scores by D": {"score_real": "training images", "score_fake": "fakes", "score_held_out": "held-out"},
    "Gradient norms": {"gradient_norm_g": "G", "gradient_norm_d": "D"},
    "Variety of the samples": {"variety": ""},
    "Augmentation": {"augment_strength": ""},
    "Images a second": {"images_per_second": ""},
}
"""Titles of the charts, and what of stats.jsonl they show, with what each line is called."""


@dataclass(frozen=True)
class Best:
    """A score over a run: the newest, the best, and after how many images that was."""

    name: str
    newest: float
    best: float
    images_seen: int


class Reporter:
    """Says what goes wrong in a run, and keeps its report. With `active` False (all ranks but the first) it does
    nothing; what it does changes nothing of the training."""

    def __init__(
        self, config: TrainingConfig, store: Store, run_dir: Path, say: Callable[[str], None], *, active: bool = True
    ) -> None:
        self.config, self.store, self.run_dir, self._say, self.active = config, store, run_dir, say, active
        self._about = About(store.count, config.loss.kind, int(config.schedule.total_kimg * 1000))
        self._stats: list[dict[str, Any]] | None = None
        self._holds: list[str] = []
        self._said: list[tuple[int, str]] = []
        self._grids: dict[str, str] = {}
        self._next = 0.0  # when the page may be written again
        self._warned = False

    def renew(self, record: dict[str, Any] | None = None, *, last: bool = False) -> None:
        """Take note of a tick's line of stats.jsonl, say what is new, and renew the page where it is time, or where
        this is the last tick."""
        if not self.active:
            return
        scores = read_record(self.run_dir / "metrics.jsonl")
        if self._stats is None:
            self._stats = run_files.read_stats(self.run_dir)
            self._said = [(each.images_seen, each.sentence) for each in history(self._stats, scores, self._about)]
            self._holds = advise(self._stats, scores, self._about)
            self._grids = _grids_of(self.run_dir / NAME) if self.config.report else {}
        if record is not None:
            self._stats = [line for line in self._stats if line["images_seen"] < record["images_seen"]] + [record]
            holds = advise(self._stats, scores, self._about)
            for sentence in holds:
                if sentence not in self._holds:
                    self._say(f"advice: {sentence}")
                    self._said.append((record["images_seen"], sentence))
            self._holds = holds
        if self.config.report and (last or time.monotonic() >= self._next):
            start = time.monotonic()
            seen = self._stats[-1]["images_seen"] if self._stats else 0
            self._write(scores, ended=last or seen >= self._about.total_images)
            self._next = time.monotonic() + max(INTERVAL, (time.monotonic() - start) / SHARE)

    def _write(self, scores: list[dict[str, Any]], *, ended: bool) -> None:
        names = _spaced([path.name for path in run_files.own(self.run_dir, "fakes")])
        try:
            self._grids = {
                name: self._grids.get(name) or _as_jpeg(self.run_dir / name)
                for name in [*(["reals.png"] if (self.run_dir / "reals.png").is_file() else []), *names]
            }
            pairs = self.run_dir / PAIRS
            content = page(
                self.config,
                self.store.count,
                self._stats or [],
                scores,
                self._grids,
                self._said,
                self._holds,
                ended,
                pairs=_as_jpeg(pairs) if pairs.is_file() else "",
            )
            with atomic_file(self.run_dir / NAME) as file:
                file.write(content.encode())
        except (OSError, ValueError) as error:  # Pillow's, for pictures that are none
            if not self._warned:
                reason = getattr(error, "strerror", None) or error
                sentence = f"{NAME} cannot be written ({reason}); training goes on without"
                warnings.warn(sentence, InputWarning, stacklevel=3)
            self._warned = True


def page(
    config: TrainingConfig,
    images: int,
    stats: list[dict[str, Any]],
    scores: list[dict[str, Any]],
    grids: dict[str, str],
    said: list[tuple[int, str]],
    holds: list[str],
    ended: bool,
    *,
    pairs: str = "",
) -> str:
    """The whole page as HTML. grids: data URLs by file name. said: what was advised, and after how many images; holds:
    what of it still is. pairs: data URL of the samples nearest to training images."""
    total = config.schedule.total_kimg * 1000
    seen = stats[-1]["images_seen"] if stats else 0
    facts = {
        "title": Path(config.data).name or "run",
        "preset": config.preset,
        "seen": seen,
        "total": total,
        "passes": passes(seen, total, images),
        "seconds": stats[-1].get("seconds", 0) if stats else 0,
        "speed": stats[-1].get("images_per_second", 0) if stats else 0,
        "resolution": stats[-1].get("resolution", 0) if stats else config.schedule.initial_resolution,
        "written": time.strftime("%Y-%m-%d %H:%M"),
        "ended": ended,
    }
    data = {
        "facts": facts,
        "grids": [[name, url] for name, url in grids.items()],
        "pairs": pairs,
        "charts": _charts(stats) + _score_charts(scores),
        "scores": [
            [each.name, _short(each.newest), _short(each.best), each.images_seen] for each in best_scores(scores)
        ],
        "advice": [[seen, sentence, sentence in holds] for seen, sentence in reversed(said)][:50],
        "began": list(config.taken_over),
        "config": json.dumps(to_dict(config), indent=2),
    }
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")  # nothing in it ends the script
    return PAGE.replace("@DATA@", text)


def _charts(stats: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the page draws: title, and for each line its name and points [images seen, value]."""
    kept = _thinned(stats)
    charts = []
    for title, names in CURVES.items():
        points = {
            label: [[line["images_seen"], _short(line[name])] for line in kept if name in line]
            for name, label in names.items()
        }
        lines = [[label, found] for label, found in points.items() if found]
        if lines:
            charts.append({"title": title, "lines": lines})
    return charts


def _score_charts(scores: list[dict[str, Any]]) -> list[dict[str, Any]]:
    curves: dict[str, list[list[float]]] = {}
    for line in scores:
        for name, value in named_values(line).items():
            if "images_seen" in line and not name.partition("_mobilenet")[0].endswith("_std") and isfinite(value):
                curves.setdefault(name, []).append([line["images_seen"], _short(value)])
    found = {name: points for name, points in curves.items() if len(points) > 1}  # else the table says all
    return [{"title": name, "lines": [["", _thinned(points)]]} for name, points in found.items()]


def best_scores(scores: list[dict[str, Any]]) -> list[Best]:
    """The first value of each metric in a record, in the order in which they were first measured."""
    found: dict[str, Best] = {}
    for line in scores:
        name, value = next(iter(named_values(line).items()))
        if not isfinite(value):
            continue
        before = found.get(name)
        higher = line["metric"] in METRICS and METRICS[line["metric"]].better == "higher"
        if before is None or (value > before.best if higher else value < before.best):
            found[name] = Best(name, value, value, line.get("images_seen", 0))
        else:
            found[name] = replace(before, newest=value)
    return list(found.values())


def _thinned(items: list[Any]) -> list[Any]:
    step = -(-len(items) // POINTS)
    return items[:: max(step, 1)] + (items[-1:] if step > 1 and (len(items) - 1) % step else [])


def _spaced(names: list[str]) -> list[str]:
    """At most so many, evenly spaced, the first and the last among them; those that stay stay in longer lists too."""
    step = 1
    while -(-len(names) // step) > GRIDS - 1:
        step *= 2
    kept = names[::step]
    return kept if not names or kept[-1] == names[-1] else [*kept, names[-1]]


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _as_jpeg(path: Path) -> str:
    """An image file as a data URL, small."""
    with Image.open(path) as picture:
        picture.thumbnail((WIDTH, 4 * WIDTH), reducing_gap=2.0)
        white = Image.new("RGB", picture.size, "white")
        white.paste(picture, mask=picture.getchannel("A") if picture.mode == "RGBA" else None)
    file = io.BytesIO()
    white.save(file, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _grids_of(path: Path) -> dict[str, str]:
    """The grids of an earlier page, so that they need not be made again; {} where there are none."""
    try:
        found = re.search(
            r'<script type="application/json" id="data">(.*?)</script>', path.read_text("utf-8"), re.DOTALL
        )
        return {str(name): str(url) for name, url in json.loads(found[1])["grids"]} if found else {}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}
