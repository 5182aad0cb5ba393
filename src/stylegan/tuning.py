"""Tuning: the generator bent a little around the w of some images, so that it draws them (Roich et al., 2021).

Pivotal tuning: the w that projection has found stay, and the synthesis network learns to draw the images from them, by
the squared error of the pixels at full size, as there; the pixels at all resolutions, which projection descends, leave
the details for last. A locality term holds what it draws elsewhere to what it drew before. The mapping network stays,
and so does W: directions, encoders and latents of the original are good for the tuned generator, too.
"""

import copy
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor

from stylegan import likeness, sampling
from stylegan.config import above, at_least, check
from stylegan.metrics.extractors import Distance
from stylegan.networks.generator import Generator, NoiseInput
from stylegan.weights import Model, fingerprint


@dataclass(frozen=True)
class TuneConfig:
    """How a generator is tuned."""

    tune: Annotated[int, at_least(0)] = 0
    """Number of steps in which the generator is then bent around the w that was found (pivotal tuning): 500, say; the
    generator becomes a model file of its own."""
    tune_rate: Annotated[float, above(0)] = 0.004
    """Learning rate of the tuning."""
    locality: Annotated[float, at_least(0)] = 0.1
    """How much it counts that the tuned generator draws other w as before."""
    locality_reach: Annotated[float, above(0)] = 1.0
    """Distance of these other w from the images', in the mean distance of samples from the average of W."""
    tune_seed: int = 0
    """Seed of these other w."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, eq=False)
class Tuned:
    """Where a tuning stands after so many steps."""

    step: int
    generator: Generator
    """The tuned generator; it changes with the next step."""
    loss: float


def tune(
    generator: Generator,
    targets: Tensor,
    w: Tensor,
    config: TuneConfig,
    *,
    noise: NoiseInput = "const",
    distance: Distance | None = None,
) -> Generator:
    """The generator tuned so that w [N, num_layers, w_dim] give the images `targets` [N, C, R, R] in [-1, 1].

    A copy; the generator itself stays as it is. noise: as for `synthesis`, the planes of the images. distance: a
    perceptual one beside the pixels.
    """
    return deque(tuning(generator, targets, w, config, noise=noise, distance=distance), maxlen=1).pop().generator


def tuning(
    generator: Generator,
    targets: Tensor,
    w: Tensor,
    config: TuneConfig,
    *,
    noise: NoiseInput = "const",
    distance: Distance | None = None,
) -> Iterator[Tuned]:
    """Tune, and yield what is there after each step; see `tune`."""
    bent = copy.deepcopy(generator)
    bent.tuned_from = generator.tuned_from or fingerprint(generator)
    parameters = list(bent.synthesis.requires_grad_().parameters())
    adam = torch.optim.Adam(parameters, lr=config.tune_rate, betas=(0.9, 0.99))
    draws = torch.Generator().manual_seed(config.tune_seed)
    pool = sampling.sample_w(generator, 1000, draws)
    reach = config.locality_reach * float((pool - pool.mean(dim=0)).norm(dim=1).mean())

    for step in range(1, config.tune + 1):
        loss = _loss(bent.synthesis(w, noise=noise), targets, distance)
        if config.locality:
            # a w between an image's and a sample's, and what the original draws of it
            i = int(torch.randint(len(w), (), generator=draws))
            planes = noise if isinstance(noise, str) else [plane[[i % len(plane)]] for plane in noise]
            near = _towards(w[[i]], sampling.sample_w(generator, 1, draws)[:, None], reach)
            with torch.no_grad():
                before = generator.synthesis(near, noise=planes)
            loss = loss + config.locality * _loss(bent.synthesis(near, noise=planes), before, distance)
        adam.param_groups[0]["lr"] = config.tune_rate * min(1.0, 2 * (1 - (step - 0.5) / config.tune))
        adam.zero_grad()
        loss.backward(inputs=parameters)
        adam.step()
        if step == config.tune:
            bent.requires_grad_(False)
        yield Tuned(step, bent, float(loss.detach()))


def _loss(images: Tensor, targets: Tensor, distance: Distance | None) -> Tensor:
    squares = (images - targets).square().mean()
    return squares if distance is None else squares + likeness.perceptual_loss(images, targets, distance).mean()


def _towards(w: Tensor, other: Tensor, reach: float) -> Tensor:
    """w [1, num_layers, w_dim] moved towards another [1, 1, w_dim] by the length `reach` in each layer."""
    way = other - w
    return w + way * (reach / way.norm(dim=2, keepdim=True).clamp_min(1e-8))


def tuned_model(model: Model, generator: Generator, count: int) -> Model:
    """The model file of a tuned generator: what it was before stays in its provenance."""
    notes = f"tuned to draw {count} image{'s' if count > 1 else ''} (pivotal tuning)"
    notes = f"{model.provenance.notes}; {notes}" if model.provenance.notes else notes
    return Model(generator, replace(model.provenance, notes=notes), label_names=model.label_names)
