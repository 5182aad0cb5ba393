"""What a run is: networks, optimizers and counters. With its configuration and data they decide its future."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from stylegan.device import pick_precision, set_precision
from stylegan.errors import InputError
from stylegan.networks.discriminator import Discriminator
from stylegan.networks.generator import Generator, Growth
from stylegan.networks.layers import compile_blocks
from stylegan.training import transfer
from stylegan.training.augment import Augmentation, new_augmentation
from stylegan.training.circumstances import Circumstances, circumstances, circumstances_of
from stylegan.training.config import TrainingConfig
from stylegan.training.features import TrainedCritic, new_critic
from stylegan.training.graphs import Graphs, capture_on
from stylegan.training.monitor import Sums, are_sums
from stylegan.training.optimizer import Adam
from stylegan.weights import Model

MOST_SKIPPED_IN_A_ROW = 10

_NUMBERS = ("images_seen", "tick", "tick_start", "seconds", "skipped", "skipped_in_a_row")
_TENSORS = ("g", "d", "g_ema", "g_adam", "d_adam")


@dataclass
class TrainState:
    """All that changes while a run goes on; `to_dict` is what its state file holds. `new_state` makes one."""

    config: TrainingConfig
    data: str  # content hash of the store
    g: Generator
    d: Discriminator
    g_ema: Generator  # moving average of g's weights: what users get
    g_adam: Adam
    d_adam: Adam
    images_seen: int = 0
    tick: int = 0
    tick_start: int = 0  # images seen when the tick began
    seconds: float = 0.0  # of training, over all its resumptions
    stage: tuple[int, bool] | None = None  # of the schedule, that the optimizers were made for
    skipped: dict[str, int] = field(default_factory=lambda: {"g": 0, "d": 0})  # steps without finite gradients
    skipped_in_a_row: dict[str, int] = field(default_factory=lambda: {"g": 0, "d": 0})
    augmentation: Augmentation | None = None
    features: TrainedCritic | None = None
    path_length: Tensor | None = None  # moving mean of G's path lengths, []; None without their regularization
    unreported: list[Sums] = field(default_factory=list)  # of a tick that was interrupted, by process
    circumstances: Circumstances | None = None  # that it was saved under, if it was
    graphs: Graphs | None = None  # not saved: recorded anew

    @property
    def device(self) -> torch.device:
        return self.g.w_avg.device

    @property
    def critics(self) -> nn.ModuleList:
        """All that tells reals from fakes: D, and the critic on features where there is one."""
        return nn.ModuleList([self.d] if self.features is None else [self.d, self.features.critic])

    @property
    def growth(self) -> Growth:
        """What the moving average has grown to."""
        return self.g_ema.synthesis.grown

    @growth.setter
    def growth(self, growth: Growth) -> None:
        self.g_ema.synthesis.grown = growth

    def begin_stage(self, stage: tuple[int, bool]) -> None:
        """Start the optimizers anew: a resolution is about to be faded in, or has just been."""
        self.stage = stage
        for name in ("g", "d"):
            self.count_skipped(name)
        self.g_adam, self.d_adam = new_optimizers(self.config, self.g, self.d)

    def count_skipped(self, name: str) -> None:
        """Take note of whether the last step of G ("g") or D ("d") was skipped, which the device knows first.

        Raises InputError where too many in a row were.
        """
        optimizer = self.g_adam if name == "g" else self.d_adam
        skipped = optimizer.skipped_last()
        if skipped is None:
            return
        self.skipped[name] += skipped
        self.skipped_in_a_row[name] = self.skipped_in_a_row[name] + 1 if skipped else 0
        if self.skipped_in_a_row[name] >= MOST_SKIPPED_IN_A_ROW:
            raise InputError(
                f"training has diverged: {MOST_SKIPPED_IN_A_ROW} steps of {name.upper()} in a row had gradients "
                f"that are not finite, at {self.images_seen / 1000:.1f} kimg; the last state is kept: lower "
                "schedule.learning_rate or raise loss.r1_gamma and start a new run"
            )

    def to_dict(self) -> dict[str, Any]:
        """Everything that the run's future depends on, besides its configuration and data: tensors and numbers."""
        for name in ("g", "d"):
            self.count_skipped(name)
        saved = {
            "data": self.data,
            **{name: getattr(self, name) for name in _NUMBERS},
            "stage": self.stage,
            "resolution_and_fade": tuple(self.growth),
            **{name: getattr(self, name).state_dict() for name in _TENSORS},
            "circumstances": asdict(circumstances(self.device)),
        }
        for name, part in (("augmentation", self.augmentation), ("features", self.features)):
            if part is not None:
                saved[name] = part.to_dict()
        if self.path_length is not None:
            saved["path_length"] = self.path_length.item()
        if self.unreported:
            saved["unreported"] = self.unreported
        return saved

    def restore(self, saved: dict[str, Any]) -> None:
        """Take up what `to_dict` gave. Raises InputError if it comes from other data or other networks."""
        if saved["data"] != self.data:
            raise InputError(
                f"the run was begun on other images than those in {self.config.data}; give it its own data, or choose "
                "another folder for a new run"
            )
        for name in _NUMBERS:
            setattr(self, name, saved[name])
        self.stage = tuple(saved["stage"]) if saved["stage"] else None
        self.growth = Growth(*saved["resolution_and_fade"])
        try:
            for name in _TENSORS:
                getattr(self, name).load_state_dict(saved[name])
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            first = " ".join(str(error).split())[:300]
            raise InputError(f"the training state does not fit the run's networks: {first}") from error
        if self.augmentation is not None and "augmentation" in saved:
            self.augmentation.restore(saved["augmentation"])
        if self.features is not None and "features" in saved:
            self.features.restore(saved["features"])
        if self.path_length is not None and isinstance(saved.get("path_length"), float):
            self.path_length.fill_(saved["path_length"])
        self.unreported = saved.get("unreported", [])
        if not are_sums(self.unreported):
            raise InputError("the training state does not hold what the tick has counted so far as it should")
        self.circumstances = circumstances_of(saved)

    def begin_with(self, model: Model, class_names: tuple[str, ...] = ()) -> None:
        """Take the weights of a model, as far as they fit; `config.taken_over` says what was done.

        class_names: of the run's data. Raises InputError where nothing fits.
        """
        done = transfer.start(self.config, (self.g, self.d, self.g_ema), model, class_names)
        before = model.provenance.images_seen + model.provenance.images_before
        self.config = replace(self.config, taken_over=done, images_before=before)


