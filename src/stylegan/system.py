"""The operating system: which one it is, and what each of them does in its own way."""

import ctypes
import hashlib
import os
import platform
import socket
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

System = Literal["linux", "macos", "windows", "other"]


def system() -> System:
    """The system that the program runs on. Nothing else in the program asks the interpreter for it."""
    names: dict[str, System] = {"linux": "linux", "darwin": "macos", "win32": "windows"}
    return names.get(sys.platform, "other")


def processor_model() -> str:
    """What the processor calls itself."""
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def peak_memory_bytes() -> int:
    """The most memory that this process has had in use so far; 0 where the system does not say."""
    if system() == "windows":
        return _peak_on_windows()
    try:
        import resource  # which Windows lacks
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if system() == "macos" else peak * 1024  # kilobytes on all others


class _MemoryCounters(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS of psapi.h."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("page_faults", ctypes.c_uint32),
        ("peak_working_set", ctypes.c_size_t),
        ("working_set", ctypes.c_size_t),
        ("peak_paged_pool", ctypes.c_size_t),
        ("paged_pool", ctypes.c_size_t),
        ("peak_nonpaged_pool", ctypes.c_size_t),
        ("nonpaged_pool", ctypes.c_size_t),
        ("pagefile", ctypes.c_size_t),
        ("peak_pagefile", ctypes.c_size_t),
    )


def _peak_on_windows() -> int:
    try:
        kernel = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined]  # there alone
        kernel.GetCurrentProcess.restype = ctypes.c_void_p
        ask = kernel.K32GetProcessMemoryInfo
    except (AttributeError, OSError):
        return 0
    ask.argtypes = (ctypes.c_void_p, ctypes.POINTER(_MemoryCounters), ctypes.c_uint32)
    counters = _MemoryCounters(size=ctypes.sizeof(_MemoryCounters))
    return counters.peak_working_set if ask(kernel.GetCurrentProcess(), counters, counters.size) else 0


# --- processes, so that one can be told from a later one with its number, and from another machine's


@dataclass(frozen=True)
class Process:
    """A process, here or on another machine that shares a folder with this one."""

    host: str
    """Name of the machine."""
    place: str
    """Where the number counts: a hash of the machine and, on Linux, of the container."""
    pid: int
    start: str
    """A hash of the time when it began; "" where the system does not say."""

    def is_running(self) -> bool | None:
        """Whether it still runs; None where that cannot be known, as of another machine's."""
        if self.place != _place():
            return None
        start = _start_of(self.pid)
        return start is not None and (not self.start or not start or start == self.start)


def this_process() -> Process:
    """The one that asks."""
    return _process(os.getpid())


@cache
def _process(pid: int) -> Process:
    return Process(socket.gethostname(), _place(), pid, _start_of(pid) or "")


@cache
def _place() -> str:
    try:
        container = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        container = ""
    return _short_hash(f"{socket.gethostname()} {container}")


def _start_of(pid: int) -> str | None:
    """A hash of the time when a process began, "" where the system does not say; None where there is none."""
    if system() == "windows":
        return _start_on_windows(pid)
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        except FileNotFoundError:
            return None
        except OSError:
            return ""
        return None if fields[0] in "ZX" else _short_hash(f"{boot} {fields[19]}")  # dead, but not yet collected
    found = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, start = found.stdout.strip().partition(" ")
    return None if found.returncode or state.startswith("Z") else _short_hash(" ".join(start.split()))


def _start_on_windows(pid: int) -> str | None:
    """As `_start_of`. os.kill(pid, 0), which asks elsewhere, would send Ctrl-C there."""
    try:
        kernel = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined]  # there alone
        kernel.OpenProcess.restype = ctypes.c_void_p
        handle = ctypes.c_void_p(kernel.OpenProcess(0x1000, False, pid))  # PROCESS_QUERY_LIMITED_INFORMATION
    except (AttributeError, OSError):
        return ""
    if not handle.value:
        return None if kernel.GetLastError() == 87 else ""  # ERROR_INVALID_PARAMETER: there is none
    code, times = ctypes.c_uint32(), [ctypes.c_uint64() for _ in range(4)]
    known = kernel.GetProcessTimes(handle, *map(ctypes.byref, times))
    ended = kernel.GetExitCodeProcess(handle, ctypes.byref(code)) and code.value != 259  # STILL_ACTIVE
    kernel.CloseHandle(handle)
    return None if ended else _short_hash(str(times[0].value)) if known else ""


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
