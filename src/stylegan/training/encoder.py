"""Training an encoder (`encoders.py`): on the samples of a generator, whose w is known, and on the images of a store.

After encoder4editing (Tov et al., 2021): an average w and offsets from it that are kept small. In place of its
discriminator of w stand the samples; in place of LPIPS and a face network the pixels at all resolutions and the
features of MobileNetV2. The same call again resumes, to the same bits on a CPU.
"""

import copy
import time
from contextlib import closing
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from stylegan import encoders, likeness, randomness, sampling, weights
from stylegan.config import SEED, above, at_least, between, check, from_dict, to_dict
from stylegan.data.loader import Loader
from stylegan.data.store import Store, open_store
from stylegan.device import Precision, pick_device, pick_precision, set_precision
from stylegan.encoders import Encoder, EncoderConfig
from stylegan.errors import InputError
from stylegan.files import check_output, read_tensors, write_tensors
from stylegan.images import from_uint8, grid, to_uint8
from stylegan.metrics.extractors import Distance
from stylegan.networks.generator import Generator
from stylegan.training import lock
from stylegan.training.monitor import Means, Monitor
from stylegan.training.signals import StopSignals

KIND = "stylegan-encoder-state"
FORMAT_VERSION = 1
JUDGED = 64  # held-out images at most that each report's PSNR is of
SHOWN = 8  # of them in pairs.png


@dataclass(frozen=True)
class EncoderTrainingConfig:
    """How an encoder is trained. The defaults are for a CPU: half an hour at 64 x 64 on one core."""

    network: EncoderConfig = field(default_factory=EncoderConfig)
    """Architecture; resolution, channels, layers and w are the model's."""
    kimg: Annotated[float, above(0)] = 40.0
    """Length of the training, in thousands of images. A finished training goes on with a higher number."""
    batch_size: Annotated[int, at_least(2)] = 8
    """Number of images in a step."""
    samples: Annotated[float, between(0, 1)] = 0.25
    """Share of a batch that are samples of the model's; the rest are images of the store."""
    learning_rate: Annotated[float, above(0)] = 0.002
    """Learning rate of Adam."""
    distance: str = "mobilenet-v2"
    """Perceptual distance beside the pixels: mobilenet-v2, lpips, none, or auto, which is lpips where it has been
    fetched."""
    distance_side: Annotated[int, at_least(32)] = 112
    """Height and width at which MobileNetV2 looks at the images; its own 224 take four times as long."""
    compared: Annotated[float, between(0, 1)] = 0.15
    """Share of the store's images in a batch whose perceptual distance is taken; it costs twice what the rest does."""
    distance_weight: Annotated[float, at_least(0)] = 0.1
    """How much the perceptual distance counts; the pixels count 1."""
    w_weight: Annotated[float, at_least(0)] = 0.02
    """How much the error of a sample's w counts, in deviations of W squared."""
    offset_weight: Annotated[float, at_least(0)] = 0.002
    """How much the layers' offsets from the average count, in deviations of W squared."""
    ema_kimg: Annotated[float, above(0)] = 5.0
    """Half-life of the moving average of the weights, which is the encoder that is kept, in thousands of images."""
    mirror: bool = True
    """Mirror the store's images at random."""
    tick_kimg: Annotated[float, above(0)] = 4.0
    """Images between two reports, in thousands: then everything is saved."""
    precision: Precision = "auto"
    """Arithmetic of the convolutions: float32, tf32, bf16, or auto for the fastest that trains as well."""
    threads: Annotated[int, at_least(0)] = 0
    """Number of threads. Default: what torch takes, or in a training that goes on what it began with."""
    seed: Annotated[int, SEED] = 0
    """Seed of the weights, the samples and the order of the images."""
    device: str = "auto"
    """cpu, cuda, mps, xpu, or auto for the best there is."""

    def __post_init__(self) -> None:
        check(self)


_MAY_CHANGE = {"kimg", "device", "threads", "tick_kimg"}


@dataclass
class EncoderState:
    """What a training of an encoder is: what is saved, and nothing else."""

    config: EncoderTrainingConfig
    encoder: Encoder
    average: Encoder
    adam: torch.optim.Adam
    images_seen: int = 0


@dataclass(frozen=True)
class EncoderOutcome:
    """How `train_encoder` ended."""

    images_seen: int
    stopped_by: int | None
    """Number of the signal that ended it early, or None."""
    psnr: float | None
    """Of the held-out images, in dB; None where there are none."""


