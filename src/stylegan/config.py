"""Configurations, which are frozen dataclasses, to and from plain JSON values. Strict both ways."""

import dataclasses
import math
import types
from reprlib import repr as short
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from stylegan.errors import InputError

T = TypeVar("T")


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass, and those inside it, as a dictionary that `json.dumps` takes."""
    return {f.name: _plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    return list(value) if isinstance(value, tuple) else value


def check_finite(config: Any) -> None:
    """Raise InputError if a number of the dataclass (in its tables too) is infinite or not a number."""
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        for number in value.values() if isinstance(value, dict) else [value]:
            if isinstance(number, float) and not math.isfinite(number):
                raise InputError(f"{f.name} is {number}; give a finite number")


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
            return {key_type(k): _typed(value_type, v, f"{where}.{k}") for k, v in value.items()}
        except (TypeError, ValueError) as error:
            raise InputError(f"option {where} has an unusable key: {error}") from error
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_typed(arguments[0], v, where) for v in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is not bool and isinstance(value, bool)):
        return value
    raise InputError(f"option {where} is {short(value)}; expected {getattr(hint, '__name__', hint)}")
