"""Rate limits: concurrency that adapts to the server, and requests and tokens per minute."""

from __future__ import annotations

import asyncio
import email.utils
import math
import time
from collections import deque
from collections.abc import Callable, Mapping


class Limiter:
    """How many attempts are in flight at once: doubles a round until the first overload, halves at each, then creeps.

    Waiters are futures in a queue. A place that becomes free wakes the first of them and nobody else.
    """

    def __init__(self, most: int, first: int = 8) -> None:
        self.most = most
        self.limit = float(min(first, most))
        self.in_flight = 0
        self.peak = 0
        self.cuts = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> int:
        """Wait for a place. Returns what ``overloaded`` wants to know about when that was."""
        if self._waiting or self.in_flight >= int(self.limit):
            place = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place
            except asyncio.CancelledError:
                if not place.cancelled():  # the place had been given just before
                    self.release()
                raise
        else:
            self._take()
        return self.cuts

    def _take(self) -> None:
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)

    def release(self) -> None:
        """Give a place back."""
        self.in_flight -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self.in_flight < int(self.limit):
            place = self._waiting.popleft()
            if not place.done():
                self._take()
                place.set_result(None)

    def succeeded(self) -> None:
        """An answer came: one place more, or after an overload one more for each full round."""
        self.limit = min(self.most, self.limit + (1.0 if not self.cuts else 1.0 / self.limit))
        self._wake()

    def overloaded(self, since: int) -> None:
        """An attempt was turned away. Those sent before the last halving tell nothing new and halve nothing."""
        if since == self.cuts:
            self.cuts += 1
            self.limit = max(1.0, self.limit / 2)


class Bucket:
    """A rate a minute. Each comer reserves its moment and sleeps once. A burst is five seconds' worth."""

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = per_minute / 60
        self.clock = clock
        self.paid = clock() - 5.0  # the moment until which everything reserved is paid for

    def reserve(self, amount: float) -> float:
        """Seconds to wait before sending ``amount``."""
        now = self.clock()
        self.paid = max(self.paid, now - 5.0)
        wait = max(0.0, self.paid - now)
        self.paid += amount / self.rate
        return wait

    def give_back(self, amount: float) -> None:
        """What was reserved and not used."""
        self.paid -= amount / self.rate


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that a server asks to be left alone, from ``retry-after-ms`` or ``Retry-After`` (seconds or a date)."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.0, date.timestamp() - (time.time() if now is None else now))
