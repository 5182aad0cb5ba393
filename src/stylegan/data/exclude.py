"""Lists of images to leave out: a text file, one name a line, the reason behind a #; `stylegan look` proposes one."""

import re
from collections.abc import Container, Iterable
from pathlib import Path

from stylegan.data.items import Source
from stylegan.errors import InputError
from stylegan.files import printable

MAX_LIST_BYTES = 64 * 2**20
HEADER = "# Images to leave out, for `stylegan prepare --exclude`: one name a line, the reason behind a #.\n"


def read(path: Path | str, known: Container[str]) -> tuple[dict[str, str], list[str]]:
    """The images that a list names, each with its reason ("" without one), and names in it that are not `known`.

    Names may hold a #: of a line the longest beginning counts that is a known name. Raises InputError where it is no
    such list.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is no file; give a text file with the name of an image in each line")
        with path.open("rb") as file:
            content = file.read(MAX_LIST_BYTES + 1)
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"there is no list {path}; `stylegan look` writes one") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text or len(content) > MAX_LIST_BYTES:
        raise InputError(f"{path} is no text file; give one with the name of an image in each line")
    names, absent = {}, []
    for line in filter(None, map(str.strip, text.split("\n"))):
        ends = [len(line), *(place for place in reversed(range(len(line))) if line[place] == "#")]
        name = next((line[:end].rstrip() for end in ends if line[:end].rstrip() in known), None)
        if name is not None:
            names[name] = line[len(name) :].lstrip().removeprefix("#").lstrip()
        elif not line.startswith("#"):
            absent.append(re.split(r"\s+#", line, maxsplit=1)[0])
    return names, absent


def line(name: str, reason: str) -> str:
    """A line of a list."""
    return f"{escaped(name)}  # {reason}\n" if reason else f"{escaped(name)}\n"


def escaped(name: str) -> str:
    """A name as it stands in a list: in one line, and in UTF-8."""
    return printable(name.replace("\n", "\\n"))


def apply(source: Source, path: Path | str) -> tuple[Source, list[tuple[str, str]], list[str]]:
    """The source without the images of a list, those with their reasons, and the names that it does not have.

    Raises InputError where it is no list, where it names no image of the source, or all.
    """
    by_name = {escaped(item.name): number for number, item in enumerate(source.items)}
    names, absent = read(path, by_name.keys() | {escaped(name) for name, _ in source.rejected})
    if absent and not names:
        raise InputError(
            f"{path} names images that {source.name} does not have ({first(absent)}); give the list of this source"
        )
    left_out = {by_name[name]: reason for name, reason in names.items() if name in by_name}
    kept = [number for number in range(len(source.items)) if number not in left_out]
    if not kept:
        raise InputError(f"{path} excludes every image of {source.name}; remove some of its lines")
    pairs = [(printable(source.items[number].name), reason) for number, reason in sorted(left_out.items())]
    return source.chosen(kept, []), pairs, absent


def first(names: Iterable[str], count: int = 3) -> str:
    """The first few names, for a sentence."""
    names = list(names)
    return ", ".join(f"{name:.60}" for name in names[:count]) + (", ..." if len(names) > count else "")
