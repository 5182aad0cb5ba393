"""What is measured, and what it is compared with: a model, a run's folder, a store, a folder or an array of images."""

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from stylegan import run_files, weights
from stylegan.data.decoding import decode_rgb, is_sheet, open_image
from stylegan.data.items import Item, Unusable
from stylegan.data.sources import open_source
from stylegan.data.store import Store, open_store
from stylegan.data.store_reader import ImageReader
from stylegan.errors import InputError, InputWarning
from stylegan.images import to_uint8
from stylegan.metrics.stream import Images
from stylegan.networks.generator import Generator
from stylegan.randomness import draw_uniform

Pictures = Path | str | Tensor | np.ndarray
"""A store, a folder or a zip file of images; or images: a tensor [N, C, H, W], an array [N, H, W, C]."""

Which = Literal["auto", "held-out", "training"]
"""Which images of a store: those held out from training, those trained on, or the former where there are some."""

SHEET_NAME = "grid.png"  # of the sheet that `stylegan generate` puts beside its images
T = TypeVar("T")


@dataclass(frozen=True)
class Subject:
    """What is measured: a generator or images, and what the record says of it."""

    generator: Generator | None
    images: Images | None
    provenance: dict[str, Any]
    """Fields of its lines in metrics.jsonl: the model's name and `images_seen`, or the images' name and hash."""
    home: Path = Path()
    """The folder of its metrics.jsonl: the model's own, or the current one."""
    run_file: Path | None = None
    """run.json of the training that made the model, where it lies beside it."""

    def was_mirrored(self) -> bool:
        """Whether the model's training flipped images; False where nothing says so. Raises InputError."""
        if self.run_file is None:
            return False
        try:
            return bool(json.loads(self.run_file.read_text(encoding="utf-8"))["mirror"])
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(
                f"{self.run_file} does not say whether training mirrored; give --mirror True or False"
            ) from None


def open_subject(what: Generator | Pictures, device: torch.device | str = "cpu") -> Subject:
    """Open a generator, a model, a run's folder, a store, a folder or zip file of images, or an array of images.

    what: names of models are as for `weights.find`. device: where a model that is read goes to; a `Generator` stays
    where it is. Raises InputError where it is none of these.
    """
    if isinstance(what, Generator):
        _tell_growth(what)
        return Subject(what, None, {})
    if isinstance(what, Tensor | np.ndarray):
        return _subject_of_images(images_of_array(what))
    path = Path(what)
    is_of_images = path.is_dir() and not _is_run(path) and (is_store(path) or not weights.is_bundled(what))
    if path.suffix == ".zip" or is_of_images:
        return _subject_of_images(open_images(path))
    file = weights.find(what)
    model = weights.load_model(file)
    _tell_growth(model.generator)
    run_file = file.parent / "run.json"
    return Subject(
        model.generator.to(device),
        None,
        {"images_seen": model.provenance.images_seen, "model": file.name},
        home=file.parent if path in (file, file.parent) else Path(),  # not into the program, nor into the hub's cache
        run_file=run_file if run_file.exists() else None,
    )


def _is_run(folder: Path) -> bool:
    return (folder / "run.json").exists() or bool(run_files.own(folder, "model"))


def _subject_of_images(images: Images) -> Subject:
    return Subject(None, images, {"images": images.name, "images_identity": images.identity})


def _tell_growth(generator: Generator) -> None:
    grown, full = generator.synthesis.grown.resolution, generator.config.resolution
    if grown < full:
        _warn(f"the model has grown to {grown} x {grown} only; its images are enlarged to {full} x {full}")


def _warn(sentence: str) -> None:
    warnings.warn(sentence, InputWarning, stacklevel=3)


def checksum(generator: Generator) -> str:
    """SHA-256 (hex) of a generator's weights and buffers as float32."""
    digest = hashlib.sha256()
    for name, tensor in generator.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


# --- images that can be asked for by number


def open_images(
    what: Pictures, which: Which = "training", *, mirror: bool = False, resolution: int | None = None
) -> Images:
    """A store, a folder or zip file of images, or an array of images.

    which: of the images of a store. mirror: flip half of them at random; for stores only. resolution: the level of a
    store, where it has that; else, and for all others, their own size. Raises InputError where it is none of these.
    """
    if isinstance(what, Tensor | np.ndarray):
        images = images_of_array(what)
    elif is_store(what):
        store = open_store(what)
        level = resolution if resolution in store.resolutions else None
        held_out = None if which == "training" else store.held_out()
        if held_out is not None:
            images = images_of_store(held_out, mirror=mirror, resolution=level)
            return replace(images, name=f"{store.path.name}/{held_out.path.name}")
        if which == "held-out":
            raise InputError(f"{what} has no held-out images; prepare it with --hold-out, or set reals to auto")
        return images_of_store(store, mirror=mirror, resolution=level)
    else:
        images = images_of_source(what)
    if which == "held-out":
        raise InputError(f"{images.name} is no store, and only stores have held-out images; set reals to auto")
    if mirror:
        raise InputError(f"{images.name} is no store, and only stores are mirrored; set mirror to False")
    return images


def is_store(path: Path | str) -> bool:
    """Whether a folder is a store, rather than images with a dataset.json that names their labels."""
    return (Path(path) / "dataset.json").exists() and (Path(path) / "images-0004.npy").exists()


