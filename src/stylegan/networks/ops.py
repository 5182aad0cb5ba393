"""The arithmetic of the networks: pure functions on tensors.

Where a function takes a short cut, the plain form stands beside it as `<name>_reference`; the tests hold the two
together. Images and activations are [N, C, H, W]; memory is best laid out channels-last. Activations may be bfloat16:
statistics over them are float32 all the same.
"""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor

HAS_ONEDNN = torch.backends.mkldnn.is_available()
HAS_TRITON = importlib.util.find_spec("triton") is not None
KERNELS = os.environ.get("STYLEGAN_KERNELS", "torch")
"""Implementation of the blur on CUDA: "torch", or "triton" for the kernels in `kernels.py`."""
EPSILON = 1e-8  # of pixel norm, instance norm and minibatch standard deviation; inside the root

_twice: ContextVar[bool] = ContextVar("twice differentiable", default=False)


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Inside, no function has a derivative that cannot be differentiated again: the references stand in for those."""
    token = _twice.set(True)
    try:
        yield
    finally:
        _twice.reset(token)


def pixel_norm(x: Tensor) -> Tensor:
    """Scale every feature vector (dimension 1) to unit mean square. [N, C, ...] -> the same."""
    mean_square = x.square().mean(dim=1, keepdim=True, dtype=_exact(x))
    return x * torch.rsqrt(mean_square + EPSILON).to(x.dtype)


def instance_norm(x: Tensor, epsilon: float = EPSILON) -> Tensor:
    """Normalize each feature map to zero mean and unit (biased) variance: the inner part of eq. 1."""
    centered, rstd = _centered(x, epsilon)
    return centered * rstd.to(x.dtype)


def adain(x: Tensor, y_scale: Tensor, y_bias: Tensor, epsilon: float = EPSILON) -> Tensor:
    """Adaptive instance normalization, eq. 1: y_s (x - mu(x)) / sigma(x) + y_b. The styles are [N, C].

    The mean is taken off first: written as x * a + (b - mean * a) a map without variance, such as the constant
    input, would lose most of its digits. The derivative, which autograd would put together from 27 passes over the
    activation, is written out; it cannot be differentiated again, as that of `adain_reference` can.
    """
    if torch.compiler.is_compiling() or _twice.get():  # the compiler writes its own derivative
        return adain_reference(x, y_scale, y_bias, epsilon)
    return _AdaIN.apply(x, y_scale, y_bias, epsilon)


def adain_reference(x: Tensor, y_scale: Tensor, y_bias: Tensor, epsilon: float = EPSILON) -> Tensor:
    """`adain`, as eq. 1 reads."""
    y = y_scale[:, :, None, None] * instance_norm(x, epsilon) + y_bias[:, :, None, None]
    return y.to(x.dtype)


class _AdaIN(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y_scale, y_bias, epsilon):
        mean = _mean_of_maps(x)
        centered = _minus(x, mean)
        rstd = torch.rsqrt(_mean_of_maps(centered.square()) + epsilon)
        ctx.save_for_backward(x, mean, rstd, y_scale)  # not `centered`: x is kept by the activation before anyway
        scale = (rstd * y_scale[:, :, None, None]).to(x.dtype)
        return torch.addcmul(y_bias[:, :, None, None].to(x.dtype), centered, scale)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        """With c = x - mu and r = 1 / sigma, the gradient g becomes y_s r (g - mean(g) - c r^2 mean(g c))."""
        x, mean, rstd, y_scale = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        centered = _minus(x, mean)
        mean_g = _mean_of_maps(gradient)
        mean_gc = _mean_of_maps(gradient * centered)
        scale, of_scale = rstd * y_scale[:, :, None, None], rstd * mean_gc
        of_x = torch.addcmul((-scale * mean_g).to(x.dtype), gradient, scale.to(x.dtype))
        of_x.addcmul_(centered, (scale * rstd * of_scale).to(x.dtype), value=-1)
        count = x.shape[2] * x.shape[3]
        return of_x, of_scale[:, :, 0, 0] * count, mean_g[:, :, 0, 0] * count, None


def demodulate(y: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """Divide what a convolution gives by the deviation to be expected of it, and let its mean square be 2, as the
    rectifier that follows halves it (Karras et al., 2020, eq. 3).

    y: [N, O, H, W]. weight: of the convolution, [O, I, k, k]. scale: [N, I], what its maps have been multiplied by,
    which are taken to have had unit deviation before.
    """
    expected = scale.square() @ weight.square().sum(dim=(2, 3)).T + EPSILON  # variance, [N, O]
    return y * (expected / 2).rsqrt()[:, :, None, None].to(y.dtype)


def demodulate_reference(y: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """`demodulate`, with a kernel for each image, as eqs. 1 and 3 read."""
    kernels = weight * scale[:, None, :, None, None]  # [N, O, I, k, k]
    deviation = (kernels.square().sum(dim=(2, 3, 4)) + EPSILON).sqrt()
    return (y / deviation[:, :, None, None] * 2**0.5).to(y.dtype)


def _centered(x: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """x without the mean of each feature map, and one over each map's deviation [N, C, 1, 1]."""
    centered = _minus(x, _mean_of_maps(x))
    return centered, torch.rsqrt(_mean_of_maps(centered.square()) + epsilon)


