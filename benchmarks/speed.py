#!/usr/bin/env python3
"""The speed tables of docs/performance.md, as Markdown.

    benchmarks/speed.py [--device auto] [--seconds 5] [--compiled float32 tf32 bf16]

On a CPU: the five rows that other implementations were measured at, fast and plain in the same run, and compiled
sampling. On a GPU: 64, 256 and 1024 in float32, tf32 and bf16, eager and, in the precisions named, compiled; compiling
a training takes minutes.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from stylegan import bench, presets
from stylegan.allocator import keep_freed_memory
from stylegan.device import pick_device
from stylegan.networks.layers import FeatureMaps

THIN = FeatureMaps(base=1024, maximum=128)


@dataclass(frozen=True)
class Row:
    work: str
    resolution: int
    batch: int
    thin: bool = False


PRECISIONS = ("float32", "tf32", "bf16")
CPU_ROWS = [
    Row("sample", 256, 4),
    Row("sample", 1024, 1),
    Row("train", 64, 4),
    Row("train", 64, 16, thin=True),
    Row("train", 256, 2),
]
GPU_ROWS = [
    *(Row("sample", *size) for size in ((64, 256), (256, 64), (1024, 16))),
    *(Row("train", *size) for size in ((64, 64), (256, 32), (1024, 8))),
]


def measure(row: Row, device: str, machine: bench.Machine, seconds: float, **settings) -> bench.Measurement:
    config = replace(presets.PRESETS["config-f"](presets.Shape(row.resolution)), device=device, **settings)
    if row.thin:
        g, d = (replace(part, feature_maps=THIN) for part in (config.generator, config.discriminator))
        config = replace(config, generator=g, discriminator=d)
    return bench.measure(config, row.work, row.resolution, row.batch, machine, seconds=seconds)


def on_cpu(seconds: float, _: list[str]) -> Iterator[str]:
    machine = bench.machine(torch.device("cpu"), "float32")
    yield f"{bench.name_of(torch.device('cpu'))}, torch {torch.__version__}; one gemm takes {machine.gemm:.3f} s\n"
    yield "| work | gemm/image | floor | of the gemm rate | plain | gain | compiled |\n|---|---|---|---|---|---|---|"
    for row in CPU_ROWS:
        fast = measure(row, "cpu", machine, seconds)
        with bench.reference_paths():
            plain = measure(row, "cpu", machine, seconds)
        compiled = f"{measure(row, 'cpu', machine, seconds, compile=True).gemms:.3f}" if row.work == "sample" else ""
        yield (
            f"| {row.work} {row.resolution}{' thin' * row.thin}, batch {row.batch} | {fast.gemms:.3f} "
            f"| {fast.gemms * fast.utilisation:.3f} | {fast.utilisation:.0%} | {plain.gemms:.3f} "
            f"| {plain.gemms / fast.gemms:.2f} | {compiled} |"
        )


def on_gpu(seconds: float, precisions_compiled: list[str]) -> Iterator[str]:
    device = torch.device("cuda")
    yield f"{bench.name_of(device)}, torch {torch.__version__}\n"
    yield "| work | precision | compiled | images/s | gemm/image | of the rate of products | MB |\n" + "|---" * 7 + "|"
    for row in GPU_ROWS:
        for precision in PRECISIONS:
            machine = bench.machine(device, precision)
            for compiled in (False, True) if precision in precisions_compiled else (False,):
                torch.compiler.reset()
                found = measure(row, "cuda", machine, seconds, precision=precision, compile=compiled)
                yield (
                    f"| {row.work} {row.resolution}, batch {row.batch} | {precision} | {'yes' if compiled else 'no'} "
                    f"| {found.images_per_second:.1f} | {found.gemms:.3f} | {found.utilisation:.0%} "
                    f"| {found.memory_mb:.0f} |"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--compiled", nargs="*", choices=PRECISIONS, default=PRECISIONS)
    options = parser.parse_args()
    keep_freed_memory()
    on_device = on_gpu if pick_device(options.device).type == "cuda" else on_cpu
    for line in on_device(options.seconds, options.compiled):
        print(line, flush=True)


if __name__ == "__main__":
    main()
