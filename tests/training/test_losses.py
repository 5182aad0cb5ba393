"""The losses as options; their numbers are in test_parity.py."""

import torch

from stylegan.training.losses import LossConfig

CPU = torch.device("cpu")


def test_lazy_regularisation_keeps_the_mean_weight():
    config = LossConfig(r1_gamma=2, penalty_interval=4)
    steps = [config.at_step(step) for step in range(8)]
    assert [step.r1_gamma for step in steps] == [8, 0, 0, 0, 8, 0, 0, 0]
    assert LossConfig().at_step(3) == LossConfig()
