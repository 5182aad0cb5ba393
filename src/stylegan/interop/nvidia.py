"""The official network files: pickles of TensorFlow networks, read without TensorFlow and without running them.

Such a file holds instances of `dnnlib.tflib.network.Network`, whose state is the source text of a TensorFlow
function, its options and its variables. Only options and variables are used; the unpickler knows that one class
and what numpy arrays need, and refuses every other name before anything happens.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from stylegan.errors import InputError
from stylegan.networks.discriminator import Discriminator, DiscriminatorConfig
from stylegan.networks.generator import Generator, GeneratorConfig
from stylegan.networks.layers import FeatureMaps


class OfficialNetwork:
    """One network of an official file: function name, options as passed, variables by name, sub-networks."""

    function: str
    options: dict[str, Any]
    variables: dict[str, np.ndarray]
    components: dict[str, "OfficialNetwork"]

    def __setstate__(self, state: dict) -> None:
        if not isinstance(state, dict) or state.get("version") not in (2, 3):
            raise InputError("a network in the file has no version 2 or 3, so it is no StyleGAN or Progressive GAN")
        self.function = state["build_func_name"]
        self.options = dict(state["static_kwargs"])
        self.variables = dict(state["variables"])
        self.components = dict(state.get("components", {}))


class _Unpickler(pickle.Unpickler):
    """Unpickles networks, arrays and plain containers; nothing else."""

    ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        ("dnnlib.tflib.network", "Network"): OfficialNetwork,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        **{
            (f"numpy.{core}.multiarray", name): getattr(np._core.multiarray, name)
            for core in ("core", "_core")
            for name in ("_reconstruct", "scalar")
        },
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.ALLOWED[module, name]
        except KeyError:
            raise InputError(
                f"the pickle asks for {module}.{name}, which no official network needs; it was not run. "
                "Use a file from a source you trust"
            ) from None


@dataclass(frozen=True)
class OfficialFile:
    """The three networks of an official training run."""

    g: OfficialNetwork
    d: OfficialNetwork
    gs: OfficialNetwork  # the moving average of g


def read(path: Path | str) -> OfficialFile:
    """Read an official pickle of (G, D, Gs). Raises InputError where it is anything else."""
    content = _unpickle(path)
    networks = isinstance(content, tuple) and all(isinstance(n, OfficialNetwork) for n in content)
    if not networks or len(content) != 3:
        raise InputError(f"{path} holds no (G, D, Gs), as the official training writes them")
    return OfficialFile(*content)


def read_network(path: Path | str) -> OfficialNetwork:
    """Read an official pickle of one network, such as an attribute classifier. Raises InputError."""
    content = _unpickle(path)
    if not isinstance(content, OfficialNetwork):
        raise InputError(f"{path} holds no single network, as the official classifiers' files do")
    return content


def _unpickle(path: Path | str) -> Any:
    with Path(path).open("rb") as file:
        try:
            return _Unpickler(file, encoding="latin1").load()
        except (pickle.UnpicklingError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path} is not an official network file, or is damaged ({error})") from error


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
_SMALL_GREY = {"resolution": 32, "num_channels": 1}


def _check_options(options: dict[str, Any], known: set[str]) -> None:
    if unknown := sorted(set(options) - known):
        raise InputError(f"the network was made with the option {unknown[0]}, which is not known here")
    if (blur := options.get("blur_filter")) not in (None, [1, 2, 1]):
        raise InputError(f"the network was made with the filter {blur}; only [1, 2, 1] and none are known here")
    if (epsilon := options.get("pixelnorm_epsilon", 1e-8)) != 1e-8:
        raise InputError(f"the network was made with pixelnorm_epsilon = {epsilon}, which is not known here")


def _config_fields(options: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Our configuration fields from official options."""
    maps = {ours: options[theirs] for theirs, ours in _FEATURE_MAP_OPTIONS.items() if theirs in options}
    fields = {ours: options[theirs] for theirs, ours in names.items() if theirs in options}
    if "group_size" in fields:
        fields["group_size"] = max(1, fields["group_size"])  # 0 and 1 leave that layer out alike
    return fields | {"feature_maps": FeatureMaps(**maps)}


