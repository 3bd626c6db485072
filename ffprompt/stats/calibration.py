"""Do the probabilities mean what they say? Reliability curve, Brier score and calibration error, by string.

A read's probability is that of one answer among the answers (they sum to 1), and it happened or not: of symbol 1,
whether the truth is 1. Of the answer chosen, whether it is right (:func:`from_logprobs`). *Answer mass* is what the
answers had of the whole vocabulary's probability before. A calibrated share of a tiny mass says little.

Example: four reads at 0.9, three of them right: confidence 0.9, accuracy 0.75, a calibration error of 0.15.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ffprompt.errors import CountsError
from ffprompt.stats.bootstrap import bootstrap_values, expanded
from ffprompt.stats.clusters import effective_strings, few_strings, group
from ffprompt.stats.intervals import FEW_WITH_ERRORS, zero_bound
from ffprompt.stats.quantiles import Floats, checked_level

_BLOCK = 1 << 22


@dataclass(frozen=True)
class Bin:
    """Reads whose probability lies from ``low`` to below ``high``: the mean probability, and how often it happened."""

    low: float
    high: float
    reads: int
    strings: int
    probability: float
    happened: float


@dataclass(frozen=True)
class Calibration:
    """Calibration of one condition.

    ``brier``: mean of (probability - happened)². ``ece``: mean over reads of their bin's |mean probability - share that
    happened|, each with a bootstrap interval over strings. ``ece_if_calibrated``: the error that chance alone shows on
    average, as strings vary like these but miss in no direction. It is not 0. Where ``ece`` is not clearly above that,
    ``ece_low`` is 0. ``mass``: mean answer mass, None where not given. Bins without a read are left out.
    """

    brier: float
    brier_low: float
    brier_high: float
    ece: float
    ece_low: float
    ece_high: float
    ece_if_calibrated: float
    level: float
    mass: float | None
    bins: tuple[Bin, ...]
    n_reads: int
    n_clusters: int
    warnings: tuple[str, ...] = ()


def from_logprobs(logprobs: ArrayLike, truth: ArrayLike) -> tuple[Floats, NDArray[np.bool_], Floats]:
    """Return the probability of each chosen answer, whether it is right, and the answer mass, (n,) each.

    The probability is normalised over the answers. Where two are equally probable none is chosen: its share stands, and
    it is not right.

    Args:
        logprobs: Natural logarithms of the probability of each answer, (n, answers).
        truth: The number of the true answer, (n,).

    Raises:
        CountsError: the shapes do not agree.
    """
    logs, true = np.asarray(logprobs, float), np.asarray(truth, np.int64)
    if logs.ndim != 2 or true.shape != logs.shape[:1]:
        raise CountsError(f"log-probabilities {logs.shape}, truth {true.shape}: expected (n, answers) and (n,)")
    top = logs.max(1, keepdims=True)
    shares = np.exp(logs - top)
    right = (logs.argmax(1) == true) & ((logs == top).sum(1) == 1)
    return 1 / shares.sum(1), np.asarray(right), np.asarray(np.exp(top[:, 0]) * shares.sum(1))


def equal_count_edges(probability: ArrayLike, bins: int = 10) -> Floats:
    """Return the edges of at most ``bins`` bins of about equally many reads.

    Ten of equal width put nearly all reads of a good model into the last.

    Returns:
        Numbers that rise from 0 to 1, one more than there are bins.
    """
    edges = np.unique(np.quantile(np.asarray(probability, float), np.linspace(0, 1, bins + 1)))
    edges[0], edges[-1] = 0.0, 1.0
    return np.asarray(edges) if len(edges) > 1 else np.array([0.0, 1.0])


def calibration(
    cluster: ArrayLike,
    probability: ArrayLike,
    happened: ArrayLike,
    mass: ArrayLike | None = None,
    edges: ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Calibration | None:
    """Return how well the probabilities of n reads agree with what happened, with bootstrap intervals over strings.

    Args:
        cluster: The string of each read, (n,), of anything sortable.
        probability: The probability that was given, (n,).
        happened: Whether it came true, (n,).
        mass: The answer mass of each read, (n,).
        edges: Of the bins, from 0 to 1. Ten of equal width unless given.
        resamples: Bootstrap draws, which begin from ``seed``.

    Returns:
        None without a read.

    Raises:
        CountsError: for a probability outside 0 … 1 or edges that do not rise from 0 to 1.
    """
    checked_level(level)
    p, y = np.asarray(probability, float), np.asarray(happened, bool).astype(float)
    rows, k = group(cluster, p, y)
    if not len(p):
        return None
    if not ((p >= 0) & (p <= 1)).all():
        raise CountsError(f"probability {p[~((p >= 0) & (p <= 1))][0]}: expected a number between 0 and 1")
    bounds = _edges(edges)
    which = np.clip(np.searchsorted(bounds, p, side="right") - 1, 0, len(bounds) - 2)
    gaps, totals = _sums(rows, k, which, len(bounds) - 1, p, y)
    brier, ece = scores(np.ones((1, k)), gaps, totals)[0]
    chance = _by_chance(rows, k, which, gaps, resamples, seed)
    low, high = _limits(ece, gaps, totals, chance, level, resamples, seed)
    warnings = few_strings(k)
    if _few_misses(rows, k, p, y):
        # A bootstrap knows no string that it has not seen: the bound is the exact one had none been off.
        unseen = zero_bound(float(effective_strings(totals[:, 1])), (1 + level) / 2)
        low, high = np.zeros(2), np.maximum(high, unseen)
        warnings.append("few strings are far off: how often others are, is hardly known")
    return Calibration(
        float(brier),
        float(low[0]),
        float(high[0]),
        float(ece),
        float(low[1]),
        float(high[1]),
        float(chance.mean()),
        level,
        None if mass is None else float(np.mean(np.asarray(mass, float))),
        _bins(bounds, which, rows, p, y),
        len(p),
        k,
        tuple(warnings),
    )


def _limits(
    ece: float, gaps: Floats, totals: Floats, chance: Floats, level: float, resamples: int, seed: int
) -> tuple[Floats, Floats]:
    """Lower and upper bounds of the Brier score and of the calibration error, (2,) each."""
    k = len(totals)
    drawn = bootstrap_values(lambda weights: scores(weights, gaps, totals), np.ones(k, np.int64), resamples, seed)
    tails = expanded(level, k)
    low, high = np.quantile(drawn, tails, axis=0)
    # A resample's error exceeds the sample's as the sample's exceeds the truth: reflected, not copied.
    reflected_low, reflected_high = 2 * ece - high[1], 2 * ece - low[1]
    low[1] = max(0.0, reflected_low) if ece > np.quantile(chance, tails[1]) else 0.0
    high[1] = min(1.0, max(high[1], reflected_high))
    return low, high


def _few_misses(rows: NDArray[np.int64], k: int, p: Floats, y: Floats) -> bool:
    """Whether so few strings have a read on the wrong side of a half that more of the kind may be out there."""
    missed = len(np.unique(rows[np.abs(p - y) > 0.5]))
    return k < 2 or missed < min(FEW_WITH_ERRORS, k / 2)


def _edges(edges: ArrayLike | None) -> Floats:
    bounds = np.linspace(0, 1, 11) if edges is None else np.asarray(edges, float)
    if bounds.ndim != 1 or len(bounds) < 2 or bounds[0] != 0 or bounds[-1] != 1 or (np.diff(bounds) <= 0).any():
        raise CountsError(f"edges {bounds.tolist()}: expected numbers that rise from 0 to 1")
    return bounds


def _sums(
    rows: NDArray[np.int64], k: int, which: NDArray[np.int64], bins: int, p: Floats, y: Floats
) -> tuple[Floats, Floats]:
    """Of each string, its probability less happened in each bin (k, bins). Its squared errors and reads (k, 2)."""
    gaps = np.zeros((k, bins))
    np.add.at(gaps, (rows, which), p - y)
    return gaps, np.stack([np.bincount(rows, weights=(p - y) ** 2, minlength=k), np.bincount(rows, minlength=k)], 1)


def scores(weights: Floats, gaps: Floats, totals: Floats) -> Floats:
    """Brier score and calibration error, (r, 2), for weights (r, k) of the strings. A bin counts by its reads."""
    squares, reads = (weights @ totals).T
    return np.stack([squares / reads, np.abs(weights @ gaps).sum(1) / reads], 1)


def _by_chance(
    rows: NDArray[np.int64], k: int, which: NDArray[np.int64], gaps: Floats, draws: int, seed: int
) -> Floats:
    """Calibration errors, (draws,), after each string's deviations from its bins' mean gaps got a random sign."""
    reads = np.zeros_like(gaps)
    np.add.at(reads, (rows, which), 1)
    away = gaps - reads * gaps.sum(0) / np.maximum(reads.sum(0), 1)
    rng, block = np.random.default_rng(seed), max(1, _BLOCK // k)
    parts = [
        np.abs((2.0 * rng.integers(0, 2, (min(block, draws - start), k)) - 1) @ away).sum(1)
        for start in range(0, draws, block)
    ]
    return np.asarray(np.concatenate(parts) / len(rows))


def _bins(bounds: Floats, which: NDArray[np.int64], rows: NDArray[np.int64], p: Floats, y: Floats) -> tuple[Bin, ...]:
    found = []
    for number in np.unique(which).tolist():
        here = which == number
        found.append(
            Bin(
                float(bounds[number]),
                float(bounds[number + 1]),
                int(here.sum()),
                len(np.unique(rows[here])),
                float(p[here].mean()),
                float(y[here].mean()),
            )
        )
    return tuple(found)
