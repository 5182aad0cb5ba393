"""The encoder: what it finds, its training, which resumes to the bit, its file, and projection from it."""

from dataclasses import replace

import pytest
import torch
from conftest import tiny_generator, write_store
from PIL import Image
from safetensors.torch import load_file
from test_cli import refused, run

from stylegan import encoders, likeness, projection, sampling, tuning, weights
from stylegan.data.store import open_store
from stylegan.encoders import EncoderConfig
from stylegan.errors import InputError
from stylegan.images import to_uint8
from stylegan.networks.layers import FeatureMaps
from stylegan.projection import ProjectConfig
from stylegan.run_files import read_stats
from stylegan.training import encoder as training
from stylegan.training.encoder import EncoderTrainingConfig
from stylegan.tuning import TuneConfig

NETWORK = EncoderConfig(feature_maps=FeatureMaps(64, maximum=16), hidden=16)
CONFIG = EncoderTrainingConfig(
    NETWORK, kimg=0.08, tick_kimg=0.04, distance="none", precision="float32", threads=1, device="cpu"
)


@pytest.fixture(scope="module")
def generator():
    return tiny_generator(16)


@pytest.fixture(scope="module")
def model(generator, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    weights.save(path, weights.Model(generator))
    return path


def test_it_begins_with_a_step_down_the_slope_and_the_number_of_its_values_is_known(generator):
    encoder = encoders.new_encoder(generator, replace(NETWORK, looks=1))
    assert sum(tensor.numel() for tensor in encoder.state_dict().values()) == encoder.config.size
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    middle, spread = sampling.coordinates(sampling.sample_w(generator))
    v = torch.zeros(2, 6, 8, requires_grad=True)
    drawn = generator.synthesis(middle + v @ spread.T, noise="const")
    likeness.pixel_loss(drawn, images).sum().backward()
    slope = v.grad / v.grad.square().mean(dim=(1, 2), keepdim=True).sqrt()
    w = encoders.encode(encoder, generator, images)
    assert w.shape == (2, 6, 8)
    assert torch.allclose(w, middle - encoders.FIRST_STEP * slope @ spread.T, atol=1e-5)
    nearer = generator.synthesis(w, noise="const")
    assert (likeness.pixel_loss(nearer, images) < likeness.pixel_loss(drawn, images)).all()
    with pytest.raises(InputError, match=r"reads \[N, 3, 16, 16\]"):
        encoders.encode(encoder, generator, images[:, :, :8])


def test_an_image_is_found_alone_as_among_others(generator):
    encoder = encoders.new_encoder(generator, NETWORK)
    for head in (encoder.to_average, encoder.to_offsets, encoder.to_gates):
        torch.nn.init.normal_(head.weight, std=0.1)
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    together = encoders.encode(encoder, generator, images)
    assert torch.allclose(encoders.encode(encoder, generator, images[1:2]), together[1:2], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_a_traditional_generator_gets_a_z():
    plain = tiny_generator(16, use_styles=False, const_input=False, mapping_layers=0, use_noise=False)
    encoder = encoders.new_encoder(plain, NETWORK)
    torch.nn.init.normal_(encoder.to_average.weight)
    w = encoders.encode(encoder, plain, torch.rand(1, 3, 16, 16))
    assert w.shape == (1, 1, 8) and float(w.square().mean()) == pytest.approx(1, abs=1e-5)


def test_training_comes_nearer(generator, model, store, tmp_path):
    outcome = training.train_encoder(
        model, store, tmp_path / "e.safetensors", replace(CONFIG, kimg=1.6, tick_kimg=0.8), progress=False
    )
    assert outcome.images_seen == 1600 and outcome.stopped_by is None and outcome.psnr is None  # nothing is held out
    stats = read_stats(training.folder_of(tmp_path / "e.safetensors"))
    assert [line["images_seen"] for line in stats] == [800, 1600]
    assert stats[1]["loss_pixels"] < 0.9 * stats[0]["loss_pixels"]
    encoder = encoders.load(tmp_path / "e.safetensors", generator)
    images = training._judged(open_store(store), generator)
    untrained, _ = training.judge(encoders.new_encoder(generator, NETWORK), generator, images)
    trained, sheet = training.judge(encoder, generator, images)
    assert trained > untrained + 1
    assert sheet.shape == (3, 32, 128)


def test_it_resumes_to_the_bit(model, store, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    config = replace(CONFIG, distance="mobilenet-v2", distance_side=32, kimg=0.048)
    training.train_encoder(model, store, whole, config, progress=False)
    training.train_encoder(model, store, parts, replace(config, kimg=0.024), progress=False)
    first = load_file(parts)
    training.train_encoder(model, store, parts, config, progress=False)
    found, wanted = load_file(parts), load_file(whole)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert any(not torch.equal(found[name], first[name]) for name in wanted)
    states = [load_file(training.folder_of(path) / "state.safetensors") for path in (whole, parts)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_refusals(model, store, tmp_path):
    path = tmp_path / "e.safetensors"
    training.train_encoder(model, store, path, replace(CONFIG, kimg=0.008), progress=False)
    with pytest.raises(InputError, match="--learning-rate"):
        training.train_encoder(model, store, path, replace(CONFIG, learning_rate=0.1), progress=False)
    other = tmp_path / "other.safetensors"
    weights.save(other, weights.Model(tiny_generator(16, z_dim=4)))
    with pytest.raises(InputError, match="another model"):
        training.train_encoder(other, store, path, CONFIG, progress=False)
    with pytest.raises(InputError, match="prepare a store with --resolution 16"):
        training.train_encoder(model, write_store(tmp_path / "small", 8), path, CONFIG, progress=False)
    with pytest.raises(InputError, match="of another model"):
        encoders.load(path, weights.load(other))
    with pytest.raises(InputError, match="stylegan encoder MODEL STORE FILE"):
        encoders.load(tmp_path / "nowhere.safetensors")
    with pytest.raises(InputError, match="not a file of an encoder"):
        encoders.load(model)
    state = training.folder_of(path) / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged"):
        training.train_encoder(model, store, path, CONFIG, progress=False)


def test_a_bundled_model_brings_its_encoder(generator):
    faces = weights.load("faces")
    assert encoders.bundled_for(faces) == "faces" and encoders.bundled_for(generator) is None
    assert "faces-encoder" not in weights.bundled()
    w = faces.truncate(sampling.w_of_seeds(faces, range(4)), 0.7)
    images = faces.synthesis(w, noise="const")
    found = encoders.encode(encoders.load("faces", faces), faces, images)
    again = likeness.psnr(to_uint8(faces.synthesis(found, noise="const")), to_uint8(images))
    assert (again > 20).all()
    config = ProjectConfig(start="encoder=faces", steps=0, perturbation=0, distance="none")
    assert torch.allclose(projection.project(faces, images, config).w, found, rtol=1e-3, atol=1e-3)
    bent = tuning.tune(faces, images[:1], w[:1], TuneConfig(tune=1))
    assert encoders.bundled_for(bent) == "faces"
    with pytest.raises(InputError, match="of another model"):
        encoders.load("faces", weights.load("portraits"))


def test_projection_starts_from_it(generator, model, store, tmp_path):
    path = tmp_path / "e.safetensors"
    training.train_encoder(model, store, path, replace(CONFIG, kimg=0.8, tick_kimg=0.8), progress=False)
    images = training._judged(open_store(store), generator)[:2].float() / 127.5 - 1
    config = ProjectConfig(start=f"encoder={path}", steps=0, perturbation=0, distance="none")
    (first,) = projection.projecting(generator, images, config)
    assert torch.allclose(first.w, encoders.encode(encoders.load(path), generator, images), atol=1e-3)
    assert first.w.shape == (2, 6, 8)
    one = projection.project(generator, images, replace(config, space="w"))
    assert torch.equal(one.w[:, 0], one.w[:, 5])
    refined = projection.project(generator, images, replace(config, steps=20))
    assert (likeness.pixel_loss(refined.images, images) < likeness.pixel_loss(first.images, images)).all()
    for start in ("nearest", "encoder", "encoder=", "encoder=nowhere.safetensors"):
        with pytest.raises(InputError, match=r"start|nowhere"):
            projection.project(generator, images, replace(config, start=start))


def test_the_command(model, store, tmp_path, capsys):
    path = tmp_path / "e.safetensors"
    options = ("--kimg", "0.016", "--distance", "none", "--device", "cpu", "--network.hidden", "8")
    assert run("encoder", model, store, path, *options) == 0
    assert "encoder=" in capsys.readouterr().out
    folder = tmp_path / "e-training"
    assert {p.name for p in folder.iterdir()} >= {"state.safetensors", "stats.jsonl", "pairs.png"}
    Image.new("RGB", (16, 16), "red").save(tmp_path / "red.png")
    projecting = (
        "project",
        model,
        tmp_path / "red.png",
        "--steps",
        "0",
        "--distance",
        "none",
        "--out",
        tmp_path / "out",
    )
    assert run(*projecting, "--start", f"encoder={path}") == 0
    assert "use best, average or encoder=FILE" in refused(capsys, *projecting, "--start", "encoder")
    path.write_text("something else")
    assert "something else" in refused(capsys, "encoder", model, store, path, *options)
