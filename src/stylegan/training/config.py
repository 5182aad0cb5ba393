"""The configuration of a whole training run."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from tyro.conf import Suppress  # keeps a field off the command line

from stylegan.config import SEED, above, at_least, between, check
from stylegan.device import Precision
from stylegan.errors import InputError
from stylegan.metrics.metric import EvaluateConfig
from stylegan.networks.discriminator import DiscriminatorConfig
from stylegan.networks.generator import GeneratorConfig
from stylegan.resolutions import resolutions
from stylegan.training.augment import AugmentConfig
from stylegan.training.features import FeaturesConfig
from stylegan.training.losses import LossConfig
from stylegan.training.path_length import PathLengthConfig
from stylegan.training.schedule import ScheduleConfig


@dataclass(frozen=True)
class TrainingConfig:
    """A whole run. The defaults are the paper's (config f, FFHQ, one GPU)."""

    data: Suppress[str] = ""
    """Folder of the store to train on."""
    preset: Suppress[str] = ""
    """Name of the preset this began as; a label only."""
    start_from: Suppress[str] = ""
    """The model whose weights a new run begins with; what of them fits the networks below is taken."""
    taken_over: Suppress[tuple[str, ...]] = ()
    """What was taken from that model, and what was not: sentences that the beginning of the run fills in."""
    images_before: Suppress[int] = 0
    """Number of real images that model, and those that it began with, had seen; filled in at the beginning."""
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    path_length: PathLengthConfig = field(default_factory=PathLengthConfig)
    mirror: bool = True
    """Flip images at random."""
    mixing_probability: Annotated[float, between(0, 1)] = 0.9
    """Share of fakes drawn from two latents, with a random crossover (section 3.1)."""
    mixing_per: Literal["image", "batch"] = "image"
    """Whether each image of a batch has its own coin and crossover, or all share one as in the official code."""
    w_avg_beta: Annotated[float, between(0, 1)] = 0.995
    """How slowly the tracked average of w moves, per step."""
    ema_kimg: Annotated[float, at_least(0)] = 10.0
    """Half-life of the generator's moving average, in thousands of images."""
    ema_rampup: Annotated[float, above(0)] | None = None
    """Keep the half-life below this share of the images seen (0.05 suits short runs); none in the paper."""
    adam_beta1: Annotated[float, at_least(0, below=1)] = 0.0
    """Adam's decay of the first moment."""
    adam_beta2: Annotated[float, at_least(0, below=1)] = 0.99
    """Adam's decay of the second moment."""
    noise_lr_multiplier: Annotated[float, at_least(0)] = 1.0
    """Learning rate of the noise strengths relative to the rest. Below 1, noise is slower to stand in for detail
    that a small network has not learned yet; 1 in the paper."""
    freeze_d: Annotated[int, at_least(0)] = 0
    """Number of the discriminator's blocks that are not trained in a run that starts from a model: the highest ones in
    use at the beginning, with their fromRGB (Mo et al., 2020). Helps where images are few; 0 in the paper."""
    freeze_mapping: bool = False
    """Keep the mapping network of the model that a run starts from; vectors of classes are trained all the same."""
    seed: Annotated[int, SEED] = 0
    """Seed of every random number of the run."""
    grid: Annotated[tuple[int, ...], at_least(1)] = (8, 8)
    """Columns and rows of the sample grids."""
    evaluation: EvaluateConfig = field(default_factory=lambda: EvaluateConfig(metrics=()))
    """What is measured along the way, with the run's own mirroring; nothing unless metrics are named."""
    evaluation_ticks: Annotated[int, at_least(1)] = 10
    """Measure every so many ticks, and at the end. The model with the best first score is kept as best.safetensors."""
    model_ticks: Annotated[int, at_least(1)] = 10
    """Save the model every so many ticks (the state: every tick)."""
    report: bool = True
    """Keep report.html in the run's folder: samples, curves, scores and warnings, renewed along the way."""
    keep: Annotated[int, at_least(0)] = 3
    """How many of the newest models and states are kept; 0 keeps all."""
    micro_batch: Annotated[int, at_least(0)] = 0
    """At most so many images at a time, in whole groups of the discriminator's statistics, with the gradients
    accumulated; 0 for the whole batch. Lower it if memory is short."""
    recompute_from: int | None = None
    """From this resolution on, compute activations again in the backward pass instead of keeping them: less memory
    at some cost in time, the same result. For 512 and 1024, where --micro-batch alone is not enough."""
    device: str = "auto"
    """cpu, cuda, mps, xpu, or auto for the best there is."""
    precision: Precision = "float32"
    """tf32 lets a GPU round the factors of convolutions to 10 bits; bf16 keeps activations in bfloat16 (8 bits), but
    weights and images in float32; auto is tf32 on CUDA, bf16 on a CPU that is much faster at it, else float32. What
    auto has chosen is recorded, and kept when the run is resumed."""
    threads: Annotated[int, at_least(1)] | None = None
    """Threads of the CPU; as many as torch takes by itself, and then as many as the run began with."""
    compile: bool = False
    """Compile the networks' blocks, but for the passes that are differentiated twice: minutes at each resolution,
    then faster."""
    graphs: bool = False
    """Record the two passes of an iteration as CUDA graphs, which are then replayed: for networks and resolutions so
    small that the CPU takes longer to launch the work than the GPU to do it. The result is the same to the bit."""

    def __post_init__(self) -> None:
        check(self)
        g, d = self.generator, self.discriminator
        for name in ("resolution", "channels", "label_count"):
            if name == "label_count" and d.label_count == 0:
                continue  # the Progressive GAN's discriminator does not regard classes
            if getattr(g, name) != getattr(d, name):
                raise InputError(
                    f"generator.{name} is {getattr(g, name)} but discriminator.{name} {getattr(d, name)}; "
                    "give both the same"
                )
        if self.schedule.initial_resolution > g.resolution:
            raise InputError(
                f"schedule.initial_resolution is {self.schedule.initial_resolution}, above the full resolution "
                f"{g.resolution}"
            )
        if self.mixing_probability > 0 and not g.use_styles:
            raise InputError(
                "a traditional generator (generator.use_styles off) has no styles to mix: set mixing_probability to 0"
            )
        self._check_freezing()
        if self.graphs and (self.compile or self.micro_batch):
            raise InputError("graphs can be combined neither with compile nor with micro_batch; leave out one of them")
        if self.graphs and self.loss.gamma_end is not None:
            raise InputError("graphs hold loss.r1_gamma as it was recorded: leave out graphs, or loss.gamma_end")
        if self.graphs and self.path_length.weight:
            raise InputError("path lengths are not recorded as graphs: leave out graphs, or path_length.weight")
        if 0 < self.micro_batch < d.group_size:
            raise InputError(
                f"micro_batch is {self.micro_batch}; give at least discriminator.group_size, {d.group_size}"
            )
        if self.features.stddev_features and d.group_size == 1:
            raise InputError(
                "features.stddev_features compares the images of a group: set discriminator.group_size above 1, or "
                "leave it out"
            )
        if len(self.grid) != 2:
            raise InputError(f"grid has {len(self.grid)} numbers; give two, columns and rows")

    def _check_freezing(self) -> None:
        if (self.freeze_d or self.freeze_mapping) and not self.start_from:
            raise InputError("freeze_d and freeze_mapping are for runs that start from a model; give start_from")
        if self.freeze_d > len(self._first_blocks):
            first = self.schedule.initial_resolution
            raise InputError(
                f"freeze_d is {self.freeze_d}; at {first} x {first} the discriminator has {len(self._first_blocks)} "
                "blocks before its last, which stays free"
            )
        if self.freeze_mapping and not self.generator.mapping_layers:
            raise InputError("without mapping layers there is no mapping network to freeze; leave out freeze_mapping")

    @property
    def cycle(self) -> int:
        """Iterations in which what does not come in each of them has come: lazy penalties, path lengths."""
        return max(self.loss.penalty_interval, self.path_length.interval if self.path_length.weight else 1)

    @property
    def _first_blocks(self) -> list[int]:
        """Resolutions of the discriminator's blocks in use at the beginning, but for the last, 4 x 4."""
        return resolutions(self.schedule.initial_resolution, 8)

    @property
    def frozen_blocks(self) -> list[int]:
        """Resolutions of the discriminator's blocks that are not trained."""
        return self._first_blocks[-self.freeze_d :] if self.freeze_d else []
