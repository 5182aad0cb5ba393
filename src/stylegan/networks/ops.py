"""The arithmetic of the networks: pure functions on tensors.

Where a function takes a short cut, the plain form stands beside it as `<name>_reference`; the tests hold the two
together. Images and activations are [N, C, H, W]; memory is best laid out channels-last. Activations may be bfloat16:
statistics over them are float32 all the same.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-8  # of pixel norm, instance norm and minibatch standard deviation; inside the root


def pixel_norm(x: Tensor) -> Tensor:
    """Scale every feature vector (dimension 1) to unit mean square. [N, C, ...] -> the same."""
    mean_square = x.square().mean(dim=1, keepdim=True, dtype=_exact(x))
    return x * torch.rsqrt(mean_square + EPSILON).to(x.dtype)


def instance_norm(x: Tensor) -> Tensor:
    """Normalise each feature map to zero mean and unit (biased) variance: the inner part of eq. 1."""
    centred, rstd = _centred(x)
    return centred * rstd.to(x.dtype)


def adain(x: Tensor, y_scale: Tensor, y_bias: Tensor) -> Tensor:
    """Adaptive instance normalisation, eq. 1: y_s (x - mu(x)) / sigma(x) + y_b. The styles are [N, C].

    The mean is taken off first: written as x * a + (b - mean * a) a map without variance, such as the constant
    input, would lose most of its digits.
    """
    centred, rstd = _centred(x)
    scale = (rstd * y_scale[:, :, None, None]).to(x.dtype)
    return torch.addcmul(y_bias[:, :, None, None].to(x.dtype), centred, scale)


def adain_reference(x: Tensor, y_scale: Tensor, y_bias: Tensor) -> Tensor:
    """`adain`, as eq. 1 reads."""
    y = y_scale[:, :, None, None] * instance_norm(x) + y_bias[:, :, None, None]
    return y.to(x.dtype)


def _centred(x: Tensor) -> tuple[Tensor, Tensor]:
    """x without the mean of each feature map, and one over each map's deviation [N, C, 1, 1]."""
    centred = x - x.mean(dim=(2, 3), keepdim=True, dtype=_exact(x)).to(x.dtype)
    mean_square = centred.square().mean(dim=(2, 3), keepdim=True, dtype=_exact(x))
    return centred, torch.rsqrt(mean_square + EPSILON)


def _exact(x: Tensor) -> torch.dtype:
    """What statistics over x are computed in."""
    return torch.float32 if x.dtype == torch.bfloat16 else x.dtype


def upsample(x: Tensor) -> Tensor:
    """Double height and width by nearest neighbour."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def upsample_to(x: Tensor, resolution: int) -> Tensor:
    """Double images [N, C, R, R] until they have the given resolution."""
    while x.shape[3] < resolution:
        x = upsample(x)
    return x


def downsample(x: Tensor) -> Tensor:
    """Halve height and width by the mean of 2 x 2 boxes."""
    return F.avg_pool2d(x, 2)


class _Blur(torch.autograd.Function):
    """The binomial filter as a 2 x 2 mean applied twice. It is symmetric, hence its own derivative, always.

    Going through the means' own derivatives would also be wrong: those of overlapping windows come out wrong on
    CUDA where memory is channels-last (torch 2.11).
    """

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.avg_pool2d(x, 2, stride=1, padding=1), 2, stride=1)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _Blur.apply(gradient)


def blur(x: Tensor) -> Tensor:
    """Low-pass filter with the separable binomial filter [1, 2, 1] / 4, zeros around the borders (appendix C)."""
    return _Blur.apply(x)


def blur_reference(x: Tensor) -> Tensor:
    """`blur` as one depthwise convolution."""
    taps = torch.tensor([1.0, 2.0, 1.0], dtype=x.dtype, device=x.device)
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    return F.conv2d(x, kernel.expand(x.shape[1], 1, 3, 3), padding=1, groups=x.shape[1])


def _sum_of_shifts(weight: Tensor) -> Tensor:
    """3 x 3 kernels convolved with a 2 x 2 box of ones: [..., 3, 3] -> [..., 4, 4]."""
    padded = F.pad(weight, (1, 1, 1, 1))
    return padded[..., 1:, 1:] + padded[..., :-1, 1:] + padded[..., 1:, :-1] + padded[..., :-1, :-1]


def upsample_conv(x: Tensor, weight: Tensor) -> Tensor:
    """Nearest-neighbour upsampling and a 3 x 3 convolution, fused: 4/9 of the multiplications.

    weight: [out, in, 3, 3]. Both together are one transposed convolution of stride 2 with a 4 x 4 kernel.
    """
    kernel = _sum_of_shifts(weight).flip(2, 3).transpose(0, 1)
    return F.conv_transpose2d(x, kernel, stride=2, padding=1)


def upsample_conv_reference(x: Tensor, weight: Tensor) -> Tensor:
    """`upsample_conv` in two steps."""
    return F.conv2d(upsample(x), weight, padding=1)


def conv_downsample(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 3 x 3 convolution and 2 x 2 box downsampling, fused into one 4 x 4 convolution of stride 2."""
    return F.conv2d(x, _sum_of_shifts(weight) / 4, bias, stride=2, padding=1)


def conv_downsample_reference(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`conv_downsample` in two steps."""
    return downsample(F.conv2d(x, weight, bias, padding=1))


def minibatch_stddev(x: Tensor, group_size: int = 4, features: int = 1) -> Tensor:
    """Append `features` maps that tell how much the images of a group differ (Progressive GAN, section 3).

    [N, C, H, W] -> [N, C + features, H, W]. Groups hold min(group_size, N) images and are strided: image i is in
    group i mod (N / group size). Each new map holds one number per group: the standard deviation over the group,
    averaged over the positions and over the channels of that feature.
    """
    n, c, h, w = x.shape
    size = min(group_size, n)
    if n % size or c % features:
        raise ValueError(f"{n} images of {c} maps do not divide into groups of {size} and {features} features")
    groups = x.reshape(size, n // size, features, c // features, h, w)
    centred = groups - groups.mean(dim=0)
    deviation = (centred.square().mean(dim=0) + EPSILON).sqrt()  # [M, features, C / features, H, W]
    statistic = deviation.mean(dim=(2, 3, 4))  # [M, features]
    maps = statistic.repeat(size, 1)[:, :, None, None].expand(n, features, h, w)
    return torch.cat([x, maps.to(x.dtype)], dim=1)


def minibatch_stddev_reference(x: Tensor, group_size: int = 4, features: int = 1) -> Tensor:
    """`minibatch_stddev`, group by group."""
    n, _, h, w = x.shape
    size = min(group_size, n)
    count = n // size
    maps = x.new_empty(n, features, h, w)
    for group in range(count):
        members = x[group::count]
        deviation = (members.var(dim=0, correction=0) + EPSILON).sqrt()  # [C, H, W]
        for feature, channels in enumerate(deviation.chunk(features)):
            maps[group::count, feature] = channels.mean()
    return torch.cat([x, maps], dim=1)


def fade_in(fine: Tensor, coarse: Tensor, fade: float) -> Tensor:
    """Blend two versions of the same images; `fade` is the weight of the coarser one, in [0, 1]."""
    return torch.lerp(fine, coarse, fade)
