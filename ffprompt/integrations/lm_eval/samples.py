"""What lm-evaluation-harness says about the answers of a string, as scores. Imports nothing of the harness."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ffprompt.backends.base import Scores


def scores(results: Sequence[tuple[float, bool]], symbols: int) -> Scores:
    """Return the scores of a string.

    Args:
        results: (log-probability, whether it is the model's first choice) of every answer at every read, read by read.
        symbols: The number of answers at each read.
    """
    logprobs = np.array([value for value, _ in results], np.float64).reshape(-1, symbols)
    greedy = np.array([first for _, first in results], np.bool_).reshape(-1, symbols)
    symbol = np.where(greedy.any(axis=1), greedy.argmax(axis=1), -1)
    # The harness does not say which token is the first choice.
    return Scores(logprobs, np.full(len(logprobs), -1), symbol)
