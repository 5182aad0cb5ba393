"""The models that one can switch between: those that were named, a run's whole history, and the bundled ones."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stylegan import run_files, weights
from stylegan.errors import InputError
from stylegan.explorer.picture import Explorer, open_explorer
from stylegan.metrics.record import named_values, read_record

OPEN = 4  # models in memory at once


@dataclass(frozen=True)
class Entry:
    """A model in the list."""

    key: str
    """Its name in the page's address."""
    group: str
    """The run, or what else it stands under."""
    title: str
    path: Path
    run: Path | None = None
    images_seen: int = 0


class Shelf:
    """Models by name, read when they are first asked for; the last few stay in memory."""

    def __init__(
        self,
        models: Sequence[str],
        *,
        data: Path | None = None,
        directions_file: Path | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """models: what `weights.find` takes; all models of a run's folder. The first one is opened at once.

        Raises InputError where one is not there, and for a first one that cannot be used.
        """
        self._models, self._options = tuple(models), {"data": data, "device": device}
        self._directions_file, self._names = directions_file, _names_of(self._models)
        self._opened: OrderedDict[str, Explorer] = OrderedDict()
        self._lock, self._reading = threading.Lock(), threading.Lock()
        self.first = self._entries_of(models[0])[-1].key
        self._entry = {entry.key: entry for entry in self.entries()}
        self.open(self.first)

    @classmethod
    def of(cls, explorer: Explorer) -> "Shelf":
        """A shelf of one model that is open already."""
        shelf = cls.__new__(cls)
        shelf._models, shelf._options, shelf._directions_file = (), {}, None
        shelf._opened = OrderedDict({explorer.name: explorer})
        shelf._lock, shelf._reading = threading.Lock(), threading.Lock()
        shelf.first = explorer.name
        shelf._entry = {explorer.name: Entry(explorer.name, "model", explorer.name, Path())}
        return shelf

    def entries(self) -> list[Entry]:
        """All models, those of each run from the first to the last; a run that trains has new ones."""
        if not self._models:
            return list(self._entry.values())
        entries = [entry for model in self._models for entry in self._entries_of(model)]
        for name in weights.bundled():
            entries.append(Entry(name, "bundled", name, weights.find(name)))
        return list({entry.key: entry for entry in reversed(entries)}.values())[::-1]

    def _entries_of(self, model: str) -> list[Entry]:
        folder, path, name = Path(model), weights.find(model), self._names[model]
        if path.parent != folder:
            return [Entry(name, "bundled" if path.parent == weights.PRETRAINED else "file", name, path)]
        entries = []
        for path in run_files.own(folder, "model"):
            seen = run_files.images_seen_of(path)
            entries.append(Entry(f"{name}-{seen}", name, f"{seen / 1000:,.0f} kimg", path, folder, seen))
        return entries

    def open(self, key: str = "") -> Explorer:
        """The explorer of a model; of the first one by default. Raises InputError."""
        key = key or self.first
        if (opened := self._get(key)) is not None:
            return opened
        with self._reading:  # others go on with what is open
            if (opened := self._get(key)) is not None:
                return opened
            read = self._read(self.entry(key))
            with self._lock:
                self._opened[key] = read
                while len(self._opened) > OPEN:
                    self._opened.popitem(last=False)
            return read

    def _get(self, key: str) -> Explorer | None:
        with self._lock:
            if key in self._opened:
                self._opened.move_to_end(key)
            return self._opened.get(key)

    def entry(self, key: str = "") -> Entry:
        key = key or self.first
        if key not in self._entry:
            self._entry = {entry.key: entry for entry in self.entries()}
        if key not in self._entry:
            raise InputError(f"there is no model {key[:80]} here; choose one from the list")
        return self._entry[key]

    def _read(self, entry: Entry) -> Explorer:
        if self._directions_file is not None:
            try:
                return open_explorer(entry.path, directions_file=self._directions_file, **self._options)
            except InputError:
                if entry.key == self.first:
                    raise  # the others have directions of their own
        try:
            return open_explorer(entry.path, **self._options)
        except InputError:
            if entry.key == self.first or self._options.get("data") is None:
                raise
            return open_explorer(entry.path, device=self._options["device"])  # the training images are another's

    def listed(self) -> list[dict[str, Any]]:
        """The models for the page, with the newest score of each where the run has measured it."""
        scores: dict[Path, dict[int, str]] = {}
        table = []
        for entry in self.entries():
            if entry.run is not None and entry.run not in scores:
                scores[entry.run] = _scores(entry.run)
            score = scores.get(entry.run, {}).get(entry.images_seen, "") if entry.run else ""
            row = {"key": entry.key, "group": entry.group, "title": entry.title, "score": score}
            table.append(row | {"images_seen": entry.images_seen, "run": entry.run is not None})
        return table


def _names_of(models: Sequence[str]) -> dict[str, str]:
    """A name for each model or run: that of its file or folder, with a number where another one has it."""
    names: dict[str, str] = {}
    for model in models:
        path = weights.find(model)
        name = own = Path(model).resolve().name if path.parent == Path(model) else path.stem
        number = 2
        while name in names.values():
            name, number = f"{own}-{number}", number + 1
        names.setdefault(model, name)
    return names


def _scores(run: Path) -> dict[int, str]:
    """The first value measured of each model of a run, by the images that it had seen."""
    scores = {}
    for line in read_record(run / "metrics.jsonl"):
        seen = line.get("images_seen")
        if isinstance(seen, int) and seen not in scores:
            name, value = next(iter(named_values(line).items()))
            scores[seen] = f"{name.replace('_', ' ')} {value:.4g}"
    return scores
