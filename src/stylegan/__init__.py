"""StyleGAN: prepare images, train, draw, measure, edit, project.

    import stylegan
    stylegan.prepare("photographs", "store", stylegan.PrepareConfig(resolution=64))
    outcome = stylegan.train(stylegan.preset("small", "store"), "run")
    images = stylegan.draw(outcome.model, range(8))
    scores = stylegan.evaluate(outcome.model, "store", ["fid50k"])

docs/python.md has an example of each. Names are imported when they are first used; importing the package itself does no
work. On a CPU, `stylegan.keep_freed_memory()`, and `stylegan.limit_spinning()` before anything imports torch, do for a
script what the program does for itself.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:  # what type checkers and editors see of the table below
    from stylegan import (
        directions,
        dragging,
        encoders,
        figures,
        images,
        presets,
        projection,
        recipe,
        sampling,
        videos,
        weights,
    )
    from stylegan.allocator import keep_freed_memory
    from stylegan.blending import BlendConfig, blend
    from stylegan.data.look import LookConfig
    from stylegan.data.prepare import PrepareConfig, prepare, prepare_portraits
    from stylegan.data.store import open_store
    from stylegan.directions import Directions, edit
    from stylegan.errors import InputError
    from stylegan.finders import FindConfig, find_directions
    from stylegan.looking import look
    from stylegan.metrics.evaluate import evaluate
    from stylegan.metrics.metric import EvaluateConfig
    from stylegan.networks.discriminator import Discriminator, DiscriminatorConfig
    from stylegan.networks.generator import Generator, GeneratorConfig
    from stylegan.presets import preset
    from stylegan.projection import ProjectConfig, project
    from stylegan.recipe import Recipe, draw
    from stylegan.threads import limit_spinning
    from stylegan.training.config import TrainingConfig
    from stylegan.training.encoder import EncoderTrainingConfig, train_encoder
    from stylegan.training.loop import train
    from stylegan.tuning import TuneConfig, tune
    from stylegan.weights import load, load_model

_HOME = {
    "InputError": "stylegan.errors",
    "keep_freed_memory": "stylegan.allocator",
    "limit_spinning": "stylegan.threads",
    "BlendConfig": "stylegan.blending",
    "blend": "stylegan.blending",
    "Generator": "stylegan.networks.generator",
    "GeneratorConfig": "stylegan.networks.generator",
    "Discriminator": "stylegan.networks.discriminator",
    "DiscriminatorConfig": "stylegan.networks.discriminator",
    "LookConfig": "stylegan.data.look",
    "look": "stylegan.looking",
    "PrepareConfig": "stylegan.data.prepare",
    "prepare": "stylegan.data.prepare",
    "prepare_portraits": "stylegan.data.prepare",
    "open_store": "stylegan.data.store",
    "preset": "stylegan.presets",
    "TrainingConfig": "stylegan.training.config",
    "train": "stylegan.training.loop",
    "load": "stylegan.weights",
    "load_model": "stylegan.weights",
    "Recipe": "stylegan.recipe",
    "draw": "stylegan.recipe",
    "evaluate": "stylegan.metrics.evaluate",
    "EvaluateConfig": "stylegan.metrics.metric",
    "Directions": "stylegan.directions",
    "FindConfig": "stylegan.finders",
    "find_directions": "stylegan.finders",
    "edit": "stylegan.directions",
    "ProjectConfig": "stylegan.projection",
    "project": "stylegan.projection",
    "TuneConfig": "stylegan.tuning",
    "tune": "stylegan.tuning",
    "EncoderTrainingConfig": "stylegan.training.encoder",
    "train_encoder": "stylegan.training.encoder",
}
_MODULES = (
    *("directions", "dragging", "encoders", "figures", "images", "presets", "projection", "recipe", "sampling"),
    *("videos", "weights"),
)
__all__ = [*_HOME, *_MODULES]


def __getattr__(name: str):
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in _MODULES:
        return import_module(f"stylegan.{name}")
    raise AttributeError(f"module 'stylegan' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
