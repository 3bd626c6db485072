"""Retries: the attempts of a request, the waits between them, and when to give up.

A request becomes one ``Call`` of several attempts. An attempt holds one of the ``Limiter``'s places only while it is
in flight, so requests that wait for their next attempt keep nobody else from asking.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ffprompt.backends.api.budget import Budget, Counted
from ffprompt.backends.api.call_errors import (
    FILTERED,
    HOPELESS,
    Answered,
    CallError,
    as_call_error,
    hopeless,
    read_reply,
)
from ffprompt.backends.api.payloads import JsonObject
from ffprompt.backends.api.rate_limit import Bucket, Limiter
from ffprompt.backends.api.servers import Servers
from ffprompt.backends.api.transport import ConnectionPool, LateError, deadline, patience
from ffprompt.backends.api.usage_fields import UsageFields
from ffprompt.backends.base import Failure, Reply, Scores
from ffprompt.backends.call_record import AttemptRecord, CallRecord
from ffprompt.cost.usage import Bound, Usage
from ffprompt.errors import FFPromptError, RunFailedError

if TYPE_CHECKING:
    from tenacity import RetryCallState

    from ffprompt.config.run_config import RunConfig

Sleep = Callable[[float], Awaitable[None]]
# 503 and 529 say that all who ask are too many, 429 that this key asks too often.
_OVERLOADED = (429, 503, 529)


@dataclass(frozen=True, slots=True)
class Policy:
    """How patiently and how fast calls are made. Times are seconds.

    ``total`` is the time limit for all attempts of a request, including back-off but not queueing. ``read`` is the
    longest silence of a server, ``whole`` the longest attempt, and ``first_byte`` the longest wait for an answer to
    begin. Servers begin to answer only when they have the whole answer, so a ``first_byte`` below ``whole`` finds
    servers that stream or queue. ``breaker`` calls in a row with the same permanent error, or ``outage`` calls in a row
    without any answer, stop the run.
    """

    attempts: int = 6
    total: float = 300.0
    connect: float = 10.0
    read: float = 120.0
    first_byte: float = math.inf
    whole: float = 180.0
    first_wait: float = 1.0
    longest_wait: float = 60.0
    breaker: int = 5
    outage: int = 20
    max_concurrency: int = 64
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None


PolicyOf = Callable[[bool], Policy]  # of a model that thinks before it replies, or of one that does not


def policy_of(config: RunConfig, thinks: bool) -> Policy:
    """Return the policy that the settings of a run ask for, for a model that thinks before it replies or not."""
    return Policy(
        **patience(thinks, config.timeout, config.connect_timeout, config.first_byte_timeout),
        max_concurrency=config.max_concurrency or 64 * (1 + len(config.more_urls)),
        requests_per_minute=config.requests_per_minute,
        tokens_per_minute=config.tokens_per_minute,
    )


@dataclass(slots=True)
class Call:
    """The attempts that one answer took, for the log. ``sent`` is an attempt's number in the run."""

    attempts: list[AttemptRecord] = field(default_factory=list)
    request_id: str | None = None
    reasoning_tokens: int | None = None  # part of reply_tokens
    cached_tokens: int | None = None  # part of prompt_tokens
    cache_write_tokens: int | None = None  # part of prompt_tokens
    counted: Counted | None = field(default_factory=Counted)  # what the attempts were counted at against a budget
    batch: str | None = None  # the provider's id of the batch that the answer came in

    def note(self, fields: UsageFields) -> UsageFields:
        """Keep the token counts that a Reply has no field for."""
        self.reasoning_tokens, self.cached_tokens = fields.reasoning, fields.cached
        self.cache_write_tokens = fields.written
        return fields

    def record(self) -> CallRecord:
        """Return the call as the log keeps it, without secrets."""
        return CallRecord(
            attempts=self.attempts,
            request_id=self.request_id,
            reasoning_tokens=self.reasoning_tokens,
            cached_tokens=self.cached_tokens,
            cache_write_tokens=self.cache_write_tokens,
            counted=None if self.counted is None else self.counted.record(),
            batch=self.batch,
        ).checked()

    @property
    def spent(self) -> float:
        """Seconds in flight."""
        return math.fsum(attempt.seconds or 0.0 for attempt in self.attempts)


@dataclass(frozen=True, slots=True)
class LoggedReply(Reply):
    """A Reply with its call."""

    call: Call = field(default_factory=Call)


@dataclass(frozen=True, slots=True)
class LoggedScores(Scores):
    """Scores with their call."""

    call: Call = field(default_factory=Call)


@dataclass(frozen=True, slots=True)
class LoggedFailure(Failure):
    """A Failure with its call."""

    call: Call = field(default_factory=Call)


async def post(sdk: Any, pool: ConnectionPool | Servers, path: str, payload: JsonObject) -> Answered:
    """One attempt. Raises CallError."""
    try:
        return read_reply(await pool.post(path, payload))
    except (sdk.APIStatusError, sdk.APIConnectionError) as error:
        raise as_call_error(sdk, error) from None


