"""Certificates that may be looked at at any time: bets on whole strings."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ffprompt.errors import CountsError
from ffprompt.stats.sequential import (
    SHARES,
    STAKES,
    Certify,
    Draws,
    UntilWidth,
    fewest_strings,
    log_factors,
    read_cap,
)

pytestmark = pytest.mark.thorough

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
BLOCK = st.lists(st.integers(1, 20).flatmap(lambda m: st.tuples(st.integers(0, m), st.just(m))), min_size=1)


def drawn(strings: int, rate: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    reads = rng.integers(5, 41, strings)
    return rng.binomial(reads, rng.beta(rate * 4, (1 - rate) * 4, strings)), reads


def test_without_an_error_the_example_takes_as_many_strings_as_it_says() -> None:
    assert fewest_strings(0.01, 20, 20) == 367
    state = Certify(0.01, Draws(20))
    for number in range(1, 368):
        assert (state.update(0, 20) == "below") == (number == 367)


@pytest.mark.parametrize("bound", [0.02, 0.3])
@pytest.mark.parametrize("side", ["below", "above"])
def test_neither_bet_grows_on_average_at_the_bound_however_errors_depend(bound: float, side: str) -> None:
    # Each case: (probability, errors, reads) with E[errors] = bound · E[reads]; most reads 10.
    share = bound * 5.5
    cases = [
        [(bound, 10, 10), (1 - bound, 0, 10)],
        [(share / 10, 10, 10), (0.5 - share / 10, 0, 10), (0.5, 0, 1)],
        [(0.5, 0, 10), (share, 1, 1), (0.5 - share, 0, 1)] if share <= 0.5 else [(bound, 1, 1), (1 - bound, 0, 1)],
        [(stats.binom.pmf(e, 7, bound), e, 7) for e in range(8)],
    ]
    for case in cases:
        p, e, m = np.array(case).T
        assert p.sum() == pytest.approx(1) and p @ e == pytest.approx(bound * (p @ m))
        grows = p @ np.exp(log_factors(side, e, m, bound, 10, 0.0))  # type: ignore[arg-type]
        assert (grows <= 1 + 1e-12).all()
        assert grows == pytest.approx(1)  # and gives nothing away


@pytest.mark.parametrize("side", ["below", "above"])
def test_cutting_long_strings_short_is_paid_for(side: str) -> None:
    bound, cap = 0.05, 3
    m = np.arange(1, 9)
    p = stats.binom.pmf(m - 1, 7, 0.2)
    excess = float(p @ np.maximum(m - cap, 0))
    # All errors in the longest strings, where the cut hides most of them; then all in strings that are not cut.
    for order in (m[::-1], m):
        left, e = bound * float(p @ m), np.zeros(8)
        for length in order:
            row = length - 1
            e[row] = min(length, left / p[row])
            left -= p[row] * e[row]
        assert p @ e == pytest.approx(bound * (p @ m))
        assert (p @ np.exp(log_factors(side, e, m, bound, cap, excess)) <= 1 + 1e-12).all()  # type: ignore[arg-type]


def test_the_capital_is_shared_out_and_no_stake_is_more_than_everything() -> None:
    for side in ("below", "above"):
        assert SHARES[side].sum() == pytest.approx(1) and len(SHARES[side]) == len(STAKES[side])
        assert (STAKES[side] > 0).all() and (STAKES[side] <= 1).all()


@quick
@given(BLOCK)
def test_a_block_counts_like_its_strings_one_by_one_in_any_order(block: list[tuple[int, int]]) -> None:
    together, single = Draws(20), Draws(20)
    together.add(*np.array(block).T)
    for e, m in reversed(block):
        single.add(e, m)
    assert together == single
    assert (together.strings, together.errors) == (len(block), sum(e for e, _ in block))


@quick
@given(BLOCK, st.floats(1e-4, 0.9))
def test_the_state_survives_json(block: list[tuple[int, int]], bound: float) -> None:
    state = Certify(bound, Draws(20, 0.25, "strings"), 0.9)
    state.update(*np.array(block).T)
    again = Certify.from_json(json.loads(json.dumps(state.to_json())))
    assert again == state
    assert again.update(1, 5) == state.update(1, 5) and again == state


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"bound": 0.1, "level": 0.95, "decision": "maybe", "draws": Draws(5).to_json()},
        {"bound": 0.1, "level": 0.95, "decision": None, "draws": {**Draws(5).to_json(), "counts": [[3, 2, 1]]}},
        {"bound": 0.1, "level": 0.95, "decision": None, "draws": {"most_reads": 5}},
    ],
)
def test_a_damaged_state_is_refused(state: dict[str, object]) -> None:
    with pytest.raises(CountsError):
        Certify.from_json(state)


def test_each_side_is_found_and_a_decision_stays() -> None:
    for rate, decision in ((0.001, "below"), (0.1, "above")):
        state = Certify(0.02, Draws(40))
        state.update(*drawn(2000, rate))
        assert state.decision == decision
        state.update(*drawn(2000, 0.5 if decision == "below" else 1e-6))
        assert state.decision == decision


def test_few_strings_decide_nothing() -> None:
    state = Certify(1e-4, Draws(40))
    assert state.update([0] * 1000, [40] * 1000) is None


def test_independent_reads_need_fewer_strings_and_are_asked_for() -> None:
    by_string, by_read = Certify(1e-3, Draws(20)), Certify(1e-3, Draws(20, unit="reads"))
    errors, reads = [0] * 250, [20] * 250
    assert by_string.update(errors, reads) is None
    assert by_read.update(errors, reads) == "below"


def test_the_running_interval_contains_the_rate_and_closes_in() -> None:
    state, widths = UntilWidth(0.03, Draws(40)), []
    for seed in range(40):
        low, high = state.update(*drawn(100, 0.1, seed))
        assert low <= state.draws.errors / state.draws.reads <= high
        widths.append(high - low)
        if state.done:
            break
    assert widths[-1] <= 0.03 < widths[0] and len(widths) > 5


def test_before_any_string_nothing_is_known() -> None:
    assert Draws(10).limits(0.95) == (0.0, 1.0)
    assert Certify(0.1, Draws(10)).update([], []) is None


def test_without_an_error_the_lower_limit_is_zero_and_without_a_right_answer_the_upper_one() -> None:
    none, all_wrong = Draws(10), Draws(10)
    none.add([0] * 100, [10] * 100)
    all_wrong.add([10] * 100, [10] * 100)
    low, high = none.limits(0.95)
    assert low == 0 and 0 < high < 0.1
    low, high = all_wrong.limits(0.95)
    assert low > 0.8 and high == 1


def test_looking_all_the_time_does_not_raise_the_risk() -> None:
    wrong, runs = 0, 200
    for seed in range(runs):
        state = Certify(0.05, Draws(40))
        errors, reads = drawn(400, 0.05, seed)
        for start in range(0, 400, 20):
            state.update(errors[start : start + 20], reads[start : start + 20])
        wrong += state.decision is not None
    assert wrong / runs <= 0.05


@pytest.mark.parametrize(("instructions", "p_read"), [(256, 0.1), (256, 0.01), (50, 0.2), (10, 0.45), (2, 0.5)])
def test_a_read_cap_gives_away_what_longer_strings_hold(instructions: int, p_read: float) -> None:
    cap, excess = read_cap(instructions, p_read, 1e-3)
    m = 1 + np.arange(instructions - 1)
    p = stats.binom.pmf(m - 1, instructions - 2, p_read)
    assert excess == pytest.approx(p @ np.maximum(m - cap, 0), rel=1e-6, abs=1e-15)
    mean = float(p @ m)
    assert fewest_strings(1e-3, mean, cap, excess) <= fewest_strings(1e-3, mean, instructions - 1)


def test_promises_that_are_not_kept_are_errors() -> None:
    draws = Draws(10)
    with pytest.raises(CountsError, match="a string of 11 reads: at most 10"):
        draws.add([0, 0], [5, 11])
    assert draws.strings == 0
    Draws(10, excess=0.1).add(0, 11)
    with pytest.raises(CountsError, match="bound 0"):
        Certify(0.0, Draws(10))
    with pytest.raises(CountsError, match="unit"):
        Draws(10, unit="trials")  # type: ignore[arg-type]
    with pytest.raises(CountsError, match="is below it"):
        fewest_strings(1e-4, 10, 20, excess=0.1)
