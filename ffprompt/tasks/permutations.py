"""Things in places that change their order: all permutations, or the even ones.

=====  ====================  ====================
task   inputs                states, start
=====  ====================  ====================
sN     shift, swap, keep     N!, in order
aN     cycle 3 … N, keep     N!/2, in order
=====  ====================  ====================

A state is an order of N things in N places. ``shift`` moves each of them one place on and the last one to the front,
``swap`` exchanges the first two, and ``cycle k`` moves the first one to place 2, the second one to place k and that
one to place 1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import numpy as np

from ffprompt.tasks.events import U8, Event
from ffprompt.tasks.groups import KEEP, READ, Group, Table
from ffprompt.tasks.strings import Strings
from ffprompt.tasks.table import TableAutomaton


@lru_cache
def _orders(size: int, even: bool) -> tuple[tuple[int, ...], ...]:
    """All orders of ``size`` things, or the even ones; the first is 0, 1, 2 …"""
    return tuple(order for order in itertools.permutations(range(size)) if not even or permutation_parity(order) == 0)


def permutation_parity(order: tuple[int, ...]) -> int:
    """Return 1 for an odd number of exchanges, 0 for an even one.

    >>> permutation_parity((1, 0, 2)), permutation_parity((1, 2, 0))
    (1, 0)
    """
    pairs = itertools.combinations(order, 2)
    return sum(first > second for first, second in pairs) % 2


@dataclass(frozen=True)
class Permutations(Group):
    """Things in places, which change their order."""

    size: int = 5
    even: ClassVar[bool] = False

    functions: ClassVar[tuple[str, ...]] = ("state", "first")

    @property
    def orders(self) -> tuple[tuple[int, ...], ...]:
        """(states,) which thing is in each place."""
        return _orders(self.size, self.even)

    @property
    def steps(self) -> list[tuple[int, ...]]:
        """For each input, where the thing in each place comes from."""
        raise NotImplementedError

    @cached_property
    def transitions(self) -> Table:
        """The order after each input."""
        number = {order: place for place, order in enumerate(self.orders)}
        rows = [[number[tuple(order[place] for place in step)] for step in self.steps] for order in self.orders]
        return np.array(rows, np.int32)

    @cached_property
    def answers_of_states(self) -> U8:
        """The order, or which thing is first."""
        if self.read_function == "first":
            return np.array([order[0] for order in self.orders], np.uint8)
        return np.arange(len(self.orders)).astype(np.uint8)

    @cached_property
    def answer_count(self) -> int:
        """How many different answers its reads have."""
        if self.read_function == "first":
            return self.size
        return math.factorial(self.size) // (2 if self.even else 1)

    @property
    def sizes(self) -> Mapping[str, int]:
        """How many things there are."""
        return {"size": self.size}

    @property
    def parts(self) -> Mapping[str, int]:
        """The order; or the thing that is first."""
        return {"order": self.size}

    def part_values(self, answer: int) -> Mapping[str, int | tuple[int, ...]]:
        """Which thing is in each place; or which one is first."""
        return {"order": self.orders[answer] if self.read_function == "state" else answer}

    def plain_answer(self, answer: int) -> Any:
        """Which thing is in each place, from 0; or which one is first."""
        return list(self.orders[answer]) if self.read_function == "state" else answer


@dataclass(frozen=True)
class Symmetric(Permutations):
    """All permutations: shift everything by one place, or exchange the first two things."""

    family: ClassVar[str] = "symmetric"
    events: ClassVar[tuple[Event, ...]] = (
        Event("shift", "s", "step"), Event("swap", "w", "step"), KEEP, READ,
    )  # fmt: skip
    templates: ClassVar[tuple[str, ...]] = ("cups", "symmetric-symbols")
    rule_names: ClassVar[tuple[str, ...]] = (*TableAutomaton.rule_names, "counts", "parity-then-guess")

    @property
    def name(self) -> str:
        """``s5`` has five things."""
        return f"s{self.size}"

    @property
    def steps(self) -> list[tuple[int, ...]]:
        """Shift, swap, keep."""
        same = tuple(range(self.size))
        return [(self.size - 1, *same[:-1]), (1, 0, *same[2:]), same]

    def own_rules(self, strings: Strings, see_reads: bool) -> dict[str, U8]:
        """``counts`` forgets the order of inputs. ``parity-then-guess`` knows whether the permutation is odd."""
        odd = np.array([permutation_parity(order) for order in self.orders])
        return {"counts": self.counted(strings), "parity-then-guess": self.known_class(strings, odd)}


@dataclass(frozen=True)
class Alternating(Permutations):
    """The even permutations: three things change their places in a cycle."""

    even: ClassVar[bool] = True
    family: ClassVar[str] = "alternating"
    templates: ClassVar[tuple[str, ...]] = ("cups-in-threes", "alternating-symbols")
    rule_names: ClassVar[tuple[str, ...]] = (*TableAutomaton.rule_names, "counts")

    @property
    def name(self) -> str:
        """``a5`` has five things."""
        return f"a{self.size}"

    @property
    def events(self) -> tuple[Event, ...]:
        """Cycle with the third, fourth … thing, keep, read."""
        words = tuple(str(place) for place in range(3, self.size + 1))
        return (Event("cycle", "c", "step", arguments=self.size - 2, words=words), KEEP, READ)

    @property
    def steps(self) -> list[tuple[int, ...]]:
        """The cycles (1 2 k), then keep."""
        same = list(range(self.size))
        cycles = []
        for place in range(2, self.size):
            step = same.copy()
            step[0], step[1], step[place] = place, 0, 1
            cycles.append(tuple(step))
        return [*cycles, tuple(same)]

    def own_rules(self, strings: Strings, see_reads: bool) -> dict[str, U8]:
        """``counts`` forgets the order of inputs."""
        return {"counts": self.counted(strings)}
