"""Automata whose inputs undo each other: parity, counters, the car on a ring, Q8 and the permutations.

=============  ==========================================================  ==========================
task           inputs                                                      states, start
=============  ==========================================================  ==========================
parity         flip (probability p1), keep                                 2, even
counter-N      add 0 … N - 1                                               N, 0
c2-cubed       flip 0, 1 or 2; keep                                        8, all even
dihedral-N     drive one place on, turn round                              N, forward on place 0
q8             times 1, i, j or k, from the right                          8, 1
sN             shift, swap, keep                                           N!, in order
aN             cycle 3 … N, keep                                           N!/2, in order
=============  ==========================================================  ==========================

All inputs but those of parity are equally probable. The N of ``dihedral-N`` is the number of states, as in D6 and D8:
two directions times N/2 places. In sN and aN, a state is an order of N things in N places. ``shift`` moves each of
them one place on and the last one to the front, ``swap`` exchanges the first two, and ``cycle k`` moves the first one
to place 2, the second one to place k and that one to place 1.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ffprompt.tasks.automaton import Argument, Floats, TableAutomaton
from ffprompt.tasks.base import U8, Event, Strings

Table = NDArray[np.int32]

READ = Event("read", "r", "read")
KEEP = Event("keep", "k", "idle")


class _Group(TableAutomaton):
    """A group that acts on its own elements: each input permutes the states."""

    @cached_property
    def powers(self) -> list[Table]:
        """For each input, (order, states) the state after it has come 0, 1, 2 … times."""
        found = []
        for place in range(self.transitions.shape[1]):
            step = self.transitions[:, place]
            rows = [np.arange(len(step), dtype=np.int32)]
            while (nxt := step[rows[-1]]).tolist() != rows[0].tolist():
                rows.append(nxt)
            found.append(np.array(rows))
        return found

    def counted(self, strings: Strings) -> U8:
        """Return the answers of a rule that counts each input and forgets their order, (N, n)."""
        places = self.places(strings.events, strings.arguments)
        state = np.zeros(places.shape, np.int32)
        for place, powers in enumerate(self.powers):
            times = np.cumsum(places == place, axis=1) % len(powers)
            state = powers[times, state]
        return np.ascontiguousarray(self.answers_of_states[state])

    def known_class(self, strings: Strings, classes: NDArray[np.int64]) -> U8:
        """Return the answers of a rule that knows the class of the state, (states,), and guesses within it.

        It answers what is most probable in that class after so many inputs.
        """
        inputs = np.cumsum(~strings.is_read, axis=1)
        chances = self.state_chances(int(inputs.max(initial=0)))
        count = int(classes.max()) + 1
        best = np.zeros((len(chances), count), np.uint8)
        for one in range(count):
            of_answers = np.zeros((len(chances), self.answer_count))
            for state in np.flatnonzero(classes == one).tolist():
                of_answers[:, self.answers_of_states[state]] += chances[:, state]
            best[:, one] = of_answers.round(12).argmax(1)
        return best[inputs, classes[self.states(strings.events, strings.arguments)]]


@dataclass(frozen=True)
class Parity(_Group):
    """Whether the number of flips so far is odd."""

    name: ClassVar[str] = "parity"
    events: ClassVar[tuple[Event, ...]] = (Event("flip", "f", "step"), KEEP, READ)
    arguments: ClassVar[Mapping[str, Argument]] = {"p1": Argument(0.5, "probability of flip among flip and keep")}
    templates: ClassVar[tuple[str, ...]] = ("coin-turning", "parity-symbols")
    rule_names: ClassVar[tuple[str, ...]] = (*TableAutomaton.rule_names, "flip-last-answer")
    transitions: ClassVar[Table] = np.array([[1, 0], [0, 1]], np.int32)
    answers_of_states: ClassVar[U8] = np.array([0, 1], np.uint8)

    @property
    def weights(self) -> Floats:
        """Of flip and keep."""
        return np.array([float(self["p1"]), 1 - float(self["p1"])])

    def own_rules(self, strings: Strings, see_reads: bool) -> dict[str, U8]:
        """``flip-last-answer`` gives the other answer than the latest earlier one."""
        return {"flip-last-answer": 1 - self.last_answers(strings)} if see_reads else {}


@dataclass(frozen=True)
class Counter(_Group):
    """A counter that starts again at ``size``."""

    size: int = 3

    family: ClassVar[str] = "counter"
    templates: ClassVar[tuple[str, ...]] = ("dial", "counter-symbols")
    functions: ClassVar[tuple[str, ...]] = ("state", "zero")

    @property
    def name(self) -> str:
        """``counter-3`` counts 0, 1, 2."""
        return f"counter-{self.size}"

    @property
    def sizes(self) -> Mapping[str, int]:
        """The size, and the largest number."""
        return {"size": self.size, "last": self.size - 1}

    @property
    def events(self) -> tuple[Event, ...]:
        """Add a number, and read."""
        return (Event("add", "a", "step", arguments=self.size), READ)

    @cached_property
    def transitions(self) -> Table:
        """The sum, modulo the size."""
        numbers = np.arange(self.size, dtype=np.int32)
        return (numbers[:, None] + numbers) % self.size

    @cached_property
    def answers_of_states(self) -> U8:
        """The number, or whether it is 0."""
        numbers = np.arange(self.size)
        return (numbers == 0 if self.read_function == "zero" else numbers).astype(np.uint8)


@dataclass(frozen=True)
class Cube(_Group):
    """Three parities side by side; in a state's number the first of them counts 4, the second 2 and the third 1."""

    name: ClassVar[str] = "c2-cubed"
    events: ClassVar[tuple[Event, ...]] = (Event("flip", "f", "step", arguments=3), KEEP, READ)
    templates: ClassVar[tuple[str, ...]] = ("three-coins", "cube-symbols")
    transitions: ClassVar[Table] = np.array([[state ^ 4, state ^ 2, state ^ 1, state] for state in range(8)], np.int32)
    answers_of_states: ClassVar[U8] = np.arange(8, dtype=np.uint8)
    parts: ClassVar[Mapping[str, int]] = {"sides": 2}

    def part_values(self, answer: int) -> Mapping[str, int | tuple[int, ...]]:
        """The three of them."""
        return {"sides": (answer >> 2, answer >> 1 & 1, answer & 1)}

    def plain_answer(self, answer: int) -> list[int]:
        """The three of them."""
        return [answer >> 2, answer >> 1 & 1, answer & 1]


