"""What a set of pictures is like: sizes, duplicates, blur, bars at the edges, what is odd.

`Glance` and `Measure` are jobs of worker processes, so this module must not import torch; the rest are pure functions
of what they measured.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from stylegan.data.decoding import decode_rgb, is_sheet, open_image, size_of
from stylegan.data.items import Item, Unusable
from stylegan.data.store import Store
from stylegan.files import printable
from stylegan.resolutions import is_resolution, resolutions

THUMBNAIL = 16  # pixels, in which pictures are compared
# Cosine of two thumbnails' gradients. A picture saved at JPEG quality 40, halved or brightened has 0.95 or more with
# itself, with 4% cropped away 0.88. Of all pairs of 14,000 aligned faces 16 have more, each the same photograph by eye.
SIMILAR = 0.88
FLAT = 0.5  # levels: the gradients of what has less are noise
BLURRED = 0.62  # see `blur`
BORDER_SHARE, BORDER_LEVELS = 0.03, 14  # least share of the side; what still counts as one color
LARGEST_PROPOSAL, PROPOSED_SHARE = 256, 0.9
ODD = 3.0  # robust standard deviations
ALIKE = 0.93  # cosine of features: 0.90 at most of a million pairs of aligned faces, 0.95 of near duplicates
NEIGHBORS = 5


@dataclass(frozen=True)
class LookConfig:
    """Options of `stylegan look`."""

    resolution: int | None = None
    """Resolution that pictures should reach: a power of two from 4 to 1024. Default: the one that `stylegan prepare`
    would take."""
    limit: int = 2000
    """Largest number of pictures: the first by name."""
    workers: int | None = None
    """Number of processes. Default: one for each core."""


# --- One picture ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Glimpse:
    """What tells duplicates."""

    name: str
    width: int
    height: int
    digest: bytes
    """Of the file's bytes."""
    thumbnail: np.ndarray
    """uint8 [16, 16], gray, of the whole picture."""


@dataclass(frozen=True)
class Facts:
    """What is measured of one picture."""

    glimpse: Glimpse
    blur: float
    """See `blur`."""
    borders: tuple[float, float]
    """Shares of the height and of the width that uniform bars take."""
    preview: bytes
    """A small JPEG file of the whole picture."""


@dataclass(frozen=True)
class Measured:
    """What a worker gives of one picture."""

    facts: Facts
    square: np.ndarray
    """uint8 [224, 224, 3], the whole picture stretched, for a network to look at."""


@dataclass(frozen=True)
class Glance:
    """The job of a worker: an item to its Glimpse, or to the reason why it cannot be used."""

    def __call__(self, item: Item) -> Glimpse | str:
        try:
            data = item.read()
            size = size_of(data)
            pixels = decode_rgb(data, about=4 * THUMBNAIL)
        except Unusable as error:
            return str(error)
        return _glimpse(item.name, size, data, Image.fromarray(pixels))


@dataclass(frozen=True)
class Measure:
    """The job of a worker: an item to what is measured of it, or to the reason why it cannot be used."""

    preview_side: int

    def __call__(self, item: Item) -> Measured | str:
        try:
            data = item.read()
            if is_sheet(open_image(data)):
                raise Unusable("a sheet of several images, drawn by this program")
            pixels = decode_rgb(data)
        except Unusable as error:
            return str(error)
        image = Image.fromarray(pixels)
        facts = Facts(
            glimpse=_glimpse(item.name, image.size, data, image),
            blur=blur(image),
            borders=borders(np.asarray(_at_most(image, 512))),
            preview=_jpeg(_at_most(image, self.preview_side)),
        )
        return Measured(facts, np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC, reducing_gap=4)))


def _glimpse(name: str, size: tuple[int, int], data: bytes, image: Image.Image) -> Glimpse:
    small = image.convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR)
    return Glimpse(name, *size, hashlib.sha256(data).digest(), np.asarray(small))


def _at_most(image: Image.Image, side: int) -> Image.Image:
    """Reduced so that the longer side is at most so long."""
    factor = side / max(image.size)
    if factor >= 1:
        return image
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=4)


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=78, optimize=True)
    return buffer.getvalue()


def blur(image: Image.Image) -> float:
    """How blurred a picture is as it would be trained on, from 0, sharp, to 1 (Crété et al., 2007).

    What a blur of nine pixels takes away of the differences between neighbors: little where the picture was blurred
    before. The shorter side is reduced to 256 first, as a blur that this hides does not matter.
    """
    side = min(image.size)
    if side > 256:
        image = _at_most(image, round(max(image.size) * 256 / side))
    gray = np.asarray(image.convert("L"), np.float32)
    if min(gray.shape) < 12:
        return 0.0
    remaining = []
    for axis in (0, 1):
        length, sums = gray.shape[axis], np.cumsum(gray, axis=axis)
        blurred = (np.take(sums, range(9, length), axis) - np.take(sums, range(length - 9), axis)) / 9
        inner = np.take(gray, range(5, length - 4), axis)
        before, after = np.abs(np.diff(inner, axis=axis)), np.abs(np.diff(blurred, axis=axis))
        total = float(before.sum())
        remaining.append(1 - float(np.maximum(before - after, 0).sum()) / total if total else 0.0)
    return max(remaining)


