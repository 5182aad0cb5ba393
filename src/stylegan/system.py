"""The operating system: which one it is, and what each of them does in its own way."""

import ctypes
import sys
from typing import Literal


def system() -> Literal["linux", "macos", "windows", "other"]:
    """The system that the program runs on. Nothing else in the program asks the interpreter for it."""
    names = {"linux": "linux", "darwin": "macos", "win32": "windows"}
    return names.get(sys.platform, "other")


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
        kernel = ctypes.WinDLL("kernel32")
        kernel.GetCurrentProcess.restype = ctypes.c_void_p
        ask = kernel.K32GetProcessMemoryInfo
    except (AttributeError, OSError):
        return 0
    ask.argtypes = (ctypes.c_void_p, ctypes.POINTER(_MemoryCounters), ctypes.c_uint32)
    counters = _MemoryCounters(size=ctypes.sizeof(_MemoryCounters))
    return counters.peak_working_set if ask(kernel.GetCurrentProcess(), counters, counters.size) else 0
