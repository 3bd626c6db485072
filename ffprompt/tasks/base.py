"""What every task gives: its events, its specs, batches of its strings, and what rules without memory make of them.

A task is an automaton with its strings. A string is a sequence of *events*; some of them are *reads*, whose answers a
model must supply. A :class:`Spec` says how the strings of one task are drawn. Everything outside a task's own module
works on :class:`.Strings` and on the members of :class:`Task` and :class:`Spec`, and knows no event by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ffprompt.errors import SpecError
from ffprompt.tasks.events import U8, Bools, Event, Ints
from ffprompt.tasks.strings import Strings

# The settings that say probabilities of events, without their ``p_``.
PROBABILITIES = ("write", "read", "ignore")


@dataclass(frozen=True, slots=True)
class Rule:
    """What a rule answers, (N, n), and at which reads that is open, (N, n).

    A read is open if the symbol that the rule answers was drawn independently of the true one. There it is a matter of
    chance whether the rule is right, and nothing else about the read (its gap, its position) has a part in it.
    """

    answers: U8
    open: Bools


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

        Raises:
            SpecError: for a negative seed or a range that is none.
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
        """Return the task with its own settings, as texts by name.

        Raises:
            SpecError: for one that it does not have.
        """
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
        shown = [words[value] if words else value for value in values]
        return None if not shown else shown[0] if len(shown) == 1 else shown

    def spec(self, length: int, symbols: int = 2, probabilities: Mapping[str, float] | None = None) -> Spec:
        """A spec from the settings ``p_…`` by name (``ignore``); those that are not given follow from the others.

        Raises:
            SpecError: for a spec that describes no strings of this task.
        """

    def parse_spec(self, text: str, symbols: int | None = None) -> Spec:
        """Read what ``str`` prints; ``symbols`` is the default. Raises SpecError."""

    def parse(self, text: str, symbols: int = 2) -> Strings:
        """Read one string in the task's notation, as a batch of one.

        Raises:
            StringError: the message names what is wrong.
        """

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

    @property
    def gap_counts(self) -> str:
        """What its gaps count, in words."""
        resets = " or ".join(event.name for event in self.events if event.effect == "reset")
        return f"instructions since {f'the latest {resets}' if resets else 'the start'}"

    def covariates(self, strings: Strings) -> dict[str, Ints]:
        """What else makes a read hard, (N, n) each, by the name of its column in ``reads.parquet``.

        ``gap`` is among them. A task that has nothing to say of another column leaves it out.
        """
