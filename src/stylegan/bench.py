"""How fast this machine samples and trains, in images a second and in matrix products.

A "gemm" is the time of one float32 product of two 4096 x 4096 matrices on the same device in the same run: figures
in gemms compare between machines, as seconds do not.

What limits a row is the largest of three parts of its time: its multiplications, at the rate of that product; its
operations, each at the time of one on a small tensor; and the rest, which is passes over memory.
"""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from textwrap import fill
from typing import Annotated, Any, Literal

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from stylegan.config import at_least, check
from stylegan.device import Precision, in_precision, pick_device, pick_precision, set_precision
from stylegan.errors import InputError
from stylegan.networks import ops
from stylegan.networks.discriminator import Discriminator
from stylegan.networks.layers import Conv, compile_blocks
from stylegan.resolutions import resolutions
from stylegan.training import steps
from stylegan.training.batches import Reals, micro_batches
from stylegan.training.config import TrainingConfig
from stylegan.training.monitor import Means, peak_memory_mb
from stylegan.training.pace import Pace
from stylegan.training.schedule import State, from_there_on, stages, state_at
from stylegan.training.state import TrainState, new_state

GEMM = 4096


@dataclass(frozen=True)
class Machine:
    """What a device is capable of: the seconds that products of two 4096 x 4096 matrices take."""

    gemm: float
    """In float32."""
    product: float
    """In the precision that is measured."""
    operation: float = 0.0
    """Seconds that one operation on a small tensor takes, there and back."""


