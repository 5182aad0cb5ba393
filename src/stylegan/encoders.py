"""The encoder: a network that finds the w+ of an image, after encoder4editing (Tov et al., 2021).

It predicts one w, the average over the layers, and for each layer an offset from it; training keeps the offsets small,
so that what it finds can be edited as a sample can. It looks several times, each time beside what has been drawn of the
image so far, and corrects itself, after ReStyle (Alaluf, Patashnik and Cohen-Or, 2021). At each look it is also told
the slope: in which direction of w+ the picture would come nearer. What it makes of that is learned, too, after
"Learning to learn by gradient descent by gradient descent" (Andrychowicz et al., 2016). The network is ours: residual
blocks from the image down to 4 x 4, in the coordinates of W in which samples have unit variance. `training.encoder`
trains it.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tyro.conf import Suppress

from stylegan import likeness, sampling
from stylegan.config import at_least, check, from_dict, to_dict
from stylegan.errors import InputError
from stylegan.files import read_tensors, write_tensors
from stylegan.networks import ops
from stylegan.networks.generator import Generator
from stylegan.networks.layers import SQRT2, Conv, Dense, FeatureMaps, activate, build, check_image_shape
from stylegan.resolutions import resolutions
from stylegan.weights import PRETRAINED, check_fingerprint, fingerprint

KIND = "stylegan-encoder"  # of the file
FORMAT_VERSION = 1
FIRST_STEP = 0.05  # of the first look along the slope, before it has learned, in deviations of W


@dataclass(frozen=True)
class EncoderConfig:
    """Architecture of an encoder. What it reads and finds is the generator's to say (`config_for`), not the user's."""

    resolution: Suppress[int] = 64
    """Height and width of the images."""
    channels: Suppress[int] = 3
    """Number of channels of the images."""
    num_layers: Suppress[Annotated[int, at_least(1)]] = 10
    """Number of layers that get a w."""
    w_dim: Suppress[Annotated[int, at_least(1)]] = 512
    """Size of w."""
    looks: Annotated[int, at_least(1)] = 3
    """Number of times that it looks at an image, and at what has been drawn of it so far."""
    feature_maps: FeatureMaps = field(default_factory=lambda: FeatureMaps(512, maximum=128))
    """Width of the network."""
    hidden: Annotated[int, at_least(1)] = 256
    """Width of the dense layer behind the convolutions."""

    def __post_init__(self) -> None:
        check(self)
        check_image_shape(self.resolution, self.channels)

    @property
    def size(self) -> int:
        """Number of values in an encoder."""
        maps = self.feature_maps
        total = (9 * 2 * self.channels + 1) * maps(self.resolution)
        for r in resolutions(self.resolution, 8):
            total += (9 * maps(r) + 1) * maps(r) + (9 * maps(r) + 1) * maps(r // 2) + maps(r) * maps(r // 2)
        total += (9 * maps(4) + 1) * maps(4) + (16 * maps(4) + 1) * self.hidden
        total += (self.hidden + 1) * (self.w_dim * (1 + self.num_layers) + self.num_layers)
        return total + self.w_dim * (1 + self.w_dim * (1 + self.num_layers))


def config_for(generator: Generator, config: EncoderConfig | None = None) -> EncoderConfig:
    """The configuration for what a generator draws, and for its W."""
    g = generator.config
    shape = {"resolution": generator.synthesis.grown.resolution, "channels": g.channels}
    return replace(config or EncoderConfig(), **shape, num_layers=g.num_layers, w_dim=g.w_dim)


class ResidualBlock(nn.Module):
    """Two convolutions, the second of which halves the resolution, beside a shortcut."""

    def __init__(self, maps: int, below: int) -> None:
        super().__init__()
        self.conv0 = Conv(maps, maps)
        self.conv1 = Conv(maps, below, resample="down")
        self.shortcut = Conv(maps, below, kernel=1, gain=1.0, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H / 2, W / 2]"""
        y = activate(self.conv1(activate(self.conv0(x), "lrelu")), "lrelu")
        return (y + self.shortcut(ops.downsample(x))) / SQRT2


