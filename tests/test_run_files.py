"""Whose a file in a run's folder is: what the run has not written is neither read, renamed nor deleted."""

import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import same, tensors_of, tiny_config

from stylegan import files, run_files, weights
from stylegan.errors import InputError
from stylegan.files import atomic_file, remove_abandoned
from stylegan.system import Process, this_process
from stylegan.training.loop import train

STATE, MODEL, FAKES = "state-0000009999.pt", "model-0000009999.safetensors", "fakes-0000009999.png"
CHANGED = [
    "{stem}-backup{ending}", "{stem}{ending}.bak", "{stem}{ending}~", "{stem} (1){ending}", "{stem} copy{ending}",
    "Copy of {stem}{ending}", "{stem} (conflicted copy 2026-01-02){ending}", "{stem}.sync-conflict-20260102{ending}",
    "{stem}{ending}.part", ".{stem}{ending}.swp", ".#{stem}{ending}", "#{stem}{ending}#", "._{stem}{ending}",
    "{stem}{ending}.tmp", ".{stem}{ending}.tmp", ".{stem}{ending}.x-7-.tmp", "{stem}.old{ending}", "{stem}_{ending}",
    "{stem}{ending}\n", "{stem}x{ending}", "{kind}-backup{ending}", "{kind}-old{ending}", "{kind}-{ending}",
    "{kind}-best{ending}", "{kind}-zzz{ending}", "{kind}-9999{ending}", "{kind}-99999999{ending}",
    "{kind}-00000099999{ending}", "{kind}-+000009999{ending}", "{kind}-\u0660000009999{ending}",
    "{kind}-9_99999999{ending}", "{upper}-0000009999{ending}", "{kind}-0000009999.bin", "old-{stem}{ending}",
]  # fmt: skip


def put_foreign_files(run: Path) -> dict[str, bytes]:
    """More than a hundred, each with bytes of its own that no reader takes; the content by name."""
    contents = {}
    for name in (STATE, MODEL, FAKES):
        (kind, stem), ending = (name.partition("-")[0], Path(name).stem), Path(name).suffix
        for pattern in CHANGED:
            foreign = pattern.format(stem=stem, kind=kind, ending=ending, upper=kind.upper())
            contents[foreign] = f"foreign {foreign}".encode()
    contents |= {f"{kind}-0000000003{ending}": b"another run's" for kind, ending in run_files._ENDINGS.items()}
    for name, content in contents.items():
        with suppress(OSError):  # no name on this system
            (run / name).write_bytes(content)
    return {name: content for name, content in contents.items() if (run / name).exists()}


def test_a_hundred_foreign_files_are_neither_read_nor_renamed_nor_deleted(finished, store, tmp_path, monkeypatch):
    run = tmp_path / "run"
    config = tiny_config(store, keep=1)
    train(replace(config, schedule=replace(config.schedule, total_kimg=0.2)), run, progress=False)
    contents = put_foreign_files(run)
    assert len(contents) > 100
    opened = []
    true_open = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, *args, **kwargs: opened.append(self.name) or true_open(self, *args, **kwargs)
    )
    outcome = train(config, run, progress=False)
    assert weights.find(run) == outcome.model
    monkeypatch.undo()
    assert {name: (run / name).read_bytes() for name in contents} == contents
    assert not set(opened) & set(contents)
    assert same(tensors_of(outcome), tensors_of(finished[0]))
    ours = {path.name for path in run.iterdir()} - set(contents)
    assert {"state-0000000400.pt", "model-0000000400.safetensors"} == {
        n for n in ours if n.startswith(("state", "model"))
    }


@pytest.mark.parametrize("name", [STATE, MODEL, FAKES])
def test_a_name_that_the_run_would_come_to_write_is_refused_first(finished, store, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(finished[1], run)
    (run / name).write_bytes(b"another run's")
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    with pytest.raises(InputError, match=f"{name} is none of this run's files"):
        train(tiny_config(store), run, progress=False)
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / name).write_bytes(b"another run's")
    with pytest.raises(InputError, match="holds training states but no run" if name == STATE else "none of this run's"):
        train(tiny_config(store), fresh, progress=False)
    assert [path.name for path in fresh.iterdir()] == [name]


