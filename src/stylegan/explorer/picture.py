"""What the explorer computes: from what the controls say to pictures, latents and videos. Nothing here knows the page.

Every function depends on its arguments alone, so that any number of people can steer the same model.
"""

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from stylegan import directions, finders, projection, sampling, videos, weights
from stylegan import recipe as recipes
from stylegan.data.fitting import Fit
from stylegan.data.store import Store, open_store
from stylegan.directions import Directions
from stylegan.errors import InputError
from stylegan.images import crop_padding, from_uint8, save_image, to_pil, to_uint8
from stylegan.networks.generator import Generator, Growth, NoiseInput
from stylegan.resolutions import resolutions

RANGES = ("coarse", "middle", "fine")


@dataclass(frozen=True, eq=False)
class Explorer:
    """A model and what it is explored with. Shared by all users; nothing in it changes."""

    name: str
    generator: Generator
    directions: Directions
    store: Store | None = None
    """The training images to compare with."""
    trunk: Generator | None = None
    """What previews are drawn with while a slider moves, see `trunk`; None where the network is fast enough."""
    fit: Fit | None = None
    """How the images it was trained on became square, where its file says."""
    label_names: tuple[str, ...] = ()
    """Names of the classes, where its file or the store has them."""
    fingerprint: str = ""
    """Of the generator, see `weights.fingerprint`."""

    @property
    def layer_resolutions(self) -> list[int]:
        """Resolution of each layer that is drawn."""
        return self.generator.synthesis.layer_resolutions(self.generator.synthesis.grown.resolution)

    @property
    def ranges(self) -> dict[str, range]:
        """The layers of coarse, middle and fine styles; none where there are no styles or too few layers."""
        resolution = self.generator.synthesis.grown.resolution
        return sampling.style_ranges(resolution) if self.generator.config.use_styles and resolution >= 16 else {}


@dataclass(frozen=True, eq=False)
class Recipe:
    """A picture as the controls of the page say it: a seed or a found w, then styles of another seed, then edits."""

    seed: int | None = 0
    label: int | None = None
    """The class, for a conditional model."""
    psi: float | None = None
    """Truncation of both seeds; by default the model's own. What was found is shown as it is."""
    cutoff: int | None = None
    """Number of truncated layers; by default the model's own."""
    noise: sampling.Noise = "random"
    noise_seed: int | None = None
    """Seed of the random planes. Default: the picture's own seed; for what was found its own noise, or 0."""
    noise_strengths: tuple[float, ...] = ()
    """Factor of each layer's noise: 1 as trained, 0 without; () for 1 in all."""
    found: Tensor | None = None
    """w [1, num_layers, w_dim] to start from instead of the seed: a projection, or a file."""
    found_noise: NoiseInput | None = None
    """The noise that belongs to what was found; it is used where `noise` is random and no seed is given."""
    along: float = 0.0
    """How far along the endless walk that begins at the seed: at 1, 2, ... it passes other seeds, see `stop`."""
    other_seed: int | None = 1
    mixed: tuple[float, ...] = (0.0, 0.0, 0.0)
    """How much of coarse, middle and fine styles is the other seed's: 0 none, 1 all."""
    mixed_layers: tuple[float, ...] = ()
    """The same for each layer, in place of `mixed`; () where that holds."""
    strengths: tuple[float, ...] = ()
    """How far along each direction, in its standard deviations; () for no edits."""
    edited: tuple[str, ...] = RANGES
    """The ranges of styles that edits change."""
    held: tuple[str, ...] = ()
    """Directions that the edits of others leave alone."""

    def __post_init__(self) -> None:
        noise_seed = 0 if self.noise_seed is None else self.noise_seed
        for seed in (self.seed, noise_seed, self.other_seed):
            if seed is None or not 0 <= seed < 2**32:
                raise InputError("a seed is a whole number from 0 to 4294967295; type one")
        numbers = (self.along, *self.mixed, *self.mixed_layers, *self.noise_strengths, *self.strengths)
        if not all(map(math.isfinite, numbers)) or not 0 <= self.along < 1e6:
            raise InputError("a number of the picture is not finite, or too large; set it again")


