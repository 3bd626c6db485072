"""What repeats of the same prompt tell: how often a model agrees with itself, and which strings it always gets right.

Each repeat asks every read once. Two repeats of a read agree if both gave the same symbol, or both gave none in the
same way: ``invalid``, ``refused`` and ``truncated`` count as an answer each, so that a model which answers one time
and refuses the next does not agree with itself. A repeat whose call failed says nothing and is in no pair.

Example, one read of one string in 4 repeats, of which one failed::

    answers   1, 1, invalid, error     3 pairs: (1, 1) agree, (1, invalid) twice do not; self-agreement 1/3
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ffprompt.stats.clusters import Clusters
from ffprompt.stats.intervals import clopper_pearson, korn_graubard

# Bounds in a row that are for a number of strings settled beforehand.
INTERVALS = ("self_agreement_low", "self_agreement_high", "always_right_low", "always_right_high")

Answers = Sequence[int | str]  # of one trial: of each read the symbol, or the outcome without one


@dataclass
class Repeats:
    """Counts of the repeats of one condition's strings, added up trial by trial in any order."""

    repeats: int = 1
    # One number each of every string with two answered repeats or more: pairs of repeats, and those that do not agree.
    _pairs: array[int] = field(default_factory=lambda: array("q"))
    _apart: array[int] = field(default_factory=lambda: array("q"))
    _whole: int = 0  # strings of which every repeat was answered
    _right: int = 0  # of these, strings with every read right in every repeat
    # Strings that lack a repeat yet: what each of their repeats answered (None: its call failed), and whether rightly.
    _open: dict[int, list[tuple[Answers, bool] | None]] = field(default_factory=dict)

    def add(self, string: int, answers: Answers | None, right: bool) -> None:
        """Count one repeat of a string: its answers, None where the call failed, and whether all are right."""
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

    def row(self) -> dict[str, Any]:
        """The numbers of a condition; without data, and ``self_agreement`` without repeats, they are None.

        ``self_agreement``: the share of ``repeat_pairs`` that agree, with an interval that has the string as its
        cluster. ``always_right``: of the ``whole_strings``, of which every repeat was answered, the share with every
        read right in every repeat, with Clopper and Pearson's interval.
        """
        unfinished = [counts for counts in map(_pairs, self._open.values()) if counts[0]]
        pairs = np.array([*self._pairs, *(pairs for pairs, _ in unfinished)], np.int64)
        apart = np.array([*self._apart, *(apart for _, apart in unfinished)], np.int64)
        found = korn_graubard(Clusters(apart, pairs))
        agree = found and found.complement()
        always = clopper_pearson(self._right, self._whole)
        return {
            "repeats": self.repeats,
            "repeat_pairs": int(pairs.sum()),
            "self_agreement": agree and agree.estimate,
            "self_agreement_low": agree and agree.low,
            "self_agreement_high": agree and agree.high,
            "whole_strings": self._whole,
            "always_right": always and always.estimate,
            "always_right_low": always and always.low,
            "always_right_high": always and always.high,
        }


def _pairs(heard: Sequence[tuple[Answers, bool] | None]) -> tuple[int, int]:
    """Pairs of answered repeats of each read of a string together, and those of them that do not agree.

    >>> _pairs([([1, "invalid"], False), ([1, 0], True), None])
    (2, 1)
    """
    answered = [one[0] for one in heard if one is not None]
    pairs = len(answered) * (len(answered) - 1) // 2
    reads = list(zip(*answered, strict=True))
    together = sum(count * (count - 1) // 2 for read in reads for count in Counter(read).values())
    return pairs * len(reads), pairs * len(reads) - together
