"""Writing a store, image by image; docs/file-formats.md specifies the files. A store is complete or not there."""

import contextlib
import hashlib
import io
import json
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np

from stylegan.data.store import CHECKSUMS, DESCRIPTION, FORMAT_VERSION, HELD_OUT, KIND, check_target, image_file
from stylegan.errors import InputError
from stylegan.resolutions import check_resolution, resolutions
from stylegan.system import system

_HEADER_BYTES = 128  # of an images-*.npy file: written last, when the number of images is known, so of fixed length


class StoreWriter:
    """Writes a store image by image; at every moment it either is not there or is complete.

    A context manager. It writes into a hidden folder `.<name>.partial-<process>` beside the target. On a
    normal exit that folder gets its headers and dataset.json and is renamed to the target in one step; on an
    exception (Ctrl-C too) it is removed. What a killed process left there, the next writer of the same target
    removes.

    `made` (how the store was made; anything JSON can hold) is written on exit and may be changed until then.
    `label_names` and `attribute_names` say whether `add` takes a label and attributes.

    Raises InputError if the target exists (an empty folder may), if it cannot be written (disk full, no
    permission), or if no image was added.
    """

    def __init__(
        self,
        path: Path | str,
        resolution: int,
        channels: int,
        *,
        made: dict,
        label_names: Sequence[str] = (),
        attribute_names: Sequence[str] = (),
    ):
        check_resolution(resolution)
        self.path = Path(path)
        self.made = made
        self._target = self.path.resolve()
        self._partial = self._target.with_name(f".{self._target.name}.partial-{os.getpid()}")
        layout = (resolution, channels, tuple(label_names), tuple(attribute_names))
        self._training = _Part(self._partial, *layout)
        self._held_out = _Part(self._partial / HELD_OUT, *layout)

    @property
    def count(self) -> int:
        """The number of images added so far, without those held out."""
        return self._training.count

    @property
    def held_out_count(self) -> int:
        """The number of images added so far to be held out."""
        return self._held_out.count

    def __enter__(self) -> Self:
        check_target(self.path)
        try:
            with self._explaining():
                self._target.parent.mkdir(parents=True, exist_ok=True)
                self._remove_leftovers()
                self._training.begin()
        except BaseException:
            self._discard()
            raise
        return self

    def add(
        self,
        levels: dict[int, np.ndarray],
        name: str,
        label: int | None = None,
        attributes: np.ndarray | None = None,
        *,
        held_out: bool = False,
    ) -> None:
        """Append one image: `levels` as `pyramid` returns them, class number, attributes (bool [A]).

        held_out: keep it apart from the images that training sees.
        """
        part = self._held_out if held_out else self._training
        with self._explaining():
            if held_out and not part.count:
                part.begin()
            part.add(levels, name, label, attributes)

    def add_file(self, name: str, content: bytes) -> None:
        """Put a file for people beside the arrays; readers pass over it."""
        with self._explaining():
            self._training.write(name, content)

    def __exit__(self, kind, error, traceback) -> None:
        try:
            if kind is None:
                if self.count == 0:
                    raise InputError(f"there is no image to write to {self.path}; give at least one")
                with self._explaining():
                    self._finish()
        finally:
            self._discard()

    def _finish(self) -> None:
        if self.held_out_count:
            self._held_out.finish(self.made, {})
        self._training.finish(self.made, {"held_out_count": self.held_out_count} if self.held_out_count else {})
        check_target(self.path)
        if self._target.exists():
            self._target.rmdir()  # an empty folder: not every system renames onto one
        self._partial.rename(self._target)

    def _discard(self) -> None:
        """Close the files and remove the partial folder (after the rename there is none)."""
        self._training.close()
        self._held_out.close()
        shutil.rmtree(self._partial, ignore_errors=True)

    def _remove_leftovers(self) -> None:
        """Remove the partial folders of this target whose process is gone."""
        prefix = f".{self._target.name}.partial-"
        for folder in self._target.parent.iterdir():
            process = folder.name.removeprefix(prefix)
            if folder.name.startswith(prefix) and process.isdigit() and not _runs_elsewhere(int(process)):
                shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        """Turn what the file system refuses into one sentence for the user."""
        try:
            yield
        except OSError as error:
            raise InputError(
                f"the store {self.path} cannot be written ({error.strerror or error}); nothing was left behind: "
                "free some space or choose another place"
            ) from error


