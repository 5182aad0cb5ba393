"""A generator's images by number, images in batches, and their features; the reals' features are kept in the cache."""

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from stylegan import processes
from stylegan.downloads import cache_folder
from stylegan.errors import InputError, InputWarning
from stylegan.files import read_tensors, write_tensors
from stylegan.images import to_uint8
from stylegan.metrics.extractors import Extractor
from stylegan.networks import ops
from stylegan.networks.generator import Generator
from stylegan.randomness import draw, draw_uniform
from stylegan.sampling import cross, layers_in_use

CACHE_VERSION = 2  # to be raised when features of the same images come out different

# --- sources of images


@dataclass(frozen=True)
class Images:
    """Images that can be asked for by number: `batch(numbers)` gives uint8 [n, C, H, W]."""

    name: str
    identity: str
    """A hash of their content; "" for a generator, of which nothing is cached."""
    count: int | None
    """Number of images; None for a generator, which has no end."""
    batch: Callable[[np.ndarray], Tensor]
    size: tuple[int, int]
    """Height and width in pixels, of the first of them where they differ."""


class Sampler:
    """A generator's images by number: z, noise and label of each depend on its number and the seed alone."""

    def __init__(
        self, generator: Generator, *, seed: int = 0, labels: np.ndarray | None = None, latents: int = 1
    ) -> None:
        """labels: the classes that images are drawn of, in their frequencies; None for the zero label.

        latents: how many each image is mixed from, at random layers (table 2).
        """
        self.generator, self.seed, self.latents = generator, seed, latents
        self.labels = None if labels is None else torch.tensor(labels)
        self.device = generator.w_avg.device

    def z(self, numbers: np.ndarray, purpose: str = "z") -> Tensor:
        """[n, z_dim]"""
        return draw((self.generator.config.z_dim,), self.seed, 0, f"{purpose} of metrics", self._index(numbers))

    def uniform(self, numbers: np.ndarray, purpose: str, shape: tuple[int, ...] = ()) -> Tensor:
        """[n, *shape] in [0, 1)"""
        return draw_uniform(shape, self.seed, 0, f"{purpose} of metrics", self._index(numbers))

    def label(self, numbers: np.ndarray) -> Tensor | None:
        """Class numbers [n], or None."""
        if self.labels is None:
            return None
        place = (self.uniform(numbers, "label") * len(self.labels)).long()
        return self.labels.to(self.device)[place.clamp(max=len(self.labels) - 1)]

    def noise(self, numbers: np.ndarray) -> list[Tensor] | str:
        """Fresh planes for each image."""
        if not self.generator.config.use_noise:
            return "none"
        sizes = self.generator.synthesis.layer_resolutions(self.generator.synthesis.grown.resolution)
        areas = [size * size for size in sizes]
        planes = draw((sum(areas),), self.seed, 0, "noise of metrics", self._index(numbers)).split(areas, dim=1)
        return [plane.reshape(-1, 1, size, size) for plane, size in zip(planes, sizes, strict=True)]

    @torch.no_grad()
    def w(self, numbers: np.ndarray) -> Tensor:
        """[n, num_layers, w_dim], not truncated: metrics measure the whole distribution."""
        layers, label = layers_in_use(self.generator, self.latents), self.label(numbers)
        w = self.generator.mapping(self.z(numbers), label)
        if self.latents == 1:
            return w
        others = [self.generator.mapping(self.z(numbers, f"z {i}"), label) for i in range(1, self.latents)]
        order = self.uniform(numbers, "crossovers", (layers - 1,)).argsort(dim=1)[:, : self.latents - 1]
        return cross([w, *others], order.sort(dim=1).values + 1)

    @torch.no_grad()
    def draw(self, numbers: np.ndarray) -> Tensor:
        """Images [n, C, R, R] in about [-1, 1], padding included, at the full resolution."""
        return self.synthesize(self.w(numbers), self.noise(numbers))

    def synthesize(self, w: Tensor, noise: list[Tensor] | str) -> Tensor:
        """Images of w; those of a generator that is still growing are enlarged to the full resolution."""
        return ops.upsample_to(self.generator.synthesis(w, noise=noise), self.generator.config.resolution)

    def _index(self, numbers: np.ndarray) -> Tensor:
        return torch.from_numpy(numbers).to(self.device)


