"""Damaged and hostile data: one sentence or a skipped record; never a crash, a hang, much memory, a file elsewhere."""

import io
import json
import os
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import fuzz_data
import numpy as np
import pytest
from conftest import of_earlier_version
from fuzz_data import COUNT, IMAGES, encode

from stylegan.data import huggingface, lmdb, tfrecords
from stylegan.data.items import MAX_FILE_BYTES, Unusable
from stylegan.data.prepare import PrepareConfig, prepare
from stylegan.data.sources import open_source
from stylegan.data.store import open_store
from stylegan.data.tfrecords import masked_crc32c
from stylegan.errors import InputError

# --- at random; benchmarks/fuzz_data.py goes on for longer


@pytest.mark.parametrize("kind", fuzz_data.MAKERS)
def test_random_damage(tmp_path, kind, capfd):
    outcomes = fuzz_data.fuzz(kind, tmp_path, flips=100, truncations=20 if kind in ("store", "images") else 100)
    assert sum(outcomes.values()) - outcomes["flipped, sound"] - outcomes["truncated, sound"] > 80
    assert {path.name for path in tmp_path.iterdir()} <= {
        "scratch",
        "store",
        "x",
        "x.zip",
        "x.tar",
        "x.parquet",
        "x.arrow",
    }


@pytest.mark.parametrize("kind", fuzz_data.CHECKED)
def test_checksums_notice_every_changed_pixel(tmp_path, kind):
    """The fuzz round asserts it; here it is seen to be able to."""
    fuzz_data.make_zip(tmp_path) if kind == "zip" else fuzz_data.make_tfrecords(tmp_path)
    path = tmp_path / ("x.zip" if kind == "zip" else "x/x-r03.tfrecords")
    data = bytearray(path.read_bytes())
    data[data.index(IMAGES[1][0].tobytes() if kind == "zip" else IMAGES[1].transpose(2, 0, 1)[0].tobytes())] ^= 1
    path.write_bytes(data)
    rejected = []
    for item in open_source(path).items:
        try:
            item.read()
        except Unusable as error:
            rejected.append(str(error))
    assert rejected == ["damaged zip entry: bad checksum (CRC)" if kind == "zip" else "bad checksum"]


# --- stores


def npy(shape: str, descr: str = "'|u1'") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(300)


def edit(store: Path, **fields) -> None:
    description = json.loads((store / "dataset.json").read_text())
    (store / "dataset.json").write_text(json.dumps(description | fields))


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


STORES = {
    "huge shape": (lambda s: (s / "images-0004.npy").write_bytes(npy("(4611686018427387904, 4, 4, 3)")), "images-0004"),
    "overflowing": (lambda s: (s / "images-0004.npy").write_bytes(npy(f"({2**40}, {2**40}, 4, 3)")), "images-0004"),
    "negative": (lambda s: (s / "images-0004.npy").write_bytes(npy("(-6, 4, 4, 3)")), "images-0004"),
    "huge number": (lambda s: (s / "images-0004.npy").write_bytes(npy("(" + "9" * 99 + ",)")), "images-0004"),
    "nested header": (lambda s: (s / "images-0004.npy").write_bytes(npy("(" * 60 + ")" * 40)), "images-0004"),
    "objects": (lambda s: (s / "labels.npy").write_bytes(npy("(6,)", "'|O'")), "labels.npy: it is cut short or no"),
    "huge count": (lambda s: edit(s, count=10**30), "images-0004.npy: it holds"),
    "names that are none": (lambda s: edit(s, label_names=[1, None]), "'label_names' holds something else than names"),
    "pipe for pixels": (lambda s: replace_by_pipe(s / "images-0008.npy"), "images-0008.npy: it is no file"),
    "pipe for text": (lambda s: replace_by_pipe(s / "dataset.json"), "dataset.json: it is no file"),
    "large text": (lambda s: (s / "dataset.json").write_bytes(b"[" + b"[]," * 6_000_000), "more than 16 MiB"),
    "class too high": (
        lambda s: np.save(of_earlier_version(s) / "labels.npy", np.arange(6)),
        "other class numbers than 0 to 1",
    ),
    "class below 0": (
        lambda s: np.save(of_earlier_version(s) / "labels.npy", np.arange(6) % 2 - 1),
        "other class numbers than 0 to 1",
    ),
    "odd attributes": (
        lambda s: (of_earlier_version(s) / "attributes.npy").write_bytes(
            (s / "attributes.npy").read_bytes()[:-1] + b"\x07"
        ),
        "attributes.npy: it holds other bytes than 0 and 1",
    ),
}


