"""Neck, ears and face: the skin as a lit form, age, freckles, eyes, brows, nose and mouth."""

from collections.abc import Sequence

import numpy as np

from stylegan.portraits.canvas import (
    SHADOW,
    Mask,
    ellipse,
    lch,
    mirrored,
    mix,
    ramp,
    ribbon,
    smooth,
    whole,
    whole_across,
)
from stylegan.portraits.factors import EYE_COLORS
from stylegan.portraits.head import Scene, face_outline, hair_tones, skin_tones, wide


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
    color = mix(tones.shadow[:, None, None], tones.base[:, None, None], ramp(lit, -0.15, 0.66))
    color = mix(color, tones.light[:, None, None], 0.75 * ramp(lit, 0.62, 1.02))
    canvas.paint(mask, color)
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
    centers = [head.on_face(np.array([(0.41 * side + look[0], look[1])]))[0] for side in (-1, 1)]
    lightness, chroma, hue = EYE_COLORS[f.eye_color]
    narrow = mix(1.0, head.cos_yaw, 0.7)
    radius = 0.125 * unit

    def discs(size: float, shift: tuple[float, float] = (0.0, 0.0)) -> list[np.ndarray]:
        r = radius * size
        return [ellipse(x + radius * shift[0], y + radius * shift[1], r * narrow, r, 20) for x, y in centers]

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
    """Brows: the shadow tone of the hair with some of the skin, gray with age, raised as the mouth opens."""
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
    color = mix(mix(tones.shadow, skin_tones(f).shadow, 0.25), 0.0, 0.22)
    canvas.paint(canvas.fill(*brows, blur=0.0012), mix(color, 0.75, 0.45 * float(ramp(f.age, 0.55, 0.75))), 0.9)


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
    color = painted if f.lipstick > 0.65 else rosy

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
    canvas.paint(upper, color * 0.82, 0.95)
    canvas.paint(lower, color, 0.95)
    shine = head.on_face(np.array([(0.10 * f.light, seam_low + 0.055 * full)]), 0.06)[0]
    canvas.paint(
        canvas.glow(shine, 0.13 * head.unit, 0.03 * full * head.unit), mix(color, 1.0, 0.6), 0.6, canvas.spread(lower)
    )
    line = ribbon(head.on_face(seam, 0.06), (0.015 * head.unit, 0.028 * head.unit, 0.015 * head.unit))
    canvas.paint(canvas.fill(line), color * 0.38, 0.85)
    ends = [head.on_face(side)[0] for side in mirrored([(half + 0.02, corner)])]
    for end in ends:
        canvas.shade(canvas.glow(end, 0.06 * head.unit, 0.05 * head.unit), SHADOW, 0.45)
