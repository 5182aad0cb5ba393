"""The common form of all sources: a list of images that read their own bytes, perhaps with labels.

An item can be pickled and knows where its bytes lie, so that any worker process can take it.
"""

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

MAX_FILE_BYTES = 256 * 2**20  # of an encoded image
MAX_DOCUMENT_BYTES = 64 * 2**20  # of a file that describes images


class Unusable(Exception):
    """An item that cannot be used; the message is the reason, to be listed beside its name."""


class Item(Protocol):
    """One image of a source. Can be pickled."""

    @property
    def name(self) -> str:
        """Its path inside the source, with forward slashes, or its key or number."""
        ...

    def read(self) -> bytes:
        """An image file's bytes, as the source holds them; Unusable if they cannot be had."""
        ...


@dataclass(frozen=True, slots=True)
class FileItem:
    """An image file of a folder."""

    name: str
    folder: str

    def read(self) -> bytes:
        try:
            with Path(self.folder, self.name).open("rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise Unusable("not a file")
                if status.st_size > MAX_FILE_BYTES:
                    raise Unusable(too_large(status.st_size))
                return file.read()
        except OSError as error:
            raise Unusable(f"unreadable: {error.strerror or error}") from error


@dataclass(frozen=True, slots=True)
class SliceItem:
    """An image file that lies in one piece inside another file: a tar file, a database."""

    name: str
    file: str
    offset: int
    size: int

    def read(self) -> bytes:
        if self.size > MAX_FILE_BYTES:
            raise Unusable(too_large(self.size))
        try:
            with Path(self.file).open("rb") as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except OSError as error:
            raise Unusable(f"unreadable: {error.strerror or error}") from error
        if len(data) < self.size:
            raise Unusable("truncated")
        return data


def too_large(size: int) -> str:
    """The reason why an entry of that many bytes is not read."""
    return f"too large: {size / 2**20:.0f} MiB"


@dataclass(frozen=True)
class Source:
    """Images of a folder or a file, with labels and attributes where it has some."""

    name: str
    """The name of the folder or file, without the folders above it."""
    items: Sequence[Item]
    """The images."""
    rejected: list[tuple[str, str]]
    """(name, reason) of what cannot be used as far as can be told without decoding it."""
    labels: Sequence[int] | None = None
    """The items' class numbers, or None."""
    label_names: tuple[str, ...] = ()
    """The names of the classes; () without labels."""
    attributes: np.ndarray | None = None
    """The items' binary attributes, bool [N, A], or None."""
    attribute_names: tuple[str, ...] = ()
    """The names of the attributes; () without attributes."""
    about_labels: str = ""
    """Origin of the labels, or the reason why there are none, in words."""
    documents: Mapping[str, bytes] = field(default_factory=dict)
    """The files beside the images that may describe them (`labels.DOCUMENTS`), by their paths inside the source."""
    validation: frozenset[str] | None = None
    """Names of the images that the data set itself appoints for validation; None where it says nothing of that."""
    credits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Author, license, its address, title and address of the images of which that is known, by name."""

    def chosen(self, kept: Sequence[int], rejected: list[tuple[str, str]]) -> "Source":
        """The source with some of its items alone; `rejected` says (name, reason) of the others."""
        return replace(
            self,
            items=[self.items[i] for i in kept],
            labels=None if self.labels is None else [self.labels[i] for i in kept],
            attributes=None if self.attributes is None else self.attributes[list(kept)],
            rejected=self.rejected + rejected,
        )


def first_reasons(rejected: list[tuple[str, str]], count: int = 3) -> str:
    """' (a.txt: not an image, ...)', to go into an error message."""
    if not rejected:
        return ""
    return f" ({', '.join(f'{name}: {reason}' for name, reason in sorted(rejected)[:count])})"