def folder_of(path: Path | str) -> Path:
    """The folder beside an encoder's file in which its training keeps its state and its reports."""
    return Path(path).with_name(f"{Path(path).stem}-training")


def train_encoder(
    model: Path | str,
    data: Path | str,
    path: Path | str,
    config: EncoderTrainingConfig | None = None,
    *,
    progress: bool = True,
) -> EncoderOutcome:
    """Train an encoder of `model` on the store `data` and write it to `path`; go on where an earlier call stopped.

    model: what `stylegan.load` takes. The folder `folder_of(path)` holds the state, stats.jsonl, and pairs.png
    (held-out images, and what they become). Raises InputError where something does not fit, before anything is written.
    """
    config, path = config or EncoderTrainingConfig(), Path(path)
    check_output(path, encoders.KIND, data)
    device = pick_device(config.device)
    generator, store = weights.load(model, device), open_store(data)
    _check(generator, store)
    folder = folder_of(path)
    with lock.hold(folder) as trainer:
        state = _prepare(config, generator, store, folder / "state.safetensors")
        distance = likeness.open_distance(
            state.config.distance, store.resolution, device, side=state.config.distance_side
        )
        trainer.begin(state.images_seen)
        return _train(state, generator, store, distance, path, trainer, progress=progress)


def _train(
    state: EncoderState,
    generator: Generator,
    store: Store,
    distance: Distance | None,
    path: Path,
    trainer: lock.Trainer,
    *,
    progress: bool,
) -> EncoderOutcome:
    config, folder = state.config, folder_of(path)
    total, resolution = round(config.kimg * 1000), state.encoder.config.resolution
    loader, judged = Loader(store, seed=config.seed, mirror=config.mirror), _judged(store, generator)
    monitor = Monitor(folder, total, state.images_seen, images=store.count, progress=progress)
    means, start, first = Means(), time.perf_counter(), state.images_seen
    next_tick = _next_tick(state)
    quality = None
    with closing(monitor), StopSignals() as stop:
        goes_on = f"resuming at {state.images_seen / 1000:.1f} kimg" if state.images_seen else "training an encoder"
        monitor.say(
            f"{goes_on}: {config.kimg:g} kimg on {generator.w_avg.device}, in {config.precision}; "
            "Ctrl-C saves and stops"
        )
        while state.images_seen < total and stop.signal is None:
            step(state, generator, loader, distance, means)
            speed = (state.images_seen - first) / (time.perf_counter() - start)
            monitor.progress(state.images_seen, speed, (total - state.images_seen) / speed, resolution, 0.0)
            trainer.moved(state.images_seen)
            if state.images_seen < min(next_tick, total):
                continue
            next_tick = _next_tick(state)
            quality, sheet = judge(state.average, generator, judged)
            record = {"images_seen": state.images_seen, **means.read(), "images_per_second": speed}
            monitor.report(record | ({} if store.held_out_count == 0 else {"psnr_held_out": quality}))
            monitor.save_image(sheet, "pairs.png")
            _save(state, generator, store, path, trainer)
        if stop.signal is not None:
            _save(state, generator, store, path, trainer)
            monitor.say(f"stopped at {state.images_seen / 1000:.1f} kimg, all saved; run the same command to go on")
    done = state.images_seen >= total
    trainer.ends("finished" if done else "stopped")
    if quality is None or not done:
        quality, _ = judge(state.average, generator, judged)
    if not path.exists():  # a finished training whose file was taken away
        encoders.save(path, state.average, generator, notes=_notes(store), images_seen=state.images_seen)
    return EncoderOutcome(state.images_seen, stop.signal, quality if store.held_out_count else None)


