"""Connections and the deadlines of one attempt, with the real SDKs."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from ffprompt.backends.api.anthropic import AnthropicBackend
from ffprompt.backends.api.base import ApiBackend
from ffprompt.backends.api.openai import OpenAIBackend
from ffprompt.backends.api.retry import LoggedReply, Policy
from ffprompt.backends.api.transport import patience
from ffprompt.backends.base import Message, Request
from ffprompt.backends.registry import open_backend
from ffprompt.config.run_config import make
from tests.support.faulty_server import KEY, FaultyServer

both = pytest.mark.parametrize("kind", ["openai", "anthropic"])


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(variable, KEY)
    for variable in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)


async def no_wait(_: float) -> None:
    return


def opened(kind: str, server: FaultyServer, **policy: Any) -> ApiBackend:
    settings: dict[str, Any] = {"policy": Policy(**policy), "sleep": no_wait}
    if kind == "anthropic":
        return AnthropicBackend("claude-haiku-4-5", base_url=server.url, **settings)
    return OpenAIBackend("some-model", base_url=server.v1, **settings)


def asked(backend: ApiBackend, count: int = 1) -> list[Any]:
    requests = [Request(f"trial-{n}", "", (Message("user", "w1 i0 r?"),), max_tokens=40) for n in range(count)]

    async def run() -> list[Any]:
        try:
            return await backend._ask_all(requests)
        finally:
            await backend.aclose()

    return asyncio.run(run())


@both
@pytest.mark.parametrize(
    ("fault", "policy", "status"),
    [
        ("hang", {"first_byte": 1.0, "whole": 30.0}, "first byte"),
        ("hang", {"first_byte": 30.0, "whole": 1.0}, "timeout"),
        ("hang", {"whole": 1.0}, "timeout"),
        ("stall", {"first_byte": 1.0, "whole": 2.0}, "timeout"),
        ("slow", {"first_byte": 30.0, "whole": 30.0}, 200),
    ],
)
def test_an_answer_that_does_not_begin_and_one_that_does_not_end_are_told_apart(
    kind: str, fault: str, policy: dict[str, float], status: int | str
) -> None:
    with FaultyServer([fault]) as server:
        (answer,) = asked(opened(kind, server, **policy))
    assert isinstance(answer, LoggedReply)
    first, *more = answer.call.attempts
    assert (first.status, [attempt.status for attempt in more]) == (status, [] if status == 200 else [200])
    if fault == "stall":  # an answer that has begun has all of the time
        assert first.seconds > 1.5


@both
def test_the_text_names_the_limit_that_was_passed(kind: str) -> None:
    with FaultyServer(["hang", "stall"]) as server:
        backend = opened(kind, server, attempts=1, first_byte=1.0, whole=1.6)
        assert asked(backend)[0].error == "no answer began within 1 s"
        assert asked(backend)[0].error == "no whole answer within 1.6 s"


@both
def test_an_address_that_takes_no_connections_is_left_after_the_time_for_connecting(kind: str) -> None:
    with FaultyServer() as server, socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:  # they fill the queue, and whoever comes later waits for a place in it
            one.setblocking(False)
            one.connect_ex(address)
        backend = opened(kind, server, attempts=1, connect=0.4)
        backend.base_url = f"http://127.0.0.1:{address[1]}"
        answer = asked(backend)[0]
        for one in waiting:
            one.close()
    assert answer.error == "the server took no connection in time"
    assert answer.call.attempts[0].status == "connect"


@both
def test_many_in_flight_share_connections_that_are_kept(kind: str) -> None:
    with FaultyServer(latency=0.2) as server:
        answers = asked(opened(kind, server, max_concurrency=40), 200)
        assert all(isinstance(answer, LoggedReply) for answer in answers)
        assert 16 < server.peak <= 40  # more than one client has
        assert server.connections <= 40 + 1  # one for the look at the models


def test_the_key_is_sent_and_no_other_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin-of-everything")
    with FaultyServer() as server:
        asked(opened("openai", server))
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"read": 120, "whole": 180, "total": 300}),
        ({"thinks": True}, {"read": 600, "whole": 900, "total": 1800}),
        ({"thinks": True, "timeout": 180}, {"read": 180, "whole": 180, "total": 1800}),
        ({"timeout": 1000}, {"read": 1000, "whole": 1000, "total": 2000}),
        ({"first_byte": 150}, {"read": 150, "whole": 180, "total": 300, "first_byte": 150}),
        ({"connect": 3}, {"read": 120, "whole": 180, "total": 300, "connect": 3}),
    ],
)
def test_a_limit_that_is_given_holds_and_no_other_ends_a_call_sooner(
    given: dict[str, Any], expected: dict[str, float]
) -> None:
    assert patience(**{"thinks": False} | given) == expected


@both
def test_time_limits_of_the_command_line_reach_the_calls(kind: str) -> None:
    with FaultyServer() as server:
        url = server.v1 if kind == "openai" else server.url
        limits = {"timeout": 33, "connect_timeout": 2, "first_byte_timeout": 11}
        backend = open_backend(make({"backend": kind, "model": "claude-haiku-4-5", "base_url": url} | limits))
    assert isinstance(backend, ApiBackend)
    policy = backend.policy
    assert (policy.whole, policy.connect, policy.first_byte, policy.read) == (33, 2, 11, 33)
