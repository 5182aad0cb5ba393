"""The Python door: docs/python.md runs as it stands, and names are what type checkers see."""

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import tiny_generator, write_store

import stylegan
from stylegan import weights

ROOT = Path(__file__).parents[1]


def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs/python.md").read_text()
    scope: dict = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, scope)
    assert scope["images"].shape == (8, 3, 32, 32) and scope["scores"]["fid_mobilenet-v2"] > 0
    assert scope["same"]["fid_mobilenet-v2"] == pytest.approx(0, abs=1e-3)
    assert not torch.distributed.is_initialized()
    for name in ("prepare_portraits", "open_store", "preset", "train", "load", "draw", "evaluate", "find_directions"):
        assert f"stylegan.{name}(" in text
    for name in ("edit", "project", "Recipe", "tune", "dragging.dragging", "train_encoder", "encoders.encode"):
        assert f"stylegan.{name}(" in text


def test_the_page_of_directions_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = stylegan.find_directions("portraits-32", stylegan.FindConfig("pca", components=2))
    stylegan.directions.save("svm.safetensors", replace(found, names=("glasses", "lipstick")))
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/directions.md").read_text(), re.DOTALL)
    scope: dict = {}
    exec(block, scope)
    assert scope["edited"].shape == scope["w"].shape and not torch.equal(scope["edited"], scope["w"])


def test_static_names_are_the_lazy_ones():
    tree = ast.parse(Path(stylegan.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    static = {alias.name: node.module for node in block.body for alias in node.names}
    modules = {name for name, home in static.items() if home == "stylegan"}
    assert modules == set(stylegan._MODULES)
    assert {name: home for name, home in static.items() if name not in modules} == stylegan._HOME
    assert (Path(stylegan.__file__).parent / "py.typed").exists()
    for name in stylegan.__all__:
        assert getattr(stylegan, name).__doc__, name


def test_a_loaded_model_tracks_no_gradients(tmp_path):
    weights.save(tmp_path / "m.safetensors", weights.Model(tiny_generator()))
    generator = stylegan.load(tmp_path / "m.safetensors")
    assert not generator(torch.randn(2, 8)).requires_grad
    loaded = weights.load_model(tmp_path / "m.safetensors")
    assert not any(parameter.requires_grad for parameter in loaded.generator.parameters())
    loaded.generator.requires_grad_()  # asked for
    assert loaded.generator(torch.randn(2, 8)).requires_grad


def test_images_are_measured_without_files(tmp_path):
    store = write_store(tmp_path / "store")
    images = stylegan.open_store(store).images()
    config = stylegan.EvaluateConfig(extractor="mobilenet-v2")
    scores = stylegan.evaluate(images, str(store), "fid50k", config, progress=False)
    assert scores == {"fid_mobilenet-v2": pytest.approx(0, abs=1e-3)}