@dataclass(frozen=True)
class BenchConfig:
    """What is measured."""

    resolutions: tuple[int, ...] = ()
    """Resolutions to measure at. Default: all that training passes through."""
    batch: Annotated[tuple[int, ...], at_least(1)] = ()
    """Batch sizes. Default: the schedule's own for each resolution."""
    work: tuple[Literal["sample", "train"], ...] = ("sample", "train")
    """Work to measure: sample, train, or both."""
    reference: bool = False
    """Measure as well what a plain port does (contiguous memory, nothing fused, float32), and print the gain."""
    seconds: Annotated[float, at_least(0)] = 3.0
    """How long each row is repeated; the best time counts."""
    json: bool = False
    """Print JSON, a line for each row."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Measurement:
    """One row: a kind of work at a resolution and batch size."""

    work: str
    """"sample" (draw images from z) or "train" (a step of D and one of G)."""
    resolution: int
    batch: int
    seconds: float
    """For one batch, the best of the repetitions."""
    gemms: float
    """Matrix products in the time of one image."""
    utilisation: float
    """Share of the machine's rate of matrix products in this precision, counting the multiplications of convolutions
    and products."""
    memory_mb: float
    """The most memory used so far, by the device (or the process, on a CPU)."""
    starting: float = 0.0
    """Share of the time in which its operations, however small, could be started; above 1 where many run as one."""

    @property
    def images_per_second(self) -> float:
        return self.batch / self.seconds

    @property
    def limit(self) -> str:
        """What most of the time goes into: "products", "small operations" or "memory traffic"."""
        parts = {"products": self.utilisation, "small operations": min(self.starting, 1.0)}
        parts["memory traffic"] = 1 - sum(parts.values())
        return max(parts, key=parts.__getitem__)


@contextmanager
def reference_paths() -> Iterator[None]:
    """Inside, networks that are made there compute as a plain port does.

    With the plain forms that stand beside the fast ones in `ops` and `Discriminator`, R1's among them; weights and
    activations laid out as [N, C, H, W]; weights scaled at each use. Meant for a process of its own, see
    `measure_plain`.
    """
    plain: list[tuple[Any, str, Any]] = [  # where, the name, what it stands for then
        (owner, name.removesuffix("_reference"), twin)
        for owner in (ops, Discriminator)
        for name, twin in vars(owner).items()
        if name.endswith("_reference")
    ]
    plain += [(torch, "channels_last", torch.contiguous_format), (Conv, "lay_out", lambda self: None)]
    plain += [(steps, "weights_scaled_once", nullcontext)]
    fast = [(owner, name, getattr(owner, name)) for owner, name, _ in plain]
    try:
        for owner, name, form in plain:
            setattr(owner, name, form)
        yield
    finally:
        for owner, name, form in fast:
            setattr(owner, name, form)


def measure_plain(config: TrainingConfig, work: str, resolution: int, batch: int, *, seconds: float) -> float:
    """Seconds of a batch as `reference_paths` compute it, in float32, in a new process, where the memory that is freed
    goes back to the system."""
    config = replace(config, precision="float32", compile=False, recompute_from=None)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_plain_seconds, config, work, resolution, batch, seconds).result()


def _plain_seconds(config: TrainingConfig, work: str, resolution: int, batch: int, seconds: float) -> float:
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    with reference_paths():
        return measure(config, work, resolution, batch, Machine(1, 1), seconds=seconds).seconds


def machine(device: torch.device, precision: Precision) -> Machine:
    """Measure the device."""

    def product(dtype: torch.dtype) -> float:
        a, b = torch.randn(2, GEMM, GEMM, device=device).to(dtype)
        return best_seconds(lambda: a @ b, device, seconds=2.0)

    with in_precision("float32"):
        gemm = product(torch.float32)
    operation = _small_operation(device)
    if precision == "float32":
        return Machine(gemm, gemm, operation)
    return Machine(gemm, product(set_precision(precision) or torch.float32), operation)


def _small_operation(device: torch.device) -> float:
    x, count = torch.ones(16, device=device, requires_grad=True), 100

    def chain() -> None:
        y = x
        for _ in range(count):
            y = y * x
        y.sum().backward()

    with _Operations() as counter:
        chain()
    return best_seconds(chain, device, seconds=0.1) / counter.operations


def best_seconds(work: Callable[[], object], device: torch.device, *, seconds: float) -> float:
    """The shortest time of `work`, repeated for so many seconds after once to warm up: at least three times, or with
    0 seconds once."""
    work()
    best, count, until = float("inf"), 0, time.perf_counter() + seconds
    while count < (3 if seconds else 1) or time.perf_counter() < until:
        wait(device)
        start = time.perf_counter()
        work()
        wait(device)
        best, count = min(best, time.perf_counter() - start), count + 1
    return best


def sampling(state: TrainState, resolution: int, batch: int) -> Callable[[], object]:
    """Drawing a batch from z, mapping network and fresh noise included."""
    g = state.g_ema
    g.synthesis.compute_dtype = state.g.synthesis.compute_dtype
    if state.config.compile:
        compile_blocks(g.mapping, *g.synthesis.blocks.values())

    @torch.no_grad()
    def work() -> torch.Tensor:
        z = torch.randn(batch, g.config.z_dim, device=state.device)
        return g.synthesis(g.mapping(z), resolution=resolution)

    return work


def training(state: TrainState, now: State) -> Callable[[], object]:
    """One iteration: a step of D with its penalty, then one of G, with all that belongs to them."""
    size, channels = (now.resolution, now.resolution), state.config.generator.channels
    images = torch.randint(0, 256, (now.batch_size, *size, channels), dtype=torch.uint8).permute(0, 3, 1, 2)
    index, classes = torch.arange(now.batch_size), state.config.generator.label_count
    labels = index % classes if classes else None
    reals, means = [Reals(images, index, labels, labels)], Means()
    return lambda: steps.iteration(state, now, reals, means)


def shares_of_steps(config: TrainingConfig) -> dict[int, float]:
    """Numbers of iterations that stand for all, one with a lazy penalty and one without, and the share of each kind."""
    interval = config.loss.penalty_interval
    return {0: 1 / interval, 1: 1 - 1 / interval} if interval > 1 else {0: 1.0}


def measure(
    config: TrainingConfig, work: str, resolution: int, batch: int, machine: Machine, *, seconds: float = 3.0
) -> Measurement:
    """One row of the table, with fresh networks of the configuration, in its precision, compiled if it says so."""
    device = pick_device(config.device)
    config = replace(config, schedule=replace(config.schedule, batch_size={4: batch}))
    state = new_state(config, device)
    now = replace(state_at(config.schedule, config.generator.resolution, 0), resolution=resolution, fade=0.0)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    job = sampling(state, resolution, batch) if work == "sample" else training(state, now)
    shares = {0: 1.0} if work == "sample" else shares_of_steps(config)
    best = flops = operations = 0.0  # of the mean iteration

    def at_step(step: int) -> None:
        state.images_seen = step * batch
        job()

    for step, share in shares.items():
        with (
            torch.compiler.set_stance("force_eager"),
            _Operations() as counter,
        ):  # what is compiled under a mode stays eager
            at_step(step)
        flops, operations = flops + share * counter.flops, operations + share * counter.operations
        best += share * best_seconds(partial(at_step, step), device, seconds=seconds / len(shares))
    rate = 2 * GEMM**3 / machine.product
    return Measurement(
        work=work,
        resolution=resolution,
        batch=batch,
        seconds=best,
        gemms=best / batch / machine.gemm,
        utilisation=flops / best / rate,
        memory_mb=peak_memory_mb(device),
        starting=operations * machine.operation / best,
    )


@dataclass(frozen=True)
class Schedule:
    """How long a whole training takes, in seconds from its beginning."""

    first_picture: float
    """Until the full resolution begins to be faded in."""
    faded_in: float
    """Until the full resolution stands by itself."""
    total: float
    estimated: tuple[int, ...]
    """Resolutions that were not measured with the schedule's batch."""


