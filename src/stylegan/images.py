"""Images between the three forms they take: files, uint8 arrays, and the [-1, 1] tensors of the networks."""

from collections.abc import Sequence
from math import floor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from stylegan import marks
from stylegan.files import SHEET_MARK, atomic_file


def to_uint8(images: Tensor) -> Tensor:
    """Map images of about [-1, 1] to uint8, rounding half up and saturating; the shape stays.

    x * 127.5 + 128, cut off: what the official networks' outputs go through before they are saved or measured.
    """
    return (images.float() * 127.5 + 128).clamp(0, 255).to(torch.uint8)


def from_uint8(images: Tensor) -> Tensor:
    """Map uint8 images to float32 in [-1, 1] (x * 2/255 - 1); shape and memory format stay."""
    return images.to(torch.float32).mul_(2 / 255).sub_(1)


def to_pil(image: Tensor) -> Image.Image:
    """Turn one image, [C, H, W] in about [-1, 1] or uint8, into a PIL image (C = 1, 3 or 4)."""
    if image.dtype != torch.uint8:
        image = to_uint8(image)
    array = image.permute(1, 2, 0).cpu().numpy()  # [H, W, C]
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def grid(images: Tensor, columns: int | None = None, *, gap: int = 0) -> Tensor:
    """Lay N >= 1 images [N, C, H, W] out row by row as one image [C, rows * H, columns * W].

    Cells without an image, and the `gap` pixels between cells, are white. Without `columns` the grid is as
    close to a square as it can be. uint8 stays uint8; other types are taken as [-1, 1].
    """
    count, channels, height, width = images.shape
    columns = columns or int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    white = 255 if images.dtype == torch.uint8 else 1.0
    sheet = images.new_full((channels, rows * (height + gap) - gap, columns * (width + gap) - gap), white)
    for i, image in enumerate(images):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = image
    return sheet


def crop_padding(images: Tensor, aspect: Sequence[int]) -> Tensor:
    """The part of square images [N, C, R, R] that is not padding: the center, of width to height `aspect`.

    Images of 512 x 384 padded to 512 x 512 (LSUN Car) have aspect (4, 3). The center's edges are rounded outwards.
    """
    side, (width, height) = images.shape[3], aspect
    rows, columns = side * min(1, height / width), side * min(1, width / height)
    top, left = floor((side - rows) / 2), floor((side - columns) / 2)
    return images[:, :, top : side - top, left : side - left]


def save_image(
    image: Tensor | Image.Image, path: Path | str, *, sheet: bool = False, made: dict[str, Any] | None = None
) -> None:
    """Save one image ([C, H, W] as in `to_pil`, or a PIL image) as a PNG file, never half-written.

    sheet: it shows several images, which the file says, so that nobody takes it for a sample (`stylegan prepare`).
    made: how it was made, see `png_text`.
    """
    picture = image if isinstance(image, Image.Image) else to_pil(image)
    with atomic_file(path) as file:
        picture.save(file, "PNG", pnginfo=png_text(sheet=sheet, made=made))


def png_text(*, sheet: bool = False, made: dict[str, Any] | None = None) -> PngInfo:
    """What a PNG file says in words: that it is a sheet; how it was made (`marks.read` reads it), and in XMP that it
    was generated."""
    text = PngInfo()
    if sheet:
        text.add_text(*SHEET_MARK)
    if made is not None:
        text.add_text("Software", marks.PROGRAM)
        text.add_itxt(marks.KEY, marks.text_of(made))
        text.add_itxt(marks.XMP_KEY, marks.xmp())
    return text


def on_white(images: Tensor) -> Tensor:
    """Images uint8 [..., C, H, W] as RGB: gray ones in three equal channels, RGBA over a white ground."""
    if images.shape[-3] == 1:
        return images.expand(*images.shape[:-3], 3, -1, -1)
    if images.shape[-3] == 3:
        return images
    alpha = images[..., 3:, :, :].float() / 255
    return (255 + (images[..., :3, :, :].float() - 255) * alpha).round().to(torch.uint8)


def enlarge(image: Tensor, factor: int) -> Tensor:
    """Repeat every pixel `factor` times in both directions, so that small images can be looked at."""
    return image.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)


# --- sheets, to be looked at

SMALLEST_IN_A_SHEET = 96  # pixels
TITLE = 18  # pixels


def contact_sheet(images: Tensor, titles: Sequence[str] = (), columns: int | None = None) -> Image.Image:
    """Images uint8 [N, C, H, W] row by row, small ones enlarged, with a title below each where there are titles.

    Without `columns` the sheet is as close to a square as it can be without empty cells, where that is no wider than
    twice the square (see `columns_for`). Alpha stays.
    """
    count, channels, height, width = images.shape
    factor = -(-SMALLEST_IN_A_SHEET // width) if width < SMALLEST_IN_A_SHEET else 1
    height, width, columns = height * factor, width * factor, columns or columns_for(count)
    below = TITLE if titles else 0
    size = (columns * width, -(-count // columns) * (height + below))
    sheet = Image.new("RGBA" if channels == 4 else "RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for i, image in enumerate(images):
        left, top = i % columns * width, i // columns * (height + below)
        sheet.paste(to_pil(enlarge(image, factor)).convert(sheet.mode), (left, top))
        if below:
            text = titles[i]
            while len(text) > 4 and font.getlength(text) > width:  # the end tells files apart
                text = f"…{text[2:]}"
            pen.text((left + width / 2, top + height + below / 2), text, "black", font, anchor="mm")
    return sheet


def columns_for(count: int) -> int:
    """Columns of a sheet of so many images: the fewest from a square on whose rows are all full, else a square's."""
    square = int(np.ceil(np.sqrt(count)))
    return next((columns for columns in range(square, 2 * square) if count % columns == 0), square)


def labeled_table(images: Tensor, rows: Sequence[str], columns: Sequence[str]) -> Image.Image:
    """A table of images uint8 [R, K, C, H, W] with a title for each row, on the left, and for each column, above.

    A title that is the same as that of the row before is left out. Small images are enlarged.
    """
    images = on_white(images)
    _, _, _, height, width = images.shape
    factor = max(1, SMALLEST_IN_A_SHEET // width)
    height, width = height * factor, width * factor
    font = ImageFont.load_default(size=16)
    left, top = 16 + max(round(font.getlength(title)) for title in rows), 26
    sheet = Image.new("RGB", (left + width * len(columns), top + height * len(rows)), "white")
    pen = ImageDraw.Draw(sheet)
    for column, title in enumerate(columns):
        pen.text((left + (column + 0.5) * width, top / 2), title, "black", font, anchor="mm")
    for row, title in enumerate(rows):
        if row == 0 or title != rows[row - 1]:
            pen.text((left - 8, top + (row + 0.5) * height), title, "black", font, anchor="rm")
        for column, image in enumerate(images[row]):
            sheet.paste(to_pil(enlarge(image, factor)), (left + column * width, top + row * height))
    return sheet
