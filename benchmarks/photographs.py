#!/usr/bin/env python3
"""How well photographs that training has not seen come back: by an encoder, after some steps, tuned; and whether edits
of the tuned ones still work.

    benchmarks/photographs.py MODEL STORE [--encoder FILE] [--count 100] [--find FILE --judge FILE]

The photographs are the first that the store holds out. PSNR in dB of: the encoder alone, 50 steps from it, 50 and 500
steps from the best sample, and of each photograph's own tuning around what 500 steps have found. With two files of
`stylegan classifiers`, trained apart, the directions of one move both samples and tuned photographs by the strengths -2
to 2, and what the other sees of it is compared: a share of 1 means that a photograph is moved as far as a sample.
Seconds are this program's processor time. The picture has a column for each of the first photographs, a row for each
way.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from stylegan import directions, encoders, finders, likeness, projection, sampling, tuning, weights
from stylegan.classifiers.model import load_classifiers
from stylegan.data.store import open_store
from stylegan.images import enlarge, from_uint8, grid, save_image, to_uint8
from stylegan.metrics.stream import to_channels
from stylegan.networks.generator import Generator
from stylegan.projection import ProjectConfig
from stylegan.tuning import TuneConfig

SHOWN = 8


def measured(title: str, targets: Tensor, draw: Callable[[], Tensor]) -> Tensor:
    """Images, with a line about them."""
    start = time.process_time()
    images = draw()
    seconds = (time.process_time() - start) / len(targets)
    decibels = likeness.psnr(to_uint8(images), to_uint8(targets))
    print(f"{title:<24} {decibels.mean():.2f} dB (least {decibels.min():.2f}), {seconds:.2f} s each", flush=True)
    return images


@torch.no_grad()
def moved(generator: Generator, found: directions.Directions, judge, w: Tensor) -> Tensor:
    """By how much moving from -2 to 2 along each direction changes the judge's probability of its attribute: [D]."""
    changes = []
    for name in found.names:
        step = found.step(name)
        seen = []
        for strength in (-2.0, 2.0):
            images = generator.synthesis(directions.shift(w, step, strength), noise="const")
            logits = judge(to_channels(images, judge.networks[0].config.channels))
            seen.append(torch.sigmoid(2 * logits[:, judge.names.index(name)]).mean())
        changes.append(seen[1] - seen[0])
    return torch.stack(changes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("store")
    parser.add_argument("--encoder")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--tune", type=int, default=300)
    parser.add_argument("--locality", type=float, default=TuneConfig.locality)
    parser.add_argument("--find")
    parser.add_argument("--judge")
    parser.add_argument("--out")
    options = parser.parse_args()

    generator = weights.load(options.model)
    held_out = open_store(options.store).held_out()
    resolution = generator.synthesis.grown.resolution
    targets = torch.from_numpy(held_out.images(resolution)[: options.count].copy()).permute(0, 3, 1, 2)
    targets, rows = from_uint8(targets), []

    def project(start: str, steps: int) -> projection.Projection:
        config = ProjectConfig(start=start, steps=steps, distance="none")
        return projection.project(generator, targets, config)

    if options.encoder:
        encoder = encoders.load(options.encoder, generator)
        encoded = measured(
            "encoder alone",
            targets,
            lambda: generator.synthesis(encoders.encode(encoder, generator, targets), noise="const"),
        )
        rows += [
            encoded,
            measured("encoder, 50 steps", targets, lambda: project(f"encoder={options.encoder}", 50).images),
        ]
    rows.append(measured("best sample, 50 steps", targets, lambda: project("best", 50).images))
    found: list[projection.Projection] = []

    def whole() -> Tensor:
        found.append(project("best", options.steps))
        return found[0].images

    rows.append(measured(f"best sample, {options.steps} steps", targets, whole))
    tuned: list[Generator] = []

    def tune() -> Tensor:
        images = []
        for target, w in zip(targets[:, None], found[0].w[:, None], strict=True):
            tuned.append(tuning.tune(generator, target, w, TuneConfig(options.tune, locality=options.locality)))
            images.append(tuned[-1].synthesis(w, noise="const"))
        return torch.cat(images)

    rows.append(measured(f"tuned, {options.tune} steps", targets, tune))
    if options.out:
        shown = torch.cat([images[:SHOWN] for images in (targets, *rows)])
        save_image(enlarge(grid(to_uint8(shown), columns=min(SHOWN, len(targets))), 2), options.out, sheet=True)
    if options.find and options.judge:
        by, judge = finders.by_svm(generator, load_classifiers(options.find)), load_classifiers(options.judge)
        samples = generator.truncate(sampling.w_of_seeds(generator, range(200)), 0.7)
        wanted = moved(generator, by, judge, samples)
        each = [moved(one, by, judge, w) for one, w in zip(tuned, found[0].w[:, None], strict=True)]
        for name, sample, photograph in zip(by.names, wanted.tolist(), torch.stack(each).mean(0).tolist(), strict=True):
            share = photograph / sample if sample else float("nan")
            print(f"{name:<24} samples {sample:+.3f}, tuned photographs {photograph:+.3f}: {share:.2f} as far")


if __name__ == "__main__":
    main()
