"""The fields in which providers report the tokens of a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ffprompt.backends.api.payloads import JsonObject
from ffprompt.cost.usage import Usage, count


@dataclass(frozen=True, slots=True)
class UsageFields:
    """Tokens as an answer reports them. None where it does not report them, or not as a number."""

    prompt: int | None
    reply: int | None
    reasoning: int | None = None  # part of reply
    cached: int | None = None  # part of prompt
    written: int | None = None  # part of prompt

    @property
    def usage(self) -> Usage | None:
        """The tokens that are charged for, or None where the prompt's or the reply's are unknown."""
        if self.prompt is None or self.reply is None:
            return None
        return Usage(self.prompt, self.reply, self.cached, self.written, self.reasoning)


def openai_usage(body: JsonObject) -> UsageFields:
    """Return the tokens of a chat completion, a response or a completion."""
    usage = _part(body, "usage")
    prompt = _part(usage, "prompt_tokens_details") or _part(usage, "input_tokens_details")
    reply = _part(usage, "completion_tokens_details") or _part(usage, "output_tokens_details")
    return UsageFields(
        count(usage.get("prompt_tokens", usage.get("input_tokens"))),
        count(usage.get("completion_tokens", usage.get("output_tokens"))),
        count(reply.get("reasoning_tokens")),
        count(prompt.get("cached_tokens")),
        count(prompt.get("cache_write_tokens")),
    )


def anthropic_usage(body: JsonObject) -> UsageFields:
    """Return the tokens of a message."""
    usage = _part(body, "usage")
    fresh, cached = count(usage.get("input_tokens")), count(usage.get("cache_read_input_tokens"))
    written = count(usage.get("cache_creation_input_tokens"))
    # ``input_tokens`` leaves out what was put into the cache or read from it.
    prompt = None if fresh is None else fresh + (cached or 0) + (written or 0)
    thinking = count(_part(usage, "output_tokens_details").get("thinking_tokens"))
    return UsageFields(prompt, count(usage.get("output_tokens")), thinking, cached, written)


def _part(body: JsonObject, name: str) -> JsonObject:
    found = body.get(name)
    return found if isinstance(found, Mapping) else {}
