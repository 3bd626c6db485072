"""OpenAI's APIs: what is sent, what comes back, and scores from an echoed prompt."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import pytest

from ffprompt.backends.api.consistency import Consistency
from ffprompt.backends.api.echo import echoed
from ffprompt.backends.api.openai import OpenAIBackend
from ffprompt.backends.api.openai_payloads import (
    PayloadSettings,
    chat_payload,
    completions_payload,
    reasons,
    responses_payload,
)
from ffprompt.backends.api.openai_replies import read_chat, read_completion, read_response
from ffprompt.backends.api.retry import Call, LoggedReply
from ffprompt.backends.base import Failure, Message, Reply, Request, Scores
from ffprompt.errors import FFPromptError, ModelError
from tests.support.faulty_server import KEY, LIKELY, FaultyServer, counted

TURNS = (
    Message("system", "Remember."),
    Message("user", "w1 r?"),
    Message("assistant", "1"),
    Message("user", "w0 r?"),
)
SENT = [
    {"role": "system", "content": "Remember."},
    {"role": "user", "content": "w1 r?"},
    {"role": "assistant", "content": "1"},
    {"role": "user", "content": "w0 r?"},
]
CHAT = Request("k", "", TURNS, max_tokens=24)
TEXT = Request("k", "w 1 r", max_tokens=8, stop=("\n",))


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def forced(text: str, *answers: int) -> Request:
    """A request whose answers are the single characters at these places."""
    return Request("k", text, reads=tuple((place, place + 1) for place in answers), surfaces=("0", "1"))


def ask(backend: OpenAIBackend, request: Request) -> Any:
    async def run() -> Reply | Scores | Failure:
        try:
            return await backend.ask(request)
        finally:
            await backend.aclose()

    return asyncio.run(run())


def test_chat_payloads() -> None:
    assert chat_payload(PayloadSettings("m"), CHAT) == {
        "model": "m",
        "messages": SENT,
        "stream": False,
        "max_tokens": 24,
        "temperature": 0.0,
    }
    sampled = Request("k", "", TURNS[:2], max_tokens=5, temperature=0.7, seed=2**63 + 5, stop=("a", "b"))
    assert chat_payload(PayloadSettings("m"), sampled) == {
        "model": "m",
        "messages": SENT[:2],
        "stream": False,
        "max_tokens": 5,
        "temperature": 0.7,
        "seed": 5,
        "stop": ["a", "b"],
    }


def test_reasoning_payloads_have_room_and_no_temperature() -> None:
    settings = PayloadSettings("o3", reasoning=True, sampled=False, effort="low", room=1000)
    assert chat_payload(settings, CHAT) == {
        "model": "o3",
        "messages": SENT,
        "stream": False,
        "max_completion_tokens": 1024,
        "reasoning_effort": "low",
    }
    assert responses_payload(settings, CHAT) == {
        "model": "o3",
        "input": [{"type": "message", **turn} for turn in SENT],
        "store": False,
        "stream": False,
        "max_output_tokens": 1024,
        "reasoning": {"effort": "low"},
    }
    plain = chat_payload(PayloadSettings("o3", reasoning=True, sampled=False, room=1000), CHAT)
    assert plain == {"model": "o3", "messages": SENT, "stream": False, "max_completion_tokens": 1024}


def test_without_reasoning_effort_none_keeps_temperature_and_seed() -> None:
    backend = OpenAIBackend("gpt-6-sol", reasoning_effort="none", temperature=0.5, live=False)
    body = backend.payload(Request("k", "", TURNS[:2], max_tokens=5, temperature=0.5, seed=7))
    assert (body["max_completion_tokens"], body["temperature"], body["seed"]) == (5, 0.5, 7)
    assert backend.identity.temperature == 0.5


def test_an_effort_of_an_open_model_keeps_its_temperature() -> None:
    body = OpenAIBackend("Qwen/Qwen3-8B", reasoning_effort="low", temperature=0.6, live=False).payload(CHAT)
    assert (body["reasoning_effort"], body["temperature"]) == ("low", 0.0)
    assert body["max_completion_tokens"] > 1024


def test_a_temperature_of_the_models_own_is_not_sent() -> None:
    backend = OpenAIBackend("m", temperature=None, live=False)
    body = backend.payload(Request("k", "", TURNS[:2], temperature=None, seed=3))
    assert "temperature" not in body
    assert body["seed"] == 3
    assert backend.identity.temperature == "the model's own"


def test_responses_payload() -> None:
    assert responses_payload(PayloadSettings("m"), CHAT) == {
        "model": "m",
        "input": [{"type": "message", **turn} for turn in SENT],
        "store": False,
        "stream": False,
        "max_output_tokens": 24,
        "temperature": 0.0,
    }


def test_completions_payloads() -> None:
    assert completions_payload(PayloadSettings("m"), TEXT) == {
        "model": "m",
        "prompt": "w 1 r",
        "stream": False,
        "max_tokens": 8,
        "temperature": 0.0,
        "stop": ["\n"],
    }
    assert completions_payload(PayloadSettings("m", top_logprobs=7), forced("w 1 r 1", 6)) == {
        "model": "m",
        "prompt": "w 1 r 1",
        "stream": False,
        "max_tokens": 1,
        "temperature": 0.0,
        "echo": True,
        "logprobs": 7,
    }


@pytest.mark.parametrize(
    ("api", "request_", "says"),
    [
        ("chat", TEXT, "--form chat"),
        ("responses", TEXT, "--form chat"),
        ("completions", CHAT, "--form completion"),
        ("chat", Request("k", "1", TURNS), "--elicitation next, list"),
    ],
)
def test_a_request_that_an_api_cannot_express_is_refused(api: str, request_: Request, says: str) -> None:
    backend = OpenAIBackend("m", api=api, live=False)
    with pytest.raises(ModelError, match=says):
        backend.check([request_])


def test_what_is_sent_is_the_payload() -> None:
    for api, request in (("chat", CHAT), ("responses", CHAT), ("completions", TEXT)):
        with FaultyServer(echo="refused") as server:
            backend = OpenAIBackend("m", api=api, base_url=server.v1)
            answer = ask(backend, request)
        assert server.posted[-1] == backend.payload(request)
        assert isinstance(answer, LoggedReply)
        assert (answer.text, answer.served_model, answer.prompt_tokens) == (
            "1, 0",
            "m-2099",
            counted(server.posted[-1]),
        )
        assert server.headers[-1]["authorization"] == f"Bearer {KEY}"


def test_reasoning_tokens_and_cached_tokens_are_counted() -> None:
    with FaultyServer() as server:
        answer = ask(OpenAIBackend("gpt-5-mini", base_url=server.v1, reasoning_effort="minimal"), CHAT)
        assert server.posted[0]["max_completion_tokens"] == 24 + 2048
    assert (answer.reply_tokens, answer.call.reasoning_tokens, answer.call.cached_tokens) == (5, 7, 3)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("o1", True),
        ("o3-mini-2025-01-31", True),
        ("o4-mini", True),
        ("gpt-5", True),
        ("gpt-5.1", True),
        ("gpt-5-nano-2025-08-07", True),
        ("openai/gpt-5-mini", True),
        ("ft:o4-mini-2025-04-16:org::id", True),
        ("gpt-5-chat-latest", False),
        ("gpt-4o", False),
        ("gpt-4.1", False),
        ("gpt-oss-20b", False),
        ("omni-moderation", False),
        ("Qwen/Qwen3-8B", False),
    ],
)
def test_reasoning_models_are_known_by_name(model: str, expected: bool) -> None:
    assert reasons(model) is expected


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"model": "o3", "temperature": 0.5}, "--temperature 0.5"),
        ({"model": "gpt-4o", "reasoning_effort": "low", "thinking": "on"}, "not both"),
        ({"model": "gpt-6-sol", "thinking": 2000}, "openai takes no number of tokens"),
        ({"model": "m", "provider": "grok"}, "did you mean 'groq'"),
        ({"model": "m", "provider": "azure"}, "give it with --base-url"),
        ({"model": "davinci-002", "api": "completions", "thinking": "off"}, "--thinking off"),
        ({"model": "m", "extra_body": {"temperature": 1}}, "use --temperature"),
        ({"model": "m", "extra_body": {"truncate_prompt_tokens": 100}}, "never cut"),
        ({"model": "o3", "reasoning_effort": "low", "extra_body": {"reasoning_effort": "high"}}, "--reasoning-effort"),
        ({"model": "m", "extra_headers": ["X-A=b\nX-C: d"]}, "newline"),
        ({"model": "m", "extra_headers": ["nothing"]}, "NAME=VALUE"),
        ({"model": "m", "extra_headers": ["Content-Type=text/plain"]}, "written by the HTTP client"),
        ({"model": "o3", "reasoning_effort": "hihg"}, "did you mean 'high'"),
        ({"model": "gpt-4o", "api": "chta"}, "did you mean 'chat'"),
        ({"model": "davinci-002", "api": "completions", "reasoning_effort": "low"}, "--reasoning-effort low"),
    ],
)
def test_a_setting_that_cannot_be_honoured_is_an_error_on_opening(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        OpenAIBackend(live=False, **settings)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_reasoning_models_record_that_the_temperature_is_their_own(temperature: float) -> None:
    backend = OpenAIBackend("o3", temperature=temperature, live=False)
    assert backend.identity.temperature == "the model's own"
    assert backend.settings.room > 0


def test_nothing_is_sent_and_no_key_is_read_for_a_dry_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    backend = OpenAIBackend("gpt-4o", live=False)
    assert backend.check([CHAT, CHAT])["audited"] == 2
    with pytest.raises(ModelError, match="OPENAI_API_KEY is not set"):
        OpenAIBackend("gpt-4o")


def test_a_password_in_the_base_url_is_in_no_record_and_no_error() -> None:
    with FaultyServer(["404"]) as server:
        backend = OpenAIBackend("m", base_url=server.v1.replace("//", "//me:hidden@"))
        assert "hidden" not in str(backend.identity.to_json())
        with pytest.raises(ModelError) as caught:
            ask(backend, CHAT)
    assert "hidden" not in str(caught.value)


def chat(**choice: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"index": 0} | choice]}


@pytest.mark.parametrize(
    ("body", "text", "stop"),
    [
        (chat(message={"content": "1"}, finish_reason="stop"), "1", "stop"),
        (chat(message={"content": ""}, finish_reason="stop"), "", "stop"),
        (chat(message={"content": "1"}, finish_reason="length"), "1", "length"),
        (chat(message={"content": None}, finish_reason="length"), "", "length"),
        (chat(message={"content": None, "refusal": "No."}, finish_reason="stop"), "No.", "refusal"),
        (chat(message={"content": "1"}, finish_reason="content_filter"), "1", "refusal"),
        (chat(message={"content": [{"type": "text", "text": "1"}]}, finish_reason="stop"), "1", "stop"),
        (chat(message={"content": "1 END 0"}, finish_reason="length"), "1 ", "stop"),
    ],
)
def test_reading_chat(body: dict[str, Any], text: str, stop: str) -> None:
    reply = read_chat(Request("k", "", TURNS, stop=("END",)), body, Call())
    assert isinstance(reply, Reply)
    assert (reply.text, reply.stop, reply.prompt_tokens) == (text, stop, None)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choices": []},
        {"choices": None},
        chat(message={"content": "1, 0"}, finish_reason="error"),
        chat(message={"content": "1, 0"}, finish_reason="a new word"),
        chat(message={"content": "1, 0"}, finish_reason=None),
        chat(message={}, finish_reason="tool_calls"),
        chat(message=None, finish_reason=None),
    ],
)
def test_an_answer_that_may_not_be_whole_is_a_failure(body: dict[str, Any]) -> None:
    assert isinstance(read_chat(CHAT, body, Call()), Failure)


@pytest.mark.parametrize("body", ['{"choices": 3}', '{"choices": [3]}', '{"choices": [{"message": "x"}]}'])
def test_an_answer_of_an_unknown_shape_is_a_failure(body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    with FaultyServer() as server:
        monkeypatch.setattr(server, "_good", lambda *_: json.loads(body))
        answer = ask(OpenAIBackend("m", base_url=server.v1), CHAT)
    assert isinstance(answer, Failure)
    assert "unknown shape" in answer.error or "no message" in answer.error


@pytest.mark.parametrize(
    ("why", "text", "stop"), [("stop", " 1", "stop"), ("length", " 1", "length"), ("content_filter", " 1", "refusal")]
)
def test_reading_completions(why: str, text: str, stop: str) -> None:
    reply = read_completion(TEXT, {"choices": [{"text": " 1", "finish_reason": why}]}, Call())
    assert isinstance(reply, Reply)
    assert (reply.text, reply.stop) == (text, stop)
    cut = read_completion(TEXT, {"choices": [{"text": " 1\n 0", "finish_reason": "length"}]}, Call())
    assert isinstance(cut, Reply)
    assert (cut.text, cut.stop) == (" 1", "stop")
    assert isinstance(read_completion(TEXT, {"choices": [{"text": None}]}, Call()), Failure)


def test_a_prompt_that_the_filter_stops_is_a_refusal() -> None:
    with FaultyServer(lambda number: "400 filter" if number % 8 else None) as server:
        backend = OpenAIBackend("m", base_url=server.v1)
        answers = asyncio.run(backend.complete([CHAT] * 16))
    stops = [answer.stop for answer in answers if isinstance(answer, Reply)]
    assert sorted(stops) == ["refusal"] * 14 + ["stop"] * 2


def test_reading_responses() -> None:
    for fault, text, stop in (("", "1, 0", "stop"), ("refusal", "I cannot help with that.", "refusal")):
        with FaultyServer([fault]) as server:
            answer = ask(OpenAIBackend("o3", api="responses", base_url=server.v1), CHAT)
        assert (answer.text, answer.stop, answer.prompt_tokens, answer.reply_tokens) == (
            text,
            stop,
            counted(server.posted[-1]),
            5,
        )
        assert answer.call.reasoning_tokens == 7
    body: dict[str, Any] = {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}, "output": []}
    filtered = read_response(CHAT, body, Call())
    assert isinstance(filtered, Reply)
    assert filtered.stop == "refusal"
    cut = read_response(CHAT, body | {"incomplete_details": {"reason": "max_output_tokens"}}, Call())
    assert isinstance(cut, Reply)
    assert (cut.text, cut.stop) == ("", "length")
    for status in ("failed", "cancelled", "in_progress", None):
        assert isinstance(read_response(CHAT, {"status": status, "output": []}, Call()), Failure)


@pytest.mark.parametrize(
    ("echo", "scores", "top"),
    [
        ("full", True, 20),
        ("bos", True, 20),
        ("five", True, 5),
        ("generated", False, None),
        ("refused", False, None),
        ("nulls", False, None),
    ],
)
def test_the_probe_says_what_the_endpoint_can_do(echo: str, scores: bool, top: int | None) -> None:
    with FaultyServer(echo=echo) as server:
        backend = OpenAIBackend("m", api="completions", base_url=server.v1)
        assert backend.capabilities.scores is scores
        assert backend.capabilities.completes
        assert not backend.capabilities.chats
        assert backend.identity.top_logprobs == top
        if not scores:
            with pytest.raises(ModelError, match="--elicitation next, list"):
                asyncio.run(backend.score([forced("w 1 r 1", 6)]))


@pytest.mark.parametrize("echo", ["full", "bos"])
def test_scores_are_the_servers_log_probabilities(echo: str) -> None:
    with FaultyServer(echo=echo) as server:
        backend = OpenAIBackend("m", api="completions", base_url=server.v1)
        scores = ask(backend, forced("The light is 1. Then 0. Now 1", 13, 21, 28))
    assert isinstance(scores, Scores)
    np.testing.assert_allclose(scores.answers, [[LIKELY[" 0"], LIKELY[" 1"]]] * 3)
    assert scores.argmax_symbol.tolist() == [1, 1, 1]
    assert scores.answers.dtype == np.float64
    assert scores.prompt_tokens == counted(server.posted[-1])


def test_a_run_of_forced_questions_through_the_backend() -> None:
    with FaultyServer(lambda number: "400" if number == 2 else None) as server:
        backend = OpenAIBackend("m", api="completions", base_url=server.v1)
        found = asyncio.run(backend.score([forced("w 1 r 1", 6), forced("w 0 r 0", 6)]))
    assert sum(isinstance(one, Failure) for one in found) == 1


def read_scores(request: Request, body: dict[str, Any], asked: int) -> Scores | Failure:
    return Consistency("m").scores(request, body, asked)


def echo_of(tokens: list[str], top: dict[str, float], first: float | None = None, **more: Any) -> dict[str, Any]:
    logprobs = [first, *(top.get(token, -9.0) for token in tokens[1:])]
    tops = [None, *(top | {token: top.get(token, -9.0)} for token in tokens[1:])]
    found = {"tokens": tokens, "token_logprobs": logprobs, "top_logprobs": tops}
    return {"choices": [{"logprobs": found | more}]}


TOP = {" 0": -1.0, " 1": -2.0, " x": -0.9}
W = ["w", " 1", " r", " 0"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "no log-probabilities"),
        ({"choices": [{"logprobs": None}]}, "no log-probabilities"),
        (echo_of(["w", " 1", "r", " 0"], TOP), "token 2 of the echo"),  # a tokenizer that loses spaces
        (echo_of(["w", " 1", " r"], TOP), "not of all of it"),
        (echo_of(["</s>", "<s>", *W], TOP), "token 1 of the echo"),
        (echo_of(["w", " 1", " r 0"], TOP), "not one token of its own"),
        (echo_of(["w", " 1", " ", "r", " 0"], TOP), None),
        (echo_of(W, {" 0": -1.0, " x": -0.5}), "' 1' is not among the 2 most probable"),
        (echo_of(W, {" 0": -1.0, " 1": -9999.0}), "gives no log-probability"),
        (echo_of(W, {" 0": -1.0, " 1": -math.inf}), "gives no log-probability"),
        (echo_of(W, TOP, token_logprobs=[None, -2.0, -9.0, -3.5]), "two tokens are written ' 0'"),
        (echo_of(W, TOP, token_logprobs=[None, -2.0, -9.0, None]), "two tokens are written"),
        (echo_of(W, TOP, top_logprobs=[None] * 4), "' 1' is not among"),
        (echo_of(W, TOP, top_logprobs=[None] * 3), "no log-probabilities"),
    ],
)
def test_what_cannot_be_scored_exactly_is_a_failure_and_never_a_number(body: dict[str, Any], says: str | None) -> None:
    found = read_scores(forced("w 1 r 0", 6), body, 20)
    if says is None:
        assert isinstance(found, Scores)
        assert found.answers.tolist() == [[-1.0, -2.0]]
        assert found.argmax_symbol.tolist() == [-1]  # the model would rather write something else
    else:
        assert isinstance(found, Failure)
        assert says in found.error


def test_an_answer_that_is_not_shown_is_a_bound_where_the_other_is_more_probable_for_sure() -> None:
    found = read_scores(forced("w 1 r 0", 6), echo_of(W, {" 0": -1.0, " x": -2.5}), 20)
    assert isinstance(found, Scores)
    assert found.answers.tolist() == [[-1.0, -2.5]] and found.bounds == ((0, 1),)
    # The token that is written is shown however improbable it is, and then says nothing about the others.
    found = read_scores(forced("w 1 r 0", 6), echo_of(W, {" x": -1.0, " y": -2.5}), 20)
    assert isinstance(found, Failure) and "could be the more probable answer" in found.error


def test_an_answer_in_several_tokens_is_a_failure() -> None:
    request = Request("k", "it is on", reads=((6, 8),), surfaces=("on", "off"))
    for tokens in (["it", " is", " o", "n"], ["it", " is", " ", "o", "n"]):
        assert isinstance(read_scores(request, echo_of(tokens, {" on": -1.0, " off": -1.0}), 20), Failure)
    whole = read_scores(request, echo_of(["it", " is", " on"], {" on": -1.0, " off": -1.5}), 20)
    assert isinstance(whole, Scores)
    assert whole.answers.tolist() == [[-1.0, -1.5]]


def test_tokens_behind_the_prompt_are_not_read() -> None:
    assert [token.text for token in echoed(echo_of([*W, " and", "…"], TOP), "w 1 r 0")] == W


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(FFPromptError, match=r'pip install .*\[openai\]"'):
        OpenAIBackend("gpt-4o", live=False)
