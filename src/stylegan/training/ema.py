"""The moving average of the generator's weights, which is the network that users get."""

import torch
from torch import nn


def decay(batch_size: int, half_life_kimg: float, images_seen: int, rampup: float | None) -> float:
    """Weight of the old average in one update: half of it is forgotten after `half_life_kimg`.

    rampup: if given, the half-life is at most this share of the images seen, so that short runs forget their
    beginning.
    """
    half_life = half_life_kimg * 1000
    if rampup is not None:
        half_life = min(half_life, images_seen * rampup)
    return 0.5 ** (batch_size / half_life) if half_life > 0 else 0.0


@torch.no_grad()
def update(average: nn.Module, network: nn.Module, beta: float) -> None:
    """Move the average's parameters towards the network's; copy what is not trained (w average, noise planes)."""
    for ours, theirs in zip(average.parameters(), network.parameters(), strict=True):
        ours.lerp_(theirs, 1 - beta)
    for ours, theirs in zip(average.buffers(), network.buffers(), strict=True):
        ours.copy_(theirs)
