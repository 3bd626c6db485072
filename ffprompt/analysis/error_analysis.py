"""What the errors of a run have in common: :func:`anatomy`."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

import numpy as np

from ffprompt._util.plain import Plain
from ffprompt.analysis.accuracy import (
    Accuracy,
    AccuracyBin,
    Drift,
    accuracy,
    by_contradictions,
    by_earlier_read,
    by_kind,
    by_number,
    by_steps,
    doubling,
    tenths,
)
from ffprompt.analysis.accuracy import drift as drift_of
from ffprompt.analysis.answer_bias import AnswerPrior, answer_priors
from ffprompt.analysis.calibration import Calibration, calibrated
from ffprompt.analysis.reads import LEVEL, Reads, answered_reads
from ffprompt.analysis.rule_fits import RuleFits, explained
from ffprompt.analysis.self_knowledge import Predictor, self_knowledge
from ffprompt.analysis.template_sensitivity import TemplateSensitivity, sensitivities
from ffprompt.elicitation.condition import Condition
from ffprompt.evaluation.early_stopping import stops
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.rescore import plan_of
from ffprompt.runs.folder import RunFolder
from ffprompt.runs.reads import OUTCOMES, ConditionReads, ReadTable
from ffprompt.scoring.score import Outcome
from ffprompt.tasks.flipflop import FLIP_FLOP

SCHEMA = 1
# What gaps count in the flip-flop and tasks like it, in words.
SINCE_ASKED = "instructions since what is asked for"


@dataclass(frozen=True)
class ConditionErrors(Plain):
    """The errors of one condition.

    Attributes:
        p_ignore: Probability of an event that leaves the state alone, None for strings of a file.
        outcomes: Reads of each outcome, "error" among them, which nothing else counts.
        missing_trials: Trials that have no read in the table.
        all: The accuracy of all reads, None without one.
        by_gap: Accuracy by instructions since the one that the state rests on, in bins of 0, 1, 2, 3 to 4, 5 to 8 and
            so on: they end at powers of two. The other numbers are in bins of this kind, too.
        by_contradictions: By distractors since then whose symbol is not the stored one.
        by_position: By tenths of the string.
        by_earlier_read: By whether a read of the same symbol stands before.
        reads_visible: Whether earlier reads show the true answer (forced, next) or not (list: blank, dialogue: the
            model's own).
        by_truth: By the true symbol.
        drift: Change of accuracy along the string, None where nothing varies.
        rules: Which rules without memory the wrong answers follow.
        calibration: None without log-probabilities.
        by_steps: By events since the one that set the state (or since the start) that have changed it. Empty for a
            task without such events, and where that is the gap.
        by_kind: By what is read. Empty where every read asks for the same.
        priors: What the prompt suggests without content. Empty but for the elicitation ``prior``.
        self_knowledge: What tells right answers from wrong ones. Empty without log-probabilities.
        gap_counts: What gaps count, in words.
    """

    condition: str
    template: str
    shots: int
    elicitation: str
    turn_instructions: int | None
    form: str
    language: str
    symbols: int
    outcomes: dict[str, int]
    missing_trials: int
    all: Accuracy | None
    by_gap: list[AccuracyBin]
    by_contradictions: list[AccuracyBin]
    by_position: list[AccuracyBin]
    by_earlier_read: list[AccuracyBin]
    reads_visible: bool
    by_truth: list[AccuracyBin]
    drift: Drift | None
    rules: RuleFits
    calibration: Calibration | None = None
    p_ignore: float | None = None
    by_steps: list[AccuracyBin] = field(default_factory=list)
    by_kind: list[AccuracyBin] = field(default_factory=list)
    priors: list[AnswerPrior] = field(default_factory=list)
    self_knowledge: list[Predictor] = field(default_factory=list)
    gap_counts: str = SINCE_ASKED


@dataclass(frozen=True)
class ErrorAnalysis(Plain):
    """The errors of a run: ``conditions`` in the order of the result table, ``templates`` where several were asked."""

    schema: int
    run_id: str
    model: str
    backend: str
    status: str | None
    complete: bool
    level: float
    conditions: list[ConditionErrors]
    templates: list[TemplateSensitivity]


def anatomy(run: str | os.PathLike[str], calibrate: bool = True) -> ErrorAnalysis:
    """Return what the errors of a run have in common, from its folder or from a run that was loaded.

    Without ``calibrate`` every ``calibration`` is None, which takes half of the time. Intervals are at ``level`` and
    take the string as the cluster.

    Returns:
        An :class:`ErrorAnalysis`. Its ``to_json`` gives the same as plain values: no NaN, and None is no data.
        Keys are added in later versions, never renamed. ``schema`` is 1.

    Raises:
        StoreError: The folder is damaged or no run.
    """
    folder = RunFolder.open(run)
    plan = plan_of(folder)
    with ReadTable.open(folder) as table:
        return analyse(folder, plan, table, calibrate)


def analyse(folder: RunFolder, plan: Plan, table: ReadTable, calibrate: bool = True) -> ErrorAnalysis:
    """Return the same for a run that is open."""
    table.read("string_index", "position", "gap", "truth", "answer", "outcome", *({"repeat"} & table.names))
    conditions: list[ConditionErrors] = []
    every: list[Reads] = []
    for condition in plan.conditions:
        stored = table.of(condition.number)
        reads = answered_reads(plan, condition, stored, calibrate)
        found = _condition(plan, condition, stored, reads)
        conditions.append(replace(found, calibration=calibrated(reads)) if calibrate else found)
        every.append(reads)
    if calibrate:
        conditions = [
            replace(one, priors=answer_priors(reads, plan.words(condition).surfaces))
            if condition.elicitation.blanks
            else one
            for one, condition, reads in zip(conditions, plan.conditions, every, strict=True)
        ]
        known = self_knowledge(plan.conditions, table, every)
        conditions = [replace(one, self_knowledge=mine) for one, mine in zip(conditions, known, strict=True)]
    if stops(plan.config):  # what a condition that stopped by itself was not asked is not missing
        missing = {row.condition: row.missing_trials for row in folder.info.results or ()}
        conditions = [replace(one, missing_trials=missing.get(one.condition, one.missing_trials)) for one in conditions]
    complete = not any(one.missing_trials or one.outcomes.get(Outcome.ERROR) for one in conditions)
    return ErrorAnalysis(
        schema=SCHEMA,
        run_id=folder.info.run_id,
        model=plan.config.model,
        backend=plan.config.backend,
        status=folder.info.status,
        complete=complete and folder.info.status == "done",
        level=LEVEL,
        conditions=conditions,
        templates=sensitivities(plan.conditions, [one.all for one in conditions], every),
    )


def _condition(plan: Plan, condition: Condition, stored: ConditionReads, reads: Reads) -> ConditionErrors:
    trials = len(np.unique(stored.string * plan.repeats + stored.repeat))
    counts = sorted(zip(OUTCOMES, stored.counts.values(), strict=True), key=lambda pair: -pair[1])
    return ConditionErrors(
        condition=condition.name,
        gap_counts=SINCE_ASKED if plan.task.family == FLIP_FLOP.family else plan.task.gap_counts,
        template=condition.template,
        shots=condition.shots,
        elicitation=condition.elicitation.name,
        turn_instructions=condition.turn_instructions,
        form=condition.form,
        language=condition.language,
        symbols=plan.config.symbols,
        outcomes={str(name): count for name, count in counts if count},
        missing_trials=plan.trials - trials,
        all=accuracy(reads, np.ones_like(reads.correct)),
        by_gap=by_number(reads, reads.gap, doubling(reads.gap)),
        by_contradictions=by_contradictions(reads),
        by_position=by_number(reads, reads.position, tenths(reads.instructions)),
        by_earlier_read=by_earlier_read(reads),
        reads_visible=condition.elicitation.sees_answers,
        by_truth=by_number(reads, reads.truth, range(plan.config.symbols + 1)),
        drift=drift_of(reads),
        rules=explained(reads),
        p_ignore=condition.spec.probabilities.get("ignore") if condition.spec else None,
        by_steps=[] if reads.steps is None or np.array_equal(reads.steps, reads.gap) else by_steps(reads),
        by_kind=by_kind(reads),
    )
