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
from stylegan.training.config import TrainingConfig
from stylegan.training.schedule import ScheduleConfig, State, stages

FORGETTING = 60.0  # seconds of training after which a measurement counts half, or a quarter of a longer time
WORTH = 4.0  # seconds of measuring that what was measured before this training counts for
OVERHEAD = 1.06  # grids, states and reports, until they have been measured
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


@dataclass
class _Measured:
    """What has been measured of a stage."""

    images: float = 0.0  # and the seconds that they took, the newest counting most
    seconds: float = 0.0
    observed: float = 0.0  # seconds, all counting alike
    cycles: int = 0

    def add(self, images: float, seconds: float) -> None:
        self.cycles += 1
        keep = 0.5 ** (seconds / max(FORGETTING, self.observed / 4)) if self.cycles > 2 else 0.0
        self.images, self.seconds = self.images * keep + images, self.seconds * keep + seconds
        self.observed += seconds


class Pace:
    """What is known of a training's speed."""

    def __init__(
        self,
        g: GeneratorConfig,
        d: DiscriminatorConfig,
        device_type: str = "cpu",
        *,
        cycle: int = 1,
        scored_every: int = 0,
    ) -> None:
        """cycle: iterations in which what does not come in each of them, such as a lazy penalty, has come as often as
        it should. scored_every: number of reports of which one has scores; 0 for none."""
        self._networks, self._rates = (g, d), TYPICAL["cpu" if device_type == "cpu" else "cuda"]
        self._cycle, self._scored_every = cycle, scored_every
        self._measured: dict[State, _Measured] = {}
        self._begun: tuple[State, float, float] | None = None  # a cycle that is not complete: images, seconds
        self._foretold: dict[State, float] = {}  # seconds an image, measured before this training
        self._slower = 1.0  # so many times as slow as foretold it is
        self._pauses: dict[bool, tuple[int, float]] = {}  # with scores and without: how many, and how long they are
        self._scores = 0.0, 0.0  # seconds, until that is measured: each time, and the first time beyond that

    @classmethod
    def of(cls, config: TrainingConfig, device_type: str) -> "Pace":
        """That of a training of which nothing is known yet."""
        scored_every = config.evaluation_ticks if config.evaluation.metrics else 0
        return cls(config.generator, config.discriminator, device_type, cycle=config.cycle, scored_every=scored_every)

    def add(self, now: State, images: float, seconds: float) -> None:
        """Take note that so many images of a stage took so long.

        They count when a cycle is complete, or as long as nothing else is known. The first cycle of a stage counts only
        until there is a second: it may have waited for memory, or a compiler.
        """
        key = _key(now)
        if self._begun is not None and self._begun[0] == key:
            images, seconds = self._begun[1] + images, self._begun[2] + seconds
        self._begun = key, images, seconds
        if images <= (self._cycle - 1) * key.batch_size:
            return
        self._begun = None
        self._measured.setdefault(key, _Measured()).add(images, seconds)
        if key in self._foretold:
            self._slower = self._known()[key] / self._foretold[key]

    def foretell(self, now: State, per_image: float) -> None:
        """Take over how many seconds an image of a stage took before this training."""
        self._foretold[_key(now)] = per_image

    def foretell_scores(self, each: float, first: float) -> None:
        """Take over how many seconds scores take each time, and the first time beyond that."""
        self._scores = each, first

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
            if key == before or key not in self._foretold:
                self.foretell(key, per_image)
            before = key

    def pause(self, tick: int, seconds: float) -> None:
        """Take note that the report of a tick held the training up for so long.

        The first of a kind, with scores or without, counts only until there is a second: it may have read the training
        images.
        """
        scored = self._scored_every > 0 and tick % self._scored_every == 0
        count, before = self._pauses.get(scored, (0, 0.0))
        self._pauses[scored] = count + 1, seconds if count < 2 else (before + seconds) / 2

    def seconds_per_image(self, now: State) -> float:
        """Measured, or else estimated from the nearest that has been. Raises ValueError where nothing has been."""
        key, known = _key(now), self._known()
        if key in known:
            return known[key]
        if not known:
            raise ValueError("nothing has been measured yet")
        near = min(known, key=lambda other: _distance(other, key))
        return self._model(key, known) * known[near] / self._model(near, known)

    def seconds_left(self, schedule: ScheduleConfig, resolution: int, images_seen: int = 0) -> float:
        """Estimate of the time that a training still takes, its reports with it."""
        parts = list(stages(schedule, resolution, images_seen))
        training = sum(images * self.seconds_per_image(now) for images, now in parts)
        reports, scored = self._reports(parts)
        counts = {kind: count for kind, count in ((True, scored), (False, reports - scored)) if count}
        if counts.keys() <= self._pauses.keys():
            return training + sum(count * self._pauses[kind][1] for kind, count in counts.items())
        return training * OVERHEAD + self._seconds_of_scores(scored)

    def seconds_of_scores(self, schedule: ScheduleConfig, resolution: int) -> float:
        """How much of a whole training's time its scores take."""
        return self._seconds_of_scores(self._reports(list(stages(schedule, resolution)))[1])

    def _seconds_of_scores(self, count: int) -> float:
        if True in self._pauses:
            return count * self._pauses[True][1]
        each, first = self._scores
        return count * each + first if count else 0.0

    def _reports(self, parts: list[tuple[int, State]]) -> tuple[int, int]:
        """How many reports these images of stages have, and how many of those scores."""
        reports = math.ceil(sum(images / now.tick_images for images, now in parts))
        return reports, math.ceil(reports / self._scored_every) if self._scored_every else 0

    def _known(self) -> dict[State, float]:
        """Seconds an image of each stage that has been measured, or was foretold."""
        known = {key: self._slower * per_image for key, per_image in self._foretold.items()}
        for key, own in self._measured.items():
            if key not in self._foretold:
                known[key] = own.seconds / own.images
            elif own.cycles > 1:  # what was foretold is worth some seconds
                known[key] = (own.seconds + WORTH) / (own.images + WORTH / self._foretold[key])
        if self._begun is not None:
            key, images, seconds = self._begun
            known.setdefault(key, seconds / images)
        return known

    def _model(self, now: State, known: dict[State, float]) -> float:
        """Seconds an image by the widths of the networks, and by factors for the iteration and for the image that fit
        what is known."""
        of_iteration, of_images = self._factors(known)
        fixed, each = expected(*self._networks, now, self._rates)
        return of_iteration * fixed / now.batch_size + of_images * each

    def _factors(self, known: dict[State, float]) -> tuple[float, float]:
        """Least squares of the relative errors, drawn a little towards equal factors, which decides where there is one
        measurement."""
        shares = []
        for stage, per_image in known.items():
            fixed, each = expected(*self._networks, stage, self._rates)
            shares.append((fixed / stage.batch_size / per_image, each / per_image))
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
