"""Intervals for clustered error rates, against scipy, statsmodels and the definitions."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from ffprompt.errors import CountsError
from ffprompt.stats.bootstrap import cluster_bootstrap
from ffprompt.stats.clusters import Clusters, effective_strings
from ffprompt.stats.intervals import (
    clopper_pearson,
    effective_reads,
    korn_graubard,
    korn_graubard_bounds,
    strings_with_an_error,
    zero_error_bounds,
)
from ffprompt.stats.quantiles import clopper_pearson_bounds

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
STRING = st.integers(1, 40).flatmap(lambda m: st.tuples(st.integers(0, m), st.just(m)))
COUNTS = st.lists(STRING, min_size=1, max_size=40).map(lambda rows: Clusters(*np.array(rows).T))


def clustered(strings: int = 200, rate: float = 0.1, seed: int = 0) -> Clusters:
    rng = np.random.default_rng(seed)
    reads = rng.integers(5, 41, strings)
    return Clusters(rng.binomial(reads, rng.beta(4 * rate, 4 * (1 - rate), strings)), reads)


@pytest.mark.parametrize(("x", "n"), [(0, 1), (0, 50), (3, 50), (49, 50), (50, 50), (7, 100_000)])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.999])
def test_clopper_pearson_is_that_of_statsmodels(x: int, n: int, level: float) -> None:
    found = clopper_pearson(x, n, level)
    low, high = proportion_confint(x, n, 1 - level, method="beta")
    assert found is not None
    assert found.low == pytest.approx(low if x else 0.0, rel=1e-9)
    assert found.high == pytest.approx(high if x < n else 1.0, rel=1e-9)


def test_the_design_effect_is_the_cluster_robust_variance_over_that_of_independent_reads() -> None:
    counts = clustered()
    wrong = np.concatenate([np.arange(m) < e for e, m in zip(counts.errors, counts.reads, strict=True)]).astype(float)
    string = np.repeat(np.arange(len(counts)), counts.reads)
    fit = sm.OLS(wrong, np.ones_like(wrong)).fit(cov_type="cluster", cov_kwds={"groups": string})
    found = korn_graubard(counts)
    assert found is not None and found.deff is not None
    assert found.estimate == pytest.approx(fit.params[0])
    assert found.deff == pytest.approx(fit.bse[0] ** 2 / (wrong.var(ddof=1) / len(wrong)))


# Rats alive at weaning, and born, by litter, untreated and treated (Weil 1970): table 1 of Rao & Scott (1992),
# Biometrics 48, 577-585.
LITTERS = {
    "untreated": (
        [13, 12, 9, 9, 8, 8, 12, 11, 9, 9, 8, 11, 4, 5, 7, 7],
        [13, 12, 9, 9, 8, 8, 13, 12, 10, 10, 9, 13, 5, 7, 10, 10],
    ),
    "treated": (
        [12, 11, 10, 9, 10, 9, 9, 8, 8, 4, 7, 4, 5, 3, 3, 0],
        [12, 11, 10, 9, 11, 10, 10, 9, 9, 5, 9, 7, 10, 6, 10, 7],
    ),
}


@pytest.mark.parametrize(("litters", "published"), [("untreated", 1.232495), ("treated", 3.952861)])
def test_published_design_effects_of_litters(litters: str, published: float) -> None:
    """Their design effect divides by p (1 - p) / n, ours by p (1 - p) / (n - 1). Six digits: R package PF, ``rsb``."""
    alive, born = (np.array(counts) for counts in LITTERS[litters])
    found = korn_graubard(Clusters(born - alive, born))
    assert found is not None and found.deff is not None
    assert found.deff == pytest.approx(published * (born.sum() - 1) / born.sum(), abs=1e-6)


def test_korn_and_graubards_interval_of_these_litters_worked_by_hand() -> None:
    """Korn & Graubard (1998): 33 of 145 treated rats die, and the design effect is 3.952861.

    n* = 145 / 3.952861 = 36.682; t of 144 and of 15 degrees of freedom at 0.975 are 1.97658 and 2.13145; so the degrees
    of freedom leave 36.682 (1.97658 / 2.13145)² = 31.545 rats and 33 / 145 of them, 7.179, deaths.
    """
    worth = effective_reads(145, 0, 3.952861, 15, 0.975)
    assert worth == pytest.approx(31.545, abs=2e-3)
    low, high = clopper_pearson_bounds(33 / 145 * worth, worth, 0.025)
    assert low == pytest.approx(stats.beta.ppf(0.025, 7.179, 31.545 - 7.179 + 1), abs=1e-4)
    assert high == pytest.approx(stats.beta.ppf(0.975, 7.179 + 1, 31.545 - 7.179), abs=1e-4)
    alive, born = (np.array(counts) for counts in LITTERS["treated"])
    found = korn_graubard(Clusters(born - alive, born))
    # Ours counts only litters with a death as evidence, so it is somewhat wider.
    assert found is not None
    assert found.low < low < found.estimate < high < found.high < 1.1 * high


def test_the_interval_is_exact_for_the_effective_number_of_reads() -> None:
    found = korn_graubard(clustered())
    assert found is not None and found.deff is not None
    x, n = found.estimate * found.n_effective, found.n_effective
    assert found.low == pytest.approx(stats.beta.ppf(0.025, x, n - x + 1))
    assert found.high == pytest.approx(stats.beta.ppf(0.975, x + 1, n - x))
    # With 200 strings of which most err the correction for an estimated variance is small.
    assert 0.9 < found.n_effective / (found.n_reads / found.deff) < 1


def test_strings_of_one_read_are_independent_trials() -> None:
    counts = Clusters(np.arange(1000) % 10 == 0, np.ones(1000, int))
    found, exact = korn_graubard(counts), clopper_pearson(100, 1000)
    assert found is not None and exact is not None
    assert found.n_effective == pytest.approx(1000)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), rel=1e-6)


def test_strings_that_fail_as_a_whole_count_once() -> None:
    counts = Clusters(np.where(np.arange(300) % 10 == 0, 20, 0), np.full(300, 20))
    found, exact = korn_graubard(counts), clopper_pearson(30, 300)
    assert found is not None and exact is not None
    assert found.n_effective == pytest.approx(300, rel=0.01)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), rel=0.02)


def test_reads_that_repel_each_other_do_not_make_the_interval_shorter() -> None:
    found, exact = korn_graubard(Clusters(np.full(100, 2), np.full(100, 20))), clopper_pearson(200, 2000)
    assert found is not None and exact is not None and found.deff == 0
    assert found.n_effective <= 2000
    assert found.low <= exact.low and found.high >= exact.high


@pytest.mark.parametrize("wrong", [False, True])
def test_without_variation_the_strings_are_the_trials(wrong: bool) -> None:
    reads = np.array([4, 4, 20, 4])
    found = korn_graubard(Clusters(reads * wrong, reads))
    assert found is not None and found.deff is None
    assert found.n_effective == pytest.approx(32**2 / 448)
    length = 1 - 0.025 ** (448 / 32**2)
    assert (found.low, found.high) == pytest.approx((1 - length, 1.0) if wrong else (0.0, length))
    assert any("how errors cluster is unknown" in line for line in found.warnings)


def test_what_no_error_shows_depends_on_what_is_independent() -> None:
    bounds = zero_error_bounds(Clusters(np.zeros(60, int), np.full(60, 50)))
    assert bounds is not None
    strings, reads = bounds
    assert strings.high == pytest.approx(stats.binomtest(0, 60, alternative="less").proportion_ci(0.95).high)
    assert reads.high == pytest.approx(stats.binomtest(0, 3000, alternative="less").proportion_ci(0.95).high)
    assert "strings are independent" in strings.needs and "all reads are independent" in reads.needs
    assert zero_error_bounds(Clusters([0, 1], [5, 5])) is None


def test_the_share_of_strings_with_an_error_is_a_count_of_strings() -> None:
    found, exact = strings_with_an_error(clustered()), clustered()
    assert found is not None
    failed = int((exact.errors > 0).sum())
    assert (found.low, found.high) == pytest.approx(proportion_confint(failed, 200, method="beta"))
    assert found.n_clusters == 200 and found.n_reads == exact.n_reads


def test_no_data_is_none() -> None:
    nothing = Clusters([], [])
    assert nothing.rate is None
    assert korn_graubard(nothing) is None and clopper_pearson(0, 0) is None
    assert strings_with_an_error(nothing) is None and zero_error_bounds(nothing) is None
    assert cluster_bootstrap(nothing) is None
    assert korn_graubard(Clusters([0], [0])) is None


def test_the_same_string_under_two_templates_is_one_cluster() -> None:
    merged = Clusters.merged(["a", "b", "a"], [2, 1, 0], [5, 4, 5])
    assert merged.errors.tolist() == [2, 1] and merged.reads.tolist() == [10, 4]
    assert Clusters([0, 1, 0], [0, 5, 0]).errors.tolist() == [1]  # a string without a read is left out
    by_read = Clusters.from_reads([7, 7, 9, 7], [True, False, False, True])
    assert by_read.errors.tolist() == [2, 0] and by_read.reads.tolist() == [3, 1]


def test_few_strings_and_few_errors_are_said() -> None:
    few, many = korn_graubard(Clusters([1, 0, 0], [5, 5, 5])), korn_graubard(clustered())
    assert few is not None and many is not None
    assert few.few_clusters and any("few strings: 3" in line for line in few.warnings)
    assert any("vary over few strings: 1" in line for line in few.warnings)
    assert not many.few_clusters and many.warnings == ()
    uneven = korn_graubard(Clusters([0, 1] * 50, [2, 3] * 48 + [200] * 4))
    assert uneven is not None and any("very unequal strings" in line for line in uneven.warnings)


@pytest.mark.parametrize(
    ("errors", "reads", "says"),
    [([2], [1], "2 errors in 1 reads"), ([-1], [1], "-1 errors"), ([1, 2], [3], "one of each"), ([0.5], [1], "whole")],
)
def test_impossible_counts_are_refused(errors: list[int], reads: list[int], says: str) -> None:
    with pytest.raises(CountsError, match=says):
        Clusters(errors, reads)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, float("nan")])
def test_a_level_is_a_probability(level: float) -> None:
    with pytest.raises(CountsError, match="confidence level"):
        korn_graubard(Clusters([1], [2]), level)


@quick
@given(COUNTS)
def test_an_interval_contains_its_estimate_and_is_never_a_point(counts: Clusters) -> None:
    found = korn_graubard(counts)
    assert found is not None
    assert 0 <= found.low <= found.estimate <= found.high <= 1
    assert found.high - found.low > 0.5 / found.n_reads
    assert 0 < found.n_effective <= found.n_reads


@quick
@given(COUNTS, st.randoms(use_true_random=False))
def test_the_order_of_strings_does_not_matter(counts: Clusters, random: np.random.Generator) -> None:
    order = list(range(len(counts)))
    random.shuffle(order)  # type: ignore[arg-type]
    a, b = korn_graubard(counts), korn_graubard(Clusters(counts.errors[order], counts.reads[order]))
    assert a is not None and b is not None
    assert (a.low, a.high) == pytest.approx((b.low, b.high), abs=1e-9)


@quick
@given(COUNTS)
def test_right_and_wrong_are_mirror_images(counts: Clusters) -> None:
    a, b = korn_graubard(counts), korn_graubard(Clusters(counts.reads - counts.errors, counts.reads))
    assert a is not None and b is not None
    mirrored = a.complement()
    assert (mirrored.low, mirrored.high) == pytest.approx((b.low, b.high), abs=1e-7)


@quick
@given(COUNTS)
def test_it_is_never_shorter_than_for_independent_reads_and_grows_with_the_level(counts: Clusters) -> None:
    found, exact = korn_graubard(counts), clopper_pearson(counts.n_errors, counts.n_reads)
    wider = korn_graubard(counts, 0.99)
    assert found is not None and exact is not None and wider is not None
    assert found.low <= exact.low + 1e-9 and found.high >= exact.high - 1e-9
    assert wider.low <= found.low + 1e-12 and wider.high >= found.high - 1e-12


@quick
@given(st.lists(st.integers(1, 50), min_size=1))
def test_strings_are_worth_at_most_their_number(reads: list[int]) -> None:
    worth = effective_strings(reads)
    assert worth > 0.999999 and worth <= len(reads) + 1e-9


def test_rare_clustered_errors_are_covered_where_the_usual_degrees_of_freedom_fail() -> None:
    rng = np.random.default_rng(1)
    reads = rng.integers(5, 41, (1000, 300))
    errors = rng.binomial(reads, rng.beta(0.01, 0.99, reads.shape))  # rate 0.01, intra-string correlation 0.5
    low, high, *_ = korn_graubard_bounds(errors, reads, 0.95)
    rate = 0.01
    assert ((low <= rate) & (rate <= high)).mean() >= 0.94


@settings(quick, max_examples=20)
@given(COUNTS, st.sampled_from(["bca", "percentile"]))
def test_the_bootstrap_is_a_valid_interval_and_the_same_for_the_same_seed(counts: Clusters, method: str) -> None:
    a, b = (cluster_bootstrap(counts, resamples=200, seed=3, method=method) for _ in range(2))
    assert a == b and a is not None
    assert 0 <= a.low <= a.high <= 1 and a.high > 0


def test_the_bootstrap_agrees_with_scipys() -> None:
    counts = clustered(rate=0.2)

    def rate(errors: np.ndarray, reads: np.ndarray, axis: int = -1) -> np.ndarray:
        return errors.sum(axis) / reads.sum(axis)

    for name, method in (("bca", "BCa"), ("percentile", "percentile")):
        theirs = stats.bootstrap(
            (counts.errors, counts.reads), rate, paired=True, method=method, n_resamples=20_000, rng=1
        ).confidence_interval
        ours = cluster_bootstrap(counts, resamples=20_000, method=name)
        assert ours is not None
        # Ours is wider by what 200 strings leave uncertain (Hesterberg 2015): half a percent.
        assert (ours.low, ours.high) == pytest.approx(theirs, abs=0.03 * (theirs.high - theirs.low))


def test_a_bootstrap_without_variation_is_not_a_point() -> None:
    counts = Clusters(np.zeros(20, int), np.full(20, 5))
    found, exact = cluster_bootstrap(counts), korn_graubard(counts)
    assert found is not None and exact is not None
    assert found.high == exact.high > 0
    assert any("Korn-Graubard" in line for line in found.warnings)
