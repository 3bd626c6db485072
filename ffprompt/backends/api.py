"""A model behind an API: what is the same for every provider."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, cast

from ffprompt.backends.budget import Budget
from ffprompt.backends.calls import (
    FILTERED,
    Answered,
    Call,
    Caller,
    CallError,
    LoggedFailure,
    LoggedReply,
    LoggedScores,
    Policy,
    Sleep,
    as_call_error,
    post,
)
from ffprompt.backends.keys import NO_KEY, redact, shown_url, split_base_url
from ffprompt.backends.wire import Wire, library, making
from ffprompt.crash import named
from ffprompt.errors import ModelError
from ffprompt.prices import Allowance
from ffprompt.requests import Capabilities, Failure, Reply, Request, Scores
from ffprompt.usage import Bound, Usage

# Tokens beyond those of the text: marks around messages, and what providers put in front of them.
_FRAME, _FRAME_EACH = 64, 16
# How payloads call the limit of a reply, reasoning included.
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


class ApiBackend(ABC):
    """What is the same for every provider. A subclass says what is sent (``payload``) and what came back (``read``).

    ``in_flight`` is how many ``ask`` may be under way at once; the limiter decides how many of them are on the wire.
    """

    path: str  # of the endpoint, below the base URL
    key: str
    base_url: str | None
    identity: Mapping[str, Any]
    capabilities: Capabilities

    def __init__(self, sdk: Any, name: str, policy: Policy, sleep: Sleep) -> None:
        self.sdk, self.name, self.policy = sdk, name, policy
        self.caller = Caller(policy, name, sleep, self.usage)
        self.in_flight = policy.max_concurrency
        self.chunk = 64
        self._wire: Wire | None = None

    @abstractmethod
    def client(self, connections: Any) -> Any:
        """A new asynchronous client of the SDK, which leaves retries to the caller."""

    def settings(self, key: str, base_url: str | None) -> dict[str, Any]:
        """What every client is told."""
        url, query = split_base_url(base_url) if base_url else (None, None)
        return {"api_key": key, "base_url": url, "default_query": query, "timeout": self._timeout()}

    def make(self, kind: Callable[..., Any], retries: int, http_client: Any = None) -> Any:
        """A client of the SDK for this backend's key and base URL. Raises ModelError where none can be made."""
        settings = self.settings(self.key, self.base_url)
        with making(self.name):
            # Without the SDK's wrapper, which shows a traceback where it could not be made.
            http = http_client or self.sdk.DefaultHttpxClient(timeout=self._timeout())
            client = kind(max_retries=retries, http_client=http, **settings)
            # A header from the environment may not fit into one, which would show in the first call only.
            library(self.sdk).Headers({n: text for n, text in client.default_headers.items() if isinstance(text, str)})
        return client

    def address(self, client: Any, base_url: str | None) -> str:
        """Where calls go, as it may be shown: the client's own base URL, with the query of the one that was given."""
        query = f"?{base_url.partition('?')[2]}" if base_url and "?" in base_url else ""
        return shown_url(f"{client.base_url}{query}")

    def _timeout(self) -> Any:
        return self.sdk.Timeout(self.policy.read, connect=self.policy.connect)

    @abstractmethod
    def payload(self, request: Request) -> dict[str, Any]:
        """What is sent for a request. Raises ModelError for one that this API cannot express."""

    @abstractmethod
    def read(self, request: Request, body: Mapping[str, Any], call: Call) -> Reply | Scores | Failure:
        """What an answer means; counts that only the log wants go into ``call``."""

    @abstractmethod
    def usage(self, body: Mapping[str, Any]) -> Usage | None:
        """What an answer says that it used; None where it does not say."""

    def hold(self, allowance: Allowance) -> None:
        """Spend no more than that from here on."""
        self.caller.budget = Budget(allowance)

    def most(self, request: Request) -> Bound:
        """The most tokens that one attempt can use."""
        return _most(self.payload(request))

    def check(self, requests: Sequence[Request]) -> Mapping[str, Any]:
        """Whether every request can be put into a payload, and their size; the provider counts tokens, nobody here."""
        sizes = [len(json.dumps(self.payload(request), ensure_ascii=False)) for request in requests]
        return {
            "audited": len(sizes),
            "mean_prompt_characters": sum(sizes) / len(sizes),
            "longest_prompt_characters": max(sizes),
        }

    async def ask(self, request: Request) -> Reply | Scores | Failure:
        """One request, scored where it has reads. Raises ModelError or RunFailedError where going on is of no use."""
        call, payload, wire = Call(), self.payload(request), self._own_wire()
        try:
            answered = await self.caller.call(
                lambda: self._attempt(wire, payload), _estimate(request), call, _most(payload)
            )
        except CallError as error:
            if error.code in FILTERED:  # by an error status, which no tokens are charged for
                return LoggedReply("", "refusal", prompt_tokens=0, reply_tokens=0, call=call)
            tries = len(call.attempts)
            return LoggedFailure(f"{error} ({tries} attempts)" if tries > 1 else str(error), call)
        return self._logged(request, self.understood(request, answered.body, call), call)

    def call_error(self, error: Any) -> CallError:
        """What an exception of the SDK means."""
        return self.hinted(as_call_error(self.sdk, error))

    def hinted(self, error: CallError) -> CallError:
        """An error with what may be its cause: that no key was sent, which servers say in many ways or not at all."""
        if self.key == NO_KEY and isinstance(error.status, int) and 400 <= error.status < 500:
            error.args = (f"{error} (no key is set, so {NO_KEY!r} was sent; does the server want one?)",)
        return error

    async def _attempt(self, wire: Wire, payload: Mapping[str, Any]) -> Answered:
        """One attempt. Raises CallError, also for what an SDK cannot send."""
        try:
            return await post(self.sdk, wire, self.path, payload)
        except CallError as error:
            raise self.hinted(error) from error.__cause__
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise CallError(f"the call cannot be made ({named(error)})", type(error).__name__, False) from error

    def understood(self, request: Request, body: Mapping[str, Any], call: Call) -> Reply | Scores | Failure:
        """What came back, where an answer of an unknown shape is a Failure."""
        try:
            return self.read(request, body, call)
        except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError) as error:
            return Failure(f"the answer has an unknown shape ({type(error).__name__}: {error})")

    def _logged(self, request: Request, response: Reply | Scores | Failure, call: Call) -> Reply | Scores | Failure:
        if isinstance(response, Failure):
            text = redact(response.error)
            # Not permanent: the next prompt may fare better. But a server that never makes sense is an outage.
            self.caller.breaker.failure(CallError(text, "unreadable", True))
            return LoggedFailure(text, call)
        self.caller.breaker.success()
        self.caller.budget.answers += 1
        if self.caller.tokens is not None and response.prompt_tokens is not None:
            self.caller.tokens.give_back(_estimate(request) - response.prompt_tokens - (response.reply_tokens or 0))
        return with_call(response, call)

    async def complete(self, requests: Sequence[Request]) -> Sequence[Reply | Failure]:
        """Ask all at once, in order."""
        return cast("list[Reply | Failure]", await self._ask_all(requests))

    async def score(self, requests: Sequence[Request]) -> Sequence[Scores | Failure]:
        """Score all at once, in order. Raises ModelError where this model gives no log-probabilities."""
        if not self.capabilities.scores:
            why = f" ({self.capabilities.unscored})" if self.capabilities.unscored else ""
            raise ModelError(f"{self.name} gives no log-probabilities of a prompt{why}; use --elicitation list or next")
        return cast("list[Scores | Failure]", await self._ask_all(requests))

    async def _ask_all(self, requests: Sequence[Request]) -> list[Reply | Scores | Failure]:
        tasks = [asyncio.ensure_future(self.ask(request)) for request in requests]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    def own_client(self) -> Any:
        """A client of the running loop, for what is no question: files and batches."""
        return self._own_wire().client()

    def _own_wire(self) -> Wire:
        """The connections of the running loop; they cannot be taken from one loop to another."""
        if self._wire is None or self._wire.loop is not asyncio.get_running_loop():
            self._wire = Wire(self.sdk, self.client, self._timeout(), self.in_flight)
        return self._wire

    async def aclose(self) -> None:
        """Close the connections; to be awaited in the loop in which the asking was done."""
        if self._wire is not None:
            wire, self._wire = self._wire, None
            await wire.aclose()

    def close(self) -> None:
        """Let go of the connections, which end with their loop, or with ``aclose`` before."""
        self._wire = None


def with_call(response: Reply | Scores, call: Call) -> Reply | Scores:
    """An answer with the record of its call."""
    values = {each.name: getattr(response, each.name) for each in fields(response)}
    return LoggedReply(**values, call=call) if isinstance(response, Reply) else LoggedScores(**values, call=call)


def _estimate(request: Request) -> int:
    """About how many tokens a request costs, from above: flip-flop strings are short words."""
    return (len(request.text) + sum(len(message.text) for message in request.messages)) // 3 + request.max_tokens


def _most(payload: Mapping[str, Any]) -> Bound:
    """The most tokens that a payload can cost: no token is shorter than a byte, and the reply has its limit."""
    turns = payload.get("messages") or payload.get("input") or ()
    size = len(json.dumps(payload, ensure_ascii=False).encode(errors="surrogatepass"))
    return Bound(size + _FRAME + _FRAME_EACH * len(turns), max(payload.get(name, 0) for name in _LIMITS))


def cut(text: str, stop: Sequence[str]) -> str | None:
    """``text`` up to the first of the stop texts; None where there is none in it.

    Some APIs have no such setting and some servers ignore it.
    """
    places = [place for word in stop if (place := text.find(word)) >= 0]
    return text[: min(places)] if places else None
