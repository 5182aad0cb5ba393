"""FFHQ's folder with its description: split, checksums, credits, and faces cut out of the photographs by landmarks."""

import hashlib
import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from stylegan.data import align
from stylegan.data.prepare import PrepareConfig, prepare
from stylegan.data.sources import open_source
from stylegan.data.store import open_store
from stylegan.errors import InputError

FOLDERS = {"image": "images1024x1024", "thumbnail": "thumbnails128x128", "in_the_wild": "in-the-wild-images"}
CENTER = (70, 52)  # of the faces in the photographs, which are squares of 64 x 64


def smooth(seed: int, height: int, width: int) -> np.ndarray:
    coarse = np.random.RandomState(seed).randint(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def landmarks() -> list[list[float]]:
    """68 points. The eyes are 16 pixels apart, the mouth 16 below them: the side is 4 times that, the center 1.6 below
    the eyes."""
    points = np.full((68, 2), 5.0)
    x, y = CENTER[0], CENTER[1] - 1.6
    points[36:42], points[42:48] = (x - 8, y), (x + 8, y)
    points[[48, 54]] = (x - 4, y + 16), (x + 4, y + 16)
    return points.tolist()


@pytest.fixture
def folder(tmp_path):
    """Six images: aligned, as thumbnails, as photographs, and what the description says of them."""
    entries, root = {}, tmp_path / "ffhq"
    for i in range(6):
        entry = {
            "category": "training" if i < 4 else "validation",
            "metadata": {
                "photo_url": f"https://photos.example/{i}",
                "photo_title": f"DSC{i}\x1b[31m",
                "author": "Ada \u00c5" if i % 2 else "Bo",
                "license": "Attribution License" if i % 2 else "Public Domain Mark",
                "license_url": f"https://licenses.example/{i % 2}",
            },
        }
        for part, (height, width) in {"image": (64, 64), "thumbnail": (8, 8), "in_the_wild": (120, 150)}.items():
            file = BytesIO()
            Image.fromarray(smooth(i, height, width)).save(file, "PNG")
            path = root / FOLDERS[part] / "00000" / f"{i:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.getvalue())
            entry[part] = {"file_path": path.relative_to(root).as_posix(), "file_size": len(file.getvalue())}
            entry[part]["file_md5"] = hashlib.md5(file.getvalue()).hexdigest()
        entry["in_the_wild"]["face_landmarks"] = landmarks()
        entries[str(i)] = entry
    (root / "ffhq-dataset-v2.json").write_text(json.dumps(entries))
    return root


def change(folder, number: int, part: str, **values) -> None:
    entries = json.loads((folder / "ffhq-dataset-v2.json").read_text())
    entries[str(number)][part] |= values
    (folder / "ffhq-dataset-v2.json").write_text(json.dumps(entries))


def test_split_and_credits(folder, tmp_path):
    config = PrepareConfig(resolution=16, own_split=True, workers=1)
    report = prepare(folder, tmp_path / "store", config, progress=False)
    store = open_store(tmp_path / "store")
    assert report.skipped == [] and sorted(store.names) == [f"images1024x1024/00000/{i:05d}.png" for i in range(4)]
    assert sorted(store.held_out().names) == [f"images1024x1024/00000/{i:05d}.png" for i in (4, 5)]
    assert store.made["hold_out"] == "own split"
    text = (tmp_path / "store/CREDITS.txt").read_text(encoding="utf-8")
    assert "3 images: Attribution License\n" in text and "\x1b" not in text
    line = next(line for line in text.splitlines() if "00003.png" in line)
    assert "Ada \u00c5" in line and "(https://licenses.example/1), https://photos.example/3" in line
    whole = prepare(folder, tmp_path / "whole", PrepareConfig(resolution=16, workers=1), progress=False)
    assert whole.held_out_count == 0 and open_store(tmp_path / "whole").count == 6  # as the paper has it


def test_damaged_images_are_left_out(folder, tmp_path):
    change(folder, 2, "image", file_md5="0" * 32)
    report = prepare(folder, tmp_path / "store", PrepareConfig(resolution=16, workers=1), progress=False)
    ((name, reason),) = report.skipped
    assert name.endswith("00002.png") and "checksum of ffhq-dataset-v2.json" in reason
    assert "00002.png" not in (tmp_path / "store/CREDITS.txt").read_text(encoding="utf-8")  # only of what is there


def test_faces_come_from_the_photographs(folder, tmp_path, monkeypatch):
    """By the landmarks: no face is looked for, and the squares are where they should be."""
    monkeypatch.setattr(align, "check", lambda: pytest.fail("MediaPipe is not needed"))
    config = PrepareConfig(resolution=32, fit="face", workers=1)
    report = prepare(folder, tmp_path / "store", config, progress=False)
    store = open_store(tmp_path / "store")
    assert report.skipped == [] and store.count == 6
    for image, name in zip(store.images(32), store.names, strict=True):
        assert name.startswith("in-the-wild-images/")
        photograph = smooth(int(name[-9:-4]), 120, 150)
        x, y = CENTER
        square = photograph[y - 32 : y + 32, x - 32 : x + 32].astype(float)
        expected = square.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
        assert np.abs(image - expected).mean() < 1 and np.abs(image - expected).max() < 8


@pytest.mark.parametrize(
    ("points", "reason"),
    [([[5000.0, 5000.0]] * 68, "not where its landmarks are"), (None, "too small: 64 x 64")],
    ids=["outside", "small"],
)
def test_faces_that_cannot_be_cut_out(folder, tmp_path, points, reason):
    if points is not None:
        change(folder, 1, "in_the_wild", face_landmarks=points)
    resolution = 32 if points is not None else 128
    config = PrepareConfig(resolution=resolution, fit="face", workers=1)
    if points is None:
        with pytest.raises(InputError, match=reason):
            prepare(folder, tmp_path / "store", config, progress=False)
        return
    report = prepare(folder, tmp_path / "store", config, progress=False)
    assert [reason in why for _, why in report.skipped] == [True]


@pytest.mark.parametrize(
    "damage", ["[]", "{", '{"x": {}}', '{"0": 3}', '{"0": {"in_the_wild": {"face_landmarks": [1]}}}']
)
def test_damaged_descriptions(folder, damage):
    (folder / "ffhq-dataset-v2.json").write_text(damage)
    with pytest.raises(InputError, match=r"ffhq-dataset-v2\.json cannot be read"):
        open_source(folder, faces=True)


def test_a_split_that_is_not_there(folder, tmp_path):
    (folder / "ffhq-dataset-v2.json").unlink()
    with pytest.raises(InputError, match="appoints no images for validation"):
        prepare(folder, tmp_path / "store", PrepareConfig(resolution=16, own_split=True, workers=1), progress=False)
    with pytest.raises(InputError, match="leave out one"):
        prepare(folder, tmp_path / "store", PrepareConfig(own_split=True, hold_out=2), progress=False)
