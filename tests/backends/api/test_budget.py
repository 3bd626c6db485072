"""A budget is never exceeded, whatever becomes of the calls, and never holds up calls that fit."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffprompt.backends.api.anthropic import AnthropicBackend
from ffprompt.backends.api.base import ApiBackend
from ffprompt.backends.api.budget import Budget, Counted, Reservation
from ffprompt.backends.api.openai import OpenAIBackend
from ffprompt.backends.api.retry import Answered, Call, Caller, CallError, Policy
from ffprompt.backends.base import Message, Request
from ffprompt.backends.call_record import CountedRecord
from ffprompt.config.run_config import RunConfig, make
from ffprompt.cost.prices import PICO, Allowance, Price, Spent
from ffprompt.cost.usage import Bound, Usage
from ffprompt.errors import ConfigError, FFPromptError, RunFailedError, StoreError
from ffprompt.evaluation.spending import Journal, enough, price_of, spent, unlimited
from ffprompt.runs.folder import RunFolder
from tests.support.faulty_server import KEY, FaultyServer
from tests.support.records import run_content

PRICE = Price.model_validate(
    {"models": ["m"], "input": 1.0, "output": 10.0, "as_of": "2026-01-01", "source": "here", "batch_discount": 0.5}
)
UNKNOWN, FREE, CANCELLED = "unknown", "free", "cancelled"


class Watched(Budget):
    """A budget that checks itself at every step."""

    def _check(self) -> None:
        assert self.in_flight >= 0 and self.held_picos >= 0 and self.held_tokens >= 0
        if self.max_picos is not None:
            assert self.picos + self.held_picos <= self.max_picos
        if self.allowance.max_tokens is not None:
            assert self.tokens + self.held_tokens <= self.allowance.max_tokens

    def _take(self, asked: Reservation) -> None:
        super()._take(asked)
        self._check()

    def settle(self, reservation: Reservation, usage: Usage | None, counted: Counted | None = None) -> None:
        super().settle(reservation, usage, counted)
        self._check()


async def spend(budget: Budget, bound: Bound, end: Usage | str, pause: int, counted: Counted | None = None) -> None:
    reserved = await budget.reserve(bound)
    used: Usage | None = None
    try:
        for _ in range(pause):
            await asyncio.sleep(0)
        if end == CANCELLED:
            raise asyncio.CancelledError
        used = Usage(0, 0) if end == FREE else None if end == UNKNOWN else end  # type: ignore[assignment]
    finally:
        budget.settle(reserved, used, counted)


@st.composite
def attempt(draw: Any) -> tuple[Bound, Usage | str, int, int | None]:
    """(bound, how it ends, loop rounds in flight, rounds until its task is cancelled)."""
    bound = Bound(draw(st.integers(1, 60)), draw(st.integers(1, 40)))
    used = st.builds(Usage, st.integers(0, bound.prompt), st.integers(0, bound.reply))
    end = draw(st.one_of(used, st.sampled_from([UNKNOWN, FREE, CANCELLED])))
    return bound, end, draw(st.integers(0, 6)), draw(st.one_of(st.none(), st.integers(0, 12)))


@settings(max_examples=300, deadline=None)
@given(st.lists(attempt(), min_size=1, max_size=40), st.integers(50, 2000), st.booleans(), st.booleans())
def test_spent_and_on_the_wire_never_exceed_the_limit(
    attempts: list[Any], limit: int, in_tokens: bool, in_usd: bool
) -> None:
    allowance = Allowance(PRICE, limit * 1e-6 if in_usd else None, limit if in_tokens or not in_usd else None)

    async def run() -> Budget:
        budget = Watched(allowance)
        tasks = []
        for bound, end, pause, cancel in attempts:
            tasks.append(task := asyncio.create_task(spend(budget, bound, end, pause)))
            if cancel is not None:
                asyncio.get_running_loop().call_later(0, _after, cancel, task.cancel)
        done, late = await asyncio.wait(tasks, timeout=1)
        assert not late, "a deadlock"
        for task in done:
            assert task.cancelled() or task.exception() is None or isinstance(task.exception(), RunFailedError)
        return budget

    budget = asyncio.run(run())
    assert (budget.in_flight, budget.held_picos, budget.held_tokens) == (0, 0, 0)
    assert not budget._waiting


def _after(rounds: int, what: Callable[[], object]) -> None:
    if rounds == 0:
        what()
    else:
        asyncio.get_running_loop().call_soon(_after, rounds - 1, what)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50), st.integers(0, 4)), min_size=1, max_size=40))
def test_everything_is_asked_where_the_limit_is_the_sum(attempts: list[tuple[int, int, int]]) -> None:
    bounds = [Bound(prompt, reply) for prompt, reply, _ in attempts]

    async def run() -> Budget:
        budget = Watched(Allowance(PRICE, None, sum(bound.tokens for bound in bounds)))
        ends = [spend(budget, bound, UNKNOWN, pause) for bound, (_, _, pause) in zip(bounds, attempts, strict=True)]
        await asyncio.wait_for(asyncio.gather(*ends), 5)
        return budget

    budget = asyncio.run(run())
    assert budget.tokens == sum(bound.tokens for bound in bounds)
    assert budget.picos == sum(bound.prompt * 10**6 + bound.reply * 10**7 for bound in bounds)


def test_calls_that_are_cheaper_than_reserved_make_room_for_those_that_wait() -> None:
    async def run() -> tuple[Budget, int]:
        budget, peak = Watched(Allowance(None, None, 1000)), 0

        async def one() -> None:
            nonlocal peak
            reserved = await budget.reserve(Bound(10, 90))
            peak = max(peak, budget.in_flight)
            await asyncio.sleep(0)
            budget.settle(reserved, Usage(5, 5))

        await asyncio.wait_for(asyncio.gather(*(one() for _ in range(90))), 5)
        return budget, peak

    budget, peak = asyncio.run(run())
    assert (budget.tokens, peak) == (900, 10)


def test_waiters_go_in_the_order_in_which_they_came() -> None:
    async def run() -> list[str]:
        budget, order = Watched(Allowance(None, None, 100)), []

        async def one(name: str, size: int) -> None:
            reserved = await budget.reserve(Bound(size, 0))
            order.append(name)
            await asyncio.sleep(0)
            budget.settle(reserved, Usage(0, 0))

        await asyncio.gather(one("first", 60), one("large", 90), one("small", 10))
        return order

    assert asyncio.run(run()) == ["first", "large", "small"]  # the small one would have fitted beside the first


def test_who_stands_behind_one_that_leaves_the_line_goes_at_once() -> None:
    async def run() -> None:
        budget = Watched(Allowance(None, None, 100))
        await budget.reserve(Bound(60, 0))  # and is in flight for long
        large = asyncio.create_task(budget.reserve(Bound(90, 0)))
        small = asyncio.create_task(budget.reserve(Bound(10, 0)))
        await asyncio.sleep(0)
        large.cancel()
        await asyncio.wait_for(small, 1)
        assert small.done() and large.cancelled()

    asyncio.run(run())


def test_a_run_that_ends_sends_nothing_more() -> None:
    async def run() -> list[Any]:
        budget = Watched(Allowance(None, None, 100))
        pool = await budget.reserve(Bound(60, 0))
        waiting = [asyncio.create_task(budget.reserve(Bound(size, 0))) for size in (90, 10)]
        await asyncio.sleep(0)
        budget.settle(pool, None)  # the first in line will never fit; the other would, but the run is over
        return await asyncio.gather(*waiting, return_exceptions=True)

    assert all(isinstance(end, RunFailedError) for end in asyncio.run(run()))


def test_the_end_of_a_budget_is_one_line_with_the_remedy() -> None:
    async def run(allowance: Allowance) -> str:
        budget = Watched(allowance)
        budget.answers += 3
        budget.settle(await budget.reserve(Bound(100, 40)), Usage(90, 30))
        with pytest.raises(RunFailedError) as caught:
            await budget.reserve(Bound(100, 40))
        with pytest.raises(RunFailedError):  # it is over for smaller ones too, lest a run end in odds and ends
            await budget.reserve(Bound(1, 1))
        return str(caught.value)

    assert asyncio.run(run(Allowance(PRICE, 0.0006, None, Spent(0, 0, 4, 4)))) == (
        "the budget of $0.00060 is spent: $0.00039 for 7 answers, and the next call may take $0.00050; "
        "go on with a larger --max-usd and --resume"
    )
    assert asyncio.run(run(Allowance(None, None, 200))) == (
        "the budget of 200 tokens is spent: 120 for 3 answers, and the next call may take 140 tokens; "
        "go on with a larger --max-tokens-total and --resume"
    )


def test_what_was_spent_before_counts() -> None:
    async def run() -> None:
        with pytest.raises(RunFailedError, match=r"\$0.95 for 12 answers"):
            await Watched(Allowance(PRICE, 1.0, None, Spent(95 * PICO // 100, 1, 12, 12))).reserve(Bound(0, 6000))
        await Watched(Allowance(PRICE, 1.0, None, Spent(95 * PICO // 100, 1, 12, 12))).reserve(Bound(0, 5000))

    asyncio.run(run())


def test_a_prompt_that_the_price_is_not_for_is_not_sent() -> None:
    short = PRICE.model_copy(update={"up_to": 50})

    async def run() -> None:
        with pytest.raises(RunFailedError, match="up to 50 tokens, and one may have 51"):
            await Budget(Allowance(short, 1.0)).reserve(Bound(51, 1))
        await Budget(Allowance(short, None, 100)).reserve(Bound(51, 1))  # a budget in tokens needs no price

    asyncio.run(run())


def outcome(ends: list[CallError | Answered], **policy: Any) -> tuple[Caller, Call]:
    """A call whose attempts end in turn as given."""
    left = iter(ends)

    async def once() -> Answered:
        end = next(left)
        if isinstance(end, CallError):
            raise end
        return end

    async def nap(_: float) -> None: ...

    async def run() -> tuple[Caller, Call]:
        caller, call = Caller(Policy(**policy), "m", nap, lambda body: body["usage"]), Call()
        caller.budget = Watched(Allowance(PRICE, 1.0))
        with contextlib.suppress(CallError):
            await caller.call(once, 1, call, Bound(100, 10))
        return caller, call

    return asyncio.run(run())


GOOD = Answered({"usage": Usage(7, 3)}, None)


@pytest.mark.parametrize(
    ("ends", "tokens"),
    [
        ([GOOD], (7, 3)),
        ([Answered({"usage": None}, None)], (100, 10)),  # answered, but nobody knows for how much
        ([CallError("x", 500, True, free=True), GOOD], (7, 3)),
        ([CallError("x", "timeout", True), GOOD], (107, 13)),
        ([CallError("x", "ReadError", True), CallError("x", "no JSON", True), GOOD], (207, 23)),
        ([CallError("x", 400, False, free=True)], (0, 0)),
    ],
)
def test_an_attempt_counts_as_what_is_known_of_it(ends: list[Any], tokens: tuple[int, int]) -> None:
    caller, call = outcome(ends)
    cost = (tokens[0] + tokens[1] * 10) / 1e6
    assert call.record().counted == CountedRecord(tokens[0], tokens[1], cost)
    assert (caller.budget.tokens, caller.budget.in_flight) == (sum(tokens), 0)


def test_the_most_is_what_is_sent_in_bytes_and_the_limit_of_the_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = (Message("system", "Remember the bit."), Message("user", "ветер " * 50))
    request = Request("k", "", turns, max_tokens=40)
    text = sum(len(message.text.encode()) for message in turns)
    backends: list[tuple[ApiBackend, int]] = [
        (OpenAIBackend("gpt-4o", live=False), 40),
        (OpenAIBackend("gpt-5", live=False), 40 + 32768),
        (OpenAIBackend("gpt-5", "responses", live=False, reasoning_effort="low"), 40 + 8192),
        (AnthropicBackend("claude-haiku-4-5", live=False), 40),
        (AnthropicBackend("claude-haiku-4-5", live=False, thinking=2000), 2040),
        (AnthropicBackend("claude-opus-5", live=False), 40 + 32768),
    ]
    for backend, limit in backends:
        most = backend.max_usage(request)
        assert most.reply == limit
        assert text + 32 <= most.prompt <= text + 600
    scored = Request("k", "w 1 r 1", reads=((6, 7),), surfaces=("0", "1"))
    assert OpenAIBackend("m", "completions", live=False).max_usage(scored).reply == 1


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize(
    ("fault", "counted"),
    [
        (None, "usage"),
        ("500", "usage"),
        ("429", "usage"),
        ("400", "nothing"),
        ("empty-choices", "usage and usage"),
        ("reset", "most and usage"),
        ("half-json", "most and usage"),
        ("html", "most and usage"),
        ("error-body-429", "most and usage"),
        ("error-body", "most"),
    ],
)
def test_real_clients_tell_what_is_free_from_what_is_unknown(
    monkeypatch: pytest.MonkeyPatch, kind: str, fault: str | None, counted: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)

    async def nap(_: float) -> None: ...

    async def run(server: FaultyServer) -> tuple[dict[str, Any], Bound]:
        backend: ApiBackend
        if kind == "openai":
            backend = OpenAIBackend("a-model", base_url=server.v1, sleep=nap)
        else:
            backend = AnthropicBackend("claude-haiku-4-5", base_url=server.url, sleep=nap)
        request = Request("k", "", (Message("user", "w1 i0 r?"),), max_tokens=40)
        answer: Any = await backend.ask(request)
        await backend.aclose()
        return answer.call.record().counted, backend.max_usage(request)

    reported = {"prompt_tokens": 11, "completion_tokens": 5, "input_tokens": 11, "output_tokens": 5}
    with FaultyServer([fault] if fault else [], usage=lambda _: reported) as server:
        found, most = asyncio.run(run(server))
    usage = (11, 5)
    prompt, reply = (
        sum(n * counted.split().count(word) for word, n in (("usage", used), ("most", bound)))
        for used, bound in zip(usage, (most.prompt, most.reply), strict=True)
    )
    assert found == CountedRecord(prompt, reply, None)


def test_a_connection_that_was_never_made_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    async def nap(_: float) -> None: ...

    with FaultyServer() as server:
        backend = OpenAIBackend("a-model", base_url=server.v1, sleep=nap)
    answer: Any = asyncio.run(backend.ask(Request("k", "", (Message("user", "r?"),))))
    assert answer.call.record().counted.prompt_tokens == 0


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_sixty_four_calls_in_flight_with_faults_stay_within_the_budget(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    faults = ("reset", "half-json", "500", "error-body", "html", "400", "empty-choices")
    bill = 0

    def fault(number: int) -> str | None:
        return faults[number // 4 % len(faults)] if number % 4 == 1 else None

    def usage(body: Any) -> dict[str, int]:
        nonlocal bill  # by what is answered, read or not
        prompt, reply = len(json.dumps(body, ensure_ascii=False).encode()), body["max_tokens"]
        bill += prompt + reply
        return {
            "prompt_tokens": prompt, "completion_tokens": reply, "input_tokens": prompt, "output_tokens": reply,
        }  # fmt: skip

    async def nap(_: float) -> None: ...

    async def run(server: FaultyServer, limit: int) -> tuple[ApiBackend, list[Any]]:
        settings: dict[str, Any] = {"policy": Policy(outage=1000), "sleep": nap}
        backend: ApiBackend
        if kind == "openai":
            backend = OpenAIBackend("a-model", base_url=server.v1, **settings)
        else:
            backend = AnthropicBackend("claude-haiku-4-5", base_url=server.url, **settings)
        backend.set_allowance(Allowance(max_tokens=limit))
        requests = [Request(f"{n}", "", (Message("user", f"w{n} r?"),), max_tokens=40) for n in range(400)]
        answers = await asyncio.gather(*(backend.ask(request) for request in requests), return_exceptions=True)
        await backend.aclose()
        return backend, answers

    with FaultyServer(fault, latency=0.03, usage=usage) as server:
        backend, answers = asyncio.run(run(server, limit=50_000))
    over = [answer for answer in answers if isinstance(answer, BaseException)]
    assert over and all(isinstance(error, RunFailedError) for error in over)
    assert backend.caller.limiter.peak == 64
    assert backend.caller.budget.in_flight == 0
    bound = backend.max_usage(Request("0", "", (Message("user", "w399 r?"),), max_tokens=40))
    assert 50_000 - bound.tokens < backend.caller.budget.tokens <= 50_000
    assert 25_000 < bill <= backend.caller.budget.tokens


# What a run's folder says was spent.


def folder(path: Path, lines: list[dict[str, Any]], sent: str | None = None) -> RunFolder:
    made = RunFolder.create(path, "run", run_content())
    made.trials_path.write_text("".join(json.dumps({"outcomes": [], **line}) + "\n" for line in lines))
    if sent is not None:
        made.sent_path.write_text(sent)
    return made


def call(prompt: int, reply: int, usd: float | None, *sent: int) -> dict[str, Any]:
    counted = {"prompt_tokens": prompt, "reply_tokens": reply, "usd": usd}
    return {"counted": counted, "attempts": [{"sent": number} for number in sent]}


def turn(call: dict[str, Any]) -> dict[str, Any]:
    return {"reply": "1", "stop": "stop", "reads": 1, "call": call}


def test_all_lines_count_and_so_do_calls_that_left_none(tmp_path: Path) -> None:
    lines = [
        {"trial": 0, "reply": "1", "stop": "stop", "call": call(10, 5, 0.25, 0)},
        {"trial": 1, "error": "timeout", "call": call(100, 50, 1.0, 1, 3)},
        {"trial": 1, "reply": "1", "stop": "stop", "call": call(10, 5, 0.25, 5)},  # asked again
        {"trial": 2, "error": "x", "call": call(2, 2, 0.5, 6), "turns": [turn(call(1, 1, 0.5, 2))]},
    ]
    sent = "".join(f"{100 + number}\t{10 * number}\n" for number in range(8))
    sent = sent.replace("107\t70", "free\t1\nfree\t4\n107\t70\n108\t80") + "9999\t99"
    made = folder(tmp_path, lines, sent)
    lost = Bound(107 + 108, 70 + 80)  # attempts 7 and 8; 4 was free, and that of the unfinished line was never sent
    found = spent(made, PRICE)
    assert found.tokens == 15 + 150 + 15 + 2 + 4 + lost.tokens
    assert found.picos == int(2.5 * PICO) + lost.prompt * 10**6 + lost.reply * 10**7
    assert (found.calls, found.answers, found.silent) == (7, 2, 0)
    assert spent(made, None).picos is None and spent(made, None).tokens == found.tokens


def test_a_turn_that_stands_in_several_lines_counts_once(tmp_path: Path) -> None:
    turns = [turn(call(10, 5, 0.25, number)) for number in range(3)]
    lines = [
        {"trial": 0, "error": "the dialogue is not over", "first_turn": 0, "turns": turns[:1]},
        {"trial": 0, "error": "the dialogue is not over", "first_turn": 1, "turns": turns[1:2]},
        {"trial": 0, "turns": turns},
    ]
    found = spent(folder(tmp_path, lines), PRICE)
    assert (found.tokens, found.picos, found.calls, found.answers) == (45, 75 * PICO // 100, 3, 1)


def test_calls_made_while_no_price_was_known_are_priced_from_above(tmp_path: Path) -> None:
    made = folder(tmp_path, [{"trial": 0, "reply": "1", "stop": "stop", "call": call(1000, 100, None, 0)}])
    assert spent(made, PRICE).picos == 1000 * 10**6 + 100 * 10**7


def test_batched_calls_cost_less_and_those_that_failed_nothing(tmp_path: Path) -> None:
    used = {"prompt_tokens": 1000, "reply_tokens": 100}
    lines = [
        {"trial": 0, "reply": "1", "stop": "stop", **used, "call": {"batch": "b1"}},
        {"trial": 1, "error": "expired", "call": {"batch": "b1", "counted": None, "attempts": [{"status": "expired"}]}},
        {"trial": 2, "reply": "1", "stop": "stop", **used},  # no call of an API
    ]
    found = spent(folder(tmp_path, lines), PRICE)
    assert (found.tokens, found.picos, found.silent) == (1100, 10**9, 0)


def test_a_call_without_a_word_about_its_cost_is_silent(tmp_path: Path) -> None:
    lines = [
        {"trial": 0, "error": "x", "call": {"attempts": [{"status": 500}]}},
        {"trial": 1, "error": "no choices", "call": {"batch": "b1", "attempts": [{"status": 200}]}},
    ]
    assert spent(folder(tmp_path, lines), PRICE).silent == 2


def test_batches_cannot_be_held_to_a_budget() -> None:
    unlimited(config())
    with pytest.raises(ConfigError, match=r"--max-usd 2\.0: batches cannot be held to a budget"):
        unlimited(config(max_usd=2))
    with pytest.raises(ConfigError, match="--max-tokens-total 9: batches"):
        unlimited(config(max_tokens_total=9))


def test_a_journal_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "sent.tsv"
    first = Journal(path)
    assert [first.sent(Bound(1, 2)), first.sent(Bound(3, 4))] == [0, 1]
    with path.open("a") as torn:
        torn.write("5\t")
    second = Journal(path)  # the first was killed
    second.free(1)
    assert Journal(path).sent(Bound(6, 7)) == 2
    assert path.read_text() == "1\t2\n3\t4\nfree\t1\n6\t7\n"
    path.write_text("1\tx\n")
    with pytest.raises(StoreError, match=r"sent\.tsv, line 1: not two numbers"):
        spent(folder(tmp_path, [], "1\tx\n"), PRICE)


def config(**settings: Any) -> RunConfig:
    return make({"backend": "openai", "model": "gpt-4o-mini"} | settings)


OPENAI = {"base_url": "https://api.openai.com/v1/"}


def test_a_budget_in_dollars_wants_a_price() -> None:
    own = {"base_url": "http://localhost:1/v1"}
    assert price_of(config(), own) is None and price_of(config(max_tokens_total=9), own) is None
    with pytest.raises(
        ConfigError, match="--max-usd 2: no price is known for gpt-4o-mini; give one with --prices FILE"
    ):
        price_of(config(max_usd=2), own)
    assert price_of(config(max_usd=2), OPENAI) is not None
    assert price_of(config(max_usd=2), own, PRICE) == PRICE  # known when the run began


def test_only_a_users_file_replaces_the_price_of_a_run(tmp_path: Path) -> None:
    assert price_of(config(), OPENAI, PRICE) == PRICE
    path = tmp_path / "p.toml"
    path.write_text('[[price]]\nmodels=["gpt-4o-mini"]\ninput=3.0\noutput=4.0\nas_of=2026-01-01\nsource="x"\n')
    found = price_of(config(prices=str(path)), OPENAI, PRICE)
    assert found is not None and found.input == 3.0


def test_a_budget_too_small_for_one_call_is_said_at_once() -> None:
    enough(config(max_usd=0.0011, max_tokens_total=200), PRICE, Bound(100, 100))
    with pytest.raises(ConfigError, match=r"--max-usd 0.001: too little for a single call, which may cost \$0.0011"):
        enough(config(max_usd=0.001), PRICE, Bound(100, 100))
    with pytest.raises(ConfigError, match="--max-tokens-total 199: too few for a single call, which may take 200"):
        enough(config(max_tokens_total=199), None, Bound(100, 100))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_usd": 0}, "--max-usd 0: expected a number above 0"),
        ({"max_usd": -1}, "--max-usd -1: expected a number above 0"),
        ({"max_usd": float("inf")}, "--max-usd inf: expected a number above 0"),
        ({"max_tokens_total": 0}, "--max-tokens-total 0: expected a whole number of at least 1"),
    ],
)
def test_limits_are_positive(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**settings)


def test_limits_and_prices_are_no_part_of_the_plan() -> None:
    assert config(max_usd=1, max_tokens_total=5, prices="x").plain() == config().plain()


@pytest.mark.parametrize("flag", ["max_usd", "max_tokens_total", "prices"])
def test_local_models_have_no_such_setting(flag: str) -> None:
    from ffprompt.backends.registry import open_backend

    value = "x" if flag == "prices" else 1
    with pytest.raises(FFPromptError, match=f"--{flag.replace('_', '-')}.*no such setting"):
        open_backend(make({"backend": "scripted", "model": "oracle", flag: value}))
