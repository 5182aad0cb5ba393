"""What the explorer computes: from what the controls say to pictures, latents and videos. Nothing here knows the page.

Every function depends on its arguments alone, so that any number of people can steer the same model.
"""

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from stylegan.data import align
from stylegan.data.fitting import Fit
from stylegan.data.pyramid import pyramid
from stylegan.data.store import Store, open_store
from stylegan.directions import Directions
from stylegan.errors import InputError
from stylegan.images import crop_padding, from_uint8, save_image, to_pil, to_uint8
from stylegan.networks.generator import Generator, Growth
from stylegan.resolutions import resolutions

RANGES = ("coarse", "middle", "fine")
COMPARED_AT = 16  # pixels; what the nearest images have in common is composition and colour


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
    """Seed of the random planes. Default: the picture's own seed, or 0 for what was found."""
    found: Tensor | None = None
    """w [1, num_layers, w_dim] to start from instead of the seed: a projection, or a file."""
    other_seed: int | None = 1
    mixed: tuple[float, ...] = (0.0, 0.0, 0.0)
    """How much of coarse, middle and fine styles is the other seed's: 0 none, 1 all."""
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


def open_explorer(
    model: Path | str,
    *,
    data: Path | str | None = None,
    directions_file: Path | str | None = None,
    device: torch.device | str = "cpu",
) -> Explorer:
    """Load a model and find out how fast it is here.

    data: the store to compare with. directions_file: of `stylegan directions`; unless given, the principal components
    of W (or, without a W, the closed form) are found. Raises InputError for what cannot be used.
    """
    loaded = weights.load_model(model)
    generator = loaded.generator.to(device)
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
    return Explorer(Path(model).resolve().stem, generator, found, store, lower, projection.fit_of(loaded.provenance))


# --- the picture


@torch.no_grad()
def w_of(explorer: Explorer, recipe: Recipe) -> Tensor:
    """w [1, num_layers, w_dim] of a picture. Raises InputError for classes, truncation or mixing that cannot be."""
    generator = explorer.generator

    def of_seed(seed: int) -> Tensor:
        drawn = recipes.Recipe((seed,), label=recipe.label, psi=recipe.psi, cutoff=recipe.cutoff)
        return recipes.resolve(drawn, generator).w

    w = of_seed(recipe.seed) if recipe.found is None else recipe.found.to(generator.w_avg)
    if any(recipe.mixed):
        other = of_seed(recipe.other_seed)
        for layers, share in zip(explorer.ranges.values(), recipe.mixed, strict=True):
            w = sampling.mix(w, sampling.lerp(w, other, share), layers)
    layers = [i for name in recipe.edited for i in explorer.ranges.get(name, ())]
    chosen = None if len(recipe.edited) == len(RANGES) else layers
    for name, strength in zip(explorer.directions.names, recipe.strengths, strict=False):
        if strength:
            step = explorer.directions.step(name, [other for other in recipe.held if other != name])
            w = directions.shift(w, step, strength, directions.chosen_layers(explorer.directions, chosen))
    return w


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
    planes = sampling.noise_input(explorer.generator, recipe.noise, [planes_seed(recipe)])
    return to_uint8(explorer.generator.synthesis(w_of(explorer, recipe), noise=planes)).cpu()


def describe(explorer: Explorer, recipe: Recipe) -> str:
    """What is in the picture, in a line."""
    generator, parts = explorer.generator, []
    resolution = generator.synthesis.grown.resolution
    if recipe.found is None:
        parts.append(f"seed {recipe.seed}" + ("" if recipe.label is None else f" of class {recipe.label}"))
        psi = generator.truncation.psi if recipe.psi is None else recipe.psi
        parts += [f"ψ {psi:g}"] if generator.has_w else []
    else:
        parts.append("the w that was found")
    shares = zip(RANGES, recipe.mixed, strict=True)
    parts += [f"{share:.0%} {name} styles of seed {recipe.other_seed}" for name, share in shares if share]
    strengths = zip(explorer.directions.names, recipe.strengths, strict=False)
    parts += [f"{name.replace('_', ' ')} {strength:+g}" for name, strength in strengths if strength]
    return f"{resolution} × {resolution} · " + " · ".join(parts)


def save(explorer: Explorer, recipe: Recipe, folder: Path) -> list[str]:
    """Write the picture as PNG and its w as `.safetensors` into a folder, and return their paths.

    `stylegan generate MODEL --latents FILE` draws the picture from the second.
    """
    name = f"seed{recipe.seed:04d}" if recipe.found is None else "found"
    files = [folder / f"{name}.png", folder / f"{name}.safetensors"]
    save_image(picture(explorer, recipe), files[0], made=record(explorer, recipe))
    noise = sampling.noise_input(explorer.generator, recipe.noise, [planes_seed(recipe)])
    sampling.save_latents(files[1], w=w_of(explorer, recipe), noise=noise, model=explorer.generator)
    return [str(file) for file in files]


