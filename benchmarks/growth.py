#!/usr/bin/env python3
"""How the time of an image grows with resolution and batch: docs/images/growth.png.

    benchmarks/growth.py [--preset config-f] [--device auto] [--out docs/images/growth.png]

Needs matplotlib. The rows come from `stylegan bench --json`, one process each, so that the memory is each row's own.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot


def bench(preset: str, device: str, work: str, resolution: int, batch: int) -> dict:
    command = [sys.executable, "-m", "stylegan", "bench", "--preset", preset, "--device", device, "--json"]
    command += ["--resolution", str(resolution), "--resolutions", str(resolution), "--batch", str(batch)]
    done = subprocess.run([*command, "--work", work, "--seconds", "2"], capture_output=True, text=True, check=True)
    row = json.loads(done.stdout)
    print(f"{work} {resolution} batch {batch}: {row['gemms']:.3f} gemm, {row['memory_mb']:.0f} MB", flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="config-f")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("docs/images/growth.png"))
    parser.add_argument("--resolutions", type=int, nargs="+", default=[8, 16, 32, 64, 128, 256])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    options = parser.parse_args()
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for work, label in (("sample", "sampling"), ("train", "a training step")):
        rows = [bench(options.preset, options.device, work, r, 4) for r in options.resolutions]
        left.loglog(options.resolutions, [row["gemms"] for row in rows], "o-", base=2, label=label)
        size = 64
        # the discriminator's statistics want groups of four
        batches = [b for b in options.batches if work == "sample" or b % 4 == 0 or b < 4]
        rows = [bench(options.preset, options.device, work, size, b) for b in batches]
        right.loglog(batches, [row["gemms"] for row in rows], "o-", base=2, label=f"{label}, {size} x {size}")
    left.set(xlabel="resolution (batch 4)", ylabel="matrix products (4096 x 4096) per image")
    right.set(xlabel="batch")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(options.out, dpi=110)


if __name__ == "__main__":
    main()
