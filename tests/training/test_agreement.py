"""Two processes agree on what they train, report the whole batch, and stop and start together.

All that they do is done in one start, each scenario after the other; what came of them is looked at here.
"""

import json
import os
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import in_two_processes, same, tiny_config, write_store
from safetensors.torch import load_file

from stylegan import processes
from stylegan.cli.train import _end
from stylegan.errors import InputError, SharedError
from stylegan.metrics.stream import numbers_in_batches
from stylegan.training import agreement, steps
from stylegan.training.config import TrainingConfig
from stylegan.training.loop import Outcome, train
from stylegan.training.signals import StopSignals
from stylegan.training.state import TrainState, new_state

SCENARIOS: dict[str, Callable[[int, Path], object]] = {}


def scenario(function):
    """A function of the process's number and the folder for all; what it returns is JSON."""
    SCENARIOS[function.__name__] = function
    return function


def in_each_process(folder: Path) -> None:
    rank, results = int(os.environ["RANK"]), {}
    with processes.joined(torch.device("cpu")):
        for name, function in SCENARIOS.items():
            try:
                results[name] = function(rank, folder)
            except InputError as error:
                results[name] = [type(error).__name__, str(error)]
            processes.barrier()
    (folder / f"results-{rank}.json").write_text(json.dumps(results))


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> tuple[Path, list[dict], str]:
    """The folder, what came of the scenarios in each process, and what both have printed."""
    folder = tmp_path_factory.mktemp("two")
    write_store(folder / "store")
    write_store(folder / "other", count=12)
    train(short(folder, 0.048), folder / "begun-0", progress=False)
    said = in_two_processes(in_each_process, folder)
    return folder, [json.loads((folder / f"results-{rank}.json").read_text()) for rank in (0, 1)], said


def short(folder: Path, kimg: float = 0.1) -> TrainingConfig:
    config = tiny_config(folder / "store", threads=1, report=False)
    return replace(config, schedule=replace(config.schedule, total_kimg=kimg))


def run(rank: int, folder: Path, name: str, at: Callable[[int, TrainState], None]) -> Outcome:
    """Train, with something done after each step of G, by its number."""
    true_step, taken = steps.step_generator, []

    def step(state: TrainState, *inputs) -> None:
        taken.append(None)
        true_step(state, *inputs)
        at(len(taken), state)

    steps.step_generator = step
    try:
        return train(short(folder), folder / name, progress=False)
    finally:
        steps.step_generator = true_step


# --- what is reported


@scenario
def whole(rank: int, folder: Path) -> None:
    _end(run(rank, folder, "whole", lambda number, state: None), "done: it is")


@scenario
def parts(rank: int, folder: Path) -> list:
    """One process alone gets a signal; the run goes on afterwards."""

    def at(number: int, state: TrainState) -> None:
        if number == 3 and rank == 1:
            signal.raise_signal(signal.SIGTERM)

    stopped = run(rank, folder, "parts", at)
    end = run(rank, folder, "parts", lambda number, state: None)
    return [stopped.stopped_by, stopped.images_seen, end.stopped_by]


def stats_of(run: Path) -> list[dict]:
    timing = {"seconds", "images_per_second", "memory_mb"}
    lines = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in timing} for line in lines]


def test_statistics_are_of_the_whole_batch(two):
    folder, _, said = two
    train(short(folder), folder / "one", progress=False)
    one, of_two = stats_of(folder / "one")[0], stats_of(folder / "whole")[0]
    for name in ("loss_d", "loss_g", "score_real", "score_fake"):  # of the first tick; rounding grows from there on
        assert one[name] == pytest.approx(of_two[name], rel=0.05, abs=0.02), name
    assert said.count("done: it is") == 1


def test_a_signal_to_one_stops_both_and_leaves_no_trace(two):
    folder, results, _ = two
    assert [each["parts"] for each in results] == 2 * [[signal.SIGTERM, 32, None]]
    assert stats_of(folder / "parts") == stats_of(folder / "whole")
    ours, theirs = (load_file(max((folder / name).glob("model-*"))) for name in ("parts", "whole"))
    assert same(ours, theirs)


@scenario
def measuring(rank: int, folder: Path) -> list:
    taken = []
    with StopSignals() as stop:
        with stop.interrupting:
            for numbers in numbers_in_batches(1000, 10, "images", progress=False):
                taken.append(numbers.tolist())
                if rank == 1 and len(taken) == 3:
                    signal.raise_signal(signal.SIGINT)
        others = [numbers[0] // 10 for numbers in numbers_in_batches(50, 10, "images", progress=False)]
    return [len(taken), stop.signal, *map(int, others)]


def test_a_measuring_is_left_together(two):
    assert [each["measuring"] for each in two[1]] == [[3, None, 0, 2, 4], [3, signal.SIGINT, 1, 3]]


# --- what differs


@scenario
def options(rank: int, folder: Path) -> None:
    train(replace(short(folder), seed=rank), folder / "options", progress=False)


@scenario
def folders(rank: int, folder: Path) -> None:
    train(short(folder), folder / f"begun-{rank}", progress=False)


@scenario
def images(rank: int, folder: Path) -> None:
    train(replace(short(folder), data=str(folder / ["store", "other"][rank])), folder / "images", progress=False)


@scenario
def missing(rank: int, folder: Path) -> None:
    train(replace(short(folder), data=str(folder / ["store", "nowhere"][rank])), folder / "missing", progress=False)


@scenario
def apart(rank: int, folder: Path) -> None:
    def at(number: int, state: TrainState) -> None:
        if number == 8 and rank == 1:
            with torch.no_grad():
                list(state.d.parameters())[-1].add_(1e-6)

    run(rank, folder, "apart", at)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("options", "seed is 1 in process 1 on .*, but 0 in process 0"),
        ("folders", "newest state is none in process 1 .*, but after 48 images in process 0"),
        ("images", "training images is .* in process 1"),
        ("missing", r"nowhere.*\(says process 1, on "),
        ("apart", "weights of D is .* in process 1"),
    ],
)
def test_what_differs_is_said_by_all_alike(two, name, sentence):
    folder, results, _ = two
    kind, said = results[0][name]
    assert results[1][name] == [kind, said] and kind == "SharedError" and re.search(sentence, said)
    states = sorted(path.name for path in (folder / name).glob("state-*.pt"))
    assert states == (["state-0000000000.pt", "state-0000000048.pt"] if name == "apart" else [])


def test_the_first_process_speaks_for_all(monkeypatch, capsys):
    from stylegan import cli

    def refuse(arguments):
        raise SharedError("a sentence")

    monkeypatch.setattr(cli, "command", lambda name: refuse)
    for rank, said in (("0", "stylegan: a sentence\n"), ("1", "")):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(SystemExit) as end:
            cli.main(["presets"])
        assert end.value.code == 2 and capsys.readouterr().err == said


def test_a_checksum_changes_with_any_bit(store):
    state = new_state(tiny_config(store), torch.device("cpu"))
    before = agreement.checksums(state)
    assert before == agreement.checksums(state) and len(set(before.values())) >= 3
    parameter = list(state.d.parameters())[-1]
    with torch.no_grad():
        parameter.view(torch.int32).view(-1)[0] ^= 1
    after = agreement.checksums(state)
    assert [name for name in after if after[name] != before[name]] == ["weights of D"]
