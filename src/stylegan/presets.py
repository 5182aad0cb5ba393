"""Named run configurations: every experiment of the paper, and shorter ones. What they leave unsaid is the paper's.

Each is a function of the data's shape. Those of table 1 are written as the table reads, bottom to top: config f is
what the defaults say, and each of the others takes one thing away from the next.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from stylegan.data.store import open_store
from stylegan.errors import InputError
from stylegan.networks.discriminator import DiscriminatorConfig
from stylegan.networks.generator import GeneratorConfig
from stylegan.networks.layers import FeatureMaps
from stylegan.resolutions import LOWEST
from stylegan.training import run_folder
from stylegan.training.config import TrainingConfig
from stylegan.training.features import FeaturesConfig
from stylegan.training.losses import LossConfig
from stylegan.training.schedule import BATCH_SIZES, ScheduleConfig
from stylegan.weights import Model, load_model


@dataclass(frozen=True)
class Shape:
    """What the data decides."""

    resolution: int
    channels: int = 3
    label_count: int = 0


# --- table 1


def config_f(shape: Shape) -> TrainingConfig:
    """Table 1, f: the paper's StyleGAN. 25 million images, mirrored; non-saturating loss with R1."""
    return TrainingConfig(
        generator=GeneratorConfig(**vars(shape)),
        discriminator=DiscriminatorConfig(**vars(shape)),
        schedule=ScheduleConfig(initial_resolution=min(8, shape.resolution)),
    )


def config_e(shape: Shape) -> TrainingConfig:
    """Table 1, e: config f without mixing regularization."""
    return replace(config_f(shape), mixing_probability=0.0)


def config_d(shape: Shape) -> TrainingConfig:
    """Table 1, d: config e without noise inputs."""
    return _with_generator(config_e(shape), use_noise=False)


def config_c(shape: Shape) -> TrainingConfig:
    """Table 1, c: config d with the traditional input, a dense layer, in place of the constant."""
    return _with_generator(config_d(shape), const_input=False)


def config_b(shape: Shape) -> TrainingConfig:
    """Table 1, b: the tuned baseline. Config c without styles and mapping network: pixel norm, z at the input alone."""
    config = _with_generator(config_c(shape), use_styles=False, use_instance_norm=False, use_pixel_norm=True)
    return _with_mapping_layers(config, 0)


def config_a(shape: Shape) -> TrainingConfig:
    """Table 1, a: the Progressive GAN. Config b with nearest-neighbor resampling, WGAN-GP, 4 x 4 first, 12 million."""
    config = config_b(shape)
    z_dim = config.generator.z_dim
    return replace(
        config,
        generator=replace(config.generator, use_blur=False, embed_labels=False, w_dim=z_dim + shape.label_count),
        discriminator=replace(config.discriminator, use_blur=False, label_count=0),
        schedule=replace(config.schedule, initial_resolution=4, total_kimg=12000.0),
        loss=LossConfig(kind="wgan-gp"),
    )


# --- tables 2 and 4


def mixing(percentage: int, shape: Shape) -> TrainingConfig:
    """Table 2: config f with mixing regularization for {} % of the training images."""
    return replace(config_f(shape), mixing_probability=percentage / 100)


def traditional(layers: int, shape: Shape) -> TrainingConfig:
    """Table 4: the traditional generator of config b behind a mapping network of {} layers."""
    return _with_mapping_layers(config_b(shape), layers)


def mapping(layers: int, shape: Shape) -> TrainingConfig:
    """Table 4: config f with a mapping network of {} layers."""
    return _with_mapping_layers(config_f(shape), layers)


# --- data sets of appendix C and E


def ffhq(shape: Shape) -> TrainingConfig:
    """FFHQ, 1024 x 1024: config f as it is."""
    return config_f(shape)


def celebahq(shape: Shape) -> TrainingConfig:
    """CelebA-HQ, 1024 x 1024: config f with WGAN-GP and a learning rate of at most 0.002."""
    config = config_f(shape)
    rates = {resolution: min(rate, 0.002) for resolution, rate in config.schedule.learning_rate.items()}
    return replace(
        config, schedule=replace(config.schedule, learning_rate=rates), loss=replace(config.loss, kind="wgan-gp")
    )


