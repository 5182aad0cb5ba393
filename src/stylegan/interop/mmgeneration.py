"""Checkpoints of mmgeneration (github.com/open-mmlab/mmgeneration): its StyleGAN generators, by their tensors' names.

They are not quite the paper's networks: each up-convolution has a bias and an activation before the blur, and instance
norm a larger epsilon. `GeneratorConfig` has options for both. Discriminators, which have other first layers, are left.
"""

import re
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from stylegan.errors import InputError
from stylegan.interop.tables import check_blur, count_of, shape_of
from stylegan.networks.generator import Generator, GeneratorConfig
from stylegan.networks.layers import FeatureMaps, build
from stylegan.resolutions import resolutions

NETWORKS = ("generator_ema", "generator")  # the average first, which is what is drawn
CONST = "convs.0.conv1.input"
SAMPLES = 10_000  # of w, for its average, which the checkpoints do not hold
INSTANCE_NORM_EPSILON = 1e-5
# ours for theirs, behind "convs.<i>."; their weights are stored as ours are, before they are multiplied
LEAVES = {
    "conv1.0.conv.weight_orig": "conv0.weight",
    "conv1.0.conv.bias": "conv0.bias",
    "conv2.conv.weight_orig": "conv1.weight",
    "conv2.conv.bias": "layer1.bias",
    "noise_injector1.weight": "layer0.noise.strength",
    "noise_injector2.weight": "layer1.noise.strength",
    "adain1.affine.weight_orig": "layer0.style.affine.weight",
    "adain1.affine.bias": "layer0.style.affine.bias",
    "adain2.affine.weight_orig": "layer1.style.affine.weight",
    "adain2.affine.bias": "layer1.style.affine.bias",
}


def states_of(content: dict[Any, Any]) -> dict[str, dict[str, Any]]:
    """The generators' tables of tensors in a checkpoint, by name, the average first; {} where it is another's."""
    table = content["state_dict"] if isinstance(content.get("state_dict"), dict) else content
    states: dict[str, dict[str, Any]] = {}
    for network in NETWORKS:
        # what averages may hold the network as a module of its own
        own = {
            name.removeprefix(f"{network}.").removeprefix("module."): value
            for name, value in table.items()
            if isinstance(name, str) and name.startswith(f"{network}.")
        }
        own.pop("steps", None)
        if CONST in own:
            states[network] = own
    if not states and CONST in table:
        states["generator"] = dict(table)
    return states


def generator_from(state: dict[str, Tensor]) -> Generator:
    """The generator of a table of float32 tensors. Raises InputError where one is missing, or does not belong to it."""
    blocks = count_of(state, r"to_rgbs\.(\d+)\.conv\.bias", "mmgeneration")
    depth = count_of(state, r"style_mapping\.(\d+)\.bias", "mmgeneration", first=1)
    if not blocks or not depth or f"convs.{blocks - 1}.conv2.conv.weight_orig" not in state:
        raise InputError("its generator lacks convolutions, toRGB layers or a mapping network")
    first, last = (shape_of(state, f"style_mapping.{i}.linear.weight_orig", 2) for i in (1, depth))
    config = GeneratorConfig(
        resolution=2 << blocks,
        channels=len(state["to_rgbs.0.conv.bias"]),
        z_dim=first[1],
        w_dim=last[0],
        mapping_layers=depth,
        mapping_width=first[0],
        feature_maps=FeatureMaps.of([state[f"convs.{i}.conv2.conv.weight_orig"].shape[0] for i in range(blocks)]),
        activate_before_blur=True,
        norm_epsilon=INSTANCE_NORM_EPSILON,
    )
    tensors = {"w_avg": torch.zeros(config.w_dim)}
    for r in resolutions(config.resolution):  # behind the constant and the blur there is no bias
        tensors[f"synthesis.blocks.{r}.layer0.bias"] = torch.zeros(config.feature_maps(r))
    for name, tensor in state.items():
        if re.fullmatch(r"convs\.\d+\.conv1\.1\.kernel", name):
            check_blur(tensor)
            continue
        ours, value = _tensor(name, tensor)
        if ours.endswith("noise.strength"):
            value = value.expand(config.feature_maps(int(ours.split(".")[2]))).clone()
        tensors[ours] = value
    generator = build(Generator, config, tensors)
    generator.w_avg.copy_(_average_of_w(generator))
    return generator


def _tensor(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    """A tensor's name here, and its value."""
    if name == CONST:
        return "synthesis.blocks.4.const", tensor[0]
    if match := re.fullmatch(r"injected_noise_(\d\d?)", name):
        return f"synthesis.noise{match[1]}", tensor
    if match := re.fullmatch(r"style_mapping\.(\d\d?)\.(linear\.weight_orig|bias)", name):
        ours = f"mapping.layers.{int(match[1]) - 1}"
        return (f"{ours}.bias", tensor) if match[2] == "bias" else (f"{ours}.weight", tensor / sqrt(2))
    if match := re.fullmatch(r"to_rgbs\.(\d)\.conv\.(weight_orig|bias)", name):
        ours = f"synthesis.blocks.{4 << int(match[1])}.to_rgb"
        return (f"{ours}.bias", tensor) if match[2] == "bias" else (f"{ours}.weight", tensor * sqrt(2))
    match = re.fullmatch(r"convs\.(\d)\.(.+)", name)
    if match is None or match[2] not in LEAVES:
        raise InputError(f"its generator has a tensor {name[:100]!r}, which no StyleGAN of mmgeneration has")
    ours = LEAVES[match[2]]
    if ours.endswith("affine.weight"):
        tensor = tensor * sqrt(2)
    if ours.endswith("affine.bias"):  # a scale of 1 is stored as 1 there, as 0 here
        scale, bias = tensor.chunk(2)
        tensor = torch.cat([scale - 1, bias])
    return f"synthesis.blocks.{4 << int(match[1])}.{ours}", tensor


@torch.no_grad()
def _average_of_w(generator: Generator) -> Tensor:
    stream, parts = torch.Generator().manual_seed(0), []
    for _ in range(0, SAMPLES, 1000):
        parts.append(generator.mapping(torch.randn(1000, generator.config.z_dim, generator=stream))[:, 0])
    return torch.cat(parts).double().mean(dim=0).float()
