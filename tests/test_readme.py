"""The README tells the truth: its Python runs, its links lead somewhere; the map in CONTRIBUTING.md is the tree."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

import stylegan
from stylegan import presets

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_python_of_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photographs").mkdir()
    for i in range(12):
        pixels = np.random.RandomState(i).randint(0, 256, (80, 70, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(f"photographs/{i}.png")

    def short(name, data):  # the same preset, for a moment instead of hours
        config = presets.preset(name, data)
        brief = {"total_kimg": 0.03, "stable_kimg": 0.002, "fade_kimg": 0.002, "batch_size": {4: 4}}
        return replace(config, schedule=replace(config.schedule, **brief), grid=(2, 2))

    monkeypatch.setattr(stylegan, "preset", short, raising=False)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 2
    scope = {}
    for block in blocks:
        exec(block, scope)
    assert scope["pictures"].shape == (2, 3, 64, 64)
    with Image.open("mixed.png") as picture:
        assert picture.mode == "RGB"


def test_file_map_is_the_tree():
    section = (ROOT / "CONTRIBUTING.md").read_text().split("## File map")[1].split("```")[1]
    named = {line.split()[0] for line in section.splitlines() if line.startswith("  ")}
    tree = {
        str(path.relative_to(ROOT / "src/stylegan"))
        for path in (ROOT / "src/stylegan").rglob("*.py")
        if path.name != "__init__.py" or path.parent.name == "stylegan"
    }
    assert named - {"pretrained/"} == tree


def test_pictures_and_links_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https:") or (ROOT / target).exists(), target
