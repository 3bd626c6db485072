"""Anthropic's Message Batches: the requests are the body of the call, the results one stream."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ffprompt.backends.api.anthropic import AnthropicBackend
from ffprompt.backends.api.batch import NO_BATCHES, ApiBatches, lines_of, told_by
from ffprompt.backends.api.payloads import JsonObject, Payload
from ffprompt.backends.base import BatchResult, BatchStatus, Request
from ffprompt.errors import GoneError, RunFailedError

# How far the clocks here and at the provider may be apart.
_CLOCKS = timedelta(hours=1)


class AnthropicBatches(ApiBatches):
    """Message batches. They carry no metadata, so one is found again by the custom ids of its results."""

    most_requests = 100_000
    most_bytes = 245_000_000  # 256 MB are allowed
    cursor = "after_id"
    uploads = False
    backend: AnthropicBackend

    def item(self, custom_id: str, request: Request) -> Payload:
        """A request of the list."""
        return {"custom_id": custom_id, "params": self.backend.payload(request)}

    async def upload(self, requests: Sequence[tuple[str, Request]], marker: str) -> str:
        """Nothing is uploaded here."""
        raise NotImplementedError

    async def create(self, requests: Sequence[tuple[str, Request]], marker: str, file: str | None) -> str:
        """A batch of the requests."""
        items = [self.item(custom_id, request) for custom_id, request in requests]
        send = self.batches().with_raw_response.create
        return await self.create_once(lambda: send(requests=items), NO_BATCHES)

    async def recover(
        self, marker: str, file: str | None, count: int, since: datetime, known: Collection[str]
    ) -> str | None:
        """By the number of requests, then by the custom ids of the results, which show only once a batch has ended."""
        unclear = []
        async for batch in self.listed():
            created = _time(batch.get("created_at"))
            if created is not None and created < since - _CLOCKS:
                break  # newest first
            if batch["id"] in known or _status(batch).total != count:
                continue
            if not _status(batch).ended:
                unclear.append(str(batch["id"]))
            elif await self._is_of(str(batch["id"]), marker):
                return str(batch["id"])
        if unclear:
            raise RunFailedError(
                f"{self.backend.name}: whether {' or '.join(unclear)} is the batch of {count:,} requests begun at "
                f"{since:%Y-%m-%d %H:%M} UTC can be told once it has ended; until then nothing more is submitted"
            )
        return None

    async def _is_of(self, batch: str, marker: str) -> bool:
        with contextlib.suppress(GoneError):  # a batch old enough for that was not begun after this one
            async with contextlib.aclosing(self.results(batch)) as results:
                async for result in results:
                    return result.custom_id.startswith(marker)
        return False

    async def status(self, batch: str) -> BatchStatus:
        """How far a batch is."""
        return _status(await self.retrieve(batch))

    async def results(self, batch: str) -> AsyncGenerator[BatchResult]:
        """The stream of results."""
        gone = f"batch {batch}: the results are gone from the provider"
        if not (await self.retrieve(batch)).get("results_url"):
            raise GoneError(f"{self.backend.name}: {gone}")
        stream = self.batches().with_streaming_response.results
        file = await self.download(lambda: stream(batch), gone)
        for line in lines_of(file, f"batch {batch}"):
            yield _result(line)

    def batches(self) -> Any:
        """Return the SDK's batches."""
        return self.backend.own_client().messages.batches


def _time(text: str | None) -> datetime | None:
    if not text:
        return None
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _status(body: JsonObject) -> BatchStatus:
    counts = body.get("request_counts") or {}
    failed = sum(counts.get(name) or 0 for name in ("errored", "canceled", "expired"))
    answered = counts.get("succeeded") or 0
    return BatchStatus(
        state=str(body.get("processing_status")),
        ended=body.get("processing_status") == "ended",
        total=failed + answered + (counts.get("processing") or 0),
        answered=answered,
        failed=failed,
        expires=_time(body.get("expires_at")),
    )


def _result(line: JsonObject) -> BatchResult:
    """One line of the stream."""
    custom_id, result = line["custom_id"], line.get("result") or {}
    kind = str(result.get("type"))
    if kind == "succeeded" and isinstance(result.get("message"), Mapping):
        return BatchResult(custom_id, result["message"])
    if kind == "errored":
        error = result.get("error") or {}
        text, code = told_by(error.get("error") or error)
        return BatchResult(custom_id, None, f"{code}: {text}", code, code or "errored", error.get("request_id"))
    return BatchResult(custom_id, None, f"the batch left this request unanswered ({kind})", kind, kind)
