"""How fast a training is at each resolution: as measured where it has been, elsewhere as its networks let expect.

An iteration takes a time of its own (starting its operations, moving all weights) and a time for each image (its
multiplications, and the passes over its activations). Both follow from the networks' widths, up to two factors that are
the machine's, which come from what has been measured.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from stylegan.networks.discriminator import DiscriminatorConfig
from stylegan.networks.generator import GeneratorConfig
from stylegan.resolutions import log2, resolutions
from stylegan.training.schedule import ScheduleConfig, State, stages

FORGETTING = 60.0  # seconds of training after which a measurement counts half
TRUST_IN_TYPICAL = 0.01  # weight of the rates below against a measurement, where several decide


@dataclass(frozen=True)
class Rates:
    """What a kind of device does; only the proportions matter, and only until several resolutions are measured."""

    operation: float
    """Seconds to start one operation on a tensor."""
    products: float
    """Floating-point operations of convolutions a second."""
    memory: float
    """Bytes a second."""


TYPICAL = {"cpu": Rates(1e-5, 1.5e11, 1e10), "cuda": Rates(9e-6, 3e13, 1.5e12)}


def expected(g: GeneratorConfig, d: DiscriminatorConfig, now: State, rates: Rates) -> tuple[float, float]:
    """Seconds that an iteration takes by itself, and for each of its images."""
    levels = resolutions(now.resolution)
    # measured: the operations of an eager iteration with R1
    operations = 950 + 305 * len(levels) + 100 * (now.fade > 0)
    weights = 4 * (g.size + d.size)
    fixed = operations * rates.operation + 10 * weights / rates.memory  # gradients, Adam's moments, average

    flops_g = 2 * g.mapping_layers * g.mapping_width**2
    flops_d = numbers_g = numbers_d = 0
    for r in levels:
        maps, below = g.feature_maps(r), g.feature_maps(r // 2)
        flops_g += 2 * r * r * maps * (9 * maps + (4 * below if r > 4 else 0))  # the fused ones take 4/9
        numbers_g += 2 * r * r * maps
        maps, below = d.feature_maps(r), d.feature_maps(r // 2)
        flops_d += 2 * r * r * maps * (9 * maps + (4 * below if r > 4 else 0))
        numbers_d += 2 * r * r * maps
    # G: forward for D's step; forward and both derivatives for its own. D: the same for reals, fakes and R1, and for G
    # without the derivatives of its weights.
    flops = 4 * flops_g + 11 * flops_d
    passes = 4 * (40 * numbers_g + 50 * numbers_d)  # bytes: each layer reads and writes its activations several times
    return fixed, flops / rates.products + passes / rates.memory


class Pace:
    """What is known of a training's speed."""

    def __init__(self, g: GeneratorConfig, d: DiscriminatorConfig, device_type: str = "cpu") -> None:
        self._networks, self._rates = (g, d), TYPICAL["cpu" if device_type == "cpu" else "cuda"]
        self._measured: dict[State, tuple[float, float]] = {}  # images, and seconds they took
        self._added: dict[State, int] = {}  # how often

    def add(self, now: State, images: float, seconds: float) -> None:
        """Take note that so many images of a stage took so long.

        The first of a stage counts only until there is a second: it may have waited for memory, or a compiler.
        """
        key = _key(now)
        self._added[key] = self._added.get(key, 0) + 1
        if self._added[key] == 1 and key in self._measured:
            return  # recalled
        before = self._measured[key] if self._added[key] > 2 else (0.0, 0.0)
        keep = 0.5 ** (seconds / FORGETTING)
        self._measured[key] = (before[0] * keep + images, before[1] * keep + seconds)

    def recall(self, records: Iterable[dict[str, Any]]) -> None:
        """Take over the lines of stats.jsonl, the newest of each stage; those that span two stages where there is no
        other."""
        before = None
        for record in records:
            try:
                now = State(record["resolution"], record["fade"], record["batch_size"], 0.0, 0.0)
                key, per_image = _key(now), 1 / record["images_per_second"]
            except (LookupError, TypeError, ArithmeticError):
                continue  # no line of ours
            if key.resolution not in resolutions(1024) or not isinstance(key.batch_size, int) or per_image <= 0:
                continue
            if key == before or key not in self._measured:
                self._measured[key] = (key.batch_size, key.batch_size * per_image)
            before = key

    def seconds_per_image(self, now: State) -> float:
        """Measured, or else estimated from the nearest that has been. Raises ValueError where nothing has been."""
        key = _key(now)
        if key in self._measured:
            images, seconds = self._measured[key]
            return seconds / images
        if not self._measured:
            raise ValueError("nothing has been measured yet")
        near = min(self._measured, key=lambda known: _distance(known, key))
        return self._model(key) * self.seconds_per_image(near) / self._model(near)

    def seconds_left(self, schedule: ScheduleConfig, resolution: int, images_seen: int = 0) -> float:
        """Estimate of the time that a training still takes."""
        return sum(images * self.seconds_per_image(now) for images, now in stages(schedule, resolution, images_seen))

    def _model(self, now: State) -> float:
        """Seconds an image by the widths of the networks, and by factors for the iteration and for the image that fit
        what has been measured."""
        of_iteration, of_images = self._factors()
        fixed, each = expected(*self._networks, now, self._rates)
        return of_iteration * fixed / now.batch_size + of_images * each

    def _factors(self) -> tuple[float, float]:
        """Least squares of the relative errors, drawn a little towards equal factors, which decides where there is one
        measurement."""
        shares = []
        for known, (images, seconds) in self._measured.items():
            fixed, each = expected(*self._networks, known, self._rates)
            shares.append((fixed / known.batch_size / (seconds / images), each / (seconds / images)))
        pull = TRUST_IN_TYPICAL * (sum(map(sum, shares)) / len(shares)) ** 2
        ff, ee = sum(f * f for f, _ in shares) + pull, sum(e * e for _, e in shares) + pull
        fe, f, e = sum(f * e for f, e in shares) - pull, sum(f for f, _ in shares), sum(e for _, e in shares)
        determinant = ff * ee - fe * fe
        factors = ((f * ee - e * fe) / determinant, (e * ff - f * fe) / determinant)
        if factors[0] <= 0:
            return 0.0, e / (ee - pull)
        if factors[1] <= 0:
            return f / (ff - pull), 0.0
        return factors


def _key(now: State) -> State:
    """A stage: what of the schedule's state decides the speed."""
    return State(now.resolution, 0.5 * (now.fade > 0), now.batch_size, learning_rate=0.0, tick_images=0.0)


def _distance(known: State, wanted: State) -> tuple[float, ...]:
    """How far a stage is from another: in resolution first; then in fading, then in batch."""
    doublings = abs(log2(known.resolution) - log2(wanted.resolution))
    return doublings, known.fade != wanted.fade, abs(math.log(known.batch_size / wanted.batch_size))
