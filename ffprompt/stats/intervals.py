"""An interval for a rate of clustered errors, and what no error at all shows.

:func:`rate_interval` is the one to use. Where errors are few it is that of Korn & Graubard (1998): Clopper & Pearson's
exact interval for the number of independent reads that the observed ones are worth. That number comes from the spread
of the errors over the strings. Where too few strings had an error for their spread to mean much, it shrinks towards
the number of strings, which needs no spread. From :data:`FEW_WITH_ERRORS` strings on with an error, and as many with a
right answer, it is the inverse of the score test of :mod:`.score_test`, which is shorter.

Symbols: k strings, m reads of one of them, e errors of one of them, n = sum of m, p = sum of e / n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ffprompt.errors import CountsError
from ffprompt.stats.clusters import FEW_CLUSTERS, Clusters, effective_strings, few_strings
from ffprompt.stats.quantiles import Floats, checked_level, clopper_pearson_bounds, t
from ffprompt.stats.score_test import RateTest

# Fewer strings with an error (or, at rates above a half, without one) than this cannot show how errors cluster.
FEW_WITH_ERRORS = 8


@dataclass(frozen=True)
class Interval:
    """A rate with an interval that misses it, at either end, with probability at most (1 - level) / 2.

    ``n_effective``: the independent trials that the reads are worth. ``deff``: the design effect, the variance of the
    rate over that of independent reads, None where the data do not tell. ``warnings``: what a reader has to know.
    """

    estimate: float
    low: float
    high: float
    level: float
    method: str
    n_reads: int
    n_clusters: int
    n_effective: float
    deff: float | None
    warnings: tuple[str, ...] = ()

    @property
    def few_clusters(self) -> bool:
        """Whether there are so few strings that their spread is itself uncertain."""
        return self.n_clusters < FEW_CLUSTERS

    def complement(self) -> Interval:
        """The same of 1 minus the rate: the accuracy for an error rate."""
        return replace(self, estimate=1 - self.estimate, low=1 - self.high, high=1 - self.low)


def clopper_pearson(x: int, n: int, level: float = 0.95) -> Interval | None:
    """Return the exact interval for ``x`` of ``n`` independent trials (Clopper & Pearson 1934).

    Returns:
        The interval of x / n at confidence ``level``, two-sided. None for no trial.

    Raises:
        CountsError: ``x`` is not between 0 and ``n``.
    """
    if n < 0 or not 0 <= x <= n:
        raise CountsError(f"{x} of {n}: expected a count from 0 to the number of trials")
    if n == 0:
        return None
    low, high = clopper_pearson_bounds(x, n, (1 - checked_level(level)) / 2)
    return Interval(x / n, float(low), float(high), level, "Clopper-Pearson", n, n, float(n), None)


def strings_with_an_error(clusters: Clusters, level: float = 0.95) -> Interval | None:
    """Return the share of strings with at least one error. Exact: it needs nothing but independent strings.

    Returns:
        Clopper and Pearson's interval over strings, two-sided. None without a read.
    """
    found = clopper_pearson(int((clusters.errors > 0).sum()), len(clusters), level)
    return found and replace(found, method="Clopper-Pearson over strings", n_reads=clusters.n_reads)


def rate_interval(clusters: Clusters, level: float = 0.95) -> Interval | None:
    """Return the error rate of reads with a two-sided interval that has strings as clusters.

    The interval is Korn & Graubard's where fewer than :data:`FEW_WITH_ERRORS` (effective) strings have an error, or a
    right answer. Otherwise it is the inverse of the score test. ``method`` says which.

    Args:
        clusters: Errors and reads of each string.
        level: The confidence, such as 0.95.

    Returns:
        Errors a read, and its bounds, as shares. ``complement()`` gives the accuracy. None without a read.
    """
    few = korn_graubard(clusters, level)
    if few is None:
        return None
    test = RateTest.of(clusters.errors.astype(float), clusters.reads.astype(float))
    if test.spread.differing < FEW_WITH_ERRORS:
        return few
    low, high = (float(bound) for bound in test.bounds((1 + level) / 2, 0.0))
    return replace(few, low=low, high=high, method="score test", n_effective=1 / float(test.spread.scale))


def rate_bounds(errors: ArrayLike, reads: ArrayLike, level: float) -> tuple[Floats, Floats]:
    """Return the bounds of :func:`rate_interval` for many experiments at once.

    Args:
        errors: Errors of k strings in each experiment, (…, k).
        reads: Their reads, of the same shape, at least 1 each.
        level: The confidence.

    Returns:
        Lower and upper bounds, (…,) each.
    """
    e, m = np.asarray(errors, float), np.asarray(reads, float)
    low, high, *_ = korn_graubard_bounds(e, m, level)
    test = RateTest.of(e, m)
    few, (score_low, score_high) = test.spread.differing < FEW_WITH_ERRORS, test.bounds((1 + level) / 2, 0.0)
    return np.where(few, low, score_low), np.where(few, high, score_high)


def korn_graubard(clusters: Clusters, level: float = 0.95) -> Interval | None:
    """Return Korn & Graubard's interval of the error rate.

    It is never [0, 0] or [1, 1]: where all reads are right (or all wrong), the strings are the trials.

    Returns:
        The interval, with the effective sample size and the design effect. None without a read.
    """
    checked_level(level)
    if not len(clusters):
        return None
    low, high, worth, deff = (float(value) for value in korn_graubard_bounds(clusters.errors, clusters.reads, level))
    return Interval(
        clusters.n_errors / clusters.n_reads,
        low,
        high,
        level,
        "Korn-Graubard",
        clusters.n_reads,
        len(clusters),
        worth,
        None if np.isnan(deff) else deff,
        _warnings(clusters),
    )


def _warnings(clusters: Clusters) -> tuple[str, ...]:
    found = few_strings(len(clusters))
    if clusters.effective_strings < len(clusters) / 2:
        found.append(f"very unequal strings: {len(clusters)} are worth {clusters.effective_strings:.3g} equal ones")
    seen = informative(clusters)
    if clusters.n_errors in (0, clusters.n_reads):
        every = "right" if clusters.n_errors == 0 else "wrong"
        found.append(f"every read was {every}: how errors cluster is unknown, so the strings are the trials")
    elif seen < FEW_WITH_ERRORS:
        found.append(f"errors vary over few strings: {seen}; how they cluster is hardly known")
    return tuple(found)


def informative(clusters: Clusters) -> int:
    """Strings with an error or strings with a right answer, whichever are fewer."""
    return min(int((clusters.errors > 0).sum()), int((clusters.errors < clusters.reads).sum()))


def korn_graubard_bounds(errors: ArrayLike, reads: ArrayLike, level: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Return what :func:`korn_graubard` gives, for many experiments at once, (…, k) each.

    The design effect is the cluster-robust variance of the ratio p, k / (k - 1) · sum of (e - p m)² / n², over
    p (1 - p) / (n - 1), so that it is 1 for strings of one read. It is taken to be at least 1: no data make the reads
    worth more than there are.

    Returns:
        Lower bounds, upper bounds, effective sample sizes and design effects (NaN: unknown), (…,) each.
    """
    e, m = np.asarray(errors, float), np.asarray(reads, float)
    k, n = m.shape[-1], m.sum(-1)
    p, q = e.sum(-1) / n, (1 + level) / 2
    squares = (e - p[..., None] * m) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.float64(k) / (k - 1) * squares.sum(-1) / n**2
        deff = spread / (p * (1 - p) / (n - 1))
    deff = np.where(np.isfinite(deff), deff, np.nan)
    worth = effective_reads(n, effective_strings(m), deff, evidence([e > 0, e < m], m, squares) - 1, q)
    low, high = clopper_pearson_bounds(p * worth, worth, 1 - q)
    return low, high, worth, deff


