"""Why replies end: one meaning for every word, the same through every API."""

from __future__ import annotations

from typing import Any

import pytest

from ffprompt.backends.api.anthropic import read_message
from ffprompt.backends.api.call_errors import CallError, failure_in
from ffprompt.backends.api.finish_reasons import Ending, ending
from ffprompt.backends.api.openai_replies import read_chat, read_completion, read_response
from ffprompt.backends.api.retry import Call
from ffprompt.backends.base import Failure, Message, Reply, Request

ASKED = Request("k", "", (Message("user", "w1 r?"),))


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("stop", "clean"), ("end_turn", "clean"), ("eos_token", "clean"), ("completed", "clean"), ("STOP", "clean"),
        ("length", "truncated"), ("max_tokens", "truncated"), ("model_length", "truncated"),
        ("model_context_window_exceeded", "truncated"), ("FinishReason.MAX_TOKENS", "truncated"),
        ("content_filter", "refused"), ("refusal", "refused"), ("SAFETY", "refused"), ("guardrails", "refused"),
        ("error", "failed"), ("insufficient_system_resource", "failed"), ("abort", "failed"),
        ("network-error", "failed"), ("tool_calls", "unknown"), ("pause_turn", "unknown"), ("nonsense", "unknown"),
        ("", "unknown"), (None, "unknown"), (7, "unknown"),
    ],
)  # fmt: skip
def test_every_word_has_one_meaning(word: object, meaning: Ending) -> None:
    assert ending(word) == meaning


def bodies(text: str | None, why: str | None) -> dict[str, Any]:
    """The same answer through every API, with the reader of each."""
    parts = [{"type": "output_text", "text": text}] if text else []
    return {
        "chat": (read_chat, {"choices": [{"message": {"content": text}, "finish_reason": why}]}),
        "completions": (read_completion, {"choices": [{"text": text, "finish_reason": why}]}),
        "responses": (
            read_response,
            {"status": why, "output": [{"type": "message", "content": parts}] if text else []},
        ),
        "messages": (read_message, {"content": [{"type": "text", "text": text}] if text else [], "stop_reason": why}),
    }


APIS = ("chat", "completions", "responses", "messages")
CLEAN = {"chat": "stop", "completions": "stop", "responses": "completed", "messages": "end_turn"}


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("text", ["", None])
def test_an_empty_answer_is_the_models_through_every_api(api: str, text: str | None) -> None:
    read, body = bodies(text, CLEAN[api])[api]
    reply = read(ASKED, body, Call())
    assert isinstance(reply, Reply)
    assert (reply.text, reply.stop, reply.ended) == ("", "stop", CLEAN[api])


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("why", ["a new word", None])
def test_an_end_that_nobody_knows_is_an_error_by_its_name(api: str, why: str | None) -> None:
    read, body = bodies("1, 0", why)[api]
    failure = read(ASKED, body, Call())
    assert isinstance(failure, Failure)
    assert (repr(why) if why else "does not say why") in failure.error
    assert failure_in(body) is None  # asking again would cost the same again


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("why", ["error", "cancelled"])
def test_a_reply_that_the_provider_broke_off_is_tried_again_and_never_read(api: str, why: str) -> None:
    read, body = bodies("1, 0", why)[api]
    assert isinstance(read(ASKED, body, Call()), Failure)
    failure = failure_in(body)
    assert isinstance(failure, CallError)
    assert failure.retry


@pytest.mark.parametrize(
    ("body", "status", "retry"),
    [
        ({"choices": None}, "no choices", True),
        ({"choices": []}, "no choices", True),
        ({"choices": [{"error": {"code": 502, "message": "upstream"}, "finish_reason": "error"}]}, 502, True),
        ({"choices": [{"message": {"content": "1", "error": {"code": 400, "message": "no"}}}]}, 400, False),
        ({"status": "failed", "output": [], "error": {"code": "server_error", "message": "sorry"}}, 500, True),
        ({"status": "failed", "output": [], "error": {"code": "rate_limit_exceeded", "message": "slow"}}, 429, True),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, 529, True),
        ({"error": "Unexpected endpoint or method. (POST /chat/completions)"}, 200, False),
        ({"error": {"code": "insufficient_quota", "message": "pay"}}, 429, False),
    ],
)
def test_a_failure_inside_a_good_status_is_treated_as_its_own_status(
    body: dict[str, Any], status: object, retry: bool
) -> None:
    failure = failure_in(body)
    assert failure is not None
    assert (failure.status, failure.retry) == (status, retry)


def test_a_filter_inside_a_good_status_is_a_refusal_and_no_failure() -> None:
    failure = failure_in({"error": {"code": "content_filter", "message": "no"}})
    assert failure is not None
    assert (failure.code, failure.retry) == ("content_filter", False)


@pytest.mark.parametrize(
    "message",
    [
        {"content": "1", "reasoning_content": "w 1 …"},
        {"content": "1", "reasoning": "w 1 …"},
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "w 1 …"}]},
                {"type": "text", "text": "1"},
            ]
        },
        {"content": "1", "reasoning_details": [{"type": "reasoning.text", "text": "w 1 …"}]},
    ],
)
def test_reasoning_that_comes_apart_is_kept_and_is_no_answer(message: dict[str, Any]) -> None:
    reply = read_chat(ASKED, {"choices": [{"message": message, "finish_reason": "stop"}]}, Call())
    assert isinstance(reply, Reply)
    assert (reply.text, reply.reasoning) == ("1", "w 1 …")
    nothing = read_chat(ASKED, {"choices": [{"message": message | {"content": None}, "finish_reason": "stop"}]}, Call())
    assert isinstance(nothing, Reply)
    assert nothing.text == ""
