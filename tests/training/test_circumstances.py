"""A state says what its bits depend on, and a run that goes on under other circumstances says that."""

from dataclasses import asdict, replace

import pytest
import torch
from conftest import tiny_config

from stylegan.training import run_folder, state_file
from stylegan.training.circumstances import Circumstances, circumstances, circumstances_of, other_bits
from stylegan.training.loop import train

HERE = Circumstances("2.9.1+cpu", "cpu", "A, AVX2", 2, 1)


def test_what_differs_is_said():
    assert other_bits(None, HERE) == "" == other_bits(HERE, HERE)
    said = other_bits(HERE, replace(HERE, threads=4, torch="2.10.0"))
    assert "torch 2.10.0 instead of 2.9.1+cpu, threads 4 instead of 2" in said and "not to the bit" in said
    on_gpu = replace(HERE, device="a GPU")
    assert other_bits(on_gpu, replace(on_gpu, threads=4, processor="B")) == ""  # which compute nothing there
    assert "device a GPU instead of cpu" in other_bits(HERE, on_gpu)


def test_a_state_says_them(store, tmp_path, capfd):
    config = tiny_config(store, threads=1, report=False)
    threads = torch.get_num_threads()
    try:
        for kimg in (0.05, 0.1):
            train(replace(config, schedule=replace(config.schedule, total_kimg=kimg)), tmp_path, progress=False)
        assert "going on with" not in capfd.readouterr().err
        saved = run_folder.load_newest_state(tmp_path)
        assert circumstances_of(saved) == circumstances(torch.device("cpu")) and saved["circumstances"]["threads"] == 1
        train(replace(config, threads=2), tmp_path, progress=False)
    finally:
        torch.set_num_threads(threads)
    assert capfd.readouterr().err.count("going on with threads 2 instead of 1") == 1


@pytest.mark.parametrize("saved", [{}, {"circumstances": {"threads": 2}}, {"circumstances": asdict(HERE) | {"x": 1}}])
def test_a_state_that_does_not_say_them(saved, tmp_path):
    assert circumstances_of(saved) is None
    assert state_file.FORMAT_VERSION == 1
