"""A car on a ring of places, which drives one place on or turns round: the dihedral groups.

==============  ====================  ============================
task            inputs                states, start
==============  ====================  ============================
dihedral-N      drive, turn           N, forward on place 0
==============  ====================  ============================

N is the number of states, as in D6 and D8: two directions times N/2 places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ffprompt.tasks.events import U8, Event
from ffprompt.tasks.groups import READ, Group, Table
from ffprompt.tasks.strings import Strings
from ffprompt.tasks.table import TableAutomaton


@dataclass(frozen=True)
class Dihedral(Group):
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
        answers = {"state": np.arange(self.size), "place": place, "direction": direction}
        return answers[self.read_function].astype(np.uint8)

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
