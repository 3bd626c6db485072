"""What OpenAI's APIs are sent for a request: pure functions, which the tests hold to the letter."""

from __future__ import annotations

import dataclasses
import re

from ffprompt.backends.api.payloads import JsonObject, Payload, merged
from ffprompt.backends.base import AnswerSchema, Request
from ffprompt.backends.json_schema import array_schema
from ffprompt.elicitation.base import use_replies
from ffprompt.errors import ModelError

MOST_SHOWN = 20  # of the most probable tokens, unless a user asks for another number


def reasons(model: str) -> bool:
    """Whether a model is one of OpenAI's reasoning models, by its name.

    A first guess that saves a refusal. What a model really takes is learnt from the server.

    >>> [reasons(name) for name in ("o3-mini", "gpt-5-nano", "openai/o1", "gpt-4o", "gpt-5-chat-latest", "GPT-6-Sol")]
    [True, True, True, False, False, True]
    """
    name = model.lower()
    return re.search(r"(^|[/:.])(o[1-9]|gpt[-@]?([5-9]|\d\d))(?![a-z\d])", name) is not None and "-chat" not in name


@dataclasses.dataclass(frozen=True, slots=True)
class PayloadSettings:
    """The settings that shape a payload.

    ``reasoning``: the limit of a reply leaves ``room`` tokens for reasoning. ``sampled``: the model can be told a
    temperature and texts to stop at. ``effort`` None leaves it to the model. ``extra`` is added as it stands.
    """

    model: str
    reasoning: bool = False
    sampled: bool = True
    effort: str | None = None
    room: int = 0
    top_logprobs: int = MOST_SHOWN
    extra: JsonObject = dataclasses.field(default_factory=dict)


def chat_payload(settings: PayloadSettings, request: Request) -> Payload:
    """The body of a chat completion."""
    # One answer in one piece is what is read here, and some servers stream unless they are told not to.
    payload: Payload = {"model": settings.model, "messages": _turns(request), "stream": False}
    limit = "max_completion_tokens" if settings.reasoning else "max_tokens"
    payload[limit] = request.max_tokens + settings.room
    payload |= {"reasoning_effort": settings.effort} if settings.effort else {}
    if request.schema is not None:
        schema = {"name": "answers", "strict": True, "schema": array_schema(request.schema)}
        payload["response_format"] = {"type": "json_schema", "json_schema": schema}
    return merged(payload | _sampling(settings, request), settings.extra)


def responses_payload(settings: PayloadSettings, request: Request) -> Payload:
    """The body of a response. Nothing is kept at the provider. This API has neither seed nor stop texts."""
    # Some servers do not take a turn of the assistant for a message unless it says that it is one.
    turns = [{"type": "message", **turn} for turn in _turns(request)]
    payload: Payload = {"model": settings.model, "input": turns, "store": False, "stream": False}
    payload["max_output_tokens"] = request.max_tokens + settings.room
    payload |= {"reasoning": {"effort": settings.effort}} if settings.effort else {}
    if settings.sampled and request.temperature is not None:
        payload["temperature"] = request.temperature
    if request.schema is not None:
        payload["text"] = {"format": _format(request.schema)}
    return merged(payload, settings.extra)


def completions_payload(settings: PayloadSettings, request: Request) -> Payload:
    """The body of a completion. With reads, of one that echoes the prompt with log-probabilities."""
    if request.is_chat:
        raise ModelError("the completions API goes on with a text and answers no messages; use --form completion")
    payload: Payload = {"model": settings.model, "prompt": request.text, "stream": False}
    if request.reads:
        # One token is asked for because not every server accepts none; it stands behind the prompt and is not read.
        payload |= {"max_tokens": 1, "temperature": 0.0, "echo": True, "logprobs": settings.top_logprobs}
    else:
        payload |= {"max_tokens": request.max_tokens} | _sampling(settings, request)
    return merged(payload, settings.extra)


def _format(schema: AnswerSchema) -> Payload:
    return {"type": "json_schema", "name": "answers", "strict": True, "schema": array_schema(schema)}


def _turns(request: Request) -> list[dict[str, str]]:
    if not request.is_chat:
        raise ModelError("this API answers messages only; use --form chat, or --api completions for a base model")
    if request.text or request.reads:
        raise ModelError(f"the beginning of a reply cannot be given to this API; {use_replies()}")
    return [{"role": message.role, "content": message.text} for message in request.messages]


def _sampling(settings: PayloadSettings, request: Request) -> Payload:
    """How a reply is drawn. Reasoning models refuse all of it. Their replies are cut at stop texts when they come."""
    if not settings.sampled:
        return {}
    sampling: Payload = {} if request.temperature is None else {"temperature": request.temperature}
    if request.temperature != 0:  # some servers know no seed; without sampling there is nothing to seed
        sampling["seed"] = request.seed & 0x7FFFFFFF
    return sampling | ({"stop": list(request.stop)} if request.stop else {})
