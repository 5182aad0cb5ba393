"""Sheets of the images in a store, to be looked at: kept.png, kept-2.png, ... in it."""

import io
from collections.abc import Iterator, Mapping

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from stylegan.files import SHEET_MARK

ON_A_PAGE, COLUMNS, CELL = 400, 20, 64
MOST = 5 * ON_A_PAGE
FEW, LARGE_COLUMNS, LARGE_CELL = 100, 10, 128  # of a small set, larger


class Kept:
    """Collects the first images of a store in small, and lays them out."""

    def __init__(self) -> None:
        self._small: list[np.ndarray] = []
        self._large: list[np.ndarray] = []

    def add(self, levels: Mapping[int, np.ndarray]) -> None:
        """Take one image, given as `pyramid` returns it."""
        if len(self._small) < MOST:
            self._small.append(levels[min(CELL, max(levels))])
            if len(self._large) <= FEW:
                self._large.append(levels[min(LARGE_CELL, max(levels))])

    def pages(self) -> Iterator[tuple[str, bytes]]:
        """File name and content of each page, PNG."""
        few = len(self._small) <= FEW
        images, columns, cell = (self._large, LARGE_COLUMNS, LARGE_CELL) if few else (self._small, COLUMNS, CELL)
        marks = PngInfo()
        marks.add_text(*SHEET_MARK)
        for number, start in enumerate(range(0, len(images), ON_A_PAGE), start=1):
            buffer = io.BytesIO()
            _sheet(images[start : start + ON_A_PAGE], columns, cell).save(buffer, "PNG", pnginfo=marks)
            yield "kept.png" if number == 1 else f"kept-{number}.png", buffer.getvalue()


def _sheet(images: list[np.ndarray], columns: int, cell: int) -> Image.Image:
    """The images row by row, those smaller than a cell enlarged; transparent parts on white."""
    side = images[0].shape[0] * max(1, cell // images[0].shape[0])
    columns = min(columns, len(images))
    sheet = Image.new("RGB", (columns * side, -(-len(images) // columns) * side), "white")
    for i, pixels in enumerate(images):
        image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        image = image.resize((side, side), Image.Resampling.NEAREST)
        place = (i % columns * side, i // columns * side)
        sheet.paste(image, place, image if image.mode == "RGBA" else None)
    return sheet
