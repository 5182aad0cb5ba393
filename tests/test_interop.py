"""Networks of other programs, made here from ours by the names and layouts of the fact sheet, and read back."""

import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import (
    TINY_G_OPTIONS,
    TINY_OPTIONS,
    official_discriminator,
    official_g,
    official_generator,
    official_network,
    relative_error,
    tiny_discriminator,
    tiny_generator,
    write_official,
)

from stylegan import weights
from stylegan.classifiers.model import load_classifiers
from stylegan.errors import InputError
from stylegan.interop import nvidia, nvidia_files
from stylegan.networks import ops
from stylegan.networks.discriminator import Discriminator
from stylegan.networks.generator import Generator, Growth

TRADITIONAL = {"use_styles": False, "const_input": False, "use_noise": False}
TRADITIONAL |= {"use_instance_norm": False, "use_pixel_norm": True, "mapping_layers": 0}


def as_read(function: str, options: dict, variables: dict[str, np.ndarray]) -> nvidia_files.OfficialNetwork:
    """A network as it comes out of a file."""
    network = nvidia_files.OfficialNetwork()
    listed = [(name, np.asarray(value)) for name, value in variables.items()]
    network.set_state({"version": 3, "build_func_name": function, "static_kwargs": options, "variables": listed})
    return network


WIDTHS = {"fmap_base": 64, "fmap_max": 8, "num_channels": 3, "resolution": 16}
STYLEGAN = WIDTHS | {"latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"label_count": 3}, {"label_size": 3}),
        ({"use_noise": False}, {"use_noise": False}),
        ({"const_input": False}, {"const_input_layer": False}),
        ({"use_blur": False}, {"blur_filter": None}),
        ({"activation": "relu"}, {"nonlinearity": "relu"}),
        ({"mapping_activation": "relu"}, {"mapping_nonlinearity": "relu"}),
        ({"equalized": False}, {"use_wscale": False}),
        ({"normalize_z": False}, {"normalize_latents": False}),
        ({"mapping_lr_multiplier": 0.1}, {"mapping_lrmul": 0.1}),
        (
            TRADITIONAL,
            {
                "use_styles": False,
                "const_input_layer": False,
                "use_noise": False,
                "use_instance_norm": False,
                "use_pixel_norm": True,
                "mapping_layers": 0,
                "mbstd_group_size": 4,
            },
        ),
    ],
)
def test_stylegan_generators(ours, theirs):
    g = tiny_generator(**ours)
    read = nvidia.generator_from(as_read("G_style", STYLEGAN | theirs, official_generator(g)))
    assert read.config == g.config
    z, labels = torch.randn(2, 8), torch.tensor([2, 0]) if ours.get("label_count") else None
    assert torch.equal(read(z, labels, noise="none"), g(z, labels, noise="none"))


def test_fused_kernels_are_turned():
    """A transposed convolution with the shifted kernels as they are: what the official code does when it fuses."""
    g = tiny_generator()
    fused = nvidia.generator_from(as_read("G_style", STYLEGAN | {"fused_scale": True}, official_generator(g)))
    plain = nvidia.generator_from(as_read("G_style", STYLEGAN | {"fused_scale": False}, official_generator(g)))
    kernel, x = g.synthesis.blocks["8"].conv0.weight, torch.randn(2, 8, 4, 4)
    assert torch.equal(plain.synthesis.blocks["8"].conv0.weight, kernel)
    padded = F.pad(kernel, (1, 1, 1, 1))
    shifted = padded[..., 1:, 1:] + padded[..., :-1, 1:] + padded[..., 1:, :-1] + padded[..., :-1, :-1]
    expected = F.conv_transpose2d(x, shifted.transpose(0, 1), stride=2, padding=1)
    assert torch.allclose(ops.upsample_conv(x, fused.synthesis.blocks["8"].conv0.weight), expected, atol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"label_count": 3, "w_dim": 11}, {"label_size": 3}),
        ({"activation": "relu"}, {"use_leakyrelu": False}),
        ({"use_pixel_norm": False}, {"use_pixelnorm": False}),
        ({"normalize_z": False}, {"normalize_latents": False}),
    ],
)
def test_progressive_generators(ours, theirs, fused):
    g = tiny_generator(**TRADITIONAL | {"use_blur": False, "embed_labels": False} | ours)
    variables = official_generator(g, up="Conv0_up" if fused else "Conv0")
    del variables["dlatent_avg"]
    read = nvidia.generator_from(as_read("G_paper", WIDTHS | theirs | {"fused_scale": fused}, variables))
    with torch.no_grad():
        for r in ("8", "16") if fused else ():  # fused kernels are turned
            read.synthesis.blocks[r].conv0.weight.copy_(read.synthesis.blocks[r].conv0.weight.flip(2, 3))
    z, labels = torch.randn(2, 8), torch.tensor([2, 0]) if ours.get("label_count") else None
    assert torch.equal(read(z, labels), g(z, labels))


