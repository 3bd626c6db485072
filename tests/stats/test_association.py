"""Differences and slopes with strings as clusters, against the definitions."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep

from ffprompt.errors import CountsError
from ffprompt.stats.association import mean, risk_difference, slope
from ffprompt.stats.clusters import Clusters
from ffprompt.stats.intervals import korn_graubard

pytestmark = pytest.mark.thorough


def drawn(strings: int = 40, rate: float = 0.3, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    string = np.repeat(np.arange(strings), rng.integers(5, 21, strings))
    failed = rng.random(len(string)) < rng.beta(4 * rate, 4 * (1 - rate), strings)[string]
    return string, rng.random(len(string)), failed


def test_the_example_of_the_module() -> None:
    exposed = np.repeat([True, False], [40, 60])
    failed = np.concatenate([np.arange(40) < 30, np.arange(60) < 6])
    found = risk_difference(np.tile(np.arange(20), 5), exposed, failed)
    assert found is not None
    assert found.estimate == pytest.approx(0.65)
    assert (found.exposed, found.unexposed, found.n_exposed, found.n_unexposed) == (0.75, 0.1, 40, 60)
    assert 0 < found.low < 0.65 < found.high < 1


def test_a_perfect_difference_is_never_a_single_point() -> None:
    string = np.repeat(np.arange(15), 4)
    exposed = np.tile([True, False, True, False], 15)
    found = risk_difference(string, exposed, exposed)
    assert found is not None
    # Strings are the trials: (1 - x)² = t² (1 - x²) / 30, as the likeliest rates are (1 + x) / 2 and (1 - x) / 2.
    ratio = stats.t(14).ppf(0.975) ** 2 / 30
    assert (found.low, found.high) == (pytest.approx((1 - ratio) / (1 + ratio)), 1.0)


def test_rates_that_move_against_each_other_within_strings_widen_the_interval() -> None:
    """A model that sticks to one answer in a string, and to the other in the next."""
    rng = np.random.default_rng(1)
    side = rng.random(60) < 0.5
    string = np.repeat(np.arange(60), 10)
    exposed = rng.random(600) < 0.5
    failed = exposed == side[string]
    found = risk_difference(string, exposed, failed)
    assert found is not None
    left_out = []
    for one in range(60):
        rest = string != one
        left_out.append(failed[rest & exposed].mean() - failed[rest & ~exposed].mean())
    half = np.sqrt(59 / 60 * ((np.array(left_out) - found.estimate) ** 2).sum()) * stats.t(59).ppf(0.975)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.05)
    apart = [korn_graubard(Clusters.from_reads(string[kind], failed[kind])) for kind in (exposed, ~exposed)]
    assert half > 1.2 * np.hypot(*[(one.high - one.low) / 2 for one in apart if one])


def test_a_difference_needs_reads_of_both_kinds() -> None:
    assert risk_difference([1, 2], [True, True], [True, False]) is None
    assert risk_difference([], [], []) is None


def test_one_string_gives_a_difference_and_says_how_little_it_is() -> None:
    found = risk_difference([5] * 4, [True, True, False, False], [True, True, False, False])
    assert found is not None
    assert found.low < 0 < found.high
    assert "few strings: 1; 30 or more are needed" in found.warnings


def test_the_slope_and_its_interval_are_those_of_leaving_strings_out() -> None:
    string, x, failed = drawn()
    found = slope(string, x, failed)
    assert found is not None
    assert found.estimate == pytest.approx(stats.linregress(x, failed.astype(float)).slope)
    without = np.array([stats.linregress(x[string != k], failed[string != k].astype(float)).slope for k in range(40)])
    # Long strings carry most of the variance, and it has as many degrees of freedom as strings that do.
    squares = np.bincount(string) ** 2.0
    df = squares.sum() ** 2 / (squares**2).sum() - 1
    half = np.sqrt(39 / 40 * ((without - found.estimate) ** 2).sum()) * stats.t(df).ppf(0.975)
    assert (found.low, found.high) == (pytest.approx(found.estimate - half), pytest.approx(found.estimate + half))
    assert (found.n_reads, found.n_clusters) == (len(x), 40)


def test_few_strings_with_an_error_show_no_slope() -> None:
    string = np.repeat(np.arange(200), 5)
    x = np.tile(np.linspace(0, 1, 5), 200)
    failed = (x == 1) & (string < 3)  # three strings, each at its end
    found = slope(string, x, failed)
    assert found is not None
    assert found.low < 0 < found.high
    assert any("vary over few strings: 3" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("string", "x", "failed"),
    [
        ([], [], []),
        ([1, 2, 3], [0.0, 0.5, 1.0], [False] * 3),
        ([1, 2, 3], [0.0, 0.5, 1.0], [True] * 3),
        ([1, 2, 3], [1.0] * 3, [True, False, True]),
        ([1, 1, 1], [0.0, 0.5, 1.0], [True, False, True]),
        ([1, 2, 2], [0.0, 1.0, 1.0], [True, False, True]),
    ],
    ids=["no read", "all right", "all wrong", "one place", "one string", "without a string one place is left"],
)
def test_no_slope_where_there_is_nothing_to_see(string: list[int], x: list[float], failed: list[bool]) -> None:
    assert slope(string, x, failed) is None


def test_a_place_that_is_no_number_is_refused() -> None:
    with pytest.raises(CountsError, match="expected finite numbers"):
        slope([1, 2], [0.0, np.nan], [True, False])


def test_a_mean_with_the_interval_of_leaving_strings_out() -> None:
    string, values, _ = drawn(seed=2)
    found = mean(string, values)
    assert found is not None
    without = np.array([values[string != k].mean() for k in range(40)])
    squares = np.bincount(string) ** 2.0
    df = squares.sum() ** 2 / (squares**2).sum() - 1
    half = np.sqrt(39 / 40 * ((without - values.mean()) ** 2).sum()) * stats.t(df).ppf(0.975)
    assert found == pytest.approx((values.mean(), values.mean() - half, values.mean() + half))
    assert mean([1, 1], [0.2, 0.4]) is None


def test_no_difference_and_no_slope_are_within_the_intervals_as_often_as_promised() -> None:
    # True for both; 300 experiments know 95 % within 2.5 points.
    held = np.zeros(2)
    for seed in range(300):
        string, x, failed = drawn(30, 0.2, seed)
        apart, changes = risk_difference(string, x > 0.5, failed), slope(string, x, failed)
        assert apart is not None
        assert changes is not None
        held += [apart.low <= 0 <= apart.high, changes.low <= 0 <= changes.high]
    assert (held / 300 > 0.92).all()


def test_a_risk_difference_of_many_strings_is_that_of_cluster_robust_regression() -> None:
    rng = np.random.default_rng(3)
    string = np.repeat(np.arange(2000), rng.integers(5, 21, 2000))
    exposed = rng.random(len(string)) < 0.5
    failed = rng.random(len(string)) < (rng.beta(1, 9, 2000)[string] + 0.1 * exposed)
    found = risk_difference(string, exposed, failed)
    columns = np.stack([np.ones(len(string)), exposed], 1)
    fit = sm.OLS(failed.astype(float), columns).fit(cov_type="cluster", cov_kwds={"groups": string})
    assert found is not None
    assert found.estimate == pytest.approx(fit.params[1])
    assert (found.low, found.high) == pytest.approx(fit.conf_int()[1], abs=0.02 * (found.high - found.low))


def test_a_risk_difference_of_independent_reads_is_miettinen_and_nurminens() -> None:
    exposed, failed = np.arange(4000) % 2 == 0, np.arange(4000) % 40 < np.where(np.arange(4000) % 2 == 0, 8, 3)
    found = risk_difference(np.arange(4000), exposed, failed)
    assert found is not None
    counts = [int(failed[exposed].sum()), 2000, int(failed[~exposed].sum()), 2000]
    theirs = confint_proportions_2indep(*counts, method="score", correction=False)
    assert (found.low, found.high) == pytest.approx(theirs, abs=0.01 * (found.high - found.low))


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 10**6), st.integers(3, 40), st.floats(0, 0.5), st.floats(0, 0.5))
def test_an_interval_leaves_out_no_difference_exactly_where_p_is_small(
    seed: int, strings: int, rate: float, other: float
) -> None:
    rng = np.random.default_rng(seed)
    string = np.repeat(np.arange(strings), 8)
    exposed = rng.random(len(string)) < 0.5
    found = risk_difference(string, exposed, rng.random(len(string)) < np.where(exposed, rate, other))
    assert found is not None
    assert (found.low > 0 or found.high < 0) == (found.p < 0.05)
