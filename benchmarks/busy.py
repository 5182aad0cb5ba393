#!/usr/bin/env python3
"""A training step on a machine that other programs use too: the table of docs/performance.md, as Markdown.

    benchmarks/busy.py [--seconds 5] [--rounds 2] [--policies 0 4 9] [--list] [--against CHECKOUT]

The demo's step at 32 x 32, in float32, in images a second: alone, and beside one and two endless loops, which are
sessions of their own as programs of another terminal are (Linux shares its cores between sessions first). Each policy
runs in a new process, as OpenMP reads its variables once; of several rounds the median. --against adds another checkout
of this project, as it is. Needs a machine with nothing else to do.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

LOOPS = (0, 1, 2)
PROGRAM, OTHER = "as the program does", "the other checkout"
SPINS = (0, 100, 300, 1000, 3000, 10_000, 100_000)
POLICIES = {
    "OpenMP's default": {},
    **{f"GOMP_SPINCOUNT={count}": {"GOMP_SPINCOUNT": str(count)} for count in SPINS},
    "OMP_WAIT_POLICY=passive": {"OMP_WAIT_POLICY": "passive"},
    "OMP_DYNAMIC=true": {"OMP_DYNAMIC": "true"},
    "one thread": {"OMP_NUM_THREADS": "1"},
    PROGRAM: {},
}
VARIABLES = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY", "OMP_WAIT_POLICY", "OMP_DYNAMIC", "OMP_NUM_THREADS")
HERE = Path(__file__).resolve().parents[1]


def measure(policy: str, seconds: float, checkout: Path) -> list[float]:
    """Images a second beside so many loops as LOOPS says, in a new process."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment |= POLICIES.get(policy, {}) | {"PYTHONPATH": str(checkout / "src")}
    command = [sys.executable, __file__, "--seconds", str(seconds), "--measure", policy]
    return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout)


def measure_here(policy: str, seconds: float) -> list[float]:
    """The same in this process, whose variables are set."""
    if policy == PROGRAM:
        from stylegan import threads  # which another checkout may lack

        threads.limit_spinning()
    import torch

    from stylegan import bench, presets
    from stylegan.allocator import keep_freed_memory
    from stylegan.training.schedule import state_at
    from stylegan.training.state import new_state

    keep_freed_memory()
    config = replace(presets.PRESETS["demo"](presets.Shape(32)), device="cpu", precision="float32")
    total = round(config.schedule.total_kimg * 1000)
    now = replace(state_at(config.schedule, 32, total), fade=0.0)
    step = bench.training(new_state(config, torch.device("cpu")), now)
    crowd = threads.Crowd() if policy == PROGRAM else None

    def rate(seconds: float) -> float:
        start, images = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < seconds:
            step()
            if crowd is not None:  # as the progress bar does
                crowd.look(torch.get_num_threads())
            images += now.batch_size
        return images / elapsed

    rates = []
    for count in LOOPS:
        loops = [subprocess.Popen(["sh", "-c", "while :; do :; done"], start_new_session=True) for _ in range(count)]
        try:
            rate(0.5 if crowd is None else threads.SECONDS_BETWEEN_READINGS + 0.5)  # until it has settled
            rates.append(rate(seconds))
        finally:
            for loop in loops:
                loop.kill()
                loop.wait()
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--policies", type=int, nargs="*", default=range(len(POLICIES)), help="their numbers; all")
    parser.add_argument("--list", action="store_true", help="the numbers of the policies")
    parser.add_argument("--against", type=Path, help="the folder of another checkout")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure_here(options.measure, options.seconds)))
        return
    names = list(POLICIES)
    if options.list:
        print("\n".join(f"{number} {name}" for number, name in enumerate(names)))
        return
    checkouts = {names[number]: HERE for number in options.policies}
    if options.against:
        checkouts[OTHER] = options.against.resolve()
    rounds = [
        {name: measure(name, options.seconds, checkout) for name, checkout in checkouts.items()}
        for _ in range(options.rounds)
    ]
    print("| images a second | alone | one loop | two loops |\n|---|---|---|---|")
    for name in checkouts:
        rates = [statistics.median(rates) for rates in zip(*(found[name] for found in rounds), strict=True)]
        print(f"| {name} | " + " | ".join(f"{rate:.1f}" for rate in rates) + " |")


if __name__ == "__main__":
    main()
