"""docs/your-pictures.md runs as it stands, at a size that takes seconds."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_MAPS, tiny_discriminator, tiny_generator
from PIL import Image
from test_cli import run

from stylegan import planning, weights

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/your-pictures.md").read_text(encoding="utf-8")
specification = importlib.util.spec_from_file_location("draw_pictures", ROOT / "docs/draw_pictures.py")
draw_pictures = importlib.util.module_from_spec(specification)
specification.loader.exec_module(draw_pictures)
SHORTER = {
    "project": "--steps 2 --candidates 4",
    "find": "--count 64",
    "video": "--seconds 0.1",
    "evaluate": "--count 12",
}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Pictures, a small model in place of the bundled one, and a short training."""
    monkeypatch.chdir(tmp_path)
    Path("statues").mkdir()
    for i in range(85, 60, -1):
        shape = (70 + 3 * (i % 5), 66 + 2 * (i % 7), 3)
        pixels = np.random.RandomState(i).randint(0, 256, (9, 8, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize(shape[1::-1]).save(f"statues/image_{i:04}.jpg")
    model = weights.Model(
        tiny_generator(64, z_dim=16, w_dim=16, mapping_width=16), discriminator=tiny_discriminator(64)
    )
    weights.save(tmp_path / "small.safetensors", model)
    assert model.generator.config.feature_maps == TINY_MAPS
    monkeypatch.setattr(planning, "MODEL", str(tmp_path / "small.safetensors"))
    monkeypatch.setattr(planning, "LONGEST_OF_FEW", 0.03)  # kimg
    monkeypatch.setattr(planning, "SAMPLES", 12)


def test_every_command_of_the_page(tiny, tmp_path, capsys, monkeypatch):
    lines = draw_pictures.commands()
    assert len(lines) >= 12 and all(words[0] == "stylegan" for words in lines)
    for words in lines:
        short = next((option for name, option in SHORTER.items() if name in words[1:3]), "")
        on_cpu = "--device cpu" if words[1] in ("train", "project", "generate") else ""
        assert run(*[word.replace("walk.mp4", "walk.gif") for word in words[1:]], *f"{short} {on_cpu}".split()) == 0, (
            words
        )
    said = capsys.readouterr().out
    assert "it begins with the bundled model" in said and "memorization" in said
    for name in ("look.html", "store/kept.png", "run/report.html", "run/memorization.png", "pictures/grid.png"):
        assert Path(name).exists(), name
    for name in ("truncation.png", "mixing.png", "walk.gif", "projected/comparison.png", "edited/comparison.png"):
        assert Path(name).exists(), name
    monkeypatch.setattr(draw_pictures, "PICTURES", tmp_path / "small")
    draw_pictures.draw(tmp_path)
    shown = {Path(name).name for name in re.findall(r"images/statues/([^)]+)", PAGE)}
    assert {path.name for path in (tmp_path / "small").iterdir()} == shown


def test_its_pictures_and_links_are_there():
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE):
        path = ROOT / "docs" / target
        assert path.exists(), target
        assert path.suffix != ".png" or path.stat().st_size < 200_000, target
    assert "@" not in re.sub(r"`[^`]*`", "", PAGE)
