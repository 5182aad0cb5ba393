"""Batches of a run: reals, and the parts of a batch that are computed at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from stylegan import processes
from stylegan.data.loader import Loader
from stylegan.data.store import Store
from stylegan.errors import InputError
from stylegan.randomness import draw_uniform
from stylegan.training.config import TrainingConfig
from stylegan.training.schedule import State, groups


@dataclass(frozen=True)
class Reals:
    """A micro-batch: real images for D's step, and which samples of the whole batch they are."""

    images: Tensor  # uint8 [n, C, R, R]
    sample_index: Tensor  # int64 [n]
    labels: Tensor | None = None  # int64 [n], of the images; D's fakes have the same
    labels_of_g: Tensor | None = None  # int64 [n], of the fakes in G's step
    held_out: tuple[Tensor, Tensor | None] | None = None  # images and labels to judge by how much D overfits


def batches(
    config: TrainingConfig, store: Store, images_seen: int, device: torch.device
) -> Iterator[tuple[State, list[list[Reals]]]]:
    """Groups of batches, with the state of the schedule they belong to, from `images_seen` on.

    For a GPU the images lie in memory that it can read from while it computes.
    """
    loader = Loader(store, seed=config.seed, mirror=config.mirror)
    held_out_store = config.augment.judges_of(store)
    judges = Loader(held_out_store, seed=config.seed, mirror=config.mirror) if held_out_store else None
    all_labels = torch.tensor(store.labels) if config.generator.label_count else None
    for start, now in groups(config.schedule, config.generator.resolution, images_seen):
        group = []
        for first in range(start, start + config.schedule.repeats * now.batch_size, now.batch_size):
            batch, judged = [], judges is not None and config.augment.is_judged(first, now.batch_size)
            for index in micro_batches(config, now.batch_size):
                images, labels = loader.batch(first + index.numpy(), now.resolution)
                images = images.pin_memory() if device.type == "cuda" else images
                held_out = judges.batch(first + index.numpy(), now.resolution) if judged else None
                if all_labels is None:
                    batch.append(Reals(images, index, held_out=held_out))
                else:
                    of_g = labels_of_g(config.seed, first + now.batch_size, all_labels, index)
                    batch.append(Reals(images, index, labels, of_g, held_out))
            group.append(batch)
        yield now, group


def labels_of_g(seed: int, images_seen: int, labels: Tensor, sample_index: Tensor) -> Tensor:
    """Classes of the fakes in a step of G, as frequent as in the data: int64 [n].

    labels: those of all images, int64 [N]. images_seen: at that step, which comes after the batch's step of D.
    """
    picks = (draw_uniform((), seed, images_seen, "labels of G", sample_index) * len(labels)).long()
    return labels[picks.clamp(max=len(labels) - 1)]


def micro_batches(config: TrainingConfig, batch_size: int) -> list[Tensor]:
    """This process's share of a batch, in parts that fit into memory: places in the batch, int64.

    The groups of the minibatch standard deviation stay whole, so that the result is that of the whole batch. They
    are strided: group m of M holds the places m, m + M, m + 2M, ...; and so they are in each part. Raises InputError
    where a batch does not divide into groups.
    """
    group_size = min(config.discriminator.group_size, batch_size)
    world, most = processes.world_size(), config.micro_batch or batch_size
    if batch_size % (group_size * world):
        raise InputError(
            f"a batch of {batch_size} does not divide into groups of {group_size} on {world} processes; "
            "choose another schedule.batch_size"
        )
    count = batch_size // group_size  # M
    own = torch.arange(count)[processes.rank() :: world]
    step = torch.arange(group_size)[:, None] * count
    return [(step + part).flatten() for part in own.split(max(most // group_size, 1))]