@pytest.mark.parametrize(
    ("function", "ours", "theirs"),
    [
        ("D_basic", {}, {}),
        ("D_basic", {"label_count": 3}, {"label_size": 3}),
        ("D_basic", {"use_blur": False, "activation": "relu"}, {"blur_filter": None, "nonlinearity": "relu"}),
        ("D_basic", {"group_size": 2, "stddev_features": 2}, {"mbstd_group_size": 2, "mbstd_num_features": 2}),
        ("D_basic", {"equalized": False}, {"use_wscale": False, "latent_size": 8}),
        ("D_paper", {"use_blur": False}, {"label_size": 3}),
        ("D_paper", {"use_blur": False, "activate_first": True}, {"fused_scale": False}),
    ],
)
def test_discriminators(function, ours, theirs):
    d = tiny_discriminator(**ours)
    variables = official_discriminator(d, down="Conv1" if ours.get("activate_first") else "Conv1_down")
    read = nvidia.discriminator_from(as_read(function, WIDTHS | theirs, variables))
    assert read.config == d.config
    images, labels = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 2]) if ours.get("label_count") else None
    assert torch.equal(read(images, labels), d(images, labels))


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        ("G_style", {"attention": True}, "option 'attention'"),
        ("G_style", {"blur_filter": [1, 3, 3, 1]}, "filter"),
        ("G_paper", {"pixelnorm_epsilon": 1e-4}, "pixelnorm_epsilon"),
        ("G_paper", {"mapping_layers": 8}, "option 'mapping_layers'"),
        ("D_basic", {}, "is not the generator"),
        ("G_style", {"fused_scale": 7}, "fused_scale"),
        ("G_style", {"resolution": "16"}, "resolution is '16'"),
        ("G_style", {"truncation_psi": "half"}, "truncation_psi"),
    ],
)
def test_unknown_options_are_refused(function, options, message):
    with pytest.raises(InputError, match=message):
        nvidia.generator_from(as_read(function, WIDTHS | options, {}))


# --- whole files


def equal(ours: torch.nn.Module, read: torch.nn.Module) -> bool:
    theirs = read.state_dict()
    return ours.config == read.config and all(torch.equal(t, theirs[name]) for name, t in ours.state_dict().items())


@pytest.mark.parametrize(("protocol", "numpy"), [(2, 1), (2, 2), (4, 2), (5, 2)])
def test_official_files(tmp_path, protocol, numpy):
    """Of any protocol and numpy: G, D and Gs, before and after a trip through our own file."""
    g, d = write_official(tmp_path / "x.pkl", protocol, numpy, truncation_psi=0.5, style_mixing_prob=0.8)
    model = weights.load_model(tmp_path / "x.pkl")
    weights.save(tmp_path / "x.safetensors", model)
    for read in (model, weights.load_model(tmp_path / "x.safetensors")):
        assert equal(g, read.generator) and equal(d, read.discriminator) and equal(tiny_generator(), read.raw_generator)
        assert read.generator.truncation == (0.5, 8)
        assert "style_mixing_prob 0.8" in read.provenance.notes


