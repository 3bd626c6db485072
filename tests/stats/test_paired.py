"""Two models on the same strings, against published intervals, statsmodels and enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from statsmodels.stats.contingency_tables import mcnemar as single_mcnemar
from statsmodels.stats.multitest import multipletests

from ffprompt.errors import CountsError
from ffprompt.stats import pvalues
from ffprompt.stats.gate import noninferior
from ffprompt.stats.paired import Pairs, difference, difference_bounds
from ffprompt.stats.pvalues import holm, mcnemar, sign_flip

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
STRING = st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 12)).map(lambda s: (s[0], s[1], sum(s) or 1))
PAIRS = st.lists(STRING, min_size=1, max_size=12).map(lambda rows: Pairs(*np.array(rows).T))


def clustered(strings: int = 300, lost: float = 0.1, gained: float = 0.2, seed: int = 0) -> Pairs:
    rng = np.random.default_rng(seed)
    reads = rng.integers(5, 41, strings)
    b = rng.binomial(reads, rng.beta(4 * lost, 4 * (1 - lost), strings))
    return Pairs(b, rng.binomial(reads - b, gained), reads)


def test_the_example_of_the_module() -> None:
    pairs = Pairs.from_reads([7, 7, 7, 9], [1, 1, 0, 1], [1, 0, 1, 1])
    assert pairs.lost.tolist() == [1, 0] and pairs.gained.tolist() == [1, 0] and pairs.reads.tolist() == [3, 1]
    found = difference(pairs)
    assert found is not None and found.estimate == 0
    assert (found.lost, found.gained, found.n_reads, found.discordant_clusters) == (1, 1, 4, 1)


def test_with_many_strings_the_interval_is_that_of_cluster_robust_regression() -> None:
    pairs = clustered(3000)
    parts = zip(pairs.lost, pairs.gained, pairs.reads, strict=True)
    change = np.concatenate([np.repeat([-1.0, 1.0, 0.0], [b, c, m - b - c]) for b, c, m in parts])
    string = np.repeat(np.arange(len(pairs)), pairs.reads)
    fit = sm.OLS(change, np.ones_like(change)).fit(cov_type="cluster", cov_kwds={"groups": string})
    found = difference(pairs)
    assert found is not None and found.deff is not None
    assert found.deff == pytest.approx(fit.bse[0] ** 2 / (change.var(ddof=1) / len(change)), rel=0.01)
    assert (found.low, found.high) == pytest.approx(fit.conf_int()[0], abs=0.02 * (found.high - found.low))


@pytest.mark.parametrize("strings", [1, 10, 400])
def test_identical_answers_leave_room_for_a_difference(strings: int) -> None:
    found = difference(Pairs([0] * strings, [0] * strings, [25] * strings))
    assert found is not None
    assert found.high == -found.low
    assert 1 - 0.025 ** (1 / strings) - 1e-12 <= found.high < 1
    assert any("no answer differs" in line for line in found.warnings)


@quick
@given(PAIRS)
def test_a_difference_is_inside_its_interval_which_is_never_a_point(pairs: Pairs) -> None:
    found = difference(pairs)
    assert found is not None
    assert -1 <= found.low <= found.estimate <= found.high <= 1
    assert found.high - found.low > 0.5 / found.n_reads


@quick
@given(PAIRS)
def test_swapping_the_models_mirrors_everything(pairs: Pairs) -> None:
    swapped = Pairs(pairs.gained, pairs.lost, pairs.reads)
    a, b = difference(pairs), difference(swapped)
    assert a is not None and b is not None
    assert (a.low, a.high) == pytest.approx((-b.high, -b.low), abs=1e-7)
    for test in (mcnemar, sign_flip):
        one, other = test(pairs), test(swapped)
        assert one is not None and other is not None and one.p == pytest.approx(other.p)


@quick
@given(PAIRS, st.randoms(use_true_random=False))
def test_the_order_of_strings_does_not_matter(pairs: Pairs, random: np.random.Generator) -> None:
    order = list(range(len(pairs)))
    random.shuffle(order)  # type: ignore[arg-type]
    other = Pairs(pairs.lost[order], pairs.gained[order], pairs.reads[order])
    a, b = difference(pairs), difference(other)
    assert a is not None and b is not None
    assert (a.low, a.high) == pytest.approx((b.low, b.high), abs=1e-7)
    assert sign_flip(pairs) == sign_flip(other)


def test_a_rare_one_sided_loss_is_not_certified_too_often() -> None:
    rng = np.random.default_rng(2)
    reads = rng.integers(5, 41, (2000, 200))
    lost = rng.binomial(reads, rng.beta(0.01, 0.99, reads.shape))  # a loss of 0.01, intra-string correlation 0.5
    low, _ = difference_bounds(lost, np.zeros_like(lost), reads, 0.95, one_sided=True)
    assert (low > -0.01).mean() <= 0.06


def test_few_strings_that_differ_and_hardly_one_of_a_kind_are_said() -> None:
    reads = np.full(40, 20)
    few, none = (np.arange(40) < 3).astype(int), np.zeros(40, int)
    found, other = difference(Pairs(few, none, reads)), difference(Pairs((np.arange(40) < 12) * 2, none, reads))
    assert found is not None and other is not None
    assert "answers differ in few strings: 3; the interval is wide on purpose" in found.warnings
    # None of 40: the exact bound of a share is 1 - 0.025 ** (1 / 40).
    assert other.warnings == (
        "few strings gained: the upper bound assumes that chance hid no string gained as a whole; "
        "otherwise it is off by up to 0.088",
    )


def test_the_bound_in_the_warning_covers_strings_that_fail_as_a_whole() -> None:
    """A fails in whole strings of 20 reads, B here and there, both at 0.02: most often no string is gained."""
    rng, covered, warned = np.random.default_rng(7), 0, 0
    for _ in range(400):
        a, b = 20 * (rng.random(30) < 0.02), rng.binomial(20, 0.02, 30)
        both = np.where(a > 0, b, 0)
        found = difference(Pairs(b - both, a - both, np.full(30, 20)))
        assert found is not None
        missed = sum(float(line.split()[-1]) for line in found.warnings if line.startswith("few strings gained"))
        warned += missed > 0
        covered += found.low <= 0 <= found.high + missed
    assert warned > 200
    assert covered / 400 >= 0.95


def test_the_skew_of_a_few_whole_strings_among_many_slight_differences_is_seen() -> None:
    """The same with 300 strings, at 0.02 and 0.1: about 6 and 30 strings gained as a whole."""
    rng = np.random.default_rng(8)
    for rate, strings in ((0.02, 300), (0.1, 60)):
        a, b = 20 * (rng.random((3000, strings)) < rate), rng.binomial(20, rate, (3000, strings))
        both = np.where(a > 0, b, 0)
        low, high = difference_bounds(b - both, a - both, np.full(a.shape, 20), 0.975)
        assert ((low <= 0) & (high >= 0)).mean() >= 0.935


def test_no_data_is_none_and_never_passes() -> None:
    nothing = Pairs([], [], [])
    assert difference(nothing) is None and mcnemar(nothing) is None and sign_flip(nothing) is None
    gate = noninferior(nothing, 0.01)
    assert (gate.verdict, gate.found, gate.shown_worse) == ("inconclusive", None, False)


def test_impossible_pairs_are_refused() -> None:
    with pytest.raises(CountsError, match="3 lost and 3 gained of 5"):
        Pairs([3], [3], [5])
    with pytest.raises(CountsError, match="one string a value"):
        Pairs.from_reads([1, 2], [True], [True])


@quick
@given(st.integers(0, 40), st.integers(0, 40))
def test_one_read_a_string_gives_mcnemars_own_tests(b: int, c: int) -> None:
    lost, gained = np.repeat([1, 0, 0], [b, c, 5]), np.repeat([0, 1, 0], [b, c, 5])
    pairs = Pairs(lost, gained, np.ones_like(lost))
    table = [[3, b], [c, 2]]
    exact, chi = sign_flip(pairs), mcnemar(pairs, "durkalski")
    assert exact is not None and chi is not None
    assert exact.p == pytest.approx(single_mcnemar(table, exact=True).pvalue)
    if b + c:
        theirs = single_mcnemar(table, exact=False, correction=False)
        assert (chi.statistic, chi.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    else:
        assert (chi.statistic, chi.p) == (0, 1)


def test_published_values_of_clustered_mcnemar_tests() -> None:
    """Psychiatrists and their patients (Eliasziw & Donner 1991): who alone holds a thing to matter, by psychiatrist."""
    doctor = [0, 1, 1, 1, 0, 3, 3, 3, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 1, 1, 2, 0, 0, 0, 0, 0, 0, 0]
    patient = [4, 2, 3, 2, 1, 3, 0, 2, 2, 4, 2, 4, 3, 2, 1, 3, 1, 2, 0, 0, 0, 2, 1, 2, 2, 0, 0, 1, 1]
    asked = [7, 6, 7, 6, 4, 6, 5, 8, 4, 7, 3, 6, 7, 6, 5, 4, 6, 5, 4, 3, 5, 4, 4, 2, 3, 2, 2, 3, 1]
    pairs = Pairs(doctor, patient, asked)
    # Durkalski et al. (2003) report the first two values, Yang, Sun & Hardin (2010) the third.
    for name, published in (("durkalski", 7.54), ("obuchowski", 7.19), ("yang", 8.43)):
        test = mcnemar(pairs, name)
        assert test is not None and round(test.statistic, 2) == published
    found, flips = difference(pairs), sign_flip(pairs)
    assert found is not None and flips is not None
    # Ours says the same: between the least and the greatest of the published p-values.
    assert chi2(1).sf(8.43) < found.p < chi2(1).sf(7.19)
    assert found.p == pytest.approx(flips.p, rel=0.1)
    assert 0.05 < found.low < 0.2148 < found.high < 0.4


def test_obuchowskis_test_is_its_definition_and_yangs_the_mean_of_two_variances() -> None:
    pairs, both = clustered(50), np.random.default_rng(4)
    b, c, m, k = pairs.lost, pairs.gained, pairs.reads, len(pairs)
    agree = both.binomial(m - b - c, 0.7)
    right_a, right_b, n = agree + b, agree + c, m.sum()
    pooled = (right_a + right_b).sum() / (2 * n)

    def covariance(x: np.ndarray, y: np.ndarray, p: float, q: float) -> float:
        return float(k / (k - 1) / n**2 * ((x - m * p) * (y - m * q)).sum())

    # Obuchowski 1998: the variance of the difference of two marginal shares, both taken around the pooled one.
    null = sum(s * covariance(x, y, pooled, pooled) for s, x, y in _signed(right_a, right_b))
    own = sum(s * covariance(x, y, x.sum() / n, y.sum() / n) for s, x, y in _signed(right_a, right_b))
    gap = (right_b.sum() - right_a.sum()) / n
    obuchowski, yang = mcnemar(pairs, "obuchowski"), mcnemar(pairs, "yang")
    assert obuchowski is not None and yang is not None
    assert obuchowski.statistic == pytest.approx(gap**2 / null)
    # Yang, Sun & Hardin 2010: and the mean of that variance and the one around each share itself.
    assert yang.statistic == pytest.approx(gap**2 / ((null + own) / 2))


def _signed(a: np.ndarray, b: np.ndarray) -> list[tuple[int, np.ndarray, np.ndarray]]:
    return [(1, a, a), (1, b, b), (-2, a, b)]


@quick
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=10))
def test_the_sign_flip_test_is_the_count_of_all_flips(changes: list[int]) -> None:
    d = np.array(changes)
    found = sign_flip(Pairs(np.maximum(-d, 0), np.maximum(d, 0), np.full(len(d), 9)))
    flips = np.array(list(itertools.product([-1, 1], repeat=len(d)))) @ d
    assert found is not None
    assert found.p == pytest.approx((np.abs(flips) >= abs(d.sum())).mean())


def test_drawn_flips_agree_with_the_exact_ones_and_are_never_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = clustered(60, 0.1, 0.13)
    exact = sign_flip(pairs)
    monkeypatch.setattr(pvalues, "_EXACT_UP_TO", 0)
    drawn, again = sign_flip(pairs, 50_000, 1), sign_flip(pairs, 50_000, 1)
    assert exact is not None and drawn is not None and drawn == again
    assert drawn.p == pytest.approx(exact.p, abs=0.01) and "50,000 drawn" in drawn.method
    sure = sign_flip(Pairs([0] * 50, [9] * 50, [9] * 50), 1000)
    assert sure is not None and sure.p == 1 / 1001


@settings(quick, max_examples=5)  # a call of theirs takes a quarter of a second
@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_holms_values_are_those_of_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_a_condition_without_a_test_does_not_count_as_one() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)]
    assert holm([]) == []
    with pytest.raises(CountsError, match=r"p-value 1\.5"):
        holm([1.5])


def test_the_gate_passes_fails_or_does_not_know() -> None:
    reads = np.full(400, 20)
    none, one = np.zeros(400, int), (np.arange(400) % 4 == 0).astype(int)
    assert noninferior(Pairs(none, none, reads), 0.01).verdict == "pass"
    # A quarter of the strings loses one of 20 reads: 0.0125.
    assert noninferior(Pairs(one, none, reads), 0.004).verdict == "regression"
    assert noninferior(Pairs(one, none, reads), 0.0125).verdict == "inconclusive"
    worse_but_within = noninferior(Pairs(one, none, reads), 0.02)
    assert worse_but_within.verdict == "pass" and worse_but_within.shown_worse
    better = noninferior(Pairs(none, one, reads), 0.005)
    assert better.verdict == "pass" and better.reason == "the candidate is better"


def test_identical_answers_on_few_strings_do_not_pass() -> None:
    # 1 - 0.05 ** (1 / 298) is just above 0.01, and of 299 strings just below.
    for strings, verdict in ((298, "inconclusive"), (299, "pass")):
        none = [0] * strings
        assert noninferior(Pairs(none, none, [50] * strings), 0.01).verdict == verdict


@pytest.mark.parametrize("margin", [0.0, -0.1, 1.0, float("nan")])
def test_a_margin_is_a_loss(margin: float) -> None:
    with pytest.raises(CountsError, match="margin"):
        noninferior(Pairs([0], [0], [1]), margin)
