"""Named run configurations. Each is a function of the data's shape; what it leaves unsaid is the paper's."""

from dataclasses import replace

from stylegan.data.store import open_store
from stylegan.errors import InputError
from stylegan.networks.discriminator import DiscriminatorConfig
from stylegan.networks.generator import GeneratorConfig
from stylegan.networks.layers import FeatureMaps
from stylegan.training.loop import TrainingConfig
from stylegan.training.losses import LossConfig
from stylegan.training.schedule import BATCH_SIZES, ScheduleConfig


def paper(resolution: int, channels: int, label_count: int) -> TrainingConfig:
    """The paper's config f, as for FFHQ: 25 million images, official batch sizes (--gpus 1, 2, 4 or 8)."""
    shape = {"resolution": resolution, "channels": channels, "label_count": label_count}
    return TrainingConfig(
        generator=GeneratorConfig(**shape),
        discriminator=DiscriminatorConfig(**shape),
        schedule=ScheduleConfig(initial_resolution=min(8, resolution)),
    )


def small(resolution: int, channels: int, label_count: int) -> TrainingConfig:
    """Thin networks and a short schedule: good pictures up to 64 x 64 in hours on a CPU, in minutes on a GPU."""
    config = paper(resolution, channels, label_count)
    maps = FeatureMaps(base=2048, maximum=128)
    return replace(
        config,
        generator=replace(
            config.generator, z_dim=128, w_dim=128, mapping_width=128, mapping_layers=4, feature_maps=maps
        ),
        discriminator=replace(config.discriminator, feature_maps=maps),
        schedule=ScheduleConfig(
            initial_resolution=min(8, resolution),
            stable_kimg=40,
            fade_kimg=20,
            total_kimg=600,
            batch_size={4: 32},
            learning_rate={4: 0.002},
            tick_kimg={4: 10},
        ),
        loss=LossConfig(r1_gamma=3, penalty_at="current"),
        ema_kimg=5,
        ema_rampup=0.05,
        noise_lr_multiplier=0.1,
        model_ticks=1,
    )


def demo(resolution: int, channels: int, label_count: int) -> TrainingConfig:
    """The first ten minutes: recognisable 32 x 32 portraits on two CPU cores."""
    config = small(resolution, channels, label_count)
    maps = FeatureMaps(base=512, maximum=64)
    return replace(
        config,
        generator=replace(config.generator, z_dim=64, w_dim=64, mapping_width=64, feature_maps=maps),
        discriminator=replace(config.discriminator, feature_maps=maps),
        schedule=replace(
            config.schedule,
            stable_kimg=6,
            fade_kimg=8,
            total_kimg=56,
            batch_size={4: 32, 16: 16, 32: 8},  # the fastest at 8 x 8, the most steps at 32 x 32
            tick_kimg={4: 4},
        ),
        loss=replace(config.loss, r1_gamma=2, penalty_interval=4),
        noise_lr_multiplier=0.01,
        mirror=False,  # which way a portrait looks, and where its light comes from, are attributes
        ema_kimg=1,
        grid=(8, 4),
    )


PRESETS = {
    "config-f": paper,
    "small": small,
    "demo": demo,
}


def preset(
    name: str, data: str, *, resolution: int | None = None, labels: bool = False, gpus: int | None = None
) -> TrainingConfig:
    """The run configuration of that name for the store `data`. Raises InputError where either is unknown.

    resolution: below the store's, if wanted. labels: train with the store's classes. gpus: 1, 2, 4 or 8, for the
    paper's configurations, which have a table of batch sizes for each; the others have one for all.
    """
    if name not in PRESETS:
        raise InputError(f"there is no preset {name}; use one of: {', '.join(PRESETS)}")
    store = open_store(data)
    label_count = store.label_count if labels else 0
    if labels and not label_count:
        raise InputError(f"{data} has no labels; train without them")
    config = PRESETS[name](store.resolution if resolution is None else resolution, store.channels, label_count)
    if gpus is not None:
        if PRESETS[name] is not paper or gpus not in BATCH_SIZES:
            raise InputError("gpus chooses among the paper's batch sizes: 1, 2, 4 or 8, with the preset config-f")
        config = replace(config, schedule=replace(config.schedule, batch_size=dict(BATCH_SIZES[gpus])))
    return replace(config, data=str(data), preset=name)
