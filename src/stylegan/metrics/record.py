"""metrics.jsonl: a line for each score, with everything that the score depends on."""

import json
import math
from pathlib import Path
from typing import Any, Literal

from stylegan.files import append

USUAL_NETWORKS = ("inception-v3", "vgg16-lpips")  # those that the names of metrics mean
# what lines of one kind may differ in: the model and the outcome
_VARYING = ("images_seen", "model", "model_checksum", "values", "seconds")


def read_record(path: Path | str) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; [] where there is none. Lines that are cut short or no scores are left out."""
    try:
        texts = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    lines = []
    for text in texts:
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and isinstance(line.get("metric"), str) and _are_scores(line.get("values")):
            lines.append(line)
    return lines


def _are_scores(values: Any) -> bool:
    """Whether `values` is a table {name: number} that is not empty."""
    numbers = values.values() if isinstance(values, dict) else ()
    return bool(numbers) and all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers)


def add_to_record(path: Path | str, line: dict[str, Any]) -> None:
    """Add a line to a metrics.jsonl, and its folder where there is none. Raises OSError where it cannot be written."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    cut_short = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
    append(path, ("\n" * cut_short + json.dumps(line) + "\n").encode())


def find_line(record: list[dict[str, Any]], settings: dict[str, Any]) -> dict[str, Any] | None:
    """The first line that was measured with exactly these settings, or None."""
    return next((line for line in record if {key: line.get(key) for key in settings} == settings), None)


def named_values(line: dict[str, Any]) -> dict[str, float]:
    """The values of a line by names that say which network looked, where it is not the usual one: `fid_mobilenet-v2`.

    A FID in other features than Inception's, and a path length by another distance than LPIPS, must not pass for one.
    """
    tool = line.get("extractor") or line.get("distance")
    suffix = f"_{str(tool).split()[0]}" if tool and tool not in USUAL_NETWORKS else ""
    return {f"{name}{suffix}": value for name, value in line["values"].items()}


def is_best(line: dict[str, Any], record: list[dict[str, Any]], better: Literal["lower", "higher"] = "lower") -> bool:
    """Whether the first value of a line is the best in a record among those measured in the same way.

    better: which values are, as `Metric.better` says. A value that is not finite is never the best.
    """

    def way(of: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in of.items() if key not in _VARYING}

    name = next(iter(line["values"]))
    rivals = [other["values"].get(name, math.nan) for other in record if way(other) == way(line)]
    best = (max if better == "higher" else min)(filter(math.isfinite, rivals), default=None)
    return line["values"][name] == best
