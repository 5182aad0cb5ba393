"""Many small pictures at once: walls of seeds, what a direction does, what layers hold, the nearest training images."""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from stylegan.data.pyramid import pyramid
from stylegan.errors import InputError
from stylegan.explorer.picture import Explorer, Recipe, draw, noise_of, picture, seen, w_of
from stylegan.images import to_pil
from stylegan.networks.generator import NoiseInput

COMPARED_AT = 16  # pixels; what the nearest images have in common is composition and color
STRENGTHS = (-3.0, -1.5, 0.0, 1.5, 3.0)  # of a direction's strip
SMALL = 128  # pixels of small pictures, at most

Turn = Callable[[], AbstractContextManager[None]]
"""What waits until it is one's turn to compute: others come between two small pictures."""


def sheet(explorer: Explorer, wanted: Sequence[Recipe], side: int, turn: Turn) -> Image.Image:
    """Small pictures side by side, each of `side` pixels at most."""
    drawn = []
    for each in wanted:
        with turn():
            drawn.append(small(picture(explorer, each), side))
    width, height = drawn[0].size
    whole = Image.new("RGBA" if drawn[0].mode == "RGBA" else "RGB", (width * len(drawn), height))
    for i, image in enumerate(drawn):
        whole.paste(image, (i * width, 0))
    return whole


def small(image: Image.Image, side: int) -> Image.Image:
    """The picture, reduced to a width of `side` where it is larger."""
    side = min(side, SMALL)
    if image.width <= side:
        return image
    return image.resize((side, max(1, round(image.height * side / image.width))), Image.Resampling.BOX)


def wall(recipe: Recipe, first: int, count: int) -> list[Recipe]:
    """The pictures of seeds from `first` on, as they are: nothing mixed in, no edits."""
    plain = {"found": None, "along": 0.0, "mixed": (0.0, 0.0, 0.0), "mixed_layers": (), "strengths": ()}
    last = min(first + count, 2**32)
    return [replace(recipe, seed=seed, **plain) for seed in range(max(0, first), last)]


def strip(explorer: Explorer, recipe: Recipe, name: str) -> list[Recipe]:
    """The picture with a direction at each of STRENGTHS, all else as it is."""
    place = explorer.directions.index(name)
    strengths = [*recipe.strengths, *[0.0] * len(explorer.directions.names)][: len(explorer.directions.names)]
    return [
        replace(recipe, strengths=(*strengths[:place], strength, *strengths[place + 1 :])) for strength in STRENGTHS
    ]


# --- what layers hold


@torch.no_grad()
def activations(explorer: Explorer, recipe: Recipe, layer: int) -> Tensor:
    """What a layer gives the next: [C, H, W]. Raises InputError for a layer that is not there."""
    sizes = explorer.layer_resolutions
    if not 0 <= layer < len(sizes):
        raise InputError(f"there is no layer {layer}; this model draws with layers 0 to {len(sizes) - 1}")
    synthesis = explorer.generator.synthesis
    block = synthesis.blocks[str(sizes[layer])]
    kept: list[Tensor] = []
    ours = threading.get_ident()  # others may draw at the same time

    def keep(_module: Any, _inputs: Any, output: Tensor) -> None:
        if threading.get_ident() == ours:
            kept.append(output)

    hook = (block.layer1 if layer % 2 else block.layer0).register_forward_hook(keep)
    try:
        synthesis(w_of(explorer, recipe), resolution=sizes[layer], noise=_noise_below(explorer, recipe, layer))
    finally:
        hook.remove()
    return kept[-1][0].float().cpu()


def _noise_below(explorer: Explorer, recipe: Recipe, layer: int) -> NoiseInput:
    noise = noise_of(explorer.generator, recipe)
    return noise if isinstance(noise, str) else noise[: layer // 2 * 2 + 2]


def maps(features: Tensor, count: int, side: int = 48) -> Image.Image:
    """The root mean square of a layer's maps, and after it those maps that vary most, each from blue over white to red.

    features: [C, H, W]. Side by side, each enlarged or reduced to `side` pixels.
    """
    power = features.square().mean(dim=0).sqrt()
    order = features.flatten(1).std(dim=1).argsort(descending=True)[:count]
    images = [_tile(_magnitude(power), side), *(_tile(_signed(features[i]), side) for i in order)]
    whole = Image.new("RGB", (side * len(images), side))
    for i, image in enumerate(images):
        whole.paste(image, (i * side, 0))
    return whole


def _tile(image: Tensor, side: int) -> Image.Image:
    """[3, H, W] at side x side: pixels repeated where it becomes larger, averaged where smaller."""
    mode = "area" if image.shape[1] > side else "nearest"
    return to_pil(F.interpolate(image[None], size=(side, side), mode=mode)[0])


def _magnitude(x: Tensor) -> Tensor:
    """[H, W] >= 0 as an image [3, H, W] in [-1, 1], from black over orange to white."""
    x = (x - x.min()) / (x.max() - x.min()).clamp_min(1e-8)
    return torch.stack([(2.2 * x).clamp(max=1), (1.6 * x - 0.35).clamp(0, 1), (2.6 * x - 1.6).clamp(0, 1)]) * 2 - 1


def _signed(x: Tensor) -> Tensor:
    """[H, W] as an image [3, H, W] in [-1, 1]: blue below the mean, red above it."""
    x = x - x.mean()
    x = (x / (3 * x.std(correction=0)).clamp_min(1e-8)).clamp(-1, 1)
    return torch.stack([1 + x.clamp(max=0) * 1.5, 1 - x.abs() * 1.3, 1 - x.clamp(min=0) * 1.5]).clamp(0, 1) * 2 - 1


# --- the nearest training images


def nearest(explorer: Explorer, recipe: Recipe, count: int = 8) -> list[tuple[Image.Image, str]]:
    """The training images nearest to the picture, each with a line about it; mirrored ones count as well.

    The distance is the root mean square over the pixels at 16 x 16, in levels of 255: composition and color. Raises
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