@pytest.mark.parametrize("damage, message", STORES.values(), ids=STORES.keys())
def test_stores(tmp_path, damage, message):
    store = fuzz_data.make_store(tmp_path)
    damage(store)
    with fuzz_data.in_time(), pytest.raises(InputError, match=message):
        open_store(store)


def test_a_store_in_which_names_are_a_pipe_or_too_few(tmp_path):
    store = fuzz_data.make_store(tmp_path)
    (store / "names.txt").write_bytes(b"\n" * 7)
    with pytest.raises(InputError, match="7 names instead of 6"):
        _ = open_store(store).names
    replace_by_pipe(store / "names.txt")
    with fuzz_data.in_time(), pytest.raises(InputError, match=r"names.txt"):
        open_store(store)


# --- zip files


def test_zip_members_that_share_their_bytes(tmp_path):
    """The bomb without recursion: a thousand entries of one large member."""
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0000.png", bytes(10**6))
        (first,) = archive.filelist
        for i in range(1, 1000):
            member = zipfile.ZipInfo(f"{i:04d}.png")
            for field in ("header_offset", "compress_size", "file_size", "CRC", "compress_type"):
                setattr(member, field, getattr(first, field))
            archive.filelist.append(member)
    with pytest.raises(InputError, match=r"holds no image file \(0000.png: damaged zip entry: overlaps another"):
        open_source(path)


def test_zip_members_larger_than_they_say(tmp_path, monkeypatch):
    path = tmp_path / "x.zip"
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = packed.compress(bytes(64 * 2**20)) + packed.flush()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(64 * 2**20))
        archive.writestr("ok.png", encode(IMAGES[0]))
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 100)
    path.write_bytes(data)
    asked = []
    real = zlib.decompressobj

    class Watched:
        def __init__(self, *options):
            self.real = real(*options)

        def decompress(self, data, most):
            asked.append(most)
            return self.real.decompress(data, most)

    monkeypatch.setattr("stylegan.data.sources.zlib.decompressobj", Watched)
    assert len(zeros) < 10**5
    report = prepare(path, tmp_path / "store", PrepareConfig(resolution=8), progress=False)
    assert report.skipped == [("a.png", "damaged zip entry: holds more than it declares")]
    assert max(asked) < 1000  # it is not unpacked first and measured then


def test_documents_in_zips_are_bounded(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("dataset.json", b"[" * (65 * 2**20))
        archive.writestr("a.png", encode(IMAGES[0]))
    with pytest.raises(InputError, match=r"the dataset.json in .* cannot be read \(too large: 65 MiB\)"):
        open_source(tmp_path / "x.zip")


# --- TFRecords


def record(data: bytes, length: int | None = None) -> bytes:
    header = struct.pack("<Q", len(data) if length is None else length)
    return b"".join(part + struct.pack("<I", masked_crc32c(part)) for part in (header, data))


def message(number: int, content: bytes) -> bytes:
    size = len(content)
    varint = bytearray()
    while size > 127:
        varint.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2]) + bytes(varint) + bytes([size]) + content


def example(shape: bytes, pixels: bytes) -> bytes:
    fields = {b"shape": message(3, message(1, shape)), b"data": message(1, message(1, pixels))}
    entries = [message(1, message(1, key) + message(2, value)) for key, value in fields.items()]
    return message(1, b"".join(entries))


