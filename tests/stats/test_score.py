"""The score test and the interval that is its inverse: against itself, published intervals, and simulation."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from statsmodels.stats.contingency_tables import mcnemar as single_mcnemar
from statsmodels.stats.proportion import proportion_confint

from ffprompt.stats.clusters import Clusters
from ffprompt.stats.intervals import korn_graubard, rate_interval
from ffprompt.stats.paired import Pairs, difference, difference_bounds
from ffprompt.stats.score_test import DifferenceTest, RateTest, RiskTest, most_likely_rates, most_likely_share

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
STRING = st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 12)).map(lambda s: (s[0], s[1], sum(s) or 1))
PAIRS = st.lists(STRING, min_size=1, max_size=40).map(lambda rows: Pairs(*np.array(rows).T))


@quick
@given(st.floats(0, 0.5), st.floats(0, 0.5), st.floats(-0.9, 0.9))
def test_the_likeliest_share_that_differs_is_that_of_a_search(lost: float, gained: float, x: float) -> None:
    def unlikely(share: float) -> float:
        loss, gain = (share - x) / 2, (share + x) / 2
        return share - lost * np.log(max(loss, 1e-12)) - gained * np.log(max(gain, 1e-12))

    share = float(most_likely_share(np.asarray(lost + gained), np.asarray(x * (x - (gained - lost)))))
    found = minimize_scalar(unlikely, bounds=(abs(x), 3), method="bounded", options={"xatol": 1e-9})
    assert unlikely(max(share, abs(x))) <= found.fun + 1e-5


@quick
@given(st.floats(0, 1), st.floats(0, 1), st.integers(2, 60), st.integers(2, 60), st.floats(-0.95, 0.95))
def test_the_likeliest_rates_of_a_given_difference_are_those_of_a_search(
    p: float, q: float, n: int, m: int, x: float
) -> None:
    def unlikely(first: float) -> float:
        terms = ((n * p, first), (n * (1 - p), 1 - first), (m * q, first - x), (m * (1 - q), 1 - first + x))
        return -sum(count * np.log(max(rate, 1e-12)) for count, rate in terms)

    first, second = most_likely_rates(*(np.asarray(float(value)) for value in (p, q, n, m, x)))
    found = minimize_scalar(unlikely, bounds=(max(0, x), min(1, 1 + x)), method="bounded", options={"xatol": 1e-9})
    assert first - second == pytest.approx(x)
    assert unlikely(float(first)) <= found.fun + 1e-5


@pytest.mark.parametrize("strings", [6, 15, 60])
def test_the_variance_is_that_for_few_clusters_of_mancl_and_derouen(strings: int) -> None:
    """The jackknife's is (k - 1) / k of Mancl & DeRouen's (2001), as Cameron & Miller's (2015) CR3 is."""
    rng = np.random.default_rng(strings)
    reads = rng.integers(2, 30, strings)
    lost = rng.binomial(reads, rng.beta(1, 3, strings))
    gained = rng.binomial(reads - lost, 0.1)
    parts = zip(lost, gained, reads, strict=True)
    change = np.concatenate([np.repeat([-1.0, 1.0, 0.0], [b, c, m - b - c]) for b, c, m in parts])
    string = np.repeat(np.arange(strings), reads)
    fit = sm.GEE(change, np.ones_like(change), string).fit(cov_type="bias_reduced")
    test = DifferenceTest.of(*(column.astype(float) for column in (lost, gained, reads)))
    of_one_pair = float(test.differing - test.estimate**2)
    assert float(test.estimate) == pytest.approx(fit.params[0])
    assert float(test.spread.scale) * of_one_pair == pytest.approx((strings - 1) / strings * fit.bse[0] ** 2)


@quick
@given(PAIRS, st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_the_interval_leaves_out_0_exactly_where_p_is_below(pairs: Pairs, level: float) -> None:
    found = difference(pairs, level)
    assert found is not None
    assert (found.low > 0 or found.high < 0) == (found.p < 1 - level)


@quick
@given(PAIRS, st.floats(-0.99, 0.99))
def test_the_interval_holds_just_the_values_that_the_test_does_not_reject(pairs: Pairs, x: float) -> None:
    test = DifferenceTest.of(*(column.astype(float) for column in (pairs.lost, pairs.gained, pairs.reads)))
    if test.none:
        return
    low, high = test.bounds(0.975, -1.0)
    p = float(test.p_value(x))
    if abs(p - 0.05) > 1e-6:
        assert (low <= x <= high) == (p >= 0.05)


@quick
@given(PAIRS)
def test_a_higher_level_never_gives_a_shorter_interval(pairs: Pairs) -> None:
    found, wider = difference(pairs, 0.9), difference(pairs, 0.99)
    assert found is not None and wider is not None
    assert wider.low <= found.low + 1e-9 and wider.high >= found.high - 1e-9


def test_with_one_read_a_string_p_is_about_that_of_mcnemars_score_test() -> None:
    lost, gained = np.repeat([1, 0, 0], [40, 62, 300]), np.repeat([0, 1, 0], [40, 62, 300])
    found = difference(Pairs(lost, gained, np.ones_like(lost)))
    theirs = single_mcnemar([[150, 40], [62, 150]], exact=False, correction=False)
    assert found is not None and found.p == pytest.approx(theirs.pvalue, rel=0.05)


def test_with_one_read_a_string_the_rate_is_wilsons() -> None:
    counts = Clusters((np.arange(3000) % 10 == 0).astype(int), np.ones(3000, int))
    found = rate_interval(counts)
    assert found is not None and found.method == "score test"
    assert (found.low, found.high) == pytest.approx(proportion_confint(300, 3000, method="wilson"), rel=3e-3)


@quick
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(6, 20)), min_size=1, max_size=60))
def test_where_few_strings_err_a_rate_has_korn_and_graubards_interval(rows: list[tuple[int, int]]) -> None:
    counts = Clusters(*np.array(rows).T)
    found, exact = rate_interval(counts), korn_graubard(counts)
    assert found is not None and exact is not None
    assert 0 <= found.low <= found.estimate <= found.high <= 1
    if min((counts.errors > 0).sum(), (counts.errors < counts.reads).sum()) < 8:
        assert found == exact


