"""Configurations: ranges beside the fields, and what is said of a number outside."""

import math
from dataclasses import dataclass, fields
from typing import Annotated

import pytest

from stylegan import config, presets
from stylegan.bench import BenchConfig
from stylegan.classifiers.train import ClassifierConfig
from stylegan.config import above, at_least, between, check
from stylegan.errors import InputError
from stylegan.finders import FindConfig
from stylegan.metrics.metric import EvaluateConfig
from stylegan.networks.discriminator import DiscriminatorConfig
from stylegan.networks.generator import GeneratorConfig
from stylegan.networks.layers import FeatureMaps
from stylegan.projection import ProjectConfig
from stylegan.training.augment import AugmentConfig, Multipliers
from stylegan.training.config import TrainingConfig
from stylegan.training.losses import LossConfig
from stylegan.training.schedule import ScheduleConfig
from stylegan.videos import VideoConfig


@dataclass(frozen=True)
class Numbers:
    count: Annotated[int, at_least(1)] = 1
    share: Annotated[float, between(0, 1)] = 0.5
    decay: Annotated[float, at_least(0, below=1)] | None = None
    rates: Annotated[dict[int, float], above(0)] | None = None
    pair: Annotated[tuple[int, ...], at_least(1)] = (1, 1)
    free: float = 0.0

    def __post_init__(self) -> None:
        check(self)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"count": 0}, "count is 0; give a number of at least 1"),
        ({"share": 1.5}, "share is 1.5; give a number from 0 to 1"),
        ({"decay": 1.0}, "decay is 1.0; give a number of at least 0 and below 1"),
        ({"decay": -1e-9}, "decay is -1e-09; give a number of at least 0 and below 1"),
        ({"rates": {4: 0.1, 8: 0.0}}, "rates is 0.0 at 8; give a number above 0"),
        ({"pair": (3, 0)}, "pair is 0; give a number of at least 1"),
        ({"free": math.inf}, "free is inf; give a finite number"),
        ({"share": math.nan}, "share is nan; give a finite number"),
        ({"rates": {4: math.nan}}, "rates is nan at 4; give a finite number"),
    ],
)
def test_numbers_out_of_range(values, sentence):
    with pytest.raises(InputError) as caught:
        Numbers(**values)
    assert str(caught.value) == sentence


def test_numbers_in_range():
    Numbers(count=1, share=0.0, decay=0.0, rates={4: 1e-9}, pair=(1, 2), free=-5.0)
    Numbers(share=1, decay=0.999, rates={}, pair=())


ALL = [
    TrainingConfig,
    ScheduleConfig,
    LossConfig,
    AugmentConfig,
    Multipliers,
    GeneratorConfig,
    DiscriminatorConfig,
    FeatureMaps,
    EvaluateConfig,
    ClassifierConfig,
    ProjectConfig,
    VideoConfig,
    FindConfig,
    BenchConfig,
]


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_every_field_keeps_to_its_range(cls):
    """Below, above, and not a number: refused in a sentence that begins with the field's name."""
    ranges = config._ranges(cls)
    assert ranges
    for f in fields(cls):
        example = getattr(cls(), f.name)
        numbers = [] if f.name not in ranges else [ranges[f.name].low - 1, ranges[f.name].high + 1]
        if isinstance(example, float) or (f.name in ranges and isinstance(example, dict)):
            numbers.append(math.nan)
        for number in (number for number in numbers if number < math.inf or math.isnan(number)):
            several = isinstance(example, tuple) or f.name == "grid"
            value = {4: number} if isinstance(example, dict) else (number, 1) if several else number
            with pytest.raises(InputError, match=rf"^(feature_maps\.|augment\.(multipliers\.)?)?{f.name} is {number}"):
                cls(**{f.name: value})


def test_presets_are_in_range():
    for make in presets.PRESETS.values():
        make(presets.Shape(1024))
