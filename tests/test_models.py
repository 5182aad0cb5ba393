"""Model files, sampling, latents as files."""

import copy
import json
import re

import numpy as np
import pytest
import torch
from conftest import tiny_discriminator, tiny_generator
from PIL import Image
from safetensors.torch import save_file

from stylegan import sampling, weights
from stylegan.errors import InputError
from stylegan.images import crop_padding, grid, save_image, to_uint8
from stylegan.networks.generator import Growth
from stylegan.recipe import Recipe, batches, untruncated_w
from stylegan.weights import Model, Provenance


def test_model_file_round_trip(tmp_path):
    g, d = tiny_generator(label_count=3), tiny_discriminator(label_count=3)
    g.synthesis.grown = Growth(8, 0.25)
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
    assert torch.equal(model.generator.synthesis(w, noise="const"), g.synthesis(w, noise="const"))


def test_half_precision_file(tmp_path):
    g = tiny_generator()
    weights.save(tmp_path / "full.safetensors", Model(g))
    weights.save(tmp_path / "half.safetensors", Model(g), half=True)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.7 * (tmp_path / "full.safetensors").stat().st_size
    w = torch.randn(2, 6, 8)
    ours, half = g.synthesis(w, noise="const"), weights.load(tmp_path / "half.safetensors").synthesis(w, noise="const")
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
    images = torch.cat(list(batches(generator, Recipe(range(4), psi=0.7))))
    assert images.shape[1:] == (3, generator.config.resolution, generator.config.resolution)
    assert 0.1 < images.std() < 1 and images.abs().max() < 3


# --- sampling


def test_latents_of_seeds():
    z = sampling.z_of_seeds([7, 5], 16)
    assert np.array_equal(z[1].numpy(), np.random.RandomState(5).randn(16).astype(np.float32))


@pytest.mark.parametrize("noise", ["random", "const", "none"])
def test_an_image_depends_on_its_seed_alone(noise):
    g = tiny_generator()
    together = torch.cat(list(batches(g, Recipe([1, 2, 3, 4, 5], psi=0.7, noise=noise))))
    apart = torch.cat(list(batches(g, Recipe([5, 3], psi=0.7, noise=noise), batch=1)))
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
        assert torch.allclose(sampling.w_of_crossed_seeds(g, [7], latents)[0], w[7], atol=1e-5)
    g.synthesis.grown = Growth(8, 0.0)  # only layers in use are crossed
    w = sampling.w_of_crossed_seeds(g, range(20), 4)
    assert torch.equal(w[:, 3], w[:, 5])
    for latents in (0, 5):
        with pytest.raises(InputError, match="cannot be mixed"):
            sampling.w_of_crossed_seeds(g, [1], latents)
    images = torch.cat(list(batches(g, Recipe([1, 2], mix=2))))
    assert not torch.allclose(images, torch.cat(list(batches(g, Recipe([1, 2])))))


def test_crossed_by_image():
    w1, w2 = torch.zeros(3, 6, 2), torch.ones(3, 6, 2)
    mixed = sampling.cross([w1, w2], torch.tensor([[1], [4], [6]]))
    assert mixed[:, :, 0].tolist() == [[0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1], [0] * 6]


def test_a_seed_of_noise_of_its_own():
    g = tiny_generator()
    one, two = (torch.cat(list(batches(g, Recipe([1, 1], psi=1.0, noise_seed=seed)))) for seed in (None, 7))
    assert torch.allclose(one[0], one[1], atol=1e-5) and torch.allclose(two[0], two[1], atol=1e-5)
    assert not torch.allclose(one[0], two[0], atol=1e-3)
    planes = sampling.noise_of_seeds([7], g)
    assert torch.allclose(two[:1], g.synthesis(sampling.w_of_seeds(g, [1]), noise=planes), atol=1e-5)


def test_w_draws_what_its_seeds_draw():
    g = tiny_generator()
    w = g.truncate(sampling.w_of_seeds(g, [4, 9]), 0.6)
    ours = torch.cat(list(batches(g, Recipe(latents=w, own_noise=sampling.noise_of_seeds([4, 9], g)), batch=1)))
    theirs = torch.cat(list(batches(g, Recipe([4, 9], psi=0.6))))
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()  # batches of 1 and 2 are rounded otherwise
    for options in ({"mix": 2}, {"label": 0}):
        with pytest.raises(InputError, match=r"as they are|already"):
            Recipe(latents=w, **options)


