"""What a run tells about itself."""

import sys
from dataclasses import replace

import pytest
import torch
from conftest import tiny_config

from stylegan.training.loop import train

CPU = torch.device("cpu")


@pytest.mark.parametrize("installed", [True, False])
def test_tensorboard_is_optional(store, tmp_path, monkeypatch, installed):
    pytest.importorskip("tensorboard")
    if not installed:
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    config = tiny_config(store)
    train(replace(config, schedule=replace(config.schedule, total_kimg=0.03)), tmp_path, progress=False)
    assert bool(list(tmp_path.glob("tensorboard/events*"))) == installed


def test_progress_tells_what_a_user_wants_to_know(store, tmp_path, capsys):
    config = tiny_config(store)
    train(config, tmp_path, progress=True)  # nobody watches: one line for each tick
    lines = capsys.readouterr().err.splitlines()
    assert any("16x16 fading in (" in line for line in lines)
    assert any("pass 10 of 10 (" in line for line in lines)  # 400 images, of which the store has 40
    ticks = [line for line in lines if "kimg, " in line]  # on a busy machine they also say that it is
    assert ticks and all("img/s, about " in line and line.endswith((" left", " busy elsewhere")) for line in ticks)
