"""Standard output and error as well-behaved programs treat them."""

import contextlib
import os
import select
import shutil
import signal
import sys
import warnings
from collections.abc import Iterator
from typing import Any, TextIO

from stylegan.errors import InputWarning

NARROWEST = 40  # columns


@contextlib.contextmanager
def well_behaved() -> Iterator[None]:
    """Inside, a program may print what it likes, to whoever reads.

    A reader that has seen enough (`| head`) ends it quietly, with the exit code of one that SIGPIPE has ended. Names
    that the output's encoding does not have are printed as they are or escaped. An InputWarning is a line on stderr.
    Help is laid out for lines of 40 columns at least.
    """
    before = sys.stdout.errors if hasattr(sys.stdout, "reconfigure") else None
    if before == "strict":
        utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
        sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")

    try:
        with _warnings_in_one_line(), _lines_of_some_width():
            yield
        sys.stdout.flush()
    except BrokenPipeError:
        _end_if_unread(sys.stdout, sys.stderr)
        raise
    except SystemExit:
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
        _end_if_unread(sys.stdout)
        raise
    finally:
        if before == "strict":
            sys.stdout.reconfigure(errors=before)


def is_first() -> bool:
    """Whether this is the first of torchrun's processes, which speaks for all, or one alone."""
    return os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_warning(message, category, *place: Any, **named: Any) -> None:
            if not issubclass(category, InputWarning):
                show(message, category, *place, **named)
            elif is_first():
                print(f"stylegan: warning: {message}", file=sys.stderr, flush=True)

        warnings.showwarning = show_warning
        warnings.simplefilter("default", InputWarning)
        yield


@contextlib.contextmanager
def _lines_of_some_width() -> Iterator[None]:
    """Inside, a terminal (or COLUMNS) of fewer than 40 columns is taken for one of 40: with 5, tyro never ends."""
    before = os.environ.get("COLUMNS")
    if shutil.get_terminal_size().columns < NARROWEST:
        os.environ["COLUMNS"] = str(NARROWEST)
    try:
        yield
    finally:
        if before is not None:
            os.environ["COLUMNS"] = before
        else:
            os.environ.pop("COLUMNS", None)


def _end_if_unread(*streams: TextIO) -> None:
    """End the program if nobody reads one of these streams any more."""
    for stream in streams:
        if _is_unread(stream):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # else Python complains when it closes it
            sys.exit(128 + getattr(signal, "SIGPIPE", 13))


def _is_unread(stream: TextIO) -> bool:
    """Whether a stream is a pipe whose reader has left."""
    try:
        stream.flush()
        if not hasattr(select, "poll"):  # Windows, where flushing says it
            return False
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
        return any(events & select.POLLERR for _, events in poll.poll(0))
    except BrokenPipeError:
        return True
    except (OSError, ValueError):  # no stream of the system's
        return False
