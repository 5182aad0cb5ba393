"""One meaning of what is drawn: every command draws the picture that `stylegan generate` draws."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_generator
from PIL import Image
from torch import Tensor

import stylegan
from stylegan import cli, directions, figures, finders, recipe, sampling, share, videos, weights
from stylegan.explorer import picture
from stylegan.explorer.picture import Explorer
from stylegan.networks.generator import Growth, Truncation
from stylegan.recipe import Recipe

TRADITIONAL = {"use_styles": False, "const_input": False, "use_noise": False, "mapping_layers": 0}
KINDS = {
    "truncation of its own": {},
    "conditional": {"label_count": 3},
    "traditional": TRADITIONAL,
    "rgba": {"channels": 4},
    "half grown": {},
}
SEEDS = [5, 0]


@pytest.fixture(params=KINDS)
def model(request, tmp_path: Path) -> Path:
    generator = tiny_generator(**KINDS[request.param])
    if generator.has_w:
        generator.truncation = Truncation(0.4, 3)
    if request.param == "half grown":
        generator.synthesis.grown = Growth(8, 0.25)
    weights.save(tmp_path / "m.safetensors", weights.Model(generator))
    found = finders.by_pca(generator, 2, count=200) if generator.has_w else finders.by_sefa(generator, 2)
    directions.save(tmp_path / "d.safetensors", found)
    return tmp_path / "m.safetensors"


def read(path: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)


@pytest.fixture
def truth(model: Path) -> Tensor:
    """What `generate` draws of the seeds, by no code of recipe.py."""
    g = weights.load(model)
    labels = torch.tensor([0, 1]) if g.config.label_count else None
    w = g.truncate(sampling.w_of_seeds(g, SEEDS, labels), *g.truncation)
    return sampling.draw(g, w, sampling.noise_of_seeds(SEEDS, g))


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([str(each) for each in arguments])
    assert end.value.code in (None, 0)


def test_generate_and_python(model, truth, tmp_path):
    run("generate", model, "--seeds", "5,0", "--out", tmp_path / "g")
    assert torch.equal(torch.stack([read(tmp_path / "g" / f"seed000{seed}.png") for seed in SEEDS]), truth)
    assert torch.equal(stylegan.draw(model, SEEDS), truth)
    assert torch.equal(stylegan.draw(weights.load(model), stylegan.Recipe(SEEDS), batch=1), truth)


def test_edit_at_strength_0(model, truth, tmp_path):
    name = directions.load(tmp_path / "d.safetensors", weights.load(model)).names[0]
    run("edit", model, tmp_path / "d.safetensors", f"{name}=0", "--seeds", "5,0", "--out", tmp_path / "e")
    assert torch.equal(torch.stack([read(tmp_path / "e" / f"edited000{i}.png") for i in (0, 1)]), truth)


def test_explorer(model, truth):
    g = weights.load(model)
    explorer = Explorer("m", g, finders.by_sefa(g, 1))
    for i, seed in enumerate(SEEDS):
        said = picture.Recipe(seed=seed, label=i if g.config.label_count else None, psi=g.truncation.psi)
        assert torch.equal(picture.draw(explorer, said)[0], truth[i])


def test_push(model, truth, monkeypatch):
    monkeypatch.setattr(share, "SEEDS", SEEDS)
    side = truth.shape[3] * (96 // truth.shape[3])
    shown = share.samples(weights.load_model(model))
    step = side // truth.shape[3]
    pictures = [shown[:, ::step, ::step][:, :, i * truth.shape[3] : (i + 1) * truth.shape[3]] for i in (0, 1)]
    assert torch.equal(torch.stack(pictures), truth)


@pytest.mark.parametrize("kind", ["interpolation", "noise"])
def test_first_frame_of_a_video(model, truth, tmp_path, monkeypatch, kind):
    g = weights.load(model)
    if kind == "noise" and not g.config.use_noise:
        pytest.skip("no noise inputs")
    frames = []
    monkeypatch.setattr(videos, "write", lambda out, drawn, **how: frames.append(next(iter(drawn))[0]))
    seeds = "5,0,1,2" if kind == "interpolation" else "5,0"
    run("video", kind, model, tmp_path / "v.mp4", "--seeds", seeds, "--grid", 2, 1)
    assert torch.equal(frames[0], torch.cat([*truth], dim=2))


def test_figures(model, truth, monkeypatch):
    g = weights.load(model)
    drawn, draw = [], sampling.draw
    monkeypatch.setattr(figures, "draw", lambda *a, **k: drawn.append(draw(*a, **k)) or drawn[-1])
    monkeypatch.setattr(sampling, "draw", lambda *a, **k: drawn.append(draw(*a, **k)) or drawn[-1])
    if g.config.use_noise:
        pytest.importorskip("matplotlib")
        if g.synthesis.grown.resolution >= 16:
            figures.noise_layers(g, Recipe(SEEDS))
            assert torch.equal(drawn[0], truth)
            drawn.clear()
            figures.style_mixing(g, Recipe(SEEDS), destinations=[1, 2, 3])
            assert torch.equal(drawn[0][0], truth[0])  # its planes are those of all, so that only styles differ
            drawn.clear()
        figures.truncation(g, Recipe(SEEDS), psis=(1,))
        labels = sampling.labels_in_turn(g, None, 2)
        w = sampling.w_of_seeds(g, SEEDS, labels)
        assert torch.equal(drawn[0], draw(g, w, sampling.noise_of_seeds(SEEDS, g)))


def test_a_model_and_its_saved_latents_draw_the_same(model, truth, tmp_path):
    run("generate", model, "--seeds", "5,0", "--out", tmp_path / "g", "--save-latents", tmp_path / "l.safetensors")
    g = weights.load(model)
    again = recipe.opened(Recipe(latents=tmp_path / "l.safetensors", noise="const"), g)
    if not g.config.use_noise:
        assert torch.equal(stylegan.draw(g, again), truth)
    assert torch.equal(recipe.resolve(again, g).w, recipe.resolve(stylegan.Recipe(SEEDS), g).w)


def test_an_explicit_fade_of_0_counts_in_mid_growth():
    g = tiny_generator()
    w = sampling.w_of_seeds(g, [1])
    whole = g.synthesis(w, noise="const", resolution=8)
    g.synthesis.grown = Growth(8, 0.5)
    assert torch.equal(g.synthesis(w, noise="const", fade=0.0), whole)
    assert not torch.equal(g.synthesis(w, noise="const"), whole)
    assert torch.equal(g.synthesis(w, noise="const"), g.synthesis(w, noise="const", resolution=8, fade=0.5))