def write(path: Path, content) -> Path:
    path.write_bytes(pickle.dumps(content, 4))
    return path


def test_single_networks(tmp_path):
    g, d = tiny_generator(), tiny_discriminator()
    for name in ("G", "Gs"):
        model = weights.load_model(write(tmp_path / "g.pkl", official_g(name, g, TINY_G_OPTIONS)))
        assert equal(g, model.generator) and model.raw_generator is None and model.discriminator is None
    path = write(tmp_path / "d.pkl", official_network("D", "D_basic", TINY_OPTIONS, official_discriminator(d)))
    assert equal(d, nvidia.discriminator_from(nvidia_files.read(path).d))
    with pytest.raises(InputError, match="discriminator alone"):
        weights.load(path)


def test_official_classifiers(tmp_path):
    options, images = TINY_OPTIONS | {"mbstd_group_size": 0}, torch.randn(3, 3, 16, 16)
    ds = {"male": tiny_discriminator(group_size=1), "smiling": tiny_discriminator(group_size=1, activation="relu")}
    for i, (name, d) in enumerate(ds.items()):
        own = options | {"nonlinearity": d.config.activation}
        network = official_network("D", "D_basic", own, official_discriminator(d))
        write(tmp_path / f"celebahq-classifier-{i:02d}-{name}.pkl", network)
    found = load_classifiers(tmp_path)
    assert found.names == ["male", "smiling"]
    assert torch.equal(found(images), torch.stack([d(images) for d in ds.values()], dim=1))
    write_official(tmp_path / "celebahq-classifier-02-cake.pkl")
    with pytest.raises(InputError, match=r"02-cake\.pkl"):
        load_classifiers(tmp_path)


def test_growth(tmp_path):
    """The network draws what it has been grown to, unless its structure has only the full size."""
    for options, grown in (({}, (8, 0.25)), ({"structure": "fixed"}, (16, 0.0))):
        path = write(tmp_path / "g.pkl", official_g("G", tiny_generator(), TINY_G_OPTIONS | options, lod=1.25))
        assert weights.load(path).synthesis.grown == grown
    path = write(tmp_path / "g.pkl", official_g("G", tiny_generator(), TINY_G_OPTIONS, lod=2.25))
    with pytest.raises(InputError, match="lod"):
        weights.load(path)


@pytest.mark.parametrize(
    ("told", "truncation"),
    [
        ({}, (0.7, 8)),
        ({"truncation_psi": 0.5, "truncation_cutoff": 3}, (0.5, 3)),
        ({"truncation_psi": None}, (1.0, None)),
        ({"truncation_cutoff": None}, (1.0, None)),
    ],
)
def test_truncation_that_the_file_tells(tmp_path, told, truncation):
    path = write(tmp_path / "g.pkl", official_g("Gs", tiny_generator(), TINY_G_OPTIONS | told))
    assert weights.load(path).truncation == truncation


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("16x16/Conv1/bias"), "16.layer1.bias"),
        (lambda v: v.update({"16x16/Conv2/bias": v["lod"]}), "variable '16x16/Conv2/bias'"),
        (lambda v: v.update({"16xyz/Conv1/bias": v["16x16/Conv1/bias"]}), "variable '16xyz"),
        (lambda v: v.update({"16x16/Conv0/bias": v["16x16/Conv0_up/bias"]}), "two variables for the same weights"),
        (lambda v: v.update({"4x4/Const/const": np.zeros(3, np.float32)}), "4.const"),
        (lambda v: v.update({"16x16/Conv1/bias": np.zeros(8, np.int32)}), "not a name and numbers"),
        (lambda v: v.update({"16x16/Conv1/bias": np.array([None])}), "only numbers"),
        (lambda v: v.pop("lod"), "lod"),
    ],
)
def test_variables_that_do_not_fit(tmp_path, change, message):
    network = official_network("G", "G_style", TINY_G_OPTIONS, {})
    variables = official_generator(tiny_generator())
    change(variables)
    network.state["variables"] = list(variables.items())
    with pytest.raises(InputError, match=message) as error:
        weights.load(write(tmp_path / "g.pkl", network))
    assert "g.pkl" in str(error.value) and "\n" not in str(error.value)