def step(
    state: EncoderState, generator: Generator, loader: Loader, distance: Distance | None, means: Means | None = None
) -> None:
    """One step: a batch of samples and images of the store, the loss, Adam, the moving average."""
    config, encoder = state.config, state.encoder
    dtype = torch.bfloat16 if config.precision == "bf16" else None
    generator.synthesis.compute_dtype = dtype
    of_samples = round(config.batch_size * config.samples)
    w, of_w = _samples(state, generator, of_samples)
    with torch.no_grad():
        samples = generator.synthesis(w, noise="const").float()
    reals_count = config.batch_size - of_samples
    first = state.images_seen // config.batch_size * reals_count
    positions = torch.arange(first, first + reals_count).numpy()
    reals = from_uint8(loader.batch(positions, encoder.config.resolution)[0].to(generator.w_avg.device))
    targets = torch.cat([samples, reals])
    compared = round(len(reals) * config.compared)

    # all looks one after the other, each of which learns from what is drawn after it
    state.adam.zero_grad()
    found = encoder.nothing_found(len(targets))
    v = found.v().requires_grad_()
    drawn = encoders.draw(encoder, generator, v)
    likeness.pixel_loss(drawn, targets).mean().backward()
    for number in range(1, encoder.config.looks + 1):
        found = encoder(found, targets, drawn.detach(), encoders.slope_of(v.grad), dtype)
        v = found.v()
        v.retain_grad()  # of the pixels alone, for the next look's slope
        drawn = encoders.draw(encoder, generator, v)
        told = {"loss_pixels": likeness.pixel_loss(drawn, targets).mean(), "offsets": found.offsets.square().mean()}
        loss = told["loss_pixels"] + config.offset_weight * told["offsets"]
        if of_samples:
            told["loss_w"] = (found.v()[:of_samples] - of_w[:, None]).square().mean()
            loss = loss + config.w_weight * told["loss_w"]
        if distance is not None and compared and number == encoder.config.looks:
            chosen = slice(of_samples, of_samples + compared)
            told["loss_features"] = likeness.perceptual_loss(drawn[chosen], targets[chosen], distance).mean()
            loss = loss + config.distance_weight * told["loss_features"]
        (loss / encoder.config.looks).backward()
        found = encoders.Found(*(part.detach() for part in found))
    state.adam.step()
    state.images_seen += config.batch_size
    decay = 0.5 ** (config.batch_size / min(config.ema_kimg * 1000, max(1.0, 0.1 * state.images_seen)))
    get_ema_multi_avg_fn(decay)(list(state.average.parameters()), list(encoder.parameters()), None)
    if means is not None:
        for name, value in told.items():
            means.add(**{name: value})


def _samples(state: EncoderState, generator: Generator, count: int) -> tuple[Tensor, Tensor]:
    """w [count, num_layers, w_dim] of fresh samples, and their coordinates [count, w_dim]."""
    index = torch.arange(count, device=generator.w_avg.device)
    z = randomness.draw((generator.config.z_dim,), state.config.seed, state.images_seen, "z of the encoder", index)
    labels = None
    if classes := generator.config.label_count:
        labels = (state.images_seen + index) % classes
    w = sampling.w_of_z(generator, z, labels)
    encoder = state.encoder
    return w, torch.linalg.solve(encoder.spread, (w[:, 0] - encoder.middle).T).T


@torch.no_grad()
def judge(encoder: Encoder, generator: Generator, images: Tensor) -> tuple[float, Tensor]:
    """The mean PSNR in dB of images uint8 [N, C, R, R] drawn again, and a sheet: images, and below what they become."""
    before, generator.synthesis.compute_dtype = generator.synthesis.compute_dtype, None
    w = encoders.encode(encoder, generator, from_uint8(images.to(generator.w_avg.device)))
    drawn = to_uint8(generator.synthesis(w, noise="const")).cpu()
    generator.synthesis.compute_dtype = before
    shown = min(SHOWN, len(images))
    sheet = grid(torch.cat([images[:shown], drawn[:shown]]), columns=shown)
    return float(likeness.psnr(drawn, images).mean()), sheet


# --- the state


def _check(generator: Generator, store: Store) -> None:
    resolution, channels = generator.synthesis.grown.resolution, generator.config.channels
    if (store.resolution, store.channels) != (resolution, channels):
        raise InputError(
            f"{store.path} holds images of {store.resolution} x {store.resolution} with {store.channels} channels, the "
            f"model draws {resolution} x {resolution} with {channels}; prepare a store with --resolution {resolution}"
        )


def _judged(store: Store, generator: Generator) -> Tensor:
    """Images that the encoder is judged by: held out, or where there are none, of the store. uint8 [N, C, R, R]"""
    images = (store.held_out() or store).images(generator.synthesis.grown.resolution)[:JUDGED]
    return torch.from_numpy(images.copy()).permute(0, 3, 1, 2)


