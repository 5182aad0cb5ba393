"""Files of `torch.save`, read as data: plain containers, numbers, texts and tensors, and nothing else.

`torch.load(weights_only=True)` runs no code either, but it can be made to take all memory or to never end by what a
file declares. Here every size is held against the size of the file before anything is made of it.
"""

import io
import math
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from stylegan.errors import InputError
from stylegan.interop import pickles

# what torch wrote before version 1.6, when its files were no zip archives yet
LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
# what reading an archive raises where bytes are missing or wrong
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,
    EOFError,
    LookupError,
    ValueError,
    OSError,
)
MOST_PICKLED = 2**26  # bytes of the part without the tensors
MOST_MEMBERS = 20_000


def load(path: Path) -> Any:
    """The content of a file that `torch.save` wrote. Raises InputError, naming the file, where it is anything else."""
    with path.open("rb") as file:
        try:
            if file.read(len(LEGACY_START)) == LEGACY_START:
                return _load_legacy(file)
            if _occurrences(file, b"PK\x01\x02") > MOST_MEMBERS:  # each listed member begins so; a list takes memory
                raise InputError(f"it is an archive of more than {MOST_MEMBERS} members")
            with zipfile.ZipFile(file) as archive:
                return _load_archive(archive, path.stat().st_size)
        except InputError as error:
            raise InputError(f"{path.name} cannot be read: {error}") from None
        except _DAMAGE as error:
            raise InputError(f"{path.name} is cut short or damaged ({str(error)[:100]})") from error


def _occurrences(file: BinaryIO, mark: bytes) -> int:
    """Number of times that the bytes stand in the file, or a few less."""
    file.seek(0)
    count = 0
    while block := file.read(2**24):
        count += block.count(mark)
    return count


def _load_archive(archive: zipfile.ZipFile, size: int) -> Any:
    members = {info.filename: info for info in archive.infolist()}
    roots = [name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl")]
    if len(roots) != 1 or members[f"{roots[0]}data.pkl"].file_size > MOST_PICKLED:
        raise InputError("it is an archive, but not one of torch")
    if len(members) < len(archive.infolist()) or sum(info.file_size for info in members.values()) > size:
        raise InputError("it is an archive that unpacks to more than its size, which torch never writes")
    if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in members.values()):
        raise InputError("it is an archive with compressed members, which torch never writes")
    root = roots[0]
    if f"{root}byteorder" in members and archive.read(f"{root}byteorder") != b"little":
        raise InputError("it was written on a machine with the other order of bytes")
    storages: dict[str, Tensor] = {}

    def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
        if key not in storages:
            info = members[f"{root}data/{key}"]
            if info.file_size != count * dtype.itemsize:
                raise InputError(f"tensor {key[:100]!r} has not the size that is told of it")
            storages[key] = _tensor_of(archive.read(info), dtype)
        return storages[key]

    for name in members:  # those that no tensor needs have a checksum too
        if not name.startswith(f"{root}data/"):
            archive.read(name)
    return pickles.load(io.BytesIO(archive.read(f"{root}data.pkl")), _KNOWN, lambda told: _storage(told, storage))


def _load_legacy(file: BinaryIO) -> Any:
    """Five pickles: a number, a version, facts of the machine, the content, the names of storages; then these."""
    left = file.seek(0, 2)
    file.seek(0)
    storages: dict[str, Tensor] = {}

    def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
        nonlocal left
        if key not in storages:
            left -= count * dtype.itemsize
            if left < 0:
                raise InputError(f"tensor {key[:100]!r} is larger than the file")
            storages[key] = torch.empty(count, dtype=dtype)  # filled below
        return storages[key]

    pickles.load(file, {})
    pickles.load(file, {})
    pickles.load(file, {})
    content = pickles.load(file, _KNOWN, lambda told: _storage(told, storage))
    keys = pickles.load(file, {})
    if not isinstance(keys, list) or sorted(k for k in keys if isinstance(k, str)) != sorted(storages):
        raise InputError("it is cut short or damaged")
    for key in keys:
        target = storages[key]
        if struct.unpack("<q", file.read(8)) != (len(target),):
            raise InputError("it is cut short or damaged")
        if len(data := file.read(target.nbytes)) < target.nbytes:
            raise EOFError("a tensor ends early")
        if data:
            target.copy_(_tensor_of(data, target.dtype))
    return content


def _tensor_of(data: bytes, dtype: torch.dtype) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0, dtype=dtype)


# --- what a state of tensors is pickled as


def _known_ordered(arguments: tuple) -> OrderedDict:
    if arguments:
        raise InputError("it has a dictionary of an unknown form")
    return OrderedDict()


def _storage(told: Any, storage: Callable[[str, torch.dtype, int], Tensor]) -> Tensor:
    """The numbers that ("storage", type, key, device, count) stands for, [count]."""
    match told:
        case ("storage", torch.dtype() as dtype, str(key), str(), int(count)) if count >= 0:
            return storage(key, dtype, count)
        case ("storage", torch.dtype() as dtype, str(key), str(), int(count), None) if count >= 0:
            return storage(key, dtype, count)
    raise InputError("it refers to data of an unknown form")


def _known_tensor(arguments: tuple) -> Tensor:
    match arguments:
        case (Tensor() as storage, int(offset), tuple(shape), tuple(strides), bool(), _, *_) if (
            storage.ndim == 1
            and len(shape) == len(strides) <= 8
            and all(type(n) is int and 0 <= n < 2**40 for n in (offset, *shape, *strides))
        ):
            last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
            if math.prod(shape) <= len(storage) and (last < len(storage) or 0 in shape):
                return storage.as_strided(shape, strides, offset)
    raise InputError("it has a tensor whose shape is not that of its data")


def _known_parameter(arguments: tuple) -> Tensor:
    match arguments:
        case (Tensor() as tensor, bool(), _, *_):
            return tensor
    raise InputError("it has a parameter that is no tensor")


_TYPES = {"Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16}
_TYPES |= {"Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8}
_TYPES |= {"Bool": torch.bool}
_KNOWN: dict[str, Any] = {
    "collections.OrderedDict": _known_ordered,
    "torch._utils._rebuild_tensor_v2": _known_tensor,
    "torch._utils._rebuild_parameter": _known_parameter,
    **{f"torch.{name}Storage": dtype for name, dtype in _TYPES.items()},
}
