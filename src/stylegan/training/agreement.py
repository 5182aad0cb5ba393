"""Processes that train one run agree on what they train, or stop in a sentence."""

import socket
import zlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from stylegan import __version__, processes
from stylegan.errors import SharedError
from stylegan.training.config import TrainingConfig
from stylegan.training.run_folder import options
from stylegan.training.state import TrainState

OWN = {"data", "device", "threads"}  # options that each process may have its own of


def check_beginning(config: TrainingConfig, content_hash: str, saved: dict[str, Any] | None) -> None:
    """Raise SharedError where the processes have other programs, options, training images or states to go on from."""
    facts = {
        "program": f"{__version__} with torch {torch.__version__}",
        "training images": content_hash,
        "newest state": "none" if saved is None else f"after {saved['images_seen']} images",
    }
    _compare(facts | {name: value for name, value in options(config).items() if name not in OWN})


def check_state(state: TrainState) -> None:
    """Raise SharedError where the processes have not come to the same weights, moments and counters, to the bit."""
    if processes.world_size() > 1:
        _compare({"images seen": state.images_seen, "tick": state.tick, **checksums(state)})


def checksums(state: TrainState) -> dict[str, str]:
    """Of each part of a state: a number of 8 digits that changes with any bit of it, made on its device."""
    parts = {
        "weights of G": state.g.state_dict(),
        "weights of D": state.d.state_dict(),
        "average weights": state.g_ema.state_dict(),
        "moments of G": state.g_adam.state_dict()["state"],
        "moments of D": state.d_adam.state_dict()["state"],
    }
    if state.augmentation is not None:
        parts["augmentation"] = state.augmentation.to_dict()
    if state.features is not None:
        saved = state.features.to_dict()
        parts |= {"critic on features": saved["heads"], "moments of the critic on features": saved["adam"]["state"]}
    return {name: _checksum(part) for name, part in parts.items()}


def _checksum(part: dict[Any, Any]) -> str:
    sums = [_sum_of_bits(tensor) for tensor in _tensors(part)]
    numbers = [value for value in part.values() if not isinstance(value, dict | Tensor)]
    return f"{zlib.crc32(repr((torch.stack(sums).tolist() if sums else [], numbers)).encode()):08x}"


def _tensors(part: dict[Any, Any]) -> Iterator[Tensor]:
    for value in part.values():
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict):
            yield from _tensors(value)


def _sum_of_bits(tensor: Tensor) -> Tensor:
    """The sum of a tensor's numbers, each taken as the integer that has its bits: int64 []."""
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return tensor.detach().view(bits).sum(dtype=torch.int64).cpu()


def _compare(facts: dict[str, Any]) -> None:
    everybodys = processes.gather((facts, socket.gethostname()))
    ours, first_host = everybodys[0]
    for number, (theirs, host) in enumerate(everybodys):
        for name in ours | theirs:
            if ours.get(name) != theirs.get(name):
                raise SharedError(
                    f"the processes do not train the same: {name} is {theirs.get(name)} in process {number} on {host}, "
                    f"but {ours.get(name)} in process 0 on {first_host}; give all machines of one kind, one version, "
                    "one command and one folder"
                )
