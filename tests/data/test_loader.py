"""Batches of a store: their order, mirroring, labels, prefetching."""

import numpy as np
import pytest
import torch
from conftest import write_store

from stylegan.data.loader import Loader, prefetch
from stylegan.data.store import open_store

CPU = torch.device("cpu")


def test_loader_order(store):
    opened = open_store(store)
    loader = Loader(opened, seed=5)
    first, second = loader.order(np.arange(40))[0], loader.order(np.arange(40, 80))[0]
    assert sorted(first) == sorted(second) == list(range(40))  # every image once an epoch
    assert not np.array_equal(first, second)
    assert np.array_equal(loader.order(np.arange(30, 50))[0], np.concatenate([first[30:], second[:10]]))
    images, labels = loader.batch(np.arange(7), 8)
    assert images.shape == (7, 3, 8, 8) and images.dtype == torch.uint8 and labels is None
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), opened.images(8)[first[:7]])


def test_mirroring(tmp_path):
    from stylegan.data.pyramid import pyramid
    from stylegan.data.store_writer import StoreWriter

    ramp = np.broadcast_to(np.arange(16, dtype=np.uint8)[None, :, None] * 10, (16, 16, 3))
    with StoreWriter(tmp_path / "store", 16, 3, made={}) as writer:
        for i in range(10):
            writer.add(pyramid(np.ascontiguousarray(ramp)), str(i))
    loader = Loader(open_store(tmp_path / "store"), mirror=True)
    positions = np.arange(2000)
    _, flips = loader.order(positions)
    assert 0.45 < flips.mean() < 0.55
    images, _ = loader.batch(positions[:50], 16)
    for image, flipped in zip(images, flips, strict=False):
        row = image[0, 0].numpy()
        assert np.array_equal(row[::-1] if flipped else row, ramp[0, :, 0])


def test_prefetch_passes_errors_on():
    def items():
        yield 1
        raise ValueError("broken")

    stream = prefetch(items())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="broken"):
        next(stream)


def test_stored_labels_reach_the_loader(tmp_path):
    data = open_store(write_store(tmp_path / "store", labels=4))
    _, labels = Loader(data, seed=1).batch(np.arange(12), 16)
    assert labels.tolist() == [int(data.labels[i]) for i in Loader(data, seed=1).order(np.arange(12))[0]]
