"""The painter's tools of portraits: colors, smooth curves, and a canvas of masks.

Frame units: the picture is [0, 1] x [0, 1], y down.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Number = float | np.ndarray  # an array is of one number, or of one for each of what it is applied to
SHADOW = (0.52, 0.40, 0.42)  # what a shadow leaves of the colors below it


def lch(lightness: Number, chroma: Number, hue: Number) -> np.ndarray:
    """OKLCH (hue in degrees) to sRGB in [0, 1], shape [3]: equal lightness looks equally light in every hue."""
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    gamma = (12.92 * c if c <= 0.0031308 else 1.055 * min(c, 1.0) ** (1 / 2.4) - 0.055 for c in linear)
    return np.array([max(c, 0.0) for c in gamma], np.float32)


def mix(a: Number, b: Number, amount: Number) -> Any:
    """`a` where amount is 0, `b` where it is 1."""
    return a + (b - a) * amount


def ramp(x: Number, low: Number, high: Number) -> Any:
    """A smooth step from 0 at `low` to 1 at `high`."""
    t = np.minimum(np.maximum((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


class Tones(NamedTuple):
    """One material under the light: colors [3] in shadow, in plain view and in the highlight."""

    shadow: np.ndarray
    base: np.ndarray
    light: np.ndarray


def cloth_tones(lightness: Number, chroma: Number, hue: Number) -> Tones:
    """Matte cloth: shadows shift towards blue, lights stay close to the base."""
    return Tones(
        lch(lightness * 0.72, chroma, hue + 10),
        lch(lightness, chroma, hue),
        lch(lightness * 0.9 + 0.13, chroma * 0.9, hue - 6),
    )


@lru_cache
def spline(count: int, samples: int, closed: bool) -> np.ndarray:
    """Catmull-Rom weights [points on the curve, count]: a smooth curve through `count` points is linear in them."""
    t = np.arange(samples)[:, None] / samples
    segment = np.concatenate(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], axis=1
    )
    segments = count if closed else count - 1
    weights = np.zeros((segments * samples + (not closed), count))
    for i in range(segments):
        for j in range(4):
            k = (i + j - 1) % count if closed else min(max(i + j - 1, 0), count - 1)
            weights[i * samples : (i + 1) * samples, k] += segment[:, j] / 2
    if not closed:
        weights[-1, -1] = 1
    return weights


def smooth(points: np.ndarray, samples: int = 8, closed: bool = True) -> np.ndarray:
    """A smooth curve through points [k, 2], `samples` to a segment."""
    return spline(len(points), samples, closed) @ points


def ribbon(points: np.ndarray, widths: Sequence[Number]) -> np.ndarray:
    """The outline [n, 2] of a brush stroke along points [k, 2]; `widths` spread evenly from end to end."""
    line = smooth(points, 5, closed=False)
    along = np.empty_like(line)
    along[1:-1] = line[2:] - line[:-2]
    along[0], along[-1] = line[1] - line[0], line[-1] - line[-2]
    half = np.interp(np.arange(len(line)) / (len(line) - 1), spaced(len(widths)), widths) / 2
    across = along[:, ::-1] * np.array([-1.0, 1.0]) * (half / (np.hypot(along[:, 0], along[:, 1]) + 1e-9))[:, None]
    return np.concatenate([line + across, (line - across)[::-1]])


@lru_cache
def spaced(count: int) -> np.ndarray:
    """`count` numbers from 0 to 1."""
    return np.linspace(0, 1, count)


def ruffle(outline: np.ndarray, height: float, wavelength: float) -> np.ndarray:
    """Bulges of the given height along a closed outline [n, 2]: the silhouette of curls."""
    step = np.hypot(*np.diff(outline, axis=0, append=outline[:1]).T)
    length = np.cumsum(step)
    dense = np.linspace(0, length[-1], 400, endpoint=False)
    line = np.stack([np.interp(dense, length, outline[:, i]) for i in (0, 1)], axis=1)
    along = np.roll(line, -3, axis=0) - np.roll(line, 3, axis=0)
    normal = np.stack([along[:, 1], -along[:, 0]], 1) / (np.hypot(along[:, 0], along[:, 1])[:, None] + 1e-9)
    x, y = line.T
    outwards = np.sign(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))
    uneven = 0.8 + 0.2 * np.sin(1.7 * dense / wavelength)
    bulges = outwards * uneven * np.abs(np.sin(np.pi * dense / wavelength + 0.6 * np.sin(dense / wavelength))) ** 0.8
    return line + normal * (height * (bulges - 0.3 * outwards))[:, None]


def ellipse(x: Number, y: Number, rx: Number, ry: Number, count: int = 24) -> np.ndarray:
    """Points [count, 2] around an ellipse."""
    turn = np.arange(count) * (2 * np.pi / count)
    return np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], axis=1)


def mirrored(points: Iterable[Iterable[Number]]) -> tuple[np.ndarray, np.ndarray]:
    """A shape given for the right half of the picture, and its mirror image."""
    right = np.array(points, dtype=float)
    return right * (-1.0, 1.0), right


def whole(points: Iterable[Iterable[Number]]) -> np.ndarray:
    """Points given from the top down the right half, closed over the left half."""
    left, right = mirrored(points)
    return np.concatenate([right, left[::-1]])


def whole_across(points: Sequence[tuple[Number, Number]]) -> np.ndarray:
    """Points given from the middle to the right, continued to the left: one line across, left to right."""
    left, right = mirrored(points)
    return np.concatenate([left[:0:-1], right])


class Mask(NamedTuple):
    """Share of each pixel that a shape covers, inside its bounding box."""

    box: tuple[slice, slice]  # rows, columns
    alpha: np.ndarray  # [rows, columns], 0 to 1


class Canvas:
    """A picture being painted: float32 RGB in planes, [3, size, size]."""

    def __init__(self, size: int):
        self.size = size
        self.fine = 4 if size <= 256 else 2  # masks are drawn this much larger, then averaged
        self.rgb = np.zeros((3, size, size), np.float32)
        self.x = ((np.arange(size) + 0.5) / size).astype(np.float32)[None, :]
        self.y = self.x.T

    def box(self, low: Sequence[float], high: Sequence[float]) -> tuple[slice, slice]:
        """The pixels between two corners (x, y), at least one."""
        left, top = (min(max(int(edge * self.size), 0), self.size - 1) for edge in low)
        right, bottom = (min(int(edge * self.size) + 1, self.size) for edge in high)
        return slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))

    def _draw(self, shapes: Sequence[np.ndarray] | np.ndarray, blur: float, put: Callable[..., None]) -> Mask:
        """Call `put(draw, flat coordinates, index)` for every shape on a fine grid and average it to pixels."""
        points = np.concatenate(shapes)
        margin = 2.5 * blur + 0.01
        rows, columns = box = self.box((points.min(axis=0) - margin).tolist(), (points.max(axis=0) + margin).tolist())
        height, width = rows.stop - rows.start, columns.stop - columns.start
        image = Image.new("L", (width * self.fine, height * self.fine))
        draw = ImageDraw.Draw(image)
        origin = np.array([columns.start, rows.start]) * self.fine
        coordinates, start = (points * (self.size * self.fine) - origin).ravel().tolist(), 0
        for index, shape in enumerate(shapes):
            put(draw, coordinates[start : start + 2 * len(shape)], index)
            start += 2 * len(shape)
        image = image.reduce(self.fine)
        if blur:
            image = image.filter(ImageFilter.GaussianBlur(blur * self.size))
        return Mask(box, np.asarray(image, dtype=np.float32) / 255)

    def fill(self, *outlines: np.ndarray, holes: Sequence[np.ndarray] = (), blur: float = 0.0) -> Mask:
        """The inside of closed outlines [n, 2], less the holes; `blur` is a radius in frame units."""
        solid = len(outlines)

        def put(draw: ImageDraw.ImageDraw, coordinates: list[float], index: int) -> None:
            draw.polygon(coordinates, fill=255 if index < solid else 0)

        return self._draw([*outlines, *holes], blur, put)

    def lines(self, paths: Sequence[np.ndarray] | np.ndarray, width: Number) -> Mask:
        """Thin lines along paths [n, points, 2]."""
        exact = width * self.size * self.fine
        pixels = math.ceil(exact)
        mask = self._draw(paths, 0.0, lambda draw, xy, _: draw.line(xy, fill=255, width=pixels))
        # A line is a whole number of fine pixels wide; what it is too wide is taken off its strength.
        return Mask(mask.box, mask.alpha * (exact / pixels))

    def glow(self, center: np.ndarray, rx: Number, ry: Number) -> Mask:
        """A soft elliptical spot; rx and ry are where it has fallen to 1/e."""
        x, y = float(center[0]), float(center[1])
        rows, columns = box = self.box((x - 2.2 * rx, y - 2.2 * ry), (x + 2.2 * rx, y + 2.2 * ry))
        across = np.exp(-(((self.x[:, columns] - x) / rx) ** 2))
        down = np.exp(-(((self.y[rows] - y) / ry) ** 2))
        # Taking off the value at the rim of the box lets the spot end without a seam.
        return Mask(box, np.maximum(down * across - 0.008, 0).astype(np.float32))

    def spread(self, mask: Mask) -> np.ndarray:
        """The mask over the whole frame, [size, size], to clip others with."""
        full = np.zeros((self.size, self.size), np.float32)
        full[mask.box] = mask.alpha
        return full

    def paint(self, mask: Mask, color: np.ndarray, opacity: Number = 1.0, clip: np.ndarray | None = None) -> None:
        """Lay color, [3] or [3, rows, columns], over the picture where the mask is."""
        alpha = mask.alpha * opacity if clip is None else mask.alpha * clip[mask.box] * opacity
        color = np.asarray(color, np.float32)
        region = self.rgb[(slice(None), *mask.box)]
        region += alpha * ((color[:, None, None] if color.ndim == 1 else color) - region)

    def shade(self, mask: Mask, tint: Sequence[float], opacity: Number = 1.0, clip: np.ndarray | None = None) -> None:
        """Multiply the picture by a tint [3] where the mask is: a shadow that keeps what lies below."""
        alpha = mask.alpha * opacity if clip is None else mask.alpha * clip[mask.box] * opacity
        region = self.rgb[(slice(None), *mask.box)]
        region *= 1 - alpha * (1 - np.asarray(tint, np.float32)[:, None, None])
