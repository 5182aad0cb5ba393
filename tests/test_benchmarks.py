"""The programs in benchmarks/ import what there is."""

import importlib.util
import sys
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


def test_the_loader_is_compared_with_a_training():
    loader = load(next(path for path in BENCHMARKS if path.stem == "loader"))
    assert loader.trained(8, seconds=0) > 0
