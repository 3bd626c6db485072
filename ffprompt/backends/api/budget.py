"""What a run may spend, held call by call.

Before an attempt is sent the most that it can cost is reserved. When its usage is known, that takes the place of the
reservation. So what is spent and what is in flight together never exceed the limits, whatever happens to the calls.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from dataclasses import dataclass

from ffprompt._util.formatting import counted, dollars
from ffprompt.backends.call_record import CountedRecord
from ffprompt.cost.prices import PICO, Allowance, unknown, usd
from ffprompt.cost.usage import Bound, Usage
from ffprompt.errors import RunFailedError


@dataclass(slots=True)
class Counted:
    """What a call's attempts were counted at, for its record: the usage where it is known, or else the most."""

    prompt_tokens: int = 0
    reply_tokens: int = 0
    picos: int | None = 0

    def record(self) -> CountedRecord:
        """Return the counts as the log keeps them."""
        return CountedRecord(self.prompt_tokens, self.reply_tokens, usd(self.picos))


@dataclass(frozen=True, slots=True)
class Reservation:
    """What an attempt may use and cost (picoNone where no price is known)."""

    bound: Bound
    picos: int | None


class Budget:
    """Counts what is spent, and lets attempts wait until they fit.

    Attempts that do not fit wait in line for those in flight, which mostly turn out cheaper than was reserved.

    Raises:
        RunFailedError: no other attempt will ever fit.
    """

    def __init__(self, allowance: Allowance | None = None) -> None:
        self.allowance = allowance = allowance or Allowance()
        self._numbers = itertools.count()
        self.picos, self.tokens = allowance.spent.picos or 0, allowance.spent.tokens
        self.answers = allowance.spent.answers
        self.held_picos = self.held_tokens = self.in_flight = 0
        self.max_picos = None if allowance.max_usd is None else int(allowance.max_usd * PICO)
        self.over = False  # an attempt did not fit with nothing else in flight, so the run ends
        self._waiting: deque[tuple[Reservation, asyncio.Future[bool]]] = deque()

    async def reserve(self, bound: Bound) -> Reservation:
        """Wait until an attempt fits. What is returned must be settled."""
        asked = Reservation(bound, self._most(bound))
        if not self._waiting and not self.over and self._fits(asked):
            self._take(asked)
            return asked
        if self.over or not self.in_flight:
            self.over = True
            raise self._error(asked)
        fits = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, fits))
        try:
            granted = await fits
        except asyncio.CancelledError:
            if fits.done() and not fits.cancelled() and fits.result():  # it had been granted just before
                self.settle(asked, Usage(0, 0))
            else:
                self._wake()  # whoever stood behind may fit
            raise
        if not granted:
            raise self._error(asked)
        return asked

    def sent(self, reservation: Reservation) -> int:
        """Note that an attempt is about to be sent. Returns its number."""
        ledger = self.allowance.ledger
        return next(self._numbers) if ledger is None else ledger.sent(reservation.bound)

    def free(self, attempt: int) -> None:
        """Note that an attempt which was sent has cost nothing."""
        if self.allowance.ledger is not None:
            self.allowance.ledger.free(attempt)

    def settle(self, reservation: Reservation, usage: Usage | None, counted: Counted | None = None) -> None:
        """Put what an attempt has used in the place of its reservation: all of it where that is not known (None).

        ``counted`` is added to.
        """
        used = Usage(reservation.bound.prompt, reservation.bound.reply) if usage is None else usage
        picos = reservation.picos
        if usage is not None and self.allowance.price is not None:
            cost = self.allowance.price.picos(usage)
            picos = picos if cost is None else cost
        self.in_flight -= 1
        self.held_picos -= reservation.picos or 0
        self.held_tokens -= reservation.bound.tokens
        self.picos += picos or 0
        self.tokens += used.tokens
        if counted is not None:
            counted.prompt_tokens += used.prompt
            counted.reply_tokens += used.reply
            counted.picos = None if picos is None or counted.picos is None else counted.picos + picos
        self._wake()

    def _most(self, bound: Bound) -> int | None:
        price = self.allowance.price
        most = None if price is None else price.max_cost(bound)
        if most is None and self.max_picos is not None:
            if price is None:
                raise RunFailedError(unknown("this model"))
            raise RunFailedError(
                f"the price of {price.models[0]} is for prompts of up to {price.up_to:,} tokens, and one may have "
                f"{bound.prompt:,}; give a price for longer ones with --prices FILE"
            )
        return most

    def _fits(self, asked: Reservation) -> bool:
        if self.max_picos is not None and self.picos + self.held_picos + (asked.picos or 0) > self.max_picos:
            return False
        most = self.allowance.max_tokens
        return most is None or self.tokens + self.held_tokens + asked.bound.tokens <= most

    def _take(self, asked: Reservation) -> None:
        self.in_flight += 1
        self.held_picos += asked.picos or 0
        self.held_tokens += asked.bound.tokens

    def _wake(self) -> None:
        """Grant those in line, in order, as far as they fit. With nothing in flight nobody waits in vain."""
        while self._waiting:
            asked, fits = self._waiting[0]
            if not fits.done():  # else its task was cancelled
                granted = not self.over and self._fits(asked)
                if granted:
                    self._take(asked)
                elif self.in_flight and not self.over:
                    return
                else:
                    self.over = True
                fits.set_result(granted)
            self._waiting.popleft()

    def _error(self, asked: Reservation) -> RunFailedError:
        most = self.allowance.max_tokens
        if most is not None and self.tokens + self.held_tokens + asked.bound.tokens > most:
            flag, limit, spent = "--max-tokens-total", counted(most, "token"), f"{self.tokens:,}"
            more = counted(asked.bound.tokens, "token")
        else:
            flag, limit, spent = "--max-usd", dollars(self.allowance.max_usd), dollars(usd(self.picos))
            more = dollars(usd(asked.picos))
        return RunFailedError(
            f"the budget of {limit} is spent: {spent} for {counted(self.answers, 'answer')}, and the next call "
            f"may take {more}; go on with a larger {flag} and --resume"
        )