class Found(NamedTuple):
    """What is found of N images, in the coordinates v of W."""

    average: Tensor
    """[N, w_dim]"""
    offsets: Tensor
    """Of each layer from the average, [N, num_layers, w_dim]."""

    def v(self) -> Tensor:
        """The sum of both, [N, num_layers, w_dim]."""
        return self.average[:, None] + self.offsets


class Encoder(nn.Module):
    """Images to w+ of one generator, look by look; `encode` makes them all."""

    middle: Tensor
    spread: Tensor
    """w = middle + spread v; of samples, so that v has unit variance in all directions."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        maps = config.feature_maps
        self.from_rgb = Conv(2 * config.channels, maps(config.resolution))
        self.blocks = nn.ModuleList(
            ResidualBlock(maps(r), maps(r // 2)) for r in reversed(resolutions(config.resolution, 8))
        )
        self.conv = Conv(maps(4), maps(4))
        self.dense = Dense(maps(4) * 16, config.hidden)
        self.to_average = Dense(config.hidden, config.w_dim, gain=1.0)
        self.to_offsets = Dense(config.hidden, config.w_dim * config.num_layers, gain=1.0)
        self.to_gates = Dense(config.hidden, config.num_layers, gain=1.0)
        for head in (self.to_average, self.to_offsets, self.to_gates):  # it begins with steps along the slope alone
            nn.init.zeros_(head.weight)
        self.scale = config.w_dim**-0.5  # of the weights below when they are used, as in the other layers
        first = -FIRST_STEP / self.scale * torch.eye(config.w_dim)
        self.steps = nn.Parameter(first.repeat(config.num_layers, 1, 1))
        self.register_buffer("middle", torch.zeros(config.w_dim))
        self.register_buffer("spread", torch.eye(config.w_dim))

    def forward(
        self, found: Found, images: Tensor, drawn: Tensor, slope: Tensor, dtype: torch.dtype | None = None
    ) -> Found:
        """One look: images [N, C, R, R] in [-1, 1], what is drawn of what was found, and the slope there -> found.

        slope: [N, num_layers, w_dim], as `slope_of` gives it. dtype: of the convolutions; that of the images unless
        given.
        """
        seen = torch.cat([images, drawn], dim=1).to(dtype or images.dtype, memory_format=torch.channels_last)
        x = activate(self.from_rgb(seen), "lrelu")
        for block in self.blocks:
            x = block(x)
        x = activate(self.conv(x), "lrelu").to(images.dtype)
        x = activate(self.dense(x.flatten(1)), "lrelu")
        steps = (slope.transpose(0, 1) @ (self.steps * self.scale)).transpose(0, 1) * (1 + self.to_gates(x))[:, :, None]
        offsets = self.to_offsets(x).unflatten(1, (self.config.num_layers, self.config.w_dim))
        common = steps.mean(dim=1)  # to all layers
        return Found(found.average + self.to_average(x) + common, found.offsets + offsets + (steps - common[:, None]))

    def nothing_found(self, count: int) -> Found:
        """Before the first look: the average of samples."""
        of_layers = (count, self.config.num_layers, self.config.w_dim)
        return Found(self.middle.new_zeros(count, self.config.w_dim), self.middle.new_zeros(of_layers))


def new_encoder(generator: Generator, config: EncoderConfig | None = None, seed: int = 0) -> Encoder:
    """An untrained encoder for a generator, on its device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = Encoder(config_for(generator, config))
    middle, spread = sampling.coordinates(sampling.sample_w(generator, 10_000, seed))
    encoder.middle.copy_(middle)
    encoder.spread.copy_(spread)
    return encoder.to(generator.w_avg.device)


def w_of(encoder: Encoder, generator: Generator, v: Tensor) -> Tensor:
    """w [N, num_layers, w_dim] of its coordinates."""
    return on_sphere(generator, encoder.middle + v @ encoder.spread.T)


def draw(encoder: Encoder, generator: Generator, v: Tensor) -> Tensor:
    """The images [N, C, R, R] of coordinates v [N, num_layers, w_dim]."""
    return generator.synthesis(w_of(encoder, generator, v), noise="const").float()


