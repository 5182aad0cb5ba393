#!/usr/bin/env python3
"""A training step beside other busy programs, by OpenMP's waiting policy: the table of docs/performance.md.

    benchmarks/busy.py [--spins default 0 1000 10000] [--threads 1] [--loops 0 1 2] [--seconds 5] [--against CHECKOUT]

Each figure is the mean speed of the demo's step (32 x 32, batch 8), in images a second, in a process of its own, with
so many endless loops beside it. `default` is what the system does if nobody says anything; --against adds a row for
another checkout of this project, as it is.
"""

import argparse
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

STEP = """
import sys, time
from dataclasses import replace
try:
    from stylegan.system import prepare_process
    prepare_process()
except ImportError:
    from stylegan.allocator import keep_freed_memory
    keep_freed_memory()
import torch
from stylegan import bench, presets
from stylegan.training.loop import Run
from stylegan.training.schedule import state_at
config = replace(presets.PRESETS["demo"](presets.Shape(32)), device="cpu", precision=sys.argv[2])
config = replace(config, schedule=replace(config.schedule, batch_size={4: 8}))
now = replace(state_at(config.schedule, 32, 0), resolution=32, fade=0.0)
step = bench.training(Run(config, torch.device("cpu")), now)
step(); step()
start, count = time.perf_counter(), 0
while time.perf_counter() < start + float(sys.argv[1]):
    step()
    count += 1
print(8 * count / (time.perf_counter() - start))
"""


@contextmanager
def busy_loops(count: int):
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(0.2)
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def speed(seconds: float, loops: int, precision: str, source: Path, **environment: str) -> float:
    """Images a second."""
    command = [sys.executable, "-c", STEP, str(seconds), precision]
    with busy_loops(loops):
        settings = os.environ | {"PYTHONPATH": str(source)} | environment
        return float(subprocess.run(command, env=settings, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spins", nargs="*", default=["default", "0", "1000", "3000", "10000"])
    parser.add_argument("--threads", nargs="*", default=["1"], help="so many threads, without spinning")
    parser.add_argument("--loops", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--against", type=Path)
    options = parser.parse_args()
    here = Path(__file__).parents[1] / "src"
    rows = [("as it is", here, {})]
    if options.against:
        rows.append((str(options.against), options.against / "src", {}))
    for spin in options.spins:
        setting = {"OMP_WAIT_POLICY": "undefined"} if spin == "default" else {"GOMP_SPINCOUNT": spin}
        rows.append((f"spins {spin}", here, setting))
    rows += [(f"{count} thread(s)", here, {"OMP_NUM_THREADS": count}) for count in options.threads]
    print("| waiting | " + " | ".join(f"{count} busy loops" for count in options.loops) + " |")
    print("|---" * (1 + len(options.loops)) + "|")
    for name, source, environment in rows:
        speeds = [speed(options.seconds, loops, options.precision, source, **environment) for loops in options.loops]
        print(f"| {name} | " + " | ".join(f"{value:.0f}" for value in speeds) + " |", flush=True)


if __name__ == "__main__":
    main()
