"""Single reads to look at: how the heads with the most attention on the write divide it among the instructions.

Example, one head at the read of ``w1 i0 w0 i1 r0``, in thousandths::

    instruction   w1   i0   w0   i1   first token  rest
    attention     120   40  510  200           90    40
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ffprompt._util.plain import Plain
from ffprompt.analysis.diagnosis.collect import Collected
from ffprompt.analysis.diagnosis.estimates import Floats, Ints
from ffprompt.analysis.diagnosis.heads import BEST, best_heads
from ffprompt.analysis.diagnosis.places import token_events
from ffprompt.backends.local.attention import AttentionModel, Look
from ffprompt.evaluation.plan import Plan

FILE = "diagnosis-reads.json"
SCHEMA = 1
MOST_WRONG, MOST_RIGHT = 60, 12
"""Reads that are kept, over all conditions."""

_ALL_HEADS = 16  # a model with at most so many shows all of them
_LEAST = 2  # thousandths of attention, below which an instruction is left out


@dataclass(frozen=True)
class Example(Plain):
    """One read.

    Attributes:
        condition: The place of its condition in the diagnosis.
        position: The instruction that is the read. ``governing`` is the write that it asks for.
        truth: The true symbol.
        answer: The symbol that the model ranks first.
        p: Probability of the true symbol among the answers.
        text: The instructions up to the read, such as w1i0r1.
        mass: For each head, (instruction, thousandths of its attention), from 2 thousandths on.
        first: For each head, thousandths on the first token, where that is no value. ``sink`` those of a learned sink.
        rest: Thousandths on all other tokens.
    """

    condition: int
    string: int
    read: int
    position: int
    governing: int
    wrong: bool
    truth: int
    answer: int
    p: float
    text: str
    mass: list[list[tuple[int, int]]]
    first: list[int]
    sink: list[int]
    rest: list[int]


@dataclass(frozen=True)
class Examples(Plain):
    """The reads of a diagnosis that can be looked at one by one. ``heads`` are those of each condition, best first."""

    schema: int
    heads: list[list[str]]
    wrong_in_all: list[int]
    reads: list[Example]


def examples(plan: Plan, found: Sequence[Collected], model: AttentionModel) -> Examples:
    """Return wrong reads of each condition, and a few right ones beside them, with the attention of their heads."""
    heads, reads = [], []
    wrong, right = (max(3, most // len(found)) for most in (MOST_WRONG, MOST_RIGHT))
    for place, one in enumerate(found):
        table = one.table
        count = table.columns if table.columns <= _ALL_HEADS else BEST
        chosen = best_heads(table, count)
        heads.append([table.name(int(head)) for head in chosen])
        rows = [*_spread(table.string, table.wrong, wrong), *_spread(table.string, ~table.wrong, right)]
        of_string: dict[int, list[int]] = {}
        for row in rows:
            of_string.setdefault(int(table.string[row]), []).append(row)
        made: dict[int, Example] = {}
        for string, mine in of_string.items():
            made |= zip(mine, _of_string(plan, place, one, model, string, mine, chosen), strict=True)
        reads += [made[row] for row in rows]
    return Examples(SCHEMA, heads, [int(one.table.wrong.sum()) for one in found], reads)


def _spread(string: Ints, wanted: np.ndarray, most: int) -> list[int]:
    """Return rows of ``wanted`` reads, one of each string before any string has its second.

    >>> _spread(np.array([0, 0, 1, 1]), np.array([True, True, False, True]), 2)
    [0, 3]
    """
    rows = np.flatnonzero(wanted)
    turn = [int((string[rows[:place]] == string[row]).sum()) for place, row in enumerate(rows)]
    return sorted(rows.tolist(), key=dict(zip(rows.tolist(), turn, strict=True)).__getitem__)[:most]


def _of_string(
    plan: Plan, place: int, one: Collected, model: AttentionModel, string: int, rows: Sequence[int], heads: Ints
) -> list[Example]:
    """The examples of one string, of the rows of its reads in the table."""
    asked, table = one.asked, one.table
    at = int(np.flatnonzero(asked.strings == string)[0])
    reads = table.read[list(rows)]
    look = _of_reads(asked.looks[at], reads)
    (seen,) = model.look([look], full=True)
    assert seen.full is not None
    full = seen.full.reshape(-1, *seen.full.shape[2:])[heads].astype(np.float64)  # (heads, R, T)
    sinks = seen.sink.reshape(-1, seen.sink.shape[2])[heads]
    strings = plan.once.batch(asked.condition, string, string + 1, shots=False).strings
    event = token_events(look.tokens, np.flatnonzero(strings.is_read[0]))[: full.shape[2]]
    events = re.findall(r"\D\d*", strings.texts()[0])
    made = []
    for number, (row, read) in enumerate(zip(rows, reads.tolist(), strict=True)):
        position, truth = int(table.position[row]), asked.truths[at][read]
        mass, first = _by_event(full[:, number], event, position)
        sink = sinks[:, number]
        weights = np.exp(seen.logprobs[number] - seen.logprobs[number].max())
        made.append(
            Example(
                place, string, read, position, int(table.governing[row]), bool(table.wrong[row]), int(truth),
                int(weights.argmax()), round(float(weights[truth] / weights.sum()), 4), "".join(events[: position + 1]),
                [_thousandths(head) for head in mass], _whole(first), _whole(sink),
                _whole(np.maximum(1 - mass.sum(1) - first - sink, 0)),
            )
        )  # fmt: skip
    return made


def _of_reads(look: Look, reads: Ints) -> Look:
    """The same prompt with some of its reads."""
    tokens = replace(look.tokens, queries=look.tokens.queries[reads], candidates=look.tokens.candidates[reads])
    return Look(tokens, look.roles[reads])


def _by_event(rows: Floats, event: Ints, position: int) -> tuple[Floats, Floats]:
    """From rows (heads, T) to the mass of events (heads, position) and of a first token without a value (heads,)."""
    mass = np.zeros((len(rows), position))
    held = (event >= 0) & (event < position)
    np.add.at(mass.T, event[held], rows[:, held].T)
    return mass, rows[:, 0] if event[0] < 0 else np.zeros(len(rows))


def _thousandths(mass: Floats) -> list[tuple[int, int]]:
    return [(event, share) for event, share in enumerate(_whole(mass)) if share >= _LEAST]


def _whole(shares: np.ndarray) -> list[int]:
    whole: list[int] = np.rint(1000 * np.asarray(shares, np.float64)).astype(int).tolist()
    return whole
