#!/usr/bin/env python3
"""Training runs that are killed at random moments, and what comes out of them, bit by bit.

    benchmarks/kills.py [--kills 100] [--minutes 30] [--kinds SIGKILL SIGTERM ...] [--processes 1 2 4]
                        [--each 8] [--results benchmarks/results/kills.json]

A run is a tiny one, 8 x 8 to 16 x 16 (benchmarks/trainers.py). It is killed, and begun again, until it reaches its end;
then its model, states, statistics, scores and pictures are held against those of a run that nothing has happened to.
Each run dies of one kind:

    SIGKILL, SIGTERM, SIGINT, SIGHUP   sent to the trainer; with two processes to torchrun, SIGKILL also to either rank
    memory                             the system gives it no more from that moment on (RLIMIT_AS)
    disk                               the disk is full from that moment on (a small tmpfs, which only root may mount);
                                       grids that did not fit may be missing
    torn                               SIGKILL, and then all that was written since the state before the newest is cut
                                       short, zeroed or changed, as a power cut may leave it
    second                             no kill: another trainer is started in the same folder, at any distance of time;
                                       one must train, and the other end with a sentence
    rank                               SIGKILL to each of four processes, one after the other; nobody begins the run
                                       again: torchrun starts its processes anew

Results are kept after every run, and the same command goes on from there. Linux only.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from trainers import (
    LONGEST,
    PHASES,
    SIGNALS,
    Notes,
    begin,
    differences,
    end_by_force,
    is_finished,
    is_running,
    prepared,
    undisturbed,
    wait,
)

from stylegan import run_files
from stylegan.files import atomic_file
from stylegan.training.config import TrainingConfig

HERE = Path(__file__).resolve().parents[1]
KINDS = (*SIGNALS, "memory", "disk", "torn", "second", "rank")
DISK_MB = 16


# --- ways to die


@dataclass
class Kill:
    """What was done to a run, and when."""

    at: float
    """Seconds after it was begun."""
    phase: str
    code: int | None = None
    """How the process ended: the exit code, or minus the signal's number."""
    target: str = "trainer"


@dataclass
class Run:
    """A run from its first image to its last."""

    kind: str
    processes: int
    seed: int
    kills: list[Kill] = field(default_factory=list)
    survived: int = 0
    """How often what was to kill it did not: it went on to the end of the schedule."""
    differences: list[str] = field(default_factory=list)
    """Names of what is not as in the run that nothing has happened to."""
    left_out: list[str] = field(default_factory=list)
    """Names of pictures that are not there since the disk was full, which is no difference."""


def strike(run: Run, process: int, folder: Path, notes: Notes, rng: random.Random) -> str:
    """Do to a trainer what kills it; whom it was done to."""
    import resource

    ranks = notes.ranks
    if run.kind in (*SIGNALS, "torn"):
        name = "SIGKILL" if run.kind == "torn" else run.kind
        targets = [("torchrun" if run.processes > 1 else "trainer", process)]
        if name == "SIGKILL" and run.processes > 1:
            targets += [(f"rank {rank}", number) for rank, number in enumerate(ranks)]
        target, number = rng.choice(targets)
        with suppress(ProcessLookupError):
            os.kill(number, getattr(signal, name))
        return target
    if run.kind == "memory":
        number = rng.choice(ranks or [process])
        with suppress(OSError):
            size = int(Path(f"/proc/{number}/statm").read_text().split()[0]) * resource.getpagesize()
            resource.prlimit(number, resource.RLIMIT_AS, (size + rng.randrange(2**22), resource.RLIM_INFINITY))
        return f"rank {ranks.index(number)}" if ranks else "trainer"
    left = rng.choice([0, 4096, rng.randrange(2**16), rng.randrange(2**19)])
    free = shutil.disk_usage(folder).free
    with suppress(OSError), (folder / "filler").open("wb") as file:
        file.write(bytes(max(0, free - left)))
    return f"{left} bytes left"


def tear(run_dir: Path, rng: random.Random) -> None:
    """Damage what a run has written since the state before its newest, as a power cut can."""
    states = run_files.own(run_dir, "state")
    if len(states) < 2:
        return
    whole = run_files.images_seen_of(states[-2])
    for path in (path for kind in ("state", "model", "fakes") for path in run_files.own(run_dir, kind)):
        if run_files.images_seen_of(path) > whole and (path == states[-1] or rng.random() < 0.7):
            content = bytearray(path.read_bytes())
            place = rng.randrange(len(content) - 100)  # what is behind may be zeros already
            way = rng.choice(["cut", "zeros"] if path == states[-1] else ["cut", "zeros", "bit"])
            if way == "bit":
                content[place] ^= 1 << rng.randrange(8)
            elif way == "zeros":
                content[place:] = bytes(len(content) - place)
            path.write_bytes(content[:place] if way == "cut" else content)
    for name in ("stats.jsonl", "metrics.jsonl"):
        if (run_dir / name).exists():
            lines = (run_dir / name).read_bytes().splitlines(keepends=True)
            safe = sum(len(line) for line in lines if _images_seen(line) <= whole)
            content = b"".join(lines)
            (run_dir / name).write_bytes(content[: rng.randint(safe, len(content))])


