"""Resolutions: powers of two from 4 x 4, where every network begins, to 1024 x 1024."""

from stylegan.errors import InputError

LOWEST, HIGHEST = 4, 1024


def log2(resolution: int) -> int:
    """Whole-numbered logarithm of a power of two."""
    return resolution.bit_length() - 1


def resolutions(highest: int, lowest: int = LOWEST) -> list[int]:
    """Powers of two from lowest to highest, both included: [4, 8, ..., highest]."""
    return [2**k for k in range(log2(lowest), log2(highest) + 1)]


def is_resolution(value: int) -> bool:
    """Whether a number is a power of two from 4 to 1024."""
    return value in resolutions(HIGHEST)


def check_resolution(value: int, name: str = "resolution") -> None:
    """Raise InputError, which calls the value `name`, unless it is a power of two from 4 to 1024."""
    if not is_resolution(value):
        raise InputError(f"{name} is {value!r}; use a power of two from {LOWEST} to {HIGHEST}")
