"""Where images come from: a folder or a zip file, with class labels from a dataset.json or from sub-folders.

A source is a list of items, sorted by name; an item can be pickled and reads its own bytes, so that any
worker process can take it. Another kind of source is one function that returns a `Source`, and one line in
`open_source`.
"""

import json
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

from stylegan.errors import InputError

# fmt: off
IMAGE_SUFFIXES = frozenset((
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".avif", ".heic", ".heif", ".bmp", ".dib",
    ".gif", ".tif", ".tiff", ".jp2", ".j2k", ".jpx", ".jpf", ".ppm", ".pgm", ".pbm", ".pnm", ".tga",
))
# Files that lie beside images and that nobody takes for one: passed over without a word.
METADATA_SUFFIXES = frozenset((
    ".json", ".jsonl", ".txt", ".csv", ".tsv", ".md", ".rst", ".xml", ".yaml", ".yml", ".html", ".htm", ".pdf",
    ".log", ".ini", ".npy", ".npz", ".mat",
))
# fmt: on
METADATA_NAMES = frozenset(("thumbs.db", "desktop.ini", "license", "licence", "readme", "copying", "icon\r"))
MAX_FILE_BYTES = 512 * 2**20
MAX_CLASS_NUMBER = 65_535


class Unusable(Exception):
    """An item that cannot be used; the message is the reason, to be listed beside its name."""


class Item(Protocol):
    """One image file of a source. Can be pickled."""

    name: str
    """Its path inside the source, with forward slashes."""

    def read(self) -> bytes:
        """Its bytes, as stored in the source; Unusable if they cannot be had."""


@dataclass(frozen=True)
class Source:
    """What a folder or a file offers."""

    name: str
    """The name of the folder or file, without the folders above it."""
    items: Sequence[Item]
    """The image files, sorted by name."""
    labels: Sequence[int] | None
    """Their class numbers, or None."""
    label_names: tuple[str, ...]
    """The names of the classes; () without labels."""
    rejected: list[tuple[str, str]]
    """(name, reason) of what cannot be used as far as can be told without reading it."""


Classes = Literal["auto", "folders", "none"]


def open_source(path: Path | str, classes: Classes = "auto") -> Source:
    """List the images of a folder (any depth) or a zip file.

    `classes` says where class labels come from: "auto", a dataset.json at the top, where there is one, in the
    form {"labels": [[name, class number or class name], ...]}; "folders", the sub-folders (the first level at
    which the images' paths differ); "none".

    Raises InputError if the path does not exist, is neither of the two, or holds no image file, or if the
    class labels cannot be understood.
    """
    path = Path(path)
    try:
        if path.is_dir():
            items, rejected, description = _list_folder(path)
        elif not path.exists():
            raise InputError(f"{path} does not exist; give a folder of images or a zip file of them")
        elif zipfile.is_zipfile(path):
            items, rejected, description = _list_zip(path)
        else:
            raise InputError(f"{path} is neither a folder nor a (complete) zip file; give one of them")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); check its permissions") from error
    items = sorted(items, key=lambda item: item.name)

    labels, label_names = None, ()
    if classes == "folders":
        items, labels, label_names = _classes_from_folders(path, items, rejected)
    elif classes == "auto" and description is not None:
        items, labels, label_names = _classes_from_description(path, description, items, rejected)
    if not items:
        raise InputError(f"{path} holds no image file{_first_reasons(rejected)}")
    return Source(path.resolve().name, items, labels, label_names, sorted(rejected))


def _first_reasons(rejected: list[tuple[str, str]], count: int = 3) -> str:
    """' (a.txt: not an image, ...)', to go into an error message."""
    if not rejected:
        return ""
    return f" ({', '.join(f'{name}: {reason}' for name, reason in sorted(rejected)[:count])})"


# --- Which files are images --------------------------------------------------------------------


def _is_hidden(name: str) -> bool:
    """Hidden files and folders, and the resource forks that macOS puts into zip files."""
    return any((part.startswith(".") and part != "..") or part == "__MACOSX" for part in name.split("/"))


