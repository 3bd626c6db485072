"""Anthropic's messages API. It answers messages only, and shows no log-probabilities."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
from collections.abc import Mapping
from typing import Any

from ffprompt.backends import counts
from ffprompt.backends.api import ApiBackend, cut
from ffprompt.backends.calls import (
    Call,
    Policy,
    Sleep,
    hopeless,
)
from ffprompt.backends.keys import NO_KEY, read_key, shown_url, split_base_url
from ffprompt.backends.wire import patience
from ffprompt.errors import ModelError, did_you_mean
from ffprompt.requests import Capabilities, Failure, Reply, Request, Stop
from ffprompt.usage import Usage

EFFORTS = ("low", "medium", "high", "xhigh", "max")
_ROOM = 32768  # tokens that may be spent on thinking before a reply; only what is used costs
_STOPS: Mapping[str, Stop] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
}


def takes_temperature(model: str) -> bool:
    """Whether a model can be told a temperature and a thinking budget; Claudes after 4.6 refuse both.

    Other names are those of models on a server of one's own, which take one.

    >>> [takes_temperature(f"claude-{name}") for name in ("3-haiku-20240307", "sonnet-4-20250514", "opus-4-6")]
    [True, True, True]
    >>> [takes_temperature(f"claude-{name}") for name in ("opus-4-7", "sonnet-5", "mythos-preview")]
    [False, False, False]
    >>> takes_temperature("us.anthropic.claude-3-haiku"), takes_temperature("smollm2-135m")
    (True, True)
    """
    old = re.search(r"claude-(3|2|instant|(opus|sonnet|haiku)-4(-[0-6])?(?!\d)(?!-\d{1,2}(?!\d)))", model)
    return old is not None or "claude" not in model


def thinks(model: str, budget: int | None = None, effort: str | None = None) -> bool:
    """Whether a model may think before it replies; later ones do so unasked."""
    return not takes_temperature(model) or budget is not None or effort is not None


@dataclasses.dataclass(frozen=True, slots=True)
class Asking:
    """The settings that shape a payload. ``budget`` and ``effort`` are two ways to let a model think; one at most.

    ``room`` is tokens for thinking on top of a reply; ``cache`` marks where the prompts' common part may end.
    """

    model: str
    sampled: bool = True
    budget: int | None = None
    effort: str | None = None
    room: int = 0
    cache: bool = False


def payload(asking: Asking, request: Request) -> dict[str, Any]:
    """The body of a message."""
    system, turns = _turns(request)
    if asking.cache:
        _mark(system, turns)
    body: dict[str, Any] = {"model": asking.model, "max_tokens": request.max_tokens + asking.room, "messages": turns}
    if system:
        body["system"] = system
    if asking.budget is not None:
        body["thinking"] = {"type": "enabled", "budget_tokens": asking.budget}
    elif asking.effort is not None:
        body |= {"thinking": {"type": "adaptive"}, "output_config": {"effort": asking.effort}}
    elif asking.sampled:
        body["temperature"] = request.temperature
    # A stop text of spaces and newlines is refused there; ``read`` cuts the reply at all of them.
    if visible := [word for word in request.stop if word.strip()]:
        body["stop_sequences"] = visible
    return body


def _turns(request: Request) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(system blocks, turns). System messages stand before all others; turns of one role in a row become one turn."""
    if not request.is_chat:
        raise ModelError("Anthropic's API answers messages only; use --form chat")
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    for message in request.messages:
        block = {"type": "text", "text": message.text}
        if not message.text.strip():
            raise ModelError(f"trial {request.key}: Anthropic's API refuses an empty {message.role} turn")
        if message.role == "system":
            if turns:
                raise ModelError(f"trial {request.key}: Anthropic's API takes system messages at the beginning only")
            system.append(block)
        elif turns and turns[-1]["role"] == message.role:
            turns[-1]["content"].append(block)
        else:
            turns.append({"role": message.role, "content": [block]})
    if not turns or turns[0]["role"] != "user" or turns[-1]["role"] != "user" or request.text:
        raise ModelError(
            f"trial {request.key}: Anthropic's API wants the first and the last turn from the user, and goes on with "
            "no reply that was begun; use --elicitation list or next"
        )
    return system, turns


def _mark(system: list[dict[str, Any]], turns: list[dict[str, Any]]) -> None:
    """Everything up to the last shot, or up to the system prompt where there is none, may be cached."""
    blocks = turns[-2]["content"] if len(turns) > 1 else system
    if blocks:
        blocks[-1]["cache_control"] = {"type": "ephemeral"}


