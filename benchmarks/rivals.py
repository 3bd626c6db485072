"""Other intervals for a difference between two answers to the same reads, to be measured beside ours.

Each takes lost, gained and reads, (experiments, strings), and the quantile of each bound; it returns two bounds.
"""

from __future__ import annotations

import numpy as np
from scipy.special import stdtrit
from simulate import Floats, Ints

Bounds = tuple[Floats, Floats]


def _sums(lost: Ints, gained: Ints, reads: Ints) -> tuple[Floats, Floats, Floats, Floats, int]:
    d, m = (gained - lost).astype(float), reads.astype(float)
    n = m.sum(-1)
    estimate = d.sum(-1) / n
    return d - estimate[:, None] * m, m, n, estimate, m.shape[-1]


def cluster_t(lost: Ints, gained: Ints, reads: Ints, q: float) -> Bounds:
    """The cluster-robust variance and t with one less degree of freedom than strings."""
    away, _, n, estimate, k = _sums(lost, gained, reads)
    half = stdtrit(k - 1, q) * np.sqrt(k / (k - 1) * (away**2).sum(-1)) / n
    return estimate - half, estimate + half


def jackknife(lost: Ints, gained: Ints, reads: Ints, q: float) -> Bounds:
    """The same with the variance of leaving strings out."""
    away, m, n, estimate, k = _sums(lost, gained, reads)
    half = stdtrit(k - 1, q) * np.sqrt((k - 1) / k * ((away / (n[:, None] - m)) ** 2).sum(-1))
    return estimate - half, estimate + half


def hall(lost: Ints, gained: Ints, reads: Ints, q: float) -> Bounds:
    """Hall's (1992) transformation of t, which corrects for the skewness that the strings show."""
    away, _, n, estimate, k = _sums(lost, gained, reads)
    variance = np.maximum((away**2).mean(-1), 1e-300)
    skew = (away**3).mean(-1) / variance**1.5 / np.sqrt(k)
    skew = np.where(np.abs(skew) < 1e-9, 1e-9, skew)
    error = np.sqrt(k / (k - 1) * (away**2).sum(-1)) / n

    def back(y: float) -> Floats:
        return 3 * (np.cbrt(1 + skew * (y - skew / 6)) - 1) / skew

    t = float(stdtrit(k - 1, q))
    return estimate - error * back(t), estimate - error * back(-t)


def tango(lost: Ints, gained: Ints, reads: Ints, q: float) -> Bounds:
    """Tango's (1998) score interval for the number of independent pairs that the reads are worth."""
    away, _, n, estimate, k = _sums(lost, gained, reads)
    differ = (lost + gained).sum(-1) / n
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = k / (k - 1) * (away**2).sum(-1) / n**2 / (differ - estimate**2) * stdtrit(k - 1, q) ** 2
    bounds = []
    for end in (-1.0, 1.0):
        near, far = estimate.copy(), np.full_like(estimate, end)
        for _ in range(40):
            x = (near + far) / 2
            share = (differ + np.sqrt(np.maximum(differ**2 + 4 * x * (x - estimate), 0))) / 2
            kept = (estimate - x) ** 2 <= scale * np.maximum(share - x * x, 0)
            near, far = np.where(kept, x, near), np.where(kept, far, x)
        bounds.append(far)
    return bounds[0], bounds[1]


def bootstrap_t(lost: Ints, gained: Ints, reads: Ints, q: float, resamples: int = 400) -> Bounds:
    """Studentised resampling of strings."""
    rng = np.random.default_rng(1)
    _, m, _, estimate, k = _sums(lost, gained, reads)
    low, high = cluster_t(lost, gained, reads, q)
    error = (high - low) / 2 / stdtrit(k - 1, q)
    d, bounds = (gained - lost).astype(float), []
    for row in range(len(m)):
        weights = rng.multinomial(k, np.full(k, 1 / k), size=resamples).astype(float)
        n = weights @ m[row]
        drawn = weights @ d[row] / n
        squares = weights @ d[row] ** 2 - 2 * drawn * (weights @ (d[row] * m[row])) + drawn**2 * (weights @ m[row] ** 2)
        spread = np.sqrt(np.maximum(k / (k - 1) * squares, 1e-30)) / n
        at = np.quantile((drawn - estimate[row]) / spread, [q, 1 - q])
        bounds.append(estimate[row] - at * error[row])
    return np.maximum(np.array(bounds)[:, 0], -1), np.minimum(np.array(bounds)[:, 1], 1)


RIVALS = {"cluster t": cluster_t, "jackknife": jackknife, "Hall": hall, "Tango": tango, "bootstrap-t": bootstrap_t}