def generator_from(network: OfficialNetwork) -> Generator:
    """Build the generator of an official G or Gs: of a StyleGAN, in any of its configurations, or a Progressive GAN."""
    options = network.options
    if network.function == "G_style":
        _check_options(options, _STYLEGAN_OPTIONS)
        fields = _config_fields(options, _GENERATOR_OPTIONS)
        config = GeneratorConfig(**fields, use_blur=options.get("blur_filter", True) is not None)
        fused_scale = options.get("fused_scale", "auto")
    elif network.function == "G_paper":
        _check_options(options, _PROGRESSIVE_OPTIONS)
        config = _progressive_generator(_SMALL_GREY | options)
        fused_scale = options.get("fused_scale", True)
    else:
        raise InputError(f"{network.function} is not the generator of a StyleGAN or Progressive GAN")

    variables = dict(network.variables)
    for component in network.components.values():
        variables |= component.variables
    lod = float(variables.pop("lod"))
    w_avg = _tensor(variables.pop("dlatent_avg", np.zeros(config.w_dim)))
    fused_from = {"auto": 128, True: 8, False: 2048}[fused_scale]
    tensors = dict(generator_variable(n, value, config.resolution, fused_from) for n, value in variables.items())
    generator = _fill(Generator(config), tensors | {"w_avg": w_avg})
    generator.synthesis.grown = (config.resolution >> int(lod), lod - int(lod))
    return generator.eval()


def _progressive_generator(options: dict[str, Any]) -> GeneratorConfig:
    """The generator of the Progressive GAN, config a."""
    fields = _config_fields(options, _COMMON_OPTIONS)
    z_dim = options.get("latent_size") or fields["feature_maps"].at_stage(0)
    return GeneratorConfig(
        **fields,
        z_dim=z_dim,
        w_dim=z_dim + fields.get("label_count", 0),
        mapping_layers=0,
        normalize_z=options.get("normalize_latents", True),
        embed_labels=False,
        use_styles=False,
        const_input=False,
        use_noise=False,
        use_instance_norm=False,
        use_pixel_norm=options.get("use_pixelnorm", True),
        use_blur=False,
        **({} if options.get("use_leakyrelu", True) else {"activation": "relu"}),
    )


def discriminator_from(network: OfficialNetwork) -> Discriminator:
    """Build the discriminator of an official D, of a StyleGAN or Progressive GAN."""
    options = _SMALL_GREY | network.options
    if network.function == "D_basic":
        _check_options(options, _STYLEGAN_OPTIONS)
        special = {"use_blur": options.get("blur_filter", True) is not None}
    elif network.function == "D_paper":
        _check_options(options, _PROGRESSIVE_OPTIONS)
        options = options | {"label_size": 0}  # it scores without regard to the class
        special = {"use_blur": False, "activate_first": not options.get("fused_scale", True)}
    else:
        raise InputError(f"{network.function} is not the discriminator of a StyleGAN or Progressive GAN")
    config = DiscriminatorConfig(**_config_fields(options, _DISCRIMINATOR_OPTIONS), **special)
    tensors = dict(
        discriminator_variable(name, value, config.resolution)
        for name, value in network.variables.items()
        if name != "lod"
    )
    return _fill(Discriminator(config), tensors).eval()


def _fill(network: Any, tensors: dict[str, Tensor]) -> Any:
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise InputError(f"the variables in the file do not fit its options: {first}") from error
    return network


def generator_variable(name: str, value: np.ndarray, resolution: int, fused_from: int = 128) -> tuple[str, Tensor]:
    """An official variable of G (or its gradient) -> the name and layout of ours.

    fused_from: the resolution from which the official up-convolutions are fused. There they are transposed
    convolutions, which turn the kernel around. Raises InputError for a name that no official network has.
    """
    try:
        return _generator_variable(name, value, resolution, fused_from)
    except (KeyError, ValueError):
        raise InputError(f"the file has a variable {name}, which no official network has") from None


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

    r = int(scope.split("x")[0])
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
    except (KeyError, ValueError):
        raise InputError(f"the file has a variable {name}, which no official network has") from None


def _discriminator_variable(name: str, value: np.ndarray, resolution: int) -> tuple[str, Tensor]:
    scope, _, leaf = name.partition("/")
    if scope.startswith("FromRGB_lod"):
        return f"blocks.{resolution >> int(scope[11:])}.from_rgb.{leaf}", _weight(value)
    layer, _, leaf = leaf.partition("/")
    ours = {"Conv0": "conv0", "Conv1_down": "conv1", "Conv1": "conv1"}
    ours |= {"Conv": "conv", "Dense0": "dense0", "Dense1": "dense1"}
    return f"blocks.{scope.split('x')[0]}.{ours[layer]}.{leaf}", _weight(value)


def _tensor(value: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(value, dtype=np.float32))


def _weight(value: np.ndarray) -> Tensor:
    """Weights are stored [kh, kw, in, out] or [in, out] there, outputs first here; vectors stay."""
    tensor = _tensor(value)
    return tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor.permute(*reversed(range(tensor.ndim)))