def test_a_network_larger_than_its_file(tmp_path):
    """Nothing is built for a configuration that the file cannot fill."""
    for options in ({"mapping_fmaps": 10**6}, {"fmap_base": 2**30, "fmap_max": 2**30}, {"label_size": 10**12}):
        with pytest.raises(InputError, match="do not fit"):
            weights.load(write(tmp_path / "g.pkl", official_g("G", tiny_generator(), TINY_G_OPTIONS | options)))


SIZES = [{}, {"mapping_layers": 1}, {"mapping_layers": 0}, {"label_count": 3}, {"use_noise": False}]
SIZES += [{"const_input": False}, {"channels": 1}, {"label_count": 3, "embed_labels": False}, {"resolution": 4}]
SIZES += [{**TRADITIONAL, "mapping_width": 5, "mapping_layers": 3}]


@pytest.mark.parametrize("options", SIZES)
def test_size_of_generators(options):
    g = tiny_generator(**options)
    assert g.config.size == sum(tensor.numel() for tensor in g.state_dict().values())


@pytest.mark.parametrize(
    "options", [{}, {"group_size": 1}, {"label_count": 3}, {"stddev_features": 2}, {"channels": 4}]
)
def test_size_of_discriminators(options):
    d = tiny_discriminator(**options)
    assert d.config.size == sum(tensor.numel() for tensor in d.state_dict().values())


# --- other families


class Persistent:
    """What StyleGAN2-ADA and StyleGAN3 pickle, in small."""

    def __init__(self, source: str) -> None:
        self.source = source

    def __reduce__(self):
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, ({"module_src": self.source},)


def test_families_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_utils", types.ModuleType("torch_utils"))
    persistence = types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("run")

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    persistence._reconstruct_persistent_obj = _reconstruct_persistent_obj
    monkeypatch.setitem(sys.modules, "torch_utils.persistence", persistence)
    second = official_network("Gs", "G_main", {}, {})
    second.state["version"] = 4
    for content, name in (
        ((second, second, second), "StyleGAN2 or StyleGAN2-ADA"),
        ({"G_ema": Persistent("class SynthesisNetwork: pass")}, "StyleGAN2-ADA"),
        ({"G_ema": Persistent("from torch_utils.ops import filtered_lrelu")}, "StyleGAN3"),
    ):
        with pytest.raises(InputError, match=f"file of {name}"):
            weights.load(write(tmp_path / "x.pkl", content))
    for content, name in (
        ({"g_running": {"generator.progression.0.conv1.input": torch.zeros(1)}}, "rosinality's style-based-gan"),
        ({"generator.progression.0.conv1.input": torch.zeros(1)}, "rosinality's style-based-gan"),
        ({"g_ema": {"conv1.conv.modulation.weight": torch.zeros(1)}}, "rosinality's stylegan2"),
        ({"g_synthesis.blocks.0.bias": torch.zeros(1)}, r"StyleGAN\.pytorch"),
        ({"synthesis.layer0.epilogue.bias": torch.zeros(1)}, "first layout"),
        ({"kind": "stylegan-state"}, "training state of a run"),
        ({"weight": torch.zeros(1)}, "no generator of genforce"),
        ([1, 2], "holds no networks"),
    ):
        for zipped in (True, False):
            torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
            with pytest.raises(InputError, match=name):
                weights.load(tmp_path / "x.pth")


# --- genforce, whose layout and arithmetic are written down here a second time


