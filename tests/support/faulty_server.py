"""A provider that misbehaves on schedule: chat completions, responses, completions and messages over plain HTTP.

It runs in a thread of its own with its own event loop, so that synchronous and asynchronous clients can be tried.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

# "full" (OpenAI, vLLM, SGLang), "generated" (llama.cpp leaves the prompt out), "refused" (400), "nulls", "five" (more
# are refused), "capped" (more are left out), "same" (made up) or "logits" (no probabilities)
Echo = str
PATH = re.compile(r"/v1/(chat/completions|responses|completions|messages|models(/.*)?)")
KEY = "sk-test-0123456789abcdef"
ODD_REPLIES = {"half-emoji": "1 \ud83d \u0000", "empty": ""}
# A model of sorts: what it finds likely at every place, whatever stands before.
LIKELY = {" 1": math.log(0.6), " 0": math.log(0.3), ".": math.log(0.05)}
STATUS = {
    "400": "invalid_request_error",
    "401": "authentication_error",
    "404": "not_found_error",
    "408": "timeout",
    "409": "conflict",
    "429": "rate_limit_error",
    "500": "api_error",
    "503": "api_error",
    "529": "overloaded_error",
}


class FaultyServer:
    """``faults`` are used up one by one by what is posted, or are a function of its number; afterwards all goes well.

    A fault is a status ("500"), one with a header ("429 seconds 7", "429 date 7", "429 ms 700"), one with a code of
    its own ("429 quota", "400 filter", "400 context"), or one of reset, half-json, html, hang, stall (after half of
    the answer), empty-choices, no-content, error-body, error-body-429, overloaded, broken-off, refusal,
    length, slow, half-emoji (as a reply), empty (a reply of nothing).
    ``usage`` tells from what was posted which usage an answer reports; None: none.
    With ``capacity`` whoever comes beyond it gets a 429. ``models`` is the status of ``GET /models``, or "html".
    ``good`` counts answers that were sent whole and without a fault.
    """

    def __init__(
        self,
        faults: Iterable[str] | Callable[[int], str | None] = (),
        capacity: int | None = None,
        latency: float = 0.0,
        reply: str = "1, 0",
        echo: Echo = "full",
        models: str = "200",
        usage: Callable[[Mapping[str, Any]], Mapping[str, Any] | None] | None = None,
    ) -> None:
        schedule = iter(()) if callable(faults) else iter(faults)
        self._fault = faults if callable(faults) else lambda _: next(schedule, None)
        self.capacity, self.latency, self.reply, self.echo, self.models = capacity, latency, reply, echo, models
        self.usage = usage
        self.posted: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.queries: list[str] = []
        self.times: list[float] = []
        self.busy = self.peak = self.good = self.connections = 0
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[Any]] = set()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        start = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result(5)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self.v1 = self.url + "/v1"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def settle(self) -> None:
        """Wait until every connection has ended, so that all that a killed process has sent is in ``posted``."""
        deadline = time.monotonic() + 30
        while self._tasks:
            assert time.monotonic() < deadline, "a connection stays open"
            time.sleep(0.01)

    async def _stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            with contextlib.suppress(ConnectionError):
                writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}
        text = await reader.readexactly(int(headers.get("content-length", 0)))
        if (handled := await self._route(writer, method, path, headers, text)) is not None:
            return handled
        path, _, query = path.partition("?")
        self.queries.append(query)
        if not PATH.fullmatch(path):
            return await self._error(writer, "404", headers)
        if method == "GET":
            return await self._models(writer, headers)
        number = len(self.posted)
        self.posted.append(json.loads(text))
        self.headers.append(headers)
        self.times.append(time.monotonic())
        self.busy += 1
        self.peak = max(self.peak, self.busy)
        try:
            fault = "429" if self.capacity is not None and self.busy > self.capacity else self._fault(number)
            await asyncio.sleep(self.latency)
            return await self._answer(writer, path, self.posted[number], headers, fault or "", number)
        finally:
            self.busy -= 1

    async def _route(
        self, writer: asyncio.StreamWriter, method: str, path: str, headers: Mapping[str, str], text: bytes
    ) -> bool | None:
        """For servers that can do more: whether the connection stays open, or None for what is not theirs."""
        return None

    async def _models(self, writer: asyncio.StreamWriter, headers: Mapping[str, str]) -> bool:
        if self.models == "200":
            return await self._send(writer, 200, json.dumps({"object": "list", "data": [{"id": "m"}]}))
        if self.models == "html":
            return await self._send(writer, 200, "<html><body>Welcome!</body></html>", "text/html")
        return await self._error(writer, self.models, headers)

    async def _answer(
        self,
        writer: asyncio.StreamWriter,
        path: str,
        body: Mapping[str, Any],
        headers: Mapping[str, str],
        fault: str,
        number: int,
    ) -> bool:
        status, _, detail = fault.partition(" ")
        if status in STATUS:
            return await self._error(writer, status, headers, detail)
        if fault == "hang":
            await asyncio.sleep(60)
        if fault == "slow":
            await asyncio.sleep(0.2)
        answer = self._good(path, body, fault)
        if answer is not None and fault in ODD_REPLIES:
            answer = json.loads(json.dumps(answer).replace(json.dumps(self.reply), json.dumps(ODD_REPLIES[fault])))
        if answer is None:
            return await self._error(writer, "400", headers)
        if self.usage is not None:
            answer["usage"] = self.usage(body)
        if fault == "error-body":
            answer = {"error": {"message": "the upstream provider broke", "code": None, "type": "upstream"}}
        if fault == "overloaded":
            answer = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
        if fault == "broken-off":
            answer = _broken_off(answer)
        if fault == "error-body-429":
            answer = {"error": {"message": "slow down", "code": 429}}
        whole = json.dumps(answer)
        if fault == "reset":
            writer.write(_head(200, len(whole), "application/json", "req_reset") + whole[: len(whole) // 2].encode())
            await writer.drain()
            writer.transport.abort()
            return False
        if fault == "stall":
            writer.write(_head(200, len(whole), "application/json", "req_stall") + whole[: len(whole) // 2].encode())
            await asyncio.sleep(60)
        if fault == "half-json":
            whole = whole[: len(whole) // 2]
        if fault == "html":
            return await self._send(writer, 200, "<html><body><h1>Bad gateway</h1></body></html>", "text/html")
        self.good += fault in ("", "slow", *ODD_REPLIES)
        return await self._send(writer, 200, whole, request_id=f"req_{number}")

    async def _error(
        self, writer: asyncio.StreamWriter, status: str, headers: Mapping[str, str], detail: str = ""
    ) -> bool:
        key = headers.get("authorization", headers.get("x-api-key", ""))
        message = f"a fault of kind {status} for {key}"  # some servers do repeat the key
        kind, _, amount = detail.partition(" ")
        more = {}
        if kind == "seconds":
            more = {"retry-after": amount}
        elif kind == "date":
            more = {"retry-after": email.utils.formatdate(time.time() + float(amount), usegmt=True)}
        elif kind == "ms":
            more = {"retry-after-ms": amount, "retry-after": "999"}
        codes = {"quota": "insufficient_quota", "filter": "content_filter", "context": "context_length_exceeded"}
        code = codes.get(kind)
        if kind == "context":
            message = f"the context of 4097 tokens is too short for your {4100 + len(self.posted)}"
        body = {"type": "error", "error": {"type": STATUS[status], "code": code, "message": message}}
        return await self._send(writer, int(status), json.dumps(body), more=more)

    async def _send(
        self,
        writer: asyncio.StreamWriter,
        status: int,
        text: str,
        kind: str = "application/json",
        request_id: str = "req_fault",
        more: Mapping[str, str] | None = None,
    ) -> bool:
        writer.write(_head(status, len(text.encode()), kind, request_id, more or {}) + text.encode())
        await writer.drain()
        return True

    def _good(self, path: str, body: Mapping[str, Any], fault: str) -> dict[str, Any] | None:
        if path.endswith("/chat/completions"):
            return self._chat(body, fault)
        if path.endswith("/responses"):
            return self._response(body, fault)
        if path.endswith("/messages"):
            return self._message(body, fault)
        return self._completion(body, fault)

    def _chat(self, body: Mapping[str, Any], fault: str) -> dict[str, Any]:
        why = {"length": "length", "filter": "content_filter"}.get(fault, "stop")
        message: dict[str, Any] = {"role": "assistant", "content": self.reply, "refusal": None}
        if fault == "refusal":
            message |= {"content": None, "refusal": "I cannot help with that."}
        if fault in ("no-content", "length"):
            message["content"] = None
        why = None if fault == "no-content" else why
        choices = [] if fault == "empty-choices" else [{"index": 0, "message": message, "finish_reason": why}]
        details = {"reasoning_tokens": 7} if "max_completion_tokens" in body else {}
        usage = {
            "prompt_tokens": counted(body),
            "completion_tokens": 5,
            "completion_tokens_details": details,
            "prompt_tokens_details": {"cached_tokens": 3},
        }
        return {"id": "c", "object": "chat.completion", "model": f"{body['model']}-2099", "choices": choices} | {
            "usage": usage
        }

    def _response(self, body: Mapping[str, Any], fault: str) -> dict[str, Any]:
        part = {"type": "output_text", "text": self.reply, "annotations": []}
        if fault == "refusal":
            part = {"type": "refusal", "refusal": "I cannot help with that."}
        output = [{"type": "reasoning", "summary": []}, {"type": "message", "role": "assistant", "content": [part]}]
        status, details = "completed", None
        if fault == "length":
            status, details, output = "incomplete", {"reason": "max_output_tokens"}, output[:1]
        usage = {"input_tokens": counted(body), "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 7}}
        usage["input_tokens_details"] = {"cached_tokens": 0}
        found = {"id": "r", "object": "response", "model": f"{body['model']}-2099", "output": output, "usage": usage}
        return found | {"status": status, "incomplete_details": details}

    def _message(self, body: Mapping[str, Any], fault: str) -> dict[str, Any]:
        why = {"length": "max_tokens", "refusal": "refusal", "no-content": "pause_turn"}.get(fault, "end_turn")
        content = [] if fault == "refusal" else [{"type": "text", "text": self.reply}]
        usage = {"input_tokens": counted(body) - 3, "output_tokens": 5}
        usage |= {"cache_read_input_tokens": 2, "cache_creation_input_tokens": 1}
        found = {"id": "m", "type": "message", "role": "assistant", "model": f"{body['model']}-2099", "usage": usage}
        if fault == "empty-choices":
            return {"type": "error", "error": {"type": "api_error", "message": "no answer"}, "usage": usage}
        return found | {"content": content, "stop_reason": why}

    def _completion(self, body: Mapping[str, Any], fault: str) -> dict[str, Any] | None:
        choice: dict[str, Any] = {"index": 0, "text": self.reply, "finish_reason": "length", "logprobs": None}
        if body.get("echo"):
            if self.echo == "refused" or (self.echo == "five" and body["logprobs"] > 5):
                return None
            choice["logprobs"] = self._logprobs(body["prompt"], body["logprobs"])
        choices = [] if fault == "empty-choices" else [choice]
        usage = {"prompt_tokens": counted(body), "completion_tokens": 1}
        return {"id": "t", "object": "text_completion", "model": f"{body['model']}-2099", "choices": choices} | {
            "usage": usage
        }

    def _logprobs(self, prompt: str, most: int) -> dict[str, Any]:
        tokens = re.findall(r" ?[A-Za-z]+| ?\d|\s|[^\sA-Za-z\d]", prompt)
        tokens = [*(["<s>"] if self.echo == "bos" else []), *tokens, " and"]
        if self.echo == "generated":
            tokens = tokens[-1:]
        if self.echo in ("same", "logits"):
            likely = {"same": dict.fromkeys(LIKELY, -1.0), "logits": {" 1": 3.0, " 0": 2.0}}[self.echo]
            places = [likely | {token: likely.get(token, -1.0)} for token in tokens]
        else:
            places = [_finds(tokens, place) for place in range(len(tokens))]
        logprobs = [likely[token] for likely, token in zip(places, tokens, strict=True)]
        top: list[dict[str, float] | None] = []
        for likely, token in zip(places, tokens, strict=True):
            ranked = sorted(likely, key=likely.__getitem__, reverse=True)[: 2 if self.echo == "capped" else most]
            top.append({name: likely[name] for name in [token, *ranked]})
        written: list[float | None] = list(logprobs)
        if self.echo != "generated":
            written[0] = top[0] = None  # nothing stands before the first token
        if self.echo == "nulls":
            written[:-1], top[:-1] = [None] * (len(tokens) - 1), [None] * (len(tokens) - 1)
        return {"tokens": tokens, "token_logprobs": written, "top_logprobs": top, "text_offset": [0] * len(tokens)}


def _broken_off(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer of a router whose provider broke off in the middle of the reply."""
    if "choices" in answer:
        choice = answer["choices"][0] | {"finish_reason": "error", "error": None}
        return answer | {"choices": [choice]}
    if "output" in answer:
        return answer | {"status": "failed", "error": None}
    return answer | {"stop_reason": "error"}


