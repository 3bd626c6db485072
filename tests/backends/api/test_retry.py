"""Keys, retries, pace and giving up, with the real SDKs against a server that misbehaves."""

from __future__ import annotations

import asyncio
import dataclasses
import email.utils
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ffprompt._util.secrets import read_key, redact
from ffprompt.backends.api.anthropic import AnthropicBackend
from ffprompt.backends.api.base import ApiBackend
from ffprompt.backends.api.openai import OpenAIBackend
from ffprompt.backends.api.rate_limit import Bucket, Limiter, retry_after
from ffprompt.backends.api.retry import (
    Answered,
    Breaker,
    Call,
    Caller,
    CallError,
    LoggedFailure,
    LoggedReply,
    Policy,
)
from ffprompt.backends.base import Failure, Message, Reply, Request, Scores
from ffprompt.errors import FFPromptError, ModelError, RunFailedError
from tests.support.faulty_server import KEY, FaultyServer

Answer = Reply | Scores | Failure
TURNS = (Message("system", "Remember the bit."), Message("user", "w1 i0 r?"))


def question(number: int = 0) -> Request:
    return Request(f"trial-{number}", "", TURNS, max_tokens=40)


class Naps:
    """A sleep that only notes how long it should have been."""

    def __init__(self, scale: float = 0.0) -> None:
        self.seconds: list[float] = []
        self.scale = scale

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(seconds * self.scale)


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(variable, KEY)
    for variable in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)


def opened(kind: str, server: FaultyServer, naps: Naps | None = None, **policy: Any) -> ApiBackend:
    settings: dict[str, Any] = {"policy": Policy(**policy), "sleep": naps or Naps()}
    if kind == "anthropic":
        return AnthropicBackend("claude-haiku-4-5", base_url=server.url, **settings)
    return OpenAIBackend("some-model", base_url=server.v1, **settings)


def asked(backend: ApiBackend, requests: Sequence[Request]) -> list[Answer]:
    async def run() -> list[Answer]:
        try:
            return await backend._ask_all(requests)
        finally:
            await backend.aclose()

    return asyncio.run(run())


def one(kind: str, fault: str, times: int = 1, **policy: Any) -> tuple[Any, FaultyServer, Naps]:
    """The answer to one request whose first attempts meet a fault."""
    naps = Naps()
    with FaultyServer([fault] * times) as server:
        (answer,) = asked(opened(kind, server, naps, **policy), [question()])
        return answer, server, naps


both = pytest.mark.parametrize("kind", ["openai", "anthropic"])


@both
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("408", 408),
        ("409", 409),
        ("429", 429),
        ("500", 500),
        ("503", 503),
        ("529", 529),
        ("reset", "RemoteProtocolError"),
        ("half-json", "no JSON"),
        ("html", "no JSON"),
        ("error-body-429", 429),
        ("overloaded", 529),
        ("broken-off", "broken off"),
    ],
)
def test_a_passing_fault_is_tried_again(kind: str, fault: str, status: int | str) -> None:
    answer, server, naps = one(kind, fault, 2)
    assert isinstance(answer, LoggedReply)
    assert (answer.text, answer.stop) == ("1, 0", "stop")
    assert [attempt.status for attempt in answer.call.attempts] == [status, status, 200]
    for number, attempt in enumerate(answer.call.record().to_json()["attempts"]):
        assert list(attempt) == ["sent", "started", "status", "request_id", "seconds"]
        assert attempt["sent"] == number
        assert attempt["started"]
        assert attempt["seconds"] >= 0
    assert answer.call.request_id == "req_2"
    assert len(server.posted) == 3
    assert 1 <= naps.seconds[0] <= 2 <= naps.seconds[1] <= 3


@both
@pytest.mark.parametrize("fault", ["400", "429 quota", "error-body", "no-content"])
def test_a_lasting_fault_is_a_failure_at_once(kind: str, fault: str) -> None:
    answer, server, naps = one(kind, fault)
    assert isinstance(answer, LoggedFailure)
    assert "\n" not in answer.error
    assert len(server.posted) == len(answer.call.attempts) == 1
    assert naps.seconds == []


@both
@pytest.mark.parametrize(("fault", "stop"), [("refusal", "refusal"), ("length", "length")])
def test_refusals_and_cut_offs_are_replies(kind: str, fault: str, stop: str) -> None:
    answer, server, _ = one(kind, fault)
    assert isinstance(answer, LoggedReply)
    assert answer.stop == stop
    assert len(server.posted) == 1


