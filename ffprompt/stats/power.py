"""How many strings a question needs, from a pilot's counts or from what one supposes.

What more reads of one string are worth depends on how they cluster, so every answer says what it took for that. A
formula gives a first number. It is raised until simulated experiments, judged by the very interval that will be used,
agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ffprompt.errors import CountsError
from ffprompt.stats.clusters import Clusters, Ints
from ffprompt.stats.intervals import korn_graubard, rate_bounds, zero_bound
from ffprompt.stats.paired import Pairs, difference, difference_bounds
from ffprompt.stats.quantiles import Floats, checked_level, normal

# A study of more strings than this is not planned but despaired of.
_MOST_STRINGS = 10**9
# A simulation of so many strings in all takes a few seconds; of more in one experiment, too long.
_SIMULATED_STRINGS = 1e7
_SIMULATED_UP_TO = 100_000


@dataclass(frozen=True)
class Sample:
    """What strings are like: ``share`` of reads that err (or, of pairs, differ), ``reads`` a string, and clustering.

    ``deff``: variance over that of independent reads, at least 1. ``strings_worth``: how many equally long strings one
    string is worth if its reads all fall together. Below 1 where lengths differ.
    """

    share: float
    reads: float
    deff: float
    strings_worth: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise CountsError(f"share {self.share}: expected a number from 0 to below 1")
        if not self.reads >= 1 or not self.deff >= 1:
            raise CountsError(f"{self.reads} reads a string, design effect {self.deff}: expected at least 1 each")
        if not 0 < self.strings_worth <= 1:
            raise CountsError(f"strings worth {self.strings_worth}: expected a number above 0 and at most 1")

    @property
    def correlation(self) -> float:
        """The intra-string correlation of errors, at most 1: deff = 1 + (reads / strings_worth - 1) · correlation."""
        others = self.reads / self.strings_worth - 1
        return min(1.0, (self.deff - 1) / others) if others > 0 else 0.0


@dataclass(frozen=True)
class Plan:
    """``strings`` are enough, with ``reads`` in all. ``assumed``: what for. ``notes``: what that rests on."""

    strings: int
    reads: int
    level: float
    power: float | None
    assumed: Sample
    notes: tuple[str, ...] = ()


def pilot_errors(clusters: Clusters) -> Sample:
    """Return what a pilot's errors say of strings to come. Without an error the reads are taken to fall together.

    Raises:
        CountsError: the pilot has no read.
    """
    found = korn_graubard(clusters)
    if found is None:
        raise CountsError("a pilot without a read: expected at least one string")
    return _sample(found.estimate, clusters.n_reads, len(clusters), clusters.effective_strings, found.deff)


def pilot_pairs(pairs: Pairs) -> Sample:
    """Return what a pilot's pairs say of strings to come: the share of reads where the two models differ.

    Raises:
        CountsError: the pilot has no pair.
    """
    found = difference(pairs)
    if found is None:
        raise CountsError("a pilot without a pair: expected at least one string")
    counts = Clusters(pairs.lost + pairs.gained, pairs.reads)
    return _sample(counts.rate or 0.0, counts.n_reads, len(counts), counts.effective_strings, found.deff)


def _sample(share: float, reads: int, strings: int, effective: float, deff: float | None) -> Sample:
    largest = reads / effective
    # A share of 1 is as certain as one of 0 and has the same interval, from the other side.
    return Sample(share if share < 1 else 0.0, reads / strings, max(1.0, deff or largest), effective / strings)


def strings_for_width(half_width: float, sample: Sample, level: float = 0.95, seed: int = 0) -> Plan:
    """Return the strings that :func:`.intervals.rate_interval` needs for a mean length of 2 · ``half_width``.

    Args:
        half_width: Half of the interval's length, as a share, such as 0.01.
        sample: What the strings are expected to be like.
        level: The confidence of the interval.
        seed: Of the simulated experiments that check the formula.

    Raises:
        CountsError: ``half_width`` is not between 0 and 0.5, or more than a billion strings would be needed.
    """
    checked_level(level)
    if not 0 < half_width < 0.5:
        raise CountsError(f"half width {half_width}: expected a number between 0 and 0.5, such as 0.01")

    q = (1 + level) / 2

    def expected(strings: int) -> bool:
        worth = _worth(strings, sample)
        wald = normal(q) * np.sqrt(sample.share * (1 - sample.share) / worth)
        return bool(max(wald, zero_bound(worth, q) / 2) <= half_width)

    def simulated(strings: int, rng: np.random.Generator) -> bool:
        widths = []
        for reads in _strings(strings, 500, sample, rng):
            errors = rng.binomial(reads, _chances(sample.share, sample.correlation, reads.shape, rng))
            low, high = rate_bounds(errors, reads, level)
            widths.append(high - low)
        return bool(np.concatenate(widths).mean() <= 2 * half_width)

    return _plan(_fewest(expected, f"half width {half_width}"), simulated, sample, level, None, seed)


def strings_for_difference(gap: float, sample: Sample, level: float = 0.95, power: float = 0.8, seed: int = 0) -> Plan:
    """Return the strings for a two-sided interval that leaves 0 out if the accuracies differ by ``gap``.

    Args:
        gap: The true difference of the accuracies, such as 0.01.
        sample: Its ``share`` is the share of reads where the two models differ, which is at least ``gap``.
        level: The confidence of the interval.
        power: The probability with which the interval shall leave 0 out.
        seed: Of the simulated experiments that check the formula.

    Raises:
        CountsError: ``gap`` or ``power`` is out of range, or more than a billion strings would be needed.
    """
    gap = abs(gap)
    if not 0 < gap < 1:
        raise CountsError(f"difference {gap}: expected a number between 0 and 1, such as 0.01")
    sample = replace(sample, share=max(sample.share, gap))
    q = (1 + checked_level(level)) / 2
    start = _score_test(gap, sample, power, q, sample.share, sample.share - gap**2)

    def simulated(strings: int, rng: np.random.Generator) -> bool:
        return _lower_above(0.0, gap, strings, sample, q, False, rng) >= power

    return _plan(start, simulated, sample, level, power, seed)


def strings_for_margin(
    margin: float, sample: Sample, level: float = 0.95, power: float = 0.8, seed: int = 0, simulated: bool = True
) -> Plan:
    """Return the strings that :func:`.gate.noninferior` needs to pass a candidate that is just as good.

    Args:
        margin: The largest acceptable loss of accuracy, such as 0.01.
        sample: Its ``share`` is the share of reads where the two models differ.
        level: The confidence of the gate.
        power: The probability with which it shall pass.
        seed: Of the simulated experiments that check the formula.
        simulated: Whether to check it. Without, the answer comes at once and is a little too low.

    Raises:
        CountsError: ``margin`` or ``power`` is out of range, or more than a billion strings would be needed.
    """
    if not 0 < margin < 1:
        raise CountsError(f"margin {margin}: expected a loss of accuracy between 0 and 1, such as 0.01")
    # At the margin at least so many reads differ.
    at_margin = max(sample.share, margin) - margin**2
    start = _score_test(margin, sample, power, checked_level(level), at_margin, sample.share)
    # Identical answers, too, leave room for a loss: that of so many strings.
    alike = np.log1p(-level) / np.log1p(-margin) / sample.strings_worth

    start = max(start, int(alike) + 1)
    if not simulated:
        return Plan(start, round(start * sample.reads), level, power, sample, _notes(sample))

    def agrees(strings: int, rng: np.random.Generator) -> bool:
        return _lower_above(-margin, 0.0, strings, sample, level, True, rng) >= power

    return _plan(start, agrees, sample, level, power, seed)


def _score_test(gap: float, sample: Sample, power: float, q: float, null: float, alternative: float) -> int:
    """A score test's sample size: quantile · sd under the null + power's quantile · sd otherwise, against the gap."""
    if not 0.5 <= power < 1:
        raise CountsError(f"power {power}: expected a number from 0.5 to below 1, such as 0.8")

    def enough(strings: int) -> bool:
        sd = normal(q) * np.sqrt(null) + normal(power) * np.sqrt(alternative)
        return bool(sd / np.sqrt(_worth(strings, sample)) <= gap)

    return _fewest(enough, f"difference {gap}")


def _plan(
    strings: int,
    good: Callable[[int, np.random.Generator], bool],
    sample: Sample,
    level: float,
    power: float | None,
    seed: int,
) -> Plan:
    """A formula's number of strings, raised by twentieths until simulated experiments agree.

    With rare or skewed errors no formula says how wide an interval will be: its degrees of freedom depend on the data.
    """
    rng, notes = np.random.default_rng(seed), _notes(sample)
    while strings <= _SIMULATED_UP_TO and not good(strings, rng):
        strings = int(strings * 1.05) + 1
    if strings > _SIMULATED_UP_TO:
        notes = (*notes, f"above {_SIMULATED_UP_TO:,} strings the formula is not checked by simulation")
    return Plan(strings, round(strings * sample.reads), level, power, sample, notes)


def _strings(strings: int, runs: int, sample: Sample, rng: np.random.Generator) -> Iterator[Ints]:
    """Reads a string, (experiments, strings), in blocks. Their mean and spread make a string worth what it is."""
    runs = int(np.clip(_SIMULATED_STRINGS / strings, 200, runs))
    spread = sample.reads * np.sqrt(1 / sample.strings_worth - 1)
    for start in range(0, runs, 100):
        drawn = rng.normal(sample.reads, spread, (min(100, runs - start), strings))
        yield np.maximum(1, np.rint(drawn)).astype(np.int64)


def _lower_above(
    bound: float, gap: float, strings: int, sample: Sample, q: float, one_sided: bool, rng: np.random.Generator
) -> float:
    """How often the lower bound of a difference exceeds ``bound`` if the difference is ``gap``."""
    above = []
    lost, gained = (sample.share - gap) / 2, (sample.share + gap) / 2
    for reads in _strings(strings, 2000, sample, rng):
        b = rng.binomial(reads, _chances(lost, sample.correlation, reads.shape, rng))
        c = rng.binomial(reads - b, _chances(gained / (1 - lost), sample.correlation, reads.shape, rng))
        low, _ = difference_bounds(b, c, reads, q, one_sided)
        above.append(low > bound)
    return float(np.concatenate(above).mean())


def _chances(share: float, correlation: float, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """A string's own probability: beta-distributed around ``share``."""
    if share == 0 or correlation == 0:
        return np.full(shape, share)
    if correlation == 1:
        return (rng.random(shape) < share).astype(float)
    spread = 1 / correlation - 1
    return rng.beta(share * spread, (1 - share) * spread, shape)


def _worth(strings: int, sample: Sample) -> float:
    """The independent reads that so many strings are worth. Without an error seen, the strings are the trials."""
    return strings * (sample.reads / sample.deff if sample.share else sample.strings_worth)


def _fewest(enough: Callable[[int], bool], what: str) -> int:
    high = 2
    while not enough(high):
        high *= 2
        if high > _MOST_STRINGS:
            raise CountsError(f"{what}: more than {_MOST_STRINGS:,} strings would be needed")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _notes(sample: Sample) -> tuple[str, ...]:
    clustering = f"design effect {sample.deff:.3g} (intra-string correlation {sample.correlation:.2g})"
    if not sample.share:
        return ("no error supposed: the reads of a string are taken to fall together",)
    return (f"share {sample.share:.3g}, {sample.reads:.3g} reads a string, {clustering}",)
