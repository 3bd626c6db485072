"""What tokens cost: whose price is known, what a call costs, and what is never made up."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffprompt._util.formatting import dollars
from ffprompt.cost.prices import PICO, Bill, Price, find, usd
from ffprompt.cost.usage import Bound, Usage
from ffprompt.errors import ConfigError, StoreError
from ffprompt.runs.records import RunInfo
from ffprompt.scoring.response_records import read_response
from tests.conftest import ROOT
from tests.support.records import run_content

OPENAI, ANTHROPIC = "https://api.openai.com/v1/", "https://api.anthropic.com"
ROW = """
[[price]]
models = ["mine", "gpt-4o"]
input = 1.0
output = 2.0
as_of = 2026-11-20
source = "a contract"
"""


def price(**changes: Any) -> Price:
    row = {"models": ["m"], "input": 2.0, "output": 8.0, "as_of": "2026-01-01", "source": "here"}
    return Price.model_validate(row | changes)


@pytest.mark.parametrize(
    ("name", "url", "found"),
    [
        ("gpt-4o-mini", OPENAI, 0.15),
        ("gpt-4o-mini-2024-07-18", OPENAI, 0.15),
        ("claude-haiku-4-5-20251001", ANTHROPIC, 1.0),
        ("gpt-4o-2024-05-13", OPENAI, 5.0),  # dearer than those after it, under the same name
        ("gpt-4o-mini-audio", OPENAI, None),
        ("gpt-4o-mini-2024", OPENAI, None),
        ("GPT-4o-mini", OPENAI, None),
        ("openai/gpt-4o-mini", OPENAI, None),
        ("gpt-4o-mini", "http://localhost:8000/v1", None),
        ("gpt-4o-mini", "https://eu.api.openai.com/v1", None),  # dearer there
        ("gpt-4o-mini", "https://api.openai.com.evil.example/v1", None),
        ("gpt-4o-mini", "", None),
    ],
)
def test_a_price_is_for_a_name_at_the_providers_own_server(name: str, url: str, found: float | None) -> None:
    known = find(name, url)
    assert (known and known.input) == found


def test_a_users_file_goes_first_and_holds_for_any_server(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(ROW)
    for name in ("mine", "mine-2026-01-02", "gpt-4o", "gpt-4o-20260102"):
        known = find(name, "http://localhost:1/v1", str(path))
        assert known is not None and (known.input, known.output) == (1.0, 2.0)
    known = find("gpt-4o-mini", OPENAI, str(path))  # not in the file, so the list
    assert known is not None and known.input == 0.15
    assert find("gpt-4o-mini", "http://localhost:1/v1", str(path)) is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("input = 1.0", "input = -1.0"), "price 1: input -1.0"),
        (("input = 1.0", "input = nan"), "price 1: input nan"),
        (("input = 1.0", "input = true"), "price 1: input True"),
        (("input = 1.0", 'input = "1"'), "price 1: input '1'"),
        (("output = 2.0\n", ""), "price 1: output is missing"),
        (("output", "ouput"), "price 1: ouput: unknown key; did you mean 'output'"),
        (("as_of = 2026-11-20", 'as_of = "soon"'), "price 1: as_of 'soon'"),
        (('["mine", "gpt-4o"]', "[]"), r"price 1: models \[\]"),
        (('["mine", "gpt-4o"]', '["mine", "mine"]'), None),
        (
            ("output = 2.0", "output = 2.0\ntiers = [{ above = 9, input = 1.0 }]"),
            r"price 1: tiers\[0\].output is missing",
        ),
        (
            ("output = 2.0", "output = 2.0\ntiers = [{ abov = 9, input = 1.0, output = 1.0 }]"),
            r"price 1: tiers\[0\].abov: unknown key; did you mean 'above'",
        ),
        (
            ("output = 2.0", "output = 2.0\ntiers = [{ above = 0, input = 1.0, output = 1.0 }]"),
            r"price 1: tiers\[0\].above 0: expected at least 1",
        ),
        (
            ("output = 2.0", f"output = 2.0\ntiers = [{', '.join(['{ above = 9, input = 1.0, output = 1.0 }'] * 2)}]"),
            "price 1: tiers: expected growing numbers of tokens, not above = 9, 9",
        ),
        (("[[price]]", "[[prices]]"), "prices: unknown key"),
        (("[[price]]", "[price"), "prices "),
    ],
)
def test_a_bad_file_is_one_line_that_names_the_row(tmp_path: Path, change: tuple[str, str], says: str | None) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(ROW.replace(*change))
    if says is None:
        assert find("mine", "", str(path)) is not None
        return
    with pytest.raises(ConfigError, match=says) as caught:
        find("mine", "", str(path))
    assert "\n" not in str(caught.value)


def test_a_name_with_two_prices_and_a_missing_file_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(ROW + ROW)
    with pytest.raises(ConfigError, match="price 2: 'mine' has a price already"):
        find("mine", "", str(path))
    with pytest.raises(ConfigError, match="No such file"):
        find("mine", "", str(tmp_path / "none.toml"))


def test_the_list_is_sane_and_exact_to_the_picodollar() -> None:
    rows = tomllib.loads((ROOT / "ffprompt" / "cost" / "prices.toml").read_text())["price"]
    for row in rows:
        made = Price.model_validate(row)
        assert (made.cached_input or 0) < made.input < made.output, row
        assert made.input <= (made.cache_write or made.input) < made.output, row
        assert 2025 <= made.as_of.year <= 2027 and made.source.startswith("https://"), row
        assert made.picos(Usage(1000, 0)) == round(made.input * PICO / 1000), row
        assert made.picos(Usage(0, 1000)) == round(made.output * PICO / 1000), row
        for tier in made.tiers:
            assert (tier.cached_input or 0) < tier.input < tier.output, row
            assert (tier.input > made.input) and (tier.output > made.output), row
            assert (tier.cached_input is None) == (made.cached_input is None), row
            assert (tier.cache_write is None) == (made.cache_write is None), row


def test_each_kind_of_token_has_its_own_price() -> None:
    full = price(cached_input=0.5, cache_write=2.5, batch_discount=0.5)
    assert full.picos(Usage(1000, 100)) == 2_800 * 10**6
    assert full.picos(Usage(1000, 100, cached=400, written=100)) == (500 * 2 + 400 * 0.5 + 100 * 2.5 + 800) * 10**6
    assert full.picos(Usage(1000, 100, reasoning=90)) == 2_800 * 10**6  # part of the reply already
    assert full.picos(Usage(1000, 100, batch=True)) == 1_400 * 10**6
    bare = price()
    assert bare.picos(Usage(1000, 100, cached=400, written=100)) == 2_800 * 10**6


def test_what_a_row_does_not_price_has_no_cost() -> None:
    short = price(up_to=1000)
    assert short.picos(Usage(1000, 1)) is not None and short.picos(Usage(1001, 1)) is None
    assert short.max_cost(Bound(1000, 1)) is not None and short.max_cost(Bound(1001, 1)) is None
    assert short.picos(Usage(10, 1, batch=True)) is None


LONG: dict[str, Any] = {"tiers": [{"above": 1000, "input": 4.0, "cached_input": 0.8, "output": 12.0}]}
CHEAPER: dict[str, Any] = {
    "tiers": [{"above": 1000, "input": 0.1, "output": 0.2}, {"above": 2000, "input": 9.0, "output": 0.3}]
}


@given(
    st.integers(0, 5000), st.integers(0, 5000), st.integers(0, 5000), st.integers(0, 5000), st.booleans(),
    st.integers(0, 2000), st.integers(0, 2000),
)  # fmt: skip
def test_the_most_is_never_less_than_the_cost(
    fresh: int, cached: int, written: int, reply: int, batch: bool, more_prompt: int, more_reply: int
) -> None:
    for row in (
        price(), price(cached_input=0.123457, cache_write=3.33, batch_discount=0.5), price(**LONG), price(**CHEAPER),
        price(cached_input=0.5, batch_discount=0.5, cached_in_batch=False, **LONG),
    ):  # fmt: skip
        used = Usage(fresh + cached + written, reply, cached, written, batch=batch and row.batch_discount is not None)
        cost, most = row.picos(used), row.max_cost(Bound(used.prompt + more_prompt, used.reply + more_reply))
        assert cost is not None and most is not None and cost <= most


def test_a_long_prompt_puts_the_whole_request_into_its_tier() -> None:
    row = price(cached_input=0.5, batch_discount=0.5, **LONG)
    assert row.picos(Usage(1000, 100)) == (1000 * 2 + 100 * 8) * 10**6
    assert row.picos(Usage(1001, 100)) == (1001 * 4 + 100 * 12) * 10**6
    assert row.picos(Usage(1001, 100, cached=1000)) == round((4 + 1000 * 0.8 + 100 * 12) * 10**6)  # cached ones count
    assert row.picos(Usage(1001, 100, batch=True)) == (1001 * 4 + 100 * 12) * 10**6 // 2
    assert row.max_cost(Bound(1000, 100)) == (1000 * 2 + 100 * 8) * 10**6
    assert row.max_cost(Bound(1001, 100)) == (1001 * 4 + 100 * 12) * 10**6


def test_the_most_is_that_of_the_dearest_tier_that_a_prompt_can_reach() -> None:
    row = price(**CHEAPER)
    assert row.max_cost(Bound(1500, 100)) == (1000 * 2 + 100 * 8) * 10**6  # a prompt of 1,000 would cost the most
    assert row.max_cost(Bound(5000, 0)) == 5000 * 9 * 10**6


@pytest.mark.parametrize(
    ("name", "url", "prompt", "dollars_in", "dollars_out"),
    [
        ("gpt-6-sol", OPENAI, 272_000, 2.0, 10.0),
        ("gpt-6-sol", OPENAI, 272_001, 4.0, 15.0),
        ("gpt-5.4", OPENAI, 300_000, 5.0, 22.5),
        ("gpt-6.2-astra", OPENAI, 10, 8.0, 40.0),
        ("claude-haiku-5-5", ANTHROPIC, 100_000, 0.1, 0.5),
        ("claude-haiku-5-5", ANTHROPIC, 100_001, 0.5, 2.5),
        ("claude-fable-5-2", ANTHROPIC, 500_000, 8.0, 40.0),
    ],
)
def test_the_table_prices_long_prompts(name: str, url: str, prompt: int, dollars_in: float, dollars_out: float) -> None:
    known = find(name, url)
    assert known is not None
    assert known.picos(Usage(prompt, 1000)) == round((prompt * dollars_in + 1000 * dollars_out) * 10**6)


def test_a_batch_without_a_rate_for_the_cache_charges_cached_tokens_like_all_others() -> None:
    usual = price(cached_input=0.5, batch_discount=0.5)
    without = price(cached_input=0.5, batch_discount=0.5, cached_in_batch=False)
    used = Usage(1000, 0, cached=400)
    assert (usual.picos(used), without.picos(used)) == (1_400 * 10**6, 1_400 * 10**6)
    batch = Usage(1000, 0, cached=400, batch=True)
    assert (usual.picos(batch), without.picos(batch)) == (700 * 10**6, 1_000 * 10**6)


def test_amounts_are_shown_with_the_digits_they_need() -> None:
    assert [dollars(amount) for amount in (1234.5, 0.25, 0.00315, 0.0, None)] == [
        "$1,234.50", "$0.25", "$0.0032", "$0.00", "unknown",
    ]  # fmt: skip
    assert usd(None) is None


def recorded(row: dict[str, Any] | None) -> Price | None:
    """The price that a run's record holds."""
    return RunInfo.from_json({"schema": 1, "run_id": "r", **run_content(price=row)}).price


