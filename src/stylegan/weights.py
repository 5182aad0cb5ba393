"""The model file: safetensors, with the configuration and the provenance in its header.

Names in the file begin with `g_ema.` (the moving average, which is the generator users want), and where they were
kept with `g.` and `d.`. A reader needs nothing but the file.
"""

import hashlib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from stylegan import run_files
from stylegan.config import check, from_dict, to_dict
from stylegan.errors import InputError
from stylegan.files import read_tensors, write_tensors
from stylegan.interop import checkpoints, hub, nvidia, nvidia_files, torch_files
from stylegan.networks.discriminator import Discriminator, DiscriminatorConfig
from stylegan.networks.generator import Generator, GeneratorConfig, Growth, Truncation
from stylegan.networks.layers import build

FORMAT_VERSION = 1
PRETRAINED = Path(__file__).parent / "pretrained"
DEFAULT_MODEL = "faces"


@dataclass(frozen=True)
class Provenance:
    """Origin of a model."""

    data: str = ""
    """Name of the data set."""
    preset: str = ""
    """The run configuration it began with."""
    images_seen: int = 0
    """Number of real images the discriminator had seen in this training."""
    licence: str = ""
    """License of the weights. The name is that in the file, which is older than this program's spelling."""
    notes: str = ""
    """Anything else a user should know."""
    fit: str = ""
    """Way in which its training images became square: `stylegan prepare --fit`."""
    images_before: int = 0
    """Number of real images seen in the trainings before, where this one began with the weights of a model."""


@dataclass
class Model:
    """Contents of a model file."""

    generator: Generator
    """The moving average."""
    provenance: Provenance = field(default_factory=Provenance)
    raw_generator: Generator | None = None
    """The generator as it was trained, if kept."""
    discriminator: Discriminator | None = None
    """The discriminator, if kept."""
    label_names: tuple[str, ...] = ()
    """Names of the classes, as the store had them; () where they are not known."""


def save(path: Path | str, model: Model, *, half: bool = False) -> None:
    """Write a model file, atomically. `half` stores float16, half the size and as good to look at."""
    networks = {"g_ema": model.generator, "g": model.raw_generator, "d": model.discriminator}
    tensors = {
        f"{prefix}.{name}": tensor
        for prefix, network in networks.items()
        if network is not None
        for name, tensor in network.state_dict().items()
    }
    write_tensors(path, tensors, header_of(model), half=half)


def header_of(model: Model) -> dict[str, Any]:
    """Header of a model file: configuration, growth, provenance."""
    return {
        "kind": "stylegan-model",
        "format_version": FORMAT_VERSION,
        "generator": to_dict(model.generator.config),
        "discriminator": to_dict(model.discriminator.config) if model.discriminator else None,
        "grown": model.generator.synthesis.grown._asdict(),
        "truncation": model.generator.truncation._asdict(),
        "provenance": asdict(model.provenance),
        **({"label_names": list(model.label_names)} if model.label_names else {}),
        **({"tuned_from": model.generator.tuned_from} if model.generator.tuned_from else {}),
    }


