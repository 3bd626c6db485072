"""Accuracy by gap, by position and by other numbers of a read, each with an interval over strings."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ffprompt.analysis.reads import LEVEL, Reads
from ffprompt.runs.reads import Bools, Ints
from ffprompt.stats.association import slope
from ffprompt.stats.intervals import rate_interval


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of some reads with its interval.

    ``misses``: reads not answered correctly. ``wrong``: those of them with a clear other answer.
    """

    reads: int
    strings: int
    misses: int
    wrong: int
    accuracy: float
    low: float
    high: float
    warnings: list[str]


@dataclass(frozen=True)
class _Range:
    label: str
    from_: int
    to: int


@dataclass(frozen=True)
class AccuracyBin(Accuracy, _Range):
    """Accuracy of the reads whose number lies from ``from_`` to ``to``, both included."""


@dataclass(frozen=True)
class Drift:
    """Change of the accuracy from the first instruction of a string to its last."""

    change: float
    low: float
    high: float
    reads: int
    strings: int
    warnings: list[str]


def accuracy(reads: Reads, where: Bools) -> Accuracy | None:
    """Return the accuracy of some reads. None without a read."""
    found = rate_interval(reads.clusters(where, ~reads.correct), LEVEL)
    if found is None:
        return None
    interval, right = found.complement(), int((where & reads.correct).sum())
    return Accuracy(
        reads=interval.n_reads,
        strings=interval.n_clusters,
        misses=interval.n_reads - right,
        wrong=int((where & reads.wrong).sum()),
        accuracy=right / interval.n_reads,
        low=interval.low,
        high=interval.high,
        warnings=list(interval.warnings),
    )


def binned(reads: Reads, where: Bools, label: str, first: int, last: int) -> list[AccuracyBin]:
    """Return the accuracy of some reads under a label. Nothing without a read."""
    found = accuracy(reads, where)
    return [] if found is None else [AccuracyBin(label=label, from_=first, to=last, **vars(found))]


def by_number(reads: Reads, values: Ints, edges: Sequence[int]) -> list[AccuracyBin]:
    """Return a bin for the reads from each edge to below the next. Those without a read are left out."""
    bins = []
    for low, after in itertools.pairwise(edges):
        label = str(low) if after == low + 1 else f"{low}–{after - 1}"
        bins += binned(reads, (values >= low) & (values < after), label, int(low), int(after - 1))
    return bins


def by_contradictions(reads: Reads) -> list[AccuracyBin]:
    """Return accuracy by ignores since the governing write whose symbol is not the stored one."""
    if reads.contradictions is None:
        return []
    return by_number(reads, reads.contradictions, doubling(reads.contradictions))


def by_earlier_read(reads: Reads) -> list[AccuracyBin]:
    """Return accuracy at the first read of a bit and where a read of the same bit stands before."""
    if reads.earlier is None:
        return []
    first = binned(reads, reads.earlier == 0, "first read", 0, 0)
    return first + binned(reads, reads.earlier > 0, "asked before", 1, 1)


def by_steps(reads: Reads) -> list[AccuracyBin]:
    """Return accuracy by events since the anchor that have changed the state. Nothing where there never is one."""
    if reads.steps is None or not reads.steps.any():
        return []
    return by_number(reads, reads.steps, doubling(reads.steps))


def by_kind(reads: Reads) -> list[AccuracyBin]:
    """Return accuracy by what is read. Nothing where every read asks for the same."""
    kinds = reads.kinds
    if kinds is None or len(np.unique(kinds)) < 2:
        return []
    return [
        one
        for number, name in enumerate(reads.kind_names)
        for one in binned(reads, kinds == number, name, number, number)
    ]


def doubling(values: Ints) -> list[int]:
    """Return edges 0, 1, 2, 3, 5, 9, 17, …: bins that end at powers of two, up to the largest value."""
    edges = [0, 1, 2]
    while edges[-1] <= values.max(initial=0):
        edges.append(2 * edges[-1] - 1 if edges[-1] > 2 else 3)
    return edges


def tenths(instructions: int) -> list[int]:
    """Return the edges of ten equal parts of a string, in instructions. Fewer where it has fewer."""
    return sorted({-(-instructions * part // 10) for part in range(11)})


def drift(reads: Reads) -> Drift | None:
    """Return the change of the accuracy along a string, by a line through all reads.

    None where nothing is to be seen: all reads right or all not, all at one place, or too few strings.
    """
    found = slope(reads.string, reads.position / max(reads.instructions - 1, 1), ~reads.correct, LEVEL)
    if found is None:
        return None
    return Drift(-found.estimate, -found.high, -found.low, found.n_reads, found.n_clusters, list(found.warnings))
