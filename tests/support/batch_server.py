"""A provider with batches, OpenAI's and Anthropic's, on top of the one that answers single calls."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.faulty_server import FaultyServer

ENDPOINTS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "completions": "/v1/completions"}


@dataclass
class Made:
    """A batch at the provider. ``polls`` is how often it will still be found in progress."""

    id: str
    anthropic: bool
    requests: list[dict[str, Any]]
    polls: int
    created: float = field(default_factory=time.time)
    metadata: dict[str, str] = field(default_factory=dict)
    file: str = ""
    cancelled: bool = False


class BatchServer(FaultyServer):
    """``fate`` of a request, by its place in its batch: "answered", "refused" (an error of its own), "filtered",
    "expired", "error inside" (OpenAI: a good status with an error), or "nothing" (no result at all). ``state`` is how
    batches end. ``on_create`` is used up one by one by create calls: "503 before" (nothing is created), "reset after",
    "hang after" (created, but never told), or a status. ``extra`` are custom ids that stand in the results without
    having been asked.
    """

    def __init__(
        self,
        polls: int = 0,
        fate: Callable[[int], str] = lambda _: "answered",
        state: str = "completed",
        on_create: tuple[str, ...] = (),
        extra: tuple[str, ...] = (),
        has_batches: bool = True,
        **single: Any,
    ) -> None:
        super().__init__(**single)
        self.polls, self.fate, self.state, self.extra, self.has_batches = polls, fate, state, extra, has_batches
        self.on_create = list(on_create)
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, Made] = {}
        self.creates = 0

    @property
    def billed(self) -> list[str]:
        """The prompt of every request that a batch or a single call was paid for."""
        paid = [
            json.dumps(self._body(request)["messages"])
            for made in self.batches.values()
            for number, request in enumerate(made.requests)
            if self.fate(number) == "answered" and self.state != "failed"
        ]
        return paid + [json.dumps(body["messages"]) for body in self.posted]

    async def _route(
        self, writer: asyncio.StreamWriter, method: str, path: str, headers: Mapping[str, str], text: bytes
    ) -> bool | None:
        where = urlsplit(path)
        match = re.fullmatch(r"/v1(/messages)?/(batches|files)(?:/([^/]+))?(?:/(cancel|content|results))?", where.path)
        if match is None:
            return None
        anthropic, kind, name, action = bool(match[1]), match[2], match[3], match[4]
        if not self.has_batches:
            return await self._error(writer, "404", headers)
        if kind == "files":
            return await (self._file(writer, headers, name) if method == "GET" else self._upload(writer, headers, text))
        if name is None and method == "POST":
            return await self._create(writer, headers, anthropic, json.loads(text))
        if name is None:
            return await self._list(writer, anthropic, parse_qs(where.query))
        if name not in self.batches:
            return await self._error(writer, "404", headers)
        made = self.batches[name]
        if action == "cancel":
            made.cancelled, made.polls = True, 0
        elif action == "results":
            return await self._send(writer, 200, self._results(made, errors=None), "application/x-jsonl")
        return await self._send(writer, 200, json.dumps(self._shown(made, polled=True)))

    async def _upload(self, writer: asyncio.StreamWriter, headers: Mapping[str, str], text: bytes) -> bool:
        boundary = headers["content-type"].partition("boundary=")[2].encode()
        parts = [part.partition(b"\r\n\r\n") for part in text.split(b"--" + boundary)]
        fields = {re.search(rb'name="([^"]+)"', head)[1]: body[:-2] for head, _, body in parts if b"name=" in head}  # type: ignore[index]
        assert fields[b"purpose"] == b"batch"
        name = f"file-{len(self.files)}"
        self.files[name] = fields[b"file"]
        return await self._send(writer, 200, json.dumps({"id": name, "object": "file", "purpose": "batch"}))

    async def _file(self, writer: asyncio.StreamWriter, headers: Mapping[str, str], name: str) -> bool:
        batch, _, kind = name.rpartition("-")
        if batch not in self.batches:
            return await self._error(writer, "404", headers)
        return await self._send(writer, 200, self._results(self.batches[batch], kind == "errors"), "text/plain")

    async def _create(
        self, writer: asyncio.StreamWriter, headers: Mapping[str, str], anthropic: bool, body: dict[str, Any]
    ) -> bool:
        self.creates += 1
        status, _, when = (self.on_create.pop(0) if self.on_create else "").partition(" ")
        if status and when != "after":
            return await self._error(writer, status, headers)
        file = body.get("input_file_id", "")
        if file and file not in self.files:
            return await self._error(writer, "404", headers)
        requests = body["requests"] if anthropic else [json.loads(line) for line in self.files[file].splitlines()]
        made = Made(f"batch_{len(self.batches)}", anthropic, requests, self.polls, metadata=body.get("metadata") or {})
        made.file = file
        self.batches[made.id] = made
        if status == "hang":
            await asyncio.sleep(60)
        if status == "reset":
            writer.transport.abort()
            return False
        return await self._send(writer, 200, json.dumps(self._shown(made)))

    async def _list(self, writer: asyncio.StreamWriter, anthropic: bool, query: Mapping[str, list[str]]) -> bool:
        """Newest first, two a page."""
        shown = [self._shown(made) for made in reversed(self.batches.values()) if made.anthropic == anthropic]
        for key in ("after", "after_id"):
            if key in query:
                shown = shown[[made["id"] for made in shown].index(query[key][0]) + 1 :]
        answer = {"data": shown[:2], "has_more": len(shown) > 2, "first_id": None, "last_id": None}
        return await self._send(writer, 200, json.dumps(answer))

    def _shown(self, made: Made, polled: bool = False) -> dict[str, Any]:
        """What the provider says about a batch; being asked for it brings it nearer to its end."""
        ended = made.polls == 0
        made.polls -= polled and not ended
        fates = [self.fate(number) for number in range(len(made.requests))] if ended else []
        good, gone = fates.count("answered"), len(fates) - fates.count("answered")
        if made.anthropic:
            counts = {"processing": 0 if ended else len(made.requests), "succeeded": good, "errored": gone}
            return {
                "id": made.id, "type": "message_batch", "request_counts": counts | {"canceled": 0, "expired": 0},
                "processing_status": "ended" if ended else "in_progress", "created_at": _iso(made.created),
                "expires_at": _iso(made.created + 86400),
                "results_url": f"{self.url}/v1/messages/batches/{made.id}/results" if ended else None,
            }  # fmt: skip
        state = "cancelled" if made.cancelled else self.state
        failed = ended and state == "failed"
        return {
            "id": made.id, "object": "batch", "endpoint": "", "completion_window": "24h", "metadata": made.metadata,
            "input_file_id": made.file, "status": state if ended else "in_progress", "created_at": int(made.created),
            "expires_at": int(made.created) + 86400,
            "output_file_id": f"{made.id}-output" if ended and not failed else None,
            "error_file_id": f"{made.id}-errors" if ended and gone and not failed else None,
            "errors": {"data": [{"code": "limit", "message": "the queue is full", "line": None}]} if failed else None,
            "request_counts": {"total": len(made.requests), "completed": 0 if failed else good, "failed": gone},
        }  # fmt: skip

    def _results(self, made: Made, errors: bool | None) -> str:
        """A file of results, last request first; ``errors``: those that failed, those that did not, or all."""
        lines = [json.dumps(self._result(made, None, name)) for name in self.extra if not errors]
        for number, request in reversed(list(enumerate(made.requests))):
            fate = self.fate(number)
            if fate != "nothing" and errors in (None, fate != "answered"):
                lines.append(json.dumps(self._result(made, request, request["custom_id"], fate)))
        return "".join(line + "\n" for line in lines)

    def _result(
        self, made: Made, request: dict[str, Any] | None, custom_id: str, fate: str = "answered"
    ) -> dict[str, Any]:
        path = "/v1/messages" if made.anthropic else (request or made.requests[0])["url"]
        reply, self.reply = self.reply, self.reply if request else "what somebody else was told"
        body = self._good(path, self._body(request or made.requests[0]), "")
        self.reply = reply
        told = {"code": "content_filter" if fate == "filtered" else "bad", "message": "this one is refused"}
        if made.anthropic:
            result: dict[str, Any] = {"type": "succeeded", "message": body}
            if fate in ("expired", "canceled"):
                result = {"type": fate}
            elif fate != "answered":
                result = {"type": "errored", "error": {"type": "error", "error": told, "request_id": "req_b"}}
            return {"custom_id": custom_id, "result": result}
        line: dict[str, Any] = {"id": "r", "custom_id": custom_id, "error": None}
        if fate == "error inside":
            return line | {"response": {"status_code": 200, "request_id": "req_b", "body": {"error": told}}}
        if fate == "expired":
            return line | {"response": None, "error": {"code": "batch_expired", "message": "it was not executed"}}
        if fate != "answered":
            return line | {"response": {"status_code": 400, "request_id": "req_b", "body": {"error": told}}}
        return line | {"response": {"status_code": 200, "request_id": "req_b", "body": body}}

    @staticmethod
    def _body(request: dict[str, Any]) -> dict[str, Any]:
        body: dict[str, Any] = request.get("params") or request["body"]
        return body


def _iso(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat().replace("+00:00", "Z")
