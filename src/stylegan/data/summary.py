"""What `stylegan prepare` tells at the end: the images it could not use, by reason, and the way out of each."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stylegan.data.fitting import Fit, used_side
from stylegan.files import printable
from stylegan.resolutions import LOWEST, resolutions

# (beginning of the reason, what to say of the images, what to do): the first that fits
WAYS_OUT = (
    (r"truncated|damaged|unreadable|empty|bad checksum", "damaged or unreadable", "copy or fetch them again"),
    ("HEIC", "in HEIC format", "pip install 'stylegan[heic]', or convert them to JPEG or PNG"),
    ("not an image", "not in a known image format", "convert them to JPEG or PNG, if they are pictures"),
    (r"decompression bomb|too large", "too large", "reduce them first, such as with: magick IN -resize 8000x8000 OUT"),
    ("animated", "animated or of several pages", "save the page that you want as a PNG file"),
    ("an archive", "inside an archive", "unpack it, or prepare it by itself"),
    (r"no label|in no class folder", "without a class", "name their classes, or use --classes none"),
    ("no attributes", "without attributes", "add them to the list of attributes, or remove that list"),
    ("named in", "named in a list but not there", "add the files, or remove their lines"),
    ("no face found", "without a face that is found", "--fit crop takes them as they are"),
    ("the face is too small", "of too small a face", "--allow-upscale, or a lower --resolution"),
    ("wider than 4 to 3", "wider than 4 to 3", "--fit crop or --fit pad takes them"),
    ("no aligned image of CelebA", "not of the size of CelebA's aligned images", "--fit crop takes them"),
)
SMALL_SHARE, MOST_CLASSES = 0.02, 20
TOO_SMALL = re.compile(r"too small: (\d+) x (\d+)")


@dataclass(frozen=True)
class PrepareReport:
    """Outcome of `prepare`."""

    path: Path
    """The store."""
    resolution: int
    """Width and height of its images in pixels."""
    count: int
    """Images in the store to train on."""
    skipped: list[tuple[str, str]]
    """(name, reason) of everything that could not be used, sorted by name."""
    seconds: float
    """Time it took."""
    labels: str = "no labels"
    """Origin of the class labels, in words."""
    has_labels: bool = False
    """Whether the images have classes."""
    held_out_count: int = 0
    """Images in the store that training never sees."""

    left_out: list[tuple[str, str]] = field(default_factory=list)
    """(name, reason) of what was not wanted: the images of --exclude, and duplicates."""
    remarks: list[str] = field(default_factory=list)
    """Sentences about the whole: why this resolution, what a crop takes away, which classes there are, and what to do
    about the images that were skipped."""

    def lines(self) -> Iterator[str]:
        """What to tell of it: every image that was left out, with the reason, remarks, and how many there are."""
        for name, reason in self.left_out:
            yield printable(f"left out {name}: {reason}")
        for name, reason in self.skipped:
            yield printable(f"skipped {name}: {reason}")
        yield from map(printable, self.remarks)
        held_out = f" and {self.held_out_count} held out" if self.held_out_count else ""
        left_out = f", {len(self.left_out)} left out" if self.left_out else ""
        there = f"{self.count} images of {self.resolution} x {self.resolution}{held_out} in {self.path}"
        yield printable(f"{there}{left_out}, {len(self.skipped)} skipped, {self.seconds:.1f} s; {self.labels}.")


def summary(skipped: Sequence[tuple[str, str]], count: int, resolution: int, fit: Fit) -> Iterator[str]:
    """A sentence for each reason why some of `count` images were skipped: how many, and what would take them."""
    sizes = [(int(m[1]), int(m[2])) for _, reason in skipped if (m := TOO_SMALL.match(reason))]
    if sizes:
        yield too_small(sizes, count, resolution, fit)
    groups: dict[tuple[str, str], int] = {}
    for _, reason in skipped:
        if TOO_SMALL.match(reason):
            continue
        known = next((way[1:] for way in WAYS_OUT if re.match(way[0], reason)), (reason, ""))
        groups[known] = groups.get(known, 0) + 1
    for (what, way), number in sorted(groups.items(), key=lambda group: -group[1]):
        yield f"{_of(number, count)} {what}" + (f": {way}." if way else ".")


def about_kept(cropped: Sequence[float], label_counts: Mapping[str, int], store: Path) -> Iterator[str]:
    """What to tell of the images in the store: what the crop took away, the classes, where they can be looked at."""
    if cropped and (share := float(np.median(cropped))) >= SMALL_SHARE:
        yield f"The crop takes away {share:.0%} of an image (the median); --fit pad keeps all of it."
    if label_counts:
        most = list(label_counts.items())[:MOST_CLASSES]
        more = f" and {len(label_counts) - len(most)} more" if len(label_counts) > len(most) else ""
        yield f"Classes: {', '.join(f'{name} ({count})' for name, count in most)}{more}."
    yield f"What was kept can be looked at in {store / 'kept.png'}."


def too_small(sizes: Sequence[tuple[int, int]], count: int, resolution: int, fit: Fit) -> str:
    """What to do about images of these sizes, which are smaller than the resolution."""
    taken = {"--allow-upscale": len(sizes)}
    if fit in ("crop", "stretch"):
        taken["--fit pad"] = sum(used_side(*size, "pad") >= resolution for size in sizes)
    sides = [used_side(*size, fit) for size in sizes]
    lower = [r for r in resolutions(resolution) if LOWEST < r < resolution]
    if all_keep := [r for r in lower if r <= min(sides)]:
        lower = all_keep[-1:]
    taken |= {f"--resolution {r}": sum(side >= r for side in sides) for r in lower[-1:]}
    complete = [way for way, number in taken.items() if number == len(sizes)]
    partial = [f"{way} keeps {number} of them" for way, number in taken.items() if 0 < number < len(sizes)]
    *first, last = complete
    ways = "; ".join([(f"{', '.join(first)}, or {last} keeps all" if first else f"{last} keeps all"), *partial])
    return f"{_of(len(sizes), count)} smaller than {resolution}: {ways}."


def _of(number: int, count: int) -> str:
    return f"{number} of {count} {'is' if number == 1 else 'are'}"
