"""Damaged and hostile data: random byte flips and truncations of stores and of every kind of source.

    python benchmarks/fuzz_data.py [--flips 10000] [--seed 0] [KIND ...]

Whatever is done to a file, reading it must end within 10 s and below 2 GB, in a sentence (InputError), in items
rejected with a reason, or in success; nothing else may be raised. Prints what came of it. A smaller round is in
tests/test_hostile_data.py.
"""

import argparse
import io
import json
import shutil
import signal
import struct
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from stylegan.data import huggingface
from stylegan.data.decoding import decode_rgb
from stylegan.data.items import FileItem, Source, Unusable
from stylegan.data.pyramid import pyramid
from stylegan.data.sources import open_source
from stylegan.data.store import open_store
from stylegan.data.store_writer import StoreWriter
from stylegan.data.tfrecords import masked_crc32c
from stylegan.errors import InputError

COUNT = 6
MOST_SECONDS, MOST_BYTES = 10, 2 * 10**9
IMAGES = np.random.RandomState(0).randint(0, 256, (COUNT, 8, 8, 3)).astype(np.uint8)
PIXELS = {image.tobytes() for image in IMAGES}


def encode(image: np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


# --- a small sound data set of each kind, in a folder of its own; returns what is to be opened


def make_store(folder: Path) -> Path:
    path = folder / "store"
    with StoreWriter(path, 8, 3, made={}, label_names=["a", "b"], attribute_names=["x", "y", "z"]) as writer:
        for i, image in enumerate(IMAGES):
            writer.add(pyramid(image), f"{i}.png", i % 2, np.array([i % 2, i % 3, 1], bool))
    return path


def make_zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        labels = [[f"images/{i}.png", i % 2] for i in range(COUNT)]
        archive.writestr("dataset.json", json.dumps({"labels": labels}))
        for i, image in enumerate(IMAGES):
            kind = zipfile.ZIP_STORED if i % 2 else zipfile.ZIP_DEFLATED
            archive.writestr(f"images/{i}.png", encode(image), kind)
    return folder / "x.zip"


def make_tfrecords(folder: Path) -> Path:
    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2]) + (bytes([len(content) & 0x7F | 0x80, len(content) >> 7])) + content

    def record(image: np.ndarray) -> bytes:
        shape = field(1, b"shape") + field(2, field(3, field(1, bytes([3, 8, 8]))))
        pixels = field(1, b"data") + field(2, field(1, field(1, image.transpose(2, 0, 1).tobytes())))
        example = field(1, field(1, shape) + field(1, pixels))
        length = struct.pack("<Q", len(example))
        return b"".join(part + struct.pack("<I", masked_crc32c(part)) for part in (length, example))

    (folder / "x").mkdir()
    (folder / "x/x-r03.tfrecords").write_bytes(b"".join(map(record, IMAGES)))
    with (folder / "x/x-rxx.labels").open("wb") as file:
        np.save(file, np.eye(2, dtype=np.float32)[np.arange(COUNT) % 2])
    return folder / "x"