def _mean_of_maps(x: Tensor) -> Tensor:
    """The mean of each feature map, [N, C, H, W] -> [N, C, 1, 1], in `_exact` numbers."""
    if not _only_products_are_fast(x):
        return x.mean(dim=(2, 3), keepdim=True, dtype=_exact(x))
    n, c, h, w = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(n * h, w, c)
    sums = torch.bmm(x.new_ones(1, 1, 1).expand(n * h, 1, w), rows)  # of each row of pixels: [N * H, 1, C]
    return (sums.view(n, h, c).sum(dim=1, dtype=torch.float32) / (h * w))[:, :, None, None]


def _minus(x: Tensor, mean: Tensor) -> Tensor:
    """x - mean, [N, C, H, W] and [N, C, 1, 1], in the type of x."""
    mean = mean.to(x.dtype)
    if not _only_products_are_fast(x):
        return x - mean
    n, c, h, w = x.shape
    pixels = x.permute(0, 2, 3, 1).reshape(n, h * w, c)
    ones = x.new_ones(1, 1, 1).expand(n, h * w, 1)
    return torch.baddbmm(pixels, ones, mean.view(n, 1, c), alpha=-1).view(n, h, w, c).permute(0, 3, 1, 2)


def _only_products_are_fast(x: Tensor) -> bool:
    """Whether sums over bfloat16 are best written as products, for which alone CPUs have fast instructions."""
    return x.dtype == torch.bfloat16 and x.is_cpu and not torch.compiler.is_compiling()


def _exact(x: Tensor) -> torch.dtype:
    """Data type of statistics over x."""
    return torch.float32 if x.dtype == torch.bfloat16 else x.dtype


def add_noise_and_bias(x: Tensor, noise: tuple[Tensor, Tensor] | None, bias: Tensor) -> Tensor:
    """x + strength * plane + bias. **x is overwritten**, unless it is being compiled.

    x: [N, C, H, W]. noise: a plane [N or 1, 1, H, W] and its strength [C], or None for none. bias: [C]. The derivative
    of both comes from one product instead of two sums, one of them over a tensor as large as x.
    """
    if torch.compiler.is_compiling() or _twice.get():
        return add_noise_and_bias_reference(x, noise, bias)
    plane, strength = noise or (None, None)
    return _AddNoiseAndBias.apply(x, plane, strength, bias)


def add_noise_and_bias_reference(x: Tensor, noise: tuple[Tensor, Tensor] | None, bias: Tensor) -> Tensor:
    """`add_noise_and_bias`, as figure 1b reads."""
    if noise is not None:
        plane, strength = noise
        x = torch.addcmul(x, plane.to(x.dtype), strength[:, None, None].to(x.dtype))
    return x + bias[:, None, None].to(x.dtype)


