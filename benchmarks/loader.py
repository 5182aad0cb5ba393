"""Images per second that the loader delivers at each resolution, beside what training takes at that resolution.

    python benchmarks/loader.py [--threads 2]

"delivered" is the uint8 batch as the training loop receives it, from a warm cache; "as reals" adds what the loop
does with it (to [-1, 1], half-way through a fade). "trained" is the demo's thin networks on the same machine, up to
64 x 64. Makes a temporary store of some 500 MB.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from stylegan import bench, presets
from stylegan.data.loader import Loader, to_reals
from stylegan.data.pyramid import pyramid
from stylegan.data.store import open_store
from stylegan.data.store_writer import StoreWriter
from stylegan.training.schedule import from_there_on

BATCH = {8: 256, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 4, 1024: 4}


def rate(work, images: int, seconds: float = 1.0) -> float:
    """Images per second of `work`, which handles `images` of them; the best of three rounds."""
    work()
    best = 0.0
    for _ in range(3):
        start, count = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < seconds:
            work()
            count += images
        best = max(best, count / elapsed)
    return best


def trained(resolution: int, seconds: float = 1.0) -> float:
    """Images per second of a training at `resolution`."""
    config = replace(presets.PRESETS["demo"](presets.Shape(resolution)), device="cpu")
    batch = int(from_there_on(config.schedule.batch_size, resolution))
    machine = bench.Machine(gemm=1.0, product=1.0)  # its products do not matter here
    return bench.measure(config, "train", resolution, batch, machine, seconds=seconds).images_per_second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.RandomState(0)
        with StoreWriter(Path(folder) / "store", 1024, 3, made={"source": "noise"}) as writer:
            for i in range(128):
                writer.add(pyramid(rng.randint(0, 256, (1024, 1024, 3)).astype(np.uint8)), str(i))
        store = open_store(Path(folder) / "store")
        loader = Loader(store, mirror=True)
        print(f"{'resolution':>10} {'batch':>6} {'delivered':>10} {'as reals':>10} {'trained':>8}   images per second")
        for resolution, batch in BATCH.items():
            start = [0]

            def deliver(resolution=resolution, batch=batch, start=start) -> torch.Tensor:
                start[0] += batch
                return loader.batch(np.arange(start[0], start[0] + batch), resolution)[0]

            delivered = rate(deliver, batch)
            reals = rate(lambda deliver=deliver: to_reals(deliver(), 0.5), batch)
            speed = f"{trained(resolution):8.0f}" if resolution <= 64 else ""
            print(f"{resolution:>10} {batch:>6} {delivered:>10.0f} {reals:>10.0f} {speed}", flush=True)


if __name__ == "__main__":
    main()
