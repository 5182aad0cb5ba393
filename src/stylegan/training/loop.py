"""Training: `train`. The same call again resumes a run."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylegan import processes, run_files, weights
from stylegan.data.loader import prefetch
from stylegan.data.store import Store, open_store
from stylegan.device import pick_device
from stylegan.errors import SharedError
from stylegan.metrics.evaluate import check
from stylegan.metrics.metric import Evaluation
from stylegan.training import agreement, lock, outputs, run_folder, saving
from stylegan.training.batches import batches, micro_batches
from stylegan.training.circumstances import circumstances, other_bits
from stylegan.training.config import TrainingConfig
from stylegan.training.health import Health, sizes_of_weights
from stylegan.training.monitor import Means, Monitor
from stylegan.training.pace import Pace
from stylegan.training.report import Reporter
from stylegan.training.saving import Saver
from stylegan.training.scores import Scores
from stylegan.training.signals import StopSignals
from stylegan.training.state import TrainState, new_state
from stylegan.training.steps import iteration


@dataclass(frozen=True)
class Outcome:
    """How `train` ended."""

    images_seen: int
    model: Path
    """The last model file."""
    stopped_by: int | None
    """Number of the signal that ended the run early, or None."""


def train(
    config: TrainingConfig | None, run_dir: Path | str, *, progress: bool = True, pace: Pace | None = None
) -> Outcome:
    """Train as `config` says and keep everything in the folder `run_dir`; go on where an earlier call stopped.

    config: None to go on as the run in the folder began. progress: show a bar, or lines where nobody watches.
    pace: what is known of its speed, for the time left.

    Raises InputError where the data, the options or an earlier run in the folder do not fit, before anything is
    written; where another process trains the run; where the processes of a group do not agree; and where the training
    has diverged: ten steps in a row have gradients that are not finite, or what `health` sees.
    """
    config = run_folder.read_run(run_dir) if config is None else config
    device = pick_device(config.device)
    with processes.joined(device), lock.hold(Path(run_dir)) as trainer:  # and left again, for programs that go on
        return _train(config, Path(run_dir), device, trainer, progress, pace or Pace.of(config, device.type))


def _train(
    config: TrainingConfig, run_dir: Path, device: torch.device, trainer: lock.Trainer, progress: bool, pace: Pace
) -> Outcome:
    # make everything, and check it; then write
    store = processes.in_all(lambda: open_store(config.data))
    state, evaluation, resumed = _prepare(config, store, run_dir, device)
    first_rank, config = processes.rank() == 0, state.config
    processes.in_first(partial(_take_over, state, run_dir, trainer, resumed=resumed))
    total_images = int(config.schedule.total_kimg * 1000)
    shown = {"images": store.count, "active": first_rank, "progress": progress}
    monitor = Monitor(run_dir, total_images, state.images_seen, **shown)
    reporter = Reporter(config, store, run_dir, monitor.say, active=first_rank)
    saver = Saver(run_dir, store, monitor.say)
    scores = Scores(run_dir, store, evaluation, saver, monitor.say)
    groups = prefetch(batches(config, store, state.images_seen, device))
    reals_of_grid = outputs.first_reals(config, store)
    stopping = 0
    with closing(monitor), closing(groups), StopSignals() as stop:

        def measure() -> bool:
            """Measure what is due; whether nothing is left, which a signal may have cut short."""
            if not scores.are_due(state):
                return True
            if not stopping:
                with stop.interrupting:
                    scores.add(state)
                    return True
            return False

        measured = True
        if resumed:
            _say_what_goes_on(state, run_dir, monitor)
            measured = measure()  # in case that was cut short
        else:
            _say_what_begins(state, reals_of_grid, monitor)
            processes.in_first(partial(saver.save, state, model=False, patience=0.0))
        reporter.renew()
        stats = run_files.read_stats(run_dir)
        pace.recall(stats)
        before = None if stats else sizes_of_weights(state.g, state.d)
        health = Health(config.loss.kind, stats, varied=outputs.spread(reals_of_grid) > 1, weights=before)

        # train, in groups of iterations that share one state of the schedule
        first_sign = health.first_sign
        means, clock = Means.going_on(state.unreported), _Clock(state.images_seen)
        stopping, warm = processes.largest(stop.signal or 0, device), None
        for now, group in groups if not stopping else ():  # a signal may have come while measuring was made up for
            for reals in group:
                iteration(state, now, reals, means)
                if now.stage != warm and len(group) > 1:
                    clock.lap(state.images_seen)  # which tells nothing: memory was taken, kernels were chosen
                warm = now.stage

            images, seconds, speed = clock.lap(state.images_seen)
            pace.add(now, images, seconds)
            trainer.moved(state.images_seen)
            left = pace.seconds_left(config.schedule, config.generator.resolution, state.images_seen)
            strength = state.augmentation.strength_at(now.resolution) if state.augmentation else None
            monitor.progress(state.images_seen, speed, left, now.resolution, now.fade, strength)

            done = state.images_seen >= total_images
            stopping = processes.largest(stop.signal or 0, device)
            tick = state.images_seen >= state.tick_start + now.tick_images or done
            if not tick and not stopping:
                continue

            # report
            state.seconds += clock.seconds()
            fakes, record = outputs.draw_fakes(state), None
            sheet = run_files.path_of(run_dir, "fakes", state.images_seen)
            monitor.save_image(outputs.sheet(config, fakes), sheet.name)
            agreement.check_state(state)
            if tick:
                state.tick, state.tick_start = state.tick + 1, state.images_seen
                record = outputs.statistics(state, now, means, speed, outputs.variety(fakes, reals_of_grid))
                monitor.report(record)
                trouble, first_sign = processes.on_first(partial(health.look, record))
                if trouble:
                    raise SharedError(run_folder.diverged(run_dir, trouble, state.images_seen, first_sign))
            state.unreported = [] if tick else processes.gather(means.sums())

            # save, then drop what is older
            processes.in_all(trainer.check)
            last = done or stopping > 0
            model_is_due = last or state.tick % config.model_ticks == 0 or state.tick == 1
            save = partial(saver.save, state, model=model_is_due, healthy_before=first_sign)
            processes.in_first(partial(save, patience=saving.PATIENCE if last else None))

            # measure, now that nothing can be lost by it
            if tick:
                trainer.moved(state.images_seen, "measuring")
                measured = measure()
                stopping = processes.largest(stop.signal or 0, device)
            reporter.renew(record, last=done or stopping > 0)
            pace.pause(state.tick, clock.lap(state.images_seen)[1])
            clock = _Clock(state.images_seen)
            if stopping:
                break

        processes.in_first(saver.settle)
        finished = state.images_seen >= total_images and measured
        trainer.ends("finished" if finished else "stopped")
        return _outcome(state, run_dir, saver, None if finished else stopping or None, monitor.say)


def _prepare(
    config: TrainingConfig, store: Store, run_dir: Path, device: torch.device
) -> tuple[TrainState, Evaluation, bool]:
    """The run's state, from its newest file where there is one; its evaluation; and whether it is resumed.

    All that can be refused is refused here, with InputError, and nothing is written.
    """

    def settle() -> TrainingConfig:
        run_folder.check_store(config, store)
        for batch_size in config.schedule.batch_size.values():
            micro_batches(config, batch_size)  # refuses what cannot be divided
        return run_folder.settled(config, run_dir, device)

    def make() -> tuple[TrainState, Evaluation, dict[str, Any] | None]:
        torch.set_num_threads(config.threads)
        torch.backends.cudnn.benchmark = True
        state = new_state(config, device, store.content_hash)
        measuring = replace(config.evaluation, mirror=config.mirror)
        evaluation = Evaluation(measuring, device, generator=state.g_ema, data=config.data, progress=False)
        check(evaluation)
        saved = run_folder.load_newest_state(run_dir)
        if saved is not None:
            state.restore(saved)
        run_folder.refuse_strangers(run_dir, state.images_seen)
        return state, evaluation, saved

    config = processes.in_all(settle)
    config = replace(config, precision=processes.on_first(lambda: config.precision))
    state, evaluation, saved = processes.in_all(make)
    agreement.check_beginning(config, store.content_hash, saved)
    if saved is None and config.start_from:
        state.begin_with(weights.load_model(config.start_from), store.label_names)
    agreement.check_state(state)
    return state, evaluation, saved is not None


def _take_over(state: TrainState, run_dir: Path, trainer: lock.Trainer, *, resumed: bool) -> None:
    """Begin the run's folder, or put it back to where the state is."""
    trainer.begin(state.images_seen)
    run_folder.begin(state.config, run_dir)
    if resumed:
        run_folder.discard_after(run_dir, state.images_seen)
    run_folder.remove_leftovers(run_dir)


