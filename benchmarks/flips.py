#!/usr/bin/env python3
"""Bits flipped at random places of every kind of file, one at a time: is each named that changes what is read?

    benchmarks/flips.py [--flips 1000] [--seed 0] [--kinds model classifiers directions latents features store]
                        [--results benchmarks/results/flips.json]

Half of the flips are in a file's header, where it has one, half behind it. A flip is "named" where reading is refused
in a sentence with the file's name, "harmless" where all is read as it was written (spaces of a header, the checksum's
name), and else "wrong": the exit code is 1. A store is read as `stylegan info STORE --verify` does; each of its files
is hit as often.
"""

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stylegan import directions, sampling, weights
from stylegan.classifiers.model import AttributeClassifiers, load_classifiers, save_classifiers
from stylegan.data.pyramid import pyramid
from stylegan.data.store import open_store
from stylegan.data.store_reader import verify
from stylegan.data.store_writer import StoreWriter
from stylegan.errors import InputError
from stylegan.files import atomic_file, read_tensors, write_tensors
from stylegan.networks.discriminator import Discriminator, DiscriminatorConfig
from stylegan.networks.generator import Generator, GeneratorConfig
from stylegan.networks.layers import FeatureMaps

HERE = Path(__file__).resolve().parents[1]
THIN = {"resolution": 8, "feature_maps": FeatureMaps(base=32, maximum=8)}


def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(GeneratorConfig(z_dim=8, w_dim=8, mapping_width=8, mapping_layers=2, **THIN))


def of_model(folder: Path) -> Callable[[], Any]:
    path, d = folder / "model.safetensors", Discriminator(DiscriminatorConfig(**THIN))
    weights.save(path, weights.Model(generator(), weights.Provenance(notes="a note"), discriminator=d))

    def read() -> Any:
        model = weights.load_model(path)
        return model.generator.state_dict(), model.discriminator.state_dict(), weights.header_of(model)

    return read


def of_classifiers(folder: Path) -> Callable[[], Any]:
    path, d = folder / "classifiers.safetensors", Discriminator(DiscriminatorConfig(group_size=1, **THIN))
    save_classifiers(path, AttributeClassifiers(["hat"], [d]))

    def read() -> Any:
        found = load_classifiers(path)
        return found.names, found.networks.state_dict()

    return read


def of_directions(folder: Path) -> Callable[[], Any]:
    path, one = folder / "directions.safetensors", torch.ones(2)
    directions.save(path, directions.Directions(("hat", "tie"), torch.randn(2, 8), one, one + 1, "svm", "m"))
    return lambda: vars(directions.load(path))


def of_latents(folder: Path) -> Callable[[], Any]:
    path, g = folder / "latents.safetensors", generator()
    sampling.save_latents(path, w=torch.randn(4, 8), noise="const", model=g)
    return lambda: (sampling.load_latents(path, g.config, model=g), read_tensors(path, "latents")[1])


def of_features(folder: Path) -> Callable[[], Any]:
    path = folder / "features.safetensors"
    write_tensors(path, {"features": torch.randn(20, 16), "logits": torch.randn(20, 0)})
    return lambda: read_tensors(path, "features")[1]


def of_store(folder: Path) -> Callable[[], Any]:
    path, rng = folder / "store", np.random.RandomState(0)
    names = {"label_names": ["dark", "bright"], "attribute_names": ["hat", "tie"]}
    with StoreWriter(path, 8, 3, made={"source": "noise"}, **names) as writer:
        for i in range(12):
            levels = pyramid(rng.randint(0, 256, (8, 8, 3)).astype(np.uint8))
            writer.add(levels, f"{i}.png", i % 2, np.array([i % 3 == 0, i % 5 == 0]), held_out=i >= 8)

    def read() -> Any:
        store = open_store(path)
        verify(store, progress=False)
        return [_said(each) for each in (store, store.held_out())]

    return read


def _said(store) -> list:
    images = [store.images(resolution).tobytes() for resolution in store.resolutions]
    return [images, store.labels.tobytes(), store.attributes.tobytes(), store.names, store.label_names, store.made]


KINDS = {
    "model": of_model,
    "classifiers": of_classifiers,
    "directions": of_directions,
    "latents": of_latents,
    "features": of_features,
    "store": of_store,
}


def same(a: Any, b: Any) -> bool:
    """Whether two trees of what has been read are the same, to the bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return a == b


def places(folder: Path, rng: random.Random) -> Iterator[tuple[Path, int]]:
    """Files and places in them, without end: each file as often, and in a tensor file header and tensors as often."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    while True:
        path = rng.choice(files)
        size, start = path.stat().st_size, 0
        if path.suffix == ".safetensors":
            header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
            start, size = (0, header) if rng.random() < 0.5 else (header, size)
        yield path, rng.randrange(start, size)


def replace(path: Path, content: bytes) -> None:
    """Write a new file in the place of another, which tensors that were read before may lie in still."""
    path.unlink()
    path.write_bytes(content)


def flip(kind: str, count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Flip so many bits of a file of this kind, one at a time; how that ended."""
    torch.manual_seed(0)
    read, rng, counts, wrong = KINDS[kind](folder), random.Random(f"{kind} {seed}"), Counter(), []
    truth, where = read(), places(folder, rng)
    for _ in range(count):
        (path, place), bit = next(where), rng.randrange(8)
        content = path.read_bytes()
        replace(path, content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
        try:
            outcome = "harmless" if same(read(), truth) else "wrong"
        except InputError as error:
            top = path.relative_to(folder).parts[0]
            outcome = "named" if top in str(error) else "wrong"
        except Exception as error:  # what this is here to find
            outcome = f"wrong: {type(error).__name__}"
        counts[outcome.partition(":")[0]] += 1
        if outcome.startswith("wrong"):
            wrong.append([path.name, place, bit, outcome])
        replace(path, content)
    return {"kind": kind, "flips": count, **{name: counts[name] for name in ("named", "harmless", "wrong")}} | (
        {"which": wrong[:20]} if wrong else {}
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--results", type=Path, default=HERE / "benchmarks" / "results" / "flips.json")
    options = parser.parse_args()
    lines = []
    for kind in options.kinds:
        with tempfile.TemporaryDirectory() as folder:
            lines.append(flip(kind, options.flips, options.seed, Path(folder)))
        print(json.dumps(lines[-1]), flush=True)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(options.results) as file:
        file.write(("[\n" + ",\n".join(map(json.dumps, lines)) + "\n]\n").encode())
    return int(any(line["wrong"] for line in lines))


if __name__ == "__main__":
    sys.exit(main())