def images_of_store(store: Store, *, mirror: bool = False, resolution: int | None = None) -> Images:
    """A store's images, in its (random) order, and again from the first when it ends.

    mirror: flip half of them, as training saw them. resolution: the level, full resolution by default.
    """
    resolution = resolution or store.resolution
    stored = ImageReader(store, resolution)

    def batch(numbers: np.ndarray) -> Tensor:
        images = stored[numbers % store.count]
        if mirror:
            flip = draw_uniform((), 0, 0, "mirroring of the reals", torch.from_numpy(numbers)).numpy() < 0.5
            images[flip] = images[flip, :, ::-1]
        return torch.from_numpy(images).permute(0, 3, 1, 2)

    level = f"/{resolution}" if resolution < store.resolution else ""
    identity = store.content_hash + level + ("/mirrored" if mirror else "")
    return Images(store.path.name, identity, store.count, batch, (resolution, resolution))


def images_of_array(images: Tensor | np.ndarray) -> Images:
    """Images in memory: a tensor [N, C, H, W], or an array [N, H, W, C]; C = 1, 3 or 4.

    They are uint8, or floats in about [-1, 1]. Raises InputError for anything else.
    """
    if isinstance(images, Tensor):
        tensor = images
    else:
        tensor = torch.from_numpy(np.require(images, requirements="CW"))  # a mapped file is copied
        tensor = tensor.permute(0, 3, 1, 2) if images.ndim == 4 else tensor
    if tensor.ndim != 4 or tensor.shape[1] not in (1, 3, 4) or not len(tensor):
        raise InputError(
            f"the images are of shape {list(images.shape)}; give a tensor [N, C, H, W] or an array [N, H, W, C], "
            "C = 1, 3 or 4"
        )
    if tensor.dtype.is_floating_point:
        low, high = tensor.min().item(), tensor.max().item()
        if not (-16 < low <= high < 16) or (low >= 0 and high <= 1):  # networks overshoot, but not to 255
            raise InputError(f"the images hold floats from {low:g} to {high:g}; give uint8, or floats in about [-1, 1]")
        tensor = to_uint8(tensor)
    elif tensor.dtype != torch.uint8:
        raise InputError(f"the images are of {tensor.dtype}; give uint8, or floats in about [-1, 1]")
    tensor = tensor.detach().cpu()
    digest = hashlib.sha256(repr(tuple(tensor.shape)).encode() + tensor.contiguous().numpy().tobytes()).hexdigest()
    size = (tensor.shape[2], tensor.shape[3])
    return Images("array", digest, len(tensor), lambda numbers: tensor[torch.from_numpy(numbers % len(tensor))], size)


def images_of_source(source: Path | str) -> Images:
    """The images of a folder, zip or other source as they are; those of one batch must have one size.

    Sheets of samples, which `stylegan generate` puts beside its images, are left out with a warning.
    """
    digest = hashlib.sha256()

    def read(item: Item, use: Callable[[bytes], T]) -> T:
        try:
            return use(item.read())
        except Unusable as error:
            raise InputError(f"{item.name} in {source} cannot be used ({error}); leave it out") from error

    listed = open_source(source, "none", sheets=True).items
    facts = [read(item, _facts) for item in listed]
    sheets = _sheets(listed, facts)
    items = [item for i, item in enumerate(listed) if i not in sheets]
    if sheets:
        names = ", ".join(listed[i].name for i in sorted(sheets)[:3]) + (", ..." if len(sheets) > 3 else "")
        if not items:
            raise InputError(f"{source} holds nothing but sheets of samples ({names}); give a folder of single images")
        _warn(f"{source}: {len(sheets)} sheet{'s' * (len(sheets) > 1)} of samples left out ({names})")

    def batch(numbers: np.ndarray) -> Tensor:
        arrays = [read(items[number % len(items)], decode_rgb) for number in numbers]
        if len({array.shape for array in arrays}) > 1:
            raise InputError(f"the images in {source} have several sizes; bring them to one with: stylegan prepare")
        return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)

    for item, found in ((listed[i], facts[i]) for i in range(len(listed)) if i not in sheets):
        digest.update(f"{item.name}/{found.content}".encode("utf-8", "surrogateescape"))
    size = batch(np.array([0])).shape[2:]
    return Images(Path(source).name, digest.hexdigest(), len(items), batch, (size[0], size[1]))


@dataclass(frozen=True)
class _Facts:
    """Size and channels of an image file, before it is decoded."""

    content: str  # SHA-256
    pixels: int
    marked: bool  # as a sheet


def _facts(data: bytes) -> _Facts:
    if not data.startswith(b"\x89PNG"):
        return _Facts(hashlib.sha256(data).hexdigest(), 0, False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = open_image(data)
    return _Facts(hashlib.sha256(data).hexdigest(), image.width * image.height, is_sheet(image))


def _sheets(items: Sequence[Item], facts: Sequence[_Facts]) -> set[int]:
    """The places of the sheets: files that say so, and a grid.png that is larger than every other image."""
    named = {i for i, item in enumerate(items) if PurePosixPath(item.name).name == SHEET_NAME}
    largest = max((found.pixels for i, found in enumerate(facts) if i not in named), default=0)
    larger = {i for i in named if 0 < largest < facts[i].pixels}
    return larger | {i for i, found in enumerate(facts) if found.marked}