def _say_what_begins(state: TrainState, reals_of_grid: Tensor, monitor: Monitor) -> None:
    """Say it, and show the training images and the first samples."""
    config = state.config
    monitor.save_image(outputs.sheet(config, reals_of_grid), "reals.png")
    monitor.say(
        f"training in {monitor.run_dir}: {config.schedule.total_kimg:g} kimg on {state.device}, in {config.precision}; "
        "Ctrl-C saves and stops"
    )
    for sentence in config.taken_over:
        monitor.say(f"from {Path(config.start_from).name}: {sentence}")
    first = run_files.path_of(monitor.run_dir, "fakes", 0)
    monitor.save_image(outputs.sheet(config, outputs.draw_fakes(state)), first.name)


def _say_what_goes_on(state: TrainState, run_dir: Path, monitor: Monitor) -> None:
    monitor.say(f"resuming {run_dir} at {state.images_seen / 1000:.1f} kimg, in {state.config.precision}")
    if sentence := other_bits(state.circumstances, circumstances(state.device)):
        monitor.say(sentence)


def _outcome(
    state: TrainState, run_dir: Path, saver: Saver, stopped_by: int | None, say: Callable[[str], None]
) -> Outcome:
    if processes.rank() == 0 and not run_files.own(run_dir, "model"):  # a finished run's were taken away
        saver.save(state, model=True, patience=saving.PATIENCE)
    processes.barrier()
    if stopped_by is not None:
        say(f"stopped at {state.images_seen / 1000:.1f} kimg, all saved; run the same command to go on")
    return Outcome(state.images_seen, weights.find(run_dir), stopped_by)


class _Clock:
    """Time since the last report, and in laps."""

    def __init__(self, images_seen: int) -> None:
        self._start = self._lap = time.perf_counter()
        self._images = self._images_of_lap = images_seen

    def lap(self, images_seen: int) -> tuple[int, float, float]:
        """Images and seconds since the last lap, and images a second since the start."""
        images, self._images_of_lap = images_seen - self._images_of_lap, images_seen
        last, self._lap = self._lap, time.perf_counter()
        return images, self._lap - last, (images_seen - self._images) / (self._lap - self._start)

    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self._start