def test_one_class_for_all_or_all_in_turn():
    g = tiny_generator(label_count=3)
    of_seeds = {label: sampling.w_of_seeds(g, [5, 6], torch.tensor(labels)) for label, labels in CLASSES.items()}
    for label, w in of_seeds.items():
        assert torch.equal(untruncated_w(Recipe([5, 6], label=label), g), w)
    w = torch.randn(2, 6, 8)
    assert torch.equal(untruncated_w(Recipe(latents=w), g), w)
    for generator, label in ((g, 3), (g, -1), (tiny_generator(), 0)):
        with pytest.raises(InputError, match="class"):
            untruncated_w(Recipe([5], label=label), generator)


CLASSES = {2: [2, 2], None: [0, 1]}


@pytest.mark.parametrize(
    ("resolution", "coarse", "middle", "fine"),
    [
        (1024, (0, 4), (4, 8), (8, 18)),  # the paper's: 4-8, 16-32, 64-1024
        (128, (0, 4), (4, 8), (8, 12)),
        (64, (0, 4), (4, 8), (8, 10)),
        (32, (0, 4), (4, 6), (6, 8)),
        (16, (0, 2), (2, 4), (4, 6)),
    ],
)
def test_coarse_middle_and_fine(resolution, coarse, middle, fine):
    ranges = sampling.style_ranges(resolution)
    assert ranges == {"coarse": range(*coarse), "middle": range(*middle), "fine": range(*fine)}


def test_too_small_for_three_ranges():
    with pytest.raises(InputError, match="too small"):
        sampling.style_ranges(8)


def test_mixing_table():
    g = tiny_generator()
    w = sampling.w_of_seeds(g, [1, 2, 3, 4, 5])
    sheet = sampling.mixing_table(g, w[:3], w[3:], [range(2), range(6)])
    assert sheet.shape == (3, 3 * 16, 4 * 16) and sheet.dtype == torch.uint8
    assert sheet[:, :16, :16].eq(255).all()  # the corner stays empty
    images = to_uint8(g.synthesis(w, noise="const")).int()
    assert (sheet[:, :16, 16:32] - images[0]).abs().max() <= 1  # the first of the top row
    assert (sheet[:, 16:32, :16] - images[3]).abs().max() <= 1  # the first of the left column
    crossed = torch.cat([w[:1, :2], w[3:4, 2:]], dim=1)  # its coarse styles from the top row
    assert (sheet[:, 16:32, 16:32] - to_uint8(g.synthesis(crossed, noise="const"))[0].int()).abs().max() <= 1
    assert (sheet[:, 32:, 16:].int() - sheet[:, :16, 16:].int()).abs().max() <= 1  # all styles from the top row


def test_padding_is_not_shown():
    g = tiny_generator(aspect=(4, 3))
    w = sampling.w_of_seeds(g, [1])
    drawn = sampling.draw(g, w)
    assert drawn.shape == (1, 3, 12, 16)
    assert torch.equal(drawn, to_uint8(g.synthesis(w, noise="const"))[:, :, 2:14])


# --- latents as files

LATENTS = {"z": (3, 10), "w": (3, 8), "w+": (3, 6, 8)}


@pytest.mark.parametrize("kind", LATENTS)
@pytest.mark.parametrize("ending", [".npy", ".safetensors"])
def test_latents_come_back(tmp_path, kind, ending):
    g, x = tiny_generator(z_dim=10), torch.randn(LATENTS[kind])
    sampling.save_latents(tmp_path / f"x{ending}", **{kind[0]: x})
    space, read = sampling.load_latents(tmp_path / f"x{ending}", g.config)
    assert space == kind[0]
    assert torch.equal(read, x[:, None].expand(-1, 6, -1) if kind == "w" else x)


def test_latent_files_of_others(tmp_path):
    """What numpy and safetensors write themselves: float64, float16, z and w of one size."""
    g, x = tiny_generator(), np.random.RandomState(0).randn(3, 8)
    np.save(tmp_path / "x.z.npy", x)
    np.save(tmp_path / "x.w.npy", x.astype(np.float16))
    assert sampling.load_latents(tmp_path / "x.z.npy", g.config)[0] == "z"
    space, w = sampling.load_latents(tmp_path / "x.w.npy", g.config)
    assert space == "w" and w.shape == (3, 6, 8) and w.dtype == torch.float32
    both = {"z": torch.tensor(x), "w": torch.randn(3, 6, 8)}
    save_file(both, tmp_path / "x.safetensors")
    space, w = sampling.load_latents(tmp_path / "x.safetensors", g.config)
    assert space == "w" and torch.equal(w, both["w"])


