#!/usr/bin/env python3
"""Distances of a run's models from the reals, along the training: the lowest and the last, as the tables have them.

    runs/measure.py STORE RUN... [--latents 1 2 3 4] [--count 2000] [--device auto]

Every model kept in a run is drawn from (no truncation), at the store's seeds 0 to count - 1, and compared with as many
images of the store by `image_distance.py` of $STYLEGAN_SHARED (default ../shared). Results are added to
RUN/distances.jsonl, and what is there already is not measured again. With more than one latent (table 2) only a run's
last model is measured.
"""

import argparse
import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import torch

from stylegan import sampling, weights
from stylegan.data.store import open_store
from stylegan.distributed import pick_device, set_precision
from stylegan.images import to_uint8
from stylegan.training.checkpoint import images_seen_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--latents", type=int, nargs="+", default=[1])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()

    shared = Path(os.environ.get("STYLEGAN_SHARED", "../shared"))
    specification = importlib.util.spec_from_file_location("image_distance", shared / "tools/image_distance.py")
    tool = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(tool)
    device = pick_device(options.device)
    exact = device if device.type == "cuda" else "cpu"  # where there is float64
    set_precision("float32")
    network = tool.Features()
    network.w = {name: weight.to(device) for name, weight in network.w.items()}

    def features(file: Path, size: int, seed: int) -> torch.Tensor:
        return tool.features(file, size, options.count, seed, lambda x: network(x.to(device)).cpu())

    for run in options.runs:
        record = run / "distances.jsonl"
        known = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
        measured = {(k["images_seen"], k["latents"], k["count"]) for k in known}
        models = sorted(run.glob("model-*.safetensors"))
        tasks = [(m, n) for n in options.latents for m in (models if n == 1 else models[-1:])]
        for model, latents in tasks:
            if (images_seen_of(model), latents, options.count) in measured:
                continue
            generator = weights.load(model, device)
            size = generator.config.resolution
            reals = run.parent / f"reals-{size}-{options.count}.pt"
            if not reals.exists():
                part = reals.with_suffix(f".{os.getpid()}.tmp")
                torch.save(features(open_store(options.store).path / f"images-{size:04d}.npy", size, 0).float(), part)
                part.rename(reals)
            drawn = sampling.generate(generator, range(options.count), latents=latents, batch=100)
            fakes = run / f"fakes.{os.getpid()}.npy"
            np.save(fakes, torch.cat([to_uint8(batch).cpu() for batch in drawn]).permute(0, 2, 3, 1).numpy())
            of_reals, of_fakes = torch.load(reals).to(exact).double(), features(fakes, size, 1).to(exact)
            fakes.unlink()
            line = {
                "images_seen": images_seen_of(model),
                "latents": latents,
                "count": options.count,
                "resolution": size,
                "kmd_x1000": round(tool.kernel(of_reals, of_fakes) * 1000, 3),
                "fmd": round(tool.frechet(of_reals, of_fakes), 2),
            }
            with record.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(run.name, line, flush=True)

    print(f"\n{'run':<20} {'latents':>7} {'lowest':>9} {'at kimg':>8} {'last':>9} {'at kimg':>8}   (kmd_x1000)")
    for run in options.runs:
        known = [json.loads(line) for line in (run / "distances.jsonl").read_text().splitlines()]
        for latents in options.latents:
            own = [k for k in known if k["latents"] == latents and k["count"] == options.count]
            lowest, last = min(own, key=lambda k: k["kmd_x1000"]), max(own, key=lambda k: k["images_seen"])
            figures = [(k["kmd_x1000"], k["images_seen"] / 1000) for k in (lowest, last)]
            print(f"{run.name:<20} {latents:>7} " + " ".join(f"{value:9.1f} {kimg:8.1f}" for value, kimg in figures))


if __name__ == "__main__":
    main()
