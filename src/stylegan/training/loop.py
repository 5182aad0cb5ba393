"""Training. To resume a run, run the same command again."""

import json
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from tyro.conf import Suppress  # keeps a field off the command line

from stylegan import processes, randomness, recipe, weights
from stylegan.config import check_finite, from_dict, to_dict
from stylegan.data.loader import Loader, prefetch, to_reals
from stylegan.data.store import Store, open_store
from stylegan.device import Precision, bfloat16_gain, pick_device, pick_precision, set_precision
from stylegan.errors import InputError, InputWarning
from stylegan.files import atomic_file
from stylegan.images import crop_padding, grid
from stylegan.metrics.evaluate import check, measure
from stylegan.metrics.metric import METRICS, EvaluateConfig, Evaluation
from stylegan.metrics.record import is_best, read_record
from stylegan.networks import ops
from stylegan.networks.discriminator import Discriminator, DiscriminatorConfig
from stylegan.networks.generator import Generator, GeneratorConfig
from stylegan.networks.layers import compile_blocks, weights_scaled_once
from stylegan.randomness import draw_of_key, draw_uniform_of_key
from stylegan.training import checkpoint, ema, graphs, losses
from stylegan.training.losses import LossConfig
from stylegan.training.monitor import Means, Monitor, peak_memory_mb, read_stats
from stylegan.training.optimizer import Adam
from stylegan.training.pace import Pace
from stylegan.training.schedule import ScheduleConfig, State, groups

MOST_SKIPPED_IN_A_ROW = 10


@dataclass(frozen=True)
class TrainingConfig:
    """A whole run. The defaults are the paper's (config f, FFHQ, one GPU)."""

    data: Suppress[str] = ""
    """Folder of the store to train on."""
    preset: Suppress[str] = ""
    """Name of the preset this began as; a label only."""
    start_from: Suppress[str] = ""
    """The model whose weights a new run begins with; its networks must be those below."""
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    mirror: bool = True
    """Flip images at random."""
    mixing_probability: float = 0.9
    """Share of fakes drawn from two latents, with a random crossover (section 3.1)."""
    mixing_per: Literal["image", "batch"] = "image"
    """Whether each image of a batch has its own coin and crossover, or all share one as in the official code."""
    w_avg_beta: float = 0.995
    """How slowly the tracked average of w moves, per step."""
    ema_kimg: float = 10.0
    """Half-life of the generator's moving average, in thousands of images."""
    ema_rampup: float | None = None
    """Keep the half-life below this share of the images seen (0.05 suits short runs); none in the paper."""
    adam_beta1: float = 0.0
    """Adam's decay of the first moment."""
    adam_beta2: float = 0.99
    """Adam's decay of the second moment."""
    noise_lr_multiplier: float = 1.0
    """Learning rate of the noise strengths relative to the rest. Below 1, noise is slower to stand in for detail
    that a small network has not learned yet; 1 in the paper."""
    seed: int = 0
    """Of everything random in the run."""
    grid: tuple[int, ...] = (8, 8)
    """Columns and rows of the sample grids."""
    evaluation: EvaluateConfig = field(default_factory=lambda: EvaluateConfig(metrics=()))
    """What is measured along the way, with the run's own mirroring; nothing unless metrics are named."""
    evaluation_ticks: int = 10
    """Measure every so many ticks, and at the end. The model with the best first figure is kept as best.safetensors."""
    model_ticks: int = 10
    """Save the model every so many ticks (the state: every tick)."""
    keep: int = 3
    """How many of the newest models and states are kept; 0 keeps all."""
    micro_batch: int = 0
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
    threads: int | None = None
    """Threads of the CPU; as many as torch takes by itself, and then as many as the run began with."""
    compile: bool = False
    """Compile the networks' blocks, but for the passes that are differentiated twice: minutes at each resolution,
    then faster."""
    graphs: bool = False
    """Record the two passes of an iteration as CUDA graphs, which are then replayed: for networks and resolutions so
    small that the CPU takes longer to launch the work than the GPU to do it. The result is the same to the bit."""

    def __post_init__(self) -> None:
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
        check_finite(self)
        if self.threads is not None and self.threads < 1:
            raise InputError(f"threads is {self.threads}; give 1 or more")
        if self.graphs and (self.compile or self.micro_batch):
            raise InputError("graphs can be combined neither with compile nor with micro_batch; leave out one of them")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed is {self.seed}; use 0 to {2**63 - 1}")
        if not all(0 <= beta < 1 for beta in (self.adam_beta1, self.adam_beta2)) or not 0 <= self.w_avg_beta <= 1:
            raise InputError("adam_beta1 and adam_beta2 must be at least 0 and below 1, w_avg_beta between 0 and 1")
        if self.noise_lr_multiplier < 0 or (self.ema_rampup is not None and self.ema_rampup <= 0):
            raise InputError("noise_lr_multiplier must be 0 or more, and ema_rampup above 0")
        if 0 < self.micro_batch < d.group_size:
            raise InputError(
                f"micro_batch is {self.micro_batch}; give at least discriminator.group_size, {d.group_size}"
            )
        if not 0 <= self.mixing_probability <= 1 or len(self.grid) != 2 or min(self.grid) < 1:
            raise InputError("mixing_probability must be between 0 and 1, and grid two numbers of 1 or more")
        if min(self.ema_kimg, self.keep, self.micro_batch) < 0 or min(self.model_ticks, self.evaluation_ticks) < 1:
            raise InputError(
                "ema_kimg, keep and micro_batch must be 0 or more, model_ticks and evaluation_ticks 1 or more"
            )


