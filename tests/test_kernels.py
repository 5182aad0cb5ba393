"""The Triton kernels against the plain forms, in Triton's interpreter: no GPU is needed."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
@pytest.mark.skipif(INTERPRETED, reason="is the interpreter's own process")
def test_kernels_in_the_interpreter():
    """This file once more, in a process that Triton is interpreted in: that is decided when it is imported."""
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "15 passed, 1 skipped" in done.stdout


interpreted = pytest.mark.skipif(not INTERPRETED, reason="runs in a process of its own, see above")


@interpreted
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 5, 4, 7), (3, 1, 1, 4), (1, 300, 2, 3)])
def test_kernels_equal_the_plain_forms(shape, dtype, layout):
    compare_kernels(shape, dtype, layout, "cpu", 2**-7)  # the interpreter rounds bfloat16 towards 0


def compare_kernels(shape: tuple, dtype: torch.dtype, layout: torch.memory_format, device: str, rounding: float):
    """rounding: to bfloat16, relative."""
    from stylegan.networks import kernels, ops

    x, signs = (torch.randn(shape).to(device, dtype).contiguous(memory_format=layout) for _ in range(2))
    exact, slopes = x.float(), torch.where(signs > 0, 1.0, 0.2)
    for ours, truth in (
        (kernels.blur(x), ops.blur_reference(exact)),
        (kernels.slope_then_blur(x, signs, 0.2), ops.blur_reference(exact * slopes)),
        (kernels.slope_then_blur(x, x, 0.2), ops.blur_reference(F.leaky_relu(exact, 0.2))),
        (kernels.blur_then_slope(x, signs, 0.2), ops.blur_reference(exact) * slopes),
    ):
        assert ours.dtype == dtype and ours.is_contiguous(memory_format=torch.channels_last)
        digits = 1e-6 if dtype == torch.float32 else rounding
        torch.testing.assert_close(ours.float(), truth, rtol=digits, atol=1e-6)


@interpreted
@pytest.mark.parametrize(
    ("options", "fade"),
    [({}, 0.4), ({"activation": "relu", "activate_first": True}, 0.0), ({"use_blur": False}, 0.4)],
)
def test_a_step_with_kernels_is_the_plain_one(monkeypatch, options, fade):
    from conftest import tiny_discriminator

    from stylegan.networks import kernels, ops

    d, images = tiny_discriminator(**options), torch.randn(2, 3, 16, 16)
    plain = step_of(d, images, fade)
    calls = []
    run = kernels._run
    monkeypatch.setattr(ops, "uses_triton", lambda x: x.dtype == torch.float32)
    monkeypatch.setattr(kernels, "_run", lambda *inputs, **options: calls.append(options) or run(*inputs, **options))
    for ours, theirs in zip(step_of(d, images, fade), plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))
    # of two blocks: forward twice and backward twice, and the gradient network with its derivative
    assert len(calls) == (12 if options.get("use_blur", True) else 0)
    assert not any(call["before"] == call["after"] for call in calls)


def step_of(d, images: torch.Tensor, fade: float) -> list[torch.Tensor]:
    """Scores, image gradients, and the derivative of both, through every place where a kernel is used."""
    d.zero_grad()
    scores, gradients = d.scores_and_gradients(images, fade=fade)
    (scores.sum() + gradients.square().sum() + d(images, fade=fade).square().sum()).backward()
    return [scores.detach(), gradients.detach(), *(p.grad for p in d.parameters() if p.grad is not None)]
