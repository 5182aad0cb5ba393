"""Files: written so that they are complete or not there, and tensor files, written and checked in one way.

What only writes files must not pay for torch, so nothing here imports it before tensors are asked for.
"""

import errno
import json
import os
import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from stylegan.errors import InputError
from stylegan.system import Process, system, this_process

if TYPE_CHECKING:
    from torch import Tensor

SHEET_MARK = ("stylegan", "sheet")  # key and text in a PNG file that shows several images at once
LONGEST_HEADER = 10 * 2**20  # bytes; that of a 1024 x 1024 model has 60,000
_CHECKSUM = rb"\"crc32\": \""  # in front of the checksum's digits: JSON in JSON
_PART = 2**22  # bytes that are read at a time
ABANDONED_AFTER = 24 * 3600.0  # seconds without a change, for files half-written on another machine
# of atomic_file: the file's name, and who writes it (of version 0.1 the process's number alone)
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?:(?P<place>[0-9a-f]{8})-)?(?P<pid>[0-9]+)(?:-(?P<start>[0-9a-f]*))?\.tmp")


def printable(name: str) -> str:
    """A name in which bytes that are not UTF-8 (surrogates, in Python) are written out: `\\udcff`."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


@contextmanager
def atomic_file(path: Path | str) -> Iterator[BinaryIO]:
    """Open a file to write that is, at any moment, either absent (or as it was before) or complete."""
    path, us = Path(path), this_process()
    temporary = path.with_name(f".{path.name}.{us.place}-{us.pid}-{us.start}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _replace(temporary, path)
        _flush_folder(path.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO) and error.filename is None:  # a write names no file
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def append(path: Path, content: bytes) -> None:
    """Add to a file, all of it or, where the disk is full, nothing."""
    with path.open("ab", buffering=0) as file:
        length = file.seek(0, os.SEEK_END)
        try:
            if file.write(content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            file.truncate(length)
            raise


def remove_abandoned(folder: Path, is_ours: Callable[[str], bool]) -> None:
    """Remove what processes that were killed have left of files which they were writing.

    is_ours: whether a file of this name may be touched at all. What a running process writes stays; so does for a day
    what another machine's has begun, since nobody here can know whether that still runs.
    """
    for path in folder.glob(".*.tmp"):
        match = _TEMPORARY.fullmatch(path.name)
        if match is None or not is_ours(match["name"]):
            continue
        writer = Process("", match["place"] or "", int(match["pid"]), match["start"] or "")
        running = writer.is_running()
        with suppress(OSError):  # gone, or not to be removed by this user: no harm
            if running is False or (running is None and time.time() - path.stat().st_mtime > ABANDONED_AFTER):
                path.unlink()


def _flush_folder(folder: Path) -> None:
    """Have a new name on the disk too, where the system can: Windows opens no folders."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _replace(temporary: Path, path: Path) -> None:
    """Rename over what is there. On Windows, where that fails while somebody reads the file, wait up to a second."""
    for _ in range(20 if system() == "windows" else 0):
        try:
            temporary.replace(path)
            return
        except PermissionError:
            time.sleep(0.05)
    temporary.replace(path)


def write_tensors(
    path: Path | str, tensors: Mapping[str, "Tensor"], header: dict[str, Any] | None = None, *, half: bool = False
) -> None:
    """Write a safetensors file, atomically.

    header: an object for JSON, kept as the metadata's `stylegan`; its `kind` and `format_version` are what
    `read_tensors` looks at. A checksum of the whole file is added to it. half: store float16.
    """
    from safetensors.torch import save

    stored = {name: (t.half() if half else t).detach().cpu().contiguous() for name, t in tensors.items()}
    content = save(stored, {"stylegan": json.dumps((header or {}) | {"crc32": "0" * 8})})
    place = content.index(_CHECKSUM) + len(_CHECKSUM)
    with atomic_file(path) as file:
        file.write(content[:place])
        file.write(f"{zlib.crc32(content):08x}".encode())
        file.write(memoryview(content)[place + 8 :])


def stored_checksum(path: Path) -> str | None:
    """The checksum that a tensor file carries, 8 hexadecimal digits; None where it carries none, as older files."""
    with path.open("rb") as file:
        found = _find_checksum(file)
        return None if found is None else found[1]


def _find_checksum(file: BinaryIO) -> tuple[int, str] | None:
    """Where the checksum's digits stand in a file, and they."""
    start = file.read(8)
    start += file.read(min(int.from_bytes(start, "little"), LONGEST_HEADER))
    place = start.find(_CHECKSUM)
    if place < 0:
        return None
    place += len(_CHECKSUM)
    return place, start[place : place + 8].decode("latin-1")


def _check_checksum(path: Path, what: str) -> None:
    """Raise InputError where a file carries a checksum that is not its own. Whatever else is wrong shows later."""
    with path.open("rb") as file:
        found = _find_checksum(file)
        if found is None:
            return
        place, stored = found
        file.seek(0)
        checksum = zlib.crc32(b"0" * 8, zlib.crc32(file.read(place)))
        file.seek(8, os.SEEK_CUR)
        while part := file.read(_PART):
            checksum = zlib.crc32(part, checksum)
    if f"{checksum:08x}" != stored:
        raise InputError(
            f"{path} cannot be read: it is not {what}, or is damaged (its checksum is {checksum:08x}, not the "
            f"{stored!r:.20} it carries)"
        )


