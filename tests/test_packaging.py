"""What is published: version, wheel and sdist, and the pages that speak of safety and of citing."""

import ast
import importlib.util
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import stylegan

ROOT = Path(__file__).parents[1]
specification = importlib.util.spec_from_file_location("distributions", ROOT / ".ci/distributions.py")
distributions = importlib.util.module_from_spec(specification)
specification.loader.exec_module(distributions)


def test_the_version_stands_in_one_place():
    assert distributions.version_of_source() == stylegan.__version__
    assert not re.search(r"^version = \"", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)


def test_wheel_and_sdist(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    build = (
        "import sys, setuptools.build_meta as backend\n"
        "folder = sys.argv[1]  # which the backend overwrites\n"
        "backend.build_sdist(folder), backend.build_wheel(folder)"
    )
    source = tmp_path / "source"  # what is built leaves nothing in the project
    subprocess.run([sys.executable, "-c", COPY, ROOT, source], check=True)
    done = subprocess.run([sys.executable, "-c", build, tmp_path], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert distributions.check(tmp_path, stylegan.__version__) == []
    assert distributions.check(tmp_path, "9.9") == [f"the tag says 9.9, the source {stylegan.__version__}"]
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
    assert "stylegan/pretrained/mobilenet-v2/LICENSE" in names
    faults = distributions.check_wheel([*names[1:], "tests/test_it.py"], stylegan.__version__)
    assert len(faults) == 2 and faults[1] == "too much: tests/test_it.py"


COPY = """
import shutil, sys
from pathlib import Path
root, source = map(Path, sys.argv[1:])
shutil.copytree(root / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
for folder in ("tests", "docs", "runs"):
    (source / folder).mkdir()
    (source / folder / "test_more.py").write_text("")
for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
    shutil.copy(root / name, source)
"""


def test_claims_of_security_have_their_tests():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    claims = re.findall(r"((?:`\w+`(?:, | and )?)+) in \[[^]]+\]\((tests/[^)]+)\)", text)
    assert len(claims) >= 9
    for names, file in claims:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        there = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert set(re.findall(r"`(\w+)`", names)) <= there, (names, file)


def test_the_paper_is_cited():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert "cff-version: 1.2.0" in text and re.findall(r"family-names: (\w+)", text) == ["Karras", "Laine", "Aila"]
