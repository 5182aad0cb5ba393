"""What goes wrong in a training, in words, with what to do: pure functions of what stats.jsonl and metrics.jsonl say.

Each looks at the last ticks of one kind of trouble and returns a sentence, or "" where all is well. The sentences hold
no number that changes from tick to tick, so that each is said once.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean as mean
from typing import Any

from stylegan.metrics.metric import METRICS

Record = dict[str, Any]

WINDOW = 5  # ticks whose mean counts
RECENT = 100  # ticks that are looked at
MEMORIZING_PASSES = 20  # over the data, before which D tells reals from fakes by what they are
MEMORIZING_IMAGES = 50_000  # before which it may simply be ahead
MEASUREMENTS = 6  # without a better score, before that is said


@dataclass(frozen=True)
class About:
    """What of a run the advice depends on."""

    images: int
    """Number of training images."""
    loss: str = "logistic"
    total_images: int = 0


@dataclass(frozen=True)
class Said:
    """A sentence, and when it began to hold."""

    images_seen: int
    sentence: str


def advise(stats: Sequence[Record], scores: Sequence[Record], about: About) -> list[str]:
    """What holds now: a sentence for each trouble, none where a run is in health.

    stats: the lines of stats.jsonl so far. scores: those of metrics.jsonl.
    """
    if not stats:
        return []
    stats = stats[-RECENT:]
    found = [skipped(stats), memorizing(stats, about), drifting(stats, about), collapsing(stats, about)]
    return [sentence for sentence in [*found, not_improving(scores)] if sentence]


def history(stats: Sequence[Record], scores: Sequence[Record], about: About) -> list[Said]:
    """Everything that was to be said over a run, in order: each sentence when it began to hold, or did so again."""
    said, held = [], []
    for end in range(1, len(stats) + 1):
        seen = stats[end - 1]["images_seen"]
        now = advise(
            stats[max(0, end - RECENT) : end], [line for line in scores if line.get("images_seen", 0) <= seen], about
        )
        said += [Said(seen, sentence) for sentence in now if sentence not in held]
        held = now
    return said


# --- one trouble each


def skipped(stats: Sequence[Record]) -> str:
    """Steps were left out in the last ticks because their gradients were not finite."""
    if len(stats) < 2:
        return ""
    before = stats[max(0, len(stats) - 1 - WINDOW)]
    names = [name for name in "gd" if stats[-1].get(f"skipped_{name}", 0) > before.get(f"skipped_{name}", 0)]
    if not names:
        return ""
    whose = " and ".join(name.upper() for name in names)
    return (
        f"steps of {whose} are skipped, because their gradients are not finite; if that goes on, begin anew with a "
        "lower --lr, a higher --loss.r1-gamma, or --precision float32"
    )


def memorizing(stats: Sequence[Record], about: About) -> str:
    """D knows the training images by heart: it takes held-out ones for fakes, or is sure of nearly all reals."""
    least = max(MEMORIZING_IMAGES, MEMORIZING_PASSES * about.images)
    if about.loss == "wgan-gp" or stats[-1]["images_seen"] < least:
        return ""  # a critic's scores have no zero
    stage = _this_stage(stats)
    what = ""
    real, fake, held_out = (_late(stage, f"score_{name}") for name in ("real", "fake", "held_out"))
    if real - fake > 0.5 and (real - held_out) / (real - fake) > 0.5:
        what = "D scores held-out images more like fakes than like training images"
    elif _late(stage, "sign_real", 2 * WINDOW) > 0.9 and about.loss == "logistic":
        what = "D is sure of nearly every training image"
    if not what:
        return ""
    remedy = "more images, or a stop: the best model may be an earlier one"
    if "augment_strength" not in stats[-1]:
        remedy = "--augment.kind ada in a new run, or more images"
    return f"{what}, pass after pass: it learns them by heart, and samples will get worse. What helps: {remedy}"


def drifting(stats: Sequence[Record], about: About) -> str:
    """The scores of reals and fakes move apart for good: G does not follow any more."""
    stage = _this_stage(stats)
    gaps = [line["score_real"] - line["score_fake"] for line in stage if "score_real" in line and "score_fake" in line]
    if about.loss == "wgan-gp" or len(gaps) < 4 * WINDOW:
        return ""
    late, before = mean(gaps[-WINDOW:]), mean(gaps[-4 * WINDOW : -3 * WINDOW])
    between = mean(gaps[-3 * WINDOW : -WINDOW])
    if not (late > 12 or (late > 4 and late > 2 * before and late > between > before)):
        return ""
    return (
        "the scores of real and generated images drift apart: G does not follow D any more. What helps: a higher "
        "--loss.r1-gamma, a lower --lr, or more images"
    )


def collapsing(stats: Sequence[Record], about: About) -> str:
    """The samples of the fixed seeds become alike."""
    stage = [line["variety"] for line in _this_stage(stats) if "variety" in line]
    late = mean(stage[-3:]) if len(stage) >= 3 else 1.0
    best = max(map(min, stage, stage[1:-5]), default=0.0)  # of two ticks in a row
    never = len(stage) >= 3 * WINDOW and stats[-1]["images_seen"] > 0.2 * about.total_images and late < 0.2
    if not (never or (best > 0.3 and late < 0.5 * best)):
        return ""
    return (
        "the samples become alike: variety is lost (mode collapse). What helps: an earlier model, and a new run with a "
        "lower --lr or a higher --loss.r1-gamma"
    )


def not_improving(scores: Sequence[Record]) -> str:
    """The first metric has not been better for several measurements."""
    lines = [line for line in scores if line["metric"] == scores[0]["metric"] and "images_seen" in line]
    if len(lines) <= MEASUREMENTS or lines[0]["metric"] not in METRICS:
        return ""
    name = next(iter(lines[0]["values"]))
    sign = -1 if METRICS[lines[0]["metric"]].better == "higher" else 1
    values = [sign * line["values"].get(name, float("inf")) for line in lines]
    best = min(range(len(values)), key=values.__getitem__)
    if len(values) - 1 - best < MEASUREMENTS:
        return ""
    return (
        f"{name} has not become better since {lines[best]['images_seen'] / 1000:g} kimg, whose model is kept as "
        "best.safetensors: stop, unless the learning rate is still to fall"
    )


# --- windows


def _this_stage(stats: Sequence[Record]) -> list[Record]:
    """The last lines at one resolution that is not being faded in; [] while one is."""
    stage = []
    for line in _backwards(stats):
        if line.get("fade", 0) > 0 or line.get("resolution") != stats[-1].get("resolution"):
            break
        stage.append(line)
    return stage[::-1]


def _backwards(stats: Sequence[Record]) -> Iterator[Record]:
    return (stats[i] for i in range(len(stats) - 1, -1, -1))


def _late(stage: Sequence[Record], name: str, window: int = WINDOW) -> float:
    """The mean of the last ticks; NaN, which is neither more nor less than anything, where there are fewer."""
    values = [line[name] for line in stage[-window:] if name in line]
    return mean(values) if len(values) == window else math.nan
