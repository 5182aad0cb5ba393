"""The GPU computes what the CPU does. Second derivatives in channels-last memory have been wrong there before."""

import copy

import pytest
import torch
from conftest import tiny_discriminator, tiny_generator

from stylegan.device import in_precision, set_precision
from stylegan.networks.layers import compile_blocks
from stylegan.randomness import draw
from stylegan.training import losses
from stylegan.training.losses import LossConfig

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


@pytest.mark.parametrize("config", [LossConfig(r1_gamma=10, r2_gamma=5), LossConfig(kind="wgan-gp")])
@pytest.mark.parametrize(("resolution", "fade"), [(16, 0.0), (16, 0.4), (8, 0.0)])
def test_steps_equal_those_in_float64_on_the_cpu(config, resolution, fade):
    set_precision("float32")
    g, d = tiny_generator(), tiny_discriminator()
    z, reals = torch.randn(8, 8), torch.rand(8, 3, resolution, resolution) * 2 - 1
    planes = [torch.randn(8, 1, r, r) for r in g.synthesis.layer_resolutions(resolution)]
    gradients = []
    for device, dtype in (("cpu", torch.float64), ("cuda", torch.float32)):
        networks = [copy.deepcopy(network).to(device, dtype) for network in (g, d)]
        noise = [plane.to(device, dtype) for plane in planes]
        w = networks[0].mapping(z.to(device, dtype))
        fakes = networks[0].synthesis(w, resolution=resolution, fade=fade, noise=noise)

        def score(images, d=networks[1]):
            return d(images, fade=fade)

        mix = torch.full((8,), 0.3, dtype=dtype, device=device)
        loss = losses.DISCRIMINATOR_LOSSES[config.kind](
            score, reals.to(device, dtype), fakes.detach(), config, 1.0, mix
        )
        loss.total.mean().backward()
        # copies: on the CPU .double() is the gradient itself, to which the next pass adds
        of_d = [p.grad.cpu().double().clone() for p in networks[1].parameters() if p.grad is not None]
        losses.generator_loss(score(fakes), config).mean().backward()
        of_g = [p.grad.cpu().double().clone() for p in networks[0].parameters() if p.grad is not None]
        gradients.append(of_d + of_g)
    scale = max(gradient.norm() for gradient in gradients[0])
    for ours, truth in zip(gradients[1], gradients[0], strict=True):
        assert (ours - truth).norm() <= 1e-3 * truth.norm() + 1e-6 * scale


def test_every_device_draws_the_same():
    index = torch.arange(10)
    there = draw((100,), 0, 0, "z", index.cuda()).cpu()
    assert torch.allclose(draw((100,), 0, 0, "z", index), there, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # Inductor of torch 2.11
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("precision", "error"), [("tf32", 0.01), ("bf16", 0.05)])
def test_other_precisions_give_nearly_the_same_images_and_scores(precision, error, compiled):
    g, d = tiny_generator().cuda(), tiny_discriminator().cuda()
    with torch.no_grad(), in_precision("float32"):
        w = g.mapping(torch.randn(8, 8, device="cuda"))
        exact = g.synthesis(w, noise="const")
        exact_scores = d(exact)
    g.synthesis.compute_dtype = d.compute_dtype = set_precision(precision)
    if compiled:
        compile_blocks(*g.synthesis.blocks.values(), *d.blocks.values())
    with torch.no_grad():
        images, scores = g.synthesis(w, noise="const"), d(exact)
    assert images.dtype == scores.dtype == torch.float32
    assert (images - exact).norm() <= error * exact.norm()
    assert (scores - exact_scores).norm() <= error * exact_scores.norm()
