"""One computes at a time, and who moves a slider goes before who waits for many small pictures."""

import heapq
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Turns of several threads at the same processor: the urgent ones first, else in the order of their coming."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._waiting: list[tuple[bool, int]] = []
        self._numbers = itertools.count()
        self._busy = False

    @contextmanager
    def __call__(self, *, urgent: bool = False) -> Iterator[None]:
        """Inside the block it is this thread's turn. Not to be asked for twice."""
        with self._change:
            ticket = (not urgent, next(self._numbers))
            heapq.heappush(self._waiting, ticket)
            self._change.wait_for(lambda: not self._busy and self._waiting[0] == ticket)
            heapq.heappop(self._waiting)
            self._busy = True
        try:
            yield
        finally:
            with self._change:
                self._busy = False
                self._change.notify_all()