def genforce_generator(g: Generator) -> dict[str, torch.Tensor]:
    state = {"truncation.w_avg": g.w_avg, "synthesis.lod": torch.tensor(0.0)}
    binomial = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    for name, tensor in g.state_dict().items():
        part = name.split(".")
        if name == "mapping.label_embedding":
            state["mapping.label_weight"] = tensor
        elif part[0] == "mapping":
            state[f"mapping.dense{part[2]}.{part[3]}"] = tensor
        elif part[0] == "synthesis" and part[1] != "blocks":
            state[f"synthesis.layer{part[1][5:]}.apply_noise.noise"] = tensor
        elif part[0] == "synthesis":
            block = int(part[2]).bit_length() - 3
            if part[3] == "to_rgb":
                state[f"synthesis.output{block}.{part[4]}"] = tensor
            elif part[3] == "const":
                state["synthesis.layer0.const"] = tensor[None]
            else:
                layer = f"synthesis.layer{2 * block + int(part[3][-1])}"
                leaf = {"noise": "apply_noise.weight", "style": f"style.{part[-1]}"}.get(part[4], part[4])
                state[f"{layer}.{leaf}"] = tensor
                if part[3] == "conv0":
                    state[f"{layer}.blur.kernel"] = binomial.expand(len(tensor), 1, 3, 3).clone()
    return state


