"""Transforms of images, for augmentation: functions of images and of what each image is to undergo.

Images are [N, C, R, R] in about [-1, 1], gray, RGB or RGBA; all that is random comes in from outside, as tensors [N].
Everything can be differentiated with respect to the images. An image that a transform is to leave as it is comes out
to the bit.

Geometric transforms are composed as maps from places in the result to places in the source, [N, 3, 3], in coordinates
that are -1 and 1 at the image's edges, x to the right and y down: in `a @ b` the image first undergoes a, then b.
Colors are composed as matrices [N, 3, 3].
"""

from collections.abc import Callable
from functools import lru_cache
from math import sqrt

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

CACHED = 2**16  # pixels in three channels that a CPU's caches have room for, several times
BANDS = 4  # of frequency: an octave each, the lowest with all below it
HALF_BAND = np.array([-1, 0, 9, 16, 9, 0, -1]) / 32
"""A low-pass filter whose complement, of the other half of the frequencies, is its mirror image: the power response of
Daubechies' wavelet with two vanishing moments. Every second of its coefficients is the cubic interpolation between
pixels."""


def changed(chosen: Tensor, change: Callable[..., Tensor], images: Tensor, *given: Tensor) -> Tensor:
    """Images changed where chosen, bool [N], by what is given for each; the others stay to the bit.

    On a CPU the others cost nothing, and so few are changed at a time that they stay in its caches. A GPU would have to
    be waited for to know which they are, and changes all.
    """
    if not _can_be_asked(images):
        return torch.where(chosen[:, None, None, None], change(images, *given), images)
    which = chosen.nonzero()[:, 0]
    if len(which) == 0:
        return images
    at_a_time = max(1, CACHED // (images.shape[2] * images.shape[3]))
    parts = (each.index_select(0, which).split(at_a_time) for each in (images, *given))
    some = torch.cat([change(*part) for part in zip(*parts, strict=True)])
    return some if len(which) == len(images) else images.index_copy(0, which, some)


def _can_be_asked(tensor: Tensor) -> bool:
    """Whether nothing has to be waited for to know a tensor's numbers."""
    return tensor.is_cpu


# --- geometry


def scaled(x: Tensor, y: Tensor) -> Tensor:
    """The map of images that become x times as wide and y times as high, about the center; negative: mirrored."""
    zero = torch.zeros_like(x)
    return _map(1 / x, zero, zero, zero, 1 / y, zero)


def turned(angle: Tensor) -> Tensor:
    """The map of images turned counterclockwise about the center, by radians."""
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return _map(cos, -sin, zero, sin, cos, zero)


def quarter_turned(count: Tensor) -> Tensor:
    """The map of images turned counterclockwise by 0 to 3 quarters, exactly."""
    zero = torch.zeros_like(count)
    cos, sin = (count == 0).to(count) - (count == 2).to(count), (count == 1).to(count) - (count == 3).to(count)
    return _map(cos, -sin, zero, sin, cos, zero)


def moved(x: Tensor, y: Tensor) -> Tensor:
    """The map of images moved to the right and down by shares of their side."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _map(one, zero, -2 * x, zero, one, -2 * y)


def _map(*rows: Tensor) -> Tensor:
    zero, one = torch.zeros_like(rows[0]), torch.ones_like(rows[0])
    return torch.stack([*rows, zero, zero, one], dim=1).view(-1, 3, 3)


def warp(images: Tensor, place: Tensor, shrink: Tensor) -> Tensor:
    """Images resampled once, by maps from the result to the source [N, 3, 3]. Beyond its edges an image is mirrored.

    shrink: how many times closer the map brings two pixels at the most, [N]; above 1, what would alias is blurred
    first. The source is interpolated cubically to twice its size, its pixels among the new ones, and bilinearly from
    there: pixels that fall on pixels, after quarter turns, mirroring and whole steps, stay what they are.
    """
    place, shrink = place.to(images.dtype), shrink.to(images.dtype)
    touched = (place != torch.eye(3, dtype=place.dtype, device=place.device)).flatten(1).any(dim=1)
    return changed(touched, _resampled, images, place, shrink)


def _resampled(images: Tensor, place: Tensor, shrink: Tensor) -> Tensor:
    # taking a pixel for a Gaussian of deviation 1/2, this much of the binomial filter makes it `shrink` times as wide
    softness = (0.5 * (shrink.square() - 1)).clamp(0, 1)[:, None, None, None]
    images = images.contiguous()  # of which grid_sample makes its results
    fine = _Enlarge.apply(_Enlarge.apply(images, softness, 3), softness, 2)  # [N, C, 2 R + 1, 2 R + 1]

    centers = _centers(images.shape[3], place)
    by_row = place[:, :2, 1, None] * centers + place[:, :2, 2, None]  # [N, 2, R]
    grid = torch.stack(
        [place[:, i, 0, None, None] * centers + by_row[:, i, :, None] for i in range(2)], dim=3
    )  # [N, R, R, 2]
    return F.grid_sample(fine, grid, mode="bilinear", padding_mode="reflection", align_corners=True)


class _Enlarge(torch.autograd.Function):
    """Rows (dim 3) or columns (dim 2) of R pixels brought to 2 R + 1, after so much of the binomial filter.

    The new pixels lie from edge to edge, one on each of the old and one between each two. The derivative is the
    transposed map; autograd would take it through a dozen slices, each into zeros of its own.
    """

    @staticmethod
    def forward(ctx, images, softness, dim):
        ctx.dim = dim
        ctx.save_for_backward(softness)
        soft = _softened(_beyond(images, 3, dim), softness, dim)  # R + 4
        size = list(images.shape)
        size[dim] = 2 * size[dim] + 1
        fine = images.new_empty(size)
        between, pixels = _alternate(fine, dim)
        _between(soft, dim, out=between)
        pixels.copy_(soft.narrow(dim, 2, pixels.shape[dim]))
        return fine

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        dim, (softness,) = ctx.dim, ctx.saved_tensors
        between, pixels = _alternate(gradient, dim)
        count = pixels.shape[dim]
        wide = _between(F.pad(between, (0, 0) * (3 - dim) + (3, 3)), dim)  # R + 4, with two beyond each edge
        inside = wide.narrow(dim, 2, count).add_(pixels)
        inside.narrow(dim, 0, 2).add_(wide.narrow(dim, 0, 2).flip(dim))
        inside.narrow(dim, count - 2, 2).add_(wide.narrow(dim, count + 2, 2).flip(dim))
        return _softened(_beyond(inside, 1, dim), softness, dim), None, None


def _alternate(fine: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Views of the pixels between the old ones, and of those on them."""
    return (fine[..., ::2], fine[..., 1::2]) if dim == 3 else (fine[..., ::2, :], fine[..., 1::2, :])


def _beyond(images: Tensor, margin: int, dim: int) -> Tensor:
    """Images with so many pixels more at both ends, mirrored."""
    first, last = images.narrow(dim, 0, margin), images.narrow(dim, images.shape[dim] - margin, margin)
    return torch.cat([first.flip(dim), images, last.flip(dim)], dim=dim)


def _softened(images: Tensor, softness: Tensor, dim: int) -> Tensor:
    """A share [N, 1, 1, 1] of the binomial filter (1, 2, 1) / 4; two pixels fewer come out. 0 changes no bit."""
    count = images.shape[dim] - 2
    left, middle, right = (images.narrow(dim, start, count) for start in range(3))
    return torch.lerp(middle, (left + right).mul_(0.5), softness / 2)


def _between(images: Tensor, dim: int, out: Tensor | None = None) -> Tensor:
    """The cubic in the middle of each four neighbors; three pixels fewer come out."""
    count, (outer, inner) = images.shape[dim] - 3, (2 * HALF_BAND[:3:2]).tolist()
    a, b, c, d = (images.narrow(dim, start, count) for start in range(4))
    return torch.add((b + c).mul_(inner), a + d, alpha=outer, out=out)


def shift(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Images moved to the right and down by whole numbers of pixels [N]; 0 comes in from outside."""
    resolution = images.shape[3]
    xs, ys = (_centers(resolution, images) - 2 * d.to(images)[:, None] / resolution for d in (x, y))  # [N, R]
    shape = (len(images), resolution, resolution)
    grid = torch.stack([xs[:, None, :].expand(shape), ys[:, :, None].expand(shape)], dim=3)
    return F.grid_sample(images, grid, mode="nearest", padding_mode="zeros", align_corners=False)


def _centers(resolution: int, like: Tensor) -> Tensor:
    """Coordinates of the pixels of a row: [R], exact."""
    return (torch.arange(resolution, dtype=like.dtype, device=like.device) * 2 + 1) / resolution - 1


# --- color


def hue_turned(angle: Tensor) -> Tensor:
    """The matrix that turns colors about the gray axis, by radians."""
    cos, sin = angle.cos(), angle.sin() / sqrt(3)
    gray = (1 - cos) / 3
    return _circulant(cos + gray, gray - sin, gray + sin)


def saturated(factor: Tensor) -> Tensor:
    """The matrix that takes colors so many times as far from the gray axis."""
    gray = (1 - factor) / 3
    return _circulant(factor + gray, gray, gray)


def luma_flipped(chosen: Tensor) -> Tensor:
    """The matrix that turns dark into light and keeps hue and saturation, where chosen (1, else 0)."""
    return _circulant(1 - 2 * chosen / 3, -2 * chosen / 3, -2 * chosen / 3)


def _circulant(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.stack([a, b, c, c, a, b, b, c, a], dim=1).view(-1, 3, 3)


def recolor(images: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """Each pixel's color times a matrix [N, 3, 3], plus an offset [N, 3]. Gray images stay gray, alpha as it is."""
    matrix, offset = matrix.to(images.dtype), offset.to(images.dtype)
    if images.shape[1] == 1:
        factor = matrix.sum(dim=(1, 2)) / 3
        return images * factor[:, None, None, None] + offset.mean(dim=1)[:, None, None, None]
    colors, result = images[:, :3], offset[:, :, None, None]
    if images.is_cpu:
        result = torch.baddbmm(offset[:, :, None], matrix, colors.flatten(2)).view(colors.shape)
    else:
        for channel in range(3):  # no matrix product, which a GPU may round
            result = torch.addcmul(result, matrix[:, :, channel, None, None], colors[:, channel : channel + 1])
    return torch.cat([result, images[:, 3:]], dim=1) if images.shape[1] > 3 else result


# --- corruption


def weigh_bands(images: Tensor, gains: Tensor) -> Tensor:
    """Frequencies weighted by octaves, in both directions: gains [N, 4], from the lowest to the highest.

    With all gains 1 nothing changes: the bands of `HALF_BAND` sum up to the image. Alpha stays.
    """
    return changed((gains != 1).any(dim=1), _weighed, images, gains)


def _weighed(images: Tensor, gains: Tensor) -> Tensor:
    bands = _bands(images.shape[3], images.dtype, images.device)
    weigh = torch.einsum("nb,bij->nij", gains.to(images.dtype), bands)[:, None]  # [N, 1, R, R]
    result = weigh @ images[:, :3] @ weigh.mT
    return torch.cat([result, images[:, 3:]], dim=1) if images.shape[1] > 3 else result


@lru_cache(maxsize=16)
def _bands(resolution: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The filters of the bands as matrices [4, R, R]: what a low-pass leaves out, then what the next leaves of the
    rest, an octave lower each time."""
    rest, bands = np.eye(resolution), []
    for octave in range(BANDS - 1):
        low = _filter(HALF_BAND, resolution, 2**octave)
        bands.append(rest - low @ rest)
        rest = low @ rest
    return torch.tensor(np.stack([rest, *reversed(bands)]), dtype=dtype, device=device)


def _filter(taps: np.ndarray, resolution: int, spread: int = 1) -> np.ndarray:
    """A filter of an odd number of taps, `spread` pixels apart, as a matrix [R, R]; beyond its edges a row is
    mirrored."""
    matrix, middle = np.zeros((resolution, resolution)), len(taps) // 2
    for pixel in range(resolution):
        for k, tap in enumerate(taps):
            matrix[pixel, _mirrored(pixel + (k - middle) * spread, resolution)] += tap
    return matrix


def _mirrored(pixel: int, resolution: int) -> int:
    pixel %= 2 * resolution
    return min(pixel, 2 * resolution - 1 - pixel)


def add_noise(images: Tensor, deviation: Tensor, noise: Tensor) -> Tensor:
    """Images plus noise [N, C, R, R], for the colors alone, times a deviation [N]. Alpha stays."""
    result = torch.addcmul(images[:, :3], deviation.to(images.dtype)[:, None, None, None], noise.to(images.dtype))
    return torch.cat([result, images[:, 3:]], dim=1) if images.shape[1] > 3 else result


def cut_out(images: Tensor, x: Tensor, y: Tensor, chosen: Tensor) -> Tensor:
    """Images with a square of half their side, about (x, y) in [0, 1], made 0 in all channels, where chosen."""
    side = images.shape[3]
    pixels = torch.arange(side, device=images.device)
    inside = []
    for center in (x, y):
        low, high = (((center + part) * side).round()[:, None] for part in (-0.25, 0.25))
        inside.append((low <= pixels) & (pixels < high))  # [N, R]
    hidden = inside[1][:, :, None] & inside[0][:, None, :] & chosen[:, None, None]
    return images.masked_fill(hidden[:, None], 0)
