"""Model files, sampling and figures."""

import json

import numpy as np
import pytest
import torch
from conftest import tiny_discriminator, tiny_generator
from PIL import Image
from safetensors.torch import save_file

from stylegan import figures, sampling, weights
from stylegan.errors import InputError
from stylegan.images import crop_padding, grid, save_image, to_uint8
from stylegan.weights import Model, Provenance


def test_model_file_round_trip(tmp_path):
    g, d = tiny_generator(label_count=3), tiny_discriminator(label_count=3)
    g.synthesis.grown = (8, 0.25)
    provenance = Provenance(data="portraits", preset="demo", images_seen=123, licence="Apache-2.0")
    weights.save(tmp_path / "m.safetensors", Model(g, provenance, tiny_generator(label_count=3), d))
    model = weights.load_model(tmp_path / "m.safetensors")
    assert model.provenance == provenance and model.generator.synthesis.grown == (8, 0.25)
    for ours, loaded in ((g, model.generator), (d, model.discriminator)):
        assert loaded.config == ours.config
        assert all(
            torch.equal(a, b) for a, b in zip(ours.state_dict().values(), loaded.state_dict().values(), strict=True)
        )
    w = g.mapping(torch.randn(2, 8), torch.tensor([0, 2]))
    assert torch.equal(model.generator.synthesis(w, noise="fixed"), g.synthesis(w, noise="fixed"))


def test_half_precision_file(tmp_path):
    g = tiny_generator()
    weights.save(tmp_path / "full.safetensors", Model(g))
    weights.save(tmp_path / "half.safetensors", Model(g), half=True)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.7 * (tmp_path / "full.safetensors").stat().st_size
    w = torch.randn(2, 6, 8)
    ours, half = g.synthesis(w, noise="fixed"), weights.load(tmp_path / "half.safetensors").synthesis(w, noise="fixed")
    assert (ours - half).abs().max() < 0.02 * ours.abs().max()


