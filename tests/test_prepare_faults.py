"""What users of such programs have reported: sheets among samples, labels missed, names that are not UTF-8, 12 bits."""

import io
import os
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_generator
from PIL import Image

import stylegan
from stylegan import weights
from stylegan.cli import main
from stylegan.data.fitting import Fitting, decode
from stylegan.data.items import Unusable
from stylegan.data.prepare import PrepareConfig, PrepareReport, prepare
from stylegan.data.sources import open_source
from stylegan.data.store import open_store
from stylegan.errors import InputError
from stylegan.images import save_image

SIDE = 8


def png(value: int = 100, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (SIDE, SIDE), (value,) * 3 if mode == "RGB" else value).save(file, "PNG")
    return file.getvalue()


def folder_of(path: Path, names, **texts: str) -> Path:
    for number, name in enumerate(names):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(png(number))
    for name, text in texts.items():
        (path / name.replace("_csv", ".csv")).write_text(text)
    return path


def prepared(source: Path, **options) -> PrepareReport:
    config = PrepareConfig(SIDE, workers=1, **options)
    return prepare(source, source.parent / f"{source.name}-store", config, progress=False)


def classes_of(report: PrepareReport) -> dict[str, str]:
    store = open_store(report.path)
    return {name: store.label_names[label] for name, label in zip(store.names, store.labels, strict=True)}


# --- sheets


def test_what_generate_draws_is_prepared_without_its_grid(tmp_path, capsys):
    weights.save(tmp_path / "m.safetensors", weights.Model(tiny_generator(SIDE)))
    with pytest.raises(SystemExit) as ended:
        main(["generate", str(tmp_path / "m.safetensors"), "--seeds", "0-4", "--out", str(tmp_path / "out")])
    assert not ended.value.code and (tmp_path / "out/grid.png").exists()
    (tmp_path / "out/grid.png").rename(tmp_path / "out/any.png")  # known by what it says, whatever its name
    report = prepared(tmp_path / "out")
    assert report.count == 5 and report.skipped == [("any.png", "a sheet of several images, drawn by this program")]


def test_an_older_grid_is_known_by_its_name_beside_samples(tmp_path):
    report = prepared(folder_of(tmp_path / "a", ["seed0000.png", "seed0001.png", "grid.png"]))
    assert report.count == 2 and [name for name, _ in report.skipped] == ["grid.png"]
    assert prepared(folder_of(tmp_path / "b", ["grid.png", "lattice.png"])).count == 2  # somebody's picture of a grid


def test_single_images_are_not_marked(tmp_path):
    image = torch.zeros(3, SIDE, SIDE)
    save_image(image, tmp_path / "one.png")
    save_image(image, tmp_path / "many.png", sheet=True)
    assert decode((tmp_path / "one.png").read_bytes(), Fitting(SIDE)).shape == (SIDE, SIDE, 3)
    with pytest.raises(Unusable, match="sheet"):
        decode((tmp_path / "many.png").read_bytes(), Fitting(SIDE))


# --- names


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are Unicode there")
def test_names_that_are_not_utf_8(tmp_path, capsys):
    odd = os.fsdecode(b"f\xff")
    source = folder_of(tmp_path / odd, [f"{odd}a/{odd}.png", "b/1.png"])
    (source / "b" / f"{odd}bad.png").write_bytes(b"")
    (source / "b" / f"{odd}.doc").write_bytes(b"")
    sys.stdout.reconfigure(errors="strict")
    options = ["--resolution", str(SIDE), "--classes", "folders", "--workers", "1"]
    with pytest.raises(SystemExit) as ended:
        main(["prepare", str(source), str(tmp_path / f"{odd}store"), *options])
    assert not ended.value.code
    said = capsys.readouterr().out
    assert r"skipped b/f\udcffbad.png" in said and r"skipped b/f\udcff.doc" in said
    store = open_store(tmp_path / f"{odd}store")
    assert sorted(store.names) == ["b/1.png", r"f\udcffa/f\udcff.png"]
    assert store.label_names == ("b", r"f\udcffa") and store.made["source"] == r"f\udcff"


