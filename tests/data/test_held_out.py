"""Images held out: training never sees one, metrics compare with them, and stores without them are as they were."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from format_reader import read_store
from PIL import Image

from stylegan import cli
from stylegan.data.loader import Loader
from stylegan.data.prepare import PrepareConfig, prepare, prepare_portraits
from stylegan.data.store import open_store
from stylegan.describe import describe
from stylegan.errors import InputError
from stylegan.metrics.metric import EvaluateConfig, Evaluation
from stylegan.metrics.subject import images_of_array, open_images


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Twelve images; the level of each is twenty times its number."""
    folder = tmp_path_factory.mktemp("source") / "images"
    folder.mkdir()
    for number in range(12):
        Image.new("RGB", (8, 8), (20 * number,) * 3).save(folder / f"{number:02d}.png")
    return folder


def run(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert not end.value.code


def levels(images: np.ndarray) -> set[int]:
    """The numbers of the images."""
    return {int(image.mean()) // 20 for image in images}


@pytest.mark.parametrize(("hold_out", "count"), [(3, 3), (0.25, 3), (0.01, 1), (11, 11)])
def test_the_last_by_name_are_held_out(source, tmp_path, hold_out, count):
    report = prepare(source, tmp_path / "s", PrepareConfig(8, hold_out=hold_out), progress=False)
    store = open_store(tmp_path / "s")
    held_out = store.held_out()
    assert (report.count, report.held_out_count) == (store.count, held_out.count) == (12 - count, count)
    assert levels(held_out.images()) == set(range(12 - count, 12))
    assert levels(store.images()) == set(range(12 - count))
    assert sorted(held_out.names) == [f"{number:02d}.png" for number in range(12 - count, 12)]
    assert store.made["hold_out"] == hold_out and describe(tmp_path / "s")["held out"] == count
    assert "held out" not in describe(tmp_path / "s" / "held-out")


def test_training_never_sees_one(source, tmp_path):
    prepare(source, tmp_path / "s", PrepareConfig(8, hold_out=5), progress=False)
    loader = Loader(open_store(tmp_path / "s"), seed=3, mirror=True)
    seen = set()
    for start in range(0, 70, 7):  # ten epochs
        images, _ = loader.batch(np.arange(start, start + 7), 8)
        seen |= levels(images.numpy())
    assert seen == set(range(7))


def test_the_others_keep_their_order_and_a_limit_counts_them_alone(source, tmp_path):
    plain, held = ([f"{n:02d}.png" for n in numbers] for numbers in (range(12), range(9, 12)))
    prepare(source, tmp_path / "plain", PrepareConfig(8), progress=False)
    prepare(source, tmp_path / "s", PrepareConfig(8, hold_out=3, limit=4), progress=False)
    order = [name for name in open_store(tmp_path / "plain").names if name not in held]
    store = open_store(tmp_path / "s")
    assert store.names == order[:4] and set(plain) > set(order)
    assert set(store.held_out().names) == set(held)


def test_a_store_without_says_nothing_of_it(source, tmp_path):
    prepare(source, tmp_path / "s", PrepareConfig(8), progress=False)
    assert open_store(tmp_path / "s").held_out() is None
    fields = json.loads((tmp_path / "s" / "dataset.json").read_text())
    assert not {"held_out_count", "hold_out"} & (fields.keys() | fields["made"].keys())
    assert not (tmp_path / "s" / "held-out").exists()


def test_a_reader_of_the_first_version_sees_the_training_images(source, tmp_path):
    prepare(source, tmp_path / "s", PrepareConfig(8, hold_out=4), progress=False)
    assert levels(read_store(tmp_path / "s")["images"][8]) == set(range(8))
    assert levels(read_store(tmp_path / "s" / "held-out")["images"][8]) == set(range(8, 12))


def test_labels_go_with_their_images(source, tmp_path):
    for number in range(12):
        folder = tmp_path / "classes" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / f"{number:02d}.png", folder)
    prepare(tmp_path / "classes", tmp_path / "s", PrepareConfig(8, hold_out=4, classes="folders"), progress=False)
    held_out = open_store(tmp_path / "s").held_out()
    assert held_out.label_names == ("a", "b") and held_out.labels.tolist() == [1, 1, 1, 1]


def test_portraits_hold_out_their_last(tmp_path):
    report = prepare_portraits(tmp_path / "s", count=6, hold_out=2, resolution=8, workers=1, progress=False)
    held_out = open_store(tmp_path / "s").held_out()
    assert (report.count, report.held_out_count) == (4, 2)
    assert held_out.names == ["portrait-0-000004", "portrait-0-000005"] and held_out.attributes.shape[0] == 2


def test_the_command_takes_a_number_or_a_share_and_says_what_it_has_held_out(source, tmp_path, capsys):
    for hold_out, counts in (("3", (9, 3)), ("0.5", (6, 6))):
        run(["prepare", str(source), str(tmp_path / hold_out), "--resolution", "8", "--hold-out", hold_out])
        assert "{} images of 8 x 8 and {} held out in".format(*counts) in capsys.readouterr().out
    run(["prepare", "portraits", str(tmp_path / "p"), "--count", "4", "--resolution", "8", "--hold-out", "1"])
    assert "3 images of 8 x 8 and 1 held out in" in capsys.readouterr().out
    run(["info", str(tmp_path / "p")])
    assert re.search(r"held out\W+1\b", capsys.readouterr().out)


@pytest.mark.parametrize("hold_out", [-1, 1.5, 12, 40, float("nan"), float("inf")])
def test_what_cannot_be_held_out(source, tmp_path, hold_out):
    with pytest.raises(InputError, match=r"hold_out is|hold out fewer"):
        prepare(source, tmp_path / "s", PrepareConfig(8, hold_out=hold_out), progress=False)
    assert list(tmp_path.iterdir()) == []


def test_images_to_hold_out_that_cannot_be_used(source, tmp_path):
    shutil.copytree(source, tmp_path / "images")
    (tmp_path / "images" / "99.png").write_bytes(b"damaged")
    with pytest.raises(InputError, match="none of the images to hold out can be used"):
        prepare(tmp_path / "images", tmp_path / "s", PrepareConfig(8, hold_out=1), progress=False)
    report = prepare(tmp_path / "images", tmp_path / "s", PrepareConfig(8, hold_out=2), progress=False)
    assert (report.count, report.held_out_count, len(report.skipped)) == (11, 1, 1)


def test_held_out_images_that_are_gone_or_others_are_noticed(source, tmp_path):
    for name, count in (("s", 3), ("other", 2)):
        prepare(source, tmp_path / name, PrepareConfig(8, hold_out=count), progress=False)
    store = open_store(tmp_path / "s")
    shutil.rmtree(tmp_path / "s" / "held-out")
    with pytest.raises(InputError, match="held-out: it is missing"):
        open_store(tmp_path / "s")
    (tmp_path / "other" / "held-out").rename(tmp_path / "s" / "held-out")
    with pytest.raises(InputError, match="other images than the 3"):
        store.held_out()


def test_metrics_compare_with_them(source, tmp_path):
    prepare(source, tmp_path / "s", PrepareConfig(8, hold_out=3), progress=False)
    prepare(source, tmp_path / "plain", PrepareConfig(8), progress=False)
    fakes = images_of_array(torch.zeros(4, 3, 8, 8, dtype=torch.uint8))

    def reals(which: str, store: str = "s"):
        config = EvaluateConfig(("fid50k",), reals=which)
        return Evaluation(config, torch.device("cpu"), images=fakes, data=tmp_path / store, progress=False).reals

    assert (reals("auto").name, reals("auto").count) == ("s/held-out", 3)
    assert reals("held-out").identity == reals("auto").identity != reals("training").identity
    assert (reals("training").name, reals("training").count) == ("s", 9)
    assert (reals("auto", "plain").name, reals("auto", "plain").count) == ("plain", 12)
    assert levels(reals("auto").batch(np.arange(3)).numpy()) == {9, 10, 11}
    with pytest.raises(InputError, match="no held-out images"):
        reals("held-out", "plain")
    with pytest.raises(InputError, match="only stores have held-out images"):
        open_images(source, "held-out")
    assert open_images(tmp_path / "s").count == 9  # what is measured of a store is what was trained on
