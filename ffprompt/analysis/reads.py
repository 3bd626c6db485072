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

LEVEL = 0.95
# Strings whose history is held in memory at a time.
_BLOCK = 2048


@dataclass(frozen=True)
class Reads:
    """Reads of one condition whose call did not fail, (n,) each; ``rules`` hold (n,) arrays too.

    ``index``: which string of its language; ``answer``: -1 where there is none; ``instructions``: of a string;
    ``logprobs``: (n, symbols), NaN where not known, None where the elicitation gives none; ``repeat``: which
    of the repeats of the prompt, None where each was asked once.
    """

    index: Ints
    position: Ints
    gap: Ints
    truth: Ints
    answer: Ints
    correct: Bools
    wrong: Bools
    contradictions: Ints | None  # None where the task has nothing to say of them
    earlier: Ints | None
    rules: Mapping[str, Rule]
    symbols: int
    instructions: int
    logprobs: NDArray[np.float64] | None = None
    repeat: Ints | None = None

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
    """Return the reads of a condition whose call did not fail; ``logprobs`` asks for those as well.

    Raises:
        StoreError: A read is not in the plan, or the plan's strings have another answer for it.
    """
    answered = stored.outcome != ERROR
    outcome, index, position, truth = (
        column[answered] for column in (stored.outcome, stored.string, stored.position, stored.truth)
    )
    covariates, found = _history(plan, condition, stored, index, position, truth)
    scores = stored.logprobs(plan.config.symbols) if logprobs else None
    return Reads(
        index=index,
        position=position,
        gap=stored.gap[answered],
        truth=truth,
        answer=stored.answer[answered],
        correct=outcome == CORRECT,
        wrong=outcome == WRONG,
        contradictions=covariates.get("contradictions"),
        earlier=covariates.get("earlier_reads"),
        rules=found,
        symbols=plan.config.symbols,
        instructions=plan.task.instructions_of(condition.length),
        logprobs=None if scores is None else scores[answered],
        repeat=stored.repeat[answered],
    )


def _history(
    plan: Plan, condition: Condition, stored: ConditionReads, index: Ints, position: Ints, truth: Ints
) -> tuple[dict[str, Ints], dict[str, Rule]]:
    """Covariates and rules of each read by their names, from the plan's strings, which also prove the reads."""
    path, again = stored.table.path, f"run: ffprompt score {stored.table.run}"
    n, reads = plan.task.instructions_of(condition.length), len(index)
    if reads and not (
        index.min() >= 0 and index.max() < plan.string_count and position.min() >= 0 and position.max() < n
    ):
        raise StoreError(f"{path}: reads that are not in its plan; {again}")
    covariates: dict[str, Ints] = {}
    found: dict[str, Rule] = {}
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
            covariates.setdefault(name, np.zeros(reads, np.int64))[here] = values[at]
        for name, rule in strings.task.rules(strings, condition.elicitation.sees_answers).items():
            whole = found.setdefault(name, Rule(np.zeros(reads, np.uint8), np.zeros(reads, np.bool_)))
            whole.answers[here], whole.open[here] = rule.answers[at], rule.open[at]
    return covariates, found
