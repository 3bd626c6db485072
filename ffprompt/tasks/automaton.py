"""What all automata but the plain flip-flop share: their settings, specs, sampling, notation and simplest rules.

A task of this module is its *inputs* (an event with its argument each), a start state, and what an input does to a
state. A string is a sequence of inputs with reads among them::

    s5, one string     shift  swap  read      shift  keep  read
    who is first       E      D     D         C      C     C

Most tasks have few states, and then a table says everything (:class:`.TableAutomaton`). The others run strings by
themselves.

Strings are addressed: string i is a function of (task, spec, seed, stream, i), see :mod:`.draws`.
"""

from __future__ import annotations

import dataclasses
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ffprompt.errors import SpecError, did_you_mean
from ffprompt.tasks import notation
from ffprompt.tasks.arguments import EVERY, P_READ, READS, Argument
from ffprompt.tasks.base import Rule, Task
from ffprompt.tasks.draws import U32, Draws, below
from ffprompt.tasks.events import U8, Bools, Ints
from ffprompt.tasks.strings import Strings, latest

# Strings drawn at a time, so that the working arrays stay in the cache.
_BLOCK = 2048
_LONGEST = 1 << 20
# With more answers than this, a rule "constant-k" for each would say nothing that "constant" does not.
_FEW = 16

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spec:
    """Strings of one task of length T; everything else about them is settings of the task.

    With ``reads=every``, T counts the inputs, each of which has a read behind it; otherwise it counts all events.
    Raises SpecError for a length that is too short or too long.
    """

    task: Automaton
    length: int

    def __post_init__(self) -> None:
        if not isinstance(self.length, (int, np.integer)):
            raise SpecError(f"length {self.length!r}: expected a whole number")
        least = self.task.shortest
        if not least <= self.length <= _LONGEST:
            raise SpecError(f"length {self.length}: task {self.task.name} has strings of {least} to {_LONGEST}")

    def __str__(self) -> str:
        settings = [f"{name}={_text(value)}" for name, value in self.task.own_settings.items()]
        return f"{self.task.name}({', '.join([str(self.length), *settings])})"

    @property
    def instructions(self) -> int:
        """n, the number of events of a string."""
        return self.task.instructions_of(self.length)

    @property
    def symbols(self) -> int:
        """Number of different answers."""
        return self.task.answer_count

    @property
    def probabilities(self) -> Mapping[str, float]:
        """Of a read, and of an event that leaves the state alone where the task has a setting for it."""
        return self.task.event_probabilities

    @property
    def expected_reads(self) -> float:
        """Expected reads in one string."""
        return self.task.expected_reads(self.instructions)

    @property
    def preset(self) -> str | None:
        """None: no test set of these tasks has been published."""
        return None

    def sample(self, seed: int, start: int, stop: int, stream: str = "strings") -> Strings:
        """Strings ``start`` … ``stop - 1``.

        Raises:
            SpecError: for a negative seed or a range that is none.
        """
        task, n = self.task, self.instructions
        draws = Draws(str(self), seed, stream, task.numbers * n)
        parts = []
        for low in range(start, stop, _BLOCK) if 0 <= start < stop else [start]:
            parts.append(task.draw(draws.rows(low, min(low + _BLOCK, stop)), n))
        if len(parts) == 1:
            return task.strings(*parts[0])
        events, arguments, answers = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return task.strings(events, arguments, answers)

    def with_length(self, length: int) -> Spec:
        """The same task at another T. Raises SpecError."""
        return Spec(self.task, length)