# --- labels


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("columns", [("file_name", "label"), ("Filename", "Class"), ("image", "category")])
def test_metadata_of_other_programs(tmp_path, separator, columns):
    rows = [columns, ("0.png", "cat"), ("1.png", "dog")]
    text = "\n".join(separator.join((*row, "x")) for row in rows)
    report = prepared(folder_of(tmp_path / "s", ["0.png", "1.png"], metadata_csv=text))
    assert classes_of(report) == {"0.png": "cat", "1.png": "dog"}
    assert report.has_labels and report.labels == "2 classes from the metadata.csv in s"


def test_columns_that_are_not_understood_are_said(tmp_path):
    report = prepared(folder_of(tmp_path / "s", ["0.png"], metadata_csv="picture,kind\n0.png,cat\n"))
    assert not report.has_labels and "has no columns named file_name and label, but kind, picture" in report.labels


def test_folders_of_numbers_are_sorted_as_numbers(tmp_path):
    report = prepared(folder_of(tmp_path / "s", [f"{n}/x.png" for n in range(12)]), classes="folders")
    assert open_store(report.path).label_names == tuple(map(str, range(12)))
    assert classes_of(report) == {f"{n}/x.png": str(n) for n in range(12)}


def test_labels_that_start_at_1_make_no_empty_class(tmp_path):
    text = "file_name,label\n0.png,1\n1.png,3\n"
    report = prepared(folder_of(tmp_path / "s", ["0.png", "1.png"], metadata_csv=text))
    assert open_store(report.path).label_names == ("1", "2", "3")
    assert classes_of(report) == {"0.png": "1", "1.png": "3"}


def test_metadata_as_spreadsheets_and_windows_write_it(tmp_path):
    """Blanks around cells, numbers as 1.0, backslashes, cells without a label; and names of columns in JSON, too."""
    text = "file_name, label\na\\0.png, 10.0\n ./a/1.png,2.0 \na/2.png, \n"
    names = ["a/0.png", "a/1.png", "a/2.png"]
    report = prepared(folder_of(tmp_path / "s", names, metadata_csv=text))
    assert classes_of(report) == {"a/0.png": "10", "a/1.png": "2"}
    assert report.skipped == [("a/2.png", "no label in metadata.csv")]
    source = folder_of(tmp_path / "t", names[:2])
    rows = '{"Image": "a\\\\0.png", "Class": "cat"}\n{"Image": "a/1.png", "Class": "dog"}\n'
    (source / "metadata.jsonl").write_text(rows)
    assert classes_of(prepared(source)) == {"a/0.png": "cat", "a/1.png": "dog"}


def test_a_training_keeps_the_class_names(tmp_path):
    report = prepared(folder_of(tmp_path / "s", ["cat/0.png", "dog/1.png"]), classes="folders")
    config = stylegan.preset("demo", str(report.path), labels=True)
    short = replace(config, schedule=replace(config.schedule, total_kimg=0.001))
    outcome = stylegan.train(short, tmp_path / "run", progress=False)
    assert stylegan.load_model(outcome.model).label_names == ("cat", "dog")


def test_attributes_csv(tmp_path):
    text = "file_name;hat;smile\n0.png;1;-1\n1.png;0;yes\n"
    report = prepared(folder_of(tmp_path / "s", ["0.png", "1.png", "2.png"], attributes_csv=text))
    store = open_store(report.path)
    assert store.attribute_names == ("hat", "smile") and report.skipped == [
        ("2.png", "no attributes in attributes.csv")
    ]
    found = dict(zip(store.names, store.attributes.tolist(), strict=True))
    assert found == {"0.png": [True, False], "1.png": [False, True]}
    for text in ("file_name,hat\n0.png,7\n", "hat,smile\n1,0\n", "file_name\n0.png\n", "file_name,hat\n"):
        (tmp_path / "s/attributes.csv").write_text(text)
        with pytest.raises(InputError, match=r"the attributes\.csv in s"):
            open_source(tmp_path / "s")


