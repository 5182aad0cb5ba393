"""A run belongs to one trainer; how it fares is said from outside."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import same, tensors_of, tiny_config

from stylegan.errors import InputError
from stylegan.system import system, this_process
from stylegan.training import lock, steps
from stylegan.training.lock import hold, run_state
from stylegan.training.loop import train

RUN = "import sys; sys.path.insert(0, {tests!r}); from test_lock import *; {code}"


def content(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.iterdir() if path.is_file() and path.name != lock.FILE}


def in_another(code: str, **options) -> subprocess.Popen:
    """Run a line in another process, in which the names of this file are known."""
    tests = Path(__file__).parent
    command = [sys.executable, "-c", RUN.format(tests=str(tests), code=code)]
    path = os.pathsep.join([str(tests), str(tests.parent), *sys.path])
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}, **options)


def hold_for_ever(run: str) -> None:
    with hold(Path(run)) as trainer:
        trainer.begin(1000)
        print("begun", flush=True)
        time.sleep(120)


@pytest.fixture
def holder(tmp_path):
    """Another process that has the run in tmp_path / "run"."""
    process = in_another(f"hold_for_ever({str(tmp_path / 'run')!r})", stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_second_trainer_is_refused_and_changes_nothing(finished, store, tmp_path, monkeypatch):
    """At every tick another tries; the run is that of one trainer, to the bit."""
    run, refused = tmp_path / "run", []
    true_step = steps.step_generator

    def disturbed(*inputs):
        if len(refused) < 3:
            before = content(run)
            with pytest.raises(InputError, match=rf"being trained already, by process {os.getpid()} on"):
                train(tiny_config(store), run, progress=False)
            assert content(run) == before
            refused.append(None)
        true_step(*inputs)

    monkeypatch.setattr(steps, "step_generator", disturbed)
    assert same(tensors_of(train(tiny_config(store), run, progress=False)), tensors_of(finished[0]))
    assert len(refused) == 3


def test_the_lock_of_a_dead_process_holds_nobody(holder, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(InputError, match=f"by process {holder.pid} on .*1.0 kimg"), hold(run):
        pass
    holder.kill()
    holder.wait()
    with hold(run) as trainer:
        trainer.begin(2000)
        assert lock._read(run / lock.FILE).process == this_process()


def test_a_run_that_is_refused_leaves_no_folder(tmp_path):
    with pytest.raises(InputError, match="reason"), hold(tmp_path / "a" / "run"):
        raise InputError("a reason")
    assert not list(tmp_path.iterdir())
    (tmp_path / "run").write_text("a file")
    with pytest.raises(InputError, match="is a file"), hold(tmp_path / "run"):
        pass


@contextmanager
def without_locks(monkeypatch, beat: float = 0.1):
    """As on a file system that has none: only signs of life tell."""
    with monkeypatch.context() as patch:
        patch.setattr(lock, "_lock", lambda file: None)
        patch.setattr(lock, "BEAT", beat)
        patch.setattr(lock, "WATCH", 30 * beat)
        yield


def test_signs_of_life_where_no_lock_reaches(tmp_path, monkeypatch):
    with without_locks(monkeypatch), hold(tmp_path) as trainer:
        trainer.begin(500)
        with pytest.raises(InputError, match=r"being trained already.*0.5 kimg"), hold(tmp_path):
            pass
    with without_locks(monkeypatch), hold(tmp_path):  # it has said good-bye
        pass


@pytest.mark.parametrize("locks", [True, False])
def test_another_machines_trainer_that_gives_no_sign_holds_nobody(tmp_path, monkeypatch, locks):
    elsewhere = replace(this_process(), host="elsewhere", place="0" * 8)
    record = lock.Record(elsewhere, at=1.0)
    (tmp_path / lock.FILE).write_text(json.dumps(lock.asdict(record)))
    with without_locks(monkeypatch):
        if locks:
            monkeypatch.undo()
            monkeypatch.setattr(lock, "WATCH", 0.3)
        with hold(tmp_path) as trainer:
            trainer.begin(0)


def test_a_trainer_that_was_held_up_gives_way(tmp_path, monkeypatch):
    """Where no lock reaches, another has begun in the meantime."""
    with without_locks(monkeypatch), hold(tmp_path) as trainer:
        trainer.begin(0)
        trainer.check()
        record = lock.Record(replace(this_process(), host="elsewhere", place="0" * 8))
        deadline = time.monotonic() + 20
        while not trainer._lost and time.monotonic() < deadline:
            (tmp_path / lock.FILE).write_text(json.dumps(lock.asdict(record)))
            time.sleep(0.05)
        with pytest.raises(InputError, match=r"on elsewhere .*; this one, which was held up, stops"):
            trainer.check()


def test_a_lock_file_that_was_removed_is_made_anew(tmp_path, monkeypatch):
    if system() == "windows":
        pytest.skip("there it cannot be removed")
    monkeypatch.setattr(lock, "BEAT", 0.05)
    with hold(tmp_path) as trainer:
        trainer.begin(0)
        (tmp_path / lock.FILE).unlink()
        deadline = time.monotonic() + 20
        while not (tmp_path / lock.FILE).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        with pytest.raises(InputError, match="being trained"), hold(tmp_path):
            pass
        trainer.check()


# --- how a run fares


def test_how_a_run_fares(finished, store, tmp_path, monkeypatch):
    run, seen = tmp_path / "run", []
    assert run_state(finished[1]).state == "finished" and run_state(finished[1]).images_seen == 400
    true_step = steps.step_generator
    monkeypatch.setattr(steps, "step_generator", lambda *inputs: seen.append(run_state(run)) or true_step(*inputs))
    half = replace(tiny_config(store), schedule=replace(tiny_config(store).schedule, total_kimg=0.2))
    train(half, run, progress=False)
    assert {each.state for each in seen} == {"alive"} and seen[-1].trainer == this_process()
    assert seen[-1].total_images == 200 and 0 <= seen[-1].images_seen < 200  # as of the last beat
    assert run_state(run).state == "finished"
    config = json.loads((run / "run.json").read_text())
    config["schedule"]["total_kimg"] = 0.4
    (run / "run.json").write_text(json.dumps(config))
    assert run_state(run).state == "stopped" and "0.2 kimg" in run_state(run).sentence
    for path in run.glob("state-*.pt"):
        path.write_bytes(path.read_bytes()[:-100])
    assert run_state(run).state == "damaged"
    (run / "run.json").write_text("{")
    assert run_state(run).state == "damaged" and "run.json" in run_state(run).sentence
    with pytest.raises(InputError, match="holds no run"):
        run_state(tmp_path)


def test_killed_and_held_up(holder, finished, tmp_path, monkeypatch):
    run = tmp_path / "run"
    (run / "run.json").write_bytes((finished[1] / "run.json").read_bytes())
    assert run_state(run).state == "alive" and run_state(run).trainer.pid == holder.pid
    monkeypatch.setattr(lock, "PATIENCE", 0.2)
    time.sleep(0.3 + 2 * lock.BEAT)
    assert run_state(run).state == "stalled"
    holder.kill()
    holder.wait()
    assert run_state(run).state == "damaged"  # a thousand images, and no state
    state = sorted(finished[1].glob("state-*.pt"))[0]
    (run / state.name).write_bytes(state.read_bytes())
    assert run_state(run).state == "stopped" and "was killed" in run_state(run).sentence


# --- orphans

ORPHAN = """
import os, sys, time
from pathlib import Path
import torch
from stylegan import processes

processes.ORPHANS_LAST = 0.5
if sys.argv[2] == "starting":  # they wait for a store that is not there
    os.environ["MASTER_PORT"] = "9"
    Path(sys.argv[1], f"{os.getpid()}.pid").touch()
with processes.joined(torch.device("cpu")):
    if sys.argv[2] == "deaf":
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(sys.argv[1], f"{os.getpid()}.pid").touch()
    time.sleep(100)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows ends them itself")
@pytest.mark.parametrize("kind", ["listening", "deaf", "starting"])
def test_the_workers_of_a_killed_torchrun_stop(tmp_path, kind):
    (tmp_path / "orphan.py").write_text(ORPHAN)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.Popen([*command, str(tmp_path / "orphan.py"), str(tmp_path), kind], stderr=subprocess.DEVNULL)

    def wait_until(happens) -> bool:
        deadline = time.monotonic() + 60
        while not happens() and time.monotonic() < deadline:
            time.sleep(0.1)
        return happens()

    def alive(pid: int) -> bool:
        return replace(this_process(), pid=pid, start="").is_running()

    assert wait_until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert all(map(alive, workers))
    process.kill()
    process.wait()
    assert wait_until(lambda: not any(map(alive, workers)))
