"""The device to work on, and how exactly it computes."""

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Literal

import torch

from stylegan.errors import InputError

Precision = Literal["auto", "float32", "tf32", "bf16"]

WORTHWHILE = 1.5  # of `bfloat16_gain`: what is not convolved gains less

# what may round the factors of products on a GPU
_ROUNDED = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]  # set at import


def pick_device(name: str) -> torch.device:
    """The device of that name: cuda, xpu (Intel's GPUs), mps (Apple's), cpu, with a number (cuda:1) or without.

    "auto" is the first of these that is there. Of several GPUs each process of torchrun takes its own. Raises
    InputError where the device is not there.
    """
    counts = {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "xpu": torch.xpu.device_count() if torch.xpu.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    if name == "auto":
        name = next(kind for kind, count in counts.items() if count)
    kind, colon, number = name.partition(":")
    if not counts.get(kind) or (colon and not (number.isdecimal() and int(number) < counts[kind])):
        usable = ", ".join(kind for kind, count in counts.items() if count)
        raise InputError(f"device {name} is not available here; use auto or one of: {usable}")
    if name in ("cuda", "xpu") and "LOCAL_RANK" in os.environ:
        if int(os.environ["LOCAL_RANK"]) >= counts[name]:
            raise InputError(
                f"this machine has {counts[name]} {name} devices, one for each process; start no more of them"
            )
        name = f"{name}:{os.environ['LOCAL_RANK']}"
    return torch.device(name)


def pick_precision(name: Precision, device: torch.device) -> Precision:
    """The precision of that name. Raises InputError where the device has it not.

    "auto" is the fastest of those that are known to train as well: tf32 on CUDA; bf16 on a CPU that multiplies bfloat16
    numbers much faster than float32 ones, which is measured (half a second); else float32.
    """
    if name == "auto":
        if device.type == "cuda":
            return "tf32"
        return "bf16" if device.type == "cpu" and bfloat16_gain() >= WORTHWHILE else "float32"
    if name == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InputError("this GPU has no bfloat16; use --precision float32")
    return name


@lru_cache
def bfloat16_gain() -> float:
    """Speed of a convolution and its derivatives in bfloat16 on this CPU, relative to float32.

    3 to 8 where it has AMX, and below 1, down to 1/60, where it must imitate bfloat16.
    """
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.9 cannot tell
    if known.get("architecture") == "x86_64" and not (known.get("amx_bf16") or known.get("avx512_bf16")):
        return 0.0

    def seconds(dtype: torch.dtype) -> float:
        with torch.random.fork_rng(devices=[]):
            x = torch.randn(4, 64, 32, 32).to(dtype, memory_format=torch.channels_last).requires_grad_()
            weight = torch.randn(64, 64, 3, 3).to(dtype, memory_format=torch.channels_last).requires_grad_()
        best = math.inf
        for _ in range(5):
            start = time.perf_counter()
            torch.nn.functional.conv2d(x, weight, padding=1).sum().backward()
            best = min(best, time.perf_counter() - start)
            if best > 0.05:  # imitated
                break
        return best

    return seconds(torch.float32) / seconds(torch.bfloat16)


def set_precision(precision: Precision) -> torch.dtype | None:
    """Let the GPU round the factors of float32 products to tf32, or not; convolutions do so by default.

    Returns what the networks' `compute_dtype` is to be: bfloat16 for "bf16", else None.
    """
    for setting in _ROUNDED:
        setting.fp32_precision = "ieee" if precision == "float32" else "tf32"
    return torch.bfloat16 if precision == "bf16" else None


@contextmanager
def in_precision(precision: Precision) -> Iterator[None]:
    """Inside, what `set_precision` has said before is replaced."""
    before = [setting.fp32_precision for setting in _ROUNDED]
    set_precision(precision)
    try:
        yield
    finally:
        for setting, mode in zip(_ROUNDED, before, strict=True):
            setting.fp32_precision = mode
