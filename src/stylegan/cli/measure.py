"""The commands that measure: evaluate, classifiers, bench."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from textwrap import fill
from typing import Annotated, Literal

import torch
from tyro import cli
from tyro.conf import Positional, arg

from stylegan import bench as library
from stylegan import directions as editing
from stylegan import processes
from stylegan import resolutions as powers
from stylegan.classifiers.train import ClassifierConfig, train_classifiers
from stylegan.cli.arguments import Device, Flat, Model, Store, command, parse, say_next
from stylegan.cli.train import HELP, Basis
from stylegan.device import pick_device, pick_precision
from stylegan.errors import InputError
from stylegan.files import check_output
from stylegan.metrics import evaluate as metrics
from stylegan.metrics.metric import EvaluateConfig
from stylegan.metrics.record import named_values
from stylegan.training.config import TrainingConfig
from stylegan.training.schedule import from_there_on


@command
def evaluate(
    what: Model,
    config: Annotated[EvaluateConfig, Flat],
    data: str | None = None,
    record: Path | None = None,
    directions: Path | None = None,
    device: Device = "auto",
) -> None:
    """Measure a generator, or a set of images, against a set of reals.

    Args:
        what: Model file, run's folder, bundled model, hf://user/model, or a file that `stylegan import` takes; or a
            store, folder or zip file of images.
        data: Reals: a store, or a folder or zip file of images.
        record: File to which a line for each score is added, and in which it is looked up before measuring. Default:
            metrics.jsonl beside the model, in the current folder for images, a bundled model or one of the hub.
        directions: File for the hyperplanes that ls finds, as editing directions.
    """
    if directions is not None:
        check_output(directions, "stylegan-directions")
    chosen = pick_device(device)
    with processes.joined(chosen, patience=timedelta(days=1)):  # the SVMs are fitted in one process
        evaluation, provenance, home = metrics.open_evaluation(what, data, config, chosen)
        evaluation.wants_hyperplanes = directions is not None
        lines = metrics.measure(evaluation, record or home / "metrics.jsonl", provenance)
        if processes.rank() != 0:
            return
        for line in lines:
            values = "  ".join(f"{name} {value:.5g}" for name, value in named_values(line).items())
            print(f"{line['metric']:<10} {values}   ({line['count']} samples, {line['seconds']:.0f} s)")
        if directions is not None:
            found = evaluation.separability["w" if "w" in evaluation.separability else "z"]
            named = editing.of_hyperplanes(evaluation.generator, evaluation.classifiers.names, found)
            editing.save(directions, replace(named, model=Path(what).name))


@command
def classifiers(
    store: Store,
    file: Annotated[Path, Positional, arg(metavar="FILE")],
    config: Annotated[ClassifierConfig, Flat],
) -> None:
    """Train classifiers of a store's attributes (appendix C), for `stylegan evaluate --metrics ls`.

    The file is written at the end. A training that is interrupted is not resumed: repeating the command begins anew.

    Args:
        store: Folder that `stylegan prepare` made.
        file: File to write.
    """
    check_output(file, "stylegan-classifiers")
    for name, accuracy in train_classifiers(store, file, config).items():
        print(f"{name:<20} {accuracy:.1%} right of images not trained on")
    words = ("evaluate", "MODEL", "--metrics", "ls", "--classifiers", file)
    print(f"done: {file}. Next: {say_next(*words)}")


@dataclass(frozen=True)
class Bench(Basis):
    preset: str = "config-f"
    """Configuration whose networks, losses and batch sizes are measured; `stylegan presets` lists them. Options below
    change single values."""
    resolution: int | None = None
    """Full resolution. Default: the store's, or 64 without a store."""
    resolutions: tuple[int, ...] = ()
    """Resolutions to measure at. Default: all that training passes through."""
    batch: tuple[int, ...] = ()
    """Batch sizes. Default: the schedule's own for each resolution."""
    work: tuple[Literal["sample", "train"], ...] = ("sample", "train")
    """sample, train, or both."""
    reference: bool = False
    """Measure as well what a plain port does (contiguous memory, nothing fused, float32), and print the gain."""
    seconds: float = 3.0
    """How long each row is repeated; the best time counts."""
    json_: Annotated[bool, arg(name="json")] = False
    """Print JSON, a line for each row."""


def bench(arguments: Sequence[str]) -> None:
    """Measure sampling and training; as for training, the store and the preset decide the other defaults."""
    # the store may be left out, so it must come first, where no option's value can be meant
    store = arguments[0] if arguments and not arguments[0].startswith("-") else ""
    options = list(arguments[1:] if store else arguments)
    chosen, _ = cli(Bench, args=options, add_help=False, return_unknown_args=True)
    chosen = replace(chosen, store=store, resolution=chosen.resolution or (None if store or chosen.start_from else 64))
    known = not HELP & set(arguments)
    default = replace(chosen.config() if known else Bench(resolution=64).config(), precision="auto")

    def run(
        basis: Annotated[Bench, Flat],
        config: Annotated[TrainingConfig, Flat] = default,
    ) -> None:
        """Measure sampling and training, and say how long the whole training would take, and what limits it.

        A "gemm" is the time of one float32 product of two 4096 x 4096 matrices on the same device. A row is limited by
        the largest of three parts of its time: its multiplications at the rate of that product, its operations at the
        time of one on a small tensor, and the rest, which is passes over memory.
        """
        if basis.store != store:
            raise InputError(f"write the store first: stylegan bench {basis.store} ...")
        _print_bench(basis, config)

    parse(run, "bench", arguments)


def _print_bench(basis: Bench, config: TrainingConfig) -> None:
    """Measure, and print a table and its summary, or JSON."""
    if basis.batch and min(basis.batch) < 1:
        raise InputError("--batch must be 1 or more")
    full = config.generator.resolution
    if not set(basis.resolutions) <= set(powers.resolutions(full)):
        raise InputError(f"--resolutions must be powers of two from 4 to {full}")
    device = pick_device(config.device)
    config = replace(config, precision=pick_precision(config.precision, device))
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    machine, rows = library.machine(device, config.precision), []
    settings = {"device": library.name_of(device), "precision": config.precision, "compiled": config.compile}
    if not basis.json_:
        print(f"{settings['device']}, {config.precision}{', compiled' * config.compile}; ", end="")
        print(f"one gemm takes {machine.gemm:.4f} s\n{library.HEADER}")
    for kind in basis.work:
        for r in basis.resolutions or powers.resolutions(full, min(config.schedule.initial_resolution, full)):
            for size in basis.batch or (int(from_there_on(config.schedule.batch_size, r)),):
                row, gain = library.measure(config, kind, r, size, machine, seconds=basis.seconds), None
                rows.append(row)
                if basis.reference:
                    gain = library.measure_plain(config, kind, r, size, seconds=basis.seconds) / row.seconds
                record = settings | library.as_dict(row) | {"gain": gain}
                print(json.dumps(record) if basis.json_ else library.line(row, gain).rstrip(), flush=True)
    times = library.schedule_times(config, rows, device.type)
    if times is None or (basis.json_ and (basis.resolutions or basis.batch)):
        return
    print(json.dumps({"schedule": asdict(times)}) if basis.json_ else fill(library.summary(config, times, rows), 96))
