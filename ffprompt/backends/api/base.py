"""A model behind an API: what is the same for every provider."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any, cast

from ffprompt._util.crash import named
from ffprompt._util.secrets import redact, shown_url, split_base_url
from ffprompt.backends.api.budget import Budget
from ffprompt.backends.api.call_errors import FILTERED, Answered, CallError, as_call_error, hopeless
from ffprompt.backends.api.consistency import Consistency
from ffprompt.backends.api.error_hints import likely_cure
from ffprompt.backends.api.ignored_settings import IgnoredSettings
from ffprompt.backends.api.parameter_fallback import SAMPLING, SYSTEM, TOO_MUCH, LearnedParameters, LearnedRecord
from ffprompt.backends.api.payloads import JsonObject, Payload
from ffprompt.backends.api.retry import (
    Call,
    Caller,
    LoggedFailure,
    LoggedReply,
    LoggedScores,
    Policy,
    Sleep,
    post,
)
from ffprompt.backends.api.servers import Servers
from ffprompt.backends.api.transport import ConnectionPool, client_errors, http_library
from ffprompt.backends.base import OWN, Capabilities, Failure, Reply, Request, Scores, without_system
from ffprompt.backends.identity import Identity
from ffprompt.backends.prompt_audit import PromptAudit
from ffprompt.cost.prices import Allowance
from ffprompt.cost.usage import Bound, Usage
from ffprompt.elicitation.base import use_replies
from ffprompt.errors import ModelError, RunFailedError

# Tokens beyond those of the text: marks around messages, and what providers put in front of them.
_FRAME, _FRAME_EACH = 64, 16
# How payloads call the limit of a reply, reasoning included.
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
MOST_PLAIN_REPLY = 2000  # tokens; a reply that may be longer leaves room for reasoning


class ApiBackend(ABC):
    """A model behind an API. A subclass says what is sent (``body``) and what came back (``read``).

    ``in_flight`` is how many ``ask`` may be under way at once. The limiter decides how many of them are in flight.
    ``required`` are the parameters that a user asked for by name: the run ends where a model refuses one of them.
    A subclass says whether the model ``thinks`` before it replies, or may.
    """

    path: str  # of the endpoint, below the base URL
    thinks: bool = False
    key: str
    ends: str | None = None  # when the provider shuts the model down, where it says so
    missing_key: str = ""  # the variable of the key that is not set, where none was sent
    base_url: str | None
    headers: Mapping[str, str]  # that a client sends with every request, beside the SDK's own
    identity: Identity
    required: frozenset[str] = frozenset()
    capabilities: Capabilities

    def __init__(self, sdk: Any, name: str, policy: Policy, sleep: Sleep) -> None:
        self.sdk, self.name, self.policy = sdk, name, policy
        self.caller = Caller(policy, name, sleep, self.usage)
        self.consistency = Consistency(name)
        self.in_flight = policy.max_concurrency
        self.chunk = 64
        self.learned = LearnedParameters()
        self.ignored_settings = IgnoredSettings()
        self.on_learned: Callable[[], None] = lambda: None
        self._pool: ConnectionPool | Servers | None = None

    @abstractmethod
    def client(self, connections: Any) -> Any:
        """Return a new asynchronous client of the SDK, which leaves retries to the caller."""

    def client_settings(self) -> dict[str, Any]:
        """Return the settings of every client."""
        url, query = split_base_url(self.base_url) if self.base_url else (None, None)
        settings = {"api_key": self.key, "base_url": url, "default_query": query, "default_headers": self.headers}
        return settings | {"timeout": self._timeout()}

    def make(self, kind: Callable[..., Any], retries: int, http_client: Any = None) -> Any:
        """Make a client of the SDK for this backend's key and base URL.

        Raises:
            ModelError: where that fails.
        """
        settings = self.client_settings()
        with client_errors(self.name):
            # Without the SDK's wrapper, which shows a traceback where it could not be made.
            http = http_client or self.sdk.DefaultHttpxClient(timeout=self._timeout())
            client = kind(max_retries=retries, http_client=http, **settings)
            # A header from the environment may not fit into one, which would show in the first call only.
            http_library(self.sdk).Headers(
                {n: text for n, text in client.default_headers.items() if isinstance(text, str)}
            )
        return client

    def address(self, client: Any, base_url: str | None) -> str:
        """Return where calls go, without secrets: the client's base URL with the query of the given one."""
        query = f"?{base_url.partition('?')[2]}" if base_url and "?" in base_url else ""
        return shown_url(f"{client.base_url}{query}")

    def _timeout(self) -> Any:
        return self.sdk.Timeout(self.policy.read, connect=self.policy.connect)

    @abstractmethod
    def body(self, request: Request) -> Payload:
        """Return the payload for a model that takes every parameter.

        Raises:
            ModelError: for a request that this API cannot express.
        """

    def payload(self, request: Request) -> Payload:
        """Return what is sent for a request: the body without the parameters that the model was found to refuse."""
        if SYSTEM in self.learned.dropped:
            request = replace(request, messages=without_system(request.messages))
        return self.learned.apply(self.body(request))

    def restore_learned(self, record: LearnedRecord | None) -> None:
        """Begin with what an earlier part of the run has learnt about the model."""
        self.learned = LearnedParameters.from_json(record)
        self._note_learned()

    def _note_learned(self) -> None:
        if self.learned.describe():
            self.identity = self.identity.changed(learned={**self.learned.to_json(), "notes": self.learned.describe()})
        if self.learned.sampled:
            self.identity = self.identity.changed(temperature=OWN)

    def _learn_from(self, error: CallError, payload: JsonObject, request: Request) -> bool:
        """Return whether a refusal teaches how to ask the same in another way, and remember it.

        Raises RunFailedError where that would make another measurement of a run that has answers already.
        """
        if not self.caller.budget.answers and self.switch_api(error):
            self._note_learned()
            self.on_learned()
            return True
        before = self.learned.to_json()
        name = self.learned.learn(error, payload, self.required)
        if name is None:
            return self.payload(request) != payload and error.status in (400, 404, 422)
        if before != self.learned.to_json():
            if self.caller.budget.answers and name in (*SAMPLING, SYSTEM):
                self.learned = LearnedParameters.from_json(before)
                raise RunFailedError(
                    f"{self.name}: {self.caller.budget.answers:,} answers came with {name}, and now it is refused "
                    f"({error}); answers of both kinds do not belong into one run: begin a new one"
                )
            self.on_refused(name)
            self._note_learned()
            self.on_learned()
        return self.payload(request) != payload

    def switch_api(self, error: CallError) -> bool:
        """Switch to another API where an error says that the model is served there. Return whether that was done."""
        return False

    def on_refused(self, name: str) -> None:
        """Adapt the settings to a parameter that the model refuses."""
        return

    @abstractmethod
    def read(self, request: Request, body: JsonObject, call: Call) -> Reply | Scores | Failure:
        """Read an answer. Token counts that only the log keeps go into ``call``."""

    @abstractmethod
    def usage(self, body: JsonObject) -> Usage | None:
        """Return the tokens that an answer says it used, or None where it does not say."""

    def set_allowance(self, allowance: Allowance) -> None:
        """Spend no more than this from now on."""
        self.caller.budget = Budget(allowance)

    def max_usage(self, request: Request) -> Bound:
        """Return the most tokens that one attempt can use."""
        return _most(self.payload(request))

    def check(self, requests: Sequence[Request]) -> PromptAudit:
        """Return the size of the prompts in characters. Only the provider can count their tokens.

        Raises:
            ModelError: for a request that this API cannot express.
        """
        sizes = [len(json.dumps(self.payload(request), ensure_ascii=False)) for request in requests]
        return {
            "audited": len(sizes),
            "mean_prompt_characters": sum(sizes) / len(sizes),
            "longest_prompt_characters": max(sizes),
        }

    async def ask(self, request: Request) -> Reply | Scores | Failure:
        """Send one request, which is scored where it has reads.

        Raises:
            ModelError, RunFailedError: where later calls would fail too.
        """
        call = Call()
        try:
            answered = await self._answered(request, call)
        except CallError as error:
            if error.code in FILTERED:
                charged = 0 if error.free else None
                ended = f"HTTP {error.status}: {error.code}"
                return LoggedReply("", "refusal", None, charged, charged, ended, call=call)
            tries = len(call.attempts)
            return LoggedFailure(f"{error} ({tries} attempts)" if tries > 1 else str(error), call)
        response = self.parse_answer(request, answered.body, call)
        await self.consistency.compare(self, request, response)
        return self._logged(request, response, call)

    async def prompt_tokens(self, request: Request) -> int | Failure | None:
        """Send a request and return how many tokens the server counts in its prompt, or None where it does not say."""
        try:
            answered = await self._answered(request, Call())
        except CallError as error:
            return Failure(str(error))
        used = self.usage(answered.body)
        return used.prompt if used is not None else None

    @property
    def remarks(self) -> Sequence[str]:
        """Return remarks on what the server said, for readers of the run's numbers."""
        ends = [self.ends] if self.ends else []
        return [*ends, *(redact(remark) for remark in self.consistency.remarks(self.identity.model))]

    async def _answered(self, request: Request, call: Call) -> Answered:
        """Return the server's answer. Where it refuses a parameter, ask again without it."""
        pool = self._own_pool()
        while True:
            path, payload, again = self.path, self.payload(request), False

            def handled(error: CallError, sent: JsonObject = payload) -> bool:
                nonlocal again
                again = self._learn_from(error, sent, request)
                return again

            try:
                return await self.caller.call(
                    partial(self._attempt, pool, path, payload), _estimate(request), call, _most(payload), handled
                )
            except CallError:
                if not again:
                    raise

    def call_error(self, error: Any) -> CallError:
        """Translate an exception of the SDK, with what to try."""
        found = as_call_error(self.sdk, error)
        found.advise(self.cure(found, {}))
        return found

    def give_up_if_hopeless(self, error: Any, own_server: bool, name: str | None = None) -> CallError:
        """Return what an exception of the SDK means, with what to try, where later calls may fare better.

        Raises:
            ModelError: where nothing will be answered: a wrong key, no connection, or a provider that does not know
                the model. A server of one's own may answer although it has no list of models.
        """
        failure = self.call_error(error)
        unknown = failure.status == 404 and not own_server
        if failure.status == 401 or unknown or not isinstance(error, self.sdk.APIStatusError):
            raise hopeless(name or self.name, failure) from None
        return failure

    async def _attempt(self, pool: ConnectionPool | Servers, path: str, payload: JsonObject) -> Answered:
        """Make one attempt. Raises CallError, also for what an SDK cannot send."""
        try:
            return await post(self.sdk, pool, path, payload)
        except CallError as error:
            error.advise(self.cure(error, payload))
            raise
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise CallError(f"the call cannot be made ({named(error)})", type(error).__name__, False) from error

    def cure(self, error: CallError, payload: JsonObject) -> str:
        """Return what to try after an error, to be appended to its text. Empty where nothing is known to help."""
        if error.status == 400 and TOO_MUCH.search(str(error)):
            limits = [name for name in _LIMITS if name in payload and name in str(error)]
            if any(payload[name] > MOST_PLAIN_REPLY for name in limits):
                return " (give the model less room for reasoning with --reasoning-room N)"
        return likely_cure(error.status, str(error), self.missing_key)

    def parse_answer(self, request: Request, body: JsonObject, call: Call) -> Reply | Scores | Failure:
        """Read an answer. One of an unknown shape is a Failure."""
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
        if isinstance(response, Reply) and (
            why := self.ignored_settings.shown_by(request, response, call.reasoning_tokens)
        ):
            raise ModelError(redact(f"{self.name}: {why}"))
        self.caller.breaker.success()
        self.caller.budget.answers += 1
        if self.caller.tokens is not None and response.prompt_tokens is not None:
            self.caller.tokens.give_back(_estimate(request) - response.prompt_tokens - (response.reply_tokens or 0))
        return with_call(response, call)

    async def complete(self, requests: Sequence[Request]) -> Sequence[Reply | Failure]:
        """Send all requests at once. Return the replies in order."""
        return cast("list[Reply | Failure]", await self._ask_all(requests))

    async def score(self, requests: Sequence[Request]) -> Sequence[Scores | Failure]:
        """Score all requests at once. Return the scores in order.

        Raises:
            ModelError: for a model that is not scored.
        """
        if not self.capabilities.scores:
            why = f" ({self.capabilities.unscored})" if self.capabilities.unscored else ""
            raise ModelError(f"{self.name} gives no log-probabilities of a prompt{why}; {use_replies()}")
        return cast("list[Scores | Failure]", await self._ask_all(requests))

    async def _ask_all(self, requests: Sequence[Request]) -> list[Reply | Scores | Failure]:
        tasks = [asyncio.ensure_future(self.ask(request)) for request in requests]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    def own_client(self) -> Any:
        """Return a client of the running loop, for files and batches."""
        return self._own_pool().client()

    def _own_pool(self) -> ConnectionPool | Servers:
        """Return the connections of the running loop. Connections cannot move from one loop to another."""
        if self._pool is None or self._pool.loop is not asyncio.get_running_loop():
            self._pool = self.connections()
        return self._pool

    def connections(self) -> ConnectionPool | Servers:
        """Return new connections for the running loop."""
        return ConnectionPool(self.sdk, self.client, self._timeout(), self.in_flight)

    async def aclose(self) -> None:
        """Close the connections. Must be awaited in the loop that made them."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await pool.aclose()

    def close(self) -> None:
        """Drop the connections, which end with their loop. ``aclose`` ends them sooner."""
        self._pool = None


def with_call(response: Reply | Scores, call: Call) -> Reply | Scores:
    """Return an answer with the record of its call."""
    values = {each.name: getattr(response, each.name) for each in fields(response)}
    return LoggedReply(**values, call=call) if isinstance(response, Reply) else LoggedScores(**values, call=call)


def _estimate(request: Request) -> int:
    """Return about how many tokens a request costs, rounded up: the strings are short words."""
    return (len(request.text) + sum(len(message.text) for message in request.messages)) // 3 + request.max_tokens


def _most(payload: JsonObject) -> Bound:
    """Return the most tokens that a payload can cost. No token is shorter than a byte, and the reply has a limit."""
    turns = payload.get("messages") or payload.get("input") or ()
    size = len(json.dumps(payload, ensure_ascii=False).encode(errors="surrogatepass"))
    return Bound(size + _FRAME + _FRAME_EACH * len(turns), max(payload.get(name, 0) for name in _LIMITS))
