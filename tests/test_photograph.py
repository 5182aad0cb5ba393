"""docs/photograph.md, run as it is written: at tiny size, with a tiny model in place of `faces`."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_generator, write_store
from PIL import Image
from test_cli import run

from stylegan import directions, encoders, weights
from stylegan.finders import FindConfig, find_directions

PAGE = (Path(__file__).parents[1] / "docs" / "photograph.md").read_text(encoding="utf-8")
SHORTER = {"--steps": "2", "--tune": "2", "--kimg": "0.016", "--seconds": "0.2"}  # of what a command says
ALSO = {  # what it does not say
    "project": "--distance none --candidates 4",
    "drag": "--steps 2",
    "encoder": "--network.hidden 8 --distance none",
}


def parts():
    """The page's blocks of code in order: ("sh" or "python", text)."""
    return re.findall(r"```(sh|python)\n(.*?)```", PAGE, re.DOTALL)


def shortened(words: list[str]) -> list[str]:
    words = [SHORTER.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    words += ALSO.get(words[0], "").split()
    if words[0] == "project" and "--steps" not in words:
        words += ["--steps", "2"]
    return words if words[0] == "prepare" else [*words, "--device", "cpu"]


def test_the_page_as_it_is_written(tmp_path, monkeypatch, capsys):
    pytest.importorskip("imageio_ffmpeg")
    monkeypatch.chdir(tmp_path)
    generator = tiny_generator(64)
    weights.save("faces.safetensors", weights.Model(generator))
    encoders.save("tiny.safetensors", encoders.new_encoder(generator), generator)
    found = find_directions("faces.safetensors", FindConfig("pca", components=3))
    directions.save("named.safetensors", directions.renamed(found, directions.load("faces").names))
    write_store(tmp_path / "store", 64, count=12)
    pixels = np.random.RandomState(0).randint(0, 256, (80, 70, 3)).astype(np.uint8)
    Image.fromarray(pixels).save("photograph.png")
    commands = []
    for kind, text in parts():
        if kind == "python":
            exec(text, {})
            continue
        for line in text.replace("\\\n", " ").splitlines():
            program, *words = shlex.split(line, comments=True)
            assert program == "stylegan"
            commands.append(words[0])
            if words[0] != "prepare":  # the store is there already
                faces = "named.safetensors" if words[0] in ("directions", "edit") else "faces.safetensors"
                tiny = {"faces": faces, "encoder=faces": "encoder=tiny.safetensors"}
                assert run(*shortened([tiny.get(word, word) for word in words])) == 0, line
    assert " ".join(commands) == "project drag directions edit video prepare encoder project"
    for name in (
        "photograph/tuned.safetensors",
        "photograph/photograph-projected.png",
        "dragged/comparison.png",
        "dragged.mp4",
        "directions.png",
        "edited/edited0000.png",
        "way.mp4",
        "quick/tuned.safetensors",
    ):
        assert Path(name).stat().st_size > 0


def test_its_pictures_are_there():
    for target in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (Path(__file__).parents[1] / "docs" / target).exists(), target
