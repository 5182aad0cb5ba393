"""Our networks from the official ones of StyleGAN and the Progressive GAN: their options and variables, translated."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stylegan.config import from_dict
from stylegan.errors import InputError
from stylegan.interop.nvidia_files import OfficialNetwork
from stylegan.networks.discriminator import Discriminator, DiscriminatorConfig
from stylegan.networks.generator import Generator, GeneratorConfig, Growth, Truncation
from stylegan.networks.layers import FeatureMaps, build
from stylegan.resolutions import log2

# Options of the official functions -> ours.
_COMMON_OPTIONS = {
    "resolution": "resolution",
    "num_channels": "channels",
    "label_size": "label_count",
    "nonlinearity": "activation",
    "use_wscale": "equalized",
}
_GENERATOR_OPTIONS = {
    **_COMMON_OPTIONS,
    "latent_size": "z_dim",
    "dlatent_size": "w_dim",
    "mapping_layers": "mapping_layers",
    "mapping_fmaps": "mapping_width",
    "mapping_lrmul": "mapping_lr_multiplier",
    "mapping_nonlinearity": "mapping_activation",
    "normalize_latents": "normalize_z",
    "use_styles": "use_styles",
    "const_input_layer": "const_input",
    "use_noise": "use_noise",
    "use_instance_norm": "use_instance_norm",
    "use_pixel_norm": "use_pixel_norm",
}
_DISCRIMINATOR_OPTIONS = {
    **_COMMON_OPTIONS,
    "mbstd_group_size": "group_size",
    "mbstd_num_features": "stddev_features",
}
_FEATURE_MAP_OPTIONS = {"fmap_base": "base", "fmap_decay": "decay", "fmap_max": "maximum"}

# Options without a counterpart here that change nothing about weights or images.
_INDIFFERENT = {"dtype", "structure", "randomize_noise", "force_clean_graph", "dlatent_broadcast", "is_template_graph"}
_INDIFFERENT |= {"is_training", "is_validation", "dlatent_avg_beta", "style_mixing_prob"}
_INDIFFERENT |= {"truncation_psi", "truncation_cutoff", "truncation_psi_val", "truncation_cutoff_val"}
# Options that are looked at one by one, below.
_SPECIAL = {"blur_filter", "fused_scale"}

# A network's options contain its siblings' too, so the whole family's names are known.
_STYLEGAN_OPTIONS = {*_GENERATOR_OPTIONS, *_DISCRIMINATOR_OPTIONS, *_FEATURE_MAP_OPTIONS, *_INDIFFERENT, *_SPECIAL}
_PROGRESSIVE_OPTIONS = {"use_pixelnorm", "pixelnorm_epsilon", "use_leakyrelu", "latent_size", "normalize_latents"}
_PROGRESSIVE_OPTIONS |= {*_COMMON_OPTIONS, *_FEATURE_MAP_OPTIONS, *_INDIFFERENT, "fused_scale", "mbstd_group_size"}

# Official defaults that differ from ours.
_SMALL_GRAY = {"resolution": 32, "num_channels": 1}


def _check_options(options: dict[str, Any], known: set[str]) -> None:
    if unknown := sorted(set(options) - known):
        raise InputError(f"the network was made with the option {unknown[0][:100]!r}, which is not known here")
    if (blur := options.get("blur_filter")) not in (None, [1, 2, 1]):
        raise InputError(f"the network was made with the filter {blur}; only [1, 2, 1] and none are known here"[:200])
    if (epsilon := options.get("pixelnorm_epsilon", 1e-8)) != 1e-8:
        raise InputError(f"the network was made with pixelnorm_epsilon = {epsilon}, which is not known here"[:200])


def _config_fields(options: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Our configuration fields, as plain values, from official options."""
    maps = {ours: options[theirs] for theirs, ours in _FEATURE_MAP_OPTIONS.items() if theirs in options}
    fields = {ours: options[theirs] for theirs, ours in names.items() if theirs in options}
    if fields.get("group_size") == 0:
        fields["group_size"] = 1  # both leave that layer out
    return fields | {"feature_maps": maps}


