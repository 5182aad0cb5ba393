"""The losses of the paper, per sample: functions of scores, and of gradients where they penalize them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.config import above, at_least, check
from stylegan.errors import InputError
from stylegan.networks import ops
from stylegan.networks.discriminator import Discriminator

Score = Callable[[Tensor], Tensor]  # images [N, C, H, W] -> scores [N]


@dataclass(frozen=True)
class Critic:
    """A discriminator as the losses see it: a score function, for images of these labels and this fade."""

    discriminator: Discriminator
    labels: Tensor | None
    fade: ops.Fade

    def __call__(self, images: Tensor) -> Tensor:
        return self.discriminator(images, self.labels, fade=self.fade)

    def scores_and_gradients(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `Discriminator.scores_and_gradients`."""
        return self.discriminator.scores_and_gradients(images, self.labels, fade=self.fade)


@dataclass(frozen=True)
class LossConfig:
    """Which losses are trained with. The defaults are the paper's for FFHQ, configs b to f (appendix C)."""

    kind: Literal["logistic", "wgan-gp", "relativistic"] = "logistic"
    """Non-saturating logistic with R1, Wasserstein with gradient penalty, or relativistic: each fake against a real
    (wants R1 and R2; Huang et al., 2024), not of the paper."""
    r1_gamma: Annotated[float, at_least(0)] = 10.0
    """Weight of R1, the squared gradient of the scores of the reals (logistic, relativistic)."""
    r2_gamma: Annotated[float, at_least(0)] = 0.0
    """The same on the fakes (logistic, relativistic)."""
    gp_weight: Annotated[float, at_least(0)] = 10.0
    """Weight of the gradient penalty (wgan-gp)."""
    drift_weight: Annotated[float, at_least(0)] = 0.001
    """Weight of the squared scores of the reals (wgan-gp)."""
    penalty_at: Literal["full", "current"] = "full"
    """While growing, take gradients with respect to the image at its full size, as the paper's code does, or at
    the current one, which penalizes low resolutions more."""
    penalty_interval: Annotated[int, at_least(1)] = 1
    """Penalize gradients only in every so many steps, with as many times the weight: saves time, at some loss of
    stability (lazy regularization; Karras et al., 2020, appendix B). 1 in the paper."""
    penalty_corrects_adam: bool = False
    """With a penalty_interval n above 1, D's Adam has n / (n + 1) times its rate, and its betas to that power, so that
    it moves and forgets as fast as without (appendix B of the same)."""
    gamma_end: Annotated[float | None, above(0)] = None
    """Weight of R1 after gamma_kimg: it falls to this from r1_gamma, by the same factor for each image, and R2's with
    it (Huang et al., 2024, lower it tenfold in the first fifth of a run). Default: r1_gamma, as in the paper."""
    gamma_kimg: Annotated[float, at_least(0)] = 0.0
    """Thousands of images over which the weight falls to gamma_end."""

    def __post_init__(self) -> None:
        check(self)
        if self.gamma_end is not None and min(self.r1_gamma, self.gamma_end, self.gamma_kimg) <= 0:
            raise InputError("gamma_end needs r1_gamma, gamma_end and gamma_kimg above 0")

    @property
    def adam_power(self) -> float:
        """What D's rate is multiplied by, and its betas are raised to."""
        lazy = self.penalty_corrects_adam and self.penalty_interval > 1
        return self.penalty_interval / (self.penalty_interval + 1) if lazy else 1.0

    def at(self, images_seen: int) -> "LossConfig":
        """The losses after so many images: with a gamma_end, the weights that R1 and R2 have fallen to."""
        if self.gamma_end is None:
            return self
        factor = (self.gamma_end / self.r1_gamma) ** min(images_seen / (1000 * self.gamma_kimg), 1.0)
        return replace(self, r1_gamma=self.r1_gamma * factor, r2_gamma=self.r2_gamma * factor, gamma_end=None)

    def at_step(self, step: int) -> "LossConfig":
        """The losses of one step of the discriminator: with lazy regularization, penalties heavier or none."""
        if self.penalty_interval == 1:
            return self
        factor = self.penalty_interval if step % self.penalty_interval == 0 else 0
        weights = {name: getattr(self, name) * factor for name in ("r1_gamma", "r2_gamma", "gp_weight")}
        return replace(self, **weights)

    def gradient_scale(self, resolution: int, full_resolution: int) -> float:
        """What a gradient's norm at `resolution` is multiplied by to be that at the full size.

        An image repeated k times in each direction has k * k pixels for each of its own, and each of them gets
        1 / (k * k) of the gradient: its squares sum to 1 / (k * k) of what they did.
        """
        return resolution / full_resolution if self.penalty_at == "full" else 1.0


