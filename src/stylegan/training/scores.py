"""A run's scores along the way, in metrics.jsonl, and the model of the best one."""

import copy
import json
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from stylegan import processes, weights
from stylegan.data.store import Store
from stylegan.errors import InputError, InputWarning, SharedError
from stylegan.metrics.evaluate import measure
from stylegan.metrics.metric import METRICS, Evaluation
from stylegan.metrics.record import add_to_record, is_best, named_values, read_record
from stylegan.training.outputs import model_of
from stylegan.training.saving import Owed, Saver, size_of
from stylegan.training.state import TrainState


class Scores:
    """Measures a run. What finds no room on the disk is left to its `Saver`, which tries again."""

    def __init__(
        self, run_dir: Path, store: Store, evaluation: Evaluation, saver: Saver, say: Callable[[str], None]
    ) -> None:
        self._run_dir, self._store, self._evaluation, self._saver, self._say = run_dir, store, evaluation, saver, say
        self._unrecorded: list[dict[str, Any]] = []

    def are_due(self, state: TrainState) -> bool:
        """Whether the tick is one for that: at the end, and after every so many."""
        done = state.images_seen >= state.config.schedule.total_kimg * 1000
        if not done and (state.images_seen != state.tick_start or state.tick == 0):
            return False  # a signal has stopped the run between two ticks, or before the first
        return bool(self._evaluation.config.metrics) and (done or state.tick % state.config.evaluation_ticks == 0)

    def add(self, state: TrainState) -> None:
        """Add the moving average's scores to metrics.jsonl.

        The model is kept as best.safetensors if the first of them is the best so far. What has been measured already is
        not measured again.
        """
        record = self._run_dir / "metrics.jsonl"
        self._evaluation.forget_fakes()
        try:
            lines = measure(self._evaluation, record, {"images_seen": state.images_seen}, add=self._record)
        except (InputError, OSError) as error:
            if processes.world_size() > 1 and not isinstance(error, SharedError):
                raise  # the other processes may be waiting for this one
            warnings.warn(f"measuring has failed ({error}); training goes on without", InputWarning, stacklevel=2)
            return
        for line in lines:
            self._say(", ".join(f"{name} {value:.4g}" for name, value in named_values(line).items()))
        if processes.rank():
            return
        if is_best(lines[0], [*read_record(record), *self._unrecorded], METRICS[lines[0]["metric"]].better):
            self._keep_best(model_of(state, self._store))

    def _keep_best(self, model: weights.Model) -> None:
        path = self._run_dir / "best.safetensors"
        try:
            weights.save(path, model)
        except OSError:
            model = copy.deepcopy(model)  # training goes on, with other weights
            networks = [model.generator, model.raw_generator, model.discriminator]
            size = size_of([network.state_dict() for network in networks if network is not None])
            self._saver.add("best", Owed(path, partial(weights.save, path, model), size))
        else:
            self._saver.forget("best")

    def _record(self, record: Path, line: dict[str, Any]) -> None:
        """Add a line to the record, and those that found no room before."""
        self._unrecorded.append(line)

        def write() -> None:
            while self._unrecorded:
                add_to_record(record, self._unrecorded[0])
                del self._unrecorded[0]

        self._saver.add("scores", Owed(record, write, len(json.dumps(self._unrecorded))))
