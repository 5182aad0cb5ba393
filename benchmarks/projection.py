#!/usr/bin/env python3
"""How well images are found again: PSNR and seconds of projections, of a model's own samples and of photographs.

    benchmarks/projection.py MODEL [--seeds 100-103] [--psi 1] [--photographs FILE ...] [--out comparison.png]

Samples are drawn with the network's noise planes ("const": what the projection has too), and with planes of their own
("random": detail that no w can reach). Images are projected one at a time; the seconds are those of one, by the clock
and of all processors together, which is less where others have the machine too. The picture has a column for each
image: the target, then a row for each way.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch

from stylegan import projection, sampling, weights
from stylegan.device import pick_device
from stylegan.images import enlarge, grid, save_image, to_uint8
from stylegan.networks.generator import Generator


def measure(generator: Generator, targets: torch.Tensor, config: projection.ProjectConfig, title: str) -> torch.Tensor:
    """Project each image and print a line; uint8 [N, C, R, R]."""
    found, seconds = [], []
    for one in targets.split(1):
        start, busy = time.perf_counter(), time.process_time()
        found.append(to_uint8(projection.project(generator, one, config).images).cpu())
        seconds.append((time.perf_counter() - start, time.process_time() - busy))
    found = torch.cat(found)
    decibels = projection.psnr(found, to_uint8(targets).cpu())
    wall, busy = torch.tensor(seconds).mean(dim=0).tolist()
    each = " ".join(f"{value:.1f}" for value in decibels.tolist())
    print(
        f"{title:<28} {config.space:<3} {config.noise:<10} {config.steps} steps: {decibels.mean():.1f} dB "
        f"(least {decibels.min():.1f}; {each}), {wall:.0f} s each, of a processor {busy:.0f}",
        flush=True,
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--seeds", default="100-103", help="FIRST-LAST")
    parser.add_argument("--psi", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--noise", nargs="+", choices=("const", "random"), default=("const", "random"))
    parser.add_argument("--photographs", nargs="*", type=Path, default=[])
    parser.add_argument("--out")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()

    generator = weights.load(options.model, pick_device(options.device))
    config = projection.ProjectConfig(steps=options.steps)
    ways = [replace(config, space="w"), replace(config, space="w+"), replace(config, noise="optimised")]
    rows = []
    if options.photographs:
        targets = torch.cat([projection.read_image(path, generator) for path in options.photographs])
        rows = [to_uint8(targets), *(measure(generator, targets, way, "photographs") for way in ways)]
    else:
        first, last = map(int, options.seeds.split("-"))
        seeds = range(first, last + 1)
        w = generator.truncate(sampling.w_of_seeds(generator, seeds), options.psi)
        for noise in options.noise:
            with torch.no_grad():
                targets = generator.synthesis(w, noise=sampling.noise_input(generator, noise, seeds))
            rows.append(to_uint8(targets).cpu())
            title = f"samples, psi {options.psi:g}, {noise}"
            rows += [measure(generator, targets, way, title) for way in ways[: 2 if noise == "const" else 3]]
    if options.out:
        save_image(enlarge(grid(torch.cat(rows), columns=len(rows[0])), 2), options.out)


if __name__ == "__main__":
    main()
