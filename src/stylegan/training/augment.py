"""Augmentation of what the discriminator sees, for few images: reals and fakes alike, so that samples inherit none.

Karras, Aittala, Hellsten, Laine, Lehtinen and Aila, 2020, "Training generative adversarial networks with limited data":
transforms that D is never shown without, each applied with a probability, the strength p; D must then tell reals from
fakes by what survives them, and a generator that augments by itself is punished as long as images are left alone often
enough. p rises while D is surer of the reals than a target, and falls while it is not. Zhao et al., 2020,
"Differentiable augmentation for data-efficient GAN training", is the cheap form: three transforms, always.

Penalties (R1, R2, WGAN-GP's) are taken with respect to the augmented image. It is the image that D is a function of,
and what they bound is how fast the scores change along it; the derivative of a transform, which enlarges or drops
pixels, would weigh an image's penalty by chance. Transforms work at the current resolution, on images that have been
faded already, and not below 16 x 16, where pixels are too few for them.
"""

from dataclasses import dataclass, field, fields
from functools import reduce
from math import pi
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from stylegan import processes
from stylegan.config import above, at_least, between, check
from stylegan.data.store import Store
from stylegan.errors import InputError
from stylegan.randomness import draw_of_key, draw_uniform_of_key
from stylegan.training import transforms
from stylegan.training.graphs import Keys

LOWEST = 16  # resolution
TARGET = 0.6  # the paper's, of the mean sign
TARGET_OF_HELD_OUT = 0.35  # where trainings stand whose mean sign is held at 0.6 (docs/log.md, 2026-11-28)
KIMG, KIMG_OF_HELD_OUT = 100.0, 20.0  # with reals and with held-out images as judges (docs/log.md, 2026-11-28)
FEWEST_JUDGES = 8  # held-out images; what fewer say of D's overfitting is off by 0.2 (docs/log.md, 2026-11-28)

Group = Literal["blit", "geometry", "color", "filter", "noise", "translation", "cutout"]
GROUPS: dict[str, tuple[Group, ...]] = {
    "none": (),
    "ada": ("blit", "geometry", "color", "filter", "noise", "cutout"),
    "diff": ("color", "translation", "cutout"),
}
USUAL: dict[str, tuple[Group, ...]] = {"none": (), "ada": ("blit", "geometry", "color"), "diff": GROUPS["diff"]}


