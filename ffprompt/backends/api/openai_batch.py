"""OpenAI's Batch API: a file of requests is uploaded, a batch is made of it, and two files of results come back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ffprompt.backends.api.batch import NO_BATCHES, ApiBatches, json_of, lines_of, told_by
from ffprompt.backends.api.openai import OpenAIBackend
from ffprompt.backends.api.payloads import JsonObject, Payload
from ffprompt.backends.base import BatchResult, BatchStatus, Request
from ffprompt.errors import RunFailedError

_ENDPOINTS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "completions": "/v1/completions"}
_ENDED = ("completed", "failed", "expired", "cancelled")
_LABEL = "ffprompt"  # the key of the marker in a batch's metadata


class OpenAIBatches(ApiBatches):
    """Batches of one of OpenAI's APIs. The marker is the batch's metadata, by which it is found again."""

    most_requests = 50_000
    most_bytes = 190_000_000  # 200 MB are allowed
    cursor = "after"
    uploads = True
    backend: OpenAIBackend

    def __init__(self, backend: OpenAIBackend) -> None:
        super().__init__(backend)
        self.endpoint = _ENDPOINTS[backend.api]

    def item(self, custom_id: str, request: Request) -> Payload:
        """A line of the file."""
        return {"custom_id": custom_id, "method": "POST", "url": self.endpoint, "body": self.backend.payload(request)}

    async def upload(self, requests: Sequence[tuple[str, Request]], marker: str) -> str:
        """The file of requests."""
        content = b"".join(json_of(self.item(custom_id, request)) + b"\n" for custom_id, request in requests)
        files = self.backend.own_client().files.with_raw_response
        file = (f"{marker}.jsonl", content, "application/jsonl")
        found = (await self.manage(lambda: files.create(file=file, purpose="batch"), NO_BATCHES)).get("id")
        if not isinstance(found, str) or not found:
            raise RunFailedError(f"{self.backend.name}: the server names no id of the uploaded file")
        return found

    async def create(self, requests: Sequence[tuple[str, Request]], marker: str, file: str | None) -> str:
        """A batch of the uploaded file."""
        settings = {"completion_window": "24h", "endpoint": self.endpoint, "input_file_id": file}
        send = self.batches().with_raw_response.create
        return await self.create_once(lambda: send(**settings, metadata={_LABEL: marker}), NO_BATCHES)

    async def recover(
        self, marker: str, file: str | None, count: int, since: datetime, known: Collection[str]
    ) -> str | None:
        """By its marker, or by its file where a server keeps no metadata."""
        # All of them, since nothing says in which order they are listed; it is a rare question.
        async for batch in self.listed():
            marked = (batch.get("metadata") or {}).get(_LABEL)
            if marked == marker or (file is not None and batch.get("input_file_id") == file):
                return str(batch["id"])
        return None

    async def status(self, batch: str) -> BatchStatus:
        """How far a batch is."""
        body = await self.retrieve(batch)
        counts = body.get("request_counts") or {}
        expires = body.get("expires_at")
        problems = [told_by(each)[0] for each in (body.get("errors") or {}).get("data") or []]
        return BatchStatus(
            state=str(body.get("status")),
            ended=body.get("status") in _ENDED,
            total=counts.get("total") or 0,
            answered=counts.get("completed") or 0,
            failed=counts.get("failed") or 0,
            expires=datetime.fromtimestamp(expires, UTC) if expires else None,
            problem="; ".join(problems[:3]) or None,
        )

    async def results(self, batch: str) -> AsyncIterator[BatchResult]:
        """The file of answers, then that of errors. Either may be missing."""
        body = await self.retrieve(batch)
        content = self.backend.own_client().files.with_streaming_response.content
        for key in ("output_file_id", "error_file_id"):
            if name := body.get(key):
                what = f"batch {batch}: the results in file {name} are gone from the provider"
                file = await self.download(lambda name=name: content(name), what)  # type: ignore[misc]
                for line in lines_of(file, f"batch {batch}, file {name}"):
                    yield _result(line)

    def batches(self) -> Any:
        """Return the SDK's batches."""
        return self.backend.own_client().batches


def _result(line: JsonObject) -> BatchResult:
    """One line of either file."""
    custom_id, response, error = line["custom_id"], line.get("response") or {}, line.get("error")
    status, body, request_id = response.get("status_code"), response.get("body"), response.get("request_id")
    if status == 200 and isinstance(body, Mapping):
        return BatchResult(custom_id, body, request_id=request_id)
    if isinstance(body, Mapping):
        text, code = told_by(body.get("error", body))
        return BatchResult(custom_id, None, f"HTTP {status}: {text}", code, status or "no status", request_id)
    text, code = told_by(error or "no answer")
    text = f"{code}: {text}" if code else text
    return BatchResult(custom_id, None, text, code, status or code or "error", request_id)