def genforce_images(state: dict[str, torch.Tensor], z: torch.Tensor, layers: int) -> torch.Tensor:
    """What genforce draws, in float64: z to images with the stored noise, without truncation."""
    s = {name: tensor.double() for name, tensor in state.items()}
    w, i = z.double(), 0
    w = w / (w.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
    while f"mapping.dense{i}.weight" in s:
        weight = s[f"mapping.dense{i}.weight"] * 0.01 * (2 / w.shape[1]) ** 0.5
        w, i = F.leaky_relu(w @ weight.T + s[f"mapping.dense{i}.bias"] * 0.01, 0.2), i + 1
    x = None
    for i in range(layers):
        own = {n.removeprefix(f"synthesis.layer{i}."): t for n, t in s.items() if n.startswith(f"synthesis.layer{i}.")}
        resolution = 4 << i // 2
        if i == 0:
            x = own["const"].expand(len(w), -1, -1, -1)
        else:
            weight = own["weight"] * (2 / own["weight"][0].numel()) ** 0.5
            if i % 2:
                x = F.conv2d(x, weight, padding=1)
            elif resolution < 128:
                x = F.conv2d(F.interpolate(x, scale_factor=2), weight, padding=1)
            else:
                p = F.pad(weight, (1, 1, 1, 1))
                p = p[..., 1:, 1:] + p[..., :-1, 1:] + p[..., 1:, :-1] + p[..., :-1, :-1]
                x = F.conv_transpose2d(x, p.transpose(0, 1), stride=2, padding=1)
            if i % 2 == 0:
                x = F.conv2d(x, own["blur.kernel"], padding=1, groups=x.shape[1])
        x = x + own["apply_noise.noise"] * own["apply_noise.weight"][:, None, None] + own["bias"][:, None, None]
        x = F.leaky_relu(x, 0.2)
        x = x - x.mean(dim=(2, 3), keepdim=True)
        x = x / (x.square().mean(dim=(2, 3), keepdim=True) + 1e-8).sqrt()
        style = w @ own["style.weight"].T / w.shape[1] ** 0.5 + own["style.bias"]
        scale, bias = style[:, :, None, None].chunk(2, dim=1)
        x = x * (scale + 1) + bias
    weight = s[f"synthesis.output{layers // 2 - 1}.weight"]
    return F.conv2d(x, weight / weight.shape[1] ** 0.5) + s[f"synthesis.output{layers // 2 - 1}.bias"][:, None, None]


def genforce_discriminator(d: Discriminator) -> dict[str, torch.Tensor]:
    state, top = {"lod": torch.tensor(0.0)}, d.config.resolution.bit_length()
    for name, tensor in d.state_dict().items():
        _, r, layer, leaf = name.split(".")
        block = top - int(r).bit_length()
        number = {"conv0": 0, "conv1": 1, "conv": 0, "dense0": 1, "dense1": 2}.get(layer, 0) + 2 * block
        state[f"input{block}.{leaf}" if layer == "from_rgb" else f"layer{number}.{leaf}"] = tensor
    return state


def genforce_scores(state: dict[str, torch.Tensor], images: torch.Tensor, blocks: int) -> torch.Tensor:
    """What genforce scores, in float64, for up to four images."""
    s = {name: tensor.double() for name, tensor in state.items()}

    def conv(name: str, x: torch.Tensor) -> torch.Tensor:
        weight = s[f"{name}.weight"] * (2 / s[f"{name}.weight"][0].numel()) ** 0.5
        return F.conv2d(x, weight, s[f"{name}.bias"], padding=weight.shape[2] // 2)

    x = F.leaky_relu(conv("input0", images.double()), 0.2)
    binomial = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=torch.float64) / 16
    for i in range(blocks - 1):
        x = F.leaky_relu(conv(f"layer{2 * i}", x), 0.2)
        x = F.conv2d(x, binomial.expand(x.shape[1], 1, 3, 3), padding=1, groups=x.shape[1])
        x = F.leaky_relu(F.avg_pool2d(conv(f"layer{2 * i + 1}", x), 2), 0.2)
    spread = (x.var(dim=0, unbiased=False) + 1e-8).sqrt().mean()
    x = torch.cat([x, spread.expand(len(x), 1, 4, 4)], dim=1)
    x = F.leaky_relu(conv(f"layer{2 * blocks - 2}", x), 0.2).flatten(1)
    for name, gain in ((f"layer{2 * blocks - 1}", 2), (f"layer{2 * blocks}", 1)):
        weight = s[f"{name}.weight"]
        x = x @ weight.T * (gain / weight.shape[1]) ** 0.5 + s[f"{name}.bias"]
        x = F.leaky_relu(x, 0.2) if gain == 2 else x
    return x[:, 0]


@pytest.mark.parametrize("zipped", [True, False])
def test_genforce(tmp_path, zipped):
    """128 x 128, where its up-convolutions begin to be transposed ones."""
    g = tiny_generator(128, mapping_lr_multiplier=0.01)
    with torch.no_grad():
        for parameter in g.mapping.parameters():
            parameter.mul_(100 if parameter.ndim == 1 else 1)  # mapping layers store all of theirs a hundred times
    d = tiny_discriminator(128)
    states = genforce_generator(g), genforce_discriminator(d)
    raw = {name: tensor.clone() for name, tensor in states[0].items()}
    content = {"models": {"generator_smooth": states[0], "generator": raw, "discriminator": states[1]}}
    content |= {"running_metadata": {"iter": 5, "seen_img": 80}}
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    model = weights.load_model(tmp_path / "x.pth")
    assert model.generator.config == g.config and model.discriminator.config == d.config
    assert model.raw_generator is not None and torch.equal(model.generator.w_avg, g.w_avg)
    z = torch.randn(2, 8)
    drawn = model.generator(z, noise="const")
    assert relative_error(drawn, genforce_images(states[0], z, 12)) < 1e-5
    images = torch.randn(4, 3, 128, 128)
    assert relative_error(model.discriminator(images), genforce_scores(states[1], images, 6)) < 1e-5


def test_genforce_without_all_its_networks(tmp_path):
    g = tiny_generator(mapping_lr_multiplier=0.01, label_count=3, channels=1)
    g.synthesis.grown = Growth(8, 0.5)
    state = genforce_generator(g) | {"synthesis.lod": torch.tensor(1.5)}
    torch.save({"generator": state}, tmp_path / "x.pth")
    model = weights.load_model(tmp_path / "x.pth")
    assert equal(g, model.generator) and model.generator.synthesis.grown == (8, 0.5)
    assert model.raw_generator is None and model.discriminator is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"synthesis.layer2.blur.kernel": torch.ones(8, 1, 3, 3) / 9}, "another filter"),
        ({"synthesis.layer2.extra": torch.ones(1)}, "layer2.extra"),
        ({"synthesis.layer2.apply_noise.weight": torch.ones(8, 8)}, "do not fit|size mismatch"),
        ({"synthesis.layer1.bias": None}, "not numbered|fit"),
        ({"synthesis.lod": torch.tensor(float("nan"))}, "lod"),
        ({"truncation.w_avg": torch.zeros(48)}, "fit"),
        ({"synthesis.layer1.bias": torch.zeros(8, dtype=torch.int64)}, "neither float32"),
        ({"truncation.w_avg": torch.tensor(0.0)}, "fit"),
        ({"mapping.dense0.weight": torch.tensor(0.0)}, "has another shape"),
        ({"mapping.dense1.weight": None}, "fit"),
    ],
)
def test_genforce_refuses(tmp_path, change, message):
    state = genforce_generator(tiny_generator(mapping_lr_multiplier=0.01)) | change
    torch.save({"generator": {n: t for n, t in state.items() if t is not None}}, tmp_path / "x.pth")
    with pytest.raises(InputError, match=message) as error:
        weights.load(tmp_path / "x.pth")
    assert "x.pth" in str(error.value) and "\n" not in str(error.value)


