"""Where a condition's errors are, and whether its probabilities mean what they say: the curves of a report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ffprompt._util.plain import Plain
from ffprompt.errors import StoreError
from ffprompt.runs.reads import CORRECT, ERROR, Bools, ConditionReads, Ints
from ffprompt.stats.calibration import calibration, equal_count_edges, from_logprobs
from ffprompt.stats.clusters import Clusters
from ffprompt.stats.intervals import Interval, rate_interval

# Resamples behind the interval of a calibration error: its ends move by a few per cent of its width, in a fraction of
# the time that stats.calibration's own number takes.
_RESAMPLES = 200


@dataclass(frozen=True)
class GapBin:
    """Accuracy of the reads whose gap is from ``from_`` to ``to``."""

    from_: int
    to: int
    mean_gap: float
    reads: int
    strings: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class ReliabilityBin:
    """Share of right answers among those of about one probability."""

    probability: float
    reads: int
    strings: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class Reliability:
    """Share of right answers by probability. ``left_out``: reads of which only a bound is known."""

    bins: list[ReliabilityBin]
    brier: float
    ece: float
    ece_low: float | None
    ece_high: float | None
    ece_if_calibrated: float | None
    reads: int
    left_out: int
    warnings: list[str]


@dataclass(frozen=True)
class Curves(Plain):
    """``gaps``: accuracy by gap, empty without a read. ``reliability``: None without probabilities."""

    gaps: list[GapBin]
    reliability: Reliability | None


def curves(reads: ConditionReads, symbols: int) -> Curves:
    """Return the curves of a condition: the one place that a report takes them from."""
    return Curves(by_gap(reads), reliability(reads, symbols))


def by_gap(reads: ConditionReads) -> list[GapBin]:
    """Return the accuracy of reads whose gap is 1, 2, 3 to 4, 5 to 8, …, each with an interval.

    A gap is the number of instructions since the write that is asked for. Failed calls are not counted.
    """
    outcome = reads.outcome
    counted = outcome != ERROR
    gap, string, right = reads.gap[counted], reads.string[counted], (outcome == CORRECT)[counted]
    bins = np.ceil(np.log2(np.maximum(gap, 1))).astype(np.int64)
    found = []
    for number in np.unique(bins).tolist():
        here = bins == number
        accuracy = _accuracy(string[here], right[here])
        found.append(
            GapBin(
                from_=2 ** (number - 1) + 1 if number else 1,
                to=2**number,
                mean_gap=float(gap[here].mean()),
                reads=accuracy.n_reads,
                strings=accuracy.n_clusters,
                accuracy=accuracy.estimate,
                low=accuracy.low,
                high=accuracy.high,
            )
        )
    return found


def _accuracy(string: Ints, right: Bools) -> Interval:
    """Share of right answers of some reads, with its interval, in which strings are the clusters."""
    misses = rate_interval(Clusters.from_reads(string, ~right))
    assert misses is not None
    return misses.complement()


def reliability(reads: ConditionReads, symbols: int) -> Reliability | None:
    """Return the share of right answers by the probability of the answer chosen, normalised over the answers.

    None without probabilities. Reads of which only a bound is known are left out and counted in ``left_out``.

    Raises:
        StoreError: A log-probability is not a number, or above 0.
    """
    logs = reads.logprobs(symbols)
    if logs is None:
        return None
    _refuse_impossible(reads)
    outcome = reads.outcome
    counted = outcome != ERROR
    whole = counted & np.isfinite(logs).all(1)
    if not whole.any():
        return None
    right, string = outcome[whole] == CORRECT, reads.string[whole]
    probability = from_logprobs(logs[whole], np.zeros(int(whole.sum()), np.int64))[0]
    made = calibration(string, probability, right, edges=equal_count_edges(probability), resamples=_RESAMPLES)
    assert made is not None
    points = []
    for one in made.bins:
        here = (probability >= one.low) & ((probability < one.high) | (one.high == 1.0))
        accuracy = _accuracy(string[here], right[here])
        points.append(
            ReliabilityBin(
                one.probability, accuracy.n_reads, accuracy.n_clusters, accuracy.estimate, accuracy.low, accuracy.high
            )
        )
    return Reliability(
        bins=points,
        brier=made.brier,
        ece=made.ece,
        ece_low=made.ece_low,
        ece_high=made.ece_high,
        ece_if_calibrated=made.ece_if_calibrated,
        reads=made.n_reads,
        left_out=int(counted.sum()) - made.n_reads,
        warnings=list(made.warnings),
    )


def _refuse_impossible(reads: ConditionReads) -> None:
    value = reads.impossible_logprob()
    if value is None:
        return
    if value != value:
        raise StoreError("reads.parquet: an answer_logprobs is NaN, which is no probability; look at trials.jsonl")
    raise StoreError(f"reads.parquet: log-probability {value:.3g}; at most 0 is possible")
