"""Procedural portraits: the built-in data set, drawn from known, independent factors of variation.

`factors` draws what a portrait shows, `render` paints it, `attributes` says which of twenty yes-or-no statements
hold. Whatever is left to chance once the factors are fixed (strands of hair, freckles, bokeh, weave) follows
from `detail_seed` alone, which makes it the stochastic variation of Section 3.2 of the StyleGAN paper.

The method is that of an illustrator: closed curves through points of a turned head are filled back to front,
then shaded with soft shapes. Head units: x to the right, y down, z towards the viewer; the origin lies between
the eyes and half the width of the face is 1. Frame units: the picture is [0, 1] x [0, 1], y down.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from stylegan.errors import InputError

# ----------------------------------------------------------------------------------------------------------
# Factors

HAIR_COLOURS = {  # name: (lightness, chroma, hue in degrees) in OKLCH
    "black": (0.21, 0.012, 280),
    "espresso": (0.28, 0.035, 50),
    "blue_black": (0.25, 0.05, 265),
    "chestnut": (0.44, 0.085, 48),
    "auburn": (0.47, 0.125, 38),
    "copper": (0.60, 0.145, 50),
    "honey": (0.70, 0.10, 75),
    "blond": (0.82, 0.085, 88),
    "silver": (0.76, 0.012, 250),
    "rose": (0.70, 0.12, 5),
    "teal": (0.58, 0.09, 200),
    "violet": (0.52, 0.13, 305),
}
DARK_HAIR = ("black", "espresso", "blue_black")
HAIR_WEIGHTS = (0.16, 0.16, 0.08, 0.12, 0.09, 0.08, 0.08, 0.09, 0.05, 0.03, 0.03, 0.03)
EYE_COLOURS = ((0.30, 0.05, 50), (0.40, 0.08, 60), (0.55, 0.09, 130), (0.58, 0.09, 240), (0.52, 0.03, 230))
BANGS = ("none", "straight", "swept")
BEARDS = ("none", "full", "goatee")
GLASSES = ("none", "round", "square", "cat_eye")
HATS = ("none", "beanie", "brim", "cap", "beret")
EARRINGS = ("none", "hoop", "drop")
CLOTHES = ("crew", "v_neck", "turtleneck", "shirt")
BACKGROUNDS = ("plain", "gradient", "bokeh", "disc", "hills", "window")


@dataclass(frozen=True)
class Factors:
    """Everything that is decided about one portrait, before chance adds its detail."""

    centre_x: float  # midpoint of the eyes in the frame, about 0.5
    centre_y: float  # the same, downwards, about 0.485
    scale: float  # half the width of the face in the frame, 0.226 to 0.25
    yaw: float  # turn of the head, -1 (to the viewer's left) to 1
    pitch: float  # nod, -1 (up) to 1 (down)
    tilt: float  # lean of the head in the picture plane, -1 to 1
    light: float  # where the light comes from, -1 (left) to 1 (right), never near 0
    face_width: float  # 0 (long and narrow) to 1 (short and round)
    jaw: float  # 0 (pointed chin) to 1 (square jaw)
    age: float  # 0 (young) to 1 (wrinkles, grey temples)
    skin_tone: float  # 0 (very light) to 1 (very dark)
    undertone: float  # -1 (rosy) to 1 (olive)
    freckles: float  # freckles show above 0.65
    eye_size: float  # 0 to 1
    eye_colour: int  # row of EYE_COLOURS
    gaze: float  # where the eyes look relative to the head, -1 to 1
    brow_weight: float  # 0 (thin) to 1 (bushy)
    brow_arch: float  # 0 (straight) to 1 (arched)
    nose_length: float  # 0 to 1
    nose_width: float  # 0 to 1
    lip_fullness: float  # 0 to 1
    lipstick: float  # painted lips above 0.65
    smile: float  # 0 (corners down) to 1 (broad smile)
    mouth_open: float  # the mouth opens above 0.6
    hair_colour: str  # key of HAIR_COLOURS
    hair_length: float  # 0 (cropped) to 1 (over the shoulders); long above 0.6
    hair_volume: float  # 0 (close to the skull) to 1 (big)
    hair_curl: float  # curls above 0.62
    parting: float  # where the hair parts, -1 (left) to 1 (right)
    bangs: str  # one of BANGS
    beard: str  # one of BEARDS
    moustache: float  # a moustache above 0.68
    glasses: str  # one of GLASSES
    glasses_hue: float  # hue of the frames in degrees
    lens_tint: float  # tint of the lenses, 0 (clear) to 1 (shaded)
    hat: str  # one of HATS
    hat_hue: float  # degrees
    hat_lightness: float  # 0 (dark) to 1 (light)
    earrings: str  # one of EARRINGS
    clothes: str  # one of CLOTHES
    clothes_hue: float  # degrees
    clothes_lightness: float  # dark below 0.4
    stripes: float  # striped cloth above 0.7
    background: str  # one of BACKGROUNDS
    background_hue: float  # degrees
    background_lightness: float  # dark below 0.42
    background_contrast: float  # how far its second colour lies from its first, 0 to 1


def factors(index: int, seed: int = 0) -> Factors:
    """The factors of portrait `index`, drawn independently: a pure function of (seed, index), both >= 0."""
    rng = np.random.default_rng([seed, index])

    def uniform(low: float = 0.0, high: float = 1.0) -> float:
        return float(rng.uniform(low, high))

    def choice(options: Sequence[str], weights: Sequence[float]) -> str:
        return options[int(np.searchsorted(np.cumsum(weights)[:-1], rng.random(), side="right"))]

    return Factors(
        centre_x=uniform(0.485, 0.515),
        centre_y=uniform(0.475, 0.495),
        scale=uniform(0.226, 0.250),
        yaw=uniform(-1, 1),
        pitch=uniform(-1, 1),
        tilt=uniform(-1, 1),
        light=float(rng.choice([-1, 1])) * uniform(0.5, 1),
        face_width=uniform(),
        jaw=uniform(),
        age=uniform(),
        skin_tone=uniform(),
        undertone=uniform(-1, 1),
        freckles=uniform(),
        eye_size=uniform(),
        eye_colour=int(rng.integers(len(EYE_COLOURS))),
        gaze=uniform(-1, 1),
        brow_weight=uniform(),
        brow_arch=uniform(),
        nose_length=uniform(),
        nose_width=uniform(),
        lip_fullness=uniform(),
        lipstick=uniform(),
        smile=uniform(),
        mouth_open=uniform(),
        hair_colour=choice(tuple(HAIR_COLOURS), HAIR_WEIGHTS),
        hair_length=uniform(),
        hair_volume=uniform(),
        hair_curl=uniform(),
        parting=uniform(-1, 1),
        bangs=choice(BANGS, (0.6, 0.18, 0.22)),
        beard=choice(BEARDS, (0.68, 0.22, 0.10)),
        moustache=uniform(),
        glasses=choice(GLASSES, (0.64, 0.14, 0.13, 0.09)),
        glasses_hue=uniform(0, 360),
        lens_tint=uniform(),
        hat=choice(HATS, (0.66, 0.10, 0.09, 0.08, 0.07)),
        hat_hue=uniform(0, 360),
        hat_lightness=uniform(),
        earrings=choice(EARRINGS, (0.64, 0.18, 0.18)),
        clothes=choice(CLOTHES, (0.28, 0.24, 0.22, 0.26)),
        clothes_hue=uniform(0, 360),
        clothes_lightness=uniform(),
        stripes=uniform(),
        background=choice(BACKGROUNDS, (0.14, 0.20, 0.24, 0.14, 0.14, 0.14)),
        background_hue=uniform(0, 360),
        background_lightness=uniform(),
        background_contrast=uniform(),
    )


# ----------------------------------------------------------------------------------------------------------
# Colour


def lch(lightness: float, chroma: float, hue: float) -> np.ndarray:
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


def mix(a: np.ndarray, b: np.ndarray | float, amount: np.ndarray | float) -> np.ndarray:
    """`a` where amount is 0, `b` where it is 1."""
    return a + (b - a) * amount


def ramp(x: np.ndarray | float, low: float, high: float) -> np.ndarray:
    """A smooth step from 0 at `low` to 1 at `high`."""
    t = np.minimum(np.maximum((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


class Tones(NamedTuple):
    """One material under the light: colours [3] in shadow, in plain view and in the highlight."""

    shadow: np.ndarray
    base: np.ndarray
    light: np.ndarray


def skin_tones(f: Factors) -> Tones:
    """Skin from very light to very dark; its shadows turn red as light scatters below the surface."""
    lightness = np.interp(f.skin_tone, [0, 0.3, 0.6, 0.62, 1], [0.90, 0.82, 0.71, 0.60, 0.405])
    chroma = np.interp(f.skin_tone, [0, 0.5, 0.7, 1], [0.045, 0.085, 0.08, 0.05])
    hue = 56 + 9 * f.undertone
    return Tones(
        shadow=lch(lightness * 0.73, chroma * 1.25 + 0.012, hue - 20),
        base=lch(lightness, chroma, hue),
        light=lch(lightness * 0.9 + 0.115, chroma * 0.72, hue + 10),
    )


def hair_tones(f: Factors) -> Tones:
    """The colour of hair, brows and beard."""
    lightness, chroma, hue = HAIR_COLOURS[f.hair_colour]
    return Tones(
        shadow=lch(lightness * 0.66, chroma * 0.95, hue - 12),
        base=lch(lightness, chroma, hue),
        light=lch(lightness * 0.85 + 0.22, chroma * 0.95 + 0.008, hue + 8),
    )


def cloth_tones(lightness: float, chroma: float, hue: float) -> Tones:
    """Matte cloth: shadows shift towards blue, lights stay close to the base."""
    return Tones(
        lch(lightness * 0.72, chroma, hue + 10),
        lch(lightness, chroma, hue),
        lch(lightness * 0.9 + 0.13, chroma * 0.9, hue - 6),
    )


# ----------------------------------------------------------------------------------------------------------
# Curves


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


def ribbon(points: np.ndarray, widths: Sequence[float]) -> np.ndarray:
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


def ellipse(x: float, y: float, rx: float, ry: float, count: int = 24) -> np.ndarray:
    """Points [count, 2] around an ellipse."""
    turn = np.arange(count) * (2 * np.pi / count)
    return np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], axis=1)


def mirrored(points: Iterable[Iterable[float]]) -> tuple[np.ndarray, np.ndarray]:
    """A shape given for the right half of the picture, and its mirror image."""
    right = np.array(points, dtype=float)
    return right * (-1.0, 1.0), right


def whole(points: Iterable[Iterable[float]]) -> np.ndarray:
    """Points given from the top down the right half, closed over the left half."""
    left, right = mirrored(points)
    return np.concatenate([right, left[::-1]])


def whole_across(points: Sequence[tuple[float, float]]) -> np.ndarray:
    """Points given from the middle to the right, continued to the left: one line across, left to right."""
    left, right = mirrored(points)
    return np.concatenate([left[:0:-1], right])


# ----------------------------------------------------------------------------------------------------------
# The head


class Head:
    """The pose of one head: takes head units to the frame. The turn gives parallax and foreshortening."""

    def __init__(self, f: Factors, turned: float = 1.0, rise: float = 0.0):
        """`turned` scales turn, nod and lean: 1 for the head, 0 for the shoulders, which `rise` moves up."""
        self.unit = f.scale
        self.spacing = mix(0.93, 1.02, f.face_width)
        self.centre = np.array([f.centre_x, f.centre_y - rise * f.scale])
        yaw, pitch, tilt = turned * 0.41 * f.yaw, turned * 0.10 * f.pitch, turned * 0.09 * f.tilt
        self.sin_yaw, self.cos_yaw = math.sin(yaw), math.cos(yaw)
        self.sin_pitch = math.sin(pitch)
        self.lean = f.scale * np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])

    def place(self, points: np.ndarray, z: np.ndarray | float = 0.0) -> np.ndarray:
        """Points [n, 2] at depth z in head units, to the frame [n, 2]."""
        points = np.asarray(points, dtype=float)
        turned = points * (self.cos_yaw, 1.0)
        turned[:, 0] += z * self.sin_yaw
        turned[:, 1] += z * self.sin_pitch
        return self.centre + turned @ self.lean

    def on_face(self, points: np.ndarray, lift: np.ndarray | float = 0.0) -> np.ndarray:
        """Points [n, 2] on the front of the face, `lift` above it, to the frame [n, 2]."""
        points = np.asarray(points, dtype=float) * (self.spacing, 1.0)
        x, y = points[:, 0], points[:, 1]
        z = 0.82 * np.sqrt(np.maximum(0.05, 1 - (x / 1.12) ** 2 - 0.25 * ((y - 0.1) / 1.5) ** 2))
        return self.place(points, z + lift)

    def on_outline(self, points: np.ndarray) -> np.ndarray:
        """Points [n, 2] of the contour of the face, to the frame: the chin turns more than the temples."""
        points = np.asarray(points, dtype=float)
        x, y = points[:, 0], points[:, 1]
        z = 0.05 + 0.25 * np.sign(x) * self.sin_yaw + 0.5 * ramp(y, 0.2, 1.3) * (1 - 0.35 * np.abs(x))
        return self.place(points, z)

    def inverse(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Frame to head units in the picture plane."""
        dx, dy = x - float(self.centre[0]), y - float(self.centre[1])
        (a, b), (c, d) = (self.lean / self.unit**2).astype(np.float32)
        return dx * a + dy * b, dx * c + dy * d


