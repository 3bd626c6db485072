"""What OpenAI's APIs are sent for a request: pure functions, which the tests hold to the letter."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from ffprompt.errors import ModelError
from ffprompt.requests import Request

MOST_SHOWN = 20  # of the most probable tokens, unless a user asks for another number


def reasons(model: str) -> bool:
    """Whether a model is one of OpenAI's reasoning models, by its name.

    >>> [reasons(name) for name in ("o3-mini", "gpt-5-nano", "openai/o1", "gpt-4o", "gpt-5-chat-latest")]
    [True, True, True, False, False]
    """
    name = model.removeprefix("ft:").rsplit("/", 1)[-1]
    return re.match(r"(o[1-9]|gpt-([5-9]|\d\d))(?![a-z])", name) is not None and "-chat" not in name


def thinks(model: str, api: str = "chat", effort: str | None = None) -> bool:
    """Whether a model is asked to reason before it replies."""
    return api != "completions" and (reasons(model) or effort is not None)


@dataclasses.dataclass(frozen=True, slots=True)
class Asking:
    """The settings that shape a payload. ``effort`` None leaves it to the model; ``room`` is tokens for reasoning."""

    model: str
    reasoning: bool = False
    effort: str | None = None
    room: int = 0
    top_logprobs: int = MOST_SHOWN


def chat_payload(asking: Asking, request: Request) -> dict[str, Any]:
    """The body of a chat completion."""
    payload: dict[str, Any] = {"model": asking.model, "messages": _turns(request)}
    if asking.reasoning:
        # These models refuse temperature, stop and max_tokens; stop texts are cut off here instead.
        payload["max_completion_tokens"] = request.max_tokens + asking.room
        return payload | ({"reasoning_effort": asking.effort} if asking.effort else {})
    return payload | {"max_tokens": request.max_tokens} | _sampling(request)


def responses_payload(asking: Asking, request: Request) -> dict[str, Any]:
    """The body of a response. Nothing is kept at the provider; this API has neither seed nor stop texts."""
    payload: dict[str, Any] = {"model": asking.model, "input": _turns(request), "store": False}
    if asking.reasoning:
        payload["max_output_tokens"] = request.max_tokens + asking.room
        return payload | ({"reasoning": {"effort": asking.effort}} if asking.effort else {})
    return payload | {"max_output_tokens": request.max_tokens, "temperature": request.temperature}


def completions_payload(asking: Asking, request: Request) -> dict[str, Any]:
    """The body of a completion; with reads, of one that echoes the prompt with log-probabilities."""
    if request.is_chat:
        raise ModelError("the completions API goes on with a text and answers no messages; use --form completion")
    payload: dict[str, Any] = {"model": asking.model, "prompt": request.text}
    if request.reads:
        # One token is asked for because not every server accepts none; it stands behind the prompt and is not read.
        return payload | {"max_tokens": 1, "temperature": 0.0, "echo": True, "logprobs": asking.top_logprobs}
    return payload | {"max_tokens": request.max_tokens} | _sampling(request)


def _turns(request: Request) -> list[dict[str, str]]:
    if not request.is_chat:
        raise ModelError("this API answers messages only; use --form chat, or --api completions for a base model")
    if request.text or request.reads:
        raise ModelError("the beginning of a reply cannot be given to this API; use --elicitation list or next")
    return [{"role": message.role, "content": message.text} for message in request.messages]


def _sampling(request: Request) -> dict[str, Any]:
    sampling: dict[str, Any] = {"temperature": request.temperature}
    if request.temperature != 0:  # some servers know no seed; without sampling there is nothing to seed
        sampling["seed"] = request.seed & 0x7FFFFFFF
    return sampling | ({"stop": list(request.stop)} if request.stop else {})
