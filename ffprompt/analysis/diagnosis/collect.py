"""From a run and its open model to the attention of its reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ffprompt.analysis.diagnosis.places import place, roles, token_events
from ffprompt.analysis.diagnosis.table import AttentionTable, flat, joined, tops
from ffprompt.backends.local.attention import Look, Rows, StatesModel
from ffprompt.elicitation.condition import Condition
from ffprompt.errors import ConfigError, RunFailedError
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.trial_batch import Batch
from ffprompt.runs.reads import ERROR, WRONG, ConditionReads, ReadTable
from ffprompt.tasks.flipflop import WRITE
from ffprompt.tasks.registry import DEFAULT
from ffprompt.tasks.strings import String

Floats = NDArray[np.float64]
# Strings that are looked at together.
_BLOCK = 32
# Log-probabilities of the run and of the looking pass may differ by rounding; by more, on average, they are of
# another model.
_SAME_MODEL = 0.1


@dataclass(frozen=True)
class Asked:
    """The prompts of one condition: a look for each string, its events, and the true answers of its reads."""

    condition: Condition
    strings: NDArray[np.int64]  # their numbers
    trials: NDArray[np.int64]  # the first trial of each in the run
    events: Sequence[String]
    looks: Sequence[Look]
    truths: Sequence[tuple[int, ...]]

    def extended(self, other: Asked) -> Asked:
        """Return these prompts and those of ``other``."""
        return Asked(
            self.condition,
            np.concatenate([self.strings, other.strings]),
            np.concatenate([self.trials, other.trials]),
            [*self.events, *other.events],
            [*self.looks, *other.looks],
            [*self.truths, *other.truths],
        )


@dataclass(frozen=True)
class Collected:
    """The attention of one condition. ``difference`` is the largest one between log-probabilities here and in the run.

    None where answers are several tokens, of which the first alone is looked at here.
    """

    asked: Asked
    table: AttentionTable
    difference: float | None


def conditions(plan: Plan) -> list[Condition]:
    """Return the conditions whose reads can be looked at.

    Raises:
        ConfigError: there is none.
    """
    if plan.task.name != DEFAULT:
        raise ConfigError(f"task {plan.task.name}: diagnose needs writes and reads; use a run of flipflop")
    found = [one for one in plan.conditions if one.elicitation.scored_by_logprobs and one.elicitation.answers_reads]
    if not found:
        asked = ", ".join(sorted({one.elicitation.name for one in plan.conditions}))
        raise ConfigError(f"--elicitation {asked}: diagnose looks at reads that are scored; use a run with forced")
    return found


def collect(plan: Plan, condition: Condition, model: StatesModel, stored: ReadTable, most: int) -> Collected | None:
    """Look at the reads of the first ``most`` strings of a condition. None where no read has an outcome.

    Raises:
        RunFailedError: The model is not the one that made the run.
    """
    known = _Known(stored.of(condition.number), plan.config.symbols)
    parts: list[AttentionTable] = []
    asked = Asked(condition, np.zeros(0, np.int64), np.zeros(0, np.int64), [], [], [])
    differences: list[float] = []
    for block in _blocks(plan, condition, model, most):
        rows_of_strings = model.look(block.looks)
        for row, (look, rows) in enumerate(zip(block.looks, rows_of_strings, strict=True)):
            number, trial = int(block.strings[row]), int(block.trials[row])
            places = known.places(number, len(rows.logprobs))
            if known.logprobs is not None and look.tokens.whole:
                differences += _differences(known.logprobs, places, rows.logprobs)
            answered, wrong = known.outcomes(places)
            parts.append(_table(model, block.events[row], look, rows, wrong, trial, number).where(answered))
        asked = asked.extended(block)
    if differences and np.mean(differences) > _SAME_MODEL:
        raise RunFailedError(
            f"model {plan.config.model}: its log-probabilities differ from the run's by {np.mean(differences):.2g} "
            "on average; expected the model that made the run"
        )
    if not sum(map(len, parts)):
        return None
    return Collected(asked, joined(parts), max(differences) if differences else None)


class _Known:
    """What the run knows of the reads of a condition."""

    def __init__(self, reads: ConditionReads, symbols: int) -> None:
        self._row = {key: row for row, key in enumerate(zip(reads.string.tolist(), reads.read.tolist(), strict=True))}
        self._outcome, self.logprobs = reads.outcome, reads.logprobs(symbols)

    def places(self, string: int, reads: int) -> list[int]:
        """The rows of the reads of a string, -1 for one that is not there."""
        return [self._row.get((string, read), -1) for read in range(reads)]

    def outcomes(self, places: Sequence[int]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether each read has an outcome, and whether it is wrong."""
        known = np.array([row >= 0 and self._outcome[row] != ERROR for row in places], np.bool_)
        return known, np.array([row >= 0 and self._outcome[row] == WRONG for row in places], np.bool_)