# ----------------------------------------------------------------------------------------------------------
# The canvas


class Mask(NamedTuple):
    """How much of each pixel a shape covers, inside its bounding box."""

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

    def _draw(self, shapes: Sequence[np.ndarray], blur: float, put: Callable[..., None]) -> Mask:
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

    def lines(self, paths: np.ndarray, width: float) -> Mask:
        """Thin lines along paths [n, points, 2]."""
        exact = width * self.size * self.fine
        pixels = math.ceil(exact)
        mask = self._draw(paths, 0.0, lambda draw, xy, _: draw.line(xy, fill=255, width=pixels))
        # A line is a whole number of fine pixels wide; what it is too wide is taken off its strength.
        return Mask(mask.box, mask.alpha * (exact / pixels))

    def glow(self, centre: np.ndarray, rx: float, ry: float) -> Mask:
        """A soft elliptical spot; rx and ry are where it has fallen to 1/e."""
        x, y = float(centre[0]), float(centre[1])
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

    def paint(
        self, mask: Mask, colour: np.ndarray, opacity: float | np.ndarray = 1.0, clip: np.ndarray | None = None
    ) -> None:
        """Lay colour, [3] or [3, rows, columns], over the picture where the mask is."""
        alpha = mask.alpha * opacity if clip is None else mask.alpha * clip[mask.box] * opacity
        colour = np.asarray(colour, np.float32)
        region = self.rgb[(slice(None), *mask.box)]
        region += alpha * ((colour[:, None, None] if colour.ndim == 1 else colour) - region)

    def shade(self, mask: Mask, tint: Sequence[float], opacity: float = 1.0, clip: np.ndarray | None = None) -> None:
        """Multiply the picture by a tint [3] where the mask is: a shadow that keeps what lies below."""
        alpha = mask.alpha * opacity if clip is None else mask.alpha * clip[mask.box] * opacity
        region = self.rgb[(slice(None), *mask.box)]
        region *= 1 - alpha * (1 - np.asarray(tint, np.float32)[:, None, None])


SHADOW = (0.52, 0.40, 0.42)  # what a shadow leaves of the colours below it


class Scene(NamedTuple):
    """What every layer needs: where to paint, what, in which pose and with which chance."""

    canvas: Canvas
    f: Factors
    head: Head
    body: Head
    detail_seed: int

    def chance(self, layer: int) -> np.random.Generator:
        """Random numbers of one layer, the same whatever the other layers draw and at every resolution."""
        return np.random.default_rng([self.detail_seed, layer])


# ----------------------------------------------------------------------------------------------------------
# Shapes that several layers share


def wide(f: Factors) -> float:
    """Half the width of the face at the temples."""
    return mix(0.91, 1.07, f.face_width)


def face_half(f: Factors) -> np.ndarray:
    """The right half of the contour of the face, from the top of the skull to the chin, [n, 2]."""
    tall = mix(1.07, 0.94, f.face_width)
    corner = 0.03 * f.face_width + mix(-0.07, 0.05, f.jaw)
    points = np.array(
        [
            (0.0, -1.36),
            (0.55, -1.22),
            (0.88, -0.78),
            (0.97, -0.30),
            (0.98, 0.12),
            (0.94, 0.50),
            (0.80 + corner, 0.90),
            (0.52 + 1.2 * corner, 1.22),
            (0.22 + 0.6 * corner, 1.42),
            (0.0, 1.45),
        ]
    )
    points[:, 0] *= wide(f)
    points[4:, 1] *= tall
    return points


def face_outline(scene: Scene) -> np.ndarray:
    """The closed contour of the turned face in the frame."""
    return smooth(scene.head.on_outline(whole(face_half(scene.f))))


def skull_radii(scene: Scene) -> tuple[float, float]:
    """Half-width and half-height of the hair around the skull, in head units."""
    f = scene.f
    fluff = f.hair_volume + 0.9 * float(ramp(f.hair_curl, 0.55, 0.7))
    # Hair is a ball around the head: unlike the face it is as wide from the side, so the turn is undone.
    # A hat presses the hair flat on top.
    return (0.09 + wide(f) + 0.13 * fluff) / scene.head.cos_yaw, 1.25 + (0.16 if f.hat == "none" else 0.04) * fluff


def skull_arc(scene: Scene, degrees: float, count: int = 15) -> np.ndarray:
    """The outer edge of the hair, from -degrees over the crown to +degrees, [count, 2]."""
    rx, ry = skull_radii(scene)
    turn = np.radians(np.linspace(-degrees, degrees, count))
    return np.stack([rx * np.sin(turn), -0.22 - ry * np.cos(turn)], axis=1)


def hair_end(f: Factors) -> float:
    """How far down the hair reaches, in head units: the nape, the jaw or the shoulders."""
    return float(np.interp(f.hair_length, [0, 0.599, 0.601, 1], [0.2, 0.85, 1.75, 2.6]))


def curls(f: Factors) -> float:
    """0 for straight or wavy hair, up to 1 for curls; there is little in between."""
    return float(ramp(f.hair_curl, 0.58, 0.68)) * mix(0.8, 1.0, f.hair_curl)


def hair_edge(scene: Scene, outline: np.ndarray) -> np.ndarray:
    """The silhouette of hair: smooth when straight, ruffled when curly."""
    amount = curls(scene.f)
    return ruffle(outline, 0.17 * amount * scene.head.unit, 0.34 * scene.head.unit) if amount else outline


# ----------------------------------------------------------------------------------------------------------
# Background


def paint_background(scene: Scene) -> None:
    """A plain, graded or softly patterned ground, a little brighter on the side of the light."""
    canvas, f = scene.canvas, scene.f
    dark = f.background_lightness < 0.42
    lightness = np.interp(f.background_lightness, [0, 0.419, 0.42, 1], [0.24, 0.42, 0.74, 0.93])
    chroma = mix(0.045, 0.095, f.background_contrast)
    step = mix(0.05, 0.11, f.background_contrast) * (1 if dark else -1)
    first = lch(lightness, chroma, f.background_hue)
    second = lch(lightness + step, chroma * 1.25, f.background_hue + mix(20, 70, f.background_contrast))
    everywhere = Mask((slice(0, canvas.size), slice(0, canvas.size)), np.ones((1, 1), np.float32))
    slope = mix(0.5, canvas.x if f.light < 0 else 1 - canvas.x, 0.5 * abs(f.light))
    graded = ramp(0.65 * canvas.y + 0.5 * slope, 0.15, 0.95)
    if f.background == "plain":
        graded = 0.5 * graded
    canvas.paint(everywhere, first)
    canvas.paint(everywhere, second, graded)
    patterns = {"bokeh": paint_bokeh, "disc": paint_disc, "hills": paint_hills, "window": paint_window}
    if f.background in patterns:
        patterns[f.background](scene, first, second)
    halo = canvas.glow(np.array([0.5 + 0.38 * f.light, 0.25]), 0.55, 0.6)
    canvas.paint(halo, mix(first, 1.0, 0.6), 0.22 if dark else 0.45)
    paper = scene.chance(0).normal(size=(64, 64)).astype(np.float32)
    grain = Image.fromarray(paper).resize((canvas.size, canvas.size), Image.Resampling.BICUBIC)
    canvas.rgb += 0.005 * np.asarray(grain)


