"""From any source of images to a store: every image is decoded, checked, fitted and box-filtered once, here.

The work is done by worker processes, the writing by this one. Workers import this module, so it stays light: it
must not import torch.
"""

import contextlib
import io
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import struct
import sys
import time
import types
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError
from tqdm import tqdm

from stylegan import __version__
from stylegan.data.sources import Classes, Item, Unusable, open_source
from stylegan.data.store import StoreWriter, box_sum, check_resolution, check_target, pyramid
from stylegan.errors import InputError

Task, Result = TypeVar("Task"), TypeVar("Result")

# Pillow's remarks on odd files: to whoever listens to that logger, not to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())

MAX_PIXELS = 178_956_970  # of an image: 0.5 GiB of RGB; more is taken for a decompression bomb


@dataclass(frozen=True)
class PrepareConfig:
    """What `stylegan prepare` makes of a source."""

    resolution: int = 256
    """Width and height of the prepared images in pixels: a power of two from 4 to 1024."""
    fit: Literal["crop", "pad", "wide", "stretch"] = "crop"
    """How an image becomes square: crop its centre, pad it with black, crop it to 4:3 and pad that above and below
    (wide, for LSUN Car; what is wider than 4:3 is left out), or stretch it."""
    channels: Literal[1, 3, 4] = 3
    """1 greyscale, 3 RGB, 4 RGB and alpha. With 1 and 3, transparent parts become white."""
    classes: Classes = "auto"
    """Class labels: auto (from dataset.json, where there is one), folders (sub-folders are classes), none."""
    allow_upscale: bool = False
    """Also take images that are smaller than the resolution, and enlarge them."""
    strict: bool = False
    """Refuse the whole source if any of its images cannot be used, instead of leaving those out."""
    limit: int | None = None
    """Take at most so many images: a random choice, the same for the same seed."""
    seed: int = 0
    """Seed of the order in which the images are stored."""
    workers: int | None = None
    """Number of processes; by default one for each core."""


@dataclass(frozen=True)
class PrepareReport:
    """What came of it."""

    path: Path
    """The store."""
    count: int
    """Images in the store."""
    skipped: list[tuple[str, str]]
    """(name, reason) of everything that could not be used, sorted by name."""
    seconds: float
    """How long it took."""


def prepare(
    source: Path | str, store: Path | str, config: PrepareConfig | None = None, *, progress: bool = True
) -> PrepareReport:
    """Turn a folder or zip file of images into a store, with a progress bar on stderr.

    The images are stored in a random order that depends only on the seed and on how many image files there are,
    so that "the first 50,000" is a random draw.

    Raises InputError if an option is out of range, the source is missing or holds no usable image, the store
    exists already or cannot be written, or, with `strict`, if any image cannot be used; nothing is left behind.
    """
    config = config or PrepareConfig()
    start = time.perf_counter()
    _check_config(config)
    check_target(store)  # before the work, not after it
    listing = open_source(source, config.classes)
    skipped = list(listing.rejected)
    if config.strict and skipped:
        raise _refusal(source, skipped)

    made = {
        "source": listing.name,
        "fit": config.fit,
        "seed": config.seed,
        "limit": config.limit,
        "allow_upscale": config.allow_upscale,
        "stylegan_version": __version__,
    }
    order = np.random.RandomState(config.seed).permutation(len(listing.items))
    items = [listing.items[i] for i in order]
    workers = _worker_count(config.workers, len(items))
    image_bytes = config.resolution**2 * config.channels
    with (
        StoreWriter(store, config.resolution, config.channels, made=made, label_names=listing.label_names) as writer,
        contextlib.closing(in_order(_Prepare(config), items, workers, image_bytes)) as results,
        tqdm(total=config.limit or len(items), unit="image", desc="prepare", disable=None if progress else True) as bar,
    ):
        for i, item, result in zip(order, items, results, strict=False):
            if isinstance(result, str):
                skipped.append((item.name, result))
                bar.set_postfix(skipped=len(skipped), refresh=False)
                if config.strict and len(skipped) == 5:
                    break
                continue
            writer.add(result, item.name, listing.labels[i] if listing.labels is not None else None)
            bar.update()
            if writer.count == config.limit:
                break
        if config.strict and skipped:
            raise _refusal(source, skipped)
        if writer.count == 0:
            raise InputError(f"{source} holds no usable image: {_list(skipped)}")
        made["skipped"] = len(skipped)
    return PrepareReport(Path(store), writer.count, sorted(skipped), time.perf_counter() - start)


