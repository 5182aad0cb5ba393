"""A second discriminator, which looks at frozen features: what a network trained on photographs sees in an image.

It knows eyes from mouths before the first step, so the generator hears early what is wrong with a face, while the
ordinary discriminator, which stays, watches over what it is blind to: textures and colors. Kumari, Zhang, Shechtman and
Zhu, 2022, "Ensembling off-the-shelf models for GAN training", put such critics beside the ordinary one; what is made of
the features here (a random projection of several stages, a small network on each, hinge losses of its patches) is from
Sauer, Chitta, Mueller and Geiger, 2021, "Projected GANs converge faster".

So that samples which are too much alike give themselves away, that small network is also told how much the images of
a group differ at each place: the minibatch standard deviation of Karras, Aila, Laine and Lehtinen, 2018, "Progressive
growing of GANs", but not averaged over the places.

The frozen network is the bundled MobileNetV2, the one that `mobilenet-v2` scores are made with. A run that has been
taught by it looks better to it than it is: compare such runs with others by another extractor, and by eye.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from stylegan import processes
from stylegan.config import above, at_least, between, check
from stylegan.errors import InputError
from stylegan.metrics.extractors import load_mobilenet
from stylegan.networks import ops
from stylegan.training.optimizer import Adam

STAGES = {73: (24, 6.6), 93: (32, 6.2), 140: (96, 5.6), 166: (320, 1.95)}
"""The numbers of the operations whose results are looked at, 4, 8, 16 and 32 times smaller than the image: their
channels, and their standard deviation over 256 photographs, mean of 64 x 64 and 128 x 128 pixels."""
USUAL_DEVIATION = 0.8
"""Expected of four numbers of unit variance."""


@dataclass(frozen=True)
class FeaturesConfig:
    """A second discriminator on frozen features. Off in the paper and its presets."""

    weight: Annotated[float, at_least(0)] = 0.0
    """Weight of its score in the generator's loss, beside the ordinary discriminator's; 0 leaves it out (1 suits)."""
    size: Annotated[int, between(32, 1024)] | None = None
    """Pixels across that images are scaled to for it. Default: their resolution, but at least 64 and at most 128."""
    width: Annotated[int, at_least(1)] = 64
    """Feature maps of its trained layers."""
    learning_rate: Annotated[float, above(0)] = 0.002
    """Adam's learning rate of its trained layers, for the whole run."""
    stddev_features: Annotated[int, at_least(0)] = 0
    """Maps that tell its trained layers how much the images of a group (of discriminator.group_size) differ: against
    samples that are all of one kind. 0 leaves them out (4 suits)."""

    def __post_init__(self) -> None:
        check(self, "features.")
        if self.stddev_features and self.width % self.stddev_features:
            raise InputError(
                f"features.stddev_features is {self.stddev_features}; it must divide features.width, {self.width}"
            )


