"""What all automata but the plain flip-flop share: their settings, specs, sampling, notation and simplest rules.

A task of this module is its *inputs* (an event with its argument each), a start state, and what an input does to a
state. A string is a sequence of inputs with reads among them::

    s5, one string     shift  swap  read      shift  keep  read
    who is first       E      D     D         C      C     C

Most tasks have few states, and then a table says everything (:class:`TableAutomaton`). The others run strings by
themselves.

Strings are addressed: string i is a function of (task, spec, seed, stream, i), see :mod:`.draws`.
"""

from __future__ import annotations

import dataclasses
import math
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ffprompt.errors import SpecError, StringError, did_you_mean
from ffprompt.tasks.base import U8, Bools, Ints, Rule, Strings, Task
from ffprompt.tasks.draws import U32, Draws, below, weighted

# Strings drawn at a time, so that the working arrays stay in the cache.
_BLOCK = 2048
_LONGEST = 1 << 20
# With more answers than this, a rule "constant-k" for each would say nothing that "constant" does not.
_FEW = 16

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Argument:
    """One setting of a task: its default, what it may be, and what it is about.

    Attributes:
        default: Its value where none is given. Its type is the type of every value.
        help: What it says, in a few words.
        choices: The texts that it can be; none for a number.
        least: The smallest number.
        most: The largest number.
    """

    default: float | str
    help: str
    choices: tuple[str, ...] = ()
    least: float = 0
    most: float = 1

    def parse(self, name: str, text: str) -> float | str:
        """Return the value that a text stands for. Raises SpecError."""
        if self.choices:
            if text not in self.choices:
                raise SpecError(f"task-arg {name}={text}: expected {_either(self.choices)}")
            return text
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not self.least <= value <= self.most or (isinstance(self.default, int) and value != int(value)):
            kind = "a whole number" if isinstance(self.default, int) else "a number"
            raise SpecError(f"task-arg {name}={text}: expected {kind} from {self.least:g} to {self.most:g}")
        return int(value) if isinstance(self.default, int) else value + 0.0