def fingerprint(generator: Generator) -> str:
    """A checksum of what a generator makes of z: 16 hexadecimal digits, the beginning of a SHA-256.

    It covers the names, shapes and values of all trained parameters of the mapping and the synthesis network, rounded
    to float16 (little-endian; -0 counts as 0). A copy in half precision therefore has that of the original. Neither
    the average of w nor how far the network has grown is in it.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(generator.named_parameters()):
        values = parameter.detach().cpu().half() + 0  # -0 + 0 is 0
        digest.update(f"{name} {list(values.shape)}\n".encode())
        digest.update(values.numpy().astype("<f2", copy=False).tobytes())
    return digest.hexdigest()[:16]


def fingerprint_of_rest(generator: Generator) -> str:
    """A checksum, like `fingerprint`, of all else that decides an image: the average of w, the network's noise planes
    and how far it has grown, with its fade."""
    digest = hashlib.sha256("{} {!r}\n".format(*generator.synthesis.grown).encode())
    for name, buffer in sorted(generator.named_buffers()):
        digest.update(f"{name} {list(buffer.shape)}\n".encode())
        digest.update((buffer.detach().cpu().half() + 0).numpy().astype("<f2", copy=False).tobytes())
    return digest.hexdigest()[:16]


def check_fingerprint(stored: str, generator: Generator, subject: str, hint: str) -> None:
    """Raise InputError where a file was made for another generator than this one.

    stored: the fingerprint in the file; "" where it has none, as older files. What was made for the generator that this
    one was tuned from is good for it, too: they share their W. subject: what the file holds, with its verb ("the
    directions in FILE are"). hint: what to do.
    """
    if stored and stored != generator.tuned_from and stored != (own := fingerprint(generator)):
        raise InputError(f"{subject} of another model (fingerprint {stored!s:.40}) than this one ({own}); {hint}")


def to_share(
    model: Model,
    *,
    only_ema: bool,
    without_raw: bool = False,
    licence: str | None = None,
    data: str | None = None,
) -> Model:
    """A model as it is given away: with its license and data set.

    only_ema: without what only further training needs. without_raw: without the raw generator; a training that starts
    from the model takes its average in place of it.
    """
    said = {name: value for name, value in {"licence": licence, "data": data}.items() if value is not None}
    provenance = replace(model.provenance, **said)
    shared = replace(model, provenance=provenance)
    if only_ema:
        return replace(shared, raw_generator=None, discriminator=None)
    return replace(shared, raw_generator=None) if without_raw else shared


def load(name: Path | str, device: torch.device | str = "cpu") -> Generator:
    """The generator of a model file, of a foreign one (see `load_model`), a bundled one, or of hf://user/model.

    It is the moving average, ready to draw, and tracks no gradients: `load("portraits-32")`. Raises InputError where
    there is none.
    """
    return load_model(name).generator.to(device)


def load_model(name: Path | str) -> Model:
    """Everything that a model holds; `name` is as for `find`.

    A file may also be a foreign one: an official pickle of StyleGAN or Progressive GAN networks, or a checkpoint of
    genforce. No code of any file is run. Its weights track no gradients; `requires_grad_()` changes that. Raises
    InputError, in one sentence.
    """
    model = _read(find(name))
    for network in (model.generator, model.raw_generator, model.discriminator):
        if network is not None:
            network.requires_grad_(False)
    return model


def _read(path: Path) -> Model:
    """A file of whichever kind."""
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
    parts = ("-classifiers", "-directions", "-encoder")
    return sorted(path.stem for path in PRETRAINED.glob("*.safetensors") if not path.stem.endswith(parts))


def is_bundled(name: Path | str) -> bool:
    """Whether it is the name of a model that comes with the program. Of folders of that name only runs and stores go
    before it; any other is ./name."""
    return str(name) in bundled()


def find(name: Path | str) -> Path:
    """Path of a model: a file, the newest of a run's folder, a bundled model's, or one fetched from the hub.

    The hub's are hf://user/model or, of a branch, tag or commit, hf://user/model@revision. Raises InputError.
    """
    if hub.is_hub_name(name):
        return hub.download(name)
    path = Path(name)
    if path.is_file():
        return path
    if path.is_dir():
        if models := run_files.own(path, "model"):
            return models[-1]
        if (path / "run.json").exists():
            raise InputError(
                f"{path} is a run without a model so far; train it further: its first report writes one, and Ctrl-C too"
            )
    if is_bundled(name):
        return PRETRAINED / f"{name}.safetensors"
    if path.is_dir():
        raise InputError(f"{path} is a folder without model files; give a model file or a run's folder")
    raise InputError(
        f"there is no model {name}; give a .safetensors file, a run's folder, hf://user/model or one of: "
        f"{', '.join(bundled())}"
    )


def _load_safetensors(path: Path) -> Model:
    header, tensors = read_tensors(path, "a StyleGAN model", kind="stylegan-model", version=FORMAT_VERSION)
    kept = {"g_ema": "generator", "g": "generator", "d": "discriminator"}
    unknown = [name for name in tensors if not header.get(kept.get(name.split(".")[0], ""))]
    if unknown or not any(name.startswith("g_ema.") for name in tensors):
        raise InputError(f"{path} is no model file: it holds {repr(unknown[0][:100]) if unknown else 'no generator'}")

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {n.removeprefix(f"{prefix}."): t for n, t in tensors.items() if n.startswith(f"{prefix}.")}

    try:
        provenance = from_dict(Provenance, header["provenance"], "provenance.")
        grown = from_dict(_Grown, header["grown"], "grown.")
        truncation = from_dict(_Truncation, header["truncation"], "truncation.") if "truncation" in header else None
        config = from_dict(GeneratorConfig, header["generator"], "generator.")
        label_names = _label_names(header, config.label_count)
        generator = build(Generator, config, part("g_ema"))
        raw = build(Generator, config, part("g")) if part("g") else None
        discriminator = None
        if header["discriminator"]:
            of_d = from_dict(DiscriminatorConfig, header["discriminator"], "discriminator.")
            discriminator = build(Discriminator, of_d, part("d")) if part("d") else None
        if str(grown.resolution) not in generator.synthesis.blocks or not 0 <= grown.fade <= 1:
            raise InputError(f"its network cannot have grown to {grown.resolution} with a fade of {grown.fade}")
    except KeyError as error:
        raise InputError(f"{path} cannot be read: its header has no {error}") from error
    except InputError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    for each in (generator, raw):
        if each is not None:
            each.synthesis.grown = Growth(grown.resolution, grown.fade)
            each.truncation = Truncation(truncation.psi, truncation.cutoff) if truncation else each.truncation
            each.tuned_from = str(header.get("tuned_from", ""))
    return Model(generator, provenance, raw, discriminator, label_names)


def _label_names(header: dict[str, Any], count: int) -> tuple[str, ...]:
    """The classes' names; older files, and those of unlabeled data, have none."""
    names = header.get("label_names", [])
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names) or len(names) not in (0, count):
        raise InputError(f"its label_names are no list of the names of {count} classes")
    return tuple(names)


@dataclass(frozen=True)
class _Grown:
    resolution: int
    fade: float


@dataclass(frozen=True)
class _Truncation:
    psi: float
    cutoff: int | None

    def __post_init__(self) -> None:
        check(self)


def _load_pickle(path: Path) -> Model:
    file = nvidia_files.read(path)
    average, raw = file.gs or file.g, file.g if file.gs else None
    if average is None:
        raise InputError(
            f"{path} holds a discriminator alone, which draws nothing; if it is an attribute classifier, use: "
            f"stylegan import {path} OUT.safetensors --classifiers"
        )
    try:
        notes = f"read from {path.name}"
        if others := nvidia.other_options(average):
            notes += f"; its other options: {others}"
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