def lsun(million_images: int, shape: Shape) -> TrainingConfig:
    """LSUN, 256 x 256: config f for {} million images, not mirrored."""
    config = config_f(shape)
    return replace(config, schedule=replace(config.schedule, total_kimg=million_images * 1000.0), mirror=False)


def lsun_car(shape: Shape) -> TrainingConfig:
    """LSUN Car, 512 x 384 in a padded square: config f for 46 million images, not mirrored, padding never shown."""
    return _with_generator(lsun(46, shape), aspect=(4, 3))


# --- not of the paper


def small(shape: Shape) -> TrainingConfig:
    """Thin networks that begin at 64 x 64 instead of growing: faces in a quarter of an hour of one core."""
    config, maps = growing(shape), FeatureMaps(base=1024, maximum=128)
    return replace(
        config,
        generator=replace(config.generator, feature_maps=maps),
        discriminator=replace(config.discriminator, feature_maps=maps),
        schedule=replace(
            config.schedule,
            initial_resolution=min(64, shape.resolution),
            stable_kimg=200,
            fade_kimg=50,
            batch_size={4: 16},
            tick_kimg={4: 4},
        ),
        loss=LossConfig(r1_gamma=0.5, penalty_at="current", penalty_interval=8),
        features=FeaturesConfig(weight=1.0, stddev_features=4),
        ema_kimg=500,  # the share of the images seen decides, not this
        noise_lr_multiplier=0.01,  # at 0.1 the samples of the first 20,000 images are covered with grain
        model_ticks=2,
    )


