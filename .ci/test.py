#!/usr/bin/env python3
"""Run the tests as two processes of one thread each: on two cores faster than one process of two threads."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"


def main() -> int:
    first = sorted(TESTS.glob("test_[a-o]*.py"))
    rest = [
        *sorted(set(TESTS.glob("test_*.py")) - set(first)),
        *sorted(path for path in TESTS.glob("*/") if any(path.rglob("test_*.py"))),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    with tempfile.TemporaryFile() as said:
        beside = subprocess.Popen([*command, *first], env=environment, stdout=said, stderr=subprocess.STDOUT)
        code = subprocess.run([*command, *rest], env=environment, check=False).returncode
        codes = [code, beside.wait()]
        said.seek(0)
        sys.stdout.flush()
        sys.stdout.buffer.write(said.read())
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
