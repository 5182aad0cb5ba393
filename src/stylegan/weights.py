"""The model file: safetensors, with the configuration and the provenance in its header.

Names in the file begin with `g_ema.` (the moving average, which is the generator users want), and where they were
kept with `g.` and `d.`. A reader needs nothing but the file.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from stylegan.config import from_dict, to_dict
from stylegan.errors import InputError
from stylegan.images import atomic_file
from stylegan.interop import nvidia
from stylegan.networks.discriminator import Discriminator, DiscriminatorConfig
from stylegan.networks.generator import Generator, GeneratorConfig

FORMAT_VERSION = 1
PRETRAINED = Path(__file__).parent / "pretrained"
DEFAULT_MODEL = "portraits-32"


@dataclass(frozen=True)
class Provenance:
    """Where a model comes from."""

    data: str = ""
    """Name of the data set."""
    preset: str = ""
    """The run configuration it began with."""
    images_seen: int = 0
    """Real images the discriminator had seen."""
    licence: str = ""
    """Licence of the weights."""
    notes: str = ""
    """Anything else a user should know."""


@dataclass
class Model:
    """What a model file holds."""

    generator: Generator
    """The moving average."""
    provenance: Provenance = field(default_factory=Provenance)
    raw_generator: Generator | None = None
    """The generator as it was trained, if kept."""
    discriminator: Discriminator | None = None
    """If kept."""


def save(path: Path | str, model: Model, *, half: bool = False) -> None:
    """Write a model file, atomically. `half` stores float16, half the size and as good to look at."""
    networks = {"g_ema": model.generator, "g": model.raw_generator, "d": model.discriminator}
    tensors = {
        f"{prefix}.{name}": (tensor.half() if half else tensor).detach().cpu().contiguous()
        for prefix, network in networks.items()
        if network is not None
        for name, tensor in network.state_dict().items()
    }
    resolution, fade = model.generator.synthesis.grown
    header = {
        "kind": "stylegan-model",
        "format_version": FORMAT_VERSION,
        "generator": to_dict(model.generator.config),
        "discriminator": to_dict(model.discriminator.config) if model.discriminator else None,
        "grown": {"resolution": resolution, "fade": fade},
        "provenance": asdict(model.provenance),
    }
    data = serialize(tensors, {"stylegan": json.dumps(header)})
    with atomic_file(path) as file:
        file.write(data)


def load(name: Path | str, device: torch.device | str = "cpu") -> Generator:
    """The generator of a model file, of an official pickle, or of a bundled model by its name.

    It is the moving average, ready to draw: `load("portraits-32")`. Raises InputError where there is none.
    """
    return load_model(name).generator.to(device)


def load_model(name: Path | str) -> Model:
    """Everything that a model file, an official pickle or a bundled model holds. Raises InputError."""
    path = find(name)
    return _load_pickle(path) if path.suffix == ".pkl" else _load_safetensors(path)


def bundled() -> list[str]:
    """Names of the models that come with the program."""
    return sorted(path.stem for path in PRETRAINED.glob("*.safetensors") if not path.stem.endswith("-classifiers"))


def find(name: Path | str) -> Path:
    """Path of a model: the file itself, or a bundled model's. Raises InputError."""
    path = Path(name)
    if path.is_file():
        return path
    if str(name) in bundled():
        return PRETRAINED / f"{name}.safetensors"
    if path.is_dir():
        models = sorted(path.glob("model-*.safetensors"))
        if models:
            return models[-1]
        raise InputError(f"{path} is a folder without model files; give a model file or a run's folder")
    raise InputError(f"there is no model {name}; give a .safetensors file or one of: {', '.join(bundled())}")


def read_header(path: Path) -> dict[str, Any]:
    """Configuration, growth and provenance of a model file. Raises InputError where the file is not one."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        header = json.loads(metadata["stylegan"])
    except KeyError:
        raise InputError(f"{path} is a safetensors file, but not a StyleGAN model of this program") from None
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path} is not a model file, or is damaged ({error})") from error
    if not isinstance(header, dict) or header.get("kind") != "stylegan-model":
        raise InputError(f"{path} is a safetensors file, but not a StyleGAN model of this program")
    if header.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"{path} has format version {header.get('format_version')}, this program reads {FORMAT_VERSION}; "
            "update the program"
        )
    return header


def _load_safetensors(path: Path) -> Model:
    header = read_header(path)
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error})") from error
    try:
        grown = (int(header["grown"]["resolution"]), float(header["grown"]["fade"]))
        generator_config = from_dict(GeneratorConfig, header["generator"], "generator.")
        provenance = from_dict(Provenance, header["provenance"], "provenance.")
        discriminator_config = (
            from_dict(DiscriminatorConfig, header["discriminator"], "discriminator.")
            if header["discriminator"]
            else None
        )
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"the header of {path} is unusable: {error}") from error

    def network(prefix: str, build) -> nn.Module | None:
        own = {n.removeprefix(f"{prefix}."): t.float() for n, t in tensors.items() if n.startswith(f"{prefix}.")}
        return fill(build, own, path) if own else None

    unknown = [name for name in tensors if name.split(".")[0] not in ("g_ema", "g", "d")]
    if unknown or not any(name.startswith("g_ema.") for name in tensors):
        raise InputError(f"{path} holds {unknown[0] if unknown else 'no generator'}; it is not a model file")
    generator = network("g_ema", lambda: Generator(generator_config))
    raw = network("g", lambda: Generator(generator_config))
    discriminator = network("d", lambda: Discriminator(discriminator_config))
    for each in (generator, raw):
        if each is not None:
            each.synthesis.grown = grown
    return Model(generator, provenance, raw, discriminator)


def fill(build, tensors: dict[str, Tensor], path: Path) -> nn.Module:
    """Build a network and give it these weights. Every one must fit; the caller's random numbers are left alone."""
    with torch.random.fork_rng(devices=[]):  # (building on the "meta" device would spare them, but takes 0.8 s)
        network = build()
    try:
        network.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise InputError(f"the weights in {path} do not fit its configuration: {first}") from error
    return network.eval()


def _load_pickle(path: Path) -> Model:
    file = nvidia.read(path)
    return Model(
        nvidia.generator_from(file.gs),
        Provenance(data="", notes=f"read from {path.name}"),
        nvidia.generator_from(file.g),
        nvidia.discriminator_from(file.d),
    )
