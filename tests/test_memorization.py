"""Memorization: copies are found, mirrored and shifted too, and new images are not taken for copies."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

from stylegan.data.pyramid import pyramid
from stylegan.data.store import open_store
from stylegan.data.store_writer import StoreWriter
from stylegan.errors import InputError
from stylegan.images import to_uint8
from stylegan.metrics import memorization
from stylegan.metrics.evaluate import evaluate
from stylegan.metrics.memorization import Comparison, Nearest, nearest, nearest_pixels, nearest_reference
from stylegan.metrics.metric import EvaluateConfig
from stylegan.metrics.record import read_record


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STYLEGAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def network_file(tmp_path_factory) -> str:
    """A small extractor: one convolution, then the mean."""
    path = tmp_path_factory.mktemp("network") / "tiny.safetensors"
    operations = [[0, "CONV_2D", 16, ["in"], "a", [0.0, 6.0]], [1, "AVERAGE_POOL_2D", 1, ["a"], "out", [-9.0, 9.0]]]
    weights = {"w0": torch.randn(16, 3, 3, 3, generator=torch.Generator().manual_seed(0)), "b0": torch.full((16,), 0.5)}
    save_file(weights, path, {"ops": json.dumps(operations)})
    return f"mobilenet-v2={path}"


def pictures(count: int, seed: int, size: int = 32) -> torch.Tensor:
    """Smooth random images, uint8 [N, 3, size, size]."""
    coarse = torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return to_uint8(F.interpolate(coarse, (size, size), mode="bicubic").clamp(-1, 1) * 0.8)


@pytest.mark.parametrize("own", [None, 0, 3])
@pytest.mark.parametrize("variants", [1, 3])
def test_the_nearest_is_that_of_the_reference(own, variants, monkeypatch):
    monkeypatch.setattr(memorization, "BLOCK", 7)
    stored = torch.randn(20, 5)
    queries = torch.randn(15, variants, 5)
    if own is not None:
        queries[:, variants - 1] = stored[own : own + 15]
    queries = queries[:, 0] if variants == 1 else queries
    ours, theirs = nearest(queries, stored, own=own), nearest_reference(queries, stored, own=own)
    assert torch.equal(ours.index, theirs.index)
    assert torch.allclose(ours.distance, theirs.distance, rtol=1e-12)
    if own is not None:
        assert (ours.distance > 0).all() and (nearest(queries, stored).distance == 0).all()


def test_pixels_are_compared_mirrored_and_shifted():
    stored = memorization.small_images(pictures(30, 0))
    moved = torch.roll(stored[:5], (1, -1), dims=(2, 3))
    for queries, index in ((stored[:5], 0), (stored[:5].flip(3), 0), (moved, 0), (moved.flip(3), 0)):
        found = nearest_pixels(queries, stored)
        assert found.index.tolist() == list(range(index, index + 5)) and found.distance.max() < 1e-4
    further = nearest_pixels(torch.roll(stored[:5], (3, 3), dims=(2, 3)), stored)
    assert further.distance.min() > 3
    alike = nearest_reference(memorization.shifted(stored[:6]), memorization.centers(stored), own=0)
    ours = nearest_pixels(stored[:6], stored, own=0)
    features = memorization.centers(stored).shape[1]
    assert torch.allclose(ours.distance, alike.distance * 255 / features**0.5, rtol=1e-12)


def test_small_images_of_any_size_and_channels():
    for shape in ((2, 1, 64, 64), (2, 4, 8, 8), (2, 3, 40, 30)):
        assert memorization.small_images(torch.full(shape, 200, dtype=torch.uint8)).unique().tolist() == [200]


def test_nothing_to_be_near_to():
    with pytest.raises(InputError, match="give more"):
        nearest(torch.randn(1, 2), torch.randn(1, 2), own=0)
    twice = Nearest(torch.zeros(4, dtype=torch.float64), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(InputError, match="twice"):
        _ = Comparison(twice, twice).ratio


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A store of 60 images with 30 more held out."""
    folder = tmp_path_factory.mktemp("memorization") / "store"
    with StoreWriter(folder, 32, 3, made={"source": "test", "fit": "pad"}) as writer:
        for i, image in enumerate(pictures(90, 2)):
            writer.add(pyramid(image.permute(1, 2, 0).numpy()), f"{i}.png", held_out=i >= 60)
    return folder


@pytest.mark.parametrize("kind", ["copies", "mirrored copies", "new"])
def test_copies_are_told_from_new_images(data, network_file, tmp_path, kind):
    training = torch.from_numpy(np.array(open_store(data).images())).permute(0, 3, 1, 2)
    samples = pictures(40, 5) if kind == "new" else training[10:50]
    samples = samples.flip(3) if kind.startswith("mirrored") else samples
    config = EvaluateConfig(count=40, extractor=network_file)
    record = tmp_path / "metrics.jsonl"
    scores = evaluate(samples, data, "memorization", config, device="cpu", record=record, progress=False)
    features, pixels, copied, copied_pixels = (
        scores[f"{name}_mobilenet-v2"]
        for name in ("memorization", "memorization_pixels", "near_copies", "near_copies_pixels")
    )
    if kind == "new":
        assert 0.7 < features < 1.4 and 0.8 < pixels < 1.25 and max(copied, copied_pixels) < 0.3
    else:
        assert ((features < 0.01 and copied == 1) or kind != "copies") and pixels < 0.01 and copied_pixels == 1
    (line,) = read_record(record)
    assert line["training_count"] == 60 and line["held_out_count"] == 30 and line["count"] == 40
    with Image.open(tmp_path / "memorization.png") as picture:
        assert picture.width == 8 * 96 and "stylegan" in picture.info


def test_without_held_out_images_the_training_images_are_the_measure(network_file):
    config = EvaluateConfig(count=20, extractor=network_file)
    options = {"config": config, "device": "cpu", "progress": False}
    reals = pictures(30, 6)
    copies = evaluate(reals[:20], reals, "memorization", **options)
    others = evaluate(pictures(20, 7), reals, "memorization", **options)
    assert copies["memorization_mobilenet-v2"] < 0.01 < 0.7 < others["memorization_mobilenet-v2"] < 1.4