def test_a_price_survives_the_record_of_a_run() -> None:
    known = price(cached_input=0.5, up_to=9, shut_down="2026-12-11", **LONG)
    assert recorded(json.loads(json.dumps(known.record()))) == known
    earlier = {
        "models": ["m"], "input": 2.0, "cached_input": None, "cache_write": None, "output": 8.0, "up_to": 272000,
        "batch_discount": 0.5, "as_of": "2026-01-01", "source": "here",
    }  # fmt: skip  # as versions before long-prompt tiers wrote it
    assert recorded(earlier) == price(up_to=272000, batch_discount=0.5)
    assert recorded(None) is None
    with pytest.raises(StoreError, match=r"run\.json: price\.\w+ is missing"):
        recorded({"input": 1.0})


def line(prompt: int | None, reply: int | None, **call: Any) -> dict[str, Any]:
    return {"reply": "1", "stop": "stop", "prompt_tokens": prompt, "reply_tokens": reply, "call": call}


def add(bill: Bill, line: dict[str, Any]) -> None:
    for call in read_response(line).calls:
        bill.add(call.usage, call.call is not None)


def test_a_bill_adds_up_what_is_known() -> None:
    bill = Bill(price(cached_input=0.5, batch_discount=0.5))
    add(bill, line(1000, 100, cached_tokens=400, reasoning_tokens=60))
    add(bill, line(1000, 100, cached_tokens=0, reasoning_tokens=0, batch="b"))
    assert bill.row() == {
        "prompt_tokens": 2000, "reply_tokens": 200, "cached_tokens": 400, "reasoning_tokens": 60,
        "usd": pytest.approx(600e-6 * 2 + 400e-6 * 0.5 + 800e-6 + 1400e-6), "calls": 2, "replies_without_usage": 0,
    }  # fmt: skip