# --- mmgeneration, whose layout and arithmetic are written down here a second time


def mmgeneration_generator(resolution: int, stream: torch.Generator) -> dict[str, torch.Tensor]:
    """Random tensors by the names and in the shapes of a StyleGANv1Generator, whose widths are others."""

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=stream)

    state, style, maps = {}, 8, {4: 6, 8: 6, 16: 4, 32: 2}
    for i in range(1, 4):
        state[f"style_mapping.{i}.linear.weight_orig"] = 100 * normal(style, style)
        state[f"style_mapping.{i}.bias"] = 20 * normal(style)
    binomial = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    for i in range(resolution.bit_length() - 2):
        r = 4 << i
        out, inputs = maps[r], maps[max(r // 2, 4)]
        if i == 0:
            state["convs.0.conv1.input"] = normal(1, out, 4, 4)
        else:
            state[f"convs.{i}.conv1.0.conv.weight_orig"] = normal(out, inputs, 3, 3)
            state[f"convs.{i}.conv1.0.conv.bias"] = 0.3 * normal(out)
            state[f"convs.{i}.conv1.1.kernel"] = binomial.clone()
        state[f"convs.{i}.conv2.conv.weight_orig"] = normal(out, out, 3, 3)
        state[f"convs.{i}.conv2.conv.bias"] = 0.3 * normal(out)
        for k in (1, 2):
            state[f"convs.{i}.noise_injector{k}.weight"] = 0.3 * normal(1)
            state[f"convs.{i}.adain{k}.affine.weight_orig"] = normal(2 * out, style)
            state[f"convs.{i}.adain{k}.affine.bias"] = torch.cat([torch.ones(out), torch.zeros(out)]) + normal(2 * out)
        state[f"to_rgbs.{i}.conv.weight_orig"] = normal(3, out, 1, 1)
        state[f"to_rgbs.{i}.conv.bias"] = 0.3 * normal(3)
        for k in (0, 1):
            state[f"injected_noise_{2 * i + k}"] = normal(1, 1, r, r)
    return state


def mmgeneration_images(state: dict[str, torch.Tensor], z: torch.Tensor, resolution: int) -> torch.Tensor:
    """What mmgeneration draws, in float64: z to images with the stored noise, without truncation."""
    s = {name: tensor.double() for name, tensor in state.items()}

    def equalized(name: str, gain: float = 2**0.5) -> torch.Tensor:
        return s[name] * gain / s[name][0].numel() ** 0.5

    w = z.double()
    w = w / (w.square().mean(dim=1, keepdim=True).sqrt() + 1e-6)
    for i in range(1, 4):
        weight = equalized(f"style_mapping.{i}.linear.weight_orig", gain=1) * 0.01
        w = F.leaky_relu(w @ weight.T + s[f"style_mapping.{i}.bias"] * 0.01, 0.2)

    def after(x: torch.Tensor, block: str, k: int, plane: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(x + s[f"{block}.noise_injector{k}.weight"] * plane, 0.2)
        x = (x - x.mean(dim=(2, 3), keepdim=True)) / (x.var(dim=(2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
        style = w @ equalized(f"{block}.adain{k}.affine.weight_orig").T + s[f"{block}.adain{k}.affine.bias"]
        gamma, beta = style[:, :, None, None].chunk(2, dim=1)
        return gamma * x + beta

    x = s["convs.0.conv1.input"].expand(len(w), -1, -1, -1)
    for i in range(resolution.bit_length() - 2):
        block = f"convs.{i}"
        if i:
            x = F.conv2d(F.interpolate(x, scale_factor=2), equalized(f"{block}.conv1.0.conv.weight_orig"), padding=1)
            x = F.leaky_relu(x + s[f"{block}.conv1.0.conv.bias"][:, None, None], 0.2)
            x = F.conv2d(x, s[f"{block}.conv1.1.kernel"].expand(x.shape[1], 1, 3, 3), padding=1, groups=x.shape[1])
        x = after(x, block, 1, s[f"injected_noise_{2 * i}"])
        x = F.conv2d(x, equalized(f"{block}.conv2.conv.weight_orig"), s[f"{block}.conv2.conv.bias"], padding=1)
        x = after(x, block, 2, s[f"injected_noise_{2 * i + 1}"])
    return F.conv2d(x, equalized(f"to_rgbs.{i}.conv.weight_orig"), s[f"to_rgbs.{i}.conv.bias"])


@pytest.mark.parametrize("wrapped", [True, False])
def test_mmgeneration(tmp_path, wrapped):
    """A whole checkpoint with an average, or the generator's tensors alone."""
    stream = torch.Generator().manual_seed(2)
    average, raw = mmgeneration_generator(32, stream), mmgeneration_generator(32, stream)
    content = average
    if wrapped:
        networks = {
            "generator_ema.module": average,
            "generator": raw,
            "discriminator": {"from_rgb.0.conv.bias": average["to_rgbs.0.conv.bias"]},
        }
        table = {f"{network}.{name}": t for network, state in networks.items() for name, t in state.items()}
        table |= {"shown_nkimg": torch.tensor(5.0), "generator_ema.steps": torch.tensor(3)}
        content = {"meta": {"mmgen_version": "0.7"}, "state_dict": table}
    torch.save(content, tmp_path / "x.pth")
    model = weights.load_model(tmp_path / "x.pth")
    g = model.generator
    assert (g.config.resolution, g.config.mapping_layers, g.config.feature_maps(32)) == (32, 3, 2)
    assert (model.raw_generator is not None) == wrapped and model.discriminator is None
    z = torch.randn(3, 8, generator=stream)
    drawn = g(z, noise="const")
    assert relative_error(drawn, mmgeneration_images(average, z, 32)) < 2e-5
    w = g.mapping(torch.randn(20_000, 8, generator=stream))[:, 0]
    assert (g.w_avg - w.mean(dim=0)).norm() < 0.03 * w.norm(dim=1).mean()
    # it comes out of a model file as it went in
    weights.save(tmp_path / "m.safetensors", model)
    assert torch.equal(weights.load(tmp_path / "m.safetensors")(z, noise="const"), drawn)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"convs.1.conv1.1.kernel": torch.ones(3, 3) / 9}, "another filter"),
        ({"convs.1.attention.weight": torch.ones(1)}, "attention"),
        ({"convs.0.noise_injector1.weight": None}, "do not fit|missing|Missing"),
        ({"style_mapping.2.bias": None}, "not numbered"),
        ({"style_mapping.1.linear.weight_orig": torch.ones(2, 2, 2)}, "another shape"),
        ({"to_rgbs.0.conv.bias": torch.ones(3, dtype=torch.int64)}, "neither float32"),
    ],
)
def test_mmgeneration_refuses(tmp_path, change, message):
    state = mmgeneration_generator(16, torch.Generator().manual_seed(2)) | change
    torch.save({k: v for k, v in state.items() if v is not None}, tmp_path / "x.pth")
    with pytest.raises(InputError, match=message):
        weights.load(tmp_path / "x.pth")
