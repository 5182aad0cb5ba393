"""Random numbers: their distribution, and what they depend on."""

import torch

from stylegan.randomness import draw, draw_uniform

CPU = torch.device("cpu")


def test_draws():
    index = torch.arange(64)
    x = draw((3, 101), 0, 1000, "z", index)
    assert x.shape == (64, 3, 101)
    assert abs(x.mean()) < 0.02 and abs(x.std() - 1) < 0.02 and abs((x**4).mean() - 3) < 0.15
    correlation = torch.corrcoef(x.flatten(1)).fill_diagonal_(0)
    assert correlation.abs().max() < 0.28  # five deviations of 1 / sqrt(303)
    parts = torch.cat([draw((3, 101), 0, 1000, "z", part) for part in (index[:10], index[10:])])
    assert torch.equal(x, parts)
    for seed, seen, purpose in ((1, 1000, "z"), (0, 1001, "z"), (0, 1000, "noise")):
        assert not torch.equal(x, draw((3, 101), seed, seen, purpose, index))
    u = draw_uniform((1000,), 0, 0, "coin", index)
    assert u.min() >= 0 and u.max() < 1
    assert abs(u.mean() - 0.5) < 0.01
    assert (torch.histc(u, 16, 0, 1) / u.numel() - 1 / 16).abs().max() < 0.004