def kind_of(path: Path) -> str | None:
    """What a tensor file's header says it is, "stylegan-model" say; "" for nothing; None where it cannot be read."""
    try:
        header = json.loads(_metadata(path).get("stylegan", "{}"))
    except (InputError, ValueError, RecursionError):
        return None
    return str(header.get("kind", "")) if isinstance(header, dict) else None


def read_tensors(
    path: Path | str, what: str, *, kind: str | None = None, version: int = 1, hint: str = ""
) -> tuple[dict[str, Any], dict[str, "Tensor"]]:
    """Header and tensors of a safetensors file; floating-point tensors become float32.

    what: the content for people, such as "a StyleGAN model". kind, version: what the header must say it is; the
    tensors are float16 or float32 then. None: a file without our header, such as another program's: the header is
    the metadata as it stands, strings by name. hint: what to do where there is no file. A file that carries a checksum
    is held against it. Raises InputError for what is missing, damaged, of another kind or of another version.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    _check_length(path, what, hint)
    try:
        _check_checksum(path, what)
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            header = metadata if kind is None else _header(metadata, path, what, kind, version)
            tensors = {}
            for name in file.keys():  # noqa: SIM118  (not a dict)
                if kind is not None and file.get_slice(name).get_dtype() not in ("F16", "F32"):
                    raise InputError(f"{path} holds {name[:100]!r}, which is neither float16 nor float32")
                tensor = file.get_tensor(name)
                tensors[name] = tensor.float() if tensor.is_floating_point() else tensor
    except InputError:
        raise
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: it is not {what}, or is damaged ({str(error)[:200]})") from error
    return header, tensors


def _check_length(path: Path, what: str, hint: str) -> None:
    """Refuse a file whose header is longer than any of ours, before it is parsed."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
        size = path.stat().st_size
    except FileNotFoundError:
        raise InputError(f"there is no file {path}" + (f"; {hint}" if hint else "")) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from error
    if length > min(LONGEST_HEADER, size):
        raise InputError(f"{path} cannot be read: it is not {what}, or is damaged (its header is too long)")


def _header(metadata: Mapping[str, str], path: Path, what: str, kind: str, version: int) -> dict[str, Any]:
    header = json.loads(metadata.get("stylegan", "null"))
    if not isinstance(header, dict) or header.get("kind") != kind:
        raise InputError(f"{path} is a safetensors file, but not {what} of this program")
    if (stored := header.get("format_version")) != version:
        raise InputError(
            f"{path} has format version {str(stored)[:20]}, this program reads {version}; update the program"
        )
    return {name: value for name, value in header.items() if name != "crc32"}


def check_output(
    path: Path | str, kind: str = "", *inputs: Path | str | None, ending: str | tuple[str, ...] | None = None
) -> None:
    """Refuse, before the work, an output that could not be written after it, or should not be.

    It must not be one of the command's inputs, and may replace only what such a command has made: a tensor file of the
    same kind, a sheet of images for a picture. kind: of a tensor file, as its header says. ending: of its name; that of
    tensor files where there is a kind. Raises InputError.
    """
    path, ending = Path(path), ending or (".safetensors" if kind else ())
    if not path.absolute().parent.is_dir():
        raise InputError(f"there is no folder {path.parent} for {path.name}; make it first")
    if any(other is not None and path.resolve() == Path(other).resolve() for other in inputs):
        raise InputError(f"{path} is what is read; give another name to what is written")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file in it")
    endings = (ending,) if isinstance(ending, str) else ending
    if endings and path.suffix not in endings:
        raise InputError(f"{path}: give it a name that ends with {' or '.join(endings)}")
    if path.exists() and not _made_by_us(path, kind):
        raise InputError(f"{path} exists and is something else; remove it, or give another name to what is written")


def check_output_folder(folder: Path | str, *inputs: Path | str | None) -> None:
    """Refuse a folder for results that holds a file which the command reads. Raises InputError."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder for the results")
    for file in inputs:
        if file is not None and Path(file).resolve().parent == folder.resolve():
            raise InputError(f"{folder} holds {Path(file).name}, which is read; choose another folder with --out")


def _made_by_us(path: Path, kind: str) -> bool:
    """Whether a file is of the kind that is to replace it, as far as its format can tell."""
    if path.suffix == ".safetensors":
        found = kind_of(path)
        return found is not None and (found or "stylegan-latents") == kind  # latents had no header at first
    if path.suffix == ".png":
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(path) as picture:
                return SHEET_MARK[0] in picture.info
        except (OSError, UnidentifiedImageError):
            return False
    return True


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    _check_length(path, "a tensor file", "")
    try:
        with safe_open(path, "np") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a tensor file") from error
