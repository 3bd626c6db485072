"""Products of quaternion units: ``q8`` multiplies by 1, i, j or k from the right. It has 8 states and starts at 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ffprompt.tasks.events import U8, Event
from ffprompt.tasks.groups import READ, Group, Table
from ffprompt.tasks.strings import Strings
from ffprompt.tasks.table import TableAutomaton

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
class Quaternions(Group):
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
