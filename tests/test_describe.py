"""What `stylegan info` says, of what is whole and of what is not."""

import json

import pytest
from test_cli import refused, run

from stylegan.config import to_dict
from stylegan.describe import describe
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
        (b'{"tick": 1}\n{"tick": 2}\n', {"tick": 2}),
        (b'{"tick": 1}\n{"tick": 2}\n{"tick": 3, "loss', {"tick": 2}),
        (b'{"tick": 1}\n\xff\xfe\x00\n', {"tick": 1}),
        (b'{"tick": 1}\n5\n\n', {"tick": 1}),
        (b'{"ti', "none yet"),
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
