"""The layers that generator and discriminator are made of, with an equalized learning rate (appendix C).

Weights are stored as N(0, 1) and multiplied by their He constant when they are used, so that Adam, whose steps do
not depend on the scale of the gradient, moves all layers at the same relative speed.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from math import sqrt
from typing import Annotated, Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from stylegan.config import between, check
from stylegan.errors import InputError
from stylegan.networks import ops
from stylegan.resolutions import check_resolution, log2

Network = TypeVar("Network", bound=nn.Module)
SQRT2 = sqrt(2)  # He gain of a layer that a rectifier follows
Activation = Literal["lrelu", "relu"]
SLOPES = {"lrelu": 0.2, "relu": 0.0}  # of the activations, below 0


@dataclass(frozen=True)
class FeatureMaps:
    """Number of feature maps at each resolution: min(base / 2**(stage * decay), maximum).

    Resolution 2**k belongs to stage k - 1. The paper's networks have base 8192 and maximum 512: 512 maps from
    4 x 4 to 32 x 32, then half as many at each doubling, 16 at 1024 x 1024.
    """

    base: Annotated[int, between(1, 2**30)] = 8192
    """Feature maps times resolution / 2 at the higher resolutions."""
    decay: Annotated[float, between(0, 10)] = 1.0
    """Exponent with which the number falls: 1 halves it at each doubling of the resolution."""
    maximum: Annotated[int, between(1, 2**30)] = 512
    """Largest number of feature maps at any resolution."""

    def __post_init__(self) -> None:
        check(self, "feature_maps.")

    def __call__(self, resolution: int) -> int:
        return self.at_stage(log2(resolution) - 1)

    @classmethod
    def of(cls, maps: Iterable[int]) -> "FeatureMaps":
        """The one that gives these numbers of maps at 4 x 4, 8 x 8, ...: min(base / (resolution / 2), maximum)."""
        maps = list(maps)
        falling = [n * (2 << i) for i, n in enumerate(maps) if n < maps[0]]
        return cls(base=falling[0] if falling else maps[0] << len(maps), maximum=maps[0])

    def at_stage(self, stage: int) -> int:
        """Maps at a stage; stage 0 is the width of the discriminator's hidden dense layer."""
        return max(1, min(int(self.base / 2 ** (stage * self.decay)), self.maximum))


def check_image_shape(resolution: int, channels: int) -> None:
    """Refuse what no network here can be built for."""
    check_resolution(resolution)
    if channels not in (1, 3, 4):
        raise InputError(f"channels is {channels}; use 1 (gray), 3 (RGB) or 4 (RGBA)")


def one_hot(labels: Tensor | None, label_count: int, batch: int, like: Tensor) -> Tensor:
    """Labels as the networks want them: [N, label_count] in the type and on the device of `like`.

    labels: class numbers [N] (integers), rows [N, label_count] already in that form, or None for all zeros.
    """
    if labels is None:
        return like.new_zeros(batch, label_count)
    if not labels.is_floating_point() and labels.ndim == 1:
        labels = F.one_hot(labels.long(), label_count)
    if labels.shape != (batch, label_count):
        raise ValueError(f"labels have shape {tuple(labels.shape)}; expected {(batch, label_count)} or [{batch}]")
    return labels.to(like)


def activate(x: Tensor, kind: Activation) -> Tensor:
    """Leaky ReLU of slope 0.2, or ReLU, in place: its input, a fresh sum or product, is needed by nobody else."""
    return F.leaky_relu(x, 0.2, inplace=True) if kind == "lrelu" else F.relu(x, inplace=True)


def through_activation(gradient: Tensor, result: Tensor, kind: Activation) -> Tensor:
    """The gradient in front of an activation, from the one behind it and the activation's result.

    The result is only asked for its sign: the slope does not change with it, so nothing is differentiated here.
    """
    return torch.ops.aten.leaky_relu_backward(gradient, result.detach(), SLOPES[kind], True)


def run_block(block: Callable, recompute: bool, *inputs):
    """Call a block; with `recompute` its activations are forgotten and computed again in the backward pass."""
    if recompute and torch.is_grad_enabled():
        return checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False)
    return block(*inputs)


def compile_blocks(*blocks: nn.Module, backend: str = "inductor") -> None:
    """Have blocks compiled when they are first called, anew for each shape.

    What is to be differentiated twice must be called under `torch.compiler.set_stance("force_eager")`. backend: that
    of torch.compile; "aot_eager" goes the same way without making code, for tests.
    """
    torch.compiler.config.recompile_limit = 256  # of one piece of code: all blocks share it, at all their shapes
    for block in blocks:
        if hasattr(block, "gradient"):  # a block of the discriminator, which R1 goes through in both directions
            for name in ("layers", "gradient"):
                setattr(block, name, torch.compile(getattr(block, name), dynamic=False, backend=backend))
        else:
            block.compile(dynamic=False, backend=backend)


