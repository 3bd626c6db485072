"""Flip-flop strings that are dense first and sparse then: segments of different p(ignore) in one string.

With two segments the first half of a string is FFL(0.1) and the second one FFL(0.98), which no mixture of the two
languages has. Events, notation, T and templates are those of the flip-flop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ffprompt.errors import SpecError
from ffprompt.tasks import flipflop, floors
from ffprompt.tasks.arguments import SYMBOLS, Argument
from ffprompt.tasks.automaton import Automaton, Floats, Spec
from ffprompt.tasks.base import Rule
from ffprompt.tasks.draws import U32, uniform
from ffprompt.tasks.events import U8, Bools, Event, Ints
from ffprompt.tasks.flipflop import FLIP_FLOP, IGNORE, READ, WRITE
from ffprompt.tasks.strings import Strings


@dataclass(frozen=True)
class DenseThenSparse(Automaton):
    """A flip-flop whose events are not equally frequent everywhere."""

    name: ClassVar[str] = "dense-then-sparse"
    family: ClassVar[str] = FLIP_FLOP.name
    stride: ClassVar[int] = 2
    arguments: ClassVar[Mapping[str, Argument]] = {
        "symbols": SYMBOLS,
        "dense": Argument(0.1, "p(ignore) of the first segment, the third one …"),
        "sparse": Argument(0.98, "p(ignore) of the second segment, the fourth one …"),
        "segments": Argument(2, "number of segments of equal length", least=1, most=1000),
    }
    takes: ClassVar[tuple[str, ...]] = ()
    events: ClassVar[tuple[Event, ...]] = FLIP_FLOP.events
    rule_names: ClassVar[tuple[str, ...]] = FLIP_FLOP.rule_names

    @classmethod
    def all_arguments(cls) -> dict[str, Argument]:
        """Its settings. Writes and reads share what ignores leave."""
        return dict(cls.arguments)

    @property
    def reads_every(self) -> bool:
        """Never: reads stand anywhere."""
        return False

    @property
    def read_event(self) -> int:
        """The number of the event that reads."""
        return READ

    @property
    def answer_count(self) -> int:
        """How many symbols there are."""
        return int(self["symbols"])

    @property
    def shortest(self) -> int:
        """The least T, as in the flip-flop."""
        return 4

    def length_of(self, instructions: int) -> int:
        """Return T, which counts events and symbols."""
        return 2 * instructions

    def instructions_of(self, length: int) -> int:
        """Return how many events a string of length T has."""
        return length // 2

    def spec(self, length: int, symbols: int = 2, probabilities: Mapping[str, float] | None = None) -> Spec:
        """Return a spec.

        Raises:
            SpecError: for an odd length.
        """
        if length % 2:
            raise SpecError(f"length {length}: T counts symbols and must be even and at least 4")
        return super().spec(length, symbols, {})

    def p_ignore(self, n: int) -> Floats:
        """Return (n,) the probability of ignore at each place."""
        segment = np.arange(n) * int(self["segments"]) // n
        return np.where(segment % 2 == 0, float(self["dense"]), float(self["sparse"]))

    @property
    def event_probabilities(self) -> Mapping[str, float]:
        """Of a read, in the mean over the segments."""
        return {"read": float((1 - self.p_ignore(int(self["segments"]))).mean() / 2)}

    def expected_reads(self, instructions: int) -> float:
        """Return the expected reads in a string of so many events."""
        return 1.0 + float(((1 - self.p_ignore(instructions)) / 2)[1:-1].sum())

    def inputs(self, numbers: U32, is_read: Bools) -> tuple[U8, U8]:
        """Not used: :meth:`draw` draws all events."""
        raise NotImplementedError

    def draw(self, numbers: U32, n: int) -> tuple[U8, U8, U8]:
        """Return (N, n) events, symbols and answers."""
        write = (1 - self.p_ignore(n)) / 2
        thresholds = [np.round(np.minimum(p, 1) * 2**32).astype(np.uint64) for p in (write, 2 * write)]
        kinds = numbers[:, :n].astype(np.uint64)
        events = np.where(kinds < thresholds[0], WRITE, np.where(kinds < thresholds[1], READ, IGNORE)).astype(np.uint8)
        events[:, 0], events[:, -1] = WRITE, READ
        values = uniform(numbers[:, n:], self.answer_count)
        np.copyto(values, flipflop.oracle(events, values, self.answer_count), where=events == READ)
        return events, values, values

    def run(self, events: U8, arguments: U8) -> U8:
        """Return the symbol in memory after every event, (N, n)."""
        return flipflop.oracle(events, arguments, self.answer_count)

    def trouble(self, events: Sequence[int], arguments: Sequence[int]) -> tuple[int, str] | None:
        """Return the first event where it is no write."""
        return None if events[0] == WRITE else (0, "a string begins with w")

    def parse(self, text: str, symbols: int = 2) -> Strings:
        """Read one string in the notation of the flip-flop."""
        string = flipflop.parse(text, self.answer_count)
        return self.strings(string.events, string.values, string.values)

    def answer_chances(self, inputs: int) -> Floats:
        """Return (inputs + 1, answers): every symbol is equally probable."""
        return np.full((inputs + 1, self.answer_count), 1 / self.answer_count)

    def floors(self, strings: Strings, see_reads: bool = True) -> dict[str, U8]:
        """What rules without memory answer: those of the flip-flop."""
        return floors.predictions(strings, see_reads)

    def rules(self, strings: Strings, see_reads: bool = True) -> dict[str, Rule]:
        """The rules that may explain wrong answers: those of the flip-flop."""
        return FLIP_FLOP.rules(strings, see_reads)

    @property
    def gap_counts(self) -> str:
        """What its gaps count, in words."""
        return "instructions since the latest write"

    def covariates(self, strings: Strings) -> dict[str, Ints]:
        """What makes a read hard, as in the flip-flop."""
        return FLIP_FLOP.covariates(strings)