@both
@pytest.mark.parametrize(("fault", "hint"), [("401", "API key"), ("404", "base URL")])
def test_a_wrong_key_or_model_stops_with_one_line(kind: str, fault: str, hint: str) -> None:
    with FaultyServer([fault]) as server, pytest.raises(ModelError, match=hint) as caught:
        asked(opened(kind, server), [question()])
    assert len(server.posted) == 1
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


@both
def test_a_server_that_is_not_there_is_named(kind: str) -> None:
    with FaultyServer() as server:
        pass
    with pytest.raises(ModelError, match=r"127\.0\.0\.1.*connection failed"):
        opened(kind, server)


@both
def test_a_wrong_key_is_found_on_opening(kind: str) -> None:
    with FaultyServer(models="401") as server, pytest.raises(ModelError, match="is the API key right"):
        opened(kind, server)
    assert server.posted == []


@both
@pytest.mark.parametrize("status", ["404", "400"])
def test_a_server_without_a_list_of_models_is_fine(kind: str, status: str) -> None:
    with FaultyServer(models=status) as server:
        assert isinstance(asked(opened(kind, server), [question()])[0], Reply)


@both
def test_attempts_are_bounded(kind: str) -> None:
    answer, server, naps = one(kind, "500", 100, attempts=4)
    assert isinstance(answer, LoggedFailure)
    assert answer.error.startswith("HTTP 500: ")
    assert answer.error.endswith("(4 attempts)")
    assert len(server.posted) == 4
    assert len(naps.seconds) == 3


def test_total_time_is_bounded() -> None:
    answer, server, naps = one("openai", "500", 100, attempts=100, total=20.0)
    assert isinstance(answer, Failure)
    assert sum(naps.seconds) <= 20
    assert 4 <= len(server.posted) <= 5  # 1 + 2 + 4 + 8 seconds and jitter


@both
@pytest.mark.parametrize(("fault", "low", "high"), [("seconds 7", 7, 7), ("date 7", 5, 7), ("ms 7500", 7.5, 7.5)])
def test_retry_after_is_honoured(kind: str, fault: str, low: float, high: float) -> None:
    answer, _, naps = one(kind, f"429 {fault}")
    assert isinstance(answer, Reply)
    assert len(naps.seconds) == 1
    assert low <= naps.seconds[0] <= high


def test_a_server_that_asks_for_more_than_the_total_time_is_not_asked_again() -> None:
    answer, server, naps = one("openai", "429 seconds 9999")
    assert isinstance(answer, Failure)
    assert len(server.posted) == 1
    assert naps.seconds == []


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
        ({"retry-after": email.utils.formatdate(1_000_030, usegmt=True)}, 30.0),
        ({"retry-after": email.utils.formatdate(999_000, usegmt=True)}, 0.0),
    ],
)
def test_retry_after_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=1_000_000) == seconds


@both
@pytest.mark.parametrize("policy", [{"read": 0.6}, {"whole": 0.6}])
def test_a_server_that_hangs_is_left_and_tried_again(kind: str, policy: dict[str, Any]) -> None:
    answer, _, _ = one(kind, "hang", **policy)
    assert isinstance(answer, LoggedReply)
    assert [attempt.status for attempt in answer.call.attempts] == ["timeout", 200]
    assert answer.call.attempts[0].seconds < 5


@both
def test_the_same_lasting_error_stops_the_run(kind: str) -> None:
    with FaultyServer(lambda number: "400" if number else None) as server:
        backend = opened(kind, server, max_concurrency=1)
        with pytest.raises(RunFailedError, match="5 calls in a row failed alike: HTTP 400"):
            asked(backend, [question(number) for number in range(20)])
    assert len(server.posted) == 6


def test_an_outage_stops_the_run() -> None:
    with FaultyServer(lambda number: "503" if number else None) as server:
        backend = opened("openai", server, attempts=2, outage=7, max_concurrency=1)
        with pytest.raises(RunFailedError, match="7 calls in a row brought no answer; the last: HTTP 503"):
            asked(backend, [question(number) for number in range(50)])


def test_the_breaker_counts_only_what_is_the_same_and_in_a_row() -> None:
    breaker = Breaker(Policy(breaker=3, outage=100), "model")
    breaker.success()
    for text in ("a", "a", "b", "b", "a"):
        breaker.failure(CallError(text, 400, False))
    breaker.failure(CallError("a", 400, False))
    breaker.success()
    for _ in range(2):
        breaker.failure(CallError("a (request req_1a2b)", 400, False))
    with pytest.raises(RunFailedError):
        breaker.failure(CallError("a (request req_3c4d)", 400, False))
    with pytest.raises(RunFailedError):
        breaker.check()


