#!/usr/bin/env python3
"""Whether a training stays as it is for hours: memory, open files, threads and speed, from outside, by the minute.

    benchmarks/soak.py [--minutes 60] [--results benchmarks/results/soak.json]

Trains the `demo` preset's networks on 1,000 portraits of 32 x 32 at full resolution from the start, with a score, a
model and a grid at every tick and the report on, in a process of its own. After a fifth of the time, in which all has
been done once, nothing may grow: medians of the last fifth beside those of the second. Speed is images per second of
the process's own CPU time, so that other programs on the machine do not count. Linux only.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from stylegan.files import atomic_file

HERE = Path(__file__).resolve().parents[1]
ALLOWED = {"memory_mb": 1.05, "files": 1.0, "threads": 1.0, "images_per_cpu_second": 0.9}  # last to second fifth


def look(process: int, run: Path) -> dict[str, float]:
    """What the system says of a process now, and how far it has come."""
    own = Path("/proc") / str(process)
    status = dict(line.split(":", 1) for line in (own / "status").read_text().splitlines())
    times = (own / "stat").read_text().rpartition(")")[2].split()
    return {
        "memory_mb": int(status["VmRSS"].split()[0]) / 1024,
        "files": len(list((own / "fd").iterdir())),
        "threads": int(status["Threads"]),
        "cpu_seconds": (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK"),
        "images_seen": json.loads((run / "trainer.json").read_text())["images_seen"],
    }


def watch(minutes: float, folder: Path) -> list[dict[str, float]]:
    """A line for each twentieth of the time."""
    stylegan = [sys.executable, "-m", "stylegan"]
    store, run = folder / "store", folder / "run"
    subprocess.run([*stylegan, "prepare", "portraits", store, "--count", "1000", "--resolution", "32"], check=True)
    options = ["--preset", "demo", "--kimg", "1000000", "--schedule.initial-resolution", "32", "--threads", "1"]
    options += ["--schedule.tick-kimg", "4:0.5", "--model-ticks", "1", "--evaluation-ticks", "1"]
    options += ["--evaluation.metrics", "fid50k", "--evaluation.count", "64", "--evaluation.extractor", "mobilenet-v2"]
    with (folder / "log.txt").open("wb") as log:
        training = subprocess.Popen([*stylegan, "train", store, run, *options], stdout=log, stderr=log)
    lines, began = [], time.monotonic()
    try:
        while time.monotonic() - began < 60 * minutes:
            time.sleep(3 * minutes)
            if training.poll() is not None:
                raise SystemExit((folder / "log.txt").read_text(errors="replace")[-2000:])
            if (run / "trainer.json").exists():
                lines.append({"seconds": round(time.monotonic() - began)} | look(training.pid, run))
                print(json.dumps(lines[-1]), flush=True)
    finally:
        training.terminate()
        training.wait()
    return lines


def judged(lines: list[dict[str, float]]) -> dict[str, Any]:
    """Medians of the second and the last fifth, and whether the last is within what is allowed."""
    for before, line in pairwise(lines):
        seconds = line["cpu_seconds"] - before["cpu_seconds"]
        line["images_per_cpu_second"] = round((line["images_seen"] - before["images_seen"]) / max(seconds, 1e-9), 1)
    fifth, result = max(len(lines) // 5, 1), {}
    for name, allowed in ALLOWED.items():
        early, late = (
            statistics.median(line[name] for line in part) for part in (lines[fifth : 2 * fifth], lines[-fifth:])
        )
        flat = late >= allowed * early if allowed < 1 else late <= allowed * early
        result[name] = {"second fifth": round(early, 1), "last fifth": round(late, 1), "flat": flat}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--results", type=Path, default=HERE / "benchmarks" / "results" / "soak.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lines = watch(options.minutes, Path(folder))
    result = judged(lines)
    print(json.dumps(result, indent=1))
    options.results.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(options.results) as file:
        about = {"minutes": options.minutes, "judged": result, "lines": lines}
        file.write((json.dumps(about, indent=1) + "\n").encode())
    sys.exit(not all(each["flat"] for each in result.values()))


if __name__ == "__main__":
    main()