@dataclass(frozen=True)
class Outcome:
    """How `train` ended."""

    images_seen: int
    model: Path
    """The last model file."""
    stopped_by: int | None
    """Number of the signal that ended the run early, or None."""


def train(config: TrainingConfig, run_dir: Path | str, *, progress: bool = True) -> Outcome:
    """Train as `config` says and keep everything in the folder `run_dir`; go on where an earlier call stopped.

    Raises InputError where the data, the options or an earlier run in the folder do not fit, and where ten steps
    in a row have gradients that are not finite.
    """
    device = pick_device(config.device)
    with processes.joined(device):  # and left again, for programs that go on
        return _train(config, Path(run_dir), device, progress=progress)


def _train(config: TrainingConfig, run_dir: Path, device: torch.device, *, progress: bool) -> Outcome:
    # set up: data, networks
    first_rank = processes.rank() == 0
    store = open_store(config.data)
    _check_store(config, store)
    for batch_size in config.schedule.batch_size.values():
        _micro_batches(config, batch_size)  # refuses what cannot be divided
    config = _settle_run_folder(config, run_dir, device, write=first_rank)
    torch.set_num_threads(config.threads)
    torch.backends.cudnn.benchmark = True
    run = Run(config, device, store)
    measuring = replace(config.evaluation, mirror=config.mirror)
    evaluation = Evaluation(measuring, device, generator=run.g_ema, data=config.data, progress=False)
    check(evaluation)

    # go on from the newest state, if there is one
    state = checkpoint.load_newest(run_dir, warn=lambda message: print(f"warning: {message}", flush=True))
    if state is None and config.start_from:
        run.begin_with(weights.load_model(config.start_from))
    elif state is not None:
        run.restore(state)
        if first_rank:
            checkpoint.discard_after(run_dir, run.images_seen)
    total_images = int(config.schedule.total_kimg * 1000)
    monitor = Monitor(run_dir, total_images, run.images_seen, active=first_rank, progress=progress)
    pace = Pace(config.generator, config.discriminator, device.type)
    pace.recall(read_stats(run_dir))
    if state is None:
        count = config.grid[0] * config.grid[1]
        reals, _ = Loader(store).batch(np.arange(min(count, store.count)), store.resolution)
        monitor.save_image(_sheet(config, reals), "reals.png")
        monitor.say(
            f"training in {run_dir}: {total_images / 1000:g} kimg on {device}, in {config.precision}; "
            "Ctrl-C saves and stops"
        )
    else:
        monitor.say(f"resuming {run_dir} at {run.images_seen / 1000:.1f} kimg, in {config.precision}")
        run.measure(evaluation, run_dir, monitor.say)  # in case that was cut short

    # train, in groups of iterations that share one state of the schedule
    means, ticked, speed_from = Means(), time.perf_counter(), (time.perf_counter(), run.images_seen)
    lap = ticked
    batches = prefetch(_batches(config, store, run.images_seen, device))
    with closing(monitor), closing(batches), _StopSignals() as stop:
        for now, group in batches:
            if now.stage != run.stage:
                run.begin_stage(now)

            for reals in group:
                run.update_average(now)
                run.step_discriminator(now, reals, means)
                run.images_seen += now.batch_size
                run.step_generator(now, means)

            last, lap = lap, time.perf_counter()
            speed = (run.images_seen - speed_from[1]) / (lap - speed_from[0])
            pace.add(now, len(group) * now.batch_size, lap - last)
            left = pace.seconds_left(config.schedule, config.generator.resolution, run.images_seen)
            monitor.progress(run.images_seen, speed, left, now.resolution, now.fade)

            done = run.images_seen >= total_images
            stopping = processes.any_process(stop.signal is not None, device)
            tick = run.images_seen >= run.tick_start + now.tick_images or done
            if not tick and not stopping:
                continue

            # report
            run.seconds += time.perf_counter() - ticked
            if tick:
                run.tick, run.tick_start = run.tick + 1, run.images_seen
                monitor.report(run.statistics(now, means, speed))
                monitor.save_image(_sheet(config, run.samples()), f"fakes-{run.images_seen:010d}.png")

            # save, then drop what is older
            if first_rank:
                if done or stopping or run.tick % config.model_ticks == 0 or run.tick == 1:
                    run.save_model(run_dir)
                checkpoint.save(checkpoint.path_of(run_dir, run.images_seen), run.state())
                checkpoint.prune(run_dir, "state-*.pt", config.keep)

            # measure, now that nothing can be lost by it
            if tick and not stopping:
                run.measure(evaluation, run_dir, monitor.say)
            ticked = lap = time.perf_counter()
            speed_from = (ticked, run.images_seen)
            if stopping:
                break

    if first_rank and not list(run_dir.glob("model-*.safetensors")):  # a finished run whose models were taken away
        run.save_model(run_dir)
    processes.barrier()
    model = weights.find(run_dir)
    if stop.signal is not None and run.images_seen < total_images:
        monitor.say(f"stopped at {run.images_seen / 1000:.1f} kimg, all saved; run the same command to go on")
    return Outcome(run.images_seen, model, stop.signal if run.images_seen < total_images else None)