def build(kind: type[Network], config: Any, tensors: dict[str, Tensor]) -> Network:
    """A network of this kind and configuration around the tensors of a file, ready to use.

    Every tensor must fit; the caller's random numbers are left alone. Raises InputError, before memory is taken for
    a network that the file cannot fill.
    """
    given = sum(tensor.numel() for tensor in tensors.values())
    if config.size > 2 * given + 10**6:  # where less is missing, torch says what
        raise InputError(f"the weights do not fit the configuration: it needs {config.size} numbers, there are {given}")
    with torch.random.fork_rng(devices=[]):  # (building on the "meta" device would spare them, but takes 0.8 s)
        network = kind(config)
    try:
        network.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise InputError(f"the weights do not fit the configuration: {first[:300]}") from error
    for module in network.modules():
        if isinstance(module, Conv):
            module.lay_out()
    return network.eval()


def he_scale(fan_in: int, gain: float, lr_multiplier: float, equalized: bool) -> tuple[float, float]:
    """Initial deviation of the stored weights, and what they are multiplied by when used."""
    he = gain / sqrt(fan_in)
    return (1 / lr_multiplier, he * lr_multiplier) if equalized else (he / lr_multiplier, lr_multiplier)


class Dense(nn.Module):
    """Fully connected layer: [N, in] -> [N, out]. Bias and weights learn `lr_multiplier` times as fast."""

    def __init__(self, inputs: int, outputs: int, *, gain=SQRT2, lr_multiplier=1.0, bias=True, equalized=True) -> None:
        super().__init__()
        deviation, self.scale = he_scale(inputs, gain, lr_multiplier, equalized)
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * deviation)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.lr_multiplier = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        bias = self.bias
        if bias is not None and self.lr_multiplier != 1:
            bias = bias * self.lr_multiplier
        return F.linear(x, self.weight * self.scale, bias)


class Conv(nn.Module):
    """Convolution with zero padding: [N, in, H, W] -> [N, out, H', W'].

    resample "up" doubles height and width first, "down" halves them last; both fused with the convolution. It is
    computed in the type of x.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        *,
        gain: float = SQRT2,
        bias: bool = True,
        resample: Literal["up", "down"] | None = None,
        equalized: bool = True,
    ) -> None:
        super().__init__()
        deviation, self.scale = he_scale(inputs * kernel**2, gain, 1.0, equalized)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel) * deviation)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.padding = kernel // 2
        self.resample = resample
        self.lay_out()

    def lay_out(self) -> None:
        """Let the weights lie in memory as the convolution reads them: the maps it sums over last. Values stay."""
        weight = self.weight.data
        if self.resample == "up":  # which is transposed
            self.weight.data = weight.transpose(0, 1).contiguous(memory_format=torch.channels_last).transpose(0, 1)
        else:
            self.weight.data = weight.contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        weight = self._scaled(x.dtype)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        if self.resample == "up":
            y = ops.upsample_conv(x, weight)
            return y if bias is None else y + bias[:, None, None]
        if self.resample == "down":
            return ops.conv_downsample(x, weight, bias)
        return F.conv2d(x, weight, bias, padding=self.padding)

    def gradient(self, gradient: Tensor) -> Tensor:
        """The gradient with respect to the input, from that of the output: the transposed convolution.

        [N, out, H', W'] -> [N, in, H, W]; not for resample "up", of which no discriminator is made.
        """
        weight = self._scaled(gradient.dtype)
        if self.resample == "down":
            return F.conv_transpose2d(gradient, ops.downsampling_kernel(weight), stride=2, padding=1)
        return F.conv_transpose2d(gradient, weight, padding=self.padding)

    def _scaled(self, dtype: torch.dtype) -> Tensor:
        """The weights times their He constant."""
        kept, use = _kept_weights.get(), (self, dtype, torch.is_grad_enabled())
        if kept is None or torch.compiler.is_compiling():
            return (self.weight * self.scale).to(dtype)
        if use not in kept:
            kept[use] = (self.weight * self.scale).to(dtype)
        return kept[use]


_kept_weights: ContextVar[dict | None] = ContextVar("kept weights", default=None)


@contextmanager
def weights_scaled_once() -> Iterator[None]:
    """Inside, each convolution scales and casts its weights at their first use only.

    For one pass of training, in which the discriminator uses them three times. No weight may change inside.
    """
    token = _kept_weights.set({})
    try:
        yield
    finally:
        _kept_weights.reset(token)


class Noise(nn.Module):
    """ "B" of figure 1: how strongly a plane of noise is added to each feature map; learned, 0 at first."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(maps))


class Style(nn.Module):
    """ "A" of figure 1: the learned affine map from w to the style (y_s, y_b) of one layer. y_s starts at 1."""

    def __init__(self, w_dim: int, maps: int, *, equalized: bool = True) -> None:
        super().__init__()
        self.affine = Dense(w_dim, 2 * maps, gain=1.0, equalized=equalized)

    def forward(self, w: Tensor) -> tuple[Tensor, Tensor]:
        scale, bias = self.affine(w).chunk(2, dim=1)
        return scale + 1, bias
