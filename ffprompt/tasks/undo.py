"""A flip-flop with an instruction that takes back the latest write that still stands.

The first write cannot be taken back: an ``undo`` when no other stands does nothing. ``ignore`` does nothing at all::

    write 1   write 0   undo   ignore 0   read   undo   read
                                          1             1
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ffprompt.errors import SpecError
from ffprompt.tasks.arguments import SYMBOLS, Argument
from ffprompt.tasks.automaton import Automaton, Floats
from ffprompt.tasks.draws import U32, uniform, weighted
from ffprompt.tasks.events import U8, Bools, Event, Ints
from ffprompt.tasks.floors import majority
from ffprompt.tasks.strings import Strings, latest

WRITE, UNDO, IGNORE, READ = range(4)


@dataclass(frozen=True)
class Undo(Automaton):
    """A stack of writes, of which only the top one is asked for."""

    name: ClassVar[str] = "undo"
    numbers: ClassVar[int] = 3
    arguments: ClassVar[Mapping[str, Argument]] = {
        "symbols": SYMBOLS,
        "p_undo": Argument(0.2, "probability of undo"),
        "p_ignore": Argument(0.2, "probability of ignore; write has the rest"),
    }
    takes: ClassVar[tuple[str, ...]] = ("read", "ignore")
    events: ClassVar[tuple[Event, ...]] = (
        Event("write", "w", "reset", arguments=None), Event("undo", "u", "step"),
        Event("ignore", "i", "idle", arguments=None), Event("read", "r", "read"),
    )  # fmt: skip
    templates: ClassVar[tuple[str, ...]] = ("editor", "undo-symbols")
    rule_names: ClassVar[tuple[str, ...]] = ("copy-last-bit", "last-write", "first-write", "majority")

    def __post_init__(self) -> None:
        if self._shares.min() < -1e-12:
            shares = " + ".join(f"{name} {self[name]:g}" for name in ("p_undo", "p_ignore", "p_read"))
            raise SpecError(f"task-arg {shares}: expected a sum of at most 1; write has the rest")

    @property
    def _shares(self) -> Floats:
        """Of write, undo and ignore at a position where all can stand, reads included."""
        undo, ignore = float(self["p_undo"]), float(self["p_ignore"])
        return np.array([1 - self._p_read - undo - ignore, undo, ignore])

    @property
    def _p_read(self) -> float:
        return 0.0 if self.reads_every else float(self["p_read"])

    @property
    def event_probabilities(self) -> Mapping[str, float]:
        """Of a read and of an ignore."""
        return {**super().event_probabilities, "ignore": float(self["p_ignore"])}

    @property
    def answer_count(self) -> int:
        """How many symbols there are."""
        return int(self["symbols"])

    def inputs(self, numbers: U32, is_read: Bools) -> tuple[U8, U8]:
        """Return events, the first a write, and their symbols."""
        n = is_read.shape[1]
        shares = np.maximum(self._shares, 0)
        events = weighted(numbers[:, :n], shares / shares.sum())
        events[:, 0] = WRITE
        return events, uniform(numbers[:, n:], self.answer_count) * (events != UNDO)

    def heads(self, events: U8) -> Ints:
        """Return (N, n) the place of the write that counts after every event."""
        n = events.shape[1]
        depth = np.zeros(len(events), np.int64)  # writes that stand, less one
        rows = np.arange(len(events)) * n
        stack = np.zeros(len(events) * n, np.int64)
        heads = np.empty((n, len(events)), np.int64)
        writes = np.ascontiguousarray((events == WRITE).T).astype(np.int64)
        undoes = np.ascontiguousarray((events == UNDO).T).astype(np.int64)
        for place in range(n):
            depth += writes[place] * (place > 0) - (undoes[place] & (depth > 0))
            here = rows + depth
            head = np.where(writes[place], place, stack[here])
            stack[here] = head
            heads[place] = head
        return heads.T

    def run(self, events: U8, arguments: U8) -> U8:
        """Return the symbol of the write that counts after every event, (N, n)."""
        return np.take_along_axis(arguments, self.heads(events), 1)

    def trouble(self, events: Sequence[int], arguments: Sequence[int]) -> tuple[int, str] | None:
        """Return the first event where it is no write."""
        return None if events[0] == WRITE else (0, "a string begins with w")

    def answer_chances(self, inputs: int) -> Floats:
        """Return (inputs + 1, answers): every symbol is equally probable."""
        return np.full((inputs + 1, self.answer_count), 1 / self.answer_count)

    def floors(self, strings: Strings, see_reads: bool = True) -> dict[str, U8]:
        """What rules without memory answer.

        ``last-write`` never takes a write back; the others are as in the flip-flop.
        """
        has_symbol = (strings.events == WRITE) | (strings.events == IGNORE)
        visible = has_symbol | strings.is_read if see_reads else has_symbol
        last = np.take_along_axis(strings.values, np.maximum(latest(visible), 0), 1)
        write = np.maximum(latest(strings.events == WRITE), 0)
        return {
            "copy-last-bit": last,
            "last-write": np.take_along_axis(strings.values, write, 1),
            "first-write": np.broadcast_to(strings.values[:, :1], strings.values.shape),
            "majority": majority(visible, strings.values, last, strings.symbols),
        } | self.constants(strings)

    @property
    def gap_counts(self) -> str:
        """What its gaps count, in words."""
        return "instructions since the write that counts"

    def covariates(self, strings: Strings) -> dict[str, Ints]:
        """The gap: events since the write that counts."""
        return {"gap": np.arange(strings.instructions) - self.heads(strings.events)}
