"""The official network files: pickles of TensorFlow networks, read without TensorFlow and without running them.

Such a file holds instances of `dnnlib.tflib.network.Network` (`tfutil.Network` in the Progressive GAN's), whose state
is the source text of a TensorFlow function, its options and its variables. Only options and variables are used, and
`pickles` reads them as data: nothing that the file names is looked up outside of the table `_KNOWN`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stylegan.config import from_dict
from stylegan.errors import InputError
from stylegan.interop import pickles
from stylegan.networks.discriminator import Discriminator, DiscriminatorConfig
from stylegan.networks.generator import Generator, GeneratorConfig, Growth, Truncation
from stylegan.networks.layers import FeatureMaps, build
from stylegan.resolutions import log2


class OfficialNetwork(pickles.Built):
    """One network of an official file: function name, options as passed, variables by name, sub-networks."""

    def __init__(self) -> None:
        self.name = ""
        self.function = ""
        self.options: dict[str, Any] = {}
        self.variables: dict[str, np.ndarray] = {}
        self.components: dict[str, OfficialNetwork] = {}

    def set_state(self, state: Any) -> None:
        """Take the state that the official class saved. Raises InputError."""
        match state:
            case {
                "version": int(version),
                "build_func_name": str(function),
                "static_kwargs": dict(options),
                "variables": list(variables),
            }:
                components = state.get("components", {})
            case _:
                raise InputError("it has a network without function, options or variables")
        if function in _LATER or version > 3:
            raise InputError(f"it is a file of {_LATER.get(function, 'StyleGAN2')}, which this program does not read")
        if version not in (2, 3):
            raise InputError(f"it has a network of version {version}, not 2 or 3 as a StyleGAN or Progressive GAN")
        self.name, self.function = state.get("name", ""), function
        self.options = dict(_named_option(name, value) for name, value in options.items())
        self.variables = dict(_named_array(variable) for variable in variables)
        if not isinstance(components, dict) or not all(isinstance(c, OfficialNetwork) for c in components.values()):
            raise InputError("it has a network with components that are no networks")
        self.components = components

    def parts(self) -> list["OfficialNetwork"]:
        """Its components and itself."""
        return [*self.components.values(), self]

    def take_variables(self) -> dict[str, np.ndarray]:
        """All variables, those of the components too. They are gone from here: large files are not held twice."""
        taken: dict[str, np.ndarray] = {}
        for part in self.parts():  # itself last: of the two variables lod its own is what counts
            taken |= part.variables
            part.variables = {}
        return taken


_LATER = dict.fromkeys(
    ("G_main", "G_mapping_stylegan2", "G_synthesis_stylegan2", "G_synthesis_stylegan_revised", "D_stylegan2"),
    "StyleGAN2 or StyleGAN2-ADA (TensorFlow)",
)


# --- what numpy's arrays are made of, in the pickles of numpy 1 and 2


class _DType(pickles.Built):
    """A type of numbers, such as "f4"; the state tells the order of its bytes."""

    def __init__(self, code: str) -> None:
        if code not in ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"):
            raise InputError(f"it has an array of type {code[:20]!r}; only numbers are read")
        self.dtype = np.dtype(code)

    def set_state(self, state: Any) -> None:
        match state:
            case (int(), "<" | ">" | "|" | "=" as order, None, None, None, int(), int(), *_):
                self.dtype = self.dtype.newbyteorder(order)
            case _:
                raise InputError("it has an array of an unknown type")


class _Array(pickles.Built):
    """An array; the state holds everything."""

    value: np.ndarray | None = None

    def set_state(self, state: Any) -> None:
        match state:
            case (int(), tuple(shape), _DType() as dtype, bool(fortran), bytes() | str() as data):
                self.value = _array_of(data, dtype, shape, "F" if fortran else "C")
            case _:
                raise InputError("it has an array that does not consist of shape, type and numbers")


def _array_of(data: bytes | str, dtype: _DType, shape: tuple, order: str) -> np.ndarray:
    """The array, in place. Its shape must be that of the data, so none is larger than the file."""
    data = data.encode("latin1") if isinstance(data, str) else data  # Python 2's
    if len(shape) > 8 or not all(type(size) is int and size >= 0 for size in shape):
        raise InputError("it has an array with an impossible shape")
    if math.prod(shape) * dtype.dtype.itemsize != len(data):
        raise InputError(f"it has an array of shape {shape}, but {len(data)} bytes for it"[:200])
    return np.frombuffer(data, dtype.dtype).reshape(shape, order=order)


def _known_dtype(arguments: tuple) -> _DType:
    match arguments:
        case (str(code), *_):
            return _DType(code)
    raise InputError("it has an array of an unknown type")


def _known_scalar(arguments: tuple) -> np.ndarray:
    match arguments:
        case (_DType() as dtype, bytes() | str() as data):
            return _array_of(data, dtype, (), "C")
    raise InputError("it has a number of an unknown type")


def _known_buffer(arguments: tuple) -> np.ndarray:
    match arguments:
        case (bytes(data), _DType() as dtype, tuple(shape), "C" | "F" as order):
            return _array_of(data, dtype, shape, order)
        case (bytes(data), _DType() as dtype, (int(), int(), int(), int()) as shape, "K", (2, 3, 1, 0) as axes):
            return _array_of(data, dtype, shape, "C").transpose(axes)
    raise InputError("it has an array that does not consist of shape, type and numbers")


def _known_bytes(arguments: tuple) -> bytes:
    """Bytes, which protocols before 3 do not have."""
    match arguments:
        case (str(text), "latin1"):
            return text.encode("latin1")
    raise InputError("it has a text where numbers should be")


_KNOWN: dict[str, Callable[[tuple], Any] | None] = {
    "dnnlib.tflib.network.Network": lambda arguments: OfficialNetwork(),
    "tfutil.Network": lambda arguments: OfficialNetwork(),
    "_codecs.encode": _known_bytes,
    "numpy.dtype": _known_dtype,
    "numpy.ndarray": None,  # an argument of _reconstruct
}
for _core in ("numpy.core", "numpy._core"):
    _KNOWN[f"{_core}.multiarray._reconstruct"] = lambda arguments: _Array()
    _KNOWN[f"{_core}.multiarray.scalar"] = _known_scalar
    _KNOWN[f"{_core}.numeric._frombuffer"] = _known_buffer


def _named_option(name: Any, value: Any) -> tuple[str, Any]:
    """An option with a plain value: None, a number, a text, or a list of a few of them."""
    value = value.value if isinstance(value, _Array) else value
    value = value.tolist() if isinstance(value, np.ndarray) and value.size < 100 else value
    several = isinstance(value, list | tuple) and len(value) < 100
    if isinstance(name, str) and all(isinstance(v, str | int | float | None) for v in (value if several else [value])):
        return name, list(value) if several else value
    raise InputError("it has a network with an option that is neither a number nor a text")


def _named_array(variable: Any) -> tuple[str, np.ndarray]:
    match variable:
        case (str(name), _Array() | np.ndarray() as value):
            value = value.value if isinstance(value, _Array) else value
            if value is not None and value.dtype.kind == "f":
                return name, value
    raise InputError("it has a network with a variable that is not a name and numbers")


# --- files


@dataclass(frozen=True)
class OfficialFile:
    """The networks of an official file: all three of a training run, or one of them."""

    g: OfficialNetwork | None = None
    d: OfficialNetwork | None = None
    gs: OfficialNetwork | None = None
    """The moving average of g."""


def read(path: Path | str) -> OfficialFile:
    """Read an official pickle of (G, D, Gs), or of one network alone. Raises InputError where it is anything else."""
    content = _unpickle(Path(path))
    match content:
        case (OfficialNetwork() as g, OfficialNetwork() as d, OfficialNetwork() as gs):
            return OfficialFile(g, d, gs)
        case OfficialNetwork(function="D_basic" | "D_paper"):
            return OfficialFile(d=content)
        case OfficialNetwork(name="Gs"):
            return OfficialFile(gs=content)
        case OfficialNetwork():
            return OfficialFile(g=content)
    raise InputError(f"{path} holds neither (G, D, Gs), as the official training writes them, nor one network")


def read_network(path: Path | str) -> OfficialNetwork:
    """Read an official pickle of one network, such as an attribute classifier. Raises InputError."""
    content = _unpickle(Path(path))
    if not isinstance(content, OfficialNetwork):
        raise InputError(f"{path} holds no single network, as the official classifiers' files do")
    return content


def _unpickle(path: Path) -> Any:
    with path.open("rb") as file:
        try:
            content = pickles.load(file, _KNOWN)
        except pickles.UnknownName as error:
            if error.name.split(".")[0] not in ("torch_utils", "training", "torch"):
                raise InputError(f"{path} is no network file: {error}; use a file from a source you trust") from None
            file.seek(0)
            later = "StyleGAN3" if b"filtered_lrelu" in file.read(2**22) else "StyleGAN2-ADA (PyTorch)"
            raise InputError(f"{path} is a file of {later}, which this program does not read") from None
        except InputError as error:
            raise InputError(f"{path} cannot be read: {error}") from None
    networks = content if isinstance(content, tuple) else (content,)
    parts = [part for n in networks if isinstance(n, OfficialNetwork) for part in n.parts()]
    if sum(array.nbytes for part in parts for array in part.variables.values()) > path.stat().st_size:
        raise InputError(f"{path} cannot be read: it repeats its numbers, which no official file does")
    return content


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
        fields = _progressive_fields(_SMALL_GREY | options)
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
    """How far below the full resolution the network has grown, in octaves."""
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


def told(network: OfficialNetwork) -> str:
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
    options = _SMALL_GREY | network.options
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
