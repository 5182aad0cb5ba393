#!/usr/bin/env python3
"""How long sampling and training take here, side by side with another checkout, as a Markdown table.

    benchmarks/speed.py [--rows thin official-64 ...] [--precisions auto bf16 float32] [--compiled] [--graphs] [--plain]
                        [--against PATH [--against-precision float32]] [--rounds 5] [--seconds 3] [--device auto]
                        [--tiny]

Each row is measured in every precision named, with --compiled compiled as well, with --plain also as a plain port
computes, and with --against in the code of another checkout (a git worktree). Each in a process of its own, all of them
in turn, round after round, so that whatever else the machine does meets them all; a row's time is the median of its
rounds. The ratio is to the last column of times, which is the other checkout, the plain form, or the last precision;
the spread is that of the ratio over the rounds. --tiny measures nothing of interest: networks of 8 maps and at most
8 images of 16 x 16, to try a command on any machine before it is run on a lent one.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Row:
    work: str
    resolution: int
    batch: int
    preset: str = "config-f"
    thin: bool = False
    tiny: bool = False


ROWS = {
    "thin": Row("train", 64, 16, thin=True),
    "official-64": Row("train", 64, 4),
    "official-256": Row("train", 256, 2),
    "growing": Row("train", 64, 32, preset="growing"),
    "demo": Row("train", 32, 8, preset="demo"),
    "sample-256": Row("sample", 256, 4),
    "sample-1024": Row("sample", 1024, 1),
    # for GPUs
    "official-64-batch-64": Row("train", 64, 64),
    "official-256-batch-32": Row("train", 256, 32),
    "official-1024-batch-8": Row("train", 1024, 8),
    "sample-64-batch-256": Row("sample", 64, 256),
    "sample-256-batch-64": Row("sample", 256, 64),
    "sample-1024-batch-16": Row("sample", 1024, 16),
}
ON_CPU, ON_GPU = list(ROWS)[:7], ["thin", *list(ROWS)[7:]]


@dataclass(frozen=True)
class Contender:
    """One column: which code, and how it computes."""

    source: str
    precision: str
    compiled: bool = False
    plain: bool = False
    graphs: bool = False

    @property
    def title(self) -> str:
        other = "" if self.source == str(HERE) else f"{Path(self.source).name} "
        return f"{other}{'plain ' * self.plain}{self.precision}{' compiled' * self.compiled}{' graphs' * self.graphs}"


def seconds_of(row: Row, contender: Contender, device: str, seconds: float) -> float:
    """Seconds of one batch, measured in a new process in the contender's code."""
    job = {"row": asdict(row), "contender": asdict(contender), "device": device, "seconds": seconds}
    environment = os.environ | {"PYTHONPATH": str(Path(contender.source) / "src")}
    done = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(job)], env=environment, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(f"{contender.title} has failed, see above")
    return float(done.stdout.splitlines()[-1])


def child(job: dict) -> float:
    """What `seconds_of` runs. It must work with older code too: only what that has is imported, and as late."""
    from stylegan import bench, presets
    from stylegan.allocator import keep_freed_memory
    from stylegan.networks.layers import FeatureMaps

    row, contender = Row(**job["row"]), Contender(**job["contender"])
    preset = presets.PRESETS.get(row.preset, presets.PRESETS["small"])  # what older code calls the growing one
    config = preset(presets.Shape(row.resolution))
    config = replace(config, device=job["device"], precision=contender.precision, compile=contender.compiled)
    if contender.graphs:
        config = replace(config, graphs=True)
    if row.thin or row.tiny:
        thin = FeatureMaps(base=64, maximum=8) if row.tiny else FeatureMaps(base=1024, maximum=128)
        g, d = (replace(part, feature_maps=thin) for part in (config.generator, config.discriminator))
        config = replace(config, generator=g, discriminator=d)
    unmeasured = bench.Machine(1, 1)  # the product's time is not asked for
    what = (config, row.work, row.resolution, row.batch, unmeasured)
    if contender.plain:
        with bench.reference_paths():
            return bench.measure(*what, seconds=job["seconds"]).seconds
    keep_freed_memory()
    return bench.measure(*what, seconds=job["seconds"]).seconds


def contenders(options: argparse.Namespace) -> list[Contender]:
    """The columns; the last is what the others are compared with."""
    found = [Contender(str(HERE), precision) for precision in options.precisions]
    if options.compiled:
        found = [replace(each, compiled=compiled) for each in found for compiled in (True, False)]
    if options.graphs:
        found += [Contender(str(HERE), precision, graphs=True) for precision in options.precisions]
    if options.plain:
        found.append(Contender(str(HERE), "float32", plain=True))
    if options.against:
        found.append(Contender(str(options.against.resolve()), options.against_precision))
    return found


def table_row(name: str, row: Row, times: list[list[float]]) -> str:
    """A line of the table, from the seconds of each round of each contender."""
    cells = []
    for own in times:
        ratios = sorted(a / b for a, b in zip(own, times[-1], strict=True))
        median = statistics.median(own)
        text = f"{median * 1000:.1f} ms, {row.batch / median:.1f}/s"
        if own is not times[-1]:
            text += f", **{statistics.median(ratios):.3f}** ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        cells.append(text)
    return f"| {name}: {row.work} {row.resolution}, batch {row.batch} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps, xpu, or auto")
    parser.add_argument("--rows", nargs="+", choices=ROWS, help="all that suit the device unless given")
    parser.add_argument("--precisions", nargs="+", default=["auto", "bf16", "float32"])
    parser.add_argument("--compiled", action="store_true", help="measure compiled networks too")
    parser.add_argument("--graphs", action="store_true", help="measure CUDA graphs too")
    parser.add_argument("--plain", action="store_true", help="measure what a plain port does too, in float32")
    parser.add_argument("--against", type=Path, help="another checkout of this project")
    parser.add_argument("--against-precision", default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each process repeats its work")
    parser.add_argument("--tiny", action="store_true", help="the same rows so small that they only show that they run")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(child(json.loads(options.child)))
        return
    if options.against and not (options.against / "src" / "stylegan").is_dir():
        parser.error(f"{options.against} is no checkout of this project")
    import torch

    sys.path.insert(0, str(HERE / "src"))
    from stylegan import bench
    from stylegan.device import pick_device, pick_precision

    device, columns = pick_device(options.device), contenders(options)
    auto = f"; auto is {pick_precision('auto', device)}" if "auto" in options.precisions else ""
    print(f"{bench.name_of(device)}, torch {torch.__version__}, median of {options.rounds} rounds{auto}\n")
    print("| | " + " | ".join(column.title for column in columns) + " |\n" + "|---" * (1 + len(columns)) + "|")
    for name in options.rows or (ON_CPU if device.type == "cpu" else ON_GPU):
        row = ROWS[name]
        if options.tiny:
            row = replace(row, resolution=16, batch=min(row.batch, 8), tiny=True)
        times: list[list[float]] = [[] for _ in columns]
        for _ in range(options.rounds):
            for own, column in zip(times, columns, strict=True):
                own.append(seconds_of(row, column, options.device, options.seconds))
        print(table_row(name, row, times), flush=True)


if __name__ == "__main__":
    main()
