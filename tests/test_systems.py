"""Linux, macOS, Windows: what one of them lacks is not needed to import, prepare, train, draw and measure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stylegan import system

SCRIPT = """
import other_system  # before anything else

import importlib, json, os, pkgutil, sys
from pathlib import Path
import numpy as np
import stylegan
from stylegan import cli

os.chdir(sys.argv[1])
for module in pkgutil.walk_packages(stylegan.__path__, "stylegan."):
    if module.name != "stylegan.__main__":
        importlib.import_module(module.name)

from PIL import Image
Path("photographs").mkdir()
for i in range(12):
    Image.fromarray(np.random.RandomState(i).randint(0, 256, (20, 16, 3)).astype(np.uint8)).save(f"photographs/{i}.png")

def run(*arguments):
    try:
        cli.main([str(argument) for argument in arguments])
    except SystemExit as end:
        assert not end.code, (arguments, end.code)

from test_cli import TINY
run("prepare", "photographs", "store", "--resolution", "8", "--workers", "2")
run("train", "store", "run", *TINY, "--preset", "small", "--device", "cpu")
run("train", "store", "run", *TINY, "--preset", "small", "--device", "cpu")  # resumed, at its end
run("generate", "run", "--seeds", "0-3", "--out", "pictures", "--device", "cpu")
run("info", "run")
assert json.loads(Path("run/stats.jsonl").read_text().splitlines()[-1])["memory_mb"] >= 0
"""


@pytest.mark.parametrize("name", ["windows", "macos"])
def test_the_whole_way_as_on_another_system(name, tmp_path):
    environment = os.environ | {"STYLEGAN_TEST_SYSTEM": name}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(list((tmp_path / "pictures").glob("seed*.png"))) == 4


def test_peak_memory(monkeypatch):
    if os.environ.get("STYLEGAN_TEST_SYSTEM"):
        pytest.skip("what tells it is hidden")
    peak = system.peak_memory_bytes()
    assert 20e6 < peak < 1e12
    if sys.platform != "win32":
        monkeypatch.setitem(sys.modules, "resource", None)
        assert system.peak_memory_bytes() == 0


def test_only_one_module_asks_for_the_system():
    """So that a test can answer instead."""
    source = Path(system.__file__).parent
    asking = [
        path.name
        for path in source.rglob("*.py")
        if any(word in path.read_text(encoding="utf-8") for word in ("sys.platform", "os.name", "import platform"))
    ]
    assert asking == ["system.py"]


def test_nothing_of_one_system_is_imported_at_the_top():
    source = Path(system.__file__).parent
    names = ("resource", "fcntl", "pwd", "grp", "termios", "winreg", "msvcrt")
    tops = [f"{start} {name}" for start in ("import", "from") for name in names]
    for path in source.rglob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert not [line for line in lines if line.startswith(tuple(tops))], path
