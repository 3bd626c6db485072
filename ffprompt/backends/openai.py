"""OpenAI's APIs and every server that speaks them: vLLM, SGLang, llama.cpp, Ollama and others.

``chat`` and ``responses`` answer messages; ``completions`` goes on with a text and, where the server echoes the
prompt with log-probabilities, scores the answers in it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from ffprompt.backends import counts
from ffprompt.backends.api import ApiBackend, without_user
from ffprompt.backends.calls import Call, Policy, Sleep
from ffprompt.backends.keys import read_key
from ffprompt.backends.openai_probe import CHATS, OpenAIProbe
from ffprompt.backends.openai_replies import read_chat, read_completion, read_response
from ffprompt.backends.payloads import (
    MOST_SHOWN,
    Asking,
    chat_payload,
    completions_payload,
    responses_payload,
    thinks,
)
from ffprompt.backends.wire import patience
from ffprompt.errors import ModelError, did_you_mean
from ffprompt.requests import Capabilities, Failure, Reply, Request, Scores
from ffprompt.usage import Usage

Api = Literal["chat", "responses", "completions"]
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
# Reasoning counts against the limit of a reply. This much is allowed on top of the reply; only what is used costs.
_ROOM = {"none": 0, "minimal": 2048, "low": 8192, None: 32768, "medium": 32768}
_MOST_ROOM = 65536
_PATHS = {"chat": "/chat/completions", "responses": "/responses", "completions": "/completions"}
_PAYLOADS = {"chat": chat_payload, "responses": responses_payload, "completions": completions_payload}


class OpenAIBackend(ApiBackend):
    """A model behind one of OpenAI's APIs. Raises ModelError when it cannot be reached or cannot do what is asked.

    ``base_url`` names another server, which may want no key. ``key_file`` holds the key in place of OPENAI_API_KEY.
    ``reasoning_room`` is how many tokens may be spent on reasoning before a reply, ``top_logprobs`` how many of the
    most probable tokens a server must show where it scores; None takes what it shows. Without ``live`` nothing is sent
    and no key is read: prompts can be checked and counted.
    """

    def __init__(
        self,
        model: str,
        api: str = "chat",
        base_url: str | None = None,
        key_file: str | None = None,
        temperature: float | None = 0.0,
        reasoning_effort: str | None = None,
        reasoning_room: int | None = None,
        top_logprobs: int | None = None,
        policy: Policy | None = None,
        live: bool = True,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        try:
            import openai
            import tenacity  # noqa: F401
        except ImportError as error:
            raise ModelError(f'the openai backend needs {error.name}; run: pip install "ffprompt[openai]"') from error
        self.api = _known("--api", api, get_args(Api))
        if reasoning_effort is not None:
            _known("--reasoning-effort", reasoning_effort, EFFORTS)
        reasoning = thinks(model, api, reasoning_effort)
        _can_honour(model, api, reasoning, temperature, reasoning_effort)
        _has_use(model, api, reasoning, reasoning_room, top_logprobs)
        room = _ROOM.get(reasoning_effort, _MOST_ROOM) if reasoning_room is None else reasoning_room
        self.asking = Asking(model, reasoning, reasoning_effort, room if reasoning else 0, top_logprobs or MOST_SHOWN)
        self.top_logprobs = top_logprobs
        policy = policy or Policy(**patience(reasoning))
        self.base_url = base_url or os.environ.get("OPENAI_BASE_URL") or None
        where = f" at {without_user(self.base_url)}" if self.base_url else ""
        super().__init__(openai, f"openai model {model}{where}", policy, sleep)
        self.path = _PATHS[api]
        self.key = read_key("OPENAI_API_KEY", key_file, "no-key" if self.base_url else None) if live else "no-key"
        self.keyless = "OPENAI_API_KEY" if self.key == "no-key" else ""
        self.caller.breaker.keyless = self.keyless
        why = self._probe() if live else "" if api == "completions" else CHATS
        scores = not why
        self.capabilities = Capabilities(
            scores, completes=api == "completions", chats=api != "completions", unscored=why
        )
        self.identity: Mapping[str, Any] = {
            "backend": "openai",
            "model": model,
            "api": api,
            "base_url": without_user(str(self._blocking().base_url)),
            "reasoning_effort": reasoning_effort,
            "reasoning_room": self.asking.room,
            "temperature": "the model's own" if reasoning else temperature,
            "top_logprobs": self.asking.top_logprobs if scores else None,
            "sdk": f"openai {openai.__version__}",
        }

    def client(self, connections: Any) -> Any:
        """An asynchronous client that leaves retries to the caller."""
        return self.sdk.AsyncOpenAI(max_retries=0, http_client=connections, **self.settings(self.key, self.base_url))

    def _blocking(self) -> Any:
        return self.sdk.OpenAI(max_retries=2, **self.settings(self.key, self.base_url))

    def payload(self, request: Request) -> dict[str, Any]:
        """The body that is sent for a request."""
        return _PAYLOADS[self.api](self.asking, request)

    def read(self, request: Request, body: Mapping[str, Any], call: Call) -> Reply | Scores | Failure:
        """What came back."""
        if request.reads:
            return self.consistency.scores(request, body, self.asking.top_logprobs)
        return {"chat": read_chat, "responses": read_response, "completions": read_completion}[self.api](
            request, body, call
        )

    def usage(self, body: Mapping[str, Any]) -> Usage | None:
        """What it used."""
        return counts.openai(body).usage

    def _probe(self) -> str:
        with self._blocking() as client:
            return OpenAIProbe(self, client).look()


def _known(flag: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise ModelError(f"{flag} {value!r} is unknown{did_you_mean(value, known)}")
    return value


def _has_use(model: str, api: str, reasoning: bool, room: int | None, top_logprobs: int | None) -> None:
    if room is not None and not reasoning:
        raise ModelError(f"--reasoning-room {room}: {model} does not reason here; give --reasoning-effort as well")
    if top_logprobs is not None and api != "completions":
        raise ModelError(f"--top-logprobs {top_logprobs}: only --api completions scores; leave it out")


def _can_honour(model: str, api: str, reasoning: bool, temperature: float | None, effort: str | None) -> None:
    if api == "completions" and effort is not None:
        raise ModelError(f"--reasoning-effort {effort}: the completions API has no such setting; use --api chat")
    if reasoning and temperature not in (0, 1, None):
        raise ModelError(f"--temperature {temperature}: {model} reasons, and samples as it does; leave it out")
