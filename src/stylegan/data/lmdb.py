"""LMDB databases whose values are image files, as LSUN is published.

The format is read here, page by page and with every number checked: the library maps the file into memory and trusts
it, so that a download that was cut short ends the process. A database is a file of equal pages. The first two are the
headers of the last two transactions; the newer one points to the root of a tree of branch and leaf pages. A value of
more than about half a page lies in one piece in pages of its own. (File format 1, of LMDB 0.9, on little-endian
machines of 64 bits: all that there are in the wild.)
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from stylegan.data.items import MAX_FILE_BYTES, Item, SliceItem, Source, first_reasons, too_large
from stylegan.errors import InputError

_MAGIC, _FORMAT = 0xBEEFC0DE, 1
_PAGE_HEADER = 16  # page number uint64, padding uint16, flags uint16, then two uint16 or the number of pages uint32
_NODE_HEADER = 8  # size or page: uint16, uint16; flags uint16; size of the key uint16
_BRANCH, _LEAF, _OVERFLOW = 0x01, 0x02, 0x04  # flags of pages
_IN_OWN_PAGES, _NO_PLAIN_VALUE = 0x01, 0x06  # flags of nodes: the value is elsewhere; a sub-database, duplicates
_MAX_DEPTH = 32  # LMDB's own
_MAX_BAD_PAGES = 10_000


def read(path: Path) -> Source:
    """List the values of a database, data.mdb, by their keys. Raises InputError if it is no such file."""
    rejected: list[tuple[str, str]] = []
    with path.open("rb") as file:
        page_size, root = _newest_root(file, path)
        items = list(_Walk(file, path, page_size, rejected).values(root)) if root is not None else []
    if not items:
        raise InputError(f"{path} holds no value{first_reasons(rejected)}")
    return Source(path.resolve().parent.name, items, rejected)


def _newest_root(file: BinaryIO, path: Path) -> tuple[int, int | None]:
    """The size of a page, and the page at the root of the tree; None for an empty database."""
    found = []
    for page_size in (512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536):
        for place in (0, page_size):
            file.seek(place)
            header = file.read(152)
            if len(header) < 152:
                continue
            magic, version = struct.unpack_from("<II", header, 16)
            (size,) = struct.unpack_from("<I", header, 40)
            root, _, transaction = struct.unpack_from("<QQQ", header, 128)
            if magic == _MAGIC and version != _FORMAT:
                raise InputError(f"{path} is of LMDB format {version}, and this program reads format {_FORMAT}")
            if magic == _MAGIC and size == page_size:
                found.append((transaction, page_size, root))
    if not found:
        raise InputError(f"{path} is no LMDB database, or its first pages are damaged; fetch it again")
    _, page_size, root = max(found)
    return page_size, None if root == 2**64 - 1 else root


class _Walk:
    """A way through the tree that meets no page twice."""

    def __init__(self, file: BinaryIO, path: Path, page_size: int, rejected: list[tuple[str, str]]) -> None:
        self.file, self.file_name, self.page_size, self.rejected = file, str(path.resolve()), page_size, rejected
        self.total = path.stat().st_size
        self.visited: set[int] = set()

    def values(self, number: int, depth: int = 0) -> Iterator[Item]:
        """The values below a page. What is damaged is rejected."""
        page = self.page(number)
        if page is None or depth > _MAX_DEPTH:
            self.reject(f"page {number}", "damaged: what it leads to cannot be found")
            return
        flags, lower = struct.unpack_from("<HH", page, 10)
        count = (lower - _PAGE_HEADER) // 2
        if flags & (_BRANCH | _LEAF) not in (_BRANCH, _LEAF) or not 0 < count <= (len(page) - _PAGE_HEADER) // 2:
            self.reject(f"page {number}", "damaged: what it leads to cannot be found")
            return
        for place in struct.unpack_from(f"<{count}H", page, _PAGE_HEADER):
            if not _PAGE_HEADER <= place <= len(page) - _NODE_HEADER:
                self.reject(f"page {number}", "damaged entry")
                continue
            low, high, node_flags, key_size = struct.unpack_from("<HHHH", page, place)
            start = place + _NODE_HEADER + key_size
            if flags & _BRANCH:
                yield from self.values(low | high << 16 | node_flags << 32, depth + 1)
                continue
            name = page[place + _NODE_HEADER : start].decode("utf-8", "backslashreplace")
            size = low | high << 16
            if node_flags & _NO_PLAIN_VALUE:
                self.reject(name, "not an image: a database inside the database")
            elif size > MAX_FILE_BYTES:
                self.reject(name, too_large(size))
            elif node_flags & _IN_OWN_PAGES:
                offset = self.own_pages(page[start : start + 8], size)
                if offset is None:
                    self.reject(name, "damaged or truncated")
                else:
                    yield SliceItem(name, self.file_name, offset, size)
            elif start + size > len(page):
                self.reject(name, "damaged entry")
            else:
                yield SliceItem(name, self.file_name, number * self.page_size + start, size)

    def page(self, number: int) -> bytes | None:
        """A page's bytes, the first time that it is asked for; None if it is not there or not itself."""
        if number in self.visited or (number + 1) * self.page_size > self.total:
            return None
        self.visited.add(number)
        self.file.seek(number * self.page_size)
        page = self.file.read(self.page_size)
        return page if int.from_bytes(page[:8], "little") == number else None

    def own_pages(self, pointer: bytes, size: int) -> int | None:
        """Start of a value in pages of its own; None if it does not lie there."""
        number = int.from_bytes(pointer, "little")
        page = self.page(number) if len(pointer) == 8 else None
        if page is None:
            return None
        flags, pages = struct.unpack_from("<HI", page, 10)
        offset = number * self.page_size + _PAGE_HEADER
        if not flags & _OVERFLOW or _PAGE_HEADER + size > pages * self.page_size or offset + size > self.total:
            return None
        return offset

    def reject(self, name: str, reason: str) -> None:
        self.rejected.append((name, reason))
        if len(self.rejected) > _MAX_BAD_PAGES:
            raise InputError(f"{self.file_name} has more than {_MAX_BAD_PAGES} damaged entries; fetch it again")
