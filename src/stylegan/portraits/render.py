"""Procedural portraits: the built-in data set, drawn from known, independent factors of variation.

`factors.factors` draws what a portrait shows, `render` paints it. Whatever is left to chance once the factors are
fixed (strands of hair, freckles, bokeh, weave) follows from `detail_seed` alone, which makes it the stochastic
variation of section 3.2 of the StyleGAN paper.

The method is that of an illustrator: closed curves through points of a turned head are filled back to front,
then shaded with soft shapes.
"""

import numpy as np
from PIL import Image

from stylegan.portraits.canvas import Canvas, Mask, ellipse, lch, mix, ramp
from stylegan.portraits.face import paint_brows, paint_ears, paint_eyes, paint_face, paint_mouth, paint_neck, paint_nose
from stylegan.portraits.factors import Factors, factors
from stylegan.portraits.hair import paint_back_hair, paint_beard, paint_front_hair, paint_moustache
from stylegan.portraits.head import Head, Scene
from stylegan.portraits.wear import paint_clothes, paint_earrings, paint_glasses, paint_hat
from stylegan.resolutions import check_resolution


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
        color = mix(second if pick < 0.6 else first[::-1], 1.0, 0.45)
        disc = scene.canvas.fill(ellipse(x, y * 0.9, radius, radius), blur=0.004)
        scene.canvas.paint(disc, color, 0.16 + 0.2 * pick)


def paint_disc(scene: Scene, first: np.ndarray, second: np.ndarray) -> None:
    """A large disc behind the head."""
    x, y = scene.head.center
    color = mix(second, lch(0.78, 0.10, scene.f.background_hue + 150), 0.45)
    scene.canvas.paint(scene.canvas.fill(ellipse(x, y, 0.43, 0.43, 64)), color, 0.85)
    scene.canvas.paint(scene.canvas.glow(np.array([x, y - 0.1]), 0.33, 0.33), mix(color, 1.0, 0.5), 0.4)


def paint_hills(scene: Scene, first: np.ndarray, second: np.ndarray) -> None:
    """Two ridges under the sky, the nearer one darker."""
    hue, dark = scene.f.background_hue, scene.f.background_lightness < 0.42
    for depth, phase in ((0.0, 0.3), (1.0, 2.1)):
        x = np.linspace(-0.05, 1.05, 40)
        y = 0.54 + 0.16 * depth + 0.045 * np.sin(7 * x + phase + hue / 40) + 0.02 * np.sin(17 * x + 2 * phase)
        outline = np.concatenate([np.stack([x, y], 1), [(1.05, 1.05), (-0.05, 1.05)]])
        color = lch((0.33 if dark else 0.72) - 0.07 * depth, 0.06, hue + 60 + 25 * depth)
        scene.canvas.paint(scene.canvas.fill(outline, blur=0.003), color, 0.9)


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


def render(factors: Factors, resolution: int, *, detail_seed: int = 0) -> np.ndarray:
    """Paint a portrait: uint8 RGB [resolution, resolution, 3].

    `resolution` is a power of two from 4 to 1024, else `InputError`; it scales the picture and changes nothing
    else. `detail_seed` (>= 0) decides the detail: the same factors with another seed show the same person.
    """
    check_resolution(resolution)
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
