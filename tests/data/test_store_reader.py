"""A store's images: as they were written, or refused in a sentence."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import of_earlier_version, write_store

from stylegan.data.loader import Loader
from stylegan.data.store import crc_of_description, open_store
from stylegan.data.store_reader import ImageReader, verify
from stylegan.data.store_writer import StoreWriter
from stylegan.describe import describe
from stylegan.errors import InputError
from stylegan.system import system


def flip(path: Path, place: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def test_a_reader_gives_what_a_map_does(tmp_path):
    store = open_store(write_store(tmp_path / "s", count=9))
    for resolution in store.resolutions:
        reader, mapped = ImageReader(store, resolution), store.images(resolution)
        assert len(reader) == 9 and reader.shape == mapped.shape
        numbers = np.array([3, 0, 8, 3])
        assert np.array_equal(reader[numbers], mapped[numbers]) and np.array_equal(reader[2:5], mapped[2:5])
        assert reader[7:20].shape[0] == 2 and reader[np.empty(0, int)].shape == (0, *mapped.shape[1:])


def test_without_preadv_it_is_the_same(tmp_path, monkeypatch):
    store = open_store(write_store(tmp_path / "s", count=4))
    monkeypatch.delattr(os, "preadv", raising=False)
    assert np.array_equal(ImageReader(store)[1:3], store.images()[1:3])


@pytest.mark.parametrize("resolution", [4, 16])
def test_a_changed_pixel_is_named_when_it_is_first_read(tmp_path, resolution):
    store = open_store(write_store(tmp_path / "s", count=4))
    loader, reader = Loader(store), ImageReader(store, resolution)
    reader[0:4]
    flip(tmp_path / "s" / f"images-{resolution:04d}.npy", -1)
    reader[3:4]  # has been checked; the whole store is not read again and again
    with pytest.raises(InputError, match=f"images-{resolution:04d}.npy: image 3 is not what was written"):
        loader.batch(np.arange(4), resolution)
    for place in (0, 1, 2):
        ImageReader(store, resolution)[place : place + 1]


@pytest.mark.skipif(system() == "windows", reason="a file that is open cannot be cut there")
def test_a_file_that_is_cut_under_a_training_ends_it_in_a_sentence(tmp_path):
    """In a process of its own, which a map would end with SIGBUS."""
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from conftest import tiny_config, write_store
from stylegan.errors import InputError
from stylegan.training import loop

store = write_store(Path({str(tmp_path)!r}, "store"))
true = loop.iteration
def cutting(*inputs):
    os.truncate(store / "images-0008.npy", 500)
    true(*inputs)
loop.iteration = cutting
try:
    loop.train(tiny_config(store), Path({str(tmp_path)!r}, "run"), progress=False)
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert "images-0008.npy" in done.stdout and "cut short after it was opened; prepare it again" in done.stdout


# --- all of it, on demand


@pytest.fixture
def labeled(tmp_path) -> Path:
    """A store with everything that a store can have."""
    rng = np.random.RandomState(0)
    names = {"label_names": ["a", "b"], "attribute_names": ["hat", "tie"]}
    with StoreWriter(tmp_path / "store", 8, 3, made={"source": 'a "crc32": "00000000"'}, **names) as writer:
        for i in range(7):
            image = rng.randint(0, 256, (8, 8, 3)).astype(np.uint8)
            levels = {8: image, 4: np.rint(image.reshape(4, 2, 4, 2, 3).mean(axis=(1, 3))).astype(np.uint8)}
            writer.add(levels, f"{i}.png", i % 2, np.array([i % 2, i % 3 == 0]), held_out=i >= 5)
    return tmp_path / "store"


def test_a_whole_store_is_right(labeled):
    assert verify(open_store(labeled), progress=False) == "all is as it was written, by checksums and content hash"
    stored, computed = crc_of_description(labeled / "dataset.json")
    assert stored == computed != "0" * 8
    assert "by --verify" in describe(labeled)["checked"]
    assert describe(labeled, check_pixels=True)["checked"].startswith("all is as it was written")


def test_no_flipped_bit_of_a_store_passes(labeled):
    """Every file, the held-out images' too: either the store is refused, or nothing that it says has changed."""
    rng, refused = np.random.RandomState(0), 0
    truth = says(labeled)
    for path in sorted(path for path in labeled.rglob("*") if path.is_file()):
        content = path.read_bytes()
        for place in rng.randint(0, len(content), 12):
            flip(path, place, rng.randint(8))
            try:
                verify(open_store(labeled), progress=False)
            except InputError as error:
                assert str(labeled) in str(error)
                refused += 1
            else:
                assert says(labeled) == truth, (path.name, place)
            path.write_bytes(content)
    assert refused > 120


def says(path: Path) -> list:
    """All that a store says."""
    store = open_store(path)
    parts = []
    for each in (store, store.held_out()):
        parts += [each.images(resolution).tobytes() for resolution in each.resolutions]
        parts += [each.labels.tobytes(), each.attributes.tobytes(), each.names, each.label_names, each.made]
        parts += [each.attribute_names, each.content_hash, each.count]
    return parts


def test_stores_of_earlier_versions_are_held_against_hash_and_means(tmp_path):
    path = of_earlier_version(write_store(tmp_path / "s", count=5, labels=2))
    assert "names and description have no checksum" in verify(open_store(path), progress=False)
    assert "earlier version" in describe(path)["checked"]
    for name, sentence in (
        ("images-0016.npy", "not what the content hash says"),
        ("images-0004.npy", "images-0004.npy: image 4 is not what the highest resolution makes of it"),
    ):
        flip(path / name, -1, 7)
        with pytest.raises(InputError, match=sentence):
            verify(open_store(path), progress=False)
        flip(path / name, -1, 7)


def test_many_damages_are_counted(tmp_path):
    path = write_store(tmp_path / "s", count=9)
    (path / "images-0004.npy").write_bytes((path / "images-0004.npy").read_bytes()[:128] + bytes(9 * 48))
    with pytest.raises(InputError, match=r"image 0 is not what was written.*; and 4 more; prepare it again"):
        verify(open_store(path), progress=False)


def test_missing_checksums_are_missed(tmp_path):
    path = write_store(tmp_path / "s", count=3)
    (path / "checksums.npy").unlink()
    with pytest.raises(InputError, match=r"checksums.npy: it is missing"):
        open_store(path)
