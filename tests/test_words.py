"""Directions in words: with a small network of CLIP's interface, and how the real one is loaded."""

import sys
import types

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_generator
from test_cli import refused, run
from torch import nn

from stylegan import directions, downloads, finders, sampling, weights, words
from stylegan.downloads import DOWNLOADS, Download, checksum_of
from stylegan.errors import InputError
from stylegan.finders import FindConfig
from stylegan.words import Clip


class Tokenizer:
    """A token a word."""

    def encode(self, text):
        return types.SimpleNamespace(ids=[0, *(len(word) for word in text.split()), 1])


class Small(nn.Module):
    """Sees how bright an image is, above and below; reads "bright" (6 letters) and "dark"."""

    def __init__(self, config=None):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(3))

    def get_image_features(self, pixel_values):
        above, below = pixel_values.mean(dim=1).flatten(1).chunk(2, dim=1)
        return torch.stack([above.mean(dim=1), below.mean(dim=1), torch.ones(len(above))], dim=1) @ self.weight

    def get_text_features(self, input_ids):
        bright = float((input_ids == 6).sum() - (input_ids == 4).sum())
        return torch.tensor([[bright, bright, 1.0]])


@pytest.fixture(scope="module")
def generator():
    return tiny_generator(16)


@pytest.fixture
def clip():
    return Clip(Small(), Tokenizer(), side=32)


def test_vectors_are_of_length_1_and_images_are_as_clip_wants_them(clip):
    seen = []
    clip.network.get_image_features = lambda pixel_values: seen.append(pixel_values) or pixel_values.mean(dim=(2, 3))
    gray = clip.of_images(torch.full((2, 1, 16, 16), -1.0))
    assert gray.shape == (2, 3) and torch.allclose(gray.norm(dim=1), torch.ones(2))
    assert seen[0].shape == (2, 3, 32, 32)
    black = -torch.tensor(words.MEAN) / torch.tensor(words.DEVIATION)
    assert torch.allclose(seen[0].mean(dim=(0, 2, 3)), black, rtol=1e-4)
    assert clip.of_texts(["bright", "dark"]).shape == (2, 3)
    for text in ("", " ", "a " * 80):
        with pytest.raises(InputError, match="write some words"):
            clip.of_texts([text])


def test_newer_versions_of_transformers_wrap_what_they_give():
    x = torch.tensor([[3.0, 4.0]])
    wrapped = types.SimpleNamespace(pooler_output=x)
    assert torch.allclose(words._unit(wrapped), F.normalize(x)) and torch.allclose(words._unit(x), F.normalize(x))


def test_a_step_along_a_direction_does_what_the_words_say(generator, clip):
    found = finders.by_text(generator, clip, {"bright": "dark", "dark": "bright"}, count=400, progress=False)
    assert found.names == ("bright", "dark") and found.method == "text"
    assert torch.allclose(found.vectors[0], -found.vectors[1], atol=1e-5)
    w = sampling.w_of_seeds(generator, range(20))
    means = []
    for strength in (-1.5, 0.0, 1.5):
        images = sampling.draw(generator, directions.shift(w, found.step("bright"), strength)).float()
        means.append(float(images.mean()))
    assert means[0] < means[1] < means[2]


def test_what_is_missing_or_too_much_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("STYLEGAN_CACHE", str(tmp_path))
    for options in ({}, {"text": "a"}, {"against": "b"}):
        with pytest.raises(InputError, match="--text WORDS --against WORDS"):
            FindConfig("text", **options)
    with pytest.raises(InputError, match="takes no --text"):
        FindConfig("pca", text="a")
    with pytest.raises(InputError, match="stylegan fetch clip"):
        words.load_clip()


def test_the_command(generator, clip, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(finders, "load_clip", lambda: clip)
    weights.save(tmp_path / "m.safetensors", weights.Model(generator))
    options = ("--method", "text", "--text", "a bright face", "--against", "a dark face", "--count", "64")
    assert run("directions", "find", tmp_path / "m.safetensors", tmp_path / "d.safetensors", *options) == 0
    assert directions.load(tmp_path / "d.safetensors", generator).names == ("a_bright_face",)
    assert "needs words" in refused(
        capsys, "directions", "find", tmp_path / "m.safetensors", tmp_path / "d.safetensors", "--method", "text"
    )


def test_the_weights_are_read_as_data_and_must_fit(tmp_path, monkeypatch):
    """Fetched from a folder, checked, and given to whatever transformers has."""
    source = tmp_path / "source"
    source.mkdir()
    monkeypatch.setenv("STYLEGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(
        sys.modules, "tokenizers", types.SimpleNamespace(Tokenizer=types.SimpleNamespace(from_file=str))
    )
    monkeypatch.setitem(sys.modules, "transformers", types.SimpleNamespace(CLIPConfig=dict, CLIPModel=Small))

    def fetch(state):
        torch.save(state, source / "clip.bin")
        (source / "clip.json").write_text("{}")
        files = [source / "clip.bin", source / "clip.json"]
        items = [Download(f"https://example.org/{path.name}", checksum_of([path]), "MIT", path.name) for path in files]
        monkeypatch.setitem(DOWNLOADS, "clip", items)
        return downloads.fetch("clip", source, progress=False)

    kept = fetch({"weight": torch.ones(3, 3), "text_model.embeddings.position_ids": torch.arange(5)})
    loaded = words.load_clip()
    assert torch.equal(loaded.network.weight, torch.ones(3, 3)) and loaded.tokenizer == str(kept[1])
    assert not loaded.network.weight.requires_grad
    fetch({"other": torch.ones(3, 3)})
    with pytest.raises(InputError, match="does not take the weights"):
        words.load_clip()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"stylegan\[text\]"):
        words.load_clip()


def test_the_entry_names_a_revision_and_files_of_their_own_names():
    names = [item.name for item in DOWNLOADS["clip"]]
    assert names == ["clip-vit-base-patch32.bin", "clip-vit-base-patch32-tokenizer.json"]
    assert all("/resolve/3d74acf9" in item.url and len(item.sha256) == 64 for item in DOWNLOADS["clip"])
