"""Several processes that work as one (torchrun). Alone, they are the identity.

Gradients are averaged by one flat all-reduce after the backward passes: hooks that reduce while a backward pass
runs give wrong gradients where a penalty differentiates twice.
"""

import os
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


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