ANYWHERE, EVERY = "anywhere", "every"
SYMBOLS = Argument(2, "number of different symbols", least=2, most=256)
P_READ = Argument(0.2, "probability that a position inside the string is a read; 0 reads at the end only", most=0.999)
READS = Argument(
    ANYWHERE, "where reads stand: anywhere, or after every input, which T then counts", choices=(ANYWHERE, EVERY)
)


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
        """Strings ``start`` … ``stop - 1``. Raises SpecError for a negative seed or a range that is none."""
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
        found = dict(cls.arguments) | {"p_read": P_READ, "reads": READS}
        if len(cls.functions) > 1:
            found["read"] = Argument(cls.functions[0], "what a read asks for", choices=cls.functions)
        return found

    def __getitem__(self, name: str) -> Any:
        """The value of one of its settings."""
        return dict(self.settings).get(name, self.all_arguments()[name].default)

    @property
    def own_settings(self) -> dict[str, float | str]:
        """Return the settings that are not at their defaults."""
        known = self.all_arguments()
        return {name: value for name, value in self.settings if value != known[name].default}

    def configured(self, arguments: Mapping[str, str]) -> Automaton:
        """Return the task with other settings. Raises SpecError for one that it does not have or cannot have."""
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
        given = {f"p_{name}": repr(float(p)) for name, p in (probabilities or {}).items() if name not in fixed}
        return Spec(self.configured(given), length)

    def parse_spec(self, text: str, symbols: int | None = None) -> Spec:
        """Read what ``str`` prints: ``s5(100, read=first)``. Raises SpecError."""
        match = re.fullmatch(r"\s*([a-z0-9-]+)\(\s*(\d{1,9})((?:\s*,\s*[a-z0-9_]+\s*=\s*[^,()\s]+)*)\s*\)\s*", text)
        if match is None or match[1] != self.name:
            raise SpecError(f"spec {text!r}: expected {self.name}(T) or {self.name}(T, SETTING=VALUE, …)")
        settings = dict(re.findall(r"([a-z0-9_]+)\s*=\s*([^,()\s]+)", match[3]))
        return Spec(self.configured(settings), int(match[2]))

    def parse(self, text: str, symbols: int = 2) -> Strings:
        """Read one string in the task's notation. Raises StringError naming the first event that is wrong."""
        events, arguments, answers = self._read_notation(text)
        read = self.read_event
        if len(events) < 2 or events[-1] != read:
            raise StringError(f"{text[:40]!r}: a string ends with {self.events[read].letter} and its answer")
        if events[0] == read:
            raise StringError(f"event 1: a string does not begin with {self.events[read].letter}")
        if self.reads_every and [one == read for one in events] != [place % 2 == 1 for place in range(len(events))]:
            raise StringError(f"{text[:40]!r}: every second event is a read, as the setting reads=every says")
        problem = self.trouble(events, arguments)
        if problem is not None:
            raise StringError(f"event {problem[0] + 1}: {problem[1]}")
        as_events, as_arguments = (np.array([row], np.uint8) for row in (events, arguments))
        truth = self.run(as_events, as_arguments)
        for place, (event, answer) in enumerate(zip(events, answers, strict=True)):
            if event == read and truth[0, place] != answer:
                raise StringError(f"event {place + 1}: the answer is {truth[0, place]}, not {answer}")
        return self.strings(as_events, as_arguments, truth)

    def _read_notation(self, text: str) -> tuple[list[int], list[int], list[int]]:
        letters = {event.letter: number for number, event in enumerate(self.events)}
        events: list[int] = []
        arguments: list[int] = []
        answers: list[int] = []
        rest = text.strip()
        at = 0
        while at < len(rest):
            where = f"event {len(events) + 1} (character {at + 1})"
            number = letters.get(rest[at], -1)
            if number < 0:
                raise StringError(f"{where}: {rest[at]!r} is no event; expected {_either(tuple(letters))}")
            event = self.events[number]
            shape = r"\s*(\d{1,9})" * event.has_argument + (r"\s*:" if event.has_argument and ":" in rest else "") * (
                event.is_read
            )
            match = re.compile(shape + r"\s*(\d{1,9})" * event.is_read + r"\s*").match(rest, at + 1)
            if match is None:
                behind = " and ".join(["its argument"] * event.has_argument + ["its answer"] * event.is_read)
                raise StringError(f"{where}: {event.letter} stands without {behind}")
            values = [int(value) for value in match.groups()]
            limits = [event.count(self.answer_count)] * event.has_argument + [self.answer_count] * event.is_read
            for value, limit in zip(values, limits, strict=True):
                if value >= limit:
                    raise StringError(f"{where}: {value} is outside 0 … {limit - 1}")
            events.append(number)
            arguments.append(values[0] if event.has_argument else 0)
            answers.append(values[-1] if event.is_read else 0)
            at = match.end()
        return events, arguments, answers

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
        found = {"constant": self.likeliest(int(inputs.max(initial=0)))[inputs]}
        if strings.symbols <= _FEW:
            found |= {f"constant-{k}": np.full(strings.events.shape, k, np.uint8) for k in range(strings.symbols)}
        return found

    def last_answers(self, strings: Strings) -> U8:
        """Return the answer of the latest earlier read, (N, n); before the first read, that of the start state."""
        start = np.uint8(self.answer_chances(0)[0].argmax())
        place = latest(strings.is_read)
        found = np.take_along_axis(strings.answers, np.maximum(place, 0), 1)
        return np.where(place < 0, start, found).astype(np.uint8)

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


