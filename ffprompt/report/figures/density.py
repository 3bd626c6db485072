"""The outline of a violin."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_POINTS = 64


def outline(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Where and how dense three or more values are, the largest density being 1: a Gaussian kernel, Silverman's width.

    Nothing is drawn beyond the least and the greatest value, where there are no data.
    """
    data = np.asarray(values, float)
    spread = min(data.std(ddof=1), (np.quantile(data, 0.75) - np.quantile(data, 0.25)) / 1.34) or data.std(ddof=1)
    width = 0.9 * spread * len(data) ** -0.2
    at = np.linspace(data.min(), data.max(), _POINTS)  # (P,)
    density = np.exp(-0.5 * ((at[:, None] - data) / width) ** 2).sum(1)  # (P, n) summed over n
    return at.tolist(), (density / density.max()).tolist()