@pytest.mark.parametrize(
    "data, reason",
    [
        (record(b"x", 2**63), "truncated"),
        (record(b"x", 2**64 - 1), "truncated"),
        (record(b""), "empty"),
        (b"\xff" * 40, "damaged length"),
        (b"", ""),
    ],
)
def test_tfrecord_lengths(tmp_path, data, reason):
    (tmp_path / "x.tfrecords").write_bytes(data)
    with pytest.raises(InputError, match=rf"holds no image.*{reason}"):
        open_source(tmp_path)


def test_a_record_too_large_to_be_an_image(tmp_path):
    with (tmp_path / "x.tfrecords").open("wb") as file:
        file.write(record(b"", MAX_FILE_BYTES + 1)[:12])
        file.truncate(MAX_FILE_BYTES + 1 + 16)  # sparse: takes no room
    with fuzz_data.in_time(), pytest.raises(InputError, match="too large: 256 MiB"):
        open_source(tmp_path)


def test_a_file_of_nothing_but_empty_records(tmp_path):
    (tmp_path / "x.tfrecords").write_bytes(record(b"") * 50_000)
    with pytest.raises(InputError, match="more than 10000 damaged records"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 30,
        message(1, message(1, b"\x80" * 20)),
        example(b"\x03\x08", bytes(192)),
        example(b"\x03\x08\x08", bytes(191)),
        example(b"\x00\x08\x08", b""),
        example(b"\x02\x08\x08", bytes(128)),
        example(b"\x03" + b"\xff" * 9 + b"\x01\x08", bytes(192)),
        example(b"\x01" * 100_000, bytes(192)),
        example(b"\xff" * 20, bytes(192)),
        b"\x08" * 100_000,
    ],
)
def test_protocol_buffers(data):
    with fuzz_data.in_time(), pytest.raises(Unusable, match=r"not a record of the official tool|damaged record"):
        tfrecords.parse_example(data)


def test_protocol_buffers_that_are_sound():
    image = tfrecords.parse_example(example(b"\x03\x08\x08", IMAGES[0].transpose(2, 0, 1).tobytes()))
    np.testing.assert_array_equal(image.transpose(1, 2, 0), IMAGES[0])


# --- LMDB


def test_lmdb_pages_that_lead_in_circles(tmp_path):
    path = fuzz_data.make_lmdb(tmp_path) / "data.mdb"
    data = bytearray(path.read_bytes())
    page_size, root = lmdb._newest_root(io.BytesIO(data), path)
    page = bytearray(page_size)
    struct.pack_into("<QHHHH", page, 0, root, 0, 1, 16 + 2 * 200, page_size)  # a branch with 200 children
    for i in range(200):
        struct.pack_into("<H", page, 16 + 2 * i, 1000)
    struct.pack_into("<HHHH", page, 1000, root, 0, 0, 0)  # each of them the page itself
    data[root * page_size : (root + 1) * page_size] = page
    path.write_bytes(data)
    with fuzz_data.in_time(), pytest.raises(InputError, match=r"holds no value \(page [0-9]+: damaged"):
        open_source(path)


def test_lmdb_of_another_format(tmp_path):
    path = fuzz_data.make_lmdb(tmp_path) / "data.mdb"
    data = bytearray(path.read_bytes())
    data[20] = 2
    path.write_bytes(data)
    with pytest.raises(InputError, match="LMDB format 2, and this program reads format 1"):
        open_source(path)


# --- tar files


