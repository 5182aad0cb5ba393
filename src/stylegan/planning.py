"""A configuration for a store, a machine and an amount of time: what `stylegan train` does without a preset.

The recipe is always that of the preset `small`. What is chosen is how wide the networks are, how they grow, how long
they train, and, for few images, augmentation and a model to begin with: from the number and size of the images, and
from the speed of this machine, which is measured.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import floor, log10

import torch

from stylegan import bench, presets
from stylegan.data.store import Store, open_store
from stylegan.device import Precision, pick_device, pick_precision
from stylegan.errors import InputError
from stylegan.metrics.metric import METRICS, EvaluateConfig, Evaluation
from stylegan.networks.generator import Generator
from stylegan.presets import Choice, Width
from stylegan.resolutions import resolutions
from stylegan.training import run_folder
from stylegan.training.augment import FEWEST_JUDGES, AugmentConfig
from stylegan.training.config import TrainingConfig
from stylegan.training.monitor import passes
from stylegan.training.pace import OVERHEAD, Pace
from stylegan.training.schedule import ScheduleConfig, State, stages, state_at
from stylegan.training.state import new_state

HOURS = 2.0
SECONDS = 4.0  # of measuring a kind of iteration, of which there are two for each width
FEW = 2000  # images, below which D learns them by heart
MODEL = "faces"  # what few images begin with
SMALLEST = 32  # resolution of a run that begins with it
FROZEN = 2  # blocks of D then
JUDGES = 50  # held-out images, with fewer of which samples are compared with the training images
SAMPLES = 500  # that are measured along the way
PROBE = 16  # of them, by which that is timed
EXTRACTOR = "mobilenet-v2"  # quick, and there on every machine
LONGEST = 25_000  # kimg, the paper's
LONGEST_OF_FEW = 1_000
WIDE = 1_000  # kimg in the time there is, from which on wider networks are worth it
LEAST = 40  # kimg at full size, below which nothing is to be seen
LEAST_FROM_A_MODEL = 10
GROWING = 0.5  # share of the time in which the resolutions below the full one are trained, at most
WIDTHS: tuple[Width, ...] = ("thin", "small", "paper")


@dataclass(frozen=True)
class Machine:
    """What a training's speed depends on beside its networks: options of `TrainingConfig`, None for their defaults."""

    device: str | None = None
    threads: int | None = None
    precision: Precision | None = None


@dataclass(frozen=True)
class Plan:
    """What was chosen, and what it was chosen by."""

    config: TrainingConfig
    images: int
    """Number of training images."""
    hours: float | None
    """Time that the training may take; None where its length has been chosen."""
    pace: Pace

    def pace_of(self, config: TrainingConfig) -> Pace | None:
        """What has been measured, for a training of this configuration; None where options have made another of it
        than the plan's."""
        return self.pace if replace(config, schedule=self.config.schedule) == self.config else None

    def seconds(self, config: TrainingConfig) -> tuple[float, float]:
        """Estimates: until the full resolution begins to be faded in, and until the end."""
        top = config.generator.resolution
        parts = [(now, images * self.pace.seconds_per_image(now)) for images, now in stages(config.schedule, top)]
        first = sum(seconds for now, seconds in parts if now.resolution < top)
        return OVERHEAD * first, self.pace.seconds_left(config.schedule, top)


def plan(data: str, choice: Choice, here: Machine, hours: float | None = None) -> Plan:
    """A configuration for the store `data` that takes so many hours here, with what is chosen already kept.

    hours: 2 by default. Where a preset is named its schedule alone is fitted, of the paper's the length alone.
    Raises InputError.
    """
    if hours is not None and hours <= 0:
        raise InputError(f"hours is {hours:g}; give a number above 0")
    if hours is not None and choice.kimg is not None:
        raise InputError("hours and kimg both say how long to train; give one of them")
    config, images, hours = unfitted(data, choice, here), open_store(data).count, hours or HOURS
    few, pace = images < FEW, measure(config)
    if choice.preset is not None:
        return Plan(_fitted(config, pace, hours, LONGEST), images, hours, pace)
    longest = LONGEST_OF_FEW if few else LONGEST
    best = Plan(_fitted(config, pace, hours, longest, choice.kimg), images, None if choice.kimg else hours, pace)
    for width in WIDTHS[1:]:  # as long as there is time for wider ones
        if choice.width or config.start_from or choice.kimg or best.config.schedule.total_kimg < WIDE:
            break
        wider = unfitted(data, replace(choice, width=width, start_from=presets.NOTHING), here)
        pace = measure(wider)
        fitted = _fitted(wider, pace, hours, longest)
        if fitted.schedule.total_kimg < WIDE:
            break
        best = Plan(fitted, images, hours, pace)
    return best


