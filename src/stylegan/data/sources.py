"""Where images come from: a folder, a zip or tar file, TFRecords, or a database. What is there decides.

Each kind is one function that returns a `Source`, and one line in `_list_images`. (Hugging Face data sets are first
fetched into one file: huggingface.py.)
"""

import itertools
import os
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from stylegan.data import ffhq, labels, lmdb, tfrecords
from stylegan.data.items import (
    MAX_DOCUMENT_BYTES,
    MAX_FILE_BYTES,
    FileItem,
    Item,
    SliceItem,
    Source,
    Unusable,
    first_reasons,
    too_large,
)
from stylegan.errors import InputError
from stylegan.files import printable

# fmt: off
IMAGE_SUFFIXES = frozenset((
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".avif", ".heic", ".heif", ".bmp", ".dib",
    ".gif", ".tif", ".tiff", ".jp2", ".j2k", ".jpx", ".jpf", ".ppm", ".pgm", ".pbm", ".pnm", ".tga",
))
# Files that lie beside images and that nobody takes for one: passed over without a word.
METADATA_SUFFIXES = frozenset((
    ".json", ".jsonl", ".txt", ".csv", ".tsv", ".md", ".rst", ".xml", ".yaml", ".yml", ".html", ".htm", ".pdf",
    ".log", ".ini", ".npy", ".npz", ".mat", ".cls",
))
ARCHIVE_SUFFIXES = frozenset((".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"))
# fmt: on
SHEET_NAMES, SAMPLE_NAME = ("grid.png", "comparison.png"), re.compile(r"(seed|edited|row)\d+\.png")
METADATA_NAMES = frozenset(("thumbs.db", "desktop.ini", "license", "licence", "readme", "copying", "icon\r"))

Classes = Literal["auto", "folders", "none"]


def open_source(
    path: Path | str,
    classes: Classes = "auto",
    *,
    sheets: bool = False,
    every_column: bool = True,
    faces: bool = False,
) -> Source:
    """List the images of a folder (any depth), a zip file, tar files (`x.tar`, `x-{000..009}.tar`, or a folder of
    them), TFRecords (a file or a folder), or an LMDB folder.

    `classes` says where class labels come from: "auto", from the format or from files beside the images, where there
    are any (labels.py); "folders", the sub-folders (the first level at which the images' paths differ); "none".
    Attributes come from CelebA's list where there is one. sheets: list what `generate` writes beside its samples, too.
    every_column: see `labels.with_attributes`. faces: faces are to be cut out of the images.

    Raises InputError if the path does not exist, is none of these, or holds no image, or if the labels or attributes
    cannot be understood.
    """
    try:
        source = _list_images(path, with_labels=classes == "auto", faces=faces)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); check its permissions") from error
    if classes == "folders":
        source = labels.from_folders(source)
    elif classes == "auto" and source.labels is None:
        source = labels.from_documents(source)
    source = labels.with_attributes(source, every_column=every_column)
    source = labels.described(source if sheets else _without_sheets(source))
    if not source.items:
        raise InputError(f"{path} holds no image file{first_reasons(source.rejected)}")
    rejected = sorted((printable(name), reason) for name, reason in source.rejected)
    return replace(source, name=printable(source.name), rejected=rejected)


def _list_images(source: Path | str, *, with_labels: bool, faces: bool) -> Source:
    """Look at what is there, and list its images (with the labels that its format has, or without)."""
    if shards := re.fullmatch(r"(.*)\{(\d+)\.\.(\d+)\}(.*)", str(source)):
        return _list_tars(Path(source).name, _shards(*shards.groups()), with_labels)
    path = Path(source)
    if path.is_dir():
        names = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
        if "data.mdb" in names and (path / "data.mdb").is_file():
            return lmdb.read(path / "data.mdb")
        records = [path / name for name in names if name.endswith(tfrecords.SUFFIXES) and (path / name).is_file()]
        if records:
            return tfrecords.read(records, with_labels=with_labels)
        tars = [path / name for name in names if name.endswith(".tar") and (path / name).is_file()]
        if tars and not any(PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES for name in names):
            return _list_tars(path.resolve().name, tars, with_labels)
        return _list_folder(path, faces)
    if not path.exists():
        raise InputError(f"{path} does not exist; give a folder of images, or a zip or tar file of them")
    if not path.is_file():
        raise InputError(
            f"{path} is neither a folder nor a file; give a folder of images, or a zip or tar file of them"
        )
    if path.name == "data.mdb":
        return lmdb.read(path)
    if path.name.endswith(tfrecords.SUFFIXES):
        return tfrecords.read([path], with_labels=with_labels)
    with path.open("rb") as file:
        start = file.read(265)
    if path.suffix == ".tar" or (start[257:262] == b"ustar" and not start.startswith(b"PK")):
        return _list_tars(path.name, [path], with_labels)
    if start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        raise InputError(f"{path} is compressed; unpack it first (gunzip, say), so that its images can be found")
    if zipfile.is_zipfile(path):
        return _list_zip(path)
    raise InputError(
        f"{path} is no data set that is known here, or not a complete one; give a folder of images, a zip or tar file, "
        "TFRecords, or an LMDB folder"
    )