def test_latents_know_their_model(tmp_path):
    g, other, file = tiny_generator(), tiny_generator(), tmp_path / "x.safetensors"
    with torch.no_grad():
        other.synthesis.blocks["4"].const += 1
    z, w = torch.randn(3, 8), torch.randn(3, 6, 8)
    sampling.save_latents(file, z=z, w=w, model=g)
    assert torch.equal(sampling.load_latents(file, g.config, model=g)[1], w)
    assert torch.equal(sampling.load_latents(file, g.config)[1], w)
    with pytest.raises(InputError, match=rf"another model .*{weights.fingerprint(g)}.*{weights.fingerprint(other)}"):
        sampling.load_latents(file, other.config, model=other)
    sampling.save_latents(file, z=z, model=g)  # z belongs to no model
    assert torch.equal(sampling.load_latents(file, other.config, model=other)[1], z)
    sampling.save_latents(file, w=w)  # as older files
    assert torch.equal(sampling.load_latents(file, other.config, model=other)[1], w)
    for text in ("[]", "{}", '{"fingerprint": ""}'):
        save_file({"w": w}, file, {"stylegan": text})
        assert torch.equal(sampling.load_latents(file, g.config, model=g)[1], w)
    for text in ("nonsense", "[" * 100_000):
        save_file({"w": w}, file, {"stylegan": text})
        with pytest.raises(InputError, match="cannot be read"):
            sampling.load_latents(file, g.config, model=g)


def test_fingerprints(tmp_path):
    g = tiny_generator(label_count=2)
    with torch.no_grad():
        g.mapping.layers[0].bias[:2] = torch.tensor([1e-9, 0.0])
    before = weights.fingerprint(g)
    assert re.fullmatch("[0-9a-f]{16}", before)
    weights.save(tmp_path / "half.safetensors", weights.Model(g), half=True)
    assert weights.fingerprint(weights.load(tmp_path / "half.safetensors")) == before
    with torch.no_grad():
        g.mapping.layers[0].bias[:2] = torch.tensor([-1e-9, -0.0])  # rounded, both are -0
        g.w_avg += 1
    g.synthesis.grown = Growth(8, 0.5)
    assert weights.fingerprint(g) == before
    for name, _ in g.named_parameters():
        changed = copy.deepcopy(g)
        with torch.no_grad():
            parameter = changed.get_parameter(name)
            parameter[(-1,) * parameter.ndim] += 0.1
        assert weights.fingerprint(changed) != before, name


def test_unusable_latents(tmp_path):
    g = tiny_generator()

    def refused(name, write, match):
        write(tmp_path / name)
        with pytest.raises(InputError, match=match):
            sampling.load_latents(tmp_path / name, g.config)

    def array(*shape, dtype=np.float32):
        return lambda path: np.save(path, np.ones(shape, dtype))

    refused("a.npy", array(3, 8), "z or w")
    refused("b.w.npy", array(3, 7), r"\[3, 7\]")
    refused("c.npy", array(3, 5, 8), r"w\+ \[N, 6, 8\]")
    refused("d.npy", array(8), r"\[8\]")
    refused("e.npy", array(0, 6, 8), r"\[0, 6, 8\]")
    refused("f.npy", array(3, 6, 8, dtype=np.int64), "int64")
    refused("g.npy", lambda path: np.save(path, np.full((1, 6, 8), np.nan, np.float32)), "finite")
    refused(
        "h.npy", lambda path: np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True), "cannot be read"
    )
    refused("i.npy", lambda path: path.write_bytes(b"none"), "cannot be read")
    refused("j.npy", lambda path: path.write_bytes(b""), "cannot be read")
    refused("k.safetensors", lambda path: path.write_bytes(b"none"), "cannot be read")
    refused("l.safetensors", lambda path: save_file({"v": torch.ones(3, 8)}, path), "named z or w")
    refused("m.safetensors", lambda path: save_file({"z": torch.ones(3, 6, 8)}, path), r"z \[3, 6, 8\]")
    refused("n.csv", lambda path: path.write_text("1,2"), "no latent file")
    refused("nowhere.npy", lambda path: None, "no file")
    for name, given in (("x.txt", {"w": torch.ones(1, 8)}), ("x.npy", {"w": torch.ones(1, 8), "z": torch.ones(1, 8)})):
        with pytest.raises(InputError, match="cannot hold"):
            sampling.save_latents(tmp_path / name, **given)
    assert not list(tmp_path.glob("x.*"))


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
