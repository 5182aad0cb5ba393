"""Standard output and error: readers that leave, names of any bytes, warnings."""

import os
import subprocess
import sys
import warnings

import pytest

from stylegan import cli
from stylegan.errors import InputWarning

posix = pytest.mark.skipif(os.name != "posix", reason="pipes and names as POSIX has them")


@posix
@pytest.mark.parametrize("arguments", [[], ["--version"], ["presets"], ["generate", "--help"]])
def test_a_reader_that_leaves_ends_the_program_quietly(arguments):
    reading, writing = os.pipe()
    os.close(reading)  # as `| head -0` does
    command = [sys.executable, "-m", "stylegan", *arguments]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    os.close(writing)
    assert done.stderr == "" and done.returncode == 128 + 13


@posix
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_names_that_are_no_text_are_printed(encoding):
    code = "import os; from stylegan.terminal import well_behaved\nwith well_behaved(): print(os.fsdecode(b'caf\\xe9'))"
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (b"caf\xe9" if encoding == "utf-8" else b"caf\\udce9")


def test_warnings_are_one_line(monkeypatch, capsys):
    def warn(arguments):
        warnings.warn("nothing is kept", InputWarning, stacklevel=1)

    monkeypatch.setattr(cli, "command", lambda name: warn)
    with pytest.raises(SystemExit):
        cli.main(["presets"])
    assert capsys.readouterr().err == "stylegan: warning: nothing is kept\n"
