"""Presets: what they change, that they train, and runs that start from a model."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import TINY_MAPS, tiny_config, write_official, write_store
from PIL import Image

from stylegan import presets, recipe, weights
from stylegan.errors import InputError
from stylegan.networks.generator import Growth
from stylegan.training.loop import train
from stylegan.training.state import new_state

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def labeled(tmp_path_factory) -> Path:
    return write_store(tmp_path_factory.mktemp("data") / "labeled", labels=3)


WITH_LABELS = ("config-a", "config-b", "config-f", "traditional-8", "mapping-0")  # one of each kind


@pytest.mark.parametrize(
    ("name", "labels"), [(name, False) for name in presets.PRESETS] + [(name, True) for name in WITH_LABELS]
)
def test_every_preset_trains_and_round_trips(labeled, tmp_path, name, labels):
    """A few steps at 4 x 4 (a), 8 x 8 and 16 x 16, with tiny networks; then the model file, read and written again."""
    config = presets.preset(name, str(labeled), labels=labels)
    g = config.generator
    beside_z = 0 if g.mapping_layers or not labels else 8 if g.embed_labels else 3  # what of w stands for the label
    g = replace(g, z_dim=8, w_dim=8 + beside_z, mapping_width=8, feature_maps=TINY_MAPS)
    brief = replace(
        config.schedule, stable_kimg=0.008, fade_kimg=0.008, total_kimg=0.06, batch_size={4: 4}, tick_kimg={4: 0.03}
    )
    discriminator = replace(config.discriminator, feature_maps=TINY_MAPS)
    config = replace(config, generator=g, discriminator=discriminator, schedule=brief, grid=(3, 1), device="cpu")
    outcome = train(config, tmp_path / "run", progress=False)
    model = weights.load_model(outcome.model)
    assert model.generator.config == g and model.provenance.preset == name and model.provenance.fit == "pad"
    assert model.generator.synthesis.grown == (16, 0.0)
    weights.save(tmp_path / "again.safetensors", model)
    assert (tmp_path / "again.safetensors").read_bytes() == outcome.model.read_bytes()
    drawn = [
        torch.cat(list(recipe.batches(m, recipe.Recipe([1, 2]))))
        for m in (model.generator, weights.load(tmp_path / "again.safetensors"))
    ]
    assert torch.equal(*drawn) and drawn[0].isfinite().all()
    with Image.open(tmp_path / "run" / "fakes-0000000064.png") as grid:
        assert grid.size == (11 * 48, 11 * (12 if name == "lsun-car" else 16))  # enlarged to 512 pixels or more


def test_what_the_presets_change():
    """One thing for each row of table 1, and what the tables and appendices say of the others."""
    shape = presets.Shape(1024)
    a, b, c, d, e, f = (presets.PRESETS[f"config-{letter}"](shape) for letter in "abcdef")
    assert replace(e, mixing_probability=0.9) == f
    assert replace(d, generator=replace(d.generator, use_noise=True)) == e
    assert replace(c, generator=replace(c.generator, const_input=True)) == d
    assert b.loss == f.loss and b.schedule == f.schedule and not b.generator.use_styles
    assert (a.loss.kind, a.schedule.initial_resolution, a.schedule.total_kimg) == ("wgan-gp", 4, 12000)
    assert not a.generator.use_blur and not a.discriminator.use_blur and b.discriminator.use_blur
    for name, probability in (("mixing-0", 0), ("mixing-50", 0.5), ("mixing-90", 0.9), ("mixing-100", 1)):
        assert presets.PRESETS[name](shape) == replace(f, mixing_probability=probability)
    assert presets.PRESETS["traditional-0"](shape) == b
    for depth in (0, 1, 2, 8):
        assert presets.PRESETS[f"mapping-{depth}"](shape).generator == replace(f.generator, mapping_layers=depth)
    names = ("celebahq", "lsun-bedroom", "lsun-car", "lsun-cat")
    celebahq, bedroom, car, cat = (presets.PRESETS[name](shape) for name in names)
    assert celebahq.loss.kind == "wgan-gp" and celebahq.mirror
    assert max(celebahq.schedule.learning_rate.values()) == 0.002
    assert [x.schedule.total_kimg for x in (bedroom, car, cat)] == [70000, 46000, 70000]
    assert not (bedroom.mirror or car.mirror or cat.mirror) and car.generator.aspect == (4, 3)
    assert presets.summary("mixing-50").endswith("50 % of the training images.")
    with pytest.raises(InputError, match="no styles to mix"):
        replace(b, mixing_probability=0.5)
    with pytest.raises(InputError, match="label_count"):
        replace(f, discriminator=replace(f.discriminator, label_count=3))


def test_the_papers_presets_are_in_float32_and_ours_choose():
    shape = presets.Shape(64)
    chosen = {name: function(shape).precision for name, function in presets.PRESETS.items()}
    assert {name for name, precision in chosen.items() if precision == "auto"} == {"small", "growing", "demo"}
    assert set(chosen.values()) == {"auto", "float32"}


@pytest.mark.parametrize("kind", ["run", "official"])
def test_start_from_a_model(finished, store, tmp_path, kind):
    """A run begins with the weights of a model, at the resolution it has grown to, and goes on from there."""
    path = str(sorted(finished[1].glob("model-*.safetensors"))[-1])
    if kind == "official":
        path = str(tmp_path / "x.pkl")
        write_official(Path(path))
    config = presets.continuing(tiny_config(store), path)
    model = weights.load_model(path)
    assert config.schedule.initial_resolution == 16 and config.generator == model.generator.config
    run = new_state(config, CPU)
    run.begin_with(model)
    for ours, theirs in ((run.g, model.raw_generator), (run.d, model.discriminator), (run.g_ema, model.generator)):
        assert all(torch.equal(t, theirs.state_dict()[name]) for name, t in ours.state_dict().items())

    outcome = train(config, tmp_path / "run", progress=False)
    after = weights.load_model(outcome.model)
    assert "begun with the weights of" in after.provenance.notes
    moved = (
        after.raw_generator.synthesis.blocks["16"].conv1.weight
        - model.raw_generator.synthesis.blocks["16"].conv1.weight
    )
    assert 0 < moved.abs().max() < 0.3  # trained from there on, not from new weights
    assert train(config, tmp_path / "run", progress=False).images_seen == outcome.images_seen


def test_what_cannot_be_started_from(store, tmp_path):
    """Other networks altogether, and what the data lack. A model that is being faded in goes back to what is whole."""
    with pytest.raises(InputError, match="fit none of this run"):
        train(tiny_config(store, start_from=weights.DEFAULT_MODEL), tmp_path / "run", progress=False)
    write_official(tmp_path / "x.pkl")
    with pytest.raises(InputError, match="has no labels"):
        presets.preset("small", str(store), start_from=str(tmp_path / "x.pkl"), labels=True)
    model = weights.load_model(tmp_path / "x.pkl")
    model.generator.synthesis.grown = Growth(16, 0.25)
    weights.save(tmp_path / "fading.safetensors", model)
    config = presets.continuing(tiny_config(store), str(tmp_path / "fading.safetensors"))
    assert config.schedule.initial_resolution == 8


# --- the dials


def test_dials(store):
    plain = presets.preset("small", str(store))
    config = presets.preset("small", str(store), kimg=300, batch_size=16, lr=0.001, width="thin")
    assert config.schedule == replace(plain.schedule, total_kimg=300, batch_size={4: 16}, learning_rate={4: 0.001})
    assert config.generator == replace(plain.generator, feature_maps=config.discriminator.feature_maps)
    maps = {width: presets.preset("config-f", "", width=width).generator.feature_maps for width in presets.WIDTHS}
    assert {width: (m.base, m.maximum) for width, m in maps.items()} == {
        "thin": (1024, 128),
        "small": (2048, 128),
        "paper": (8192, 512),
    }
    assert presets.preset("config-f", "", width="paper") == presets.preset("config-f", "")
    assert presets.preset("growing", "", width="small") == presets.preset("growing", "")
    assert presets.preset("small", "", width="thin") == presets.preset("small", "")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kimg": 0}, "total_kimg is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"lr": -1}, "learning_rate is -1"),
        ({"width": "wide"}, "no width wide"),
        ({"gpus": 8, "batch_size": 16}, "no batch size"),
    ],
)
def test_dials_out_of_range(options, sentence):
    with pytest.raises(InputError, match=sentence):
        presets.preset("config-f", "", **options)
