"""Hair behind the head and in front of it, beard and moustache."""

import numpy as np

from stylegan.portraits.canvas import SHADOW, Mask, Tones, lch, mirrored, mix, ramp, ruffle, smooth
from stylegan.portraits.head import (
    Scene,
    curls,
    face_half,
    face_outline,
    hair_edge,
    hair_end,
    hair_tones,
    skull_arc,
    skull_radii,
    wide,
)


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
    color = mix(tones.shadow[:, None, None], tones.base[:, None, None], ramp(towards, -1.3, 0.25))
    ring = np.hypot(u - 0.3 * f.light, 0.85 * (v + 0.2))
    sheen = np.exp(-(((ring - 0.95) / 0.2) ** 2)) * ramp(towards, -0.1, 1.0) * ramp(-v, 0.1, 0.8)
    canvas.paint(mask, mix(color, tones.light[:, None, None], 0.55 * sheen))


def paint_back_hair(scene: Scene) -> None:
    """The hair behind neck and ears, down to its length."""
    f, head, canvas = scene.f, scene.head, scene.canvas
    rx, _ = skull_radii(scene)
    end, spread = hair_end(f), 0.18 * curls(f) + 0.08 * f.hair_volume
    arc = skull_arc(scene, 95)
    if f.hair_length > 0.6:
        half = [(rx + 0.06 + spread, 0.7), (rx + 0.12 + spread, 1.3), (rx + 0.08 + spread, end - 0.15)]
        half += [(rx - 0.25, end + 0.08), (0.45, end)]
    else:
        half = [(rx + 0.3 * spread, mix(0.2, end, 0.5)), (rx - 0.12, end), (0.62, end + 0.22)]
    left, right = mirrored(half)
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
    paint_gray_temples(scene, clip)
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


def paint_gray_temples(scene: Scene, clip: np.ndarray) -> None:
    """Age turns the temples gray first."""
    age = float(ramp(scene.f.age, 0.55, 0.75))
    if age:
        for x in (-0.98, 0.98):
            spot = scene.head.place(np.array([(x, -0.30)]))[0]
            glow = scene.canvas.glow(spot, 0.34 * scene.head.unit, 0.62 * scene.head.unit)
            scene.canvas.paint(glow, lch(0.78, 0.008, 250), (0.6 - 0.2 * curls(scene.f)) * age, clip)


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
    gray = 0.55 * float(ramp(f.age, 0.55, 0.75))
    base = mix(mix(tones.base, tones.shadow, 0.6) * 0.92, 0.72, gray)
    mask = canvas.fill(outline, blur=0.005)
    rows, columns = mask.box
    u, v = head.inverse(canvas.x[:, columns], canvas.y[rows])
    lit = ramp(0.5 * f.light * u - 0.5 * (v - 0.9), -0.7, 0.5)
    canvas.paint(mask, base[:, None, None] * (0.78 + 0.4 * lit), 0.93)
    clip = canvas.spread(mask)
    hairs = stubble(scene, layer, outline, count, 0.13)
    canvas.paint(canvas.lines(hairs[0::2], 0.016 * head.unit), base * 0.62, 0.6, clip)
    canvas.paint(canvas.lines(hairs[1::2], 0.014 * head.unit), mix(base, tones.light, 0.6), 0.5, clip)
