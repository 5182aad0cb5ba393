"""A run's folder: run.json, which says what the run is, and which states, models and grids are kept."""

import json
import warnings
from dataclasses import fields, is_dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch

from stylegan import processes, run_files
from stylegan.config import from_dict, to_dict
from stylegan.data.store import Store
from stylegan.device import bfloat16_gain, pick_precision
from stylegan.errors import InputError, InputWarning
from stylegan.files import atomic_file, remove_abandoned
from stylegan.metrics.metric import EvaluateConfig
from stylegan.training import state_file
from stylegan.training.config import TrainingConfig

# options that may change when a run is resumed
_MAY_CHANGE = {"data", "device", "keep", "micro_batch", "model_ticks", "evaluation_ticks", "schedule.total_kimg"}
_MAY_CHANGE |= {"schedule.decay_kimg", "recompute_from", "threads", "graphs", "report"}
_MAY_CHANGE |= {f"evaluation.{field.name}" for field in fields(EvaluateConfig)}


# --- run.json


def read_run(run_dir: Path | str) -> TrainingConfig:
    """The configuration that a run began with. Raises InputError where run.json is missing or damaged."""
    path = Path(run_dir) / "run.json"
    if not path.is_file():
        raise InputError(f"{run_dir} holds no run: there is no {path}")
    try:
        return from_dict(TrainingConfig, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:  # InputError, and what is no JSON or UTF-8, among them
        raise InputError(f"{path} cannot be used ({error}); restore it, or choose another folder") from error


def settled(config: TrainingConfig, run_dir: Path, device: torch.device) -> TrainingConfig:
    """The configuration with what it leaves to the program decided: for a new run by this machine, else as it began.

    Nothing is written. An automatic precision is decided in the first process only. Raises InputError where
    the folder holds a run with other options.
    """
    if run_dir.exists() and not run_dir.is_dir():
        raise InputError(f"{run_dir} is a file; choose another folder for the run")
    if (run_dir / "run.json").exists():
        config = _as_begun(config, run_dir, device)
    elif run_files.own(run_dir, "state"):
        raise InputError(f"{run_dir} holds training states but no run.json; restore it, or choose another folder")
    if config.precision != "auto" or processes.rank() == 0:  # what is measured, the first process measures
        config = replace(config, precision=pick_precision(config.precision, device))
    return replace(config, threads=config.threads or torch.get_num_threads())


def _as_begun(config: TrainingConfig, run_dir: Path, device: torch.device) -> TrainingConfig:
    before = read_run(run_dir)
    if before.precision == "auto":  # of version 0.1
        before = replace(before, precision="tf32" if device.type == "cuda" else "float32")
    config = replace(
        config,
        precision=before.precision if config.precision == "auto" else config.precision,
        threads=config.threads or before.threads,
        taken_over=before.taken_over,
        images_before=before.images_before,
    )
    refuse_changes(run_dir, options(before), options(config))
    if config.precision == "bf16" and device.type == "cpu" and bfloat16_gain() < 1:
        warnings.warn("the run computes in bf16, which this processor is slow at", InputWarning, stacklevel=2)
    return config


def refuse_changes(run_dir: Path | str, began: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise InputError, with both values, where an option has changed that must not. Both tables: name -> value."""
    changed = [name for name in now if now[name] != began[name] and name not in _MAY_CHANGE]
    if changed:
        differences = "; ".join(f"{name} {_told(began[name])}, now {_told(now[name])}" for name in changed[:5])
        more = f"; and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise InputError(
            f"the run in {run_dir} began with {differences}{more}: leave out what differs to go on, or choose another "
            "folder for a new run"
        )


def options(config: Any, prefix: str = "") -> dict[str, Any]:
    """All values of a configuration, by the names of their options: {"generator.z_dim": 512, ...}."""
    table: dict[str, Any] = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            table |= options(value, f"{prefix}{field.name}.")
        else:
            table[f"{prefix}{field.name}"] = tuple(value) if isinstance(value, list) else value
    return table


def _told(value: Any) -> str:
    """As it is written on the command line."""
    if isinstance(value, dict):
        return ",".join(f"{key}:{entry:g}" for key, entry in value.items())
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value) or '""'


def begin(config: TrainingConfig, run_dir: Path) -> None:
    """Create the folder, where there is none, and write run.json and an empty record of files.

    Of a run of an earlier version, which has no record, all files with names of a run's are in it.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    run_files.begin_record(run_dir, adopt=(run_dir / "run.json").exists())
    with atomic_file(run_dir / "run.json") as file:
        file.write((json.dumps(to_dict(config), indent=2) + "\n").encode())


def check_store(config: TrainingConfig, store: Store) -> None:
    """Raise InputError where a run's networks do not fit its data."""
    g = config.generator
    if g.resolution > store.resolution or g.channels != store.channels:
        raise InputError(
            f"{store.path} holds {store.resolution} x {store.resolution} images of {store.channels} channels, the "
            f"networks are for {g.resolution} x {g.resolution} of {g.channels}; prepare the data again or change "
            "the networks"
        )
    if g.label_count and g.label_count != store.label_count:
        raise InputError(
            f"{store.path} has {store.label_count} classes, the networks are for {g.label_count}; set both "
            f"label_count to {store.label_count} (0 ignores the labels)"
        )
    if config.augment.judge == "held-out" and store.held_out() is None:
        raise InputError(
            f"{store.path} has no held-out images for augment.judge; prepare it with --hold-out, or set that to reals"
        )


# --- states, models, grids


def load_newest_state(run_dir: Path) -> dict[str, Any] | None:
    """The newest of the run's states that can be read, or None where there is none at all.

    Warns of every newer one that is damaged, by name. Raises InputError if all are.
    """
    paths = run_files.own(run_dir, "state")
    for path in reversed(paths):
        try:
            return state_file.load(path)
        except InputError as error:
            warnings.warn(f"{error}; it is not used", InputWarning, stacklevel=2)
    if paths:
        raise InputError(f"no training state in {run_dir} can be read; remove state-*.pt to begin anew")
    return None


def refuse_strangers(run_dir: Path, images_seen: int) -> None:
    """Raise InputError where the folder has files of a later time that the run, by its record, has not written.

    It would come to write files of these names, and they may be its own, where an older record has been put back.
    """
    later = [path for path in run_files.strangers(run_dir) if run_files.images_seen_of(path) > images_seen]
    if later:
        raise InputError(
            f"{later[0]} is none of this run's files, by the record in {run_files.RECORD}; move it away, or choose "
            "another folder (or add its name to the record, if an older record has been put back)"
        )


def discard_after(run_dir: Path, images_seen: int) -> None:
    """Set aside damaged states, and remove models and grids, of a time that the run has not reached (any more).

    The names sort by age, and what is pruned or taken for the newest goes by them.
    """
    for path in run_files.own(run_dir, "state"):
        if run_files.images_seen_of(path) > images_seen:
            path.rename(_free_name(path.with_suffix(".damaged")))
    for path in [*run_files.own(run_dir, "model"), *run_files.own(run_dir, "fakes")]:
        if run_files.images_seen_of(path) > images_seen:
            path.unlink()


def _free_name(path: Path) -> Path:
    """The path, or where something is there the first of path-2, path-3, ... that is free."""
    others = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return next(each for each in chain([path], others) if not each.exists())


def prune(run_dir: Path, kind: run_files.Kind, keep: int, before: int | None = None) -> None:
    """Remove all but the newest `keep` of the run's files of a kind; 0 keeps all.

    before: images seen, of files before which the newest is kept too.
    """
    paths = run_files.own(run_dir, kind)
    spared = [path for path in paths if before is not None and run_files.images_seen_of(path) < before][-1:]
    for path in paths[:-keep] if keep > 0 else ():
        if path not in spared:
            path.unlink(missing_ok=True)


def diverged(run_dir: Path, trouble: str, images_seen: int, first_sign: int | None) -> str:
    """The sentence with which a training ends that has diverged, and that says what is kept from before."""
    before = images_seen if first_sign is None else first_sign
    kept = [
        [path.name for path in run_files.own(run_dir, kind) if run_files.images_seen_of(path) < before][-1:]
        for kind in ("state", "model")
    ]
    names = " and ".join(chain(*kept)) or "nothing"
    begin = " (--start-from that model, if you like)" if kept[1] else ""
    return (
        f"training has diverged at {images_seen / 1000:.1f} kimg: {trouble}; kept from before it: {names}; lower "
        f"schedule.learning_rate or raise loss.r1_gamma, and start a new run{begin}"
    )


def remove_leftovers(run_dir: Path) -> None:
    """Remove what a killed run left half-written."""
    remove_abandoned(run_dir, run_files.is_name_of_ours)
