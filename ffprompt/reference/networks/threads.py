"""Threads for networks this small: each runs kernels on one core, and strings are split over them.

The usual way, all cores on every kernel, makes them wait for each other after each of the T tokens. That costs a third
of the speed on idle cores and nearly all of it on cores that others use too, and results depend on how many there are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import torch

A = TypeVar("A")
B = TypeVar("B")

DICE = threading.RLock()
"""Held while torch's global generator is seeded and drawn from: it is one for all threads of a process."""


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run the kernels of this thread on ``count`` cores, and put its setting back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_core() -> AbstractContextManager[None]:
    """Run the kernels of this thread on one core, and put its setting back afterwards."""
    return threads(1)


class Workers:
    """A pool of threads, by default as many as torch has cores for a kernel. Its setting elsewhere stays as it was."""

    def __init__(self, count: int | None = None) -> None:
        count = count or torch.get_num_threads()
        self._pool = ThreadPoolExecutor(count, "ffprompt-reference")
        started = threading.Barrier(count)

        def start() -> None:
            torch.get_num_threads()  # the first use of torch in a thread takes over the global number; have it now
            torch.set_num_threads(1)
            started.wait()  # keeps this thread busy, so that the pool starts another one for the next task

        # one_core puts back what set_num_threads changes beyond the calling thread: the number for threads to come.
        with one_core():
            for task in [self._pool.submit(start) for _ in range(count)]:
                task.result()

    def map(self, function: Callable[[A], B], items: Iterable[A]) -> list[B]:
        """``function`` of each item, in order. The first exception is raised."""
        return list(self._pool.map(function, items))

    def submit(self, function: Callable[[A], B], item: A) -> Future[B]:
        """``function`` of one item, when a thread is free."""
        return self._pool.submit(function, item)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()
