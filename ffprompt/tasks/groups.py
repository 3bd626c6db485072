"""Groups that act on themselves: what their tasks share, and the simplest of them, parity and counters.

=============  ==========================================================  ==========================
task           inputs                                                      states, start
=============  ==========================================================  ==========================
parity         flip (probability p1), keep                                 2, even
counter-N      add 0 … N - 1                                               N, 0
c2-cubed       flip 0, 1 or 2; keep                                        8, all even
=============  ==========================================================  ==========================

The inputs undo each other: each of them permutes the states. All inputs of these tasks and of those in
:mod:`.dihedral`, :mod:`.quaternions` and :mod:`.permutations` are equally probable, but for those of parity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ffprompt.tasks.arguments import Argument
from ffprompt.tasks.automaton import Floats
from ffprompt.tasks.events import U8, Event
from ffprompt.tasks.strings import Strings
from ffprompt.tasks.table import TableAutomaton

Table = NDArray[np.int32]

READ = Event("read", "r", "read")
KEEP = Event("keep", "k", "idle")


class Group(TableAutomaton):
    """A group that acts on its own elements: each input permutes the states."""

    @cached_property
    def powers(self) -> list[Table]:
        """For each input, (order, states) the state after it has come 0, 1, 2 … times."""
        powers = []
        for place in range(self.transitions.shape[1]):
            step = self.transitions[:, place]
            rows = [np.arange(len(step), dtype=np.int32)]
            while (nxt := step[rows[-1]]).tolist() != rows[0].tolist():
                rows.append(nxt)
            powers.append(np.array(rows))
        return powers

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
class Parity(Group):
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
class Counter(Group):
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
class Cube(Group):
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