def prepare_portraits(
    store: Path | str,
    *,
    count: int = 5000,
    resolution: int = 64,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> PrepareReport:
    """Render the built-in data set, procedural portraits with binary attributes, into a store.

    Raises InputError if an option is out of range, or if the store exists already or cannot be written.
    """
    from stylegan.data.portraits import ATTRIBUTES

    start = time.perf_counter()
    _check_numbers(resolution, seed, count=count, workers=workers)
    made = {"source": "portraits", "seed": seed, "skipped": 0, "stylegan_version": __version__}
    job = _Render(resolution, seed)
    with (
        StoreWriter(store, resolution, 3, made=made, attribute_names=ATTRIBUTES) as writer,
        contextlib.closing(in_order(job, range(count), _worker_count(workers, count), resolution**2 * 3)) as results,
        tqdm(results, total=count, unit="image", desc="portraits", disable=None if progress else True) as bar,
    ):
        for index, (levels, attributes) in enumerate(bar):
            writer.add(levels, f"portrait-{seed}-{index:06d}", attributes=attributes)
    return PrepareReport(Path(store), count, [], time.perf_counter() - start)


def _check_config(config: PrepareConfig) -> None:
    _check_numbers(config.resolution, config.seed, limit=config.limit, workers=config.workers)
    if config.fit not in ("crop", "pad", "wide", "stretch"):
        raise InputError(f"fit is {config.fit!r}; use crop, pad, wide or stretch")
    if config.channels not in (1, 3, 4):
        raise InputError(f"channels is {config.channels}; use 1 (grey), 3 (RGB) or 4 (RGBA)")
    if config.classes not in ("auto", "folders", "none"):
        raise InputError(f"classes is {config.classes!r}; use auto, folders or none")


def _check_numbers(resolution: int, seed: int, **counts: int | None) -> None:
    """What both sources share; each of `counts` is None or at least 1."""
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


# --- One image ---------------------------------------------------------------------------------

# Formats that are decoded. Pillow knows more, but some run other programs (EPS), and some take any bytes (TGA).
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "AVIF", "BMP", "DIB", "GIF", "TIFF", "JPEG2000", "PPM")
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8", b"II*\0", b"MM\0*", b"BM")

# What Pillow's decoders raise on damaged files. It is long because they parse untrusted bytes with unpack, indexing
# and arithmetic, and let what that raises through.
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    EOFError,
    OverflowError,
    ZeroDivisionError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
)

