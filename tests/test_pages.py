"""Every page's commands are commands of this program, those marked as such run, and links lead somewhere.

`<!-- runs -->` before a block of a page says that its commands run here as they stand, one page after the other, in a
folder with a few photographs. All others are read by the program as far as their options, but not carried out: they
need a network, a GPU, hours, or files that only a user has.
"""

import json
import re
import shlex
import shutil
from dataclasses import replace
from functools import wraps
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import tyro
from conftest import tiny_generator
from PIL import Image
from tyro.extras import subcommand_cli_from_dict

import stylegan
from stylegan import cli, planning, presets
from stylegan.cli import arguments
from stylegan.cli import edit as edit_command
from stylegan.cli import measure as measure_command
from stylegan.cli import train as train_command
from stylegan.metrics import distances, path_length

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]
MARK = "<!-- runs -->\n"
# where the Python of each page runs
PYTHON = {
    "README.md": "test_readme.py",
    "docs/how-it-works.md": "test_how_it_works.py",
    "docs/python.md": "test_python.py",
    "docs/directions.md": "test_python.py",
    "docs/index.md": "test_pages.py",
    "docs/metrics.md": "test_pages.py",
    "docs/file-formats.md": "test_pages.py",
    "docs/photograph.md": "test_photograph.py",
}


