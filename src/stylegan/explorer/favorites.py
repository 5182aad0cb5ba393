"""Favorites kept in a file: names, and the addresses of pictures."""

import json
import threading
from pathlib import Path

from stylegan.errors import InputError
from stylegan.files import atomic_file

KIND, FORMAT_VERSION = "stylegan-favorites", 1
MOST, LONGEST = 1000, 4000  # favorites; characters of a name or an address


class Favorites:
    """The favorites in a file, which all users of the page share."""

    def __init__(self, file: Path) -> None:
        """Raises InputError where the file is there and holds something else."""
        self.file, self._lock = file, threading.Lock()
        self.all()

    def all(self) -> list[dict[str, str]]:
        """Each with its name and address. Raises InputError for a damaged file."""
        if not self.file.exists():
            return []
        try:
            content = json.loads(self.file.read_text(encoding="utf-8"))
            if content["kind"] != KIND or content["format_version"] != FORMAT_VERSION:
                raise ValueError("it is of another kind")
            return [{"name": str(each["name"]), "address": str(each["address"])} for each in content["favorites"]]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"{self.file} is no file of favorites ({str(error)[:100]}); choose another") from error

    def add(self, name: str, address: str) -> list[dict[str, str]]:
        """Add one, or give the one with this address another name; all of them. Raises InputError."""
        if not address or max(len(name), len(address)) > LONGEST:
            raise InputError(f"a favorite's name and address have {LONGEST} characters at most")
        with self._lock:
            others = [each for each in self.all() if each["address"] != address]
            if len(others) >= MOST:
                raise InputError(f"there are {MOST} favorites already; remove some first")
            return self._write([*others, {"name": name, "address": address}])

    def remove(self, address: str) -> list[dict[str, str]]:
        """Remove the one with this address; the others."""
        with self._lock:
            return self._write([each for each in self.all() if each["address"] != address])

    def _write(self, favorites: list[dict[str, str]]) -> list[dict[str, str]]:
        content = {"kind": KIND, "format_version": FORMAT_VERSION, "favorites": favorites}
        try:
            with atomic_file(self.file) as file:
                file.write((json.dumps(content, indent=1) + "\n").encode())
        except OSError as error:
            raise InputError(f"{self.file} cannot be written ({error.strerror or error})") from error
        return favorites
