"""TFRecords as the official data set tool writes them, read without TensorFlow.

A data set is a folder with one file for each resolution, <name>-r02.tfrecords to <name>-r10.tfrecords, and perhaps
<name>-rxx.labels, a .npy array float32 [N, classes] of one-hot rows. A file is a sequence of records: length (uint64),
masked CRC-32C of the length, data, masked CRC-32C of the data; all little-endian. A record's data is a protocol buffer
message (tf.train.Example) with the features `shape` (three int64: C, H, W) and `data` (uint8, C x H x W).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from stylegan.data.items import MAX_FILE_BYTES, Source, Unusable, first_reasons, too_large
from stylegan.errors import InputError

SUFFIXES = (".tfrecords", ".tfrecord")
MAX_BAD_RECORDS = 10_000  # a file with more is no longer worth a list


def read(paths: Sequence[Path], *, with_labels: bool) -> Source:
    """List the images of a data set's files; of several resolutions, those of the highest.

    The others need not be there: the store makes its own, which are the same. Labels come from the file beside them.
    Raises InputError where there are two data sets, or labels that do not fit.
    """
    levels: dict[str, dict[int, Path]] = {}  # by the data set's name
    for path in paths:
        name, level = _name_and_level(path)
        levels.setdefault(name, {})[level] = path
    if len(levels) > 1:
        raise InputError(f"{paths[0].parent} holds several data sets: {', '.join(sorted(levels))}; give one file")
    ((name, files),) = levels.items()
    path = files[max(files)]
    rejected: list[tuple[str, str]] = []
    items = list(_list_records(path, rejected))
    labels: list[int] | None = None
    label_names: tuple[str, ...] = ()
    label_file = path.with_name(f"{name}-rxx.labels")
    if with_labels and items and label_file.is_file():
        one_hot = _read_labels(label_file)
        if one_hot.shape[1] > 0:
            count = items[-1].number + 1
            if len(one_hot) < count:
                raise InputError(f"{label_file} has labels for {len(one_hot)} images of {count}; fetch it again")
            if len(one_hot) > count:
                rejected.append((path.name, f"cut short: {len(one_hot)} labels for {count} images"))
            labels = one_hot.argmax(axis=1)[[item.number for item in items]].tolist()
            label_names = tuple(str(number) for number in range(one_hot.shape[1]))
    if not items:
        raise InputError(f"{path} holds no image{first_reasons(rejected)}; fetch it again")
    return Source(name, items, rejected, labels, label_names)


def _name_and_level(path: Path) -> tuple[str, int]:
    """('ffhq', 10) of ffhq-r10.tfrecords; any other name is that of a data set of one resolution."""
    match = re.fullmatch(r"(.+)-r([0-9]{2})", path.stem)
    return (match[1], int(match[2])) if match else (path.stem, 0)


def _read_labels(path: Path) -> np.ndarray:
    """One-hot rows [N, classes]. Raises InputError for anything else."""
    try:
        labels = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # numpy's parser lets through whatever a damaged header makes it stumble over
        raise InputError(f"{path} is no array of labels ({error}); fetch it again or remove it") from error
    if labels.ndim != 2 or labels.dtype.kind not in "fiu":
        raise InputError(f"{path} is no array [images, classes] of numbers; fetch it again or remove it")
    if labels.shape[1] > 0 and not ((labels == 1).sum(axis=1) == 1).all() & ((labels != 0).sum(axis=1) == 1).all():
        raise InputError(f"{path} holds labels that are no classes (rows with a single 1); leave it out: remove it")
    return labels


# --- Records -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RecordItem:
    """An image of a .tfrecords file."""

    name: str
    file: str
    offset: int
    """Start of the record's data."""
    size: int
    number: int
    """Its place in the file."""

    def read(self) -> bytes:
        """The image as a PPM or PGM file, the plainest that every reader of images understands."""
        try:
            with Path(self.file).open("rb") as file:
                file.seek(self.offset)
                data, crc = file.read(self.size), file.read(4)
        except OSError as error:
            raise Unusable(f"unreadable: {error.strerror or error}") from error
        if len(crc) < 4:
            raise Unusable("truncated")
        if masked_crc32c(data) != int.from_bytes(crc, "little"):
            raise Unusable("bad checksum")
        image = parse_example(data)
        channels, height, width = image.shape
        header = f"P{5 if channels == 1 else 6} {width} {height} 255\n".encode()
        return header + image.transpose(1, 2, 0).tobytes()


def _list_records(path: Path, rejected: list[tuple[str, str]]) -> Iterator[RecordItem]:
    """The records of a file, by reading their lengths alone.

    A damaged length is overcome where all records have one length, as those of one resolution have: the next record
    must then stand where it belongs.
    """
    total, resolved = path.stat().st_size, str(path.resolve())
    with path.open("rb", buffering=0) as file:

        def length_at(offset: int) -> int | None:
            """The length that a record's header gives; None if its checksum is wrong."""
            file.seek(offset)
            header = file.read(12)
            if len(header) < 12 or masked_crc32c(header[:8]) != int.from_bytes(header[8:], "little"):
                return None
            return int.from_bytes(header[:8], "little")

        offset, number, usual = 0, 0, None
        while offset < total:
            if len(rejected) > MAX_BAD_RECORDS:
                raise InputError(f"{path} has more than {MAX_BAD_RECORDS} damaged records; fetch it again")
            name = f"{path.stem}/{number:08d}"
            size = length_at(offset)
            if size is None:
                following = None if usual is None else offset + usual + 16
                if following is None or (following != total and length_at(following) is None):
                    rejected.append((name, "damaged length: what follows cannot be found"))
                    return
                rejected.append((name, "damaged length"))
                size = usual
            elif offset + size + 16 > total:
                rejected.append((name, "truncated"))
                return
            elif size > MAX_FILE_BYTES:
                rejected.append((name, too_large(size)))
            elif size == 0:
                rejected.append((name, "empty"))
            else:
                usual = size
                yield RecordItem(name, resolved, offset + 12, size, number)
            offset += size + 16
            number += 1


