"""Signals that stop a training: it saves first, and says so at once."""

import contextlib
import os
import signal
import sys
import threading
import time

from stylegan import processes

BOUNCE = (
    1.0  # seconds in which further signals are taken for the first: torchrun repeats them, and so do impatient keys
)
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # those that the system has


class StopSignals:
    """Inside the block, Ctrl-C, SIGTERM and SIGHUP are noted in `signal`; one more, a second later, acts as usual.

    One that is ignored, as SIGHUP is under nohup, stays ignored.
    """

    def __enter__(self) -> "StopSignals":
        self.signal: int | None = None
        self.interrupting = _Interrupting(self)
        self._first = 0.0
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in NAMES if hasattr(signal, name)):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame) -> None:
        now = time.monotonic()
        if self.signal is None:
            self.signal, self._first = number, now
            _answer(number)
            if self.interrupting.now:
                raise KeyboardInterrupt
        elif now - self._first > BOUNCE:
            signal.signal(number, self._before[number])
            signal.raise_signal(number)

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class _Interrupting:
    """Inside the block a signal ends it, which is no error. Processes that work together end it together, where they
    ask each other."""

    def __init__(self, signals: StopSignals) -> None:
        self.signals, self.now = signals, False

    def __enter__(self) -> None:
        self.now = processes.world_size() == 1 and self.signals.signal is None
        self._asking = processes.interruptible(lambda: self.signals.signal is not None)
        self._asking.__enter__()

    def __exit__(self, kind, *_) -> bool:
        self.now = False
        self._asking.__exit__(None, None, None)
        return kind is processes.Interrupted or (kind is KeyboardInterrupt and self.signals.signal is not None)


def _answer(number: int) -> None:
    """Say what happens. Not through sys.stderr, which may be in the middle of writing."""
    if processes.rank() == 0:
        sentence = (
            f"\n{signal.Signals(number).name}: stopping after these images, all will be saved; once more: at once\n"
        )
        with contextlib.suppress(OSError, ValueError, AttributeError):  # no terminal any more
            os.write(sys.stderr.fileno(), sentence.encode())