_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, config: PrepareConfig) -> np.ndarray:
    """Turn an image file's bytes into uint8 [R, R, C] as `config` asks. Raises Unusable with the reason."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd metadata; what matters is checked here
        image = _open(data, config)
        profile = image.info.get("icc_profile")
        try:
            orientation = image.getexif().get(ExifTags.Base.Orientation)
        except DECODE_ERRORS:  # broken metadata of a sound image
            orientation = None
        if orientation in _ORIENTATIONS:
            image = image.transpose(_ORIENTATIONS[orientation])
        image = _to_eight_bits(image)
        image = _fit(image, config)
        image = _to_srgb(image, profile)
        return _to_array(image, config)


def _open(data: bytes, config: PrepareConfig) -> Image.Image:
    """Check what the header says, then decode the pixels."""
    if not data:
        raise Unusable("empty (zero bytes)")
    Image.init()  # registers the formats; does nothing the second time
    try:
        image = Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])
        frames = getattr(image, "n_frames", 1)
    except UnidentifiedImageError as error:
        known = data.startswith(_SIGNATURES) or data[4:12] == b"ftypavif"
        raise Unusable("damaged or truncated" if known else "not an image of a known format") from error
    except Image.DecompressionBombError as error:
        raise Unusable(f"decompression bomb: more than {MAX_PIXELS:,} pixels") from error
    except DECODE_ERRORS as error:
        raise Unusable(_damage(error)) from error

    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Unusable(f"decompression bomb: {width} x {height} pixels")
    if frames > 1 and image.format != "MPO":  # a phone's JPEG file: the picture, then its preview or depth
        raise Unusable(f"animated or of several pages ({frames} frames)")
    used_side = max(width, height) if config.fit in ("pad", "wide") else min(width, height)
    if used_side < config.resolution and not config.allow_upscale:
        raise Unusable(f"too small: {width} x {height}")
    try:
        image.load()
    except DECODE_ERRORS as error:
        raise Unusable(_damage(error)) from error
    return image


def _damage(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "too large for the memory"
    text = str(error).split("\n")[0]
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return "truncated"
    return f"damaged or truncated: {text or type(error).__name__}"


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Convert whatever a file may hold to L, RGB, RGBA or CMYK. Raises Unusable for what has no plain meaning."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image)
        low, high = values.min(), values.max()
        if low < 0 or high > 65_535:
            raise Unusable(f"integers from {low} to {high}, neither 8 nor 16 bits")
        values = (values.astype(np.uint32) * 255 + 32_767) // 65_535  # v / 257, rounded
        return Image.fromarray(values.astype(np.uint8))
    if image.mode == "F":
        values = np.asarray(image)
        low, high = values.min(), values.max()
        if not (low >= 0 and high <= 255):  # NaN too
            raise Unusable(f"floating-point values from {low:g} to {high:g}, neither [0, 1] nor [0, 255]")
        return Image.fromarray(np.rint(values * 255 if high <= 1 else values).astype(np.uint8))
    if image.mode == "LAB":
        return _lab_transform().apply(image)
    if image.mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA") and image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode in ("L", "RGB", "CMYK"):
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("P", "RGBX", "YCbCr", "HSV"):
        return image.convert("RGB")
    raise Unusable(f"unsupported mode {image.mode}")


def _fit(image: Image.Image, config: PrepareConfig) -> Image.Image:
    """Scale to R x R; for "pad", so that the longer side is R; for "wide", to R x 3/4 R."""
    width, height = image.size
    resolution = config.resolution
    if config.fit == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return _resize(image.crop((left, top, left + side, top + side)), resolution, resolution)
    if config.fit == "pad":
        side = max(width, height)
        return _resize(image, max(1, round(width * resolution / side)), max(1, round(height * resolution / side)))
    if config.fit == "wide":
        if width < resolution and not config.allow_upscale:
            raise Unusable(f"too small: {width} x {height}")
        rows = round(width * 3 / 4)
        if height < rows:
            raise Unusable(f"wider than 4 to 3: {width} x {height}")
        top = (height - rows) // 2
        return _resize(image.crop((0, top, width, top + rows)), resolution, resolution * 3 // 4)
    return _resize(image, resolution, resolution)


def _resize(image: Image.Image, width: int, height: int) -> Image.Image:
    """Box filter where it divides evenly (then it equals the store's own pyramid), else Lanczos.

    Pillow resizes images with alpha with premultiplied colours, so nothing leaks from transparent pixels.
    """
    if image.size == (width, height):
        return image
    if image.width % width or image.height % height:
        # The gap: far larger images are box-filtered to more than 4 times the size first. A photograph changes by
        # at most 2 of 255 and takes a third of the time.
        return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=4)
    if image.mode == "RGBA":
        return image.resize((width, height), Image.Resampling.BOX)
    rows, columns = image.height // height, image.width // width
    means = box_sum(np.atleast_3d(np.asarray(image)), rows, columns) / (rows * columns)
    return Image.frombytes(image.mode, (width, height), np.rint(means).astype(np.uint8).tobytes())


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert L, RGB, RGBA or CMYK to sRGB by the colour profile that came with the image; L may stay L."""
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    colour = image.convert("RGB") if alpha is not None else image
    transform = _srgb_transform(profile, colour.mode) if profile else None
    if transform is not None:
        colour = transform.apply(colour)
    elif colour.mode == "CMYK":
        colour = colour.convert("RGB")
    if alpha is not None:
        colour.putalpha(alpha)
    return colour


@lru_cache(maxsize=16)
def _srgb_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from a colour profile to sRGB; None where it is broken, of other channels, or sRGB itself."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if ImageCms.getProfileDescription(source).startswith("sRGB"):
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


@lru_cache(maxsize=1)
def _lab_transform() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")


def _to_array(image: Image.Image, config: PrepareConfig) -> np.ndarray:
    """Reduce to the channels asked for, on the padding where there is one."""
    if image.mode == "RGBA" and config.channels != 4:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[config.channels]
    image = image.convert(mode)
    resolution = config.resolution
    if image.size != (resolution, resolution):
        canvas = Image.new(mode, (resolution, resolution))  # black; transparent, where there is alpha
        canvas.paste(image, ((resolution - image.width) // 2, (resolution - image.height) // 2))
        image = canvas
    return np.asarray(image).reshape(resolution, resolution, config.channels)


# --- Worker processes --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Prepare:
    """The job of a worker: an item to its pyramid, or to the reason why it cannot be used."""

    config: PrepareConfig

    def __call__(self, item: Item) -> dict[int, np.ndarray] | str:
        try:
            return pyramid(decode(item.read(), self.config))
        except Unusable as error:
            return str(error)


@dataclass(frozen=True)
class _Render:
    """The job of a worker: the number of a portrait to its pyramid and attributes."""

    resolution: int
    seed: int

    def __call__(self, index: int) -> tuple[dict[int, np.ndarray], np.ndarray]:
        from stylegan.data.portraits import attributes, factors, portrait

        levels = pyramid(portrait(index, self.resolution, self.seed))
        return levels, attributes(factors(index, self.seed))


def _worker_count(requested: int | None, tasks: int) -> int:
    """As many as asked for or as there are cores; fewer where starting them would take longer than the work."""
    if requested is None:
        requested = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(requested, tasks // 16))


def in_order(job: Callable[[Task], Result], tasks: Sequence[Task], workers: int, result_bytes: int) -> Iterator[Result]:
    """Yield job(task) for every task, in order, computed by `workers` processes (1: by this one).

    Only a bounded number of tasks is begun before their results are wanted, so memory stays bounded too:
    `result_bytes` is about the size of a result. Closing the iterator ends the processes.
    """
    if workers == 1:
        yield from map(job, tasks)
        return
    size = max(1, min(32, 2**22 // result_bytes, len(tasks) // (4 * workers)))
    chunks = [tasks[i : i + size] for i in range(0, len(tasks), size)]
    with _worker_processes(job, workers) as idle:
        running: dict[multiprocessing.connection.Connection, int] = {}
        finished: dict[int, list[Result]] = {}
        begun = yielded = 0  # chunks
        while yielded < len(chunks):
            # A worker gets a chunk only when it waits for one, so neither side ever blocks on a full pipe.
            while idle and begun < min(len(chunks), yielded + 4 * workers):
                connection = idle.pop()
                connection.send(chunks[begun])
                running[connection] = begun
                begun += 1
            for connection in multiprocessing.connection.wait(
                list(running), timeout=0 if yielded in finished else None
            ):
                finished[running.pop(connection)] = connection.recv()
                idle.append(connection)
            if yielded in finished:
                yield from finished.pop(yielded)
                yielded += 1


@contextlib.contextmanager
def _worker_processes(job: Callable, count: int) -> Iterator[list[multiprocessing.connection.Connection]]:
    """Start processes that answer lists of tasks with lists of results; they end with the context."""
    context = multiprocessing.get_context("spawn")  # a fork would inherit the locks of torch's threads
    processes, connections = [], []
    try:
        with _starting():
            for _ in range(count):
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, job), daemon=True)
                process.start()
                theirs.close()
                processes.append(process)
                connections.append(ours)
        yield list(connections)
    except (EOFError, ConnectionError) as error:
        raise RuntimeError(
            "a worker process ended unexpectedly: its error is printed above, or the memory ran out "
            "(fewer workers need less)"
        ) from error
    finally:
        for process in processes:
            process.kill()  # they hold nothing that needs tidying up
        for process in processes:
            process.join()
            process.close()
        for connection in connections:
            connection.close()


@contextlib.contextmanager
def _starting() -> Iterator[None]:
    """While processes start: keep Ctrl-C for this process, and the user's script to itself.

    A new process imports the main script again, which would run it again unless it is guarded by
    `if __name__ == "__main__"`; the jobs here need nothing of it, so it is put out of sight.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    if hasattr(signal, "pthread_sigmask"):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # new processes inherit it
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(connection: multiprocessing.connection.Connection, job: Callable) -> None:
    """The life of a worker process; it ends when the other side is gone, however that went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # libtiff prints about damaged files straight to file 2; Python's own errors keep the way they had.
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    while True:
        try:
            tasks = connection.recv()
        except (EOFError, ConnectionError):
            return
        results = [job(task) for task in tasks]
        try:
            connection.send(results)
        except ConnectionError:
            return