def test_a_key_that_fails_midway_is_no_wrong_key() -> None:
    breaker = Breaker(Policy(), "model")
    breaker.success()
    breaker.failure(CallError("no", 401, False))
    breaker.check()


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (None, "not set"),
        ("", "empty"),
        (" ", "malformed"),
        ("sk-secret\n", "malformed"),
        ("sk-se\ncret", "malformed"),
        ("sk-sécret", "malformed"),
    ],
)
def test_a_missing_or_malformed_key_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, key: str | None, says: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    if key is not None:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ModelError, match=f"OPENAI_API_KEY.*{says}") as caught:
        OpenAIBackend("gpt-4o")
    assert "secret" not in str(caught.value)
    assert "cret" not in str(caught.value).replace("secret", "")


def test_a_key_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    path.write_text("sk-from-a-file\n")
    assert read_key("OPENAI_API_KEY", str(path)) == "sk-from-a-file"
    path.write_text("\n")
    with pytest.raises(ModelError, match="the key file is empty"):
        read_key("OPENAI_API_KEY", str(path))
    with pytest.raises(ModelError, match="cannot be read") as caught:
        read_key("OPENAI_API_KEY", "sk-given-as-a-path")  # a key where a path belongs is not shown either
    assert "sk-given" not in str(caught.value)
    monkeypatch.delenv("OPENAI_API_KEY")
    assert read_key("OPENAI_API_KEY", default="no-key") == "no-key"


def test_redact_takes_out_known_keys_and_what_looks_like_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "plain.key/42")
    read_key("OPENAI_API_KEY")
    assert redact("bad plain.key/42!") == "bad [redacted]!"
    assert redact("Incorrect API key provided: sk-proj-****abcd.") == "Incorrect API key provided: [redacted]"
    assert redact("the task-list") == "the task-list"


@both
def test_the_key_is_in_no_error_and_no_record(kind: str) -> None:
    faults = ["400", "401", "404", "408", "409", "429", "429 quota", "500", "529", "reset", "half-json", "html"]
    for fault in [*faults, "error-body", "empty-choices", "overloaded", "broken-off"]:
        try:
            answer, server, _ = one(kind, fault, 9)
        except FFPromptError as error:
            assert KEY not in str(error), fault
            continue
        assert KEY in server.headers[0].get("authorization", "") + server.headers[0].get("x-api-key", "")
        assert isinstance(answer, LoggedFailure)
        assert KEY not in str(dataclasses.asdict(answer)), fault
        assert KEY not in str(answer.call.record())


def test_the_limiter_doubles_then_halves_then_creeps() -> None:
    async def run() -> None:
        limiter = Limiter(64)
        for _ in range(24):
            limiter.succeeded()
        assert limiter.limit == 32
        held = [await limiter.acquire() for _ in range(4)]
        for since in held:  # all were sent before the first of them was turned away
            limiter.overloaded(since)
        assert limiter.limit == 16
        limiter.overloaded(limiter.cuts)
        assert limiter.limit == 8
        for _ in range(8):
            limiter.succeeded()
        assert 8.9 < limiter.limit <= 9
        for _ in range(9999):
            limiter.succeeded()
        assert limiter.limit == 64
        for _ in range(20):
            limiter.overloaded(limiter.cuts)
        assert limiter.limit == 1

    asyncio.run(run())


def test_the_limiter_loses_no_place_when_waiters_are_cancelled() -> None:
    async def run() -> None:
        limiter = Limiter(2, first=2)

        async def hold() -> None:
            await limiter.acquire()
            try:
                await asyncio.sleep(0.001)
            finally:
                limiter.release()

        generator = random.Random(0)
        tasks = [asyncio.create_task(hold()) for _ in range(300)]
        for task in generator.sample(tasks, 150):
            await asyncio.sleep(0.0005)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert limiter.in_flight == 0
        assert limiter.peak == 2
        assert not any(not place.done() for place in limiter._waiting)

    asyncio.run(run())


def test_a_place_given_to_a_waiter_that_is_cancelled_goes_to_the_next() -> None:
    async def run() -> None:
        limiter = Limiter(1)
        await limiter.acquire()
        first, second = asyncio.create_task(limiter.acquire()), asyncio.create_task(limiter.acquire())
        await asyncio.sleep(0)
        limiter.release()  # the place is the first waiter's, which has not run since
        first.cancel()
        await asyncio.wait_for(second, 5)
        assert first.cancelled()
        limiter.release()
        assert limiter.in_flight == 0

    asyncio.run(run())


def test_a_bucket_spreads_what_goes_beyond_its_burst() -> None:
    now = 100.0
    bucket = Bucket(60, clock=lambda: now)  # one a second, five at once
    assert [bucket.reserve(1) for _ in range(8)] == [0, 0, 0, 0, 0, 0, 1, 2]
    bucket.give_back(2)
    assert bucket.reserve(1) == 1
    now = 1000.0
    assert bucket.reserve(1) == 0


