"""The discriminator: the Progressive GAN's (config a), from config b on with bilinear downsampling (appendix C)."""

import math
from dataclasses import dataclass, field
from typing import Annotated, cast

import torch
from torch import Tensor, nn

from stylegan.config import at_least, check
from stylegan.errors import InputError
from stylegan.networks import ops
from stylegan.networks.layers import (
    SLOPES,
    Activation,
    Conv,
    Dense,
    FeatureMaps,
    activate,
    check_image_shape,
    one_hot,
    run_block,
    through_activation,
)
from stylegan.resolutions import resolutions


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Architecture of a discriminator. The defaults are the paper's."""

    resolution: int = 1024
    """Height and width of the images: a power of two from 4 to 1024."""
    channels: int = 3
    """Number of channels: 1 (gray), 3 (RGB) or 4 (RGBA)."""
    label_count: Annotated[int, at_least(0)] = 0
    """Number of classes; 0 for unlabeled images, or to score images without regard to their class."""
    feature_maps: FeatureMaps = field(default_factory=FeatureMaps)
    """Width of the network."""
    group_size: Annotated[int, at_least(1)] = 4
    """Images in a group of the minibatch standard deviation; 1 leaves that layer out."""
    stddev_features: Annotated[int, at_least(1)] = 1
    """Maps that the minibatch standard deviation appends."""
    use_blur: bool = True
    """Binomial filter before each downsampling (bilinear resampling, appendix C)."""
    activate_first: bool = False
    """Downsample after the nonlinearity instead of before it, as an unfused Progressive GAN does."""
    activation: Activation = "lrelu"
    """Nonlinearity: leaky ReLU of slope 0.2, or ReLU."""
    equalized: bool = True
    """Equalized learning rate (appendix C)."""

    def __post_init__(self) -> None:
        check(self)
        check_image_shape(self.resolution, self.channels)
        if self.feature_maps(4) % self.stddev_features:
            raise InputError(f"stddev_features is {self.stddev_features}; it must divide {self.feature_maps(4)} maps")

    @property
    def size(self) -> int:
        """Number of parameters of a discriminator."""
        maps, hidden, outputs = self.feature_maps(4), self.feature_maps.at_stage(0), max(self.label_count, 1)
        extra = self.stddev_features if self.group_size > 1 else 0
        total = 9 * (maps + extra) * maps + maps + (16 * maps + 1) * hidden + (hidden + 1) * outputs
        for r in resolutions(self.resolution, 8):
            maps, below = self.feature_maps(r), self.feature_maps(r // 2)
            total += (9 * maps + 1) * maps + (9 * maps + 1) * below
        return total + sum((self.channels + 1) * self.feature_maps(r) for r in resolutions(self.resolution))


class DiscriminatorBlock(nn.Module):
    """fromRGB of one resolution, and the two layers that lead to the next lower one."""

    def __init__(self, config: DiscriminatorConfig, resolution: int) -> None:
        super().__init__()
        self.config = config
        maps, below = config.feature_maps(resolution), config.feature_maps(resolution // 2)
        self.from_rgb = Conv(config.channels, maps, kernel=1, equalized=config.equalized)
        self.conv0 = Conv(maps, maps, equalized=config.equalized)
        self.conv1 = Conv(maps, below, resample=None if config.activate_first else "down", equalized=config.equalized)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H / 2, W / 2]"""
        return self.layers(x)[0]

    def layers(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The block's result, and tensors with the signs of its two activations, which `gradient` needs."""
        x = self.conv0(x)
        if self.config.use_blur and ops.uses_triton(x):  # in one pass
            x, y0 = ops.leaky_relu_and_blur(x, SLOPES[self.config.activation]), x
        else:
            y0 = activate(x, self.config.activation)
            x = ops.blur(y0) if self.config.use_blur else y0
        y1 = activate(self.conv1(x), self.config.activation)
        return ops.downsample(y1) if self.config.activate_first else y1, y0, y1

    def gradient(self, g: Tensor, y0: Tensor, y1: Tensor) -> Tensor:
        """The gradient with respect to x, from that of the result: `layers` transposed, from the last to the first.

        Convolution, blur and box mean are linear, the activation is so on either side of 0: where it passed a number
        on times 1 or 0.2, it passes the gradient back times the same. [N, C', H / 2, W / 2] -> [N, C, H, W]
        """
        if self.config.activate_first:
            g = ops.upsample(g) / 4
        g = self.conv1.gradient(through_activation(g, y1, self.config.activation))
        if self.config.use_blur and ops.uses_triton(g):  # in one pass
            return self.conv0.gradient(ops.through_blur_and_leaky_relu(g, y0, SLOPES[self.config.activation]))
        g = ops.blur(g) if self.config.use_blur else g
        return self.conv0.gradient(through_activation(g, y0, self.config.activation))

    def gradient_from(self, x: Tensor, g: Tensor) -> Tensor:
        """`gradient`, with the activations computed again from the block's input."""
        with torch.no_grad():
            _, y0, y1 = self.layers(x)
        return self.gradient(g, y0, y1)


class DiscriminatorEpilogue(nn.Module):
    """The last block, at 4 x 4: fromRGB, minibatch standard deviation, one convolution, two dense layers."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        maps, hidden = config.feature_maps(4), config.feature_maps.at_stage(0)
        extra = config.stddev_features if config.group_size > 1 else 0
        self.from_rgb = Conv(config.channels, maps, kernel=1, equalized=config.equalized)
        self.conv = Conv(maps + extra, maps, equalized=config.equalized)
        self.dense0 = Dense(maps * 16, hidden, equalized=config.equalized)
        self.dense1 = Dense(hidden, max(config.label_count, 1), gain=1.0, equalized=config.equalized)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, 4, 4] -> [N, max(label_count, 1)]"""
        if self.config.group_size > 1:
            x = ops.minibatch_stddev(x, self.config.group_size, self.config.stddev_features)
        x = activate(self.conv(x), self.config.activation)
        x = activate(self.dense0(x.flatten(1)), self.config.activation)
        return self.dense1(x)


class Discriminator(nn.Module):
    """Scores images of any power-of-two resolution up to its own; higher means more like the training set."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleDict({str(r): DiscriminatorBlock(config, r) for r in resolutions(config.resolution, 8)})
        self.blocks["4"] = DiscriminatorEpilogue(config)
        self.recompute_from = math.inf
        """From this resolution on, activations are computed again in the backward pass: less memory, more time."""
        self.compute_dtype: torch.dtype | None = None
        """Type of the activations from fromRGB to 8 x 8, bfloat16 say; None for that of the weights."""

    def block(self, resolution: int) -> DiscriminatorBlock:
        """The block of a resolution from 8 x 8 on."""
        return cast(DiscriminatorBlock, self.blocks[str(resolution)])

    def from_rgb(self, resolution: int) -> Conv:
        """The fromRGB of a resolution."""
        return cast(DiscriminatorBlock | DiscriminatorEpilogue, self.blocks[str(resolution)]).from_rgb

    def forward(self, images: Tensor, labels: Tensor | None = None, *, fade: ops.Fade = 0.0) -> Tensor:
        """Score images.

        images: [N, channels, R, R] in [-1, 1]; R is the resolution worked at. labels: as for the mapping network;
        a conditional discriminator needs them. fade: the weight, in [0, 1], of the path through the next lower
        resolution's fromRGB. N must be a multiple of the group size, or less than it. Returns [N].
        """
        return self._of_label(self.outputs(images, fade=fade), labels)

    def scores_and_gradients(
        self, images: Tensor, labels: Tensor | None = None, *, fade: ops.Fade = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Scores [N], and the gradient of their sum with respect to the images [N, channels, R, R].

        Both can be differentiated with respect to the weights, once, as R1, R2 and WGAN-GP ask for. What autograd's
        own double backward gives is the same (`scores_and_gradients_reference`), but it computes the derivatives of
        the weights as convolutions whose filters are whole images, which take a GPU hundreds of milliseconds each.
        Here the gradient is a network of its own: the layers of `forward`, transposed, in reverse order.
        """
        self._check(images, fade)
        exact, resolution, activation = images.dtype, images.shape[3], self.config.activation
        images = images.detach().to(self.compute_dtype or exact, memory_format=torch.channels_last)

        # forward, as in `outputs`; what the way back needs is kept
        x = y = activate(self.from_rgb(resolution)(images), activation)
        kept: list[tuple[Tensor, ...]] = []
        for r in reversed(resolutions(resolution, 8)):
            if r >= self.recompute_from:
                kept.append((x,))
                x = run_block(self.block(r), True, x)
            else:
                x, *activations = self.block(r).layers(x)
                kept.append(tuple(activations))
            if r == resolution and ops.is_fading(fade):
                coarse = activate(self.from_rgb(r // 2)(ops.downsample(images)), activation)
                x = ops.fade_in(x, coarse, fade)

        # the epilogue, small and not piecewise linear, is left to autograd
        x = x if x.requires_grad else x.requires_grad_()
        with torch.compiler.set_stance("force_eager"):  # compiled code cannot be differentiated twice
            scores = self._of_label(self.blocks["4"](x.to(exact)), labels)
        (g,) = torch.autograd.grad(scores.sum(), x, create_graph=True)

        # back
        through_coarse = None
        for r in resolutions(resolution, 8):
            block, of_block = self.block(r), kept.pop()
            if r == resolution and ops.is_fading(fade):
                below = through_activation(ops.times(g, fade), coarse, activation)
                below = self.from_rgb(r // 2).gradient(below)
                through_coarse, g = ops.upsample(below) / 4, ops.times(g, 1 - fade)
            recompute = r >= self.recompute_from
            g = run_block(block.gradient_from, True, *of_block, g) if recompute else block.gradient(g, *of_block)
        g = self.from_rgb(resolution).gradient(through_activation(g, y, activation))
        return scores, (g if through_coarse is None else g + through_coarse).to(exact)

    def scores_and_gradients_reference(
        self, images: Tensor, labels: Tensor | None = None, *, fade: ops.Fade = 0.0
    ) -> tuple[Tensor, Tensor]:
        """`scores_and_gradients` by autograd, to be differentiated a second time by autograd."""
        images = images.detach().requires_grad_()
        with torch.compiler.set_stance("force_eager"):  # compiled code cannot be differentiated twice
            scores = self(images, labels, fade=fade)
        (gradients,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
        return scores, gradients

    def outputs(self, images: Tensor, *, fade: ops.Fade = 0.0) -> Tensor:
        """The numbers of all classes, [N, max(label_count, 1)]; what an attribute classifier is asked for."""
        self._check(images, fade)
        exact = images.dtype
        images = images.to(self.compute_dtype or exact, memory_format=torch.channels_last)
        resolution, activation = images.shape[3], self.config.activation

        x = activate(self.from_rgb(resolution)(images), activation)
        for r in reversed(resolutions(resolution, 8)):
            x = run_block(self.block(r), r >= self.recompute_from, x)
            if r == resolution and ops.is_fading(fade):
                coarse = self.from_rgb(r // 2)(ops.downsample(images))
                x = ops.fade_in(x, activate(coarse, activation), fade)
        return self.blocks["4"](x.to(exact))

    def _of_label(self, outputs: Tensor, labels: Tensor | None) -> Tensor:
        """The score [N] of each image's class: the discriminator has one for every class, and the label picks it."""
        if not self.config.label_count:
            return outputs[:, 0]
        if labels is None:
            raise ValueError(f"a discriminator of {self.config.label_count} classes needs labels")
        return (outputs * one_hot(labels, self.config.label_count, len(outputs), outputs)).sum(dim=1)

    def _check(self, images: Tensor, fade: ops.Fade) -> None:
        config = self.config
        _, channels, height, width = images.shape
        if channels != config.channels or height != width or str(height) not in self.blocks:
            raise ValueError(
                f"images have shape {tuple(images.shape)}; expected [N, {config.channels}, R, R] "
                f"with R a power of two from 4 to {config.resolution}"
            )
        if not isinstance(fade, Tensor) and (not 0 <= fade <= 1 or (fade > 0 and height == 4)):
            raise ValueError(f"fade is {fade}; use 0 to 1, and 0 at 4 x 4, which has nothing coarser")
