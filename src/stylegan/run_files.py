"""The files of a run's folder that come with every report: their names, and the record of those that the run wrote.

People, editors and sync tools put files of their own into such folders. What is not named exactly as here, or not in
the record, is none of the run's: it is neither read nor renamed nor deleted.
"""

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

Kind = Literal["state", "model", "fakes"]

RECORD = "files.txt"
"""Name of the record in the folder: the names of all such files that the run has written, one a line."""

_ENDINGS = {"state": ".pt", "model": ".safetensors", "fakes": ".png"}
_NAME = re.compile(r"(state|model|fakes)-([0-9]{10}|[1-9][0-9]{10,})(\.[a-z]+)")
_FIXED = {
    "run.json",
    "stats.jsonl",
    "metrics.jsonl",
    "reals.png",
    "best.safetensors",
    "report.html",
    "memorization.png",
}


def read_stats(run_dir: Path) -> list[dict[str, Any]]:
    """A run's reports so far, the lines of stats.jsonl; a line that is cut short, or none of ours, is left out."""
    try:
        texts = (run_dir / "stats.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    lines = []
    for text in texts:
        with suppress(ValueError, RecursionError):
            lines.append(json.loads(text))
    return [line for line in lines if isinstance(line, dict) and isinstance(line.get("images_seen"), int)]


def path_of(run_dir: Path, kind: Kind, images_seen: int) -> Path:
    """The file after so many images; such names sort by age."""
    return run_dir / f"{kind}-{images_seen:010d}{_ENDINGS[kind]}"


def images_seen_of(path: Path) -> int:
    """The number in a name; -1 where it is not exactly one of ours."""
    match = _NAME.fullmatch(path.name)
    return int(match[2]) if match and _ENDINGS[match[1]] == match[3] else -1


def is_name_of_ours(name: str) -> bool:
    """Whether a run writes a file of this name into its folder."""
    return name in _FIXED or images_seen_of(Path(name)) >= 0


def own(run_dir: Path, kind: Kind) -> list[Path]:
    """The run's files of a kind, from the first to the last: those of its record, or where there is none (as in runs
    of earlier versions, and copies of a few files) all with such a name."""
    recorded = _recorded(run_dir)
    return [path for path in _named(run_dir, kind) if recorded is None or path.name in recorded]


def strangers(run_dir: Path) -> list[Path]:
    """Files with names of ours that the run has not written: copies from other runs, say.

    Of a run of an earlier version, which has no record, there are none; where there is no run, all are.
    """
    recorded = _recorded(run_dir)
    if recorded is None and (run_dir / "run.json").exists():
        return []
    return [path for kind in _ENDINGS for path in _named(run_dir, kind) if path.name not in (recorded or ())]


def begin_record(run_dir: Path, *, adopt: bool) -> None:
    """Make the record where there is none. adopt: all files with such names that are there are the run's."""
    if not (run_dir / RECORD).exists():
        _append(run_dir, [path.name for kind in _ENDINGS for path in _named(run_dir, kind)] if adopt else [])


def claim(path: Path) -> Path:
    """Put a file into the record, before it is written; the same path.

    Raises FileExistsError where one of that name is there which the run has not written.
    """
    recorded = _recorded(path.parent)
    if recorded is not None and path.name not in recorded:
        if path.exists():
            raise FileExistsError(f"{path} is there already, and this run has not written it; move it away")
        _append(path.parent, [path.name])
    return path


def _named(run_dir: Path, kind: Kind) -> list[Path]:
    paths = [path for path in run_dir.glob(f"{kind}-*{_ENDINGS[kind]}") if images_seen_of(path) >= 0 and path.is_file()]
    return sorted(paths, key=images_seen_of)


def _recorded(run_dir: Path) -> set[str] | None:
    """The names in the record; None where there is none."""
    try:
        return set((run_dir / RECORD).read_text(encoding="utf-8", errors="replace").split("\n"))
    except FileNotFoundError:
        return None


def _append(run_dir: Path, names: list[str]) -> None:
    """Add lines, on the disk before anything else is; what a kill has left of a line stays a line of its own."""
    with (run_dir / RECORD).open("ab+") as file:
        file.seek(0, os.SEEK_END)
        if length := file.tell():
            file.seek(length - 1)
            names = names if file.read(1) == b"\n" else ["", *names]
        file.write("".join(f"{name}\n" for name in names).encode())
        file.flush()
        os.fsync(file.fileno())