def _finds(tokens: list[str], place: int) -> dict[str, float]:
    """What the model finds likely at a place: words that it copies, or LIKELY whatever stands before."""
    before, token = tokens[:place], tokens[place]
    again = next((before[i + 1] for i in range(place - 2, -1, -1) if before[i] == before[-1]), "")
    likely = {name: value - 1e-4 * (place % 7) * (token not in LIKELY) for name, value in LIKELY.items()}
    if re.fullmatch(r" ?[A-Za-z]{2,}|\.", again):
        likely = {again: math.log(0.9), " 1": math.log(0.05), " 0": math.log(0.03)}
    likely |= {f" w{number}": math.log(1e-4) for number in range(50) if number % 5 != place % 5}
    return likely | {token: likely.get(token, math.log(0.01) - 1e-4 * (sum(map(ord, "".join(before))) % 997))}


def counted(body: Mapping[str, Any]) -> int:
    """About as many tokens as a tokenizer of characters finds in what was posted."""
    sent = body.get("messages") or body.get("input") or body.get("prompt")
    return 4 + len(json.dumps([sent, body.get("system")])) * 9 // 10


def _head(status: int, length: int, kind: str, request_id: str, more: Mapping[str, str] | None = None) -> bytes:
    lines = {"content-type": kind, "content-length": str(length), "x-request-id": request_id, "request-id": request_id}
    lines |= more or {}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode()
