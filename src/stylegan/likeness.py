"""How alike images are: a loss that projection, encoder and tuning descend, and PSNR."""

import torch
from torch import Tensor

from stylegan.downloads import is_fetched
from stylegan.errors import InputError
from stylegan.metrics.extractors import Distance, load_distance
from stylegan.metrics.stream import to_rgb
from stylegan.networks import ops


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of two sets of images uint8 [N, C, H, W], in dB: [N]."""
    error = (a.double() - b.double()).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(255**2 / error)


def open_distance(
    text: str, resolution: int, device: torch.device | str = "cpu", *, side: int = 224
) -> Distance | None:
    """The perceptual distance beside the pixels, without gradients of its own: lpips, mobilenet-v2, none (None), or
    auto, which is lpips where it has been fetched.

    side: of the images as MobileNetV2 gets them. Raises InputError as `load_distance`, and for images below 16 x 16.
    """
    small = resolution < 16
    if text == "auto":
        text = "lpips" if is_fetched("lpips") and not small else "none"
    if text == "lpips" and small:
        raise InputError("lpips wants images of 16 x 16 or more; use the distance none")
    return None if text == "none" else load_distance(text, side=side).to(device).requires_grad_(False)


def pixel_loss(images: Tensor, targets: Tensor) -> Tensor:
    """Mean squared difference of images [N, C, R, R] at all resolutions down to 4 x 4, each counting the same: [N]."""
    difference = images - targets
    scales = []
    while True:
        scales.append(difference.square().mean(dim=(1, 2, 3)))
        if difference.shape[3] <= 4:
            return torch.stack(scales).mean(dim=0)
        difference = ops.downsample(difference)


def perceptual_loss(images: Tensor, targets: Tensor, distance: Distance) -> Tensor:
    """The perceptual distance of images [N, C, R, R] in about [-1, 1]: [N]."""
    pair = [to_rgb(x) * 127.5 + 127.5 for x in (images, targets)]
    while pair[0].shape[3] > 256:  # as LPIPS was made for
        pair = [ops.downsample(x) for x in pair]
    return distance(*pair)


def loss(images: Tensor, targets: Tensor, distance: Distance | None) -> Tensor:
    """`pixel_loss`, and `perceptual_loss` where there is a distance: [N]."""
    pixels = pixel_loss(images, targets)
    return pixels if distance is None else pixels + perceptual_loss(images, targets, distance)