def open_explorer(
    model: Path | str,
    *,
    data: Path | str | None = None,
    directions_file: Path | str | None = None,
    device: torch.device | str = "cpu",
) -> Explorer:
    """Load a model and find out how fast it is here.

    data: the store to compare with. directions_file: of `stylegan directions`. Default: a bundled model's own, else the
    principal components of W (without a W, the closed form). Raises InputError for what cannot be used.
    """
    loaded = weights.load_model(model)
    generator = loaded.generator.to(device)
    if directions_file is None:
        directions_file = directions.default_of(model)
    if directions_file is not None:
        found = directions.load(directions_file, generator)
    else:
        find = finders.by_pca if generator.has_w else finders.by_sefa
        found = find(generator, min(8, generator.config.w_dim))
    store = None if data is None else open_store(data)
    if store is not None and store.channels != generator.config.channels:
        raise InputError(
            f"{data} has {store.channels} channels, the model draws {generator.config.channels}; give its own store"
        )
    fast = fast_resolution(generator)
    lower = None if fast == generator.synthesis.grown.resolution else trunk(generator, fast)
    names = store.label_names if store is not None and store.label_count == generator.config.label_count else ()
    return Explorer(
        weights.find(model).resolve().stem,
        generator,
        found,
        store,
        lower,
        projection.fit_of(loaded.provenance),
        loaded.label_names or tuple(names),
        weights.fingerprint(generator),
    )


# --- the picture


@torch.no_grad()
def w_of(explorer: Explorer, recipe: Recipe) -> Tensor:
    """w [1, num_layers, w_dim] of a picture. Raises InputError for classes, truncation or mixing that cannot be."""
    generator = explorer.generator

    def of_seed(seed: int) -> Tensor:
        drawn = recipes.Recipe((seed,), label=recipe.label, psi=recipe.psi, cutoff=recipe.cutoff)
        return recipes.resolve(drawn, generator).w

    def start(number: int) -> Tensor:
        if number > 0:
            return of_seed(stop(recipe.seed, number))
        return of_seed(recipe.seed) if recipe.found is None else recipe.found.to(generator.w_avg)

    w = start(0) if not recipe.along else _between([start(math.floor(recipe.along) + i) for i in range(-1, 3)], recipe)
    shares = _shares(explorer, recipe)
    if any(shares.values()):
        other = of_seed(recipe.other_seed)
        for layer, share in shares.items():
            w = sampling.mix(w, sampling.lerp(w, other, share), [layer])
    layers = [i for name in recipe.edited for i in explorer.ranges.get(name, ())]
    chosen = None if len(recipe.edited) == len(RANGES) else layers
    for name, strength in zip(explorer.directions.names, recipe.strengths, strict=False):
        if strength:
            step = explorer.directions.step(name, [other for other in recipe.held if other != name])
            w = directions.shift(w, step, strength, directions.chosen_layers(explorer.directions, chosen))
    return w


def stop(seed: int, number: int) -> int:
    """The seed that the endless walk from a seed passes as its first, second, ... stop."""
    return int(np.random.RandomState([seed, number]).randint(2**31))


def _between(stops: Sequence[Tensor], recipe: Recipe) -> Tensor:
    """Where the walk is between the second and the third of four stops: the cubic through all (Catmull-Rom)."""
    before, a, b, after = stops
    t = recipe.along - math.floor(recipe.along)
    turns = (2 * before - 5 * a + 4 * b - after, 3 * a - before - 3 * b + after)
    return a + 0.5 * t * ((b - before) + t * (turns[0] + t * turns[1]))


def _shares(explorer: Explorer, recipe: Recipe) -> dict[int, float]:
    """How much of each layer's style is the other seed's."""
    if recipe.mixed_layers and explorer.generator.config.use_styles:
        return dict(zip(range(explorer.generator.config.num_layers), recipe.mixed_layers, strict=False))
    pairs = zip(explorer.ranges.values(), recipe.mixed, strict=False)
    return {layer: share for layers, share in pairs for layer in layers}


def noise_of(generator: Generator, recipe: Recipe) -> NoiseInput:
    """The noise of the picture, as `generator.synthesis` takes it: of the generator, or of its trunk."""
    if _has_own_noise(recipe):
        noise = recipe.found_noise
    else:
        noise = sampling.noise_input(generator, recipe.noise, [planes_seed(recipe)])
    factors = recipe.noise_strengths
    sizes = generator.synthesis.layer_resolutions(generator.synthesis.grown.resolution)
    if isinstance(noise, str):
        if noise == "none" or not generator.config.use_noise or all(factor == 1 for factor in factors):
            return noise
        noise = [getattr(generator.synthesis, f"noise{layer}") for layer in range(len(sizes))]
    every = [*factors, *[1.0] * len(sizes)]
    return [plane if factor == 1 else plane * factor for plane, factor, _ in zip(noise, every, sizes, strict=False)]