@dataclass(frozen=True)
class Multipliers:
    """What the strength is multiplied by to be the probability of each transform of ada; 0 leaves one out."""

    mirror: Annotated[float, at_least(0)] = 1.0
    """blit: mirror left and right (in half of the cases chosen)."""
    quarter_turn: Annotated[float, at_least(0)] = 1.0
    """blit: turn by 0, 90, 180 or 270 degrees."""
    shift: Annotated[float, at_least(0)] = 1.0
    """blit: move by whole pixels, up to an eighth of the side."""
    scale: Annotated[float, at_least(0)] = 1.0
    """geometry: enlarge or shrink; a standard deviation is a fifth of an octave."""
    rotation: Annotated[float, at_least(0)] = 1.0
    """geometry: turn by any angle, before or after the stretching."""
    stretch: Annotated[float, at_least(0)] = 1.0
    """geometry: stretch in one direction as much as it is pressed in the other; a fifth of an octave."""
    move: Annotated[float, at_least(0)] = 1.0
    """geometry: move by any distance; a standard deviation is an eighth of the side."""
    brightness: Annotated[float, at_least(0)] = 1.0
    """color: add a number to all channels; a standard deviation is a tenth of the range."""
    contrast: Annotated[float, at_least(0)] = 1.0
    """color: multiply all channels; a standard deviation is half an octave."""
    luma_flip: Annotated[float, at_least(0)] = 1.0
    """color: dark for light at the same hue and saturation (in half of the cases chosen)."""
    hue: Annotated[float, at_least(0)] = 1.0
    """color: turn the hue by any angle."""
    saturation: Annotated[float, at_least(0)] = 1.0
    """color: multiply the saturation; a standard deviation is an octave."""
    filter: Annotated[float, at_least(0)] = 1.0
    """filter: weigh an octave of frequencies, each of four chosen by itself; a standard deviation is an octave."""
    noise: Annotated[float, at_least(0)] = 1.0
    """noise: add noise, whose deviation is itself normal, of a standard deviation of a twentieth of the range."""
    cutout: Annotated[float, at_least(0)] = 1.0
    """cutout: make a square of half the side gray."""

    def __post_init__(self) -> None:
        check(self, "augment.multipliers.")


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of what the discriminator sees. Off in the paper and in all presets."""

    kind: Literal["none", "ada", "diff"] = "none"
    """none, ada (adaptive; Karras et al., 2020, "limited data"), or diff (three transforms of every image; Zhao et al.,
    2020)."""
    strength: Annotated[float | None, between(0, 1)] = None
    """Probability with which each transform is applied, for the whole run. Default: with ada it adapts, from 0 on; 1
    with diff."""
    target: Annotated[float | None, between(-1, 1)] = None
    """What the strength steers D to (ada): with reals as judges the mean sign of their scores, by default 0.6; with
    held-out images how much lower D scores these than the training's, relative to how much lower it scores fakes, by
    default 0.35."""
    judge: Literal["auto", "reals", "held-out"] = "auto"
    """Images that tell how much D overfits: the reals of the training, those that `stylegan prepare --hold-out` has
    kept apart, or auto, which is these where there are 8 or more (ada)."""
    kimg: Annotated[float | None, above(0)] = None
    """Thousands of images over which the strength would go from 0 to 1 (ada). 500 in the paper, whose runs are of
    25,000. Default, for runs of some hundreds: 20 with held-out images as judges, 100 with reals, whose signs
    rise before D overfits."""
    interval: Annotated[int, at_least(1)] = 4
    """Steps between two adjustments of the strength (ada)."""
    limit: Annotated[float, between(0, 1)] = 0.8
    """Highest strength that it adapts to (ada). Above 0.8 samples may inherit transforms (section 2.2 of the paper of
    ada)."""
    transforms: tuple[Group, ...] = ()
    """Groups of transforms: of ada blit, geometry, color, filter, noise, cutout; of diff color, translation, cutout.
    Default: the first three, which is what serves best in the paper of ada."""
    multipliers: Multipliers = field(default_factory=Multipliers)

    def __post_init__(self) -> None:
        check(self, "augment.")
        unknown = [name for name in self.transforms if name not in GROUPS[self.kind]]
        if unknown:
            there = ", ".join(GROUPS[self.kind])
            raise InputError(
                f"augment.transforms has {unknown[0]}, but augment.kind {self.kind} has "
                + (f"these: {there}" if there else "none; use ada or diff")
            )
        if self.kind == "none" and self.strength is not None:
            raise InputError("augment.strength needs augment.kind ada or diff")
        if self.kind != "ada" and self.multipliers != Multipliers():
            raise InputError("augment.multipliers needs augment.kind ada")
        if self.judge == "held-out" and not self.adapts:
            raise InputError("augment.judge needs augment.kind ada without a strength, which then adapts")

    @property
    def adapts(self) -> bool:
        """Whether the strength follows from what D makes of the images."""
        return self.kind == "ada" and self.strength is None

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups of transforms in use."""
        return self.transforms or USUAL[self.kind]

    def judges_of(self, store: Store) -> Store | None:
        """The held-out images of a store that the strength is judged by; None where the reals of the training are."""
        held_out = store.held_out() if self.adapts and self.judge != "reals" else None
        return held_out if held_out and (self.judge == "held-out" or held_out.count >= FEWEST_JUDGES) else None

    def is_judged(self, images_seen: int, batch_size: int) -> bool:
        """Whether the strength is adjusted after the batch that follows so many images."""
        return self.adapts and images_seen // batch_size % self.interval == self.interval - 1


# --- what is done to images


