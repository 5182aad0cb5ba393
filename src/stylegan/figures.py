"""The figures of the paper, and of a run, one function each. They return images."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from stylegan import sampling
from stylegan.images import crop_padding, grid
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
    Raises InputError for a traditional generator, which has no styles.
    """
    w_source, w_destination = (sampling.w_of_seeds(generator, seeds) for seeds in (sources, destinations))
    mixed = [sampling.mix(w[None], w_source, layers) for w in w_destination]
    rows = [w_source] + [torch.cat([w[None], row]) for w, row in zip(w_destination, mixed, strict=True)]
    drawn = [generator.synthesis(generator.truncate(row, psi), noise="fixed") for row in rows]
    cells = [torch.ones_like(drawn[0][:1]), *drawn]  # an empty corner, the sources, then row by row
    return grid(crop_padding(torch.cat(cells), generator.config.aspect), columns=len(sources) + 1)


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
