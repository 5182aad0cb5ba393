"""What is drawn: a frozen `Recipe`, and what it means for a generator. Every command and Python draw by it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stylegan import sampling, weights
from stylegan.errors import InputError
from stylegan.images import crop_padding, to_uint8
from stylegan.networks.generator import Generator, NoiseInput


@dataclass(frozen=True, eq=False)
class Recipe:
    """Images to draw: seeds or latents, their class, truncation, mixing and noise."""

    seeds: Sequence[int] = range(32)
    """One image for each; each from 0 to 2**32 - 1. Unused where there are latents."""
    latents: Tensor | None = None
    """z [N, z_dim] or w [N, num_layers, w_dim] instead of seeds; `sampling.load_latents` reads a file."""
    label: int | None = None
    """Class of a conditional model. Default: all classes in turn."""
    psi: float | None = None
    """Truncation (appendix B). Default: the value stored in the model; 1 for w, which may be truncated already."""
    cutoff: int | None = None
    """Number of truncated layers. Default: the value stored in the model."""
    mix: int = 1
    """Number of latents mixed into each image at random layers (table 2); for seeds only."""
    noise: sampling.Noise = "random"
    """Each image's own planes; "const", the network's, the same for all; or "none"."""
    noise_seed: int | None = None
    """Seed of the random planes of all images. Default: each image's own seed; 0, 1, 2, ... for latents."""

    def __post_init__(self) -> None:
        if self.psi is not None and not math.isfinite(self.psi):
            raise InputError(f"psi is {self.psi}; give a number, such as 0.7")
        if self.cutoff is not None and self.cutoff < 0:
            raise InputError(f"cutoff is {self.cutoff}; give 0 or more layers")
        if self.noise_seed is not None and (self.noise != "random" or not 0 <= self.noise_seed < 2**32):
            raise InputError("a noise seed is for random noise, and from 0 to 2**32 - 1")
        if self.latents is None and not all(0 <= seed < 2**32 for seed in self.seeds):
            raise InputError("a seed is a whole number from 0 to 2**32 - 1")
        if self.latents is not None and self.mix != 1:
            raise InputError("mixing is for seeds; latents are drawn as they are")
        if self.is_w and self.label is not None:
            raise InputError("w is of a class already; leave the class out")
        if not len(self):
            raise InputError("there is nothing to draw; give one seed or more")

    def __len__(self) -> int:
        return len(self.seeds if self.latents is None else self.latents)

    @property
    def is_w(self) -> bool:
        """Whether the latents are w rather than z."""
        return self.latents is not None and self.latents.ndim == 3

    @property
    def names(self) -> list[str]:
        """Names of the images' files, without their ending: seed0007, or for latents 0007."""
        if self.latents is not None:
            return [f"{i:04d}" for i in range(len(self))]
        return [f"seed{seed:04d}" for seed in self.seeds]


@dataclass(frozen=True, eq=False)
class Resolved:
    """N images of a recipe, ready for `generator.synthesis`."""

    w: Tensor  # [N, num_layers, w_dim], truncated
    noise: NoiseInput  # planes [N, 1, R, R], one a layer; "const" or "none"
    labels: Tensor | None  # int64 [N]; None for w and for a network without classes


@torch.no_grad()
def resolve(recipe: Recipe, generator: Generator, part: slice = slice(None)) -> Resolved:
    """What a recipe means for a generator; part: only these of its images.

    Raises InputError for classes, truncation or mixing that the generator does not have.
    """
    w, labels = untruncated_w(recipe, generator, part)
    psi, cutoff = truncation_of(recipe, generator)
    noise = sampling.noise_input(generator, recipe.noise, noise_seeds(recipe)[part])
    return Resolved(generator.truncate(w, psi, cutoff), noise, labels)


@torch.no_grad()
def untruncated_w(recipe: Recipe, generator: Generator, part: slice = slice(None)) -> tuple[Tensor, Tensor | None]:
    """w [N, num_layers, w_dim] before truncation, and the labels [N] they were mapped with. Raises as `resolve`."""
    if recipe.is_w:
        return recipe.latents[part].to(generator.w_avg.device), None
    labels = sampling.labels_in_turn(generator, recipe.label, len(recipe))
    labels = None if labels is None else labels[part]
    if recipe.latents is not None:
        return sampling.w_of_z(generator, recipe.latents[part], labels), labels
    return sampling.w_of_crossed_seeds(generator, recipe.seeds[part], recipe.mix, labels), labels


def truncation_of(recipe: Recipe, generator: Generator) -> tuple[float, int | None]:
    """(psi, cutoff): the recipe's, or where it has none the model's own."""
    psi, cutoff = generator.truncation
    usual = 1.0 if recipe.is_w else psi
    return usual if recipe.psi is None else recipe.psi, cutoff if recipe.cutoff is None else recipe.cutoff


def noise_seeds(recipe: Recipe) -> Sequence[int]:
    """Seed of each image's random planes."""
    if recipe.noise_seed is not None:
        return [recipe.noise_seed] * len(recipe)
    return recipe.seeds if recipe.latents is None else range(len(recipe))


@torch.no_grad()
def batches(generator: Generator, recipe: Recipe, *, batch: int = 16) -> Iterator[Tensor]:
    """The images of a recipe in order, with padding: [n, C, R, R] in about [-1, 1]. Raises as `resolve`."""
    for start in range(0, len(recipe), batch):
        some = resolve(recipe, generator, slice(start, start + batch))
        yield generator.synthesis(some.w, noise=some.noise)


def draw(model: Generator | Path | str, recipe: Recipe | Sequence[int] | None = None, *, batch: int = 16) -> Tensor:
    """The images of a recipe, or of seeds, as `stylegan generate` draws them: uint8 [N, C, H, W] on the CPU.

    model: a generator, or what `stylegan.load` takes. recipe: seeds 0 to 31 by default. batch: images at a time;
    changes the speed, not the images. Raises InputError for a model that is not there, and as `resolve`.
    """
    generator = model if isinstance(model, Generator) else weights.load(model)
    if recipe is None or not isinstance(recipe, Recipe):
        recipe = Recipe() if recipe is None else Recipe(recipe)
    drawn = [to_uint8(crop_padding(x, generator.config.aspect)).cpu() for x in batches(generator, recipe, batch=batch)]
    return torch.cat(drawn)


def read(path: Path | str, generator: Generator, **options: float | int | str | None) -> Recipe:
    """A recipe of the latents in a file; options: the recipe's other fields. Raises InputError."""
    return Recipe(latents=sampling.load_latents(path, generator.config)[1], **options)
