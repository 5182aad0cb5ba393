"""What `stylegan info` says, of what is whole and of what is not."""

import json
import shutil

import pytest
import torch
from conftest import tiny_generator
from safetensors.torch import save_file
from test_cli import refused, run
from test_files import some_files

from stylegan import dragging, encoders, sampling, weights
from stylegan.config import to_dict
from stylegan.describe import describe
from stylegan.dragging import Drag, Point
from stylegan.encoders import EncoderConfig
from stylegan.errors import InputError
from stylegan.training.config import TrainingConfig
from stylegan.training.losses import LossConfig


@pytest.fixture
def run_folder(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(to_dict(TrainingConfig(preset="small", data="store"))))
    return tmp_path


@pytest.mark.parametrize(
    ("stats", "last"),
    [
        (b"", "none yet"),
        (b'{"images_seen": 1}\n{"images_seen": 2}\n', {"images_seen": 2}),
        (b'{"images_seen": 1}\n{"images_seen": 2}\n{"images_seen": 3, "loss', {"images_seen": 2}),
        (b'{"images_seen": 1}\n\xff\xfe\x00\n', {"images_seen": 1}),
        (b'{"images_seen": 1}\n5\n\n', {"images_seen": 1}),
        (b'{"tick": 1}\n', "none yet"),
        (b'{"im', "none yet"),
    ],
)
def test_a_report_that_was_cut_short_is_passed_over(run_folder, stats, last, capsys):
    (run_folder / "stats.jsonl").write_bytes(stats)
    assert describe(run_folder)["last report"] == last and describe(run_folder)["preset"] == "small"
    assert run("info", run_folder) == 0 and "small" in capsys.readouterr().out


def test_the_options_of_a_run(tmp_path, capsys):
    config = TrainingConfig(start_from="base.safetensors", loss=LossConfig(r1_gamma=3), grid=(4, 2))
    (tmp_path / "run.json").write_text(json.dumps(to_dict(config)))
    facts = describe(tmp_path)
    assert facts["started from"] == "base.safetensors"
    assert facts["options"] == {"loss.r1_gamma": 3.0, "grid": (4, 2)}
    assert run("info", tmp_path) == 0 and '"loss.r1_gamma": 3.0' in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b'{"preset": "sm', b"\xff\xfe{}", b"[]", b'{"unknown": 1}', b"[" * 100_000])
def test_a_damaged_run_is_refused_in_one_sentence(run_folder, content, capsys):
    (run_folder / "run.json").write_bytes(content)
    assert "run.json cannot be used" in refused(capsys, "info", run_folder)


def test_neither_run_nor_store(tmp_path):
    with pytest.raises(InputError, match="not a store"):
        describe(tmp_path)


def test_every_tensor_file_says_what_it_is_and_by_which_checksum(tmp_path, capsys):
    some_files(tmp_path)
    expected = {"classifiers": "attributes", "directions": "method", "latents": "tensors", "features": "tensors"}
    for name, fact in expected.items():
        facts = describe(tmp_path / f"{name}.safetensors")
        assert facts["checksum"].endswith(", right") and facts[fact], name
        assert facts["kind"] == ("tensors" if name == "features" else name)
        assert run("info", tmp_path / f"{name}.safetensors") == 0 and "right" in capsys.readouterr().out
    path = tmp_path / "latents.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert "its checksum is" in refused(capsys, "info", path)
    save_file({"w": torch.zeros(1, 8)}, tmp_path / "old.safetensors")  # latents of version 0.1
    assert describe(tmp_path / "old.safetensors")["checksum"].startswith("none")


def test_encoders_arrays_and_points(tmp_path, capsys):
    generator = tiny_generator(16)
    config = EncoderConfig(hidden=8)
    encoder = encoders.new_encoder(generator, config)
    encoders.save(tmp_path / "e.safetensors", encoder, generator, notes="a try", images_seen=5000)
    facts = describe(tmp_path / "e.safetensors")
    assert facts["kind"] == "encoder" and facts["images_seen"] == 5000 and facts["notes"] == "a try"
    assert facts["encoder"]["resolution"] == 16 and facts["encoder"]["num_layers"] == 6
    assert facts["fingerprint"] == weights.fingerprint(generator) and facts["checksum"].endswith("right")
    assert facts["parameters"] == encoder.config.size and "tensors" not in facts

    sampling.save_latents(tmp_path / "own.w.npy", w=torch.zeros(2, 6, 8))
    facts = describe(tmp_path / "own.w.npy")
    assert (facts["kind"], facts["space"], facts["shape"]) == ("latents", "w", [2, 6, 8])
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    assert "bad.npy cannot be read" in refused(capsys, "info", tmp_path / "bad.npy")

    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[2:4] = True
    dragging.write(tmp_path / "drag.json", Drag((Point(1, 2, 3, 4),), mask))
    facts = describe(tmp_path / "drag.json")
    assert facts["kind"] == "points to drag" and facts["points"] == ["1,2:3,4"] and facts["mask"] == "2 rectangles"
    (tmp_path / "favorites.json").write_text('{"kind": "stylegan-favorites"}')
    assert "no file of points" in refused(capsys, "info", tmp_path / "favorites.json")
    for name in ("e.safetensors", "own.w.npy", "drag.json"):
        assert run("info", tmp_path / name) == 0 and capsys.readouterr().out.startswith("kind")


def test_a_store_is_read_whole_on_demand(store, tmp_path, capsys):
    shutil.copytree(store, tmp_path / "store")
    assert run("info", tmp_path / "store", "--verify") == 0 and "all is as it was written" in capsys.readouterr().out
    path = tmp_path / "store" / "images-0008.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert run("info", tmp_path / "store") == 0
    assert "images-0008.npy: image 39 is not what was written" in refused(
        capsys, "info", tmp_path / "store", "--verify"
    )
