"""What OpenAI's chat completions, completions and responses say, as replies.

An answer that a model has ended by itself is a Reply, also an empty one: it was asked for and paid. An answer that
ended for a reason which leaves open whether it is whole is a Failure that names the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ffprompt.backends.api.finish_reasons import stop_of, why_not
from ffprompt.backends.api.payloads import JsonObject
from ffprompt.backends.api.reply_text import trimmed
from ffprompt.backends.api.retry import Call
from ffprompt.backends.api.usage_fields import openai_usage
from ffprompt.backends.base import Failure, Reply, Request, Stop


def read_chat(request: Request, body: JsonObject, call: Call) -> Reply | Failure:
    """What a chat completion says."""
    choice = _choice(body)
    if isinstance(choice, Failure):
        return choice
    message, why = choice.get("message"), choice.get("finish_reason")
    if not isinstance(message, Mapping):
        return Failure(f"the answer has no message (finish_reason {why!r})")
    text, thoughts = parts_of(message.get("content"))
    thoughts = thoughts or _thoughts(message)
    refusal = message.get("refusal")
    stop: Stop | None = "refusal" if refusal else stop_of(why)
    if stop is None:
        return Failure(why_not(why))
    return _reply(request, body, call, text or refusal or "", stop, why, thoughts)


def read_completion(request: Request, body: JsonObject, call: Call) -> Reply | Failure:
    """What a completion says."""
    choice = _choice(body)
    if isinstance(choice, Failure):
        return choice
    text, why = choice.get("text"), choice.get("finish_reason")
    stop = stop_of(why)
    if stop is None:
        return Failure(why_not(why))
    return _reply(request, body, call, text or "", stop, why)


def read_response(request: Request, body: JsonObject, call: Call) -> Reply | Failure:
    """What a response of the responses API says."""
    items = [item for item in body.get("output") or () if isinstance(item, Mapping)]
    parts = [part for item in items if item.get("type") == "message" for part in item.get("content") or ()]
    text = "".join(part["text"] for part in parts if part.get("type") in ("output_text", "text"))
    refusal = "".join(part.get("refusal") or "" for part in parts if part.get("type") == "refusal")
    refused = any(part.get("type") == "refusal" for part in parts)
    # ``incomplete`` says only that there is a reason.
    why = (body.get("incomplete_details") or {}).get("reason") or body.get("status")
    stop: Stop | None = "refusal" if refused else stop_of(why)
    if stop is None:
        return Failure(why_not(why))
    return _reply(request, body, call, text or refusal, stop, why, _summaries(items))


def _choice(body: JsonObject) -> JsonObject | Failure:
    """The one choice that was asked for. Of several that differ nobody knows which is the reply."""
    choices: Sequence[JsonObject] = body.get("choices") or ()
    if not choices:
        return Failure("the answer has no choices")
    said = [(choice.get("message"), choice.get("text")) for choice in choices]
    if any(each != said[0] for each in said):
        return Failure(f"the answer has {len(said)} choices that differ, and one was asked for")
    return choices[0]


def parts_of(content: object) -> tuple[str, str]:
    """(text, thoughts) of a message's content, which some servers send in parts.

    >>> parts_of([{"type": "thinking", "thinking": [{"type": "text", "text": "w1 …"}]}, {"type": "text", "text": "1"}])
    ('1', 'w1 …')
    """
    if content is None or isinstance(content, str):
        return content or "", ""
    if not isinstance(content, list):
        raise TypeError(f"the content is {type(content).__name__}, neither text nor parts")
    text, thoughts = [], []
    for part in content:
        if isinstance(part, str):
            text.append(part)
        elif part.get("type") in ("text", "output_text", None):
            text.append(part.get("text") or "")
        elif part.get("type") in ("thinking", "reasoning"):
            thoughts.append(_joined(part.get("thinking") or part.get("text") or part.get("content")))
    return "".join(text), "".join(thoughts)


def _joined(thoughts: object) -> str:
    if isinstance(thoughts, list):
        return "".join(_joined(part.get("text") if isinstance(part, Mapping) else part) for part in thoughts)
    return thoughts if isinstance(thoughts, str) else ""


def _thoughts(message: JsonObject) -> str:
    """What a server has taken out of the reply as reasoning, under the names that servers give it."""
    for name in ("reasoning_content", "reasoning", "thinking"):
        if isinstance(found := message.get(name), str) and found:
            return found
    return _joined(message.get("reasoning_details"))


def _summaries(items: Sequence[JsonObject]) -> str:
    """The reasoning that stands beside the messages of a response, in full where it is shown, or in summary."""
    found = [_joined(item.get("content") or item.get("summary")) for item in items if item.get("type") == "reasoning"]
    return "\n".join(text for text in found if text)


def _reply(
    request: Request, body: JsonObject, call: Call, text: str, stop: Stop, why: object, thoughts: str = ""
) -> Reply:
    used = call.note(openai_usage(body))
    text, stop = trimmed(text, stop, request)
    ended = why if isinstance(why, str) else None
    return Reply(text, stop, body.get("model"), used.prompt, used.reply, ended, thoughts or None)
