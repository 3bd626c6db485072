"""The reads that two conditions have in common, and who was right about them.

Sampled strings are known by their number, as they follow from (language, seed, number), and their digests are checked
against each other. Strings of a file are known by their digest, so that the same ones pair in any order of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ffprompt.comparison.conditions import RunCondition
from ffprompt.errors import ConfigError, StoreError
from ffprompt.runs.reads import CORRECT, ERROR, OUTCOMES, Ints
from ffprompt.stats.paired import Pairs


@dataclass(frozen=True, eq=False)
class Paired:
    """Pairs of answers.

    Attributes:
        pairs: Strings with their reads that were lost and gained from A to B.
        right_a: Reads that A has right, of those answered on both sides.
        right_b: Reads that B has right.
        errors: Pairs left out because a call failed on either side.
        only_a: Reads that only A has.
        only_b: Reads that only B has.
        lost_to: What became in B of the reads that only A has right, by outcome.
    """

    pairs: Pairs
    right_a: int
    right_b: int
    errors: int
    only_a: int
    only_b: int
    lost_to: dict[str, int]

    @property
    def n_reads(self) -> int:
        """Pairs that were answered on both sides."""
        return int(self.pairs.reads.sum())


def paired(a: RunCondition, b: RunCondition) -> Paired:
    """Pair the reads of two conditions.

    What is invalid, refused or truncated is not correct. What has no answer at all, because the call failed, is no
    pair.

    Raises:
        ConfigError: They have no string in common.
        StoreError: A read occurs twice, or one number is two strings.
    """
    rows_a, rows_b = _common(a, b)
    if not len(rows_a) and len(a.outcome) and len(b.outcome):
        raise ConfigError(
            f"{a.name}: {a.source.run_id} and {b.source.run_id} have no read in common: other strings, or other "
            "reads of them"
        )
    if a.sampled and a.digest is not None and b.digest is not None:
        _same_strings(a, b, rows_a, rows_b)
    outcome_a, outcome_b = a.outcome[rows_a], b.outcome[rows_b]
    answered = (outcome_a != ERROR) & (outcome_b != ERROR)
    right_a, right_b = (outcome_a == CORRECT)[answered], (outcome_b == CORRECT)[answered]
    return Paired(
        Pairs.from_reads(a.string[rows_a][answered], right_a, right_b),
        int(right_a.sum()),
        int(right_b.sum()),
        int(len(answered) - answered.sum()),
        len(a.outcome) - len(rows_a),
        len(b.outcome) - len(rows_b),
        _counts(outcome_b[answered][right_a & ~right_b]),
    )


def _counts(outcomes: Ints) -> dict[str, int]:
    """How often each outcome occurs, without those that never do."""
    found = np.bincount(outcomes, minlength=len(OUTCOMES)).tolist()
    return {str(name): count for name, count in zip(OUTCOMES, found, strict=True) if count}


def _common(a: RunCondition, b: RunCondition) -> tuple[Ints, Ints]:
    """Rows of either that are about the same read, (n,) each."""
    string_a, string_b = (a.string, b.string) if a.sampled else _by_digest(a, b)
    width = 1 + max((int(cell.read.max()) for cell in (a, b) if len(cell.read)), default=0)
    keys_a, keys_b = string_a * width + a.read, string_b * width + b.read
    for cell, keys in ((a, keys_a), (b, keys_b)):
        # In the order of the plan they rise, and no sorting is needed to see that.
        if not (np.diff(keys) > 0).all() and len(np.unique(keys)) < len(keys):
            raise StoreError(f"{cell.source.path / 'reads.parquet'}: a read stands twice in {cell.name}")
    if np.array_equal(keys_a, keys_b):
        rows = np.arange(len(keys_a))
        return rows, rows
    _, rows_a, rows_b = np.intersect1d(keys_a, keys_b, assume_unique=True, return_indices=True)
    return np.asarray(rows_a, np.int64), np.asarray(rows_b, np.int64)


def _by_digest(a: RunCondition, b: RunCondition) -> tuple[Ints, Ints]:
    """Number every row's string, the same on both sides. The second of two equal strings has its own number."""
    digests, which = [], []
    for cell in (a, b):
        if cell.digest is None:
            raise StoreError(
                f"{cell.source.path / 'reads.parquet'}: says not which strings of the file these are, as an earlier "
                f"version made it; make it again with: ffprompt score {cell.source.path}"
            )
        _, first, inverse = np.unique(cell.string, return_index=True, return_inverse=True)
        digests.append(cell.digest[first])
        which.append(inverse.reshape(-1))
    kinds = np.unique(np.concatenate(digests), return_inverse=True)[1].reshape(-1)
    numbers = []
    most = len(kinds) + 1
    for kind, rows in zip(np.split(kinds, [len(digests[0])]), which, strict=True):
        numbers.append((kind * most + _occurrence(kind))[rows])
    return numbers[0], numbers[1]


def _occurrence(kind: Ints) -> Ints:
    """How many equal values stand before each one: [5, 7, 5, 5] gives [0, 0, 1, 2]."""
    order = np.argsort(kind, kind="stable")
    in_order = kind[order]
    starts = np.flatnonzero(np.diff(in_order, prepend=in_order[:1] - 1))
    counts = np.diff(np.append(starts, len(in_order)))
    made = np.empty(len(kind), np.int64)
    made[order] = np.arange(len(kind)) - np.repeat(starts, counts)
    return made


def _same_strings(a: RunCondition, b: RunCondition, rows_a: Ints, rows_b: Ints) -> None:
    assert a.digest is not None and b.digest is not None
    other = np.flatnonzero(a.digest[rows_a] != b.digest[rows_b])
    if len(other):
        raise StoreError(
            f"{a.name}: string {a.string[rows_a[other[0]]]} of seed {a.settings['seed']} is not the same in "
            f"{a.source.run_id} and {b.source.run_id}; one of them was made by another version or is damaged"
        )
