"""The model file: safetensors, with the configuration and the provenance in its header.

Names in the file begin with `g_ema.` (the moving average, which is the generator users want), and where they were
kept with `g.` and `d.`. A reader needs nothing but the file.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from stylegan.config import check_finite, from_dict, to_dict
from stylegan.errors import InputError
from stylegan.images import atomic_file
from stylegan.interop import checkpoints, hub, nvidia, torch_files
from stylegan.networks.discriminator import Discriminator, DiscriminatorConfig
from stylegan.networks.generator import Generator, GeneratorConfig
from stylegan.networks.layers import build

FORMAT_VERSION = 1
PRETRAINED = Path(__file__).parent / "pretrained"
DEFAULT_MODEL = "portraits-32"
LONGEST_HEADER = 10 * 2**20  # bytes; that of a 1024 x 1024 model has 60,000


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
    fit: str = ""
    """How the images it was trained on became square: `stylegan prepare --fit`."""


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
    data = serialize(tensors, {"stylegan": json.dumps(header_of(model))})
    with atomic_file(path) as file:
        file.write(data)


def header_of(model: Model) -> dict[str, Any]:
    """What a model's file says of it: configuration, growth, provenance."""
    resolution, fade = model.generator.synthesis.grown
    return {
        "kind": "stylegan-model",
        "format_version": FORMAT_VERSION,
        "generator": to_dict(model.generator.config),
        "discriminator": to_dict(model.discriminator.config) if model.discriminator else None,
        "grown": {"resolution": resolution, "fade": fade},
        "truncation": {"psi": model.generator.truncation[0], "cutoff": model.generator.truncation[1]},
        "provenance": asdict(model.provenance),
    }


def to_share(model: Model, *, only_ema: bool, licence: str | None = None, data: str | None = None) -> Model:
    """A model as it is given away: with its licence and data set, without what only further training needs."""
    said = {name: value for name, value in {"licence": licence, "data": data}.items() if value is not None}
    provenance = replace(model.provenance, **said)
    return Model(model.generator, provenance) if only_ema else replace(model, provenance=provenance)


def load(name: Path | str, device: torch.device | str = "cpu") -> Generator:
    """The generator of a model file, of a foreign one (see `load_model`), a bundled one, or of hf://user/model.

    It is the moving average, ready to draw: `load("portraits-32")`. Raises InputError where there is none.
    """
    return load_model(name).generator.to(device)


def load_model(name: Path | str) -> Model:
    """Everything that a model holds; `name` is as for `find`.

    A file may also be a foreign one: an official pickle of StyleGAN or Progressive GAN networks, or a checkpoint of
    genforce. No code of any file is run. Raises InputError, in one sentence.
    """
    path = find(name)
    if path.suffix == ".safetensors":
        return _load_safetensors(path)
    with path.open("rb") as file:
        start = file.read(len(torch_files.LEGACY_START))
    if start == torch_files.LEGACY_START or start.startswith(b"PK"):
        return _load_checkpoint(path)
    if path.suffix == ".pkl" or start.startswith(b"\x80"):
        return _load_pickle(path)
    return _load_safetensors(path)


def bundled() -> list[str]:
    """Names of the models that come with the program."""
    return sorted(path.stem for path in PRETRAINED.glob("*.safetensors") if not path.stem.endswith("-classifiers"))


def find(name: Path | str) -> Path:
    """Path of a model: a file, the newest of a run's folder, a bundled model's, or one fetched from the hub.

    The hub's are hf://user/model or, of a branch, tag or commit, hf://user/model@revision. Raises InputError.
    """
    if hub.is_hub_name(name):
        return hub.download(name)
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
    raise InputError(
        f"there is no model {name}; give a .safetensors file, hf://user/model or one of: {', '.join(bundled())}"
    )


