"""Does a rate differ between two kinds of reads, or change along the string? With strings as the units.

Example: of 40 reads at which a rule is wrong the model fails at 30, of 60 at which it is right at 6. The risk
difference is 30/40 - 6/60 = 0.65: the model fails where the rule does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ffprompt.errors import CountsError
from ffprompt.stats.clusters import Clusters, Ints, few_strings, group, total
from ffprompt.stats.intervals import informative
from ffprompt.stats.quantiles import Floats, checked_level, t
from ffprompt.stats.score_test import FEW, RiskTest, carrying


@dataclass(frozen=True)
class RiskDifference:
    """Failure rate of exposed reads less that of the others, with an interval. Rates of both, reads of both.

    ``p``: how often chance alone gives a difference as large, on either side, if there is none.
    """

    estimate: float
    low: float
    high: float
    level: float
    p: float
    exposed: float
    unexposed: float
    n_exposed: int
    n_unexposed: int
    n_clusters: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Slope:
    """Change of a share from x = 0 to x = 1 by least squares, with an interval."""

    estimate: float
    low: float
    high: float
    level: float
    n_reads: int
    n_clusters: int
    warnings: tuple[str, ...] = ()


def risk_difference(
    cluster: ArrayLike, exposed: ArrayLike, failed: ArrayLike, level: float = 0.95
) -> RiskDifference | None:
    """Of reads, (n,) each: string, whether exposed, whether failed. None unless there are reads of both kinds.

    The interval is the inverse of a score test (:class:`.score_test.RiskTest`) and never a single point. Strings are
    left out one by one, so it knows that both rates come from the same strings.
    """
    checked_level(level)
    exposed, failed = np.asarray(exposed, bool), np.asarray(failed, bool)
    rows, k = group(cluster, exposed, failed)
    (errors, reads), (others, other_reads) = (_counts(rows[kind], failed[kind], k) for kind in (exposed, ~exposed))
    if not reads.sum() or not other_reads.sum():
        return None
    test = RiskTest.of(*(counts.astype(float) for counts in (errors, reads, others, other_reads)))
    low, high = (float(bound) for bound in test.bounds((1 + level) / 2, -1.0))
    seen = informative(Clusters(errors + others, reads + other_reads))
    return RiskDifference(
        float(test.estimate),
        low,
        high,
        level,
        float(test.p_value(0.0)),
        float(test.exposed),
        float(test.unexposed),
        int(reads.sum()),
        int(other_reads.sum()),
        k,
        _warnings(k, seen),
    )


def slope(cluster: ArrayLike, x: ArrayLike, failed: ArrayLike, level: float = 0.95) -> Slope | None:
    """Of reads, (n,) each: string, a number, whether failed. The interval is the jackknife's over strings.

    None where there is nothing to see: all reads alike, one x, or a slope that hangs on a single string.
    """
    checked_level(level)
    at, y = np.asarray(x, float), np.asarray(failed, bool).astype(float)
    if not np.isfinite(at).all():
        raise CountsError(f"x {at[~np.isfinite(at)][0]}: expected finite numbers")
    rows, k = group(cluster, at, y)
    if not len(y):
        return None
    # From the middle, so that sums of squares lose no digits.
    at = at - at.mean()
    sums = np.stack([np.bincount(rows, column, k) for column in (np.ones_like(at), at, y, at * at, at * y)])
    whole = sums.sum(1, keepdims=True)
    estimate = float(_slope(whole)[0])
    seen = informative(Clusters(total(rows, y, k), total(rows, np.ones_like(rows), k)))
    # Too few strings with an error do not show how much the slope varies.
    df = float(carrying(sums[0])) if seen >= FEW else max(seen - 1.0, 1.0)
    half = _half(estimate, _slope(whole - sums), df, level)
    if half is None or not seen:
        return None
    return Slope(estimate, estimate - half, estimate + half, level, len(y), k, _warnings(k, seen))


def mean(cluster: ArrayLike, values: ArrayLike, level: float = 0.95) -> tuple[float, float, float] | None:
    """Mean of a number (n,) of each read, and the jackknife's interval for it over strings. None below two strings."""
    checked_level(level)
    values = np.asarray(values, float)
    rows, k = group(cluster, values)
    if k < 2:
        return None
    sums, reads = np.bincount(rows, values, k), np.bincount(rows, minlength=k)
    estimate = float(values.mean())
    half = _half(estimate, (sums.sum() - sums) / (reads.sum() - reads), float(carrying(reads.astype(float))), level)
    assert half is not None
    return estimate, estimate - half, estimate + half


def _slope(sums: Floats) -> Floats:
    """Least squares' slope from (n, Σx, Σy, Σx², Σxy), (5, …). NaN where x does not vary."""
    n, sx, sy, sxx, sxy = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = n * sxx - sx * sx
        found = (n * sxy - sx * sy) / spread
    return np.where(spread > 1e-9 * np.maximum(n * sxx, 1e-300), found, np.nan)


def _counts(rows: Ints, failed: ArrayLike, k: int) -> tuple[Ints, Ints]:
    return total(rows, failed, k), total(rows, np.ones_like(rows), k)


def _half(estimate: float, without: Floats, df: float, level: float) -> float | None:
    """Half the length of the jackknife's interval: k - 1 over k times the squared changes, and t's quantile.

    None where strings cannot be left out.
    """
    k = len(without)
    if k < 2 or not np.isfinite(without).all():
        return None
    spread = np.sqrt((k - 1) / k * ((without - estimate) ** 2).sum())
    return float(spread * t(df, (1 + level) / 2))


def _warnings(k: int, seen: int) -> tuple[str, ...]:
    found = few_strings(k)
    if 0 < seen < FEW:
        found.append(f"errors vary over few strings: {seen}; how they cluster is hardly known")
    return tuple(found)
