"""Which images of a source become a store, and at which resolution, before they are prepared."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from stylegan.data import exclude
from stylegan.data.decoding import size_of
from stylegan.data.fitting import CELEBA_SIDE, Fit, used_side
from stylegan.data.items import Item, Source, Unusable
from stylegan.data.look import WORDS, Glance, Glimpse, Proposal, duplicates, propose
from stylegan.data.workers import in_order, worker_count
from stylegan.files import printable

LOOKED_AT = 1000  # images, for a resolution
MOST_RECORDED = 20_000  # names in a store's description


@dataclass(frozen=True)
class Chosen:
    """The images that are wanted."""

    source: Source
    left_out: list[tuple[str, str]]
    """(name, reason) of the others, sorted by name."""
    record: dict[str, Any] = field(default_factory=dict)
    """What a store's `made` says of it."""
    remarks: list[str] = field(default_factory=list)


def choose(source: Source, excluded: Path | None, drop_duplicates: bool, workers: int | None, progress: bool) -> Chosen:
    """The source without the images of a list, and without those that are there twice.

    Raises InputError for a list that is none, or is not this source's.
    """
    left_out: list[tuple[str, str]] = []
    record: dict[str, Any] = {}
    remarks: list[str] = []
    if excluded is not None:
        source, taken_out, absent = exclude.apply(source, excluded)
        record["excluded"] = dict(taken_out[:MOST_RECORDED])
        left_out = [(name, f"excluded: {reason}" if reason else "excluded") for name, reason in taken_out]
        if absent:
            remarks.append(f"{len(absent)} names in {excluded} are of no image here ({exclude.first(absent)}).")
    if drop_duplicates:
        source, pairs = _without_duplicates(source, workers, progress)
        record["duplicates"] = [list(pair) for pair in pairs[:MOST_RECORDED]]
        left_out += [(name, f"{WORDS[kind]} {of}") for name, of, kind in pairs]
        kinds = [kind for _, _, kind in pairs]
        remarks.append(
            f"{kinds.count('exact')} exact and {len(kinds) - kinds.count('exact')} near duplicates left out."
        )
    return Chosen(source, sorted(left_out), record, remarks)


def _without_duplicates(
    source: Source, workers: int | None, progress: bool
) -> tuple[Source, list[tuple[str, str, Literal["exact", "near", "mirrored"]]]]:
    """The source without duplicates, and (name, name of the one that stays, kind) of each of them."""
    seen: dict[int, Glimpse] = {}
    count = worker_count(workers, len(source.items))
    with (
        contextlib.closing(in_order(Glance(), source.items, count, 1024)) as results,
        tqdm(total=len(source.items), unit="image", desc="duplicates", disable=None if progress else True) as bar,
    ):
        for number, result in enumerate(results):
            if isinstance(result, Glimpse):  # the others will be skipped with their reasons
                seen[number] = result
            bar.update()
    numbers = list(seen)
    found = duplicates(list(seen.values()))
    dropped = {numbers[pair.number] for pair in found}
    names = [printable(source.items[number].name) for number in numbers]
    pairs = [(names[pair.number], names[pair.of], pair.kind) for pair in found]
    return source.chosen([i for i in range(len(source.items)) if i not in dropped], []), pairs


def proposal(items: Sequence[Item], fit: Fit, seed: int = 0) -> Proposal | None:
    """The resolution for these images, of some of them, whose headers are read; None where none can be read."""
    if fit == "celeba":
        return Proposal(CELEBA_SIDE, True, len(items), len(items))
    some = np.random.RandomState(seed).permutation(len(items))[:LOOKED_AT]
    sizes = []
    for number in some:
        with contextlib.suppress(Unusable):
            sizes.append(size_of(items[number].read()))
    if not sizes:
        return None
    return propose([used_side(*size, fit) for size in sizes], all(width == height for width, height in sizes))
