#!/usr/bin/env python3
"""Tiny trainings in processes of their own, for who wants to kill them: what benchmarks/kills.py is made of.

    benchmarks/trainers.py [--processes 1 2]

By itself it runs one that nothing happens to, and prints how long that took. A training has all that has a state:
classes, adaptive augmentation, scores along the way, a report. Trainers are forked from this process, in which
everything is imported already, and torchrun's from one of them. Linux only.
"""

import argparse
import importlib
import json
import mmap
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from stylegan import presets, run_files, weights
from stylegan.data.pyramid import pyramid
from stylegan.data.store_writer import StoreWriter
from stylegan.errors import InputError
from stylegan.metrics.metric import EvaluateConfig
from stylegan.networks.layers import FeatureMaps
from stylegan.training import loop, outputs, state_file
from stylegan.training.augment import AugmentConfig
from stylegan.training.config import TrainingConfig
from stylegan.training.report import Reporter
from stylegan.training.schedule import ScheduleConfig
from stylegan.training.scores import Scores

SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
PHASES = ("starting", "training", "drawing", "saving the model", "saving the state", "measuring", "reporting", "ending")
TIMES = {"seconds", "images_per_second", "memory_mb"}  # what differs between any two runs
LONGEST = 180.0  # seconds that a process may take to end; more where a whole run takes as long


# --- the run


def write_store(path: Path) -> Path:
    """40 images of two classes, the second one brighter, and 8 that are held out."""
    rng = np.random.RandomState(3)
    ramp = np.linspace(0, 1, 16)[:, None, None]
    with StoreWriter(path, 16, 3, made={"source": "test", "fit": "pad"}, label_names=["dark", "bright"]) as writer:
        for i in range(48):
            top, bottom = rng.uniform(0, 128, (2, 1, 1, 3)) + 127 * (i % 2)
            image = np.broadcast_to(top + (bottom - top) * ramp, (16, 16, 3)).astype(np.uint8)
            writer.add(pyramid(image), f"{i}.png", i % 2, held_out=i >= 40)
    return path


def configuration(store: Path) -> TrainingConfig:
    """8 x 8, a fade, 16 x 16: 96 images, six ticks, scores after the third and at the end."""
    config = presets.preset("config-f", str(store), labels=True)
    thin = {"feature_maps": FeatureMaps(base=64, maximum=8)}
    return replace(
        config,
        generator=replace(config.generator, z_dim=8, w_dim=8, mapping_width=8, mapping_layers=2, **thin),
        discriminator=replace(config.discriminator, group_size=2, **thin),  # four processes share a batch of 8
        schedule=ScheduleConfig(
            stable_kimg=0.032,
            fade_kimg=0.032,
            total_kimg=0.096,
            batch_size={4: 8},
            learning_rate={4: 0.003},
            tick_kimg={4: 0.016},
            repeats=1,
        ),
        augment=AugmentConfig(kind="ada", target=0.0, kimg=0.2),
        evaluation=EvaluateConfig(metrics=("fid50k",), count=2, extractor="mobilenet-v2"),
        evaluation_ticks=3,
        model_ticks=2,
        ema_kimg=0.1,
        grid=(4, 2),
        threads=1,
        device="cpu",
    )


# --- a trainer in a process of its own


class Notes:
    """What trainers tell the process that kills them, in memory shared with it: their numbers, and what they do."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 4096)

    def clear(self) -> None:
        self._memory[:64] = bytes(64)

    def join(self, rank: int) -> None:
        self._memory[8 * rank + 8 : 8 * rank + 16] = os.getpid().to_bytes(8, "little")

    @property
    def phase(self) -> str:
        return PHASES[self._memory[0]]

    @phase.setter
    def phase(self, name: str) -> None:
        self._memory[0] = PHASES.index(name)

    @property
    def ranks(self) -> list[int]:
        """Process numbers of those that have begun."""
        numbers = (int.from_bytes(self._memory[8 * i + 8 : 8 * i + 16], "little") for i in range(4))
        return [number for number in numbers if number]


def work(config: TrainingConfig, run: Path, notes: Notes) -> None:
    """Train, and tell which part is being worked on."""
    rank = int(os.environ.get("RANK", 0))
    notes.join(rank)

    def telling(phase: str, part: Callable) -> Callable:
        def told(*args, **kwargs):
            if rank > 0:
                return part(*args, **kwargs)
            before, notes.phase = notes.phase, phase
            result = part(*args, **kwargs)
            notes.phase = phase if phase == "training" else before
            return result

        return told

    parts = [
        (loop, "iteration", "training"),
        (outputs, "draw_fakes", "drawing"),
        (weights, "save", "saving the model"),
        (state_file, "save", "saving the state"),
        (Scores, "add", "measuring"),
        (Reporter, "renew", "reporting"),
        (loop, "_outcome", "ending"),
    ]
    for owner, name, phase in parts:
        mock.patch.object(owner, name, telling(phase, getattr(owner, name))).start()
    for name in SIGNALS[1:]:  # whoever began this in the background may have had them ignored
        signal.signal(getattr(signal, name), signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)
    outcome = loop.train(config, run, progress=False)
    if outcome.stopped_by is not None:
        sys.exit(128 + outcome.stopped_by)


def work_under_torchrun(config: TrainingConfig, run: Path, notes: Notes, processes: int) -> None:
    """The same; a process that has done its work does not wait for ever until a torchrun that is dead hears of it.

    None speaks to torchrun before all have been forked: its thread that answers may hold a lock of the C library (that
    of the resolver of names) while it forks, and the next one would wait for it for ever.
    """
    parent = os.getppid()
    notes.join(int(os.environ["RANK"]))
    while sum(map(is_running, notes.ranks)) < processes and os.getppid() == parent:
        time.sleep(0.005)
    work(config, run, notes)

    def leave() -> None:
        while os.getppid() == parent:
            time.sleep(0.1)
        os._exit(0)

    threading.Thread(target=leave, daemon=True).start()


def under_torchrun(config: TrainingConfig, run: Path, notes: Notes, processes: int, restarts: int) -> None:
    """The same as processes of torchrun, whose part this process plays."""
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    meeting = {"run_id": "kills", "rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0"}
    launch = LaunchConfig(1, 1, processes, **meeting, max_restarts=restarts)
    launch.start_method = "fork"
    elastic_launch(launch, work_under_torchrun)(config, run, notes, processes)


def begin(processes: int, config: TrainingConfig, run: Path, notes: Notes, log: Path, restarts: int = 0) -> int:
    """Fork a trainer; its process number. restarts: how often torchrun starts its processes again by itself."""
    notes.clear()
    sys.stdout.flush()
    process = os.fork()
    if process:
        _codes.pop(process, None)  # of an earlier one with its number
        return process
    code = 1
    try:
        with log.open("ab", buffering=0) as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        for name in SIGNALS[1:]:
            signal.signal(getattr(signal, name), signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)
        if processes == 1:
            work(config, run, notes)
        else:
            under_torchrun(config, run, notes, processes, restarts)
        code = 0
    except InputError as error:
        print(f"InputError: {error}", file=sys.stderr)
        code = 2
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def is_running(process: int) -> bool:
    """Whether it is there, and no zombie that nobody has asked for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