def slope_of(gradient: Tensor) -> Tensor:
    """A gradient of the pixel loss by v [N, num_layers, w_dim], brought to a mean square of 1 for each image."""
    return gradient / gradient.square().mean(dim=(1, 2), keepdim=True).sqrt().clamp_min(torch.finfo().tiny)


@torch.no_grad()
def encode(encoder: Encoder, generator: Generator, images: Tensor) -> Tensor:
    """w [N, num_layers, w_dim] of images [N, C, R, R] in [-1, 1].

    Raises InputError for images of another size than the encoder reads.
    """
    config = encoder.config
    if images.shape[1:] != (config.channels, config.resolution, config.resolution):
        raise InputError(
            f"images of shape {list(images.shape)} cannot be encoded; this encoder reads "
            f"[N, {config.channels}, {config.resolution}, {config.resolution}]"
        )
    images, found = images.to(encoder.middle), encoder.nothing_found(len(images))
    for _ in range(config.looks):
        with torch.enable_grad():
            v = found.v().requires_grad_()
            drawn = draw(encoder, generator, v)
            (gradient,) = torch.autograd.grad(likeness.pixel_loss(drawn, images).sum(), v)
        found = encoder(found, images, drawn, slope_of(gradient))
    return w_of(encoder, generator, found.v())


def on_sphere(generator: Generator, w: Tensor) -> Tensor:
    """w as it is, or where there is no W, of the length that a normalized z has."""
    return w if generator.has_w else F.normalize(w, dim=2) * w.shape[2] ** 0.5


# --- the file


def save(path: Path | str, encoder: Encoder, generator: Generator, *, notes: str = "", images_seen: int = 0) -> None:
    """Write an encoder file: safetensors in half precision, see docs/file-formats.md."""
    header = {
        "kind": KIND,
        "format_version": FORMAT_VERSION,
        "encoder": to_dict(encoder.config),
        "fingerprint": fingerprint(generator),
        "images_seen": images_seen,
        "notes": notes,
    }
    write_tensors(path, encoder.state_dict(), header, half=True)


def bundled_encoders() -> list[str]:
    """Names of the models whose encoders come with the program."""
    return sorted(path.stem.removesuffix("-encoder") for path in PRETRAINED.glob("*-encoder.safetensors"))


def bundled_for(generator: Generator) -> str | None:
    """The name of the bundled encoder that finds images of this generator, which may be tuned; None without one."""
    good_for = (generator.tuned_from, fingerprint(generator))
    for name in bundled_encoders():
        header, _ = read_tensors(PRETRAINED / f"{name}-encoder.safetensors", "an encoder", kind=KIND)
        if header["fingerprint"] in good_for:
            return name
    return None


def load(path: Path | str, generator: Generator | None = None) -> Encoder:
    """Read an encoder file, or the bundled model's of that name; it tracks no gradients, and comes to the generator's
    device, if that is given.

    Raises InputError where it is none, and where it was trained for another generator.
    """
    if not Path(path).is_file() and str(path) in bundled_encoders():
        path = PRETRAINED / f"{path}-encoder.safetensors"
    header, tensors = read_tensors(
        path,
        "a file of an encoder",
        kind=KIND,
        version=FORMAT_VERSION,
        hint="train one with: stylegan encoder MODEL STORE FILE",
    )
    encoder = encoder_of(path, header, tensors)
    if generator is None:
        return encoder
    hint = "train one for it: stylegan encoder MODEL STORE FILE"
    check_fingerprint(str(header.get("fingerprint", "")), generator, f"the encoder in {path} is", hint)
    if encoder.config != config_for(generator, encoder.config):
        raise InputError(f"the encoder in {path} reads other images than this model draws; {hint}")
    return encoder.to(generator.w_avg.device)


def encoder_of(path: Path | str, header: dict[str, Any], tensors: dict[str, Tensor]) -> Encoder:
    """The network of a file's header and tensors. Raises InputError, naming the file."""
    try:
        encoder = build(Encoder, from_dict(EncoderConfig, header["encoder"], "encoder."), tensors)
    except KeyError as error:
        raise InputError(f"{path} cannot be read: its header has no {error}") from error
    except InputError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    return encoder.requires_grad_(False)
