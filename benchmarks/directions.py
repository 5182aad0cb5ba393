#!/usr/bin/env python3
"""Whether directions found with one set of classifiers raise the scores of another, and what else they change.

    benchmarks/directions.py FIND JUDGE [--model portraits-32] [--out side-effects.png]

FIND and JUDGE: files of `stylegan classifiers`, or a bundled one's name, trained on different images. For each
attribute the mean probability along the strip, and whether it rises all the way; the share of samples that have the
attribute at +3 and not at -3, and how often a step from 0 to +3 takes another attribute over the line, on average of
all others; then a heat map of how far a step from -2 to +2 deviations changes every attribute's probability.
"""

import argparse

import numpy as np

from stylegan import directions, finders, sampling, weights
from stylegan.classifiers.model import load_classifiers
from stylegan.device import pick_device

STRENGTHS = (-3, -2, -1, 0, 1, 2, 3)


def heat_map(changes: np.ndarray, names: tuple[str, ...], attributes: list[str], path: str) -> None:
    """changes: [D, A] in percentage points."""
    from matplotlib.figure import Figure

    figure = Figure((0.42 * len(attributes) + 2.2, 0.38 * len(names) + 1.6), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.imshow(changes, cmap="RdBu_r", vmin=-100, vmax=100, aspect="auto")
    for (row, column), value in np.ndenumerate(changes):
        color = "white" if abs(value) > 60 else "black"
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8, color=color)
    axes.set_xticks(range(len(attributes)), [name.replace("_", " ") for name in attributes], rotation=60, ha="right")
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set(xlabel="attribute, as judged", ylabel="direction")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("find")
    parser.add_argument("judge")
    parser.add_argument("--model", default="portraits-32")
    parser.add_argument("--count", type=int, default=20_000, help="images that the directions are found on")
    parser.add_argument("--samples", type=int, default=200, help="images that are edited")
    parser.add_argument("--psi", type=float, default=0.7)
    parser.add_argument("--hold", nargs="*", default=[], help="directions that the others must not change")
    parser.add_argument("--out")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()

    device = pick_device(options.device)
    generator = weights.load(options.model, device)
    found = finders.by_svm(generator, load_classifiers(options.find).to(device), count=options.count)
    judge = load_classifiers(options.judge).to(device)
    w = generator.truncate(sampling.w_of_seeds(generator, range(options.samples)), options.psi)
    each = directions.judged(generator, found, judge, w, STRENGTHS, hold=options.hold).numpy()  # [D, S, N, A]
    table, has = each.mean(axis=2), each > 0.5

    rising = 0
    heads = "".join(f"{strength:>+8d}" for strength in STRENGTHS)
    print(f"{'direction':<18}{heads}   rises   moved %   others %")
    for name, scores, of_each in zip(found.names, table, has, strict=True):
        number = judge.names.index(name)
        own, classes = scores[:, number], of_each[:, :, number]
        rises = bool((np.diff(own) > 0).all())
        rising += rises
        moved = 100 * (classes[-1] & ~classes[0]).mean()
        others = 100 * np.delete(of_each[-1] != of_each[STRENGTHS.index(0)], number, axis=1).mean()
        numbers = "".join(f"{value:8.3f}" for value in own)
        print(f"{name:<18}{numbers}   {'yes' if rises else 'no':<5}{moved:>10.0f}{others:>11.1f}", flush=True)
    print(f"{rising} of {len(found.names)} rise all the way ({options.samples} samples, psi {options.psi:g})")
    if options.out:
        changes = 100 * (table[:, STRENGTHS.index(2)] - table[:, STRENGTHS.index(-2)])
        heat_map(changes, found.names, judge.names, options.out)


if __name__ == "__main__":
    main()
