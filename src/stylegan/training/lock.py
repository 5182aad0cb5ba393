"""A run belongs to one trainer: the lock in its folder, the trainer's heartbeat, and how a run fares: `run_state`."""

import errno
import json
import os
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from stylegan import processes, run_files
from stylegan.errors import InputError
from stylegan.system import Process, this_process
from stylegan.training.run_folder import read_run

FILE = "trainer.json"
BEAT = 3.0  # seconds between two signs of life
WATCH = 3.5 * BEAT  # how long a trainer that cannot be asked is watched for one
PATIENCE = 300.0  # seconds without progress that are not yet called stalled; or ten times the longest so far
_RECORD_LENGTH = 1024  # bytes; always the same, so that it is overwritten in place
_LOCKED_BYTE = 2**30  # on Windows, where what is locked cannot be read
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # on this file system

Activity = Literal["training", "measuring", "finished", "stopped", "failed"]


@dataclass
class Record:
    """What trainer.json says of the run's trainer, or of the last one. Times are its own machine's."""

    process: Process = field(default_factory=this_process)
    activity: Activity = "training"
    images_seen: int = 0
    since: float = field(default_factory=time.time)
    moved: float = field(default_factory=time.time)
    """When it was last done with some images."""
    longest: float = 0.0
    """Seconds that took at most, while training."""
    at: float = 0.0
    """When this was written."""

    @property
    def has_ended(self) -> bool:
        """Whether its trainer has said good-bye."""
        return self.activity in ("finished", "stopped", "failed")


class Trainer:
    """The one that trains a run; `hold` gives it. In all processes but the first it does nothing."""

    def __init__(self, run_dir: Path) -> None:
        self._path, self._file, self._locks = run_dir / FILE, -1, False
        self._record, self._end, self._lost = Record(), threading.Event(), False
        self._made: list[Path] = []  # the folders, and the file, that were not there
        self._beats: threading.Thread | None = None
        self._writing = threading.Lock()

    def acquire(self) -> str:
        """Take the run, which changes no file of it; "" where that went well, else the sentence that says why not."""
        run_dir = self._path.parent
        if run_dir.exists() and not run_dir.is_dir():
            return f"{run_dir} is a file; choose another folder for the run"
        self._made = [each for each in [self._path, run_dir, *run_dir.absolute().parents] if not each.exists()]
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            self._file, self._locks = _open_locked(self._path)
        except OSError as error:
            self._undo()
            return f"{self._path} cannot be written: {error.strerror or error}"
        before = _read(self._path)
        if self._file < 0 or (
            before is not None and _may_live(before, self._locks) and _is_beating(self._path, before)
        ):
            self._undo()
            return _taken(run_dir, before)
        return ""

    def begin(self, images_seen: int) -> None:
        """Say from now on, every few seconds, that the run is alive."""
        if self._file >= 0:
            self._made = []
            self._record = Record(images_seen=images_seen)
            self._write()
            self._beats = threading.Thread(target=self._beat, daemon=True, name="heartbeat")
            self._beats.start()

    def moved(self, images_seen: int, activity: Activity = "training") -> None:
        """Take note of how far the run has come, and of what comes next."""
        record, now = self._record, time.time()
        if record.activity == activity == "training":
            record.longest = max(record.longest, now - record.moved)
        record.images_seen, record.activity, record.moved = images_seen, activity, now

    def check(self) -> None:
        """Raise InputError where another trainer has taken the run over, before anything is written into it."""
        if self._lost:
            raise InputError(f"{_taken(self._path.parent, _read(self._path))}; this one, which was held up, stops")

    def ends(self, activity: Activity) -> None:
        """What to say at the end; "failed" where nothing has been said."""
        self._record.activity = activity

    def release(self) -> None:
        """Let the run go."""
        if self._file < 0:
            return
        if self._beats is None:
            self._undo()
            return
        self._end.set()
        self._beats.join()
        if not self._record.has_ended:
            self._record.activity = "failed"
        self._write()
        os.close(self._file)

    def _beat(self) -> None:
        while not self._end.wait(BEAT):
            with suppress(OSError):  # a full disk, a network that comes back
                self._write()

    def _write(self) -> None:
        with self._writing:
            if self._beats is not None:
                self._confirm()
            if self._lost:
                return
            self._record.at = time.time()
            os.lseek(self._file, 0, os.SEEK_SET)
            os.write(self._file, json.dumps(asdict(self._record)).encode().ljust(_RECORD_LENGTH - 1) + b"\n")

    def _confirm(self) -> None:
        """Note whether another has begun: this one was held up for long where no lock reaches, or its file removed."""
        try:
            in_place = os.path.samestat(os.fstat(self._file), self._path.stat())
        except FileNotFoundError:
            in_place = False
        if not in_place:
            again, self._locks = _open_locked(self._path, patience=0)
            self._lost = again < 0
            if not self._lost:
                os.close(self._file)
                self._file = again
        there = _read(self._path) if in_place else None
        self._lost |= there is not None and there.process != self._record.process

    def _undo(self) -> None:
        """Leave the folder as it was."""
        if self._made[:1] == [self._path] and self._file >= 0:
            with suppress(OSError):
                self._path.unlink()  # while it is locked; Windows does not let that happen
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            if self._made[:1] == [self._path] and self._path.exists() and _read(self._path) is None:
                with suppress(OSError):
                    self._path.unlink()
        for folder in self._made:
            if folder != self._path:
                with suppress(OSError):
                    folder.rmdir()  # those that are empty


@contextmanager
def hold(run_dir: Path) -> Iterator[Trainer]:
    """Inside, the run belongs to this process, or to the group's first one. Raises InputError where another has it."""
    trainer = Trainer(run_dir)
    if sentence := processes.on_first(trainer.acquire):
        raise InputError(sentence)
    try:
        yield trainer
    finally:
        trainer.release()


