"""The contents of a portrait: its factors of variation, drawn independently, and the statements that hold for them.

`factors` draws what a portrait shows, `attributes` says which of twenty yes-or-no statements hold.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

HAIR_COLORS = {  # name: (lightness, chroma, hue in degrees) in OKLCH
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
EYE_COLORS = ((0.30, 0.05, 50), (0.40, 0.08, 60), (0.55, 0.09, 130), (0.58, 0.09, 240), (0.52, 0.03, 230))
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

    center_x: float  # midpoint of the eyes in the frame, about 0.5
    center_y: float  # the same, downwards, about 0.485
    scale: float  # half the width of the face in the frame, 0.226 to 0.25
    yaw: float  # turn of the head, -1 (to the viewer's left) to 1
    pitch: float  # nod, -1 (up) to 1 (down)
    tilt: float  # lean of the head in the picture plane, -1 to 1
    light: float  # where the light comes from, -1 (left) to 1 (right), never near 0
    face_width: float  # 0 (long and narrow) to 1 (short and round)
    jaw: float  # 0 (pointed chin) to 1 (square jaw)
    age: float  # 0 (young) to 1 (wrinkles, gray temples)
    skin_tone: float  # 0 (very light) to 1 (very dark)
    undertone: float  # -1 (rosy) to 1 (olive)
    freckles: float  # freckles show above 0.65
    eye_size: float  # 0 to 1
    eye_color: int  # row of EYE_COLORS
    gaze: float  # where the eyes look relative to the head, -1 to 1
    brow_weight: float  # 0 (thin) to 1 (bushy)
    brow_arch: float  # 0 (straight) to 1 (arched)
    nose_length: float  # 0 to 1
    nose_width: float  # 0 to 1
    lip_fullness: float  # 0 to 1
    lipstick: float  # painted lips above 0.65
    smile: float  # 0 (corners down) to 1 (broad smile)
    mouth_open: float  # the mouth opens above 0.6
    hair_color: str  # key of HAIR_COLORS
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
    background_contrast: float  # how far its second color lies from its first, 0 to 1


def factors(index: int, seed: int = 0) -> Factors:
    """The factors of portrait `index`, drawn independently: a pure function of (seed, index), both >= 0."""
    rng = np.random.default_rng([seed, index])

    def uniform(low: float = 0.0, high: float = 1.0) -> float:
        return float(rng.uniform(low, high))

    def choice(options: Sequence[str], weights: Sequence[float]) -> str:
        return options[int(np.searchsorted(np.cumsum(weights)[:-1], rng.random(), side="right"))]

    return Factors(
        center_x=uniform(0.485, 0.515),
        center_y=uniform(0.475, 0.495),
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
        eye_color=int(rng.integers(len(EYE_COLORS))),
        gaze=uniform(-1, 1),
        brow_weight=uniform(),
        brow_arch=uniform(),
        nose_length=uniform(),
        nose_width=uniform(),
        lip_fullness=uniform(),
        lipstick=uniform(),
        smile=uniform(),
        mouth_open=uniform(),
        hair_color=choice(tuple(HAIR_COLORS), HAIR_WEIGHTS),
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
    "dark_hair": lambda f: f.hair_color in DARK_HAIR,
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
