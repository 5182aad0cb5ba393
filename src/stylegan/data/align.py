"""Faces: found, turned upright and cropped as the images of CelebA-HQ and FFHQ were.

The square comes from the eyes and the mouth (Karras et al., 2018, Progressive growing of GANs, appendix C). They are
found by MediaPipe's face landmarker, whose weights `stylegan fetch faces` gets.

Worker processes import this module, so it must not import torch.
"""

import contextlib
import math
import os
import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from stylegan.data.items import Unusable
from stylegan.downloads import fetched
from stylegan.errors import InputError

# Points of MediaPipe's mesh, those on the left of the picture first: the six on the rim of each eye that dlib's 68
# points have too, and the corners of the mouth.
EYES = (33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380)
MOUTH = 61, 291
FACES = 10  # are looked for at most
LOOKED_AT = 1024  # pixels across, at most, to find faces in


class Square(NamedTuple):
    """A turned square in an image, in pixels from the image's upper left corner."""

    center: np.ndarray  # [2], x and y
    right: np.ndarray  # [2], from the center to the middle of the right side

    @property
    def side(self) -> float:
        return 2 * float(np.hypot(*self.right))

    @property
    def down(self) -> np.ndarray:
        return np.array([-self.right[1], self.right[0]])

    @property
    def corners(self) -> np.ndarray:
        """[4, 2]: upper left, upper right, lower right, lower left."""
        x, y = self.right, self.down
        return self.center + np.stack([-x - y, x - y, x + y, y - x])


def align(image: Image.Image, resolution: int, allow_upscale: bool = False) -> Image.Image:
    """The largest face in an image, as an upright square: an image of the same mode, resolution x resolution.

    Raises Unusable where there is no face, or one smaller than that (unless `allow_upscale`), and InputError where
    faces cannot be looked for.
    """
    shrink = math.ceil(max(image.size) / LOOKED_AT)
    faces = find_faces(np.asarray(image.convert("RGB").reduce(shrink)))
    if not faces:
        raise Unusable("no face found")
    square = max((face_square(*(shrink * point for point in face)) for face in faces), key=lambda square: square.side)
    if square.side < resolution and not allow_upscale:
        raise Unusable(f"the face is too small: {square.side:.0f} x {square.side:.0f}")
    return crop(image, square, resolution)


def align_known(
    image: Image.Image, face: tuple[tuple[float, float], ...], resolution: int, allow_upscale: bool = False
) -> Image.Image:
    """`align`, of a face whose eyes and mouth are known. Raises Unusable where it is smaller than that."""
    square = face_square(*(np.array(point) for point in face))
    inside = (square.center > 0).all() and (square.center < image.size).all()
    if not inside or not 1 <= square.side <= 4 * max(image.size):
        raise Unusable("its face is not where its landmarks are")
    if square.side < resolution and not allow_upscale:
        raise Unusable(f"the face is too small: {square.side:.0f} x {square.side:.0f}")
    return crop(image, square, resolution)


def face_square(left_eye: np.ndarray, right_eye: np.ndarray, mouth: np.ndarray) -> Square:
    """The square around a face, from the middles [2] of the eye on the left of the picture, that on the right, and
    the mouth.

    Its side is 4 times the distance of the eyes or 3.6 times that of eyes and mouth, whichever is more; its axes lie
    between those of the eyes and of the nose.
    """
    eyes = (left_eye + right_eye) / 2
    across, down = right_eye - left_eye, mouth - eyes
    axis = across + np.array([down[1], -down[0]])
    axis = axis / np.hypot(*axis)
    return Square(eyes + 0.1 * down, axis * max(2.0 * np.hypot(*across), 1.8 * np.hypot(*down)))