def _images_seen(line: bytes) -> int:
    try:
        return json.loads(line)["images_seen"]
    except ValueError:
        return sys.maxsize


def suffer(run: Run, folder: Path, log: Path, config: TrainingConfig, length: float, most: int) -> None:
    """Train a run to its end, and kill it on the way. length: seconds of a run that nothing happens to.

    most: how often it is killed; then it may reach its end.
    """
    rng, notes, run_dir = random.Random(f"{run.kind} {run.processes} {run.seed}"), Notes(), folder / "run"
    longest = max(LONGEST, 10 * length)
    while True:
        process, began = begin(run.processes, config, run_dir, notes, log), time.monotonic()
        doomed, code = len(run.kills) + run.survived < most, None
        # else it may die while it starts, too, which is when it asks for most of its memory
        if doomed and rng.random() < (0.2 if run.kind == "memory" else 0.75):
            code = wait(process, notes, longest, until=lambda: notes.phase != "starting")
        if code is None:
            code = wait(process, notes, rng.uniform(0, 0.5 * length) if doomed else longest)
        if code is None and doomed:
            kill = Kill(round(time.monotonic() - began, 3), notes.phase)
            kill.target = strike(run, process, folder, notes, rng)
            code = wait(process, notes, longest if run.kind != "disk" else max(3.0, length / 4))
            if run.kind == "disk":
                (folder / "filler").unlink(missing_ok=True)
                code = wait(process, notes, longest) if code is None else code
            kill.code = code
            if code == 0 and run.kind not in SIGNALS:
                run.survived += 1
            else:
                run.kills.append(kill)
            if run.kind == "torn" and code != 0:
                tear(run_dir, rng)
        if code is None:
            end_by_force(process, notes)
            run.differences.append(f"no end after {longest:.0f} s")
            return
        if code == 0 and is_finished(run_dir, config):
            return
        if code == 2:  # what it refuses it will refuse again
            run.differences.append("refused: " + log.read_text(errors="replace").splitlines()[-1])
            return


def compete(run: Run, folder: Path, config: TrainingConfig, length: float) -> None:
    """Start two trainers in one folder; note which one gave way, and what it said."""
    rng, notes, run_dir = random.Random(f"second {run.processes} {run.seed}"), (Notes(), Notes()), folder / "run"
    logs, distance = (folder / "first.txt", folder / "second.txt"), rng.choice([0.0, 0.1, 0.7 * length]) * rng.random()
    trainers = [begin(run.processes, config, run_dir, notes[0], logs[0])]
    time.sleep(distance)
    phase = notes[0].phase
    trainers.append(begin(run.processes, config, run_dir, notes[1], logs[1]))
    codes = [wait(trainer, own, max(LONGEST, 20 * length)) for trainer, own in zip(trainers, notes, strict=True)]
    for trainer, own, code in zip(trainers, notes, codes, strict=True):
        if code is None:
            end_by_force(trainer, own)
    if codes == [0, 0] and f"at {config.schedule.total_kimg:.1f} kimg" in logs[1].read_text(errors="replace"):
        run.survived += 1  # the first had ended already, and nothing was left to do
        return
    if codes.count(0) != 1:
        run.differences.append(f"ended with {codes}")
        return
    loser = 1 - codes.index(0)
    said = logs[loser].read_text(errors="replace")
    names = {"being trained already, by process": "naming it", "being trained by another process already": "in words"}
    named = next((how for words, how in names.items() if words in said), "")
    run.kills.append(Kill(round(distance, 3), phase, codes[loser], f"{('first', 'second')[loser]} gave way, {named}"))
    if not named:
        run.differences.append("the other did not say why: " + said[-300:])


def survive(run: Run, folder: Path, log: Path, config: TrainingConfig, length: float) -> None:
    """Train a run to its end in one torchrun, and kill each of its processes once, in any order."""
    rng, notes, run_dir = random.Random(f"rank {run.seed}"), Notes(), folder / "run"
    ranks, longest = rng.sample(range(run.processes), run.processes), max(LONGEST, 10 * length)
    torchrun, began = begin(run.processes, config, run_dir, notes, log, restarts=len(ranks)), time.monotonic()
    dead: set[int] = set()

    def are_at_work() -> bool:
        return len(set(notes.ranks) - dead) == run.processes and notes.phase != "starting"

    for rank in ranks:
        if wait(torchrun, notes, longest, until=are_at_work) is None and are_at_work():
            wait(torchrun, notes, rng.uniform(0, length / 8))
        if not is_running(torchrun):
            break
        run.kills.append(Kill(round(time.monotonic() - began, 3), notes.phase, -signal.SIGKILL, f"rank {rank}"))
        dead.update(notes.ranks)  # torchrun ends the others
        notes.phase = "starting"
        with suppress(ProcessLookupError):
            os.kill(notes.ranks[rank], signal.SIGKILL)
    code = wait(torchrun, notes, longest)
    if code is None:
        end_by_force(torchrun, notes)
    if code != 0:
        run.differences.append(f"ended with {code}")