@dataclass(frozen=True)
class DiscriminatorLoss:
    """The discriminator's loss and what it is made of, each [N]."""

    total: Tensor
    real_scores: Tensor
    fake_scores: Tensor
    penalty: Tensor


def squared_gradient_norm(score: Score, images: Tensor) -> tuple[Tensor, Tensor]:
    """Scores [N] and the squared norms [N] of their gradients with respect to the images; differentiable.

    A `Critic` has its gradient written out; any other score function is differentiated twice by autograd.
    """
    if isinstance(score, Critic):
        scores, gradient = score.scores_and_gradients(images)
    else:
        images = images.detach().requires_grad_()
        with torch.compiler.set_stance("force_eager"):  # compiled code cannot be differentiated twice
            scores = score(images)
        (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return scores, gradient.square().sum(dim=(1, 2, 3))


def logistic(
    score: Score, reals: Tensor, fakes: Tensor, config: LossConfig, gradient_scale: float, mix: Tensor
) -> DiscriminatorLoss:
    """Logistic loss with R1 (and R2): softplus(D(fake)) + softplus(-D(real)) + gamma / 2 |grad|^2.

    `mix` is not used here; the siblings share a signature.
    """
    real_scores, of_reals = _scores_and_penalty(score, reals, gradient_scale**2 * config.r1_gamma / 2)
    fake_scores, of_fakes = _scores_and_penalty(score, fakes, gradient_scale**2 * config.r2_gamma / 2)
    penalty = of_reals + of_fakes
    total = F.softplus(fake_scores) + F.softplus(-real_scores) + penalty
    return DiscriminatorLoss(total, real_scores, fake_scores, penalty)


def relativistic(
    score: Score, reals: Tensor, fakes: Tensor, config: LossConfig, gradient_scale: float, mix: Tensor
) -> DiscriminatorLoss:
    """Relativistic pairing loss with R1 and R2: softplus(D(fake) - D(real)) + gamma / 2 |grad|^2.

    Each fake against one real (Jolicoeur-Martineau, 2019; Huang et al., 2024, section 2).
    """
    real_scores, of_reals = _scores_and_penalty(score, reals, gradient_scale**2 * config.r1_gamma / 2)
    fake_scores, of_fakes = _scores_and_penalty(score, fakes, gradient_scale**2 * config.r2_gamma / 2)
    penalty = of_reals + of_fakes
    return DiscriminatorLoss(F.softplus(fake_scores - real_scores) + penalty, real_scores, fake_scores, penalty)


def _scores_and_penalty(score: Score, images: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """Scores [N], and the squared norms [N] of their gradients times `weight`; 0 where that is 0."""
    if weight == 0:
        return score(images), images.new_zeros(len(images))
    scores, norm = squared_gradient_norm(score, images)
    return scores, norm * weight


def wgan_gp(
    score: Score, reals: Tensor, fakes: Tensor, config: LossConfig, gradient_scale: float, mix: Tensor
) -> DiscriminatorLoss:
    """Wasserstein loss with gradient penalty and drift: D(fake) - D(real) + lambda (|grad| - 1)^2 + eps D(real)^2.

    mix: uniform numbers [N]; the gradient is taken at real + (fake - real) * mix.
    """
    real_scores, fake_scores = score(reals), score(fakes)
    penalty = torch.zeros_like(real_scores)
    if config.gp_weight > 0:
        _, norm = squared_gradient_norm(score, torch.lerp(reals, fakes, mix[:, None, None, None]))
        penalty = (norm.sqrt() * gradient_scale - 1).square() * config.gp_weight
    total = fake_scores - real_scores + penalty + config.drift_weight * real_scores.square()
    return DiscriminatorLoss(total, real_scores, fake_scores, penalty)


DISCRIMINATOR_LOSSES = {"logistic": logistic, "wgan-gp": wgan_gp, "relativistic": relativistic}


def generator_loss(fake_scores: Tensor, config: LossConfig) -> Tensor:
    """The generator's loss [N]: softplus(-D(fake)), the non-saturating form, or -D(fake) for wgan-gp.

    fake_scores: [N]; for relativistic D(fake) - D(real).
    """
    return -fake_scores if config.kind == "wgan-gp" else F.softplus(-fake_scores)
