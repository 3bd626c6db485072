"""Random numbers that are addressed: those of string i depend on a name, the seed, the stream and i alone."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from ffprompt.errors import SpecError

U32 = NDArray[np.uint32]

# A counter step of Philox yields four words of 64 bits, which are eight numbers here.
_NUMBERS = 8


class Draws:
    """32-bit random numbers for the strings of one family, a fixed number of them for each string.

    Raises SpecError for a negative seed or a range of strings that is none.
    """

    def __init__(self, family: str, seed: int, stream: str, each: int) -> None:
        if seed < 0:
            raise SpecError(f"seed {seed}: expected a whole number from 0 on")
        name = f"ffprompt/task/1|{stream}|{seed}|{family}"
        self._key = np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], np.uint64)
        self._each, self._steps = each, -(-each // _NUMBERS)

    def rows(self, start: int, stop: int) -> U32:
        """Return the numbers of strings ``start`` … ``stop - 1``, (N, each)."""
        if not 0 <= start <= stop:
            raise SpecError(f"strings {start} to {stop}: expected a range from 0 on")
        philox = np.random.Philox(key=self._key, counter=start * self._steps)
        words = np.asarray(philox.random_raw((stop - start) * self._steps * (_NUMBERS // 2)))
        return words.view(np.uint32).reshape(stop - start, self._steps * _NUMBERS)[:, : self._each]


def below(numbers: U32, probability: float) -> NDArray[np.bool_]:
    """Return where a number, read as a fraction of 2**32, is below a probability: exact to 2**-32, and at 0 and 1."""
    threshold = round(probability * 2**32)
    if threshold >= 2**32:
        return np.ones(numbers.shape, np.bool_)
    return numbers < np.uint32(threshold)


def uniform(numbers: U32, count: int) -> NDArray[np.uint8]:
    """Return a whole number from 0 to ``count - 1`` for each number; ``count`` is at most 256."""
    return ((numbers.astype(np.uint64) * np.uint64(count)) >> np.uint64(32)).astype(np.uint8)


def weighted(numbers: U32, weights: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return a place in ``weights``, which sum to 1, for each number."""
    if np.ptp(weights) < 1e-12:
        return uniform(numbers, len(weights))
    thresholds = np.round(np.cumsum(weights)[:-1] * 2**32)
    if len(thresholds) > 4:
        bounds = np.minimum(thresholds, 2**32 - 1).astype(np.uint32)
        # A bound of 2**32 is one too low here. The largest number must not reach a place without weight for that.
        last = np.flatnonzero(weights)[-1]
        return np.asarray(np.minimum(np.searchsorted(bounds, numbers, side="right"), last), np.uint8)
    places = np.zeros(numbers.shape, np.uint8)
    for threshold in thresholds.tolist():
        if threshold < 2**32:
            places += (numbers >= np.uint32(threshold)).view(np.uint8)
    return places