def schedule_times(config: TrainingConfig, rows: list[Measurement], device_type: str = "cpu") -> Schedule | None:
    """The times of a configuration's training, from the iterations that were measured; None where none were."""
    schedule, top = config.schedule, config.generator.resolution
    pace, measured = Pace(config.generator, config.discriminator, device_type), set()
    for row in rows:
        if row.work == "train":
            pace.add(State(row.resolution, 0.0, row.batch, 0.0, 0.0), row.batch, row.seconds)
            measured.add((row.resolution, row.batch))
    if not measured:
        return None
    first_picture = faded_in = total = 0.0
    for images, now in stages(schedule, top):
        seconds = images * pace.seconds_per_image(now)
        total += seconds
        first_picture += seconds * (now.resolution < top)
        faded_in += seconds * (now.resolution < top or now.fade > 0)
    left_out = {now.resolution for _, now in stages(schedule, top) if (now.resolution, now.batch_size) not in measured}
    return Schedule(first_picture, faded_in, total, tuple(sorted(left_out)))


def summary(config: TrainingConfig, times: Schedule, rows: list[Measurement]) -> str:
    """Two or three sentences of what a user wants to know before a training."""
    top = config.generator.resolution
    size, name = f"{top} x {top}", config.preset or "this configuration"
    sentences = [
        f"All {config.schedule.total_kimg:g} kimg of {name} take about {duration(times.total)} on this device."
    ]
    if times.first_picture == 0:
        sentences = [sentences[0][:-1] + f", at {size} from the beginning."]
    elif times.first_picture < times.total:
        until = "" if times.faded_in >= times.total else f", and it is fully faded in after {duration(times.faded_in)}"
        sentences.append(f"The first pictures at {size} come after {duration(times.first_picture)}{until}.")
    else:
        sentences.append(f"It ends before {size} is reached.")
    if times.estimated:
        sentences.append(f"Estimated, not measured: {', '.join(f'{r} x {r}' for r in times.estimated)}.")
    last = max((row for row in rows if row.work == "train"), key=lambda row: row.resolution)
    reasons = {
        "products": "multiplications; another --precision or thinner networks (feature_maps.maximum) would help most",
        "small operations": "starting operations; a larger schedule.batch_size or --compile would help most",
        "memory traffic": "passes over memory; bf16, where the device has it, or --compile would help most",
    }
    sentences.append(f"At {last.resolution} x {last.resolution} most time goes into {reasons[last.limit]}.")
    return " ".join(sentences)


