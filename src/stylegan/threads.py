"""Threads of the CPU: how many there are, how they wait for each other, and what other programs take of the processor.

OpenMP's threads spin while they wait, for milliseconds. Alone on the machine that is fastest: the next piece of work
comes at once. Where another program holds a core, the thread that should work there waits for its turn while the others
spin away theirs, and a step takes ten to sixty times as long (docs/performance.md, "A busy machine").
"""

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

SECONDS_BETWEEN_READINGS = 2.0

# GNU's OpenMP (torch on Linux) spins as it likes: `Crowd` can stop it. LLVM's and Intel's (macOS, Windows, MKL), which
# nothing can stop later, spin for a millisecond.
_WAITING = {"GOMP_SPINCOUNT": None, "KMP_BLOCKTIME": "1", "OMP_WAIT_POLICY": None, "KMP_LIBRARY": None}
_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


# --- before torch loads


def limit_spinning(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Give OpenMP no more threads than there are cores, and let them spin briefly where that cannot change later.

    OpenMP reads its variables once, when torch loads it: call this before. Variables that the user has set stay, those
    of waiting and those of the number of threads apart. False where torch is loaded already; nothing changes then.
    """
    if "torch" in sys.modules:
        return False
    if not _user_decides(environment):
        environment.update({name: value for name, value in _WAITING.items() if value is not None})
    quota = cpu_quota()
    if quota is not None and quota < len(_own_cores()) and not any(name in environment for name in _COUNTS):
        environment["OMP_NUM_THREADS"] = str(quota)
    return True


def leave_busy_cores(
    environment: MutableMapping[str, str] = os.environ,
    read: Callable[[], "Clocks | None"] | None = None,
    seconds: float = 0.5,
) -> int | None:
    """Begin with one thread for each core that other programs leave free, and at least one.

    Two threads of which one waits for a core are slower than one (docs/performance.md, "A busy machine"). For the
    start of a training, before torch loads; a resumed one takes the threads it began with. None, and nothing is
    changed, where no core is busy, the system does not tell, torch is loaded, or the user has set the number.
    """
    if "torch" in sys.modules or any(name in environment for name in _COUNTS):
        return None
    read = read_clocks if read is None else read
    before = read()
    time.sleep(seconds)
    after = read()
    if before is None or after is None:
        return None
    free = max(1, after.cores - math.floor(busy_elsewhere(before, after) + 0.5))
    if free == after.cores:
        return None
    environment["OMP_NUM_THREADS"] = str(free)
    return free


def _user_decides(environment: Mapping[str, str]) -> bool:
    """Whether a variable of waiting is set to what is not ours."""
    return any(name in environment and environment[name] != ours for name, ours in _WAITING.items())


def cpu_quota(root: Path = Path("/")) -> int | None:
    """How many cores' time the control groups of this process (a container's limit) grant it, rounded up; or None.

    OpenMP does not regard it: on a machine of 64 cores it starts 64 threads in a container that is granted two.
    """
    quotas = []
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, group = line.split(":", 2)
        mount = root / "sys/fs/cgroup" / controllers
        for path in (PurePosixPath(group), *PurePosixPath(group).parents):  # inside a container, the last
            folder = mount / path.relative_to("/")
            if not controllers:  # version 2
                limit = " ".join(_lines(folder / "cpu.max")).split()
            elif "cpu" in controllers.split(","):
                limit = [*_lines(folder / "cpu.cfs_quota_us"), *_lines(folder / "cpu.cfs_period_us")]
            else:
                break
            if len(limit) == 2 and limit[0] not in ("max", "-1"):
                quotas.append(math.ceil(int(limit[0]) / int(limit[1])))
    return min(quotas, default=None)


# --- what other programs take


@dataclass(frozen=True)
class Clocks:
    """A reading, in seconds since some moment that is the same for all readings."""

    wall: float
    """Time."""
    cores: int
    """How many cores the process may use."""
    everybody: float
    """Processor time of all programs on these cores, and on a virtual machine what its host took of them."""
    own: float
    """Processor time of this process and of its children that have ended."""


def read_clocks(stat: Path = Path("/proc/stat")) -> Clocks | None:
    """Read them; None where the system does not tell (other than Linux)."""
    own_cores, busy, cores = _own_cores(), 0, 0
    for line in _lines(stat):
        name, *ticks = line.split()
        if name.removeprefix("cpu").isdecimal() and int(name.removeprefix("cpu")) in own_cores:
            user, nice, system, _idle, _waiting, *interrupts_and_stolen = map(int, ticks[:8])
            busy += user + nice + system + sum(interrupts_and_stolen)
            cores += 1
    if not cores:
        return None
    return Clocks(time.monotonic(), cores, busy / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4]))


def busy_elsewhere(before: Clocks, after: Clocks) -> float:
    """How many cores other programs kept busy between two readings, 0 to `cores`."""
    others = (after.everybody - before.everybody) - (after.own - before.own)
    return min(max(others / (after.wall - before.wall), 0.0), float(after.cores))


def crowded(elsewhere: float, threads: int, cores: int) -> bool:
    """Whether so many threads find no core each, as others keep `elsewhere` of the cores busy."""
    return threads + elsewhere >= cores + 0.5


def notice(elsewhere: float, cores: int) -> str:
    """What to tell of it: "1 of 2 cores busy elsewhere"; nothing below half a core and a quarter of all."""
    if elsewhere < max(0.5, cores / 4):
        return ""
    return f"{math.floor(elsewhere + 0.5)} of {cores} cores busy elsewhere"


class Crowd:
    """Watches what other programs take, and lets this one's threads wait without spinning while there are no cores for
    all of them, unless the user has said how to wait. Their number stays: results depend on it."""

    def __init__(self, read: Callable[[], Clocks | None] = read_clocks) -> None:
        self._read, self._last = read, read()
        self._leave: threading.Event | None = None
        self._may_change = not _user_decides(os.environ)
        self.notice = ""

    def look(self, threads: int) -> None:
        """Read the clocks, if the last reading is old enough, and do what follows for a program of so many threads."""
        if self._last is None or time.monotonic() - self._last.wall < SECONDS_BETWEEN_READINGS:
            return
        before, self._last = self._last, self._read()
        if self._last is None:
            return
        elsewhere = busy_elsewhere(before, self._last)
        self.notice = notice(elsewhere, self._last.cores)
        self._wait_briefly(self._may_change and threads > 1 and crowded(elsewhere, threads, self._last.cores))

    def close(self) -> None:
        """Let the threads spin again."""
        self._wait_briefly(False)

    def _wait_briefly(self, briefly: bool) -> None:
        """GNU's OpenMP cuts spinning to a hundredth while its teams hold more threads than there are cores. A second
        team that sleeps is therefore what changes its mind while it runs; others take no notice of it."""
        if briefly and self._leave is None:
            self._leave = threading.Event()
            threading.Thread(target=_hold_a_team, args=(self._leave,), daemon=True, name="second team").start()
        elif not briefly and self._leave is not None:
            self._leave.set()
            self._leave = None


def _hold_a_team(leave: threading.Event) -> None:
    import torch

    torch.ones(2**15 * torch.get_num_threads()).neg_()  # large enough for all threads: a thread's first such work
    leave.wait()  # makes its team, which ends with it


def _own_cores() -> set[int]:
    """Numbers of the cores that this process may run on."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _lines(path: Path) -> list[str]:
    """Of a file of the system's; none where it cannot be read."""
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
