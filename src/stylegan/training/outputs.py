"""What a run gives along the way: statistics, sheets of images, models."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan import weights
from stylegan.data.loader import Loader
from stylegan.data.store import Store
from stylegan.images import crop_padding, enlarge, grid, to_uint8
from stylegan.networks import ops
from stylegan.recipe import Recipe, batches
from stylegan.training import health
from stylegan.training.config import TrainingConfig
from stylegan.training.monitor import Means, peak_memory_mb
from stylegan.training.schedule import State
from stylegan.training.state import TrainState

SHEET_WIDTH = 512  # pixels, at least


def statistics(
    state: TrainState, now: State, means: Means, images_per_second: float, variety: float
) -> dict[str, float]:
    """One line of stats.jsonl."""
    for name in ("g", "d"):
        state.count_skipped(name)
    return {
        "images_seen": state.images_seen,
        "tick": state.tick,
        "resolution": now.resolution,
        "fade": now.fade,
        "batch_size": now.batch_size,
        "learning_rate": now.learning_rate,
        **means.read(),
        **health.sizes_of_weights(state.g, state.d),
        **({"augment_strength": state.augmentation.strength_at(now.resolution)} if state.augmentation else {}),
        "variety": variety,
        "skipped_g": state.skipped["g"],
        "skipped_d": state.skipped["d"],
        "seconds": round(state.seconds, 3),
        "images_per_second": round(images_per_second, 2),
        "memory_mb": round(peak_memory_mb(state.device)),
    }


def first_reals(config: TrainingConfig, store: Store) -> Tensor:
    """The first images of the run, as many as a grid has, uint8 [N, C, R, R]."""
    count = config.grid[0] * config.grid[1]
    return Loader(store).batch(np.arange(min(count, store.count)), store.resolution)[0]


def draw_fakes(state: TrainState) -> Tensor:
    """The moving average's images of the first seeds, without truncation, classes in turn: [N, C, R, R]."""
    seeds = range(state.config.grid[0] * state.config.grid[1])
    return torch.cat([batch.cpu() for batch in batches(state.g_ema, Recipe(seeds, psi=1.0))])


def variety(fakes: Tensor, reals: Tensor) -> float:
    """How much samples [N, C, R, R] differ from each other, 1 being as much as reals do, uint8 [N, C, R, R].

    That is the deviation of a pixel over the images, which are made 8 x 8 pixels small.
    """

    return round(spread(to_uint8(fakes)) / max(spread(reals), 1e-3), 4)


def spread(images: Tensor) -> float:
    """How much images differ from each other, in levels of 255; see `variety`."""
    small = F.adaptive_avg_pool2d(images.float(), min(8, images.shape[2]))
    return small.std(dim=0, correction=0).mean().item()


def sheet(config: TrainingConfig, images: Tensor) -> Tensor:
    """A grid of images [N, C, R, R] without padding. All grids of a run have one size, wide enough to look at."""
    images = ops.upsample_to(images, config.generator.resolution)
    shown = grid(crop_padding(images, config.generator.aspect), config.grid[0])
    return enlarge(shown, max(1, -(-SHEET_WIDTH // shown.shape[2])))


def model_of(state: TrainState, store: Store) -> weights.Model:
    """What the model file will hold."""
    config = state.config
    begun = f"begun with the weights of {Path(config.start_from).name}" if config.start_from else ""
    fit = str(store.made.get("fit", ""))
    provenance = weights.Provenance(
        store.path.name, config.preset, state.images_seen, notes=begun, fit=fit, images_before=config.images_before
    )
    names = store.label_names if config.generator.label_count else ()
    return weights.Model(state.g_ema, provenance, state.g, state.d, names)
