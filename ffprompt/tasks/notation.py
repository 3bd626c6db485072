"""Read a string of an automaton in the task's own notation: a letter for each event, with its argument and answer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from ffprompt.errors import StringError
from ffprompt.tasks.arguments import either
from ffprompt.tasks.strings import Strings

if TYPE_CHECKING:
    from ffprompt.tasks.automaton import Automaton


def parse(task: Automaton, text: str) -> Strings:
    """Return the string that a text stands for, as a batch of one.

    Raises:
        StringError: The text is no string of the task. Names the first event that is wrong.
    """
    events, arguments, answers = _symbols(task, text)
    read = task.read_event
    if len(events) < 2 or events[-1] != read:
        raise StringError(f"{text[:40]!r}: a string ends with {task.events[read].letter} and its answer")
    if events[0] == read:
        raise StringError(f"event 1: a string does not begin with {task.events[read].letter}")
    if task.reads_every and [event == read for event in events] != [place % 2 == 1 for place in range(len(events))]:
        raise StringError(f"{text[:40]!r}: every second event is a read, as the setting reads=every says")
    problem = task.trouble(events, arguments)
    if problem is not None:
        raise StringError(f"event {problem[0] + 1}: {problem[1]}")
    as_events, as_arguments = (np.array([row], np.uint8) for row in (events, arguments))
    truth = task.run(as_events, as_arguments)
    for place, (event, answer) in enumerate(zip(events, answers, strict=True)):
        if event == read and truth[0, place] != answer:
            raise StringError(f"event {place + 1}: the answer is {truth[0, place]}, not {answer}")
    return task.strings(as_events, as_arguments, truth)


def _symbols(task: Automaton, text: str) -> tuple[list[int], list[int], list[int]]:
    """Return the numbers of the events, their arguments and their answers; 0 where an event has none."""
    letters = {event.letter: number for number, event in enumerate(task.events)}
    events: list[int] = []
    arguments: list[int] = []
    answers: list[int] = []
    rest = text.strip()
    at = 0
    while at < len(rest):
        where = f"event {len(events) + 1} (character {at + 1})"
        number = letters.get(rest[at], -1)
        if number < 0:
            raise StringError(f"{where}: {rest[at]!r} is no event; expected {either(tuple(letters))}")
        event = task.events[number]
        colon = r"\s*:" if event.has_argument and ":" in rest else ""
        shape = r"\s*(\d{1,9})" * event.has_argument + colon * event.is_read + r"\s*(\d{1,9})" * event.is_read
        match = re.compile(shape + r"\s*").match(rest, at + 1)
        if match is None:
            behind = " and ".join(["its argument"] * event.has_argument + ["its answer"] * event.is_read)
            raise StringError(f"{where}: {event.letter} stands without {behind}")
        values = [int(value) for value in match.groups()]
        limits = [event.count(task.answer_count)] * event.has_argument + [task.answer_count] * event.is_read
        for value, limit in zip(values, limits, strict=True):
            if value >= limit:
                raise StringError(f"{where}: {value} is outside 0 … {limit - 1}")
        events.append(number)
        arguments.append(values[0] if event.has_argument else 0)
        answers.append(values[-1] if event.is_read else 0)
        at = match.end()
    return events, arguments, answers
