#!/usr/bin/env python3
"""Whether samples inherit what D's images undergo: trainings on portraits under a strong, fixed augmentation, and none.

    benchmarks/leaks.py STORE RUN [--kind ada] [--strength 0.5] [--transforms blit geometry color cutout] [--kimg 56]
                        [--count 1000]

STORE: of `stylegan prepare portraits STORE --resolution 32 --count 8000 --hold-out 1000`. Portraits stand upright, have
skin of a few hues, and no gray squares. Three shares of images tell when that is not so: of images that look like
portraits turned by 90, 180 or 270 degrees; of those whose colors in the middle of the face are farther from the
training's than 99 % of it; and of those with a flat gray window of a quarter of the side. They are printed for held-out
portraits, for the same under the augmentation, for samples of the training, and for those of a second one in RUN-plain,
which differs by having no augmentation: what is no whole portrait yet looks turned and discolored by itself. Samples
have inherited a transform where their share has come a fifth of the way from that of the training without it to that
of augmented portraits. The exit code is 1 where they have, or where the trainings are too short to tell.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan import presets, randomness
from stylegan.data.loader import Loader
from stylegan.data.store import Store, open_store
from stylegan.images import from_uint8
from stylegan.recipe import Recipe, draw
from stylegan.training.augment import AugmentConfig, augmented
from stylegan.training.loop import train

INHERITED = 0.2  # of the way


def first(store: Store, count: int, resolution: int) -> Tensor:
    """Images of a store, [N, 3, R, R] in [-1, 1]."""
    images, _ = Loader(store).batch(np.arange(min(count, store.count)), resolution)
    return from_uint8(images).contiguous()


def turned(known: Tensor) -> Callable[[Tensor], Tensor]:
    """Which images look turned by a quarter, a half, three quarters: by a linear fit to known images, all four ways."""

    def features(images: Tensor) -> Tensor:
        pixels = F.adaptive_avg_pool2d(images, 16).flatten(1).double()
        return torch.cat([pixels, torch.ones_like(pixels[:, :1])], dim=1)

    x = torch.cat([features(known.rot90(k, (2, 3))) for k in range(4)])
    y = torch.eye(4, dtype=torch.float64).repeat_interleave(len(known), dim=0)
    ridge = 0.01 * len(x) * torch.eye(x.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
    return lambda images: (features(images) @ weights).argmax(dim=1) > 0


def discolored(known: Tensor) -> Callable[[Tensor], Tensor]:
    """Which images have colors in the middle of the face that are farther off than 99 % of the known ones."""

    def middle(images: Tensor) -> Tensor:
        part = images.shape[3] // 8
        return images[:, :, 3 * part : 6 * part, 3 * part : 5 * part].mean(dim=(2, 3)).double()  # nose and cheeks

    colors = middle(known)
    mean, inverse = colors.mean(dim=0), torch.linalg.inv(colors.T.cov())

    def distance(images: Tensor) -> Tensor:
        away = middle(images) - mean
        return ((away @ inverse) * away).sum(dim=1)

    limit = distance(known).quantile(0.99)
    return lambda images: distance(images) > limit


def cut(known: Tensor) -> Callable[[Tensor], Tensor]:
    """Which images have a window of a quarter of their side that is all gray (0); of the known ones 1 % do."""

    def grayest(images: Tensor) -> Tensor:
        side = images.shape[3] // 4
        return F.avg_pool2d(images.abs().amax(dim=1, keepdim=True), side, stride=1).flatten(1).amin(dim=1)

    limit = grayest(known).quantile(0.01)
    return lambda images: grayest(images) < limit


STATISTICS = {"turned": turned, "discolored": discolored, "cut": cut}


def verdict(held_out: float, augmented: float, samples: float, without: float) -> str:
    """Whether samples have inherited it, by the shares; unknown where those without it are half the way there."""
    if augmented < held_out + 0.02:  # the augmentation does not do it
        return "no"
    if without > (held_out + augmented) / 2:
        return "unknown, train longer"
    return "yes" if samples > without + INHERITED * (augmented - without) else "no"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("run")
    parser.add_argument("--kind", choices=["ada", "diff"], default="ada")
    parser.add_argument("--strength", type=float, default=0.5)
    parser.add_argument("--transforms", nargs="*", default=["blit", "geometry", "color", "cutout"])
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--kimg", type=float, help="length of the training; the preset's unless given")
    parser.add_argument("--count", type=int, default=1000, help="images that are compared")
    options = parser.parse_args()

    transforms = tuple(options.transforms) if options.kind == "ada" else ()
    augment = AugmentConfig(kind=options.kind, strength=options.strength, transforms=transforms)
    plain = presets.preset(options.preset, options.store, kimg=options.kimg)
    config = replace(plain, augment=augment)
    models = [train(config, options.run).model, train(plain, f"{options.run}-plain").model]

    store, resolution = open_store(options.store), config.generator.resolution
    known, others = first(store, 4 * options.count, resolution), store.held_out()
    if others is None:
        parser.error("prepare the store with --hold-out")
    held_out = first(others, options.count, resolution)
    keys, index = partial(randomness.key, 0, 0), torch.arange(len(held_out))
    shown = augmented(augment, held_out, torch.tensor(options.strength), keys, "held-out images", index)
    samples, without = (from_uint8(draw(model, Recipe(range(options.count), psi=1.0))) for model in models)

    verdicts = []
    print(f"{'share of images':<16} {'held out':>9} {'augmented':>9} {'samples':>9} {'without':>9}  inherited")
    for name, statistic in STATISTICS.items():
        judge = statistic(known)
        shares = [judge(images).double().mean().item() for images in (held_out, shown, samples, without)]
        verdicts.append(verdict(*shares))
        print(f"{name:<16} " + " ".join(f"{share:9.3f}" for share in shares) + f"  {verdicts[-1]}")
    sys.exit(int(any(each != "no" for each in verdicts)))


if __name__ == "__main__":
    main()