def augmented(
    config: AugmentConfig, images: Tensor, strength: Tensor | None, keys: Keys, images_of: str, sample_index: Tensor
) -> Tensor:
    """Images [N, C, R, R] as D sees them. All that is random is a function of the sample and of whose images they are.

    strength: [], or None to leave the images alone. images_of: what they are ("reals of D").
    """
    if strength is None:
        return images
    chances = _Chances(config, strength, keys, images_of, sample_index)
    return (_adaptive if config.kind == "ada" else _differentiable)(config.groups, images, chances)


_COINS = (
    *(f.name for f in fields(Multipliers) if f.name != "filter"),
    "turn before",  # two for the rotation
    *(f"filter {band}" for band in range(transforms.BANDS)),
    "color",
    "translation",
)
_UNIFORM = (
    *("mirror", "quarter_turn", "x", "y", "turn", "turn before", "luma_flip", "hue", "cut x", "cut y"),
    *("brightness", "saturation", "contrast"),
)
_NORMAL = (
    *("scale", "stretch", "x", "y", "brightness", "contrast", "saturation", "noise"),
    *(f"filter {band}" for band in range(transforms.BANDS)),
)


class _Chances:
    """The random numbers of some images, by name: which transforms are chosen, and how far they go; all [N]."""

    def __init__(
        self, config: AugmentConfig, strength: Tensor, keys: Keys, images_of: str, sample_index: Tensor
    ) -> None:
        self._multipliers, self._strength = config.multipliers, strength
        self._keys, self._images_of, self.index = keys, images_of, sample_index
        names = (*_COINS, *_UNIFORM)
        numbers = draw_uniform_of_key((len(names),), keys(f"transforms of {images_of}"), sample_index).unbind(1)
        self._coins = dict(zip(_COINS, numbers[: len(_COINS)], strict=True))
        self.uniform = dict(zip(_UNIFORM, numbers[len(_COINS) :], strict=True))
        numbers = draw_of_key((len(_NORMAL),), keys(f"extents of transforms of {images_of}"), sample_index).unbind(1)
        self.normal = dict(zip(_NORMAL, numbers, strict=True))

    def chosen(self, name: str, multiplier: str = "") -> Tensor:
        """Which images undergo a transform: bool [N]."""
        return self._coins[name] < self._strength * getattr(self._multipliers, multiplier or name, 1.0)

    def chosen_to_turn(self) -> tuple[Tensor, Tensor]:
        """Which images are turned before and after stretching: each so often that either is as often as told."""
        either = (self._strength * self._multipliers.rotation).clamp(max=1)
        each = 1 - (1 - either).sqrt()
        return self._coins["turn before"] < each, self._coins["rotation"] < each

    def planes(self, shape: tuple[int, ...], index: Tensor) -> Tensor:
        """Normal numbers [N, *shape] for the noise on the samples `index`."""
        return draw_of_key(shape, self._keys(f"noise on {self._images_of}"), index)


def _adaptive(groups: tuple[Group, ...], images: Tensor, chances: _Chances) -> Tensor:
    """The pipeline of Karras et al., 2020, appendix B, in its order."""
    uniform, normal, chosen, where = chances.uniform, chances.normal, chances.chosen, torch.where
    if "blit" in groups or "geometry" in groups:
        images = transforms.warp(images, *_geometry(groups, images.shape[3], chances))
    if "color" in groups:
        brightness = where(chosen("brightness"), 0.2 * normal["brightness"], 0.0)
        contrast = where(chosen("contrast"), (0.5 * normal["contrast"]).exp2(), 1.0)
        flipped = chosen("luma_flip") & (uniform["luma_flip"] < 0.5)
        hue = where(chosen("hue"), (2 * uniform["hue"] - 1) * pi, 0.0)
        saturation = where(chosen("saturation"), normal["saturation"].exp2(), 1.0)
        matrix = transforms.saturated(saturation) @ transforms.hue_turned(hue)
        matrix = matrix @ transforms.luma_flipped(flipped.to(hue)) * contrast[:, None, None]
        images = transforms.recolor(images, matrix, matrix.sum(dim=2) * brightness[:, None])
    if "filter" in groups:
        images = transforms.weigh_bands(images, _gains(chances))
    if "noise" in groups:
        deviation = where(chosen("noise"), 0.1 * normal["noise"].abs(), 0.0)
        _, channels, *size = images.shape

        def noisy(images: Tensor, deviation: Tensor, index: Tensor) -> Tensor:
            return transforms.add_noise(images, deviation, chances.planes((min(channels, 3), *size), index))

        images = transforms.changed(deviation > 0, noisy, images, deviation, chances.index)
    if "cutout" in groups:
        images = transforms.cut_out(images, uniform["cut x"], uniform["cut y"], chosen("cutout"))
    return images


