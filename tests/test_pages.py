"""Every command of every page runs, and links lead somewhere.

`<!-- runs -->` before a block of a page says that its commands run here as they stand, but for the number of portraits,
one page after the other, in a folder with a few photographs. All others run too: shortened, among small files in place
of a user's (`SHORTER`); in a test of the page's own (`OWN`); or in what `ELSEWHERE` names, where they need a network, a
GPU, hours or another program. And all of them are read by the program as they stand, as far as their options.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import tomllib
from dataclasses import replace
from functools import wraps
from itertools import dropwhile, groupby
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import tyro
from conftest import tiny_config, tiny_discriminator, tiny_generator, write_official, write_store
from PIL import Image
from tyro.extras import subcommand_cli_from_dict

import stylegan
from stylegan import cli, encoders, planning, presets
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
# pages whose commands of the shell a test of their own runs
OWN = {"docs/your-pictures.md": "tests/test_your_pictures.py", "docs/photograph.md": "tests/test_photograph.py"}
# the beginnings of commands that run neither as they stand nor shortened, and what runs them
ELSEWHERE = {
    "python3 -m venv": "Makefile",
    ". .venv/bin/activate": "Makefile",
    "pip install": "Dockerfile",
    "python -m http.server": "tests/test_web.py",
    "torchrun --nproc-per-node 8 -m stylegan evaluate": "tests/test_metrics.py",
    "torchrun": "tests/test_processes.py",
    "stylegan fetch": "tests/test_downloads.py",
    "stylegan prepare photographs/ aligned": "tests/test_align.py",
    "stylegan prepare fairface-128.zip": "runs/faces.sh",
    "stylegan explore": "tests/test_explorer_server.py",
    "stylegan bench": "tests/test_bench.py",
    "stylegan evaluate run --data store --metrics fid50k,ppl_wfull,ls": "tests/test_metrics.py",
    "stylegan evaluate run --data store --metrics all": "tests/test_separability.py",
    "stylegan export run model.onnx": "tests/test_onnx.py",
    "stylegan export": "tests/test_web.py",
    "stylegan push run you/cats": "tests/test_share.py",
    "stylegan generate hf://": "tests/test_share.py",
    "stylegan train cats cats-128 --start-from hf://": "tests/test_share.py",
}
# options that make seconds of minutes or hours; the last one of a kind counts
SHORTER = {
    "directions find": "--count 64",
    "project": "--steps 2 --candidates 4 --distance none",
    "video": "--seconds 0.2 --fps 10",
    "train": "--device cpu --grid 2 2",
    "evaluate": "--count 12 --extractor mobilenet-v2",
    "prepare portraits": "--count 24",
    "prepare photographs/ store --resolution 64 --hold-out 2000": "--hold-out 4",
}


def blocks(name: str, language: str, mark: str = "") -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(rf"^{mark}```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def all_commands(block: str) -> list[list[str]]:
    """The words of each command in a block of shell, without variables set before it."""
    found = []
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        words.whitespace_split = True
        for end, part in groupby(words, key=lambda word: set(word) <= set(";&|")):
            part = list(dropwhile(lambda word: re.fullmatch(r"[A-Z_]+=.*", word), part))
            found += [part] if part and not end else []
    return found


def commands(block: str) -> list[list[str]]:
    """The arguments of each call of the program in a block of shell."""
    found = []
    for words in all_commands(block):
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
    """The presets `small` and `demo`, for a moment instead of minutes or an hour."""
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

    for name in ("small", "demo"):
        monkeypatch.setitem(presets.PRESETS, name, small)


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
                cli.main([*command, "--count", "24"] if command[:2] == ["prepare", "portraits"] else command)
            except SystemExit as end:
                assert not end.code, f"{name}: stylegan {shlex.join(command)}\n{capsys.readouterr().err}"


@pytest.fixture(scope="module")
def belongings(house, tmp_path_factory) -> Path:
    """A folder with what the pages take for granted, all of it small: photographs, stores, a run, models of others."""
    folder = tmp_path_factory.mktemp("belongings")
    shutil.copytree(house / "photographs", folder / "photographs")
    (folder / "some-images").mkdir()
    for path in (folder / "photographs").rglob("*.png"):
        Image.open(path).resize((32, 32)).save(folder / "some-images" / path.name)
    Image.open(path).save(folder / "photograph.png")
    as_figure_7_shows = {"count": 46, "hold_out": 4, "resolution": 32}
    stylegan.prepare_portraits(folder / "store", **as_figure_7_shows, workers=1, progress=False)
    write_store(folder / "cats", 32, labels=2)
    (folder / "ffhq").symlink_to("store")
    for name in ("faces", "cartoons"):
        model = stylegan.weights.Model(tiny_generator(32), discriminator=tiny_discriminator(32))
        stylegan.weights.save(folder / f"{name}.safetensors", model)
        encoder = encoders.new_encoder(model.generator)
        encoders.save(folder / f"{name}-encoder.safetensors", encoder, model.generator)
    for name in ("karras2019stylegan-ffhq-1024x1024.pkl", "network-snapshot-011125.pkl"):
        write_official(folder / name)
    config = tiny_config(folder / "store")
    shapes = {name: replace(getattr(config, name), resolution=32) for name in ("generator", "discriminator")}
    brief = replace(config.schedule, initial_resolution=32, total_kimg=0.016)
    stylegan.train(replace(config, schedule=brief, **shapes), folder / "run", progress=False)
    return folder


def in_small(words: list[str]) -> list[str]:
    """A command of a page as it runs here."""
    short: list[str] = []
    for start, options in SHORTER.items():
        if words[: len(start.split())] == start.split():
            short += options.split()
    if words[0] == "train" and "config-e" in words:
        short += ["--width", "thin", "--kimg", "0.016"]
    with contextlib.suppress(ValueError):
        words[words.index("--frame") + 1] = "1"
    small = {"faces": "faces.safetensors", "encoder=faces": "encoder=faces-encoder.safetensors"}
    return [small.get(word, word) for word in words] + short


@pytest.mark.parametrize("name", [name for name in NAMES if blocks(name, "sh") and name not in OWN])
def test_the_other_commands_run(name, belongings, brief, tmp_path, monkeypatch, capsys):
    here = tmp_path / "here"
    shutil.copytree(belongings, here, symlinks=True)
    monkeypatch.chdir(here)
    monkeypatch.setattr(planning, "MODEL", "faces.safetensors")
    monkeypatch.setattr(planning, "LONGEST_OF_FEW", 0.02)  # kimg
    monkeypatch.setattr(planning, "SAMPLES", 12)
    as_they_stand = blocks(name, "sh", MARK)
    for words in (words for block in blocks(name, "sh") if block not in as_they_stand for words in all_commands(block)):
        command = shlex.join(words)
        if words[0].startswith(("runs/", "benchmarks/")):
            assert os.access(ROOT / words[0], os.X_OK), f"{name}: {command}"
            continue
        if any(command.startswith(start) for start in ELSEWHERE):
            continue
        assert words[0] == "stylegan", f"{name}: {command}"
        for folder in {"prepare": words[3:4], "train": words[3:4]}.get(words[1], []):  # which the page is about to make
            shutil.rmtree(folder, ignore_errors=True)
        try:
            cli.main(in_small(words[1:]))
        except SystemExit as end:
            assert not end.code, f"{name}: {command}\n{capsys.readouterr().err}"


def test_what_is_said_to_run_commands_is_there():
    for place in [*OWN.values(), *ELSEWHERE.values()]:
        assert (ROOT / place).exists(), place
    said = [shlex.join(words) for name in NAMES for block in blocks(name, "sh") for words in all_commands(block)]
    for start in ELSEWHERE:
        assert any(command.startswith(start) for command in said), f"no page says {start}"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for command in (command for command in said if command.startswith("pip install")):
        assert set(re.search(r"\[(.*)\]", command)[1].split(",")) <= set(extras), command


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
