"""Other tests of two models on the same strings, for papers that report them, and Holm's adjustment of any p-values.

The p-value of a comparison is that of :func:`.paired.difference`, whose interval agrees with it. Each test here looks
at d = gained - lost, a number a string. :func:`sign_flip` is exact at any number of strings if the two models differ in
nothing but luck. The chi-square tests trust a normal approximation over the strings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ffprompt.errors import CountsError
from ffprompt.stats.clusters import FEW_CLUSTERS
from ffprompt.stats.paired import Pairs
from ffprompt.stats.quantiles import Floats, chi_square_tail

# The exact distribution takes time in the square of the sum of |d|; a tenth of a second here.
_EXACT_UP_TO = 10_000
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Test:
    """A two-sided p-value: how often chance alone gives so much or more."""

    p: float
    statistic: float
    method: str
    discordant_clusters: int
    warnings: tuple[str, ...] = ()


def mcnemar(pairs: Pairs, method: str = "yang") -> Test | None:
    """Return McNemar's test for clustered pairs, a chi-square with one degree of freedom.

    ``method``: ``durkalski`` (Durkalski et al. 2003: strings count the same, whatever their number of reads),
    ``obuchowski`` (1998) or ``yang`` (Yang, Sun & Hardin 2010, a modification of Obuchowski's): reads count the same.
    With one read a string the first is McNemar's own.

    Returns:
        The two-sided p-value with its statistic. None without a read.

    Raises:
        CountsError: the method is unknown.
    """
    if method not in ("durkalski", "obuchowski", "yang"):
        raise CountsError(f"method {method!r}: expected durkalski, obuchowski or yang")
    k, d, m = len(pairs), pairs.differences.astype(float), pairs.reads.astype(float)
    if not k:
        return None
    seen = int((pairs.lost + pairs.gained > 0).sum())
    if method == "durkalski":
        top, spread = (d / m).sum() ** 2, ((d / m) ** 2).sum()
    else:
        centred = d - m * d.sum() / m.sum()
        # Obuchowski's variance under equality; Yang et al. take the mean of it and of that around the estimate.
        spread = (d**2).sum() if method == "obuchowski" else ((d**2).sum() + (centred**2).sum()) / 2
        top = (k - 1) / k * d.sum() ** 2
    statistic = float(top / spread) if spread else 0.0
    warnings = () if seen >= FEW_CLUSTERS else (f"answers differ in few strings: {seen}; use the sign-flip test",)
    return Test(chi_square_tail(statistic), statistic, f"McNemar, clustered ({method})", seen, warnings)


def sign_flip(pairs: Pairs, resamples: int = 100_000, seed: int = 0) -> Test | None:
    """Return a permutation test over strings of |sum of d|.

    If it makes no difference which model answered, a string's d is as likely as its opposite. Flipping each string's
    sign gives the distribution: exactly, or by ``resamples`` draws once that is too large, with p = (b + 1) / (m + 1)
    (Phipson & Smyth 2010), which is never 0. It is this that is tested, not equal rates: two models with the same rate
    of errors, of which one fails in whole strings and the other here and there, are told apart too often while few
    strings have failed: in 10 % of experiments, not 5, with 200 strings and a rate of 0.02. So they are by
    :func:`mcnemar`, but not by :func:`.paired.difference`, which sees that skew.

    Returns:
        The two-sided p-value with |sum of d|. None without a read.

    Raises:
        CountsError: fewer than 100 draws are asked for, and draws are needed.
    """
    if not len(pairs):
        return None
    d = pairs.differences
    sizes, counts = np.unique(np.abs(d[d != 0]), return_counts=True)
    seen = abs(int(d.sum()))
    differing = int((pairs.lost + pairs.gained > 0).sum())
    if int(sizes @ counts) <= _EXACT_UP_TO:
        weights = _signed_sums(sizes, counts)
        reach = len(weights) // 2
        p = float(weights[np.abs(np.arange(-reach, reach + 1)) >= seen].sum())
        return Test(min(p, 1.0), float(seen), "sign flips over strings, exact", differing)
    if resamples < 100:
        raise CountsError(f"resamples {resamples}: expected at least 100")
    as_far = _drawn(sizes, counts, resamples, seed, seen)
    method = f"sign flips over strings, {resamples:,} drawn, seed {seed}"
    return Test((as_far + 1) / (resamples + 1), float(seen), method, differing)


def _signed_sums(sizes: np.ndarray, counts: np.ndarray) -> Floats:
    """Probabilities of the sums -S … S of numbers with random signs, ``counts`` of each of ``sizes``. S = the largest.

    Two of size 1: [1/4, 0, 1/2, 0, 1/4].
    """
    weights = np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        # j of the count are positive: the sum of these is size · (2 j - count).
        one = np.zeros(2 * size * count + 1)
        one[:: 2 * size] = _binomial_half(count)
        weights = np.convolve(weights, one)
    return weights


def _binomial_half(n: int) -> Floats:
    from scipy.special import gammaln

    j = np.arange(n + 1)
    return np.asarray(np.exp(gammaln(n + 1) - gammaln(j + 1) - gammaln(n - j + 1) - n * np.log(2)))


def _drawn(sizes: np.ndarray, counts: np.ndarray, resamples: int, seed: int, seen: int) -> int:
    """How many of the drawn sums lie as far from 0 as ``seen`` or farther."""
    rng, found = np.random.default_rng(seed), 0
    block = max(1, _BLOCK // len(sizes))
    for start in range(0, resamples, block):
        positive = rng.binomial(counts, 0.5, size=(min(block, resamples - start), len(sizes)))
        found += int((np.abs((2 * positive - counts) @ sizes) >= seen).sum())
    return found


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Holm's (1979) adjusted p-values for tests of several conditions, in their order.

    Rejecting what is at most alpha keeps the risk of any false rejection at alpha, however the tests depend.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]

    Args:
        p_values: One for each condition. None, where there was no test, stays None.

    Raises:
        CountsError: a p-value is not between 0 and 1.
    """
    made = sorted((p, row) for row, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, row) in enumerate(made):
        if not 0 <= p <= 1:
            raise CountsError(f"p-value {p}: expected a number between 0 and 1")
        largest = max(largest, min(1.0, (len(made) - rank) * p))
        adjusted[row] = largest
    return adjusted
