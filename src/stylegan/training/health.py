"""A training that has diverged though all its numbers are finite: seen at its ticks, from lines of stats.jsonl.

Each symptom is a pure function of a line. Grave ones end the training at once, others when they last. From the first
sign on, the last state and model from before it are kept: `Health.first_sign` says when that was.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

Record = dict[str, Any]

LASTING = 3  # ticks in a row, before what may pass is called a divergence
# what is a first sign, and what is a divergence at once
WEIGHTS = (4.0, 10.0)  # root mean square; equalized ones begin with 1, and stay near it
SCORES = {"logistic": (1e2, 1e3), "relativistic": (1e2, 1e3), "wgan-gp": (2e3, 2e4)}  # means, of either sign
GROWTH = 1.15  # of the weights from one tick to the next, beyond which it is a first sign
NO_GRADIENT = 1e-12  # norm
NO_VARIETY = 0.01


class Health:
    """What is known of a run's health. All that decides is in the lines, so that a resumed run judges as before."""

    def __init__(
        self, loss: str, stats: Sequence[Record] = (), *, varied: bool = True, weights: Record | None = None
    ) -> None:
        """loss: kind of the loss. stats: lines of stats.jsonl so far. varied: whether the training images differ from
        each other, so that samples should. weights: `sizes_of_weights` at the beginning."""
        self._varied, self._weights = varied, weights or {}
        self._limits = list(zip(WEIGHTS, SCORES[loss], strict=True))
        self._lasting: dict[str, int] = {}
        self.first_sign: int | None = None
        """Images seen at the first of the ticks in a row that are not quite well; None while all is."""
        for line in stats:
            numbers = {name: value for name, value in line.items() if isinstance(value, int | float)}
            if "images_seen" in numbers:
                self.look(numbers)

    def look(self, record: Record) -> tuple[str, int | None]:
        """Take note of a tick. Returns what of it is a divergence, for people, or "" where there is none; and
        `first_sign`."""
        signs, grave = (grave_symptoms(record, *limits) for limits in self._limits)
        signs += [name for name, size in self._weights.items() if record.get(name, 0) > GROWTH * size]
        self._weights = {name: record[name] for name in ("weights_g", "weights_d") if name in record}
        may_pass = symptoms(record if self._varied else record | {"variety": 1.0})
        self._lasting = {each: self._lasting.get(each, 0) + 1 for each in may_pass}
        if not (signs or may_pass):
            self.first_sign = None
        elif self.first_sign is None:
            self.first_sign = record["images_seen"]
        lasting = [each for each, ticks in self._lasting.items() if ticks >= LASTING]
        return next(iter([*grave, *lasting]), ""), self.first_sign


def grave_symptoms(record: Record, largest_weights: float, largest_scores: float) -> list[str]:
    """What runs away in a tick."""
    found = []
    for name, network in (("weights_g", "G"), ("weights_d", "D")):
        if record.get(name, 0) > largest_weights:
            found.append(f"the weights of {network} have grown to {record[name]:.3g} times what they began with")
    for name, what in (("score_real", "scores of training images"), ("score_fake", "scores of fakes")):
        if abs(record.get(name, 0)) > largest_scores:
            found.append(f"the {what} have run away to {record[name]:.3g}")
    for name, network in (("loss_g", "G"), ("loss_d", "D")):
        if abs(record.get(name, 0)) > 10 * largest_scores:
            found.append(f"the loss of {network} has run away to {record[name]:.3g}")
    return found


def symptoms(record: Record) -> list[str]:
    """What is wrong in a tick if it lasts."""
    found = []
    for name, network in (("gradient_norm_g", "G"), ("gradient_norm_d", "D")):
        if record.get(name, 1.0) < NO_GRADIENT:
            found.append(f"{network} gets no gradient: nothing trains it")
    if record.get("variety", 1.0) < NO_VARIETY:
        found.append("all samples are the same picture")
    return found


def sizes_of_weights(g: nn.Module, d: nn.Module) -> Record:
    """What a line says of them."""
    return {"weights_g": size_of_weights(g), "weights_d": size_of_weights(d)}


@torch.no_grad()
def size_of_weights(network: nn.Module) -> float:
    """Root mean square of a network's weights relative to what equalized ones begin with, biases left out."""
    squares, count = [], 0
    for module in network.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter):
            squares.append((weight * getattr(module, "lr_multiplier", 1.0)).square().sum())
            count += weight.numel()
    return (torch.stack(squares).sum() / count).sqrt().item() if squares else 0.0