class _AddNoiseAndBias(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, plane, strength, bias):
        if x.is_contiguous(memory_format=torch.channels_last):
            ctx.mark_dirty(x)
        else:
            x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(plane)
        ctx.exact = bias.dtype
        bias, strength = bias.to(x.dtype), None if plane is None else strength.to(x.dtype)
        if x.is_cpu:  # one pass: a product added to x
            weights = bias[None] if plane is None else torch.stack([strength, bias])
            _pixels(x).addmm_(_factors(plane, x), weights)
            return x
        if plane is not None:
            x.addcmul_(plane.to(x.dtype), strength[:, None, None])
        return x.add_(bias[:, None, None])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (plane,) = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        *of_strength, of_bias = (_factors(plane, gradient).t() @ _pixels(gradient)).to(ctx.exact)
        return gradient, None, of_strength[0] if of_strength else None, of_bias


def _pixels(x: Tensor) -> Tensor:
    """A channels-last activation as a matrix with a row for each pixel: a view [N * H * W, C]."""
    return x.permute(0, 2, 3, 1).view(-1, x.shape[1])


def _factors(plane: Tensor | None, x: Tensor) -> Tensor:
    """Factors of noise strength and bias at each pixel of x: [N * H * W, 2], or ones alone [.., 1]."""
    ones = x.new_ones(len(x) * x.shape[2] * x.shape[3])
    if plane is None:
        return ones[:, None]
    return torch.stack([plane.to(x.dtype).expand(len(x), -1, -1, -1).reshape(-1), ones], dim=1)


def upsample(x: Tensor) -> Tensor:
    """Double height and width by nearest neighbor."""
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
    """The binomial filter: it is symmetric, hence its own derivative, always.

    oneDNN has a fast depthwise convolution for it. Elsewhere it is a 2 x 2 mean applied twice; going through the means'
    own derivatives would be wrong: those of overlapping windows come out wrong on CUDA where memory is channels-last
    (torch 2.11).
    """

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        if uses_triton(x):
            from stylegan.networks import kernels

            return kernels.blur(x)
        if HAS_ONEDNN and x.is_cpu and x.dtype != torch.float64:
            return blur_reference(x)
        return F.avg_pool2d(F.avg_pool2d(x, 2, stride=1, padding=1), 2, stride=1)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _Blur.apply(gradient)


def blur(x: Tensor) -> Tensor:
    """Low-pass filter with the separable binomial filter [1, 2, 1] / 4, zeros around the borders (appendix C)."""
    return _Blur.apply(x)


def blur_reference(x: Tensor) -> Tensor:
    """`blur` as one depthwise convolution."""
    kernel = torch.tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=x.dtype, device=x.device) / 16
    return F.conv2d(x, kernel.expand(x.shape[1], 1, 3, 3), padding=1, groups=x.shape[1])


def uses_triton(x: Tensor) -> bool:
    """Whether x is blurred by the Triton kernels: on CUDA, where `KERNELS` asks for them."""
    there = HAS_TRITON and x.is_cuda and x.dtype in (torch.float32, torch.bfloat16)
    return KERNELS == "triton" and there and not torch.compiler.is_compiling()


class _SlopeAndBlur(torch.autograd.Function):
    """The blur and the slopes of an activation in one pass, in either order: each is the other's derivative."""

    @staticmethod
    def forward(ctx, x: Tensor, signs: Tensor, slope: float, slope_first: bool) -> Tensor:
        from stylegan.networks import kernels

        ctx.save_for_backward(signs)
        ctx.slope, ctx.slope_first = slope, slope_first
        return (kernels.slope_then_blur if slope_first else kernels.blur_then_slope)(x, signs, slope)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        (signs,) = ctx.saved_tensors
        return _SlopeAndBlur.apply(gradient, signs, ctx.slope, not ctx.slope_first), None, None, None


def leaky_relu_and_blur(x: Tensor, slope: float) -> Tensor:
    """`blur` of the leaky ReLU of x, in one pass, where `uses_triton` is True. x is left as it is."""
    return _SlopeAndBlur.apply(x, x.detach(), slope, True)


