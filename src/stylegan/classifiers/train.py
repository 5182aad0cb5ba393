"""Training attribute classifiers from a store's labeled attributes (appendix C)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from stylegan.classifiers.model import AttributeClassifiers, save_classifiers
from stylegan.config import SEED, above, at_least, check
from stylegan.data.store import Store, open_store
from stylegan.data.store_reader import ImageReader
from stylegan.device import pick_device
from stylegan.errors import InputError
from stylegan.images import from_uint8
from stylegan.networks.discriminator import Discriminator, DiscriminatorConfig
from stylegan.networks.layers import FeatureMaps


@dataclass(frozen=True)
class ClassifierConfig:
    """Options of a training of classifiers. The defaults are the paper's, but one network learns all attributes."""

    resolution: int | None = None
    """Height and width of the images that are judged. Default: the store's, at most 256."""
    separate: bool = False
    """Train one network for each attribute, as the paper does, one after the other: as many times as long, and as many
    times as large a file."""
    feature_maps: FeatureMaps = field(default_factory=FeatureMaps)
    """Width of the network."""
    kimg: Annotated[float, above(0)] = 150.0
    """Length of each network's training, in thousands of images."""
    batch_size: Annotated[int, at_least(1)] = 8
    """Number of images in a step."""
    learning_rate: Annotated[float, above(0)] = 0.001
    """Learning rate of Adam."""
    held_out: Annotated[float, above(0, below=1)] = 0.1
    """Share of the store that is not trained on, for the accuracies."""
    seed: Annotated[int, SEED] = 0
    """Seed of the weights and of the order of the images."""
    device: str = "auto"
    """cpu, cuda, mps, xpu, or auto for the best there is."""
    half: bool = False
    """Store float16, half the size."""

    def __post_init__(self) -> None:
        check(self)


def train_classifiers(
    data: Path | str, path: Path | str, config: ClassifierConfig | None = None, *, progress: bool = True
) -> dict[str, float]:
    """Train classifiers of all attributes of the store `data` and write them to the file `path` (appendix C).

    A training that is interrupted leaves no file and cannot be resumed: repeating it begins anew.

    Returns each attribute's accuracy on images that were held out. Raises InputError where the store has no attributes
    or fewer images than that needs, and where the file cannot be written.
    """
    config = config or ClassifierConfig()
    store, device = open_store(data), pick_device(config.device)
    attributes = store.attributes
    if attributes is None:
        raise InputError(f"{data} has no attributes to learn; prepare portraits, or a source with attributes")
    train_count = store.count - max(1, round(store.count * config.held_out))
    if train_count < config.batch_size:
        raise InputError(f"{data} has {store.count} images, too few to train on and to hold some out")

    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise InputError(f"there is no folder {Path(path).parent} for the classifiers; make it first")
    if Path(path).is_dir() or not os.access(folder, os.W_OK):  # said before the training, not after
        raise InputError(f"{path} cannot be written; give the classifiers' file another name")
    torch.manual_seed(config.seed)
    count = len(store.attribute_names)
    parts = [slice(i, i + 1) for i in range(count)] if config.separate else [slice(0, count)]
    images = ImageReader(store, _resolution(config, store))
    with tqdm(total=round(config.kimg * 1000) * len(parts), unit="img", disable=None if progress else True) as bar:
        networks = [_trained(config, store, images, attributes[:, part], train_count, device, bar) for part in parts]

    each = ", one network an attribute" if config.separate else ""
    notes = f"trained on {store.path.name} ({store.content_hash[:16]}), {config.kimg:g} kimg{each}"
    classifiers = AttributeClassifiers(list(store.attribute_names), networks)
    save_classifiers(path, classifiers, half=config.half, notes=notes)
    return _accuracies(classifiers, attributes, images, range(train_count, store.count), device)


def _resolution(config: ClassifierConfig, store: Store) -> int:
    """At which the classifiers look at images."""
    return config.resolution or min(store.resolution, 256)


def _trained(
    config: ClassifierConfig,
    store: Store,
    images: ImageReader,
    values: np.ndarray,
    train_count: int,
    device: torch.device,
    bar: tqdm,
) -> Discriminator:
    """A network that has learned some of the attributes, one output for each.

    images: all of the store's. values: of those attributes, bool [N, A].
    """
    attributes = torch.tensor(values)
    network = Discriminator(
        DiscriminatorConfig(
            resolution=_resolution(config, store),
            channels=store.channels,
            label_count=attributes.shape[1] if attributes.shape[1] > 1 else 0,
            feature_maps=config.feature_maps,
            group_size=1,
        )
    ).to(device)
    adam = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    for index in _order(train_count, config):
        # sigmoid(2 logit) is the probability; softplus(-2 logit) the loss where the attribute is there
        sign = attributes[index].to(device).float() * 2 - 1
        loss = F.softplus(-2 * sign * network.outputs(_batch(images, index, device))).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        bar.update(len(index))
    return network


def _order(count: int, config: ClassifierConfig) -> Iterator[np.ndarray]:
    """Batches of image numbers, an epoch after the other, until `kimg` is reached."""
    rng, left, done = np.random.default_rng(config.seed), np.empty(0, dtype=np.int64), 0
    while done < config.kimg * 1000:
        if len(left) < config.batch_size:
            left = np.concatenate([left, rng.permutation(count)])
        batch, left = left[: config.batch_size], left[config.batch_size :]
        yield batch
        done += len(batch)


def _batch(images: ImageReader, index: np.ndarray, device: torch.device) -> Tensor:
    """Images [N, C, R, R] in [-1, 1]."""
    return from_uint8(torch.from_numpy(images[index]).permute(0, 3, 1, 2).to(device))


@torch.no_grad()
def _accuracies(
    classifiers: AttributeClassifiers, values: np.ndarray, images: ImageReader, held_out: range, device: torch.device
) -> dict[str, float]:
    hits = torch.zeros(len(classifiers.names))
    for start in range(held_out.start, held_out.stop, 100):
        index = np.arange(start, min(start + 100, held_out.stop))
        found = classifiers(_batch(images, index, device)).cpu() > 0
        hits += (found == torch.tensor(values[index])).sum(dim=0)
    return dict(zip(classifiers.names, (hits / len(held_out)).tolist(), strict=True))
