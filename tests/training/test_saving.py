"""Where the disk is full a training says which file it needs room for, goes on, and tries again."""

import errno
import json
import os
import warnings

import pytest
from conftest import same, tensors_of, tiny_config

from stylegan import files, weights
from stylegan.errors import InputWarning
from stylegan.files import append
from stylegan.metrics import record
from stylegan.metrics.metric import EvaluateConfig
from stylegan.training import saving, state_file
from stylegan.training.loop import train
from stylegan.training.monitor import Monitor


def full(monkeypatch, when) -> list:
    """States cannot be written at those of the tries that `when` names; and each try."""
    true_save, tries = state_file.save, []

    def save(path, content):
        tries.append(path.name)
        if when(len(tries)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        true_save(path, content)

    monkeypatch.setattr(state_file, "save", save)
    monkeypatch.setattr(saving, "PAUSE", 0.0)
    return tries


def test_a_full_disk_for_a_time(finished, store, tmp_path, monkeypatch, capfd):
    tries = full(monkeypatch, lambda number: number in (3, 4))
    outcome = train(tiny_config(store), tmp_path, progress=False)
    assert same(tensors_of(outcome), tensors_of(finished[0]))
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(said) == 2 and tries[2] in said[0] and "MB, and " in said[0] and "tries again" in said[0]
    kept = {path.name for path in tmp_path.glob("state-*.pt")}
    assert kept == {path.name for path in finished[1].glob("state-*.pt")}


def test_a_full_disk_at_the_beginning_and_at_the_end(store, tmp_path, monkeypatch, capfd):
    with monkeypatch.context() as patch:
        full(patch, lambda number: True)
        with pytest.raises(OSError, match=r"state-0000000000.pt cannot be written .* needs .* MB, and .* MB are free"):
            train(tiny_config(store), tmp_path / "run", progress=False)
    tries = full(monkeypatch, lambda number: number > 1 and len({*tries}) > 9 and tries.count(tries[-1]) < 4)
    outcome = train(tiny_config(store), tmp_path / "run", progress=False)
    assert tries.count("state-0000000400.pt") == 4 and outcome.images_seen == 400
    assert capfd.readouterr().err.count("trying again for 5 minutes") == 1


def test_a_line_is_added_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "stats.jsonl"
    append(path, b'{"a": 1}\n')
    true_open = type(path).open

    class Full:
        """A file on a disk that has room for three more bytes."""

        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, content):
            return self.file.write(content[:3])

    with monkeypatch.context() as patch:
        patch.setattr(type(path), "open", lambda *inputs, **options: Full(true_open(*inputs, **options)))
        with pytest.raises(OSError, match="No space left"):
            append(path, b'{"a": 2}\n')
    append(path, b'{"a": 3}\n')
    assert [json.loads(line)["a"] for line in path.read_text().splitlines()] == [1, 3]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_small_disk(store, tmp_path):
    import subprocess

    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1000k", "none", str(disk)], check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        with pytest.raises(OSError, match=r"state-0000000000.pt cannot be written"):
            (disk / "filling").write_bytes(b"0" * 950_000)
            train(tiny_config(store, report=False), disk / "run", progress=False)
        (disk / "filling").unlink()
        assert train(tiny_config(store, keep=1, report=False), disk / "run", progress=False).images_seen
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


@pytest.mark.parametrize("last", [3, 5, 9])
def test_scores_and_the_best_model_wait_for_room(store, tmp_path, monkeypatch, capfd, last):
    """last: the tick after which there is room again; scores are due at ticks 3, 6 and 9, the end of the run."""
    scores = EvaluateConfig(metrics=("fid50k",), count=8, extractor="mobilenet-v2")
    config = tiny_config(store, evaluation=scores, evaluation_ticks=3, report=False)
    train(config, tmp_path / "whole", progress=False)
    true_append, true_save, true_report, ticks = files.append, weights.save, Monitor.report, [0]
    monkeypatch.setattr(saving, "PAUSE", 0.0)
    monkeypatch.setattr(Monitor, "report", lambda self, line: (ticks.append(line["tick"]), true_report(self, line)))
    refused = []

    def full(path) -> bool:
        waits_at_the_end = ticks[-1] == 9 and len(refused) >= 20
        if path.name in ("metrics.jsonl", "best.safetensors") and ticks[-1] <= last and not waits_at_the_end:
            refused.append(path.name)
            return True
        return False

    def if_there_is_room(write, path, *inputs):
        if full(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, *inputs)

    monkeypatch.setattr(record, "append", lambda path, content: if_there_is_room(true_append, path, content))
    monkeypatch.setattr(weights, "save", lambda path, model: if_there_is_room(true_save, path, model))
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)  # nothing is lost, and nothing says so
        train(config, tmp_path / "run", progress=False)
    assert "metrics.jsonl cannot be written (No space left on device): it needs" in capfd.readouterr().err

    def lines(name):
        return [line | {"seconds": 0} for line in record.read_record(tmp_path / name / "metrics.jsonl")]

    assert lines("run") == lines("whole") and len(lines("run")) == 3
    best = [(tmp_path / name / "best.safetensors").read_bytes() for name in ("run", "whole")]
    assert best[0] == best[1] and set(refused) == {"metrics.jsonl", "best.safetensors"}
