"""Reading a store's images, checked: `ImageReader` as they are first read, `verify` all of them.

Through a map of a file that is cut short meanwhile a process ends without a word (SIGBUS). Here the bytes are asked of
the file, and what is missing is said.
"""

import hashlib
import os
import weakref
import zlib
from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from stylegan.data.pyramid import pyramid
from stylegan.data.store import DESCRIPTION, Store, crc_of_description, damaged, image_file, reason_of
from stylegan.errors import InputError

MOST_NAMED = 5  # damages, in one sentence


class ImageReader:
    """A store's images at one resolution R by their numbers: `reader[numbers]` is a copy of them, uint8 [n, R, R, C].

    Where the store has checksums, each is held against its own when it is first read. For one thread at a time. Raises
    InputError, with the image's number, where bytes are missing or others than were written.
    """

    def __init__(self, store: Store, resolution: int | None = None) -> None:
        resolution = store.resolution if resolution is None else resolution
        mapped = store.images(resolution)  # checks the file's header and size
        self.shape: tuple[int, ...] = mapped.shape
        self._path, self._start, self._size = store.path / image_file(resolution), mapped.offset, mapped[0].nbytes
        checksums = store.checksums
        self._checksums = None if checksums is None else checksums[:, store.resolutions.index(resolution)]
        self._seen = np.zeros(store.count, dtype=bool)
        self._file = self._path.open("rb", buffering=0)
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, numbers: np.ndarray | slice) -> np.ndarray:
        chosen = np.arange(*numbers.indices(len(self))) if isinstance(numbers, slice) else numbers
        images = np.empty((len(chosen), *self.shape[1:]), dtype=np.uint8)
        for image, number in zip(images, chosen, strict=True):
            self.read_into(image, number)
        return images

    def read_into(self, image: np.ndarray, number: int) -> None:
        """Read one image into an array [R, R, C] of bytes that lie side by side."""
        view, place, done = memoryview(image).cast("B"), self._start + int(number) * self._size, 0
        while done < self._size:
            try:
                count = self._read(view[done:], place + done)
            except OSError as error:
                raise damaged(self._path, f"image {number} cannot be read ({reason_of(error)})") from error
            if not count:
                raise damaged(self._path, f"image {number} is missing: the file was cut short after it was opened")
            done += count
        if self._checksums is not None and not self._seen[number]:
            if zlib.crc32(image) != self._checksums[number]:
                raise damaged(self._path, f"image {number} is not what was written (by its checksum)")
            self._seen[number] = True

    def _read(self, view: memoryview, place: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [view], place)
        self._file.seek(place)  # Windows
        return self._file.readinto(view) or 0


def verify(store: Store, *, progress: bool = True) -> str:
    """Read all that a store holds, and say what it was held against.

    Pixels, labels, attributes and names against their checksums; in stores of earlier versions, which have none,
    pixels, labels and attributes against the content hash, and the lower resolutions against the means that they must
    be. Raises InputError that names what is not as it was written.
    """
    found = list(_damages(store, progress))
    if (held_out := store.held_out()) is not None:
        found += [f"held-out/{sentence}" for sentence in _damages(held_out, progress)]
    if found:
        more = f"; and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
        raise InputError(f"the store {store.path} is damaged: {'; '.join(found[:MOST_NAMED])}{more}; prepare it again")
    if store.checksums is None:
        return "all pixels are right, by content hash and means; names and description have no checksum to tell"
    return "all is as it was written, by checksums and content hash"


def _damages(store: Store, progress: bool) -> Iterator[str]:
    """A sentence for each thing that is not as it was written."""
    checksums = store.checksums
    if checksums is not None:
        stored, computed = crc_of_description(store.path / DESCRIPTION)
        if stored != computed:
            yield f"{DESCRIPTION}: its checksum is {computed}, not the {stored!r:.20} it carries"
    try:
        _ = store.names  # read and checked
    except InputError as error:
        yield f"names.txt: {error}"
    digest = hashlib.sha256()
    mapped = {resolution: ImageReader(store, resolution) for resolution in store.resolutions}
    with tqdm(total=store.count, unit="img", disable=None if progress else True) as bar:
        for number in range(store.count):
            levels = {}
            for resolution, reader in mapped.items():
                try:
                    levels[resolution] = reader[number : number + 1][0]
                except InputError as error:
                    yield (
                        str(error)
                        .removeprefix(f"the store {store.path} is damaged: ")
                        .removesuffix("; prepare it again")
                    )
            if store.resolution in levels:
                digest.update(levels[store.resolution].data)
                if checksums is None:
                    yield from _wrong_means(levels, number)
            bar.update()
    for array in (store.labels, store.attributes):
        if array is not None:
            digest.update(np.ascontiguousarray(array).data)
    if digest.hexdigest() != store.content_hash:
        yield f"pixels at {store.resolution} x {store.resolution}, labels or attributes: not what the content hash says"


def _wrong_means(levels: dict[int, np.ndarray], number: int) -> Iterator[str]:
    """The lower resolutions of an image that are not the means of the highest."""
    for resolution, image in pyramid(levels[max(levels)]).items():
        if resolution in levels and not np.array_equal(image, levels[resolution]):
            yield f"{image_file(resolution)}: image {number} is not what the highest resolution makes of it"
