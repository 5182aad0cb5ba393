"""The programs in benchmarks/ import what there is."""

import importlib.util
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

BENCHMARKS = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


def load(path: Path):
    """The module of a file, under a name of its own."""
    specification = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look there
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_every_benchmark_imports(path):
    if path.stem.startswith("fuzz") and sys.platform != "linux":
        pytest.skip("the limits of memory are Linux's")
    assert callable(load(path).main)


def test_every_row_for_a_gpu_runs(monkeypatch, capsys):
    """So small, and on a CPU, that nothing is measured: what a lent GPU is asked to do is known to run."""
    speed = load(next(path for path in BENCHMARKS if path.stem == "speed"))
    jobs = []

    def in_this_process(row, contender, device, seconds):
        jobs.append({"row": asdict(row), "contender": asdict(contender), "device": device, "seconds": seconds})
        return speed.child(jobs[-1])

    monkeypatch.setattr(speed, "seconds_of", in_this_process)
    monkeypatch.setattr("stylegan.allocator.keep_freed_memory", lambda: None)
    command = [
        "speed.py",
        "--device",
        "cpu",
        "--tiny",
        "--rounds",
        "1",
        "--seconds",
        "0",
        "--precisions",
        "bf16",
        "tf32",
    ]
    monkeypatch.setattr(sys, "argv", [*command, "--rows", *speed.ON_GPU])
    speed.main()
    table = capsys.readouterr().out.splitlines()[2:]
    assert len(jobs) == 2 * len(speed.ON_GPU) and len(table) == 2 + len(speed.ON_GPU)
    assert {job["row"]["work"] for job in jobs} == {"train", "sample"}


def test_the_loader_is_compared_with_a_training():
    loader = load(next(path for path in BENCHMARKS if path.stem == "loader"))
    assert loader.trained(8, seconds=0) > 0
