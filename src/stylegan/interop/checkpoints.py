"""Checkpoints of other programs: those of genforce hold StyleGAN networks as they are here, those of mmgeneration
nearly (mmgeneration.py); others are named.

genforce (github.com/genforce/genforce) computes what the official networks compute, and keeps their layout with the
outputs first. A checkpoint does not tell the options; all that its authors published have the defaults, which are
fused up-convolutions from 128 x 128 on and a learning rate of 0.01 for the mapping network.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylegan.errors import InputError
from stylegan.interop import mmgeneration, torch_files
from stylegan.interop.tables import check_blur, count_of, shape_of
from stylegan.networks.discriminator import Discriminator, DiscriminatorConfig
from stylegan.networks.generator import Generator, GeneratorConfig, Growth
from stylegan.networks.layers import FeatureMaps, build
from stylegan.resolutions import log2

FUSED_FROM = 128  # from there on a transposed convolution turns the kernel around


@dataclass(frozen=True)
class Checkpoint:
    """The networks of a checkpoint."""

    average: Generator
    raw: Generator | None
    discriminator: Discriminator | None
    notes: str


def read(path: Path) -> Checkpoint:
    """Read a checkpoint of genforce or mmgeneration. Raises InputError, naming what it is where that is known, for any
    other."""
    content = torch_files.load(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} is a file of torch, but holds no networks")
    if reason := _why_not(content):
        raise InputError(f"{path} is {reason}")
    if states := mmgeneration.states_of(content):
        return _of_mmgeneration(path, states)
    networks = content["models"] if isinstance(content.get("models"), dict) else content
    names = [name for name in ("generator_smooth", "generator") if name in networks]
    if not names:
        raise InputError(
            f"{path} is a file of torch, but holds no generator of genforce or mmgeneration, which are read"
        )
    try:
        states = {name: _state_of(networks[name], name) for name in (*names, "discriminator") if name in networks}
        _check_size(path, states)
        generators = [_generator(states[name]) for name in names]
        discriminator = _discriminator(states["discriminator"]) if "discriminator" in states else None
    except MALFORMED as error:
        raise InputError(f"{path} cannot be read as a checkpoint of genforce: {_reason(error)}") from error
    raw = generators[1] if len(generators) > 1 else None
    return Checkpoint(generators[0], raw, discriminator, "a checkpoint of genforce, taken to have its default options")


MALFORMED = (InputError, LookupError, TypeError, ValueError, RuntimeError)
"""What tensors that are missing, or have other shapes than they should, lead to."""


def _of_mmgeneration(path: Path, tables: dict[str, Any]) -> Checkpoint:
    try:
        states = {name: _state_of(table, name) for name, table in tables.items()}
        _check_size(path, states)
        generators = [mmgeneration.generator_from(state) for state in states.values()]
    except MALFORMED as error:
        raise InputError(f"{path} cannot be read as a checkpoint of mmgeneration: {_reason(error)}") from error
    raw = generators[1] if len(generators) > 1 else None
    return Checkpoint(generators[0], raw, None, "a checkpoint of mmgeneration, without its discriminator")


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else f"its tensors do not fit together ({error!r})"


def _check_size(path: Path, states: dict[str, dict[str, Tensor]]) -> None:
    if sum(t.nbytes for state in states.values() for t in state.values()) > 2 * path.stat().st_size:  # if float16
        raise InputError("it repeats its numbers, which no checkpoint does")


def _why_not(content: dict) -> str:
    """Description of a checkpoint that cannot be used here; empty for one that may be."""
    if content.get("kind") == "stylegan-state":
        return "the training state of a run; give the run's folder, or a model-*.safetensors in it"
    tables = [content, *(table for table in content.values() if isinstance(table, dict))]
    names = {name.removeprefix("module.") for table in tables for name in table if isinstance(name, str)}
    if any(name.startswith("generator.progression.") for name in names):
        return (
            "a checkpoint of rosinality's style-based-gan-pytorch, which adds biases before the blur and normalizes "
            "with another epsilon, so that these networks could not draw its images exactly"
        )
    if "conv1.conv.modulation.weight" in names:
        return "a StyleGAN2 checkpoint of rosinality's stylegan2-pytorch, which this program does not read"
    if any(name.startswith("g_synthesis.") for name in names):
        return "a checkpoint of StyleGAN.pytorch, which this program does not read"
    if any(name.startswith("synthesis.layer0.epilogue.") for name in names):
        return "a generator of genforce's first layout (InterFaceGAN, In-Domain GAN), which this program does not read"
    return ""


def _state_of(state: Any, network: str) -> dict[str, Tensor]:
    """The tensors of a network, float32, by name."""
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(t, Tensor) for k, t in state.items()):
        raise InputError(f"its {network} is not a table of tensors")
    if any(tensor.dtype not in (torch.float32, torch.float16) for tensor in state.values()):
        raise InputError(f"its {network} has tensors that are neither float32 nor float16")
    return {name.removeprefix("module."): tensor.to(torch.float32, copy=True) for name, tensor in state.items()}


def _generator(state: dict[str, Tensor]) -> Generator:
    layers = count_of(state, r"synthesis\.layer(\d+)\.bias", "genforce")
    if "synthesis.layer0.const" not in state or "truncation.w_avg" not in state or layers % 2:
        raise InputError("its generator is not a style-based one with a constant input")
    top = 2 << layers // 2
    w_dim = len(state["truncation.w_avg"])
    depth = count_of(state, r"mapping\.dense(\d+)\.bias", "genforce")
    labels = len(state["mapping.label_weight"]) if "mapping.label_weight" in state else 0
    first = shape_of(state, "mapping.dense0.weight", 2) if depth else (w_dim, w_dim)
    config = GeneratorConfig(
        resolution=top,
        channels=len(state["synthesis.output0.bias"]) if "synthesis.output0.bias" in state else 3,
        label_count=labels,
        z_dim=first[1] // (2 if labels else 1),
        w_dim=w_dim,
        mapping_layers=depth,
        mapping_width=first[0],
        feature_maps=FeatureMaps.of(len(state[f"synthesis.layer{2 * i}.bias"]) for i in range(layers // 2)),
    )
    lod = _lod(state.pop("synthesis.lod", None), top)
    tensors = {}
    for name, tensor in state.items():
        if name.endswith(".blur.kernel"):
            check_blur(tensor)
        else:
            ours, value = _generator_tensor(name, tensor)
            tensors[ours] = value
    generator = build(Generator, config, tensors)
    generator.synthesis.grown = Growth(top >> int(lod), lod - int(lod))
    return generator


def _generator_tensor(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    if name == "truncation.w_avg":
        return "w_avg", tensor
    if name == "mapping.label_weight":
        return "mapping.label_embedding", tensor
    if match := re.fullmatch(r"mapping\.dense(\d+)\.(weight|bias)", name):
        return f"mapping.layers.{match[1]}.{match[2]}", tensor
    if match := re.fullmatch(r"synthesis\.output(\d)\.(weight|bias)", name):
        return f"synthesis.blocks.{4 << int(match[1])}.to_rgb.{match[2]}", tensor
    if match := re.fullmatch(r"synthesis\.layer(\d\d?)\.(.+)", name):
        layer, leaf = int(match[1]), match[2]
        block, half = f"synthesis.blocks.{4 << layer // 2}", layer % 2
        if leaf == "const":
            return f"{block}.const", tensor[0]
        if leaf == "apply_noise.noise":
            return f"synthesis.noise{layer}", tensor
        if leaf == "weight":
            turned = not half and 4 << layer // 2 >= FUSED_FROM and tensor.ndim == 4
            return f"{block}.conv{half}.weight", tensor.flip(2, 3) if turned else tensor
        ours = {"style.weight": "style.affine.weight", "style.bias": "style.affine.bias"}
        ours |= {"apply_noise.weight": "noise.strength", "bias": "bias"}
        if leaf in ours:
            return f"{block}.layer{half}.{ours[leaf]}", tensor
    raise InputError(f"its generator has a tensor {name[:100]!r}, which no StyleGAN has")


def _discriminator(state: dict[str, Tensor]) -> Discriminator:
    inputs = count_of(state, r"input(\d+)\.bias", "genforce")
    top = 2 << inputs
    maps = FeatureMaps.of(len(state[f"input{i}.bias"]) for i in reversed(range(inputs)))
    last = shape_of(state, f"layer{2 * inputs - 2}.weight", 4)
    outputs = shape_of(state, f"layer{2 * inputs}.weight", 2)[0]
    config = DiscriminatorConfig(
        resolution=top,
        channels=shape_of(state, "input0.weight", 4)[1],
        label_count=outputs if outputs > 1 else 0,
        feature_maps=maps,
        group_size=4 if last[1] > last[0] else 1,
        stddev_features=max(1, last[1] - last[0]),
    )
    _lod(state.pop("lod", None), top)
    tensors = {}
    for name, tensor in state.items():
        if name.endswith(".blur.kernel"):
            check_blur(tensor)
        elif match := re.fullmatch(r"input(\d)\.(weight|bias)", name):
            tensors[f"blocks.{top >> int(match[1])}.from_rgb.{match[2]}"] = tensor
        elif match := re.fullmatch(r"layer(\d\d?)\.(weight|bias)", name):
            layer = int(match[1])
            r = max(top >> layer // 2, 4)
            ours = f"conv{layer % 2}" if r > 4 else ("conv", "dense0", "dense1")[min(layer - 2 * inputs + 2, 2)]
            tensors[f"blocks.{r}.{ours}.{match[2]}"] = tensor
        else:
            raise InputError(f"its discriminator has a tensor {name[:100]!r}, which no StyleGAN has")
    return build(Discriminator, config, tensors)


def _lod(value: Tensor | None, top: int) -> float:
    """Distance to the full resolution, in octaves."""
    lod = float(value) if value is not None and value.numel() == 1 else float("nan")
    if not 0 <= lod <= log2(top) - 2:
        raise InputError(f"it has grown to lod {lod}, which no network of {top} x {top} has")
    return lod