def test_nothing_is_written_over_what_came_in_between(tmp_path):
    run_files.begin_record(tmp_path, adopt=False)
    ours, theirs = (run_files.path_of(tmp_path, "model", i) for i in (1, 2))
    for _ in range(2):  # written again: ours
        run_files.claim(ours).write_text("ours")
    theirs.write_text("theirs")
    with pytest.raises(FileExistsError, match="this run has not written it"):
        run_files.claim(theirs)
    assert run_files.own(tmp_path, "model") == [ours] and run_files.strangers(tmp_path) == [theirs]


def test_runs_of_earlier_versions_take_what_has_their_names(tmp_path):
    for name in ("run.json", MODEL, STATE, "state-old.pt"):
        (tmp_path / name).touch()
    assert run_files.own(tmp_path, "state") == [tmp_path / STATE] and not run_files.strangers(tmp_path)
    run_files.begin_record(tmp_path, adopt=True)
    assert (tmp_path / run_files.RECORD).read_text().splitlines() == [STATE, MODEL]


def test_a_line_that_a_kill_cut_short_spoils_no_other(tmp_path):
    (tmp_path / run_files.RECORD).write_text("model-00000")
    path = run_files.claim(run_files.path_of(tmp_path, "model", 7))
    path.touch()
    assert run_files.own(tmp_path, "model") == [path]


def test_names_of_more_than_ten_digits_sort_by_age(tmp_path):
    paths = [run_files.path_of(tmp_path, "state", number) for number in (1, 9_999_999_999, 10_000_000_000)]
    for path in reversed(paths):
        path.touch()
    assert run_files.own(tmp_path, "state") == paths


# --- files half-written


def left_by(process: Process, folder: Path, name: str = STATE) -> Path:
    path = folder / f".{name}.{process.place}-{process.pid}-{process.start}.tmp"
    path.touch()
    return path


def test_what_a_dead_process_left_is_removed_and_nothing_else(tmp_path):
    us = this_process()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = left_by(replace(us, pid=ended.pid), tmp_path)
    reborn = left_by(replace(us, start="0" * 8), tmp_path)  # our number, but of an earlier process
    kept = [
        left_by(us, tmp_path),
        left_by(replace(us, place="0" * 8), tmp_path),  # another machine's
        left_by(replace(us, pid=ended.pid), tmp_path, "notes.txt"),  # no file of a run's
        tmp_path / ".state-old.pt.tmp",
    ]
    kept[-1].touch()
    with atomic_file(tmp_path / MODEL) as file:
        file.write(b"whole")
        remove_abandoned(tmp_path, run_files.is_name_of_ours)
    assert not dead.exists() and (not us.start or not reborn.exists())
    assert all(path.exists() for path in kept) and (tmp_path / MODEL).read_bytes() == b"whole"


def test_what_another_machine_left_goes_after_a_day(tmp_path, monkeypatch):
    path = left_by(Process("", "0" * 8, 1, ""), tmp_path)
    earlier = tmp_path / f".{MODEL}.77.tmp"  # of version 0.1
    earlier.touch()
    monkeypatch.setattr(files, "ABANDONED_AFTER", -1.0)
    remove_abandoned(tmp_path, run_files.is_name_of_ours)
    assert not path.exists() and not earlier.exists()


def test_the_folder_is_flushed_after_the_rename(tmp_path, monkeypatch):
    flushed = []
    true_fsync = files.os.fsync
    monkeypatch.setattr(
        files.os, "fsync", lambda descriptor: flushed.append((tmp_path / "x").exists()) or true_fsync(descriptor)
    )
    with atomic_file(tmp_path / "x") as file:
        file.write(b"x")
    assert flushed == [False, True] or files.system() == "windows"