@dataclass(frozen=True)
class TableAutomaton(Automaton):
    """A task of few states: ``transitions`` says what each input does to each.

    The inputs are the events that are no reads, each with each of its arguments, in order.
    """

    rule_names: ClassVar[tuple[str, ...]] = ("constant", "last-answer", "one-step", "last-input")

    @property
    @abstractmethod
    def transitions(self) -> NDArray[np.int32]:
        """(states, inputs) the state after each input."""

    @property
    @abstractmethod
    def answers_of_states(self) -> U8:
        """(states,) what a read answers in each state. State 0 is the start."""

    @property
    def weights(self) -> Floats:
        """(inputs,) the probability of each input."""
        count = len(self.input_events)
        return np.full(count, 1 / count)

    @cached_property
    def input_events(self) -> U8:
        """(inputs,) the event of each input."""
        counts = [0 if event.is_read else event.count(2) for event in self.events]
        return np.repeat(np.arange(len(counts)), counts).astype(np.uint8)

    @cached_property
    def input_arguments(self) -> U8:
        """(inputs,) the argument of each input, 0 for none."""
        events = [event for event in self.events if not event.is_read]
        return np.concatenate([np.arange(event.count(2)) for event in events]).astype(np.uint8)

    @cached_property
    def answer_count(self) -> int:
        """How many different answers its reads have."""
        return int(self.answers_of_states.max()) + 1

    def inputs(self, numbers: U32, is_read: Bools) -> tuple[U8, U8]:
        """Return events and their arguments, drawn independently."""
        place = weighted(numbers, self.weights)
        return self.input_events[place], self.input_arguments[place]

    def places(self, events: U8, arguments: U8) -> NDArray[np.intp]:
        """Return (N, n) the number of each input; one behind the last of them at a read."""
        first = np.full(len(self.events), len(self.input_events), np.intp)
        for place in reversed(range(len(self.input_events))):
            first[self.input_events[place]] = place
        return np.asarray(first[events] + arguments * (events != self.read_event), np.intp)

    @cached_property
    def moves(self) -> NDArray[np.int32]:
        """(states, inputs + 1) as ``transitions``, with a last input that stands for a read and does nothing."""
        states = np.arange(len(self.transitions), dtype=np.int32)
        return np.ascontiguousarray(np.column_stack([self.transitions, states]), np.int32)

    def states(self, events: U8, arguments: U8) -> NDArray[np.int32]:
        """Return (N, n) the state after every event."""
        places = np.ascontiguousarray(self.places(events, arguments).T)  # (n, N): one row a step
        moves, width = self.moves.ravel(), self.moves.shape[1]
        states = np.empty(places.shape, np.int32)
        state = np.zeros(places.shape[1], np.int32)
        for step, place in enumerate(places):
            state = moves.take(state * width + place)
            states[step] = state
        return states.T

    def run(self, events: U8, arguments: U8) -> U8:
        """Return what a read would answer after every event, (N, n)."""
        return np.ascontiguousarray(self.answers_of_states.take(self.states(events, arguments)))

    def trouble(self, events: Sequence[int], arguments: Sequence[int]) -> tuple[int, str] | None:
        """Return nothing: every input may follow every other."""
        return None

    def answer_chances(self, inputs: int) -> Floats:
        """Return (inputs + 1, answers) the probability of each answer after 0, 1, … inputs."""
        chances = self.state_chances(inputs)
        found = np.zeros((inputs + 1, self.answer_count))
        for state, answer in enumerate(self.answers_of_states.tolist()):
            found[:, answer] += chances[:, state]
        return found.round(12)  # so that answers of equal probability are equal, and the first of them counts

    def state_chances(self, inputs: int) -> Floats:
        """Return (inputs + 1, states) the probability of each state after 0, 1, … inputs."""
        found = np.zeros((inputs + 1, len(self.transitions)))
        found[0, 0] = 1.0
        for step in range(inputs):
            for place, weight in enumerate(self.weights.tolist()):
                np.add.at(found[step + 1], self.transitions[:, place], weight * found[step])
        return found

    def floors(self, strings: Strings, see_reads: bool = True) -> dict[str, U8]:
        """What rules without memory answer.

        ``last-answer`` repeats the latest earlier answer, ``one-step`` applies the latest input to it: both only where
        earlier answers are visible. ``last-input`` applies the latest input to the start state. Those that apply an
        input are left out where a read shows only part of the state.
        """
        found = {}
        whole = self.answer_count == len(self.transitions)
        if see_reads:
            found["last-answer"] = self.last_answers(strings)
        if whole:
            answer, state = self.answers_of_states, np.argsort(self.answers_of_states).astype(np.int32)
            place = np.maximum(latest(~strings.is_read), 0)
            last = np.take_along_axis(self.places(strings.events, strings.arguments), place, 1)
            if see_reads:
                found["one-step"] = answer[self.moves[state[found["last-answer"]], last]]
                # Two reads side by side: no input has come since the first of them.
                same = latest(strings.is_read) > latest(~strings.is_read)
                found["one-step"] = np.where(same, found["last-answer"], found["one-step"])
            found["last-input"] = answer[self.moves[0, last]]
        return found | self.own_rules(strings, see_reads) | self.constants(strings)

    def own_rules(self, strings: Strings, see_reads: bool) -> dict[str, U8]:
        """Return the rules of this task alone."""
        return {}

    def changes(self, strings: Strings) -> Ints:
        """Return (N, n) how often the state has changed since the start."""
        states = self.states(strings.events, strings.arguments)
        before = np.zeros_like(states)
        before[:, 1:] = states[:, :-1]
        return np.cumsum(states != before, axis=1, dtype=np.int64)


def latest(mask: Bools) -> Ints:
    """Return the latest place before each one where ``mask`` holds, (N, n); -1 where there is none."""
    found = np.full(mask.shape, -1, np.int64)
    found[:, 1:] = np.maximum.accumulate(np.where(mask, np.arange(mask.shape[1]), -1), axis=1)[:, :-1]
    return found


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else str(value)


def _either(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
