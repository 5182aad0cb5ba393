"""From any source of images to a store: every image is decoded, checked, fitted and box-filtered once, here.

The work is done by worker processes, the writing by this one. Workers import this module, so it stays light: it
must not import torch.
"""

import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from tqdm import tqdm

from stylegan import __version__
from stylegan.data import align, ffhq, huggingface, labels
from stylegan.data.choosing import Chosen, choose, proposal
from stylegan.data.decoding import size_of
from stylegan.data.fitting import Fit, Fitting, check_pad, decode
from stylegan.data.items import Item, Source, Unusable
from stylegan.data.kept import Kept
from stylegan.data.look import LARGEST_PROPOSAL
from stylegan.data.pyramid import pyramid
from stylegan.data.sources import Classes, open_source
from stylegan.data.store import check_target
from stylegan.data.store_writer import StoreWriter
from stylegan.data.summary import PrepareReport, about_kept, summary
from stylegan.data.workers import in_order, worker_count, worker_processes
from stylegan.errors import InputError
from stylegan.files import printable
from stylegan.resolutions import check_resolution

FETCH_MEMORY = 1536 * 2**20  # bytes, for reading parquet and arrow files


@dataclass(frozen=True)
class PrepareConfig:
    """Options of `stylegan prepare`."""

    resolution: int | None = None
    """Width and height of the prepared images in pixels: a power of two from 4 to 1024. Default: that of the images,
    where all are squares of one such size; else the largest, up to 256, that nine of ten reach."""
    fit: Fit = "crop"
    """Way to make images square: crop (to the center), pad (with black), wide (cropped to 4:3, then padded above and
    below, for LSUN Car), stretch, face (the largest face, turned upright and cropped as FFHQ's images were) or celeba
    (128 x 128 around the face, for CelebA's aligned images)."""
    pad: str | None = None
    """What --fit pad pads with: edge (the outermost pixels, drawn out), blur (the image itself, enlarged and blurred)
    or a color, #RRGGBB. Default: black, or transparent with 4 channels."""
    channels: Literal[1, 3, 4] = 3
    """Number of channels: 1 (gray), 3 (RGB) or 4 (RGBA). With 1 and 3, transparent parts become white."""
    classes: Classes = "auto"
    """Class labels: auto (from the data set, where it has some), folders (sub-folders are classes), none."""
    labels_from: str | None = None
    """CSV file whose column --label-column has the classes, instead: in the source (attributes.csv, say) or anywhere
    else. It has a column of file names, too."""
    label_column: str | None = None
    """Name of that column. Default: the only one, or the one named label or class; of attributes.csv where
    --labels-from is not given."""
    exclude: Path | None = None
    """List of images to leave out: a text file, one name a line, the reason behind a #. `stylegan look` writes one."""
    drop_duplicates: bool = False
    """Leave out images that are there twice, also in another size, quality or brightness, or mirrored; the largest
    stays. It takes a second look at every image."""
    allow_upscale: bool = False
    """Also take images that are smaller than the resolution, and enlarge them."""
    strict: bool = False
    """Refuse the whole source if any of its images cannot be used, instead of leaving those out."""
    limit: int | None = None
    """Largest number of images to train on: a random choice, the same for the same seed."""
    hold_out: int | float = 0
    """Number (1 or more) or share (below 1) of images kept apart, the last ones by name: training never sees
    them, and metrics compare with them."""
    own_split: bool = False
    """Hold out the images that the data set itself appoints for validation (FFHQ: the last 10,000, by its
    ffhq-dataset-v2.json). The paper trains on all of them."""
    seed: int = 0
    """Seed of the order in which the images are stored."""
    workers: int | None = None
    """Number of processes. Default: one for each core."""