def unfitted(data: str, choice: Choice, here: Machine) -> TrainingConfig:
    """What would be trained if there were any amount of time. Raises InputError."""
    store = open_store(data)
    few = choice.preset is None and store.count < FEW
    if choice.preset is None:
        choice = replace(choice, preset="small", start_from=_model_for(store, choice))
    config = presets.default_config("", data, choice)
    config = replace(config, **{name: value for name, value in vars(here).items() if value is not None})
    run_folder.check_store(config, store)
    return _for_few(config, store) if few else config


def _model_for(store: Store, choice: Choice) -> str:
    """The model to begin with: what is asked for, else for few images the bundled one, where its widths will do."""
    if choice.start_from:
        return choice.start_from
    fits = (choice.resolution or store.resolution) >= SMALLEST and choice.width in (None, "thin")
    return MODEL if store.count < FEW and fits else ""


def _for_few(config: TrainingConfig, store: Store) -> TrainingConfig:
    """The configuration with what few images need: augmentation, a frozen part of D, and a look for copies."""
    held_out = store.held_out()
    judges = held_out is not None and held_out.count >= JUDGES
    blocks = resolutions(config.schedule.initial_resolution, 8)  # but for the last, 4 x 4, which stays free
    frozen = min(FROZEN, len(blocks)) if config.start_from else 0
    return replace(
        config,
        augment=AugmentConfig(kind="ada"),
        freeze_d=frozen,
        evaluation=EvaluateConfig(
            ("kid50k", "memorization"), SAMPLES, EXTRACTOR, reals="auto" if judges else "training"
        ),
        evaluation_ticks=5,
    )


# --- speed


def measure(config: TrainingConfig) -> Pace:
    """The speed of a training here, at the lowest of its resolutions and at the full one."""
    device, top = pick_device(config.device), config.generator.resolution
    config = replace(config, precision=pick_precision(config.precision, device))
    if config.augment.kind == "ada" and config.augment.strength is None:
        config = replace(config, augment=replace(config.augment, strength=0.5))  # what it costs later
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    pace = Pace.of(config, device.type)
    pace.foretell_scores(*seconds_of_scores(config))
    for resolution in sorted({min(config.schedule.initial_resolution, top), top}):
        now = whole(config.schedule, top, resolution)
        pace.foretell(now, seconds_of_iteration(config, now, SECONDS) / now.batch_size)
    return pace


