"""Let this process look to our code like one on another system: run with STYLEGAN_TEST_SYSTEM=windows or macos.

STYLEGAN_TEST_SYSTEM=windows python -m pytest tests/training tests/test_prepare.py
"""

import contextlib
import importlib
import os
import select
import signal
import sys

POSIX_MODULES = ("resource", "fcntl", "pwd", "grp", "termios")
POSIX_NAMES = {
    signal: ("pthread_sigmask", "SIGALRM", "SIGHUP", "SIGPIPE", "SIGQUIT", "SIGUSR1", "alarm", "setitimer"),
    os: ("sched_getaffinity", "mkfifo", "getloadavg"),
    select: ("poll", "epoll"),
}


def pretend(name: str) -> None:
    """Hide what Windows lacks (and neither pytest nor subprocess need here), and name the system to our code."""
    if name == "windows":
        with contextlib.suppress(ImportError):  # packages of others, which take Linux for Linux
            importlib.import_module("filelock")
            importlib.import_module("datasets")
        for module in POSIX_MODULES:
            sys.modules[module] = None  # importing it raises ImportError
        for module, names in POSIX_NAMES.items():
            for each in names:
                if hasattr(module, each):
                    delattr(module, each)
    from stylegan import system

    system.system = lambda: name


if name := os.environ.get("STYLEGAN_TEST_SYSTEM"):
    pretend(name)
