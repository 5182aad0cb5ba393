"""The moving average of the generator's weights."""

import pytest
import torch

from stylegan.training import ema

CPU = torch.device("cpu")


def test_moving_average():
    assert ema.decay(32, 10, 10**6, None) == pytest.approx(0.5 ** (32 / 10_000))
    assert ema.decay(32, 10, 1000, 0.05) == pytest.approx(0.5 ** (32 / 50))
    assert ema.decay(32, 10, 0, 0.05) == 0.0
