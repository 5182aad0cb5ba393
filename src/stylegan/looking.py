"""A set of pictures seen as a whole before it is trained on: `stylegan look` writes a page and a list to leave out."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from stylegan.data import exclude
from stylegan.data.items import Item, first_reasons
from stylegan.data.look import Facts, Finding, LookConfig, Measure, Proposal, StoreItem, judge, propose
from stylegan.data.sources import open_source
from stylegan.data.store import open_store
from stylegan.data.workers import in_order, worker_count
from stylegan.errors import InputError
from stylegan.files import atomic_file, check_output, printable
from stylegan.look_page import MARK, TITLES, page
from stylegan.metrics.extractors import MobileNetV2, load_mobilenet
from stylegan.resolutions import check_resolution

BATCH = 32  # pictures that the network looks at at once
PREVIEWS = ((100, 512), (300, 384), (1000, 256))  # up to so many pictures, the longer side of each in pixels
SMALLEST_PREVIEW = 192


@dataclass(frozen=True)
class LookReport:
    """Outcome of `look`."""

    page: Path
    """The page."""
    list: Path
    """The list of what to leave out."""
    list_is_new: bool
    """Whether it was written now; a list that was there stays as it is."""
    names: Sequence[str]
    """The pictures that were looked at."""
    total: int
    """How many there are."""
    findings: Sequence[Finding]
    """What stands out; numbers are those of `names`."""
    unusable: Sequence[tuple[str, str]]
    """(name, reason) of what cannot be used."""
    proposal: Proposal
    """The resolution that `stylegan prepare` would take."""
    next: Sequence[str]
    """The command that prepares them, as words."""

    def lines(self) -> Iterator[str]:
        """What to tell of it."""
        counts = Counter(finding.kind for finding in self.findings)
        found = [f"{title.lower()}: {counts[kind]}" for kind, title in TITLES.items() if counts[kind]]
        found += [f"unusable: {len(self.unusable)}"] * bool(self.unusable)
        some = f"the first {len(self.names)} of {self.total}" if self.total > len(self.names) else f"{self.total}"
        yield f"{some} pictures; {', '.join(found) or 'nothing stands out'}."
        yield self.proposal.sentence
        how = "proposes" if self.list_is_new else "was there and stays as it is;"
        what = "what to leave out" if self.list_is_new else "remove it for a new one"
        yield printable(f"{self.page} shows them; {self.list} {how} {what}.")


def look(
    source: Path | str, out: Path | str = "look.html", config: LookConfig | None = None, *, progress: bool = True
) -> LookReport:
    """Write a page that shows a set of pictures and what stands out in it, and beside it a list of what to leave out.

    `source`: what `open_source` lists, or a store. The page is one file that needs no network. The list
    (`<page>-exclude.txt`) is for `stylegan prepare --exclude`; one that is there stays, and the page shows its names
    as left out.

    Raises InputError where an option is out of range, the source is missing or holds no usable picture, or the page
    cannot be written; nothing is left behind.
    """
    config = config or LookConfig()
    out = Path(out)
    listed = out.with_name(f"{out.stem}-exclude.txt")
    _check(config, out)
    is_new = not listed.exists()
    name, items, unusable, is_store = _items(source)
    before = None if is_new else exclude.read(listed, {exclude.escaped(item.name) for item in items})[0]
    facts, features, more = _looked_at(items[: config.limit], config.workers, progress)
    unusable = sorted(unusable + more)
    if not facts:
        raise InputError(f"{source} holds no usable image{first_reasons(unusable)}")
    glimpses = [each.glimpse for each in facts]
    squares = all(each.width == each.height for each in glimpses)
    proposal = propose([min(each.width, each.height) for each in glimpses], squares)
    findings = judge(facts, features, config.resolution or proposal.resolution)
    names = [exclude.escaped(each.name) for each in glimpses]
    excluded = {f.number for f in findings if f.drop}
    if before is not None:
        excluded = {number for number, each in enumerate(names) if each in before}
    command = ["prepare", "SOURCE" if is_store else str(source), "STORE", "--exclude", str(listed)]
    command += ["--resolution", str(config.resolution)] if config.resolution else []
    text = page(
        name, facts, findings, unusable, proposal, excluded, listed.name, ["stylegan", *command], total=len(items)
    )
    with atomic_file(out) as file:
        file.write(text.encode("utf-8"))
    if is_new:
        with atomic_file(listed) as file:
            file.write(_list(names, findings).encode("utf-8"))
    return LookReport(out, listed, is_new, names, len(items), findings, unusable, proposal, command)


def _check(config: LookConfig, out: Path) -> None:
    if config.resolution is not None:
        check_resolution(config.resolution)
    for name, value in (("limit", config.limit), ("workers", config.workers)):
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; use 1 or more")
    check_output(out, ending=(".html", ".htm"))
    if out.exists():
        try:
            with out.open("rb") as file:
                ours = MARK.encode() in file.read(1000)
        except OSError as error:
            raise InputError(f"{out} cannot be read ({error.strerror or error}); give another name") from error
        if not ours:
            raise InputError(f"{out} exists and is something else; remove it, or give another name to what is written")


def _items(source: Path | str) -> tuple[str, Sequence[Item], list[tuple[str, str]], bool]:
    """The name of a source or store, its pictures by name, (name, reason) of others, and whether it is a store."""
    path = Path(source)
    if path.is_dir() and any(path.glob("images-[0-9][0-9][0-9][0-9].npy")):
        store = open_store(path)
        items = sorted((StoreItem(name, store, i) for i, name in enumerate(store.names)), key=lambda item: item.name)
        return path.resolve().name, items, [], True
    listing = open_source(source, "none", every_column=False)
    return listing.name, listing.items, listing.rejected, False


def _looked_at(
    items: Sequence[Item], workers: int | None, progress: bool
) -> tuple[list[Facts], np.ndarray, list[tuple[str, str]]]:
    """What is measured of each picture, the features [N, F] of the bundled network, and (name, reason) of others."""
    side = next((side for most, side in PREVIEWS if len(items) <= most), SMALLEST_PREVIEW)
    extractor = load_mobilenet()
    facts: list[Facts] = []
    unusable: list[tuple[str, str]] = []
    features, waiting = [], []
    with (
        contextlib.closing(in_order(Measure(side), items, worker_count(workers, len(items)), 2**18)) as results,
        torch.inference_mode(),
        tqdm(total=len(items), unit="image", desc="look", disable=None if progress else True) as bar,
    ):
        for item, result in zip(items, results, strict=True):
            bar.update()
            if isinstance(result, str):
                unusable.append((printable(item.name), result))
                continue
            facts.append(result.facts)
            waiting.append(result.square)
            if len(waiting) == BATCH:
                features.append(_features(extractor, waiting))
                waiting = []
        if waiting:
            features.append(_features(extractor, waiting))
    return facts, np.concatenate(features) if features else np.empty((0, 0)), unusable


def _features(extractor: MobileNetV2, squares: list[np.ndarray]) -> np.ndarray:
    return extractor(torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2))[0].numpy()


def _list(names: Sequence[str], findings: Sequence[Finding]) -> str:
    """The proposed list: what to leave out, and what to decide about, behind a #."""
    dropped = {f.number for f in findings if f.drop}
    lines = [exclude.line(names[f.number], f.reason) for f in findings if f.drop]
    others: dict[int, list[str]] = {}
    for finding in findings:
        if finding.number not in dropped:
            others.setdefault(finding.number, []).append(finding.reason)
    if others:
        lines.append("\n# To be decided by eye: remove the first # of a line to leave the picture out.\n")
        lines += ["# " + exclude.line(names[number], "; ".join(reasons)) for number, reasons in others.items()]
    return exclude.HEADER + "".join(lines)
