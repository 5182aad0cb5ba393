"""How a run stands, from its files alone: `status`."""

import time
from dataclasses import dataclass
from pathlib import Path

from stylegan import run_files
from stylegan.data.store import open_store
from stylegan.errors import InputError
from stylegan.metrics.record import read_record
from stylegan.training import run_folder
from stylegan.training.advice import About, Said, advise, history
from stylegan.training.config import TrainingConfig
from stylegan.training.monitor import passes
from stylegan.training.pace import Pace
from stylegan.training.report import Best, best_scores


@dataclass(frozen=True)
class Status:
    """A run at this moment."""

    run: Path
    config: TrainingConfig
    images_seen: int
    """What its newest state or report has seen."""
    total_images: int
    passes: str
    """Pass over the data: "pass 37 of 250"; "" where the store is not to be found."""
    resolution: int
    fade: float
    """Weight of the next lower resolution, [0, 1)."""
    images_per_second: float | None
    seconds: float
    """Of training so far."""
    seconds_left: float | None
    """Estimate; None where nothing has been measured, and 0 where the run is finished."""
    idle: float | None
    """Seconds since a report or state was written; None where there is none."""
    scores: list[Best]
    warnings: list[str]
    """Advice that holds now."""
    last_warning: Said | None
    """Advice that was last given, whether it still holds or not."""
    models: list[str]
    states: list[str]
    grids: list[str]
    others: list[str]
    """report.html, best.safetensors and the like, as far as they are there."""
    bytes: int
    """Size of all files in the folder."""

    @property
    def finished(self) -> bool:
        return self.images_seen >= self.total_images


OTHERS = ("report.html", "best.safetensors", "memorization.png", "stats.jsonl", "metrics.jsonl")


def status(run: Path | str) -> Status:
    """How the run in a folder stands. Nothing is loaded but small files. Raises InputError where there is no run."""
    run = Path(run)
    config = run_folder.read_run(run)
    stats = run_files.read_stats(run)
    record = read_record(run / "metrics.jsonl")
    last = stats[-1] if stats else {}
    total = int(config.schedule.total_kimg * 1000)
    models, states, grids = (run_files.own(run, kind) for kind in ("model", "state", "fakes"))
    seen = max([last.get("images_seen", 0), *(run_files.images_seen_of(path) for path in states[-1:])])
    try:
        images = open_store(config.data).count
    except InputError:
        images = 0
    about = About(images, config.loss.kind, total)
    written = [path.stat().st_mtime for path in [*states[-1:], run / "stats.jsonl"] if path.exists()]
    return Status(
        run=run,
        config=config,
        images_seen=seen,
        total_images=total,
        passes=passes(seen, total, images) if images else "",
        resolution=last.get("resolution", config.schedule.initial_resolution),
        fade=last.get("fade", 0.0),
        images_per_second=last.get("images_per_second"),
        seconds=last.get("seconds", 0.0),
        seconds_left=_seconds_left(config, stats, seen),
        idle=time.time() - max(written) if written else None,
        scores=best_scores(record),
        warnings=advise(stats, record, about),
        last_warning=next(reversed(history(stats, record, about)), None),
        models=[path.name for path in models],
        states=[path.name for path in states],
        grids=[path.name for path in grids],
        others=[name for name in OTHERS if (run / name).is_file()],
        bytes=sum(path.stat().st_size for path in run.rglob("*") if path.is_file()),
    )


def _seconds_left(config: TrainingConfig, stats: list[dict], images_seen: int) -> float | None:
    pace = Pace(config.generator, config.discriminator)
    pace.recall(stats)
    try:
        return pace.seconds_left(config.schedule, config.generator.resolution, images_seen)
    except ValueError:  # nothing has been measured
        return None