class Breaker:
    """A circuit breaker: stops a run whose calls all fail.

    Raises:
        ModelError: before any answer, a call has failed in a way that all others will too.
        RunFailedError: too many calls in a row have failed alike, or brought no answer at all.
    """

    def __init__(self, policy: Policy, name: str) -> None:
        self.policy, self.name = policy, name
        self.answered = False
        self.text, self.same, self.failed = "", 0, 0
        self.verdict: FFPromptError | None = None

    def check(self) -> None:
        """Raise the error that stopped the run again, for calls that were still under way."""
        if self.verdict is not None:
            raise type(self.verdict)(str(self.verdict))

    def success(self) -> None:
        """Note that a readable answer came."""
        self.answered, self.text, self.same, self.failed = True, "", 0, 0

    def failure(self, error: CallError) -> None:
        """Note that a call ended without an answer."""
        # Two errors are the same whatever request and however many tokens they are about.
        text = re.sub(r"\breq_\w+|\d+", "0", str(error))
        self.failed += 1
        self.same = self.same + 1 if text == self.text and not error.retry else int(not error.retry)
        self.text = text
        if error.status in HOPELESS and not self.answered:
            self.verdict = hopeless(self.name, error)
        elif self.same >= self.policy.breaker:
            self.verdict = RunFailedError(f"{self.name}: {self.same} calls in a row failed alike: {error}")
        elif self.failed >= self.policy.outage:
            self.verdict = RunFailedError(
                f"{self.name}: {self.failed} calls in a row brought no answer; the last: {error}"
            )
        self.check()


class Caller:
    """Makes calls under one policy and one budget. ``name`` is the model in error texts. Waits are spent in ``sleep``.

    ``usage`` reads from the body of an answer what was used.
    """

    def __init__(
        self,
        policy: Policy,
        name: str,
        sleep: Sleep = asyncio.sleep,
        usage: Callable[[JsonObject], Usage | None] = lambda _: None,
    ) -> None:
        self.policy, self.sleep, self.usage = policy, sleep, usage
        self.budget = Budget()
        self.limiter = Limiter(policy.max_concurrency)
        self.breaker = Breaker(policy, name)
        self.requests = Bucket(policy.requests_per_minute) if policy.requests_per_minute else None
        self.tokens = Bucket(policy.tokens_per_minute) if policy.tokens_per_minute else None

    async def call(
        self,
        attempt: Callable[[], Awaitable[Answered]],
        tokens: int,
        call: Call,
        most: Bound | None = None,
        handled: Callable[[CallError], bool] = lambda _: False,
    ) -> Answered:
        """Attempt until there is an answer.

        ``tokens`` is about how many the request will cost, ``most`` how many it can. ``call`` takes the record. An
        error that is ``handled`` says nothing against the server.

        Raises:
            CallError: there will be none. Also what breaker or budget raise.
        """
        from tenacity import AsyncRetrying, retry_if_exception, wait_exponential, wait_random

        first = self.policy.first_wait
        backoff = wait_exponential(multiplier=first, max=self.policy.longest_wait) + wait_random(0, first)

        def wait(state: RetryCallState) -> float:
            return max(backoff(state), _error(state).wait or 0.0)

        def stop(state: RetryCallState) -> bool:
            # A server that asks for more patience than is left is not asked again.
            late = call.spent + state.idle_for + state.upcoming_sleep > self.policy.total
            return state.attempt_number >= self.policy.attempts or late

        retrying = AsyncRetrying(
            sleep=self.sleep,
            stop=stop,
            wait=wait,
            retry=retry_if_exception(lambda error: isinstance(error, CallError) and error.retry),
            reraise=True,
        )
        try:
            answered: Answered = await retrying(self._attempt, attempt, tokens, call, most or Bound())
        except CallError as error:
            if error.code not in FILTERED and not handled(error):
                self.breaker.failure(error)
            raise
        call.request_id = answered.request_id
        return answered

    async def _attempt(
        self, attempt: Callable[[], Awaitable[Answered]], tokens: int, call: Call, most: Bound
    ) -> Answered:
        since = await self.limiter.acquire()
        try:
            answered = await self._paid(attempt, tokens, call, most)
        except CallError as error:
            if error.status in _OVERLOADED and error.retry:
                self.limiter.overloaded(since)
            raise
        finally:
            self.limiter.release()
        self.limiter.succeeded()
        return answered

    async def _paid(self, attempt: Callable[[], Awaitable[Answered]], tokens: int, call: Call, most: Bound) -> Answered:
        """Make one attempt within the budget."""
        reserved = await self.budget.reserve(most)
        used: Usage | None = Usage(0, 0)  # until it is sent, nothing
        try:
            self.breaker.check()
            await self._keep_pace(tokens)
            number = self.budget.sent(reserved)
            used = None  # from here on unknown, until the server says
            answered = await self._timed(attempt, call, number)
            used = self.usage(answered.body)
        except CallError as error:
            if error.free:
                used = Usage(0, 0)
                self.budget.free(number)
            elif error.body is not None:
                used = self.usage(error.body)
            raise
        finally:
            self.budget.settle(reserved, used, call.counted)
        return answered

    async def _keep_pace(self, tokens: int) -> None:
        pauses = [bucket.reserve(n) for bucket, n in ((self.requests, 1), (self.tokens, tokens)) if bucket is not None]
        if pause := max(pauses, default=0.0):
            await self.sleep(pause)

    async def _timed(self, attempt: Callable[[], Awaitable[Answered]], call: Call, number: int) -> Answered:
        """Make one attempt and add its line to the record."""
        started = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        status: int | str | None = None
        request_id: str | None = None
        clock = time.monotonic()
        try:
            async with deadline(self.policy.first_byte, self.policy.whole):
                answered = await attempt()
            status, request_id = 200, answered.request_id
        except LateError as late:
            error = self._late(late.began)
            status = error.status
            raise error from None
        except CallError as error:
            status, request_id = error.status, error.request_id
            raise
        finally:
            seconds = round(time.monotonic() - clock, 6)
            call.attempts.append(AttemptRecord(number, started, status, request_id, seconds))
        return answered

    def _late(self, began: bool) -> CallError:
        if began:
            return CallError(f"no whole answer within {self.policy.whole:g} s", "timeout", True)
        return CallError(f"no answer began within {self.policy.first_byte:g} s", "first byte", True)


def _error(state: RetryCallState) -> CallError:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, CallError)
    return error