def evidence(sides: Sequence[NDArray[np.bool_]], reads: Floats, squares: Floats) -> Floats:
    """How many strings tell how errors cluster, over the last axis of (…, k): the degrees of freedom, plus one.

    The least of: for each of the ``sides`` (strings with an error, strings with a right answer) the strings on it,
    weighted by squared reads, as they are in the variance, and 1.5 · (sum of ``squares``)² / sum of squares², the
    strings that carry the variance, so that one huge string is not taken for a hundred. The 1.5 was chosen by
    simulation (benchmarks/coverage.py): the two ends of the interval make up for each other when errors are skewed.
    """
    weights, strings = reads**2, effective_strings(reads)
    on_side = [(weights * side).sum(-1) / weights.sum(-1) * strings for side in sides]
    with np.errstate(divide="ignore", invalid="ignore"):
        carried = np.nan_to_num(squares.sum(-1) ** 2 / (squares**2).sum(-1))
    return np.asarray(np.minimum.reduce([*on_side, 1.5 * carried]))


def effective_reads(n: ArrayLike, strings: ArrayLike, deff: ArrayLike, df: ArrayLike, q: float) -> Floats:
    """The independent trials that ``n`` reads are worth, for bounds at the ``q`` quantile. Arrays of one shape.

    n / deff, times Korn & Graubard's correction for a variance that is itself estimated, (t_(n-1) / t_df)². They take
    df = k - 1. When errors are rare, nearly all of the k strings have none and say nothing about the variance, and
    that interval covers as little as 83 % (rate 0.001, 1,000 strings, intra-string correlation 0.5). Here df counts
    only the strings that differ: :func:`evidence`, less one. The correction does not go below ``strings``, the
    effective number of strings, which is right however strongly their reads correlate. There it also ends where deff
    is NaN.
    """
    n, strings, deff, df = (np.asarray(value, float) for value in (n, strings, deff, df))
    estimated = n / np.maximum(deff, 1.0)
    known = df >= 1
    correction = np.where(known, (t(np.maximum(n - 1, 1), q) / t(np.where(known, df, 1), q)) ** 2, 0.0)
    worth = np.minimum(estimated, np.maximum(estimated * np.minimum(correction, 1.0), strings))
    return np.asarray(np.where(np.isnan(deff), strings, worth))


