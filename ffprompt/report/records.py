"""What a report is made of: its runs and its rows. A row is a condition of a run, as in the result table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ffprompt._util.plain import Plain
from ffprompt._util.records import JsonObject
from ffprompt.analysis.condition_names import parts
from ffprompt.analysis.error_analysis import ConditionErrors
from ffprompt.analysis.verdict import ConditionVerdict
from ffprompt.report.curves import Curves
from ffprompt.report.labels import apart
from ffprompt.scoring.condition_result import ConditionResult

# What a row is called by, most telling first. Kinds of ``condition_names.parts``.
_KINDS = ("template", "shots", "elicitation", "form", "answers", "task", "T", "p")


@dataclass(frozen=True)
class ReportRun(Plain):
    """One run.

    Attributes:
        id: The name of its folder.
        label: What the report calls it: the last part of its model's name, and its own where models are the same.
        origin: How a reference model came to do this task, None for other models.
        incomplete: Whether a trial has no answer.
        trials: Trials of its plan. Of a run that stopped by itself, those that were asked.
        answered_reads: Reads whose call did not fail.
        prompt_tokens: Sum over its rows, None where a part of it is not known. So are ``reply_tokens`` and ``usd``.
        settings: Its settings by name, as ``run.json`` has them.
        provenance: What else ``run.json`` says, without the texts of templates and without results.
    """

    id: str
    label: str
    model: str
    backend: str
    origin: str | None
    status: str
    started: str | None
    ended: str | None
    seconds: float | None
    incomplete: bool
    missing_trials: int
    failed_trials: int
    trials: int
    reads: int
    answered_reads: int
    prompt_tokens: int | None
    reply_tokens: int | None
    usd: float | None
    data_digest: str | None
    settings: JsonObject
    provenance: JsonObject


@dataclass(frozen=True)
class ReportRow(Plain):
    """One condition of one run.

    Attributes:
        result: Its numbers, as ``run.json`` has them.
        run: The place of its run among the report's.
        label: The run's label.
        incomplete: Whether its run lacks answers.
        verdict: What it says of the model.
        length: T, the length of its strings.
        shot_length: T of the solved strings before it.
        p_ignore: Share of events that leave the state alone, None for strings of a file.
        preset: Which published test set it is, if any.
        started: When its run was started.
        letters: Letters of the task's events that read and that reset the state.
        gap_counts: What gaps count, in words.
        curves: Accuracy by gap, and whether its probabilities mean what they say.
        errors: What its errors have in common.
    """

    result: ConditionResult
    run: int
    label: str
    model: str
    incomplete: bool
    verdict: ConditionVerdict
    length: int
    shot_length: int
    p_ignore: float | None
    preset: str | None
    started: str | None
    letters: Mapping[str, str]
    gap_counts: str
    curves: Curves
    errors: ConditionErrors

    @property
    def asked(self) -> str:
        """How its reads were asked: the elicitation, the instructions a turn and the form of the prompt."""
        turns = f" by {self.result.turn_instructions}" if self.result.turn_instructions else ""
        return f"{self.result.elicitation}{turns}, {self.result.form}"

    @property
    def how(self) -> str:
        """Template, shots and how it was asked."""
        return f"{self.result.template} · {self.result.shots}-shot · {self.asked}"

    @property
    def name(self) -> str:
        """Its whole name, with the label of its run."""
        return f"{self.label} · {self.how} · {self.result.language}"

    @property
    def below(self) -> bool:
        """Whether it is below what the best rule without memory scores."""
        return self.verdict.against_floor == "below"

    def parts(self, without: Sequence[str] = ()) -> tuple[str, ...]:
        """Return what tells it from other rows, without some kinds (``T``): its label, template, shots and so on."""
        found = parts(self.result)
        return (self.label, *(found[kind] for kind in _KINDS if kind not in without))


def name_apart(rows: Sequence[ReportRow], without: Sequence[str] = ()) -> tuple[list[str], str]:
    """Return a short name for each row, of what differs between them, and what they share."""
    return apart([row.parts(without) for row in rows])
