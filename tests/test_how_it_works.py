"""docs/how-it-works.md runs as it stands, shows what it makes, and names source that is there."""

import ast
import importlib.util
import re
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/how-it-works.md").read_text(encoding="utf-8")
specification = importlib.util.spec_from_file_location("draw", ROOT / "docs/draw.py")
draw = importlib.util.module_from_spec(specification)
specification.loader.exec_module(draw)


def test_the_page_draws_its_pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    for block in draw.snippets():
        exec(block, scope)
    made = {path.name: path for path in tmp_path.glob("*.png")}
    shown = re.findall(r"!\[[^]]+\]\(images/how/([^)]+)\)", PAGE)
    assert len(shown) >= 12 and sorted(shown) == sorted(made)
    for name, path in made.items():
        stored = ROOT / "docs/images/how" / name
        assert stored.stat().st_size < 60_000
        with Image.open(path) as new, Image.open(stored) as old:
            assert new.size == old.size, name


def test_figure_1_is_as_drawn():
    assert draw.FIGURE_1.read_text(encoding="utf-8") == draw.figure_1()
    assert "prefers-color-scheme: dark" in draw.figure_1()


def names_in(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }


def test_the_source_that_it_names_is_there():
    paragraphs = re.findall(r"^Source: (.*?)\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert len(paragraphs) == PAGE.count("\n## ") - 1  # of all sections but the last
    for paragraph in paragraphs:
        for names, target in re.findall(r"((?:[^()\[\]]|\(\))*)\[[^]]+\]\((\.\./src/[^)]+)\)", paragraph):
            named = set(re.findall(r"`(\w+)`", names))
            assert (ROOT / "docs" / target).is_file(), target
            assert named and named <= names_in(ROOT / "docs" / target), (named, target)


def test_its_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