def _table(
    model: StatesModel,
    string: String,
    look: Look,
    rows: Rows,
    wrong: NDArray[np.bool_],
    trial: int,
    number: int,
) -> AttentionTable:
    """The attention at the reads of one string."""
    event = token_events(look.tokens, np.flatnonzero(string.is_read))
    top_role, top_event = tops(rows, look, event, rows.top)
    value_role, value_event = tops(rows, look, event, rows.top_value)
    return AttentionTable(
        layers=model.layers,
        heads=model.heads,
        **_of_string(string, trial, number),
        wrong=wrong,
        mass=flat(rows.mass),
        sink=flat(rows.sink),
        entropy=flat(rows.entropy),
        margin=flat(rows.margin),
        keys=np.repeat(rows.keys.T, model.heads, axis=1),
        reachable=np.repeat(rows.reachable.T, model.heads, axis=1),
        top_role=top_role,
        top_event=top_event,
        value_role=value_role,
        value_event=value_event,
    )


def _differences(logprobs: Floats, places: Sequence[int], own: Floats) -> list[float]:
    """Differences between log-probabilities (R, M) here and those of the run, in the rows ``places``; -1 is none."""
    before = np.array([logprobs[place] if place >= 0 else np.full(own.shape[1], np.nan) for place in places])
    found: list[float] = np.abs(before - own)[np.isfinite(before)].tolist()
    return found


def _blocks(plan: Plan, condition: Condition, model: StatesModel, most: int) -> Iterator[Asked]:
    count = min(most, plan.once.trials)
    for start in range(0, count, _BLOCK):
        yield asked_of(plan, model, plan.once.batch(condition, start, min(start + _BLOCK, count)))


def asked_of(plan: Plan, model: StatesModel, batch: Batch) -> Asked:
    """Return the prompts of a batch of ``plan.once``."""
    words = plan.words(batch.condition)
    events, looks, truths = [], [], []
    for row, question in enumerate(plan.once.questions(batch)):
        string = batch.strings.string(row)
        tokens = model.tokens(question.request, place(words, string, question.is_chat))
        events.append(string)
        looks.append(Look(tokens, roles(tokens, string)))
        truths.append(question.truth)
    strings = np.arange(batch.start, batch.start + len(looks))
    trials = batch.condition.number * plan.trials + strings * plan.repeats
    return Asked(batch.condition, strings, trials, events, looks, truths)


def _of_string(string: String, trial: int, number: int) -> dict[str, NDArray[np.int64]]:
    """The fields of a table that follow from the string, (R,) each."""
    reads, writes = np.flatnonzero(string.is_read), np.flatnonzero(string.events == WRITE)
    latest = np.searchsorted(writes, reads) - 1
    governing = writes[latest]
    return {
        "trial": np.full(len(reads), trial),
        "string": np.full(len(reads), number),
        "read": np.arange(len(reads)),
        "position": reads,
        "gap": reads - governing,
        "competitors": reads - 1,
        "governing": governing,
        "first_write": np.full(len(reads), writes[0]),
        "previous": np.where(latest > 0, writes[np.maximum(latest - 1, 0)], -1),
    }
