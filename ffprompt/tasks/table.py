"""Automata of few states: a table of states and inputs says everything about them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ffprompt.tasks.automaton import Automaton, Floats
from ffprompt.tasks.draws import U32, weighted
from ffprompt.tasks.events import U8, Bools, Ints
from ffprompt.tasks.strings import Strings, latest


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
        of_answers = np.zeros((inputs + 1, self.answer_count))
        for state, answer in enumerate(self.answers_of_states.tolist()):
            of_answers[:, answer] += chances[:, state]
        return of_answers.round(12)  # so that answers of equal probability are equal, and the first of them counts

    def state_chances(self, inputs: int) -> Floats:
        """Return (inputs + 1, states) the probability of each state after 0, 1, … inputs."""
        chances = np.zeros((inputs + 1, len(self.transitions)))
        chances[0, 0] = 1.0
        for step in range(inputs):
            for place, weight in enumerate(self.weights.tolist()):
                np.add.at(chances[step + 1], self.transitions[:, place], weight * chances[step])
        return chances

    def floors(self, strings: Strings, see_reads: bool = True) -> dict[str, U8]:
        """What rules without memory answer.

        ``last-answer`` repeats the latest earlier answer, ``one-step`` applies the latest input to it: both only where
        earlier answers are visible. ``last-input`` applies the latest input to the start state. Those that apply an
        input are left out where a read shows only part of the state.
        """
        answers = {}
        whole = self.answer_count == len(self.transitions)
        if see_reads:
            answers["last-answer"] = self.last_answers(strings)
        if whole:
            answer, state = self.answers_of_states, np.argsort(self.answers_of_states).astype(np.int32)
            place = np.maximum(latest(~strings.is_read), 0)
            last = np.take_along_axis(self.places(strings.events, strings.arguments), place, 1)
            if see_reads:
                answers["one-step"] = answer[self.moves[state[answers["last-answer"]], last]]
                # Two reads side by side: no input has come since the first of them.
                same = latest(strings.is_read) > latest(~strings.is_read)
                answers["one-step"] = np.where(same, answers["last-answer"], answers["one-step"])
            answers["last-input"] = answer[self.moves[0, last]]
        return answers | self.own_rules(strings, see_reads) | self.constants(strings)

    def own_rules(self, strings: Strings, see_reads: bool) -> dict[str, U8]:
        """Return the rules of this task alone."""
        return {}

    def changes(self, strings: Strings) -> Ints:
        """Return (N, n) how often the state has changed since the start."""
        states = self.states(strings.events, strings.arguments)
        before = np.zeros_like(states)
        before[:, 1:] = states[:, :-1]
        return np.cumsum(states != before, axis=1, dtype=np.int64)