def _has_own_noise(recipe: Recipe) -> bool:
    """Whether the noise that came with what was found is in the picture."""
    left_open = recipe.noise == "random" and recipe.noise_seed is None
    return left_open and recipe.found is not None and recipe.found_noise is not None


def planes_seed(recipe: Recipe) -> int:
    """Seed of the picture's random planes."""
    if recipe.noise_seed is not None:
        return recipe.noise_seed
    return recipe.seed or 0 if recipe.found is None else 0


def picture(explorer: Explorer, recipe: Recipe) -> Image.Image:
    """The picture."""
    return seen(explorer, draw(explorer, recipe))


def seen(explorer: Explorer, image: Tensor) -> Image.Image:
    """What is seen of an image uint8 [1, C, R, R]: all but its padding."""
    return to_pil(crop_padding(image, explorer.generator.config.aspect)[0])


@torch.no_grad()
def draw(explorer: Explorer, recipe: Recipe) -> Tensor:
    """The picture with its padding, as the network draws it: uint8 [1, C, R, R] on the CPU."""
    noise = noise_of(explorer.generator, recipe)
    return to_uint8(explorer.generator.synthesis(w_of(explorer, recipe), noise=noise)).cpu()


def describe(explorer: Explorer, recipe: Recipe) -> str:
    """What is in the picture, in a line."""
    generator, parts = explorer.generator, []
    resolution = generator.synthesis.grown.resolution
    if recipe.found is None:
        names = explorer.label_names or range(generator.config.label_count)
        parts.append(f"seed {recipe.seed}")
        if recipe.label is not None and recipe.label in range(len(names)):
            parts[-1] += f" of class {names[recipe.label]}"
        psi = generator.truncation.psi if recipe.psi is None else recipe.psi
        parts += [f"ψ {psi:g}"] if generator.has_w else []
    else:
        parts.append("the w that was found")
    parts += [f"{recipe.along:.2f} along the walk"] if recipe.along else []
    shares = zip(RANGES, () if recipe.mixed_layers else recipe.mixed, strict=False)
    parts += [f"{share:.0%} {name} styles of seed {recipe.other_seed}" for name, share in shares if share]
    if count := sum(share > 0 for share in recipe.mixed_layers):
        parts.append(f"{count} layers with styles of seed {recipe.other_seed}")
    strengths = zip(explorer.directions.names, recipe.strengths, strict=False)
    parts += [f"{name.replace('_', ' ')} {strength:+g}" for name, strength in strengths if strength]
    return f"{resolution} × {resolution} · " + " · ".join(parts)


def made(explorer: Explorer, recipe: Recipe) -> dict[str, Any]:
    """How the picture was made, as `stylegan generate` writes it into its files."""
    w: Tensor | None = w_of(explorer, recipe)
    noise = noise_of(explorer.generator, recipe)
    scaled = any(factor != 1 for factor in recipe.noise_strengths)
    own = noise if isinstance(noise, str) or scaled or _has_own_noise(recipe) else None  # what no seed gives
    if recipe.found is not None or scaled:
        seed = planes_seed(recipe) if own is None else None
        drawn, w = recipes.Recipe(latents=w, psi=1.0, own_noise=own, noise_seed=seed), None
    else:
        seed = recipe.noise_seed if recipe.noise == "random" else None
        how = {"psi": recipe.psi, "cutoff": recipe.cutoff, "noise": recipe.noise, "noise_seed": seed}
        drawn = recipes.Recipe((recipe.seed,), label=recipe.label, **how)
        if not (recipe.along or any(_shares(explorer, recipe).values()) or any(recipe.strengths)):
            w = None  # the seed's own
    return next(recipes.records(drawn, explorer.generator, w=w, also={"explorer": describe(explorer, recipe)}))


def name_of(recipe: Recipe) -> str:
    """Name of the picture's files, without their ending."""
    return f"seed{recipe.seed:04d}" if recipe.found is None else "found"