def read_safetensors(path: Path, kind: str, what: str, version: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors, as float32, of a safetensors file of this program. Raises InputError.

    kind, version: what the header must say it is. what: the same for people, such as "a StyleGAN model".
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > min(LONGEST_HEADER, path.stat().st_size):
        raise InputError(f"{path} is not {what}, or is damaged (its header is too long)")
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get("stylegan", "null"))
            if not isinstance(header, dict) or header.get("kind") != kind:
                raise InputError(f"{path} is a safetensors file, but not {what} of this program")
            if (told := header.get("format_version")) != version:
                raise InputError(
                    f"{path} has format version {str(told)[:20]}, this program reads {version}; update the program"
                )
            tensors = {}
            for name in file.keys():  # noqa: SIM118  (not a dict)
                if file.get_slice(name).get_dtype() not in ("F16", "F32"):
                    raise InputError(f"{path} holds {name[:100]!r}, which is neither float16 nor float32")
                tensors[name] = file.get_tensor(name).float()
    except InputError:
        raise
    except (SafetensorError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not {what}, or is damaged ({str(error)[:200]})") from error
    return header, tensors


def _load_safetensors(path: Path) -> Model:
    header, tensors = read_safetensors(path, "stylegan-model", "a StyleGAN model", FORMAT_VERSION)
    kept = {"g_ema": "generator", "g": "generator", "d": "discriminator"}
    unknown = [name for name in tensors if not header.get(kept.get(name.split(".")[0], ""))]
    if unknown or not any(name.startswith("g_ema.") for name in tensors):
        raise InputError(f"{path} is no model file: it holds {repr(unknown[0][:100]) if unknown else 'no generator'}")

    def network(prefix: str, kind: type[nn.Module], config: Any) -> nn.Module | None:
        own = {n.removeprefix(f"{prefix}."): t for n, t in tensors.items() if n.startswith(f"{prefix}.")}
        return build(kind, config, own) if own else None

    try:
        provenance = from_dict(Provenance, header["provenance"], "provenance.")
        grown = from_dict(_Grown, header["grown"], "grown.")
        truncation = from_dict(_Truncation, header["truncation"], "truncation.") if "truncation" in header else None
        config = from_dict(GeneratorConfig, header["generator"], "generator.")
        generator, raw = network("g_ema", Generator, config), network("g", Generator, config)
        discriminator = None
        if header["discriminator"]:
            config = from_dict(DiscriminatorConfig, header["discriminator"], "discriminator.")
            discriminator = network("d", Discriminator, config)
        if str(grown.resolution) not in generator.synthesis.blocks or not 0 <= grown.fade <= 1:
            raise InputError(f"its network cannot have grown to {grown.resolution} with a fade of {grown.fade}")
    except KeyError as error:
        raise InputError(f"{path} cannot be read: its header has no {error}") from error
    except InputError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    for each in (generator, raw):
        if each is not None:
            each.synthesis.grown = (grown.resolution, grown.fade)
            each.truncation = (truncation.psi, truncation.cutoff) if truncation else each.truncation
    return Model(generator, provenance, raw, discriminator)


@dataclass(frozen=True)
class _Grown:
    resolution: int
    fade: float


@dataclass(frozen=True)
class _Truncation:
    psi: float
    cutoff: int | None

    def __post_init__(self) -> None:
        check_finite(self)


def _load_pickle(path: Path) -> Model:
    file = nvidia.read(path)
    if file.g is None and file.gs is None:
        raise InputError(
            f"{path} holds a discriminator alone, which draws nothing; if it is an attribute classifier, use: "
            f"stylegan import {path} OUT.safetensors --classifiers"
        )
    try:
        average, raw = file.gs or file.g, file.g if file.gs else None
        notes = f"read from {path.name}"
        if told := nvidia.told(average):
            notes += f"; its other options: {told}"
        return Model(
            nvidia.generator_from(average),
            Provenance(notes=notes),
            nvidia.generator_from(raw) if raw else None,
            nvidia.discriminator_from(file.d) if file.d else None,
        )
    except InputError as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _load_checkpoint(path: Path) -> Model:
    found = checkpoints.read(path)
    return Model(
        found.average, Provenance(notes=f"read from {path.name}; {found.notes}"), found.raw, found.discriminator
    )
