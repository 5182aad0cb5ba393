"""The commands that train: train, demo, presets."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, TextIO

from tyro import cli
from tyro.conf import Positional, arg

from stylegan import demo as library
from stylegan import planning
from stylegan import presets as configurations
from stylegan.bench import duration
from stylegan.cli.arguments import Device, Flat, Store, command, parse, renamed, say_next
from stylegan.config import to_dict
from stylegan.device import Precision
from stylegan.errors import InputError
from stylegan.presets import Choice
from stylegan.terminal import is_first
from stylegan.training.config import TrainingConfig
from stylegan.training.lock import run_state
from stylegan.training.loop import Outcome
from stylegan.training.loop import train as start
from stylegan.training.run_folder import read_run
from stylegan.training.status import status as stand_of

HELP, HELP_ALL = {"-h", "--help"}, "--help-all"


@dataclass(frozen=True)
class Training:
    store: Store = ""
    run: Annotated[str, Positional, arg(metavar="RUN")] = ""
    """Folder of the run. One that holds a run is resumed, with the options that it began with."""
    choice: Annotated[Choice, Flat] = field(default_factory=Choice)
    hours: float | None = None
    """Hours that the training may take: widths, growing and length of a run without a preset, and the length of one
    with a preset, are fitted to them. Default: 2 without a preset and --kimg; else these decide."""
    dry_run: bool = False
    """Print the whole configuration and stop."""


def train(arguments: Sequence[str]) -> int | None:
    """Train, or go on: the preset, the store and an earlier run decide the defaults of all other options."""
    arguments = renamed(arguments)
    if HELP & set(arguments):
        return parse(_short, "train", ["--help"])
    chosen, _ = cli(Training, args=[a for a in arguments if a != HELP_ALL], add_help=False, return_unknown_args=True)
    choice = chosen.choice
    if HELP_ALL in arguments:
        arguments = ["--help"]
        if not chosen.store and not choice.start_from:
            choice = replace(choice, resolution=choice.resolution or 64)
    elif not chosen.store or not chosen.run:
        raise InputError("train needs a store and a folder for the run: stylegan train STORE RUN")
    if HELP & set(arguments) or not _chooses(chosen):
        return _train(configurations.default_config(chosen.run, chosen.store, choice), arguments)
    here, _ = cli(planning.Machine, args=arguments, add_help=False, return_unknown_args=True)
    _train(planning.unfitted(chosen.store, choice, here), arguments, begin=False)  # refuses what cannot be read
    print("measuring the speed of this machine ...", file=_where(chosen), flush=True)
    plan = planning.plan(chosen.store, choice, here, chosen.hours)
    return _train(plan.config, arguments, plan)


def _train(
    default: TrainingConfig, arguments: Sequence[str], plan: planning.Plan | None = None, *, begin: bool = True
) -> int | None:
    """Read all options, and train."""

    def run(
        basis: Annotated[Training, Flat],
        config: Annotated[TrainingConfig, Flat] = default,
    ) -> int | None:
        """Train on a store and keep everything in the folder RUN. To resume: the same command, or no options at all."""
        if not begin:
            return None
        for line in planning.sentences(plan, config, basis.run) if plan else ():
            print(line, file=_where(basis), flush=True)
        if basis.dry_run:
            print(json.dumps(to_dict(config), indent=2))
            return None
        outcome = start(config, basis.run, pace=plan.pace_of(config) if plan else None)
        return _end(outcome, f"done: {outcome.model}. Next: {say_next('generate', outcome.model, '--out', 'pictures')}")

    return parse(run, "train", arguments)


def _where(chosen: Training) -> TextIO:
    """Where prose goes: a dry run's output is JSON alone."""
    return sys.stderr if chosen.dry_run else sys.stdout


def _chooses(chosen: Training) -> bool:
    """Whether the configuration follows from the images, this machine and the time there is."""
    run = Path(chosen.run)
    if (run / "run.json").exists():
        if chosen.hours is not None:
            kimg = read_run(run).schedule.total_kimg
            longer = f"it ends at {kimg:g} kimg, and --kimg {2 * kimg:g} makes it longer"
            print(f"the run goes on as it began, without --hours; {longer}", file=_where(chosen))
        return False
    if os.environ.get("WORLD_SIZE", "1") != "1":  # each process would measure something else
        if chosen.hours is not None:
            raise InputError("several processes do not measure how long a training takes; give --kimg, not --hours")
        return False
    return not run.is_file() and (chosen.choice.preset is None or chosen.hours is not None)


