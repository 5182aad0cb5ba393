"""Memory of the CPU: freed blocks are kept for the next tensor instead of being given back to the system.

glibc returns every large block when it is freed. The next tensor of that size gets fresh pages, which the system
clears one by one as they are touched: for activations of some ten megabytes that takes ten times as long as the
arithmetic on them (docs/performance.md).
"""

import ctypes

from stylegan.system import system

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # of glibc's malloc.h


def keep_freed_memory() -> bool:
    """Tell glibc so, for this process. False where there is no glibc; nothing changes then."""
    if system() != "linux":
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    # no blocks of their own from the system, none given back, and one heap, which alone can grow without limit
    return all(
        mallopt(option, value) == 1 for option, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_ARENA_MAX, 1))
    )