def prepare(
    source: Path | str, store: Path | str, config: PrepareConfig | None = None, *, progress: bool = True
) -> PrepareReport:
    """Turn images into a store, with a progress bar on stderr.

    `source`: what `open_source` lists (a folder, a zip or tar file, TFRecords, LMDB), or a Hugging Face data set: a
    folder of parquet files or one that `save_to_disk` wrote, or `hf://datasets/USER/NAME`. The latter are first copied
    into one temporary file beside the store.

    The images are stored in a random order that depends only on the seed and on how many image files there are,
    so that "the first 50,000" is a random draw. Those held out lie in a store of their own within it, see
    `Store.held_out`.

    Raises InputError if an option is out of range, the source is missing or holds no usable image, the store
    exists already or cannot be written, or, with `strict`, if any image cannot be used; nothing is left behind.
    """
    config = config or PrepareConfig()
    start = time.perf_counter()
    _check_config(config)
    check_target(store)  # before the work, not after it
    with _opened(source, store, config, progress) as listing:
        if config.fit == "face" and any(getattr(item, "face", None) is None for item in listing.items):
            align.check()
        chosen = choose(listing, config.exclude, config.drop_duplicates, config.workers, progress)
        resolution, why = _resolution(chosen.source, config)
        written = _write_store(chosen, source, store, config, resolution, progress)
    skipped = sorted(written.skipped)
    total = written.count + written.held_out_count + len(skipped)
    remarks = [*why, *chosen.remarks, *summary(skipped, total, resolution, config.fit)]
    remarks += about_kept(written.cropped, written.label_counts, Path(store))
    return PrepareReport(
        path=Path(store),
        resolution=resolution,
        count=written.count,
        skipped=skipped,
        seconds=time.perf_counter() - start,
        labels=listing.about_labels,
        has_labels=listing.labels is not None,
        held_out_count=written.held_out_count,
        left_out=chosen.left_out,
        remarks=remarks,
    )


@contextlib.contextmanager
def _opened(source: Path | str, store: Path | str, config: PrepareConfig, progress: bool) -> Iterator[Source]:
    """The list of a source's images; where they are fetched first, they stay until the context ends."""
    from_table = config.labels_from is not None or config.label_column is not None
    classes = "none" if from_table else config.classes
    if not huggingface.is_dataset(source):
        listing = open_source(source, classes, every_column=not from_table, faces=config.fit == "face")
        yield _labeled(listing, source, config) if from_table else listing
        return
    if config.classes == "folders":
        raise InputError(f"{source} is a Hugging Face data set, which has no folders; use --classes auto or none")
    place = next(folder for folder in Path(store).resolve().parents if folder.is_dir())
    with tempfile.TemporaryDirectory(prefix=".stylegan-fetch-", dir=place) as scratch:
        fetch = _Fetch(Path(scratch), classes == "auto", config.limit, config.seed, progress)
        fetched = fetch(source) if huggingface.is_on_hub(source) else _fetch_apart(fetch, source)
        if isinstance(fetched, str):
            raise InputError(fetched)
        yield _labeled(fetched, source, config) if from_table else labels.described(fetched)


def _labeled(listing: Source, source: Path | str, config: PrepareConfig) -> Source:
    """The source with the labels of a table."""
    content, path = labels.read_table(source, listing, config.labels_from or labels.ATTRIBUTE_TABLE)
    return labels.from_table(listing, content, path, config.label_column)


def _fetch_apart(fetch: "_Fetch", source: Path | str) -> Source | str:
    """In a process of its own: pyarrow is native code, which damaged files can bring to its end."""
    with worker_processes(replace(fetch, memory=FETCH_MEMORY), 1) as (connection,):
        connection.send([source])
        try:
            return connection.recv()[0]
        except EOFError as error:
            raise InputError(
                f"{source} cannot be read: it is damaged, or a row in it takes too much memory; fetch it again"
            ) from error


def _resolution(source: Source, config: PrepareConfig) -> tuple[int, list[str]]:
    """The resolution asked for, or else that of the images, with a sentence that says why."""
    if config.resolution is not None:
        return config.resolution, []
    found = None if config.fit == "face" else proposal(source.items, config.fit, config.seed)
    return (LARGEST_PROPOSAL, []) if found is None else (found.resolution, [found.sentence])


@dataclass
class _Written:
    """What became of the images."""

    skipped: list[tuple[str, str]]
    """(name, reason) of those that could not be used."""
    count: int = 0
    held_out_count: int = 0
    cropped: list[float] = field(default_factory=list)
    """The share of each image that the crop took away."""
    names: list[str] = field(default_factory=list)
    """The names of the images that were stored."""
    label_counts: dict[str, int] = field(default_factory=dict)
    """How many images each class has."""