@dataclass(frozen=True)
class Dihedral(_Group):
    """A car on a ring of ``size / 2`` places, which drives one place on or turns round. D6 has 3 places, D8 has 4."""

    size: int = 8

    family: ClassVar[str] = "dihedral"
    events: ClassVar[tuple[Event, ...]] = (Event("drive", "d", "step"), Event("turn", "t", "step"), READ)
    templates: ClassVar[tuple[str, ...]] = ("car", "dihedral-symbols")
    functions: ClassVar[tuple[str, ...]] = ("state", "place", "direction")
    rule_names: ClassVar[tuple[str, ...]] = (
        *TableAutomaton.rule_names, "counts", "direction-then-guess",
    )  # fmt: skip

    @property
    def name(self) -> str:
        """``dihedral-8`` has 8 states."""
        return f"dihedral-{self.size}"

    @property
    def places_on_ring(self) -> int:
        """How many places the ring has."""
        return self.size // 2

    @cached_property
    def transitions(self) -> Table:
        """A state is direction * places + place."""
        n = self.places_on_ring
        direction, place = np.divmod(np.arange(self.size), n)
        drive = direction * n + (place + 1 - 2 * direction) % n
        return np.column_stack([drive, (1 - direction) * n + place]).astype(np.int32)

    @cached_property
    def answers_of_states(self) -> U8:
        """Direction and place, or one of them."""
        direction, place = np.divmod(np.arange(self.size), self.places_on_ring)
        found = {"state": np.arange(self.size), "place": place, "direction": direction}
        return found[self.read_function].astype(np.uint8)

    @property
    def sizes(self) -> Mapping[str, int]:
        """How many places the ring has, and the last of them."""
        return {"size": self.places_on_ring, "last": self.places_on_ring - 1}

    @property
    def parts(self) -> Mapping[str, int]:
        """Direction (0 is forward) and place, or the one of them that reads ask for."""
        both = {"direction": 2, "place": self.places_on_ring}
        return both if self.read_function == "state" else {self.read_function: both[self.read_function]}

    def part_values(self, answer: int) -> Mapping[str, int | tuple[int, ...]]:
        """Direction and place."""
        if self.read_function != "state":
            return {self.read_function: answer}
        return dict(zip(("direction", "place"), divmod(answer, self.places_on_ring), strict=True))

    def plain_answer(self, answer: int) -> Any:
        """Direction (0 is forward) and place; a number where reads ask for one of them."""
        return list(divmod(answer, self.places_on_ring)) if self.read_function == "state" else answer

    def own_rules(self, strings: Strings, see_reads: bool) -> dict[str, U8]:
        """``counts`` forgets the order of inputs. ``direction-then-guess`` knows the direction, not the place."""
        direction = np.arange(self.size) // self.places_on_ring
        return {"counts": self.counted(strings), "direction-then-guess": self.known_class(strings, direction)}


