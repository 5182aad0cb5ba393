"""The figures of the paper, and of a run, one function each. They return images."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from stylegan import sampling
from stylegan.images import grid
from stylegan.networks.generator import Generator


@torch.no_grad()
def style_mixing(
    generator: Generator,
    sources: Sequence[int],
    destinations: Sequence[int],
    layers: slice | Sequence[int],
    *,
    psi: float = 0.7,
) -> Tensor:
    """Figure 3: a table of images [C, H, W] in which the given layers' styles come from the column.

    sources: seeds of the top row, whose styles are copied. destinations: seeds of the left column, which keep
    the rest. Unlabelled networks only. All images share one set of noise planes, so that only styles differ.
    """
    w_source = generator.truncate(sampling.w_of_seeds(generator, sources), psi)
    w_destination = generator.truncate(sampling.w_of_seeds(generator, destinations), psi)
    top = generator.synthesis(w_source, noise="fixed")
    left = generator.synthesis(w_destination, noise="fixed")
    cells = [torch.ones_like(top[:1]), top]  # an empty corner, then the sources
    for w, image in zip(w_destination, left, strict=True):
        mixed = sampling.mix(w[None].expand_as(w_source), w_source, layers)
        cells += [image[None], generator.synthesis(mixed, noise="fixed")]
    return grid(torch.cat(cells), columns=len(sources) + 1)


def progress(grids: Sequence[Path], height: int, *, rows: int = 10, factor: int = 3) -> Image.Image:
    """How a run's samples came about: the first row of some of its grids, from the first to the last.

    grids: the files `fakes-*.png` of a run, in order. height: that of one image in them, in pixels. rows: how many
    are shown, at most. factor: enlargement.
    """
    shown = [grids[round(i * (len(grids) - 1) / max(rows - 1, 1))] for i in range(rows)]
    shown = list(dict.fromkeys(shown))
    with Image.open(shown[0]) as first:
        sheet = Image.new(first.mode, (first.width, height * len(shown)))
    for i, path in enumerate(shown):
        with Image.open(path) as picture:
            sheet.paste(picture.crop((0, 0, sheet.width, height)), (0, i * height))
    return sheet.resize((sheet.width * factor, sheet.height * factor), Image.Resampling.NEAREST)