def _taken(run_dir: Path, by: Record | None) -> str:
    if by is None or by.has_ended or by.process.is_running() is False:  # it has only begun
        return f"{run_dir} is being trained by another process already; wait for its end, or stop it"
    return (
        f"{run_dir} is being trained already, by process {by.process.pid} on {by.process.host} (at "
        f"{by.images_seen / 1000:.1f} kimg); wait for its end, or stop it"
    )


# --- the lock of the operating system


def _open_locked(path: Path, patience: float = 1.0) -> tuple[int, bool]:
    """The file, open and locked; -1 where another process has it. And whether its file system has locks at all.

    patience: seconds for which to try; who only looks, as `run_state` does, has it for a moment.
    """
    deadline = time.monotonic() + patience
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        locked = _lock(file)
        with suppress(FileNotFoundError):
            if locked is not False and os.path.samestat(os.fstat(file), os.stat(path)):  # noqa: PTH116
                return file, locked is True
        os.close(file)  # another's, or removed by one that gave up
        if locked is False and time.monotonic() > deadline:
            return -1, True
        time.sleep(0.05)


def _lock(file: int) -> bool | None:
    """Lock an open file until it is closed, or its process dies: True; False where another has; None where none can.

    On Linux and macOS the lock of flock, which NFS and SMB carry to other machines where their servers do.
    """
    try:
        import fcntl
    except ImportError:
        return _lock_on_windows(file)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as error:
        return None if error.errno in _NO_LOCKS else False


def _lock_on_windows(file: int) -> bool | None:
    try:
        import msvcrt
    except ImportError:
        return None
    os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore
        return True
    except OSError:
        return False


# --- what is known where no lock tells


def _read(path: Path) -> Record | None:
    """What the file says; None where it says nothing (yet)."""
    for _ in range(2):
        try:
            with path.open("rb") as file:
                content = json.loads(file.read(_RECORD_LENGTH))
            return Record(**content | {"process": Process(**content["process"])})
        except (OSError, ValueError, TypeError, KeyError):
            time.sleep(0.02)  # in the middle of being written
    return None


def _may_live(record: Record, locks: bool) -> bool:
    """Whether the trainer of a record may be alive though nothing is locked."""
    if record.has_ended:
        return False
    running = record.process.is_running()
    return running is None or (running and not locks)


def _is_beating(path: Path, record: Record) -> bool:
    """Watch for a sign of life, which a trainer gives every few seconds."""
    deadline = time.monotonic() + WATCH
    while time.monotonic() < deadline:
        time.sleep(BEAT / 10)
        now = _read(path)
        if now is not None and now.at != record.at:
            return not now.has_ended
    return False


# --- how a run fares


@dataclass(frozen=True)
class RunState:
    """How a run fares."""

    state: Literal["alive", "stalled", "stopped", "finished", "damaged"]
    """alive: it is trained; stalled: so it is, but makes no progress; stopped: it can go on; finished: all images were
    seen; damaged: it cannot go on as it is."""
    sentence: str
    """What is known, for people."""
    images_seen: int
    total_images: int
    trainer: Process | None = None
    """The process that trains it, or did last; None where that is not known."""
    last_sign: float | None = None
    """When that last gave a sign of life, in seconds since 1970."""


def run_state(run_dir: Path | str) -> RunState:
    """How a run fares, by what its folder says; nothing in it is changed.

    A trainer on another machine, whose lock does not reach here, is watched for ten seconds. Raises InputError where
    the folder holds no run.
    """
    run_dir = Path(run_dir)
    record, states = _read(run_dir / FILE), run_files.own(run_dir, "state")
    trainer, last_sign = (record.process, record.at) if record else (None, None)
    seen = max([record.images_seen if record else 0, *map(run_files.images_seen_of, states)])

    def state(name: str, sentence: str, images_seen: int = seen, total: int = 0) -> RunState:
        return RunState(name, sentence, images_seen, total, trainer, last_sign)

    try:
        total = int(read_run(run_dir).schedule.total_kimg * 1000)
    except InputError as error:
        if not (run_dir / "run.json").exists():
            raise
        return state("damaged", str(error))
    if record is not None and _is_trained(run_dir / FILE, record):
        who = f"process {record.process.pid} on {record.process.host}"
        without = max(record.at - record.moved, time.time() - record.at - BEAT)
        if record.activity == "training" and without > max(PATIENCE, 10 * record.longest):
            return state("stalled", f"{who} has it, but has made no progress for {without:.0f} seconds", total=total)
        return state("alive", f"{record.activity}, by {who}", record.images_seen, total)
    whole = [path for path in states if zipfile.is_zipfile(path)]  # whose end, at least, is there
    seen = run_files.images_seen_of(whole[-1]) if whole else 0
    if not whole and (states or (record is not None and record.images_seen > 0)):
        return state("damaged", "no training state is whole" if states else "there is no training state", 0, total)
    if seen >= total and (record is None or record.activity == "finished"):  # else the last scores may be missing
        return state("finished", "all images were seen", seen, total)
    ended = "" if record is None or record.has_ended else "; it was killed"
    failed = "; it ended with an error" if record is not None and record.activity == "failed" else ""
    return state("stopped", f"the same command goes on at {seen / 1000:.1f} kimg{ended or failed}", seen, total)


def _is_trained(path: Path, record: Record) -> bool:
    try:
        file, locks = _open_locked(path, patience=0)
    except OSError:  # of another user, say
        return _may_live(record, False) and _is_beating(path, record)
    if file < 0:
        return True
    os.close(file)
    return _may_live(record, locks) and _is_beating(path, record)
