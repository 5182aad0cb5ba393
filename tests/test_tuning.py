"""Tuning: the generator bends to the image, stays elsewhere, and keeps its W."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import tiny_generator
from PIL import Image
from safetensors.torch import load_file
from test_cli import refused, run

from stylegan import directions, finders, likeness, sampling, tuning, weights
from stylegan.errors import InputError
from stylegan.files import read_tensors
from stylegan.images import to_uint8
from stylegan.tuning import TuneConfig
from stylegan.weights import Provenance, fingerprint

CONFIG = TuneConfig(tune=40, tune_rate=0.01)


@pytest.fixture(scope="module")
def generator():
    return tiny_generator(16)


@pytest.fixture(scope="module")
def target():
    ramp = torch.linspace(-0.8, 0.8, 16)
    return torch.stack([ramp.expand(16, 16), ramp.expand(16, 16).T, -ramp.expand(16, 16)])[None]


def test_it_comes_nearer_and_the_original_stays(generator, target):
    w, before = sampling.w_of_seeds(generator, [1]), fingerprint(generator)
    tuned = tuning.tune(generator, target, w, CONFIG)
    old, new = (likeness.psnr(to_uint8(g.synthesis(w, noise="const")), to_uint8(target)) for g in (generator, tuned))
    assert new > old + 5
    assert fingerprint(generator) == before != fingerprint(tuned)
    assert tuned.tuned_from == before
    assert torch.equal(sampling.w_of_seeds(tuned, [7]), sampling.w_of_seeds(generator, [7]))  # the same W
    assert not any(parameter.requires_grad for parameter in tuned.parameters())
    again = tuning.tune(tuned, target, w, replace(CONFIG, tune=1))
    assert again.tuned_from == before  # of the first


def test_locality_holds_what_is_drawn_elsewhere(generator, target):
    w, others = sampling.w_of_seeds(generator, [1]), sampling.w_of_seeds(generator, range(10, 20))
    moved = []
    for locality in (0.0, 3.0):
        tuned = tuning.tune(generator, target, w, replace(CONFIG, locality=locality))
        images = [sampling.draw(g, others).float() for g in (generator, tuned)]
        moved.append(float((images[0] - images[1]).square().mean()))
    assert moved[1] < 0.7 * moved[0]


def test_other_w_lie_at_the_same_distance():
    w, other = torch.zeros(1, 3, 4), torch.tensor([[[0.0, 3.0, 4.0, 0.0]]])

    assert torch.allclose(tuning._towards(w, other, 2.0)[0, 0], torch.tensor([0.0, 1.2, 1.6, 0.0]))


def test_what_was_made_for_the_original_is_good_for_it(generator, target, tmp_path):
    w = sampling.w_of_seeds(generator, [1])
    tuned = tuning.tune(generator, target, w, replace(CONFIG, tune=2))
    model = weights.Model(generator, Provenance(data="cats", notes="mine"))
    weights.save(tmp_path / "t.safetensors", tuning.tuned_model(model, tuned, 1))
    back = weights.load_model(tmp_path / "t.safetensors")
    assert back.generator.tuned_from == fingerprint(generator)
    assert back.provenance == Provenance(data="cats", notes="mine; tuned to draw 1 image (pivotal tuning)")
    found = finders.by_sefa(generator, 2)
    directions.save(tmp_path / "d.safetensors", found)
    assert directions.load(tmp_path / "d.safetensors", back.generator).names == found.names
    directions.save(tmp_path / "own.safetensors", finders.by_sefa(back.generator, 2))
    assert directions.load(tmp_path / "own.safetensors", back.generator).names == found.names
    with pytest.raises(InputError, match="another model"):  # not the other way round
        directions.load(tmp_path / "own.safetensors", generator)
    with pytest.raises(InputError, match="another model"):
        directions.load(tmp_path / "d.safetensors", tiny_generator(16, z_dim=4))
    # a file that was not tuned says nothing of it
    weights.save(tmp_path / "m.safetensors", model)
    header, _ = read_tensors(tmp_path / "m.safetensors", "a model", kind="stylegan-model")
    assert "tuned_from" not in header


def test_the_command(generator, tmp_path, capsys):
    model, out = tmp_path / "m.safetensors", tmp_path / "out"
    weights.save(model, weights.Model(generator))
    rng = np.random.RandomState(0)
    for name in ("a", "b"):
        Image.fromarray(rng.randint(0, 256, (4, 4, 3)).astype(np.uint8)).resize((16, 16)).save(tmp_path / f"{name}.png")
    options = ("--steps", "2", "--candidates", "4", "--distance", "none", "--device", "cpu")
    files = (tmp_path / "a.png", tmp_path / "b.png")
    assert run("project", model, *files, *options, "--tune", "3", "--out", out) == 0
    said = capsys.readouterr().out
    assert said.count(" dB") == 2 and "tuned.safetensors" in said
    tuned = weights.load(out / "tuned.safetensors")
    w = load_file(out / "latents.safetensors")["w"]
    with Image.open(out / "b-projected.png") as picture:  # drawn by the tuned model
        drawn = sampling.draw(tuned, w)[1].permute(1, 2, 0).numpy().astype(int)
        assert np.abs(drawn - np.array(picture)).max() <= 1
    assert (
        run("generate", out / "tuned.safetensors", "--latents", out / "latents.safetensors", "--out", tmp_path / "g")
        == 0
    )
    assert "give a number of at least 0" in refused(capsys, "project", model, *files, "--tune", "-1", "--out", out)
