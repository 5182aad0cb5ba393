"""Derivatives that are written out, against autograd's, in float64."""

import pytest
import torch
from conftest import tiny_discriminator
from torch.autograd import gradcheck

from stylegan.networks import ops
from stylegan.networks.discriminator import Discriminator
from stylegan.training import losses
from stylegan.training.losses import LossConfig

OPTIONS = {
    "default": {},
    "relu": {"activation": "relu"},
    "no blur": {"use_blur": False},
    "activate first, no blur": {"activate_first": True, "use_blur": False},
    "activate first": {"activate_first": True},
    "classes": {"label_count": 3},
    "no statistics": {"group_size": 1},
    "two features of statistics": {"stddev_features": 2},
    "groups of two": {"group_size": 2},
    "not equalized": {"equalized": False},
    "grey": {"channels": 1},
    "RGBA": {"channels": 4},
}
LOSSES = {
    "R1": LossConfig(r1_gamma=10),
    "R1 and R2": LossConfig(r1_gamma=10, r2_gamma=5),
    "wgan-gp": LossConfig(kind="wgan-gp"),
    "relativistic": LossConfig(kind="relativistic", r1_gamma=10, r2_gamma=5),
}


def parameter_gradients(d: Discriminator, loss: LossConfig, resolution: int, fade: float) -> list[torch.Tensor]:
    torch.manual_seed(3)
    shape = (8, d.config.channels, resolution, resolution)
    reals, fakes = torch.randn(2, *shape, dtype=torch.float64).to(next(d.parameters()))
    labels = torch.arange(8).to(reals.device) % d.config.label_count if d.config.label_count else None
    mix = torch.rand(8).to(reals)
    d.zero_grad()
    critic = losses.Critic(d, labels, fade)
    losses.DISCRIMINATOR_LOSSES[loss.kind](critic, reals, fakes, loss, 0.7, mix).total.mean().backward()
    return [p.grad.clone() for p in d.parameters() if p.grad is not None]


def by_autograd(monkeypatch) -> None:
    monkeypatch.setattr(Discriminator, "scores_and_gradients", Discriminator.scores_and_gradients_reference)


def assert_equal(ours: list[torch.Tensor], truth: list[torch.Tensor], relative: float) -> None:
    assert len(ours) == len(truth) > 0
    scale = max(gradient.norm() for gradient in truth)
    for a, b in zip(ours, truth, strict=True):
        assert (a - b).norm() <= relative * (b.norm() + scale * relative)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", OPTIONS)
def test_penalties_equal_double_backward(monkeypatch, name, loss):
    """At every size that has a path of its own: 4 x 4, the lowest fade, the full size with and without one."""
    d = tiny_discriminator(**OPTIONS[name]).double()
    places = ((4, 0.0), (8, 0.0), (8, 0.3), (16, 0.0), (16, 0.6))
    ours = [parameter_gradients(d, LOSSES[loss], *place) for place in places]
    d.recompute_from = 8
    forgotten = parameter_gradients(d, LOSSES[loss], 16, 0.6)
    d.recompute_from = float("inf")
    by_autograd(monkeypatch)
    for place, gradients in zip(places, ours, strict=True):
        assert_equal(gradients, parameter_gradients(d, LOSSES[loss], *place), 1e-10)
    assert_equal(forgotten, ours[-1], 1e-14)


@pytest.mark.parametrize("loss", LOSSES)
def test_penalties_in_bfloat16_are_close(monkeypatch, loss):
    d = tiny_discriminator()
    by_autograd(monkeypatch)
    exact = torch.cat([g.flatten() for g in parameter_gradients(d, LOSSES[loss], 16, 0.3)])
    monkeypatch.undo()
    d.compute_dtype = torch.bfloat16
    rounded = torch.cat([g.flatten() for g in parameter_gradients(d, LOSSES[loss], 16, 0.3)])
    assert rounded.dtype == torch.float32
    assert torch.cosine_similarity(rounded, exact, dim=0) > 0.99
    assert 0.9 < rounded.norm() / exact.norm() < 1.1


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(4, 4), (3, 5)])
def test_derivatives_of_operations(layout, size):
    torch.manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    x = torch.randn(2, 3, *size, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    scale, bias, strength, shift = random(2, 3), random(2, 3), random(3), random(3)
    plane = torch.randn(2, 1, *size, dtype=torch.float64)
    assert gradcheck(ops.adain, (x, scale, bias))
    assert gradcheck(lambda x, s, b: ops.add_noise_and_bias(x.clone(), (plane, s), b), (x, strength, shift))
    assert gradcheck(lambda x, s, b: ops.add_noise_and_bias(x.clone(), (plane[:1], s), b), (x, strength, shift))
    assert gradcheck(lambda x, b: ops.add_noise_and_bias(x.clone(), None, b), (x, shift))
    assert gradcheck(ops.blur, (x,))
    weight = random(2, 3, 3, 3)
    assert gradcheck(ops.upsampling_kernel, (weight,)) and gradcheck(ops.downsampling_kernel, (weight,))
    assert gradcheck(ops.upsample_conv, (x, weight))
    fade = torch.tensor(0.3, dtype=torch.float64)
    assert gradcheck(lambda a, b: ops.fade_in(a, b * 2, fade), (x, x.detach().clone().requires_grad_()))


@pytest.mark.parametrize("size", [(4, 4), (7, 6)])
def test_written_derivatives_equal_those_of_the_plain_forms(size):
    torch.manual_seed(0)
    x = torch.randn(3, 5, *size, dtype=torch.float64)
    plane, incoming = torch.randn(3, 1, *size, dtype=torch.float64), torch.randn_like(x)
    styles, vectors = torch.randn(2, 3, 5, dtype=torch.float64), torch.randn(2, 5, dtype=torch.float64)

    def gradients(function, *inputs):
        inputs = [tensor.clone().requires_grad_() for tensor in inputs]
        return torch.autograd.grad(function(*inputs), inputs, incoming)

    pairs = [
        (ops.adain, ops.adain_reference, (x, *styles)),
        (
            lambda x, s, b: ops.add_noise_and_bias(x * 1, (plane, s), b),
            lambda x, s, b: ops.add_noise_and_bias_reference(x, (plane, s), b),
            (x, *vectors),
        ),
        (ops.blur, ops.blur_reference, (x,)),
    ]
    for fast, plain, inputs in pairs:
        for ours, truth in zip(gradients(fast, *inputs), gradients(plain, *inputs), strict=True):
            assert (ours - truth).abs().max() <= 1e-12 * truth.abs().max()
