"""The generator of figure 1, top to bottom: style-based (b), or traditional (a) where `use_styles` is False.

A traditional generator has the same convolutions. Its latent enters through a dense layer alone, and pixel norm
stands where AdaIN does: the Progressive GAN's (config a), with a filter the tuned baseline's (config b), with mapping
layers the "traditional 8" of table 4.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from stylegan.config import above, at_least, between, check
from stylegan.errors import InputError
from stylegan.networks import ops
from stylegan.networks.layers import (
    Activation,
    Conv,
    Dense,
    FeatureMaps,
    Noise,
    Style,
    activate,
    check_image_shape,
    one_hot,
    run_block,
)
from stylegan.resolutions import log2, resolutions

NoiseInput = Literal["random", "const", "none"] | Sequence[Tensor]


class Growth(NamedTuple):
    """Resolution and fade that training has brought a network to."""

    resolution: int
    """Height and width of its images."""
    fade: float = 0.0
    """Weight of the next lower resolution's image, in [0, 1]; 0 where the resolution stands by itself."""


class Truncation(NamedTuple):
    """Truncation of w (appendix B), see `Generator.truncate`."""

    psi: float
    """1 for all variety, 0 for the average image."""
    cutoff: int | None = None
    """Number of truncated layers; None for all up to 32 x 32."""