class FeatureCritic(nn.Module):
    """Frozen features, and a small discriminator on each of their stages. `new_critic` makes one of a run.

    Its parameters are the small networks'; the frozen network holds buffers only, which no state file needs.
    """

    compute_dtype: torch.dtype | None = None
    """As for the networks; None is float32. Where an image's gradient passes the frozen network, that stays in float32:
    CPUs have no fast derivative of depthwise convolutions in bfloat16."""

    def __init__(self, config: FeaturesConfig, group_size: int = 1) -> None:
        """group_size: images of a group of the minibatch standard deviation."""
        super().__init__()
        self.config, self.group_size = config, group_size
        self.frozen = load_mobilenet()
        for number, (channels, deviation) in enumerate(STAGES.values()):
            projection = torch.randn(config.width, channels, 1, 1) / (deviation * channels**0.5)
            self.register_buffer(f"projection{number}", projection)
        self.heads = nn.ModuleList(_head(config.width, config.stddev_features) for _ in STAGES).eval()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images [N, C, R, R], in about [-1, 1] -> for each stage its patches' scores [N, r, r]."""
        return [self._scores(*each) for each in zip(self.heads, self.features(images), strict=True)]

    def _scores(self, head: nn.Sequential, features: Tensor) -> Tensor:
        """[N, width, r, r] -> [N, r, r], float32."""
        x = self._with_deviations(features).to(self.compute_dtype or torch.float32)
        for layer in head:
            if isinstance(layer, nn.Conv2d):
                x = F.conv2d(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype), padding=layer.padding)
            else:
                x = layer(x)
        return x[:, 0].float()

    def _with_deviations(self, x: Tensor) -> Tensor:
        """Append the maps of the minibatch standard deviation: [N, C, r, r] -> [N, C + stddev_features, r, r].

        Groups are those of `ops.minibatch_stddev`. Each map is a mean over a share of the channels, brought to about
        the mean and variance of the others.
        """
        count = self.config.stddev_features
        if count == 0:
            return x
        groups = x.float().unflatten(0, (min(self.group_size, len(x)), -1))
        deviation = (groups.var(dim=0, correction=0) + ops.EPSILON).sqrt().unflatten(1, (count, -1)).mean(dim=2)
        maps = (x.shape[1] / count) ** 0.5 * (deviation - USUAL_DEVIATION)  # [M, count, r, r]
        return torch.cat([x, maps.repeat(len(groups), 1, 1, 1).to(x.dtype)], dim=1)

    def features(self, images: Tensor) -> Iterator[Tensor]:
        """[N, C, R, R] -> of each stage, projected at random: [N, width, r, r], of about unit variance."""
        size = self.config.size or min(max(images.shape[3], 64), 128)
        x = images[:, :3].float().expand(-1, 3, -1, -1)  # of RGBA the colors; gray as three equal channels
        if x.shape[3] != size:
            x = F.interpolate(x, (size, size), mode="bilinear", antialias=x.shape[3] > size)
        if not x.requires_grad:
            x = x.to(self.compute_dtype or torch.float32)
        for number, stage in enumerate(self.frozen.stages(x, tuple(STAGES))):
            yield F.conv2d(stage, getattr(self, f"projection{number}").to(stage.dtype))

    def estimate_norms(self) -> None:
        """One step of the iteration that follows the largest singular value of each layer, which it is divided by.

        It is done once a step and not in each pass, so that micro-batches see the same networks.
        """
        self.heads.train()
        for layer in self.heads.modules():
            if isinstance(layer, nn.Conv2d):
                _ = layer.weight  # reading it in training mode is what iterates
        self.heads.eval()

    def loss_d(self, reals: Tensor, fakes: Tensor) -> Tensor:
        """The critic's own loss [N]: hinges of patches' scores, mean over patches, summed over stages."""
        with torch.no_grad():
            features = list(self.features(torch.cat([reals, fakes])))
        loss = reals.new_zeros(len(reals))
        for head, stage in zip(self.heads, features, strict=True):
            of_reals, of_fakes = (self._scores(head, each) for each in stage.chunk(2))
            loss = loss + (F.relu(1 - of_reals) + F.relu(1 + of_fakes)).mean(dim=(1, 2))
        return loss

    def loss_g(self, fakes: Tensor) -> Tensor:
        """What it adds to the generator's loss [N]: minus the scores, mean over patches, summed over stages."""
        return -sum(scores.mean(dim=(1, 2)) for scores in self(fakes))


class TrainedCritic:
    """A run's critic and its optimizer: what the state file holds under "features"."""

    def __init__(self, config: FeaturesConfig, device: torch.device, group_size: int = 1) -> None:
        self.critic = FeatureCritic(config, group_size).to(device)
        fused = device.type != "mps"
        self.adam = Adam(self.critic.parameters(), lr=config.learning_rate, betas=(0.0, 0.99), fused=fused)

    def step(self) -> None:
        """Average the gradients over the processes and step, unless any of them is not finite."""
        gradients = [parameter.grad for parameter in self.critic.parameters()]
        processes.all_reduce_sum(gradients)
        self.adam.skipped_last()
        self.adam.step_if(torch.isfinite(nn.utils.get_total_norm(gradients, foreach=True)))
        self.critic.zero_grad(set_to_none=True)

    def to_dict(self) -> dict[str, Any]:
        """Tensors and numbers that its future depends on."""
        self.adam.skipped_last()
        return {"heads": self.critic.heads.state_dict(), "adam": self.adam.state_dict()}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take up what `to_dict` gave. Raises InputError where it does not fit."""
        try:
            self.critic.heads.load_state_dict(saved["heads"])
            self.adam.load_state_dict(saved["adam"])
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            first = " ".join(str(error).split())[:300]
            raise InputError(f"the state of the critic on features does not fit the run: {first}") from error


def new_critic(
    config: FeaturesConfig,
    device: torch.device,
    seed: int,
    compute_dtype: torch.dtype | None = None,
    group_size: int = 1,
) -> TrainedCritic | None:
    """The critic of a new run, the same for the same seed; None where its weight is 0."""
    if config.weight == 0:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trained = TrainedCritic(config, device, group_size)
    trained.critic.compute_dtype = compute_dtype
    return trained


def _head(width: int, more: int) -> nn.Module:
    return nn.Sequential(
        spectral_norm(nn.Conv2d(width + more, width, 3, padding=1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(width, width, 3, padding=1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(width, 1, 1)),
    )
