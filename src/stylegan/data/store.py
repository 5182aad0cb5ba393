"""The training format: one memory-mapped uint8 array per resolution and a dataset.json that describes them.

    dataset.json       what the store holds and how it was made; its presence means that the store is complete
    images-0004.npy    uint8 [N, 4, 4, C], and so on for every power of two up to the store's resolution
    labels.npy         int64 [N], class numbers, where the images have classes
    attributes.npy     bool [N, A], where the images have binary attributes
    names.txt          the images' original names, one a line
    checksums.npy      uint32 [N, resolutions], the CRC-32 of each image's pixels; stores of earlier versions have none
    held-out/          where images are kept apart from training: these, as a store of their own

docs/file-formats.md specifies it byte by byte.
"""

import json
import re
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from stylegan.errors import InputError
from stylegan.resolutions import is_resolution, resolutions

FORMAT_VERSION = 1
KIND = "stylegan-store"
DESCRIPTION, CHECKSUMS = "dataset.json", "checksums.npy"
HELD_OUT = "held-out"  # the folder, inside a store, of the images that training never sees
MAX_DESCRIPTION_BYTES, MAX_NAMES_BYTES = 16 * 2**20, 512 * 2**20  # far more than they take


@dataclass(frozen=True)
class Store:
    """An opened store. Opening it checks every file's size and reads no pixel; arrays are mapped on request.

    It holds no open file, so it can be pickled and passed to worker processes.
    """

    path: Path
    count: int
    resolution: int
    channels: int
    label_names: tuple[str, ...]
    """Names of the classes; () where the images have none."""
    attribute_names: tuple[str, ...]
    """Names of the binary attributes; () where the images have none."""
    content_hash: str
    """SHA-256 (hex) of the pixels at full resolution, the labels and the attributes."""
    made: dict
    """Origin of the store: its source, the options, the program's version."""
    held_out_count: int = 0
    """The number of images that are kept apart from training; `count` is without them."""
    file_checksums: Mapping[str, str] = field(default_factory=dict)
    """CRC-32, in 8 hexadecimal digits, of checksums.npy, names.txt, labels.npy and attributes.npy; {} for none."""

    def held_out(self) -> "Store | None":
        """The images kept apart from training, as a store of the same resolution and labels; None where there are none.

        Raises InputError where they are missing or damaged.
        """
        if not self.held_out_count:
            return None
        store = open_store(self.path / HELD_OUT)
        if store.count != self.held_out_count or (store.resolution, store.channels) != (self.resolution, self.channels):
            raise damaged(store.path, f"it holds other images than the {self.held_out_count} that belong here")
        return store

    @property
    def label_count(self) -> int:
        """The number of classes; 0 where the images have none."""
        return len(self.label_names)

    @property
    def resolutions(self) -> list[int]:
        """The resolutions it holds, coarse to fine."""
        return resolutions(self.resolution)

    def images(self, resolution: int | None = None) -> np.memmap:
        """Map the images at one resolution R (default: the highest), read-only: uint8 [N, R, R, C].

        Raises InputError if the store does not hold that resolution.
        """
        resolution = self.resolution if resolution is None else resolution
        if resolution not in self.resolutions:
            raise InputError(
                f"{self.path} holds images from 4 x 4 to {self.resolution} x {self.resolution}, not "
                f"{resolution} x {resolution}; prepare it again with another --resolution"
            )
        shape = (self.count, resolution, resolution, self.channels)
        return _map_array(self.path / image_file(resolution), np.dtype(np.uint8), shape)

    @cached_property
    def checksums(self) -> np.ndarray | None:
        """The CRC-32 of each image's pixels, uint32 [N, resolutions], coarse to fine; None in older stores."""
        if not self.file_checksums:
            return None
        return self._checked(CHECKSUMS, np.dtype("<u4"), (self.count, len(self.resolutions)))

    @cached_property
    def labels(self) -> np.ndarray | None:
        """Class numbers, int64 [N], or None."""
        if not self.label_names:
            return None
        return self._checked("labels.npy", np.dtype("<i8"), (self.count,))

    @cached_property
    def attributes(self) -> np.ndarray | None:
        """Binary attributes, bool [N, A] in the order of `attribute_names`, or None."""
        if not self.attribute_names:
            return None
        return self._checked("attributes.npy", np.dtype(bool), (self.count, len(self.attribute_names)))

    @cached_property
    def names(self) -> list[str]:
        """The images' original names in the order of the images (read when first asked for)."""
        path = self.path / "names.txt"
        try:
            content = _read_text_file(path, MAX_NAMES_BYTES)
            if (lines := content.count(b"\n")) != self.count:
                raise damaged(path, f"it holds {lines} names instead of {self.count}")
            self._check(path.name, content)
            return content.decode("utf-8").split("\n")[:-1]
        except (OSError, UnicodeDecodeError) as error:
            raise damaged(path, f"it cannot be read ({reason_of(error)})") from error

    def _checked(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        """A small array that is used whole, as it was written."""
        array = _map_array(self.path / name, dtype, shape)
        if name in self.file_checksums:
            self._check(name, (self.path / name).read_bytes())
        return array

    def _check(self, name: str, content: bytes) -> None:
        stored = self.file_checksums.get(name)
        if stored is not None and f"{zlib.crc32(content):08x}" != stored:
            raise damaged(self.path / name, "it is not what was written (by its checksum)")


def image_file(resolution: int) -> str:
    """The name of the file that holds the images of one resolution."""
    return f"images-{resolution:04d}.npy"


def open_store(path: Path | str) -> Store:
    """Open a store and check that it is complete: its description, and the header and size of every array.

    Raises InputError for a missing folder, one that is not a (finished) store, an unknown format version,
    and a missing, cut-short or wrong array.
    """
    path = Path(path)
    description = path / DESCRIPTION
    if not path.exists():
        raise InputError(f"there is no store at {path}; make one with `stylegan prepare SOURCE {path}`")
    if not path.is_dir():
        raise InputError(f"{path} is a file, not a store; make a store with `stylegan prepare SOURCE STORE`")
    try:
        fields = json.loads(_read_text_file(description, MAX_DESCRIPTION_BYTES))
    except FileNotFoundError as error:
        if any(path.glob("images-*.npy")):
            raise InputError(f"{path} is an unfinished store (it has no dataset.json); prepare it again") from error
        raise InputError(
            f"{path} is not a store (it has no dataset.json); make one with `stylegan prepare {path} STORE`"
        ) from error
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:  # unreadable; neither UTF-8 nor JSON; nested too deep
        raise damaged(description, f"it cannot be read ({reason_of(error)})") from error

    if not isinstance(fields, dict) or fields.get("kind") != KIND:
        raise InputError(
            f"{path} is not a store (its dataset.json describes something else); make one with "
            f"`stylegan prepare {path} STORE`"
        )
    version = fields.get("format_version")
    if version != FORMAT_VERSION:
        newer = isinstance(version, int) and version > FORMAT_VERSION
        raise InputError(
            f"{path} has store format {version} and this program reads format {FORMAT_VERSION}; "
            + ("update stylegan" if newer else "prepare the images again")
        )
    store = Store(
        path=path,
        count=_field(fields, "count", int, description),
        resolution=_field(fields, "resolution", int, description),
        channels=_field(fields, "channels", int, description),
        label_names=_names(fields, "label_names", description),
        attribute_names=_names(fields, "attribute_names", description),
        content_hash=_field(fields, "content_hash", str, description),
        made=_field(fields, "made", dict, description),
        held_out_count=_field(fields, "held_out_count", int, description) if "held_out_count" in fields else 0,
        file_checksums=_file_checksums(fields, description),
    )
    if (
        store.held_out_count < 0
        or store.count < 1
        or store.channels not in (1, 3, 4)
        or not is_resolution(store.resolution)
    ):
        raise damaged(
            description,
            f"it describes {store.count} images of {store.resolution} pixels, {store.channels} channels",
        )
    for resolution in store.resolutions:
        store.images(resolution)
    labels, attributes = store.labels, store.attributes
    if labels is not None and not 0 <= labels.min() <= labels.max() < store.label_count:
        raise damaged(path / "labels.npy", f"it holds other class numbers than 0 to {store.label_count - 1}")
    if attributes is not None and attributes.view(np.uint8).max() > 1:
        raise damaged(path / "attributes.npy", "it holds other bytes than 0 and 1")
    if store.file_checksums and not (path / CHECKSUMS).is_file():
        raise damaged(path / CHECKSUMS, "it is missing")
    if not (path / "names.txt").is_file():
        raise damaged(path / "names.txt", "it is missing")
    if store.held_out_count and not (path / HELD_OUT / "dataset.json").is_file():
        raise damaged(path / HELD_OUT, "it is missing, or no whole store")
    return store


def check_target(path: Path | str) -> None:
    """Raise InputError if something is at `path` already; an empty folder is allowed."""
    path = Path(path)
    try:
        taken = path.exists() and not (path.is_dir() and not any(path.iterdir()))
    except OSError as error:
        raise InputError(f"{path} cannot be looked at ({reason_of(error)}); choose another place") from error
    if taken:
        raise InputError(f"{path} exists already; choose another name or remove it first")


def _field(fields: dict, name: str, kind: type, description: Path):
    if type(fields.get(name)) is not kind:
        raise damaged(description, f"its field {name!r} is missing or of the wrong type")
    return fields[name]


def _names(fields: dict, name: str, description: Path) -> tuple[str, ...]:
    names = _field(fields, name, list, description)
    if not all(isinstance(item, str) for item in names):
        raise damaged(description, f"its field {name!r} holds something else than names")
    return tuple(names)


def _file_checksums(fields: dict, description: Path) -> dict[str, str]:
    if "checksums" not in fields:
        return {}
    table = _field(fields, "checksums", dict, description)
    if CHECKSUMS not in table or not all(re.fullmatch("[0-9a-f]{8}", str(value)) for value in table.values()):
        raise damaged(description, "its field 'checksums' holds something else than checksums")
    return table


def crc_of_description(path: Path) -> tuple[str, str]:
    """The CRC-32 that a dataset.json carries in its last field, "" for none, and its own: that of the file in which the
    eight digits of the field are zeros."""
    content = _read_text_file(path, MAX_DESCRIPTION_BYTES)
    fields = list(re.finditer(rb'"crc32": "([0-9a-f]{8})"', content))
    if not fields:
        return "", f"{zlib.crc32(content):08x}"
    first, last = fields[-1].span(1)
    return content[first:last].decode(), f"{zlib.crc32(content[:first] + b'0' * 8 + content[last:]):08x}"


def _map_array(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.memmap:
    """Map a .npy file for reading; InputError unless it holds exactly such an array."""
    if path.exists() and not path.is_file():  # a pipe would block who opens it
        raise damaged(path, "it is no file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's, about odd headers
            array = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError as error:
        raise damaged(path, "it is missing") from error
    except Exception as error:  # a header is a Python literal: parsing a damaged one raises nearly anything
        raise damaged(path, f"it is cut short or no .npy file ({reason_of(error)})") from error
    if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
        raise damaged(path, f"it holds {array.dtype} {list(array.shape)} instead of {dtype} {list(shape)}")
    if path.stat().st_size != array.offset + array.nbytes:
        raise damaged(path, "it is longer than its header says")
    return array


def _read_text_file(path: Path, limit: int) -> bytes:
    """A file's bytes. Raises OSError if it cannot be read, and InputError if it is no file or too large to be one."""
    if path.exists() and not path.is_file():  # a pipe would block who opens it
        raise damaged(path, "it is no file")
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise damaged(path, f"it has more than {limit >> 20} MiB")
    return content


def damaged(path: Path, what: str) -> InputError:
    """The sentence for a file of a store that is not what it must be."""
    return InputError(f"the store {path.parent} is damaged: {path.name}: {what}; prepare it again")


def reason_of(error: Exception) -> str:
    """The one-line heart of an exception's message."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
