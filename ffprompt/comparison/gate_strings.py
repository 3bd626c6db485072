"""How many strings a gate needs, before it is run and where it did not tell.

Identical answers do not pass by themselves. On k strings of equal length they leave room for a loss of
1 - (1 - level)^(1 / k), about 3 / k at 95%: at least 299 strings are needed for a margin of 0.01.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ffprompt.comparison.conditions import RunCondition
from ffprompt.errors import CountsError
from ffprompt.runs.reads import ERROR
from ffprompt.stats.clusters import effective_strings
from ffprompt.stats.paired import Pairs
from ffprompt.stats.power import pilot_pairs, strings_for_margin


def fewest_strings(margin: float, level: float, reads: ArrayLike) -> int:
    """Return the fewest strings with which identical answers pass a gate.

    Args:
        margin: The loss of accuracy that is too much.
        level: The confidence of the gate.
        reads: Reads of each string, (k,). Strings of unequal length are worth fewer equal ones.

    >>> fewest_strings(0.01, 0.95, [7] * 40)
    299
    """
    counts = np.asarray(reads, np.int64)
    worth = float(effective_strings(counts)) / len(counts) if len(counts) else 1.0
    return math.floor(math.log1p(-level) / math.log1p(-margin) / worth) + 1


def strings_that_settle(pairs: Pairs, margin: float, level: float) -> int | None:
    """Return about how many strings an equal model needs to pass with probability 0.8, judging by these pairs.

    None where no number of strings would do.
    """
    try:
        return strings_for_margin(margin, pilot_pairs(pairs), level, simulated=False).strings
    except CountsError:
        return None


def too_few(
    baseline: Sequence[RunCondition], margin: float, level: float, strings: int | None = None
) -> list[tuple[str, int, int]]:
    """Return the conditions of a baseline that no candidate can pass, whatever it answers.

    Args:
        strings: How many strings the candidate will be asked, or None for as many as the baseline.

    Returns:
        Of each such condition its name, its strings, and the fewest that could pass.
    """
    found = []
    for cell in baseline:
        answered = cell.string[cell.outcome != ERROR]
        if not len(answered):
            continue
        reads = np.unique(answered, return_counts=True)[1]
        have = len(reads) if strings is None else min(strings, len(reads))
        needed = fewest_strings(margin, level, reads)
        if have < needed:
            found.append((cell.name, have, needed))
    return found
