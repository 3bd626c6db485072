"""What every task gives: its events, its specs, batches of its strings, and what rules without memory make of them.

A task is an automaton with its strings. A string is a sequence of *events*; some of them are *reads*, whose answers a
model must supply. A :class:`Spec` says how the strings of one task are drawn. Everything outside a task's own module
works on :class:`Strings` and on the members of :class:`Task` and :class:`Spec`, and knows no event by name.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ffprompt.errors import SpecError

# Arguments and answers are kept in one byte each.
MAX_SYMBOLS = 256

# The settings that say probabilities of events, without their ``p_``.
PROBABILITIES = ("write", "read", "ignore")

U8 = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Effect = Literal["reset", "step", "idle", "read"]


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of instruction.

    Attributes:
        name: Its key in a template.
        letter: Its sign in a task's own notation.
        effect: What it does to the state. ``reset`` sets it whatever it was, ``step`` changes it depending on what it
            was, ``idle`` leaves it, and ``read`` leaves it and asks for it.
        arguments: How many different arguments it can have: 0 for none, None for one of the symbols that answers are
            made of. A tuple is for several arguments at once, such as (4, None) for one of four names and a symbol.
        keys: What a template calls the arguments.
        words: How the values of a single argument are called where they are no plain numbers from 0.

    Several arguments are kept as one number, the last of them counting fastest: with (4, None) and 2 symbols the name
    3 and the symbol 1 are 3 * 2 + 1 = 7.
    """

    name: str
    letter: str
    effect: Effect
    arguments: int | tuple[int | None, ...] | None = 0
    keys: tuple[str, ...] = ("value",)
    words: tuple[str, ...] = ()

    @property
    def is_read(self) -> bool:
        """Whether a model must supply the answer."""
        return self.effect == "read"

    @property
    def has_argument(self) -> bool:
        """Whether something stands behind the name that is no answer."""
        return self.arguments != 0

    def sizes(self, symbols: int) -> tuple[int, ...]:
        """Return how many values each argument can have; nothing for an event without arguments."""
        sizes = self.arguments if isinstance(self.arguments, tuple) else (self.arguments,) if self.has_argument else ()
        return tuple(symbols if size is None else size for size in sizes)

    def count(self, symbols: int) -> int:
        """Return how many different arguments, or combinations of them, it can have; 1 for none."""
        return math.prod(self.sizes(symbols))

    def split(self, number: int, symbols: int) -> tuple[int, ...]:
        """Return the arguments that one number stands for.

        >>> Event("write", "w", "reset", arguments=(4, None)).split(7, symbols=2)
        (3, 1)
        """
        found: list[int] = []
        for size in reversed(self.sizes(symbols)):
            number, value = divmod(number, size)
            found.append(value)
        return tuple(reversed(found))


@dataclass(frozen=True, slots=True)
class Rule:
    """What a rule answers, (N, n), and at which reads that is open, (N, n).

    A read is open if the symbol that the rule answers was drawn independently of the true one. There it is a matter of
    chance whether the rule is right, and nothing else about the read (its gap, its position) has a part in it.
    """

    answers: U8
    open: Bools


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
        found = np.zeros(self.events.shape, np.bool_)
        for number, event in enumerate(self.task.events):
            if event.effect == effect:
                found |= self.events == number
        return found

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
        """16 hex digits a string, of its compact text; a log line carries it to prove which string it is about."""
        return [hashlib.sha256(text.encode()).hexdigest()[:16] for text in self.texts()]


def concatenate(parts: Sequence[Strings]) -> Strings:
    """Stack strings of one task and length into one batch."""
    first = parts[0]
    arguments = np.concatenate([part.arguments for part in parts])
    shared = all(part.answers is part.arguments for part in parts)
    answers = arguments if shared else np.concatenate([part.answers for part in parts])
    return Strings(first.task, np.concatenate([part.events for part in parts]), arguments, answers, first.symbols)


class Spec(Protocol):
    """How the strings of one task are drawn. Equal specs draw equal strings; ``str`` prints what the task parses.

    Every string begins with an event that is no read and ends with a read.
    """

    @property
    def task(self) -> Task:
        """The task whose strings they are."""

    @property
    def length(self) -> int:
        """T, as the task counts it: ``task.length_of(instructions)``."""

    @property
    def instructions(self) -> int:
        """n, the number of events of a string."""

    @property
    def symbols(self) -> int:
        """Number of different answers."""

    @property
    def probabilities(self) -> Mapping[str, float]:
        """Probabilities of events at a position where all can stand, under the names of the settings ``p_…``.

        ``read`` is among them. ``ignore`` is that of an event which leaves the state alone.
        """

    @property
    def expected_reads(self) -> float:
        """Expected reads in one string."""

    @property
    def preset(self) -> str | None:
        """Which of the task's presets it is but for its length and number of symbols; None for another."""

    def sample(self, seed: int, start: int, stop: int, stream: str = "strings") -> Strings:
        """Strings ``start`` … ``stop - 1``; string i depends on the spec, seed, stream and i alone.

        Raises SpecError for a negative seed or a range that is none.
        """

    def with_length(self, length: int) -> Spec:
        """The same spec at another T. Raises SpecError."""


