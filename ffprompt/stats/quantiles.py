"""Distribution functions on arrays. scipy is imported inside, so that it loads only when a statistic is computed."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ffprompt._util.numbers import is_number
from ffprompt.errors import CountsError

Floats: TypeAlias = NDArray[np.float64]


def checked_level(level: float) -> float:
    """A confidence level, or CountsError unless 0.5 <= level < 1."""
    if not is_number(level) or not 0.5 <= level < 1.0:
        raise CountsError(f"level {level!r:.80}: expected a confidence level from 0.5 to below 1, such as 0.95")
    return level


def normal(q: float) -> float:
    """The ``q`` quantile of the standard normal distribution."""
    from scipy.special import ndtri

    return float(ndtri(q))


def normal_tail(z: ArrayLike) -> Floats:
    """P(Z > z)."""
    from scipy.special import ndtr

    return np.asarray(ndtr(-np.asarray(z, float)))


def chi_square_tail(statistic: float) -> float:
    """P(X > statistic) for one degree of freedom."""
    from scipy.special import chdtrc

    return float(chdtrc(1.0, statistic))


def t(df: ArrayLike, q: float) -> Floats:
    """The ``q`` quantile of Student's t with ``df`` degrees of freedom (df > 0)."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(df, q))


def t_tail(df: ArrayLike, x: ArrayLike) -> Floats:
    """P(T > x) for Student's t with ``df`` degrees of freedom (df > 0)."""
    from scipy.special import stdtr

    return np.asarray(stdtr(df, -np.asarray(x, float)))


def clopper_pearson_bounds(x: ArrayLike, n: ArrayLike, tail: float) -> tuple[Floats, Floats]:
    """Clopper & Pearson's (1934) bounds for ``x`` errors in ``n`` trials, each missed with probability <= ``tail``.

    ``x`` and ``n`` may be fractional (an effective sample size) and of any shape. The bounds are 0 and 1 exactly where
    ``x`` is 0 and ``n``.
    """
    from scipy.special import betaincinv

    x, n = np.broadcast_arrays(np.asarray(x, float), np.asarray(n, float))
    # Arguments of the unused branch of np.where must still be legal.
    low = np.where(x <= 0, 0.0, betaincinv(np.maximum(x, 1e-300), np.maximum(n - x, 0) + 1, tail))
    high = np.where(x >= n, 1.0, betaincinv(x + 1, np.maximum(n - x, 1e-300), 1 - tail))
    return low, high
