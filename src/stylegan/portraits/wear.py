"""Accessories of a portrait: clothes, glasses, earrings and hats."""

import numpy as np

from stylegan.portraits.canvas import (
    SHADOW,
    Mask,
    Tones,
    cloth_tones,
    ellipse,
    lch,
    mirrored,
    mix,
    ramp,
    ribbon,
    ruffle,
    smooth,
    whole,
)
from stylegan.portraits.head import Scene, curls, face_outline, skull_arc, skull_radii, wide


def paint_clothes(scene: Scene) -> None:
    """Shoulders in one of four garments, lit from the side, sometimes striped."""
    f, body, canvas = scene.f, scene.body, scene.canvas
    dark = f.clothes_lightness < 0.4
    lightness = np.interp(f.clothes_lightness, [0, 0.399, 0.4, 1], [0.24, 0.36, 0.64, 0.92])
    tones = cloth_tones(lightness, 0.055 if dark else 0.105 - 0.06 * ramp(lightness, 0.7, 0.92), f.clothes_hue)
    depth = {"crew": 2.18, "v_neck": 2.62, "turtleneck": 1.9, "shirt": 2.5}[f.clothes]
    neck = 0.70 if f.clothes != "shirt" else 0.62
    half = [(neck, 1.80), (1.05, 1.98), (1.75, 2.16), (2.25, 2.50), (2.55, 3.2), (2.6, 4.2)]
    left, right = mirrored(half)
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
    color = mix(tones.shadow[:, None, None], tones.base[:, None, None], ramp(lit, -0.1, 0.6))
    color = mix(color, tones.light[:, None, None], 0.8 * ramp(lit, 0.6, 1.15))
    if f.stripes > 0.7:
        band = ramp(np.abs((v - 0.05 * u * u) / 0.30 % 1 - 0.5), 0.22, 0.28)
        accent = cloth_tones(1.12 - lightness if dark else lightness * 0.62, 0.07, f.clothes_hue + 150)
        color = mix(color, accent.base[:, None, None] * (0.75 + 0.3 * ramp(lit, -0.1, 0.8)), 0.85 * band)
    canvas.paint(mask, color)
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
    """The edge of the garment at the neck: a rib, a roll or the two leaves of a shirt."""
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
    color = lch(0.27, 0.07, f.glasses_hue)
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
    canvas.paint(canvas.fill(*arms), color, 1.0, canvas.spread(canvas.fill(face_outline(scene))))
    canvas.paint(canvas.fill(*rims, bridge, holes=lenses), color)
    shine = [ribbon(r[10:18], (0, 0.022 * head.unit, 0)) for r in rims]
    canvas.paint(canvas.fill(*shine), mix(color, 1.0, 0.5), 0.5)


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
    color = mix(tones.shadow[:, None, None], tones.base[:, None, None], ramp(lit, 0.0, 0.55))
    scene.canvas.paint(mask, mix(color, tones.light[:, None, None], 0.8 * ramp(lit, 0.5, 1.15)))


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
    x, y = head.place(np.array([(0.0, -0.25 - skull_radii(scene)[1] - 0.18 - 0.08 * curls(f))]), -0.12)[0]
    bobble = ruffle(ellipse(x, y, 0.23 * head.unit, 0.22 * head.unit), 0.03 * head.unit, 0.11 * head.unit)
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
