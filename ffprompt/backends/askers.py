"""The list of those who can be asked: actors of a cluster, servers behind addresses, or one model in this process.

All of them are replicas of one model, so any of them may be asked anything. The list hands out the one with the fewest
requests under way, leaves out those that have failed, and lets whoever asks wait where none has a free place.

Example, two servers with any number of places each, of which the first fails::

    A  in flight 3   in flight 4   left out ...... asked again
    B  in flight 4   in flight 4   in flight 8     in flight 7
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class Asker(Generic[T]):
    """One of those who can be asked.

    Attributes:
        name: What messages call it.
        carrier: What carries a request there: the handle of an actor, the connections to a server.
        places: The most requests at a time. None for any number.
        in_flight: Requests under way.
    """

    name: str
    carrier: T
    places: int | None = None
    in_flight: int = 0

    @property
    def has_room(self) -> bool:
        """Whether it takes one more request."""
        return self.places is None or self.in_flight < self.places


class Askers(Generic[T]):
    """Those who can be asked now. Members join and leave at any time. Belongs to one event loop at a time."""

    def __init__(self) -> None:
        self._members: list[Asker[T]] = []
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._problem: BaseException | None = None

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Asker[T]]:
        return iter(self._members)

    def join(self, asker: Asker[T]) -> None:
        """Let an asker be asked from now on."""
        if asker not in self._members:
            self._members.append(asker)
            self._wake()

    def leave(self, asker: Asker[T]) -> None:
        """Leave an asker out. What it has under way is not touched."""
        if asker in self._members:
            self._members.remove(asker)

    def stop(self, problem: BaseException) -> None:
        """Raise ``problem`` in everybody who waits for a place, or will."""
        self._problem = self._problem or problem
        self._wake()

    @contextlib.contextmanager
    def use(self, asker: Asker[T]) -> Iterator[Asker[T]]:
        """Count one request of an asker as under way."""
        asker.in_flight += 1
        try:
            yield asker
        finally:
            asker.in_flight -= 1
            self._wake()

    def free(self) -> Asker[T] | None:
        """Return the asker with the fewest requests under way. None where no one has room.

        Raises:
            BaseException: What ``stop`` was given.
        """
        if self._problem is not None:
            raise self._problem
        return min((asker for asker in self._members if asker.has_room), key=lambda one: one.in_flight, default=None)

    def change(self) -> asyncio.Future[None]:
        """Return what is done as soon as an asker may have room that had none before.

        It notices what happens from this call on, not from when it is awaited: nothing between a look and the wait for
        a change is missed.
        """
        change = asyncio.get_running_loop().create_future()
        self._waiting.append(change)
        return change

    def _wake(self) -> None:
        while self._waiting:
            change = self._waiting.popleft()
            if not change.done():
                change.set_result(None)
