"""Perceptual path length: how much the image changes along a path of the latents (section 4.1)."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from stylegan.sampling import lerp, slerp

EPSILON = 1e-4  # of the paper; a smaller one drowns in float32


@torch.no_grad()
def path_length(
    mapping: Callable[[Tensor], Tensor],
    synthesis: Callable[[Tensor], Tensor],
    distance: Callable[[Tensor, Tensor], Tensor],
    z1: Tensor,
    z2: Tensor,
    t: Tensor,
    *,
    space: Literal["z", "w"],
    epsilon: float = EPSILON,
    crop: Literal["face", "none"] = "face",
) -> Tensor:
    """d(image at t, image at t + epsilon) / epsilon^2 of each pair of latents [N]: eq. 2 in Z, eq. 3 in W.

    mapping: z [N, z_dim] -> w [N, ...]. synthesis: w -> images [N, C, H, W] in about [-1, 1]; it is called once with
    both ends of all pairs, [2N, ...], first all starts, then all ends, and must give the two of a pair the same
    noise. distance: of images in [0, 255]. z1, z2: [N, z_dim]. t: [N], uniform in [0, 1] for the full path, 0 for
    its end point. space: where the path runs; slerp in Z, lerp in W. crop: of the images, see `prepare_images`.
    """
    if space == "z":
        t = t.view(-1, 1)
        # slerp gives directions; a z has the length sqrt(z_dim), which matters where a label is joined to it
        ends = [mapping(slerp(z1, z2, at) * z1.shape[1] ** 0.5) for at in (t, t + epsilon)]
    else:
        w1, w2 = mapping(z1), mapping(z2)
        t = t.view(-1, *[1] * (w1.ndim - 1))
        ends = [lerp(w1, w2, at) for at in (t, t + epsilon)]
    images = prepare_images(synthesis(torch.cat(ends)), crop)
    first, second = images.chunk(2)
    return distance(first, second) / epsilon**2


def prepare_images(images: Tensor, crop: Literal["face", "none"]) -> Tensor:
    """Images as the distance sees them, in [0, 255]: cropped, and box-filtered to 256 if larger; never rounded.

    "face" keeps rows 3/8 to 7/8 and columns 2/8 to 6/8, which the official code does for all data.
    """
    if crop == "face":
        unit = images.shape[2] // 8
        images = images[:, :, 3 * unit : 7 * unit, 2 * unit : 6 * unit]
    factor = images.shape[2] // 256
    if factor > 1:
        images = torch.nn.functional.avg_pool2d(images, factor)
    return (images + 1) * 127.5


def mean_without_outliers(distances: Tensor) -> float:
    """Mean of the distances [N] from the 1st to the 99th percentile, both of them included."""
    values = distances.double().numpy()
    low = np.percentile(values, 1, method="lower")
    high = np.percentile(values, 99, method="higher")
    return float(values[(low <= values) & (values <= high)].mean())
