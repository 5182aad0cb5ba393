#!/usr/bin/env python3
"""Healthy trainings of all presets at small size: none of them may be taken for one that has diverged.

    benchmarks/healthy.py FOLDER [--kimg 0.8] [--seeds 1]

Prints, for each, what `stylegan.training.health` made of its ticks, and how near it came to the limits.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from stylegan.data.prepare import prepare_portraits
from stylegan.errors import InputError
from stylegan.networks.layers import FeatureMaps
from stylegan.presets import PRESETS, preset
from stylegan.run_files import read_stats
from stylegan.training import health
from stylegan.training.config import TrainingConfig
from stylegan.training.loop import train


def small(name: str, store: Path, kimg: float, seed: int) -> TrainingConfig:
    """A preset with thin networks at 16 x 16, all stages of its growth, and twenty ticks."""
    config, maps = preset(name, str(store), kimg=kimg, batch_size=8), FeatureMaps(base=64, maximum=16)
    width = {"feature_maps": maps}
    narrow = {"z_dim": 16, "mapping_width": 16}
    narrow["w_dim"] = 16 if config.generator.mapping_layers else 16 + config.generator.label_width
    return replace(
        config,
        generator=replace(config.generator, **width, **narrow),
        discriminator=replace(config.discriminator, **width),
        schedule=replace(
            config.schedule, stable_kimg=kimg / 6, fade_kimg=kimg / 6, tick_kimg={4: kimg / 20}, repeats=1
        ),
        grid=(4, 2),
        report=False,
        seed=seed,
        device="cpu",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kimg", type=float, default=0.8)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    store = arguments.folder / "store"
    if not store.exists():
        prepare_portraits(store, count=200, resolution=16)
    stopped = runs = 0
    for name in PRESETS:
        for seed in range(arguments.seeds):
            run, sentence = arguments.folder / f"{name}-{seed}", ""
            config = small(name, store, arguments.kimg, seed)
            try:
                train(config, run, progress=False)
            except InputError as error:
                sentence = str(error)
            lines, judged = read_stats(run), health.Health(config.loss.kind)
            signs = sum(judged.look(line)[1] is not None for line in lines)
            scores = max(abs(line[key]) for line in lines for key in ("score_real", "score_fake"))
            weights = max(line[key] for line in lines for key in ("weights_g", "weights_d"))
            variety = min(line["variety"] for line in lines)
            print(
                f"{name:<14} {len(lines)} ticks, {signs} with a sign; scores to {scores:.3g}, weights to "
                f"{weights:.3g}, variety from {variety:.3g} {sentence}",
                flush=True,
            )
            stopped, runs = stopped + bool(sentence), runs + 1
    print(f"{stopped} of {runs} healthy trainings were stopped")


if __name__ == "__main__":
    main()