@dataclass(frozen=True)
class Reals:
    """One micro-batch of training images, and which samples of the whole batch they are."""

    images: Tensor  # uint8 [n, C, R, R]
    labels: Tensor | None  # int64 [n]
    sample_index: Tensor  # int64 [n]


class Run:
    """Networks, optimisers and counters of a training run: what its state file holds."""

    def __init__(self, config: TrainingConfig, device: torch.device, store: Store | None = None) -> None:
        """store: needed to save and restore, and for labels."""
        self.config, self.device, self.store = config, device, store
        self.labels = torch.tensor(store.labels, device=device) if config.generator.label_count else None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.g = Generator(config.generator).to(device)
            self.d = Discriminator(config.discriminator).to(device)
            self.g_ema = Generator(config.generator).to(device).requires_grad_(False)
        self.g_ema.load_state_dict(self.g.state_dict())
        precision = pick_precision(config.precision, device)
        self.g.synthesis.compute_dtype = self.d.compute_dtype = set_precision(precision)
        if config.recompute_from is not None:
            self.g.synthesis.recompute_from = self.d.recompute_from = config.recompute_from
        if config.compile:
            compile_blocks(self.g.mapping, *self.g.synthesis.blocks.values(), *self.d.blocks.values())
        self.graphs = graphs.Graphs(graphs.capture_on(device)) if config.graphs else None
        self.stage: tuple[int, bool] | None = None
        self.resolution_and_fade = (config.schedule.initial_resolution, 0.0)
        self.images_seen, self.tick, self.tick_start, self.seconds = 0, 0, 0, 0.0
        self.skipped, self.skipped_in_a_row = {"g": 0, "d": 0}, {"g": 0, "d": 0}
        self._new_optimizers()

    # --- the steps of one iteration

    def begin_stage(self, now: State) -> None:
        """Start the optimisers anew: a resolution is about to be faded in, or has just been."""
        self.stage = now.stage
        self._new_optimizers()

    def update_average(self, now: State) -> None:
        """Let the moving average follow; it sees the generator as it was before this iteration."""
        config = self.config
        beta = ema.decay(now.batch_size, config.ema_kimg, self.images_seen, config.ema_rampup)
        ema.update(self.g_ema, self.g, beta)
        self.resolution_and_fade = (now.resolution, now.fade)

    def step_discriminator(self, now: State, reals: list[Reals], means: Means) -> None:
        """One step of D on a batch of reals and fakes with the same labels."""
        config = self.config.loss.at_step(self.images_seen // now.batch_size)
        w_sum = torch.zeros_like(self.g.w_avg)
        for micro in reals:
            index = micro.sample_index.to(self.device)
            labels = None if micro.labels is None else micro.labels.to(self.device)
            images = micro.images.to(self.device, non_blocking=True)
            quantities, sum_of_part = self._run(self._pass_of_d, self.d, now, config, index, labels, images)
            means.add(**quantities)
            w_sum += sum_of_part
        self._optimize("d", now, means)
        self._update_w_avg(w_sum / now.batch_size)

    def step_generator(self, now: State, means: Means) -> None:
        """One step of G."""
        w_sum = torch.zeros_like(self.g.w_avg)
        self.d.requires_grad_(False)
        for index in _micro_batches(self.config, now.batch_size):
            index = index.to(self.device)
            quantities, sum_of_part = self._run(self._pass_of_g, self.g, now, self.config.loss, index)
            means.add(**quantities)
            w_sum += sum_of_part
        self.d.requires_grad_(True)
        self._optimize("g", now, means)
        self._update_w_avg(w_sum / now.batch_size)

    def _run(self, work: graphs.Pass, network: nn.Module, now: State, config: LossConfig, *inputs: Tensor | None):
        """Do a pass, which adds to the network's gradients, or replay its graph."""
        keys = partial(randomness.key, self.config.seed, self.images_seen)
        if self.graphs is None:
            return work(now, config, keys, *inputs)
        return self.graphs.run(work, network, now, config, keys, *inputs)

    # A pass does all that an iteration's step does with one micro-batch on the device, up to the gradients. Numbers
    # that change from one iteration to the next reach it through its arguments only: `now.fade`, which may be a tensor,
    # and the keys of random numbers. Else a graph of it would go on with those it was recorded with.

    def _pass_of_d(
        self, now: State, config: LossConfig, keys: graphs.Keys, index: Tensor, labels: Tensor | None, images: Tensor
    ) -> graphs.Result:
        with torch.no_grad():
            w, w_first = self._draw_w(now, "D", keys, index, labels)
            fakes = self._synthesize(w, now, "D", keys, index)
        loss_of = losses.DISCRIMINATOR_LOSSES[config.kind]
        with weights_scaled_once():
            loss = loss_of(
                losses.Critic(self.d, labels, now.fade),
                to_reals(images, now.fade),
                fakes,
                config,
                config.gradient_scale(now.resolution, self.config.generator.resolution),
                draw_uniform_of_key((), keys("gradient penalty"), index),
            )
            (loss.total.sum() / now.batch_size).backward()
        quantities = {
            "loss_d": loss.total,
            "score_real": loss.real_scores,
            "score_fake": loss.fake_scores,
            "penalty": loss.penalty,
        }
        return quantities, w_first.sum(dim=0)

    def _pass_of_g(self, now: State, config: LossConfig, keys: graphs.Keys, index: Tensor) -> graphs.Result:
        labels = None
        if self.config.generator.label_count:
            picks = (draw_uniform_of_key((), keys("labels of G"), index) * len(self.labels)).long()
            labels = self.labels[picks.clamp(max=len(self.labels) - 1)]
        w, w_first = self._draw_w(now, "G", keys, index, labels)
        scores = self.d(self._synthesize(w, now, "G", keys, index), labels, fade=now.fade)
        loss = losses.generator_loss(scores, config)
        (loss.sum() / now.batch_size).backward()
        return {"loss_g": loss}, w_first.detach().sum(dim=0)

    def _draw_w(
        self, now: State, step: str, keys: graphs.Keys, index: Tensor, labels: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """w [n, num_layers, w_dim] of a fake, styles mixed for a share of the images, and the first w [n, w_dim]."""
        config = self.config
        z = draw_of_key((config.generator.z_dim,), keys(f"z of {step}"), index)
        if config.mixing_probability == 0:
            w = self.g.mapping(z, labels)
            first = w[:, 0]
        else:
            second = draw_of_key((config.generator.z_dim,), keys(f"second z of {step}"), index)
            twice = None if labels is None else torch.cat([labels, labels])
            w, w_second = self.g.mapping(torch.cat([z, second]), twice).chunk(2)
            first = w[:, 0]
            deciding = index if config.mixing_per == "image" else torch.zeros_like(index)
            crossover = crossovers(
                draw_uniform_of_key((), keys(f"mixing coin of {step}"), deciding),
                draw_uniform_of_key((), keys(f"crossover of {step}"), deciding),
                config.mixing_probability,
                layers=len(self.g.synthesis.layer_resolutions(now.resolution)),
            )
            w = mix_styles(w, w_second, crossover)
        return w, first

    def _synthesize(self, w: Tensor, now: State, step: str, keys: graphs.Keys, index: Tensor) -> Tensor:
        """Fakes [n, C, R, R] with fresh noise for every sample and layer."""
        sizes = self.g.synthesis.layer_resolutions(now.resolution)
        noise = "none"
        if self.config.generator.use_noise:
            areas = [r * r for r in sizes]
            numbers = draw_of_key((sum(areas),), keys(f"noise of {step}"), index)
            parts = zip(numbers.split(areas, dim=1), sizes, strict=True)
            noise = [part.reshape(-1, 1, r, r) for part, r in parts]
        return self.g.synthesis(w, resolution=now.resolution, fade=now.fade, noise=noise)

    def _optimize(self, name: str, now: State, means: Means) -> None:
        """Average the gradients over the processes and step, unless any of them is not finite."""
        network, optimizer = (self.g, self.g_adam) if name == "g" else (self.d, self.d_adam)
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        processes.all_reduce_sum(gradients)
        norm = nn.utils.get_total_norm(gradients, foreach=True)
        self._count_skipped(name)
        for group in optimizer.param_groups:
            group["lr"] = now.learning_rate * group["lr_multiplier"]
        optimizer.step_if(torch.isfinite(norm))
        means.add(**{f"gradient_norm_{name}": norm})
        network.zero_grad(set_to_none=True)

    def _count_skipped(self, name: str) -> None:
        """Take note of whether the last step of an optimizer was skipped, which the device knows first."""
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

    def _update_w_avg(self, mean: Tensor) -> None:
        processes.all_reduce_sum([mean])
        self.g.w_avg.lerp_(mean, 1 - self.config.w_avg_beta)

    def _new_optimizers(self) -> None:
        config = self.config
        strengths = [p for name, p in self.g.named_parameters() if name.endswith("noise.strength")]
        rest = [p for name, p in self.g.named_parameters() if not name.endswith("noise.strength")]
        for name in ("g", "d") if self.images_seen else ():
            self._count_skipped(name)
        options = {"betas": (config.adam_beta1, config.adam_beta2), "fused": self.device.type != "mps"}
        parts = [
            {"params": rest, "lr_multiplier": 1.0},
            {"params": strengths, "lr_multiplier": config.noise_lr_multiplier},
        ]
        self.g_adam = Adam([part for part in parts if part["params"]], **options)
        self.d_adam = Adam([{"params": list(self.d.parameters()), "lr_multiplier": 1.0}], **options)

    # --- what is reported and saved

    def samples(self) -> Tensor:
        """The moving average's images of the first seeds, without truncation; classes in turn."""
        seeds = range(self.config.grid[0] * self.config.grid[1])
        self.g_ema.synthesis.grown = self.resolution_and_fade
        drawn = recipe.batches(self.g_ema, recipe.Recipe(seeds, psi=1.0))
        return torch.cat([batch.cpu() for batch in drawn])

    def statistics(self, now: State, means: Means, images_per_second: float) -> dict[str, float]:
        """One line of stats.jsonl."""
        for name in ("g", "d"):
            self._count_skipped(name)
        return {
            "images_seen": self.images_seen,
            "tick": self.tick,
            "resolution": now.resolution,
            "fade": now.fade,
            "batch_size": now.batch_size,
            "learning_rate": now.learning_rate,
            **means.read(),
            "skipped_g": self.skipped["g"],
            "skipped_d": self.skipped["d"],
            "seconds": round(self.seconds, 3),
            "images_per_second": round(images_per_second, 2),
            "memory_mb": round(peak_memory_mb(self.device)),
        }

    def model(self) -> weights.Model:
        """What the model file will hold."""
        self.g_ema.synthesis.grown = self.resolution_and_fade
        begun = f"begun with the weights of {Path(self.config.start_from).name}" if self.config.start_from else ""
        provenance = weights.Provenance(
            self.store.path.name,
            self.config.preset,
            self.images_seen,
            notes=begun,
            fit=str(self.store.made.get("fit", "")),
        )
        names = self.store.label_names if self.labels is not None else ()
        return weights.Model(self.g_ema, provenance, self.g, self.d, names)

    def save_model(self, run_dir: Path) -> None:
        """Write the model file, then drop old ones."""
        weights.save(run_dir / f"model-{self.images_seen:010d}.safetensors", self.model())
        checkpoint.prune(run_dir, "model-*.safetensors", self.config.keep)

    def measure(self, evaluation: Evaluation, run_dir: Path, say: Callable[[str], None]) -> None:
        """If the tick is one for that, add the moving average's figures to metrics.jsonl.

        The model is kept if the first of them is the best so far. What has been measured already is not again.
        """
        done = self.images_seen >= self.config.schedule.total_kimg * 1000
        if not evaluation.config.metrics or not (done or self.tick % self.config.evaluation_ticks == 0):
            return
        record = run_dir / "metrics.jsonl"
        self.g_ema.synthesis.grown = self.resolution_and_fade
        evaluation.forget_fakes()
        try:
            lines = measure(evaluation, record, {"images_seen": self.images_seen})
        except (InputError, OSError) as error:
            if processes.world_size() > 1:
                raise  # the other processes may be waiting for this one
            warnings.warn(f"measuring has failed ({error}); training goes on without", InputWarning, stacklevel=2)
            return
        for line in lines:
            say(", ".join(f"{name} {value:.4g}" for name, value in line["values"].items()))
        better = METRICS[lines[0]["metric"]].better
        if processes.rank() == 0 and is_best(lines[0], read_record(record), better):
            try:
                weights.save(run_dir / "best.safetensors", self.model())
            except OSError as error:
                warnings.warn(f"best.safetensors cannot be written ({error.strerror})", InputWarning, stacklevel=2)

    def state(self) -> dict:
        """Everything that the run's future depends on, besides its configuration and data."""
        for name in ("g", "d"):
            self._count_skipped(name)
        return {
            "data": self.store.content_hash,
            "images_seen": self.images_seen,
            "tick": self.tick,
            "tick_start": self.tick_start,
            "seconds": self.seconds,
            "stage": self.stage,
            "resolution_and_fade": self.resolution_and_fade,
            "skipped": self.skipped,
            "skipped_in_a_row": self.skipped_in_a_row,
            "g": self.g.state_dict(),
            "d": self.d.state_dict(),
            "g_ema": self.g_ema.state_dict(),
            "g_adam": self.g_adam.state_dict(),
            "d_adam": self.d_adam.state_dict(),
        }

    def begin_with(self, model: weights.Model) -> None:
        """Take the weights of a model. Raises InputError if its networks are others than the configuration's."""
        configs = (self.config.generator, self.config.discriminator)
        if model.discriminator is None or (model.generator.config, model.discriminator.config) != configs:
            raise InputError(f"the networks in {self.config.start_from} are not those of this run's configuration")
        self.g.load_state_dict((model.raw_generator or model.generator).state_dict())
        self.d.load_state_dict(model.discriminator.state_dict())
        self.g_ema.load_state_dict(model.generator.state_dict())

    def restore(self, state: dict) -> None:
        """Take up a state. Raises InputError if it comes from other data."""
        if state["data"] != self.store.content_hash:
            raise InputError(
                f"the run was begun on other images than those in {self.store.path}; give it its own data, or choose "
                "another folder for a new run"
            )
        for name in ("images_seen", "tick", "tick_start", "seconds", "skipped", "skipped_in_a_row"):
            setattr(self, name, state[name])
        self.stage = tuple(state["stage"]) if state["stage"] else None
        self.resolution_and_fade = tuple(state["resolution_and_fade"])
        try:
            for name in ("g", "d", "g_ema", "g_adam", "d_adam"):
                getattr(self, name).load_state_dict(state[name])
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            first = " ".join(str(error).split())[:300]
            raise InputError(f"the training state does not fit the run's networks: {first}") from error


def _sheet(config: TrainingConfig, images: Tensor) -> Tensor:
    """A grid of images [N, C, R, R], enlarged so that all grids of a run have one size, without padding."""
    images = ops.upsample_to(images, config.generator.resolution)
    return grid(crop_padding(images, config.generator.aspect), config.grid[0])


# --- style mixing (section 3.1)


def crossovers(coin: Tensor, place: Tensor, probability: float, layers: int) -> Tensor:
    """Where each image changes from its first latent to its second: int64 [N], in [1, layers].

    coin, place: uniform numbers [N]. With the given probability the place is uniform in [1, layers - 1]; else it
    is `layers`, which leaves the image to its first latent. layers: those in use at the current resolution.
    """
    crossover = 1 + (place * (layers - 1)).long().clamp(max=layers - 2)
    return torch.where(coin < probability, crossover, layers)


def mix_styles(w1: Tensor, w2: Tensor, crossover: Tensor) -> Tensor:
    """Styles from w1 below each image's crossover [N] and from w2 from there on; all [N, num_layers, w_dim]."""
    layer = torch.arange(w1.shape[1], device=w1.device)
    return torch.where((layer < crossover[:, None])[:, :, None], w1, w2)


# --- batches


def _micro_batches(config: TrainingConfig, batch_size: int) -> list[Tensor]:
    """This process's share of a batch, in parts that fit into memory: places in the batch, int64.

    The groups of the minibatch standard deviation stay whole, so that the result is that of the whole batch. They
    are strided: group m of M holds the places m, m + M, m + 2M, ...; and so they are in each part.
    """
    group_size = min(config.discriminator.group_size, batch_size)
    world, most = processes.world_size(), config.micro_batch or batch_size
    if batch_size % (group_size * world):
        raise InputError(
            f"a batch of {batch_size} does not divide into groups of {group_size} on {world} processes; "
            "choose another schedule.batch_size"
        )
    count = batch_size // group_size  # M
    own = torch.arange(count)[processes.rank() :: world]
    step = torch.arange(group_size)[:, None] * count
    return [(step + part).flatten() for part in own.split(max(most // group_size, 1))]


def _batches(
    config: TrainingConfig, store: Store, images_seen: int, device: torch.device
) -> Iterator[tuple[State, list[list[Reals]]]]:
    """Groups of batches of reals, with the state of the schedule they belong to, from `images_seen` on.

    For a GPU they lie in memory that it can read from while it computes.
    """
    loader = Loader(store, seed=config.seed, mirror=config.mirror)
    conditional = config.generator.label_count > 0
    for start, state in groups(config.schedule, config.generator.resolution, images_seen):
        group = []
        for first in range(start, start + config.schedule.repeats * state.batch_size, state.batch_size):
            micro_batches = []
            for index in _micro_batches(config, state.batch_size):
                images, labels = loader.batch(first + index.numpy(), state.resolution)
                if device.type == "cuda":
                    images = images.pin_memory()
                micro_batches.append(Reals(images, labels if conditional else None, index))
            group.append(micro_batches)
        yield state, group


# --- setting up


def _check_store(config: TrainingConfig, store: Store) -> None:
    g = config.generator
    if g.resolution > store.resolution or g.channels != store.channels:
        raise InputError(
            f"{store.path} holds {store.resolution} x {store.resolution} images of {store.channels} channels, the "
            f"networks are for {g.resolution} x {g.resolution} of {g.channels}; prepare the data again or change "
            "the networks"
        )
    if g.label_count and g.label_count != store.label_count:
        raise InputError(
            f"{store.path} has {store.label_count} classes, the networks are for {g.label_count}; set both "
            f"label_count to {store.label_count} (0 ignores the labels)"
        )


# what may change between two runs of the same command
_MAY_CHANGE = {"data", "device", "keep", "micro_batch", "model_ticks", "evaluation_ticks", "schedule.total_kimg"}
_MAY_CHANGE |= {"recompute_from", "threads", "graphs"}
_MAY_CHANGE |= {f"evaluation.{field.name}" for field in fields(EvaluateConfig)}


def _settle_run_folder(config: TrainingConfig, run_dir: Path, device: torch.device, *, write: bool) -> TrainingConfig:
    """Create the folder and its run.json, or check that the run in it is this one.

    Returns the configuration with what it leaves to the program decided: for a new run by this machine, else as the run
    began.
    """
    path = run_dir / "run.json"
    if not path.exists() and list(run_dir.glob("state-*.pt")):
        raise InputError(f"{run_dir} holds training states but no run.json; restore it, or choose another folder")
    if path.exists():
        try:
            before = from_dict(TrainingConfig, json.loads(path.read_text()))
        except ValueError as error:  # InputError among them
            raise InputError(f"{path} cannot be used ({error}); choose another folder") from error
        if before.precision == "auto":  # of version 0.1
            before = replace(before, precision="tf32" if device.type == "cuda" else "float32")
        config = replace(
            config,
            precision=before.precision if config.precision == "auto" else config.precision,
            threads=config.threads or before.threads,
        )
        changed = sorted(_differences(to_dict(before), to_dict(config)) - _MAY_CHANGE)
        if changed:
            raise InputError(
                f"{run_dir} holds a run with other options ({', '.join(changed)}); repeat that run's options to go "
                "on, or choose another folder"
            )
        if config.precision == "bf16" and device.type == "cpu" and bfloat16_gain() < 1:
            print("warning: the run computes in bf16, which this processor is slow at", flush=True)
    precision = processes.on_first(lambda: pick_precision(config.precision, device))
    config = replace(config, precision=precision, threads=config.threads or torch.get_num_threads())
    if write:
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise InputError(f"{run_dir} is a file; choose another folder for the run") from None
        with atomic_file(path) as file:
            file.write((json.dumps(to_dict(config), indent=2) + "\n").encode())
    processes.barrier()
    return config


def _differences(a: dict, b: dict, prefix: str = "") -> set[str]:
    names = set()
    for key in a.keys() | b.keys():
        if isinstance(a.get(key), dict) and isinstance(b.get(key), dict) and prefix.count(".") < 1:
            names |= _differences(a[key], b[key], f"{prefix}{key}.")
        elif a.get(key) != b.get(key):
            names.add(f"{prefix}{key}")
    return names


class _StopSignals:
    """Inside the block, Ctrl-C and SIGTERM are noted in `signal`; a second one interrupts as usual."""

    def __enter__(self) -> "_StopSignals":
        self.signal: int | None = None
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame) -> None:
        self.signal = number
        signal.signal(number, self._before[number])

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