def make_tar(folder: Path) -> Path:
    with tarfile.open(folder / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for i, image in enumerate(IMAGES):
            long_name = "é" * 60 if i % 3 == 2 else ""  # makes a header of its own
            for name, data in ((f"{i}{long_name}.png", encode(image)), (f"{i}{long_name}.cls", b"%d" % (i % 2))):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return folder / "x.tar"


def make_lmdb(folder: Path) -> Path:
    import lmdb

    with lmdb.open(str(folder / "x"), map_size=2**20) as database, database.begin(write=True) as transaction:
        for i, image in enumerate(IMAGES):
            transaction.put(b"%040d" % i, encode(image))
            transaction.put(b"%040d" % (i + COUNT), encode(image) + bytes(4000))
    (folder / "x/lock.mdb").unlink()
    return folder / "x"


def _table():
    import pyarrow as pa

    features = {"image": {"_type": "Image"}, "label": {"names": ["a", "b"], "_type": "ClassLabel"}}
    rows = [{"bytes": encode(image), "path": f"{i}.png"} for i, image in enumerate(IMAGES)]
    table = pa.table({"image": rows, "label": pa.array(np.arange(COUNT) % 2)})
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def make_parquet(folder: Path) -> Path:
    import pyarrow.parquet as pq

    pq.write_table(_table(), folder / "x.parquet", row_group_size=3)
    return folder / "x.parquet"


def make_arrow(folder: Path) -> Path:
    import pyarrow as pa

    table = _table()
    with pa.OSFile(str(folder / "x.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    return folder / "x.arrow"


def make_images(folder: Path) -> Path:
    """One image file of each format that is decoded."""
    Image.init()
    large = np.kron(IMAGES[0], np.ones((3, 3, 1), np.uint8))
    options = {"PNG": {"icc_profile": b"x" * 200, "exif": _exif()}, "JPEG": {"exif": _exif()}, "TIFF": {}}
    options |= {"WEBP": {"lossless": True}, "GIF": {}, "BMP": {}, "JPEG2000": {}, "PPM": {}, "AVIF": {}}
    (folder / "x").mkdir()
    for kind, chosen in options.items():
        if kind in Image.SAVE:
            (folder / f"x/{kind}.{'jp2' if kind == 'JPEG2000' else kind.lower()}").write_bytes(
                encode(large, kind, **chosen)
            )
    Image.fromarray(large[:, :, 0].astype(np.uint16) * 257).save(folder / "x/16.tif", compression="tiff_deflate")
    Image.fromarray(large).save(folder / "x/progressive.jpg", progressive=True)
    return folder / "x"


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


MAKERS: dict[str, Callable[[Path], Path]] = {
    "store": make_store,
    "zip": make_zip,
    "tfrecords": make_tfrecords,
    "tar": make_tar,
    "lmdb": make_lmdb,
    "parquet": make_parquet,
    "arrow": make_arrow,
    "images": make_images,
}
CHECKED = ("zip", "tfrecords")  # formats with checksums: no changed pixel may pass


# --- reading it


def read(kind: str, path: Path, scratch: Path) -> str:
    """Read everything as training or `prepare` would. Returns "sound", "skipped" (in part) or "refused"."""
    try:
        if kind == "store":
            store = open_store(path)
            _ = store.names, [store.images(resolution).sum() for resolution in store.resolutions]
            _ = None if store.labels is None else [store.label_names[label] for label in store.labels]
            _ = None if store.attributes is None else store.attributes.sum()
            return "sound"
        if kind == "images":  # only the file that was changed: the others' formats are tried in their turn
            changed = max(path.iterdir(), key=lambda file: file.stat().st_mtime_ns)
            source = Source(path.name, [FileItem(changed.name, str(path))], [])
        elif kind in ("parquet", "arrow"):
            source = huggingface.fetch(path, scratch, progress=False)
        else:
            source = open_source(path)
    except InputError as error:
        assert str(error) and "\n" not in str(error), error
        return "refused"
    rejected = list(source.rejected)
    for item in source.items:
        try:
            pixels = decode_rgb(item.read())
        except Unusable as error:
            rejected.append((item.name, str(error)))
        else:
            assert kind not in CHECKED or pixels.tobytes() in PIXELS, "changed pixels were taken"
    assert all(reason and "\n" not in reason for _, reason in rejected), rejected
    return "skipped" if rejected else "sound"


@contextmanager
def in_time() -> Iterator[None]:
    """Raise TimeoutError after ten seconds."""

    def late(*_) -> None:
        raise TimeoutError(f"longer than {MOST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(MOST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# --- damaging it


def flipped(data: bytes, random: np.random.RandomState) -> bytes:
    """One byte of it replaced, or up to eight; more often towards its ends, where headers lie."""
    damaged = bytearray(data)
    for _ in range(random.choice([1, 1, random.randint(2, 9)])):
        place = random.randint(len(data))
        if random.rand() < 0.3:
            place = min(place, random.randint(200)) if random.rand() < 0.5 else len(data) - 1 - random.randint(200)
        damaged[max(0, min(place, len(data) - 1))] = random.choice([random.randint(256), 0, 255, 127, 128])
    return bytes(damaged)


def fuzz(kind: str, folder: Path, flips: int, seed: int = 0, truncations: int = 100) -> Counter:
    """Damage a data set of one kind in `folder`, again and again, and read it. Returns how often what came of it.

    Raises whatever else than InputError reading raises, with a note that names the damage.
    """
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on
    before = peak_memory()
    random = np.random.RandomState(seed)
    scratch = folder / "scratch"
    scratch.mkdir()
    path = MAKERS[kind](folder)
    files = sorted(path.rglob("*.*")) if path.is_dir() else [path]
    sound = {file: file.read_bytes() for file in files}
    if kind != "images":
        assert read(kind, path, scratch) == "sound"
    outcomes: Counter = Counter()

    def trial(file: Path, data: bytes, what: str) -> None:
        file.write_bytes(data)
        try:
            with in_time():
                outcomes[f"{what}, {read(kind, path, scratch)}"] += 1
        except BaseException as error:
            kept = Path(tempfile.gettempdir()) / f"fuzz-{kind}-{file.name}"
            kept.write_bytes(data)
            error.add_note(f"{kind}: {file.name} {what}; kept as {kept}")
            raise
        file.write_bytes(sound[file])

    for number in range(flips):
        file = files[number % len(files)]
        trial(file, flipped(sound[file], random), "flipped")
    for file in files:
        for percent in range(truncations):
            trial(file, sound[file][: len(sound[file]) * percent // truncations], "truncated")
    assert peak_memory() - before < MOST_BYTES, f"{peak_memory()} bytes of memory"
    return outcomes


def peak_memory() -> int:
    """The most bytes that this process has had in use."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=list(MAKERS), metavar="KIND")
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for kind in arguments.kinds:
        start = time.perf_counter()
        folder = Path(tempfile.mkdtemp())
        try:
            outcomes = fuzz(kind, folder, arguments.flips, arguments.seed)
        finally:
            shutil.rmtree(folder)
        counts = "; ".join(f"{what} {count}" for what, count in sorted(outcomes.items()))
        seconds = time.perf_counter() - start
        print(f"{kind}: {counts}; {seconds:.0f} s, at most {peak_memory() / 2**20:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
