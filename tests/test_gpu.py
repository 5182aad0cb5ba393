"""The GPU computes what the CPU does. Second derivatives in channels-last memory have been wrong there before.

Comparisons with a plain form run on the CPU too, so that they are known to run; but for Triton's, which are interpreted
there by test_kernels.py.
"""

import copy
import importlib.util
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from conftest import same, tensors_of, tiny_config, tiny_discriminator, tiny_generator, write_store
from test_derivatives import LOSSES, OPTIONS, by_autograd, parameter_gradients
from test_graphs import CONFIGS, Recorder
from test_kernels import compare_kernels, step_of
from torch import Tensor, nn

from stylegan import randomness
from stylegan.device import in_precision, set_precision
from stylegan.networks import ops
from stylegan.networks.discriminator import Discriminator
from stylegan.networks.layers import compile_blocks
from stylegan.randomness import draw
from stylegan.training import losses
from stylegan.training.loop import train
from stylegan.training.losses import LossConfig
from stylegan.training.state import new_state

NEEDS_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


def gpu(test: Callable | str, *more: str):
    """A test, or parameters of one, that need a GPU."""
    if isinstance(test, str):
        return pytest.param(test, *more, marks=NEEDS_GPU)
    for mark in NEEDS_GPU:
        test = mark(test)
    return test


devices = pytest.mark.parametrize("device", ["cpu", gpu("cuda")])


@gpu
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


@gpu
def test_every_device_draws_the_same():
    index = torch.arange(10)
    there = draw((100,), 0, 0, "z", index.cuda()).cpu()
    assert torch.allclose(draw((100,), 0, 0, "z", index), there, atol=1e-5)


@gpu
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


# --- fast paths against their plain forms, in float64 on the CPU


def assert_near(ours: list[Tensor], truth: list[Tensor], relative: float) -> None:
    """Each within `relative` of its own size, or of a thousandth of the largest's."""
    assert len(ours) == len(truth) > 0
    scale = max(tensor.norm() for tensor in truth)
    for a, b in zip(ours, truth, strict=True):
        assert (a.detach().cpu().double() - b).norm() <= relative * (b.norm() + 1e-3 * scale)


def plain_gradients(monkeypatch, d: Discriminator, loss: LossConfig, resolution: int, fade: float) -> list[Tensor]:
    """Parameter gradients by autograd's double backward."""
    with monkeypatch.context() as patch:
        by_autograd(patch)
        return parameter_gradients(copy.deepcopy(d).cpu().double(), loss, resolution, fade)


@devices
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    "name", ["default", "relu", "no blur", "activate first", "classes", "two features of statistics"]
)
def test_the_gradient_network_is_double_backward(monkeypatch, device, name, loss):
    d = tiny_discriminator(**OPTIONS[name])
    for resolution, fade in ((4, 0.0), (8, 0.3), (16, 0.0), (16, 0.6)):
        truth = plain_gradients(monkeypatch, d, LOSSES[loss], resolution, fade)
        with in_precision("float32"):
            ours = parameter_gradients(d.to(device), LOSSES[loss], resolution, fade)
            assert_near(ours, truth, 1e-3)
            d.recompute_from = 8
            assert_near(parameter_gradients(d, LOSSES[loss], resolution, fade), truth, 1e-3)
        d.recompute_from = float("inf")


@devices
@pytest.mark.parametrize("loss", ["R1 and R2", "wgan-gp"])
def test_the_gradient_network_in_bfloat16(monkeypatch, device, loss):
    d = tiny_discriminator()
    truth = torch.cat([g.flatten() for g in plain_gradients(monkeypatch, d, LOSSES[loss], 16, 0.3)])
    d.to(device).compute_dtype = torch.bfloat16
    rounded = torch.cat([g.flatten() for g in parameter_gradients(d, LOSSES[loss], 16, 0.3)]).cpu().double()
    assert torch.cosine_similarity(rounded, truth, dim=0) > 0.99
    assert 0.9 < rounded.norm() / truth.norm() < 1.1


def fast_and_plain() -> dict[str, tuple[Callable, Callable, tuple[tuple[int, ...], ...]]]:
    """The operations that have a form of their own for speed, by name: it, the plain one, the shapes of the inputs."""
    x, maps, styles, kernel = (4, 6, 8, 8), (6,), (4, 6), (5, 6, 3, 3)
    return {
        "AdaIN": (ops.adain, ops.adain_reference, (x, styles, styles)),
        "noise and bias": (
            lambda x, s, b, plane: ops.add_noise_and_bias(x * 1, (plane.detach(), s), b),
            lambda x, s, b, plane: ops.add_noise_and_bias_reference(x, (plane.detach(), s), b),
            (x, maps, maps, (4, 1, 8, 8)),
        ),
        "blur": (ops.blur, ops.blur_reference, (x,)),
        "upsampling convolution": (ops.upsample_conv, ops.upsample_conv_reference, (x, kernel)),
        "downsampling convolution": (ops.conv_downsample, ops.conv_downsample_reference, (x, kernel, (5,))),
        "minibatch deviation": (
            lambda x: ops.minibatch_stddev(x, 2, 3),
            lambda x: ops.minibatch_stddev_reference(x, 2, 3),
            (x,),
        ),
        "demodulation": (ops.demodulate, ops.demodulate_reference, (x, (6, 6, 3, 3), styles)),
    }


