"""Flip-flop errors with a known truth, for the other files here."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def chances(rng: np.random.Generator, rate: float, correlation: float, shape: tuple[int, ...]) -> Floats:
    """Each string's own error rate, beta-distributed with this intra-string correlation."""
    if rate == 0 or correlation == 0:
        return np.full(shape, rate)
    if correlation == 1:
        return (rng.random(shape) < rate).astype(float)
    spread = 1 / correlation - 1
    return rng.beta(rate * spread, (1 - rate) * spread, shape)


def lengths(rng: np.random.Generator, shape: tuple[int, ...]) -> Ints:
    """5 to 40 reads a string."""
    return rng.integers(5, 41, shape)


def very_unequal(rng: np.random.Generator, shape: tuple[int, ...]) -> Ints:
    """A tenth of the strings has 200 reads, the others 5."""
    return np.where(rng.random(shape) < 0.1, 200, 5)


def runs_of(runs: int, size: int = 500) -> Iterable[int]:
    """Sizes of blocks of experiments that fit in memory."""
    return (min(size, runs - start) for start in range(0, runs, size))


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    head = list(head)
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print()


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def pairs(
    rng: np.random.Generator, lost: float, gained: float, correlation: float, shape: tuple[int, int]
) -> list[Ints]:
    """Lost, gained and reads; a string that loses much is no likelier to gain."""
    return pairs_of(rng, lost, gained, correlation, lengths(rng, shape))


def pairs_of(rng: np.random.Generator, lost: float, gained: float, correlation: float, reads: Ints) -> list[Ints]:
    """The same for strings of given lengths."""
    b = rng.binomial(reads, chances(rng, lost, correlation, reads.shape))
    c = rng.binomial(reads - b, chances(rng, gained / (1 - lost), correlation, reads.shape))
    return [b, c, reads]


def models(
    rng: np.random.Generator, rate_a: float, rate_b: float, correlation: float, shape: tuple[int, int]
) -> list[Ints]:
    """Two models that find the same strings hard: six in ten strings have the same place in both models' rates."""
    from scipy.special import betaincinv

    reads, places = lengths(rng, shape), rng.random(shape)
    others = np.where(rng.random(shape) < 0.6, places, rng.random(shape))

    def rates(rate: float, at: Floats) -> Floats:
        if rate == 0 or correlation == 0:
            return np.full(shape, rate)
        spread = 1 / correlation - 1
        return np.asarray(betaincinv(rate * spread, (1 - rate) * spread, at))

    wrong_a, wrong_b = rates(rate_a, places), rates(rate_b, others)
    both = rng.binomial(reads, wrong_a * wrong_b)
    only_b = np.clip((wrong_b - wrong_a * wrong_b) / np.maximum(1 - wrong_a * wrong_b, 1e-12), 0, 1)
    lost = rng.binomial(reads - both, only_b)
    only_a = np.clip((wrong_a - wrong_a * wrong_b) / np.maximum(1 - wrong_b, 1e-12), 0, 1)
    return [lost, rng.binomial(reads - both - lost, only_a), reads]


def whole(rng: np.random.Generator, lost: float, gained: float, shape: tuple[int, int]) -> list[Ints]:
    """Strings that are lost or gained as a whole."""
    reads, at = lengths(rng, shape), rng.random(shape)
    return [reads * (at < lost), reads * ((at >= lost) & (at < lost + gained)), reads]


def unlike(rng: np.random.Generator, rate: float, shape: tuple[int, int]) -> list[Ints]:
    """Two models of one rate: A fails in whole strings of 20 reads, B here and there."""
    a = 20 * (rng.random(shape) < rate)
    b = rng.binomial(20, rate, shape)
    both = np.where(a > 0, b, 0)
    return [b - both, a - both, np.full(shape, 20)]


def sloping(
    rng: np.random.Generator, first: float, last: float, correlation: float, strings: int
) -> tuple[Ints, Floats, NDArray[np.bool_]]:
    """Reads whose error rate changes from ``first`` at x = 0 to ``last`` at x = 1: string, x and whether each failed.

    The reads of a string share a part of the normal variable that decides; ``correlation`` is its correlation.
    """
    from scipy.special import ndtri

    reads = lengths(rng, (strings,))
    string = np.repeat(np.arange(strings), reads)
    x = np.concatenate([np.linspace(0, 1, m) for m in reads])
    shared, own = rng.normal(size=strings)[string], rng.normal(size=len(string))
    failed = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own < ndtri(first + (last - first) * x)
    return string, x, failed
