"""The blur and the activation beside it in one pass over memory, on CUDA, as a Triton kernel.

Imported only where it is asked for (`ops.KERNELS`). The plain forms are in `ops`; the tests hold the two together in
Triton's interpreter, which needs no GPU.
"""

from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024  # numbers that one program computes


@triton.jit
def _blur_kernel(
    x_ptr, signs_ptr, y_ptr, height, width, maps, SLOPE: tl.constexpr, BEFORE: tl.constexpr, AFTER: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One part of a row of pixels of [N, H, W, C]. What lies outside of the image counts as 0."""
    row = tl.program_id(0)  # n * H + h
    h = row % height
    numbers = width * maps  # in a row
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)  # place in the row: w * C + c
    start = row.to(tl.int64) * numbers
    total = tl.zeros([BLOCK], tl.float32)
    for down in tl.static_range(-1, 2):
        for right in tl.static_range(-1, 2):
            j = i + right * maps
            there = (j >= 0) & (j < numbers) & (h + down >= 0) & (h + down < height)
            place = start + down * numbers + j
            x = tl.load(x_ptr + place, mask=there, other=0.0).to(tl.float32)
            if BEFORE:
                sign = tl.load(signs_ptr + place, mask=there, other=0.0).to(tl.float32)
                x = tl.where(sign > 0, x, SLOPE * x)
            total += x * ((2 - down * down) * (2 - right * right) / 16)
    inside = i < numbers
    if AFTER:
        sign = tl.load(signs_ptr + start + i, mask=inside, other=0.0).to(tl.float32)
        total = tl.where(sign > 0, total, SLOPE * total)
    tl.store(y_ptr + start + i, total.to(y_ptr.dtype.element_ty), mask=inside)


def blur(x: Tensor) -> Tensor:
    """The binomial filter of `ops.blur`: [N, C, H, W] -> the same, channels-last. float32 or bfloat16."""
    return _run(x, x, slope=1.0, before=False, after=False)


def slope_then_blur(x: Tensor, signs: Tensor, slope: float) -> Tensor:
    """`blur`, of x times `slope` where `signs` is not above 0. With x itself as signs: of the leaky ReLU of x."""
    return _run(x, signs, slope, before=True, after=False)


def blur_then_slope(x: Tensor, signs: Tensor, slope: float) -> Tensor:
    """The transposed operation: `blur` of x, times `slope` where `signs` is not above 0."""
    return _run(x, signs, slope, before=False, after=True)


def _run(x: Tensor, signs: Tensor, slope: float, *, before: bool, after: bool) -> Tensor:
    n, c, h, w = x.shape
    x, signs = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, signs))
    y = torch.empty_like(x)
    with torch.cuda.device(x.device) if x.is_cuda else nullcontext():
        _blur_kernel[(n * h, triton.cdiv(w * c, BLOCK))](x, signs, y, h, w, c, slope, before, after, BLOCK)
    return y
