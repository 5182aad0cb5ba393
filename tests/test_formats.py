"""docs/file-formats.md is enough to read our files, and files of format version 1 go on being read.

`format_reader` was written from the page alone. `golden/format-1` holds files as version 0.1.0 of the program wrote
them, never to be written anew.
"""

import ast
import json
import shutil
from dataclasses import replace
from pathlib import Path

import format_reader
import numpy as np
import pytest
import torch
from conftest import GOLDEN, relative_error, tiny_discriminator, tiny_generator, write_store

from stylegan import sampling, weights
from stylegan.classifiers.model import load_classifiers
from stylegan.config import from_dict
from stylegan.data.store import open_store
from stylegan.images import to_uint8
from stylegan.networks.generator import Growth
from stylegan.training import state_file
from stylegan.training.config import TrainingConfig
from stylegan.training.loop import train

OLD = GOLDEN / "format-1"
TRADITIONAL = {"use_styles": False, "const_input": False, "use_instance_norm": False, "use_pixel_norm": True}
RELU = {"mapping_activation": "relu", "activation": "relu"}


def test_the_reader_is_a_stranger():
    tree = ast.parse(Path(format_reader.__file__).read_text())
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert not {name.split(".")[0] for name in imported} & {"torch", "stylegan", "safetensors", "conftest"}


@pytest.mark.parametrize("options", [{"labels": 3, "channels": 1}, {"resolution": 4, "channels": 4}])
def test_a_store_by_the_page(tmp_path, options):
    ours = open_store(write_store(tmp_path / "store", count=5, **options))
    read = format_reader.read_store(tmp_path / "store")
    assert read["computed_hash"] == read["content_hash"] == ours.content_hash
    assert all(np.array_equal(read["images"][r], ours.images(r)) for r in ours.resolutions)
    assert read["names"] == ours.names and (ours.labels is None or np.array_equal(read["labels"], ours.labels))
    top = read["images"][ours.resolution].astype(float)
    for r, images in read["images"].items():
        k = ours.resolution // r
        means = top.reshape(5, r, k, r, k, -1).mean(axis=(2, 4))
        assert np.array_equal(np.rint(means), images)


@pytest.mark.parametrize(
    "options",
    [
        {"label_count": 3, "use_pixel_norm": True},
        {"label_count": 2, "embed_labels": False, "const_input": False, "use_blur": False, "channels": 1, **RELU},
        {"use_instance_norm": False, "normalize_z": False, "use_noise": False, "equalized": False, "mapping_layers": 0},
        {"use_instance_norm": False, "use_demodulation": True, "sum_rgb": True},
        {"activate_before_blur": True, "norm_epsilon": 1e-5},
        TRADITIONAL,
    ],
)
def test_a_model_by_the_page(tmp_path, options):
    """Not only its tensors: the images that they stand for, in mid-growth, and as they come out of a half-size file."""
    generator = tiny_generator(**options)
    generator.synthesis.grown = Growth(8, 0.25)
    weights.save(tmp_path / "m.safetensors", weights.Model(generator, discriminator=tiny_discriminator()))
    weights.save(tmp_path / "half.safetensors", weights.Model(generator), half=True)
    about, tensors = format_reader.read_safetensors(tmp_path / "m.safetensors")
    assert {name for name in tensors if name.startswith("d.")}
    read = format_reader.Generator(about, tensors)
    assert read.fingerprint() == weights.fingerprint(generator)

    z, label = torch.randn(3, 8), 1 if options.get("label_count") else None
    with torch.no_grad():
        w = generator.mapping(z, None if label is None else torch.full((3,), label))
        w = w + 0.3 * torch.randn(w.shape)
        planes = sampling.noise_of_seeds([1, 2, 3], generator)
        images = generator.synthesis(w, noise=planes)
        exact_w = generator.mapping(z, None if label is None else torch.full((3,), label))[:, 0]
    assert relative_error(read.mapping(z.double().numpy(), label), exact_w) < 1e-5
    theirs = read.synthesis(w.double().numpy(), [plane.double().numpy() for plane in planes])
    assert relative_error(theirs, images) < 1e-5
    as_bytes = np.clip(np.floor(127.5 * theirs + 128), 0, 255)
    assert (
        np.abs(as_bytes - to_uint8(images).numpy()).max() <= 1 and (as_bytes == to_uint8(images).numpy()).mean() > 0.99
    )

    _, halved = format_reader.read_safetensors(tmp_path / "half.safetensors")
    assert format_reader.Generator(about, halved).fingerprint() == read.fingerprint()
    assert all(np.array_equal(halved[name], np.float32(np.float16(tensors[name]))) for name in halved)


