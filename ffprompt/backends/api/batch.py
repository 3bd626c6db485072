"""What the batch interfaces of all providers have in common.

Management calls follow the retry policy of single calls, except for the one that costs money. A batch is created once.
Where it cannot be known whether it was created, that is an error, and nothing is tried again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import partial
from typing import IO, Any

from ffprompt._util.secrets import redact
from ffprompt.backends.api.base import ApiBackend, with_call
from ffprompt.backends.api.call_errors import (
    FILTERED,
    Answered,
    CallError,
    failure_in,
    hopeless,
    read_answer,
)
from ffprompt.backends.api.payloads import JsonObject, Payload
from ffprompt.backends.api.retry import Call, Caller, LoggedFailure, LoggedReply
from ffprompt.backends.base import BatchResult, BatchStatus, Failure, Reply, Request, Scores
from ffprompt.backends.call_record import AttemptRecord
from ffprompt.errors import FFPromptError, GoneError, ModelError, RunFailedError

# Files of hundreds of megabytes go up and down; the times of single calls are too short for them. Seconds.
_WHOLE, _TOTAL = 3600.0, 7200.0
NO_BATCHES = "the server has no batches of requests; run without --batch"
# Where a create call ended so, it was not received, and may be made again.
_NOT_RECEIVED = (429, "ConnectError")
# Statuses of a refusal that leave open whether something was done.
_UNSURE = (408, 409)


class ApiBatches(ABC):
    """The batches of a backend's provider, with the backend's client, payloads and readers."""

    most_requests: int
    most_bytes: int
    uploads: bool
    cursor: str  # the parameter that asks for the page of a list behind an id

    def __init__(self, backend: ApiBackend) -> None:
        self.backend, self.sdk = backend, backend.sdk
        policy = backend.policy
        policy = dataclasses.replace(policy, whole=max(policy.whole, _WHOLE), total=max(policy.total, _TOTAL))
        self.caller = Caller(policy, backend.name, backend.caller.sleep)

    @abstractmethod
    def item(self, custom_id: str, request: Request) -> Payload:
        """A request as it stands in a batch."""

    @abstractmethod
    async def upload(self, requests: Sequence[tuple[str, Request]], marker: str) -> str:
        """Upload requests where this provider wants them in a file."""

    @abstractmethod
    async def create(self, requests: Sequence[tuple[str, Request]], marker: str, file: str | None) -> str:
        """Create a batch."""

    @abstractmethod
    async def recover(
        self, marker: str, file: str | None, count: int, since: datetime, known: Collection[str]
    ) -> str | None:
        """Find a batch whose id was lost."""

    @abstractmethod
    async def status(self, batch: str) -> BatchStatus:
        """How far a batch is."""

    @abstractmethod
    def results(self, batch: str) -> AsyncIterator[BatchResult]:
        """What an ended batch says."""

    @abstractmethod
    def batches(self) -> Any:
        """Return the SDK's batches, of a client of the running loop."""

    async def retrieve(self, batch: str) -> JsonObject:
        """Return a batch as the provider describes it."""
        send = self.batches().with_raw_response.retrieve
        return await self.manage(lambda: send(batch), _unknown(batch))

    async def cancel(self, batch: str) -> None:
        """Cancel a batch."""
        send = self.batches().with_raw_response.cancel
        await self.manage(lambda: send(batch), _unknown(batch))

    def size(self, custom_id: str, request: Request) -> int:
        """Bytes that a request takes of a batch, with what stands between requests."""
        return len(json_of(self.item(custom_id, request))) + 2

    def read(self, request: Request, result: BatchResult, batch: str) -> Reply | Scores | Failure:
        """What a result means. Everything but the transport is that of a single call."""
        attempt = AttemptRecord(status=result.status, request_id=result.request_id)
        call = Call([attempt], result.request_id, counted=None, batch=batch)
        if result.code in FILTERED:
            return LoggedReply("", "refusal", prompt_tokens=0, reply_tokens=0, call=call)
        if result.body is None:
            return LoggedFailure(redact(result.error or "the batch holds no answer"), call)
        if (failure := failure_in(result.body)) is not None:
            if failure.code in FILTERED:
                return LoggedReply("", "refusal", ended=f"HTTP 200: {failure.code}", call=call)
            return LoggedFailure(str(failure), call)
        response = self.backend.parse_answer(request, result.body, call)
        if isinstance(response, Failure):
            return LoggedFailure(redact(response.error), call)
        return with_call(response, call)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.backend.aclose()

    async def manage(self, send: Callable[[], Awaitable[Any]], missing: str) -> JsonObject:
        """One call through an SDK's raw response, repeated as the policy allows. ``missing`` is what a 404 means."""
        return (await self._call(lambda: self._once(send), missing)).body

    async def create_once(self, send: Callable[[], Awaitable[Any]], missing: str) -> str:
        """The call that costs. Returns the new batch's id. Made again only where it surely was not received."""

        async def attempt() -> Answered:
            try:
                # Within the caller's own limit, which would try again.
                async with asyncio.timeout(self.caller.policy.whole / 2):
                    return await self._once(send)
            except TimeoutError:
                raise CallError("the server did not answer in time", "timeout", False) from None
            except CallError as error:
                error.retry = error.retry and error.status in _NOT_RECEIVED
                raise

        found = (await self._call(attempt, missing)).body.get("id")
        if not isinstance(found, str) or not found:
            raise RunFailedError(f"{self.backend.name}: the server names no id of the batch it created")
        return found

    async def listed(self) -> AsyncIterator[JsonObject]:
        """Return every batch of this key, page by page."""
        send = self.batches().with_raw_response.list
        page: Payload = {"limit": 100}
        while True:
            body = await self.manage(partial(send, **page), NO_BATCHES)
            objects = body.get("data") or []
            for each in objects:
                yield each
            if not objects or not body.get("has_more"):
                return
            page[self.cursor] = objects[-1]["id"]

    async def download(self, stream: Callable[[], AbstractAsyncContextManager[Any]], what: str) -> IO[bytes]:
        """A file of results, whole, in a temporary file.

        Raises:
            GoneError: the file is not there any more.
        """
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it

        async def attempt() -> Answered:
            file.seek(0)
            file.truncate()
            try:
                async with stream() as response:
                    async for piece in response.iter_bytes():
                        file.write(piece)
            except (self.sdk.APIStatusError, self.sdk.APIConnectionError) as error:
                raise self.backend.call_error(error) from None
            except Exception as error:
                if not _broke_off(error):
                    raise
                name = type(error).__name__
                raise CallError(f"the connection failed ({name}: {error})", name, True) from None
            return Answered({}, None)

        try:
            await self._call(attempt, what, GoneError)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file

    async def _call(
        self, attempt: Callable[[], Awaitable[Answered]], missing: str, gone: type[FFPromptError] = ModelError
    ) -> Answered:
        self.caller.breaker.success()  # the breaker is for many calls alike; here every one counts
        try:
            return await self.caller.call(attempt, 0, Call())
        except CallError as error:
            if error.status in (404, 405):
                raise gone(f"{self.backend.name}: {missing} ({error})") from None
            if error.status in (401, 402, 403):
                raise hopeless(self.backend.name, error) from None
            refused = isinstance(error.status, int) and 400 <= error.status < 500 and error.status not in _UNSURE
            kind = ModelError if refused and not error.retry else RunFailedError
            raise kind(f"{self.backend.name}: {error}") from None

    async def _once(self, send: Callable[[], Awaitable[Any]]) -> Answered:
        try:
            return read_answer((await send()).http_response)
        except (self.sdk.APIStatusError, self.sdk.APIConnectionError) as error:
            raise self.backend.call_error(error) from None


