"""What is read from a checkpoint's table of tensors, and what is wrong with it, in words."""

import re

import torch
from torch import Tensor

from stylegan.errors import InputError


def count_of(table: dict[str, Tensor], pattern: str, program: str, *, first: int = 0) -> int:
    """Number of names that fit the pattern, which has a number in it: from `first` on, one after the other, 20 at most.

    Raises InputError where they do not count so. program: whose layers these are.
    """
    found = sorted(int(m[1]) for m in (re.fullmatch(pattern, name) for name in table) if m and len(m[1]) < 3)
    if found != list(range(first, first + len(found))) or len(found) > 20:
        raise InputError(f"its layers are not numbered as those of {program}")
    return len(found)


def shape_of(table: dict[str, Tensor], name: str, dimensions: int) -> tuple[int, ...]:
    """The shape of a tensor that must be there and have so many dimensions. Raises InputError."""
    if name not in table or table[name].ndim != dimensions:
        raise InputError(f"its tensor {name} is missing, or has another shape")
    return tuple(table[name].shape)


def check_blur(kernel: Tensor) -> None:
    """Raise InputError where a kernel [..., 3, 3] is not the binomial one."""
    binomial = torch.tensor([1.0, 2.0, 1.0]) / 4
    if kernel.shape[-2:] != (3, 3) or not torch.allclose(kernel, torch.outer(binomial, binomial).expand_as(kernel)):
        raise InputError("it blurs with another filter than [1, 2, 1]")
