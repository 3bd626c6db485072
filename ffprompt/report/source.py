"""Runs as a report reads them: settings, plan, where each trial's line is, and the table of reads.

Nothing is computed twice: the numbers of the table are those of ``run.json``, and the reads those of
``reads.parquet``. What is checked is that both are about the lines that are in the log today.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ffprompt._util.formatting import counted, plural_of
from ffprompt.errors import RunFailedError, StoreError
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.rescore import plan_of
from ffprompt.evaluation.runner import complete
from ffprompt.runs.folder import RunFolder
from ffprompt.runs.log import Index, index
from ffprompt.runs.reads import ConditionReads, ReadTable
from ffprompt.scoring.condition_result import ConditionResult
from ffprompt.scoring.score import Outcome

OUTCOMES = tuple(str(outcome) for outcome in Outcome)
_NUMBERS = ("accuracy", "interval_low", "interval_high", "glitch_rate", "mean_answer_mass", "floor")
_MOST = 1.001  # a sum of probabilities in float32 may pass 1 by a little


@dataclass(frozen=True)
class Source:
    """A run that can be reported: its rows are those of the result table, one a condition."""

    folder: RunFolder
    plan: Plan
    where: Index
    rows: Sequence[ConditionResult]

    @property
    def complete(self) -> bool:
        """Whether every trial has an answer."""
        return complete(self.folder.info.results or ())

    def table(self) -> ReadTable:
        """Open the table of reads.

        Raises:
            StoreError: There is none.
        """
        if not self.folder.reads_path.is_file():
            raise _unscored(self.folder)
        return ReadTable.open(self.folder)

    def reads(self, table: ReadTable) -> Iterator[ConditionReads]:
        """Yield the reads of each condition.

        Raises:
            StoreError: The table of reads is not that of the rows.
        """
        table.read("string_index", "gap", "outcome", "answer_logprobs", *({"repeat"} & table.names))
        if len(table) != sum(row.reads for row in self.rows):
            raise _stale(self.folder)
        for number, row in enumerate(self.rows):
            reads = table.of(number)
            if list(reads.counts.values()) != [row.count(name) for name in OUTCOMES]:
                raise _stale(self.folder)
            yield reads


def _stale(folder: RunFolder) -> StoreError:
    return StoreError(
        f"run {folder.path}: its table, reads.parquet and trials.jsonl do not agree; compute them anew with: "
        f"ffprompt score {folder.path}"
    )


def _unscored(folder: RunFolder) -> StoreError:
    return StoreError(f"run {folder.path}: it has no table yet; compute it with: ffprompt score {folder.path}")


def open_run(path: Path, incomplete: bool = False) -> Source:
    """Return a run that can be reported.

    Raises:
        StoreError: It is damaged, or its table is not that of its log. The message names the line where there is one.
        RunFailedError: It is not complete, unless ``incomplete`` allows that.
    """
    folder = RunFolder.open(path)
    plan = plan_of(folder)
    where = index(folder, len(plan))
    rows = folder.info.results
    if rows is None or not folder.reads_path.is_file():
        if not incomplete and not where.done.all():
            raise _unfinished(folder, int((~where.done).sum()), len(plan))
        raise _unscored(folder)
    _check_rows(folder, plan, rows)
    none = (where.offset < 0).reshape(len(plan.conditions), -1).sum(1).tolist()
    failed = (where.failed & (where.offset >= 0)).reshape(len(plan.conditions), -1).sum(1).tolist()
    for row, missing, failures in zip(rows, none, failed, strict=True):
        # A condition that stopped by itself lacks the trials after its last block.
        asked = row.stopping is not None or row.missing_trials == missing
        if not asked or bool(row.count("error")) != bool(failures):
            raise _stale(folder)
    source = Source(folder, plan, where, rows)
    if not source.complete and not incomplete:
        raise _unfinished(folder, int((~where.done).sum()), len(plan))
    return source


def _unfinished(folder: RunFolder, left: int, trials: int) -> RunFailedError:
    return RunFailedError(
        f"run {folder.path}: {left:,} of {counted(trials, 'trial')} {plural_of(left, 'has', 'have')} no answer; go on "
        "with --resume, or report what there is with --incomplete"
    )


def _check_rows(folder: RunFolder, plan: Plan, rows: Sequence[ConditionResult]) -> None:
    """Check that the rows are those of the plan's conditions and add up. Raises StoreError."""
    if [row.condition for row in rows] != [condition.name for condition in plan.conditions]:
        raise _stale(folder)
    for row in rows:
        for name in _NUMBERS:
            value = getattr(row, name)
            if value is not None and not 0 <= value <= _MOST:
                raise StoreError(
                    f"run {folder.path}: run.json gives {name} {value!r} for {row.condition}, expected a share from 0 "
                    f"to 1; compute it anew with: ffprompt score {folder.path}"
                )
        if not _adds_up(row):
            raise _stale(folder)


def _adds_up(row: ConditionResult) -> bool:
    """Whether a row's accuracy is that of its own counts, and inside its interval."""
    scored = row.reads - row.count("error")
    if not scored:
        return row.accuracy is None
    right = row.count("correct") / scored
    if row.accuracy is None or abs(row.accuracy - right) > 1e-9:
        return False
    low, high = row.interval_low, row.interval_high
    return low is None or high is None or low - 1e-9 <= right <= high + 1e-9
