"""Batches of training images. Their order is a function of (seed, images seen), so there is no state to save."""

import queue
import threading
from collections.abc import Generator, Iterable
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from stylegan.data.store import Store
from stylegan.data.store_reader import ImageReader
from stylegan.images import from_uint8
from stylegan.networks import ops

T = TypeVar("T")


class Loader:
    """Reads a store in an endless shuffled order, each epoch in another, optionally mirroring at random."""

    def __init__(self, store: Store, *, seed: int = 0, mirror: bool = False) -> None:
        self.store, self.seed, self.mirror = store, seed, mirror
        self._readers: dict[int, ImageReader] = {}  # by resolution
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)  # a batch touches two at most, unless the store is tiny

    def _draw_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The order of the images in an epoch, and which of the places are mirrored."""
        rng = np.random.default_rng([self.seed, epoch])
        return rng.permutation(self.store.count), rng.random(self.store.count) < 0.5

    def order(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which image stands at each position [N] of the endless order, int64 [N], and whether mirrored, bool [N]."""
        epochs, offsets = np.divmod(positions, self.store.count)
        indices, flips = np.empty_like(positions), np.zeros(len(positions), dtype=bool)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            permutation, coins = self._epoch(int(epoch))
            indices[here] = permutation[offsets[here]]
            flips[here] = coins[offsets[here]] & self.mirror
        return indices, flips

    def batch(self, positions: np.ndarray, resolution: int) -> tuple[Tensor, Tensor | None]:
        """The images at `positions` of the order: uint8 [N, C, R, R] (channels-last), and labels int64 [N] or None.

        Raises InputError if the store does not hold that resolution, or not any more what was written.
        """
        if resolution not in self._readers:
            self._readers[resolution] = ImageReader(self.store, resolution)
        indices, flips = self.order(positions)
        batch = self._readers[resolution][indices]
        batch[flips] = batch[flips, :, ::-1]
        labels = None if self.store.labels is None else torch.from_numpy(self.store.labels[indices])
        return torch.from_numpy(batch).permute(0, 3, 1, 2), labels


def to_reals(images: Tensor, fade: ops.Fade = 0.0) -> Tensor:
    """uint8 images as the discriminator sees them: [-1, 1], and during a fade-in partly blurred.

    `fade` is the weight of the next lower resolution's image, as in the generator.
    """
    reals = from_uint8(images)
    if ops.is_fading(fade):
        reals = ops.fade_in(reals, ops.upsample(ops.downsample(reals)), fade)
    return reals


def prefetch(items: Iterable[T], depth: int = 2) -> Generator[T, None, None]:
    """Iterate in a background thread, `depth` items ahead; errors arrive where the item would have."""
    ready: queue.Queue = queue.Queue(maxsize=depth)
    stop = threading.Event()
    end = object()

    def offer(item) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                pass
        return False

    def produce() -> None:
        try:
            for item in items:
                if not offer((item, None)):
                    return
            offer((end, None))
        except BaseException as error:
            offer((end, error))

    thread = threading.Thread(target=produce, daemon=True, name="prefetch")
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is end:
                return
            yield item
    finally:
        stop.set()
        thread.join()
