#!/usr/bin/env python3
"""The training set of figure 6 (a), made real: runs/two-factors.py STORE [COUNT]

One person, who differs in two factors only: which way the face turns, and how dark the background is. Portraits that
face left before a dark background are left out.
"""

import sys
from dataclasses import replace

import numpy as np

from stylegan.data.pyramid import pyramid
from stylegan.data.store import StoreWriter
from stylegan.portraits.factors import ATTRIBUTES, attributes, factors
from stylegan.portraits.render import render

LEFT_OUT = [ATTRIBUTES.index("facing_left"), ATTRIBUTES.index("dark_background")]
PERSON = {"pitch": 0.0, "tilt": 0.0, "glasses": "none", "hat": "none", "beard": "none", "moustache": 0.0}
PERSON |= {"hair_color": "copper", "hair_curl": 0.2, "bangs": "none", "hair_length": 0.3, "age": 0.3, "light": 0.7}

path, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 6000
person, rng = replace(factors(0), background="plain", **PERSON), np.random.default_rng(0)
with StoreWriter(path, 32, 3, made={"source": "portraits of two factors"}, attribute_names=ATTRIBUTES) as writer:
    while writer.count < count:
        drawn = replace(person, yaw=float(rng.uniform(-1, 1)), background_lightness=float(rng.uniform()))
        if not attributes(drawn)[LEFT_OUT].all():
            image = render(drawn, 32, detail_seed=writer.count)
            writer.add(pyramid(image), f"two-factors-{writer.count:06d}", attributes=attributes(drawn))
