"""Several servers that serve one model, behind separate addresses: ``--base-url A --base-url B``.

Every attempt goes to the server with the fewest under way. One that fails is left out and looked at again after a
while. Before the run, and whenever a server comes back, it is compared with the others: numbers of one run must not be
of two models. Retries, budgets and rate limits stand above this and know of no addresses.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ffprompt._util.formatting import counted
from ffprompt._util.secrets import shown_url
from ffprompt.backends.api.echo import Token
from ffprompt.backends.api.payloads import JsonObject
from ffprompt.backends.api.transport import ConnectionPool, http_library, is_late
from ffprompt.backends.askers import Asker, Askers
from ffprompt.errors import ModelError

_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0  # seconds for which a server is left out
# Statuses of a server that does not have the model, the API or the key, whatever it is asked.
NOT_HERE = (401, 404, 405)
# Mean difference of log-probabilities of the same few tokens, in nats. Number formats and devices differ by less.
_SAME_MODEL = 0.1


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server says of a model, as far as it must be the same on all. None where a server does not say."""

    model: str | None = None  # the name, where the server has a list of models
    weights: str | None = None  # the last part of the path or id that the name stands for
    max_model_len: int | None = None
    version: str | None = None
    echo: Sequence[Token] = field(default=(), repr=False)

    def difference(self, other: ServerFacts) -> tuple[str, object, object] | None:
        """Return what two servers do not agree in: its name and both values. None where they agree."""
        for name in ("model", "weights", "max_model_len", "version"):
            one, two = getattr(self, name), getattr(other, name)
            if one is not None and two is not None and one != two:
                return name.replace("_", " "), one, two
        if not self.echo or not other.echo:
            return None
        if [token.text for token in self.echo] != [token.text for token in other.echo]:
            return "tokens of the same text", len(self.echo), len(other.echo)
        pairs = [(a.logprob, b.logprob) for a, b in zip(self.echo, other.echo, strict=True)]
        known = np.array([pair for pair in pairs if None not in pair], float).reshape(-1, 2)
        if len(known) and np.abs(known[:, 0] - known[:, 1]).mean() > _SAME_MODEL:
            means = known.mean(0).round(3).tolist()
            return "mean log-probability of the same text", means[0], means[1]
        return None


def served(models: object, version: object, model: str) -> ServerFacts:
    """Return what the answers to ``GET /models`` and ``GET /version`` say of a model.

    >>> served({"data": [{"id": "m", "root": "/data/gpt2", "max_model_len": 1024}]}, {"version": "0.32.0"}, "m")
    ServerFacts(model='m', weights='gpt2', max_model_len=1024, version='0.32.0')
    """
    found = str(version["version"]) if isinstance(version, Mapping) and "version" in version else None
    rows = models.get("data") if isinstance(models, Mapping) else None
    named = {str(row.get("id")): row for row in rows or () if isinstance(row, Mapping)}
    if not named:
        return ServerFacts(version=found)
    row = named.get(model)
    if row is None:
        return ServerFacts(model=", ".join(sorted(named)[:3]), version=found)
    root, most = row.get("root"), row.get("max_model_len")
    return ServerFacts(
        model=model,
        weights=str(root).rstrip("/").rpartition("/")[2] if root else None,
        max_model_len=most if isinstance(most, int) else None,
        version=found,
    )


def refuse_differences(name: str, known: Mapping[str, ServerFacts]) -> None:
    """Raise ModelError where servers, by their addresses, do not serve the same model."""
    first, *others = known
    for address in others:
        if (found := known[first].difference(known[address])) is not None:
            what, one, other = found
            raise ModelError(
                f"{name}: the servers differ: {what} is {one} at {shown_url(first)} and {other} at {shown_url(address)}"
            )


@dataclass(eq=False)
class _Server:
    """The connections to one address."""

    address: str
    pool: ConnectionPool


Look = Callable[[Any, str], Awaitable[ServerFacts]]