def images_of_generator(sampler: Sampler) -> Images:
    """Images of a generator, without end."""
    side = sampler.generator.config.resolution
    return Images("generator", "", None, lambda numbers: to_uint8(sampler.draw(numbers)), (side, side))


def to_rgb(images: Tensor) -> Tensor:
    """Gray images [N, 1, H, W] as three equal channels; of RGBA the colors."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images[:, :3]


def to_channels(images: Tensor, channels: int) -> Tensor:
    """Images with the channels that a network wants: gray as RGB; of RGBA the colors."""
    return to_rgb(images) if channels == 3 else images


# --- streams


def numbers_in_batches(count: int, batch: int, name: str, *, progress: bool = True) -> Iterator[np.ndarray]:
    """This process's share of the numbers 0 to count - 1, batch by batch, with a progress bar.

    The batches are the same for any number of processes; so are then the results.
    """
    batches = [np.arange(start, min(start + batch, count)) for start in range(0, count, batch)]
    shown = progress and processes.rank() == 0
    own = sum(map(len, batches[processes.rank() :: processes.world_size()]))
    with tqdm(total=own, unit="img", desc=name, disable=None if shown else True) as bar:
        for place in range(0, len(batches), processes.world_size()):  # as often in each process
            processes.leave_if_wanted()
            for numbers in batches[place:][processes.rank() : processes.rank() + 1]:
                yield numbers
                bar.update(len(numbers))


def gather(
    shape: tuple[int, ...], parts: Iterable[tuple[np.ndarray, Tensor]], device: torch.device, dtype=torch.float32
) -> Tensor:
    """Rows of that shape on the CPU, from this process's parts (numbers [n], rows [n, ...]) and the others'."""
    rows = torch.zeros(shape, dtype=dtype)
    for numbers, part in parts:
        rows[torch.from_numpy(numbers)] = part.to("cpu", dtype)
    if processes.world_size() > 1:
        there = rows.to(device)
        processes.all_reduce_sum([there])
        rows = there.cpu()
    return rows


@torch.no_grad()
def extract(
    images: Images, extractor: Extractor, count: int, *, batch: int, device: torch.device, progress: bool = True
) -> dict[str, Tensor]:
    """Features [count, F] and logits [count, C] of images 0 to count - 1; without logits C is 0."""

    def parts() -> Iterator[tuple[np.ndarray, Tensor]]:
        for numbers in numbers_in_batches(count, batch, f"features of {images.name}", progress=progress):
            features, logits = extractor(to_rgb(images.batch(numbers).to(device)))
            yield numbers, features if logits is None else torch.cat([features, logits], dim=1)

    rows = gather((count, extractor.feature_count + extractor.logit_count), parts(), device)
    features, logits = rows.split([extractor.feature_count, extractor.logit_count], dim=1)
    return {"features": features.contiguous(), "logits": logits.contiguous()}


def _load(path: Path) -> dict[str, Tensor] | None:
    try:
        return read_tensors(path, "a file of features")[1]
    except InputError:
        return None  # absent, or damaged: made again


def extract_cached(images: Images, extractor: Extractor, count: int, **options) -> dict[str, Tensor]:
    """`extract`, from the cache where these images have been seen by this extractor."""
    if not images.identity:
        return extract(images, extractor, count, **options)
    parts = (CACHE_VERSION, images.identity, extractor.name, extractor.checksum, extractor.resize, count)
    key = hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()
    path = cache_folder() / f"features-{key[:32]}.safetensors"
    if (found := processes.on_first(lambda: _load(path))) is not None:
        return found
    found = extract(images, extractor, count, **options)
    if processes.rank() == 0:
        _keep(path, found)
    return found


def _keep(path: Path, features: dict[str, Tensor]) -> None:
    """Write features into the cache; where that cannot be, the next time takes longer, which is all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, features)
    except OSError as error:
        reason = f"{path.parent} cannot be written ({error.strerror or error}); set STYLEGAN_CACHE to a folder that can"
        warnings.warn(f"features of the reals are not kept: {reason}", InputWarning, stacklevel=2)
