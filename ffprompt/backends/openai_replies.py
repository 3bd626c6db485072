"""What OpenAI's chat completions, completions and responses say, as replies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ffprompt.backends import counts
from ffprompt.backends.api import cut
from ffprompt.backends.calls import Call
from ffprompt.requests import Failure, Reply, Request, Stop


def read_chat(request: Request, body: Mapping[str, Any], call: Call) -> Reply | Failure:
    """What a chat completion says."""
    choices = body.get("choices")
    if not choices:
        return Failure("the answer has no choices")
    choice = choices[0]
    message, why = choice.get("message") or {}, choice.get("finish_reason")
    content = message.get("content")
    if isinstance(content, list):  # some servers send parts
        content = "".join(part.get("text", "") for part in content if part.get("type") == "text")
    if message.get("refusal") or why == "content_filter":
        return _reply(request, body, call, content or message.get("refusal") or "", "refusal")
    if content is None and why != "length":  # reasoning that used up the limit leaves no content, which is a cut-off
        return Failure(f"the answer has no content (finish_reason {why!r})")
    return _reply(request, body, call, content or "", "length" if why == "length" else "stop")


def read_completion(request: Request, body: Mapping[str, Any], call: Call) -> Reply | Failure:
    """What a completion says."""
    choices = body.get("choices")
    if not choices:
        return Failure("the answer has no choices")
    text, why = choices[0].get("text"), choices[0].get("finish_reason")
    if text is None:
        return Failure(f"the answer has no text (finish_reason {why!r})")
    stop: Stop = "refusal" if why == "content_filter" else "length" if why == "length" else "stop"
    return _reply(request, body, call, text, stop)


def read_response(request: Request, body: Mapping[str, Any], call: Call) -> Reply | Failure:
    """What a response of the responses API says."""
    parts = [part for item in body.get("output") or () if item.get("type") == "message" for part in item["content"]]
    text = "".join(part["text"] for part in parts if part.get("type") == "output_text")
    refusals = [part.get("refusal") or "" for part in parts if part.get("type") == "refusal"]
    status, why = body.get("status"), (body.get("incomplete_details") or {}).get("reason")
    if refusals or why == "content_filter":
        return _reply(request, body, call, text or "".join(refusals), "refusal")
    if why == "max_output_tokens":
        return _reply(request, body, call, text, "length")
    if status != "completed" or not parts:
        return Failure(f"the answer has no content (status {status!r}{f', {why}' if why else ''})")
    return _reply(request, body, call, text, "stop")


def _reply(request: Request, body: Mapping[str, Any], call: Call, text: str, stop: Stop) -> Reply:
    used = call.note(counts.openai(body))
    if stop != "refusal" and (shorter := cut(text, request.stop)) is not None:
        text, stop = shorter, "stop"
    return Reply(text, stop, body.get("model"), used.prompt, used.reply)
