"""Is a model's glitch rate below a bound? Strings are tested until that or the opposite is shown, or there were enough.

The test is the one of ``ffprompt run --certify`` (:mod:`ffprompt.stats.sequential`), which may be looked at as often
as one likes. Its strings are none of those of the evaluations.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ffprompt.errors import ConfigError
from ffprompt.reference.networks.base import Network
from ffprompt.reference.training.evaluate import Certificate, count
from ffprompt.reference.vocabulary import Vocabulary
from ffprompt.stats.sequential import Certify, Draws, fewest_strings, read_cap
from ffprompt.tasks.base import Spec
from ffprompt.tasks.flipflop import Spec as FlipFlopSpec

SEED = 1001
LEVEL = 0.95
STRINGS = 200_000
"""The most strings of each test set, unless more are asked for."""
_LEAST, _SHARE = 64, 8  # strings until the first look, and from there on a share of those before


def certify(
    model: Network,
    data: Spec,
    bound: float,
    most: int = STRINGS,
    scratchpad: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Certificate:
    """Test strings of ``data`` until the glitch rate is shown to be below ``bound``, or above it.

    At most ``most`` strings are looked at. ``progress`` is called with the number of strings of a block that are done.
    """
    check(data, bound, most)
    state = Certify(bound, _draws(data, bound), LEVEL)
    vocabulary = Vocabulary(data.task, data.symbols, scratchpad)
    drawn = 0
    while state.decision is None and drawn < most:
        last = min(most, drawn + max(_LEAST, drawn // _SHARE))
        for part in count(model, data, SEED, drawn, last, progress=progress, vocabulary=vocabulary):
            state.draws.add(part.errors, part.reads)
        state.update(np.zeros(0, np.int64), np.zeros(0, np.int64))
        drawn = last
    low, high = state.draws.limits(2 * LEVEL - 1)
    draws = state.draws
    return Certificate(bound, LEVEL, state.decision, SEED, drawn, draws.reads, draws.errors, low, high)


def check(data: Spec, bound: float, most: int) -> None:
    """Raise ConfigError where so many strings cannot show the bound, even without an error."""
    if not 0 < bound < 1:
        raise ConfigError(f"--certify {bound:g}: expected a rate between 0 and 1, such as 1e-4")
    draws = _draws(data, bound)
    least = fewest_strings(bound, data.expected_reads, draws.most_reads, draws.excess, LEVEL)
    if least > most:
        raise ConfigError(
            f"--certify {bound:g}: {data} needs at least {least:,} strings; --certify-strings is {most:,}"
        )


def _draws(data: Spec, bound: float) -> Draws:
    """Return a count of nothing, which knows how many reads a string can have."""
    if data.length < data.instructions:  # a read behind every input
        return Draws(data.instructions - data.length)
    if isinstance(data, FlipFlopSpec):
        return Draws(*read_cap(data.instructions, data.p_read, bound))
    return Draws(data.instructions - 1)
