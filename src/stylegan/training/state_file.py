"""The training state: one file of plain tensors and numbers, written atomically, checked when it is read."""

from pathlib import Path
from typing import Any

import torch

from stylegan.errors import InputError
from stylegan.files import atomic_file
from stylegan.interop import torch_files

FORMAT_VERSION = 1
_MAY_LACK = {  # and what they are
    "augmentation": dict,
    "features": dict,
    "path_length": float,
    "unreported": list,
    "circumstances": dict,
}


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
        } if len(state) == 16 + sum(name in state for name in _MAY_LACK) and all(
            isinstance(state.get(name, kind()), kind) for name, kind in _MAY_LACK.items()
        ):
            return state
    raise InputError(f"{path.name} does not hold what a training state does")
