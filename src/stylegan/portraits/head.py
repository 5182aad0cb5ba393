"""The head that every layer of a portrait turns with: its pose, its colors, and the shapes that layers share.

Head units: x to the right, y down, z towards the viewer; the origin lies between the eyes and half the width of the
face is 1.
"""

import math
from typing import NamedTuple

import numpy as np

from stylegan.portraits.canvas import Canvas, Tones, lch, mix, ramp, ruffle, smooth, whole
from stylegan.portraits.factors import HAIR_COLORS, Factors


class Head:
    """The pose of one head: takes head units to the frame. The turn gives parallax and foreshortening."""

    def __init__(self, f: Factors, turned: float = 1.0, rise: float = 0.0):
        """`turned` scales turn, nod and lean: 1 for the head, 0 for the shoulders, which `rise` moves up."""
        self.unit = f.scale
        self.spacing = mix(0.93, 1.02, f.face_width)
        self.center = np.array([f.center_x, f.center_y - rise * f.scale])
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
        return self.center + turned @ self.lean

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
        dx, dy = x - float(self.center[0]), y - float(self.center[1])
        (a, b), (c, d) = (self.lean / self.unit**2).astype(np.float32)
        return dx * a + dy * b, dx * c + dy * d


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
    """The color of hair, brows and beard."""
    lightness, chroma, hue = HAIR_COLORS[f.hair_color]
    return Tones(
        shadow=lch(lightness * 0.66, chroma * 0.95, hue - 12),
        base=lch(lightness, chroma, hue),
        light=lch(lightness * 0.85 + 0.22, chroma * 0.95 + 0.008, hue + 8),
    )


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
    """Lower end of the hair, in head units: the nape, the jaw or the shoulders."""
    return float(np.interp(f.hair_length, [0, 0.599, 0.601, 1], [0.2, 0.85, 1.75, 2.6]))


def curls(f: Factors) -> float:
    """0 for straight or wavy hair, up to 1 for curls; there is little in between."""
    return float(ramp(f.hair_curl, 0.58, 0.68)) * mix(0.8, 1.0, f.hair_curl)


def hair_edge(scene: Scene, outline: np.ndarray) -> np.ndarray:
    """The silhouette of hair: smooth when straight, ruffled when curly."""
    amount = curls(scene.f)
    return ruffle(outline, 0.17 * amount * scene.head.unit, 0.34 * scene.head.unit) if amount else outline
