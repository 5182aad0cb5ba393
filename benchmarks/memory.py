#!/usr/bin/env python3
"""How much memory a training takes for each image, and the largest batch that fits, as Markdown.

    benchmarks/memory.py [--device auto] [--preset config-f] [--precision float32] [--resolutions 64 256 1024]

Each row is measured at two batch sizes in processes of their own, and the line through both is followed. On a CPU
the memory is the whole process's.
"""

import argparse
import json
import subprocess
import sys

GIGABYTES = (8, 16, 24, 80)
GROUP = 4  # of the discriminator's statistics: a batch has whole groups


def peak(options: argparse.Namespace, resolution: int, batch: int) -> float:
    """MB that training steps of this size take at most."""
    command = [sys.executable, "-m", "stylegan", "bench", "--json", "--work", "train", "--seconds", "0"]
    command += ["--preset", options.preset, "--device", options.device, "--precision", options.precision]
    command += ["--resolution", str(resolution), "--resolutions", str(resolution), "--batch", str(batch)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["memory_mb"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--preset", default="config-f")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--resolutions", type=int, nargs="+", default=[64, 128, 256, 512, 1024])
    parser.add_argument("--batches", type=int, nargs=2, default=[4, 8], help="fewer at 1024 where memory is short")
    options = parser.parse_args()
    print("| resolution | MB without images | MB/image | " + " | ".join(f"{gb} GB" for gb in GIGABYTES) + " |")
    print("|---" * (3 + len(GIGABYTES)) + "|")
    few, many = options.batches
    for resolution in options.resolutions:
        low, high = (peak(options, resolution, batch) for batch in (few, many))
        each = (high - low) / (many - few)
        rest = low - few * each
        largest = [int((gb * 1000 - rest) / each) // GROUP * GROUP for gb in GIGABYTES]
        batches = " | ".join(str(batch) if batch > 0 else "-" for batch in largest)
        print(f"| {resolution} | {rest:.0f} | {each:.0f} | {batches} |", flush=True)


if __name__ == "__main__":
    main()