def save(explorer: Explorer, recipe: Recipe, folder: Path) -> list[str]:
    """Write the picture as PNG and its w as `.safetensors` into a folder, and return their paths.

    The PNG says how it was made; `stylegan generate MODEL --latents FILE` draws the picture from the second.
    """
    files = [folder / f"{name_of(recipe)}.png", folder / f"{name_of(recipe)}.safetensors"]
    save_image(picture(explorer, recipe), files[0], made=made(explorer, recipe))
    noise = noise_of(explorer.generator, recipe)
    sampling.save_latents(files[1], w=w_of(explorer, recipe), noise=noise, model=explorer.generator)
    return [str(file) for file in files]


# --- previews, for networks that are slow where they run


@torch.no_grad()
def fast_resolution(generator: Generator, patience: float = 0.2) -> int:
    """The highest resolution that is drawn in `patience` seconds, or 4."""
    w, fast = generator.w_avg.expand(1, generator.config.num_layers, -1), 4
    upwards = resolutions(generator.synthesis.grown.resolution)  # so that no time is spent on what is far too slow
    for resolution in upwards:
        for _ in range(3):  # the first time is slower than those to come, and another program may have had its turn
            start = time.perf_counter()
            generator.synthesis(w, resolution=resolution, noise="const").cpu()
            if time.perf_counter() - start < patience:
                fast = resolution
                break
        else:
            break
    return fast


def trunk(generator: Generator, resolution: int) -> Generator:
    """A copy whose `synthesis(w, resolution=resolution)` gives features [N, C, resolution, resolution], not images."""
    copied = copy.deepcopy(generator)
    copied.synthesis.blocks[str(resolution)].to_rgb = torch.nn.Identity()
    copied.synthesis.config = replace(copied.synthesis.config, sum_rgb=False)  # features alone
    copied.synthesis.grown = Growth(resolution)
    return copied


@torch.no_grad()
def colors_of(explorer: Explorer, recipe: Recipe, image: Tensor) -> Tensor:
    """How the trunk's features make up a picture: [features + 1, channels], fitted by ridge regression.

    image: what `draw` has drawn from the recipe. The network's own toRGB of the trunk's resolution will not do: it was
    trained until the next resolution had faded in, and the layers below have changed since (docs/log.md).
    """
    features = _features(explorer, recipe).double()  # [pixels, features + 1]
    side = explorer.trunk.synthesis.grown.resolution
    small = F.adaptive_avg_pool2d(from_uint8(image).double(), side).flatten(2)[0].T
    square = features.T @ features
    ridge = 1e-2 * square.diagonal().mean() * torch.eye(len(square))
    return torch.linalg.solve(square + ridge, features.T @ small).float()


@torch.no_grad()
def preview(explorer: Explorer, recipe: Recipe, colors: Tensor) -> Image.Image:
    """A small picture in a fraction of the time, with the colors of the last whole one."""
    side = explorer.trunk.synthesis.grown.resolution
    image = (_features(explorer, recipe) @ colors).T.view(1, -1, side, side)
    return seen(explorer, to_uint8(image))


def _features(explorer: Explorer, recipe: Recipe) -> Tensor:
    """[pixels, features + 1], the last of them 1, on the CPU."""
    noise = noise_of(explorer.trunk, recipe)
    features = explorer.trunk.synthesis(w_of(explorer, recipe), noise=noise).flatten(2)[0].T.cpu()
    return torch.cat([features, torch.ones_like(features[:, :1])], dim=1)


# --- from picture to picture


def walk(
    explorer: Explorer, recipe: Recipe, seeds: Sequence[int], route: Literal["linear", "cubic"], frames: int
) -> Iterator[videos.Frame]:
    """A video from the picture to those of other seeds, with the same styles mixed in and the same edits.

    route: linear ends at the last seed, cubic returns to the picture. Raises InputError for no seeds, or for more than
    fit into the frames.
    """
    if not 1 <= len(seeds) < frames:
        raise InputError(f"a walk of {frames} frames goes to 1 to {frames - 1} seeds, not {len(seeds)}")
    stops = [recipe, *(replace(recipe, seed=seed, found=None, along=0.0) for seed in seeds)]
    keys = torch.stack([w_of(explorer, each) for each in stops])
    noise = noise_of(explorer.generator, recipe)
    return videos.interpolation(explorer.generator, keys, frames, path=route, noise=noise)