def read_message(request: Request, body: Mapping[str, Any], call: Call) -> Reply | Failure:
    """What a message says."""
    content, why = body.get("content"), str(body.get("stop_reason"))
    if not isinstance(content, list):
        return Failure("the answer has no content")
    if why not in _STOPS:
        return Failure(f"the answer ended for an unexpected reason ({why!r})")
    text = "".join(block["text"] for block in content if block.get("type") == "text")
    stop = _STOPS[why]
    if stop != "refusal" and (shorter := cut(text, request.stop)) is not None:
        text, stop = shorter, "stop"
    used = call.note(counts.anthropic(body))
    return Reply(text, stop, body.get("model"), used.prompt, used.reply)


class AnthropicBackend(ApiBackend):
    """A Claude model. Raises ModelError when it cannot be reached or cannot do what is asked.

    ``thinking_budget`` is for models up to 4.6, ``effort`` for later ones; without either nothing is said about
    thinking. ``cache`` pays where prompts share a long beginning (shared shots). ``key_file`` holds the key in place
    of ANTHROPIC_API_KEY. Without ``live`` nothing is sent and no key is read.
    """

    path = "/v1/messages"

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        key_file: str | None = None,
        temperature: float = 0.0,
        thinking_budget: int | None = None,
        effort: str | None = None,
        cache: bool = False,
        policy: Policy | None = None,
        live: bool = True,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        try:
            import anthropic
            import tenacity  # noqa: F401
        except ImportError as error:
            raise ModelError(
                f'the anthropic backend needs {error.name}; run: pip install "ffprompt[anthropic]"'
            ) from error
        _can_honour(model, temperature, thinking_budget, effort)
        sampled = not thinks(model, thinking_budget, effort)
        room = thinking_budget if thinking_budget is not None else 0 if sampled else _ROOM
        self.asking = Asking(model, sampled, thinking_budget, effort, room, cache)
        policy = policy or Policy(**patience(not sampled))
        self.base_url = base_url or os.environ.get("ANTHROPIC_BASE_URL") or None
        where = f" at {shown_url(self.base_url)}" if self.base_url else ""
        super().__init__(anthropic, f"anthropic model {model}{where}", policy, sleep)
        self.key = read_key("ANTHROPIC_API_KEY", key_file) if live else NO_KEY
        if live:
            self._probe()
        self.capabilities = Capabilities(scores=False, completes=False, chats=True)
        self.identity: Mapping[str, Any] = {
            "backend": "anthropic",
            "model": model,
            "base_url": self.address(self._blocking(), self.base_url),
            "temperature": temperature if sampled else "the model's own",
            "thinking_budget": thinking_budget,
            "effort": effort,
            "room": room,
            "cache": cache,
            "sdk": f"anthropic {anthropic.__version__}",
        }

    def client(self, connections: Any) -> Any:
        """An asynchronous client that leaves retries to the caller."""
        return self.make(self.sdk.AsyncAnthropic, 0, http_client=connections)

    def _blocking(self) -> Any:
        return self.make(self.sdk.Anthropic, 2)

    def payload(self, request: Request) -> dict[str, Any]:
        """The body that is sent for a request."""
        return payload(self.asking, request)

    def read(self, request: Request, body: Mapping[str, Any], call: Call) -> Reply | Failure:
        """What came back."""
        return read_message(request, body, call)

    def usage(self, body: Mapping[str, Any]) -> Usage | None:
        """What it used."""
        return counts.anthropic(body).usage

    def _probe(self) -> None:
        """Whether the provider is there, takes the key and knows the model. Raises ModelError."""
        with self._blocking() as client:
            try:
                client.models.with_raw_response.retrieve(self.asking.model)
            except self.sdk.APIError as error:
                found = self.call_error(error)
                if (
                    found.status == 404
                    and self.base_url
                    and split_base_url(self.base_url)[0].rstrip("/").endswith("/v1")
                ):
                    raise ModelError(
                        f"{self.name}: no API is at this base URL ({found}); leave /v1 out, the SDK adds it"
                    ) from None
                unknown = found.status == 404 and self.base_url is None
                if found.status == 401 or unknown or not isinstance(error, self.sdk.APIStatusError):
                    raise hopeless(self.name, found) from None


def _can_honour(model: str, temperature: float, budget: int | None, effort: str | None) -> None:
    if budget is not None and effort is not None:
        raise ModelError("give a thinking budget or an effort, not both")
    if effort is not None and effort not in EFFORTS:
        raise ModelError(f"effort {effort!r} is unknown{did_you_mean(effort, EFFORTS)}")
    if budget is not None and budget < 1024:
        raise ModelError(f"thinking budget {budget}: at least 1024 tokens are wanted")
    if budget is not None and not takes_temperature(model):
        raise ModelError(f"thinking budget {budget}: {model} takes an effort in its place")
    if temperature not in (0, 1) and (budget is not None or effort is not None or not takes_temperature(model)):
        raise ModelError(f"--temperature {temperature:g}: {model} samples as it does here; leave it out")
    if temperature > 1:
        raise ModelError(f"--temperature {temperature:g}: Anthropic's API takes at most 1")