# --- Which files are images --------------------------------------------------------------------


def _is_hidden(name: str) -> bool:
    """Hidden files and folders, and the resource forks that macOS puts into zip files."""
    return any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in name.split("/"))


def _sort_out(name: str, rejected: list[tuple[str, str]]) -> bool:
    """Whether a file is to be read as an image; adds it to `rejected` if a user may have taken it for one.

    A name without a suffix may be an image: only its content can tell.
    """
    pure = PurePosixPath(name)
    suffix = pure.suffix.lower()
    if suffix in METADATA_SUFFIXES or pure.name.lower() in METADATA_NAMES:
        return False
    if suffix in ARCHIVE_SUFFIXES:
        rejected.append((name, "an archive inside the source; unpack it there, or prepare it by itself"))
        return False
    if suffix and suffix not in IMAGE_SUFFIXES:
        rejected.append((name, "not an image"))
        return False
    return True


def _is_document(name: str) -> bool:
    """Whether a file may describe the images; a dataset.json does at the top only."""
    return PurePosixPath(name).name in labels.DOCUMENTS and (
        name == "dataset.json" or not name.endswith("/dataset.json")
    )


def _by_name(items: list[Item]) -> list[Item]:
    return sorted(items, key=lambda item: item.name)


def _without_sheets(source: Source) -> Source:
    """Without the sheets that lie beside our own samples; older files are known by their name alone."""
    folders = {PurePosixPath(i.name).parent for i in source.items if SAMPLE_NAME.fullmatch(PurePosixPath(i.name).name)}
    kept, rejected = [], []
    for number, item in enumerate(source.items):
        name = PurePosixPath(item.name)
        if name.name in SHEET_NAMES and name.parent in folders:
            rejected.append((item.name, "a sheet of several images, drawn by this program"))
        else:
            kept.append(number)
    return source.chosen(kept, rejected) if rejected else source


# --- A folder ----------------------------------------------------------------------------------


def _list_folder(root: Path, faces: bool) -> Source:
    """The image files under a folder, links to folders included.

    Of FFHQ's own folder only the images of 1024 x 1024 are taken, or where faces are to be cut out the photographs:
    thumbnails, and the other of the two, show the same again.
    """
    items: list[Item] = []
    rejected: list[tuple[str, str]] = []
    documents = {}
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
        if Path(folder) == root and (chosen := ffhq.folder_of(subfolders, faces)):
            subfolders[:] = [chosen]
        inside = Path(folder).relative_to(root)
        for file in files:
            name = (inside / file).as_posix()
            path = Path(folder, file)
            if _is_document(name) and path.is_file():
                documents[name] = _document(FileItem(name, str(root)), path.stat().st_size, root)
            if _is_hidden(file) or not _sort_out(name, rejected):
                continue
            # A pipe or a device would block who opens it; what a stat cannot see, reading will explain.
            if path.exists() and not path.is_file():
                rejected.append((name, "not a file"))
            else:
                items.append(FileItem(name, str(root)))
    return ffhq.described(Source(root.resolve().name, _by_name(items), rejected, documents=documents), root)


def _document(item: Item, size: int, path: Path) -> bytes:
    """The content of a file that describes the images. Raises InputError if it cannot be read."""
    try:
        if size > MAX_DOCUMENT_BYTES:
            raise Unusable(too_large(size))
        return item.read()
    except Unusable as error:
        raise InputError(f"the {item.name} in {path} cannot be read ({error}); mend or remove it") from error


# --- A zip file --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ZipItem:
    """A member of a zip file. Reads by its position: no worker has to parse the archive's directory again."""

    name: str
    archive: str
    offset: int
    """Start of its local header."""
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