def _sort_out(name: str, rejected: list[tuple[str, str]]) -> bool:
    """Whether a file is to be read as an image; adds it to `rejected` if a user may have taken it for one.

    A name without a suffix may be an image: only its content can tell.
    """
    pure = PurePosixPath(name)
    suffix = pure.suffix.lower()
    if suffix in METADATA_SUFFIXES or pure.name.lower() in METADATA_NAMES:
        return False
    if suffix and suffix not in IMAGE_SUFFIXES:
        rejected.append((name, "not an image"))
        return False
    return True


# --- A folder ----------------------------------------------------------------------------------


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
                    raise Unusable(f"too large: {status.st_size / 2**20:.0f} MiB")
                return file.read()
        except OSError as error:
            raise Unusable(f"unreadable: {error.strerror or error}") from error


def _list_folder(root: Path) -> tuple[list[Item], list[tuple[str, str]], bytes | None]:
    """The image files under a folder, links to folders included, what was rejected, and its dataset.json."""
    items: list[Item] = []
    rejected: list[tuple[str, str]] = []
    visited = set()  # links may lead round in circles

    def unreadable(error: OSError) -> None:
        if Path(error.filename) == root:
            raise error
        rejected.append((Path(error.filename).relative_to(root).as_posix(), f"unreadable: {error.strerror}"))

    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=unreadable):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in visited:
            subfolders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not _is_hidden(name))
        inside = Path(folder).relative_to(root)
        for file in files:
            name = (inside / file).as_posix()
            if _is_hidden(file) or not _sort_out(name, rejected):
                continue
            # A pipe or a device would block who opens it; what a stat cannot see, reading will explain.
            path = Path(folder, file)
            if path.exists() and not path.is_file():
                rejected.append((name, "not a file"))
            else:
                items.append(FileItem(name, str(root)))
    description = root / "dataset.json"
    return items, rejected, description.read_bytes() if description.is_file() else None


# --- A zip file --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ZipItem:
    """A member of a zip file. Reads by its position: no worker has to parse the archive's directory again."""

    name: str
    archive: str
    offset: int
    """Where its local header starts."""
    packed_bytes: int
    unpacked_bytes: int
    deflated: bool
    crc: int

    def read(self) -> bytes:
        try:
            with Path(self.archive).open("rb") as file:
                file.seek(self.offset)
                header = file.read(30)
                if len(header) < 30 or not header.startswith(b"PK\x03\x04"):
                    raise Unusable("damaged zip entry: no local header")
                file.seek(sum(struct.unpack("<HH", header[26:30])), os.SEEK_CUR)  # past the name and the extra field
                data = file.read(self.packed_bytes)
        except OSError as error:
            raise Unusable(f"unreadable: {error.strerror or error}") from error
        if len(data) < self.packed_bytes:
            raise Unusable("damaged zip entry: truncated")
        if self.deflated:
            try:  # one byte more than declared is enough to see that there is more
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, self.unpacked_bytes + 1)
            except zlib.error as error:
                raise Unusable("damaged zip entry: broken compression") from error
        if len(data) != self.unpacked_bytes:
            more = "more" if len(data) > self.unpacked_bytes else "less"
            raise Unusable(f"damaged zip entry: holds {more} than it declares")
        if zlib.crc32(data) != self.crc:
            raise Unusable("damaged zip entry: bad checksum (CRC)")
        return data


