"""Every random number of training and measuring, as a function of (seed, images seen, purpose, sample).

The numbers come from hashing counters (splitmix64), not from a generator with a state: so a resumed run draws what
the uninterrupted one would have, a sample's numbers do not depend on how a batch is divided over micro-batches and
processes, nothing waits for the device, and every device draws the same.
"""

import hashlib
from math import pi, prod

import torch
from torch import Tensor

_GAMMA = 0x9E3779B97F4A7C15 - 2**64  # as signed 64-bit numbers, which torch has
_FACTOR1, _FACTOR2 = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64


def draw(shape: tuple[int, ...], seed: int, images_seen: int, purpose: str, sample_index: Tensor) -> Tensor:
    """Standard normal numbers: float32 [len(sample_index), *shape], one independent row for each sample.

    purpose: what the numbers are for ("z of D"); other purposes get other numbers. sample_index: int64 [N], the
    samples' places in the whole batch.
    """
    return draw_of_key(shape, key(seed, images_seen, purpose), sample_index)


def draw_uniform(shape: tuple[int, ...], seed: int, images_seen: int, purpose: str, sample_index: Tensor) -> Tensor:
    """Uniform numbers in [0, 1); otherwise as `draw`."""
    return draw_uniform_of_key(shape, key(seed, images_seen, purpose), sample_index)


def key(seed: int, images_seen: int, purpose: str) -> int:
    """Seed of the numbers of one purpose at one moment, hashed with the sample: a signed 64-bit number."""
    digest = hashlib.blake2b(f"{seed}/{images_seen}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def draw_of_key(shape: tuple[int, ...], key: int | Tensor, sample_index: Tensor) -> Tensor:
    """`draw`, from a `key`, which may be a number on the device: int64 []. The numbers are the same to the bit."""
    count = prod(shape)
    bits = _bits(-(-count // 2), key, sample_index)
    radius = ((_shift(bits, 40) + 1).to(torch.float32) * 2**-24).log_().mul_(-2).sqrt_()  # Box-Muller
    angle = (bits & (2**24 - 1)).to(torch.float32) * (2 * pi * 2**-24)
    normal = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)
    return normal[:, :count].reshape(-1, *shape)


def draw_uniform_of_key(shape: tuple[int, ...], key: int | Tensor, sample_index: Tensor) -> Tensor:
    """`draw_uniform`, from a `key` as in `draw_of_key`."""
    bits = _bits(prod(shape), key, sample_index)
    return (_shift(bits, 40).to(torch.float32) * 2**-24).reshape(-1, *shape)


def _bits(count: int, key: int | Tensor, sample_index: Tensor) -> Tensor:
    start = _mix(sample_index * _GAMMA + key)
    counter = torch.arange(1, count + 1, device=sample_index.device) * _GAMMA
    return _mix(start[:, None] + counter)


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * _FACTOR1
    z = (z ^ _shift(z, 27)) * _FACTOR2
    return z ^ _shift(z, 31)


def _shift(z: Tensor, places: int) -> Tensor:
    """Logical shift to the right; torch's own carries the sign along."""
    return (z >> places) & ((1 << (64 - places)) - 1)
