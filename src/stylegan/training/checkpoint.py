"""The training state: one file of plain tensors and numbers, written atomically, checked when it is read."""

from pathlib import Path
from typing import Any

import torch

from stylegan.errors import InputError
from stylegan.files import atomic_file
from stylegan.interop import torch_files

FORMAT_VERSION = 1


def path_of(run_dir: Path, images_seen: int) -> Path:
    """Name of the state after so many images; names sort by age."""
    return run_dir / f"state-{images_seen:010d}.pt"


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a state so that the file is, at any moment, absent or complete."""
    try:
        with atomic_file(path) as file:
            torch.save({"kind": "stylegan-state", "format_version": FORMAT_VERSION, **state}, file)
    except RuntimeError as error:  # torch reports a full disk so
        raise OSError(f"{path.name} could not be written: {error}") from error


def load(path: Path) -> dict[str, Any]:
    """Read a state. Raises InputError, naming the file, where it is cut short, damaged or of another version."""
    if not path.is_file():
        raise InputError(f"there is no training state {path}")
    state = torch_files.load(path)
    if not isinstance(state, dict) or state.get("kind") != "stylegan-state":
        raise InputError(f"{path.name} is not a training state")
    if state.get("format_version") != FORMAT_VERSION:
        raise InputError(f"{path.name} has format version {state.get('format_version')}, not {FORMAT_VERSION}"[:200])
    match state:
        case {
            "data": str(),
            "images_seen": int(),
            "tick": int(),
            "tick_start": int(),
            "seconds": int() | float(),
            "stage": None | (int(), bool()),
            "resolution_and_fade": (int(), int() | float()),
            "skipped": {"g": int(), "d": int()},
            "skipped_in_a_row": {"g": int(), "d": int()},
            "g": dict(),
            "d": dict(),
            "g_ema": dict(),
            "g_adam": dict(),
            "d_adam": dict(),
        } if len(state) == 16:
            return state
    raise InputError(f"{path.name} does not hold what a training state does")


def load_newest(run_dir: Path, warn) -> dict[str, Any] | None:
    """The newest state that can be read, or None where there is none at all.

    Every newer one that is damaged is reported through `warn`, by name. Raises InputError if all are.
    """
    paths = sorted(run_dir.glob("state-*.pt"), reverse=True)
    for path in paths:
        try:
            return load(path)
        except InputError as error:
            warn(f"{error}; it is not used")
    if paths:
        raise InputError(f"no training state in {run_dir} can be read; remove state-*.pt to begin anew")
    return None


def discard_after(run_dir: Path, images_seen: int) -> None:
    """Set aside damaged states, and remove models and grids, of a time that the run has not reached (any more).

    The names sort by age, and what is pruned or taken for the newest goes by them.
    """
    for path in run_dir.glob("state-*.pt"):
        if images_seen_of(path) > images_seen:
            path.rename(path.with_suffix(".damaged"))
    for path in [*run_dir.glob("model-*.safetensors"), *run_dir.glob("fakes-*.png")]:
        if images_seen_of(path) > images_seen:
            path.unlink()


def images_seen_of(path: Path) -> int:
    """The number in the name of a state, model or grid; -1 where there is none."""
    digits = path.stem.partition("-")[2]
    return int(digits) if digits.isdecimal() else -1


def prune(run_dir: Path, pattern: str, keep: int) -> None:
    """Remove all but the newest `keep` files of a pattern (0 keeps all), and what a killed run left half-written."""
    if keep > 0:
        for path in sorted(run_dir.glob(pattern))[:-keep]:
            path.unlink()
    for path in run_dir.glob(f".{pattern}.*.tmp"):
        path.unlink()