@dataclass(frozen=True)
class ZeroErrorBound:
    """With no error in ``n`` trials the rate is at most ``high``, at confidence ``level``, if ``needs`` holds."""

    high: float
    n: float
    level: float
    needs: str


def zero_error_bounds(clusters: Clusters, level: float = 0.95) -> tuple[ZeroErrorBound, ZeroErrorBound] | None:
    """Return what no error shows: an upper bound of the error rate, by strings and by reads.

    One-sided and exact: 1 - (1 - level)^(1 / n), about 3 / n at 95 %. (A two-sided interval's upper end is larger, as
    it keeps half of its risk for the other side.) Reads of one string are hardly ever independent, so the second bound
    is what could be said at the very best. n of the first is the effective number of strings.

    Returns:
        The bound if only strings are independent, and the bound if all reads are. None where there is an error, or no
        read.
    """
    checked_level(level)
    if not len(clusters) or clusters.n_errors:
        return None
    by = (
        (clusters.effective_strings, "strings are independent, reads of one string may all fall together"),
        (float(clusters.n_reads), "all reads are independent, those of one string too"),
    )
    strings, reads = (ZeroErrorBound(zero_bound(n, level), n, level, needs) for n, needs in by)
    return strings, reads


def zero_bound(n: float, level: float) -> float:
    """Return the largest rate that shows no error in ``n`` independent trials with probability 1 - level or more.

    >>> round(zero_bound(100, 0.95), 4)
    0.0295
    """
    # expm1 and log keep all digits where the rate is tiny.
    return float(-np.expm1(np.log1p(-level) / n))
