#!/usr/bin/env python3
"""How much of the networks' own speed the metrics reach: images/s of each alone, and of the whole, in turn.

    benchmarks/metrics.py STORE [--model portraits-32] [--extractor inception-random] [--count 512] [--batch 32]

"inception-random" is Inception-v3 with random weights, as fast as the real one; mobilenet-v2=FILE works too.
"""

import argparse
import time

import numpy as np
import torch

from stylegan import weights
from stylegan.device import pick_device
from stylegan.metrics import stream, subject
from stylegan.metrics.extractors import FeatureDistance, InceptionV3, load_extractor
from stylegan.metrics.path_length import path_length


def random_inception() -> InceptionV3:
    from torch_fidelity import feature_extractor_inceptionv3 as fidelity

    class Blank(fidelity.FeatureExtractorInceptionV3):
        def load_state_dict(self, state):
            pass

    load, torch.load = torch.load, lambda *_, **__: {}
    try:
        blank = Blank("blank", ["2048"], feature_extractor_weights_path="none")
    finally:
        torch.load = load
    return InceptionV3(blank.state_dict(), "random").eval()


def rate(count: int, work) -> float:
    """Images a second, the best of three."""
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return count / best


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("--model", default="portraits-32")
    parser.add_argument("--extractor", default="inception-random")
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device, count, batch = pick_device(options.device), options.count, options.batch
    random = options.extractor == "inception-random"
    extractor = (random_inception() if random else load_extractor(options.extractor)).to(device)
    sampler = stream.Sampler(weights.load(options.model, device))
    reals, fakes = subject.open_images(options.store), stream.images_of_generator(sampler)
    batches = [np.arange(start, start + batch) for start in range(0, count, batch)]
    images = stream.to_rgb(reals.batch(batches[0]).to(device))
    flags = {"batch": batch, "device": device, "progress": False}

    alone = rate(count, lambda: [extractor(images) for _ in batches])
    generator = rate(count, lambda: [fakes.batch(numbers) for numbers in batches])
    both = 1 / (1 / alone + 1 / generator)
    of_reals = rate(count, lambda: stream.extract(reals, extractor, count, **flags))
    of_fakes = rate(count, lambda: stream.extract(fakes, extractor, count, **flags))
    print(f"{extractor.name} alone {alone:.1f} images/s; features of reals {of_reals:.1f} ({of_reals / alone:.0%})")
    print(f"generator alone {generator:.1f}; after each other {both:.1f}; features of fakes {of_fakes:.1f} "
          f"({of_fakes / both:.0%})")  # fmt: skip
    if random:
        return

    distance, g = FeatureDistance(extractor), sampler.generator
    a = torch.rand(batch, 3, images.shape[2], images.shape[3], device=device) * 255
    apart = rate(count, lambda: [distance(a, a) for _ in batches])
    pairs = rate(count, lambda: [fakes.batch(np.concatenate([numbers, numbers])) for numbers in batches])

    def lengths() -> None:
        for numbers in batches:
            noise = [torch.cat([plane, plane]) for plane in sampler.noise(numbers)]
            path_length(
                g.mapping,
                lambda w, noise=noise: g.synthesis(w, noise=noise),
                distance,
                sampler.z(numbers, "first z"),
                sampler.z(numbers, "second z"),
                sampler.uniform(numbers, "t"),
                space="w",
                crop="none",
            )

    both, whole = 1 / (1 / apart + 1 / pairs), rate(count, lengths)
    print(f"distance alone {apart:.1f} pairs/s, generator {pairs:.1f}; after each other {both:.1f}; path lengths "
          f"{whole:.1f} ({whole / both:.0%})")  # fmt: skip


if __name__ == "__main__":
    main()