@devices
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", fast_and_plain())
def test_fast_operations_equal_their_plain_forms(device, name, layout):
    """Results and derivatives."""
    torch.manual_seed(0)
    fast, plain, shapes = fast_and_plain()[name]
    inputs = [torch.randn(shape) for shape in shapes]

    def results(function: Callable, place: str, dtype: torch.dtype) -> list[Tensor]:
        own = [each.to(place, dtype) for each in inputs]
        own = [each.contiguous(memory_format=layout) if each.ndim == 4 else each for each in own]
        own = [each.requires_grad_() for each in own]
        y = function(*own)
        torch.manual_seed(1)
        weight = torch.randn(y.shape).to(y)
        gradients = torch.autograd.grad(y, own, weight, allow_unused=True)
        return [y, *(gradient for gradient in gradients if gradient is not None)]

    truth = [tensor.detach() for tensor in results(plain, "cpu", torch.float64)]
    with in_precision("float32"):
        assert_near(results(fast, device, torch.float32), truth, 1e-4)


@gpu
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 5, 9, 7), (1, 16, 8, 8), (3, 1, 1, 4), (2, 300, 4, 4), (4, 16, 256, 256)])
def test_triton_kernels_equal_the_plain_forms(shape, dtype, layout):
    with in_precision("float32"):
        compare_kernels(shape, dtype, layout, "cuda", 2**-8)


@devices
@pytest.mark.parametrize("options", [{}, {"activation": "relu", "activate_first": True}])
def test_a_step_with_triton_is_the_plain_one(monkeypatch, device, options):
    """On a CPU, which has no kernels, only the comparison is tried."""
    d, images = tiny_discriminator(**options).to(device), torch.randn(4, 3, 16, 16, device=device)
    with in_precision("float32"):
        plain = [tensor.clone() for tensor in step_of(d, images, 0.4)]
        monkeypatch.setattr(ops, "KERNELS", "triton")
        assert ops.uses_triton(images) == (device == "cuda")
        assert_near(step_of(d, images, 0.4), [tensor.cpu().double() for tensor in plain], 1e-3)


# --- CUDA graphs, of which test_graphs.py records a stand-in


GRAPHED = [name for name in CONFIGS if "frozen" not in name]
ON_CPU = "wgan-gp in bf16, recomputing"


@pytest.mark.parametrize(("device", "name"), [("cpu", ON_CPU), *(gpu("cuda", name) for name in GRAPHED)])
def test_a_run_with_graphs_is_the_eager_one(device, name, tmp_path, monkeypatch):
    """Through a resolution, a fade and the next resolution, and a stop within the fade. A GPU may choose another
    algorithm, so the weights may differ by a tenth of the way that they have come; on the CPU, which goes through the
    beginning only, they may not."""
    images = 240 if device == "cuda" else 32
    if device == "cpu":
        monkeypatch.setattr("stylegan.training.state.capture_on", lambda _: Recorder().capture)
    store = write_store(tmp_path / "store", labels=CONFIGS[name].get("label_count", 0))
    eager = tiny_config(store, device=device, **CONFIGS[name])
    eager = replace(eager, schedule=replace(eager.schedule, total_kimg=images / 1000))
    whole = train(eager, tmp_path / "eager", progress=False)
    for part_of_it in (0.6, 1):
        schedule = replace(eager.schedule, total_kimg=part_of_it * images / 1000)
        part = replace(eager, graphs=True, schedule=schedule)
        outcome = train(part, tmp_path / "graphs", progress=False)
    ours, theirs = tensors_of(outcome), tensors_of(whole)
    assert outcome.images_seen == whole.images_seen == images
    if device == "cpu":
        assert same(ours, theirs)
    start = new_state(eager, torch.device("cpu"))
    for prefix, network in (("g", start.g), ("d", start.d)):
        assert way_between(ours, theirs, network, prefix) < 0.1 * way_between(theirs, {}, network, prefix)


def way_between(a: dict[str, Tensor], b: dict[str, Tensor], start: nn.Module, prefix: str) -> float:
    """How far two models' weights are from each other; from the start where b is empty."""
    squares = [
        (a[f"{prefix}.{name}"] - b.get(f"{prefix}.{name}", value.detach())).square().sum().item()
        for name, value in start.named_parameters()
        if "blocks.4.layer0.bias" not in name  # instance norm removes it: its gradient is rounding alone
    ]
    return sum(squares) ** 0.5


@devices
def test_numbers_of_a_graph_are_those_of_a_step_to_the_bit(device):
    """Random numbers of a key, and a fade, that are tensors on the device."""
    index = torch.arange(5, device=device)
    key = torch.tensor(randomness.key(3, 1000, "z"), device=device)
    assert torch.equal(randomness.draw_of_key((33,), key, index), draw((33,), 3, 1000, "z", index))
    assert torch.equal(
        randomness.draw_uniform_of_key((5,), key, index), randomness.draw_uniform((5,), 3, 1000, "z", index)
    )
    for dtype in (torch.float32, torch.bfloat16):
        fine, coarse = torch.randn(2, 2, 3, 8, 8, device=device).to(dtype)
        fade = torch.tensor(1 / 3, dtype=torch.float64, device=device)
        assert torch.equal(ops.fade_in(fine, coarse, fade), ops.fade_in(fine, coarse, 1 / 3))
        assert torch.equal(ops.times(fine, 1 - fade), ops.times(fine, 1 - 1 / 3))
