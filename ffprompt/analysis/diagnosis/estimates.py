"""Means, differences and slopes over reads, with intervals that take the string as the cluster.

Reads of one string share a text, so they are not independent. The variance of an estimate is the spread of what each
string adds to it (the linearised, cluster-robust variance), and the interval uses Student's t with one degree of
freedom less than there are strings. All work on many heads at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ffprompt._util.plain import Plain
from ffprompt.stats.clusters import Clusters, group
from ffprompt.stats.intervals import rate_interval
from ffprompt.stats.quantiles import t

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate(Plain):
    """A number with its interval, None where fewer than two strings leave none, over ``reads`` of ``strings``."""

    estimate: float
    low: float | None
    high: float | None
    reads: int
    strings: int


def means(values: Floats, string: Ints, most: float | None = None) -> list[Estimate | None]:
    """Return the mean of each column of ``values`` (n, A). NaN is no data; None stands for a column without any.

    Where values cannot lie outside of 0 and ``most``, intervals end there.
    """
    found = _each(values, lambda column, rows, k: _mean(column, rows, k), string)
    return found if most is None else [one and _within(one, most) for one in found]


def _within(one: Estimate, most: float) -> Estimate:
    if one.low is None or one.high is None:
        return one
    return replace(one, low=max(0.0, one.low), high=min(most, one.high))


def share(hit: Bools, string: Ints) -> Estimate | None:
    """Return the share of reads (n,) that are hit, with the interval of the result table. None without a read."""
    interval = rate_interval(Clusters.from_reads(string, hit), LEVEL)
    if interval is None:
        return None
    return Estimate(interval.estimate, interval.low, interval.high, interval.n_reads, interval.n_clusters)


def differences(values: Floats, where: Bools, string: Ints) -> list[Estimate | None]:
    """Return for each column its mean over the reads ``where``, less that over the others."""

    def one(column: Floats, rows: Ints, k: int, inside: Bools) -> Estimate | None:
        if not inside.any() or inside.all():
            return None
        (first, left), (second, right) = (_parts(column[side], rows[side], k) for side in (inside, ~inside))
        return _estimate(first - second, left - right, len(column), k)

    return _each(values, one, string, where)


def ratios(values: Floats, of: Floats, string: Ints) -> list[Estimate | None]:
    """Return for each column of ``values`` (n, A) its sum over the sum of ``of`` (n,), both where it is finite.

    A ratio of sums stays finite where a single one does not. None stands for a sum of 0.
    """

    def one(column: Floats, rows: Ints, k: int, total: Floats) -> Estimate | None:
        whole = float(total.sum())
        if whole == 0:
            return None
        ratio = float(column.sum()) / whole
        return _estimate(ratio, np.bincount(rows, column - ratio * total, minlength=k) / whole, len(column), k)

    return _each(values, one, string, of)


def slopes(predictors: Floats, values: Floats, string: Ints) -> list[Estimate | None]:
    """Return the least-squares slope of ``values`` (n,) on each column of ``predictors`` (n, p), all together.

    None stands for a predictor that does not vary, or not apart from the others.
    """
    real = np.isfinite(values) & np.isfinite(predictors).all(1)
    X = np.column_stack([np.ones(int(real.sum())), predictors[real]])  # noqa: N806
    y = values[real]
    p = X.shape[1]
    if len(y) <= p or np.linalg.matrix_rank(X) < p:
        return [None] * (p - 1)
    rows, k = group(string[real])
    inverse = np.linalg.inv(X.T @ X)
    beta = inverse @ X.T @ y
    scores = np.zeros((k, p))
    np.add.at(scores, rows, X * (y - X @ beta)[:, None])
    each = scores @ inverse  # what every string adds, (k, p)
    return [_estimate(float(beta[column]), each[:, column], len(y), k) for column in range(1, p)]


def _each(values: Floats, one: object, string: Ints, where: Bools | Floats | None = None) -> list[Estimate | None]:
    found: list[Estimate | None] = []
    for column in np.asarray(values, np.float64).reshape(len(string), -1).T:
        real = np.isfinite(column)
        if not real.any():
            found.append(None)
            continue
        rows, k = group(string[real])
        extra = () if where is None else (where[real],)
        found.append(one(column[real], rows, k, *extra))  # type: ignore[operator]
    return found


def _mean(column: Floats, rows: Ints, k: int) -> Estimate:
    mean, each = _parts(column, rows, k)
    return _estimate(mean, each, len(column), k)


def _parts(column: Floats, rows: Ints, k: int) -> tuple[float, Floats]:
    """The mean, and what each of k strings adds to its error, (k,)."""
    mean = float(column.mean())
    return mean, np.bincount(rows, column - mean, minlength=k) / len(column)


def _estimate(value: float, each: Floats, reads: int, k: int) -> Estimate:
    if k < 2:
        return Estimate(value, None, None, reads, k)
    half = float(t(k - 1, (1 + LEVEL) / 2)) * float(np.sqrt(k / (k - 1) * (each**2).sum()))
    return Estimate(value, value - half, value + half, reads, k)