def paint_bokeh(scene: Scene, first: np.ndarray, second: np.ndarray) -> None:
    """Lights out of focus: translucent discs of many sizes."""
    rng = scene.chance(1)
    for x, y, size, pick in rng.random((13, 4)):
        radius = mix(0.03, 0.10, size)
        colour = mix(second if pick < 0.6 else first[::-1], 1.0, 0.45)
        disc = scene.canvas.fill(ellipse(x, y * 0.9, radius, radius), blur=0.004)
        scene.canvas.paint(disc, colour, 0.16 + 0.2 * pick)


def paint_disc(scene: Scene, first: np.ndarray, second: np.ndarray) -> None:
    """A large disc behind the head."""
    x, y = scene.head.centre
    colour = mix(second, lch(0.78, 0.10, scene.f.background_hue + 150), 0.45)
    scene.canvas.paint(scene.canvas.fill(ellipse(x, y, 0.43, 0.43, 64)), colour, 0.85)
    scene.canvas.paint(scene.canvas.glow(np.array([x, y - 0.1]), 0.33, 0.33), mix(colour, 1.0, 0.5), 0.4)


def paint_hills(scene: Scene, first: np.ndarray, second: np.ndarray) -> None:
    """Two ridges under the sky, the nearer one darker."""
    hue, dark = scene.f.background_hue, scene.f.background_lightness < 0.42
    for depth, phase in ((0.0, 0.3), (1.0, 2.1)):
        x = np.linspace(-0.05, 1.05, 40)
        y = 0.54 + 0.16 * depth + 0.045 * np.sin(7 * x + phase + hue / 40) + 0.02 * np.sin(17 * x + 2 * phase)
        outline = np.concatenate([np.stack([x, y], 1), [(1.05, 1.05), (-0.05, 1.05)]])
        colour = lch((0.33 if dark else 0.72) - 0.07 * depth, 0.06, hue + 60 + 25 * depth)
        scene.canvas.paint(scene.canvas.fill(outline, blur=0.003), colour, 0.9)


def paint_window(scene: Scene, first: np.ndarray, second: np.ndarray) -> None:
    """Window light falling slantwise on the wall."""
    side, dark = np.sign(scene.f.light), scene.f.background_lightness < 0.42
    panes = []
    for row in range(2):
        for column in range(3):
            left, top = 0.06 + 0.31 * column, 0.05 + 0.36 * row
            corners = np.array([(left, top), (left + 0.27, top), (left + 0.27, top + 0.32), (left, top + 0.32)])
            corners[:, 1] -= side * 0.22 * (corners[:, 0] - 0.5)
            panes.append(corners)
    scene.canvas.paint(scene.canvas.fill(*panes, blur=0.008), mix(second, 1.0, 0.5), 0.3 if dark else 0.55)


# ----------------------------------------------------------------------------------------------------------
# Hair


def bezier(root: np.ndarray, control: np.ndarray, tip: np.ndarray, samples: int = 9) -> np.ndarray:
    """Quadratic curves from roots [n, 2] to tips [n, 2], as paths [n, samples, 2]."""
    t = np.linspace(0, 1, samples)[None, :, None]
    return (1 - t) ** 2 * root[:, None] + 2 * t * (1 - t) * control[:, None] + t**2 * tip[:, None]


def wave(scene: Scene, paths: np.ndarray) -> np.ndarray:
    """Strands [n, samples, 2] made wavy, the more the curlier the hair, and more towards their tips."""
    t = np.linspace(0, 1, paths.shape[1])[None, :]
    phase = 5 * paths[:, -1:, 0] / scene.head.unit
    amount = (0.012 + 0.05 * scene.f.hair_curl) * scene.head.unit
    bent = paths.copy()
    bent[..., 0] += amount * t * np.sin(2 * np.pi * t * mix(1.2, 2.2, scene.f.hair_curl) + phase)
    return bent


def curl_paths(scene: Scene, rng: np.random.Generator, outline: np.ndarray, count: int) -> np.ndarray:
    """Little arcs strewn over the bounding box of an outline, [count, 7, 2]."""
    low, high = outline.min(axis=0), outline.max(axis=0)
    spots = low + rng.random((count, 2)) * (high - low)
    radius = rng.uniform(0.06, 0.14, (count, 1)) * scene.head.unit
    angle = rng.uniform(0, 2 * np.pi, (count, 1)) + np.linspace(0, 3.6, 7)[None, :]
    return spots[:, None] + radius[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=2)


def paint_strands(scene: Scene, paths: np.ndarray, tones: Tones, clip: np.ndarray, strength: float = 1.0) -> None:
    """Every other strand darker, the rest lighter; light ones shine where the light falls."""
    canvas, head = scene.canvas, scene.head
    width = mix(0.022, 0.034, curls(scene.f))
    canvas.paint(canvas.lines(paths[0::2], width * head.unit), tones.shadow, 0.42 * strength, clip)
    shining = canvas.lines(paths[1::2], 0.8 * width * head.unit)
    rows, columns = shining.box
    u, v = head.inverse(canvas.x[:, columns], canvas.y[rows])
    ring = np.hypot(u - 0.25 * scene.f.light, 0.85 * (v + 0.2))
    shine = 0.22 + 0.5 * np.exp(-(((ring - 0.92) / 0.16) ** 2)) * ramp(-v, -0.6, 0.6)
    canvas.paint(shining, tones.light, shine * (0.8 + 0.35 * scene.f.light * np.clip(u, -1, 1)) * strength, clip)


def shade_hair(scene: Scene, mask: Mask, tones: Tones) -> None:
    """Fill hair: darker low down and away from the light, with a band of sheen around the crown."""
    f, canvas = scene.f, scene.canvas
    rows, columns = mask.box
    u, v = scene.head.inverse(canvas.x[:, columns], canvas.y[rows])
    towards = 0.55 * f.light * u - 0.45 * (v + 0.3)
    colour = mix(tones.shadow[:, None, None], tones.base[:, None, None], ramp(towards, -1.3, 0.25))
    ring = np.hypot(u - 0.3 * f.light, 0.85 * (v + 0.2))
    sheen = np.exp(-(((ring - 0.95) / 0.2) ** 2)) * ramp(towards, -0.1, 1.0) * ramp(-v, 0.1, 0.8)
    canvas.paint(mask, mix(colour, tones.light[:, None, None], 0.55 * sheen))


def paint_back_hair(scene: Scene) -> None:
    """The hair behind neck and ears, down to its length."""
    f, head, canvas = scene.f, scene.head, scene.canvas
    rx, _ = skull_radii(scene)
    end, spread = hair_end(f), 0.18 * curls(f) + 0.08 * f.hair_volume
    arc = skull_arc(scene, 95)
    if f.hair_length > 0.6:
        right = [(rx + 0.06 + spread, 0.7), (rx + 0.12 + spread, 1.3), (rx + 0.08 + spread, end - 0.15)]
        right += [(rx - 0.25, end + 0.08), (0.45, end)]
    else:
        right = [(rx + 0.3 * spread, mix(0.2, end, 0.5)), (rx - 0.12, end), (0.62, end + 0.22)]
    left, right = mirrored(right)
    points = np.concatenate([arc, right, left[::-1]])
    outline = hair_edge(scene, smooth(head.place(points, -0.3)))
    tones = hair_tones(f)
    mask = canvas.fill(outline)
    shade_hair(scene, mask, Tones(mix(tones.shadow, 0, 0.3), mix(tones.base, tones.shadow, 0.6), tones.base))
    rng = scene.chance(2)
    if curls(f):
        paths = curl_paths(scene, rng, outline, 150)
    else:
        x = rng.uniform(-rx, rx, 70) + np.where(rng.random(70) < 0.5, -0.1, 0.1)
        root = head.place(np.stack([0.85 * x, np.full(70, -0.6)], 1), -0.3)
        bend = head.place(np.stack([1.12 * x, np.full(70, 0.5)], 1), -0.3)
        tip = head.place(np.stack([x, end + rng.uniform(-0.2, 0.3, 70)], 1), -0.3)
        paths = wave(scene, bezier(root, bend, tip))
    paint_strands(scene, paths, tones, canvas.spread(mask), 0.7)


def cap_outline(scene: Scene) -> np.ndarray:
    """The hair on top of the head: outside the skull, inside the hairline, parted to one side."""
    f, head = scene.f, scene.head
    arc = skull_arc(scene, 100)
    part = 0.42 * f.parting
    hairline = np.array(
        [
            (1.00 * wide(f), 0.28),
            (0.93 * wide(f), 0.05),
            (0.90 * wide(f), -0.35),
            (0.76 * wide(f), -0.72),
            (mix(0.45, part, 0.3), -0.97),
            (part, -1.04),
            (mix(-0.45, part, 0.3), -0.97),
            (-0.76 * wide(f), -0.72),
            (-0.90 * wide(f), -0.35),
            (-0.93 * wide(f), 0.05),
            (-1.00 * wide(f), 0.28),
        ]
    )
    outer = head.place(arc, -0.15)
    inner = head.on_outline(hairline)
    inner[2:9] = mix(inner[2:9], head.on_face(hairline[2:9]), np.array([0.3, 0.75, 1, 1, 1, 0.75, 0.3])[:, None])
    return smooth(np.concatenate([outer, inner]))


def lock_outlines(scene: Scene) -> list[np.ndarray]:
    """Long hair falls in front of the ears and over the shoulders, one lock on either side."""
    f, head = scene.f, scene.head
    rx, _ = skull_radii(scene)
    end, spread = hair_end(f), 0.16 * curls(f) + 0.06 * f.hair_volume
    points = [
        (0.60, -1.02),
        (rx - 0.12, -0.75),
        (rx + 0.02, -0.20),
        (rx + 0.07 + spread, 0.60),
        (rx + 0.10 + spread, 1.30),
        (rx + 0.02 + spread, end - 0.15),
        (0.92, end + 0.10),
        (0.74, end - 0.22),
        (0.78, 1.45),
        (0.98 * wide(f), 0.85),
        (1.00 * wide(f), 0.30),
        (0.93 * wide(f), -0.30),
        (0.74, -0.72),
    ]
    return [hair_edge(scene, smooth(head.place(side, 0.02))) for side in mirrored(points)]