@pytest.mark.parametrize("silent", [line(None, 5), line(5, None), line(None, None), line(-1, 5)])
def test_a_bill_never_leaves_out_what_is_unknown(silent: dict[str, Any]) -> None:
    for order in ((line(1000, 100), silent), (silent, line(1000, 100))):
        bill = Bill(price())
        for one in order:
            add(bill, one)
        row = bill.row()
        assert (row["prompt_tokens"], row["reply_tokens"], row["usd"]) == (None, None, None)
        assert (row["calls"], row["replies_without_usage"]) == (2, 1)


def test_no_price_and_no_answers_are_none_and_not_nothing() -> None:
    bill = Bill()
    add(bill, line(1000, 100))
    assert (bill.row()["prompt_tokens"], bill.row()["usd"]) == (1000, None)
    assert (Bill(price()).row()["prompt_tokens"], Bill(price()).row()["usd"]) == (None, None)


def test_a_dialogue_is_billed_turn_by_turn() -> None:
    bill = Bill(price())
    add(
        bill,
        {
            "turns": [line(1000, 100) | {"reads": 1}, line(2000, 100) | {"reads": 1}],
            "prompt_tokens": 3000,
            "reply_tokens": 200,
        },
    )
    row = bill.row()
    assert (row["prompt_tokens"], row["reply_tokens"], row["calls"], row["usd"]) == (3000, 200, 2, 0.0076)


SCORED = {"logprobs": [[-0.1, -2.0]], "argmax": [0], "argmax_symbol": [0], "prompt_tokens": 10}


def test_scores_of_a_local_model_write_nothing() -> None:
    assert read_response(SCORED).usage == Usage(10, 0)
    assert read_response({"reply": "1", "stop": "stop", "prompt_tokens": 10}).usage is None
