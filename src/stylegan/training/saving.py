"""States and models of a run, written even where the disk is full at times: `Saver`."""

import errno
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylegan import run_files, weights
from stylegan.data.store import Store
from stylegan.errors import InputWarning
from stylegan.training import outputs, run_folder, state_file
from stylegan.training.state import TrainState

PATIENCE = 300.0  # seconds for which the end of a training waits for room: less than other processes wait for the first
PAUSE = 5.0  # seconds between two tries
FULL = (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else (errno.ENOSPC,)


@dataclass(frozen=True)
class Owed:
    """A file that is to be written, by `write`, and the bytes that this needs."""

    path: Path
    write: Callable[[], None]
    size: int


class Saver:
    """Saves a run. What cannot be written is said, and tried again at the next tick."""

    def __init__(self, run_dir: Path, store: Store, say: Callable[[str], None]) -> None:
        self._run_dir, self._store, self._say = run_dir, store, say
        self._owes_model = False
        self._owed: dict[str, Owed] = {}

    def save(
        self, state: TrainState, *, model: bool, healthy_before: int | None = None, patience: float | None = None
    ) -> None:
        """Write the state, and the model if it is due or could not be written before; then drop older ones.

        healthy_before: images seen, of files before which the newest is kept too. patience: seconds for which to try
        again; None where it can wait for the next tick. Raises OSError where they are over.
        """
        self._owes_model |= model
        self._keep_trying(lambda: [*self._try_owed(), *self._try(state, healthy_before)], patience)

    def add(self, name: str, owed: Owed) -> None:
        """Write something else, in place of what was to be written under that name, now or before the next state."""
        self._owed[name] = owed
        self._keep_trying(self._try_owed, None)

    def forget(self, name: str) -> None:
        """Do not write any more what was to be written under that name."""
        self._owed.pop(name, None)

    def settle(self) -> None:
        """Write, at the end of a run, what was added and could not be written; it ends without what finds no room."""
        try:
            self._keep_trying(self._try_owed, PATIENCE)
        except OSError as error:
            warnings.warn(f"{error.strerror}; the run ends without", InputWarning, stacklevel=2)

    def _keep_trying(self, attempt: Callable[[], list[str]], patience: float | None) -> None:
        """Until it has no reason left why it failed. patience: as of `save`."""
        start, waits = time.monotonic(), False
        while reasons := attempt():
            if patience is None:
                self._say(f"warning: {'; '.join(reasons)}; training goes on, and tries again at the next tick")
                return
            if time.monotonic() - start >= patience:
                raise OSError(None, "; ".join(reasons))
            if not waits:
                self._say(f"warning: {'; '.join(reasons)}; trying again for {patience / 60:g} minutes")
            waits = True
            time.sleep(min(PAUSE, patience))

    def _try_owed(self) -> list[str]:
        """What was added and could not be written, and why: sentences without an end."""
        reasons = []
        for name, owed in list(self._owed.items()):
            try:
                owed.write()
            except OSError as error:
                if error.errno in FULL:
                    reasons.append(_reason(owed.path, error, owed.size))
                    continue
                sentence = f"{owed.path} cannot be written ({error.strerror or error}); training goes on without"
                warnings.warn(sentence, InputWarning, stacklevel=3)
            del self._owed[name]
        return reasons

    def _try(self, state: TrainState, healthy_before: int | None) -> list[str]:
        """What could not be written, and why: sentences without an end."""
        wanted: list[tuple[run_files.Kind, Callable[[Path], None], Any]] = []
        if self._owes_model:
            model = outputs.model_of(state, self._store)
            networks = [each.state_dict() for each in (state.g_ema, state.g, state.d)]
            wanted.append(("model", lambda path: weights.save(path, model), networks))
        content = state.to_dict()
        newest = run_files.path_of(self._run_dir, "state", state.images_seen)
        if newest not in run_files.own(self._run_dir, "state"):  # else the run was resumed from it just now
            wanted.append(("state", lambda path: state_file.save(path, content), content))
        reasons = []
        for kind, write, numbers in wanted:
            path = run_files.path_of(self._run_dir, kind, state.images_seen)
            try:
                write(run_files.claim(path))
            except FileExistsError:
                raise
            except OSError as error:
                reasons.append(_reason(path, error, size_of(numbers)))
            else:
                self._owes_model &= kind != "model"
                run_folder.prune(self._run_dir, kind, state.config.keep, healthy_before)
        return reasons


def size_of(content: Any) -> int:
    """Bytes that tensors, in lists and dicts, take in a file."""
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(content))


def _tensors(content: Any) -> Iterator[Tensor]:
    if isinstance(content, torch.Tensor):
        yield content
    elif isinstance(content, dict | list | tuple):
        for each in content.values() if isinstance(content, dict) else content:
            yield from _tensors(each)


def _reason(path: Path, error: OSError, needed: int) -> str:
    try:
        free = f"{shutil.disk_usage(path.parent).free / 1e6:.1f} MB are free"
    except OSError:
        free = "the folder cannot be reached"
    return f"{path} cannot be written ({error.strerror or error}): it needs {needed / 1e6:.1f} MB, and {free}"
