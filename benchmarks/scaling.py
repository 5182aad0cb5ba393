#!/usr/bin/env python3
"""What GPUs exchange for a training step, against what they compute: the tables of docs/scaling.md, as Markdown.

    benchmarks/scaling.py [--resolutions 256 1024] [--gpus 8 64 512] [--batch 4] [--precision float32]

Nothing is measured. Bytes exchanged, bytes moved in memory and multiplications are those of this program's own
iteration on fake tensors (as benchmarks/launches.py). Times follow from the rates given as options: a step takes the
time of its multiplications and that of its bytes, or that of launching its operations, if that is longer; then the
exchange, which here waits for the gradients. --batch: images for each GPU, in whole groups of D's statistics.
"""

import argparse
import math
from dataclasses import dataclass
from unittest import mock

from launches import trace

from stylegan import processes
from stylegan.networks.layers import FeatureMaps

LINKS = {  # GB/s that go round a ring through all GPUs
    "NVLink, or 8 adapters of 400 Gbit/s a machine": 300.0,
    "one adapter of 400 Gbit/s": 40.0,
    "100 Gbit/s": 10.0,
    "10 Gbit/s": 1.0,
}


@dataclass(frozen=True)
class Step:
    """One iteration, a step of D and one of G, of one GPU."""

    launches: int
    moved: int
    """Bytes read and written in its memory."""
    multiplied: int
    """Floating-point operations of convolutions and products."""
    exchanged: tuple[int, ...]
    """Bytes of each message that is summed over all."""

    def seconds(self, options: argparse.Namespace) -> float:
        """Without the exchange."""
        work = self.multiplied / (options.tflops * 1e12) + self.moved / (options.memory_gb * 1e9)
        return max(work, self.launches * options.launch_us * 1e-6)

    def seconds_of_exchange(self, gpus: int, gigabytes: float, options: argparse.Namespace) -> float:
        """Of a ring, in which every GPU sends 2 (n - 1) / n of the bytes, with a tree's delays for each message."""
        bytes_sent = 2 * (gpus - 1) / gpus * sum(self.exchanged)
        hops = 2 * math.ceil(math.log2(gpus)) * len(self.exchanged)
        return bytes_sent / (gigabytes * 1e9) + hops * options.hop_us * 1e-6


def step(resolution: int, batch: int, precision: str = "float32", maps: FeatureMaps | None = None) -> Step:
    """The iteration of one GPU at this resolution, grown."""
    messages: list[int] = []

    def note(tensors) -> None:
        messages.append(sum(tensor.numel() * tensor.element_size() for tensor in tensors))

    with mock.patch.object(processes, "all_reduce_sum", note):
        operations = trace(resolution, batch, precision, maps)
    own = messages[len(messages) // 2 :]  # of the second of two iterations, the one that is traced
    return Step(len(operations), sum(o.bytes for o in operations), sum(o.flops for o in operations), tuple(own))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolutions", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--gpus", type=int, nargs="+", default=[8, 64, 512])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32", help="of activations")
    parser.add_argument("--tflops", type=float, default=165.0, help="a third of an H100's peak in tf32")
    parser.add_argument("--memory-gb", type=float, default=3000.0, help="GB/s of a GPU's memory")
    parser.add_argument("--launch-us", type=float, default=7.0, help="time to start an operation")
    parser.add_argument("--hop-us", type=float, default=10.0, help="delay of a message between two GPUs")
    options = parser.parse_args()
    print("| images | launches | TFLOP | GB moved | messages | MB exchanged | computing, ms |")
    print("|---" * 7 + "|")
    steps = {resolution: step(resolution, options.batch, options.precision) for resolution in options.resolutions}
    for resolution, one in steps.items():
        sizes = f"{one.launches:,} | {one.multiplied / 1e12:.2f} | {one.moved / 1e9:.0f} | {len(one.exchanged)}"
        print(
            f"| {options.batch} of {resolution} x {resolution} | {sizes} | {sum(one.exchanged) / 1e6:.1f} | "
            f"{one.seconds(options) * 1e3:.0f} |"
        )
    print(f"\n| | GPUs | batch | MB sent by each | {' | '.join(LINKS)} |\n|---|---|---|---{'|---' * len(LINKS)}|")
    for resolution, one in steps.items():
        for gpus in options.gpus:
            computing, sent = one.seconds(options), 2 * (gpus - 1) / gpus * sum(one.exchanged) / 1e6
            cells = []
            for gigabytes in LINKS.values():
                exchange = one.seconds_of_exchange(gpus, gigabytes, options)
                share, rate = computing / (computing + exchange), gpus * options.batch / (computing + exchange)
                cells.append(f"{exchange * 1e3:.1f} ms, {share:.0%}, {rate:,.0f}/s")
            row = f"{resolution} x {resolution} | {gpus} | {gpus * options.batch:,} | {sent:.0f}"
            print(f"| {row} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
