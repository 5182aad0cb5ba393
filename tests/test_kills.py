"""Runs that are killed at random moments come out as if nothing had happened: a short form of benchmarks/kills.py."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import flips
import kills
import pytest
import trainers
from conftest import tiny_config

from stylegan.training.loop import train

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "kills.py"


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and limits the memory of, processes as Linux does")
@pytest.mark.parametrize(
    ("processes", "kinds", "kills"), [(1, ["SIGKILL", "torn", "memory", "second"], 6), (4, ["rank"], 4)]
)
def test_killed_runs_are_the_undisturbed_one_to_the_bit(tmp_path, processes, kinds, kills):
    results = tmp_path / "kills.json"
    command = [sys.executable, SCRIPT, "--kills", kills, "--each", 2, "--processes", processes, "--results", results]
    done = subprocess.run([*map(str, command), "--kinds", *kinds], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(results.read_text())
    assert found["kills"] >= kills and found["runs_that_differ"] == 0
    assert {run["kind"] for run in found["runs"]} <= set(kinds)


@pytest.mark.filterwarnings("ignore:.*it is not used:stylegan.errors.InputWarning")
@pytest.mark.parametrize("seed", range(3))
def test_what_a_power_cut_may_leave_is_made_anew(finished, store, tmp_path, seed):
    run, truth = tmp_path / "run", finished[1]
    shutil.copytree(truth, run)
    assert not trainers.differences(run, truth)
    kills.tear(run, random.Random(seed))
    assert "state-0000000400.pt" in trainers.differences(run, truth)
    train(tiny_config(store), run, progress=False)
    assert not trainers.differences(run, truth)


@pytest.mark.parametrize("kind", flips.KINDS)
def test_a_flipped_bit_is_named_or_changes_nothing(tmp_path, kind):
    counts = flips.flip(kind, 60, 1, tmp_path)
    assert counts["wrong"] == 0 and counts["named"] >= 30


def test_a_flip_that_nobody_names_would_show(tmp_path, monkeypatch):
    monkeypatch.setattr("stylegan.files._check_checksum", lambda *_: None)
    assert flips.flip("features", 60, 1, tmp_path)["wrong"] > 10
