"""Path length as a regularizer: G's image shall change as much with w everywhere, and in every direction.

The paper's last sentence expects that shaping W directly during training is worth it; this is one way (Karras et al.,
2020, section 3.2): (|J^T y| - a)^2, where J is the derivative of the image with respect to w, y random pixels, and a
the moving mean of these lengths.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from stylegan.config import at_least, between, check
from stylegan.networks import ops


@dataclass(frozen=True)
class PathLengthConfig:
    """Regularization of G's path lengths in W. The paper has none."""

    weight: Annotated[float, at_least(0)] = 0.0
    """Weight of the squared deviation of path lengths from their moving mean (Karras et al., 2020, section 3.2, whose
    weight is 1 / (log2 R - 1) here: 0.25 at 32 x 32, 0.11 at 1024 x 1024). 0 in the paper: none."""
    interval: Annotated[int, at_least(1)] = 4
    """Regularize only in every so many steps of G, with as many times the weight (lazy regularization)."""
    decay: Annotated[float, between(0, 1)] = 0.01
    """Share by which the moving mean goes to the mean length of a batch."""

    def __post_init__(self) -> None:
        check(self, "path_length.")

    def weight_at_step(self, step: int) -> float:
        """The weight in one step of the generator."""
        return self.weight * self.interval if step % self.interval == 0 else 0.0


def lengths_of(synthesis: Callable[[Tensor], Tensor], w: Tensor, y: Tensor) -> Tensor:
    """|J^T y| of each image, [N], where J is the derivative of its pixels with respect to w; differentiable.

    synthesis: w [N, w_dim] -> images [N, C, R, R]. y: numbers like the images, N(0, 1); they are divided by R, which
    lets lengths at all resolutions compare.
    """
    if not w.requires_grad:  # of a mapping network that is not trained
        w = w.detach().requires_grad_()
    with ops.twice_differentiable(), torch.compiler.set_stance("force_eager"):
        images = synthesis(w)
        projected = (images * y).sum() / images.shape[3]
        (gradient,) = torch.autograd.grad(projected, w, create_graph=True)
    return gradient.norm(dim=1)


def penalty_of(lengths: Tensor, mean: Tensor) -> Tensor:
    """The squared deviation [N] of the lengths [N] from the moving mean []."""
    return (lengths - mean).square()


def moved(mean: Tensor, of_batch: Tensor, decay: float) -> Tensor:
    """The moving mean after a batch of this mean length; as it was where that is not finite."""
    return torch.where(of_batch.isfinite(), torch.lerp(mean, of_batch, decay), mean)
