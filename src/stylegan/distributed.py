"""The device to work on, and several processes training as one (torchrun). Alone, they are the identity.

Gradients are averaged by one flat all-reduce after the backward passes: hooks that reduce while a backward pass
runs give wrong gradients where a penalty differentiates twice.
"""

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from stylegan.errors import InputError

T = TypeVar("T")
Precision = Literal["auto", "float32", "tf32", "bf16"]

WORTHWHILE = 1.5  # of `bfloat16_gain`: what is not convolved gains less

# what may round the factors of products on a GPU
_ROUNDED = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is cuda, else mps, else cpu. Raises InputError where it is not there."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if available[kind])
    kind, _, number = name.partition(":")
    if not available.get(kind, False) or (":" in name and not number.isdecimal()):
        usable = ", ".join(kind for kind, there in available.items() if there)
        raise InputError(f"device {name} is not available here; use auto or one of: {usable}")
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
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
    """How many times as fast as in float32 this CPU computes a convolution and its derivatives in bfloat16.

    3 to 8 where it has AMX, and below 1, down to 1/60, where it must imitate bfloat16.
    """
    known = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.9 cannot tell
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


def start(device: torch.device, patience: timedelta | None = None) -> None:
    """Join the group that torchrun has set up, if it has. patience: how long to wait for the others at most."""
    if "WORLD_SIZE" in os.environ and not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=patience)


def stop() -> None:
    """Leave the group."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def all_reduce_sum(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its sum over the processes, in one message."""
    tensors = list(tensors)
    if world_size() == 1 or not tensors:
        return
    flat = torch.cat([t.reshape(-1) for t in tensors])
    dist.all_reduce(flat)
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def on_first(work: Callable[[], T]) -> T:
    """Do something in the first process only, and give its result (which must be picklable) to all."""
    if world_size() == 1:
        return work()
    box = [work() if rank() == 0 else None]
    dist.broadcast_object_list(box)
    return box[0]


def any_process(flag: bool, device: torch.device) -> bool:
    """True in every process if it is true in any."""
    if world_size() == 1:
        return flag
    total = torch.tensor([float(flag)], device=device)
    dist.all_reduce(total)
    return bool(total.item())


def barrier() -> None:
    """Wait for the others."""
    if world_size() > 1:
        dist.barrier()
