"""How far reads of the flip-flop lie from their writes, without drawing a string."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ffprompt.tasks.flipflop import Spec


def gap_counts(spec: Spec) -> NDArray[np.float64]:
    """Return how many reads of one string are expected at each gap: exactly, without drawing any.

    A read at instruction k is g after its write if instruction k - g writes and none of the g - 1 between them does;
    the first instruction always writes, and the last one always reads. The sum is ``spec.expected_reads``.

    Returns:
        The expected reads at gap 1, 2, …, n - 1, as an array (n - 1,).
    """
    n = spec.instructions
    silent = (1.0 - spec.p_write) ** np.arange(n - 1)  # no write among g - 1 instructions, g = 1 … n - 1
    later = spec.p_write * silent * (spec.p_read * np.maximum(n - 3 - np.arange(n - 1), 0) + 1)
    later[-1] = 0.0  # only the first instruction is n - 1 before the last
    first = silent * np.where(np.arange(1, n) == n - 1, 1.0, spec.p_read)
    return np.asarray(later + first)