class Task(Protocol):
    """An automaton with its strings.

    A class of a task is derived from this one, which gives it what it does not say itself.
    """

    @property
    def name(self) -> str:
        """What settings call it."""

    @property
    def family(self) -> str:
        """What templates call it: one name for tasks that are worded alike, such as counters of any size."""
        return self.name

    @property
    def events(self) -> tuple[Event, ...]:
        """Its events. Their numbers in ``Strings.events`` are their places here. One of them is a read."""

    @property
    def stride(self) -> int:
        """What an event adds to T: 2 where T counts the event and the value behind it."""
        return 1

    @property
    def symbols(self) -> int | None:
        """How many different answers it has; None where the setting ``symbols`` chooses it."""
        return None

    @property
    def read_function(self) -> str:
        """What a read asks for: ``state``, or the name of a function of it, as in the settings of the task."""
        return "state"

    @property
    def parts(self) -> Mapping[str, int]:
        """What an answer is made of, and how many values each part has; nothing for an answer without parts."""
        return {}

    @property
    def sizes(self) -> Mapping[str, int]:
        """Numbers that a template may name, such as ``size``, and ``last`` for one less."""
        return {}

    @property
    def takes(self) -> tuple[str, ...]:
        """The settings ``p_…`` that it takes, without their ``p_``."""
        return PROBABILITIES

    @property
    def templates(self) -> tuple[str, ...]:
        """Its bundled templates: the story, which chat models get unless told otherwise, and the symbols."""
        return ()

    @property
    def lengths(self) -> tuple[int, ...]:
        """T of a run that does not say it."""
        return (10, 50, 100)

    @property
    def presets(self) -> Mapping[str, Spec]:
        """Published test sets, if it has any: ``in distribution``, ``sparse tail`` and ``dense tail``."""
        return {}

    @property
    def rule_names(self) -> tuple[str, ...]:
        """The rules of ``floors``, but for the constant ones."""

    def length_of(self, instructions: int) -> int:
        """Return T of a string of so many events."""
        return self.stride * instructions

    def instructions_of(self, length: int) -> int:
        """Return how many events a string of length T has."""
        return length // self.stride

    def configured(self, arguments: Mapping[str, str]) -> Task:
        """Return the task with its own settings, as texts by name. Raises SpecError for one that it does not have."""
        if arguments:
            raise SpecError(f"task-arg {next(iter(arguments))}: task {self.name} has no settings of its own")
        return self

    def part_values(self, answer: int) -> Mapping[str, int | tuple[int, ...]]:
        """Return the parts of an answer, by name: a number each, or several where a part is a list."""
        return {}

    def plain_answer(self, answer: int) -> Any:
        """Return an answer as a file of strings holds it: a number, a text, or a list."""
        return answer

    def plain_argument(self, event: Event, argument: int, symbols: int) -> Any:
        """Return the argument of an event as a file of strings holds it; None for none, a list for several."""
        values = event.split(argument, symbols)
        words = [int(word) for word in event.words] if all(word.isdigit() for word in event.words) else event.words
        found = [words[value] if words else value for value in values]
        return None if not found else found[0] if len(found) == 1 else found

    def spec(self, length: int, symbols: int = 2, probabilities: Mapping[str, float] | None = None) -> Spec:
        """A spec from the settings ``p_…`` by name (``ignore``); those that are not given follow from the others.

        Raises SpecError for a spec that describes no strings of this task.
        """

    def parse_spec(self, text: str, symbols: int | None = None) -> Spec:
        """Read what ``str`` prints; ``symbols`` is the default. Raises SpecError."""

    def parse(self, text: str, symbols: int = 2) -> Strings:
        """Read one string in the task's notation, as a batch of one. Raises StringError naming what is wrong."""

    def contains(self, strings: Strings) -> bool:
        """Whether all strings are ones of this task: what they begin and end with, and the answers in them."""

    def floors(self, strings: Strings, see_reads: bool = True) -> dict[str, U8]:
        """What each rule without memory answers at every event, (N, n); only reads matter.

        ``see_reads`` says whether a rule sees the true answers to earlier reads. A rule ``constant-k`` always
        answers k.
        """

    def rules(self, strings: Strings, see_reads: bool = True) -> dict[str, Rule]:
        """The rules that may explain wrong answers."""

    def answers_everywhere(self, strings: Strings) -> U8 | None:
        """What a read would answer after every event, (N, n): what a trace of the string writes down.

        None for a task where that depends on which read it is.
        """
        return None

    def covariates(self, strings: Strings) -> dict[str, Ints]:
        """What else makes a read hard, (N, n) each, by the name of its column in ``reads.parquet``.

        ``gap`` is among them. A task that has nothing to say of another column leaves it out.
        """
