"""What Anthropic's messages API is sent for a request: pure functions, which the tests hold to the letter.

The version of the API and its parameters belong together. The version of 2026-10-21 has no temperature any more, so a
model that is to be asked greedily is asked under the version before it.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

from ffprompt.backends.api.payloads import JsonObject, Payload, merged
from ffprompt.backends.base import Request
from ffprompt.backends.json_schema import object_schema
from ffprompt.elicitation.base import use_replies
from ffprompt.errors import ModelError, did_you_mean

EFFORTS = ("low", "medium", "high", "xhigh", "max")
ROOM = 32768  # tokens that may be spent on thinking before a reply; only what is used costs
LEAST_BUDGET, _BUDGET = 1024, 16384
# The last version of the API in which a temperature can be sent, under the names that it has at each provider.
_WITH_TEMPERATURE = {
    "messages": "2023-06-01", "bedrock": "bedrock-2023-05-31", "vertex": "vertex-2023-10-16",
}  # fmt: skip
_LAST_TOLD = (4, 6)  # later Claudes take neither a temperature nor a thinking budget
_FIRST_ADAPTIVE = (4, 6)

Thinking = Literal["on", "off"] | int


def generation(model: str) -> tuple[int, int] | None:
    """The generation of a Claude by its name, or None for a model that is not called one.

    A Claude whose name has no number counts as a later one.

    >>> [generation(f"claude-{name}") for name in ("3-5-haiku-20241022", "sonnet-4-20250514", "opus-4-6", "4.6-sonnet")]
    [(3, 5), (4, 0), (4, 6), (4, 6)]
    >>> generation("us.anthropic.claude-opus-4-5-v1:0"), generation("claude-mythos-preview"), generation("smollm2")
    ((4, 5), (99, 0), None)
    """
    _, claude, rest = model.lower().partition("claude")
    if not claude:
        return None
    if "instant" in rest:
        return (1, 0)
    numbers = re.search(r"(?<![\w.])(\d{1,2})(?:[-.](\d{1,2}))?(?![\d.])", rest)
    return (int(numbers[1]), int(numbers[2] or 0)) if numbers else (99, 0)


def takes_temperature(model: str) -> bool:
    """Whether a model can be told a temperature and a thinking budget. Other names are those of servers of one's own.

    >>> [takes_temperature(name) for name in ("claude-3-haiku-20240307", "claude-opus-4-6", "smollm2-135m")]
    [True, True, True]
    >>> [takes_temperature(name) for name in ("claude-opus-4-7", "Claude-Sonnet-5", "claude-mythos-preview")]
    [False, False, False]
    """
    found = generation(model)
    return found is None or found <= _LAST_TOLD


def adapts(model: str) -> bool:
    """Whether a model can be left to decide by itself how long it thinks."""
    found = generation(model)
    return found is None or found >= _FIRST_ADAPTIVE


@dataclasses.dataclass(frozen=True, slots=True)
class PayloadSettings:
    """The settings that shape a payload.

    ``sampled``: the model is told a temperature. ``room`` is tokens for thinking on top of a reply. ``extra`` is what
    switches thinking, and what a user adds. ``cache`` marks where the prompts' common part may end. ``api`` is
    messages, bedrock or vertex.
    """

    model: str
    sampled: bool = True
    room: int = 0
    extra: JsonObject = dataclasses.field(default_factory=dict)
    cache: bool = False
    api: str = "messages"

    @property
    def version(self) -> str | None:
        """The version of the API that the parameters need. None for the SDK's own."""
        return _WITH_TEMPERATURE[self.api] if self.sampled else None


