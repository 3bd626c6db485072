"""Strings of events, one or a batch of them, as arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ffprompt.tasks.events import U8, Bools, Effect, Ints

if TYPE_CHECKING:
    from ffprompt.tasks.base import Task


@dataclass(frozen=True, slots=True)
class String:
    """One string, or consecutive events of one: arrays of shape (n,) as in :class:`Strings`."""

    events: U8
    arguments: U8
    answers: U8
    is_read: Bools

    def __getitem__(self, events: slice) -> String:
        return String(self.events[events], self.arguments[events], self.answers[events], self.is_read[events])

    def __iter__(self) -> Iterator[tuple[int, int, bool]]:
        """For each event its number, what stands behind it (its argument or the answer) and whether it is a read."""
        return zip(self.events.tolist(), self.values.tolist(), self.is_read.tolist(), strict=True)

    @property
    def values(self) -> U8:
        """(n,) what stands behind each event, as in :class:`Strings`."""
        return self.answers if self.answers is self.arguments else np.where(self.is_read, self.answers, self.arguments)

    @property
    def read_count(self) -> int:
        """The number of reads."""
        return int(np.count_nonzero(self.is_read))

    @property
    def truth(self) -> U8:
        """(reads,) the true answers, in order."""
        return self.answers[self.is_read]


@dataclass(frozen=True)
class Strings:
    """N strings of n events each, all of one task.

    Example, N = 1, n = 4, the flip-flop string ``w1 i0 r1 r1``::

        events     [[0, 2, 1, 1]]     numbers of task.events: write, ignore, read, read
        arguments  [[1, 0, ., .]]     0 where an event has none
        answers    [[., ., 1, 1]]     the true answer at a read
        is_read    [[F, F, T, T]]
        anchors    [[0, 0, 0, 0]]     index of the event that the state rests on
        gaps       [[0, 1, 2, 3]]     events since then: the difficulty of a read

    What stands at a dot is not looked at, so a task may give one array as both.
    """

    task: Task
    events: U8  # (N, n)
    arguments: U8  # (N, n)
    answers: U8  # (N, n)
    symbols: int = 2  # answers are 0 … symbols - 1

    def __len__(self) -> int:
        return int(self.events.shape[0])

    def __getitem__(self, rows: slice | Ints) -> Strings:
        arguments = self.arguments[rows]
        answers = arguments if self.answers is self.arguments else self.answers[rows]
        return Strings(self.task, self.events[rows], arguments, answers, self.symbols)

    def string(self, row: int) -> String:
        """One of the strings."""
        return String(self.events[row], self.arguments[row], self.answers[row], self.is_read[row])

    @property
    def instructions(self) -> int:
        """n, the number of events of each string."""
        return int(self.events.shape[1])

    @property
    def length(self) -> int:
        """T, as the task counts it."""
        return self.task.length_of(self.instructions)

    @cached_property
    def is_read(self) -> Bools:
        """(N, n) where the reads are."""
        return self.having("read")

    @cached_property
    def values(self) -> U8:
        """(N, n) what stands behind each event: the answer to a read, and the argument of any other event."""
        return self.answers if self.answers is self.arguments else np.where(self.is_read, self.answers, self.arguments)

    @cached_property
    def anchors(self) -> Ints:
        """(N, n) index of the most recent reset at or before each event; 0 where there is none."""
        position = np.where(self.having("reset"), np.arange(self.instructions), 0)
        return np.maximum.accumulate(position, axis=1)

    @cached_property
    def gaps(self) -> Ints:
        """(N, n) events since the anchor."""
        return np.asarray(np.arange(self.instructions) - self.anchors)

    def having(self, effect: Effect) -> Bools:
        """(N, n) where the events with an effect are."""
        places = np.zeros(self.events.shape, np.bool_)
        for number, event in enumerate(self.task.events):
            if event.effect == effect:
                places |= self.events == number
        return places

    def texts(self, separator: str = "") -> list[str]:
        """Each string in the task's notation: ``w1i0r1``, or ``w 1 i 0 r 1`` with ``separator=" "``."""
        if any(event.is_read and event.has_argument for event in self.task.events):
            return self._long_texts(separator)
        # Pieces for the values that occur alone: with all 256 a single string would take a millisecond.
        width = int(self.values.max(initial=0)) + 1
        pieces = [
            f"{event.letter}{separator}{value}" if event.has_argument or event.is_read else event.letter
            for event in self.task.events
            for value in range(width)
        ]
        numbers = self.events.astype(np.int64) * width + self.values
        return [separator.join([pieces[number] for number in row]) for row in numbers.tolist()]

    def _long_texts(self, separator: str) -> list[str]:
        """Each string where a read has both an argument and an answer: ``w7r3:1``, or ``w 7 r 3 1``."""
        texts = []
        for row in range(len(self)):
            numbers = zip(*(array[row].tolist() for array in (self.events, self.arguments, self.answers)), strict=True)
            pieces = []
            for number, argument, answer in numbers:
                event = self.task.events[number]
                piece = f"{event.letter}{separator}{argument}" if event.has_argument else event.letter
                if event.is_read:
                    piece += (separator or (":" if event.has_argument else "")) + str(answer)
                pieces.append(piece)
            texts.append(separator.join(pieces))
        return texts

    def digests(self) -> list[str]:
        """Return 16 hex digits for each string, a digest of its compact text.

        A line of the log carries them, which proves which string it is about.
        """
        return [hashlib.sha256(text.encode()).hexdigest()[:16] for text in self.texts()]


def concatenate(parts: Sequence[Strings]) -> Strings:
    """Stack strings of one task and length into one batch.

    Raises:
        ValueError: the lengths differ.
    """
    first = parts[0]
    arguments = np.concatenate([part.arguments for part in parts])
    shared = all(part.answers is part.arguments for part in parts)
    answers = arguments if shared else np.concatenate([part.answers for part in parts])
    return Strings(first.task, np.concatenate([part.events for part in parts]), arguments, answers, first.symbols)


def latest(mask: Bools) -> Ints:
    """Return the latest place before each one where ``mask`` holds, (N, n); -1 where there is none."""
    places = np.full(mask.shape, -1, np.int64)
    places[:, 1:] = np.maximum.accumulate(np.where(mask, np.arange(mask.shape[1]), -1), axis=1)[:, :-1]
    return places