def parse_example(data: bytes) -> np.ndarray:
    """The image of a record's data: uint8 [C, H, W], C = 1 or 3. Raises Unusable for anything else."""
    found = {}
    try:
        for _, features in _fields(memoryview(data), 1):  # Example.features
            for _, entry in _fields(features, 1):  # Features.feature, a map
                keys = [bytes(key) for _, key in _fields(entry, 1)]
                values = [value for _, value in _fields(entry, 2)]
                if keys and values:
                    found[keys[-1]] = values[-1]
        shape = _integers(found[b"shape"])
        (pixels,) = [value for _, values in _fields(found[b"data"], 1) for _, value in _fields(values, 1)]
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise Unusable("not a record of the official tool: no image in its fields shape and data") from error
    if len(shape) != 3 or shape[0] not in (1, 3) or min(shape) < 1 or shape[0] * shape[1] * shape[2] != len(pixels):
        raise Unusable(f"damaged record: {len(pixels)} bytes for an image of shape {shape[:4]}")
    return np.frombuffer(pixels, np.uint8).reshape(shape)


def _integers(feature: memoryview) -> list[int]:
    """The values of an Int64List, packed or not."""
    values = []
    for _, integers in _fields(feature, 3):
        for wire_type, value in _fields(integers, 1):
            if wire_type == 0:
                values.append(value)
            else:
                position = 0
                while position < len(value):
                    number, position = _varint(value, position)
                    values.append(number)
    return values


def _fields(message: memoryview, wanted: int) -> Iterator[tuple[int, Any]]:
    """(wire type, value) of a protocol buffer message's fields of one number. Raises ValueError or IndexError."""
    position = 0
    value: int | memoryview
    while position < len(message):
        tag, position = _varint(message, position)
        wire_type = tag & 7
        if wire_type == 0:
            value, position = _varint(message, position)
        elif wire_type in (1, 2, 5):
            size = {1: 8, 5: 4}.get(wire_type)
            if size is None:
                size, position = _varint(message, position)
            value, position = message[position : position + size], position + size
            if position > len(message):
                raise ValueError("a field that ends behind its message")
        else:
            raise ValueError(f"wire type {wire_type}")
        if tag >> 3 == wanted:
            yield wire_type, value


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    """A number of 7 bits a byte, at most 10 bytes, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number of more than 10 bytes")


# --- CRC-32C (Castagnoli), which zlib does not have ---------------------------------------------

_POLYNOMIAL = 0x82F63B78  # bits reversed


def masked_crc32c(data: bytes) -> int:
    """The checksum of TFRecords: CRC-32C, rotated by 15 bits, plus a constant."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c_reference(data: bytes) -> int:
    """CRC-32C byte by byte."""
    table = _table().tolist()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """CRC-32C, by google-crc32c where it is installed (`stylegan[data]`), which is far faster."""
    try:
        import google_crc32c
    except ImportError:
        return crc32c_in_parts(data)
    return google_crc32c.value(data)


def crc32c_in_parts(data: bytes) -> int:
    """CRC-32C in numpy. Long data is cut into parts whose CRCs are computed side by side and then joined in pairs.

    That works since a CRC that starts at 0 is linear: crc(a + b) = crc(a + zeros) ^ crc(b). It does not see zeros
    put in front, and starting at 0xFFFFFFFF is to invert the first four bytes.
    """
    if len(data) < 1024:
        return crc32c_reference(data)
    length = 1 << ((len(data) - 1).bit_length() // 2)  # of a part
    count = 1 << (-(-len(data) // length) - 1).bit_length()
    parts = np.zeros(count * length, np.uint8)
    parts[-len(data) :] = np.frombuffer(data, np.uint8)
    parts[-len(data) :][:4] ^= 0xFF
    table, crcs = _table(), np.zeros(count, np.uint32)
    for column in np.ascontiguousarray(parts.reshape(count, length).T):
        crcs = table.take(crcs.astype(np.uint8) ^ column) ^ crcs >> 8
    while len(crcs) > 1:
        crcs = _apply(_zeros(length), crcs[0::2]) ^ crcs[1::2]
        length *= 2
    return int(crcs[0]) ^ 0xFFFFFFFF


@lru_cache(maxsize=1)
def _table() -> np.ndarray:
    """The CRC of each byte, uint32 [256]."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table


@lru_cache(maxsize=64)
def _zeros(count: int) -> np.ndarray:
    """Effect of `count` zero bytes (a power of two) on each bit of a CRC: uint32 [32]."""
    if count == 1:
        bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
        return _table()[bits & 0xFF] ^ bits >> 8
    half = _zeros(count // 2)
    return _apply(half, half)


def _apply(matrix: np.ndarray, crcs: np.ndarray) -> np.ndarray:
    """The product of a 32 x 32 matrix of bits, uint32 [32], and each CRC, uint32 [n]."""
    bits = (crcs[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    return np.bitwise_xor.reduce(np.where(bits, matrix, np.uint32(0)), axis=1)