def test_attributes_csv_of_words(tmp_path):
    """One attribute for each word of a column, of two words the second alone."""
    rows = ["0.png,0-2,Male,yes", "1.png,20-29,Female,no", "2.png,more than 70,Male,no"]
    text = "\n".join(["file,age,gender,hat", *rows])
    report = prepared(folder_of(tmp_path / "s", ["0.png", "1.png", "2.png"], attributes_csv=text))
    store = open_store(report.path)
    assert store.attribute_names == ("age: 0-2", "age: 20-29", "age: more than 70", "gender: Male", "hat")
    found = dict(zip(store.names, store.attributes.astype(int).tolist(), strict=True))
    assert found == {"0.png": [1, 0, 0, 1, 1], "1.png": [0, 1, 0, 0, 0], "2.png": [0, 0, 1, 1, 0]}
    many = "\n".join(["file,remark", *(f"{i}.png,remark {i}" for i in range(65))])
    for text in (
        many,
        "file,sex\n0.png,m\n1.png,\n",
        "file,sex\n0.png,m\n1.png,f,3\n",
        "file,age\n0.png,7.5\n1.png,8\n",
    ):
        (tmp_path / "s/attributes.csv").write_text(text)
        with pytest.raises(InputError, match=r"the attributes\.csv in s"):
            open_source(tmp_path / "s")


def test_the_next_command_trains_with_the_labels_there_are(tmp_path, capsys):
    source = folder_of(tmp_path / "s", ["a/0.png", "b/1.png"])
    for options, line in (
        (["--classes", "folders"], "2 classes from s. Next: stylegan train {} RUN --labels"),
        (
            [],
            "no labels (its folders become classes with --classes folders). Next: stylegan train {} RUN",
        ),
    ):
        store = tmp_path / f"store{len(options)}"
        with pytest.raises(SystemExit) as ended:
            main(["prepare", str(source), str(store), "--resolution", str(SIDE), *options])
        assert not ended.value.code and capsys.readouterr().out.endswith(line.format(store) + "\n")


def test_class_names_are_kept_in_the_model_file(tmp_path):
    g = tiny_generator(label_count=2)
    weights.save(tmp_path / "m.safetensors", weights.Model(g, label_names=("cat", "dog")))
    assert weights.load_model(tmp_path / "m.safetensors").label_names == ("cat", "dog")
    weights.save(tmp_path / "old.safetensors", weights.Model(g))
    assert "label_names" not in weights.header_of(weights.Model(g))
    assert weights.load_model(tmp_path / "old.safetensors").label_names == ()
    weights.save(tmp_path / "x.safetensors", weights.Model(g, label_names=("cat",)))
    with pytest.raises(InputError, match="label_names"):
        weights.load_model(tmp_path / "x.safetensors")


# --- pictures


def test_sixteen_bits_of_which_twelve_are_used():
    """What cameras and microscopes write."""

    def gray(*values: int) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(np.resize(np.array(values, np.uint16), (SIDE, SIDE))).save(file, "PNG")
        return decode(file.getvalue(), Fitting(SIDE, channels=1)).ravel()[: len(values)]

    assert gray(0, 2048, 4095).tolist() == [0, 128, 255]
    assert gray(0, 4096, 65_535).tolist() == [0, 16, 255]


def test_what_is_refused_names_a_way_out(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    source = folder_of(tmp_path / "s", ["0.png"])
    (source / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with zipfile.ZipFile(source / "inner.zip", "w") as archive:
        archive.writestr("1.png", png())
    reasons = dict(prepared(source).skipped)
    assert "pip install 'stylegan[heic]', or convert it" in reasons["phone.heic"]
    assert "unpack it there, or prepare it by itself" in reasons["inner.zip"]
