"""Where a condition's errors are, and whether its probabilities mean what they say: the curves of a report."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ffprompt.errors import StoreError
from ffprompt.report.source import OUTCOMES, Reads
from ffprompt.stats.calibration import calibration, equal_count_edges, from_logprobs
from ffprompt.stats.clusters import Clusters
from ffprompt.stats.intervals import rate_interval

_CORRECT, _ERROR = OUTCOMES.index("correct"), OUTCOMES.index("error")
# Resamples behind the interval of a calibration error: its ends move by a few per cent of its width, in a fraction of
# the time that stats.calibration's own number takes.
_RESAMPLES = 200


def anatomy(reads: Reads) -> dict[str, Any]:
    """``gaps`` (accuracy by gap, [] without a read) and ``reliability`` (None without probabilities) of a condition.

    The one place that a report takes them from.
    """
    return {"gaps": by_gap(reads), "reliability": reliability(reads)}


def by_gap(reads: Reads) -> list[dict[str, Any]]:
    """Accuracy of reads whose gap is 1, 2, 3 to 4, 5 to 8, …, each with an interval.

    A gap is the number of instructions since the write that is asked for. Failed calls are not counted.
    """
    counted = reads.outcome != _ERROR
    gap, string, right = reads.gap[counted], reads.string[counted], (reads.outcome == _CORRECT)[counted]
    bins = np.ceil(np.log2(np.maximum(gap, 1))).astype(np.int64)
    found = []
    for number in np.unique(bins).tolist():
        here = bins == number
        found.append(
            {
                "from": 2 ** (number - 1) + 1 if number else 1,
                "to": 2**number,
                "mean_gap": float(gap[here].mean()),
                **_rate(string[here], right[here]),
            }
        )
    return found


def _rate(string: NDArray[np.int64], right: NDArray[np.bool_]) -> dict[str, Any]:
    """Share of right answers of some reads, with its interval, in which strings are the clusters."""
    made = rate_interval(Clusters.from_reads(string, ~right))
    assert made is not None
    found = made.complement()
    return {
        "reads": found.n_reads,
        "strings": found.n_clusters,
        "accuracy": found.estimate,
        "low": found.low,
        "high": found.high,
    }


def reliability(reads: Reads) -> dict[str, Any] | None:
    """Share of right answers by the probability of the answer chosen, normalised over the answers; None without them.

    Reads of which only a bound is known are left out and counted in ``left_out``.
    """
    logs = reads.logprobs
    if logs is None:
        return None
    counted = reads.outcome != _ERROR
    whole = counted & np.isfinite(logs).all(1)
    if (logs[whole] > 1e-3).any():  # float32's own rounding may pass 0 by a little
        raise StoreError(f"reads.parquet: log-probability {logs[whole].max():.3g}; at most 0 is possible")
    if not whole.any():
        return None
    right = reads.outcome[whole] == _CORRECT
    probability = from_logprobs(logs[whole], np.zeros(int(whole.sum()), np.int64))[0]
    made = calibration(
        reads.string[whole], probability, right, edges=equal_count_edges(probability), resamples=_RESAMPLES
    )
    assert made is not None
    points = []
    for one in made.bins:
        last = one.high == 1.0
        here = (probability >= one.low) & ((probability < one.high) | last)
        points.append({"probability": one.probability, **_rate(reads.string[whole][here], right[here])})
    return {
        "bins": points,
        "brier": made.brier,
        "ece": made.ece,
        "ece_low": made.ece_low,
        "ece_high": made.ece_high,
        "ece_if_calibrated": made.ece_if_calibrated,
        "reads": made.n_reads,
        "left_out": int(counted.sum()) - made.n_reads,
        "warnings": list(made.warnings),
    }
