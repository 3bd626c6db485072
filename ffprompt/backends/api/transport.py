"""How a payload reaches a server: an official SDK's clients, and the deadlines of one attempt.

A pool of connections looks through all of them for every request, which with hundreds in flight costs more than the
request itself. So there are several clients, each with a few connections, all made alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Any, TypedDict

from ffprompt._util.secrets import redact
from ffprompt.backends.api.payloads import JsonObject
from ffprompt.errors import FFPromptError, ModelError

# Connections of one client; 5 to 25 measure alike, with 200 a request takes 1.7 times the processor's time.
_CONNECTIONS = 16


# Variables that HTTP libraries heed, and object to in exceptions that do not name them.
_PROXIES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@contextlib.contextmanager
def client_errors(name: str) -> Iterator[None]:
    """Turn the errors of making clients into a ModelError that names the environment variable at fault."""
    try:
        yield
    except FFPromptError:
        raise
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModelError(redact(f"{name}: no connection can be prepared ({why}){_blamed(error)}")) from error


def _blamed(error: Exception) -> str:
    """Return the environment variables that may have caused an exception, and the cure."""
    if isinstance(error, OSError):
        found = [f"{name}={os.environ[name]}" for name in _CERTIFICATES if os.environ.get(name)][:1]
        cure = "name a file (or a folder) of certificates in PEM format, or unset it"
        return f"; {' and '.join(found)} is set: {cure}" if found else ""
    if isinstance(error, UnicodeError):
        odd = [n for n, value in os.environ.items() if n.startswith(("OPENAI_", "ANTHROPIC_")) and not value.isascii()]
        return f"; {' and '.join(odd)} is not ASCII, which a header has to be; correct or unset it" if odd else ""
    set_ = {name: value for each in _PROXIES for name in (each, each.lower()) if (value := os.environ.get(name))}
    odd = [name for name, value in set_.items() if not re.match(r"(https?|socks5h?)://", value, re.IGNORECASE)]
    socks = [name for name, value in set_.items() if value.startswith("socks")]
    found = [f"{name}={set_[name]}" for name in odd or socks or set_]
    if not found and (name := next((name for name in ("NO_PROXY", "no_proxy") if os.environ.get(name)), None)):
        found = [f"{name}={os.environ[name]}"]
    cure = "a proxy is http://HOST:PORT or socks5://HOST:PORT (which needs: pip install socksio); correct or unset it"
    return f"; {' and '.join(found)} is set: {cure}" if found else ""


class LateError(Exception):
    """A deadline has passed. ``began``: whether the answer had begun by then."""

    def __init__(self, began: bool) -> None:
        super().__init__()
        self.began = began


class _Deadline:
    """The time limit of one attempt: up to the first byte of the answer, and then up to its last."""

    def __init__(self, limit: asyncio.Timeout, end: float) -> None:
        self.limit, self.end, self.began = limit, end, False

    def answering(self) -> None:
        self.began = True
        if not self.limit.expired():
            self.limit.reschedule(self.end)


_current: ContextVar[_Deadline | None] = ContextVar("_current", default=None)


@contextlib.asynccontextmanager
async def deadline(first_byte: float, whole: float) -> AsyncIterator[None]:
    """Raises LateError where no answer begins within ``first_byte`` seconds, or none ends within ``whole``."""
    now = asyncio.get_running_loop().time()
    limit = asyncio.timeout_at(now + min(first_byte, whole))
    current = _Deadline(limit, now + whole)
    token = _current.set(current)
    try:
        async with limit:
            yield
    except TimeoutError:
        raise LateError(current.began or first_byte >= whole) from None
    finally:
        _current.reset(token)


def is_late() -> bool:
    """Whether the deadline of the attempt that is being made has passed."""
    return (current := _current.get()) is not None and current.limit.expired()


async def _headers_came(_: object) -> None:
    if (current := _current.get()) is not None:
        current.answering()


class Limits(TypedDict, total=False):
    """Those of a Policy that are times, in seconds."""

    connect: float
    read: float
    first_byte: float
    whole: float
    total: float


def patience(
    thinks: bool, timeout: float | None = None, connect: float | None = None, first_byte: float | None = None
) -> Limits:
    """The time limits of a Policy, in seconds. Those that are given hold, also for a model that ``thinks``.

    Thinking is silence, and so is all of an answer that is not streamed: no other limit may end it sooner.
    """
    limits = Limits(read=120.0, whole=180.0, total=300.0)
    if thinks:
        limits = Limits(read=600.0, whole=900.0, total=1800.0)
    if timeout is not None:
        # A call that took too long has another chance.
        limits = Limits(read=timeout, whole=timeout, total=max(limits["total"], 2 * timeout))
    if first_byte is not None:
        limits |= Limits(first_byte=first_byte, read=max(limits["read"], first_byte))
    if connect is not None:
        limits["connect"] = connect
    return limits


class ConnectionPool:
    """Connections for ``places`` requests at a time, in one event loop, to wherever ``client`` makes its clients for.

    ``client`` is given the HTTP client to use. The SDK's own defaults hold for everything but the number of
    connections.
    """

    def __init__(self, sdk: Any, client: Callable[[Any], Any], timeout: Any, places: int) -> None:
        self.loop = asyncio.get_running_loop()
        self._sdk, self._client, self._timeout = sdk, client, timeout
        self._http = http_library(sdk)
        with client_errors("connections"):
            self._tls = self._http.create_ssl_context()  # tens of milliseconds each, so that one serves all
        self._each = min(places, _CONNECTIONS)
        self._clients: list[Any] = []
        self._free: list[Any] = []

    async def post(self, path: str, payload: JsonObject) -> Any:
        """The HTTP response to a payload, sent as it is. Raises what the SDK raises."""
        with self._place() as client:
            return await client.post(path, cast_to=self._http.Response, body=payload)

    def client(self) -> Any:
        """One of the clients, for calls that are no questions."""
        if not self._clients:
            self._grow()
        return self._clients[0]

    def _grow(self) -> None:
        with client_errors("connections"):
            client = self._client(self._connections())
        self._clients.append(client)
        self._free += [client] * self._each

    @contextlib.contextmanager
    def _place(self) -> Iterator[Any]:
        if not self._free:
            self._grow()
        client = self._free.pop()
        try:
            yield client
        finally:
            self._free.append(client)

    def _connections(self) -> Any:
        # Without the SDK's wrapper, which when it is collected closes them in whichever loop is running then.
        return self._sdk.DefaultAsyncHttpxClient(
            timeout=self._timeout,
            verify=self._tls,
            limits=self._http.Limits(max_connections=self._each, max_keepalive_connections=self._each),
            event_hooks={"response": [_headers_came]},
        )

    async def aclose(self) -> None:
        """Close every connection."""
        clients, self._clients, self._free = self._clients, [], []
        for client in clients:
            await client.close()


def http_library(sdk: Any) -> Any:
    """The HTTP library that an SDK is built on. Its versions differ in which one that is."""
    client = next(base for base in sdk.DefaultAsyncHttpxClient.__mro__ if base.__name__ == "AsyncClient")
    return importlib.import_module(client.__module__.partition(".")[0])
