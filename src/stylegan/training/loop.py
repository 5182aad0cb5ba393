"""Training: `train`. The same call again resumes a run."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from stylegan import processes, run_files, weights
from stylegan.data.loader import prefetch
from stylegan.data.store import Store, open_store
from stylegan.device import pick_device
from stylegan.metrics.evaluate import check
from stylegan.metrics.metric import Evaluation
from stylegan.training import lock, outputs, run_folder, state_file
from stylegan.training.batches import batches, micro_batches
from stylegan.training.config import TrainingConfig
from stylegan.training.monitor import Means, Monitor, read_stats
from stylegan.training.pace import Pace
from stylegan.training.report import Reporter
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


def train(config: TrainingConfig | None, run_dir: Path | str, *, progress: bool = True) -> Outcome:
    """Train as `config` says and keep everything in the folder `run_dir`; go on where an earlier call stopped.

    config: None to go on as the run in the folder began. progress: show a bar, or lines where nobody watches.

    Raises InputError where the data, the options or an earlier run in the folder do not fit, before anything is
    written; where another process trains the run; and where ten steps in a row have gradients that are not finite.
    """
    config = run_folder.read_run(run_dir) if config is None else config
    device = pick_device(config.device)
    with processes.joined(device), lock.hold(Path(run_dir)) as trainer:  # and left again, for programs that go on
        return _train(config, Path(run_dir), device, trainer, progress=progress)


def _train(
    config: TrainingConfig, run_dir: Path, device: torch.device, trainer: lock.Trainer, *, progress: bool
) -> Outcome:
    # make everything, and check it; then write
    store = open_store(config.data)
    state, evaluation, resumed = _prepare(config, store, run_dir, device)
    first_rank, config = processes.rank() == 0, state.config
    processes.barrier()  # all have checked
    if first_rank:
        trainer.begin(state.images_seen)
        run_folder.begin(config, run_dir)
        if resumed:
            run_folder.discard_after(run_dir, state.images_seen)
        run_folder.remove_leftovers(run_dir)
    processes.barrier()

    total_images = int(config.schedule.total_kimg * 1000)
    shown = {"images": store.count, "active": first_rank, "progress": progress}
    monitor = Monitor(run_dir, total_images, state.images_seen, **shown)
    reporter = Reporter(config, store, run_dir, monitor.say, active=first_rank)
    groups = prefetch(batches(config, store, state.images_seen, device))
    reals_of_grid = outputs.first_reals(config, store)
    with closing(monitor), closing(groups), StopSignals() as stop:
        # say what begins, or goes on
        if resumed:
            monitor.say(f"resuming {run_dir} at {state.images_seen / 1000:.1f} kimg, in {config.precision}")
            with stop.interrupting:  # measure, in case that was cut short
                outputs.measure_if_due(state, store, evaluation, run_dir, monitor.say)
        else:
            monitor.save_image(outputs.sheet(config, reals_of_grid), "reals.png")
            monitor.say(
                f"training in {run_dir}: {total_images / 1000:g} kimg on {device}, in {config.precision}; "
                "Ctrl-C saves and stops"
            )
            for sentence in config.taken_over:
                monitor.say(f"from {Path(config.start_from).name}: {sentence}")
            first = run_files.path_of(run_dir, "fakes", 0)
            monitor.save_image(outputs.sheet(config, outputs.draw_fakes(state)), first.name)
        reporter.renew()
        pace = Pace(config.generator, config.discriminator, device.type)
        pace.recall(read_stats(run_dir))

        # train, in groups of iterations that share one state of the schedule
        means, clock = Means(), _Clock(state.images_seen)
        for now, group in groups:
            for reals in group:
                iteration(state, now, reals, means)

            seconds, speed = clock.lap(state.images_seen)
            pace.add(now, len(group) * now.batch_size, seconds)
            trainer.moved(state.images_seen)
            left = pace.seconds_left(config.schedule, config.generator.resolution, state.images_seen)
            strength = state.augmentation.strength_at(now.resolution) if state.augmentation else None
            monitor.progress(state.images_seen, speed, left, now.resolution, now.fade, strength)

            done = state.images_seen >= total_images
            stopping = processes.any_process(stop.signal is not None, device)
            tick = state.images_seen >= state.tick_start + now.tick_images or done
            if not tick and not stopping:
                continue

            # report
            state.seconds += clock.seconds()
            fakes, record = outputs.draw_fakes(state), None
            sheet = run_files.path_of(run_dir, "fakes", state.images_seen)
            monitor.save_image(outputs.sheet(config, fakes), sheet.name)
            if tick:
                state.tick, state.tick_start = state.tick + 1, state.images_seen
                record = outputs.statistics(state, now, means, speed, outputs.variety(fakes, reals_of_grid))
                monitor.report(record)

            # save, then drop what is older
            trainer.check()
            if first_rank:
                if done or stopping or state.tick % config.model_ticks == 0 or state.tick == 1:
                    outputs.save_model(state, store, run_dir)
                path = run_files.claim(run_files.path_of(run_dir, "state", state.images_seen))
                state_file.save(path, state.to_dict())
                run_folder.prune(run_dir, "state", config.keep)

            # measure, now that nothing can be lost by it
            if tick and not stopping:
                trainer.moved(state.images_seen, "measuring")
                with stop.interrupting:
                    outputs.measure_if_due(state, store, evaluation, run_dir, monitor.say)
                stopping = processes.any_process(stop.signal is not None, device)
            reporter.renew(record, last=done or stopping)
            clock = _Clock(state.images_seen)
            if stopping:
                break

    trainer.ends("finished" if state.images_seen >= total_images else "stopped")
    return _outcome(state, store, run_dir, stop.signal, monitor.say)


def _prepare(
    config: TrainingConfig, store: Store, run_dir: Path, device: torch.device
) -> tuple[TrainState, Evaluation, bool]:
    """The run's state, from its newest file where there is one; its evaluation; and whether it is resumed.

    All that can be refused is refused here, with InputError, and nothing is written.
    """
    run_folder.check_store(config, store)
    for batch_size in config.schedule.batch_size.values():
        micro_batches(config, batch_size)  # refuses what cannot be divided
    config = run_folder.settled(config, run_dir, device)

    torch.set_num_threads(config.threads)
    torch.backends.cudnn.benchmark = True
    state = new_state(config, device, store.content_hash)
    measuring = replace(config.evaluation, mirror=config.mirror)
    evaluation = Evaluation(measuring, device, generator=state.g_ema, data=config.data, progress=False)
    check(evaluation)

    saved = run_folder.load_newest_state(run_dir, warn=lambda message: print(f"warning: {message}", flush=True))
    if saved is not None:
        state.restore(saved)
    elif config.start_from:
        state.begin_with(weights.load_model(config.start_from), store.label_names)
    run_folder.refuse_strangers(run_dir, state.images_seen)
    return state, evaluation, saved is not None


def _outcome(
    state: TrainState, store: Store, run_dir: Path, stopped_by: int | None, say: Callable[[str], None]
) -> Outcome:
    if processes.rank() == 0 and not run_files.own(run_dir, "model"):  # a finished run's were taken away
        outputs.save_model(state, store, run_dir)
    processes.barrier()
    if state.images_seen >= state.config.schedule.total_kimg * 1000:
        stopped_by = None
    if stopped_by is not None:
        say(f"stopped at {state.images_seen / 1000:.1f} kimg, all saved; run the same command to go on")
    return Outcome(state.images_seen, weights.find(run_dir), stopped_by)


class _Clock:
    """Time since the last report, and in laps."""

    def __init__(self, images_seen: int) -> None:
        self._start = self._lap = time.perf_counter()
        self._images = images_seen

    def lap(self, images_seen: int) -> tuple[float, float]:
        """Seconds since the last lap, and images a second since the start."""
        last, self._lap = self._lap, time.perf_counter()
        return self._lap - last, (images_seen - self._images) / (self._lap - self._start)

    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self._start
