"""What repeats of the same prompt tell: how often a model agrees with itself, and which strings it always gets right.

Each repeat asks every read once. Two repeats of a read agree if both gave the same symbol. They do not if only one gave
a symbol, so that a model which answers one time and refuses the next does not agree with itself. Where neither did
(invalid, refused, truncated), nobody knows whether they meant the same: such a pair is left out, and so is every pair
with a call that failed.

Example, one read of one string in 5 repeats::

    answers   1, 1, invalid, refused, failed call
    pairs     (1, 1) agree, (1, invalid) and (1, refused), twice each, do not: self-agreement 1/5
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np

from ffprompt.stats.clusters import Clusters
from ffprompt.stats.intervals import clopper_pearson, korn_graubard

Answers = Sequence[int | None]  # of one trial: the symbol of each read, None where none could be read


class RepeatNumbers(TypedDict):
    """What a row of the table says about repeats."""

    repeats: int
    repeat_pairs: int
    self_agreement: float | None
    self_agreement_low: float | None
    self_agreement_high: float | None
    whole_strings: int
    always_right: float | None
    always_right_low: float | None
    always_right_high: float | None


@dataclass
class Repeats:
    """Counts of the repeats of one condition's strings, added up trial by trial in any order."""

    repeats: int = 1
    # One number each of every string that has any: pairs of repeats, and those that do not agree.
    _pairs: array[int] = field(default_factory=lambda: array("q"))
    _apart: array[int] = field(default_factory=lambda: array("q"))
    _whole: int = 0  # strings of which every repeat was answered
    _right: int = 0  # of these, strings with every read right in every repeat
    # Strings that lack a repeat yet: what each of their repeats answered (None: its call failed), and whether rightly.
    _open: dict[int, list[tuple[Answers, bool] | None]] = field(default_factory=dict)

    def add(self, string: int, answers: Answers | None, right: bool) -> None:
        """Count one repeat of a string: its answers, None where the call failed, and whether all are right."""
        if self.repeats == 1:  # there are no pairs
            self._whole += answers is not None
            self._right += answers is not None and right
            return
        heard = self._open.setdefault(string, [])
        heard.append(None if answers is None else (answers, right))
        if len(heard) == self.repeats:
            pairs, apart = _pairs(self._open.pop(string))
            if pairs:
                self._pairs.append(pairs)
                self._apart.append(apart)
            if None not in heard:
                self._whole += 1
                self._right += all(one is not None and one[1] for one in heard)

    def row(self) -> RepeatNumbers:
        """Return the numbers of a condition. Without data, and ``self_agreement`` without repeats, they are None.

        ``self_agreement``: the share of ``repeat_pairs`` that agree, with an interval that has the string as its
        cluster. ``always_right``: of the ``whole_strings``, of which every repeat was answered, the share with every
        read right in every repeat, with Clopper and Pearson's interval.
        """
        unfinished = [counts for counts in map(_pairs, self._open.values()) if counts[0]]
        pairs = np.array([*self._pairs, *(pairs for pairs, _ in unfinished)], np.int64)
        apart = np.array([*self._apart, *(apart for _, apart in unfinished)], np.int64)
        found = korn_graubard(Clusters(apart, pairs))
        agree = found.complement() if found else None
        always = clopper_pearson(self._right, self._whole)
        return {
            "repeats": self.repeats,
            "repeat_pairs": int(pairs.sum()),
            "self_agreement": agree.estimate if agree else None,
            "self_agreement_low": agree.low if agree else None,
            "self_agreement_high": agree.high if agree else None,
            "whole_strings": self._whole,
            "always_right": always.estimate if always else None,
            "always_right_low": always.low if always else None,
            "always_right_high": always.high if always else None,
        }


def _pairs(heard: Sequence[tuple[Answers, bool] | None]) -> tuple[int, int]:
    """Pairs of repeats of all reads of a string together, and those of them that do not agree.

    >>> _pairs([([1, None], False), ([1, 0], True), None])
    (2, 1)
    """
    pairs = together = 0
    for read in zip(*(one[0] for one in heard if one is not None), strict=True):
        counts = Counter(read)
        silent = counts.pop(None, 0)
        pairs += _choose_two(len(read)) - _choose_two(silent)
        together += sum(map(_choose_two, counts.values()))
    return pairs, pairs - together


def _choose_two(count: int) -> int:
    return count * (count - 1) // 2
