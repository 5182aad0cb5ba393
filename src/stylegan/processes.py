"""Several processes that work as one (torchrun). Alone, they are the identity.

Gradients are averaged by one flat all-reduce after the backward passes: hooks that reduce while a backward pass
runs give wrong gradients where a penalty differentiates twice.
"""

import faulthandler
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from stylegan.errors import InputError, SharedError, sentence_of

T = TypeVar("T")
ORPHANS_LAST = 120.0  # seconds, to save what they have
MEET = timedelta(minutes=30)  # at most, to wait for all at the start
JOIN = 120.0  # seconds, at most, to become a group when all are there


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
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            dist.init_process_group(_backend(device), timeout=patience)
            return
        number, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        store: dist.Store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
        store = dist.PrefixStore(meeting(store, number, world, patience or MEET), store)
        with _ended_after(JOIN):  # all are there; but where memory runs out now, gloo may wait for itself
            dist.init_process_group(_backend(device), timeout=patience, store=store, rank=number, world_size=world)


@contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    """Inside, this process is ended, with its traceback, if it takes longer, even where it hangs outside of Python."""
    if sys.__stderr__ is None:  # a window without a console
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def meeting(store: dist.Store, number: int, world: int, patience: timedelta = MEET) -> str:
    """A name that only those processes know who meet now, for what they tell each other in the store.

    torchrun keeps its store when it starts processes again, and there the addresses of the dead are taken for those of
    the living. How often they were started again is no such name: a machine that has come back counts anew. So the
    first process gives the name to those who ask for it, and knows by their thanks that they are of now. Nobody leaves
    before all have come.
    """
    ours = uuid.uuid4().hex
    if number > 0:
        store.set(f"asks {number}", ours)
        store.wait([f"answer to {ours}"], patience)
        name = store.get(f"answer to {ours}").decode()
        store.set(f"thanks of {number} for {name}", "")
        store.wait([f"all are there, {name}"], patience)
        return name
    missing, deadline = set(range(1, world)), time.monotonic() + patience.total_seconds()
    while missing:
        for other in missing:
            if store.check([f"asks {other}"]):  # now, or before it died
                store.set(f"answer to {store.get(f'asks {other}').decode()}", ours)
        missing = {other for other in missing if not store.check([f"thanks of {other} for {ours}"])}
        if time.monotonic() > deadline:
            raise InputError(f"of {world} processes {len(missing)} did not come; start them all")
        time.sleep(0.02)
    store.set(f"all are there, {ours}", "")
    return ours


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
    with _stopped_with_torchrun():  # from the start, where the store of a dead torchrun is waited for
        try:
            start(device, patience)
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
    flat = _all_reduce(torch.cat([t.reshape(-1) for t in tensors]))
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def on_first(work: Callable[[], T]) -> T:
    """Do something in the first process only, and give its result (which must be picklable) to all.

    Where it raises InputError or OSError, all raise a SharedError.
    """
    if world_size() == 1:
        return work()
    box: list[Any] = [None, ""]
    if rank() == 0:
        try:
            box[0] = work()
        except (InputError, OSError) as error:
            box[1] = sentence_of(error)
    with _group():
        dist.broadcast_object_list(box)
    result, sentence = box
    if sentence:
        raise SharedError(sentence)
    return result


def gather(value: T) -> list[T]:
    """What each process has, by its number, in all of them; it must be picklable."""
    if world_size() == 1:
        return [value]
    values: list = [None] * world_size()
    with _group():
        dist.all_gather_object(values, value)
    return values


def in_all(work: Callable[[], T]) -> T:
    """Do something, which must not speak with other processes, in each of them.

    Where one raises InputError or OSError, all raise a SharedError that names it: none waits for it in vain.
    """
    if world_size() == 1:
        return work()
    results, sentence = [], ""
    try:
        results.append(work())
    except (InputError, OSError) as error:
        sentence = sentence_of(error)
    sentences = gather((sentence, socket.gethostname()))
    for number, (sentence, host) in enumerate(sentences):
        if sentence:
            alone = number > 0 or any(not other for other, _ in sentences)
            raise SharedError(sentence + (f" (says process {number}, on {host})" if alone else ""))
    return results[0]


def in_first(work: Callable[[], object]) -> None:
    """Do something in the first process alone; as `in_all`."""
    in_all(lambda: work() if rank() == 0 else None)


def largest(number: int, device: torch.device) -> int:
    """The largest of the numbers that the processes have, in all of them."""
    if world_size() == 1:
        return number
    return int(_all_reduce(torch.tensor([number], device=device), dist.ReduceOp.MAX).item())


def _all_reduce(tensor: Tensor, operation=dist.ReduceOp.SUM) -> Tensor:
    """Over the processes, in place where the tensor is; gloo takes it from the CPU."""
    there = tensor.cpu() if dist.get_backend() == "gloo" else tensor
    with _group():
        dist.all_reduce(there, operation)
    return there.to(tensor.device)


def barrier() -> None:
    """Wait for the others."""
    if world_size() > 1:
        with _group():
            dist.barrier()


@contextmanager
def _group() -> Iterator[None]:
    """Inside, the processes speak with each other. Raises InputError where one has gone."""
    try:
        yield
    except RuntimeError as error:
        if "out of memory" in str(error).lower():
            raise
        reason = " ".join(str(error).split())[:150]
        raise InputError(
            f"process {rank()} has lost another one, which has ended or cannot be reached ({reason}); start them "
            "again, and a training goes on from its last state"
        ) from error


# --- work that all of them can leave together


class Interrupted(KeyboardInterrupt):
    """Raised in all processes of a group where one has been asked to stop."""


_wanted: Callable[[], bool] | None = None  # whether this process is to stop; of one thread, as signals are


@contextmanager
def interruptible(wanted: Callable[[], bool]) -> Iterator[None]:
    """Inside, `leave_if_wanted` asks whether any process wants to stop."""
    global _wanted
    before, _wanted = _wanted, wanted
    try:
        yield
    finally:
        _wanted = before


def leave_if_wanted() -> None:
    """Raise Interrupted in all processes where one wants to stop, in work that may be left. All must call it alike."""
    if _wanted is not None and world_size() > 1 and any(gather(_wanted())):
        raise Interrupted