def generator_from(network: OfficialNetwork) -> Generator:
    """Build the generator of an official G or Gs: of a StyleGAN, in any of its configurations, or a Progressive GAN.

    Takes the variables out of `network`. Raises InputError for options and variables that are not known.
    """
    options = network.options
    if network.function == "G_style":
        _check_options(options, _STYLEGAN_OPTIONS)
        fields = _config_fields(options, _GENERATOR_OPTIONS)
        fields["use_blur"] = options.get("blur_filter", True) is not None
        fused_scale = options.get("fused_scale", "auto")
    elif network.function == "G_paper":
        _check_options(options, _PROGRESSIVE_OPTIONS)
        fields = _progressive_fields(_SMALL_GRAY | options)
        fused_scale = options.get("fused_scale", True)
    else:
        raise InputError(f"{network.function[:100]!r} is not the generator of a StyleGAN or Progressive GAN")
    config = from_dict(GeneratorConfig, fields)

    if fused_scale not in ("auto", True, False):
        raise InputError(f"the network was made with fused_scale = {fused_scale}, which is not known here"[:200])
    fused_from = 128 if fused_scale == "auto" else 8 if fused_scale else 2048
    truncation = _truncation(options)

    variables = network.take_variables()
    lod = _lod(variables.pop("lod", None), config.resolution, options)
    w_avg = variables.pop("dlatent_avg", np.zeros(config.w_dim if network.function == "G_paper" else 0))
    tensors = _renamed(variables, lambda name, value: generator_variable(name, value, config.resolution, fused_from))
    generator = build(Generator, config, tensors | {"w_avg": _tensor(w_avg)})
    generator.synthesis.grown = Growth(config.resolution >> int(lod), lod - int(lod))
    if generator.has_w:
        generator.truncation = truncation
    return generator


def _lod(value: np.ndarray | None, resolution: int, options: dict[str, Any]) -> float:
    """Distance to the full resolution, in octaves."""
    lod = float(value) if value is not None and value.size == 1 else math.nan
    if not 0 <= lod <= log2(resolution) - 2:
        raise InputError(f"the variable lod is {lod}, which no network of {resolution} x {resolution} has")
    return 0.0 if options.get("structure") == "fixed" else lod  # that one always draws at full size


def _truncation(options: dict[str, Any]) -> Truncation:
    """psi and cutoff, which are without effect unless there are both."""
    psi, cutoff = options.get("truncation_psi", 0.7), options.get("truncation_cutoff", 8)
    if psi is None or cutoff is None:
        return Truncation(1.0)
    if type(psi) not in (int, float) or not math.isfinite(psi) or type(cutoff) is not int:
        raise InputError(f"the network was made with truncation_psi = {psi} and truncation_cutoff = {cutoff}"[:200])
    return Truncation(float(psi), cutoff)


def other_options(network: OfficialNetwork) -> str:
    """The options of a network that have no place in our configuration, as they were passed: "name value, ..."."""
    names = sorted(_INDIFFERENT - {"truncation_psi", "truncation_cutoff"})
    return ", ".join(f"{name} {network.options[name]}" for name in names if name in network.options)


def _progressive_fields(options: dict[str, Any]) -> dict[str, Any]:
    """The generator of the Progressive GAN, config a."""
    fields = _config_fields(options, _COMMON_OPTIONS)
    z_dim = options.get("latent_size") or from_dict(FeatureMaps, fields["feature_maps"]).at_stage(0)
    labels = fields.get("label_count", 0)
    if type(z_dim) is not int or type(labels) is not int:
        raise InputError("the network was made with a latent_size or label_size that is no number")
    return fields | {
        "z_dim": z_dim,
        "w_dim": z_dim + labels,
        "mapping_layers": 0,
        "normalize_z": options.get("normalize_latents", True),
        "embed_labels": False,
        "use_styles": False,
        "const_input": False,
        "use_noise": False,
        "use_instance_norm": False,
        "use_pixel_norm": options.get("use_pixelnorm", True),
        "use_blur": False,
        "activation": "lrelu" if options.get("use_leakyrelu", True) else "relu",
    }


def discriminator_from(network: OfficialNetwork) -> Discriminator:
    """Build the discriminator of an official D, of a StyleGAN or Progressive GAN, or an attribute classifier.

    Takes the variables out of `network`. Raises InputError for options and variables that are not known.
    """
    options = _SMALL_GRAY | network.options
    if network.function == "D_basic":
        _check_options(options, _STYLEGAN_OPTIONS)
        special = {"use_blur": options.get("blur_filter", True) is not None}
    elif network.function == "D_paper":
        _check_options(options, _PROGRESSIVE_OPTIONS)
        options = options | {"label_size": 0}  # it scores without regard to the class
        special = {"use_blur": False, "activate_first": not options.get("fused_scale", True)}
    else:
        raise InputError(f"{network.function[:100]!r} is not the discriminator of a StyleGAN or Progressive GAN")
    config = from_dict(DiscriminatorConfig, _config_fields(options, _DISCRIMINATOR_OPTIONS) | special)
    variables = network.take_variables()
    _lod(variables.pop("lod", None), config.resolution, options)
    tensors = _renamed(variables, lambda name, value: discriminator_variable(name, value, config.resolution))
    return build(Discriminator, config, tensors)


