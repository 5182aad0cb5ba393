"""StyleGAN: prepare images, train, sample.

    import stylegan
    stylegan.prepare("photographs", "store", stylegan.PrepareConfig(resolution=64))
    outcome = stylegan.train(stylegan.preset("small", "store"), "run")
    generator = stylegan.load(outcome.model)

Names are imported when they are first used; importing the package itself does no work.
On a CPU, `stylegan.keep_freed_memory()`, and `stylegan.limit_spinning()` before anything imports torch, do for a
script what the program does for itself.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "InputError": "stylegan.errors",
    "keep_freed_memory": "stylegan.allocator",
    "limit_spinning": "stylegan.threads",
    "Generator": "stylegan.networks.generator",
    "GeneratorConfig": "stylegan.networks.generator",
    "Discriminator": "stylegan.networks.discriminator",
    "DiscriminatorConfig": "stylegan.networks.discriminator",
    "PrepareConfig": "stylegan.data.prepare",
    "prepare": "stylegan.data.prepare",
    "prepare_portraits": "stylegan.data.prepare",
    "open_store": "stylegan.data.store",
    "TrainingConfig": "stylegan.training.config",
    "train": "stylegan.training.loop",
    "preset": "stylegan.presets",
    "evaluate": "stylegan.metrics.evaluate",
    "EvaluateConfig": "stylegan.metrics.metric",
    "load": "stylegan.weights",
    "Recipe": "stylegan.recipe",
    "draw": "stylegan.recipe",
    "load_model": "stylegan.weights",
}
_MODULES = ("directions", "figures", "images", "presets", "project", "recipe", "sampling", "video", "weights")
__all__ = [*_HOME, *_MODULES]


def __getattr__(name: str):
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in _MODULES:
        return import_module(f"stylegan.{name}")
    raise AttributeError(f"module 'stylegan' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