def _prepare(config: EncoderTrainingConfig, generator: Generator, store: Store, path: Path) -> EncoderState:
    """The state of a new training, or that of the file. Raises InputError where it is of another one."""
    network = encoders.config_for(generator, config.network)
    tensors: dict[str, Tensor] = {}
    if path.exists():
        header, tensors = read_tensors(path, "a training state of an encoder", kind=KIND, version=FORMAT_VERSION)
        try:
            before = from_dict(EncoderTrainingConfig, header["config"], "config.")
            made = {name: header[name] for name in ("images_seen", "steps", "model", "data")}
        except KeyError as error:
            raise InputError(f"{path} cannot be read: its header has no {error}") from error
        _refuse_changes(path, before, replace(config, network=network), made, generator, store)
        config = replace(config, precision=before.precision, threads=config.threads or before.threads)
    threads = config.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    precision = pick_precision(config.precision, generator.w_avg.device)
    config = replace(config, network=network, precision=precision, threads=threads)
    set_precision(config.precision)
    encoder = encoders.new_encoder(generator, config.network, config.seed)
    average = copy.deepcopy(encoder).requires_grad_(False)
    adam = torch.optim.Adam(encoder.parameters(), lr=config.learning_rate, betas=(0.9, 0.99))
    state = EncoderState(config, encoder, average, adam)
    if tensors:
        _restore(state, path, made, tensors)
    return state


def _refuse_changes(
    path: Path,
    before: EncoderTrainingConfig,
    config: EncoderTrainingConfig,
    made: dict[str, Any],
    generator: Generator,
    store: Store,
) -> None:
    if config.precision == "auto":
        config = replace(config, precision=before.precision)
    changed = [f.name for f in fields(config) if getattr(before, f.name) != getattr(config, f.name)]
    changed = [f"--{name.replace('_', '-')}" for name in changed if name not in _MAY_CHANGE]
    changed += ["another store"] if made["data"] != store.content_hash else []
    changed += ["another model"] if made["model"] != weights.fingerprint(generator) else []
    if changed:
        raise InputError(
            f"the training in {path.parent} began otherwise ({', '.join(changed)}); repeat its command, or give "
            "another file to write"
        )


def _restore(state: EncoderState, path: Path, made: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    device = state.encoder.middle.device
    parts: dict[str, dict[str, Tensor]] = {"encoder": {}, "average": {}, "first": {}, "second": {}}
    for name, tensor in tensors.items():
        part, _, own = name.partition(".")
        parts.setdefault(part, {})[own] = tensor.to(device)
    try:
        state.encoder.load_state_dict(parts["encoder"])
        state.average.load_state_dict(parts["average"])
        for name, parameter in state.encoder.named_parameters():
            moments = {"exp_avg": parts["first"][name], "exp_avg_sq": parts["second"][name]}
            moments = {key: torch.empty_like(parameter).copy_(value) for key, value in moments.items()}
            state.adam.state[parameter] = {"step": torch.tensor(float(made["steps"])), **moments}
        state.images_seen = int(made["images_seen"])
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InputError(f"{path} does not hold what a training state does ({reason})") from error


def _save(state: EncoderState, generator: Generator, store: Store, path: Path, trainer: lock.Trainer) -> None:
    """The state, and the encoder itself."""
    trainer.check()
    parts = {"encoder": state.encoder.state_dict(), "average": state.average.state_dict(), "first": {}, "second": {}}
    steps = 0
    for name, parameter in state.encoder.named_parameters():
        moments = state.adam.state[parameter]
        parts["first"][name], parts["second"][name], steps = moments["exp_avg"], moments["exp_avg_sq"], moments["step"]
    header = {
        "kind": KIND,
        "format_version": FORMAT_VERSION,
        "config": to_dict(state.config),
        "images_seen": state.images_seen,
        "steps": int(steps),
        "model": weights.fingerprint(generator),
        "data": store.content_hash,
    }
    tensors = {f"{part}.{name}": tensor for part, held in parts.items() for name, tensor in held.items()}
    write_tensors(folder_of(path) / "state.safetensors", tensors, header)
    encoders.save(path, state.average, generator, notes=_notes(store), images_seen=state.images_seen)


def _notes(store: Store) -> str:
    return f"trained on {store.path.name} ({store.content_hash[:16]})"


def _next_tick(state: EncoderState) -> int:
    every = max(1, round(state.config.tick_kimg * 1000))
    return (state.images_seen // every + 1) * every
