#!/usr/bin/env python3
"""What augmentation costs: the time of a training step with it and without, in turn, in one process.

    benchmarks/augment.py [--preset small] [--resolution 64] [--precision auto] [--strength 0.5] [--rounds 15]
                          [--cpu-time] [--device auto]

Each round is one step of D and one of G with each kind; the ratio is the median over the rounds of that to the step
without. --cpu-time counts the process's own time instead of the clock's, for a CPU that other programs keep busy.
"""

import argparse
import statistics
import time
from dataclasses import replace

import torch

from stylegan import bench, presets
from stylegan.allocator import keep_freed_memory
from stylegan.device import pick_device, pick_precision
from stylegan.training import augment
from stylegan.training.augment import AugmentConfig
from stylegan.training.schedule import state_at
from stylegan.training.state import new_state


def kinds(strength: float) -> dict[str, AugmentConfig]:
    everything = augment.GROUPS["ada"]
    return {
        "none": AugmentConfig(),
        "ada": AugmentConfig(kind="ada", strength=strength),
        "ada, all groups": AugmentConfig(kind="ada", strength=strength, transforms=everything),
        "diff": AugmentConfig(kind="diff"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--strength", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()

    device, clock = pick_device(options.device), time.process_time if options.cpu_time else time.perf_counter
    precision = pick_precision(options.precision, device)
    keep_freed_memory()
    steps = {}
    for name, config in kinds(options.strength).items():
        whole = presets.PRESETS[options.preset](presets.Shape(options.resolution))
        state = new_state(replace(whole, augment=config, device=options.device, precision=precision), device)
        now = state_at(whole.schedule, options.resolution, 0)
        steps[name] = bench.training(state, replace(now, resolution=options.resolution, fade=0.0))

    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_number in range(options.rounds + 1):
        for name, step in steps.items():
            start = clock()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if round_number:  # the first warms up
                times[name].append(clock() - start)
    print(f"{options.preset}, {options.resolution} x {options.resolution}, {bench.name_of(device)}, {precision}")
    for name, own in times.items():
        ratio = statistics.median(a / b for a, b in zip(own, times["none"], strict=True))
        print(f"{name:<16} {statistics.median(own) * 1000:8.1f} ms  {ratio:6.3f}")


if __name__ == "__main__":
    main()