class Servers:
    """The connections of a run to several servers, in one event loop. Stands where a ``ConnectionPool`` does.

    ``clients`` makes a client of the SDK for an address. ``look`` says what a server is. ``known`` are the servers that
    agreed before the run began.
    """

    def __init__(
        self,
        sdk: Any,
        name: str,
        clients: Mapping[str, Callable[[Any], Any]],
        known: Mapping[str, ServerFacts],
        look: Look,
        timeout: Any,
        places: int,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._sdk, self._name, self._look, self._sleep = sdk, name, look, sleep
        self._known = dict(known)
        self._askers: Askers[_Server] = Askers()
        self._tasks: set[asyncio.Task[None]] = set()
        self._all: list[Asker[_Server]] = []
        self.answered: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.said: dict[str, str] = {}  # why a server is or was left out
        for address, client in clients.items():
            server = Asker(shown_url(address), _Server(address, ConnectionPool(sdk, client, timeout, places)))
            self._all.append(server)
            if address in known:
                self._askers.join(server)
            else:
                self._expect(server)

    async def post(self, path: str, payload: JsonObject) -> Any:
        """The HTTP response of one of the servers to a payload. Raises what the SDK raises."""
        while True:
            # Where all are left out the calls fail as those to a single server do, and so end the run in the same way.
            server = self._askers.free() or min(self._all, key=lambda one: one.in_flight)
            with self._askers.use(server):
                try:
                    response = await server.carrier.pool.post(path, payload)
                    break
                except self._sdk.APIConnectionError as error:
                    self._leave_out(server, error)
                    raise
                except self._sdk.APIStatusError as error:
                    if error.status_code in NOT_HERE and self._others(server):
                        self._leave_out(server, error)
                        continue
                    if error.status_code >= 500 and error.status_code != 529:
                        self._leave_out(server, error)
                    raise
                except asyncio.CancelledError:
                    if is_late():
                        self._leave_out(server, TimeoutError("no answer in time"))
                    raise
        self.answered[server.name] += 1
        return response

    @property
    def remarks(self) -> list[str]:
        """How many answers came from where, and how often a server was left out."""
        parts = [
            f"{one.name} gave {counted(self.answered[one.name], 'answer')}"
            + (f" and was left out {counted(self.failed[one.name], 'time')}" if self.failed[one.name] else "")
            + (f" ({said})" if (said := self.said.get(one.name)) else "")
            for one in self._all
        ]
        return [f"{len(self._all)} servers: {'; '.join(parts)}"]

    def client(self) -> Any:
        """A client of one of the servers."""
        return (self._askers.free() or self._all[0]).carrier.pool.client()

    def _others(self, server: Asker[_Server]) -> bool:
        """Whether another server can be asked."""
        return any(one is not server for one in self._askers)

    def _leave_out(self, server: Asker[_Server], error: Exception) -> None:
        if server in list(self._askers):
            self._askers.leave(server)
            self.failed[server.name] += 1
            self.said[server.name] = _words(error)
            self._expect(server)

    def _expect(self, server: Asker[_Server]) -> None:
        # In a context of its own: the deadline of the attempt that has just failed is not this one's.
        task = self.loop.create_task(self._back(server), context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _back(self, server: Asker[_Server]) -> None:
        """Look at a server from time to time, and let it be asked again once it answers and is what it was."""
        pause, address = _FIRST_PAUSE, server.carrier.address
        while True:
            await self._sleep(pause)
            try:
                facts = await self._look(server.carrier.pool.client(), address)
                if facts.model is None and not self._has_no_list(address):
                    self.said[server.name] = "no list of models is there"
                    pause = min(2 * pause, _LONGEST_PAUSE)
                    continue
                refuse_differences(self._name, {**self._known, address: facts})
            except self._sdk.APIError as error:
                answers = isinstance(error, self._sdk.APIStatusError) and error.status_code < 500
                if not (answers and self._has_no_list(address)):
                    self.said[server.name] = _words(error)
                    pause = min(2 * pause, _LONGEST_PAUSE)
                    continue
            except Exception as error:
                self._askers.stop(error)
                return
            self._askers.join(server)
            return

    def _has_no_list(self, address: str) -> bool:
        """Whether a server answered questions before the run although it lists no models."""
        return address in self._known and self._known[address].model is None

    async def aclose(self) -> None:
        """Close every connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for server in self._all:
            await server.carrier.pool.aclose()


async def look_at(sdk: Any, client: Any, address: str, model: str) -> ServerFacts:
    """Ask a server what it serves. Raises the SDK's error where it does not answer."""
    kind = http_library(sdk).Response
    models = _json(await client.get("/models", cast_to=kind))
    try:
        version = _json(await client.get(version_url(address), cast_to=kind))
    except sdk.APIStatusError:
        version = None
    return served(models, version, model)


def look_now(sdk: Any, client: Any, address: str, model: str) -> ServerFacts:
    """As ``look_at``, through a blocking client. A server that has no list of models may serve any.

    Raises the SDK's error where the server cannot be reached or is not ready.
    """
    kind = http_library(sdk).Response
    answers: list[object] = []
    for url in ("/models", version_url(address)):
        try:
            answers.append(_json(client.get(url, cast_to=kind)))
        except sdk.APIStatusError as error:
            if url == "/models" and error.status_code >= 500:
                raise
            answers.append(None)
    return served(answers[0], answers[1], model)


def version_url(address: str) -> str:
    """Return where vLLM's and SGLang's servers say their version: beside the API, not below it.

    >>> version_url("http://host:8000/v1?key=1")
    'http://host:8000/version'
    """
    base = address.partition("?")[0].rstrip("/")
    return f"{base.removesuffix('/v1')}/version"


def _words(error: Exception) -> str:
    """What a server said last, in a few words."""
    status = getattr(error, "status_code", None)
    return f"HTTP {status}" if status is not None else " ".join(str(error).split())[:100] or type(error).__name__


def _json(response: Any) -> object:
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None