def growing(shape: Shape) -> TrainingConfig:
    """Thin networks that grow from 8 x 8 by a short schedule, as the paper's do: 64 x 64 in hours on a CPU."""
    config = config_f(shape)
    maps = FeatureMaps(base=2048, maximum=128)
    return replace(
        config,
        generator=replace(
            config.generator, z_dim=128, w_dim=128, mapping_width=128, mapping_layers=4, feature_maps=maps
        ),
        discriminator=replace(config.discriminator, feature_maps=maps),
        schedule=ScheduleConfig(
            initial_resolution=min(8, shape.resolution),
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
        precision="auto",
        model_ticks=1,
    )


def demo(shape: Shape) -> TrainingConfig:
    """The first six to ten minutes: 32 x 32 portraits on two CPU cores, nothing grows."""
    config, maps = small(shape), FeatureMaps(base=512, maximum=128)
    return replace(
        config,
        generator=replace(config.generator, feature_maps=maps),
        discriminator=replace(config.discriminator, feature_maps=maps),
        schedule=replace(config.schedule, total_kimg=22, learning_rate={4: 0.003}),
        mirror=False,  # which way a portrait looks, and where its light comes from, are attributes
        grid=(8, 4),
        model_ticks=1,
    )


def _with_generator(config: TrainingConfig, **changes) -> TrainingConfig:
    return replace(config, generator=replace(config.generator, **changes))


def _with_mapping_layers(config: TrainingConfig, layers: int) -> TrainingConfig:
    """Without mapping layers w is as wide as z and what stands for the label."""
    g = config.generator
    return _with_generator(config, mapping_layers=layers, w_dim=g.w_dim if layers else g.z_dim + g.label_width)


PAPER: dict[str, Callable[[Shape], TrainingConfig]] = {
    "config-a": config_a,
    "config-b": config_b,
    "config-c": config_c,
    "config-d": config_d,
    "config-e": config_e,
    "config-f": config_f,
    "mixing-0": partial(mixing, 0),
    "mixing-50": partial(mixing, 50),
    "mixing-90": partial(mixing, 90),
    "mixing-100": partial(mixing, 100),
    "traditional-0": partial(traditional, 0),
    "traditional-8": partial(traditional, 8),
    "mapping-0": partial(mapping, 0),
    "mapping-1": partial(mapping, 1),
    "mapping-2": partial(mapping, 2),
    "mapping-8": partial(mapping, 8),
    "ffhq": ffhq,
    "celebahq": celebahq,
    "lsun-bedroom": partial(lsun, 70),
    "lsun-car": lsun_car,
    "lsun-cat": partial(lsun, 70),
}
PRESETS: dict[str, Callable[[Shape], TrainingConfig]] = {**PAPER, "small": small, "growing": growing, "demo": demo}

MEASURED = {
    "small": "1,206 after 2 minutes, 653 after 4, 244 after 8, 168 after 10 (faces, 64 x 64, one core)",
    "demo": "186 after its 22,000 images, 108 after 44,000 (portraits, 32 x 32)",
}
"""The kernel distance x 1000 of samples to held-out images after a time, in features of MobileNetV2 (docs/log.md)."""

NOTHING = "none"  # what a run starts from that starts from no model

Width = Literal["thin", "small", "paper"]
WIDTHS: dict[Width, FeatureMaps] = {
    "thin": FeatureMaps(base=1024, maximum=128),
    "small": FeatureMaps(base=2048, maximum=128),
    "paper": FeatureMaps(base=8192, maximum=512),
}


def summary(name: str) -> str:
    """What a preset is, in one line."""
    function = PRESETS[name]
    function, arguments = (function.func, function.args) if isinstance(function, partial) else (function, ())
    first_line = (function.__doc__ or "").partition("\n")[0]  # python -OO leaves docstrings out
    return first_line.format(*arguments)


@dataclass(frozen=True)
class Choice:
    """What most people choose of a training; the rest follows from the preset. The arguments of `preset`."""

    preset: str | None = None
    """Run configuration to begin with; `stylegan presets` lists them. Default: small; `stylegan train` fits it to the
    images, this machine and --hours."""
    resolution: int | None = None
    """Resolution of the images. Default: the store's."""
    labels: bool = False
    """Train a class-conditional network on the store's labels."""
    kimg: float | None = None
    """Length of the training in thousands of images. Default: the preset's."""
    batch_size: int | None = None
    """Images in a batch, at all resolutions. Default: the preset's."""
    lr: float | None = None
    """Learning rate of both networks, at all resolutions. Default: the preset's."""
    width: Width | None = None
    """Width of both networks: thin, small or paper (feature maps 1024 / 128, 2048 / 128, 8192 / 512). Default: the
    preset's."""
    gpus: int | None = None
    """The paper's batch sizes for 1, 2, 4 or 8 GPUs (presets of the paper). Default: 1."""
    start_from: str = ""
    """Model file, or one that `stylegan import` takes, whose networks the run begins with, at the resolution that they
    have grown to; or none. The data decide resolution, channels and classes, the preset everything else; what then has
    another shape is changed, faded in or begun anew. Default: none; without a preset, the bundled faces where images
    are few."""


def preset(
    name: str,
    data: str,
    *,
    resolution: int | None = None,
    labels: bool = False,
    gpus: int | None = None,
    start_from: str = "",
    kimg: float | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    width: Width | None = None,
) -> TrainingConfig:
    """The run configuration of that name for the store `data`, with what is given changed; see `Choice`.

    data: "" for none yet: RGB images without labels, of the resolution given (or 1024), or what the model is for that
    the run starts from. Raises InputError where the preset or the store is unknown, or what is given does not fit.
    """
    choice = Choice(name, resolution, labels, kimg, batch_size, lr, width, gpus, start_from)
    if name not in PRESETS:
        raise InputError(f"there is no preset {name}; use one of: {', '.join(PRESETS)}")
    model = load_model(start_from) if start_from else None
    of_model = model.generator.config if model else GeneratorConfig()
    found = Shape(of_model.resolution, of_model.channels, of_model.label_count)
    if data:
        store = open_store(data)
        with_classes = labels or found.label_count > 0
        found = Shape(store.resolution, store.channels, store.label_count if with_classes else 0)
    if labels and not found.label_count:
        raise InputError(f"{data or 'no store'} has no labels; train without them")
    config = PRESETS[name](found if resolution is None else replace(found, resolution=resolution))
    if model:
        config = continuing(config, start_from, model)
    return _dialed(replace(config, data=str(data), preset=name), choice)


def default_config(run: Path | str, data: str, choice: Choice | None = None) -> TrainingConfig:
    """The configuration of a training in the folder `run`: where it holds a run, that run's own, else the preset's.

    A run keeps the options it began with, whatever has become of a model it started from; `data` says where its store
    is now. Raises InputError as `preset` does, and where a run began with something else than is chosen.
    """
    choice = choice or Choice()
    from_nothing = choice.start_from == NOTHING
    choice = replace(choice, start_from="") if from_nothing else choice
    if not (run and (Path(run) / "run.json").exists()):
        options = dict(vars(choice))
        return preset(options.pop("preset") or "small", data, **options)
    began = run_folder.read_run(run)
    then = {
        "preset": began.preset,
        "resolution": began.generator.resolution,
        "labels": began.generator.label_count > 0,
        "start_from": began.start_from,
    }
    now = {name: getattr(choice, name) for name in then}
    unset = ("", None, False)
    chosen = {name: value for name, value in now.items() if value not in unset}
    run_folder.refuse_changes(run, then, chosen | ({"start_from": ""} if from_nothing else {}))
    return replace(_dialed(began, choice), data=str(data) or began.data)


def _dialed(config: TrainingConfig, choice: Choice) -> TrainingConfig:
    """A configuration with the chosen length, batch, rate and width. Raises InputError where one does not fit."""
    schedule = config.schedule
    if choice.gpus is not None:
        if config.preset not in PAPER or choice.gpus not in BATCH_SIZES or choice.batch_size is not None:
            raise InputError(
                "gpus chooses among the paper's batch sizes: 1, 2, 4 or 8, with a preset of the paper and no batch size"
            )
        schedule = replace(schedule, batch_size=dict(BATCH_SIZES[choice.gpus]))
    if choice.kimg is not None:
        schedule = replace(schedule, total_kimg=choice.kimg)
    if choice.batch_size is not None:
        schedule = replace(schedule, batch_size={LOWEST: choice.batch_size})
    if choice.lr is not None:
        schedule = replace(schedule, learning_rate={LOWEST: choice.lr})
    if choice.width is None:
        return replace(config, schedule=schedule)

    if choice.width not in WIDTHS:
        raise InputError(f"there is no width {choice.width}; use one of: {', '.join(WIDTHS)}")
    maps = WIDTHS[choice.width]
    g, d = (replace(part, feature_maps=maps) for part in (config.generator, config.discriminator))
    return replace(config, schedule=schedule, generator=g, discriminator=d)


def continuing(config: TrainingConfig, path: str, model: Model | None = None) -> TrainingConfig:
    """The same run, begun with the weights of a model: with networks of its kind and widths, for the run's images.

    It begins at the resolution that the model has grown to, or, where that is still being faded in, at the next lower
    one. model: what the file `path` holds, if it has been loaded. Raises InputError.
    """
    model = model or load_model(path)
    wanted, old = config.generator, model.generator.config
    shape = {"resolution": wanted.resolution, "channels": wanted.channels}
    label_width = wanted.label_count if not old.embed_labels else old.z_dim if wanted.label_count else 0
    generator = replace(
        old,
        **shape,
        label_count=wanted.label_count,
        w_dim=old.w_dim if old.mapping_layers else old.z_dim + label_width,
    )
    critic = replace(config.discriminator, feature_maps=old.feature_maps)
    if model.discriminator is not None:
        critic = model.discriminator.config
        blind = old.label_count > 0 and critic.label_count == 0  # as the Progressive GAN's
        shape["label_count"] = 0 if blind else wanted.label_count
    grown, fade = model.generator.synthesis.grown
    first = min(grown // 2 if fade else grown, wanted.resolution)
    if old.sum_rgb:
        first = wanted.resolution  # all images count from the beginning
    return replace(
        config,
        generator=generator,
        discriminator=replace(critic, **shape),
        schedule=replace(config.schedule, initial_resolution=first),
        mixing_probability=config.mixing_probability if old.use_styles else 0.0,
        start_from=path,
    )