def header_of(**changes) -> dict[str, str]:
    header = {
        "kind": "stylegan-model",
        "format_version": 1,
        "generator": {"resolution": 8},
        "discriminator": None,
        "grown": {"resolution": 8, "fade": 0.0},
        "provenance": {},
    }
    return {"stylegan": json.dumps(header | changes)}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "not a StyleGAN model"),
        ({"other": "x"}, "not a StyleGAN model"),
        ({"stylegan": "{"}, "damaged"),
        (header_of(kind="cake"), "not a StyleGAN model"),
        (header_of(format_version=2), "format version 2"),
        (header_of(generator={"resolution": 9}), "power of two"),
        (header_of(generator={"legs": 4}), "unknown option generator.legs"),
        (header_of(grown=None), "grown"),
        (header_of(), "do not fit"),
    ],
)
def test_files_that_are_no_models(tmp_path, metadata, message):
    path = tmp_path / "m.safetensors"
    save_file({"g_ema.w_avg": torch.zeros(512)}, path, metadata)
    with pytest.raises(InputError, match=message) as error:
        weights.load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_damaged_and_missing_models(tmp_path):
    weights.save(tmp_path / "m.safetensors", Model(tiny_generator()))
    data = (tmp_path / "m.safetensors").read_bytes()
    for content in (b"", data[:5], data[: len(data) // 2], b"\xff" * 1000, b"not a model"):
        (tmp_path / "m.safetensors").write_bytes(content)
        with pytest.raises(InputError, match=r"m\.safetensors"):
            weights.load(tmp_path / "m.safetensors")
    with pytest.raises(InputError, match="there is no model"):
        weights.load(tmp_path / "nowhere.safetensors")
    with pytest.raises(InputError, match="without model files"):
        weights.load(tmp_path)


def test_the_model_in_the_box():
    path = weights.find(weights.DEFAULT_MODEL)
    assert path.stat().st_size <= 5e6
    generator = weights.load(weights.DEFAULT_MODEL)
    images = torch.cat(list(sampling.generate(generator, range(4), psi=0.7)))
    assert images.shape[1:] == (3, generator.config.resolution, generator.config.resolution)
    assert 0.1 < images.std() < 1 and images.abs().max() < 3


# --- sampling


def test_latents_of_seeds():
    z = sampling.z_of_seeds([7, 5], 16)
    assert np.array_equal(z[1].numpy(), np.random.RandomState(5).randn(16).astype(np.float32))


@pytest.mark.parametrize("noise", ["seeded", "fixed", "none"])
def test_an_image_depends_on_its_seed_alone(noise):
    g = tiny_generator()
    together = torch.cat(list(sampling.generate(g, [1, 2, 3, 4, 5], psi=0.7, noise=noise)))
    apart = torch.cat(list(sampling.generate(g, [5, 3], psi=0.7, noise=noise, batch=1)))
    assert torch.allclose(together[[4, 2]], apart, atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=0.01)


def test_noise_planes_do_not_depend_on_the_resolution():
    g = tiny_generator()
    high, low = sampling.noise_of_seeds([3], g, 16), sampling.noise_of_seeds([3], g, 8)
    assert len(high) == 6 and len(low) == 4
    assert all(torch.equal(a, b) for a, b in zip(high, low, strict=False))


def test_centre_of_w():
    g = tiny_generator()
    z = torch.randn(1500, 8, generator=torch.Generator().manual_seed(0))[:1000]
    centre = sampling.w_center(g, 1000)
    assert centre.shape == (8,)
    assert torch.allclose(centre, g.mapping(z)[:, 0].mean(dim=0), atol=0.05)


def test_interpolation():
    a, b = torch.randn(3, 16), torch.randn(3, 16)
    assert torch.allclose(sampling.lerp(a, b, 0.0), a) and torch.allclose(sampling.lerp(a, b, 1.0), b)
    unit = torch.nn.functional.normalize
    for t in (0.0, 0.3, 1.0):
        point = sampling.slerp(a, b, t)
        assert torch.allclose(point.norm(dim=1), torch.ones(3), atol=1e-5)
        angle = torch.acos((unit(a) * point).sum(dim=1).clamp(-1, 1))
        assert torch.allclose(angle, t * torch.acos((unit(a) * unit(b)).sum(dim=1)), atol=2e-3)


def test_mixing_takes_layers_from_the_second():
    w1, w2 = torch.zeros(1, 6, 2), torch.ones(3, 6, 2)
    mixed = sampling.mix(w1, w2, slice(0, 4))
    assert mixed.shape == (3, 6, 2) and mixed[:, :4].eq(1).all() and mixed[:, 4:].eq(0).all()
    assert w1.eq(0).all()


def test_crossed_latents():
    """Table 2: each image from several latents, one after the other, whatever the batch."""
    g = tiny_generator()
    assert torch.equal(sampling.w_of_crossed_seeds(g, [3, 4], 1), sampling.w_of_seeds(g, [3, 4]))
    for latents in (2, 3, 6):
        w = sampling.w_of_crossed_seeds(g, range(20), latents)
        assert torch.equal(w[:, 0], sampling.w_of_seeds(g, range(20))[:, 0])
        changes = (w[:, 1:] != w[:, :-1]).any(dim=2)
        assert (changes.sum(dim=1) == latents - 1).all()
        assert latents == 6 or len(changes.unique(dim=0)) > 1  # not always at the same layers
        assert torch.allclose(sampling.w_of_crossed_seeds(g, [7], latents)[0], w[7], atol=1e-6)
    g.synthesis.grown = (8, 0.0)  # only layers in use are crossed
    w = sampling.w_of_crossed_seeds(g, range(20), 4)
    assert torch.equal(w[:, 3], w[:, 5])
    for latents in (0, 5):
        with pytest.raises(InputError, match="cannot be mixed"):
            sampling.w_of_crossed_seeds(g, [1], latents)
    images = torch.cat(list(sampling.generate(g, [1, 2], latents=2)))
    assert not torch.allclose(images, torch.cat(list(sampling.generate(g, [1, 2]))))


def test_style_mixing_figure():
    g = tiny_generator()
    sheet = figures.style_mixing(g, [1, 2, 3], [4, 5], slice(0, 2), psi=1.0)
    assert sheet.shape == (3, 3 * 16, 4 * 16)
    assert sheet[:, :16, :16].eq(1).all()  # the corner stays empty
    images = {seed: next(sampling.generate(g, [seed], noise="fixed")) for seed in (1, 4)}
    assert torch.allclose(sheet[:, :16, 16:32], images[1][0], atol=1e-5)  # the first source
    assert torch.allclose(sheet[:, 16:32, :16], images[4][0], atol=1e-5)  # the first destination
    w = sampling.w_of_seeds(g, [4]).clone()
    w[:, :2] = sampling.w_of_seeds(g, [1])[:, :2]  # its coarse styles from the source
    assert torch.allclose(sheet[:, 16:32, 16:32], g.synthesis(w, noise="fixed")[0], atol=1e-5)
    both = figures.style_mixing(g, [1, 2, 3], [4, 5], slice(0, 6), psi=1.0)
    assert torch.allclose(both[:, 16:32, 16:], both[:, :16, 16:], atol=1e-5)  # all styles from the source


def test_padding_is_not_shown():
    g = tiny_generator(aspect=(4, 3))
    sheet = figures.style_mixing(g, [1], [4], slice(0, 2), psi=1.0)
    assert sheet.shape == (3, 2 * 12, 2 * 16)
    whole = next(sampling.generate(g, [1], noise="fixed"))
    assert torch.allclose(sheet[:, :12, 16:], whole[0, :, 2:14], atol=1e-5)


# --- images


@pytest.mark.parametrize(
    ("side", "aspect", "shape"),
    [
        (512, (4, 3), (384, 512)),
        (8, (4, 3), (6, 8)),
        (4, (4, 3), (4, 4)),
        (16, (1, 2), (16, 8)),
        (16, (1, 1), (16, 16)),
    ],
)
def test_crop_padding(side, aspect, shape):
    images = torch.zeros(2, 1, side, side)
    top, left = (side - shape[0]) // 2, (side - shape[1]) // 2
    images[:, :, top : side - top, left : side - left] = 1
    seen = crop_padding(images, aspect)
    assert seen.shape == (2, 1, *shape) and seen.eq(1).all()


def test_conversion_to_uint8():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(levels.float() * (2 / 255) - 1), levels)
    assert to_uint8(torch.tensor([-5.0, 5.0])).tolist() == [0, 255]


def test_grid_and_files(tmp_path):
    images = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 3, 4, 4) * 50
    sheet = grid(images, 3, gap=1)
    assert sheet.shape == (3, 9, 14)
    assert sheet[0, 0, 0] == 0 and sheet[0, 5, 5] == 200 and sheet[0, 5, 13] == 255  # an empty cell is white
    for channels, mode in ((1, "L"), (3, "RGB"), (4, "RGBA")):
        save_image(torch.zeros(channels, 4, 4), tmp_path / "x.png")
        with Image.open(tmp_path / "x.png") as picture:
            assert picture.mode == mode and picture.size == (4, 4)
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]
