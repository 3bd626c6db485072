"""The reads of one condition beside what stood before them: covariates, and what rules without memory answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ffprompt.elicitation.condition import Condition
from ffprompt.errors import StoreError
from ffprompt.evaluation.plan import Plan
from ffprompt.runs.reads import CORRECT, ERROR, WRONG, Bools, ConditionReads, Ints
from ffprompt.stats.clusters import Clusters, group
from ffprompt.tasks.base import Rule
from ffprompt.tasks.strings import Strings

LEVEL = 0.95
# Strings whose history is held in memory at a time.
_BLOCK = 2048


@dataclass(frozen=True)
class Reads:
    """Reads of one condition whose call did not fail, (n,) each. ``rules`` hold (n,) arrays too.

    Attributes:
        index: Which string of its language.
        answer: The symbol answered, -1 where there is none.
        contradictions: Distractors since the anchor that show another symbol, None where the task has none.
        earlier: Earlier reads of the same symbol, None where the task does not say.
        steps: Events since the anchor that change the state. The anchor is the latest event that sets the state, or
            the start of the string.
        kinds: What is read, as places in ``kind_names``.
        instructions: Events of a string.
        logprobs: (n, symbols), NaN where not known, None where the elicitation gives none.
        repeat: Which of the repeats of the prompt, None where each was asked once.
    """

    index: Ints
    position: Ints
    gap: Ints
    truth: Ints
    answer: Ints
    correct: Bools
    wrong: Bools
    contradictions: Ints | None
    earlier: Ints | None
    rules: Mapping[str, Rule]
    symbols: int
    instructions: int
    logprobs: NDArray[np.float64] | None = None
    repeat: Ints | None = None
    steps: Ints | None = None
    kinds: Ints | None = None
    kind_names: tuple[str, ...] = ()

    @cached_property
    def string(self) -> Ints:
        """The strings numbered from 0 without gaps."""
        return group(self.index)[0]

    def clusters(self, where: Bools, missed: Bools) -> Clusters:
        """Return the counts of each string over some reads."""
        rows = self.string[where]
        k = int(self.string.max(initial=-1)) + 1
        return Clusters(np.bincount(rows[missed[where]], minlength=k), np.bincount(rows, minlength=k))


def answered_reads(plan: Plan, condition: Condition, stored: ConditionReads, logprobs: bool = True) -> Reads:
    """Return the reads of a condition whose call did not fail. ``logprobs`` asks for those as well.

    Raises:
        StoreError: A read is not in the plan, or the plan's strings have another answer for it.
    """
    answered = stored.outcome != ERROR
    outcome, index, position, truth = (
        column[answered] for column in (stored.outcome, stored.string, stored.position, stored.truth)
    )
    history = _history(plan, condition, stored, index, position, truth)
    scores = stored.logprobs(plan.config.symbols) if logprobs else None
    return Reads(
        index=index,
        position=position,
        gap=stored.gap[answered],
        truth=truth,
        answer=stored.answer[answered],
        correct=outcome == CORRECT,
        wrong=outcome == WRONG,
        contradictions=history.covariates.get("contradictions"),
        earlier=history.covariates.get("earlier_reads"),
        steps=history.steps,
        kinds=history.kinds,
        kind_names=_kind_names(plan),
        rules=history.rules,
        symbols=plan.config.symbols,
        instructions=plan.task.instructions_of(condition.length),
        logprobs=None if scores is None else scores[answered],
        repeat=stored.repeat[answered],
    )


def _history(
    plan: Plan, condition: Condition, stored: ConditionReads, index: Ints, position: Ints, truth: Ints
) -> _History:
    """What stood before each read, from the plan's strings, which also prove the reads."""
    path, again = stored.table.path, f"run: ffprompt score {stored.table.run}"
    n, reads = plan.task.instructions_of(condition.length), len(index)
    if reads and not (
        index.min() >= 0 and index.max() < plan.string_count and position.min() >= 0 and position.max() < n
    ):
        raise StoreError(f"{path}: reads that are not in its plan; {again}")
    found = _History({}, {}, np.zeros(reads, np.int64), np.zeros(reads, np.int64))
    order = np.argsort(index, kind="stable")
    in_order = index[order]
    for start in range(0, plan.string_count, _BLOCK):
        low, high = np.searchsorted(in_order, [start, start + _BLOCK])
        if low == high:
            continue
        here = order[low:high]
        strings = plan.strings(condition.spec, start, min(start + _BLOCK, plan.string_count))
        at = (index[here] - start, position[here])
        if (strings.answers[at] != truth[here]).any() or not strings.is_read[at].all():
            raise StoreError(f"{path}: its reads are not those of the plan; {again}")
        for name, values in strings.task.covariates(strings).items():
            found.covariates.setdefault(name, np.zeros(reads, np.int64))[here] = values[at]
        for name, rule in strings.task.rules(strings, condition.elicitation.sees_answers).items():
            whole = found.rules.setdefault(name, Rule(np.zeros(reads, np.uint8), np.zeros(reads, np.bool_)))
            whole.answers[here], whole.open[here] = rule.answers[at], rule.open[at]
        found.steps[here] = steps_since_anchor(strings)[at]
        found.kinds[here] = _kinds(strings)[at]
    return found


@dataclass(frozen=True)
class _History:
    """What stood before each read: covariates and rules by name, steps and kinds as in :class:`Reads`."""

    covariates: dict[str, Ints]
    rules: dict[str, Rule]
    steps: Ints
    kinds: Ints


def steps_since_anchor(strings: Strings) -> Ints:
    """Return how many events since the anchor have changed the state, (N, n).

    Example, parity, which no event resets: ``flip keep flip read`` has 1 1 2 2.
    """
    counts = np.cumsum(strings.having("step"), axis=1, dtype=np.int64)
    # Without a reset the anchor is the start of the string, and the first event counts.
    at_anchor = np.where(strings.having("reset"), counts, 0)
    return np.asarray(counts - np.take_along_axis(at_anchor, strings.anchors, 1))


def _kind_names(plan: Plan) -> tuple[str, ...]:
    """What is read, for each event that reads and each of its arguments: ``read``, or ``read place``."""
    names: list[str] = []
    for event in plan.task.events:
        count = event.count(plan.config.symbols) if event.is_read and event.has_argument else 1
        words = [str(event.words[n]) if n < len(event.words) else str(n) for n in range(count)]
        names += [f"{event.name} {word}" if event.is_read and event.has_argument else event.name for word in words]
    return tuple(names)


def _kinds(strings: Strings) -> Ints:
    """What is read at each event, (N, n), as a place in :func:`_kind_names`. Only reads matter."""
    kinds = np.zeros(strings.events.shape, np.int64)
    place = 0
    for number, event in enumerate(strings.task.events):
        here = strings.events == number
        several = event.is_read and event.has_argument
        kinds += here * (place + (strings.arguments.astype(np.int64) if several else 0))
        place += event.count(strings.symbols) if several else 1
    return kinds