def crop(image: Image.Image, square: Square, resolution: int) -> Image.Image:
    """Cut a turned square out of an image; what it has outside the image is mirrored, and blurred farther out."""
    # the upright rectangle that holds it, reduced to at most 4 times the resolution
    shrink = math.ceil(square.side / (4 * resolution))
    image, square = image.reduce(shrink), Square(square.center / shrink, square.right / shrink)
    low = np.floor(square.corners.min(axis=0)).astype(int) - 2
    high = np.ceil(square.corners.max(axis=0)).astype(int) + 2
    image = _cut(image, low, high, blur=0.02 * square.side)

    # turned at 4 times the resolution, bilinear, and reduced to it
    size = 4 * resolution
    corner, across, down = square.corners[0] - low, 2 * square.right / size, 2 * square.down / size
    matrix = (across[0], down[0], corner[0], across[1], down[1], corner[1])
    return image.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR).reduce(4)


def _cut(image: Image.Image, low: np.ndarray, high: np.ndarray, blur: float) -> Image.Image:
    """The rectangle of an image between two corners (x, y), whole numbers. Beyond its borders the image goes on
    mirrored, and the farther out, the more blurred."""
    (left, top), (right, bottom) = low.tolist(), high.tolist()
    inside = max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height)
    beyond = (inside[0] - left, right - inside[2]), (inside[1] - top, bottom - inside[3])
    part = image.crop(inside)
    if not np.any(beyond):
        return part
    columns, rows = beyond
    pixels = np.asarray(part)
    pixels = np.pad(pixels, (rows, columns) + ((0, 0),) * (pixels.ndim - 2), mode="symmetric")
    sharp = Image.frombytes(part.mode, pixels.shape[1::-1], pixels.tobytes())
    outside = [
        np.maximum(np.maximum(low - np.arange(n), np.arange(n) - (n - 1 - high)), 0)
        for n, (low, high) in zip(sharp.size, beyond, strict=True)
    ]
    distance = np.maximum(outside[0][None, :], outside[1][:, None])
    share = np.clip(distance / (5 * blur), 0, 1) * 255
    return Image.composite(sharp.filter(ImageFilter.GaussianBlur(blur)), sharp, Image.fromarray(share.astype(np.uint8)))


# --- MediaPipe


def check() -> None:
    """Raise InputError, with what to do, where faces cannot be looked for."""
    _options()


def find_faces(pixels: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The faces in an image uint8 [H, W, 3]: of each the middles [2], x and y in pixels, of the eye on the left of
    the picture, the eye on the right, and the mouth.

    Faces are found that are a sixth as wide as the picture or more. Raises InputError where they cannot be looked for.
    """
    options, found = _options(), []
    import mediapipe
    from mediapipe.tasks.python import vision

    with _silence(), vision.FaceLandmarker.create_from_options(options) as landmarker:
        rows, columns = (side // 2 for side in pixels.shape[:2])
        for y, x in ((0, 0), (rows, columns)):  # a face that fills the picture may be found only with room around it
            roomy = np.pad(pixels, ((y, y), (x, x), (0, 0)))
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(roomy))
            if faces := landmarker.detect(image).face_landmarks:
                break
    for face in faces:
        points = np.array([(point.x, point.y) for point in face]) * (roomy.shape[1], roomy.shape[0]) - (x, y)
        left, right, mouth = (points[list(part)].mean(axis=0) for part in (*EYES, MOUTH))
        found.append((left, right, mouth))
    return found


@lru_cache(maxsize=1)
def _options() -> Any:
    """MediaPipe's, with the weights; tried once."""
    (file,) = fetched("faces")
    weights = file.read_bytes()
    try:
        with _silence():
            from mediapipe.tasks.python import BaseOptions, vision

            options = vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_buffer=weights), num_faces=FACES
            )
            vision.FaceLandmarker.create_from_options(options).close()
    except ImportError as error:
        raise InputError(f"to find faces, MediaPipe is needed ({error}): pip install 'stylegan[align]'") from error
    except OSError as error:  # a shared library is not there
        raise InputError(f"MediaPipe cannot run: {error}; on Debian: apt install libgl1 libegl1 libgles2") from error
    return options


_stderr = threading.Lock()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Nothing reaches stderr, not even from native code, which cannot be asked to log less."""
    with _stderr:
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)