# --- the campaign


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A tmpfs of a few MB; None where it may not be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, stderr=subprocess.DEVNULL).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def read_results(path: Path) -> list[Run]:
    if not path.exists():
        return []
    runs = json.loads(path.read_text())["runs"]
    return [Run(**run | {"kills": [Kill(**kill) for kill in run["kills"]]}) for run in runs]


def write_results(path: Path, runs: list[Run]) -> None:
    about = {"torch": torch.__version__, "kills": sum(len(run.kills) for run in runs)}
    about |= {"runs_that_differ": sum(bool(run.differences) for run in runs)}
    lines = ",\n".join(json.dumps(asdict(run)) for run in runs)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(f'{json.dumps(about)[:-1]}, "runs": [\n{lines}\n]}}\n'.encode())


def tables(runs: list[Run]) -> str:
    """What was killed how often and when, as Markdown."""
    text = "| killed by | processes | runs | kills | runs that differ |\n|---|---|---|---|---|\n"
    for kind in KINDS:
        for processes in (1, 2, 4):
            own = [run for run in runs if (run.kind, run.processes) == (kind, processes)]
            if own:
                kills, wrong = sum(len(run.kills) for run in own), sum(bool(run.differences) for run in own)
                text += f"| {kind} | {processes} | {len(own)} | {kills} | {wrong} |\n"
    kinds = [kind for kind in KINDS if any(run.kind == kind for run in runs)]
    text += f"\n| killed while | {' | '.join(kinds)} |\n|---{'|---' * len(kinds)}|\n"
    counts = Counter((kill.phase, run.kind) for run in runs for kill in run.kills)
    for phase in PHASES:
        if any(counts[phase, kind] for kind in kinds):
            text += f"| {phase} | {' | '.join(str(counts[phase, kind]) for kind in kinds)} |\n"
    return text


def campaign(options: argparse.Namespace, folder: Path) -> list[Run]:
    """Runs until there are enough kills, or the time is over."""
    config, runs = prepared(folder), read_results(options.results)
    log, deadline, lengths = folder / "log.txt", time.monotonic() + 60 * options.minutes, {}
    with small_disk(folder / "disk") as disk:
        kinds = [kind for kind in options.kinds if kind != "disk" or disk is not None]
        if len(kinds) < len(options.kinds):
            print("no tmpfs may be mounted here: no full disks", flush=True)
        while sum(len(run.kills) for run in runs) < options.kills and time.monotonic() < deadline:
            counts = Counter((run.kind, run.processes) for run in runs)
            pairs = [(kind, p) for p in options.processes for kind in kinds if (kind == "rank") == (p == 4)]
            kind, processes = min(pairs, key=lambda pair: counts[pair])
            truth = folder / f"truth-{processes}"
            if processes not in lengths:
                lengths[processes] = undisturbed(processes, config, truth, log)
            run = Run(kind, processes, counts[kind, processes])
            place = folder / "a run" if kind != "disk" or disk is None else disk / "a run"
            place.mkdir()
            if kind == "second":
                compete(run, place, config, lengths[processes])
            elif kind == "rank":
                survive(run, place, log, config, lengths[processes])
            else:
                suffer(run, place, log, config, lengths[processes], options.each)
            if not run.differences:
                run.differences = differences(place / "run", truth)
                if kind == "disk":
                    run.left_out = [name for name in run.differences if not (place / "run" / name).exists()]
                    run.left_out = [name for name in run.left_out if name.endswith(".png")]
                    run.differences = [name for name in run.differences if name not in run.left_out]
            if run.differences and options.keep:
                shutil.copytree(place, options.keep / f"{kind}-{processes}-{run.seed}")
                shutil.copy(log, options.keep / f"{kind}-{processes}-{run.seed}")
            shutil.rmtree(place)
            runs.append(run)
            write_results(options.results, runs)
            print(json.dumps(asdict(run)), flush=True)
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="how many there shall be in the results")
    parser.add_argument("--each", type=int, default=8, help="kills of one run, at most")
    parser.add_argument("--minutes", type=float, default=30.0, help="when to stop before")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--processes", nargs="+", type=int, choices=(1, 2, 4), default=(1, 2, 4))
    parser.add_argument("--results", type=Path, default=HERE / "benchmarks" / "results" / "kills.json")
    parser.add_argument("--keep", type=Path, help="a folder for runs that differ, to look at")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = campaign(options, Path(folder))
    print("\n" + tables(runs))
    sys.exit(any(run.differences for run in runs))


if __name__ == "__main__":
    main()