def _write_store(
    chosen: Chosen, source: Path | str, store: Path | str, config: PrepareConfig, resolution: int, progress: bool
) -> _Written:
    """Decode the images and write the store."""
    listing = chosen.source
    written = _Written(list(listing.rejected), label_counts=dict.fromkeys(listing.label_names, 0))
    skipped = written.skipped
    if config.strict and skipped:
        raise _refusal(source, skipped)

    made = {
        "source": listing.name,
        "fit": config.fit,
        "seed": config.seed,
        "limit": config.limit,
        "allow_upscale": config.allow_upscale,
        **({"pad": config.pad} if config.pad else {}),
        **chosen.record,
        "stylegan_version": __version__,
    }
    order, held_out = _order(listing, source, config)
    if held_out:
        made["hold_out"] = "own split" if config.own_split else config.hold_out
    items = [listing.items[i] for i in order]
    workers = worker_count(config.workers, len(items))
    image_bytes = resolution**2 * config.channels
    total = len(items) if config.limit is None else min(len(items), len(held_out) + config.limit)
    fitting = Fitting(resolution, config.fit, config.channels, config.allow_upscale, config.pad)
    kept = Kept()
    with (
        StoreWriter(
            store,
            resolution,
            config.channels,
            made=made,
            label_names=listing.label_names,
            attribute_names=listing.attribute_names,
        ) as writer,
        contextlib.closing(in_order(_Prepare(fitting), items, workers, image_bytes)) as results,
        tqdm(total=total, unit="image", desc="prepare", disable=None if progress else True) as bar,
    ):
        for i, item, result in zip(order, items, results, strict=False):
            if isinstance(result, str):
                skipped.append((printable(item.name), result))
                bar.set_postfix(skipped=len(skipped), refresh=False)
                if config.strict and len(skipped) == 5:
                    break
                continue
            label = listing.labels[i] if listing.labels is not None else None
            attributes = listing.attributes[i] if listing.attributes is not None else None
            writer.add(result.levels, item.name, label, attributes, held_out=i in held_out)
            written.names.append(item.name)
            if i not in held_out:
                kept.add(result.levels)
                if label is not None:
                    written.label_counts[listing.label_names[label]] += 1
            if config.fit == "crop":
                written.cropped.append(1 - min(result.size) ** 2 / (result.size[0] * result.size[1]))
            bar.update()
            if writer.count == config.limit:
                break
        if config.strict and skipped:
            raise _refusal(source, skipped)
        if writer.count == 0:
            ways = " ".join(summary(skipped, len(skipped), resolution, config.fit))
            raise InputError(f"{source} holds no usable image: {_list(skipped)}; {ways.rstrip('.')}")
        if held_out and not writer.held_out_count:
            raise InputError(f"none of the images to hold out can be used ({_list(skipped)}); hold out more")
        made["skipped"] = len(skipped)
        for name, page in kept.pages():
            writer.add_file(name, page)
        if listing.credits:
            writer.add_file("CREDITS.txt", ffhq.credits_of(listing, written.names))
    written.count, written.held_out_count = writer.count, writer.held_out_count
    return written


def _order(listing: Source, source: Path | str, config: PrepareConfig) -> tuple[list[int], set[int]]:
    """The numbers of the images as they are stored, and which of them are held out: these first, as a limit ends the
    rest."""
    order = np.random.RandomState(config.seed).permutation(len(listing.items)).tolist()
    if not config.own_split:
        held_out = _held_out(config.hold_out, [item.name for item in listing.items], source)
    elif listing.validation:
        held_out = {i for i, item in enumerate(listing.items) if item.name in listing.validation}
    else:
        raise InputError(f"{source} appoints no images for validation; leave out own_split, or use hold_out")
    return sorted(order, key=lambda i: i not in held_out), held_out


def _held_out(hold_out: int | float, names: Sequence[str], source: Path | str) -> set[int]:
    """Which of the images are held out: the last by name, so many or such a share of them (one at least)."""
    count = max(1, round(hold_out * len(names))) if 0 < hold_out < 1 else int(hold_out)
    if count >= len(names):
        raise InputError(f"{source} holds {len(names)} images, so {count} cannot be held out; hold out fewer")
    by_name = sorted(range(len(names)), key=names.__getitem__)
    return set(by_name[len(names) - count :])


def _check_hold_out(hold_out: int | float) -> None:
    if not (0 <= hold_out < 1 or (hold_out >= 1 and float(hold_out).is_integer())):  # nan is neither
        raise InputError(f"hold_out is {hold_out}; use a number of images, 1 or more, or a share of them, below 1")


