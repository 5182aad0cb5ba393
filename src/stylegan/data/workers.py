"""Worker processes: a job over many tasks, in order, in bounded memory.

They import the job's module, so that must be light: it must not import torch.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import types
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


def worker_count(requested: int | None, tasks: int) -> int:
    """As many as asked for or as there are cores; fewer where starting them would take longer than the work."""
    if requested is None:
        requested = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(requested, tasks // 16))


def in_order(
    job: Callable[[Task], Result], tasks: Sequence[Task], workers: int, result_bytes: int
) -> Generator[Result, None, None]:
    """Yield job(task) for every task, in order, computed by `workers` processes (1: by this one).

    Only a bounded number of tasks is begun before their results are wanted, so memory stays bounded too:
    `result_bytes` is about the size of a result. Closing the iterator ends the processes.
    """
    if workers == 1:
        yield from map(job, tasks)
        return
    size = max(1, min(32, 2**22 // result_bytes, len(tasks) // (4 * workers)))
    chunks = [tasks[i : i + size] for i in range(0, len(tasks), size)]
    with worker_processes(job, workers) as idle:
        running: dict[multiprocessing.connection.Connection, int] = {}
        finished: dict[int, list[Result]] = {}
        begun = yielded = 0  # chunks
        while yielded < len(chunks):
            # A worker gets a chunk only when it waits for one, so neither side ever blocks on a full pipe.
            while idle and begun < min(len(chunks), yielded + 4 * workers):
                connection = idle.pop()
                connection.send(chunks[begun])
                running[connection] = begun
                begun += 1
            ready = multiprocessing.connection.wait(list(running), timeout=0 if yielded in finished else None)
            for connection in running.keys() & ready:
                finished[running.pop(connection)] = connection.recv()
                idle.append(connection)
            if yielded in finished:
                yield from finished.pop(yielded)
                yielded += 1


@contextlib.contextmanager
def worker_processes(job: Callable, count: int) -> Iterator[list[multiprocessing.connection.Connection]]:
    """Start processes that answer lists of tasks with lists of results; they end with the context."""
    context = multiprocessing.get_context("spawn")  # a fork would inherit the locks of torch's threads
    processes, connections = [], []
    try:
        with _starting():
            for _ in range(count):
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, job), daemon=True)
                process.start()
                theirs.close()
                processes.append(process)
                connections.append(ours)
        yield list(connections)
    except (EOFError, ConnectionError) as error:
        raise RuntimeError(
            "a worker process ended unexpectedly: its error is printed above, or the memory ran out "
            "(fewer workers need less)"
        ) from error
    finally:
        for process in processes:
            process.kill()  # they hold nothing that needs tidying up
        for process in processes:
            process.join()
            process.close()
        for connection in connections:
            connection.close()


@contextlib.contextmanager
def _starting() -> Iterator[None]:
    """While processes start: keep Ctrl-C for this process, and the user's script to itself.

    A new process imports the main script again, which would run it again unless it is guarded by
    `if __name__ == "__main__"`; the jobs here need nothing of it, so it is put out of sight.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    if hasattr(signal, "pthread_sigmask"):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # new processes inherit it
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(connection: multiprocessing.connection.Connection, job: Callable) -> None:
    """The life of a worker process; it ends when the other side is gone, however that went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # libtiff prints about damaged files straight to file 2; Python's own errors keep the way they had.
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    while True:
        try:
            tasks = connection.recv()
        except (EOFError, ConnectionError):
            return
        results = [job(task) for task in tasks]
        try:
            connection.send(results)
        except ConnectionError:
            return
