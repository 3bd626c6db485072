"""Nested brackets: ``dyck-K-D`` has K kinds and is at most D deep. ``open`` a kind, ``close`` the innermost one.

A read asks for the kind of the innermost open bracket (``read=top``), for how many are open (``depth``) or whether
none is (``empty``). The top is answered by 0 for none and by k + 1 for kind k::

    open 2   open 0   read    close   read    close   read
    2        2 0      top 1   2       top 3   -       top 0

At depth 0 the next input opens, at depth D it closes; in between both are equally probable, and kinds always are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ffprompt.tasks.automaton import Automaton, Floats
from ffprompt.tasks.draws import U32, uniform
from ffprompt.tasks.events import U8, Bools, Event, Ints
from ffprompt.tasks.strings import Strings, latest

OPEN, CLOSE, READ = range(3)


@dataclass(frozen=True)
class Dyck(Automaton):
    """A stack of limited depth."""

    kinds: int = 4
    deepest: int = 8

    family: ClassVar[str] = "dyck"
    numbers: ClassVar[int] = 3
    templates: ClassVar[tuple[str, ...]] = ("boxes", "dyck-symbols")
    functions: ClassVar[tuple[str, ...]] = ("top", "depth", "empty")
    rule_names: ClassVar[tuple[str, ...]] = ("constant", "last-answer", "last-open")

    @property
    def name(self) -> str:
        """``dyck-4-8`` has 4 kinds and is at most 8 deep."""
        return f"dyck-{self.kinds}-{self.deepest}"

    @property
    def events(self) -> tuple[Event, ...]:
        """Open a kind, close, read."""
        return (
            Event("open", "o", "step", arguments=self.kinds, keys=("kind",)),
            Event("close", "c", "step"),
            Event("read", "r", "read"),
        )

    @property
    def answer_count(self) -> int:
        """Kinds and none; depths; or yes and no."""
        return {"top": self.kinds + 1, "depth": self.deepest + 1, "empty": 2}[self.read_function]

    @property
    def sizes(self) -> Mapping[str, int]:
        """How many kinds there are, and the greatest depth."""
        return {"size": self.kinds, "deepest": self.deepest}

    @property
    def parts(self) -> Mapping[str, int]:
        """The answer itself."""
        return {self.read_function: self.answer_count}

    def part_values(self, answer: int) -> Mapping[str, int | tuple[int, ...]]:
        """The answer itself."""
        return {self.read_function: answer}

    def inputs(self, numbers: U32, is_read: Bools) -> tuple[U8, U8]:
        """Return events and kinds: what is drawn to open or to close does the other at a bound."""
        n = is_read.shape[1]
        closes = np.ascontiguousarray((numbers[:, :n] >> 31).astype(np.bool_).T)
        moves = np.ascontiguousarray(~is_read.T)
        depth = np.zeros(len(is_read), np.int16)
        for closing, moving in zip(closes, moves, strict=True):
            closing |= depth == self.deepest
            closing &= depth > 0
            depth += np.where(closing, -1, 1).astype(np.int16) * moving
        events = np.where(closes.T, np.uint8(CLOSE), np.uint8(OPEN))
        return events, uniform(numbers[:, n:], self.kinds) * (events == OPEN)

    def run(self, events: U8, arguments: U8) -> U8:
        """Return what a read would answer after every event, (N, n)."""
        if self.read_function == "top":
            return self._tops(events, arguments)
        depth = self.depths(events)
        return (depth == 0 if self.read_function == "empty" else depth).astype(np.uint8)

    def depths(self, events: U8) -> Ints:
        """Return (N, n) how many are open after every event."""
        return np.cumsum((events == OPEN).astype(np.int64) - (events == CLOSE), axis=1)

    def _tops(self, events: U8, arguments: U8) -> U8:
        tops = np.empty(events.shape[::-1], np.uint8)
        rows = np.arange(len(events)) * (self.deepest + 1)
        stack = np.zeros(len(events) * (self.deepest + 1), np.uint8)
        depths = np.ascontiguousarray(self.depths(events).T)
        kinds = np.ascontiguousarray(arguments.T) + np.uint8(1)
        opens = np.ascontiguousarray((events == OPEN).T)
        for step, depth in enumerate(depths):
            place = rows + depth
            top = np.where(opens[step], kinds[step], stack[place])
            stack[place] = top
            tops[step] = top
        return np.ascontiguousarray(tops.T)

    def trouble(self, events: Sequence[int], arguments: Sequence[int]) -> tuple[int, str] | None:
        """Return the first bracket that closes nothing, or that is too deep."""
        depth = 0
        for place, event in enumerate(events):
            depth += {OPEN: 1, CLOSE: -1, READ: 0}[event]
            if not 0 <= depth <= self.deepest:
                return place, "nothing is open, so nothing can be closed" if depth < 0 else (
                    f"{self.deepest} are open already, the most that task {self.name} has"
                )
        return None

    def answer_chances(self, inputs: int) -> Floats:
        """Return (inputs + 1, answers) the probability of each answer after 0, 1, … inputs."""
        depth = np.zeros((inputs + 1, self.deepest + 1))
        depth[0, 0] = 1.0
        for step in range(inputs):
            up = np.where(np.arange(self.deepest + 1) == 0, 1.0, 0.5)
            up[-1] = 0.0
            depth[step + 1, 1:] += (depth[step] * up)[:-1]
            depth[step + 1, :-1] += (depth[step] * (1 - up))[1:]
        if self.read_function == "depth":
            return depth
        if self.read_function == "empty":
            return np.column_stack([1 - depth[:, 0], depth[:, 0]])
        kinds = np.repeat((1 - depth[:, :1]) / self.kinds, self.kinds, axis=1)
        return np.column_stack([depth[:, :1], kinds]).round(12)

    def floors(self, strings: Strings, see_reads: bool = True) -> dict[str, U8]:
        """What rules without memory answer.

        ``last-open`` forgets what has been closed: the kind that was opened last, or that something is open, or how
        many have ever been opened (at most the greatest depth).
        """
        answers = {"last-answer": self.last_answers(strings)} if see_reads else {}
        opens = strings.events == OPEN
        if self.read_function == "top":
            place = latest(opens)
            kind = np.take_along_axis(strings.arguments, np.maximum(place, 0), 1)
            answers["last-open"] = np.where(place < 0, 0, kind + 1).astype(np.uint8)
        elif self.read_function == "empty":
            answers["last-open"] = (np.cumsum(opens, axis=1) == 0).astype(np.uint8)
        else:
            answers["last-open"] = np.minimum(np.cumsum(opens, axis=1), self.deepest).astype(np.uint8)
        return answers | self.constants(strings)

    @property
    def gap_counts(self) -> str:
        """What its gaps count, in words."""
        return "inputs since the innermost open bracket was opened"

    def covariates(self, strings: Strings) -> dict[str, Ints]:
        """The gap: inputs since the innermost open bracket was opened; since the start where none is."""
        n = strings.instructions
        depths = self.depths(strings.events)
        inputs = np.cumsum(~strings.is_read, axis=1)
        rows = np.arange(len(strings))
        opened = np.zeros((len(strings), self.deepest + 1), np.int64)  # inputs at which each depth was reached
        gap = np.empty((len(strings), n), np.int64)
        for place in range(n):
            here = (strings.events[:, place] == OPEN).nonzero()[0]
            opened[here, depths[here, place]] = inputs[here, place]
            gap[:, place] = inputs[:, place] - opened[rows, depths[:, place]] * (depths[:, place] > 0)
        return {"gap": gap}
