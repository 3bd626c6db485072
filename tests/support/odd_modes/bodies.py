"""Modes of bodies: bytes that are no plain JSON, failures with a good status, answers that break off."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

from tests.support.odd_modes.mode import ANTHROPIC, ONE_BY_ONE, RESPONSES, Mode, answers, fails, made, replies
from tests.support.odd_server import Body, Raw

JSON = {"content-type": "application/json"}
STREAM = {"content-type": "text/event-stream; charset=utf-8"}
CHUNKED = {"transfer-encoding": "chunked", "content-length": ""}


def raw(change: Callable[[bytes], bytes], once: bool = False, **headers: str) -> object:
    """A server whose good bodies are changed, byte by byte; ``once``: only the first."""

    def new() -> object:
        calls = iter(range(10**6))

        def answer(path: str, body: Body) -> object:
            good = json.dumps(made(path, body)).encode()
            if once and next(calls):
                return Raw(good)
            return Raw(change(good), JSON | {name.replace("_", "-"): value for name, value in headers.items()})

        return answer

    return new


def chunks(data: bytes) -> bytes:
    """In chunks of HTTP of up to 50 bytes."""
    pieces = [data[at : at + 50] for at in range(0, len(data), 50)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])


def events(data: bytes) -> bytes:
    """As the events of a stream."""
    body = json.loads(data)
    text = body["choices"][0]["message"]["content"] if "choices" in body else "1"
    lines = [{"choices": [{"index": 0, "delta": {"content": char}}]} for char in text]
    return b"".join(b"data: " + json.dumps(line).encode() + b"\n\n" for line in lines) + b"data: [DONE]\n\n"


BYTES = (
    Mode("a stream", "streams its answer although it is told not to",
         raw(events, content_type="text/event-stream"), "error", "the server streams its answer", 3),
    Mode("a stream called JSON", "sends the events of a stream as JSON", raw(events), "error",
         "HTTP 200 without JSON", 3),
    Mode("a streamed response", "streams a response", raw(events, content_type="text/event-stream"), "error",
         "the server streams its answer", 3, flags=RESPONSES),
    Mode("a streamed message", "streams a message", raw(events, content_type="text/event-stream"), "error",
         "the server streams its answer", 3, flags=ANTHROPIC),
    Mode("lines of JSON", "sends one object a line, as Ollama's own API does",
         raw(lambda data: data + b"\n" + data), "error", "HTTP 200 without JSON", 3),
    Mode("gzip", "compresses its bodies", raw(gzip.compress, content_encoding="gzip"), "correct"),
    Mode("gzip in name only", "says gzip and sends plain JSON", raw(bytes, content_encoding="gzip"), "error",
         "DecodingError", 3),
    Mode("gzip, cut off", "breaks a compressed body off, once",
         raw(lambda data: gzip.compress(data)[:40], once=True, content_encoding="gzip"), "correct"),
    Mode("chunks", "sends its bodies in chunks", raw(chunks, **CHUNKED), "correct"),
    Mode("chunks and more", "sends bytes behind the last chunk", raw(lambda data: chunks(data) + b"more", **CHUNKED),
         "correct"),
    Mode("chunks without end", "never sends the last chunk, once",
         raw(lambda data: chunks(data)[:-5], once=True, **CHUNKED), "correct"),
    Mode("half a body", "closes the connection in a body, once",
         raw(lambda data: data[:60], once=True, content_length="999"), "correct"),
    Mode("garbage behind JSON", "sends more behind its JSON", raw(lambda data: data + b"\x00\xff"), "error",
         "HTTP 200 without JSON", 3),
    Mode("white space around", "sends blank lines to keep the connection, and then its JSON",
         raw(lambda data: b"\n \n" * 99 + data + b"\n\n"), "correct"),
    Mode("a byte order mark", "begins its JSON with one", raw(lambda data: b"\xef\xbb\xbf" + data), "correct"),
    Mode("UTF-16", "sends JSON in UTF-16", raw(lambda data: data.decode().encode("utf-16")), "correct"),
    Mode("no content type", "says nothing about its bodies", raw(bytes, content_type=""), "correct"),
    Mode("text/plain", "calls its JSON plain text", raw(bytes, content_type="text/plain"), "correct"),
    Mode("a list", "puts its answer into a list", raw(lambda data: b"[" + data + b"]"), "error",
         "HTTP 200 without an object", 3),
    Mode("nothing", "sends an empty body, once", raw(lambda _: b"", once=True), "correct"),
    Mode("a web page", "sends a web page in between, once",
         raw(lambda _: b"<html><body>Just a moment</body></html>", once=True, content_type="text/html"), "correct"),
    Mode("numbers that are none", "writes NaN and Infinity into its JSON",
         replies(timings={"speed": float("nan"), "more": float("-inf")}), "correct"),
    Mode("a number without end", "writes a number of 5,000 digits",
         raw(lambda data: data.replace(b"{", b'{"created": ' + b"9" * 5000 + b", ", 1)), "error",
         "HTTP 200 without JSON", 3),
    Mode("brackets without end", "nests brackets until parsers give up",
         raw(lambda _: b"[" * 200_000), "error", "HTTP 200 without JSON", 3),
    Mode("a key twice", "sends `choices` twice, the second time empty",
         raw(lambda data: data[:-1] + b', "choices": []}'), "error", "it has no choices", 3),
    Mode("bytes of Latin 1", "sends a character in Latin 1, once",
         raw(lambda data: data.replace(b'"x"', b'"caf\xe9"'), once=True), "correct"),
)  # fmt: skip


def error(code: object, text: str = "please try again", **more: object) -> dict[str, object]:
    return {"error": {"code": code, "message": text} | more}


def outage(_: str, body: Body) -> object:
    """A reset, a page of a gateway or nothing, by the length of the prompt."""
    failures = (Raw(b"{", {"content-length": "9"}), (502, error("bad_gateway", "upstream")), Raw(b""))
    return failures[len(str(body)) % 3]


GOOD_STATUS = (
    Mode("null choices", "answers `choices: null`, once", fails({"id": "x", "choices": None}), "correct"),
    Mode("null choices for ever", "answers so always", replies(choices=None), "error", "it has no choices", 3),
    Mode("overloaded", "answers with an object `overloaded_error`, once",
         fails({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}), "correct",
         flags=ANTHROPIC),
    Mode("failed response", "ends a response as `failed` with `server_error`, once",
         fails({"status": "failed", "output": [], "error": {"code": "server_error", "message": "no"}}), "correct",
         flags=RESPONSES),
    Mode("rate limit in a response", "ends a response as `failed` with `rate_limit_exceeded`, twice",
         fails({"status": "failed", "output": [], "error": {"code": "rate_limit_exceeded", "message": "slow"}}, 2),
         "correct", flags=RESPONSES),
    Mode("an error as text", "answers `{\"error\": \"model crashed\"}`", answers(lambda *_: {"error": "model crashed"}),
         "error", "model crashed", 3),
    Mode("an error of a gateway", "answers with the code 524 as a number, once", fails(error(524)), "correct"),
    Mode("`success: false`", "wraps an error in an object of its own, as Cloudflare does",
         answers(lambda *_: {"success": False, "errors": [{"code": 10000, "message": "Capacity"}], "result": None}),
         "error", "Capacity", 3),
    Mode("a detail", "answers `{\"detail\": …}` with status 200",
         answers(lambda *_: {"detail": "the worker died"}), "error", "the worker died", 3),
    Mode("a code and a message", "answers `{\"code\": 500, \"msg\": …}` with status 200, once",
         fails({"code": 500, "msg": "busy"}), "correct"),
    Mode("an empty object", "answers `{}`", answers(lambda *_: {}), "error",
         "HTTP 200 without an answer: {}", 3),
    Mode("a response in progress", "answers with a response that is not done",
         replies(status="in_progress", output=[]), "error", "the reply ended for an unknown reason ('in_progress')", 3,
         flags=RESPONSES),
    Mode("moderated", "answers with a router's moderation", answers(lambda *_: error(
        403, "flagged", metadata={"reasons": ["x"], "flagged_input": "…"})), "refused"),
    Mode("all calls fail", "answers 500 to everything", answers(lambda *_: (500, error("x", "it broke"))), "error",
         "ended in error: 4 × HTTP 500: it broke", 3),
    Mode("every call is refused", "answers 400 to everything, in the same words",
         answers(lambda *_: (400, error("x", "not today"))), "error",
         "5 calls in a row failed alike: HTTP 400: not today", 3, ONE_BY_ONE, trials=9),
    Mode("an outage", "breaks every call off, each time in another way",
         lambda: outage, "error", "20 calls in a row brought no answer; the last:", 3, ONE_BY_ONE, trials=24),
    Mode("busy, then right", "answers 429 and 529 before it answers",
         fails((429, error("rate_limit_exceeded")), 3), "correct"),
    Mode("Retry-After", "asks for 1 s of patience with a date and a body that is no JSON",
         fails(Raw(b"slow down", {"retry-after": "1", "content-type": "text/plain"}, 429)), "correct"),
    Mode("no credit", "answers 429 with `insufficient_quota`",
         answers(lambda *_: (429, error("insufficient_quota", "add credits"))), "error", "add credits", 3),
)  # fmt: skip
