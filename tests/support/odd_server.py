"""A server that speaks OpenAI's and Anthropic's APIs and is odd in one way: one function a way.

``OddServer(answer)`` answers what is posted with ``answer(path, body)``: a body, (status, body), or a Raw. ``models``
is what ``GET`` finds, by path. It runs in a thread of its own, so that the real SDKs can be tried.
"""

from __future__ import annotations

import json
import math
import re
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Body = Mapping[str, Any]
Answer = Callable[[str, Body], Any]
Get = Callable[[str], Any]
Columns = tuple[list[str], list[float | None], list[dict[str, float] | None]]
MODELS = {"object": "list", "data": [{"id": "m", "object": "model"}]}


def listed(path: str) -> Any:
    """The list of models under /v1."""
    return MODELS if path.startswith("/v1/models") else (404, {"error": {"message": f"no {path}"}})


@dataclass(frozen=True)
class Raw:
    """An answer byte by byte. ``headers`` stand in place of those that belong to the bytes."""

    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200


class Sent(dict[str, Any]):
    """A body with the headers that it came with, their names in lower case."""

    headers: Mapping[str, str] = {}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A run that ends closes its connections."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class OddServer:
    """``posted`` are (path, body) of what came; ``url`` and ``v1`` are where."""

    def __init__(self, answer: Answer, models: Get = listed) -> None:
        posted: list[tuple[str, dict[str, Any]]] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                self.send(models(self.path))

            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                if len(data := self.rfile.read(length)) < length:  # the run has ended
                    return
                body = Sent(json.loads(data))
                body.headers = {name.lower(): value for name, value in self.headers.items()}
                posted.append((self.path, body))
                self.send(answer(self.path, body))

            def send(self, answered: Any) -> None:
                if not isinstance(answered, Raw):
                    status, body = answered if isinstance(answered, tuple) else (200, answered)
                    answered = Raw(json.dumps(body).encode(), status=status)
                headers = {"content-type": "application/json", "content-length": str(len(answered.data))}
                headers |= answered.headers
                self.send_response(answered.status)
                for name, value in headers.items():
                    if value:
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answered.data)
                self.close_connection = not {"content-length", "transfer-encoding"}.isdisjoint(answered.headers)

            def log_message(self, *_: Any) -> None:
                pass

        self.posted = posted
        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.v1 = f"{self.url}/v1"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def prompt_of(body: Body) -> str:
    """All text that was sent, through any of the APIs."""
    turns = body.get("messages") or body.get("input") or [{"content": body.get("prompt", "")}]
    parts = [*([{"content": body["system"]}] if body.get("system") else []), *turns]
    return "\n".join(
        json.dumps(part["content"]) if isinstance(part["content"], list) else part["content"] for part in parts
    )


def replies(text: str = "1", tokens: Callable[[Body], int | None] | None = None, **more: Any) -> Answer:
    """One reply to everything, with as many prompt tokens as ``tokens`` says."""

    def answer(path: str, body: Body) -> Any:
        count = tokens(body) if tokens is not None else len(prompt_of(body)) // 3
        same = {"id": "x", "model": body["model"]} | {key: v(body) if callable(v) else v for key, v in more.items()}
        names = ("input_tokens", "output_tokens")
        if path.endswith("/messages"):
            same |= {"type": "message", "role": "assistant", "stop_reason": "end_turn"}
            same |= {"content": [{"type": "text", "text": text}]}
        elif path.endswith("/responses"):
            part = {"type": "output_text", "text": text, "annotations": []}
            same |= {"status": "completed", "output": [{"type": "message", "role": "assistant", "content": [part]}]}
        else:
            names = ("prompt_tokens", "completion_tokens")
            message = {"text": text, "message": {"role": "assistant", "content": text}}
            same |= {"choices": [{"index": 0, "finish_reason": "stop", **message}]}
        return same | ({} if count is None else {"usage": {names[0]: count, names[1]: 2}})

    return answer


def tokens_of(text: str) -> list[str]:
    """Words with the space before them, single digits, marks."""
    return re.findall(r" ?[^\W\d_]+|\s?\d|\s|[^\w\s]", text)


def copier(text: str, most: int) -> Columns:
    """What a model that copies says about a text: the word that followed the same three tokens before is likely."""
    tokens = tokens_of(text)
    logprobs: list[float | None] = [None]
    tops: list[dict[str, float] | None] = [None]
    for place in range(1, len(tokens)):
        whole = _distribution(tokens[:place], tokens[place])
        ranked = sorted(whole, key=whole.__getitem__, reverse=True)[:most]
        logprobs.append(whole[tokens[place]])
        tops.append({name: whole[name] for name in [tokens[place], *ranked]})
    return tokens, logprobs, tops


def _distribution(before: Sequence[str], token: str) -> dict[str, float]:
    seed = sum((place + 1) * ord(char) for place, char in enumerate("".join(before))) % 997 / 1e4
    weights = {f" w{(len(before) * 7 + n) % 60}": math.exp(-6 - 0.2 * n - seed) for n in range(30)}
    weights |= {" 0": 0.06 + seed / 9, " 1": 0.05 + seed / 7, token: 2e-4 + seed / 1e3} | (
        {} if token not in (" 0", " 1") else {token: 0.05 + seed / 8}
    )
    for near, weight in ((1, 0.3), (2, 1.0), (3, 4.0)):
        key = list(before[-near:])
        for place in range(len(before) - near - 1, -1, -1):
            if list(before[place : place + near]) == key:
                follows = before[place + near]
                weights[follows] = weights.get(follows, 0.0) + weight
                break
    total = math.fsum(weights.values()) * 1.01
    return {name: math.log(weight / total) for name, weight in weights.items()}


def echoes(change: Callable[[Columns, int], Columns] = lambda columns, most: columns, **more: Any) -> Answer:
    """The copier's log-probabilities of what is echoed, changed in one way."""

    def answer(path: str, body: Body) -> Any:
        if not body.get("echo"):
            return replies()(path, body)
        tokens, logprobs, tops = change(copier(body["prompt"] + " and", body["logprobs"]), body["logprobs"])
        found = {"tokens": tokens, "token_logprobs": logprobs, "top_logprobs": tops}
        usage = {"prompt_tokens": len(tokens) - 1, "completion_tokens": 1}
        choice = {"index": 0, "text": body["prompt"] + " and", "finish_reason": "length", "logprobs": found}
        same = {"id": "x", "model": body["model"]} | {key: v(body) if callable(v) else v for key, v in more.items()}
        return same | {"choices": [choice], "usage": usage}

    return answer