_codes: dict[int, int] = {}  # of children that have ended: the system tells only once


def ended(process: int) -> int | None:
    """How a child has ended, as `os.waitstatus_to_exitcode` says; None while it runs."""
    if process not in _codes:
        there, status = os.waitpid(process, os.WNOHANG)
        if there:
            _codes[process] = os.waitstatus_to_exitcode(status)
    return _codes.get(process)


def wait(process: int, notes: Notes, seconds: float = LONGEST, until: Callable[[], bool] = lambda: False) -> int | None:
    """Wait until a trainer and its ranks have ended; None where they do not in time, or before `until` is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not until():
        code = ended(process)
        if code is not None and not any(map(is_running, notes.ranks)):
            return code
        time.sleep(0.005)
    return None


def end_by_force(process: int, notes: Notes) -> None:
    for number in [process, *notes.ranks]:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    wait(process, notes)


# --- what has come out


def differences(run_dir: Path, truth: Path) -> list[str]:
    """Names of files that are not as in the run that nothing has happened to."""
    found = []
    best = ["best.safetensors"] if (truth / "best.safetensors").exists() else []
    for name in ("reals.png", *best, *(path.name for path in run_files.own(truth, "fakes"))):
        if not (run_dir / name).exists() or (run_dir / name).read_bytes() != (truth / name).read_bytes():
            found.append(name)
    for kind in ("model", "state"):
        last = run_files.own(truth, kind)[-1].name
        if not (run_dir / last).exists():
            found.append(last)
        for path in run_files.own(truth, kind):
            ours = run_dir / path.name
            if ours.exists() and not same_file(ours, path):
                found.append(path.name)
    for name in ("stats.jsonl", "metrics.jsonl"):
        if lines_of(run_dir / name) != lines_of(truth / name):
            found.append(name)
    found += [path.name for path in run_dir.glob(".*")]
    return found


def same_file(ours: Path, truth: Path) -> bool:
    """Whether two models or states are the same but for the time they took."""
    if ours.suffix != ".pt":
        return ours.read_bytes() == truth.read_bytes()
    try:
        states = [state_file.load(path) for path in (ours, truth)]
    except InputError:
        return False
    return same_state(*({name: part for name, part in state.items() if name != "seconds"} for state in states))


def same_state(a: Any, b: Any) -> bool:
    """Whether two trees of tables, lists, tensors and numbers are the same, to the bit."""
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        return type(a) is type(b) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_state(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same_state, a, b))
    return a == b


def lines_of(path: Path) -> list[dict[str, Any]]:
    """What is reported, but for times; lines that are cut short as they stand."""
    lines = []
    for text in path.read_text(errors="replace").splitlines() if path.exists() else ():
        try:
            lines.append({name: value for name, value in json.loads(text).items() if name not in TIMES})
        except ValueError:
            lines.append({"cut short": text})
    return lines


def is_finished(run_dir: Path, config: TrainingConfig) -> bool:
    states = run_files.own(run_dir, "state")
    return bool(states) and run_files.images_seen_of(states[-1]) >= config.schedule.total_kimg * 1000


# --- a run that nothing happens to


def prepared(folder: Path) -> TrainingConfig:
    """Get this process, and a store in the folder, ready for trainers to be forked."""
    torch.set_num_threads(1)  # OpenMP's threads would be missing in forked processes
    with suppress(ImportError):
        importlib.import_module("torch.utils.tensorboard")  # once, not in every trainer
    os.environ["STYLEGAN_CACHE"] = str(folder / "cache")
    return configuration(write_store(folder / "store"))


def undisturbed(processes: int, config: TrainingConfig, run_dir: Path, log: Path) -> float:
    """Train a run that nothing happens to; the seconds that it took."""
    began, notes = time.monotonic(), Notes()
    if wait(begin(processes, config, run_dir, notes, log), notes, 10 * LONGEST) != 0:
        raise SystemExit(log.read_text(errors="replace"))
    print(f"undisturbed, {processes} process(es): {time.monotonic() - began:.1f} s", flush=True)
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", nargs="+", type=int, choices=(1, 2, 4), default=(1, 2, 4))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = prepared(folder)
        for processes in options.processes:
            undisturbed(processes, config, folder / f"run-{processes}", folder / "log.txt")


if __name__ == "__main__":
    main()
