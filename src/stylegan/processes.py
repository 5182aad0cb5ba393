"""Several processes that work as one (torchrun). Alone, they are the identity.

Gradients are averaged by one flat all-reduce after the backward passes: hooks that reduce while a backward pass
runs give wrong gradients where a penalty differentiates twice.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from stylegan.errors import InputError

T = TypeVar("T")
ORPHANS_LAST = 120.0  # seconds, to save what they have


def start(device: torch.device, patience: timedelta | None = None) -> None:
    """Join the group that torchrun has set up, if it has and this process is in none.

    patience: how long to wait for the others at most. Whoever starts stops; `joined` does both. Raises InputError
    where the environment says half of what a group needs, as some clusters' does.
    """
    if "WORLD_SIZE" in os.environ and not dist.is_initialized():
        if missing := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
            raise InputError(
                f"the environment says that there are {os.environ['WORLD_SIZE']} processes (WORLD_SIZE), but has no "
                f"{', '.join(missing)}; start them with torchrun, or unset WORLD_SIZE"
            )
        if device.type in ("cuda", "xpu"):
            getattr(torch, device.type).set_device(device)
        dist.init_process_group(_backend(device), timeout=patience)


def _backend(device: torch.device) -> str:
    """Backend for tensors of a device: the GPUs' own, else gloo, which every system has."""
    if device.type == "cuda" and dist.is_nccl_available():
        return "nccl"
    return "xccl" if device.type == "xpu" and dist.is_xccl_available() else "gloo"


def stop() -> None:
    """Leave the group."""
    if dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def joined(device: torch.device, patience: timedelta | None = None) -> Iterator[None]:
    """Inside, this process is in torchrun's group, as by `start`; afterwards it is where it was before."""
    before = dist.is_initialized()
    start(device, patience)
    try:
        with _stopped_with_torchrun():
            yield
    finally:
        if not before:
            stop()


@contextmanager
def _stopped_with_torchrun() -> Iterator[None]:
    """Inside, this process stops itself when torchrun, its parent, is gone: nobody else would stop it.

    It is given SIGTERM, upon which a training saves; where that does not end it in time, as in a wait for another
    process that never answers, it ends at once.
    """
    parent, left = os.getppid(), threading.Event()

    def watch() -> None:
        while (
            os.getppid() == parent
        ):  # the system's first process adopts orphans; not on Windows, which ends them itself
            if left.wait(1.0):
                return
        os.kill(os.getpid(), signal.SIGTERM)
        if not left.wait(ORPHANS_LAST):
            os._exit(128 + signal.SIGTERM)

    if "TORCHELASTIC_RUN_ID" in os.environ:
        threading.Thread(target=watch, daemon=True, name="parent").start()
    try:
        yield
    finally:
        left.set()


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def all_reduce_sum(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its sum over the processes, in one message."""
    tensors = list(tensors)
    if world_size() == 1 or not tensors:
        return
    flat = torch.cat([t.reshape(-1) for t in tensors])
    flat = _all_reduce(flat)
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def on_first(work: Callable[[], T]) -> T:
    """Do something in the first process only, and give its result (which must be picklable) to all."""
    if world_size() == 1:
        return work()
    box: list[Any] = [work() if rank() == 0 else None]
    dist.broadcast_object_list(box)
    return box[0]


def any_process(flag: bool, device: torch.device) -> bool:
    """True in every process if it is true in any."""
    if world_size() == 1:
        return flag
    return bool(_all_reduce(torch.tensor([float(flag)], device=device)).item())


def _all_reduce(tensor: Tensor) -> Tensor:
    """The sum over the processes, in place where the tensor is; gloo takes it from the CPU."""
    if dist.get_backend() != "gloo" or tensor.device.type == "cpu":
        dist.all_reduce(tensor)
        return tensor
    there = tensor.cpu()
    dist.all_reduce(there)
    return there.to(tensor.device)


def barrier() -> None:
    """Wait for the others."""
    if world_size() > 1:
        dist.barrier()