QUATERNIONS = ("1", "-1", "i", "-i", "j", "-j", "k", "-k")


def quaternion_product(left: int, right: int) -> int:
    """Return the place in ``QUATERNIONS`` of a product.

    >>> QUATERNIONS[quaternion_product(2, 4)], QUATERNIONS[quaternion_product(4, 2)]
    ('k', '-k')
    """
    (a, minus_a), (b, minus_b) = divmod(left, 2), divmod(right, 2)
    sign = minus_a ^ minus_b
    if a == 0 or b == 0:
        axis = a or b
    elif a == b:
        axis, sign = 0, sign ^ 1
    else:
        axis = 6 - a - b
        sign ^= (b - a) % 3 != 1  # i j = k, j k = i, k i = j, and the other way round with a minus
    return 2 * axis + sign


@dataclass(frozen=True)
class Quaternions(_Group):
    """A product of quaternion units, multiplied from the right."""

    name: ClassVar[str] = "q8"
    events: ClassVar[tuple[Event, ...]] = (
        Event("times", "t", "step", arguments=4, words=("1", "i", "j", "k")), READ,
    )  # fmt: skip
    templates: ClassVar[tuple[str, ...]] = ("stone", "quaternion-symbols")
    rule_names: ClassVar[tuple[str, ...]] = (*TableAutomaton.rule_names, "counts", "plus-sign", "axis-then-guess")
    transitions: ClassVar[Table] = np.array(
        [[quaternion_product(state, 2 * axis) for axis in range(4)] for state in range(8)], np.int32
    )
    answers_of_states: ClassVar[U8] = np.arange(8, dtype=np.uint8)

    def plain_answer(self, answer: int) -> str:
        """The unit by its name."""
        return QUATERNIONS[answer]

    def own_rules(self, strings: Strings, see_reads: bool) -> dict[str, U8]:
        """``counts`` forgets the order, ``plus-sign`` the sign; ``axis-then-guess`` answers the likelier sign."""
        truth = self.run(strings.events, strings.arguments)
        return {
            "counts": self.counted(strings),
            "plus-sign": truth & np.uint8(6),
            "axis-then-guess": self.known_class(strings, np.arange(8) // 2),
        }


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
class _Permutations(_Group):
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
class Symmetric(_Permutations):
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
class Alternating(_Permutations):
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
        found = []
        for place in range(2, self.size):
            step = same.copy()
            step[0], step[1], step[place] = place, 0, 1
            found.append(tuple(step))
        return [*found, tuple(same)]

    def own_rules(self, strings: Strings, see_reads: bool) -> dict[str, U8]:
        """``counts`` forgets the order of inputs."""
        return {"counts": self.counted(strings)}


__all__ = [
    "Alternating", "Counter", "Cube", "Dihedral", "Parity", "Quaternions", "Symmetric", "permutation_parity",
    "quaternion_product",
]  # fmt: skip
