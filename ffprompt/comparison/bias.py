"""How much a condition leans towards one of two answers."""

from __future__ import annotations

import numpy as np

from ffprompt.runs.reads import CORRECT, ERROR, ConditionReads


def answer_bias(reads: ConditionReads, symbols: int, blanks: bool) -> float | None:
    """Return the bias towards answer 1 of a condition with two answers. None with more, or without data.

    Where all values are blanked (``prior``) it is the mean share of the probability of both answers that answer 1 has,
    less that of answer 0. Elsewhere it is the accuracy at reads whose true answer is 1, less that where it is 0.

    Args:
        reads: The reads of the condition.
        symbols: The number of answers.
        blanks: Whether all values are blanked.
    """
    if symbols != 2 or not len(reads):
        return None
    if blanks:
        logprobs = reads.logprobs(symbols)
        if logprobs is None:
            return None
        apart = (logprobs[:, 1] - logprobs[:, 0])[np.isfinite(logprobs).all(1)]
        return float(np.tanh(apart / 2).mean()) if len(apart) else None
    answered = reads.outcome != ERROR
    sides = [reads.outcome[answered & (reads.truth == answer)] == CORRECT for answer in (0, 1)]
    return float(sides[1].mean() - sides[0].mean()) if all(map(len, sides)) else None
