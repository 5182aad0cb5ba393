"""Signals: answered at once, saved first; nothing is measured or reported that would not have been without them."""

import json
import os
import signal
import sys
import time
from dataclasses import replace

import pytest
from conftest import same, tensors_of, tiny_config

from stylegan.metrics.metric import EvaluateConfig
from stylegan.training import lock, monitor, run_folder, scores, signals, steps
from stylegan.training.loop import train
from stylegan.training.signals import StopSignals

HANGUP = getattr(signal, "SIGHUP", None)
posix = pytest.mark.skipif(HANGUP is None or sys.platform == "win32", reason="Windows has no SIGHUP")


def send(*numbers: int) -> None:
    for number in numbers:
        signal.raise_signal(number)


def signalled(monkeypatch, step: int, *numbers: int) -> None:
    """Send signals in a step of G."""
    true_step, taken = steps.step_generator, []

    def interrupted(*inputs):
        taken.append(None)
        if len(taken) == step:
            send(*numbers)
        true_step(*inputs)

    monkeypatch.setattr(steps, "step_generator", interrupted)


@posix
@pytest.mark.parametrize("numbers", [("SIGHUP",), ("SIGINT", "SIGINT"), ("SIGINT", "SIGTERM"), ("SIGTERM", "SIGHUP")])
def test_every_signal_saves_and_so_does_its_echo(finished, store, tmp_path, monkeypatch, numbers):
    numbers = [getattr(signal, name) for name in numbers]
    monkeypatch.setattr(signals, "BOUNCE", 60.0)
    signalled(monkeypatch, 7, *numbers)
    outcome = train(tiny_config(store), tmp_path, progress=False)
    assert outcome.stopped_by == numbers[0] and outcome.images_seen == 64  # the group of two batches is finished
    assert run_folder.load_newest_state(tmp_path)["images_seen"] == 64
    assert same(tensors_of(train(tiny_config(store), tmp_path, progress=False)), tensors_of(finished[0]))


@posix
def test_what_is_ignored_stays_ignored():
    before = signal.signal(HANGUP, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            send(HANGUP)
            assert stop.signal is None and signal.getsignal(HANGUP) == signal.SIG_IGN
    finally:
        signal.signal(HANGUP, before)


def test_the_first_is_answered_and_one_a_second_later_acts(capfd, monkeypatch):
    with StopSignals() as stop:
        send(signal.SIGINT)
        assert stop.signal == signal.SIGINT and "will be saved" in capfd.readouterr().err
        send(signal.SIGINT)  # the same key, still
        assert not capfd.readouterr().err
        monkeypatch.setattr(signals, "BOUNCE", -1.0)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_work_that_may_be_cut_short_is():
    with StopSignals() as stop:
        with stop.interrupting:
            send(signal.SIGINT)
            raise AssertionError("this is not reached")
        with stop.interrupting:  # it has been told: what comes next is not begun anew, nor cut off by an echo
            send(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), StopSignals() as stop, stop.interrupting:
        raise KeyboardInterrupt  # nobody's signal


def test_a_measuring_is_cut_short_and_made_up_for(store, tmp_path, monkeypatch):
    """And a stop between two ticks is neither measured nor reported."""
    measured, cut = [], []

    def measure(evaluation, record, provenance, *, add):
        if len(measured) == 2 and not cut:
            cut.append(provenance["images_seen"])
            send(signal.SIGINT)
            time.sleep(60)
        measured.append(provenance["images_seen"])
        return [{"metric": "fid50k", "values": {"fid": 1.0}}]

    def patched() -> None:
        monkeypatch.setattr(scores, "measure", measure)
        monkeypatch.setattr("stylegan.training.loop.check", lambda evaluation: None)

    config = tiny_config(store, evaluation=EvaluateConfig(metrics=("fid50k",)), evaluation_ticks=1)
    patched()
    outcome = train(config, tmp_path, progress=False)
    assert outcome.stopped_by == signal.SIGINT and cut == [outcome.images_seen]
    with monkeypatch.context() as patch:
        signalled(patch, 3, signal.SIGTERM)
        between = train(config, tmp_path, progress=False).images_seen
    train(config, tmp_path, progress=False)
    lines = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    ticks = [line["images_seen"] for line in lines]
    assert sorted(set(measured)) == ticks and between not in ticks and cut[0] in ticks


@pytest.mark.parametrize("when", ["in the last iteration", "while the last scores are measured"])
def test_a_run_without_its_last_scores_is_not_finished(finished, store, tmp_path, monkeypatch, when):
    measured = []

    def measure(evaluation, record, provenance, *, add):
        if "scores" in when and not measured:
            measured.append(0)
            send(signal.SIGTERM)
            time.sleep(60)
        measured.append(provenance["images_seen"])
        return [{"metric": "fid50k", "values": {"fid": 1.0}}]

    monkeypatch.setattr(scores, "measure", measure)
    monkeypatch.setattr("stylegan.training.loop.check", lambda evaluation: None)
    config = tiny_config(store, evaluation=EvaluateConfig(metrics=("fid50k",)), evaluation_ticks=100)
    with monkeypatch.context() as patch:
        if "iteration" in when:
            signalled(patch, 50, signal.SIGTERM)
        outcome = train(config, tmp_path, progress=False)
    assert outcome.images_seen == 400 and outcome.stopped_by == signal.SIGTERM
    assert lock.run_state(tmp_path).state == "stopped" and 400 not in measured
    outcome = train(config, tmp_path, progress=False)
    assert outcome.stopped_by is None and measured[-1] == 400
    assert lock.run_state(tmp_path).state == "finished"
    assert same(tensors_of(outcome), tensors_of(finished[0]))


@posix
def test_a_terminal_that_is_gone_ends_no_training(tmp_path, monkeypatch):
    def gone(*_, **__):
        raise OSError(monitor.errno.EIO, os.strerror(monitor.errno.EIO))

    monkeypatch.setattr(monitor.tqdm, "write", gone)
    monitor.Monitor(tmp_path, 1000, 0, progress=False).say("a sentence")


def test_a_run_that_was_stopped_reports_what_an_uninterrupted_one_does(finished, store, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        signalled(patch, 9, signal.SIGTERM)
        train(replace(tiny_config(store)), tmp_path, progress=False)
    train(tiny_config(store), tmp_path, progress=False)
    ticks = [
        [json.loads(line)["images_seen"] for line in (run / "stats.jsonl").read_text().splitlines()]
        for run in (tmp_path, finished[1])
    ]
    assert ticks[0] == ticks[1]
    grids, uninterrupted = ({path.name for path in run.glob("fakes-*")} for run in (tmp_path, finished[1]))
    assert uninterrupted < grids and len(grids - uninterrupted) == 1  # and one more, of the moment when it stopped
