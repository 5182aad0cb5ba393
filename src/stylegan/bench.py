"""How fast this machine samples and trains, in images a second and in matrix products.

A "gemm" is the time of one float32 product of two 4096 x 4096 matrices on the same device in the same run: figures
in gemms compare between machines, as seconds do not.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from stylegan.device import Precision, in_precision, pick_device, set_precision
from stylegan.networks import ops
from stylegan.networks.layers import compile_blocks
from stylegan.resolutions import resolutions
from stylegan.training.loop import Reals, Run, TrainingConfig
from stylegan.training.monitor import Means, peak_memory_mb
from stylegan.training.schedule import State, state_at

GEMM = 4096


@dataclass(frozen=True)
class Machine:
    """What a device is capable of: the seconds that products of two 4096 x 4096 matrices take."""

    gemm: float
    """In float32."""
    product: float
    """In the precision that is measured."""


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

    @property
    def images_per_second(self) -> float:
        return self.batch / self.seconds


@contextmanager
def reference_paths() -> Iterator[None]:
    """Inside, the networks compute with the plain forms that stand beside the fast ones in `ops`."""
    names = [name.removesuffix("_reference") for name in vars(ops) if name.endswith("_reference")]
    fast = {name: getattr(ops, name) for name in names}
    try:
        for name in fast:
            setattr(ops, name, getattr(ops, f"{name}_reference"))
        yield
    finally:
        for name, function in fast.items():
            setattr(ops, name, function)


def machine(device: torch.device, precision: Precision) -> Machine:
    """Measure the device."""

    def product(dtype: torch.dtype) -> float:
        a, b = torch.randn(2, GEMM, GEMM, device=device).to(dtype)
        return best_seconds(lambda: a @ b, device, seconds=2.0)

    with in_precision("float32"):
        gemm = product(torch.float32)
    if precision == "float32":
        return Machine(gemm, gemm)
    return Machine(gemm, product(set_precision(precision) or torch.float32))


def best_seconds(work: Callable[[], object], device: torch.device, *, seconds: float) -> float:
    """The shortest time of `work`, repeated for so many seconds after once to warm up: at least three times, or with
    0 seconds once."""
    work()
    best, count, until = float("inf"), 0, time.perf_counter() + seconds
    while count < (3 if seconds else 1) or time.perf_counter() < until:
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        best, count = min(best, time.perf_counter() - start), count + 1
    return best


def sampling(run: Run, resolution: int, batch: int) -> Callable[[], object]:
    """Drawing a batch from z, mapping network and fresh noise included."""
    g = run.g_ema
    g.synthesis.compute_dtype = run.g.synthesis.compute_dtype
    if run.config.compile:
        compile_blocks(g.mapping, *g.synthesis.blocks.values())

    @torch.no_grad()
    def work() -> torch.Tensor:
        z = torch.randn(batch, g.config.z_dim, device=run.device)
        return g.synthesis(g.mapping(z), resolution=resolution)

    return work


def training(run: Run, now: State) -> Callable[[], object]:
    """One iteration: a step of D with its penalty, then one of G, with all that belongs to them."""
    size, channels = (now.resolution, now.resolution), run.config.generator.channels
    images = torch.randint(0, 256, (now.batch_size, *size, channels), dtype=torch.uint8).permute(0, 3, 1, 2)
    reals, means = [Reals(images, None, torch.arange(now.batch_size))], Means()

    def work() -> None:
        run.update_average(now)
        run.step_discriminator(now, reals, means)
        run.images_seen += now.batch_size
        run.step_generator(now, means)

    return work


def measure(
    config: TrainingConfig, work: str, resolution: int, batch: int, machine: Machine, *, seconds: float = 3.0
) -> Measurement:
    """One row of the table, with fresh networks of the configuration, in its precision, compiled if it says so."""
    device = pick_device(config.device)
    config = replace(config, schedule=replace(config.schedule, batch_size={4: batch}))
    run = Run(config, device)
    now = replace(state_at(config.schedule, config.generator.resolution, 0), resolution=resolution, fade=0.0)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    job = sampling(run, resolution, batch) if work == "sample" else training(run, now)
    with torch.compiler.set_stance("force_eager"), _Flops() as counter:  # what is compiled under a mode stays eager
        job()
    best = best_seconds(job, device, seconds=seconds)
    rate = 2 * GEMM**3 / machine.product
    return Measurement(
        work=work,
        resolution=resolution,
        batch=batch,
        seconds=best,
        gemms=best / batch / machine.gemm,
        utilisation=counter.total / best / rate,
        memory_mb=peak_memory_mb(device),
    )


def schedule_seconds(config: TrainingConfig, rows: list[Measurement]) -> float | None:
    """How long the whole training of a configuration would take, from the measured iterations at each resolution.

    None where a resolution that it trains at has not been measured.
    """
    measured = {row.resolution: 1 / row.images_per_second for row in rows if row.work == "train"}
    top, step = config.generator.resolution, 10_000
    if not set(resolutions(top, config.schedule.initial_resolution)) <= set(measured):
        return None
    total = round(config.schedule.total_kimg * 1000)
    return sum(measured[state_at(config.schedule, top, seen).resolution] * step for seen in range(0, total, step))


HEADER = (
    f"{'work':<8} {'size':>5} {'batch':>5} {'img/s':>9} {'s/kimg':>9} {'gemm/img':>9} {'of gemm rate':>12} "
    f"{'MB':>7} {'gain':>6}"
)


def line(row: Measurement, gain: float | None = None) -> str:
    """A row as text, under HEADER. gain: the reference's time over the row's."""
    return (
        f"{row.work:<8} {row.resolution:>5} {row.batch:>5} {row.images_per_second:>9.1f} "
        f"{1000 / row.images_per_second:>9.2f} {row.gemms:>9.4f} {row.utilisation:>11.0%}  {row.memory_mb:>7.0f} "
        + (f"{gain:>6.2f}" if gain is not None else "")
    )


def as_dict(row: Measurement) -> dict[str, float | str]:
    """A row for JSON."""
    return asdict(row) | {
        "images_per_second": row.images_per_second,
        "seconds_per_kimg": 1000 / row.images_per_second,
    }


class _Flops(TorchDispatchMode):
    """Counts the floating-point operations of products and convolutions; torch's own counter cannot differentiate
    twice."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if (formula := flop_registry.get(function._overloadpacket)) is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


def name_of(device: torch.device) -> str:
    """What a reader of the figures should know of the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({torch.get_num_threads()} threads)" if device.type == "cpu" else device.type


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type in ("mps", "xpu"):
        getattr(torch, device.type).synchronize()