def _list_zip(path: Path) -> Source:
    """The image files in a zip file.

    Nothing is extracted, so names that lead out of the archive ("../../x.png") are names like any other. A folder
    that holds everything else is left out of the names, so that zipping a folder or its contents is the same.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError, struct.error) as error:
        raise InputError(f"{path} is a damaged zip file ({error}); fetch or make it again") from error
    overlapping = _overlapping(members)
    # Of two members of one name the later one counts, as for every zip program.
    # (Not is_dir: it fails on an empty name.)
    files = {member.filename.replace("\\", "/"): member for member in members}
    files = {name: member for name, member in files.items() if not name.endswith("/") and not _is_hidden(name)}
    tops = {name.partition("/")[0] if "/" in name else "" for name in files}
    top = tops.pop() + "/" if len(tops) == 1 and "" not in tops else ""

    archive_path = str(path.resolve())
    items: list[Item] = []
    rejected: list[tuple[str, str]] = []
    documents = {}
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
            reason = too_large(max(member.file_size, member.compress_size))
        elif member.header_offset < 0 or member.header_offset in overlapping:
            reason = "damaged zip entry: overlaps another"
        if _is_document(name):
            if reason:
                raise InputError(f"the {name} in {path} cannot be read ({reason}); mend or remove it")
            documents[name] = _document(item, member.file_size, path)
        elif _sort_out(name, rejected):
            if reason:
                rejected.append((name, reason))
            else:
                items.append(item)
    return Source(path.resolve().name, _by_name(items), rejected, documents=documents)


def _overlapping(members: Sequence[zipfile.ZipInfo]) -> set[int]:
    """Where the members start that reach into the next one: so a small file becomes a bomb of many large ones."""
    members = sorted(members, key=lambda member: member.header_offset)
    return {
        first.header_offset
        for first, second in itertools.pairwise(members)
        if first.header_offset + 30 + first.compress_size > second.header_offset
    }


# --- Tar files ---------------------------------------------------------------------------------

# What tarfile raises on damaged headers; OSError, where they lead in front of the file's start.
TAR_ERRORS = (
    tarfile.TarError,
    OSError,
    ValueError,
    OverflowError,
    MemoryError,
    RecursionError,
    EOFError,
    struct.error,
)


def _shards(before: str, first: str, last: str, after: str) -> list[Path]:
    """The files of `before{first..last}after`, which must all exist."""
    paths = []
    for number in range(int(first), int(last) + 1):
        path = Path(f"{before}{number:0{len(first)}d}{after}")
        if not path.is_file():
            raise InputError(f"{path} does not exist; give the range of the shards that are there")
        paths.append(path)
    if not paths:
        raise InputError(f"{{{first}..{last}}} is an empty range; give the first and the last shard")
    return paths


def _list_tars(source: str, paths: Sequence[Path], with_labels: bool) -> Source:
    """The image files in tar files (the shards of one webdataset), with the class numbers or names of its .cls files.

    Nothing is extracted. Of several shards the names begin with that of the shard.
    """
    items: list[Item] = []
    rejected: list[tuple[str, str]] = []
    documents = {}
    classes: dict[str, int | str | None] = {}  # by the sample's key: a name up to the first dot after the last slash
    for path in paths:
        prefix = f"{path.name}/" if len(paths) > 1 else ""
        for member in _tar_members(path, prefix, rejected):
            name = prefix + PurePosixPath(member.name).as_posix()
            item = SliceItem(name, str(path.resolve()), member.offset_data, member.size)
            if _is_hidden(name):
                continue
            if _is_document(name):
                documents[name] = _document(item, member.size, path)
            elif name.endswith(".cls") and member.size <= 1024:
                classes[_sample_key(name)] = _class_of(item)
            elif _sort_out(name, rejected):
                items.append(item)
    listing = Source(source, _by_name(items), rejected, documents=documents)
    if not classes or not with_labels:
        return listing
    of_items = [classes.get(_sample_key(item.name)) for item in listing.items]
    return labels.with_labels(listing, of_items, f"a .cls file in {source}", "no label: its .cls is missing or damaged")


def _tar_members(path: Path, prefix: str, rejected: list[tuple[str, str]]) -> Iterator[tarfile.TarInfo]:
    """The plain files in a tar file; what else there is is rejected. After a damaged header nothing can be found."""
    position, size = -1, path.stat().st_size
    with path.open("rb") as file:
        try:
            archive = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115  its file is closed here
            while member := archive.next():
                archive.members = []  # type: ignore[attr-defined]  # it would keep them all
                if member.offset <= position or member.size < 0:
                    raise tarfile.ReadError("an entry that leads backwards")
                position = member.offset
                if member.issparse() or not (member.isreg() or member.isdir()):
                    rejected.append((prefix + member.name, "a link, a device or a sparse file"))
                elif member.isreg() and member.offset_data + member.size > size:
                    rejected.append((prefix + member.name, "truncated"))
                    return
                elif member.isreg():
                    yield member
            file.seek(archive.offset)
            end = file.read(512)
            if not end:
                rejected.append((path.name, "cut short: the mark of its end is missing"))
            if any(end):
                raise tarfile.ReadError("a damaged header")
        except TAR_ERRORS as error:
            where = f"{path.name} from byte {max(0, position)}"
            rejected.append((where, f"damaged tar file ({error}): what follows cannot be found"))


def _sample_key(name: str) -> str:
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _class_of(item: SliceItem) -> int | str | None:
    """The content of a .cls file: a class number, or a name; None if it is neither."""
    try:
        text = item.read().decode("utf-8").strip()
    except (Unusable, UnicodeDecodeError):
        return None
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else text or None