def through_blur_and_leaky_relu(gradient: Tensor, signs: Tensor, slope: float) -> Tensor:
    """The gradient in front of `leaky_relu_and_blur`, in one pass. signs: its input, or what has the same signs."""
    return _SlopeAndBlur.apply(gradient, signs.detach(), slope, False)


class _BoxMean(torch.autograd.Function):
    """The mean of the four shifts of 3 x 3 kernels by 0 or 1 in each direction, [O, I, 3, 3] -> [O, I, 4, 4]; with
    `enlarge` False the adjoint, [O, I, 4, 4] -> [O, I, 3, 3]. One operation each way."""

    @staticmethod
    def forward(ctx, kernel: Tensor, enlarge: bool) -> Tensor:
        ctx.enlarge = enlarge
        return F.avg_pool2d(kernel, 2, stride=1, padding=int(enlarge))

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return _BoxMean.apply(gradient, not ctx.enlarge), None


def upsampling_kernel(weight: Tensor) -> Tensor:
    """The 4 x 4 kernel [in, out, 4, 4] of the transposed convolution of stride 2 that upsampling by nearest neighbor
    and a convolution with weight [out, in, 3, 3] are together: 4/9 of the multiplications."""
    return _BoxMean.apply(weight.transpose(0, 1).flip(2, 3), True) * 4


def downsampling_kernel(weight: Tensor) -> Tensor:
    """The 4 x 4 kernel [out, in, 4, 4] of the convolution of stride 2 that a convolution with weight [out, in, 3, 3]
    and downsampling by 2 x 2 boxes are together."""
    return _BoxMean.apply(weight, True)


def upsample_conv(x: Tensor, weight: Tensor) -> Tensor:
    """Nearest-neighbor upsampling and a 3 x 3 convolution, fused. weight: [out, in, 3, 3]."""
    return F.conv_transpose2d(x, upsampling_kernel(weight), stride=2, padding=1)


def upsample_conv_reference(x: Tensor, weight: Tensor) -> Tensor:
    """`upsample_conv` in two steps."""
    return F.conv2d(upsample(x), weight, padding=1)


def conv_downsample(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 3 x 3 convolution and 2 x 2 box downsampling, fused into one 4 x 4 convolution of stride 2."""
    return F.conv2d(x, downsampling_kernel(weight), bias, stride=2, padding=1)


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
    centered = groups - groups.mean(dim=0)
    deviation = (centered.square().mean(dim=0) + EPSILON).sqrt()  # [M, features, C / features, H, W]
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


Fade = float | Tensor
"""The weight of the coarser of two resolutions, in [0, 1]. A CUDA graph, which no number can be passed to, has it as a
tensor, float64 []; the result is the same to the bit."""


def is_fading(fade: Fade) -> bool:
    """Whether there is a coarser resolution to regard. There is wherever the fade is a tensor."""
    return isinstance(fade, Tensor) or fade > 0


def fade_in(fine: Tensor, coarse: Tensor, fade: Fade) -> Tensor:
    """Blend two versions of the same images; `fade` is the weight of the coarser one, in [0, 1]."""
    if isinstance(fade, Tensor):
        return _FadeIn.apply(fine, coarse, fade)
    return torch.lerp(fine, coarse, fade)


class _FadeIn(torch.autograd.Function):
    @staticmethod
    def forward(ctx, fine, coarse, fade):
        ctx.save_for_backward(fade)
        exact = _exact(fine)
        return torch.lerp(fine.to(exact), coarse.to(exact), fade.to(exact)).to(fine.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (fade,) = ctx.saved_tensors
        return times(gradient, 1 - fade), times(gradient, fade), None  # 1 - fade in float64, as of a float


def times(x: Tensor, factor: Fade) -> Tensor:
    """x * factor, with the same bits whether the factor is a float or a tensor."""
    return (x.to(_exact(x)) * factor).to(x.dtype) if isinstance(factor, Tensor) else x * factor