def bangs_outline(scene: Scene) -> np.ndarray:
    """Hair over the forehead: cut straight above the brows, or swept across from the parting."""
    f, head = scene.f, scene.head
    part = 0.42 * f.parting
    if f.bangs == "straight":
        fringe = [(-0.86, -0.2), (-0.66, -0.42), (-0.5, -0.34), (-0.34, -0.46), (-0.15, -0.37), (0.02, -0.46)]
        fringe += [(0.2, -0.36), (0.36, -0.46), (0.52, -0.35), (0.68, -0.42), (0.86, -0.2)]
        points = np.array([(0.80, -0.85), (0.4, -1.15), (0, -1.22), (-0.4, -1.15), (-0.80, -0.85), *fringe])
    else:
        side = -1.0 if f.parting > 0 else 1.0
        fringe = [(-0.45, -0.88), (-0.1, -0.62), (0.25, -0.50), (0.45, -0.36), (0.68, -0.28), (0.93, 0.12)]
        points = np.array([(0.95, -0.45), (0.78, -0.85), (0.3, -1.15), (-0.3, -1.15), *fringe])
        points[:, 0] *= side
        points[:4, 0] += 0.2 * part
    return smooth(head.on_face(points, 0.06))


def paint_front_hair(scene: Scene) -> None:
    """The hair in front: crown, bangs and locks, with a soft shadow on the face and strands all over."""
    f, head, canvas = scene.f, scene.head, scene.canvas
    tones, rng = hair_tones(f), scene.chance(3)
    cap = cap_outline(scene)
    shapes = [hair_edge(scene, cap) if curls(f) else cap]
    if f.bangs != "none":
        bangs = bangs_outline(scene)
        shapes.append(ruffle(bangs, 0.06 * curls(f) * head.unit, 0.24 * head.unit) if curls(f) else bangs)
    if f.hair_length > 0.6:
        shapes += lock_outlines(scene)
    face = canvas.spread(canvas.fill(face_outline(scene)))
    shift = head.unit * np.array([-0.06 * f.light, 0.09])
    canvas.shade(canvas.fill(*[shape + shift for shape in shapes], blur=0.012), SHADOW, 0.6, face)
    mask = canvas.fill(*shapes)
    shade_hair(scene, mask, tones)
    clip = canvas.spread(mask)
    paint_grey_temples(scene, clip)
    curly = curls(f) > 0
    paths = curl_paths(scene, rng, np.concatenate(shapes), 300) if curly else wave(scene, strand_paths(scene, rng))
    paint_strands(scene, paths, tones, clip)
    # The lit edge of the hair keeps it apart from a dark background.
    inner = canvas.fill(*[shape + head.unit * np.array([-0.05 * f.light, 0.04]) for shape in shapes], blur=0.006)
    canvas.paint(mask, tones.light, 0.35 * (1 - canvas.spread(inner)[mask.box]))


