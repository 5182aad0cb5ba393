#!/usr/bin/env python3
"""Whether points that are dragged arrive, and what else changes: random drags of a model's samples.

    benchmarks/drags.py [MODEL] [--count 50] [--out drags.png]

Image i is that of seed i. Its point lies anywhere in the middle half of the picture, its target 1/16 to 1/8 of the
side away in any direction; what may change is a circle around both whose radius is 7/32 of the side. Where the point
really is in the end is judged by its feature: the nearest neighbor, of all places of the picture by half pixels, to
the feature it had at first, in the block that was dragged by and in the one above it, of which the drag knew nothing.
Steps a second are by the clock, and by this program's own processor time. The picture has a column for each of the
first drags: before, and below after.
"""

import argparse
import math
import time
from dataclasses import fields

import torch

from stylegan import dragging, sampling, weights
from stylegan.device import pick_device
from stylegan.dragging import Drag, DragConfig, Point
from stylegan.images import grid, save_image, to_uint8
from stylegan.networks.generator import Generator

SHOWN = 8


def random_drags(count: int, side: int) -> list[Drag]:
    draws = torch.Generator().manual_seed(0)
    down, across = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    drags = []
    for _ in range(count):
        x, y = (side * (0.25 + 0.5 * torch.rand(2, generator=draws))).tolist()
        angle = 2 * math.pi * float(torch.rand((), generator=draws))
        length = side / 16 * (1 + float(torch.rand((), generator=draws)))
        point = Point(x, y, x + length * math.cos(angle), y + length * math.sin(angle))
        middle = ((point.x + point.to_x) / 2, (point.y + point.to_y) / 2)
        mask = (across - middle[0]) ** 2 + (down - middle[1]) ** 2 < (side * 7 / 32) ** 2
        drags.append(Drag((point,), mask))
    return drags


@torch.no_grad()
def distance_by_feature(
    generator: Generator, before: torch.Tensor, after: torch.Tensor, point: Point, block: int
) -> float:
    """How far from its target the feature of a point is found, in pixels."""
    side = generator.synthesis.grown.resolution
    first, last = (generator.synthesis.with_features(w, block, noise="const")[1] for w in (before, after))
    start, target = torch.tensor([[point.x, point.y]]).to(before), torch.tensor([[point.to_x, point.to_y]]).to(before)
    found = dragging.track(last, dragging.features_at(first, start, side), target, side, side)
    return float((found - target).norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="faces")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--psi", type=float, default=0.7)
    parser.add_argument("--out")
    parser.add_argument("--device", default="auto")
    for field in fields(DragConfig):
        if field.name in ("steps", "features", "learning_rate", "mask_weight"):
            kind = float if isinstance(field.default, float) else int
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    options = parser.parse_args()

    generator = weights.load(options.model, pick_device(options.device))
    side = generator.synthesis.grown.resolution
    config = DragConfig(options.steps, options.features, None, options.learning_rate, mask_weight=options.mask_weight)
    block = options.features or side // 2
    limit = 2 * side / 64
    arrived, above, outside, steps, seconds, busy, pairs = 0, 0, [], 0, 0.0, 0.0, []
    for seed, drag in enumerate(random_drags(options.count, side)):
        w, (point,) = generator.truncate(sampling.w_of_seeds(generator, [seed]), options.psi), drag.points
        start = time.perf_counter(), time.process_time()
        states = list(dragging.dragging(generator, w, drag, config))
        seconds, busy = seconds + time.perf_counter() - start[0], busy + time.process_time() - start[1]
        steps += states[-1].step
        far = [distance_by_feature(generator, w, states[-1].w, point, b) for b in (block, min(side, 2 * block))]
        arrived, above = arrived + (far[0] <= limit), above + (far[1] <= limit)
        images = to_uint8(torch.cat([states[0].image, states[-1].image])).cpu()
        change = (images[0].float() - images[1].float()).abs().mean(dim=0)[~drag.mask].mean() / 255
        outside.append(float(change))
        print(
            f"seed {seed}: {states[-1].step} steps, tracked {float(states[-1].distances[0]):.1f}, by its feature "
            f"{far[0]:.1f} ({far[1]:.1f} in the block above) pixels from the target; outside {change:.2%}",
            flush=True,
        )
        if seed < SHOWN:
            target = torch.tensor([[point.to_x, point.to_y]])
            pairs.append([dragging.marked(images[0], states[0].points, target, drag.mask)])
            pairs[-1].append(dragging.marked(images[1], states[-1].points, target))
        if options.out and seed in (SHOWN - 1, options.count - 1):
            columns = list(zip(*pairs, strict=True))
            save_image(grid(torch.stack([*columns[0], *columns[1]]), columns=len(pairs)), options.out)
    mean, worst = sum(outside) / len(outside), max(outside)
    print(
        f"{arrived} of {options.count} within {limit:g} pixels ({above} in the block above); outside the mask "
        f"{mean:.2%} (at most {worst:.2%}); {steps / seconds:.1f} steps a second by the clock, {steps / busy:.1f} by "
        "the processor's time"
    )


if __name__ == "__main__":
    main()
