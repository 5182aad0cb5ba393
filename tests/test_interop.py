"""Official networks of every option, made here from ours by the names and layouts of the fact sheet, and read back."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_discriminator, tiny_generator

from stylegan.errors import InputError
from stylegan.interop import nvidia
from stylegan.networks import ops

TRADITIONAL = {"use_styles": False, "const_input": False, "use_noise": False}
TRADITIONAL |= {"use_instance_norm": False, "use_pixel_norm": True, "mapping_layers": 0}


def official(function: str, options: dict, variables: dict[str, np.ndarray]) -> nvidia.OfficialNetwork:
    network = nvidia.OfficialNetwork()
    state = {"version": 3, "build_func_name": function, "static_kwargs": options, "variables": list(variables.items())}
    network.__setstate__(state)
    return network


def stored(tensor: torch.Tensor) -> np.ndarray:
    """Official layout: outputs last."""
    if tensor.ndim == 4:
        return tensor.permute(2, 3, 1, 0).numpy()
    return tensor.T.numpy() if tensor.ndim == 2 else tensor.numpy()


def official_generator(g, up: str = "Conv0_up") -> dict[str, np.ndarray]:
    variables = {"lod": np.float32(0)}
    top = g.config.resolution.bit_length() - 1
    for name, tensor in g.state_dict().items():
        part = name.split(".")
        if name == "w_avg":
            variables["dlatent_avg"] = tensor.numpy()
        elif name == "mapping.label_embedding":
            variables["LabelConcat/weight"] = tensor.numpy()
        elif part[0] == "mapping":
            variables[f"Dense{part[2]}/{part[3]}"] = stored(tensor)
        elif part[1] != "blocks":
            variables[part[1]] = tensor.numpy()
        elif part[3] == "to_rgb":
            variables[f"ToRGB_lod{top - int(part[2]).bit_length() + 1}/{part[4]}"] = stored(tensor)
        elif part[3] == "const":
            variables["4x4/Const/const"] = tensor[None].numpy()
        else:
            first = ("Const" if g.config.const_input else "Dense") if part[2] == "4" else up
            layer = first if part[3] in ("conv0", "layer0", "dense") else ("Conv" if part[2] == "4" else "Conv1")
            leaf = {"noise": "Noise/weight", "style": f"StyleMod/{part[-1]}"}.get(part[4], part[4])
            variables[f"{part[2]}x{part[2]}/{layer}/{leaf}"] = stored(tensor)
    return variables


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
    read = nvidia.generator_from(official("G_style", STYLEGAN | theirs, official_generator(g)))
    assert read.config == g.config
    z, labels = torch.randn(2, 8), torch.tensor([2, 0]) if ours.get("label_count") else None
    assert torch.equal(read(z, labels, noise="none"), g(z, labels, noise="none"))


def test_fused_kernels_are_turned():
    """A transposed convolution with the shifted kernels as they are: what the official code does when it fuses."""
    g = tiny_generator()
    fused = nvidia.generator_from(official("G_style", STYLEGAN | {"fused_scale": True}, official_generator(g)))
    plain = nvidia.generator_from(official("G_style", STYLEGAN | {"fused_scale": False}, official_generator(g)))
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
    read = nvidia.generator_from(official("G_paper", WIDTHS | theirs | {"fused_scale": fused}, variables))
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
    down = "Conv1" if ours.get("activate_first") else "Conv1_down"
    names = {"conv0": "Conv0", "conv1": down, "conv": "Conv", "dense0": "Dense0", "dense1": "Dense1"}
    variables = {"lod": np.float32(0)}
    for name, tensor in d.state_dict().items():
        _, r, layer, leaf = name.split(".")
        scope = f"FromRGB_lod{5 - int(r).bit_length()}" if layer == "from_rgb" else f"{r}x{r}/{names[layer]}"
        variables[f"{scope}/{leaf}"] = stored(tensor)
    read = nvidia.discriminator_from(official(function, WIDTHS | theirs, variables))
    assert read.config == d.config
    images, labels = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 2]) if ours.get("label_count") else None
    assert torch.equal(read(images, labels), d(images, labels))


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        ("G_style", {"attention": True}, "option attention"),
        ("G_style", {"blur_filter": [1, 3, 3, 1]}, "filter"),
        ("G_paper", {"pixelnorm_epsilon": 1e-4}, "pixelnorm_epsilon"),
        ("G_paper", {"mapping_layers": 8}, "option mapping_layers"),
        ("G_main", {}, "G_main is not the generator"),
    ],
)
def test_unknown_options_are_refused(function, options, message):
    with pytest.raises(InputError, match=message):
        nvidia.generator_from(official(function, WIDTHS | options, {}))