def prepare_portraits(
    store: Path | str,
    *,
    count: int = 5000,
    hold_out: int | float = 0,
    resolution: int = 64,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> PrepareReport:
    """Render the built-in data set, procedural portraits with binary attributes, into a store.

    hold_out: how many of the last of them, or which share, training shall never see.

    Raises InputError if an option is out of range, or if the store exists already or cannot be written.
    """
    from stylegan.portraits.factors import ATTRIBUTES

    start = time.perf_counter()
    _check_numbers(resolution, seed, count=count, workers=workers)
    _check_hold_out(hold_out)
    names = [f"portrait-{seed}-{index:06d}" for index in range(count)]
    held_out = _held_out(hold_out, names, "the set")
    made = {"source": "portraits", "seed": seed, "skipped": 0, "stylegan_version": __version__}
    job = _Render(resolution, seed)
    with (
        StoreWriter(store, resolution, 3, made=made, attribute_names=ATTRIBUTES) as writer,
        contextlib.closing(in_order(job, range(count), worker_count(workers, count), resolution**2 * 3)) as results,
        tqdm(results, total=count, unit="image", desc="portraits", disable=None if progress else True) as bar,
    ):
        for index, (levels, attributes) in enumerate(bar):
            writer.add(levels, names[index], attributes=attributes, held_out=index in held_out)
    seconds = time.perf_counter() - start
    held_out_count = writer.held_out_count
    return PrepareReport(Path(store), resolution, writer.count, [], seconds, held_out_count=held_out_count)


def _check_config(config: PrepareConfig) -> None:
    resolution = LARGEST_PROPOSAL if config.resolution is None else config.resolution
    _check_numbers(resolution, config.seed, limit=config.limit, workers=config.workers)
    _check_hold_out(config.hold_out)
    if config.own_split and config.hold_out:
        raise InputError("hold_out and own_split both say what is held out; leave out one of them")
    if config.fit not in get_args(Fit):
        raise InputError(f"fit is {config.fit!r}; use one of: {', '.join(get_args(Fit))}")
    if config.channels not in (1, 3, 4):
        raise InputError(f"channels is {config.channels}; use 1 (gray), 3 (RGB) or 4 (RGBA)")
    if config.classes not in ("auto", "folders", "none"):
        raise InputError(f"classes is {config.classes!r}; use auto, folders or none")
    if config.classes != "auto" and (config.labels_from or config.label_column) is not None:
        raise InputError(f"classes come from {config.classes} or from a table; leave --classes or --labels-from out")
    if config.pad is not None:
        check_pad(config.pad)
        if config.fit != "pad":
            raise InputError(f"pad is for images that are padded, and fit is {config.fit}; give --fit pad too")


def _check_numbers(resolution: int, seed: int, **counts: int | None) -> None:
    """The part that both sources share; each of `counts` is None or at least 1."""
    check_resolution(resolution)
    if not 0 <= seed < 2**32:
        raise InputError(f"seed is {seed}; use 0 to {2**32 - 1}")
    for name, value in counts.items():
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; use 1 or more")


def _refusal(source: Path | str, skipped: list[tuple[str, str]]) -> InputError:
    return InputError(
        f"{source} holds images that cannot be used: {_list(skipped)}; mend or remove them, or leave them out by "
        "not giving --strict"
    )


def _list(skipped: list[tuple[str, str]], count: int = 5) -> str:
    more = f" and {len(skipped) - count} more" if len(skipped) > count else ""
    return ", ".join(f"{name} ({reason})" for name, reason in sorted(skipped)[:count]) + more


# --- What the workers do ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fetch:
    """The job of a worker: a Hugging Face data set to the list of its images, or to the reason why there is none."""

    scratch: Path
    with_labels: bool
    limit: int | None
    seed: int
    progress: bool
    memory: int | None = None
    """Largest size in bytes."""

    def __call__(self, source: Path | str) -> Source | str:
        if self.memory is not None:
            tqdm.set_lock(
                threading.RLock()
            )  # its own lock spans processes, and would be missed when this one is killed
            huggingface.bound_memory(self.memory)
        try:
            return huggingface.fetch(
                source,
                self.scratch,
                with_labels=self.with_labels,
                limit=self.limit,
                seed=self.seed,
                progress=self.progress,
            )
        except InputError as error:
            return str(error)


@dataclass(frozen=True)
class _Prepared:
    levels: dict[int, np.ndarray]
    """The pyramid."""
    size: tuple[int, int]
    """Width and height of the image before it became square."""


@dataclass(frozen=True)
class _Prepare:
    """The job of a worker: an item to its pyramid, or to the reason why it cannot be used."""

    fitting: Fitting

    def __call__(self, item: Item) -> _Prepared | str:
        try:
            data = item.read()
            return _Prepared(pyramid(decode(data, self.fitting, getattr(item, "face", None))), size_of(data))
        except Unusable as error:
            return str(error)


@dataclass(frozen=True)
class _Render:
    """The job of a worker: the number of a portrait to its pyramid and attributes."""

    resolution: int
    seed: int

    def __call__(self, index: int) -> tuple[dict[int, np.ndarray], np.ndarray]:
        from stylegan.portraits.factors import attributes, factors
        from stylegan.portraits.render import portrait

        levels = pyramid(portrait(index, self.resolution, self.seed))
        return levels, attributes(factors(index, self.seed))
