"""What a reference model reads: the tokens of a task's strings, made from the task's own events.

A task that counts the value behind an event (``stride`` 2, the flip-flop) has two tokens for each event: the event, and
the symbol behind it. In every other task an event with its argument is one token, and an answer is a token too::

    w1 i0 r1        w 1 i 0 r 1           flip-flop: what stands behind a read is always there
    a2 a1 r a2 r    a2 a1 a2              counter-3: reads are where the model is asked, not what it sees
    a2 a1 r a2 r    a2 a1 =0 a2 =2        the same with a scratchpad: earlier answers are there

An answer is predicted from all tokens before it. A read that has an argument of its own, such as the name of a
register, has a token for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ffprompt.errors import ConfigError, ModelError
from ffprompt.tasks.base import Spec, Task
from ffprompt.tasks.events import Event
from ffprompt.tasks.strings import Strings

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Encoded:
    """B strings as tokens, and their R reads.

    ``tokens`` is (B, L). Shorter strings are filled with zeros at the end, which no read sees. For each read ``rows``
    (R,) is its string, ``events`` (R,) its event there, ``positions`` (R,) the number of tokens that it is predicted
    from, and ``answers`` (R,) the token of its true answer.
    """

    tokens: Ints
    rows: Ints
    events: Ints
    positions: Ints
    answers: Ints


@dataclass(frozen=True, slots=True)
class Asked:
    """One prompt as L tokens. Each of its R reads is predicted from the first ``positions`` tokens.

    ``ends`` are the characters where the answers end. ``is_open`` says whether the last answer is still to be written.
    """

    ids: Ints  # (L,)
    positions: Ints  # (R,)
    ends: Ints  # (R,)
    is_open: bool

    def of(self, reads: Sequence[tuple[int, int]], text: str) -> Ints:
        """The positions (S,) of the reads whose answers stand at these characters of ``text``.

        Raises:
            ModelError: where no answer ends.
        """
        places = {int(end): int(position) for end, position in zip(self.ends, self.positions, strict=True)}
        for start, end in reads:
            if end not in places:
                raise ModelError(f"characters {start} to {end} of the prompt, {text[start:end]!r}, are not one answer")
        return np.array([places[end] for _, end in reads], np.int64)


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a task: first its events with their arguments, then its answers 0 … ``symbols`` - 1.

    ``scratchpad`` says whether the true answers to earlier reads are among the tokens. Raises ConfigError where a task
    leaves no choice.
    """

    task: Task
    symbols: int = 2
    scratchpad: bool = False

    def __post_init__(self) -> None:
        if self.scratchpad and self.in_pairs:
            raise ConfigError(f"scratchpad: a model of task {self.task.name} always sees the answers to earlier reads")

    @property
    def in_pairs(self) -> bool:
        """Whether every event is followed by a token of its own for the value behind it."""
        return self.task.stride == 2

    @cached_property
    def first(self) -> Ints:
        """(events,) the token of each event without an argument or with argument 0; -1 where it has none."""
        sizes = [self._size(event) for event in self.task.events]
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        return np.where(np.array(sizes) > 0, starts, -1).astype(np.int64)

    @cached_property
    def events(self) -> int:
        """How many tokens are events. Those after them are answers."""
        return sum(self._size(event) for event in self.task.events)

    @cached_property
    def names(self) -> list[str]:
        """What each token stands for, in the task's notation. An answer is its number."""
        found = []
        for event in self.task.events:
            size = self._size(event)
            plain = self.in_pairs or not event.has_argument
            found += [event.letter if plain else f"{event.letter}{argument}" for argument in range(size)]
        return [*found, *map(str, range(self.symbols))]

    def longest(self, spec: Spec) -> int:
        """The most tokens of a string of ``spec``."""
        if self.in_pairs:
            return 2 * spec.instructions
        if spec.length < spec.instructions:  # T does not count the reads, which stand where they always do
            return int(self.encode(spec.sample(0, 0, 1)).tokens.shape[1])
        read = next(event for event in self.task.events if event.is_read)
        return spec.instructions * max(1, (self._size(read) > 0) + self.scratchpad)

    def encode(self, strings: Strings) -> Encoded:
        """The tokens of ``strings`` and where their reads are.

        ``w1 i0 r1`` is ``[0, 4, 2, 3, 1, 4]``, with one read at event 2 that is predicted from 5 tokens.
        """
        is_read = strings.is_read
        rows, events = np.nonzero(is_read)  # (R,) each
        answers = strings.answers[rows, events].astype(np.int64) + self.events
        if self.in_pairs:
            tokens = np.empty((len(strings), strings.length), np.int64)
            tokens[:, 0::2] = strings.events
            tokens[:, 1::2] = strings.values
            tokens[:, 1::2] += self.events
            return Encoded(tokens, rows, events, 2 * events + 1, answers)
        lead = self.first[strings.events]  # (B, n)
        leads, follows = lead >= 0, is_read & self.scratchpad
        takes = np.array([event.has_argument for event in self.task.events])
        lead += np.where(takes[strings.events], strings.arguments, 0)
        ends = np.cumsum(leads.astype(np.int64) + follows, axis=1)  # tokens up to each event, itself included
        tokens = np.zeros((len(strings), int(ends[:, -1].max(initial=0))), np.int64)
        tokens[np.nonzero(leads)[0], (ends - follows - 1)[leads]] = lead[leads]
        tokens[np.nonzero(follows)[0], (ends - 1)[follows]] = strings.answers[follows].astype(np.int64) + self.events
        return Encoded(tokens, rows, events, (ends - follows)[rows, events], answers)

    def _size(self, event: Event) -> int:
        """How many tokens an event has."""
        if self.in_pairs:
            return 1
        return 0 if event.is_read and not event.has_argument else event.count(self.symbols)


class Reader(Protocol):
    """Turns prompts back into tokens."""

    def read(self, text: str) -> Asked:
        """The tokens of a prompt.

        Raises:
            ModelError: for one that is none.
        """