def test_a_state_by_the_page():
    path = OLD / "run" / "state-0000000016.pt"
    ours, read = state_file.load(path), format_reader.read_state(path)
    assert set(ours) == set(read)
    for key in ("data", "images_seen", "tick", "tick_start", "seconds", "stage", "resolution_and_fade", "skipped"):
        assert ours[key] == read[key]
    for network in ("g", "d", "g_ema"):
        assert list(ours[network]) == list(read[network])
        assert all(np.array_equal(tensor.numpy(), read[network][name]) for name, tensor in ours[network].items())
    # the page says which parameter an optimiser's number stands for
    for network in ("g", "d"):
        names = [n for n in read[network] if n != "w_avg" and not n.startswith("synthesis.noise")]
        names.sort(key=lambda name: name.endswith("noise.strength"))
        adam = read[f"{network}_adam"]
        assert [number for group in adam["param_groups"] for number in group["params"]] == list(range(len(names)))
        for number, moments in adam["state"].items():
            assert moments["exp_avg"].shape == moments["exp_avg_sq"].shape == read[network][names[number]].shape
            assert moments["step"] == adam["param_groups"][0]["taken"]
            assert np.array_equal(moments["exp_avg"], ours[f"{network}_adam"]["state"][number]["exp_avg"].numpy())


def test_version_1_keeps_loading(tmp_path, monkeypatch):
    store = open_store(OLD / "store")
    assert store.label_names == ("cat", "dog") and store.attributes.shape == (5, 3) and store.names[0].startswith("a/ü")
    assert format_reader.read_store(OLD / "store")["computed_hash"] == store.content_hash

    model = weights.load_model(OLD / "run")
    assert model.raw_generator is not None and model.discriminator is not None
    assert model.generator.synthesis.grown == (8, 0.5) and model.provenance.images_seen == 16
    read = format_reader.Generator(*format_reader.read_safetensors(OLD / "run" / "model-0000000016.safetensors"))
    z = np.random.RandomState(0).randn(2, 3)
    with torch.no_grad():
        w = model.generator.mapping(torch.tensor(z, dtype=torch.float32), torch.tensor([1, 1]))
        images = model.generator.synthesis(w, noise="const")
    assert relative_error(w[:, 0], read.mapping(z, 1)) < 1e-5
    planes = [read.tensors[f"synthesis.noise{layer}"] for layer in range(4)]
    # hardly trained, the constant is nearly one, and normalising it makes much of float32's rounding
    assert relative_error(images, read.synthesis(w.double().numpy(), planes)) < 1e-3

    classifiers = load_classifiers(OLD / "classifiers.safetensors")
    assert classifiers.names == ["furry", "loud", "old"] and classifiers(torch.zeros(1, 3, 8, 8)).shape == (1, 3)

    # the run goes on where it stopped
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    config = from_dict(TrainingConfig, json.loads((tmp_path / "run" / "run.json").read_text()))
    longer = replace(config, schedule=replace(config.schedule, total_kimg=0.024))
    outcome = train(longer, tmp_path / "run", progress=False)
    assert outcome.images_seen == 24 and weights.load_model(outcome.model).provenance.images_seen == 24
