"""The store: what is written is what is read, and nothing that is not a whole store is taken for one."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stylegan.data.pyramid import box_sum, pyramid
from stylegan.data.store import open_store
from stylegan.data.store_writer import StoreWriter
from stylegan.errors import InputError
from stylegan.system import system


def noise(count: int, resolution: int, channels: int = 3) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (count, resolution, resolution, channels)).astype(np.uint8)


def write(path: Path, count: int = 5, resolution: int = 16, channels: int = 3) -> np.ndarray:
    images = noise(count, resolution, channels)
    with StoreWriter(
        path, resolution, channels, made={"source": "x"}, label_names=("a", "b"), attribute_names=("p", "q", "r")
    ) as writer:
        for i, image in enumerate(images):
            writer.add(pyramid(image), f"{i}.png", label=i % 2, attributes=np.array([i > 1, i > 2, True]))
    return images


# --- The pyramid -------------------------------------------------------------------------------


@pytest.mark.parametrize("resolution, channels", [(4, 3), (8, 1), (64, 4), (128, 3)])
def test_pyramid_is_repeated_box_means_rounded_half_to_even(resolution, channels):
    image = noise(1, resolution, channels)[0]
    levels = pyramid(image)
    assert list(levels) == [resolution >> i for i in range(resolution.bit_length() - 2)]
    mean = image.astype(np.float64)
    while len(mean) > 4:
        mean = (mean[0::2, 0::2] + mean[0::2, 1::2] + mean[1::2, 0::2] + mean[1::2, 1::2]) / 4
        level = levels[len(mean)]
        assert level.dtype == np.uint8
        np.testing.assert_array_equal(level, np.rint(mean))


def test_pyramid_does_not_round_in_between():
    image = np.zeros((16, 16, 1), np.uint8)
    image[0::4, 0::4] = 8  # means: 2 at 8 x 8 in every other pixel, then 0.5
    levels = pyramid(image)
    assert set(np.unique(levels[8])) == {0, 2}
    assert np.unique(levels[4]) == [0]  # half to even
    image[0::4, 0::4] = 24
    assert np.unique(pyramid(image)[4]) == [2]  # 1.5, half to even


def test_pyramid_is_exact_at_full_size():
    image = np.full((1024, 1024, 1), 255, np.uint8)
    image[-1, -1] = 0  # a mean of 255 - 255 / 65536 in one pixel of the coarsest level
    assert pyramid(image)[4].min() == 255


def test_pyramid_equals_the_official_tool(shared_golden):
    expected = np.load(shared_golden / "tinyds_expected.npz")
    for i, image in enumerate(expected["full/lod0/images"]):
        levels = pyramid(np.ascontiguousarray(image.transpose(1, 2, 0)))
        for lod in (1, 2, 3):
            official = expected[f"full/lod{lod}/images"][i].transpose(1, 2, 0)
            np.testing.assert_array_equal(levels[32 >> lod], official)


def test_box_sum_of_uneven_boxes():
    image = noise(1, 12)[0]
    expected = image.astype(int).reshape(4, 3, 2, 6, 3).sum((1, 3))
    np.testing.assert_array_equal(box_sum(image, 3, 6), expected)
    np.testing.assert_array_equal(box_sum(image, 1, 1), image)


# --- Round trip --------------------------------------------------------------------------------


def test_round_trip(tmp_path):
    path = tmp_path / "deep" / "store"
    images = write(path)
    store = open_store(path)
    assert (store.count, store.resolution, store.channels) == (5, 16, 3)
    assert store.label_names == ("a", "b") and store.label_count == 2
    assert store.attribute_names == ("p", "q", "r")
    assert store.made == {"source": "x"}
    assert store.names == ["0.png", "1.png", "2.png", "3.png", "4.png"]
    assert store.labels.dtype == np.int64 and store.labels.tolist() == [0, 1, 0, 1, 0]
    assert store.attributes.dtype == bool and store.attributes[:, 0].tolist() == [False, False, True, True, True]
    np.testing.assert_array_equal(store.images(), images)
    for resolution in store.resolutions:
        expected = np.stack([pyramid(image)[resolution] for image in images])
        mapped = store.images(resolution)
        np.testing.assert_array_equal(mapped, expected)
        assert isinstance(mapped, np.memmap) and not mapped.flags.writeable
        plain = np.load(path / f"images-{resolution:04d}.npy", mmap_mode="r")  # as any reader would
        np.testing.assert_array_equal(plain, expected)
    assert {file.name for file in path.parent.iterdir()} == {"store"}


def test_plain_store_has_no_labels_and_survives_pickling(tmp_path):
    with StoreWriter(tmp_path / "s", 4, 1, made={}) as writer:
        writer.add({4: noise(1, 4, 1)[0]}, "one")
    store = pickle.loads(pickle.dumps(open_store(str(tmp_path / "s"))))
    assert store.labels is None and store.attributes is None and store.label_count == 0
    assert store.images().shape == (1, 4, 4, 1)
    assert not (tmp_path / "s" / "labels.npy").exists()


def test_content_hash_is_of_pixels_labels_and_attributes(tmp_path):
    images = write(tmp_path / "s")
    store = open_store(tmp_path / "s")
    content = images.tobytes() + store.labels.astype("<i8").tobytes() + store.attributes.tobytes()
    assert store.content_hash == hashlib.sha256(content).hexdigest()


def test_odd_names_stay_one_a_line(tmp_path):
    names = ["a\nb", "caf\u00e9", "line\u2028break\r", "not utf-8 \udcff", ""]
    with StoreWriter(tmp_path / "s", 4, 3, made={}) as writer:
        for name in names:
            writer.add(pyramid(noise(1, 4)[0]), name)
    assert open_store(tmp_path / "s").names == ["a\\nb", names[1], names[2], "not utf-8 \\udcff", ""]


def test_images_of_a_resolution_that_is_not_there(tmp_path):
    write(tmp_path / "s")
    with pytest.raises(InputError, match="16 x 16, not 32 x 32"):
        open_store(tmp_path / "s").images(32)


# --- Writing: all or nothing -------------------------------------------------------------------


def test_existing_target_is_refused_and_an_empty_folder_is_not(tmp_path):
    target = tmp_path / "s"
    target.mkdir()
    write(target)
    before = (target / "dataset.json").read_bytes()
    with pytest.raises(InputError, match="exists already; choose another name"):
        write(target)
    assert (target / "dataset.json").read_bytes() == before
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="exists already"):
        write(tmp_path / "file")
    assert {path.name for path in tmp_path.iterdir()} == {"s", "file"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_exception_leaves_nothing(tmp_path, error):
    with pytest.raises(error), StoreWriter(tmp_path / "s", 16, 3, made={}) as writer:
        writer.add(pyramid(noise(1, 16)[0]), "a")
        assert [path.name for path in tmp_path.iterdir()] == [f".s.partial-{os.getpid()}"]
        raise error
    assert list(tmp_path.iterdir()) == []


def test_a_store_without_images_is_not_written(tmp_path):
    with pytest.raises(InputError, match="no image"), StoreWriter(tmp_path / "s", 16, 3, made={}):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("full", ["images-0128.npy", "images-0004.npy", "labels.npy", "dataset.json"])
def test_full_disk_leaves_nothing(tmp_path, monkeypatch, full):
    real_open = Path.open

    def open_on_full_disk(path, *args, **kwargs):
        return real_open(Path("/dev/full") if path.name == full else path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", open_on_full_disk)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)"):
        write(tmp_path / "s", count=40, resolution=128)
    assert list(tmp_path.iterdir()) == []


def test_a_target_under_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"cannot be written|cannot be looked at"):
        write(tmp_path / "file" / "s")


@pytest.mark.skipif(system() == "windows", reason="Windows does not tell; files that are open cannot be removed there")
def test_leftovers_of_dead_writers_are_removed_and_those_of_living_ones_are_not(tmp_path):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    leftover = tmp_path / f".s.partial-{int(dead.stdout)}"
    alive = tmp_path / f".s.partial-{os.getppid()}"
    other = tmp_path / f".other.partial-{int(dead.stdout)}"
    for folder in (leftover, alive, other):
        folder.mkdir()
        (folder / "images-0004.npy").write_bytes(b"x")
    write(tmp_path / "s")
    assert not leftover.exists() and alive.exists() and other.exists()


@pytest.mark.parametrize("resolution", [2, 48, 2048, 0, -4])
def test_resolution_must_be_a_power_of_two(tmp_path, resolution):
    with pytest.raises(InputError, match=f"^resolution is {resolution}; use a power of two from 4 to 1024$"):
        StoreWriter(tmp_path / "s", resolution, 3, made={})


# --- Reading: every kind of damage is named ----------------------------------------------------


def edit(path: Path, **fields) -> None:
    description = json.loads((path / "dataset.json").read_text())
    description.update(fields)
    (path / "dataset.json").write_text(json.dumps(description))


def cut(path: Path, name: str, size: int) -> None:
    os.truncate(path / name, size)


DAMAGES = {
    "no folder": (lambda path: path.rename(path.with_name("moved")), "there is no store at"),
    "unfinished": (lambda path: (path / "dataset.json").unlink(), "unfinished store"),
    "newer": (lambda path: edit(path, format_version=2), "store format 2.*reads format 1; update stylegan"),
    "older": (lambda path: edit(path, format_version=0), "store format 0.*prepare the images again"),
    "version missing": (lambda path: edit(path, format_version=None), "store format None"),
    "other kind": (lambda path: edit(path, kind="model"), "is not a store"),
    "a list": (lambda path: (path / "dataset.json").write_text("[]"), "is not a store"),
    "broken json": (lambda path: (path / "dataset.json").write_text('{"kind": '), "dataset.json: it cannot be read"),
    "not text": (lambda path: (path / "dataset.json").write_bytes(b"\xff\xfe\x00"), "cannot be read"),
    "deep json": (lambda path: (path / "dataset.json").write_text("[" * 100_000), "cannot be read"),
    "field missing": (lambda path: edit(path, count=None), "its field 'count' is missing"),
    "wrong count": (lambda path: edit(path, count=6), r"holds uint8 \[5, 4, 4, 3\] instead of uint8 \[6, 4, 4, 3\]"),
    "no images": (lambda path: edit(path, count=0), "it describes 0 images"),
    "odd resolution": (lambda path: edit(path, resolution=12), "5 images of 12 pixels"),
    "image file missing": (lambda path: (path / "images-0008.npy").unlink(), "images-0008.npy: it is missing"),
    "image file cut": (lambda path: cut(path, "images-0016.npy", 3000), "images-0016.npy: it is cut short"),
    "image file cut to its header": (lambda path: cut(path, "images-0016.npy", 128), "it is cut short"),
    "image file empty": (lambda path: cut(path, "images-0016.npy", 0), "it is cut short or no .npy file"),
    "image file longer": (lambda path: cut(path, "images-0016.npy", 9000), "longer than its header says"),
    "no header": (lambda path: (path / "images-0004.npy").write_bytes(bytes(368)), "no .npy file"),
    "pickle": (
        lambda path: np.save(path / "images-0004.npy", np.array([{}], object), allow_pickle=True),
        "images-0004.npy: it is cut short or no .npy file",
    ),
    "other dtype": (lambda path: np.save(path / "images-0004.npy", np.zeros((5, 4, 4, 3), np.int8)), "holds int8"),
    "other shape": (
        lambda path: np.save(path / "images-0004.npy", np.zeros((5, 3, 4, 4), np.uint8)),
        r"\[5, 3, 4, 4\] instead of",
    ),
    "fortran order": (
        lambda path: np.save(path / "images-0004.npy", np.zeros((5, 4, 4, 3), np.uint8, order="F")),
        "images-0004.npy",
    ),
    "labels missing": (lambda path: (path / "labels.npy").unlink(), "labels.npy: it is missing"),
    "labels of floats": (lambda path: np.save(path / "labels.npy", np.zeros(5)), "holds float64"),
    "attributes too few": (
        lambda path: np.save(path / "attributes.npy", np.zeros((5, 2), bool)),
        r"holds bool \[5, 2\]",
    ),
    "names missing": (lambda path: (path / "names.txt").unlink(), "names.txt: it is missing"),
}


@pytest.mark.parametrize("damage, message", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_stores_are_refused_in_one_sentence(tmp_path, damage, message):
    path = tmp_path / "s"
    write(path)
    damage(path)
    with pytest.raises(InputError, match=message) as caught:
        open_store(path)
    text = str(caught.value)
    assert "\n" not in text and not text.endswith(".") and not text[0].isupper() and str(path) in text


def test_files_and_other_folders_are_not_stores(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file, not a store"):
        open_store(tmp_path / "file")
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match=r"no dataset.json.*stylegan prepare"):
        open_store(tmp_path / "photos")


def test_too_few_names_are_noticed(tmp_path):
    write(tmp_path / "s")
    (tmp_path / "s" / "names.txt").write_text("one\n")
    with pytest.raises(InputError, match="1 names instead of 5"):
        _ = open_store(tmp_path / "s").names