def _unknown(batch: str) -> str:
    return f"batch {batch} is not known to the provider under this key"


def json_of(value: Any) -> bytes:
    """JSON as the SDKs send it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def told_by(error: Any) -> tuple[str, str]:
    """(message on one line, code) of an error object."""
    if not isinstance(error, Mapping):
        return redact(" ".join(str(error).split())), ""
    message = str(error.get("message") or json.dumps(error, default=str))
    return redact(" ".join(message.split()))[:300], redact(str(error.get("code") or error.get("type") or ""))


def lines_of(file: IO[bytes], what: str) -> Iterator[Payload]:
    """The objects of a file of results, which is closed at its end.

    All lines are looked at before the first is given out: a file that was cut off in the middle gives nothing.

    Raises:
        RunFailedError: the message names a line that is none.
    """
    with file:
        for number, line in enumerate(file, start=1):
            _object(line, number, what)
        file.seek(0)
        for number, line in enumerate(file, start=1):
            yield _object(line, number, what)


def _object(line: bytes, number: int, what: str) -> Payload:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("custom_id"), str):
        raise RunFailedError(f"{what}, line {number}: not a result; collect again later")
    return found


def _broke_off(error: Exception) -> bool:
    """Whether an exception is one of the transport below the SDKs, which they do not translate while streaming."""
    return any(kind.__name__ == "TransportError" for kind in type(error).__mro__)
