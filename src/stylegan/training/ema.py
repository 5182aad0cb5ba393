"""The moving average of the generator's weights, which is the network that users get."""

from torch.optim.swa_utils import get_ema_multi_avg_fn

from stylegan.networks.generator import Generator


def decay(batch_size: int, half_life_kimg: float, images_seen: int, rampup: float | None) -> float:
    """Weight of the old average in one update: half of it is forgotten after `half_life_kimg`.

    rampup: if given, the half-life is at most this share of the images seen, so that short runs forget their
    beginning.
    """
    half_life = half_life_kimg * 1000
    if rampup is not None:
        half_life = min(half_life, images_seen * rampup)
    return 0.5 ** (batch_size / half_life) if half_life > 0 else 0.0


def update(average: Generator, network: Generator, beta: float) -> None:
    """Move the average's parameters towards the network's, and copy the w average. Both have the same noise planes."""
    get_ema_multi_avg_fn(beta)(list(average.parameters()), list(network.parameters()), None)
    average.w_avg.copy_(network.w_avg)
