"""From a run and its open model to the attention of its reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ffprompt.analysis.diagnosis.places import place, roles, token_events
from ffprompt.analysis.diagnosis.table import AttentionTable, flat, joined, tops
from ffprompt.backends.local.attention import AttentionModel, Look
from ffprompt.elicitation.condition import Condition
from ffprompt.errors import ConfigError, RunFailedError
from ffprompt.evaluation.plan import Plan
from ffprompt.runs.reads import ERROR, WRONG, ReadTable
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
    """The prompts of one condition: a look for each string, and the true answers of its reads."""

    condition: Condition
    strings: NDArray[np.int64]  # their numbers
    looks: Sequence[Look]
    truths: Sequence[tuple[int, ...]]


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
    found = [one for one in plan.conditions if one.elicitation.scored_by_logprobs]
    if not found:
        asked = ", ".join(sorted({one.elicitation.name for one in plan.conditions}))
        raise ConfigError(f"--elicitation {asked}: diagnose looks at reads that are scored; use a run with forced")
    return found


def collect(plan: Plan, condition: Condition, model: AttentionModel, stored: ReadTable, most: int) -> Collected | None:
    """Look at the reads of the first ``most`` strings of a condition. None where no read has an outcome.

    Raises:
        RunFailedError: The model is not the one that made the run.
    """
    known = stored.of(condition.number)
    outcomes = {key: place for place, key in enumerate(zip(known.string.tolist(), known.read.tolist(), strict=True))}
    outcome, logprobs = known.outcome, known.logprobs(plan.config.symbols)
    parts: list[AttentionTable] = []
    looks: list[Look] = []
    truths: list[tuple[int, ...]] = []
    numbers: list[int] = []
    differences: list[float] = []
    for start, strings, made, right in _looks(plan, condition, model, most):
        for row, (look, rows) in enumerate(zip(made, model.look(made), strict=True)):
            number = start + row
            places = [outcomes.get((number, read), -1) for read in range(len(rows.logprobs))]
            known_reads = np.array([place >= 0 and outcome[place] != ERROR for place in places])
            wrong = np.array([place >= 0 and outcome[place] == WRONG for place in places])
            if logprobs is not None and look.tokens.whole:
                differences += _differences(logprobs, places, rows.logprobs)
            event = token_events(look.tokens, np.flatnonzero(strings[row].is_read))
            top_role, top_event = tops(rows, look, event, rows.top)
            value_role, value_event = tops(rows, look, event, rows.top_value)
            whole = AttentionTable(
                layers=model.layers,
                heads=model.heads,
                **_of_string(strings[row], condition.number * plan.trials + number * plan.repeats, number),
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
            parts.append(whole.where(known_reads))
        looks += made
        truths += right
        numbers += range(start, start + len(made))
    if differences and np.mean(differences) > _SAME_MODEL:
        raise RunFailedError(
            f"model {plan.config.model}: its log-probabilities differ from the run's by {np.mean(differences):.2g} "
            "on average; expected the model that made the run"
        )
    if not sum(map(len, parts)):
        return None
    asked = Asked(condition, np.array(numbers), looks, truths)
    return Collected(asked, joined(parts), max(differences) if differences else None)


def _differences(logprobs: Floats, places: Sequence[int], own: Floats) -> list[float]:
    """Differences between log-probabilities (R, M) here and those of the run, in the rows ``places``; -1 is none."""
    before = np.array([logprobs[place] if place >= 0 else np.full(own.shape[1], np.nan) for place in places])
    found: list[float] = np.abs(before - own)[np.isfinite(before)].tolist()
    return found


def _looks(
    plan: Plan, condition: Condition, model: AttentionModel, most: int
) -> Iterator[tuple[int, list[String], list[Look], list[tuple[int, ...]]]]:
    once, words = plan.once, plan.words(condition)
    count = min(most, once.trials)
    for start in range(0, count, _BLOCK):
        batch = once.batch(condition, start, min(start + _BLOCK, count))
        strings, looks, truths = [], [], []
        for row, question in enumerate(once.questions(batch)):
            string = batch.strings.string(row)
            tokens = model.tokens(question.request, place(words, string, question.is_chat))
            strings.append(string)
            looks.append(Look(tokens, roles(tokens, string)))
            truths.append(question.truth)
        yield start, strings, looks, truths


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