def borders(pixels: np.ndarray) -> tuple[float, float]:
    """The shares of the height and of the width that bars of one color take, as of a letterboxed film.

    A bar ends in a straight edge; a uniform background, which the subject reaches into, is none.
    """
    levels = pixels.astype(np.int16)
    shares = []
    for lines in (levels, levels.swapaxes(0, 1)):
        bars = sum(_bar(side) for side in (lines, lines[::-1]))
        shares.append(min(1.0, bars / len(lines)))
    return shares[0], shares[1]


def _bar(lines: np.ndarray) -> int:
    """How many of the first lines [n, length, 3] are a bar."""
    color = np.median(lines[0], axis=0)
    away = (np.abs(lines[: len(lines) // 2] - color).max(axis=2) > BORDER_LEVELS).mean(axis=1)
    count = int(np.argmax(away > 0.03)) if (away > 0.03).any() else 0  # all of one color: no bar
    edge = away[count : count + 3]  # compression may have softened the first line
    return count if count and edge.max() > 0.9 else 0


# --- The set -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Duplicate:
    """A picture that shows what another one shows."""

    number: int
    of: int
    """The one to keep: the larger, then the first."""
    kind: Literal["exact", "near", "mirrored"]


WORDS = {"exact": "the same file as", "near": "nearly the same as", "mirrored": "nearly the mirror image of"}


def duplicates(pictures: Sequence[Glimpse]) -> list[Duplicate]:
    """The pictures to drop so that none is there twice, each with the one that is kept instead.

    exact: the same bytes. near: the same picture in another size, quality or brightness, or slightly cropped.
    """
    order = sorted(range(len(pictures)), key=lambda i: (-pictures[i].width * pictures[i].height, i))
    first: dict[bytes, int] = {}
    found = []
    for i in order:
        if (of := first.setdefault(pictures[i].digest, i)) != i:
            found.append(Duplicate(i, of, "exact"))
    rest = list(first.values())  # best first
    dropped: set[int] = set()
    for place, others in _similar([pictures[i].thumbnail for i in rest]):
        kept = [(cosine, other, kind) for cosine, other, kind in others if other not in dropped]
        if kept:
            _, other, kind = max(kept)
            dropped.add(place)
            found.append(Duplicate(rest[place], rest[other], kind))
    instead = {pair.number: pair.of for pair in found}
    return sorted((Duplicate(p.number, instead.get(p.of, p.of), p.kind) for p in found), key=lambda p: p.number)


def _similar(thumbnails: Sequence[np.ndarray], block: int = 1024) -> Iterator[tuple[int, list]]:
    """For each thumbnail that has some, in order: those before it that are alike, (cosine, number, kind)."""
    if not thumbnails:
        return
    stacked = np.stack(thumbnails).astype(np.float32)
    plain, mirrored = _gradients(stacked), _gradients(stacked[:, :, ::-1])
    for start in range(0, len(plain), block):
        rows, end = plain[start : start + block], min(start + block, len(plain))
        alike: dict[int, list] = {}
        for kind, others in (("near", plain), ("mirrored", mirrored)):
            cosines = rows @ others[:end].T
            for row, column in np.argwhere(cosines > SIMILAR):
                if column < start + row:
                    alike.setdefault(int(start + row), []).append((float(cosines[row, column]), int(column), kind))
        yield from sorted(alike.items())


def _gradients(thumbnails: np.ndarray) -> np.ndarray:
    """Differences of neighbors, of length 1 for each thumbnail; 0 for flat ones, which are like nothing."""
    across, down = np.diff(thumbnails, axis=2), np.diff(thumbnails, axis=1)
    flat = np.concatenate([across.reshape(len(across), -1), down.reshape(len(down), -1)], axis=1)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.where(length > FLAT * flat.shape[1] ** 0.5, flat / np.maximum(length, 1e-6), 0).astype(np.float32)


def oddness(features: np.ndarray) -> np.ndarray:
    """How far each picture's features [N, F] are from those of its nearest neighbors, in robust standard deviations.

    The distance is 1 - cosine, the mean over the five nearest. With fewer than a dozen pictures: zeros.
    """
    count = len(features)
    if count < 12:
        return np.zeros(count)
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    distances = np.empty(count)
    for start in range(0, count, 1024):
        cosines = unit[start : start + 1024] @ unit.T
        cosines[np.arange(len(cosines)), start + np.arange(len(cosines))] = -1  # itself
        nearest = np.partition(cosines, -NEIGHBORS, axis=1)[:, -NEIGHBORS:]
        distances[start : start + 1024] = 1 - nearest.mean(axis=1)
    middle = np.median(distances)
    spread = 1.4826 * np.median(np.abs(distances - middle))
    return (distances - middle) / max(float(spread), 1e-6)


Kind = Literal["exact", "near", "alike", "blurred", "bars", "tiny", "odd"]


@dataclass(frozen=True)
class Finding:
    """Something to know of a picture before it is trained on."""

    number: int
    kind: Kind
    reason: str
    drop: bool
    """Whether it is to be left out without a look at it."""
    beside: int | None = None
    """The picture to compare it with."""


def judge(facts: Sequence[Facts], features: np.ndarray, resolution: int) -> list[Finding]:
    """What stands out in a set: duplicates, pictures much alike, blurred, with bars, tiny for a resolution, odd.

    features: [N, F], of a network that has looked at them. By kind, and within a kind the clearest first.
    """
    names = [printable(each.glimpse.name) for each in facts]
    findings = []
    pairs = duplicates([each.glimpse for each in facts])
    for pair in sorted(pairs, key=lambda pair: (pair.kind != "exact", pair.of, pair.number)):
        reason = f"{WORDS[pair.kind]} {names[pair.of]}"
        findings.append(Finding(pair.number, "exact" if pair.kind == "exact" else "near", reason, True, pair.of))
    for first, second, cosine in _alike(features, {pair.number for pair in pairs}):
        findings.append(Finding(second, "alike", f"much like {names[first]} ({cosine:.2f})", False, first))
    for i in sorted(range(len(facts)), key=lambda i: -facts[i].blur):
        if facts[i].blur > BLURRED:
            findings.append(Finding(i, "blurred", f"blurred ({facts[i].blur:.2f} of 1)", False))
    for i in sorted(range(len(facts)), key=lambda i: -max(facts[i].borders)):
        height, width = facts[i].borders
        if max(height, width) >= BORDER_SHARE:
            what = f"{height:.0%} of its height" if height >= width else f"{width:.0%} of its width"
            findings.append(Finding(i, "bars", f"bars of one color take {what}", False))
    sides = [min(each.glimpse.width, each.glimpse.height) for each in facts]
    for i in sorted(range(len(facts)), key=lambda i: sides[i]):
        if sides[i] < resolution:
            findings.append(Finding(i, "tiny", f"smaller than {resolution}", False))
    odd = oddness(features)
    for i in np.argsort(-odd, kind="stable"):
        if odd[i] > ODD:
            findings.append(Finding(int(i), "odd", f"unlike the others ({odd[i]:.1f} deviations)", False))
    return findings


def _alike(features: np.ndarray, without: set[int], block: int = 1024) -> list[tuple[int, int, float]]:
    """(first, second, cosine) of pictures whose features are nearly the same, the second of each listed once."""
    numbers = np.array([i for i in range(len(features)) if i not in without])
    if len(numbers) < 2:
        return []
    unit = features[numbers] / np.maximum(np.linalg.norm(features[numbers], axis=1, keepdims=True), 1e-12)
    found = []
    for start in range(0, len(unit), block):
        cosines = np.tril(unit[start : start + block] @ unit[: start + block].T, start - 1)
        closest = cosines.argmax(axis=1)
        for i in np.flatnonzero(cosines.max(axis=1) > ALIKE):
            found.append((int(numbers[closest[i]]), int(numbers[start + i]), float(cosines[i, closest[i]])))
    return sorted(found, key=lambda pair: -pair[2])


# --- Resolutions ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proposal:
    """A resolution for pictures of these sizes."""

    resolution: int
    decided: bool
    """Whether all pictures are squares of that size."""
    reached: int
    """How many of the pictures are that large."""
    count: int
    """How many there are."""

    @property
    def sentence(self) -> str:
        if self.decided:
            return f"Resolution {self.resolution}, that of all images; --resolution sets another."
        some = "all" if self.reached == self.count else f"{self.reached} of {self.count}"
        reach = f"{some} images reach"
        return f"Resolution {self.resolution}, which {reach}; --resolution sets another."


def propose(sides: Sequence[int], squares: bool, largest: int = LARGEST_PROPOSAL) -> Proposal:
    """The resolution that nine of ten pictures reach with the side that is used of them, 256 at most.

    squares: all pictures are square; where they are all of one power of two, it is that, at most 1024.
    """
    if squares and len(set(sides)) == 1 and is_resolution(sides[0]):
        return Proposal(sides[0], True, len(sides), len(sides))
    for resolution in reversed(resolutions(largest)):
        reached = sum(side >= resolution for side in sides)
        if reached >= PROPOSED_SHARE * len(sides):
            break
    return Proposal(resolution, False, reached, len(sides))


# --- A store's images as items -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoreItem:
    """An image of a store, by its number; reads as a PNG file."""

    name: str
    store: Store
    number: int

    def read(self) -> bytes:
        pixels = self.store.images()[self.number]
        buffer = io.BytesIO()
        Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()