def new_state(config: TrainingConfig, device: torch.device, data: str = "") -> TrainState:
    """The beginning of a run, on `device`. data: the store's content hash, for a run that is saved."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        g = Generator(config.generator).to(device)
        d = Discriminator(config.discriminator).to(device)
        g_ema = Generator(config.generator).to(device).requires_grad_(False)
    g_ema.load_state_dict(g.state_dict())
    for network in (g, d):
        transfer.track_gradients(config, network)

    g.synthesis.compute_dtype = d.compute_dtype = set_precision(pick_precision(config.precision, device))
    if config.recompute_from is not None:
        g.synthesis.recompute_from = d.recompute_from = config.recompute_from
    if config.compile:
        compile_blocks(g.mapping, *g.synthesis.blocks.values(), *d.blocks.values())
    graphs = Graphs(capture_on(device)) if config.graphs else None

    state = TrainState(config, data, g, d, g_ema, *new_optimizers(config, g, d), graphs=graphs)
    state.augmentation = new_augmentation(config.augment, device)
    state.features = new_critic(config.features, device, config.seed, d.compute_dtype, config.discriminator.group_size)
    state.path_length = torch.zeros((), device=device) if config.path_length.weight else None
    state.growth = Growth(config.schedule.initial_resolution, 0.0)
    return state


def new_optimizers(config: TrainingConfig, g: Generator, d: Discriminator) -> tuple[Adam, Adam]:
    """G's and D's, without what is frozen. The strengths of noise have a learning rate of their own."""
    trained = [(name, p) for name, p in g.named_parameters() if p.requires_grad]
    strengths = [p for name, p in trained if name.endswith("noise.strength")]
    rest = [p for name, p in trained if not name.endswith("noise.strength")]
    betas, fused = (config.adam_beta1, config.adam_beta2), g.w_avg.device.type != "mps"
    parts = [
        {"params": rest, "lr_multiplier": 1.0},
        {"params": strengths, "lr_multiplier": config.noise_lr_multiplier},
    ]
    of_g = Adam([part for part in parts if part["params"]], betas=betas, fused=fused)
    power = config.loss.adam_power
    parts = [{"params": [p for p in d.parameters() if p.requires_grad], "lr_multiplier": power}]
    return of_g, Adam(parts, betas=(betas[0] ** power, betas[1] ** power), fused=fused)
