"""Resampling whole strings: a second opinion on an interval, for any statistic of the strings' counts.

A resample of k strings is a multinomial draw over the distinct rows of counts, which gives the same distribution as
drawing strings one by one and costs no more for 100,000 strings than for 1,000 of the same few kinds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from ffprompt.errors import CountsError
from ffprompt.stats.clusters import Clusters
from ffprompt.stats.intervals import Interval, korn_graubard
from ffprompt.stats.quantiles import Floats, checked_level, normal, normal_tail, t

# Resamples held in memory at a time, in numbers.
_BLOCK = 1 << 22
# A tail that no number of resamples could resolve; its normal quantile is still finite.
_SMALLEST = 1e-12


def cluster_bootstrap(
    clusters: Clusters, level: float = 0.95, resamples: int = 2000, seed: int = 0, method: str = "bca"
) -> Interval | None:
    """The error rate with a bootstrap interval over strings. None without a read.

    ``method``: ``bca`` (bias-corrected and accelerated, Efron 1987) or ``percentile``. Strings that are all alike give
    a bootstrap nothing to vary. Then the interval is Korn & Graubard's, and says so. The bootstrap knows nothing of
    strings that it has not seen: with few errors its upper end is too low, which is why it is only a check.
    """
    if method not in ("bca", "percentile"):
        raise CountsError(f"method {method!r}: expected bca or percentile")
    exact = korn_graubard(clusters, level)
    if exact is None:
        return None
    kinds, counts = np.unique(np.stack([clusters.errors, clusters.reads], 1), axis=0, return_counts=True)
    if len(kinds) == 1 or clusters.n_errors in (0, clusters.n_reads):
        return replace(exact, warnings=(*exact.warnings, "a bootstrap sees no variation: this is Korn-Graubard's"))

    def rate(weights: Floats) -> Floats:
        return np.asarray((weights @ kinds[:, 0]) / (weights @ kinds[:, 1]))

    low, high = bootstrap_bounds(rate, counts, level, resamples, seed, accelerate=method == "bca")
    name = f"cluster bootstrap ({'BCa' if method == 'bca' else 'percentile'}, {resamples:,} resamples, seed {seed})"
    return replace(exact, low=low, high=high, method=name)


def bootstrap_bounds(
    statistic: Callable[[Floats], Floats],
    counts: ArrayLike,
    level: float,
    resamples: int,
    seed: int,
    accelerate: bool = True,
) -> tuple[float, float]:
    """Bounds for ``statistic``, a function from weights (r, u) of the u distinct kinds of strings to (r,) values.

    ``counts``, (u,): how many strings of each kind were seen. ``accelerate``: BCa, otherwise percentiles.
    """
    counts = np.asarray(counts, np.int64)
    values = bootstrap_values(statistic, counts, resamples, seed)
    tails = np.array(expanded(checked_level(level), int(counts.sum())))
    if accelerate:
        tails = _accelerated(statistic, counts, values, tails)
    low, high = np.quantile(values, tails)
    return float(low), float(high)


def bootstrap_values(statistic: Callable[[Floats], Floats], counts: ArrayLike, resamples: int, seed: int) -> Floats:
    """``statistic`` of each resample, (resamples,)."""
    if resamples < 100:
        raise CountsError(f"resamples {resamples}: expected at least 100")
    counts = np.asarray(counts, np.int64)
    rng, k = np.random.default_rng(seed), int(counts.sum())
    block = max(1, _BLOCK // len(counts))
    parts = [
        statistic(rng.multinomial(k, counts / k, size=min(block, resamples - start)).astype(float))
        for start in range(0, resamples, block)
    ]
    return np.concatenate(parts)


def expanded(level: float, k: int) -> tuple[float, float]:
    """Tail probabilities of percentiles that make up for few strings (Hesterberg 2015, section 5.3)."""
    if k < 2:
        return 0.0, 1.0
    high = 1 - float(normal_tail(t(k - 1, (1 + level) / 2) * np.sqrt(k / (k - 1))))
    return 1 - high, high


def _accelerated(statistic: Callable[[Floats], Floats], counts: np.ndarray, values: Floats, tails: Floats) -> Floats:
    """BCa's tail probabilities: corrected for the median's bias, and for a variance that changes with the rate."""
    seen = float(statistic(counts[None].astype(float))[0])
    # Ties count half: the statistic is discrete when errors are few.
    below = ((values < seen).mean() + (values <= seen).mean()) / 2
    bias = normal(min(max(below, 0.5 / len(values)), 1 - 0.5 / len(values)))
    # One string left out, once for each kind, weighted by how many there are of it.
    left_out = statistic(counts[None] - np.eye(len(counts)))
    away = np.average(left_out, weights=counts) - left_out
    scale = float((counts * away**2).sum())
    acceleration = float((counts * away**3).sum()) / (6 * scale**1.5) if scale > 0 else 0.0
    shifted = bias + np.array([normal(min(max(tail, _SMALLEST), 1 - _SMALLEST)) for tail in tails.tolist()])
    # With very few strings the correction has a pole; beyond it the tails would change places.
    adjusted = bias + shifted / np.maximum(1 - acceleration * shifted, 0.1)
    return np.asarray(1 - normal_tail(adjusted))