class _Part:
    """The files of one store while they are written into `folder`: of the whole, or of its held-out images."""

    def __init__(
        self,
        folder: Path,
        resolution: int,
        channels: int,
        label_names: tuple[str, ...],
        attribute_names: tuple[str, ...],
    ) -> None:
        self.folder, self.resolution, self.channels = folder, resolution, channels
        self.label_names, self.attribute_names = label_names, attribute_names
        self.count = 0
        self._files: dict[int, BinaryIO] = {}
        self._hash = hashlib.sha256()
        self._checksums: list[list[int]] = []  # of each image, coarse to fine
        self._names: list[str] = []
        self._labels: list[int] = []
        self._attributes: list[np.ndarray] = []

    def begin(self) -> None:
        self.folder.mkdir()
        for resolution in resolutions(self.resolution):
            file = (self.folder / image_file(resolution)).open("wb", buffering=1 << 20)
            self._files[resolution] = file
            file.write(bytes(_HEADER_BYTES))

    def add(self, levels: dict[int, np.ndarray], name: str, label: int | None, attributes: np.ndarray | None) -> None:
        """See `StoreWriter.add`."""
        assert (label is not None) == bool(self.label_names)
        assert (attributes is not None) == bool(self.attribute_names)
        assert label is None or 0 <= label < len(self.label_names)
        images = [np.ascontiguousarray(levels[resolution]) for resolution in self._files]
        for image, (resolution, file) in zip(images, self._files.items(), strict=True):
            assert image.dtype == np.uint8 and image.shape == (resolution, resolution, self.channels)
            file.write(image.data)
        self._checksums.append([zlib.crc32(image) for image in images])
        self._hash.update(images[-1].data)
        # One name a line in UTF-8: line breaks, and bytes of a file name that are not UTF-8, are escaped.
        self._names.append(name.replace("\n", "\\n").encode("utf-8", "backslashreplace").decode("utf-8"))
        if label is not None:
            self._labels.append(label)
        if attributes is not None:
            assert np.shape(attributes) == (len(self.attribute_names),)
            self._attributes.append(np.asarray(attributes, bool))
        self.count += 1

    def finish(self, made: dict, further: dict) -> None:
        """Write headers, names, labels, attributes, and last dataset.json, with the fields `further`."""
        for resolution, file in self._files.items():
            file.seek(0)
            file.write(_npy_header((self.count, resolution, resolution, self.channels)))
            _close_safely(file)
        checksums = {
            CHECKSUMS: self.write(CHECKSUMS, np.array(self._checksums, "<u4")),
            "names.txt": self.write("names.txt", "".join(name + "\n" for name in self._names).encode("utf-8")),
        }
        if self.label_names:
            labels = np.array(self._labels, "<i8")
            self._hash.update(labels.data)
            checksums["labels.npy"] = self.write("labels.npy", labels)
        if self.attribute_names:
            attributes = np.stack(self._attributes)
            self._hash.update(attributes.data)
            checksums["attributes.npy"] = self.write("attributes.npy", attributes)
        fields = {
            "kind": KIND,
            "format_version": FORMAT_VERSION,
            "count": self.count,
            "resolution": self.resolution,
            "channels": self.channels,
            "label_names": list(self.label_names),
            "attribute_names": list(self.attribute_names),
            "made": made,
            "content_hash": self._hash.hexdigest(),
            **further,
            "checksums": checksums,
            "crc32": "0" * 8,
        }
        content = (json.dumps(fields, indent=2, ensure_ascii=False) + "\n").encode("utf-8")
        before, zeros, after = content.rpartition(b"0" * 8)
        assert len(zeros) == 8 and len(after) == len(b'"\n}\n')
        self.write(DESCRIPTION, before + f"{zlib.crc32(content):08x}".encode() + after)

    def close(self) -> None:
        """Close the files, whatever becomes of their contents."""
        for file in self._files.values():
            with contextlib.suppress(OSError):  # what is still buffered may not fit the disk; nobody needs it
                file.close()

    def write(self, name: str, content: bytes | np.ndarray) -> str:
        """Write a file of the folder, in one piece; its CRC-32 in hexadecimal digits."""
        if not isinstance(content, bytes):
            memory = io.BytesIO()
            np.lib.format.write_array(memory, content, allow_pickle=False)
            content = memory.getvalue()
        file = (self.folder / name).open("wb")
        try:
            file.write(content)
        finally:
            _close_safely(file)
        return f"{zlib.crc32(content):08x}"


def _npy_header(shape: tuple[int, ...]) -> bytes:
    """The header of a C-ordered uint8 .npy file (version 1.0), padded with spaces to `_HEADER_BYTES`."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    length = _HEADER_BYTES - 10
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + text.ljust(length - 1).encode("ascii") + b"\n"


def _close_safely(file: BinaryIO) -> None:
    """Close a file once its content is on the disk, so that a power cut leaves no half of a renamed store."""
    try:
        file.flush()
        os.fsync(file.fileno())
    finally:
        file.close()


def _runs_elsewhere(process: int) -> bool:
    """Whether another process of that number is alive."""
    if process == os.getpid():
        return False
    if system() == "windows":  # os.kill ends the process there; files that are open cannot be removed anyway
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is someone else's
        return True
    return True
