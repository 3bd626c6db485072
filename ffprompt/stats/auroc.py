"""Area under the ROC curve with strings as the clusters.

The area is the share of pairs of one case and one other in which the case has the higher score, ties counted half.
What each string adds to its error is summed up (Obuchowski 1997, Biometrics 53: structural components by cluster), and
the interval is Student's on the scale of the logit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ffprompt.errors import CountsError
from ffprompt.stats.clusters import group
from ffprompt.stats.quantiles import Floats, checked_level, t

_MOST_STEPS = 100  # of the bisection


@dataclass(frozen=True)
class Auroc:
    """An area with its interval. 0.5 is a score that says nothing. ``low`` and ``high`` are None with one string."""

    estimate: float
    low: float | None
    high: float | None
    level: float
    cases: int
    others: int
    n_clusters: int


def auroc(cluster: ArrayLike, score: ArrayLike, case: ArrayLike, level: float = 0.95) -> Auroc | None:
    """Return how well a score tells cases from others. None where there are no cases, or no others.

    >>> auroc([0, 1, 2, 3], [0.1, 0.4, 0.35, 0.8], [False, False, True, True]).estimate
    0.75

    Args:
        cluster: The string of each read, (n,).
        score: Its score.
        case: Whether it is a case.
        level: Of the interval.

    Raises:
        CountsError: Lengths differ, or a score is no number.
    """
    level = checked_level(level)
    scores, cases = np.asarray(score, np.float64), np.asarray(case, np.bool_)
    rows, k = group(np.asarray(cluster, np.int64))
    if not len(scores) == len(cases) == len(rows):
        raise CountsError(f"auroc: {len(scores)} scores, {len(cases)} labels, {len(rows)} strings; expected as many")
    if not np.isfinite(scores).all():
        raise CountsError("auroc: a score is no finite number")
    m, n = int(cases.sum()), int((~cases).sum())
    if not m or not n:
        return None
    # Of each read, the share of the other kind that it is on the right side of.
    won = np.empty(len(scores))
    won[cases] = _below(scores[~cases], scores[cases])
    won[~cases] = 1 - _below(scores[cases], scores[~cases])
    area = float(won[cases].mean())
    adds = np.where(cases, (won - area) / m, (won - area) / n)
    each = np.asarray(np.bincount(rows, adds, minlength=k), np.float64)
    low, high = _interval(area, each, k, len(np.unique(rows[cases])), len(np.unique(rows[~cases])), level)
    return Auroc(area, low, high, level, m, n, k)


def _below(others: Floats, scores: Floats) -> Floats:
    """The share of ``others`` below each score, ties counted half."""
    order = np.sort(others)
    left, right = np.searchsorted(order, scores, "left"), np.searchsorted(order, scores, "right")
    return np.asarray((left + right) / (2 * len(order)), np.float64)


def _interval(area: float, each: Floats, k: int, m: int, n: int, level: float) -> tuple[float | None, float | None]:
    if k < 2:
        return None, None
    quantile = float(t(k - 1, (1 + level) / 2))
    if not 0 < area < 1 or not np.any(each):
        # No spread is seen: a score interval with the Hanley-McNeil variance (Newcombe 2006), strings as the units.
        return _newcombe(area, m, n, quantile)
    error = quantile * float(np.sqrt(k / (k - 1) * (each**2).sum())) / (area * (1 - area))
    at = np.log(area / (1 - area))
    return float(1 / (1 + np.exp(error - at))), float(1 / (1 + np.exp(-error - at)))


def _newcombe(area: float, m: int, n: int, quantile: float) -> tuple[float, float]:
    def far(theta: float) -> bool:
        star = (m + n) / 2 - 1
        spread = theta * (1 - theta) / (m * n) * (1 + star * (1 - theta) / (2 - theta) + star * theta / (1 + theta))
        return abs(theta - area) > quantile * float(np.sqrt(spread))

    ends = []
    for end in (0.0, 1.0):
        inside, outside = area, end
        for _ in range(_MOST_STEPS):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if far(middle) else (middle, outside)
        ends.append(outside if area != end else end)
    return ends[0], ends[1]
