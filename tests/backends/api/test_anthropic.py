"""Anthropic's messages API: what is sent and what comes back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ffprompt.backends.api.anthropic import AnthropicBackend, read_message
from ffprompt.backends.api.anthropic_payloads import (
    PayloadSettings,
    message_payload,
    payload_settings,
    takes_temperature,
)
from ffprompt.backends.api.retry import Call, LoggedReply
from ffprompt.backends.base import Failure, Message, Reply, Request, Scores
from ffprompt.errors import ModelError
from tests.support.faulty_server import KEY, FaultyServer, counted

TURNS = (
    Message("system", "Remember."),
    Message("user", "w1 r?"),
    Message("assistant", "1"),
    Message("user", "w0 r?"),
)
SHOTS = Request("k", "", TURNS, max_tokens=24, stop=("\n", "END"))


def turn(role: str, *texts: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text} for text in texts]}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)


def ask(backend: AnthropicBackend, request: Request) -> Any:
    async def run() -> Reply | Scores | Failure:
        try:
            return await backend.ask(request)
        finally:
            await backend.aclose()

    return asyncio.run(run())


def test_payload_with_system_and_shots() -> None:
    assert message_payload(PayloadSettings("m"), SHOTS) == {
        "model": "m",
        "max_tokens": 24,
        "system": [{"type": "text", "text": "Remember."}],
        "messages": [turn("user", "w1 r?"), turn("assistant", "1"), turn("user", "w0 r?")],
        "temperature": 0.0,
        "stop_sequences": ["END"],  # a newline alone would be refused
    }


def test_payload_without_system() -> None:
    request = Request("k", "", TURNS[1:2], max_tokens=5, temperature=0.5)
    expected = {"model": "m", "max_tokens": 5, "messages": [turn("user", "w1 r?")], "temperature": 0.5}
    assert message_payload(PayloadSettings("m"), request) == expected


def test_payloads_that_think() -> None:
    request = Request("k", "", TURNS[1:2], max_tokens=5)
    assert message_payload(payload_settings("claude-haiku-4-5", thinking=2048), request) | {"model": "m"} == {
        "model": "m",
        "max_tokens": 2053,
        "messages": [turn("user", "w1 r?")],
        "thinking": {"type": "enabled", "budget_tokens": 2048},
    }
    assert message_payload(payload_settings("claude-opus-5", effort="low", room=100), request) | {"model": "m"} == {
        "model": "m",
        "max_tokens": 105,
        "messages": [turn("user", "w1 r?")],
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "low"},
    }
    assert message_payload(payload_settings("claude-opus-5", thinking="off"), request) | {"model": "m"} == {
        "model": "m",
        "max_tokens": 5,
        "messages": [turn("user", "w1 r?")],
        "thinking": {"type": "disabled"},
    }


@pytest.mark.parametrize(
    ("model", "settings", "expected"),
    [
        ("claude-opus-4-6", {"thinking": "on"}, {"thinking": {"type": "adaptive"}}),
        ("claude-haiku-4-5", {"thinking": "on"}, {"thinking": {"type": "enabled", "budget_tokens": 16384}}),
        ("claude-opus-4-5", {"effort": "low"}, {"output_config": {"effort": "low"}}),
        ("claude-sonnet-4-6", {}, {}),
    ],
)
def test_each_generation_is_told_to_think_in_its_own_way(
    model: str, settings: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert payload_settings(model, **settings).extra == expected


@pytest.mark.parametrize(
    ("settings", "version", "told"),
    [
        ({"model": "claude-haiku-4-5"}, "2023-06-01", True),
        ({"model": "claude-haiku-4-5", "temperature": None}, None, False),
        ({"model": "claude-haiku-4-5", "thinking": 2048}, None, False),
        ({"model": "claude-haiku-4-5", "thinking": "off"}, "2023-06-01", True),
        ({"model": "claude-opus-5"}, None, False),
        ({"model": "smollm2-135m"}, "2023-06-01", True),
    ],
)
def test_a_temperature_is_sent_under_the_version_that_has_one(
    settings: dict[str, Any], version: str | None, told: bool
) -> None:
    from anthropic._constants import ANTHROPIC_API_VERSION

    with FaultyServer() as server:
        backend = AnthropicBackend(base_url=server.url, **settings)
        ask(backend, Request("k", "", TURNS[1:2], temperature=settings.get("temperature", 0.0)))
        assert server.headers[0]["anthropic-version"] == (version or ANTHROPIC_API_VERSION)
        assert ("temperature" in server.posted[0]) is told
    assert backend.identity.api_version == (version or ANTHROPIC_API_VERSION)


def test_the_common_beginning_is_marked_for_the_cache() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    shots = message_payload(PayloadSettings("m", cache=True), SHOTS)
    assert shots["messages"][1]["content"][-1] == {"type": "text", "text": "1"} | mark
    assert str(shots).count("cache_control") == 1
    bare = message_payload(PayloadSettings("m", cache=True), Request("k", "", TURNS[:2]))
    assert bare["system"][-1] == {"type": "text", "text": "Remember."} | mark
    assert "cache_control" not in str(message_payload(PayloadSettings("m", cache=True), Request("k", "", TURNS[1:2])))


def test_turns_of_one_role_in_a_row_become_one() -> None:
    turns = (Message("system", "a"), Message("system", "b"), Message("user", "c"), Message("user", "d"))
    body = message_payload(PayloadSettings("m"), Request("k", "", turns))
    assert body["messages"] == [turn("user", "c", "d")]
    assert [block["text"] for block in body["system"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (Request("k", "w 1 r"), "--form chat"),
        (Request("k", "1, ", TURNS), "--elicitation next, list"),
        (Request("k", "", TURNS[:3]), "--elicitation next, list"),
        (Request("k", "", TURNS[2:]), "first and the last turn"),
        (Request("k", "", TURNS[:1]), "first and the last turn"),
        (Request("k", "", (*TURNS[1:], Message("system", "late"))), "beginning only"),
        (Request("k", "", (Message("user", " "),)), "empty user turn"),
    ],
)
def test_a_request_that_the_api_cannot_express_is_refused(request_: Request, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        AnthropicBackend("claude-haiku-4-5", live=False).check([request_])


def test_what_is_sent_is_the_payload() -> None:
    with FaultyServer() as server:
        backend = AnthropicBackend("claude-haiku-4-5", base_url=server.url, cache=True)
        answer = ask(backend, SHOTS)
    assert server.posted == [backend.payload(SHOTS)]
    assert isinstance(answer, LoggedReply)
    assert (answer.text, answer.stop, answer.served_model) == ("1, 0", "stop", "claude-haiku-4-5-2099")
    assert (answer.prompt_tokens, answer.reply_tokens) == (
        counted(server.posted[0]),
        5,
    )  # 2 read from the cache, 1 put into it
    assert (answer.call.cached_tokens, answer.call.request_id) == (2, "req_0")
    assert KEY in server.headers[0].get("authorization", "") + server.headers[0].get("x-api-key", "")


@pytest.mark.parametrize(
    ("why", "stop"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "refusal"),
    ],
)
def test_stop_reasons(why: str, stop: str) -> None:
    content = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "1,"}, {"type": "text", "text": " 0"}]
    reply = read_message(SHOTS, {"content": content, "stop_reason": why, "model": "m"}, Call())
    assert isinstance(reply, Reply)
    assert (reply.text, reply.stop, reply.prompt_tokens) == ("1, 0", stop, None)


def test_a_stop_text_that_was_not_sent_still_ends_the_reply() -> None:
    body = {"content": [{"type": "text", "text": "1, 0\n1"}], "stop_reason": "max_tokens"}
    reply = read_message(SHOTS, body, Call())
    assert isinstance(reply, Reply)
    assert (reply.text, reply.stop) == ("1, 0", "stop")


def test_an_empty_reply_is_a_reply_and_none_at_all_is_a_failure() -> None:
    for content in ([], None, [{"type": "thinking", "thinking": "w 1 …"}]):
        reply = read_message(SHOTS, {"content": content, "stop_reason": "end_turn"}, Call())
        assert isinstance(reply, Reply)
        assert (reply.text, reply.stop, reply.ended) == ("", "stop", "end_turn")
    for body in ({}, {"content": [], "stop_reason": "tool_use"}, {"content": [], "stop_reason": "error"}):
        assert isinstance(read_message(SHOTS, body, Call()), Failure)
    assert isinstance(read_message(SHOTS, {"content": [], "stop_reason": None}, Call()), Failure)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-3-haiku-20240307", True),
        ("claude-3-7-sonnet-latest", True),
        ("claude-sonnet-4-0", True),
        ("claude-opus-4-20250514", True),
        ("claude-haiku-4-5-20251001", True),
        ("claude-sonnet-4-6", True),
        ("claude-opus-4-7", False),
        ("claude-opus-4-10", False),
        ("claude-opus-5", False),
        ("claude-sonnet-5-5", False),
        ("claude-mythos-preview", False),
    ],
)
def test_models_that_take_a_temperature(model: str, expected: bool) -> None:
    assert takes_temperature(model) is expected


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"model": "claude-haiku-4-5", "temperature": 1.5}, "at most 1"),
        ({"model": "claude-opus-5", "temperature": 0.5}, "--temperature 0.5"),
        ({"model": "claude-haiku-4-5", "thinking": 2048, "temperature": 0.5}, "--temperature 0.5"),
        ({"model": "claude-haiku-4-5", "thinking": 12}, "at least 1024"),
        ({"model": "claude-opus-5", "thinking": 2048}, "effort"),
        ({"model": "claude-haiku-4-5", "effort": "low"}, "give --thinking N"),
        ({"model": "claude-opus-5", "effort": "none"}, "--thinking off"),
        ({"model": "claude-opus-5", "api": "bedrok"}, "did you mean 'bedrock'"),
        ({"model": "claude-opus-5", "extra_body": {"max_tokens": 3}}, "use --max-tokens"),
        ({"model": "claude-opus-5", "thinking": "off", "extra_body": {"thinking": {"type": "x"}}}, "thinking.type"),
        ({"model": "claude-opus-5", "effort": "hgih"}, "did you mean 'high'"),
        ({"model": "claude-opus-4-6", "effort": "high", "thinking": 2048}, "not both"),
    ],
)
def test_a_setting_that_cannot_be_honoured_is_an_error_on_opening(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        AnthropicBackend(live=False, **settings)


def test_a_model_that_thinks_unasked_has_room_for_it_and_its_own_temperature() -> None:
    backend = AnthropicBackend("claude-opus-5", live=False)
    assert backend.identity.temperature == "the model's own"
    assert backend.payload(SHOTS)["max_tokens"] > 10_000
    assert "temperature" not in backend.payload(SHOTS)


def test_a_model_on_a_server_of_ones_own_gets_no_room_that_its_context_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "none")
    backend = AnthropicBackend("smollm2-135m", base_url="http://127.0.0.1:9", live=False)
    body = backend.payload(Request("k", "", messages=(Message("user", "w 1 r"),), max_tokens=24))
    assert body["max_tokens"] == 24 and body["temperature"] == 0.0