def blocks(name: str, language: str, mark: str = "") -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(rf"^{mark}```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[list[str]]:
    """The arguments of each call of the program in a block of shell."""
    found = []
    for line in block.replace("\\\n", " ").splitlines():
        for part in re.split(r"&&|\|\|?|;", line):
            words = shlex.split(part, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            if words[:1] == ["torchrun"] and "stylegan" in words:
                words = words[words.index("stylegan") :]
            if words[:1] == ["stylegan"] and words[1:2] != ["..."]:
                found.append([word for word in words[1:] if word != "..."])
    return found


@pytest.fixture
def read_only(monkeypatch):
    """Commands read their options and stop there."""

    def idle(function):
        @wraps(function)
        def nothing(*_, **__):
            return None

        return nothing

    def parse(function, name, given):
        return tyro.cli(idle(function), args=arguments.renamed(given), prog=f"stylegan {name}")

    def parse_one_of(table, **options):
        return subcommand_cli_from_dict({name: idle(function) for name, function in table.items()}, **options)

    def preset(name, data, *, resolution=None, start_from="", **_):  # without a look at store and model
        return replace(whole(name, "", resolution=resolution or 64), start_from=start_from)

    whole = presets.preset
    for module in (arguments, train_command, measure_command):
        monkeypatch.setattr(module, "parse", parse)
    monkeypatch.setattr(edit_command, "subcommand_cli_from_dict", parse_one_of)
    monkeypatch.setattr(presets, "preset", preset)

    def small(data, choice, *_):  # without a look at the machine
        return preset("small", data, start_from=choice.start_from)

    monkeypatch.setattr(planning, "unfitted", small)
    monkeypatch.setattr(planning, "plan", lambda *given: SimpleNamespace(config=small(*given)))


@pytest.mark.parametrize("name", [name for name in NAMES if blocks(name, "sh")])
def test_commands_are_ours(name, read_only, capsys):
    for block in blocks(name, "sh"):
        for command in commands(block):
            try:
                cli.command(command[0])(command[1:])
            except SystemExit as end:
                assert not end.code, f"{name}: stylegan {shlex.join(command)}\n{capsys.readouterr().err}"


@pytest.fixture(scope="module")
def house(tmp_path_factory) -> Path:
    """A folder with photographs of two kinds, a store and a run: those of docs/index.md."""
    folder = tmp_path_factory.mktemp("house")
    for i in range(16):
        path = folder / "photographs" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.RandomState(i).randint(0, 256, (8, 8 + i % 3, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((70, 66 + i)).save(path)
    return folder


@pytest.fixture
def brief(monkeypatch):
    """The preset `small`, for a moment instead of an hour."""
    whole = presets.small

    def small(shape):
        config = whole(shape)
        maps = replace(config.generator.feature_maps, base=64, maximum=8)
        return replace(
            config,
            generator=replace(config.generator, feature_maps=maps),
            discriminator=replace(config.discriminator, feature_maps=maps),
            schedule=replace(config.schedule, total_kimg=0.03, batch_size={4: 8}, tick_kimg={4: 0.02}),
            grid=(4, 2),
        )

    monkeypatch.setitem(presets.PRESETS, "small", small)


@pytest.mark.parametrize("name", ["docs/index.md", *(name for name in NAMES if blocks(name, "sh", MARK))])
def test_marked_blocks_run(name, house, brief, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(house if name in ("docs/index.md", "docs/guides/trouble.md") else tmp_path)
    if name == "docs/guides/trouble.md" and not Path("run").exists():
        pytest.skip("needs the run of docs/index.md")
    if name == "docs/index.md" and Path("run").exists():
        return  # it has run
    if not Path("photographs").exists():
        shutil.copytree(house / "photographs", "photographs")
    for block in blocks(name, "sh", MARK):
        for command in commands(block):
            try:
                cli.main(command)
            except SystemExit as end:
                assert not end.code, f"{name}: stylegan {shlex.join(command)}\n{capsys.readouterr().err}"


def test_every_block_of_python_has_a_test():
    assert {name for name in NAMES if blocks(name, "python")} == set(PYTHON)


def test_python_of_the_front_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in blocks("docs/index.md", "python"):
        exec(block, {})
    assert (tmp_path / "sheet.png").exists()


def test_python_of_the_file_formats(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stylegan.prepare_portraits("store", count=3, resolution=64, workers=1, progress=False)
    stylegan.weights.save("model.safetensors", stylegan.weights.Model(tiny_generator()))
    store, checksum, onnx = blocks("docs/file-formats.md", "python")
    scope: dict = {}
    exec(store, scope)
    assert scope["images"].shape == (3, 64, 64, 3)
    exec(checksum, scope)
    assert scope["stored"]
    assert "model.onnx" in onnx  # tests/test_onnx.py draws with onnxruntime


def test_python_of_measuring(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = []
    monkeypatch.setattr(stylegan, "evaluate", lambda *given: calls.append(given), raising=False)
    for name in ("run", "store"):
        stylegan.prepare_portraits(name, count=3, resolution=16, workers=1, progress=False)
    one_call, functions = blocks("docs/metrics.md", "python")
    exec(one_call, {})
    assert [len(given) for given in calls] == [3, 4]  # tests/test_metrics.py and test_python.py measure

    generator = tiny_generator()
    z = torch.randn(2, 4, generator.config.z_dim).unbind()
    scope = {"mapping": generator.mapping, "synthesis": generator.synthesis, "z1": z[0], "z2": z[1], "t": torch.rand(4)}
    scope |= {name: torch.randn(40, 5) for name in ("fakes", "reals", "latents")}
    scope |= {"logits": torch.randn(40, 2), "distance": lambda a, b: (a - b).square().mean(dim=(1, 2, 3))}
    pytest.importorskip("sklearn")
    exec(functions, scope)
    assert distances.__doc__ and path_length.__doc__


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    text = re.sub(r"^```.*?^```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) + re.findall(r'<img src="([^"]+)"', text):
        if not re.match(r"[a-z]+:", target):
            assert ((ROOT / name).parent / target).exists(), f"{name}: {target}"


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 140


def test_notebook(tmp_path, monkeypatch, brief):
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((ROOT / "notebooks/start.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4 and all(not cell.get("outputs") for cell in notebook["cells"])
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    cells = ["".join(cell["source"]) for cell in cells if "install" not in cell["metadata"].get("tags", [])]
    tiny = {"RESOLUTION = 64": "RESOLUTION = 32", "KIMG = 20": "KIMG = 0.03", "STEPS = 60": "STEPS = 3", "=2000": "=20"}
    for long, short in tiny.items():
        assert sum(long in cell for cell in cells) == 1, long
        cells = [cell.replace(long, short) for cell in cells]
    scope: dict = {}
    for cell in cells:
        exec(cell, scope)
    home = Path("stylegan-start")
    for name in ("reals.png", "samples.png", "mixing.png", "projection.png", "run/report.html"):
        assert (home / name).exists(), name
    scope = {}
    for cell in cells:  # again, as after the machine was taken away: it goes on, and has nothing to do
        exec(cell, scope)
    assert scope["outcome"].images_seen == 32