def test_right_and_wrong_mirror_each_other() -> None:
    rng = np.random.default_rng(0)
    reads = rng.integers(5, 41, 80)
    errors = rng.binomial(reads, rng.beta(1, 5, 80))
    found, other = rate_interval(Clusters(errors, reads)), rate_interval(Clusters(reads - errors, reads))
    assert found is not None and other is not None
    assert (1 - other.high, 1 - other.low) == pytest.approx((found.low, found.high))


def clustered(
    rng: np.random.Generator, lost: float, gained: float, correlation: float, shape: tuple[int, int]
) -> tuple[np.ndarray, ...]:
    reads, spread = rng.integers(5, 41, shape), 1 / correlation - 1

    def chance(share: float) -> np.ndarray:
        return rng.beta(share * spread, (1 - share) * spread, shape) if share else np.zeros(shape)

    b = rng.binomial(reads, chance(lost))
    return b, rng.binomial(reads - b, chance(gained)), reads


@pytest.mark.parametrize(
    ("lost", "gained", "correlation", "strings"),
    [(0.05, 0.05, 0.1, 30), (0.1, 0.05, 0.3, 100), (0.05, 0.0, 0.1, 60), (0.01, 0.0, 0.5, 300), (0.3, 0.1, 0.3, 30)],
)
def test_intervals_cover_as_often_as_they_say(lost: float, gained: float, correlation: float, strings: int) -> None:
    """2,000 experiments know 95 % within a point."""
    b, c, m = clustered(np.random.default_rng(4), lost, gained, correlation, (2000, strings))
    low, high = difference_bounds(b, c, m, 0.975)
    truth = (1 - lost) * gained - lost
    assert 0.932 <= ((low <= truth) & (truth <= high)).mean() <= 0.972


@pytest.mark.parametrize(("lost", "gained", "correlation"), [(0.01, 0.0, 0.5), (0.01, 0.003, 0.3)])
def test_where_few_strings_differ_intervals_cover_more(lost: float, gained: float, correlation: float) -> None:
    b, c, m = clustered(np.random.default_rng(5), lost, gained, correlation, (2000, 100))
    low, high = difference_bounds(b, c, m, 0.975)
    truth = (1 - lost) * gained - lost
    assert ((low <= truth) & (truth <= high)).mean() >= 0.95


def test_a_difference_of_0_05_in_30_strings_is_seen_as_often_as_by_a_cluster_t_test() -> None:
    b, c, m = clustered(np.random.default_rng(6), 0.1, 0.05, 0.1, (2000, 30))
    low, high = difference_bounds(b, c, m, 0.975)
    d = (c - b).astype(float)
    away = d - d.sum(1, keepdims=True) / m.sum(1, keepdims=True) * m
    t = d.sum(1) / np.sqrt(30 / 29 * (away**2).sum(1))
    ours, theirs = ((low > 0) | (high < 0)).mean(), (np.abs(t) > 2.045).mean()
    assert ours > 0.85 * theirs


def test_degenerate_counts_give_wide_intervals_and_no_warning_of_numpy() -> None:
    with np.errstate(all="raise"):
        for lost, gained, reads in (([1], [0], [1]), ([20] * 30, [0] * 30, [20] * 30), ([0, 3], [2, 0], [3, 3])):
            found = difference(Pairs(lost, gained, reads))
            assert found is not None and -1 <= found.low <= found.estimate <= found.high <= 1
            assert found.high - found.low > 0.1
        columns = (np.array([[3.0, 0.0]]), np.array([[3.0, 2.0]]), np.zeros((1, 2)), np.array([[1.0, 4.0]]))
        low, high = RiskTest.of(*columns).bounds(0.975, -1.0)
        assert -1 <= low[0] < high[0] <= 1
        low, high = RateTest.of(np.array([[2.0]]), np.array([[5.0]])).bounds(0.975, 0.0)
        assert high[0] - low[0] > 0.5