def payload_settings(
    model: str,
    temperature: float | None = 0.0,
    thinking: Thinking | None = None,
    effort: str | None = None,
    room: int | None = None,
    cache: bool = False,
    api: str = "messages",
) -> PayloadSettings:
    """The settings of every payload.

    Raises:
        ModelError: for what the model does not take or what contradicts itself.
    """
    if thinking is not None and effort is not None:
        raise ModelError(f"--thinking {thinking} and --reasoning-effort {effort}: give one of them, not both")
    told = takes_temperature(model)
    silent = thinking == "off" or (thinking is None and effort is None)
    if temperature is not None and temperature > 1:
        raise ModelError(f"--temperature {temperature:g}: Anthropic's API takes at most 1")
    if temperature not in (0, 1, None) and not (told and silent):
        raise ModelError(f"--temperature {temperature}: {model} samples as it does here; leave it out")
    extra: Payload = {}
    if thinking is not None:
        extra = _thinking(model, thinking)
    elif effort is not None:
        extra = _effort(model, effort)
    if room is None:
        thinks = not silent or (not told and thinking != "off")
        room = extra.get("thinking", {}).get("budget_tokens", ROOM) if thinks else 0
    return PayloadSettings(model, told and silent and temperature is not None, room, extra, cache, api)


def _thinking(model: str, thinking: Thinking) -> Payload:
    if isinstance(thinking, int):
        if thinking < LEAST_BUDGET:
            raise ModelError(f"--thinking {thinking}: Anthropic's API takes at least {LEAST_BUDGET} tokens")
        if not takes_temperature(model):
            raise ModelError(f"--thinking {thinking}: {model} takes no number of tokens; give --reasoning-effort")
        return {"thinking": {"type": "enabled", "budget_tokens": thinking}}
    if thinking == "off":
        return {"thinking": {"type": "disabled"}}
    adaptive = {"type": "adaptive"}
    return {"thinking": adaptive if adapts(model) else {"type": "enabled", "budget_tokens": _BUDGET}}


def _effort(model: str, effort: str) -> Payload:
    if effort == "none":
        raise ModelError("--reasoning-effort none: Anthropic's API has no such effort; give --thinking off")
    if effort not in EFFORTS:
        raise ModelError(f"--reasoning-effort {effort!r} is unknown{did_you_mean(effort, EFFORTS)}")
    if adapts(model):
        return {"thinking": {"type": "adaptive"}, "output_config": {"effort": effort}}
    if generation(model) == (4, 5) and "opus" in model.lower():
        return {"output_config": {"effort": effort}}
    raise ModelError(f"--reasoning-effort {effort}: {model} takes no effort; give --thinking N, a number of tokens")


def message_payload(settings: PayloadSettings, request: Request) -> Payload:
    """The body of a message."""
    system, turns = _turns(request)
    if settings.cache:
        _mark(system, turns)
    body: Payload = {
        "model": settings.model,
        "max_tokens": request.max_tokens + settings.room,
        "messages": turns,
    }
    if system:
        body["system"] = system
    if settings.sampled:
        body["temperature"] = request.temperature
    if settings.version is not None and settings.api != "messages":  # elsewhere it is a header
        body["anthropic_version"] = settings.version
    # A stop text of spaces and newlines is refused there; ``read`` cuts the reply at all of them.
    if visible := [word for word in request.stop if word.strip()]:
        body["stop_sequences"] = visible
    if request.schema is not None:
        schema = {"type": "json_schema", "schema": object_schema(request.schema)}
        body["output_config"] = {"format": schema}
    return merged(body, settings.extra)


def _turns(request: Request) -> tuple[list[Payload], list[Payload]]:
    """(system blocks, turns). System messages stand before all others. Turns of one role in a row become one turn."""
    if not request.is_chat:
        raise ModelError("Anthropic's API answers messages only; use --form chat")
    system: list[Payload] = []
    turns: list[Payload] = []
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
            f"trial {request.key}: in Anthropic's API the first and the last turn are the user's, and a reply that was "
            f"begun is not continued; {use_replies()}"
        )
    return system, turns


def _mark(system: list[Payload], turns: list[Payload]) -> None:
    """Everything up to the last shot, or up to the system prompt where there is none, may be cached."""
    blocks = turns[-2]["content"] if len(turns) > 1 else system
    if blocks:
        blocks[-1]["cache_control"] = {"type": "ephemeral"}