@dataclass(frozen=True)
class Automaton(Task):
    """A task with settings. ``settings`` are all of them, by name, in the order of ``arguments``.

    Two tasks of the same name and settings are equal, so that their specs are.
    """

    # Its own settings, besides those that all have.
    arguments: ClassVar[Mapping[str, Argument]] = {}
    # What reads can ask for, the default first.
    functions: ClassVar[tuple[str, ...]] = ("state",)
    # Random numbers that an event takes.
    numbers: ClassVar[int] = 2

    settings: tuple[tuple[str, float | str], ...] = ()

    # ------------------------------------------------------------------------------------------------ its settings

    @classmethod
    def all_arguments(cls) -> dict[str, Argument]:
        """Return its settings by name: its own, and those that all have."""
        known = dict(cls.arguments) | {"p_read": P_READ, "reads": READS}
        if len(cls.functions) > 1:
            known["read"] = Argument(cls.functions[0], "what a read asks for", choices=cls.functions)
        return known

    def __getitem__(self, name: str) -> Any:
        """The value of one of its settings."""
        return dict(self.settings).get(name, self.all_arguments()[name].default)

    @property
    def own_settings(self) -> dict[str, float | str]:
        """Return the settings that are not at their defaults."""
        known = self.all_arguments()
        return {name: value for name, value in self.settings if value != known[name].default}

    def configured(self, arguments: Mapping[str, str]) -> Automaton:
        """Return the task with other settings.

        Raises:
            SpecError: for one that it does not have or cannot have.
        """
        known = self.all_arguments()
        values = dict(self.settings)
        for name, text in arguments.items():
            if name not in known:
                raise SpecError(f"task-arg {name}: task {self.name} has no such setting{did_you_mean(name, known)}")
            values[name] = known[name].parse(name, text)
        settings = tuple((name, values[name]) for name in known if name in values)
        return dataclasses.replace(self, settings=tuple(one for one in settings if one[1] != known[one[0]].default))

    @property
    def read_function(self) -> str:
        """What a read asks for."""
        return str(self["read"]) if len(self.functions) > 1 else self.functions[0]

    @property
    def reads_every(self) -> bool:
        """Whether a read follows every input."""
        return bool(self["reads"] == EVERY)

    @property
    def takes(self) -> tuple[str, ...]:
        """The probability of a read."""
        return ("read",)

    # -------------------------------------------------------------------------------------------- what a task says

    @property
    @abstractmethod
    def answer_count(self) -> int:
        """How many different answers its reads have."""

    @property
    def symbols(self) -> int | None:
        """How many different answers its reads have."""
        return self.answer_count

    @property
    def shortest(self) -> int:
        """The least T."""
        return 1 if self.reads_every else 2

    @property
    def read_event(self) -> int:
        """The number of the event that reads."""
        return next(number for number, event in enumerate(self.events) if event.is_read)

    @property
    def event_probabilities(self) -> Mapping[str, float]:
        """As in :class:`Spec`."""
        # With a read behind every input, the mean number of reads is that of p_read = 1/2.
        return {"read": 0.5 if self.reads_every else float(self["p_read"])}

    def expected_reads(self, instructions: int) -> float:
        """Return the expected reads in a string of so many events."""
        return instructions / 2 if self.reads_every else 1.0 + (instructions - 2) * float(self["p_read"])

    @abstractmethod
    def inputs(self, numbers: U32, is_read: Bools) -> tuple[U8, U8]:
        """Return events and their arguments for random numbers, (N, n) each; where a read stands they do not count."""

    @abstractmethod
    def run(self, events: U8, arguments: U8) -> U8:
        """Return what a read would answer after every event, (N, n)."""

    @abstractmethod
    def trouble(self, events: Sequence[int], arguments: Sequence[int]) -> tuple[int, str] | None:
        """Return the place of the first input that cannot stand where it does, and why; None where all can."""

    @abstractmethod
    def floors(self, strings: Strings, see_reads: bool = True) -> dict[str, U8]:
        """What each rule without memory answers at every event, (N, n)."""

    # ------------------------------------------------------------------------------------------------------ strings

    def answers_everywhere(self, strings: Strings) -> U8 | None:
        """What a read would answer after every event; None where a read asks for one of several things."""
        if self.events[self.read_event].has_argument:
            return None
        return self.run(strings.events, strings.arguments)

    def length_of(self, instructions: int) -> int:
        """Return T of a string of so many events."""
        return instructions // 2 if self.reads_every else instructions

    def instructions_of(self, length: int) -> int:
        """Return how many events a string of length T has."""
        return 2 * length if self.reads_every else length

    def strings(self, events: U8, arguments: U8, answers: U8) -> Strings:
        """Return a batch. The answers of all events are kept, those of the reads count."""
        return Strings(self, events, arguments, answers, self.answer_count)

    def draw(self, numbers: U32, n: int) -> tuple[U8, U8, U8]:
        """Return (N, n) events, arguments and answers for ``self.numbers`` random numbers an event."""
        if self.reads_every:
            is_read = np.zeros((len(numbers), n), np.bool_)
            is_read[:, 1::2] = True
        else:
            is_read = below(numbers[:, :n], float(self["p_read"]))
            is_read[:, : self.unread] = False
            is_read[:, -1] = True
        events, arguments = self.inputs(numbers[:, n:], is_read)
        np.copyto(events, np.uint8(self.read_event), where=is_read)
        arguments *= ~is_read | self.events[self.read_event].has_argument
        return events, arguments, self.run(events, arguments)

    @property
    def unread(self) -> int:
        """How many events at the beginning of a string are never reads."""
        return 1

    def spec(self, length: int, symbols: int = 2, probabilities: Mapping[str, float] | None = None) -> Spec:
        """Return a spec; ``read`` is the setting ``p_read`` of the task. Raises SpecError."""
        if self.symbols is not None and symbols not in (2, self.symbols):
            raise SpecError(f"symbols {symbols}: task {self.name} has {self.symbols} different answers")
        # Where reads have their places, the plan of a run has written down a share that is no setting.
        fixed = set(self.event_probabilities) - {name.removeprefix("p_") for name in self.all_arguments()}
        fixed |= {"read"} if self.reads_every else set()
        given = {f"p_{name}": float(p) for name, p in (probabilities or {}).items() if name not in fixed}
        for name, p in given.items():
            argument = self.all_arguments().get(name)
            if argument is not None and not argument.least <= p <= argument.most:
                raise SpecError(f"{name} {p:g}: expected a number from {argument.least:g} to {argument.most:g}")
        return Spec(self.configured({name: repr(p) for name, p in given.items()}), length)

    def parse_spec(self, text: str, symbols: int | None = None) -> Spec:
        """Read what ``str`` prints: ``s5(100, read=first)``. Raises SpecError."""
        match = re.fullmatch(r"\s*([a-z0-9-]+)\(\s*(\d{1,9})((?:\s*,\s*[a-z0-9_]+\s*=\s*[^,()\s]+)*)\s*\)\s*", text)
        if match is None or match[1] != self.name:
            raise SpecError(f"spec {text!r}: expected {self.name}(T) or {self.name}(T, SETTING=VALUE, …)")
        pairs = re.findall(r"([a-z0-9_]+)\s*=\s*([^,()\s]+)", match[3])
        names = [name for name, _ in pairs]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise SpecError(f"spec {text!r}: {twice} is given twice")
        return Spec(self.configured(dict(pairs)), int(match[2]))

    def parse(self, text: str, symbols: int = 2) -> Strings:
        """Read one string in the task's notation.

        Raises:
            StringError: the message names the first event that is wrong.
        """
        return notation.parse(self, text)

    def contains(self, strings: Strings) -> bool:
        """Whether all strings are ones of this task."""
        if not strings.is_read[:, -1].all() or strings.is_read[:, 0].any():
            return False
        rows = zip(strings.events.tolist(), strings.arguments.tolist(), strict=True)
        if any(self.trouble(events, arguments) is not None for events, arguments in rows):
            return False
        return bool((self.run(strings.events, strings.arguments) == strings.answers)[strings.is_read].all())

    # -------------------------------------------------------------------------------------------------------- rules

    def likeliest(self, inputs: int) -> U8:
        """Return (inputs + 1,) the most probable answer after 0, 1, … inputs, whichever they were."""
        return np.asarray(self.answer_chances(inputs).argmax(1), np.uint8)

    @abstractmethod
    def answer_chances(self, inputs: int) -> Floats:
        """Return (inputs + 1, answers) the probability of each answer after 0, 1, … inputs."""

    def constants(self, strings: Strings) -> dict[str, U8]:
        """Return the rules that look at no input: ``constant``, and ``constant-k`` where there are few answers.

        ``constant`` knows how many inputs have come, and answers what is most probable then.
        """
        inputs = np.cumsum(~strings.is_read, axis=1)
        answers = {"constant": self.likeliest(int(inputs.max(initial=0)))[inputs]}
        if strings.symbols <= _FEW:
            answers |= {f"constant-{k}": np.full(strings.events.shape, k, np.uint8) for k in range(strings.symbols)}
        return answers

    def last_answers(self, strings: Strings) -> U8:
        """Return the answer of the latest earlier read, (N, n); before the first read, that of the start state."""
        start = np.uint8(self.answer_chances(0)[0].argmax())
        place = latest(strings.is_read)
        earlier = np.take_along_axis(strings.answers, np.maximum(place, 0), 1)
        return np.where(place < 0, start, earlier).astype(np.uint8)

    def rules(self, strings: Strings, see_reads: bool = True) -> dict[str, Rule]:
        """The rules that may explain wrong answers: those of ``floors``.

        A rule that may repeat the latest answer is open where an input stands behind that answer. Elsewhere the
        answer cannot have changed.
        """
        changed = latest(~strings.is_read) > latest(strings.is_read)
        everywhere = np.ones(strings.events.shape, np.bool_)
        return {
            name: Rule(answers, everywhere if name.startswith("constant") else changed)
            for name, answers in self.floors(strings, see_reads).items()
        }

    @property
    def gap_counts(self) -> str:
        """What its gaps count, in words."""
        return "inputs so far that changed the answer"

    def covariates(self, strings: Strings) -> dict[str, Ints]:
        """The gap: inputs so far that changed what a read would answer."""
        return {"gap": self.changes(strings)}

    def changes(self, strings: Strings) -> Ints:
        """Return (N, n) how often the answer has changed since the start."""
        before = np.empty_like(strings.answers)
        before[:, 0] = self.answer_chances(0)[0].argmax()
        truth = self.run(strings.events, strings.arguments)
        before[:, 1:] = truth[:, :-1]
        return np.cumsum(before != truth, axis=1, dtype=np.int64)


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else str(value)
