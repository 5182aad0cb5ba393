"""The schedule of progressive growing: what is trained on, and how, as a pure function of the images seen."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import floor
from typing import Annotated

from tyro.constructors import PrimitiveConstructorSpec

from stylegan.config import above, at_least, check
from stylegan.errors import InputError
from stylegan.resolutions import check_resolution, is_resolution, log2


def _by_resolution(kind: type) -> PrimitiveConstructorSpec:
    """How a table is written on the command line: 4:128,32:64 (128 from 4 x 4 on, 64 from 32 x 32 on)."""

    def read(words: list[str]) -> dict:
        try:
            pairs = [pair.split(":") for pair in words[0].split(",")]
            table = {int(resolution): kind(value) for resolution, value in pairs}
            if len(table) == len(pairs):
                return table
            raise ValueError
        except ValueError:
            raise ValueError(f"write {words[0]!r} as pairs of resolution and value, such as 4:32,64:16") from None

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="RES:VALUE,...",
        instance_from_str=read,
        is_instance=lambda table: isinstance(table, dict),
        str_from_instance=lambda table: [",".join(f"{r}:{v:g}" for r, v in table.items())],
    )


Counts = Annotated[dict[int, int], _by_resolution(int)]
Numbers = Annotated[dict[int, float], _by_resolution(float)]

# Each table maps a resolution to the value that holds from there on, up to the next entry.
BATCH_SIZES = {  # official, by number of GPUs
    1: {4: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 4},
    2: {4: 256, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8},
    4: {4: 512, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16},
    8: {4: 512, 8: 256, 16: 128, 32: 64, 64: 32},
}
LEARNING_RATES = {4: 0.001, 128: 0.0015, 256: 0.002, 512: 0.003}
TICK_KIMG = {4: 160, 8: 140, 16: 120, 32: 100, 64: 80, 128: 60, 256: 40, 512: 30, 1024: 20}


@dataclass(frozen=True)
class ScheduleConfig:
    """How training grows. The defaults are the paper's for FFHQ, on one GPU (appendix C)."""

    initial_resolution: int = 8
    """Where growing starts; the full resolution trains everything at once."""
    stable_kimg: Annotated[float, at_least(0)] = 600.0
    """Thousands of images for which a resolution is trained before the next is faded in."""
    fade_kimg: Annotated[float, at_least(0)] = 600.0
    """Thousands of images over which a resolution is faded in."""
    total_kimg: Annotated[float, above(0)] = 25000.0
    """Length of the training in thousands of real images seen by the discriminator."""
    batch_size: Annotated[Counts, at_least(1)] = field(default_factory=lambda: dict(BATCH_SIZES[1]))
    """Images in a batch, by resolution; an entry holds until the next higher one."""
    learning_rate: Annotated[Numbers, above(0)] = field(default_factory=lambda: dict(LEARNING_RATES))
    """Learning rate of both networks, by resolution."""
    decay_kimg: Annotated[float, at_least(0)] = 0.0
    """Thousands of images at the end over which the learning rate falls to 0, in a straight line; 0 in the paper. A run
    that goes on may begin with it."""
    tick_kimg: Annotated[Numbers, above(0)] = field(default_factory=lambda: dict(TICK_KIMG))
    """Thousands of images between reports, by resolution."""
    repeats: Annotated[int, at_least(1)] = 4
    """Iterations for which the schedule is held before it is read again."""

    def __post_init__(self) -> None:
        check(self)
        check_resolution(self.initial_resolution, "initial_resolution")
        for name in ("batch_size", "learning_rate", "tick_kimg"):
            table = getattr(self, name)
            if not table or min(table) > self.initial_resolution:
                raise InputError(f"{name} needs a value at resolution {self.initial_resolution} or below")
            if not all(map(is_resolution, table)):
                raise InputError(f"{name} has a resolution that is no power of two from 4 to 1024")


@dataclass(frozen=True)
class State:
    """What the schedule says at one moment."""

    resolution: int
    fade: float  # the weight of the next lower resolution, [0, 1)
    batch_size: int
    learning_rate: float
    tick_images: float

    @property
    def stage(self) -> tuple[int, bool]:
        """Resolution, and whether it is being faded in. The optimizers start anew when it changes."""
        return self.resolution, self.fade > 0


def state_at(config: ScheduleConfig, resolution: int, images_seen: int) -> State:
    """The schedule of a training towards `resolution` after `images_seen` images.

    The lod of the official code counts octaves below full resolution: it starts at the initial resolution, stays
    for `stable_kimg`, falls by one over `fade_kimg`, and so on down to 0.
    """
    kimg, phase_kimg = images_seen / 1000, config.stable_kimg + config.fade_kimg
    phase = floor(kimg / phase_kimg) if phase_kimg > 0 else 0
    lod = float(log2(resolution) - log2(min(config.initial_resolution, resolution)) - phase)
    if config.fade_kimg > 0:
        lod -= max(kimg - phase * phase_kimg - config.stable_kimg, 0.0) / config.fade_kimg
    lod = max(lod, 0.0)

    left = config.total_kimg - kimg
    decay = max(left, 0.0) / config.decay_kimg if left < config.decay_kimg else 1.0

    at = resolution >> floor(lod)
    return State(
        resolution=at,
        fade=lod - floor(lod),
        batch_size=from_there_on(config.batch_size, at),
        learning_rate=from_there_on(config.learning_rate, at) * decay,
        tick_images=from_there_on(config.tick_kimg, at) * 1000,
    )


def from_there_on(table: dict[int, float], resolution: int) -> float:
    """The value that a table has for a resolution."""
    keys = sorted(table)
    return table[keys[bisect_right(keys, resolution) - 1]]


def stages(config: ScheduleConfig, resolution: int, images_seen: int = 0) -> Iterator[tuple[int, State]]:
    """What is left of the training, by stage: (number of images, the schedule's state in their middle)."""
    first, phase_kimg = min(config.initial_resolution, resolution), config.stable_kimg + config.fade_kimg
    octaves, total = log2(resolution) - log2(first), config.total_kimg * 1000
    ends = {total}
    for octave in range(octaves):
        ends |= {(octave * phase_kimg + config.stable_kimg) * 1000, (octave + 1) * phase_kimg * 1000}
    begins = images_seen
    for end in sorted(round(end) for end in ends if images_seen < end <= total):
        if end > begins:
            yield end - begins, state_at(config, resolution, (begins + end) // 2)
            begins = end


def groups(config: ScheduleConfig, resolution: int, images_seen: int = 0) -> Iterator[tuple[int, State]]:
    """The training in groups of `repeats` iterations with one schedule state each: (images seen before, state)."""
    while images_seen < config.total_kimg * 1000:
        state = state_at(config, resolution, images_seen)
        yield images_seen, state
        images_seen += config.repeats * state.batch_size
