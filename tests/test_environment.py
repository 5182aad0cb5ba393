"""The program where the environment lacks what one is used to: a home, folders for temporary files, UTF-8, a width."""

import os
import subprocess
import sys

import pytest
from conftest import tiny_generator
from PIL import Image

from stylegan import downloads, weights

ENVIRONMENTS = {
    "a home that is not there": {"HOME": "/dev/null", "TMPDIR": "/nonexistent", "COLUMNS": "0", "TERM": "dumb"},
    "a cache that cannot be": {"STYLEGAN_CACHE": "/dev/null/cache", "COLUMNS": "many"},
    "ASCII": {
        "LC_ALL": "C",
        "LANG": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "COLUMNS": "1",
        "STYLEGAN_CACHE": "",
    },
}
PROGRAM = r"""
import os
import sys
from stylegan import cli
pictures, drawn = os.fsdecode(b"bilder-\xc3\xa4"), os.fsdecode(b"drawn-\xc3\xb6")  # as the shell would give them
for command in (
    ["train", "--help"],
    ["prepare", pictures, "store", "--resolution", "16"],
    ["info", "store"],
    ["generate", "tiny.safetensors", "--seeds", "0-3", "--out", drawn],
    ["evaluate", drawn, "--data", "store", "--metrics", "pr50k", "--count", "4"],
):
    try:
        cli.main(command)
    except SystemExit as ended:
        if ended.code not in (0, None):
            sys.exit(f"{command} ended with {ended.code}")
"""


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_program_in_a_bare_environment(name, tmp_path):
    (tmp_path / "bilder-ä").mkdir()
    for i in range(8):
        Image.new("RGB", (16, 16), (20 * i, 100, 50)).save(tmp_path / "bilder-ä" / f"ü{i}.png")
    weights.save(tmp_path / "tiny.safetensors", weights.Model(tiny_generator()))
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), **ENVIRONMENTS[name]},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr and len(list((tmp_path / "drawn-ö").glob("seed*.png"))) == 4
    assert "8 images" in done.stdout or "count" in done.stdout


def test_a_user_without_a_home_has_a_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("STYLEGAN_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert downloads.cache_folder() == tmp_path / ".cache/stylegan"