def test_requests_and_tokens_a_minute_are_kept() -> None:
    naps = Naps()
    with FaultyServer() as server:
        backend = opened("openai", server, naps, requests_per_minute=60)
        assert len(asked(backend, [question(number) for number in range(10)])) == 10
        assert 3 <= max(naps.seconds) <= 5
        naps.seconds.clear()
        backend = opened("openai", server, naps, tokens_per_minute=600)
        asked(backend, [question(number) for number in range(10)])
    assert max(naps.seconds) > 20  # ten requests of some 48 tokens, 10 tokens a second


def test_concurrency_grows_where_the_server_lets_it() -> None:
    with FaultyServer(latency=0.01) as server:
        backend = opened("openai", server, max_concurrency=24)
        answers = asked(backend, [question(number) for number in range(200)])
    assert all(isinstance(answer, Reply) for answer in answers)
    assert backend.caller.limiter.peak == 24
    assert server.peak <= 24
    assert backend.caller.limiter.in_flight == 0


def test_concurrency_halves_for_each_round_that_is_turned_away() -> None:
    with FaultyServer(lambda number: "429" if 100 <= number < 110 else None) as server:
        backend = opened("openai", server)
        answers = asked(backend, [question(number) for number in range(200)])
    assert all(isinstance(answer, Reply) for answer in answers)
    assert backend.caller.limiter.peak == 64
    assert 1 <= backend.caller.limiter.cuts <= 3
    assert backend.caller.limiter.limit < 45


def test_concurrency_halves_where_the_server_has_no_more_places() -> None:
    with FaultyServer(latency=0.1, capacity=4) as server:
        backend = opened("openai", server, Naps(0.1), attempts=30)
        answers = asked(backend, [question(number) for number in range(40)])
    assert all(isinstance(answer, Reply) for answer in answers)
    assert backend.caller.limiter.cuts >= 1


_FAULTS = (
    "429",
    "429 seconds 3",
    "500",
    "529",
    "reset",
    "half-json",
    "html",
    "empty-choices",
    "overloaded",
    "broken-off",
)
_ENDS = ("no-content", "error-body", "refusal", "length")


@pytest.mark.parametrize("kind", ["openai", pytest.param("anthropic", marks=pytest.mark.slow)])
def test_five_hundred_requests_with_mixed_faults_each_end_once(kind: str) -> None:
    def fault(number: int) -> str | None:
        generator = random.Random(number)
        return generator.choice(_FAULTS + _ENDS) if generator.random() < 0.2 else None

    with FaultyServer(fault) as server:
        backend = opened(kind, server, max_concurrency=48)
        answers: list[Any] = asked(backend, [question(number) for number in range(500)])
    assert len(answers) == 500
    kinds = Counter("failure" if isinstance(answer, Failure) else answer.stop for answer in answers)
    assert set(kinds) == {"stop", "failure", "refusal", "length"}
    assert kinds["stop"] > 400
    used = [server_fault for number in range(len(server.posted)) if (server_fault := fault(number))]
    met = Counter(used)
    assert kinds["failure"] == met["no-content"] + met["error-body"]
    assert (kinds["refusal"], kinds["length"]) == (met["refusal"], met["length"])
    assert sum(len(answer.call.attempts) for answer in answers) == len(server.posted)
    assert backend.caller.limiter.in_flight == 0


def test_an_interruption_leaves_no_place_taken() -> None:
    with FaultyServer(lambda _: "hang") as server:
        backend = opened("openai", server)

        async def run() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await backend.complete([question(number) for number in range(20)])
            await backend.aclose()

        asyncio.run(run())
    assert backend.caller.limiter.in_flight == 0


def test_waiting_for_a_place_is_not_counted_as_time() -> None:
    """A request that waits long for its place still gets its attempts."""
    tries: list[int] = []

    def attempt(number: int) -> Callable[[], Awaitable[Answered]]:
        async def once() -> Answered:
            tries.append(number)
            await asyncio.sleep(0.04)
            if tries.count(number) == 1:
                raise CallError("try again", 500, True)
            return Answered({}, None)

        return once

    async def run() -> list[Answered]:
        caller = Caller(Policy(max_concurrency=1, total=0.4, first_wait=0.004), "m", Naps())
        return await asyncio.gather(*(caller.call(attempt(number), 1, Call()) for number in range(10)))

    assert len(asyncio.run(run())) == 10
    assert len(tries) == 20  # twice the total in all, one after another
