"""Whether the share that a model gives its answer says how often it is right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ffprompt.analysis.reads import LEVEL, Reads
from ffprompt.runs.reads import Bools, Floats, Ints
from ffprompt.stats.association import mean
from ffprompt.stats.calibration import Bin, calibration, equal_count_edges, from_logprobs
from ffprompt.stats.clusters import Clusters
from ffprompt.stats.intervals import rate_interval

# Resamples of the bootstrap, fewer where there are many strings: their number is what costs.
_RESAMPLES, _MOST_DRAWS = 1000, 20_000_000


@dataclass(frozen=True)
class CalibrationBin:
    """Reads whose answer has a probability from ``from_`` to ``to``, and how often they are right."""

    from_: float
    to: float
    reads: int
    strings: int
    probability: float
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class Calibration:
    """Calibration of the answers chosen. ``left_out``: reads without all log-probabilities."""

    reads: int
    strings: int
    left_out: int
    brier: float
    brier_low: float | None
    brier_high: float | None
    ece: float
    ece_low: float | None
    ece_high: float | None
    ece_if_calibrated: float | None
    mass: float | None
    mass_low: float | None
    mass_high: float | None
    bins: list[CalibrationBin]
    warnings: list[str]


def calibrated(reads: Reads) -> Calibration | None:
    """Return the calibration of the reads that have all log-probabilities. None where none has.

    Bins hold about equally many reads.
    """
    if reads.logprobs is None:
        return None
    known = reads.logprobs.max(1) > -np.inf  # which NaN is not
    strings = reads.string[known]
    probability, right, mass = from_logprobs(reads.logprobs[known], reads.truth[known])
    edges = equal_count_edges(probability) if len(probability) else None
    resamples = max(200, min(_RESAMPLES, _MOST_DRAWS // max(len(np.unique(strings)), 1)))
    found = calibration(strings, probability, right, mass, edges, LEVEL, resamples)
    if found is None:
        return None
    weight = mean(strings, mass, LEVEL)
    return Calibration(
        reads=found.n_reads,
        strings=found.n_clusters,
        left_out=int((~known).sum()),
        brier=found.brier,
        brier_low=found.brier_low,
        brier_high=found.brier_high,
        ece=found.ece,
        ece_low=found.ece_low,
        ece_high=found.ece_high,
        ece_if_calibrated=found.ece_if_calibrated,
        mass=found.mass,
        mass_low=max(0.0, weight[1]) if weight else None,
        mass_high=min(1.0, weight[2]) if weight else None,
        bins=[_bin(one, strings, probability, right) for one in found.bins],
        warnings=list(found.warnings),
    )


def _bin(one: Bin, strings: Ints, probability: Floats, right: Bools) -> CalibrationBin:
    here = (probability >= one.low) & ((probability < one.high) | (one.high == 1))
    found = rate_interval(Clusters.from_reads(strings[here], ~right[here]), LEVEL)
    assert found is not None  # a bin has reads
    accuracy = found.complement()
    return CalibrationBin(
        from_=one.low,
        to=one.high,
        reads=one.reads,
        strings=one.strings,
        probability=one.probability,
        accuracy=one.happened,
        low=accuracy.low,
        high=accuracy.high,
    )
