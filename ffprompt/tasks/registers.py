"""Several registers: ``registers-K`` has K names. ``write`` a symbol to one of them, ``read`` one of them.

A string begins with a write to each name in turn, so that every read has an answer. After that, names and symbols are
drawn uniformly::

    write 0 1   write 1 0   write 0 0   read 1   read 0
                                        0        0
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ffprompt.errors import SpecError
from ffprompt.tasks.arguments import SYMBOLS, Argument
from ffprompt.tasks.automaton import Automaton, Floats
from ffprompt.tasks.draws import U32, uniform
from ffprompt.tasks.events import MAX_SYMBOLS, U8, Bools, Event, Ints
from ffprompt.tasks.floors import majority
from ffprompt.tasks.strings import Strings, latest

WRITE, READ = range(2)


@dataclass(frozen=True)
class Registers(Automaton):
    """K registers of one symbol each."""

    names: int = 4

    family: ClassVar[str] = "registers"
    arguments: ClassVar[Mapping[str, Argument]] = {"symbols": SYMBOLS}
    templates: ClassVar[tuple[str, ...]] = ("drawers", "registers-symbols")
    rule_names: ClassVar[tuple[str, ...]] = ("copy-last-bit", "last-write", "first-write", "majority")

    def __post_init__(self) -> None:
        if self.names * self.answer_count > MAX_SYMBOLS:
            raise SpecError(
                f"task-arg symbols={self.answer_count}: {self.names} registers take at most "
                f"{MAX_SYMBOLS // self.names} symbols"
            )

    @property
    def name(self) -> str:
        """``registers-4`` has four names."""
        return f"registers-{self.names}"

    @property
    def events(self) -> tuple[Event, ...]:
        """Write a symbol to a name, read a name."""
        return (
            Event("write", "w", "step", arguments=(self.names, None), keys=("name", "value")),
            Event("read", "r", "read", arguments=(self.names,), keys=("name",)),
        )

    @property
    def sizes(self) -> Mapping[str, int]:
        """How many names there are."""
        return {"size": self.names}

    @property
    def answer_count(self) -> int:
        """How many symbols there are."""
        return int(self["symbols"])

    @property
    def shortest(self) -> int:
        """A write to each name, and a read."""
        return self.names + (0 if self.reads_every else 1)

    @property
    def lengths(self) -> tuple[int, ...]:
        """T of a run that does not say it: room for more than the first writes."""
        return tuple(length for length in (10, 50, 100) if length >= 2 * self.names) or (200,)

    @property
    def unread(self) -> int:
        """The first writes."""
        return self.names

    @property
    def reads_every(self) -> bool:
        """Never: reads stand anywhere."""
        return False

    @classmethod
    def all_arguments(cls) -> dict[str, Argument]:
        """Its settings; reads always stand anywhere."""
        return {name: one for name, one in super().all_arguments().items() if name != "reads"}

    def expected_reads(self, instructions: int) -> float:
        """Return the expected reads in a string of so many events."""
        return 1.0 + (instructions - 1 - self.names) * float(self["p_read"])

    def inputs(self, numbers: U32, is_read: Bools) -> tuple[U8, U8]:
        """Return writes, each with a name and a symbol; where a read stands, its name."""
        symbols = self.answer_count
        names = uniform(numbers, self.names)
        names[:, : self.names] = np.arange(self.names)
        # The lower half of the same number: the upper bits have chosen the name.
        values = uniform(numbers * np.uint32(self.names), symbols)
        arguments = np.where(is_read, names, names * np.uint8(symbols) + values)
        return np.full(names.shape, WRITE, np.uint8), arguments.astype(np.uint8)

    def run(self, events: U8, arguments: U8) -> U8:
        """Return the symbol of the register that an event is about, (N, n), after that event."""
        names, values = self.split(events, arguments)
        reads = np.ascontiguousarray((events == READ).T)
        places = np.ascontiguousarray(names.T) + np.arange(len(events)) * self.names
        symbols = np.ascontiguousarray(values.T)
        memory = np.zeros(len(events) * self.names, np.uint8)
        answers = np.empty(places.shape, np.uint8)
        for step, place in enumerate(places):
            now = np.where(reads[step], memory[place], symbols[step])
            memory[place] = now
            answers[step] = now
        return np.ascontiguousarray(answers.T)

    def split(self, events: U8, arguments: U8) -> tuple[Ints, U8]:
        """Return (N, n) the name that each event is about, and the symbol that it writes."""
        names, values = np.divmod(arguments, np.uint8(self.answer_count))
        return np.where(events == READ, arguments, names).astype(np.int64), values

    def trouble(self, events: Sequence[int], arguments: Sequence[int]) -> tuple[int, str] | None:
        """Return the first event that is not the write with which a string begins."""
        for name in range(self.names):
            if name >= len(events) or events[name] != WRITE or arguments[name] // self.answer_count != name:
                return name, f"a string begins with a write to each of {self.names} names in turn"
        return None

    def answer_chances(self, inputs: int) -> Floats:
        """Return (inputs + 1, answers): every symbol is equally probable."""
        return np.full((inputs + 1, self.answer_count), 1 / self.answer_count)

    def floors(self, strings: Strings, see_reads: bool = True) -> dict[str, U8]:
        """What rules without memory answer.

        They are those of the flip-flop: ``copy-last-bit`` repeats the latest visible symbol whatever it belongs to,
        ``last-write`` the symbol written last to any name, ``first-write`` the first symbol of the name that is read,
        ``majority`` the most frequent visible symbol.
        """
        names, values = self.split(strings.events, strings.arguments)
        values = np.where(strings.is_read, strings.answers, values)
        visible = np.ones_like(strings.is_read) if see_reads else ~strings.is_read
        last = _at(values, latest(visible))
        return {
            "copy-last-bit": last,
            "last-write": _at(values, latest(~strings.is_read)),
            "first-write": np.take_along_axis(values, names, 1),  # the write to name k is event k
            "majority": majority(visible, values, last, strings.symbols),
        } | self.constants(strings)

    @property
    def gap_counts(self) -> str:
        """What its gaps count, in words."""
        return "instructions since the latest write to the name that is read"

    def covariates(self, strings: Strings) -> dict[str, Ints]:
        """The gap: events since the latest write to the name."""
        names, _ = self.split(strings.events, strings.arguments)
        rows, written = np.arange(len(strings)), np.zeros((len(strings), self.names), np.int64)
        gap = np.empty(names.shape, np.int64)
        for place in range(strings.instructions):
            here = np.flatnonzero(~strings.is_read[:, place])
            written[here, names[here, place]] = place
            gap[:, place] = place - written[rows, names[:, place]]
        return {"gap": gap}


def _at(values: U8, place: Ints) -> U8:
    """The symbols at some places, that of the first event where there is none (-1)."""
    return np.asarray(np.take_along_axis(values, np.maximum(place, 0), 1))