def record(explorer: Explorer, recipe: Recipe) -> dict[str, Any]:
    """How the picture is made, for its file: its w, whatever it came from."""
    seed = planes_seed(recipe) if recipe.noise == "random" else None
    drawn = recipes.Recipe(latents=w_of(explorer, recipe), noise=recipe.noise, noise_seed=seed)
    return next(recipes.records(drawn, explorer.generator, batch=1, also={"explorer": describe(explorer, recipe)}))


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
def colours_of(explorer: Explorer, recipe: Recipe, image: Tensor) -> Tensor:
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
def preview(explorer: Explorer, recipe: Recipe, colours: Tensor) -> Image.Image:
    """A small picture in a fraction of the time, with the colours of the last whole one."""
    side = explorer.trunk.synthesis.grown.resolution
    image = (_features(explorer, recipe) @ colours).T.view(1, -1, side, side)
    return seen(explorer, to_uint8(image))


def _features(explorer: Explorer, recipe: Recipe) -> Tensor:
    """[pixels, features + 1], the last of them 1, on the CPU."""
    planes = sampling.noise_input(explorer.trunk, recipe.noise, [planes_seed(recipe)])
    features = explorer.trunk.synthesis(w_of(explorer, recipe), noise=planes).flatten(2)[0].T.cpu()
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
    stops = [recipe, *(replace(recipe, seed=seed, found=None) for seed in seeds)]
    keys = torch.stack([w_of(explorer, stop) for stop in stops])
    planes = sampling.noise_input(explorer.generator, recipe.noise, [planes_seed(recipe)])
    return videos.interpolation(explorer.generator, keys, frames, path=route, noise=planes)


def finds_faces() -> bool:
    """Whether what that needs is installed and fetched."""
    try:
        align.check()
    except InputError:
        return False
    return True


def read_photograph(explorer: Explorer, file: Path | str, face: bool = False) -> Tensor:
    """An image file as the model could have drawn it: uint8 [1, C, R, R]. Raises InputError for what is no image.

    face: its largest face, aligned as those of FFHQ; else the image becomes square as for a model of no faces.
    """
    fit = "face" if face else explorer.fit if explorer.fit != "face" else None
    with _named(file):
        return to_uint8(projection.read_image(file, explorer.generator, fit))


def find(
    explorer: Explorer, photograph: Tensor, label: int | None, space: Literal["w", "w+"], steps: int
) -> Iterator[tuple[int, Tensor, float]]:
    """Project a photograph. After each step: its number, w [1, num_layers, w_dim], and the PSNR in dB."""
    config = projection.ProjectConfig(space=space, steps=steps)
    for at in projection.projecting(explorer.generator, from_uint8(photograph), config, label=label):
        yield at.step, at.w, float(projection.psnr(to_uint8(at.images).cpu(), photograph))


def read_latent(explorer: Explorer, file: Path | str, label: int | None) -> Tensor:
    """The first w [1, num_layers, w_dim] of a file of latents; z becomes w. Raises InputError."""
    with _named(file):
        space, held = sampling.load_latents(file, explorer.generator.config, model=explorer.generator)
    if space == "w":
        return held[:1]
    return sampling.w_of_z(explorer.generator, held[:1], sampling.labels_of(explorer.generator, label, 1))


@contextmanager
def _named(file: Path | str) -> Iterator[None]:
    """Sentences about an upload name the file, not where it lies on the server."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace(str(file), Path(file).name)) from error


def nearest(explorer: Explorer, recipe: Recipe, count: int = 8) -> list[tuple[Image.Image, str]]:
    """The training images nearest to the picture, each with a line about it; mirrored ones count as well.

    The distance is the root mean square over the pixels at 16 x 16, in levels of 255: composition and colour. Raises
    InputError without a store.
    """
    if explorer.store is None:
        raise InputError("there are no training images to compare with; give the explorer --data STORE")
    drawn = draw(explorer, recipe)[0].permute(1, 2, 0).numpy()
    side = min(COMPARED_AT, drawn.shape[0], explorer.store.resolution)
    small, images = pyramid(drawn)[side].astype(np.float32), explorer.store.images(side)
    distances = np.empty(len(images), np.float32)
    for start in range(0, len(images), 4096):
        part = images[start : start + 4096].astype(np.float32)
        both = [np.square(part - each).mean(axis=(1, 2, 3)) for each in (small, small[:, ::-1])]
        distances[start : start + 4096] = np.sqrt(np.minimum(*both))
    found = []
    for i in np.argsort(distances, kind="stable")[:count]:
        real = torch.tensor(explorer.store.images()[i]).permute(2, 0, 1)[None]
        found.append((seen(explorer, real), f"{i}: {distances[i]:.1f}"))
    return found
