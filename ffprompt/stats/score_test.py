"""A score test for a difference or a rate, with strings as clusters, and the interval that is its inverse.

The interval holds every value x that the test does not reject, so interval and p-value cannot contradict each other.
The test compares (estimate - x)² with t² · scale · v(x):

v(x)
    The variance of one independent read if the truth is x. For a difference it is that of Tango (1998), with lost and
    gained reads taken for rare. For a rate x (1 - x). It belongs to x and not to the estimate, so the interval reaches
    far enough where errors are few.
scale
    The jackknife's variance over strings, divided by v(estimate): one over the number of independent reads that the
    reads are worth.
t
    The quantile of Student's t. Errors that are rare and of one kind are skewed: the variance is estimated too low
    just where the estimate is too near to 0. On that side the degrees of freedom come from the fourth moment of the
    strings' contributions. The product never exceeds that for the largest possible scale, where all reads of a string
    fall together, with the usual degrees of freedom.

``docs/methods/statistics.md`` says how well this covers, and where it does not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ffprompt.stats.clusters import effective_strings
from ffprompt.stats.quantiles import Floats, t, t_tail

# From this many strings on that differ, their spread is taken as it is.
FEW = 5
# Strings that differ less than this share of what independent reads would, do so by chance.
_LEAST_SCALE = 0.5
# A one-sided claim rests on a single bound; there the degrees of freedom by the fourth moment count for less.
_ONE_SIDED = 0.75
# Halvings of an interval of length at most 2.
_HALVINGS = 45

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Spread:
    """How much the strings of each experiment vary. All arrays have one shape, the number of experiments.

    ``scale``, ``df`` and ``df_skewed``: see the module. ``worst``: the scale if all reads of a string fall together.
    ``strings``: the effective number of strings. ``differing``: how many of them differ. ``skew``, -1 to 1: how skewed
    the strings' contributions are, 1 where all that carry the variance move the estimate up by the same amount.
    """

    scale: Floats
    worst: Floats
    df: Floats
    df_skewed: Floats
    strings: Floats
    differing: Floats
    skew: Floats

    @classmethod
    def of(
        cls, away: Floats, reads: Floats, variance: Floats, sides: Sequence[Bools], worst: Floats | None = None
    ) -> Spread:
        """The spread of strings of ``reads``, (…, k).

        ``away``: each string's contribution to the estimate's error if it is left out (the jackknife), NaN where it
        cannot be. ``variance``: v(estimate). ``sides``: which strings have an error, which a right answer, ….

        Where fewer than :data:`FEW` strings are on a side they cannot show how errors cluster. Then the scale moves
        towards that of the ``worst`` case, in which the reads of a string all fall together, and reaches it at none.
        """
        k, n, squares = reads.shape[-1], reads.sum(-1), away**2
        weights, strings = reads**2, effective_strings(reads)
        worst = 1 / strings if worst is None else worst
        df = carrying(reads)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = (k - 1) / k * squares.sum(-1) / variance
            tails = (squares**2).sum(-1) / squares.sum(-1) ** 2 - 1 / k
            df_skewed = np.clip(np.where(tails > 0, 2 / tails, df), 1, df)
            cubes = (squares * away).sum(-1)
            skew = np.nan_to_num(np.sign(cubes) * cubes**2 / (squares.sum(-1) * (squares**2).sum(-1)))
        scale = np.where(np.isfinite(scale), np.maximum(scale, _LEAST_SCALE / n), worst)
        differing = np.minimum.reduce([(weights * side).sum(-1) / weights.sum(-1) * strings for side in sides])
        unknown = np.clip(1 - differing / FEW, 0, 1)
        worst = np.maximum(scale, worst)
        scale = (1 - unknown) * scale + unknown * worst
        return cls(scale, worst, df, np.where(np.isfinite(df_skewed), df_skewed, df), strings, differing, skew)


def carrying(reads: Floats) -> Floats:
    """Degrees of freedom of a variance over strings: one less than the strings that carry it, at least 1.

    A string carries it by its squared reads, so a few long strings may be all that count.
    """
    weights = np.asarray(reads, float) ** 2
    return np.asarray(np.maximum(weights.sum(-1) ** 2 / (weights**2).sum(-1) - 1, 1))


@dataclass(frozen=True, eq=False)
class ScoreTest(ABC):
    """The test for many experiments at once. ``none``: where no read differs, so that there is no spread at all."""

    estimate: Floats
    spread: Spread
    none: Bools

    @abstractmethod
    def variance(self, x: Floats, one_sided: bool) -> tuple[Floats, Floats]:
        """v(x), and how skewed the errors are if the truth is x, 0 to 1, as far as that makes bounds too short."""

    def bounds(self, q: float, least: float, one_sided: bool = False) -> tuple[Floats, Floats]:
        """Lower and upper bound at the ``q`` quantile each. ``least`` is the smallest value that is possible.

        Where no read differs the bound is exact: that of as many trials as there are strings.
        """

        def kept(x: Floats) -> Bools:
            variance, df = self._at(x, one_sided)
            limit = np.minimum(t(df, q) ** 2 * self.spread.scale, t(self.spread.df, q) ** 2 * self.spread.worst)
            return np.asarray((self.estimate - x) ** 2 <= limit * variance)

        low, high = _edges(kept, self.estimate, least)
        exact = -np.expm1(np.log1p(-q) / self.spread.strings)
        return np.where(self.none, np.maximum(-exact, least), low), np.where(self.none, exact, high)

    def p_value(self, x: float) -> Floats:
        """How often chance alone gives an estimate that is as far from ``x``, on either side, if the truth is x."""
        variance, df = self._at(np.full_like(self.estimate, x), one_sided=False)
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = np.abs(self.estimate - x) / np.sqrt(variance)
            estimated = t_tail(df, distance / np.sqrt(self.spread.scale))
            at_worst = t_tail(self.spread.df, distance / np.sqrt(self.spread.worst))
        return np.where(self.estimate == x, 1.0, np.minimum(2 * np.minimum(estimated, at_worst), 1))

    def _at(self, x: Floats, one_sided: bool) -> tuple[Floats, Floats]:
        variance, skew = self.variance(x, one_sided)
        df_skewed = self.spread.df_skewed * (_ONE_SIDED if one_sided else 1.0)
        return variance, 1 / (skew / df_skewed + (1 - skew) / self.spread.df)


def _edges(kept: Callable[[Floats], Bools], start: Floats, least: float) -> Floats:
    """By halving: the last points that are kept, from ``start`` down to ``least`` and up to 1. (2, …)."""
    near = np.stack([start, start])
    far = np.stack([np.full_like(start, least), np.ones_like(start)])
    for _ in range(_HALVINGS):
        middle = (near + far) / 2
        within = kept(middle)
        near, far = np.where(within, middle, near), np.where(within, far, middle)
    return far


@dataclass(frozen=True, eq=False)
class DifferenceTest(ScoreTest):
    """Of the difference between two answers to the same reads. ``differing``: the share of reads that differ."""

    differing: Floats

    @classmethod
    def of(cls, lost: Floats, gained: Floats, reads: Floats) -> DifferenceTest:
        """From counts of strings, (…, k) each."""
        n = reads.sum(-1)
        estimate, differing = (gained - lost).sum(-1) / n, (gained + lost).sum(-1) / n
        away = left_out(gained - lost, reads, estimate)
        sides = [lost + gained > 0, lost < reads, gained < reads]
        spread = Spread.of(away, reads, differing - estimate**2, sides)
        return cls(estimate, spread, differing == 0, differing)

    def variance(self, x: Floats, one_sided: bool) -> tuple[Floats, Floats]:
        """The variance of gained less lost, which grows outside of 0 … estimate, but less so with errors of both kinds.

        Errors of both kinds are hardly skewed, and the cluster t test covers without that growth. A one-sided claim
        has no second bound to make up for the first, so it takes the variance as it is. If one model fails in whole
        strings and the other here and there, the few whole strings carry the variance. Then the third moment shows the
        skew.
        """
        grows = x * (x - self.estimate)
        share = most_likely_share(self.differing, grows)
        weight = np.ones_like(x) if one_sided else np.minimum(1, np.abs(x) / np.maximum(share, 1e-300)) ** 2
        share = most_likely_share(self.differing, np.where(grows > 0, grows * weight, grows))
        variance = np.maximum(np.maximum(share, np.abs(x)) - x**2, 0)
        size = np.abs(self.estimate)
        # Above a half it is rare that a read does not differ, and the other side is the skewed one.
        skewed = np.where(size > 0.5, np.abs(x) < size, grows > 0)
        by_kind = np.where(skewed, weight * np.abs(1 - 2 * size), 0.0)
        by_strings = np.where((x - self.estimate) * self.spread.skew > 0, np.abs(self.spread.skew), 0.0)
        return variance, np.maximum(by_kind, by_strings)


def most_likely_share(differing: Floats, grows: Floats) -> Floats:
    """The share of reads that differ if the difference is x, by maximum likelihood.

    As in Tango (1998), but for lost and gained counts that are Poisson. ``differing``: the share seen. ``grows``:
    x (x - difference seen).
    """
    return np.asarray((differing + np.sqrt(np.maximum(differing**2 + 4 * grows, 0))) / 2)


@dataclass(frozen=True, eq=False)
class RateTest(ScoreTest):
    """Of one rate of errors."""

    @classmethod
    def of(cls, errors: Floats, reads: Floats) -> RateTest:
        """From counts of strings, (…, k) each."""
        rate = errors.sum(-1) / reads.sum(-1)
        spread = Spread.of(left_out(errors, reads, rate), reads, rate * (1 - rate), [errors > 0, errors < reads])
        return cls(rate, spread, (rate == 0) | (rate == 1))

    def variance(self, x: Floats, one_sided: bool) -> tuple[Floats, Floats]:
        """x (1 - x). Skewed towards a half."""
        skewed = np.where(self.estimate > 0.5, x < self.estimate, x > self.estimate)
        return x * (1 - x), np.where(skewed, np.abs(1 - 2 * self.estimate), 0.0)


@dataclass(frozen=True, eq=False)
class RiskTest(ScoreTest):
    """Of the difference between the error rates of two kinds of reads in the same strings.

    ``exposed`` and ``unexposed``: the two rates. ``reads`` and ``other_reads``: how many reads there are of each kind.
    """

    exposed: Floats
    unexposed: Floats
    reads: Floats
    other_reads: Floats

    @classmethod
    def of(cls, errors: Floats, reads: Floats, others: Floats, other_reads: Floats) -> RiskTest:
        """From counts of strings, (…, k) each: exposed reads first."""
        n, m = reads.sum(-1), other_reads.sum(-1)
        p, q = errors.sum(-1) / n, others.sum(-1) / m
        away = left_out(errors, reads, p) - left_out(others, other_reads, q)
        # Strings that are not like most reads of their kind.
        odd = (np.where(_wide(p) < 0.5, errors, reads - errors) > 0) | (
            np.where(_wide(q) < 0.5, others, other_reads - others) > 0
        )
        worst = np.maximum(n / effective_strings(reads), m / effective_strings(other_reads)) / (n + m)
        spread = Spread.of(away, reads + other_reads, _of_one_read(p, q, n, m), [odd], worst)
        return cls(p - q, spread, np.zeros(np.shape(p), bool), p, q, n, m)

    def variance(self, x: Floats, one_sided: bool) -> tuple[Floats, Floats]:
        """Miettinen & Nurminen's (1985). Skewed towards where the rarer and smaller kind has more errors."""
        p, q = most_likely_rates(self.exposed, self.unexposed, self.reads, self.other_reads, x)
        third = [
            rate * (1 - rate) / reads**2
            for rate, reads in ((self.exposed, self.reads), (self.unexposed, self.other_reads))
        ]
        skew = (1 - 2 * self.exposed) * third[0] - (1 - 2 * self.unexposed) * third[1]
        harmful = (x - self.estimate) * skew > 0
        share = np.minimum(1, np.abs(skew) / np.maximum(third[0] + third[1], 1e-300))
        return _of_one_read(p, q, self.reads, self.other_reads), np.where(harmful, share, 0.0)