def tar_header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    header = bytearray(512)
    header[0 : len(name)] = name
    header[100:108] = b"0000644\0"
    header[124:136] = size
    header[148:156] = b" " * 8
    header[156:157] = kind
    header[257:265] = b"ustar\x0000"
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize(
    "content",
    [
        tar_header(b"a.png", b"\x80" + (2**62).to_bytes(11, "big")),
        tar_header(b"a.png", b"\xff" * 12),  # size -1
        tar_header(b"a.png", b"\xff" * 10 + b"\xf0\x00"),  # size -4096: backwards
        tar_header(b"a.png", b"77777777777\0"),
        tar_header(b"x", b"77777777777\0", b"x") + bytes(1024),  # a header of 8 GB
        tar_header(b"x", b"\x80" + (2**62).to_bytes(11, "big"), b"L") + bytes(1024),
        tar_header(b"x", b"00000000012\0", b"x") + b"999999999 size=1\n".ljust(512, b"\0"),
        tar_header(b"a", b"00000000002\0", b"L") * 5000,
        tar_header(b"a.png", b"00000000000\0", b"S") + bytes(512),
        tar_header(b"a.png", b"abcdefghijk\0"),
    ],
)
def test_tar_headers(tmp_path, content):
    (tmp_path / "x.tar").write_bytes(tar_header(b"b.txt", b"00000000000\0") + content)
    with fuzz_data.in_time(), pytest.raises(InputError, match=r"holds no image file \("):
        open_source(tmp_path / "x.tar")


def test_tar_of_many_members_with_huge_declared_sizes_reads_none(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        member = tarfile.TarInfo("a.png")
        member.size = MAX_FILE_BYTES + 1
        archive.addfile(member)  # the header alone
    os.truncate(tmp_path / "x.tar", MAX_FILE_BYTES + 4096)  # sparse
    with pytest.raises(InputError, match=r"no usable image: a.png \(too large: 256 MiB\)"):
        prepare(tmp_path / "x.tar", tmp_path / "store", PrepareConfig(resolution=8), progress=False)


# --- parquet and arrow


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory can be bounded on Linux only")
def test_a_small_file_that_unpacks_to_much_memory(tmp_path, monkeypatch):
    import pyarrow as pa

    monkeypatch.setattr("stylegan.data.prepare.FETCH_MEMORY", 200 * 2**20)
    table = pa.table({"image": pa.array([bytes(250 * 2**20)])})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with (
        pa.OSFile(str(tmp_path / "x.arrow"), "wb") as file,
        pa.ipc.new_stream(file, table.schema, options=options) as out,
    ):
        out.write_table(table)
    assert (tmp_path / "x.arrow").stat().st_size < 10**5
    with pytest.raises(InputError, match=r"damaged \(malloc of size 262144064 failed|takes too much memory"):
        prepare(tmp_path / "x.arrow", tmp_path / "store", PrepareConfig(resolution=8), progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["x.arrow"]


def test_a_small_file_that_unpacks_to_many_images(tmp_path, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setattr(huggingface, "MOST_UNPACKED", 5 * 2**20)
    pq.write_table(pa.table({"image": [bytes(2**20)] * 9}), tmp_path / "x.parquet", compression="zstd")
    (tmp_path / "scratch").mkdir()
    with pytest.raises(InputError, match="unpacks to more than 5 MiB, far more than its size: leave it out"):
        huggingface.fetch(tmp_path / "x.parquet", tmp_path / "scratch", progress=False)


def test_a_reader_that_dies_is_a_sentence(tmp_path, monkeypatch):
    """What native code may do to its process on a damaged file."""
    monkeypatch.setattr("stylegan.data.prepare.FETCH_MEMORY", 2**20)  # too little to begin
    path = fuzz_data.make_parquet(tmp_path)
    with pytest.raises(InputError, match="it is damaged, or a row in it takes too much memory"):
        prepare(path, tmp_path / "store", PrepareConfig(resolution=8), progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]


def test_arrow_offsets_are_checked(tmp_path):
    """Offsets that lead out of the file, which reading would follow."""
    path = fuzz_data.make_arrow(tmp_path)
    data = bytearray(path.read_bytes())
    size = len(encode(IMAGES[0]))
    offsets = struct.pack("<4i", 0, size, 2 * size, 3 * size)
    place = data.index(offsets)
    data[place : place + 16] = struct.pack("<4i", 0, 2**31 - 1, 2**30, 5)
    path.write_bytes(data)
    (tmp_path / "scratch").mkdir()
    source = huggingface.fetch(path, tmp_path / "scratch", progress=False)
    assert len(source.items) == COUNT - 3
    assert [name for name, _ in source.rejected] == ["x.arrow batch 0"]