@dataclass(frozen=True)
class GeneratorConfig:
    """Architecture of a generator. The defaults are the paper's (config f at 1024 x 1024)."""

    resolution: int = 1024
    """Height and width of the images: a power of two from 4 to 1024."""
    channels: int = 3
    """Number of channels: 1 (gray), 3 (RGB) or 4 (RGBA)."""
    label_count: Annotated[int, at_least(0)] = 0
    """Number of classes; 0 for unlabeled images."""
    z_dim: Annotated[int, at_least(1)] = 512
    """Size of the latent z."""
    w_dim: Annotated[int, at_least(1)] = 512
    """Size of the intermediate latent w."""
    mapping_layers: Annotated[int, between(0, 100)] = 8
    """Depth of the mapping network; 0 makes w the normalized z (table 4)."""
    mapping_width: Annotated[int, at_least(1)] = 512
    """Width of the mapping network's hidden layers."""
    mapping_lr_multiplier: Annotated[float, above(0)] = 0.01
    """Learning rate of the mapping network relative to the rest (appendix C)."""
    mapping_activation: Activation = "lrelu"
    """Nonlinearity of the mapping network: leaky ReLU of slope 0.2, or ReLU."""
    normalize_z: bool = True
    """Scale z, with what stands for the label, to unit mean square before the mapping network."""
    embed_labels: bool = True
    """Learn a vector for each class; False joins the one-hot label itself to z, as the Progressive GAN does."""
    feature_maps: FeatureMaps = field(default_factory=FeatureMaps)
    """Width of the synthesis network."""
    use_styles: bool = True
    """Let w steer every layer through AdaIN; False is the traditional generator (figure 1a)."""
    const_input: bool = True
    """Start from a learned constant; False feeds w through a dense layer instead (config c)."""
    use_noise: bool = True
    """Per-layer noise inputs (config e)."""
    use_instance_norm: bool = True
    """Normalize before the style is applied: AdaIN, eq. 1."""
    use_demodulation: bool = False
    """Instead of instance norm, divide what a convolution gives by the deviation to be expected of it, from its weights
    and the style's scale alone (Karras et al., 2020, section 2.2): no statistics of the image, so no blobs."""
    use_pixel_norm: bool = False
    """Normalize feature vectors as the Progressive GAN does (configs a and b)."""
    sum_rgb: bool = False
    """Sum the images of all resolutions, each enlarged to the next, so that every block draws from the beginning (the
    skips of Karras et al., 2020, section 4.1). For trainings that do not grow."""
    use_blur: bool = True
    """Binomial filter after each upsampling (bilinear resampling, appendix C)."""
    activate_before_blur: bool = False
    """Give each up-convolution a bias and an activation of its own, before the filter, as mmgeneration's networks
    have: for models that come from there."""
    norm_epsilon: Annotated[float, above(0)] = ops.EPSILON
    """What is added to the variance where instance norm divides by its root."""
    activation: Activation = "lrelu"
    """Nonlinearity of the synthesis network: leaky ReLU of slope 0.2, or ReLU."""
    equalized: bool = True
    """Equalized learning rate (appendix C)."""
    aspect: Annotated[tuple[int, ...], between(1, 10_000)] = (1, 1)
    """Width to height of the part of an image that is shown: 4 3 for images padded above and below to a square."""

    def __post_init__(self) -> None:
        check(self)
        check_image_shape(self.resolution, self.channels)
        if len(self.aspect) != 2:
            raise InputError(f"aspect has {len(self.aspect)} numbers; give two, such as 4 3")
        if self.const_input and not self.use_styles:
            raise InputError("a traditional generator (use_styles off) needs its latent as input: turn const_input off")
        if self.use_demodulation and (self.use_instance_norm or not self.use_styles):
            raise InputError("use_demodulation takes the place of use_instance_norm, and needs use_styles")
        if self.use_demodulation and self.activate_before_blur:
            raise InputError("use_demodulation is for convolutions without a bias: turn activate_before_blur off")
        mapped = self.z_dim + self.label_width
        if self.mapping_layers == 0 and self.w_dim != mapped:
            raise InputError(f"without mapping layers w is z itself: set w_dim to {mapped}, not {self.w_dim}")

    @property
    def num_layers(self) -> int:
        """Style inputs: two at each resolution, 18 at 1024 x 1024; a traditional generator has one input."""
        return 2 * log2(self.resolution) - 2 if self.use_styles else 1

    @property
    def label_width(self) -> int:
        """Size of the label in the mapping network's input."""
        return self.z_dim if self.label_count and self.embed_labels else self.label_count

    @property
    def size(self) -> int:
        """Number of values in a generator: weights, noise planes and w average."""
        w, hidden, layers = self.w_dim, self.mapping_width, self.mapping_layers
        total = w + (self.label_count * self.z_dim if self.embed_labels else 0)
        if layers:  # a matrix and a vector each
            inputs = self.z_dim + self.label_width
            total += inputs * w + w if layers == 1 else inputs * hidden + hidden + hidden * w + w
            total += max(0, layers - 2) * (hidden * hidden + hidden)
        for r in resolutions(self.resolution):
            maps, below = self.feature_maps(r), self.feature_maps(r // 2)
            epilogue = maps * (1 + self.use_noise) + (2 * maps * (w + 1) if self.use_styles else 0)
            planes = 2 * r * r if self.use_noise else 0
            first = (
                (9 * below + self.activate_before_blur) * maps if r > 4 else 16 * maps * (1 if self.const_input else w)
            )
            total += first + 9 * maps * maps + 2 * epilogue + planes + (maps + 1) * self.channels
        return total


class MappingNetwork(nn.Module):
    """f: Z -> W, an MLP (figure 1b, left). Labels are joined to z first. Without layers w is the normalized z."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        width = config.z_dim + config.label_width
        if config.label_count and config.embed_labels:
            self.label_embedding = nn.Parameter(torch.randn(config.label_count, config.z_dim))
        self.layers = nn.ModuleList()
        for i in range(config.mapping_layers):
            last = i == config.mapping_layers - 1
            outputs = config.w_dim if last else config.mapping_width
            self.layers.append(
                Dense(width, outputs, lr_multiplier=config.mapping_lr_multiplier, equalized=config.equalized)
            )
            width = outputs

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z [N, z_dim], labels [N] or [N, label_count] or None -> w [N, num_layers, w_dim], alike in all layers."""
        x = z
        if self.config.label_count:
            label = one_hot(labels, self.config.label_count, len(z), z)
            x = torch.cat([x, label @ self.label_embedding if self.config.embed_labels else label], dim=1)
        if self.config.normalize_z:
            x = ops.pixel_norm(x)
        for layer in self.layers:
            x = activate(layer(x), self.config.mapping_activation)
        return x[:, None].expand(-1, self.config.num_layers, -1)


class LayerEpilogue(nn.Module):
    """The layers after each convolution: noise, bias, nonlinearity, AdaIN (figure 1b), or pixel norm for it (1a)."""

    def __init__(self, config: GeneratorConfig, maps: int) -> None:
        super().__init__()
        self.config = config
        if config.use_noise:
            self.noise = Noise(maps)
        self.bias = nn.Parameter(torch.zeros(maps))
        if config.use_styles:
            self.style = Style(config.w_dim, maps, equalized=config.equalized)

    def forward(self, x: Tensor, w: Tensor, plane: Tensor | None) -> Tensor:
        """x [N, C, H, W], which is overwritten, w [N, w_dim], plane [N or 1, 1, H, W] or None -> [N, C, H, W]"""
        noise = None if plane is None else (plane, self.noise.strength)
        x = activate(ops.add_noise_and_bias(x, noise, self.bias), self.config.activation)
        if self.config.use_pixel_norm:
            x = ops.pixel_norm(x)
        if not self.config.use_styles:
            return ops.instance_norm(x, self.config.norm_epsilon) if self.config.use_instance_norm else x
        scale, bias = self.style(w)
        if self.config.use_instance_norm:
            return ops.adain(x, scale, bias, self.config.norm_epsilon)
        return x * scale[:, :, None, None].to(x.dtype) + bias[:, :, None, None].to(x.dtype)

    def scale(self, w: Tensor) -> Tensor | None:
        """What w [N, w_dim] multiplies the maps by, [N, C], for the next convolution's demodulation; else None."""
        return self.style(w)[0] if self.config.use_demodulation else None


class SynthesisBlock(nn.Module):
    """The two layers of one resolution and their toRGB. The first block holds the input instead of an up-conv."""

    def __init__(self, config: GeneratorConfig, resolution: int) -> None:
        super().__init__()
        self.config, self.resolution = config, resolution
        maps, equalized = config.feature_maps(resolution), config.equalized
        if resolution > 4:
            below = config.feature_maps(resolution // 2)
            own_bias = config.activate_before_blur
            self.conv0 = Conv(below, maps, bias=own_bias, resample="up", equalized=equalized)
        elif config.const_input:
            self.const = nn.Parameter(torch.ones(maps, 4, 4))
        else:
            # the gain is a quarter of He's: the dense layer feeds 16 positions
            self.dense = Dense(config.w_dim, maps * 16, gain=2**0.5 / 4, bias=False, equalized=equalized)
        self.layer0 = LayerEpilogue(config, maps)
        self.conv1 = Conv(maps, maps, bias=False, equalized=equalized)
        self.layer1 = LayerEpilogue(config, maps)
        self.to_rgb = Conv(maps, config.channels, kernel=1, gain=1.0, equalized=equalized)

    def forward(
        self,
        x: Tensor | None,
        scale: Tensor | None,
        w: Tensor,
        planes: Sequence[Tensor | None],
        dtype: torch.dtype,
    ) -> Tensor:
        """x [N, C', H/2, W/2] (None in the first block) and the scale of its maps, w [N, 2, w_dim], two planes
        -> [N, C, H, W] in dtype"""
        if x is not None:
            x = self._convolve(self.conv0, x, scale)
            if self.config.activate_before_blur:
                x = activate(x, self.config.activation)
            if self.config.use_blur:
                x = ops.blur(x)
        else:
            x = self.const.expand(len(w), -1, -1, -1) if self.config.const_input else self.dense(w[:, 0])
            x = x.reshape(len(w), -1, 4, 4).to(dtype).clone(memory_format=torch.channels_last)
        x = self.layer0(x, w[:, 0], planes[0])
        return self.layer1(self._convolve(self.conv1, x, self.layer0.scale(w[:, 0])), w[:, 1], planes[1])

    def _convolve(self, conv: Conv, x: Tensor, scale: Tensor | None) -> Tensor:
        """scale: see `LayerEpilogue.scale`, of the layer that x comes from."""
        return conv(x) if scale is None else ops.demodulate(conv(x), conv.weight * conv.scale, scale)


class SynthesisNetwork(nn.Module):
    """g: W -> images (figure 1b, right), at the full resolution or any lower one, or at a fade between two.

    `grown` tells how far training has taken it; it is what is drawn by default.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.grown = Growth(config.resolution)
        self.recompute_from = math.inf
        """From this resolution on, activations are computed again in the backward pass: less memory, more time."""
        self.compute_dtype: torch.dtype | None = None
        """Type of the activations between w and toRGB, bfloat16 say; None for that of the weights."""
        self.blocks = nn.ModuleDict({str(r): SynthesisBlock(config, r) for r in resolutions(config.resolution)})
        if config.use_noise:
            for layer, resolution in enumerate(self.layer_resolutions()):
                self.register_buffer(f"noise{layer}", torch.randn(1, 1, resolution, resolution))

    def block(self, resolution: int) -> SynthesisBlock:
        """The block of a resolution."""
        return cast(SynthesisBlock, self.blocks[str(resolution)])

    def layer_resolutions(self, resolution: int | None = None) -> list[int]:
        """Resolution of each layer, in order, up to `resolution`: [4, 4, 8, 8, ...]."""
        return [r for r in resolutions(self.config.resolution if resolution is None else resolution) for _ in range(2)]

    def forward(
        self,
        w: Tensor,
        *,
        resolution: int | None = None,
        fade: ops.Fade | None = None,
        noise: NoiseInput = "random",
    ) -> Tensor:
        """Draw images from w.

        w: [N, num_layers, w_dim], one vector a layer (one in all for a traditional generator). resolution: what to
        draw at; None is what the network has been grown to. fade: the weight, in [0, 1], of the next lower resolution's
        image; None is 0 at a given resolution, else the fade that the network has been grown to.
        noise: "random" draws fresh planes, "const" uses the network's own, "none" leaves noise out; or one plane
        [N or 1, 1, H, W] a layer.
        Returns [N, channels, resolution, resolution] in about [-1, 1].
        """
        return self._draw(w, resolution, fade, noise)[0]

    def with_features(self, w: Tensor, at: int, *, noise: NoiseInput = "random") -> tuple[Tensor, Tensor]:
        """The images of w, as `forward` draws them, and the maps [N, C, at, at] of the block of resolution `at`."""
        images, maps = self._draw(w, None, None, noise, keep=at)
        if maps is None:
            raise ValueError(f"there is no block of resolution {at} in what is drawn")
        return images, maps

    def _draw(
        self, w: Tensor, resolution: int | None, fade: ops.Fade | None, noise: NoiseInput, keep: int = 0
    ) -> tuple[Tensor, Tensor | None]:
        """See `forward`; and the maps of the block of resolution `keep`."""
        if resolution is None:
            resolution, fade = self.grown.resolution, self.grown.fade if fade is None else fade
        fade = 0.0 if fade is None else fade
        self._check(w, resolution, fade)
        planes = self._noise_planes(noise, resolution, w)
        w = w if self.config.use_styles else w.expand(-1, len(planes), -1)  # only the input layer will look

        x = scale = maps = None
        images: list[Tensor] = []
        for i, r in enumerate(resolutions(resolution)):
            block, layers = self.block(r), slice(2 * i, 2 * i + 2)
            inputs = (x, scale, w[:, layers], planes[layers], self.compute_dtype or w.dtype)
            x = run_block(block, r >= self.recompute_from, *inputs)
            scale = block.layer1.scale(w[:, 2 * i + 1])
            maps = x if r == keep else maps
            if self.config.sum_rgb or r == resolution or (ops.is_fading(fade) and 2 * r == resolution):
                image = block.to_rgb(x.to(w.dtype))
                images.append(image + self._enlarged(images[-1]) if self.config.sum_rgb and images else image)
        image = ops.fade_in(images[-1], ops.upsample(images[-2]), fade) if ops.is_fading(fade) else images[-1]
        return image, maps

    def _enlarged(self, image: Tensor) -> Tensor:
        return ops.blur(ops.upsample(image)) if self.config.use_blur else ops.upsample(image)

    def _check(self, w: Tensor, resolution: int, fade: ops.Fade) -> None:
        layers = self.config.num_layers
        if w.ndim != 3 or w.shape[1] != layers or w.shape[2] != self.config.w_dim:
            raise ValueError(f"w has shape {tuple(w.shape)}; expected [N, {layers}, {self.config.w_dim}]")
        if str(resolution) not in self.blocks:
            raise InputError(
                f"this network draws 4 x 4 to {self.config.resolution} x {self.config.resolution}, "
                f"powers of two; not {resolution}"
            )
        if not isinstance(fade, Tensor) and (not 0 <= fade <= 1 or (fade > 0 and resolution == 4)):
            raise InputError(f"fade is {fade}; use 0 to 1, and 0 at 4 x 4, which has nothing coarser")

    def _noise_planes(self, noise: NoiseInput, resolution: int, w: Tensor) -> Sequence[Tensor | None]:
        sizes = self.layer_resolutions(resolution)
        if not self.config.use_noise or (isinstance(noise, str) and noise == "none"):
            return [None] * len(sizes)
        if isinstance(noise, str):
            if noise == "const":
                return [getattr(self, f"noise{i}") for i in range(len(sizes))]
            if noise == "random":
                return [torch.randn(len(w), 1, r, r, dtype=w.dtype, device=w.device) for r in sizes]
            raise InputError(f'noise is "{noise}"; use "random", "const", "none" or a list of planes')
        if len(noise) != len(sizes):
            raise ValueError(f"{len(noise)} noise planes given; {len(sizes)} layers need one each")
        for plane, r in zip(noise, sizes, strict=True):
            if plane.shape[1:] != (1, r, r) or len(plane) not in (1, len(w)):
                raise ValueError(f"a noise plane has shape {tuple(plane.shape)}; expected [N or 1, 1, {r}, {r}]")
        return noise


class Generator(nn.Module):
    """Mapping and synthesis together, with the tracked average of w that truncation pulls towards."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.mapping = MappingNetwork(config)
        self.synthesis = SynthesisNetwork(config)
        self.w_avg: Tensor
        self.register_buffer("w_avg", torch.zeros(config.w_dim))
        self.truncation = Truncation(0.7 if self.has_w else 1.0)
        """The psi and cutoff that its makers drew with: defaults of those who draw, see `truncate`."""
        self.tuned_from = ""
        """Fingerprint of the generator that this one was tuned from, whose W it shares (`tuning.py`); else ""."""

    @property
    def has_w(self) -> bool:
        """Whether there is an intermediate latent space to truncate in; else w is the normalized z and no more."""
        return self.config.use_styles or self.config.mapping_layers > 0

    def forward(
        self,
        z: Tensor,
        labels: Tensor | None = None,
        *,
        psi: float = 1.0,
        cutoff: int | None = None,
        noise: NoiseInput = "random",
    ) -> Tensor:
        """z [N, z_dim] -> images [N, channels, H, W] in about [-1, 1]; see `truncate` and `SynthesisNetwork`."""
        return self.synthesis(self.truncate(self.mapping(z, labels), psi, cutoff), noise=noise)

    def truncate(self, w: Tensor, psi: float, cutoff: int | None = None, center: Tensor | None = None) -> Tensor:
        """The truncation trick in W (appendix B): w' = w_bar + psi (w - w_bar) in the layers below `cutoff`.

        w: [N, num_layers, w_dim]. psi 1 is the identity, 0 the average image, negative the "anti-face".
        cutoff: how many layers, None for all up to 32 x 32 (as in figure 2). center: another w_bar [w_dim].
        Raises InputError where there is no W: in a traditional generator without mapping layers.
        """
        cutoff = 8 if cutoff is None else cutoff
        if psi == 1 or cutoff <= 0:
            return w
        if not self.has_w:
            raise InputError("a traditional generator without mapping layers has no W to truncate in; use psi 1")
        w_bar = self.w_avg if center is None else center
        return torch.cat([torch.lerp(w_bar, w[:, :cutoff], psi), w[:, cutoff:]], dim=1)