def _renamed(
    variables: dict[str, np.ndarray], convert: Callable[[str, np.ndarray], tuple[str, Tensor]]
) -> dict[str, Tensor]:
    """The tensors of these variables, which are used up."""
    tensors: dict[str, Tensor] = {}
    for name in list(variables):
        ours, tensor = convert(name, variables.pop(name))
        if ours in tensors:
            raise InputError(f"the file has two variables for the same weights, one of them {name[:100]!r}")
        tensors[ours] = tensor
    return tensors


def generator_variable(name: str, value: np.ndarray, resolution: int, fused_from: int = 128) -> tuple[str, Tensor]:
    """An official variable of G (or its gradient) -> the name and layout of ours.

    fused_from: the resolution from which the official up-convolutions are fused. There they are transposed
    convolutions, which turn the kernel around. Raises InputError for a name that no official network has.
    """
    try:
        return _generator_variable(name, value, resolution, fused_from)
    except (KeyError, ValueError, IndexError):
        raise InputError(f"the file has a variable {name[:100]!r}, which no official network has") from None


def _generator_variable(name: str, value: np.ndarray, resolution: int, fused_from: int) -> tuple[str, Tensor]:
    scope, _, leaf = name.partition("/")
    if name.startswith("noise"):
        return f"synthesis.{name}", _tensor(value)
    if name == "LabelConcat/weight":
        return "mapping.label_embedding", _tensor(value)
    if scope.startswith("Dense"):
        return f"mapping.layers.{scope[5:]}.{leaf}", _weight(value)
    if scope.startswith("ToRGB_lod"):
        return f"synthesis.blocks.{resolution >> int(scope[9:])}.to_rgb.{leaf}", _weight(value)

    r = _resolution(scope)
    layer, _, leaf = leaf.partition("/")
    number = {"Const": 0, "Dense": 0, "Conv0_up": 0, "Conv0": 0, "Conv": 1, "Conv1": 1}[layer]
    if leaf == "const":
        return f"synthesis.blocks.{r}.const", _tensor(value)[0]
    tensor = _weight(value)
    if layer == "Conv0_up" and leaf == "weight" and r >= fused_from:
        tensor = tensor.flip(2, 3)
    ours = {
        "weight": "dense.weight" if layer == "Dense" else f"conv{number}.weight",
        "bias": f"layer{number}.bias",
        "Noise/weight": f"layer{number}.noise.strength",
        "StyleMod/weight": f"layer{number}.style.affine.weight",
        "StyleMod/bias": f"layer{number}.style.affine.bias",
    }[leaf]
    return f"synthesis.blocks.{r}.{ours}", tensor


def discriminator_variable(name: str, value: np.ndarray, resolution: int) -> tuple[str, Tensor]:
    """An official variable of D (or its gradient) -> the name and layout of ours.

    Raises InputError for a name that no official network has.
    """
    try:
        return _discriminator_variable(name, value, resolution)
    except (KeyError, ValueError, IndexError):
        raise InputError(f"the file has a variable {name[:100]!r}, which no official network has") from None


def _discriminator_variable(name: str, value: np.ndarray, resolution: int) -> tuple[str, Tensor]:
    scope, _, leaf = name.partition("/")
    if scope.startswith("FromRGB_lod"):
        return f"blocks.{resolution >> int(scope[11:])}.from_rgb.{leaf}", _weight(value)
    layer, _, leaf = leaf.partition("/")
    ours = {"Conv0": "conv0", "Conv1_down": "conv1", "Conv1": "conv1"}
    ours |= {"Conv": "conv", "Dense0": "dense0", "Dense1": "dense1"}
    return f"blocks.{_resolution(scope)}.{ours[layer]}.{leaf}", _weight(value)


def _resolution(scope: str) -> int:
    """ "16x16" -> 16"""
    resolution = int(scope.split("x")[0])
    if scope != f"{resolution}x{resolution}":
        raise ValueError(scope)
    return resolution


def _tensor(value: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(value, dtype=np.float32, order="C"))


def _weight(value: np.ndarray) -> Tensor:
    """Weights are stored [kh, kw, in, out] or [in, out] there, outputs first here; vectors stay."""
    return _tensor(value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T)