def _of_one_read(p: Floats, q: Floats, reads: Floats, others: Floats) -> Floats:
    """The variance of p - q if reads are independent, times the number of all reads."""
    return np.asarray((reads + others) * (p * (1 - p) / reads + q * (1 - q) / others))


def most_likely_rates(p: Floats, q: Floats, reads: Floats, others: Floats, x: Floats) -> tuple[Floats, Floats]:
    """Two rates whose difference is x, by maximum likelihood (Farrington & Manning 1990). ``p``, ``q``: those seen."""
    ratio = others / reads
    a = 1 + ratio
    b = -(1 + ratio + p + ratio * q + x * (ratio + 2))
    c = x**2 + x * (2 * p + ratio + 1) + p + ratio * q
    d = -p * x * (1 + x)
    third = b / (3 * a)
    v = third**3 - b * c / (6 * a**2) + d / (2 * a)
    u = np.where(v >= 0, 1.0, -1.0) * np.sqrt(np.maximum(third**2 - c / (3 * a), 0))
    angle = (np.pi + np.arccos(np.clip(v / np.where(u == 0, 1, u**3), -1, 1))) / 3
    first = np.clip(2 * u * np.cos(angle) - third, np.maximum(0, x), np.minimum(1, 1 + x))
    return first, first - x


def _wide(values: Floats) -> Floats:
    return np.asarray(values)[..., None]


def left_out(counts: Floats, reads: Floats, rate: Floats) -> Floats:
    """How far each string moves sum(counts) / sum(reads), (…, k). NaN for a string that holds all reads."""
    n = reads.sum(-1)[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((counts - rate[..., None] * reads) / (n - reads))