def _geometry(groups: tuple[Group, ...], resolution: int, chances: _Chances) -> tuple[Tensor, Tensor]:
    """The map from the result to the source [N, 3, 3], and how much closer it brings two pixels at the most [N]."""
    uniform, normal, chosen, where = chances.uniform, chances.normal, chances.chosen, torch.where
    maps, shrink = [], torch.ones_like(uniform["x"])
    if "blit" in groups:
        mirrored = chosen("mirror") & (uniform["mirror"] < 0.5)
        turns = where(chosen("quarter_turn"), (4 * uniform["quarter_turn"]).floor(), 0.0)
        steps = [
            where(chosen("shift"), ((2 * uniform[axis] - 1) * resolution / 8).round() / resolution, 0.0)
            for axis in "xy"
        ]
        maps += [
            transforms.scaled(where(mirrored, -1.0, shrink), shrink),
            transforms.quarter_turned(turns),
            transforms.moved(*steps),
        ]
    if "geometry" in groups:
        scale = where(chosen("scale"), (0.2 * normal["scale"]).exp2(), 1.0)
        stretch = where(chosen("stretch"), (0.2 * normal["stretch"]).exp2(), 1.0)
        before, after = chances.chosen_to_turn()
        distances = [where(chosen("move"), normal[axis] / 8, 0.0) for axis in "xy"]
        maps += [
            transforms.scaled(scale, scale),
            transforms.turned(where(before, (2 * uniform["turn before"] - 1) * pi, 0.0)),
            transforms.scaled(stretch, 1 / stretch),
            transforms.turned(where(after, (2 * uniform["turn"] - 1) * pi, 0.0)),
            transforms.moved(*distances),
        ]
        shrink = torch.maximum(stretch, 1 / stretch) / scale
    return reduce(torch.matmul, maps), shrink


def _gains(chances: _Chances) -> Tensor:
    """Gains of the bands [N, 4]. Each that is chosen is weighed, and all then so that the power stays: ten thirteenths
    are taken to be in the lowest, one in each of the others."""
    gains = torch.ones_like(chances.normal["filter 0"])[:, None].repeat(1, transforms.BANDS)
    for band in range(transforms.BANDS):
        chosen = chances.chosen(f"filter {band}", "filter")
        gain = torch.where(chosen, chances.normal[f"filter {band}"].exp2(), 1.0)
        power = (10 if band == 0 else 1) / (9 + transforms.BANDS)
        gains[:, band] *= gain
        gains /= (1 + power * (gain.square() - 1)).sqrt()[:, None]
    return gains


def _differentiable(groups: tuple[Group, ...], images: Tensor, chances: _Chances) -> Tensor:
    """The three policies of Zhao et al., 2020, section 4, each whole."""
    uniform, chosen, where = chances.uniform, chances.chosen, torch.where
    if "color" in groups:
        there = chosen("color")
        brightness = where(there, uniform["brightness"] - 0.5, 0.0)
        saturation = where(there, 2 * uniform["saturation"], 1.0)
        contrast = where(there, uniform["contrast"] + 0.5, 1.0)[:, None]
        mean = images[:, :3].mean(dim=(1, 2, 3))[:, None]  # which the contrast is about
        offset = brightness[:, None] + (1 - contrast) * mean
        matrix = transforms.saturated(saturation) * contrast[:, :, None]
        images = transforms.recolor(images, matrix, offset.expand(-1, 3))
    if "translation" in groups:
        most = round(images.shape[3] / 8)
        steps = [((2 * most + 1) * uniform[axis]).floor() - most for axis in "xy"]
        images = transforms.shift(images, *(where(chosen("translation"), step, 0.0) for step in steps))
    if "cutout" in groups:
        images = transforms.cut_out(images, uniform["cut x"], uniform["cut y"], chosen("cutout"))
    return images