def duration(seconds: float) -> str:
    """A time as people say it: 40 seconds, 12 minutes, 5.2 hours, 3.4 days."""
    for unit, length, most in (("seconds", 1, 90), ("minutes", 60, 90), ("hours", 3600, 48)):
        if seconds < most * length:
            return f"{seconds / length:.{1 if unit == 'hours' else 0}f} {unit}"
    return f"{seconds / 86400:.1f} days"


HEADER = (
    f"{'work':<7} {'size':>5} {'batch':>5} {'img/s':>8} {'s/kimg':>8} {'gemm/img':>8} {'of gemm rate':>12} "
    f"{'MB':>6} {'gain':>5}  {'limited by':<16}"
)


def line(row: Measurement, gain: float | None = None) -> str:
    """A row as text, under HEADER. gain: the reference's time over the row's."""
    return (
        f"{row.work:<7} {row.resolution:>5} {row.batch:>5} {row.images_per_second:>8.1f} "
        f"{1000 / row.images_per_second:>8.2f} {row.gemms:>8.4f} {row.utilisation:>11.0%}  {row.memory_mb:>6.0f} "
        f"{'' if gain is None else f'{gain:.2f}':>5}  {row.limit:<16}"
    )


def as_dict(row: Measurement) -> dict[str, float | str]:
    """A row for JSON."""
    return asdict(row) | {
        "images_per_second": row.images_per_second,
        "seconds_per_kimg": 1000 / row.images_per_second,
        "limit": row.limit,
    }


class _Operations(TorchDispatchMode):
    """Counts operations, and the floating-point operations of products and convolutions among them; torch's own counter
    cannot differentiate twice."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.operations = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.operations += not function.is_view
        if (formula := flop_registry.get(function._overloadpacket)) is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
        return result


def report(config: TrainingConfig, what: BenchConfig) -> Iterator[str]:
    """Measure, and yield lines as they come: a table and its summary, or JSON. Raises InputError."""
    full = config.generator.resolution
    if not set(what.resolutions) <= set(resolutions(full)):
        raise InputError(f"--resolutions must be powers of two from 4 to {full}")
    if "train" in what.work:
        for size in what.batch:
            micro_batches(config, size)  # refuses what no training could have
    device = pick_device(config.device)
    config = replace(config, precision=pick_precision(config.precision, device))
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    reference, rows = machine(device, config.precision), []
    settings = {"device": name_of(device), "precision": config.precision, "compiled": config.compile}
    if not what.json:
        yield f"{settings['device']}, {config.precision}{', compiled' * config.compile}; " + (
            f"one gemm takes {reference.gemm:.4f} s\n{HEADER}"
        )
    for kind in what.work:
        for r in what.resolutions or resolutions(full, min(config.schedule.initial_resolution, full)):
            for size in what.batch or (int(from_there_on(config.schedule.batch_size, r)),):
                row, gain = measure(config, kind, r, size, reference, seconds=what.seconds), None
                rows.append(row)
                if what.reference:
                    gain = measure_plain(config, kind, r, size, seconds=what.seconds) / row.seconds
                record = settings | as_dict(row) | {"gain": gain}
                yield json.dumps(record) if what.json else line(row, gain).rstrip()
    times = schedule_times(config, rows, device.type)
    if times is None or (what.json and (what.resolutions or what.batch)):
        return
    yield json.dumps({"schedule": asdict(times)}) if what.json else fill(summary(config, times, rows), 96)


def name_of(device: torch.device) -> str:
    """What a reader of the figures should know of the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"cpu ({threads} {'thread' if threads == 1 else 'threads'})"
    return device.type


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type in ("mps", "xpu"):
        getattr(torch, device.type).synchronize()
