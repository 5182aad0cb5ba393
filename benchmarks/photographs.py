#!/usr/bin/env python3
"""How well photographs that training has not seen come back: by an encoder, after some steps, tuned; and whether edits
of the tuned ones still work.

    benchmarks/photographs.py MODEL STORE [--encoder FILE] [--count 100] [--find FILE --judge FILE]

The photographs are the first that the store holds out. PSNR in dB of: the encoder alone, 50 steps from it, 50 and 500
steps from the best sample, and of each photograph's own tuning around what 50 steps from the encoder have found, or
without one 500 steps. With two files of `stylegan classifiers`, trained apart, the directions of one move both samples
and the photographs of each way by the strengths -2 to 2, and what the other sees of it is compared: a share of 1 means
that a photograph is moved as far as a sample.
Seconds are this program's processor time. The picture has a column for each of the first photographs, a row for each
way.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

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
T = TypeVar("T")


def measured(title: str, targets: Tensor, find: Callable[[], T], draw: Callable[[T], Tensor], rows: list[Tensor]) -> T:
    """What `find` finds, with a line about it; the images that `draw` makes of it are added to `rows`."""
    start = time.process_time()
    found = find()
    seconds = (time.process_time() - start) / len(targets)
    with torch.no_grad():
        rows.append(draw(found))
    decibels = likeness.psnr(to_uint8(rows[-1]), to_uint8(targets))
    print(f"{title:<24} {decibels.mean():.2f} dB (least {decibels.min():.2f}), {seconds:.2f} s each", flush=True)
    return found


class Edits:
    """What another classifier sees of moving along the directions of one."""

    def __init__(self, generator: Generator, find: str, judge: str) -> None:
        self.found, self.judge = finders.by_svm(generator, load_classifiers(find)), load_classifiers(judge)
        samples = generator.truncate(sampling.w_of_seeds(generator, range(200)), 0.7)
        self.of_samples = moved(generator, self.found, self.judge, samples)

    def tell(self, generators: Sequence[Generator], w: Tensor) -> None:
        """Print how far photographs, each of its generator, are moved by each direction, beside the samples."""
        each = [moved(one, self.found, self.judge, w) for one, w in zip(generators, w[:, None], strict=True)]
        for name, sample, photograph in zip(
            self.found.names, self.of_samples.tolist(), torch.stack(each).mean(dim=0).tolist(), strict=True
        ):
            share = photograph / sample if sample else float("nan")
            print(f"  {name:<22} {photograph:+.3f}, samples {sample:+.3f}: {share:.2f} as far", flush=True)


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
    parser.add_argument("--tune", type=int, default=500)
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
    edits = Edits(generator, options.find, options.judge) if options.find and options.judge else None

    def tell(title: str, find: Callable[[], Tensor]) -> Tensor:
        """Find w, and print how near the photographs come and how far edits of them go."""
        w = measured(title, targets, find, lambda w: generator.synthesis(w, noise="const"), rows)
        if edits:
            edits.tell([generator] * len(w), w)
        return w

    def project(start: str, steps: int) -> Callable[[], Tensor]:
        config = ProjectConfig(start=start, steps=steps, distance="none")
        return lambda: projection.project(generator, targets, config).w

    if options.encoder:
        encoder = encoders.load(options.encoder, generator)
        tell("encoder alone", lambda: encoders.encode(encoder, generator, targets))
        pivot = tell("encoder, 50 steps", project(f"encoder={options.encoder}", 50))
    tell("best sample, 50 steps", project("best", 50))
    w = tell(f"best sample, {options.steps} steps", project("best", options.steps))
    if not options.encoder:
        pivot = w

    def tune() -> list[Generator]:
        config = TuneConfig(options.tune, locality=options.locality)
        pairs = zip(targets[:, None], pivot[:, None], strict=True)
        return [tuning.tune(generator, target, w, config) for target, w in pairs]

    def draw(tuned: list[Generator]) -> Tensor:
        return torch.cat([one.synthesis(w, noise="const") for one, w in zip(tuned, pivot[:, None], strict=True)])

    tuned = measured(f"tuned, {options.tune} steps", targets, tune, draw, rows)
    if edits:
        edits.tell(tuned, pivot)
    if options.out:
        shown = torch.cat([images[:SHOWN] for images in (targets, *rows)])
        save_image(enlarge(grid(to_uint8(shown), columns=min(SHOWN, len(targets))), 2), options.out, sheet=True)


if __name__ == "__main__":
    main()
