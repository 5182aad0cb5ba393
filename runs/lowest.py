#!/usr/bin/env python3
"""The lowest figure met in training, as the paper's tables have it, and the last: runs/lowest.py RUN...

Reads each run's metrics.jsonl. Separability and path lengths, measured once, have one figure.
"""

import json
import sys
from pathlib import Path

print(
    f"{'run':<18} {'metric':<12} {'latents':>7} {'count':>7} {'lowest':>10} {'at kimg':>8} {'last':>10} {'at kimg':>8}"
)
for run in map(Path, sys.argv[1:]):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    figures: dict[tuple, list] = {}
    for line in lines:
        for name, value in line["values"].items():
            if not name.endswith("_std"):
                key = (name, line.get("latents", 1), line["count"])
                figures.setdefault(key, []).append((value, line["images_seen"] / 1000))
    for (name, latents, count), found in figures.items():
        ends = (*min(found), *max(found, key=lambda figure: figure[1]))
        columns = " ".join(
            f"{number:{width}.{digits}f}" for number, width, digits in zip(ends, (10, 8) * 2, (4, 1) * 2, strict=True)
        )
        print(f"{run!s:<18} {name:<12} {latents:>7} {count:>7} {columns}")
