"""Adding two numbers by hand as a flip-flop: the carry is the memory.

Columns come from the right, the least significant first, and each is followed by a read of its digit. A column whose
digits sum to 10 or more writes carry 1, one of 8 or less writes carry 0, and one of 9 leaves the carry as it is. T
counts the columns that are drawn. A last column 0 + 0 makes room for the carry. 95 + 7, as T = 2 columns::

    add 5 7   read   add 9 0   read   add 0 0   read
              2                0                1

With ``p_ignore`` the digits of a column sum to 9; other sums are 8 or less or 10 or more with equal probability, and
all columns of a kind are equally probable. Uniform digits have p_ignore = 0.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from ffprompt.tasks.arguments import Argument
from ffprompt.tasks.automaton import Automaton, Floats
from ffprompt.tasks.draws import U32, weighted
from ffprompt.tasks.events import U8, Bools, Event, Ints
from ffprompt.tasks.strings import Strings, latest

ADD, READ = range(2)
# (100,) the sum of the two digits of a column.
_SUMS = np.sum(np.divmod(np.arange(100), 10), axis=0).astype(np.uint8)


@dataclass(frozen=True)
class Addition(Automaton):
    """Columns of two digits, and the digits of their sum."""

    name: ClassVar[str] = "addition"
    arguments: ClassVar[Mapping[str, Argument]] = {
        "p_ignore": Argument(0.1, "probability of a column that sums to 9, which leaves the carry as it is")
    }
    takes: ClassVar[tuple[str, ...]] = ("ignore",)
    events: ClassVar[tuple[Event, ...]] = (
        Event("add", "a", "step", arguments=(10, 10), keys=("first", "second")), Event("read", "r", "read"),
    )  # fmt: skip
    templates: ClassVar[tuple[str, ...]] = ("by-hand", "addition-symbols")
    lengths: ClassVar[tuple[int, ...]] = (4, 8, 16)
    rule_names: ClassVar[tuple[str, ...]] = ("constant", "no-carry", "one-lookahead", "one-step")

    @classmethod
    def all_arguments(cls) -> dict[str, Argument]:
        """Its settings; a read follows every column."""
        return dict(cls.arguments)

    @property
    def reads_every(self) -> bool:
        """Always."""
        return True

    @property
    def answer_count(self) -> int:
        """Ten digits."""
        return 10

    @property
    def event_probabilities(self) -> Mapping[str, float]:
        """Of a read, and of a column that leaves the carry as it is among the columns."""
        return {"read": 0.5, "ignore": float(self["p_ignore"])}

    def length_of(self, instructions: int) -> int:
        """Return the columns that are drawn, of a string with so many events."""
        return instructions // 2 - 1

    def instructions_of(self, length: int) -> int:
        """Return the events of a string: a column and a read each, and those of the last carry."""
        return 2 * (length + 1)

    @cached_property
    def weights(self) -> Floats:
        """(100,) the probability of each column, first digit * 10 + second digit."""
        first, second = np.divmod(np.arange(100), 10)
        total, p = first + second, float(self["p_ignore"])
        return np.select([total == 9, total < 9], [p / 10, (1 - p) / 2 / 45], (1 - p) / 2 / 45)

    def inputs(self, numbers: U32, is_read: Bools) -> tuple[U8, U8]:
        """Return columns; the last one is 0 + 0."""
        arguments = weighted(numbers, self.weights)
        arguments[:, -2] = 0
        return np.full(arguments.shape, ADD, np.uint8), arguments

    def sums(self, events: U8, arguments: U8) -> U8:
        """Return (N, n) the sum of the latest column's digits at every event, without a carry."""
        sums: U8 = _SUMS[arguments]
        # Every column is followed by its read.
        sums[:, 1::2] = sums[:, 0::2]
        return sums

    def carries(self, events: U8, arguments: U8) -> U8:
        """Return (N, n) the carry into the latest column at every event."""
        sums = np.ascontiguousarray(self.sums(events, arguments).T)
        carry = np.zeros(len(events), np.uint8)
        carries = np.empty(sums.shape, np.uint8)
        for column in range(0, len(sums), 2):
            carries[column : column + 2] = carry
            carry = ((sums[column] + carry) >= 10).view(np.uint8)
        return np.ascontiguousarray(carries.T)

    def run(self, events: U8, arguments: U8) -> U8:
        """Return the digit of the latest column at every event, (N, n)."""
        return (self.sums(events, arguments) + self.carries(events, arguments)) % np.uint8(10)

    def trouble(self, events: Sequence[int], arguments: Sequence[int]) -> tuple[int, str] | None:
        """Return the last column where it is not 0 + 0."""
        return None if arguments[-2] == 0 else (len(arguments) - 2, "the last column is 0 + 0, for the carry")

    def answer_chances(self, inputs: int) -> Floats:
        """Return (inputs + 1, answers) the probability of each digit after 0, 1, … columns."""
        first, second = np.divmod(np.arange(100), 10)
        total, carry = first + second, 0.0
        chances = np.zeros((inputs + 1, 10))
        chances[0, 0] = 1.0
        for column in range(1, inputs + 1):
            for into, chance in ((0, 1 - carry), (1, carry)):
                np.add.at(chances[column], (total + into) % 10, chance * self.weights)
            carry = float(self.weights @ ((total >= 10) + carry * (total == 9)))
        return chances.round(12)

    def floors(self, strings: Strings, see_reads: bool = True) -> dict[str, U8]:
        """What rules without memory answer.

        ``no-carry`` adds the digits of the column alone. ``one-lookahead`` takes the carry of the column before from
        its own digits: it is right unless they sum to 9. ``one-step`` takes it from these digits and the digit that
        stands under them, and is always right, but only where earlier answers are visible. ``constant`` knows how many
        columns have come, and that the last one holds only a carry.
        """
        sums = self.sums(strings.events, strings.arguments)
        before = np.zeros_like(sums)
        before[:, 2:] = sums[:, :-2]
        answers = {"no-carry": sums % np.uint8(10), "one-lookahead": (sums + (before >= 10)) % np.uint8(10)}
        if see_reads:
            under = np.zeros_like(sums)
            under[:, 3:] = strings.answers[:, 1:-2]
            came = (under + np.uint8(20) - before) % np.uint8(10)  # the carry into the column before
            out = (before + came) >= 10
            out[:, :2] = False
            answers["one-step"] = (sums + out) % np.uint8(10)
        constants = self.constants(strings)
        constants["constant"] = constants["constant"].copy()
        constants["constant"][:, -1] = 0 if self.last_carry(strings.instructions // 2 - 1) <= 0.5 else 1
        return {name: digits.astype(np.uint8) for name, digits in answers.items()} | constants

    def last_carry(self, columns: int) -> float:
        """Return the probability of a carry out of so many columns."""
        first, second = np.divmod(np.arange(100), 10)
        total, carry = first + second, 0.0
        for _ in range(columns):
            carry = float(self.weights @ ((total >= 10) + carry * (total == 9)))
        return carry

    @property
    def gap_counts(self) -> str:
        """What its gaps count, in words."""
        return "columns since the one that set the carry"

    def covariates(self, strings: Strings) -> dict[str, Ints]:
        """The gap: columns back to the one that set the carry into this one; to before the first where none has."""
        sums = self.sums(strings.events, strings.arguments)
        columns = np.cumsum(strings.events == ADD, axis=1)
        place = latest((strings.events == ADD) & (sums != 9))
        # At a read the latest such column may be its own; what counts is the one before.
        own = np.take_along_axis(columns, np.maximum(place, 0), 1) == columns
        earlier = np.take_along_axis(place, np.maximum(place, 0), 1)
        place = np.where(own & (place >= 0), earlier, place)
        return {"gap": columns - np.where(place < 0, 0, np.take_along_axis(columns, np.maximum(place, 0), 1))}
