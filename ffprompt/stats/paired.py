"""Two models on the same strings: how much more often one is right, with an interval and the test behind it.

Only reads where they differ carry the difference. Example, three reads of one string and one of another::

    string     7  7  7  9      lost    [1, 0]   right by A, not by B
    A correct  1  1  0  1      gained  [1, 0]   right by B, not by A
    B correct  1  0  1  1      reads   [3, 1]   difference B - A: (1 - 1) / 4

The interval is the inverse of the score test of :mod:`.score_test`: it leaves out 0 exactly where the p-value is below
1 - level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ffprompt.errors import CountsError
from ffprompt.stats.clusters import Ints, effective_strings, few_strings, group, total, whole
from ffprompt.stats.quantiles import Floats, checked_level, clopper_pearson_bounds
from ffprompt.stats.score_test import FEW, DifferenceTest

# Fewer strings than this with a read lost, or gained, say hardly anything of that kind.
_FEW_OF_A_KIND = 3


@dataclass(frozen=True, eq=False)
class Pairs:
    """``lost``, ``gained`` and ``reads``, (k,) each: pairs of answers of k strings, from A to B.

    A string without a read tells nothing and is left out.

    Raises:
        CountsError: on shapes that differ, numbers that are not whole or negative, or more differences than reads.
    """

    lost: Ints
    gained: Ints
    reads: Ints

    def __post_init__(self) -> None:
        names = ("lost", "gained", "reads")
        lost, gained, reads = (whole(name, getattr(self, name)) for name in names)
        if not lost.shape == gained.shape == reads.shape:
            raise CountsError(f"lost {lost.shape}, gained {gained.shape}, reads {reads.shape}: one of each a string")
        wrong = (lost < 0) | (gained < 0) | (lost + gained > reads)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise CountsError(f"string {row}: {lost[row]} lost and {gained[row]} gained of {reads[row]} reads")
        for name, array in zip(names, (lost, gained, reads), strict=True):
            object.__setattr__(self, name, array[reads > 0])

    @classmethod
    def from_reads(cls, cluster: ArrayLike, correct_a: ArrayLike, correct_b: ArrayLike) -> Pairs:
        """Count pairs of answers by string.

        Args:
            cluster: The string of each read that both models answered, (n,), of anything sortable.
            correct_a: Whether A was right, (n,).
            correct_b: Whether B was right, (n,).

        Raises:
            CountsError: the three differ in shape.
        """
        a, b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
        rows, k = group(cluster, a, b)
        return cls(total(rows, a & ~b, k), total(rows, b & ~a, k), total(rows, np.ones_like(a), k))

    def __len__(self) -> int:
        return len(self.reads)

    @property
    def differences(self) -> Ints:
        """Gained less lost, a string, (k,)."""
        return self.gained - self.lost


@dataclass(frozen=True)
class Difference:
    """Accuracy of B less that of A on the same reads, with an interval.

    ``p``: how often chance alone gives a difference as large, on either side, if there is none. ``n_effective``: the
    independent pairs of reads that the reads are worth. ``deff``: the variance over that of independent pairs, None
    where the data do not tell.
    """

    estimate: float
    low: float
    high: float
    level: float
    p: float
    method: str
    lost: int
    gained: int
    n_reads: int
    n_clusters: int
    discordant_clusters: int
    n_effective: float
    deff: float | None
    warnings: tuple[str, ...] = ()


def difference(pairs: Pairs, level: float = 0.95) -> Difference | None:
    """Return how much more often B is right than A, with a two-sided interval that has strings as clusters.

    Args:
        pairs: Answers of both models to the same reads.
        level: The confidence, such as 0.95.

    Returns:
        The difference in accuracy, B - A, from -1 to 1. The interval is never [0, 0], however alike the answers are.
        None without a read.
    """
    return bounded(pairs, level, (1 + checked_level(level)) / 2, one_sided=False)


def bounded(pairs: Pairs, level: float, q: float, one_sided: bool) -> Difference | None:
    """Return a difference whose bounds are at the ``q`` quantile each. None without a read."""
    if not len(pairs):
        return None
    test = _test(pairs.lost, pairs.gained, pairs.reads)
    low, high = (float(bound) for bound in test.bounds(q, -1.0, one_sided))
    lost, gained, reads = (int(column.sum()) for column in (pairs.lost, pairs.gained, pairs.reads))
    return Difference(
        (gained - lost) / reads,
        low,
        high,
        level,
        float(test.p_value(0.0)),
        "cluster-robust score test",
        lost,
        gained,
        reads,
        len(pairs),
        int((pairs.lost + pairs.gained > 0).sum()),
        1 / float(test.spread.scale),
        None if lost + gained == 0 or len(pairs) < 2 else reads * float(test.spread.scale),
        _warnings(pairs, q),
    )


def _test(lost: ArrayLike, gained: ArrayLike, reads: ArrayLike) -> DifferenceTest:
    return DifferenceTest.of(*(np.asarray(column, float) for column in (lost, gained, reads)))


def difference_bounds(
    lost: ArrayLike, gained: ArrayLike, reads: ArrayLike, q: float, one_sided: bool = False
) -> tuple[Floats, Floats]:
    """Return the bounds of a difference for many experiments at once.

    Args:
        lost: Reads of k strings that A answers correctly and B does not, (…, k).
        gained: The reverse.
        reads: All reads of these strings.
        q: Each bound is exceeded with probability about 1 - ``q``.
        one_sided: Whether the claim rests on a single bound.

    Returns:
        Lower and upper bounds of B - A, (…,) each.
    """
    return _test(lost, gained, reads).bounds(q, -1.0, one_sided)


def _warnings(pairs: Pairs, q: float) -> tuple[str, ...]:
    warnings = few_strings(len(pairs))
    differing = int((pairs.lost + pairs.gained > 0).sum())
    worth = float(effective_strings(pairs.reads))
    if worth < len(pairs) / 2:
        warnings.append(f"very unequal strings: {len(pairs)} are worth {worth:.3g} equal ones")
    if not differing:
        warnings.append("no answer differs: the strings are the trials")
    elif differing < FEW:
        warnings.append(f"answers differ in few strings: {differing}; the interval is wide on purpose")
    else:
        for kind, bound, counts in (("lost", "lower", pairs.lost), ("gained", "upper", pairs.gained)):
            strings = float((counts > 0).sum())
            if strings < _FEW_OF_A_KIND:
                missed = _missed_share(min(strings, worth), worth, q)
                warnings.append(
                    f"few strings {kind}: the {bound} bound assumes that chance hid no string {kind} as a whole; "
                    f"otherwise it is off by up to {missed:.2g}"
                )
    return tuple(warnings)


def _missed_share(seen: float, strings: float, q: float) -> float:
    """How much larger the share of strings of a kind may be than the one seen, by Clopper & Pearson's bound."""
    _, high = clopper_pearson_bounds(seen, strings, 1 - q)
    return float(high) - seen / strings
