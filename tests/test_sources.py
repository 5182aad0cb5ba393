"""Every kind of source makes the round trip: written by the format's own library, prepared, the same pixels."""

import io
import json
import os
import tarfile
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from stylegan.data import huggingface, tfrecords
from stylegan.data.prepare import PrepareConfig, PrepareReport, prepare
from stylegan.data.sources import open_source
from stylegan.data.store import Store, open_store
from stylegan.errors import InputError

COUNT, CLASSES = 12, ("cat", "dog", "owl")
IMAGES = np.random.RandomState(7).randint(0, 256, (COUNT, 16, 16, 3)).astype(np.uint8)
LABELS = np.arange(COUNT) % len(CLASSES)


def encode(image: np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def prepared(source: Path | str, store: Path, **options) -> tuple[Store, PrepareReport]:
    report = prepare(source, store, PrepareConfig(**({"resolution": 16} | options)), progress=False)
    return open_store(store), report


def check(store: Store, *, labels: bool = False, images: np.ndarray = IMAGES) -> None:
    """The store holds these images exactly, in the order of its seed, with their class numbers."""
    order = np.random.RandomState(0).permutation(len(images))
    np.testing.assert_array_equal(store.images(), images[order])
    assert store.labels is None or labels
    if labels:
        np.testing.assert_array_equal(store.labels, LABELS[order])


# --- TFRecords ---------------------------------------------------------------------------------


def crc32c_bit_by_bit(data: bytes) -> int:
    """The definition: the remainder of a division of polynomials."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def example_class():
    """tf.train.Example, described to Google's protobuf library."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto

    def message(name: str, *fields) -> descriptor_pb2.DescriptorProto:
        description = file.message_type.add(name=name)
        for number, (field, kind, label, type_name) in enumerate(fields, start=1):
            description.field.add(name=field, number=number, type=kind, label=label, type_name=type_name)
        return description

    one, many = kinds.LABEL_OPTIONAL, kinds.LABEL_REPEATED
    message("BytesList", ("value", kinds.TYPE_BYTES, many, None))
    message("FloatList", ("value", kinds.TYPE_FLOAT, many, None))
    message("Int64List", ("value", kinds.TYPE_INT64, many, None))
    message(
        "Feature",
        ("bytes_list", kinds.TYPE_MESSAGE, one, ".t.BytesList"),
        ("float_list", kinds.TYPE_MESSAGE, one, ".t.FloatList"),
        ("int64_list", kinds.TYPE_MESSAGE, one, ".t.Int64List"),
    )
    features = message("Features", ("feature", kinds.TYPE_MESSAGE, many, ".t.Features.FeatureEntry"))
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=kinds.TYPE_STRING, label=one)
    entry.field.add(name="value", number=2, type=kinds.TYPE_MESSAGE, label=one, type_name=".t.Feature")
    message("Example", ("features", kinds.TYPE_MESSAGE, one, ".t.Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))


def framed(data: bytes) -> bytes:
    def masked(part: bytes) -> bytes:
        crc = crc32c_bit_by_bit(part)
        return (((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32).to_bytes(4, "little")

    length = len(data).to_bytes(8, "little")
    return length + masked(length) + data + masked(data)


def record(image: np.ndarray) -> bytes:
    """A record of an image [H, W, C]."""
    example = example_class()()
    planes = image.transpose(2, 0, 1)
    example.features.feature["shape"].int64_list.value.extend(planes.shape)
    example.features.feature["data"].bytes_list.value.append(planes.tobytes())
    return framed(example.SerializeToString())


def write_tfrecords(folder: Path, *, labels: np.ndarray | None = None) -> Path:
    folder.mkdir()
    (folder / "own-r04.tfrecords").write_bytes(b"".join(record(image) for image in IMAGES))
    if labels is not None:
        with (folder / "own-rxx.labels").open("wb") as file:
            np.save(file, labels)
    return folder


def test_crc32c_equals_its_definition():
    assert crc32c_bit_by_bit(b"123456789") == 0xE3069283  # the check value of the standard
    random = np.random.RandomState(0)
    for length in (0, 1, 3, 4, 5, 12, 1000, 1023, 1024, 1025, 3072, 4099, 8192):
        data = random.bytes(length)
        expected = crc32c_bit_by_bit(data)
        assert tfrecords.crc32c(data) == tfrecords.crc32c_in_parts(data) == expected
        assert tfrecords.crc32c_reference(data) == expected


def test_official_tfrecords(shared_golden, tmp_path):
    store, report = prepared(shared_golden / "tinyds", tmp_path / "store", resolution=32)
    expected = np.load(shared_golden / "tinyds_expected.npz")
    order = np.random.RandomState(0).permutation(12)
    # Also the levels that are not read: the store's own are the same.
    for lod, resolution in enumerate((32, 16, 8, 4)):
        images = expected[f"full/lod{lod}/images"].transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(store.images(resolution), images[order])
    np.testing.assert_array_equal(store.labels, expected["full/lod0/labels"][order].argmax(1))
    assert store.label_names == tuple("01234") and report.skipped == []


def test_official_tfrecords_in_grey_and_one_file(shared_golden, tmp_path):
    expected = np.load(shared_golden / "tinyds_expected.npz")
    store, _ = prepared(shared_golden / "tinyds_gray", tmp_path / "grey", channels=1)
    assert store.labels is None
    check(store, images=expected["gray"].transpose(0, 2, 3, 1))
    store, _ = prepared(shared_golden / "tinyds/tinyds-r03.tfrecords", tmp_path / "small", resolution=8)
    assert store.resolution == 8 and store.label_names == tuple("01234")


def test_tfrecords_of_one_resolution(tmp_path):
    folder = write_tfrecords(tmp_path / "own", labels=np.eye(3, dtype=np.float32)[LABELS])
    check(prepared(folder, tmp_path / "store")[0], labels=True)
    assert prepared(folder, tmp_path / "plain", classes="none")[0].labels is None


def test_damaged_tfrecords_are_skipped_by_name_and_reason(tmp_path):
    folder = write_tfrecords(tmp_path / "own", labels=np.eye(3, dtype=np.float32)[LABELS])
    path = folder / "own-r04.tfrecords"
    size = path.stat().st_size // COUNT
    data = bytearray(path.read_bytes())
    data[3 * size + 400] ^= 1  # a pixel
    data[5 * size] ^= 1  # a length
    other = framed(b"\x0a\x02\x0a\x00")  # an Example without features
    path.write_bytes(bytes(data) + other + data[: size // 2])
    with (folder / "own-rxx.labels").open("wb") as file:
        np.save(file, np.eye(3, dtype=np.float32)[np.arange(COUNT + 2) % 3])
    store, report = prepared(folder, tmp_path / "store")
    assert report.skipped == [
        ("own-r04.tfrecords", "cut short: 14 labels for 13 images"),
        ("own-r04/00000003", "bad checksum"),
        ("own-r04/00000005", "damaged length"),
        ("own-r04/00000012", "not a record of the official tool: no image in its fields shape and data"),
        ("own-r04/00000013", "truncated"),
    ]
    for name, label, image in zip(store.names, store.labels, store.images(), strict=True):
        number = int(name.split("/")[1])
        assert label == number % 3
        np.testing.assert_array_equal(image, IMAGES[number])
    assert store.count == COUNT - 2


@pytest.mark.parametrize(
    "labels, message",
    [
        (np.eye(3)[:2], "labels for 2 images of 12"),
        (np.ones((COUNT, 3)), "no classes"),
        (np.zeros(COUNT), "no array"),
        (np.array([{}] * COUNT), "no array of labels"),
    ],
)
def test_tfrecords_with_labels_that_do_not_fit(tmp_path, labels, message):
    with pytest.raises(InputError, match=message):
        open_source(write_tfrecords(tmp_path / "own", labels=labels))


def test_several_tfrecord_data_sets_are_refused(tmp_path):
    folder = write_tfrecords(tmp_path / "own")
    (folder / "other-r05.tfrecords").write_bytes(b"")
    with pytest.raises(InputError, match="several data sets: other, own; give one file"):
        open_source(folder)
    (folder / "own-r04.tfrecords").unlink()
    with pytest.raises(InputError, match="holds no image"):
        open_source(folder)


# --- LMDB --------------------------------------------------------------------------------------


def write_lmdb(folder: Path, values: dict[bytes, bytes]) -> Path:
    import lmdb

    with lmdb.open(str(folder), map_size=2**24) as database, database.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key, value)
    return folder


def test_lmdb(tmp_path):
    keys = [f"{i:040x}".encode() for i in range(COUNT)]
    values = {key: encode(image, "WEBP", lossless=True) for key, image in zip(keys, IMAGES, strict=True)}
    source = write_lmdb(tmp_path / "bedroom_lmdb", values)
    store, _ = prepared(source, tmp_path / "store")
    check(store)
    assert set(store.names) == {key.decode() for key in keys} and store.made["source"] == "bedroom_lmdb"
    check(prepared(source / "data.mdb", tmp_path / "file")[0])


def test_lmdb_of_several_levels_equals_the_library(tmp_path):
    """Small values in the leaves, large ones in pages of their own, some deleted, some replaced."""
    import lmdb

    random = np.random.RandomState(0)
    folder = write_lmdb(
        tmp_path / "db", {b"%06d" % i: random.bytes(random.choice([0, 1, 90, 3000, 9000])) for i in range(600)}
    )
    with lmdb.open(str(folder), map_size=2**24) as database:
        with database.begin(write=True) as transaction:
            for i in range(0, 600, 7):
                transaction.delete(b"%06d" % i)
            for i in range(1, 600, 7):
                transaction.put(b"%06d" % i, random.bytes(5000))
        with database.begin() as transaction:
            expected = {key.decode(): value for key, value in transaction.cursor()}
        assert database.stat()["depth"] > 1
    source = open_source(folder)
    assert {item.name: item.read() for item in source.items} == expected and source.rejected == []


def test_lmdb_that_was_cut_short(tmp_path):
    """Where the library would end the process."""
    source = write_lmdb(tmp_path / "db", {b"%d" % i: encode(image) * 4 for i, image in enumerate(IMAGES)})
    os.truncate(source / "data.mdb", (source / "data.mdb").stat().st_size // 2)
    store, report = prepared(source, tmp_path / "store")
    assert 0 < store.count < COUNT and store.count + len(report.skipped) == COUNT
    assert {reason for _, reason in report.skipped} == {"damaged or truncated"}
    os.truncate(source / "data.mdb", 8192)  # the headers alone
    with pytest.raises(InputError, match=r"holds no value \(page [0-9]+: damaged: what it leads to"):
        prepared(source, tmp_path / "no")
    os.truncate(source / "data.mdb", 100)
    with pytest.raises(InputError, match="no LMDB database, or its first pages are damaged"):
        prepared(source, tmp_path / "no")
    with pytest.raises(InputError, match=r"holds no value$"):
        open_source(write_lmdb(tmp_path / "empty", {}))


# --- Tar files ---------------------------------------------------------------------------------


def write_shards(pattern: str, **options) -> None:
    import webdataset

    with webdataset.ShardWriter(pattern, maxcount=5, verbose=0, **options) as writer:
        for i, image in enumerate(IMAGES):
            writer.write({"__key__": f"{i:06d}", "png": encode(image), "cls": int(LABELS[i]), "json": {"i": i}})


def test_webdataset(tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    write_shards(str(folder / "x-%03d.tar"))
    for number, source in enumerate((folder, f"{folder}/x-{{000..002}}.tar")):
        store, report = prepared(source, tmp_path / f"store{number}")
        check(store, labels=True)
        assert report.skipped == [] and store.label_names == ("0", "1", "2")
        assert store.made["source"] == ("shards", "x-{000..002}.tar")[number]
        assert "x-002.tar/000011.png" in store.names
    store, _ = prepared(folder / "x-001.tar", tmp_path / "one")
    assert sorted(store.names) == [f"{i:06d}.png" for i in range(5, 10)] and store.made["source"] == "x-001.tar"
    with pytest.raises(InputError, match=r"x-003.tar does not exist; give the range"):
        open_source(f"{folder}/x-{{000..009}}.tar")
    with pytest.raises(InputError, match="empty range"):
        open_source(f"{folder}/x-{{002..000}}.tar")


def test_tar_of_folders(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for i, image in enumerate(IMAGES):
            for name, data in ((f"{'a' * 120}/{i:02d}.png", encode(image)), (f"{i % 2}/{i:02d}.seg.png", b"")):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    store, report = prepared(tmp_path / "x.tar", tmp_path / "store")
    for name, image in zip(store.names, store.images(), strict=True):
        np.testing.assert_array_equal(image, IMAGES[int(PurePosixPath(name).stem)])
    assert store.count == COUNT and [reason for _, reason in report.skipped] == ["empty (zero bytes)"] * COUNT
    source = open_source(tmp_path / "x.tar", "folders")
    assert source.label_names == ("0", "1", "a" * 120) and len(source.labels) == 2 * COUNT
    shards = tmp_path / "shards"
    shards.mkdir()
    for shard in ("x.tar", "y.tar"):
        (shards / shard).write_bytes((tmp_path / "x.tar").read_bytes())
    assert open_source(shards, "folders").label_names == source.label_names


def test_hostile_and_damaged_tar_files(tmp_path):
    path = tmp_path / "x.tar"
    good = encode(IMAGES[0])

    def add(archive: tarfile.TarFile, name: str, data: bytes = good, **fields) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        for field, value in fields.items():
            setattr(member, field, value)
        archive.addfile(member, io.BytesIO(data))

    with tarfile.open(path, "w") as archive:
        add(archive, "../../evil.png")
        add(archive, "/etc/evil.png")
        add(archive, "link.png", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(archive, "device.png", b"", type=tarfile.CHRTYPE)
        add(archive, "notes.docx", b"x")
        add(archive, "a.cls", b"7")
        add(archive, "b.cls", b"\xff")
        add(archive, "b.png")
        add(archive, "a.png")
        end = archive.offset
        add(archive, "later.png")
    report = prepare(path, tmp_path / "store", PrepareConfig(resolution=16), progress=False)
    assert report.skipped == [
        ("../../evil.png", "no label: its .cls is missing or damaged"),
        ("/etc/evil.png", "no label: its .cls is missing or damaged"),
        ("b.png", "no label: its .cls is missing or damaged"),
        ("device.png", "a link, a device or a sparse file"),
        ("later.png", "no label: its .cls is missing or damaged"),
        ("link.png", "a link, a device or a sparse file"),
        ("notes.docx", "not an image"),
    ]
    store = open_store(tmp_path / "store")
    assert store.names == ["a.png"] and store.labels.tolist() == [7]
    store, _ = prepared(path, tmp_path / "all", classes="none")
    assert sorted(store.names) == ["../../evil.png", "/etc/evil.png", "a.png", "b.png", "later.png"]
    assert {file.name for file in tmp_path.iterdir()} == {"x.tar", "store", "all"}

    data = bytearray(path.read_bytes())
    data[end + 5] ^= 1  # the name of later.png: its header's checksum is wrong
    path.write_bytes(data)
    source = open_source(path, "none")
    assert len(source.items) == 4
    assert source.rejected[-1][1].startswith("damaged tar file (a damaged header): what follows cannot be found")
    path.write_bytes(data[: end - 600])  # a.png is cut
    assert ("a.png", "truncated") in open_source(path, "none").rejected
    (tmp_path / "x.tar.gz").write_bytes(b"\x1f\x8b" + bytes(100))
    with pytest.raises(InputError, match=r"is compressed; unpack it first"):
        open_source(tmp_path / "x.tar.gz")


# --- Hugging Face ------------------------------------------------------------------------------


def hugging_face():
    import datasets

    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=list(CLASSES)))
    data = {"image": [Image.fromarray(image) for image in IMAGES], "label": LABELS.tolist()}
    return datasets.Dataset.from_dict(data, features=features)


@pytest.fixture(autouse=True)
def quiet_datasets():
    import datasets

    datasets.disable_progress_bars()


@pytest.fixture
def in_this_process(monkeypatch):
    """Without a process for reading the files, which takes seconds to start."""
    monkeypatch.setattr("stylegan.data.prepare._fetch_apart", lambda fetch, source: fetch(source))


def test_save_to_disk_in_a_process_of_its_own(tmp_path):
    hugging_face().save_to_disk(tmp_path / "saved", num_shards=3)
    check(prepared(tmp_path / "saved", tmp_path / "store")[0], labels=True)
    assert not list(tmp_path.glob(".stylegan*"))


def test_save_to_disk(tmp_path, in_this_process):
    import datasets

    hugging_face().save_to_disk(tmp_path / "saved", num_shards=3)
    store, _ = prepared(tmp_path / "saved", tmp_path / "store")
    check(store, labels=True)
    assert store.label_names == CLASSES and store.made["source"] == "saved"
    assert prepared(tmp_path / "saved", tmp_path / "plain", classes="none")[0].labels is None
    with pytest.raises(InputError, match="has no folders; use --classes auto or none"):
        prepared(tmp_path / "saved", tmp_path / "no", classes="folders")
    datasets.DatasetDict({"train": hugging_face(), "test": hugging_face()}).save_to_disk(tmp_path / "parts")
    with pytest.raises(InputError, match=r"holds the parts test, train; give one of them: .*parts/test"):
        prepared(tmp_path / "parts", tmp_path / "parts_store")
    check(prepared(tmp_path / "parts/train", tmp_path / "part")[0], labels=True)
    assert not list(tmp_path.glob(".stylegan*"))


def test_parquet(tmp_path, in_this_process):
    (tmp_path / "user/data").mkdir(parents=True)
    for i in range(3):
        hugging_face().select(range(4 * i, 4 * i + 4)).to_parquet(
            tmp_path / f"user/data/train-{i:05d}-of-00003.parquet"
        )
    for number, source in enumerate((tmp_path / "user", tmp_path / "user/data")):
        store, _ = prepared(source, tmp_path / f"store{number}")
        check(store, labels=True)
        assert store.label_names == CLASSES
    assert prepared(tmp_path / "user/data/train-00001-of-00003.parquet", tmp_path / "one")[0].count == 4


def test_parquet_of_other_programs(tmp_path, in_this_process):
    import pyarrow as pa
    import pyarrow.parquet as pq

    encoded = [encode(image) for image in IMAGES]
    pq.write_table(pa.table({"jpg": encoded, "text": ["x"] * COUNT}), tmp_path / "bytes.parquet")
    check(prepared(tmp_path / "bytes.parquet", tmp_path / "a")[0])
    structs = [{"bytes": data, "path": f"dir/{i}.png"} for i, data in enumerate(encoded)]
    pq.write_table(pa.table({"picture": structs, "n": list(range(COUNT))}), tmp_path / "structs.parquet")
    store, _ = prepared(tmp_path / "structs.parquet", tmp_path / "b")
    check(store)
    assert "00000003/3.png" in store.names
    pq.write_table(pa.table({"a": encoded, "b": encoded}), tmp_path / "two.parquet")
    with pytest.raises(InputError, match=r"several columns of images \(a, b\); give a data set with one"):
        prepared(tmp_path / "two.parquet", tmp_path / "c")
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "none.parquet")
    with pytest.raises(InputError, match=r"has no images \(text\)"):
        prepared(tmp_path / "none.parquet", tmp_path / "c")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "bytes.parquet").read_bytes()[:-9])
    with pytest.raises(InputError, match=r"cut.parquet cannot be read \(.*\); fetch it again"):
        prepared(tmp_path / "cut.parquet", tmp_path / "c")
    assert not (tmp_path / "c").exists() and not list(tmp_path.glob(".stylegan*"))


def test_rows_that_lead_elsewhere_or_have_no_label_are_skipped(tmp_path, in_this_process):
    import pyarrow as pa
    import pyarrow.parquet as pq

    secret = tmp_path / "secret.png"
    secret.write_bytes(encode(IMAGES[0]))
    table = hugging_face().with_format("arrow")[:]
    rows = [{"bytes": data, "path": None} for data in map(encode, IMAGES)]
    rows[2:5] = [{"bytes": None, "path": str(secret)}, {"bytes": None, "path": "https://example.com/x.png"}, None]
    table = table.set_column(0, table.schema.field("image"), pa.array(rows, table.schema.field("image").type))
    # The library refuses the label 5, so it is put in behind its back.
    table = table.set_column(1, table.schema.field("label"), pa.array([-1, 5] + [0] * (COUNT - 2)))
    pq.write_table(table, tmp_path / "x.parquet")
    store, report = prepared(tmp_path / "x.parquet", tmp_path / "store")
    assert report.skipped == [
        ("00000000", "no label of a class: -1"),
        ("00000001", "no label of a class: 5"),
        ("00000002/secret.png", "its image is not in the data set"),
        ("00000003/x.png", "its image is not in the data set"),
        ("00000004", "no image"),
    ]
    assert store.count == COUNT - 5


def test_hub_streams(tmp_path, monkeypatch):
    """A stand-in for the hub: the library's own streams, of local data."""
    import datasets

    asked = []

    def load_dataset(name, config, *, revision, streaming):
        asked.append((name, config, revision, streaming))
        splits = ("test", "validation") if config == "odd" else ("train", "test")
        return datasets.IterableDatasetDict({split: hugging_face().to_iterable_dataset() for split in splits})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    store, _ = prepared("hf://datasets/user/birds@v2?config=full&split=test", tmp_path / "store")
    check(store, labels=True)
    assert store.made["source"] == "user/birds@v2" and asked == [("user/birds", "full", "v2", True)]
    few, _ = prepared("hf://datasets/user/birds", tmp_path / "few", limit=5)
    assert few.count == 5 and asked[-1] == ("user/birds", None, None, True)
    with pytest.raises(InputError, match=r"has the splits test, validation; choose one: .*\?split=test"):
        prepared("hf://datasets/user/birds?config=odd", tmp_path / "no")
    for address in ("hf://models/user/x", "hf://datasets/", "hf://datasets/a/b/c", "hf://datasets/a/b?spilt=x"):
        with pytest.raises(InputError, match="no data set's address; use hf://datasets/USER/NAME"):
            prepared(address, tmp_path / "no")

    def offline(*args, **kwargs):
        raise ConnectionError("Couldn't reach the Hub\nmore lines")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(InputError, match=r"cannot be opened \(Couldn't reach the Hub\); check its name"):
        prepared("hf://datasets/user/birds", tmp_path / "no")
    assert not (tmp_path / "no").exists() and not list(tmp_path.glob(".stylegan*"))


def test_a_stream_that_breaks_leaves_nothing(tmp_path, monkeypatch):
    import datasets

    def broken():
        yield {"image": {"bytes": encode(IMAGES[0]), "path": None}}
        raise ConnectionError("reset by peer")

    stream = datasets.IterableDataset.from_generator(broken, features=datasets.Features(image=datasets.Image()))
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: {"train": stream})
    with pytest.raises(InputError, match=r"cannot be fetched \(.*\); run the command again"):
        prepared("hf://datasets/user/birds", tmp_path / "deep/er/store")
    assert list(tmp_path.iterdir()) == []


def test_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(InputError, match=r"pip install 'stylegan\[data\]'"):
        huggingface.fetch("hf://datasets/user/birds", tmp_path)


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_imagefolder_as_the_library_reads_it(tmp_path, kind):
    import datasets

    folder = tmp_path / "folder/train"
    folder.mkdir(parents=True)
    names = [f"{i:02d}.png" for i in range(COUNT)]
    for name, image in zip(names, IMAGES, strict=True):
        (folder / name).write_bytes(encode(image))
    if kind == "jsonl":
        lines = [json.dumps({"file_name": name, "label": int(i)}) for name, i in zip(names, LABELS, strict=True)]
    else:
        lines = ["file_name,label", *(f"{name},{i}" for name, i in zip(names, LABELS, strict=True))]
    (folder / f"metadata.{kind}").write_text("\n".join(lines) + "\n")
    store, _ = prepared(tmp_path / "folder", tmp_path / "store")
    check(store, labels=True)
    if kind == "csv":  # which the library leaves open
        return
    rows = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    np.testing.assert_array_equal(np.stack([np.asarray(row["image"]) for row in rows]), IMAGES)
    assert [row["label"] for row in rows] == LABELS.tolist()


@pytest.mark.parametrize(
    "content", ['{"file_name": "00.png", "label": 1', "\x00\xff", '{"file_name": "x", "label": -1}']
)
def test_imagefolder_with_broken_metadata(tmp_path, content):
    (tmp_path / "00.png").write_bytes(encode(IMAGES[0]))
    (tmp_path / "metadata.jsonl").write_text(content)
    with pytest.raises(InputError, match=r"metadata.jsonl in .* (is not valid JSON in line 1|has the class number -1)"):
        open_source(tmp_path)


# --- CelebA, CelebA-HQ, FFHQ -------------------------------------------------------------------

ATTRIBUTES = ("Bald", "Smiling", "Young")
SIGNS = np.random.RandomState(1).choice([-1, 1], (COUNT, 3))


def attribute_list(kind: str = "txt") -> str:
    names = [f"{i + 1:06d}.jpg" for i in range(COUNT)]
    if kind == "csv":
        lines = ["image_id," + ",".join(ATTRIBUTES)]
        lines += [name + "," + ",".join(map(str, row)) for name, row in zip(names, SIGNS, strict=True)]
    else:
        lines = [str(COUNT), " ".join(ATTRIBUTES)]
        lines += [name + " " + " ".join(f"{sign:2d}" for sign in row) for name, row in zip(names, SIGNS, strict=True)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("kind", ["txt", "csv"])
def test_celeba(tmp_path, kind):
    faces = np.random.RandomState(2).randint(0, 256, (COUNT, 218, 178, 3)).astype(np.uint8)
    images, wild = tmp_path / "CelebA/Img/img_align_celeba_png", tmp_path / "CelebA/Img/img_celeba"
    for folder in (images, wild, tmp_path / "CelebA/Anno"):
        folder.mkdir(parents=True)
    for i, face in enumerate(faces):
        (images / f"{i + 1:06d}.png").write_bytes(encode(face))
        (wild / f"{i + 1:06d}.png").write_bytes(b"not looked at")
    (images / "000099.png").write_bytes(encode(faces[0]))
    (tmp_path / f"CelebA/Anno/list_attr_celeba.{kind}").write_text(attribute_list(kind))
    store, report = prepared(tmp_path / "CelebA", tmp_path / "store", fit="celeba", resolution=128)
    assert report.skipped == [
        ("Img/img_align_celeba_png/000099.png", f"no attributes in list_attr_celeba.{kind}"),
    ]
    order = np.random.RandomState(0).permutation(COUNT)
    np.testing.assert_array_equal(store.images(), faces[order][:, 121 - 64 : 121 + 64, 89 - 64 : 89 + 64])
    assert store.attribute_names == ATTRIBUTES
    np.testing.assert_array_equal(store.attributes, SIGNS[order] == 1)
    with pytest.raises(InputError, match=r"too small: 128 x 128"):
        prepared(tmp_path / "CelebA", tmp_path / "no", fit="celeba", resolution=256)


def test_attributes_and_classes_together(tmp_path):
    """Also where images without attributes are left out."""
    for i in (1, 2, 99, 3, 4):
        path = tmp_path / CLASSES[i % 2] / f"{i:06d}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(IMAGES[i % COUNT]))
    (tmp_path / "list_attr_celeba.txt").write_text(attribute_list())
    source = open_source(tmp_path, "folders")
    assert [item.name for item in source.items] == [f"{CLASSES[i % 2]}/{i:06d}.png" for i in (2, 4, 1, 3)]
    assert source.labels == [0, 0, 1, 1]
    np.testing.assert_array_equal(source.attributes, SIGNS[[1, 3, 0, 2]] == 1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes as files are POSIX's")
def test_pipes_are_not_waited_for(tmp_path):
    for name in ("data.mdb", "x.tfrecords", "x.tar", "x.parquet", "list_attr_celeba.txt"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="holds no image file"):
        prepared(tmp_path, tmp_path / "store")
    with pytest.raises(InputError, match="neither a folder nor a file"):
        open_source(tmp_path / "x.tar")


def test_celeba_crop_is_for_aligned_images_only(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/a.png").write_bytes(encode(IMAGES[0]))
    with pytest.raises(InputError, match="no aligned image of CelebA, which are of 178 x 218: 16 x 16"):
        prepared(tmp_path / "x", tmp_path / "store", fit="celeba")


def test_celeba_images_twice_are_refused(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "000001.png").write_bytes(encode(IMAGES[0]))
    (tmp_path / "list_attr_celeba.txt").write_text(attribute_list())
    with pytest.raises(InputError, match=r"holds a/000001.png and b/000001.png, which are the same image"):
        open_source(tmp_path)


@pytest.mark.parametrize("content", ["", "3\n", "1\nBald\n000001.jpg 1 1\n", "1\nBald\n000001.jpg 2\n", "\x00\x01"])
def test_attribute_lists_that_make_no_sense(tmp_path, content):
    (tmp_path / "000001.png").write_bytes(encode(IMAGES[0]))
    (tmp_path / "list_attr_celeba.txt").write_text(content)
    with pytest.raises(InputError, match=r"list_attr_celeba.txt in .*fetch it again"):
        open_source(tmp_path)


@pytest.mark.parametrize("index_list", ["image_list.txt", "CelebA-HQ-to-CelebA-mapping.txt"])
def test_celebahq_attributes_by_the_index_list(tmp_path, index_list):
    originals = np.random.RandomState(5).permutation(COUNT)  # image i of CelebA-HQ is image originals[i] of CelebA
    (tmp_path / "hq/images").mkdir(parents=True)
    lines = ["idx orig_idx orig_file proc_md5"]
    for i, image in enumerate(IMAGES):
        (tmp_path / f"hq/images/imgHQ{i:05d}.png").write_bytes(encode(image))
        lines.append(f"{i} {originals[i]} {originals[i] + 1:06d}.jpg 0123")
    (tmp_path / "hq" / index_list).write_text("\n".join(lines))
    (tmp_path / "hq/list_attr_celeba.txt").write_text(attribute_list())
    store, _ = prepared(tmp_path / "hq", tmp_path / "store")
    check(store)
    order = np.random.RandomState(0).permutation(COUNT)
    np.testing.assert_array_equal(store.attributes, SIGNS[originals][order] == 1)
    (tmp_path / "hq" / index_list).write_text("idx orig_idx\n0 1\n")
    with pytest.raises(InputError, match="is no table with the columns idx and orig_file"):
        open_source(tmp_path / "hq")


def test_celebamask_hq_has_a_list_of_its_own(tmp_path):
    (tmp_path / "CelebA-HQ-img").mkdir()
    for i, image in enumerate(IMAGES[:3]):
        (tmp_path / f"CelebA-HQ-img/{i}.png").write_bytes(encode(image))
    (tmp_path / "CelebAMask-HQ-attribute-anno.txt").write_text("3\nBald Young\n0.jpg  1 -1\n1.jpg -1 -1\n2.jpg  1  1\n")
    (tmp_path / "CelebA-HQ-to-CelebA-mapping.txt").write_text("idx orig_idx orig_file\n0 7 000008.jpg\n")
    source = open_source(tmp_path)
    assert source.attributes.tolist() == [[True, False], [False, False], [True, True]]


def test_ffhq_takes_its_large_images(tmp_path):
    for folder, side in (("images1024x1024", 16), ("thumbnails128x128", 4), ("in-the-wild-images", 8)):
        for i, image in enumerate(IMAGES):
            path = tmp_path / "ffhq" / folder / f"{i // 5 * 1000:05d}" / f"{i:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(image[:side, :side]))
    (tmp_path / "ffhq/ffhq-dataset-v2.json").write_text('{"0": {"category": "training"}}')
    (tmp_path / "ffhq/LICENSE.txt").write_text("x")
    store, report = prepared(tmp_path / "ffhq", tmp_path / "store")
    check(store)
    assert report.skipped == [] and "images1024x1024/00000/00003.png" in store.names
