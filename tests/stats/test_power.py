"""Planned numbers of strings against simulation; calibration against its definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.power import NormalIndPower

from ffprompt.errors import CountsError
from ffprompt.stats.calibration import calibration, equal_count_edges, from_logprobs
from ffprompt.stats.clusters import Clusters
from ffprompt.stats.gate import noninferior
from ffprompt.stats.intervals import rate_bounds
from ffprompt.stats.paired import Pairs, difference_bounds
from ffprompt.stats.power import (
    Sample,
    pilot_errors,
    pilot_pairs,
    strings_for_difference,
    strings_for_margin,
    strings_for_width,
)

pytestmark = pytest.mark.thorough

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def beta_binomial(runs: int, strings: int, rate: float, correlation: float, seed: int = 0) -> np.ndarray:
    rng, spread = np.random.default_rng(seed), 1 / correlation - 1
    return rng.binomial(20, rng.beta(rate * spread, (1 - rate) * spread, (runs, strings)))


def test_a_planned_width_is_what_comes_out() -> None:
    plan = strings_for_width(0.02, Sample(0.1, 20, 1 + 19 * 0.1))
    errors = beta_binomial(1000, plan.strings, 0.1, 0.1)
    low, high = rate_bounds(errors, np.full_like(errors, 20), 0.95)
    assert (high - low).mean() / 2 == pytest.approx(0.02, rel=0.08)
    assert plan.reads == 20 * plan.strings and plan.power is None


def test_a_planned_difference_is_found_as_often_as_planned() -> None:
    sample = Sample(0.15, 20, 1 + 19 * 0.1)
    plan = strings_for_difference(0.05, sample, power=0.8)
    lost = beta_binomial(1000, plan.strings, 0.05, 0.1)
    gained = np.minimum(beta_binomial(1000, plan.strings, 0.10, 0.1, 1), 20 - lost)
    low, _ = difference_bounds(lost, gained, np.full_like(lost, 20), 0.975)
    assert 0.74 <= (low > 0).mean() <= 0.88


@pytest.mark.slow
def test_a_gate_passes_an_equal_candidate_as_often_as_planned() -> None:
    plan = strings_for_margin(0.02, Sample(0.04, 20, 1 + 19 * 0.2), power=0.9)
    lost, gained = (beta_binomial(300, plan.strings, 0.02, 0.2, seed) for seed in (0, 1))
    reads = np.full(plan.strings, 20)
    both = zip(lost, np.minimum(gained, 20 - lost), strict=True)
    passed = [noninferior(Pairs(b, c, reads), 0.02).verdict == "pass" for b, c in both]
    assert 0.85 <= np.mean(passed) <= 0.97


def test_without_any_difference_the_strings_decide() -> None:
    plan = strings_for_margin(0.01, Sample(0.0, 20, 20.0))
    assert plan.strings == 299  # 1 - 0.05 ** (1 / 299) < 0.01
    assert noninferior(Pairs([0] * 299, [0] * 299, [20] * 299), 0.01).verdict == "pass"


def test_independent_reads_need_about_what_a_textbook_says() -> None:
    # For one read a string and a difference as large as the discordance, the score test is a plain z test.
    plan = strings_for_width(0.01, Sample(0.5, 1, 1.0))
    assert plan.strings == pytest.approx(1.96**2 * 0.25 / 0.01**2, rel=0.03)
    effect = 0.1 / np.sqrt(0.4)
    one_group = NormalIndPower(ddof=0).solve_power(effect, alpha=0.05, power=0.8, ratio=0)
    assert strings_for_difference(0.1, Sample(0.4, 1, 1.0)).strings == pytest.approx(one_group, rel=0.12)


def test_a_pilot_says_how_errors_cluster() -> None:
    errors = beta_binomial(1, 20_000, 0.1, 0.2)[0]
    sample = pilot_errors(Clusters(errors, np.full(20_000, 20)))
    assert sample.share == pytest.approx(0.1, abs=0.01)
    assert sample.correlation == pytest.approx(0.2, abs=0.02)


def test_a_pilot_without_an_error_is_taken_at_its_worst() -> None:
    sample = pilot_errors(Clusters([0] * 50, [20] * 50))
    assert (sample.share, sample.deff, sample.correlation) == (0, pytest.approx(20), pytest.approx(1))
    plan = strings_for_width(0.005, sample)
    assert 1 - 0.025 ** (1 / plan.strings) == pytest.approx(0.01, rel=0.02)
    assert "fall together" in plan.notes[0]
    with pytest.raises(CountsError, match="without a read"):
        pilot_errors(Clusters([], []))
    with pytest.raises(CountsError, match="without a pair"):
        pilot_pairs(Pairs([], [], []))


@pytest.mark.slow
@settings(quick, max_examples=10)
@given(st.floats(0.02, 0.3), st.floats(0, 0.5))
def test_wanting_less_takes_fewer_strings(share: float, correlation: float) -> None:
    sample = Sample(share, 20, 1 + 19 * correlation)
    assert strings_for_width(0.05, sample).strings <= strings_for_width(0.03, sample).strings * 1.1 + 1


@pytest.mark.parametrize(
    ("share", "reads", "deff", "worth"), [(1.0, 5, 1, 1), (0.1, 0.5, 1, 1), (0.1, 5, 0.5, 1), (0.1, 5, 1, 2)]
)
def test_a_sample_that_cannot_be_is_refused(share: float, reads: float, deff: float, worth: float) -> None:
    with pytest.raises(CountsError):
        Sample(share, reads, deff, worth)


def test_reliability_brier_and_calibration_error_are_their_definitions() -> None:
    string = [0, 0, 1, 1, 2, 2]
    stated = [0.95, 0.95, 0.95, 0.95, 0.15, 0.35]
    happened = [1, 1, 1, 0, 0, 1]
    found = calibration(string, stated, happened, mass=[0.5] * 6, resamples=200)
    assert found is not None
    assert [(b.low, b.reads, b.strings) for b in found.bins] == [(0.1, 1, 1), (pytest.approx(0.3), 1, 1), (0.9, 4, 2)]
    assert [b.probability for b in found.bins] == pytest.approx([0.15, 0.35, 0.95])
    assert [b.happened for b in found.bins] == [0, 1, 0.75]
    assert found.brier == pytest.approx(np.mean((np.array(stated) - happened) ** 2))
    assert found.ece == pytest.approx((1 * 0.15 + 1 * 0.65 + 4 * 0.20) / 6)
    assert (found.mass, found.n_reads, found.n_clusters) == (0.5, 6, 3)
    assert any("few strings" in line for line in found.warnings)


def simulated(strings: int, bias: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    string = np.repeat(np.arange(strings), rng.integers(5, 41, strings))
    stated = rng.beta(4, 1.2, len(string))
    return string, stated, rng.random(len(string)) < np.clip(stated - bias, 0, 1)


def test_a_calibrated_model_is_not_accused_and_a_biased_one_is() -> None:
    fair, biased = (calibration(*simulated(100, bias, 1), resamples=500) for bias in (0.0, 0.2))
    assert fair is not None and biased is not None
    assert fair.ece_low == 0 and fair.ece < 2 * fair.ece_if_calibrated
    assert biased.ece_low <= 0.2 <= biased.ece_high and biased.ece_low > 0.15
    assert biased.ece_if_calibrated < 0.03


def test_strings_that_are_all_sure_and_right_do_not_prove_that_every_one_is() -> None:
    for strings in (1, 50):
        found = calibration(np.arange(strings), np.full(strings, 0.999), np.ones(strings), resamples=100)
        assert found is not None
        assert found.brier_low == 0 and found.brier_high >= 1 - 0.025 ** (1 / strings) - 1e-12
        assert found.ece_high >= found.brier_high - 1e-12 and "hardly known" in found.warnings[-1]


def test_chance_alone_is_rarely_taken_for_a_calibration_error() -> None:
    found = [calibration(*simulated(50, 0.0, seed), resamples=200, seed=seed) for seed in range(60)]
    assert np.mean([one is not None and one.ece_low > 0 for one in found]) <= 0.08


@settings(quick, max_examples=25)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.floats(0, 1), st.booleans()), min_size=1, max_size=40),
)
def test_scores_lie_in_their_intervals(reads: list[tuple[int, float, bool]]) -> None:
    string, stated, happened = zip(*reads, strict=True)
    found = calibration(string, stated, happened, resamples=100)
    assert found is not None
    assert 0 <= found.ece_low <= found.ece <= found.ece_high <= 1
    assert 0 <= found.brier_low <= found.brier_high <= 1
    assert sum(b.reads for b in found.bins) == len(reads)


def test_the_probability_of_the_answer_chosen_is_normalised_and_its_mass_kept() -> None:
    logs = np.log([[0.6, 0.2], [0.1, 0.3], [0.2, 0.2]])
    stated, right, mass = from_logprobs(logs, [0, 0, 0])
    assert stated == pytest.approx([0.75, 0.75, 0.5])
    assert right.tolist() == [True, False, False]  # a tie is no answer
    assert mass == pytest.approx([0.8, 0.4, 0.4])


def test_bins_of_equal_counts_cover_everything() -> None:
    stated = 1 - np.random.default_rng(0).beta(0.2, 20, 1000)
    edges = equal_count_edges(stated, 5)
    found = calibration(np.arange(1000), stated, np.ones(1000), edges=edges, resamples=100)
    assert found is not None and found.n_reads == 1000
    assert edges[0] == 0 and edges[-1] == 1 and len(found.bins) == 5
    half = calibration([1, 2], [0.5, 0.4], [True, True], edges=[0, 0.5, 1], resamples=100)
    assert half is not None and [(b.low, b.probability) for b in half.bins] == [(0.0, 0.4), (0.5, 0.5)]
    assert equal_count_edges([1.0, 1.0]).tolist() == [0.0, 1.0]


def test_no_read_is_none_and_what_is_no_probability_is_refused() -> None:
    assert calibration([], [], []) is None
    with pytest.raises(CountsError, match=r"probability 1\.5"):
        calibration([1], [1.5], [True])
    with pytest.raises(CountsError, match="edges"):
        calibration([1], [0.5], [True], edges=[0, 0.5])