def strand_paths(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Strands from the parting over the crown, across the forehead and down the locks, [n, 9, 2]."""
    f, head = scene.f, scene.head
    rx, _ = skull_radii(scene)
    part, count = 0.42 * f.parting, 110
    # From front to back: strands from the hairline run along it, strands from the crown along the silhouette.
    back = rng.random(count)
    start = np.stack([part + rng.normal(0, 0.03, count), -1.0 - 0.45 * back], 1)
    turn = rng.choice([-1, 1], count) * rng.uniform(0.45, 1.9, count)
    reach = 0.80 + 0.22 * back + rng.normal(0, 0.015, count)
    tip = np.stack([rx * reach * np.sin(turn), -0.15 - 1.0 * reach * np.cos(turn)], 1)
    tip[:, 1] = np.maximum(tip[:, 1], -0.95)
    control = mix(start, tip, 0.45) + np.stack([0.35 * np.sin(turn), np.full(count, -0.22)], 1)
    paths = [bezier(head.place(start, 0.3), head.place(control, 0.1), head.place(tip, 0.0))]
    if f.bangs != "none":
        x = rng.uniform(-0.9, 0.9, 60)
        to = np.stack([x, np.full(60, -0.15)], 1)
        start = np.stack([part + 0.35 * x if f.bangs == "swept" else 0.55 * x, np.full(60, -1.25)], 1)
        bend = mix(start, to, 0.5) + np.stack([0.2 * x, np.full(60, -0.1)], 1)
        paths.append(bezier(head.on_face(start), head.on_face(bend, 0.1), head.on_face(to)))
    if f.hair_length > 0.6:
        side = np.where(rng.random(60) < 0.5, -1.0, 1.0)
        across = rng.uniform(0.72, 1.2, 60)
        start = np.stack([side * 0.85 * across, np.full(60, -1.0)], 1)
        bend = np.stack([side * (across + 0.25), np.full(60, 0.3)], 1)
        to = np.stack([side * (across - 0.05), hair_end(f) + rng.uniform(-0.2, 0.2, 60)], 1)
        paths.append(bezier(head.place(start), head.place(bend), head.place(to)))
    return np.concatenate(paths)


def paint_grey_temples(scene: Scene, clip: np.ndarray) -> None:
    """Age turns the temples grey first."""
    age = float(ramp(scene.f.age, 0.55, 0.75))
    if age:
        for x in (-0.98, 0.98):
            spot = scene.head.place(np.array([(x, -0.30)]))[0]
            glow = scene.canvas.glow(spot, 0.34 * scene.head.unit, 0.62 * scene.head.unit)
            scene.canvas.paint(glow, lch(0.78, 0.008, 250), (0.6 - 0.2 * curls(scene.f)) * age, clip)


# ----------------------------------------------------------------------------------------------------------
# Neck and clothes


def paint_neck(scene: Scene) -> None:
    """Neck and chest, in the shadow of the chin."""
    f, body, canvas, tones = scene.f, scene.body, scene.canvas, skin_tones(scene.f)
    right = [(0.60, 0.70), (0.58, 1.30), (0.62, 1.75), (0.95, 2.02), (1.9, 2.3), (1.9, 3.4)]
    mask = canvas.fill(smooth(body.place(whole(right))))
    canvas.paint(mask, mix(tones.base, tones.shadow, 0.25))
    clip = canvas.spread(mask)
    side = body.place(np.array([(-0.62 * np.sign(f.light), 1.7)]))[0]
    canvas.shade(canvas.glow(side, 0.5 * f.scale, 1.0 * f.scale), SHADOW, 0.55, clip)
    fall = f.scale * np.array([-0.16 * f.light, 0.30])
    canvas.shade(canvas.fill(face_outline(scene) + fall, blur=0.014), SHADOW, 0.75, clip)


def paint_clothes(scene: Scene) -> None:
    """Shoulders in one of four garments, lit from the side, sometimes striped."""
    f, body, canvas = scene.f, scene.body, scene.canvas
    dark = f.clothes_lightness < 0.4
    lightness = np.interp(f.clothes_lightness, [0, 0.399, 0.4, 1], [0.24, 0.36, 0.64, 0.92])
    tones = cloth_tones(lightness, 0.055 if dark else 0.105 - 0.06 * ramp(lightness, 0.7, 0.92), f.clothes_hue)
    depth = {"crew": 2.18, "v_neck": 2.62, "turtleneck": 1.9, "shirt": 2.5}[f.clothes]
    neck = 0.70 if f.clothes != "shirt" else 0.62
    right = [(neck, 1.80), (1.05, 1.98), (1.75, 2.16), (2.25, 2.50), (2.55, 3.2), (2.6, 4.2)]
    left, right = mirrored(right)
    shoulders = np.concatenate([smooth(right, closed=False), smooth(left, closed=False)[::-1]])
    dip = np.array(
        [(-0.52, 1.98), (-0.28, mix(1.98, depth, 0.62)), (0, depth), (0.28, mix(1.98, depth, 0.62)), (0.52, 1.98)]
    )
    if f.clothes == "crew":
        dip = np.array([(-0.60, 2.0), (-0.35, 2.14), (0, depth), (0.35, 2.14), (0.60, 2.0)])
    mask = canvas.fill(body.place(np.concatenate([shoulders, smooth(dip, closed=False)])))
    rows, columns = mask.box
    u, v = body.inverse(canvas.x[:, columns], canvas.y[rows])
    lit = 0.5 + 0.28 * f.light * u - 0.35 * (v - 2.1)
    colour = mix(tones.shadow[:, None, None], tones.base[:, None, None], ramp(lit, -0.1, 0.6))
    colour = mix(colour, tones.light[:, None, None], 0.8 * ramp(lit, 0.6, 1.15))
    if f.stripes > 0.7:
        band = ramp(np.abs((v - 0.05 * u * u) / 0.30 % 1 - 0.5), 0.22, 0.28)
        accent = cloth_tones(1.12 - lightness if dark else lightness * 0.62, 0.07, f.clothes_hue + 150)
        colour = mix(colour, accent.base[:, None, None] * (0.75 + 0.3 * ramp(lit, -0.1, 0.8)), 0.85 * band)
    canvas.paint(mask, colour)
    clip = canvas.spread(mask)
    weave = scene.chance(4)
    x, y = weave.uniform(-2.4, 2.4, 160), weave.uniform(1.8, 2.7, 160)
    threads = np.stack([np.stack([x, y], 1), np.stack([x + 0.02, y + 0.12], 1)], 1)
    threads = body.place(threads.reshape(-1, 2)).reshape(160, 2, 2)
    canvas.paint(canvas.lines(threads, 0.012 * f.scale), tones.shadow, 0.2, clip)
    folds = [
        ribbon(body.place(np.array([(s * 0.95, 2.15), (s * 1.2, 2.45), (s * 1.3, 2.8)])), (0, 0.016, 0.004))
        for s in (-1, 1)
    ]
    canvas.shade(canvas.fill(*folds, blur=0.006), SHADOW, 0.55, clip)
    fall = f.scale * np.array([-0.18 * f.light, 0.42])
    canvas.shade(canvas.fill(face_outline(scene) + fall, blur=0.02), SHADOW, 0.45, clip)
    paint_collar(scene, tones, dip)


def paint_collar(scene: Scene, tones: Tones, dip: np.ndarray) -> None:
    """What closes the garment at the neck: a rib, a roll or the two leaves of a shirt."""
    f, body, canvas = scene.f, scene.body, scene.canvas
    if f.clothes == "turtleneck":
        roll = np.array([(0.60, 1.38), (0.66, 1.6), (0.74, 1.92), (0.5, 2.1), (0.0, 2.16)])
        points = np.concatenate([roll, roll[-2::-1] * (-1, 1), [(-0.3, 1.48), (0, 1.52), (0.3, 1.48)]])
        mask = canvas.fill(smooth(body.place(points)))
        canvas.paint(mask, tones.base)
        clip = canvas.spread(mask)
        ribs = [
            ribbon(body.place(np.array([(x, 1.35), (1.05 * x, 1.7), (1.15 * x, 2.15)])), (0.006, 0.006))
            for x in np.linspace(-0.6, 0.6, 9)
        ]
        canvas.paint(canvas.fill(*ribs), tones.shadow, 0.55, clip)
        away = body.place(np.array([(-0.6 * np.sign(f.light), 1.8)]))[0]
        canvas.paint(canvas.glow(away, 0.5 * f.scale, 0.7 * f.scale), tones.shadow, 0.8, clip)
        fall = f.scale * np.array([-0.1 * f.light, 0.22])
        canvas.shade(canvas.fill(face_outline(scene) + fall, blur=0.014), SHADOW, 0.7, clip)
    elif f.clothes == "shirt":
        leaves = mirrored([(0.48, 1.60), (0.70, 1.80), (0.66, 2.42), (0.32, 2.26), (0.03, 2.48), (0.30, 2.04)])
        outlines = [body.place(leaf) for leaf in leaves]
        canvas.shade(canvas.fill(*[o + (0, 0.012) for o in outlines], blur=0.008), SHADOW, 0.6)
        mask = canvas.fill(*outlines)
        canvas.paint(mask, mix(tones.light, 1.0, 0.35))
        away = body.place(np.array([(-0.5 * np.sign(f.light), 2.1)]))[0]
        canvas.paint(canvas.glow(away, 0.6 * f.scale, 0.6 * f.scale), tones.base, 0.7, canvas.spread(mask))
    else:
        rib = body.place(dip)
        canvas.paint(
            canvas.fill(ribbon(rib, (0.0, 0.1 * f.scale, 0.1 * f.scale, 0.1 * f.scale, 0.0))), tones.light, 0.9
        )


# ----------------------------------------------------------------------------------------------------------
# Face


def paint_ears(scene: Scene) -> None:
    """Ears, with the shell drawn inside; the nearer one opens towards the viewer when the head turns."""
    f, head, canvas, tones = scene.f, scene.head, scene.canvas, skin_tones(scene.f)
    if f.hair_length > 0.6:  # the locks hang over them
        return
    shells, folds = [], []
    for side in (-1.0, 1.0):
        open_ = 1 - 0.7 * side * head.sin_yaw
        shell = np.array([(-0.08, -0.12), (0.10, -0.24), (0.20, -0.08), (0.15, 0.20), (0.05, 0.44), (-0.08, 0.40)])
        fold = np.array([(0.02, -0.12), (0.11, -0.12), (0.10, 0.10), (0.03, 0.22)])
        shell, fold = ((shape * (open_, 1) + (0.98 * wide(f), 0)) * (side, 1) for shape in (shell, fold))
        shells.append(smooth(head.place(shell, -0.08)))
        folds.append(ribbon(head.place(fold, -0.08), (0.004, 0.012, 0.004)))
    mask = canvas.fill(*shells)
    canvas.paint(mask, mix(tones.base, tones.shadow, 0.3))
    canvas.paint(canvas.fill(*folds, blur=0.003), tones.shadow, 0.9, canvas.spread(mask))


def paint_face(scene: Scene) -> None:
    """The skin of the face as a lit, rounded form, then the soft accents that make it a face."""
    f, head, canvas, tones = scene.f, scene.head, scene.canvas, skin_tones(scene.f)
    mask = canvas.fill(face_outline(scene))
    rows, columns = mask.box
    u, v = head.inverse(canvas.x[:, columns], canvas.y[rows])
    nx, ny = (u - 0.35 * head.sin_yaw) / 1.12, (v - 0.05) / 1.7
    nz = np.sqrt(np.maximum(0, 1 - nx * nx - ny * ny))
    lit = 0.62 * f.light * nx - 0.38 * ny + 0.66 * nz
    colour = mix(tones.shadow[:, None, None], tones.base[:, None, None], ramp(lit, -0.15, 0.66))
    colour = mix(colour, tones.light[:, None, None], 0.75 * ramp(lit, 0.62, 1.02))
    canvas.paint(mask, colour)
    clip = canvas.spread(mask)
    unit = head.unit

    def glow(x: float, y: float, rx: float, ry: float) -> Mask:
        return canvas.glow(head.on_face(np.array([(x, y)]))[0], rx * unit, ry * unit)

    blush = mix(tones.base, np.array([0.86, 0.32, 0.30], np.float32), 0.5) * (1 - 0.25 * f.skin_tone)
    for side in (-1, 1):
        canvas.shade(glow(0.40 * side, -0.10, 0.30, 0.20), SHADOW, 0.28, clip)
        canvas.paint(glow(0.56 * side, 0.42, 0.30, 0.22), blush, 0.34 + 0.16 * f.smile, clip)
    lit_side = np.sign(f.light)
    canvas.paint(glow(0.52 * lit_side, 0.26, 0.20, 0.13), tones.light, 0.55, clip)
    canvas.paint(glow(0.15 * lit_side, -0.70, 0.42, 0.22), tones.light, 0.5, clip)
    canvas.paint(glow(0.08 * lit_side, 1.28, 0.16, 0.09), tones.light, 0.4, clip)
    canvas.shade(glow(0.0, 1.14, 0.22, 0.07), SHADOW, 0.3, clip)
    paint_age(scene, clip)
    paint_freckles(scene, clip)


def paint_age(scene: Scene, clip: np.ndarray) -> None:
    """Wrinkles: across the forehead, beside the eyes, under them, and from the nose to the mouth."""
    f, head, canvas = scene.f, scene.head, scene.canvas
    age = float(ramp(f.age, 0.55, 0.75)) * mix(0.7, 1.0, f.age)

    def strokes(lines: Sequence[Sequence[tuple[float, float]]]) -> list[np.ndarray]:
        both = [side for line in lines for side in mirrored(line)]
        return [ribbon(head.on_face(side), (0.0, 0.04 * head.unit, 0.0)) for side in both]

    fold = strokes([[(0.24, 0.58), (0.42, 0.76), (0.47, 1.02)]])
    canvas.shade(canvas.fill(*fold, blur=0.006), SHADOW, 0.25 * f.smile * (1 - age), clip)
    if age:
        under = [[(0.22, 0.16), (0.40, 0.24), (0.58, 0.17)]]
        beside = [[(0.66, -0.04), (0.78, -0.12)], [(0.67, 0.03), (0.81, 0.03)], [(0.66, 0.09), (0.78, 0.17)]]
        above = [[(0.0, -0.62), (0.28, -0.66), (0.52, -0.60)], [(0.0, -0.78), (0.25, -0.82), (0.45, -0.77)]]
        frown = [[(0.07, -0.34), (0.09, -0.22)]]
        wrinkles = strokes([*under, *beside, *above, *frown])
        canvas.shade(canvas.fill(*fold, *wrinkles, blur=0.003), SHADOW, 0.75 * age, clip)
        for x in (-0.38, 0.38):
            bag = canvas.glow(head.on_face(np.array([(x, 0.2)]))[0], 0.2 * head.unit, 0.09 * head.unit)
            canvas.shade(bag, SHADOW, 0.4 * age, clip)


def paint_freckles(scene: Scene, clip: np.ndarray) -> None:
    """Freckles across nose and cheeks."""
    f, head, canvas = scene.f, scene.head, scene.canvas
    if f.freckles <= 0.65:
        return
    rng = scene.chance(5)
    x, y = rng.uniform(-0.8, 0.8, 110), rng.normal(0.36, 0.15, 110)
    size = rng.uniform(0.010, 0.024, 110)
    spots = head.on_face(np.stack([x, y], 1))
    dots = spots[:, None] + size[:, None, None] * ellipse(0, 0, head.unit, head.unit, 8)
    canvas.shade(canvas.fill(*dots), (0.66, 0.42, 0.30), 0.62, clip)
    band = canvas.glow(head.on_face(np.array([(0.0, 0.36)]))[0], 0.75 * head.unit, 0.2 * head.unit)
    canvas.shade(band, (0.80, 0.54, 0.42), 0.75, clip)


def paint_eyes(scene: Scene) -> None:
    """Eyes: white, iris, pupil, catch-light, lids and lashes. A smile narrows them."""
    f, head, canvas, tones = scene.f, scene.head, scene.canvas, skin_tones(scene.f)
    unit, half = head.unit, 0.205 + 0.035 * f.eye_size
    open_ = (0.115 + 0.04 * f.eye_size) * (1 - 0.22 * float(ramp(f.smile, 0.35, 0.65)))

    def both(points: Sequence[tuple[float, float]]) -> list[np.ndarray]:
        """Points in eye units, from the inner corner (-1) to the outer one (1), on either side of the nose."""
        shape = np.array(points) * (half, open_) + (0.41, 0.0)
        return [head.on_face(side) for side in mirrored(shape)]

    upper = [(-1.0, 0.28), (-0.62, -0.52), (-0.05, -1.0), (0.55, -0.82), (1.0, -0.12)]
    lower = [(0.58, 0.48), (0.05, 0.70), (-0.5, 0.62)]
    eyes = canvas.fill(*[smooth(eye) for eye in both(upper + lower)])
    clip = canvas.spread(eyes)
    canvas.paint(eyes, mix(np.array([0.97, 0.95, 0.93], np.float32), tones.base, 0.12))
    look = (f.gaze * 0.06, -0.012)
    centres = [head.on_face(np.array([(0.41 * side + look[0], look[1])]))[0] for side in (-1, 1)]
    lightness, chroma, hue = EYE_COLOURS[f.eye_colour]
    narrow = mix(1.0, head.cos_yaw, 0.7)
    radius = 0.125 * unit

    def discs(size: float, shift: tuple[float, float] = (0.0, 0.0)) -> list[np.ndarray]:
        r = radius * size
        return [ellipse(x + radius * shift[0], y + radius * shift[1], r * narrow, r, 20) for x, y in centres]

    canvas.paint(canvas.fill(*discs(1.0)), lch(lightness * 0.62, chroma * 0.8, hue), 1.0, clip)
    canvas.paint(canvas.fill(*discs(0.84), blur=0.001), lch(lightness, chroma, hue), 1.0, clip)
    canvas.paint(canvas.fill(*discs(0.5, (0, 0.4)), blur=0.003), lch(lightness + 0.18, chroma, hue), 0.8, clip)
    canvas.paint(canvas.fill(*discs(0.46)), np.array([0.05, 0.04, 0.05]), 1.0, clip)
    lids = [ribbon(lid, (0.02 * unit, 0.06 * unit, 0.065 * unit, 0.03 * unit)) for lid in both(upper)]
    drop = np.array([0, 0.04 * unit])
    canvas.shade(canvas.fill(*[lid + drop for lid in lids], blur=0.004), (0.5, 0.45, 0.5), 0.7, clip)
    canvas.paint(canvas.fill(*discs(0.24, (0.36 * f.light, -0.36))), np.ones(3), 0.95, clip)
    crease = both([(-0.85, -0.5), (-0.35, -1.35), (0.25, -1.6), (0.8, -1.15), (1.12, -0.55)])
    canvas.shade(canvas.fill(*[ribbon(c, (0, 0.035 * unit, 0)) for c in crease], blur=0.0015), SHADOW, 0.75)
    rims = both([(0.95, 0.05), *lower, (-0.9, 0.4)])
    canvas.shade(canvas.fill(*[ribbon(r, (0.03 * unit, 0.018 * unit, 0.0)) for r in rims]), SHADOW, 0.6)
    lash = mix(tones.shadow * 0.2, 0.06, 0.5)
    flick = both([(0.45, -0.85), (0.85, -0.42), (1.28, -0.62)])
    flicks = [ribbon(p, (0.0, 0.055 * unit, 0.0)) for p in flick]
    canvas.paint(canvas.fill(*lids, *flicks), lash, 0.92)


def paint_brows(scene: Scene) -> None:
    """Brows: the shadow tone of the hair with some of the skin, grey with age, raised as the mouth opens."""
    f, head, canvas = scene.f, scene.head, scene.canvas
    width = mix(0.07, 0.155, f.brow_weight) * head.unit
    lift = -0.035 * f.mouth_open
    arch = 0.11 * f.brow_arch
    points = [
        (0.14, -0.345 + lift),
        (0.36, -0.38 - 0.5 * arch + lift),
        (0.60, -0.37 - 0.8 * arch + lift),
        (0.78, -0.26 - 0.2 * arch + lift),
    ]
    brows = [ribbon(head.on_face(side, 0.03), (0.55 * width, width, 0.75 * width, 0.0)) for side in mirrored(points)]
    tones = hair_tones(f)
    colour = mix(mix(tones.shadow, skin_tones(f).shadow, 0.25), 0.0, 0.22)
    canvas.paint(canvas.fill(*brows, blur=0.0012), mix(colour, 0.75, 0.45 * float(ramp(f.age, 0.55, 0.75))), 0.9)


def paint_nose(scene: Scene) -> None:
    """A nose is mostly shadow: one flank, the base and the nostrils; then light on bridge and tip."""
    f, head, canvas, tones = scene.f, scene.head, scene.canvas, skin_tones(scene.f)
    unit, away = head.unit, -np.sign(f.light)
    tip, wing = mix(0.44, 0.56, f.nose_length), mix(0.15, 0.23, f.nose_width)
    # `lift` is the profile: how far bridge and tip stand out from the face, hence how far they move in a turn.
    flank = np.array(
        [
            (0.13, -0.22),
            (0.05, -0.05),
            (0.05, 0.22),
            (0.03, tip),
            (wing, tip + 0.1),
            (wing + 0.04, tip),
            (0.16, 0.15),
            (0.17, -0.1),
        ]
    )
    lift = np.array([0, 0.08, 0.18, 0.30, 0.08, 0.02, 0.0, 0.0])
    shape = smooth(head.on_face(flank * (away, 1), lift))
    canvas.shade(canvas.fill(shape, blur=0.006), SHADOW, 0.48 * mix(0.7, 1.0, abs(f.light)))
    base = np.array(
        [
            (-wing, tip + 0.07),
            (0, tip + 0.13),
            (wing, tip + 0.07),
            (0.6 * wing, tip + 0.2),
            (0, tip + 0.24),
            (-0.6 * wing, tip + 0.2),
        ]
    )
    lift = np.array([0.1, 0.22, 0.1, 0.02, 0.02, 0.02])
    canvas.shade(canvas.fill(smooth(head.on_face(base, lift)), blur=0.006), SHADOW, 0.42)
    for side in (-1, 1):
        wing_line = np.array(
            [(side * (wing - 0.01), tip - 0.06), (side * (wing + 0.02), tip + 0.03), (side * (wing - 0.05), tip + 0.10)]
        )
        canvas.shade(canvas.fill(ribbon(head.on_face(wing_line, 0.08), (0, 0.04 * unit, 0)), blur=0.002), SHADOW, 0.6)
    nostrils = [
        ribbon(head.on_face(side, 0.16), (0.01 * unit, 0.055 * unit, 0.0))
        for side in mirrored([(0.03, tip + 0.12), (0.08, tip + 0.095), (wing - 0.03, tip + 0.11)])
    ]
    canvas.paint(canvas.fill(*nostrils, blur=0.001), tones.shadow * 0.55, 0.85)
    bridge = head.on_face(
        np.array([(-0.02 * away, -0.12), (-0.02 * away, 0.15), (-0.01 * away, tip - 0.12)]),
        np.array([0.08, 0.16, 0.26]),
    )
    canvas.paint(canvas.fill(ribbon(bridge, (0.03 * unit, 0.06 * unit, 0.05 * unit)), blur=0.005), tones.light, 0.65)
    spot = head.on_face(np.array([(-0.04 * away, tip - 0.02)]), 0.3)[0]
    canvas.paint(canvas.glow(spot, 0.07 * unit, 0.055 * unit), mix(tones.light, 1.0, 0.35), 0.7)


def paint_mouth(scene: Scene) -> None:
    """Lips, open or closed; a smile lifts and widens their corners and shows teeth when they part."""
    f, head, canvas, skin = scene.f, scene.head, scene.canvas, skin_tones(scene.f)
    smile = float(ramp(f.smile, 0.4, 0.6)) * mix(0.8, 1.15, f.smile) - 0.25 * float(ramp(-f.smile, -0.4, 0.0))
    gap = 0.0 if f.mouth_open <= 0.6 else mix(0.14, 0.26, (f.mouth_open - 0.6) / 0.4)
    half = 0.34 + 0.10 * smile
    full = mix(0.85, 1.35, f.lip_fullness)
    y, corner = 0.90, 0.90 - 0.125 * smile + 0.3 * gap
    seam_low = y + 0.035 + gap
    top = [(0, y - 0.075 * full), (0.09, y - 0.10 * full), (half * 0.6, mix(corner, y, 0.5) - 0.055 * full)]
    right_top = [*top, (half, corner)]
    bow = whole_across(right_top)
    seam = whole_across([(0, y + 0.01), (half * 0.5, mix(y, corner, 0.25) + 0.005), (half, corner)])
    low_seam = whole_across([(0, seam_low), (half * 0.5, mix(seam_low, corner, 0.3)), (half, corner)])
    low = whole_across(
        [(0, seam_low + 0.125 * full), (half * 0.5, mix(seam_low + 0.10 * full, corner, 0.12)), (half, corner)]
    )
    rosy = mix(skin.base, np.array([0.78, 0.30, 0.30], np.float32), 0.45) * 0.93
    painted = lch(0.53 - 0.06 * f.skin_tone, 0.21, 16 + 12 * f.undertone)
    colour = painted if f.lipstick > 0.65 else rosy

    def between(a: np.ndarray, b: np.ndarray, blur: float = 0.0) -> Mask:
        outline = np.concatenate(
            [smooth(head.on_face(a, 0.06), closed=False), smooth(head.on_face(b, 0.06), closed=False)[::-1]]
        )
        return canvas.fill(outline, blur=blur)

    if gap:
        inside = between(seam, low_seam)
        clip = canvas.spread(inside)
        canvas.paint(inside, np.array([0.26, 0.07, 0.09]))
        tongue = canvas.glow(head.on_face(np.array([(0, seam_low + 0.02)]))[0], 0.18 * head.unit, 0.08 * head.unit)
        canvas.paint(tongue, np.array([0.78, 0.36, 0.38]), 0.9, clip)
        teeth = between(seam, seam + np.array([0, 0.45 * gap + 0.02]))
        canvas.paint(teeth, np.array([0.96, 0.94, 0.90]), 0.95, clip)
    upper, lower = between(bow, seam), between(low_seam, low)
    canvas.paint(upper, colour * 0.82, 0.95)
    canvas.paint(lower, colour, 0.95)
    shine = head.on_face(np.array([(0.10 * f.light, seam_low + 0.055 * full)]), 0.06)[0]
    canvas.paint(
        canvas.glow(shine, 0.13 * head.unit, 0.03 * full * head.unit), mix(colour, 1.0, 0.6), 0.6, canvas.spread(lower)
    )
    line = ribbon(head.on_face(seam, 0.06), (0.015 * head.unit, 0.028 * head.unit, 0.015 * head.unit))
    canvas.paint(canvas.fill(line), colour * 0.38, 0.85)
    ends = [head.on_face(side)[0] for side in mirrored([(half + 0.02, corner)])]
    for end in ends:
        canvas.shade(canvas.glow(end, 0.06 * head.unit, 0.05 * head.unit), SHADOW, 0.45)


# ----------------------------------------------------------------------------------------------------------
# Beard, glasses, earrings, hat


def stubble(scene: Scene, layer: int, outline: np.ndarray, count: int, length: float) -> np.ndarray:
    """Short downward hairs strewn over the bounding box of an outline, [count, 2, 2]."""
    rng = scene.chance(layer)
    low, high = outline.min(axis=0), outline.max(axis=0)
    start = low + rng.random((count, 2)) * (high - low)
    lean = rng.normal(0, 0.35, count)
    return np.stack([start, start + length * scene.head.unit * np.stack([np.sin(lean), np.cos(lean)], 1)], 1)


def paint_beard(scene: Scene) -> None:
    """A full beard along the jaw, or one on the chin only."""
    f, head = scene.f, scene.head
    if f.beard == "none":
        return
    jaw = face_half(f)[4:]
    if f.beard == "full":
        outer = jaw * (1.03, 1.0) + np.linspace(0, 1, len(jaw))[:, None] * (0.0, 0.12)
        inner = np.array([(0.0, 1.16), (0.2, 1.15), (0.38, 1.06), (0.5, 0.88), (0.66, 0.72), (0.84, 0.42), (0.92, 0.1)])
    else:
        outer = np.array([(0.30, 1.12), (0.36, 1.30), (0.24, 1.52), (0.0, 1.60)])
        inner = np.array([(0.0, 1.17), (0.16, 1.15), (0.27, 1.06)])
    left, right = mirrored(np.concatenate([outer, inner[1:]]))
    count = len(outer)
    # Down the right side, up the left one, and back along the inner edge.
    ring = np.concatenate([right[:count], left[count - 2 :: -1], left[: count - 1 : -1], inner[:1], right[count:]])
    contour = np.isin(ring[:, 1], outer[:, 1])[:, None]
    outline = smooth(np.where(contour, head.on_outline(ring), head.on_face(ring)))
    paint_whiskers(scene, outline, 6, 260)


def paint_moustache(scene: Scene) -> None:
    """A moustache between nose and lip."""
    f, head = scene.f, scene.head
    if f.moustache <= 0.68:
        return
    points = [(0.0, 0.71), (0.16, 0.67), (0.36, 0.73), (0.56, 0.92), (0.38, 0.90), (0.17, 0.86), (0.0, 0.85)]
    left, right = mirrored(points)
    outline = np.concatenate([smooth(head.on_face(side, 0.1)) for side in (right, left[::-1])])
    paint_whiskers(scene, outline, 7, 90)


def paint_whiskers(scene: Scene, outline: np.ndarray, layer: int, count: int) -> None:
    """Fill an outline with short hair: soft at its edge, with dark and light hairs."""
    f, canvas, head = scene.f, scene.canvas, scene.head
    tones = hair_tones(f)
    grey = 0.55 * float(ramp(f.age, 0.55, 0.75))
    base = mix(mix(tones.base, tones.shadow, 0.6) * 0.92, 0.72, grey)
    mask = canvas.fill(outline, blur=0.005)
    rows, columns = mask.box
    u, v = head.inverse(canvas.x[:, columns], canvas.y[rows])
    lit = ramp(0.5 * f.light * u - 0.5 * (v - 0.9), -0.7, 0.5)
    canvas.paint(mask, base[:, None, None] * (0.78 + 0.4 * lit), 0.93)
    clip = canvas.spread(mask)
    hairs = stubble(scene, layer, outline, count, 0.13)
    canvas.paint(canvas.lines(hairs[0::2], 0.016 * head.unit), base * 0.62, 0.6, clip)
    canvas.paint(canvas.lines(hairs[1::2], 0.014 * head.unit), mix(base, tones.light, 0.6), 0.5, clip)


def paint_glasses(scene: Scene) -> None:
    """Frames with a bridge, arms to the ears, tinted lenses and a reflection."""
    f, head, canvas = scene.f, scene.head, scene.canvas
    if f.glasses == "none":
        return
    shapes = {
        "round": ellipse(0, 0, 0.31, 0.30),
        "square": np.array(
            [
                (-0.30, -0.20),
                (0, -0.235),
                (0.31, -0.22),
                (0.33, 0.0),
                (0.27, 0.22),
                (0, 0.26),
                (-0.25, 0.22),
                (-0.31, 0.0),
            ]
        ),
        "cat_eye": np.array(
            [
                (-0.29, -0.12),
                (0, -0.20),
                (0.26, -0.27),
                (0.43, -0.33),
                (0.36, 0.0),
                (0.22, 0.20),
                (-0.05, 0.23),
                (-0.25, 0.14),
            ]
        ),
    }
    rim = shapes[f.glasses] + (0.42, 0.02)
    rims = [smooth(head.on_face(side, 0.14), 4) for side in mirrored(rim)]
    inner = (shapes[f.glasses] * 0.84) + (0.42, 0.02)
    lenses = [smooth(head.on_face(side, 0.14), 4) for side in mirrored(inner)]
    canvas.shade(
        canvas.fill(
            *[r + (-0.008 * f.light, 0.012) for r in rims],
            holes=[lens + (-0.008 * f.light, 0.012) for lens in lenses],
            blur=0.004,
        ),
        SHADOW,
        0.6,
    )
    lens = canvas.fill(*lenses)
    v = head.inverse(canvas.x[:, lens.box[1]], canvas.y[lens.box[0]])[1]
    fade = 0.12 + 0.55 * f.lens_tint * ramp(-v, -0.25, 0.25)
    canvas.paint(lens, lch(0.42, 0.06, f.glasses_hue + 40), fade)
    clip = canvas.spread(lens)
    for x in (-0.42, 0.42):
        gleam = head.on_face(np.array([(x - 0.16, 0.3), (x - 0.02, 0.3), (x + 0.18, -0.32), (x + 0.04, -0.32)]), 0.14)
        canvas.paint(canvas.fill(gleam, blur=0.002), np.ones(3), 0.17, clip)
    colour = lch(0.27, 0.07, f.glasses_hue)
    bridge = ribbon(
        head.on_face(np.array([(-0.13, -0.05), (0, -0.10), (0.13, -0.05)]), 0.14), (0.05 * head.unit, 0.05 * head.unit)
    )
    arms = [
        ribbon(
            np.stack([head.on_face(side[:1], 0.12)[0], head.place(side[1:], 0.05)[0]]),
            (0.05 * head.unit, 0.04 * head.unit),
        )
        for side in mirrored([(0.71, -0.06), (0.99 * wide(f), -0.02)])
    ]
    canvas.paint(canvas.fill(*arms), colour, 1.0, canvas.spread(canvas.fill(face_outline(scene))))
    canvas.paint(canvas.fill(*rims, bridge, holes=lenses), colour)
    shine = [ribbon(r[10:18], (0, 0.022 * head.unit, 0)) for r in rims]
    canvas.paint(canvas.fill(*shine), mix(colour, 1.0, 0.5), 0.5)


def paint_earrings(scene: Scene) -> None:
    """Gold hoops, or drops with a stone, below both lobes and in front of the hair."""
    f, head, canvas = scene.f, scene.head, scene.canvas
    if f.earrings == "none":
        return
    gold = lch(0.80, 0.13, 85)
    lobes = [head.place(side, 0.0)[0] for side in mirrored([(1.03 * wide(f), 0.46)])]
    unit = head.unit
    if f.earrings == "hoop":
        outer = [ellipse(x, y + 0.17 * unit, 0.16 * unit, 0.21 * unit) for x, y in lobes]
        inner = [ellipse(x, y + 0.165 * unit, 0.105 * unit, 0.155 * unit) for x, y in lobes]
        canvas.shade(canvas.fill(*[o + (0, 0.008) for o in outer], holes=inner, blur=0.004), SHADOW, 0.5)
        canvas.paint(canvas.fill(*outer, holes=inner), gold)
        sparkle = [
            ellipse(x + 0.10 * unit * np.sign(f.light), y + 0.1 * unit, 0.03 * unit, 0.05 * unit, 10) for x, y in lobes
        ]
        canvas.paint(canvas.fill(*sparkle), np.ones(3), 0.8)
    else:
        stone = lch(0.62, 0.15, f.hat_hue + 120)
        drops = [
            np.array(
                [
                    (x, y - 0.02 * unit),
                    (x + 0.10 * unit, y + 0.24 * unit),
                    (x, y + 0.38 * unit),
                    (x - 0.10 * unit, y + 0.24 * unit),
                ]
            )
            for x, y in lobes
        ]
        canvas.shade(canvas.fill(*[smooth(d) + (0, 0.008) for d in drops], blur=0.004), SHADOW, 0.5)
        canvas.paint(canvas.fill(*[smooth(d) for d in drops]), gold)
        canvas.paint(canvas.fill(*[ellipse(x, y + 0.23 * unit, 0.07 * unit, 0.09 * unit) for x, y in lobes]), stone)
        canvas.paint(
            canvas.fill(*[ellipse(x + 0.02 * unit, y + 0.2 * unit, 0.022 * unit, 0.03 * unit, 10) for x, y in lobes]),
            np.ones(3),
            0.85,
        )


def paint_hat(scene: Scene) -> None:
    """One of four hats, wide enough for the hair below it, with its shadow on the forehead."""
    f = scene.f
    if f.hat == "none":
        return
    lightness = np.interp(f.hat_lightness, [0, 1], [0.36, 0.80])
    tones = cloth_tones(lightness, 0.10, f.hat_hue)
    {"beanie": paint_beanie, "brim": paint_brim_hat, "cap": paint_cap, "beret": paint_beret}[f.hat](scene, tones)


def crown_outline(scene: Scene, low: float, tall: float, extra: float = 0.05) -> np.ndarray:
    """The dome of a hat over the hair: its lower edge at `low`, curved over the forehead."""
    f, head = scene.f, scene.head
    rx, ry = skull_radii(scene)
    rx, ry = rx + extra + 0.15 * curls(f), ry + tall + 0.08 * curls(f)
    last = np.arccos((-0.25 - low) / ry)
    turn = np.linspace(-last, last, 13)
    arc = np.stack([rx * np.sin(turn), -0.25 - ry * np.cos(turn)], axis=1)
    front = np.array(
        [
            (0.75 * rx, low + 0.06),
            (0.4 * rx, low + 0.10),
            (0, low + 0.115),
            (-0.4 * rx, low + 0.10),
            (-0.75 * rx, low + 0.06),
        ]
    )
    depth = np.concatenate([np.full(13, -0.12), [0.35, 0.6, 0.7, 0.6, 0.35]])
    return smooth(head.place(np.concatenate([arc, front]), depth * 0.6), 6)


def shade_cloth(scene: Scene, mask: Mask, tones: Tones) -> None:
    """Fill a hat as a rounded form under the light."""
    rows, columns = mask.box
    u, v = scene.head.inverse(scene.canvas.x[:, columns], scene.canvas.y[rows])
    lit = 0.5 + 0.42 * scene.f.light * u - 0.45 * (v + 1.15)
    colour = mix(tones.shadow[:, None, None], tones.base[:, None, None], ramp(lit, 0.0, 0.55))
    scene.canvas.paint(mask, mix(colour, tones.light[:, None, None], 0.8 * ramp(lit, 0.5, 1.15)))


def drop_shadow(scene: Scene, outline: np.ndarray, distance: float) -> None:
    """The soft shadow of a hat on what lies below it."""
    shift = scene.head.unit * np.array([-0.4 * distance * scene.f.light, distance])
    mask = scene.canvas.fill(outline + shift, blur=0.012)
    head = scene.canvas.fill(
        smooth(scene.head.place(np.concatenate([skull_arc(scene, 95), [(0.85, 0.9), (0, 1.4), (-0.85, 0.9)]])))
    )
    scene.canvas.shade(mask, SHADOW, 0.65, scene.canvas.spread(head))


def paint_beanie(scene: Scene, tones: Tones) -> None:
    """A knitted cap with a turned-up edge and a bobble."""
    canvas, head, f = scene.canvas, scene.head, scene.f
    dome = crown_outline(scene, -0.72, 0.12)
    drop_shadow(scene, dome, 0.13)
    top = head.place(np.array([(0.0, -0.25 - skull_radii(scene)[1] - 0.18 - 0.08 * curls(f))]), -0.12)[0]
    bobble = ruffle(ellipse(*top, 0.23 * head.unit, 0.22 * head.unit), 0.03 * head.unit, 0.11 * head.unit)
    shade_cloth(scene, canvas.fill(bobble), Tones(tones.base, tones.light, mix(tones.light, 1.0, 0.5)))
    mask = canvas.fill(dome)
    shade_cloth(scene, mask, tones)
    clip = canvas.spread(mask)
    rx = skull_radii(scene)[0] + 0.05 + 0.15 * curls(f)
    ribs = [
        ribbon(
            np.concatenate(
                [
                    head.place(np.array([(0.15 * s, -1.75), (0.8 * s * rx, -1.25)]), 0.1),
                    head.place(np.array([(s * rx, -0.5)]), 0.3),
                ]
            ),
            (0.012, 0.012),
        )
        for s in np.linspace(-0.95, 0.95, 12)
    ]
    canvas.shade(canvas.fill(*ribs, blur=0.004), SHADOW, 0.35, clip)
    low = [(-0.98 * rx, -0.72), (-0.6 * rx, -0.63), (0, -0.59), (0.6 * rx, -0.63), (0.98 * rx, -0.72)]
    band = np.array(low + [(x, y - 0.34) for x, y in low[::-1]])
    depth = np.tile([-0.1, 0.3, 0.45, 0.3, -0.1], 2)
    line = head.place(band, depth)
    outline = smooth(line)
    canvas.shade(canvas.fill(outline + (0, -0.008), blur=0.006), SHADOW, 0.5, clip)
    cuff = canvas.fill(outline)
    shade_cloth(scene, cuff, Tones(tones.base * 0.9, tones.light, mix(tones.light, 1.0, 0.3)))
    clip = canvas.spread(cuff)
    ribs = [
        ribbon(head.place(np.array([(x * rx, -1.1), (1.02 * x * rx, -0.5)]), 0.35 * (1 - x * x)), (0.006, 0.006))
        for x in np.linspace(-0.95, 0.95, 17)
    ]
    canvas.shade(canvas.fill(*ribs, blur=0.001), SHADOW, 0.4, clip)


def paint_brim_hat(scene: Scene, tones: Tones) -> None:
    """A felt hat with a wide brim and a ribbon."""
    canvas, head, f = scene.canvas, scene.head, scene.f
    rx = skull_radii(scene)[0] + 0.08 * curls(f)
    brim = head.place(
        ellipse(0, -0.80, rx + 0.62, 0.22, 32)
        + np.stack([np.zeros(32), 0.07 * np.cos(np.arange(32) * 4 * np.pi / 32)], 1) * (1, -1),
        0.1,
    )
    drop_shadow(scene, brim, 0.16)
    points = whole(
        [(0, -1.82), (0.35, -1.92), (0.72 * rx, -1.78), (0.90 * rx, -1.2), (0.95 * rx, -0.80), (0.5, -0.70), (0, -0.68)]
    )
    crown = smooth(head.place(points, 0.0))
    under = canvas.fill(smooth(brim))
    shade_cloth(scene, under, tones)
    canvas.shade(canvas.fill(crown + (0, 0.012), blur=0.008), SHADOW, 0.55, canvas.spread(under))
    mask = canvas.fill(crown)
    shade_cloth(scene, mask, tones)
    clip = canvas.spread(mask)
    low = [(-1.1 * rx, -0.86), (-0.5, -0.75), (0, -0.72), (0.5, -0.75), (1.1 * rx, -0.86)]
    band = np.array(low + [(x, y - 0.2) for x, y in low[::-1]])
    canvas.paint(canvas.fill(head.place(band)), cloth_tones(0.3, 0.05, f.hat_hue + 160).base, 0.95, clip)
    dent = head.place(np.array([(0.05, -1.86), (0.0, -1.6), (-0.06, -1.4)]))
    canvas.shade(canvas.fill(ribbon(dent, (0.03, 0.02, 0)), blur=0.01), SHADOW, 0.7, clip)


def paint_cap(scene: Scene, tones: Tones) -> None:
    """A cap whose visor points where the face does."""
    canvas, head = scene.canvas, scene.head
    dome = crown_outline(scene, -0.74, 0.06, 0.02)
    mask = canvas.fill(dome)
    drop_shadow(scene, dome, 0.12)
    shade_cloth(scene, mask, tones)
    clip = canvas.spread(mask)
    seams = [
        ribbon(
            np.concatenate(
                [head.place(np.array([(0.0, -1.72), (0.7 * x, -1.4)]), 0.1), head.on_face(np.array([(x, -0.7)]))]
            ),
            (0.006, 0.006),
        )
        for x in (-0.75, 0, 0.75)
    ]
    canvas.shade(canvas.fill(*seams, blur=0.002), SHADOW, 0.6, clip)
    visor = np.array(
        [
            (-0.88, -0.72),
            (-0.5, -0.90),
            (0, -0.95),
            (0.5, -0.90),
            (0.88, -0.72),
            (0.62, -0.50),
            (0.0, -0.42),
            (-0.62, -0.50),
        ]
    )
    depth = np.array([0.3, 0.62, 0.72, 0.62, 0.3, 1.0, 1.15, 1.0])
    outline = smooth(head.place(visor, depth))
    drop_shadow(scene, outline, 0.16)
    peak = canvas.fill(outline)
    shade_cloth(scene, peak, Tones(tones.shadow * 0.8, tones.shadow, tones.base))
    edge = ribbon(head.place(visor[[4, 5, 6, 7, 0]], depth[[4, 5, 6, 7, 0]]), (0.0, 0.04 * head.unit, 0.0))
    canvas.paint(canvas.fill(edge), tones.light, 0.6)


def paint_beret(scene: Scene, tones: Tones) -> None:
    """A beret, drawn down over one side."""
    canvas, head, f = scene.canvas, scene.head, scene.f
    rx, ry = skull_radii(scene)
    side = 1.0 if f.parting > 0 else -1.0
    top = -0.30 - ry
    points = np.array(
        [
            (-1.0 * rx, -0.70),
            (-1.03 * rx, -1.15),
            (-0.5, top - 0.18),
            (0.3, top - 0.26),
            (1.0, top + 0.02),
            (1.32 * rx, -0.98),
            (1.20 * rx, -0.66),
            (0.75, -0.72),
            (0.2, -0.74),
            (-0.4, -0.72),
        ]
    )
    outline = smooth(head.place(points * (side, 1), 0.05))
    drop_shadow(scene, outline, 0.13)
    mask = canvas.fill(outline)
    shade_cloth(scene, mask, tones)
    clip = canvas.spread(mask)
    rim = head.place(np.array([(-1.0 * rx, -0.72), (-0.3, -0.78), (0.5, -0.76), (1.15 * rx, -0.70)]) * (side, 1), 0.05)
    canvas.shade(canvas.fill(ribbon(rim, (0.016, 0.022, 0.008)), blur=0.004), SHADOW, 0.6, clip)
    stalk = head.place(np.array([(0.3, top - 0.22), (0.34, top - 0.36)]) * (side, 1), 0.05)
    canvas.paint(canvas.fill(ribbon(stalk, (0.014, 0.010))), tones.shadow)


# ----------------------------------------------------------------------------------------------------------
# The portrait

LAYERS = (
    paint_background,
    paint_back_hair,
    paint_neck,
    paint_clothes,
    paint_ears,
    paint_face,
    paint_beard,
    paint_nose,
    paint_mouth,
    paint_moustache,
    paint_eyes,
    paint_brows,
    paint_front_hair,
    paint_earrings,
    paint_glasses,
    paint_hat,
)
RESOLUTIONS = tuple(2**i for i in range(2, 11))


def render(factors: Factors, resolution: int, *, detail_seed: int = 0) -> np.ndarray:
    """Paint a portrait: uint8 RGB [resolution, resolution, 3].

    `resolution` is a power of two from 4 to 1024, else `InputError`; it scales the picture and changes nothing
    else. `detail_seed` (>= 0) decides the detail: the same factors with another seed show the same person.
    """
    if resolution not in RESOLUTIONS:
        raise InputError(f"resolution is {resolution!r}; use a power of two from 4 to 1024")
    canvas = Canvas(max(resolution, 64))
    scene = Scene(canvas, factors, Head(factors), Head(factors, turned=0.0, rise=0.2), detail_seed)
    for layer in LAYERS:
        layer(scene)
    shrink = canvas.size // resolution
    planes = canvas.rgb.reshape(3, resolution, shrink, resolution, shrink).mean(axis=(2, 4))
    return (planes.clip(0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0).copy()


def portrait(index: int, resolution: int, seed: int = 0) -> np.ndarray:
    """Portrait `index` of the data set `seed`, uint8 RGB [resolution, resolution, 3]; see `render`."""
    detail_seed = int(np.random.SeedSequence([seed, index, 1]).generate_state(1)[0])
    return render(factors(index, seed), resolution, detail_seed=detail_seed)


# ----------------------------------------------------------------------------------------------------------
# Attributes

STATEMENTS: dict[str, Callable[[Factors], bool]] = {
    "smiling": lambda f: f.smile > 0.5,
    "mouth_open": lambda f: f.mouth_open > 0.6,
    "lipstick": lambda f: f.lipstick > 0.65,
    "glasses": lambda f: f.glasses != "none",
    "hat": lambda f: f.hat != "none",
    "earrings": lambda f: f.earrings != "none",
    "beard": lambda f: f.beard != "none",
    "moustache": lambda f: f.moustache > 0.68,
    "long_hair": lambda f: f.hair_length > 0.6,
    "dark_hair": lambda f: f.hair_colour in DARK_HAIR,
    "curly_hair": lambda f: f.hair_curl > 0.62,
    "bangs": lambda f: f.bangs != "none",
    "old": lambda f: f.age > 0.65,
    "round_face": lambda f: f.face_width > 0.6,
    "dark_skin": lambda f: f.skin_tone > 0.61,
    "freckles": lambda f: f.freckles > 0.65,
    "facing_left": lambda f: f.yaw < -0.2,
    "light_from_left": lambda f: f.light < 0,
    "dark_background": lambda f: f.background_lightness < 0.42,
    "dark_clothes": lambda f: f.clothes_lightness < 0.4,
}
ATTRIBUTES: tuple[str, ...] = tuple(STATEMENTS)


def attributes(factors: Factors) -> np.ndarray:
    """Which of `ATTRIBUTES` hold, bool [len(ATTRIBUTES)]."""
    return np.array([holds(factors) for holds in STATEMENTS.values()])