def _short(
    basis: Annotated[Training, Flat],
    mirror: bool = True,
    seed: int = 0,
    device: Device = "auto",
    precision: Precision | None = None,
    augment: Annotated[Literal["none", "ada", "diff"], arg(name="augment.kind")] = "none",
) -> None:
    """Train on a store and keep everything in the folder RUN. To resume: the same command, or no options at all.

    These are the options that people use; `stylegan train --help-all` has every option.

    Args:
        mirror: Flip images at random. Default: yes, but in the presets demo and lsun-*.
        seed: Seed of every random number of the run.
        precision: float32, tf32, bf16, or auto: the fastest that serves on this machine. Default: the
            preset's.
        augment: Augmentation of what the discriminator sees, for few images: ada (adaptive) or diff. The others of its
            options are in --help-all.
    """


def _end(outcome: Outcome, sentence: str) -> int | None:
    """The exit code of a training, and what to say of one that came to its end."""
    if outcome.stopped_by is not None:
        return 128 + outcome.stopped_by
    if is_first():
        print(sentence)
    return None


EXIT_CODES = {"alive": 0, "finished": 0, "stopped": 3, "stalled": 4, "damaged": 5}
"""Of `status`, by what it finds; 2 where there is no run."""


@command
def status(run: Annotated[Path, Positional, arg(metavar="RUN")]) -> int:
    """Say how a run stands, from its files: progress, speed, time left, advice, scores, files.

    The exit code is 0 where nothing is to be done (the run is trained, or finished); 2 where there is no run; 3 where
    it has stopped, and the same command goes on; 4 where it is stalled: its process lives, but makes no progress; 5
    where it is damaged and cannot go on as it is.

    Args:
        run: Folder of the run.
    """
    fares = run_state(run)
    try:
        now = stand_of(run)
    except InputError:
        if fares.state != "damaged":
            raise
        print(f"state      damaged: {fares.sentence}")
        return EXIT_CODES["damaged"]
    schedule = f"{now.images_seen / 1000:.1f} of {now.total_images / 1000:g} kimg"
    growing = f", fading in ({1 - now.fade:.0%})" if now.fade else ""
    print(f"run        {now.run}, preset {now.config.preset or 'none'}, trained on {now.config.data}")
    print(f"progress   {min(1, now.images_seen / now.total_images):.0%}: {schedule}{now.passes and ', ' + now.passes}")
    print(f"state      {fares.state}: {fares.sentence}")
    print(f"stage      {'finished' if now.finished else f'{now.resolution} x {now.resolution}{growing}'}")
    if now.images_per_second is not None:
        left = "" if now.finished or now.seconds_left is None else f", about {duration(now.seconds_left)} left"
        print(f"speed      {now.images_per_second:.1f} images a second; {duration(now.seconds)} so far{left}")
    print(f"written    {'never' if now.idle is None else f'{duration(max(0, now.idle))} ago'}")
    for score in now.scores:
        print(f"score      {score.name} {score.newest:.4g}, best {score.best:.4g} at {score.images_seen / 1000:g} kimg")
    for sentence in now.warnings:
        print(f"advice     {sentence}")
    if now.last_warning is not None and now.last_warning.sentence not in now.warnings:
        print(f"earlier    at {now.last_warning.images_seen / 1000:g} kimg: {now.last_warning.sentence}")
    kept = [*now.models[-1:], *now.states[-1:], *now.grids[-1:], *now.others]
    print(f"files      {now.bytes / 1e6:.0f} MB; {', '.join(kept) or 'none yet'}")
    return EXIT_CODES[fares.state]


@command
def demo(
    out: Annotated[Path, Positional, arg(metavar="FOLDER")] = Path("demo"),
    *,
    count: int = 4000,
    minutes: float = library.MINUTES,
) -> int | None:
    """Draw faces with the bundled model, then train a small StyleGAN on portraits: eight minutes on two CPU cores.

    Args:
        out: Folder for everything; repeat the command to go on after an interruption.
        count: Number of portraits to train on.
        minutes: How long to train, unless a training has begun; at least 16,000 and at most 60,000 images.
    """
    more = say_next("generate", out / "run", "--seeds", "100-163", "--psi", "0.8", "--out", "more")
    return _end(
        library.demo(out, count, minutes),
        f"Pictures are in {out}: faces.png (of the bundled model), reals.png (the training images), "
        f"progress.png (the same eight seeds from first to "
        f"last), samples.png, style-mixing.png (pose and shape from the column, colors from the row). "
        f"Next: {more}, or stylegan prepare YOUR_IMAGES store",
    )


@command
def presets() -> None:
    """List the named run configurations, and how near their samples come to real images after a time.

    That is the kernel distance x 1000 to held-out images in features of MobileNetV2, where it was measured.
    """
    for name in configurations.PRESETS:
        print(f"{name:<14} {configurations.summary(name)}")
        if name in configurations.MEASURED:
            print(f"{'':<14} kernel distance x 1000, reals 0: {configurations.MEASURED[name]}")
