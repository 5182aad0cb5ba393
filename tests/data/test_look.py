"""What a set is like: duplicates, blur, bars, odd ones, resolutions; lists of what to leave out; what prepare says."""

import io
import json

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from stylegan.data import exclude
from stylegan.data.fitting import Fitting, decode
from stylegan.data.items import FileItem
from stylegan.data.look import Glance, Measure, blur, borders, duplicates, judge, oddness, propose
from stylegan.data.prepare import PrepareConfig, prepare
from stylegan.data.store import open_store
from stylegan.data.summary import summary
from stylegan.errors import InputError
from stylegan.files import SHEET_MARK


def picture(seed: int, width: int = 120, height: int = 90) -> Image.Image:
    """Something with edges at every scale: random rectangles, and grain."""
    rng = np.random.RandomState(seed)
    pixels = np.full((height, width, 3), rng.randint(0, 256, 3), np.float64)
    for _ in range(60):
        x, y, w, h = rng.rand(4) * (width, height, width / 2, height / 2)
        pixels[int(y) : int(y + h), int(x) : int(x + w)] = rng.randint(0, 256, 3)
    return Image.fromarray((pixels + rng.uniform(-8, 8, pixels.shape)).clip(0, 255).astype(np.uint8))


def save(folder, images: dict[str, Image.Image], **options) -> None:
    folder.mkdir(exist_ok=True)
    for name, image in images.items():
        image.save(folder / name, **options)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Twelve pictures; of the first a copy, a smaller one, a brighter one and a mirror image."""
    first = picture(0)
    save(tmp_path / "set", {f"{i:02d}.png": picture(i) for i in range(12)})
    save(tmp_path / "set", {"copy.png": first, "mirrored.png": first.transpose(Image.Transpose.FLIP_LEFT_RIGHT)})
    save(
        tmp_path / "set",
        {"small.jpg": first.resize((70, 52)), "bright.png": ImageEnhance.Brightness(first).enhance(1.2)},
    )
    return tmp_path / "set"


TWICE = {"copy.png": "exact", "mirrored.png": "mirrored", "small.jpg": "near", "bright.png": "near"}


def test_duplicates_are_found_and_the_best_stays(folder):
    names = sorted(path.name for path in folder.iterdir())
    pictures = [Glance()(FileItem(name, str(folder))) for name in names]
    found = {names[pair.number]: (names[pair.of], pair.kind) for pair in duplicates(pictures)}
    assert found == {name: ("00.png", kind) for name, kind in TWICE.items()}
    larger = picture(0).resize((240, 180))
    save(folder, {"zz.png": larger})
    found = duplicates([*pictures, Glance()(FileItem("zz.png", str(folder)))])
    assert {pair.of for pair in found} == {len(names)} and len(found) == 5


def test_flat_pictures_are_no_duplicates(tmp_path):
    save(tmp_path / "s", {f"{i}.png": Image.new("RGB", (40, 40), (i, i, i)) for i in (20, 21, 200)})
    items = [FileItem(f"{i}.png", str(tmp_path / "s")) for i in (20, 21, 200)]
    assert duplicates([Glance()(item) for item in items]) == []


def test_blur_grows_with_blur():
    sharp = picture(3, 300, 300)
    values = [blur(sharp.filter(ImageFilter.GaussianBlur(radius))) for radius in (0, 1, 2, 4)]
    assert values == sorted(values) and values[0] < 0.4 and values[3] > 0.62
    assert blur(Image.new("RGB", (50, 50))) == blur(picture(1, 8, 8)) == 0


def test_bars_are_told_from_a_plain_background():
    boxed = np.asarray(picture(2, 100, 80)).copy()
    assert max(borders(boxed)) < 0.03
    boxed[:10] = boxed[-14:] = 5
    assert borders(boxed) == (0.3, 0.0)
    assert borders(boxed.swapaxes(0, 1)) == (0.0, 0.3)
    on_white = np.full((100, 100, 3), 255, np.uint8)
    on_white[30:80, 40:60] = 0  # a subject before a plain background
    assert borders(on_white) == (0, 0) == borders(np.zeros((20, 20, 3), np.uint8))


def test_what_is_odd():
    features = np.random.RandomState(0).normal(1, 0.1, (40, 16))
    features[7] = -features[7]
    odd = oddness(features)
    assert odd.argmax() == 7 and odd[7] > 10 and np.delete(odd, 7).max() < 6
    assert not oddness(features[:5]).any()


def test_a_judgment_names_what_it_found(folder):
    save(folder, {"soft.png": picture(50).filter(ImageFilter.GaussianBlur(5)), "tiny.png": picture(51, 30, 30)})
    names = sorted(path.name for path in folder.iterdir())
    facts = [Measure(64)(FileItem(name, str(folder))).facts for name in names]
    features = np.random.RandomState(0).normal(size=(len(names), 8)).astype(np.float32)
    found = {(names[f.number], f.kind): f for f in judge(facts, features, 64)}
    assert {name for name, kind in found if kind in ("exact", "near")} == set(TWICE)
    assert found["copy.png", "exact"].drop and found["copy.png", "exact"].reason == "the same file as 00.png"
    assert ("soft.png", "blurred") in found and not found["soft.png", "blurred"].drop
    assert ("tiny.png", "tiny") in found and ("00.png", "tiny") not in found
    with Image.open(io.BytesIO(facts[0].preview)) as preview:
        assert max(preview.size) == 64


@pytest.mark.parametrize(
    "sides, squares, expected",
    [
        ([128] * 5, True, (128, True)),
        ([1024] * 5, True, (1024, True)),
        ([128] * 5, False, (128, False)),
        ([3000] * 5, True, (256, False)),
        ([300] * 9 + [100], False, (256, False)),
        ([300] * 8 + [100] * 2, False, (64, False)),
        ([3], True, (4, False)),
    ],
)
def test_a_resolution_is_proposed(sides, squares, expected):
    proposal = propose(sides, squares)
    assert (proposal.resolution, proposal.decided) == expected


# --- lists


def test_lists_are_read_as_they_are_written(tmp_path):
    names = {"a b.png": "blurred", "c #1.png": "", "#d.png": "no # reason", "e.png": ""}
    text = exclude.HEADER + "".join(exclude.line(*pair) for pair in names.items()) + "\n  # a remark\n#f.png\n"
    for lines in (text, text.replace("\n", "\r\n")):
        (tmp_path / "list.txt").write_bytes(lines.encode() + b"other #2.png  # gone\n")
        assert exclude.read(tmp_path / "list.txt", {*names, "f.png"}) == (names, ["other"])


def test_lists_that_are_none_are_refused(tmp_path, folder):
    (tmp_path / "binary").write_bytes(b"\0\1\2")
    (tmp_path / "latin").write_bytes("ä.png".encode("latin-1"))
    (tmp_path / "other").write_text("nowhere.png\n")
    (tmp_path / "all").write_text("\n".join(path.name for path in folder.iterdir()))
    messages = {"binary": "no text file", "latin": "no text file", "other": "does not have", "all": "every image"}
    for name, message in messages.items() | {("none", "there is no list"), ("set", "is no file")}:
        with pytest.raises(InputError, match=message):
            prepare(folder, tmp_path / "store", PrepareConfig(16, exclude=tmp_path / name), progress=False)
    assert not (tmp_path / "store").exists()


def test_what_is_left_out_is_said_and_recorded(tmp_path, folder):
    (tmp_path / "list.txt").write_text("03.png  # ugly\n04.png\nnowhere.png\n")
    config = PrepareConfig(16, exclude=tmp_path / "list.txt", drop_duplicates=True)
    report = prepare(folder, tmp_path / "store", config, progress=False)
    assert report.left_out == [
        ("03.png", "excluded: ugly"),
        ("04.png", "excluded"),
        ("bright.png", "nearly the same as 00.png"),
        ("copy.png", "the same file as 00.png"),
        ("mirrored.png", "nearly the mirror image of 00.png"),
        ("small.jpg", "nearly the same as 00.png"),
    ]
    store = open_store(tmp_path / "store")
    assert sorted(store.names) == [f"{i:02d}.png" for i in range(12) if i not in (3, 4)] and report.skipped == []
    made = json.loads((tmp_path / "store/dataset.json").read_text())["made"]
    assert made["excluded"] == {"03.png": "ugly", "04.png": ""}
    assert sorted(made["duplicates"]) == sorted([name, "00.png", kind] for name, kind in TWICE.items())
    lines = "\n".join(report.lines())
    assert "left out copy.png: the same file as 00.png" in lines and "(nowhere.png)" in lines
    assert "1 exact and 3 near duplicates" in lines and "10 images of 16 x 16" in lines


# --- what prepare says, and the sheet


def test_the_ways_out():
    sizes = [("a", "too small: 60 x 300"), ("b", "too small: 40 x 50")]
    assert list(summary(sizes, 9, 64, "crop")) == [
        "2 of 9 are smaller than 64: --allow-upscale, or --resolution 32 keeps all; --fit pad keeps 1 of them."
    ]
    assert list(summary(sizes[:1], 9, 256, "crop")) == [
        "1 of 9 is smaller than 256: --allow-upscale, --fit pad, or --resolution 32 keeps all."
    ]
    others = [("a", "truncated"), ("b", "damaged or truncated: x"), ("c", "not an image"), ("d", "of some other kind")]
    found = list(summary(others, 4, 64, "crop"))
    assert found[0] == "2 of 4 are damaged or unreadable: copy or fetch them again."
    assert sorted(found[1:]) == [
        "1 of 4 is not in a known image format: convert them to JPEG or PNG, if they are pictures.",
        "1 of 4 is of some other kind.",
    ]


def test_a_resolution_comes_from_the_images(tmp_path):
    save(tmp_path / "s", {f"{i}.png": picture(i, 70, 40) for i in range(5)})
    report = prepare(tmp_path / "s", tmp_path / "store", progress=False)
    assert report.resolution == 32 and open_store(tmp_path / "store").resolution == 32
    lines = list(report.lines())
    assert lines[0] == "Resolution 32, which all images reach; --resolution sets another."
    assert "The crop takes away 43% of an image" in lines[1] and len(lines) == 4
    assert prepare(tmp_path / "s", tmp_path / "padded", PrepareConfig(fit="pad"), progress=False).resolution == 64
    with pytest.raises(InputError, match=r"--fit pad, or --resolution 32 keeps all$"):
        prepare(tmp_path / "s", tmp_path / "none", PrepareConfig(64), progress=False)


def test_a_sheet_of_what_was_kept(tmp_path):
    save(tmp_path / "s", {f"{i:03d}.png": Image.new("RGB", (8, 8), (i % 256, 0, i // 256)) for i in range(401)})
    report = prepare(tmp_path / "s", tmp_path / "store", PrepareConfig(8), progress=False)
    store = open_store(report.path)
    with Image.open(tmp_path / "store/kept.png") as sheet:
        assert sheet.size == (1280, 1280) and sheet.info[SHEET_MARK[0]] == SHEET_MARK[1]
        assert sheet.getpixel((64 * 3 + 5, 64 * 2 + 5)) == tuple(store.images()[43, 0, 0])
    with Image.open(tmp_path / "store/kept-2.png") as sheet:
        assert sheet.size == (64, 64)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_paddings(channels):
    image = Image.new("RGB", (16, 8), "red")
    image.paste("blue", (0, 0, 16, 1))
    data = png(image)

    def padded(pad) -> np.ndarray:
        return decode(data, Fitting(16, "pad", channels, pad=pad))

    middle = padded(None)[4:12]
    for pad in ("edge", "blur", "#102030"):
        np.testing.assert_array_equal(padded(pad)[4:12], middle)
    assert (padded(None)[:4] == 0).all()
    np.testing.assert_array_equal(padded("edge")[0], middle[0])
    np.testing.assert_array_equal(padded("edge")[15], middle[7])
    color = np.array([[16, 32, 48, 255]])[:, : channels if channels > 1 else 1]
    assert channels == 1 or (padded("#102030")[0] == color).all()
    blurred = padded("blur")[..., :3].astype(int)
    assert (blurred != 0).any(axis=(1, 2)).all() and np.abs(np.diff(blurred[12:], axis=1)).max() < 30
    with pytest.raises(InputError, match="pad is 'pink'"):
        prepare("s", "store", PrepareConfig(8, fit="pad", pad="pink"))
    with pytest.raises(InputError, match="give --fit pad too"):
        prepare("s", "store", PrepareConfig(8, pad="edge"))


# --- labels from a table


@pytest.fixture
def labeled(tmp_path):
    save(tmp_path / "set", {f"{i}.png": picture(i, 16, 16) for i in range(4)})
    (tmp_path / "set/attributes.csv").write_text(
        "file,age,kind\n0.png,7.5,cat\n1.png,3,dog\n2.png,9,cat\n3.png,4,dog\n"
    )
    return tmp_path / "set"


def classes(source, tmp_path, **options):
    report = prepare(source, tmp_path / "store", PrepareConfig(16, **options), progress=False)
    store = open_store(report.path)
    found = {name: store.label_names[label] for name, label in zip(store.names, store.labels, strict=True)}
    return found, report


def test_labels_from_a_column(tmp_path, labeled):
    found, report = classes(labeled, tmp_path, label_column="Kind")
    assert found == {"0.png": "cat", "1.png": "dog", "2.png": "cat", "3.png": "dog"}
    assert report.labels == "2 classes from kind in attributes.csv" and report.has_labels
    assert "Classes: cat (2), dog (2)." in report.remarks


def test_labels_from_a_file_elsewhere(tmp_path, labeled):
    (tmp_path / "table.csv").write_text("image;label\nx/0;1\nx/1;2\nx/3;2\n")  # by stem
    (labeled / "attributes.csv").unlink()
    found, report = classes(labeled, tmp_path, labels_from=str(tmp_path / "table.csv"))
    assert found == {"0.png": "1", "1.png": "2", "3.png": "2"}
    assert report.skipped == [("2.png", "no label in table.csv")]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"label_column": "size"}, "has no column 'size'; give --label-column one of: age, kind"),
        ({"labels_from": "attributes.csv"}, "has several columns; give --label-column one of: age, kind"),
        ({"labels_from": "nothing.csv"}, r"there is no table nothing\.csv"),
        ({"label_column": "kind", "classes": "folders"}, "leave --classes or --labels-from out"),
    ],
)
def test_tables_that_give_no_classes(tmp_path, labeled, options, message):
    with pytest.raises(InputError, match=message):
        classes(labeled, tmp_path, **options)
    with pytest.raises(InputError, match="names none of the images"):
        (tmp_path / "t.csv").write_text("file,label\nnowhere.png,1\n")
        classes(labeled, tmp_path, labels_from=str(tmp_path / "t.csv"))
    assert not (tmp_path / "store").exists()
