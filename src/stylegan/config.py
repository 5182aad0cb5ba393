"""Configurations, which are frozen dataclasses: their ranges, and to and from plain JSON values, strictly."""

import dataclasses
import math
import types
from collections.abc import Iterator
from functools import lru_cache
from reprlib import repr as short
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from stylegan.errors import InputError

T = TypeVar("T")


# --- ranges


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers that a field takes, from `low` to `high`; see `at_least`, `above` and `between`."""

    low: float
    high: float
    with_low: bool
    with_high: bool

    def __contains__(self, number: float) -> bool:
        return (self.low < number or (self.with_low and number == self.low)) and (
            number < self.high or (self.with_high and number == self.high)
        )

    def __str__(self) -> str:
        if self.with_low and self.with_high:
            return f"from {self.low} to {self.high}"
        low = f"of at least {self.low}" if self.with_low else f"above {self.low}"
        return low if self.high == math.inf else f"{low} and below {self.high}"


def at_least(low: float, *, below: float = math.inf) -> Range:
    """For a field's annotation: `Annotated[int, at_least(1)]`."""
    return Range(low, below, with_low=True, with_high=False)


def above(low: float, *, below: float = math.inf) -> Range:
    """For a field's annotation: `Annotated[float, above(0)]`."""
    return Range(low, below, with_low=False, with_high=False)


def between(low: float, high: float) -> Range:
    """For a field's annotation, both ends included: `Annotated[float, between(0, 1)]`."""
    return Range(low, high, with_low=True, with_high=True)


SEED = between(0, 2**63 - 1)
"""For the annotation of a field that seeds random numbers."""


def check(config: Any, prefix: str = "") -> None:
    """Raise InputError, which names the field, its value and its range, where a number is out of range or not finite.

    A range is for each number of a table or tuple; what is None is left out. prefix: goes before the name.
    """
    ranges = _ranges(type(config))
    for f in dataclasses.fields(config):
        for number, where in _numbers(getattr(config, f.name)):
            told = f"{prefix}{f.name} is {number}{where}; give"
            if isinstance(number, float) and not math.isfinite(number):
                raise InputError(f"{told} a finite number")
            if f.name in ranges and number not in ranges[f.name]:
                raise InputError(f"{told} a number {ranges[f.name]}")


def _numbers(value: Any) -> Iterator[tuple[float, str]]:
    """The numbers of a field, and where in a table they stand."""
    if isinstance(value, dict):
        yield from ((number, f" at {key}") for key, number in value.items())
    elif isinstance(value, tuple | list):
        yield from ((number, "") for number in value if isinstance(number, int | float))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value, ""


@lru_cache
def _ranges(cls: type) -> dict[str, Range]:
    hints = get_type_hints(cls, include_extras=True)
    return {name: found for name, hint in hints.items() if (found := _range_in(hint)) is not None}


def _range_in(hint: Any) -> Range | None:
    """The range in an annotation, in that of an optional too."""
    for part in (*getattr(hint, "__metadata__", ()), *map(_range_in, get_args(hint))):
        if isinstance(part, Range):
            return part
    return None


# --- JSON


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass, and those inside it, as a dictionary that `json.dumps` takes."""
    return {f.name: _plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    return list(value) if isinstance(value, tuple) else value


def from_dict(cls: type[T], values: Any, where: str = "") -> T:
    """Rebuild a dataclass from `to_dict`'s form. Fields left out take their defaults.

    Raises InputError, naming the field, for one that is unknown or has a value of the wrong type.
    """
    if not isinstance(values, dict):
        raise InputError(f"{where.rstrip('.') or cls.__name__} must be a table of options, not {short(values)}")
    hints = get_type_hints(cls)
    unknown = [name for name in values if name not in hints]
    if unknown:
        raise InputError(f"unknown option {where}{short(unknown[0])[1:-1]}; {cls.__name__} has {', '.join(hints)}")
    return cls(**{name: _typed(hints[name], value, f"{where}{name}") for name, value in values.items()})


def _typed(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, f"{where}.")
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _typed(next(a for a in arguments if a is not type(None)), value, where)
    if origin is Literal and value in arguments:
        return value
    if origin is dict and isinstance(value, dict):
        key_type, value_type = arguments
        try:
            keys = [key_type(k) for k in value]
        except (TypeError, ValueError) as error:
            raise InputError(f"option {where} has an unusable key: {error}") from error
        return {key: _typed(value_type, v, f"{where}.{k}") for key, (k, v) in zip(keys, value.items(), strict=True)}
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_typed(arguments[0], v, where) for v in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is not bool and isinstance(value, bool)):
        return value
    raise InputError(f"option {where} is {short(value)}; expected {getattr(hint, '__name__', hint)}")
