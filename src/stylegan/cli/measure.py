"""The commands that measure: evaluate, classifiers, bench."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from tyro import cli
from tyro.conf import Positional, arg

from stylegan import bench as library
from stylegan import directions as editing
from stylegan import finders, processes
from stylegan import presets as configurations
from stylegan.classifiers.train import ClassifierConfig, train_classifiers
from stylegan.cli.arguments import Device, Flat, Store, command, parse, renamed, say_next
from stylegan.cli.train import HELP
from stylegan.device import pick_device
from stylegan.errors import InputError
from stylegan.files import check_output
from stylegan.metrics import evaluate as metrics
from stylegan.metrics.metric import EvaluateConfig
from stylegan.metrics.record import named_values
from stylegan.presets import Choice
from stylegan.training.config import TrainingConfig


@command
def evaluate(
    what: Annotated[str, Positional, arg(metavar="MODEL")],
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
        check_output(directions, editing.KIND)
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
            named = finders.of_hyperplanes(evaluation.generator, evaluation.classifiers.names, found)
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
        file: File to write.
    """
    check_output(file, "stylegan-classifiers")
    for name, accuracy in train_classifiers(store, file, config).items():
        print(f"{name:<20} {accuracy:.1%} right of images not trained on")
    words = ("evaluate", "MODEL", "--metrics", "ls", "--classifiers", file)
    print(f"done: {file}. Next: {say_next(*words)}")


@dataclass(frozen=True)
class Bench:
    store: Annotated[str, Positional, arg(metavar="STORE")] = ""
    """Store whose training is measured. Default: RGB images of 64 x 64."""
    choice: Annotated[Choice, Flat] = field(default_factory=lambda: Choice("config-f"))
    what: Annotated[library.BenchConfig, Flat] = field(default_factory=library.BenchConfig)


def bench(arguments: Sequence[str]) -> None:
    """Measure sampling and training; as for training, the store and the preset decide the other defaults."""
    # the store may be left out, so it must come first, where no option's value can be meant
    arguments = renamed(arguments)
    store = arguments[0] if arguments and not arguments[0].startswith("-") else ""
    options = arguments[1:] if store else arguments
    chosen, _ = cli(Bench, args=options, add_help=False, return_unknown_args=True)
    choice = dict(vars(chosen.choice if not HELP & set(arguments) else Choice("config-f")))
    if not store and not choice["start_from"]:
        choice["resolution"] = choice["resolution"] or 64
    default = replace(configurations.preset(choice.pop("preset"), store, **choice), precision="auto")

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
        for line in library.report(config, basis.what):
            print(line, flush=True)

    parse(run, "bench", arguments)