def seconds_of_scores(config: TrainingConfig) -> tuple[float, float]:
    """Estimate of the time that the scores along the way take, each time and beyond that the first time, when the
    store's images are looked at too; 0 where there are none."""
    if not config.evaluation.metrics:
        return 0.0, 0.0
    device = pick_device(config.device)
    generator = Generator(config.generator).to(device)  # one that is not trained takes as long
    evaluation = Evaluation(config.evaluation, device, generator=generator, data=config.data, progress=False)
    evaluation.features("fakes", PROBE // 2)  # memory is taken, networks are read
    start = time.perf_counter()
    evaluation.features("fakes", PROBE)
    per_image = (time.perf_counter() - start) / PROBE
    samples = config.evaluation.count or max(METRICS[name].count for name in config.evaluation.metrics)
    store = open_store(config.data)
    return samples * per_image, (store.count + min(store.held_out_count, samples)) * per_image


def whole(schedule: ScheduleConfig, top: int, resolution: int) -> State:
    """The schedule's state at a resolution that is not being faded in."""
    at_once = replace(schedule, initial_resolution=resolution, stable_kimg=1.0)
    return replace(state_at(at_once, top, 0), fade=0.0)


def seconds_of_iteration(
    config: TrainingConfig, now: State, seconds: float, clock: Callable[[], float] = time.perf_counter
) -> float:
    """The mean time of an iteration, those with a penalty counted as often as they come: measured for so many
    seconds, after one of each to warm up, which counts where it alone takes them."""
    state = new_state(config, pick_device(config.device))
    work, shares = bench.training(state, now), bench.shares_of_steps(config)

    def timed(step: int) -> float:
        state.images_seen = step * now.batch_size
        bench.wait(state.device)
        start = clock()
        work()
        bench.wait(state.device)
        return clock() - start

    times = {step: [timed(step)] for step in shares}
    if sum(map(sum, times.values())) < seconds:
        times, until = {step: [] for step in shares}, clock() + seconds
        while not times[0] or clock() < until:
            for step in shares:
                times[step].append(timed(step))
    return sum(share * sum(times[step]) / len(times[step]) for step, share in shares.items())


# --- length


def _fitted(
    config: TrainingConfig, pace: Pace, hours: float, longest: float, kimg: float | None = None
) -> TrainingConfig:
    """The configuration with a schedule for that time: its length, and where the preset is none of the paper's its
    growing, as long as the preset says or shorter. kimg: the length that has been chosen, if any."""
    seconds, top = hours * 3600 / OVERHEAD, config.generator.resolution
    schedule = config.schedule
    if config.preset not in presets.PAPER and schedule.initial_resolution < top:
        lower = _seconds_below(replace(schedule, total_kimg=float(LONGEST)), top, pace)
        share = min(1.0, GROWING * seconds / lower)
        if kimg is not None:
            share = min(share, GROWING * kimg * 1000 / _images_below(schedule, top))
        schedule = replace(
            schedule, stable_kimg=_rounded(share * schedule.stable_kimg), fade_kimg=_rounded(share * schedule.fade_kimg)
        )
    left = seconds
    for _ in range(2):  # the scores take their share, and how many there are depends on the length
        if kimg is None:
            schedule = replace(schedule, total_kimg=_kimg_in(schedule, top, pace, left, longest))
        if config.preset not in presets.PAPER:
            schedule = replace(schedule, tick_kimg=_ticks(schedule, config.schedule))
        left = max(seconds - pace.seconds_of_scores(schedule, top) / OVERHEAD, seconds / 2)
    return replace(config, schedule=schedule)


def _ticks(schedule: ScheduleConfig, usual: ScheduleConfig) -> dict[int, float]:
    """Reports as often as usual, but at least fifteen in a run, so that pictures come early."""
    most = max(schedule.total_kimg / 15, 0.1)
    return {resolution: min(kimg, _rounded(most)) for resolution, kimg in usual.tick_kimg.items()}


def _kimg_in(schedule: ScheduleConfig, top: int, pace: Pace, seconds: float, longest: float) -> float:
    """Thousands of images that can be trained on in so many seconds."""
    left, images = seconds, 0.0
    for count, now in stages(replace(schedule, total_kimg=float(longest)), top):
        each = pace.seconds_per_image(now)
        if count * each >= left:
            return _rounded((images + left / each) / 1000)
        left, images = left - count * each, images + count
    return float(longest)


def _below(schedule: ScheduleConfig, top: int) -> Iterator[tuple[int, State]]:
    """The stages before the full resolution stands by itself."""
    octaves = top.bit_length() - schedule.initial_resolution.bit_length()
    enough = octaves * (schedule.stable_kimg + schedule.fade_kimg) + 1.0
    return ((n, now) for n, now in stages(replace(schedule, total_kimg=enough), top) if now.stage != (top, False))


def _seconds_below(schedule: ScheduleConfig, top: int, pace: Pace) -> float:
    return sum(images * pace.seconds_per_image(now) for images, now in _below(schedule, top))


def _images_below(schedule: ScheduleConfig, top: int) -> int:
    return sum(images for images, _ in _below(schedule, top))


def _rounded(kimg: float) -> float:
    """Down to two digits, as people write it."""
    step = 10.0 ** (floor(log10(kimg)) - 1)
    return float(f"{floor(kimg / step + 1e-9) * step:.2g}")


# --- in words


def sentences(plan: Plan, config: TrainingConfig, run: str) -> list[str]:
    """What will be trained and why, and when and where pictures appear: lines for the beginning of a run.

    config: the plan's, or what options have made of it.
    """
    top, schedule, images = config.generator.resolution, config.schedule, plan.images
    size, maps = f"{top} x {top}", config.generator.feature_maps
    first, total = plan.seconds(config)
    speed = 1 / plan.pace.seconds_per_image(whole(schedule, top, top))
    device = bench.name_of(pick_device(config.device))
    within = "" if plan.hours is None else f"; for {bench.duration(plan.hours * 3600)} (--hours)"
    often = passes(0, int(schedule.total_kimg * 1000), images).removeprefix("pass 1 of ")
    lines = [
        f"measured on {device}: {speed:.3g} images a second at {size}{within}",
        f"chosen: preset {config.preset}, feature maps {maps.base} / {maps.maximum}, {schedule.total_kimg:g} kimg, "
        f"{often} passes over {images} images; it takes about {bench.duration(total)}",
    ]
    if images < FEW:
        lines += _about_few(config)
    if schedule.initial_resolution >= top:
        lines.append(f"pictures: {run}/report.html and fakes-*.png, at once, at {size} from the beginning")
    else:
        grows = f"grows from {schedule.initial_resolution} x {schedule.initial_resolution}"
        lines.append(
            f"pictures: {run}/report.html and fakes-*.png, at once; it {grows}, the first at {size} after about "
            f"{bench.duration(first)}"
        )
    if (warning := _too_short(plan, config)) is not None:
        lines.append(warning)
    return lines


def _about_few(config: TrainingConfig) -> list[str]:
    augmented = "what D sees is augmented (--augment.kind none undoes it)"
    helps = "--augment.kind ada helps against learning them by heart"
    lines = [f"fewer than {FEW:,} images: {augmented if config.augment.kind != 'none' else helps}"]
    by_itself = config.augment.adapts and config.augment.judge == "auto"
    if by_itself and config.augment.judges_of(open_store(config.data)) is None:
        lines.append(
            f"fewer than {FEWEST_JUDGES} images are held out, which would steer the augmentation better: `stylegan "
            "prepare --hold-out 10` keeps ten apart"
        )
    if config.start_from == MODEL:
        lines.append(
            f"fewer than {FEW:,} images: it begins with the bundled model {MODEL}, which is quicker than from nothing "
            f"(--start-from {presets.NOTHING} undoes it; the model is CC BY 4.0, credit FairFace)"
        )
    elif not config.start_from:
        lines.append("few images learn faster from another model: --start-from MODEL")
    return lines


def _too_short(plan: Plan, config: TrainingConfig) -> str | None:
    """Says so where there will be no pictures at the full resolution worth to look at, and what would help."""
    top, schedule = config.generator.resolution, config.schedule
    at_full = sum(images for images, now in stages(schedule, top) if now.stage == (top, False)) / 1000
    least = LEAST_FROM_A_MODEL if config.start_from else LEAST
    if at_full >= least:
        return None
    more = (least - at_full) * 1000 * plan.pace.seconds_per_image(whole(schedule, top, top))
    growing = plan.seconds(config)[1]
    hours = (growing + OVERHEAD * more) / 3600
    if schedule.initial_resolution < top:
        hours = max(hours, OVERHEAD * more / 3600 / (1 - GROWING))
    smaller = f", or --resolution {top // 2}" if top > 16 else ""
    return (
        f"warning: in this time it sees {at_full:.2g} thousand images at {top} x {top}, too few for good pictures "
        f"(at least {least}): give it --hours {float(f'{hours:.2g}'):g}{smaller}"
    )
