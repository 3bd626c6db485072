"""Counts a string. Example: string 7 under two templates, 2 of 5 and 0 of 5 reads wrong, and string 9, 1 of 4::

Clusters.merged([7, 7, 9], errors=[2, 0, 1], reads=[5, 5, 4])   errors [2, 1], reads [10, 4]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ffprompt.errors import CountsError
from ffprompt.stats.quantiles import Floats

# Below this many strings a variance between them is itself uncertain enough to say so (Cameron & Miller 2015, VI.A,
# put "few" at fewer than 20 to 50).
FEW_CLUSTERS = 30


def few_strings(count: int) -> list[str]:
    """Return the warning that so many strings are few, if they are."""
    return [f"few strings: {count}; {FEW_CLUSTERS} or more are needed"] if count < FEW_CLUSTERS else []


Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Clusters:
    """``errors`` and ``reads``, (k,) each: what became of the reads of k independent strings.

    A string without a read tells nothing and is left out.

    Raises:
        CountsError: when the arrays differ in shape, hold anything but whole numbers, or errors are not between 0 and
            reads.
    """

    errors: Ints
    reads: Ints

    def __post_init__(self) -> None:
        errors, reads = whole("errors", self.errors), whole("reads", self.reads)
        if errors.shape != reads.shape:
            raise CountsError(f"errors {errors.shape}, reads {reads.shape}: expected one of each a string")
        if (errors < 0).any() or (errors > reads).any():
            row = int(np.flatnonzero((errors < 0) | (errors > reads))[0])
            raise CountsError(f"string {row}: {errors[row]} errors in {reads[row]} reads; 0 to reads are possible")
        object.__setattr__(self, "errors", errors[reads > 0])
        object.__setattr__(self, "reads", reads[reads > 0])

    @classmethod
    def merged(cls, cluster: ArrayLike, errors: ArrayLike, reads: ArrayLike) -> Clusters:
        """Add up the rows of each string.

        Args:
            cluster: The string of each row, (n,), of anything sortable.
            errors: Errors of each row, (n,).
            reads: Reads of each row, (n,).

        Raises:
            CountsError: the shapes differ, or errors are not between 0 and reads.
        """
        rows, k = group(cluster, errors, reads)
        return cls(total(rows, errors, k, "errors"), total(rows, reads, k, "reads"))

    @classmethod
    def from_reads(cls, cluster: ArrayLike, wrong: ArrayLike) -> Clusters:
        """One row a read: the string it is of, and whether it was answered wrong, (n,) each."""
        wrong = np.asarray(wrong).astype(np.int64)
        return cls.merged(cluster, wrong, np.ones_like(wrong))

    def __len__(self) -> int:
        return len(self.reads)

    @property
    def n_reads(self) -> int:
        """Reads of all strings."""
        return int(self.reads.sum())

    @property
    def n_errors(self) -> int:
        """Errors of all strings."""
        return int(self.errors.sum())

    @property
    def rate(self) -> float | None:
        """Errors a read, each read counting the same. None without a read."""
        return self.n_errors / self.n_reads if len(self) else None

    @property
    def effective_strings(self) -> float:
        """:func:`effective_strings` of these. 0.0 without a read."""
        return float(effective_strings(self.reads)) if len(self) else 0.0


def effective_strings(reads: ArrayLike) -> Floats:
    """Return (sum of m)² / sum of m² over the last axis, for strings of m reads (Kish 1965).

    What the reads are worth if those of one string always fall together, which is the most that their correlation can
    do. Equal to the number of strings where all have the same number of reads.

    Args:
        reads: Reads of k strings, (…, k).

    Returns:
        How many equally long strings they are worth, (…,).
    """
    m = np.asarray(reads, float)
    return np.asarray(m.sum(-1) ** 2 / (m**2).sum(-1))


def whole(name: str, values: ArrayLike) -> Ints:
    """A one-dimensional array of whole numbers, or CountsError."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise CountsError(f"{name} of shape {array.shape}: expected a one-dimensional array")
    if array.size and array.dtype.kind not in "biu" and not (np.isfinite(array).all() and (array % 1 == 0).all()):
        raise CountsError(f"{name}: expected whole numbers, not {array[(array % 1 != 0)][0]}")
    return array.astype(np.int64)


def group(cluster: ArrayLike, *columns: ArrayLike) -> tuple[Ints, int]:
    """The row's string as a number from 0, (n,), and how many strings there are."""
    ids = np.asarray(cluster)
    for column in columns:
        if np.shape(column) != ids.shape:
            raise CountsError(f"{ids.shape} strings, {np.shape(column)} values: expected one string a value")
    names, rows = np.unique(ids, return_inverse=True)
    return rows.reshape(-1).astype(np.int64), len(names)


def total(rows: Ints, values: ArrayLike, k: int, name: str = "values") -> Ints:
    """Sums of ``values`` by row number, (k,)."""
    return np.bincount(rows, weights=whole(name, values), minlength=k).astype(np.int64)
