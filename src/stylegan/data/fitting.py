"""How an image becomes square: cropped, padded, stretched, or cut out around a face.

Worker processes import this module, so it must not import torch.
"""

import re
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageColor, ImageFilter

from stylegan.data import align
from stylegan.data.decoding import is_sheet, load_upright, on_white, open_image, to_srgb
from stylegan.data.ffhq import Face
from stylegan.data.items import Unusable
from stylegan.data.pyramid import box_sum
from stylegan.errors import InputError

Fit = Literal["crop", "pad", "wide", "stretch", "face", "celeba"]
CELEBA_CENTER, CELEBA_SIDE, CELEBA_SIZE = (89, 121), 128, (178, 218)  # of its aligned images, as the official tool


@dataclass(frozen=True)
class Fitting:
    """Size and kind of what `decode` makes of an image: R x R pixels of C channels."""

    resolution: int
    """R, width and height in pixels."""
    fit: Fit = "crop"
    """Way to make it square; see `PrepareConfig.fit`."""
    channels: Literal[1, 3, 4] = 3
    """C: 1 gray, 3 RGB, 4 RGBA. With 1 and 3, transparent parts become white."""
    allow_upscale: bool = False
    """Enlarge what is smaller than R, which is refused otherwise."""
    pad: str | None = None
    """What "pad" pads with: "edge", "blur" or "#RRGGBB". None: black, or transparent with 4 channels."""


def check_pad(pad: str) -> None:
    """Raise InputError unless it is something to pad with."""
    if pad not in ("edge", "blur") and not re.fullmatch("#[0-9a-fA-F]{6}", pad):
        raise InputError(f"pad is {pad!r}; use edge, blur, or a color such as #ffffff")


def used_side(width: int, height: int, fit: Fit) -> int:
    """The side of an image that must be as large as the resolution, in pixels."""
    if fit == "celeba":
        return CELEBA_SIDE
    return {"pad": max(width, height), "wide": width}.get(fit, min(width, height))


def decode(data: bytes, fitting: Fitting, face: Face | None = None) -> np.ndarray:
    """Turn an image file's bytes into uint8 [R, R, C] as `fitting` asks. Raises Unusable with the reason.

    face: where its face is, which for the fit "face" need not be looked for then.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd metadata; what matters is checked here
        image = open_image(data)
        if is_sheet(image):
            raise Unusable("a sheet of several images, drawn by this program")
        width, height = image.size
        if fitting.fit == "celeba" and image.size != CELEBA_SIZE:
            raise Unusable(f"no aligned image of CelebA, which are of 178 x 218: {width} x {height}")
        # (As stored; the Exif data may turn it. Of a wide image `_fit` looks at the width once it is upright.)
        side = max(width, height) if fitting.fit == "wide" else used_side(width, height, fitting.fit)
        if side < fitting.resolution and not fitting.allow_upscale and fitting.fit != "face":
            used = (CELEBA_SIDE, CELEBA_SIDE) if fitting.fit == "celeba" else image.size
            raise Unusable(f"too small: {used[0]} x {used[1]}")
        image, profile = load_upright(image)
        return _to_array(to_srgb(_fit(image, fitting, face), profile), fitting)


def _fit(image: Image.Image, fitting: Fitting, face: Face | None) -> Image.Image:
    """Bring to R x R; for "pad", so that the longer side is R; for "wide", to R x 3/4 R."""
    width, height = image.size
    resolution = fitting.resolution
    if fitting.fit == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return _resize(image.crop((left, top, left + side, top + side)), resolution, resolution)
    if fitting.fit == "celeba":
        left, top = (center - CELEBA_SIDE // 2 for center in CELEBA_CENTER)
        return _resize(image.crop((left, top, left + CELEBA_SIDE, top + CELEBA_SIDE)), resolution, resolution)
    if fitting.fit == "face":
        if face is not None:
            return align.align_known(image, face, resolution, fitting.allow_upscale)
        return align.align(image, resolution, fitting.allow_upscale)
    if fitting.fit == "pad":
        side = max(width, height)
        return _resize(image, max(1, round(width * resolution / side)), max(1, round(height * resolution / side)))
    if fitting.fit == "wide":
        if width < resolution and not fitting.allow_upscale:
            raise Unusable(f"too small: {width} x {height}")
        rows = round(width * 3 / 4)
        if height < rows:
            raise Unusable(f"wider than 4 to 3: {width} x {height}")
        top = (height - rows) // 2
        return _resize(image.crop((0, top, width, top + rows)), resolution, resolution * 3 // 4)
    return _resize(image, resolution, resolution)


def _resize(image: Image.Image, width: int, height: int) -> Image.Image:
    """Box filter where it divides evenly (then it equals the store's own pyramid), else Lanczos.

    Pillow resizes images with alpha with premultiplied colors, so nothing leaks from transparent pixels.
    """
    if image.size == (width, height):
        return image
    if image.width % width or image.height % height:
        # The gap: far larger images are box-filtered to more than 4 times the size first. A photograph changes by
        # at most 2 of 255 and takes a third of the time.
        return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=4)
    if image.mode == "RGBA":
        return image.resize((width, height), Image.Resampling.BOX)
    rows, columns = image.height // height, image.width // width
    means = box_sum(np.atleast_3d(np.asarray(image)), rows, columns) / (rows * columns)
    return Image.frombytes(image.mode, (width, height), np.rint(means).astype(np.uint8).tobytes())


def _to_array(image: Image.Image, fitting: Fitting) -> np.ndarray:
    """Reduce to the channels asked for, on the padding where there is one."""
    if fitting.channels != 4:
        image = on_white(image)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[fitting.channels]
    image = image.convert(mode)
    resolution = fitting.resolution
    if image.size != (resolution, resolution):
        canvas = _padding(image, resolution, fitting.pad if fitting.fit == "pad" else None)
        canvas.paste(image, ((resolution - image.width) // 2, (resolution - image.height) // 2))
        image = canvas
    return np.asarray(image).reshape(resolution, resolution, fitting.channels)


def _padding(image: Image.Image, resolution: int, pad: str | None) -> Image.Image:
    """What an image is laid on, R x R: one color, its own edges drawn out, or itself, enlarged and blurred."""
    if pad is None:
        return Image.new(image.mode, (resolution, resolution))  # black; transparent, where there is alpha
    if pad == "edge":
        left, top = (resolution - image.width) // 2, (resolution - image.height) // 2
        beside = ((top, resolution - image.height - top), (left, resolution - image.width - left))
        pixels = np.asarray(image)
        return Image.fromarray(np.pad(pixels, beside + ((0, 0),) * (pixels.ndim - 2), mode="edge"))
    if pad == "blur":
        side = min(image.size)
        x, y = (image.width - side) / 2, (image.height - side) / 2
        box = (x, y, x + side, y + side)
        ground = image.resize((resolution, resolution), Image.Resampling.BICUBIC, box=box)
        return ground.filter(ImageFilter.GaussianBlur(resolution / 20))
    return Image.new(image.mode, (resolution, resolution), ImageColor.getcolor(pad, image.mode))
