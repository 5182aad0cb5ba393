"""The official network files as they lie on disk: pickles of TensorFlow networks, read without TensorFlow.

Such a file holds instances of `dnnlib.tflib.network.Network` (`tfutil.Network` in the Progressive GAN's), whose state
is the source text of a TensorFlow function, its options and its variables. Only options and variables are used, and
`pickles` reads them as data: nothing of the file is run, and nothing that it names is looked up outside of the table
`_KNOWN`. `nvidia` makes our networks of what is read here.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stylegan.errors import InputError
from stylegan.interop import pickles


class OfficialNetwork(pickles.Built):
    """One network of an official file: function name, options as passed, variables by name, sub-networks."""

    def __init__(self) -> None:
        self.name = ""
        self.function = ""
        self.options: dict[str, Any] = {}
        self.variables: dict[str, np.ndarray] = {}
        self.components: dict[str, OfficialNetwork] = {}

    def set_state(self, state: Any) -> None:
        """Take the state that the official class saved. Raises InputError."""
        match state:
            case {
                "version": int(version),
                "build_func_name": str(function),
                "static_kwargs": dict(options),
                "variables": list(variables),
            }:
                components = state.get("components", {})
            case _:
                raise InputError("it has a network without function, options or variables")
        if function in _LATER or version > 3:
            raise InputError(f"it is a file of {_LATER.get(function, 'StyleGAN2')}, which this program does not read")
        if version not in (2, 3):
            raise InputError(f"it has a network of version {version}, not 2 or 3 as a StyleGAN or Progressive GAN")
        self.name, self.function = state.get("name", ""), function
        self.options = dict(_named_option(name, value) for name, value in options.items())
        self.variables = dict(_named_array(variable) for variable in variables)
        if not isinstance(components, dict) or not all(isinstance(c, OfficialNetwork) for c in components.values()):
            raise InputError("it has a network with components that are no networks")
        self.components = components

    def parts(self) -> list["OfficialNetwork"]:
        """Its components and itself."""
        return [*self.components.values(), self]

    def take_variables(self) -> dict[str, np.ndarray]:
        """All variables, those of the components too. They are gone from here: large files are not held twice."""
        taken: dict[str, np.ndarray] = {}
        for part in self.parts():  # itself last: of the two variables lod its own is what counts
            taken |= part.variables
            part.variables = {}
        return taken


_LATER = dict.fromkeys(
    ("G_main", "G_mapping_stylegan2", "G_synthesis_stylegan2", "G_synthesis_stylegan_revised", "D_stylegan2"),
    "StyleGAN2 or StyleGAN2-ADA (TensorFlow)",
)


# --- what numpy's arrays are made of, in the pickles of numpy 1 and 2


class _DType(pickles.Built):
    """A type of numbers, such as "f4"; the state tells the order of its bytes."""

    def __init__(self, code: str) -> None:
        if code not in ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"):
            raise InputError(f"it has an array of type {code[:20]!r}; only numbers are read")
        self.dtype = np.dtype(code)

    def set_state(self, state: Any) -> None:
        match state:
            case (int(), "<" | ">" | "|" | "=" as order, None, None, None, int(), int(), *_):
                self.dtype = self.dtype.newbyteorder(order)
            case _:
                raise InputError("it has an array of an unknown type")


class _Array(pickles.Built):
    """An array; the state holds everything."""

    value: np.ndarray | None = None

    def set_state(self, state: Any) -> None:
        match state:
            case (int(), tuple(shape), _DType() as dtype, bool(fortran), bytes() | str() as data):
                self.value = _array_of(data, dtype, shape, "F" if fortran else "C")
            case _:
                raise InputError("it has an array that does not consist of shape, type and numbers")


def _array_of(data: bytes | str, dtype: _DType, shape: tuple, order: Literal["C", "F"]) -> np.ndarray:
    """The array, in place. Its shape must be that of the data, so none is larger than the file."""
    data = data.encode("latin1") if isinstance(data, str) else data  # Python 2's
    if len(shape) > 8 or not all(type(size) is int and size >= 0 for size in shape):
        raise InputError("it has an array with an impossible shape")
    if math.prod(shape) * dtype.dtype.itemsize != len(data):
        raise InputError(f"it has an array of shape {shape}, but {len(data)} bytes for it"[:200])
    return np.frombuffer(data, dtype.dtype).reshape(shape, order=order)


def _known_dtype(arguments: tuple) -> _DType:
    match arguments:
        case (str(code), *_):
            return _DType(code)
    raise InputError("it has an array of an unknown type")


def _known_scalar(arguments: tuple) -> np.ndarray:
    match arguments:
        case (_DType() as dtype, bytes() | str() as data):
            return _array_of(data, dtype, (), "C")
    raise InputError("it has a number of an unknown type")


def _known_buffer(arguments: tuple) -> np.ndarray:
    match arguments:
        case (bytes(data), _DType() as dtype, tuple(shape), "C" | "F" as order):
            return _array_of(data, dtype, shape, order)
        case (bytes(data), _DType() as dtype, (int(), int(), int(), int()) as shape, "K", (2, 3, 1, 0) as axes):
            return _array_of(data, dtype, shape, "C").transpose(axes)
    raise InputError("it has an array that does not consist of shape, type and numbers")


def _known_bytes(arguments: tuple) -> bytes:
    """Bytes, which protocols before 3 do not have."""
    match arguments:
        case (str(text), "latin1"):
            return text.encode("latin1")
    raise InputError("it has a text where numbers should be")


_KNOWN: dict[str, Callable[[tuple], Any] | None] = {
    "dnnlib.tflib.network.Network": lambda arguments: OfficialNetwork(),
    "tfutil.Network": lambda arguments: OfficialNetwork(),
    "_codecs.encode": _known_bytes,
    "numpy.dtype": _known_dtype,
    "numpy.ndarray": None,  # an argument of _reconstruct
}
for _core in ("numpy.core", "numpy._core"):
    _KNOWN[f"{_core}.multiarray._reconstruct"] = lambda arguments: _Array()
    _KNOWN[f"{_core}.multiarray.scalar"] = _known_scalar
    _KNOWN[f"{_core}.numeric._frombuffer"] = _known_buffer


def _named_option(name: Any, value: Any) -> tuple[str, Any]:
    """An option with a plain value: None, a number, a text, or a list of a few of them."""
    value = value.value if isinstance(value, _Array) else value
    value = value.tolist() if isinstance(value, np.ndarray) and value.size < 100 else value
    several = isinstance(value, list | tuple) and len(value) < 100
    if isinstance(name, str) and all(isinstance(v, str | int | float | None) for v in (value if several else [value])):
        return name, list(value) if several else value
    raise InputError("it has a network with an option that is neither a number nor a text")


def _named_array(variable: Any) -> tuple[str, np.ndarray]:
    match variable:
        case (str(name), _Array() | np.ndarray() as value):
            array = value.value if isinstance(value, _Array) else value
            if array is not None and array.dtype.kind == "f":
                return name, array
    raise InputError("it has a network with a variable that is not a name and numbers")


# --- files


@dataclass(frozen=True)
class OfficialFile:
    """The networks of an official file: all three of a training run, or one of them."""

    g: OfficialNetwork | None = None
    d: OfficialNetwork | None = None
    gs: OfficialNetwork | None = None
    """The moving average of g."""


def read(path: Path | str) -> OfficialFile:
    """Read an official pickle of (G, D, Gs), or of one network alone. Raises InputError where it is anything else."""
    content = _unpickle(Path(path))
    match content:
        case (OfficialNetwork() as g, OfficialNetwork() as d, OfficialNetwork() as gs):
            return OfficialFile(g, d, gs)
        case OfficialNetwork(function="D_basic" | "D_paper"):
            return OfficialFile(d=content)
        case OfficialNetwork(name="Gs"):
            return OfficialFile(gs=content)
        case OfficialNetwork():
            return OfficialFile(g=content)
    raise InputError(f"{path} holds neither (G, D, Gs), as the official training writes them, nor one network")


def read_network(path: Path | str) -> OfficialNetwork:
    """Read an official pickle of one network, such as an attribute classifier. Raises InputError."""
    content = _unpickle(Path(path))
    if not isinstance(content, OfficialNetwork):
        raise InputError(f"{path} holds no single network, as the official classifiers' files do")
    return content


def _unpickle(path: Path) -> Any:
    with path.open("rb") as file:
        try:
            content = pickles.load(file, _KNOWN)
        except pickles.UnknownName as error:
            if error.name.split(".")[0] not in ("torch_utils", "training", "torch"):
                raise InputError(f"{path} is no network file: {error}; use a file from a source you trust") from None
            file.seek(0)
            later = "StyleGAN3" if b"filtered_lrelu" in file.read(2**22) else "StyleGAN2-ADA (PyTorch)"
            raise InputError(f"{path} is a file of {later}, which this program does not read") from None
        except InputError as error:
            raise InputError(f"{path} cannot be read: {error}") from None
    networks = content if isinstance(content, tuple) else (content,)
    parts = [part for n in networks if isinstance(n, OfficialNetwork) for part in n.parts()]
    if sum(array.nbytes for part in parts for array in part.variables.values()) > path.stat().st_size:
        raise InputError(f"{path} cannot be read: it repeats its numbers, which no official file does")
    return content