def _list_zip(path: Path) -> tuple[list[Item], list[tuple[str, str]], bytes | None]:
    """The image files in a zip file, what was rejected, and its dataset.json.

    Nothing is extracted, so names that lead out of the archive ("../../x.png") are names like any other. A folder
    that holds everything else is left out of the names, so that zipping a folder or its contents is the same.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError) as error:
        raise InputError(f"{path} is a damaged zip file ({error}); fetch or make it again") from error
    # Of two members of one name the later one counts, as for every zip program.
    files = {member.filename.replace("\\", "/"): member for member in members if not member.is_dir()}
    files = {name: member for name, member in files.items() if not _is_hidden(name)}
    tops = {name.partition("/")[0] if "/" in name else "" for name in files}
    top = tops.pop() + "/" if len(tops) == 1 and "" not in tops else ""

    archive_path = str(path.resolve())
    items: list[Item] = []
    rejected: list[tuple[str, str]] = []
    description = None
    for full_name, member in files.items():
        name = full_name.removeprefix(top)
        item = ZipItem(
            name=name,
            archive=archive_path,
            offset=member.header_offset,
            packed_bytes=member.compress_size,
            unpacked_bytes=member.file_size,
            deflated=member.compress_type == zipfile.ZIP_DEFLATED,
            crc=member.CRC,
        )
        reason = None
        if member.flag_bits & 0x1:
            reason = "encrypted"
        elif member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            reason = "compressed in a way other than stored or deflated"
        elif max(member.file_size, member.compress_size) > MAX_FILE_BYTES:
            reason = f"too large: {member.file_size / 2**20:.0f} MiB"
        if name == "dataset.json":
            try:
                if reason:
                    raise Unusable(reason)
                description = item.read()
            except Unusable as error:
                raise InputError(f"the dataset.json in {path} cannot be read ({error}); mend it") from error
        elif _sort_out(name, rejected):
            if reason:
                rejected.append((name, reason))
            else:
                items.append(item)
    return items, rejected, description


# --- Classes -----------------------------------------------------------------------------------


def _classes_from_folders(
    path: Path, items: list[Item], rejected: list[tuple[str, str]]
) -> tuple[list[Item], list[int], tuple[str, ...]]:
    """One class for each folder at the first level at which the images' paths differ."""
    folders = [PurePosixPath(item.name).parent.parts for item in items]
    inside = [parts for parts in folders if parts]
    depth = 0  # of the folders that hold all the others
    while inside and len(inside[0]) > depth and len({parts[: depth + 1] for parts in inside}) == 1:
        depth += 1
    names = tuple(sorted({parts[depth] for parts in inside if len(parts) > depth}))
    if len(names) < 2:
        raise InputError(
            f"{path} has fewer than two sub-folders to make classes of; put the images of each class into a folder"
        )
    numbers = {name: number for number, name in enumerate(names)}
    kept, labels = [], []
    for item, parts in zip(items, folders, strict=True):
        if len(parts) > depth:
            kept.append(item)
            labels.append(numbers[parts[depth]])
        else:
            rejected.append((item.name, "in no class folder"))
    return kept, labels, names


def _classes_from_description(
    path: Path, description: bytes, items: list[Item], rejected: list[tuple[str, str]]
) -> tuple[list[Item], list[int] | None, tuple[str, ...]]:
    """The labels of a dataset.json; None if it has none. Images without a label are rejected."""
    where = f"the dataset.json in {path}"
    try:
        fields = json.loads(description)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not valid JSON ({error}); mend it or leave the labels out") from error
    if isinstance(fields, dict) and fields.get("kind") == "stylegan-store":
        raise InputError(f"{path} is a prepared store already; give it to `stylegan train`")
    pairs = fields.get("labels") if isinstance(fields, dict) else None
    if not pairs:
        return items, None, ()
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs
    ):
        raise InputError(f'{where} has "labels" in another form than [["name", class], ...]')
    by_name = {name.replace("\\", "/"): label for name, label in pairs}

    values = set()
    for name, label in by_name.items():
        if isinstance(label, bool) or not isinstance(label, int | str):
            raise InputError(f"{where} gives {name!r} the label {label!r}; labels are class numbers or names")
        values.add(label)
    if all(isinstance(value, int) for value in values):
        if min(values) < 0 or max(values) > MAX_CLASS_NUMBER:
            worst = min(values) if min(values) < 0 else max(values)
            raise InputError(f"{where} has the class number {worst}; they go from 0 to {MAX_CLASS_NUMBER}")
        label_names = tuple(str(number) for number in range(max(values) + 1))
        numbers = {number: number for number in values}
    elif all(isinstance(value, str) for value in values):
        label_names = tuple(sorted(values))
        numbers = {name: number for number, name in enumerate(label_names)}
    else:
        raise InputError(f"{where} mixes class numbers and class names; use one of the two")

    kept, labels = [], []
    for item in items:
        if item.name in by_name:
            kept.append(item)
            labels.append(numbers[by_name[item.name]])
        else:
            rejected.append((item.name, "no label in dataset.json"))
    known = {item.name for item in items} | {name for name, _ in rejected}
    rejected += [(name, "named in dataset.json but not there") for name in by_name if name not in known]
    return kept, labels, label_names