# --- how strongly


@dataclass
class Augmentation:
    """A run's strength of augmentation, and what D has made of images since it was last adjusted."""

    config: AugmentConfig
    strength: float  # the probability p
    sums: Tensor  # [6], over all processes, see `tally`

    def strength_at(self, resolution: int) -> float:
        """The strength for images of a resolution, 0 below 16 x 16."""
        return self.strength if resolution >= LOWEST else 0.0

    def adapts_at(self, resolution: int) -> bool:
        """Whether the strength follows from what D makes of images of a resolution."""
        return self.config.adapts and resolution >= LOWEST

    def adjust(self, images_seen: int, batch_size: int, seen: Tensor) -> None:
        """Take note of a batch, of this process's part in it, and move the strength by a step where that is due.

        images_seen: before the batch. seen: sum of its `tally`s. The device is waited for once in an interval.
        """
        processes.all_reduce_sum([seen])
        self.sums += seen
        if not self.config.is_judged(images_seen, batch_size):
            return
        sums = self.sums.tolist()
        self.sums.zero_()
        config, overfitting = self.config, _overfitting(sums)
        kimg, target = (KIMG_OF_HELD_OUT, TARGET_OF_HELD_OUT) if sums[5] else (KIMG, TARGET)
        step = sums[3] / (1000 * (kimg if config.kimg is None else config.kimg))
        target = target if config.target is None else config.target
        change = step if overfitting > target else -step if overfitting < target else 0.0
        self.strength = min(max(self.strength + change, 0.0), config.limit)

    def to_dict(self) -> dict[str, Any]:
        """What a state file holds of it."""
        return {"strength": self.strength, "sums": self.sums.tolist()}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take up what `to_dict` gave. Raises InputError where it is something else."""
        match saved:
            case {"strength": int() | float() as strength, "sums": list() as sums} if len(sums) == len(self.sums):
                self.strength = strength
                self.sums.copy_(torch.tensor(sums, dtype=torch.float64))
            case _:
                raise InputError("the training state does not hold the strength of augmentation as it should")


def new_augmentation(config: AugmentConfig, device: torch.device) -> Augmentation | None:
    """The beginning of a run's augmentation; None for a run without."""
    if config.kind == "none":
        return None
    strength = config.strength if config.strength is not None else 1.0 if config.kind == "diff" else 0.0
    exact = torch.float32 if device.type == "mps" else torch.float64  # which has no float64
    return Augmentation(config, strength, torch.zeros(6, dtype=exact, device=device))


def tally(reals: Tensor, fakes: Tensor, held_out: Tensor | None, sums: Tensor) -> Tensor:
    """What the strength is judged by, in the type of `sums`: [6].

    Of the scores [N] of reals, fakes and held-out images: the sum of the reals' signs, the sums of the scores of the
    three, the number of reals, the number of held-out images. What is not finite counts as 0.
    """
    reals, fakes, held = (
        torch.where(scores.isfinite(), scores, 0).detach().to(sums.dtype)
        for scores in (reals, fakes, reals[:0] if held_out is None else held_out)
    )
    counts = [torch.full_like(sums[0], len(scores)) for scores in (reals, held)]
    return torch.stack([reals.sign().sum(), reals.sum(), fakes.sum(), counts[0], held.sum(), counts[1]])


def _overfitting(sums: list[float]) -> float:
    """Section 3.1, equation 1: r_t, or r_v where held-out images were scored, from the sums of `tally`."""
    signs, reals, fakes, count, held_out, held_out_count = sums
    if not held_out_count:
        return signs / max(count, 1)
    if not count or reals <= fakes:
        return 0.0  # D does not tell the training's images from fakes
    return (reals / count - held_out / held_out_count) / ((reals - fakes) / count)
