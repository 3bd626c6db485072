"""``reads.parquet`` and the result table, computed from the lines of a run in flat memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import IO

import numpy as np
from pydantic import ValidationError

from ffprompt._util.records import Reader
from ffprompt._util.storage import replacing
from ffprompt._util.validation import in_one_line
from ffprompt.backends.base import OWN, Capabilities
from ffprompt.config.run_config import make
from ffprompt.cost.prices import Bill
from ffprompt.elicitation.condition import Condition
from ffprompt.errors import StoreError
from ffprompt.evaluation.early_stopping import Course, courses
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.read_columns import ReadColumns, schema
from ffprompt.evaluation.trial_batch import Batch
from ffprompt.runs.folder import RunFolder, replace_file
from ffprompt.runs.log import Index, index, line_name, read_trial
from ffprompt.runs.records import TrialRecord
from ffprompt.scoring.aggregate import Reasons, Tally
from ffprompt.scoring.condition_result import ConditionResult
from ffprompt.scoring.invalid_replies import UnreadReplies, invalid_md
from ffprompt.scoring.repeats import Repeats
from ffprompt.scoring.response_records import ResponseRecord, check_reads
from ffprompt.scoring.score import Judged
from ffprompt.tasks.datasets import read as read_strings
from ffprompt.templates.schema import Template

_BATCH = 1024


def plan_of(folder: RunFolder) -> Plan:
    """Return the plan that a run was started with, from its own record.

    Neither templates nor data files are looked up again.

    Raises:
        StoreError: the record is damaged.
    """
    info, where = folder.info, f"run {folder.path}: run.json"
    part = {} if info.shard is None else {"shard": info.shard}
    config = make({**info.config, **part}, f"run {folder.path}: ")
    try:
        kept = {name: Template.model_validate(one.content) for name, one in info.plan.templates.items()}
    except ValidationError as error:
        raise StoreError(f"{where}: plan.templates: {in_one_line(error, Template)}") from error
    if config.template and (lacking := [name for name in config.template if name not in kept]):
        raise StoreError(f"{where}: plan.templates lacks {lacking[0]}")
    capabilities = _CAPABILITIES.read(info.capabilities, f"{where}: capabilities")
    task = config.made_task()
    strings = read_strings(str(folder.strings_path), config.trials, config.symbols, task) if config.data else None
    return Plan(config, capabilities, strings, kept)


_CAPABILITIES = Reader(Capabilities)


def rebuild(folder: RunFolder, plan: Plan, write: bool = True) -> tuple[list[ConditionResult], int]:
    """Write ``reads.parquet`` anew and return the table and how many lines disagreed with their own outcomes.

    Trials are written in the order of the plan, so that a run that was interrupted gives the same file. Without
    ``write`` only the numbers are computed.

    Raises:
        StoreError: a line of the log is damaged, or ``reads.parquet`` cannot be written.
    """
    import pyarrow.parquet as pq

    where = index(folder, len(plan))
    tallies = [Tally(bill=Bill(folder.info.price), repeats=Repeats(plan.repeats)) for _ in plan.conditions]
    unread = [UnreadReplies(plan.config.reasoning_tags or ()) for _ in plan.conditions]
    found = courses(plan)
    temperature = _temperature(folder, plan)
    differing = 0
    try:
        with (
            replacing(folder.reads_path) if write else contextlib.nullcontext(os.devnull) as place,
            folder.trials_path.open("rb") as log,
            pq.ParquetWriter(place, schema()) as out,
        ):
            for condition, start, stop in _with_lines(plan, where):
                batch = plan.batch(condition, start, stop, shots=False)
                columns = ReadColumns(plan, batch, temperature)
                for row, judged, trial in _judged(folder, plan, batch, where, log):
                    tallies[condition.number].add(batch.string(row), judged, trial.response, batch.floor_counts[row])
                    if found:
                        found[condition.number].note(start + row, judged.outcomes)
                    differing += list(judged.outcomes) != list(trial.outcomes)
                    limit = partial(plan.max_tokens, condition)
                    unread[condition.number].note(trial.name, judged, trial.response, limit)
                    columns.add(row, judged, trial)
                out.write_table(columns.table())
        if write:
            _write_invalid(folder, plan, unread)
    except OSError as error:
        raise StoreError(f"run {folder.path}: reads.parquet cannot be written ({error.strerror or error})") from error
    rows = []
    lacking = (where.offset < 0) & plan.is_own(folder.info.chunk or _BATCH)
    for condition, tally in zip(plan.conditions, tallies, strict=True):
        course = found[condition.number] if found else None
        first = condition.number * plan.trials
        wanted = lacking[first : first + (course.look * plan.repeats if course else plan.trials)]
        tally.missing = int(np.count_nonzero(wanted))
        replies = unread[condition.number]
        result = _result(condition, tally, course)
        rows.append(replace(result, unread=replies.summary(), reasoning_tags=replies.tags_used()))
    return rows, differing


def errors_of(folder: RunFolder, plan: Plan) -> Reasons:
    """Return why trials of a run have no answer so far, by its log."""
    found = Reasons()
    where = index(folder, len(plan))
    with folder.trials_path.open("rb") as log:
        for offset in where.offset[where.failed].tolist():
            found.add(str(read_trial(log, offset).error))
    return found


def _write_invalid(folder: RunFolder, plan: Plan, unread: Sequence[UnreadReplies]) -> None:
    """Write ``invalid.md``, or remove that of an earlier reckoning where nothing is invalid any more."""
    names = [condition.name for condition in plan.conditions]
    text = invalid_md(folder.path.name, list(zip(names, unread, strict=True)))
    if text is None:
        folder.invalid_path.unlink(missing_ok=True)
    else:
        replace_file(folder.invalid_path, text.encode("utf-8", "backslashreplace"))


def counted(folder: RunFolder, plan: Plan) -> list[Course]:
    """How far each condition is that stops by itself, from the lines of a run. None where all is asked."""
    if not (found := courses(plan)):
        return []
    where = index(folder, len(plan))
    with folder.trials_path.open("rb") as log:
        for condition, start, stop in _with_lines(plan, where):
            batch = plan.batch(condition, start, stop, shots=False)
            for row, judged, _ in _judged(folder, plan, batch, where, log):
                found[condition.number].note(start + row, judged.outcomes)
    return found


def _with_lines(plan: Plan, where: Index) -> Iterator[tuple[Condition, int, int]]:
    """The batches of a plan of which the log has something. A run that has stopped by itself may lack most."""
    for condition, start, stop in plan.batches(_BATCH):
        first = condition.number * plan.trials
        if (where.offset[first + start : first + stop] >= 0).any():
            yield condition, start, stop


def _result(condition: Condition, tally: Tally, course: Course | None) -> ConditionResult:
    result = replace(
        tally.result(),
        condition=condition.name,
        template=condition.template,
        shots=condition.shots,
        elicitation=condition.elicitation.name,
        turn_instructions=condition.turn_instructions,
        form=condition.form,
        answers=condition.answers if condition.answers == "schema" else None,
        language=condition.language,
    )
    if course is None:
        return result
    # The others are for a number of strings that was settled beforehand; this interval holds wherever one stops.
    result = replace(
        result,
        strings_with_an_error=None,
        zero_error_bounds=None,
        n_effective=None,
        deff=None,
        self_agreement_low=None,
        self_agreement_high=None,
        always_right_low=None,
        always_right_high=None,
        warnings=[],
        stopping=course.record(),
    )
    if result.accuracy is None:
        return result
    low, high = course.accuracy()
    method = "confidence sequence over strings, which holds wherever one stops"
    return replace(result, interval_low=low, interval_high=high, interval_method=method)


def _judged(
    folder: RunFolder, plan: Plan, batch: Batch, where: Index, log: IO[bytes]
) -> Iterator[tuple[int, Judged, TrialRecord]]:
    """Each trial of a batch that has a line, judged from its response. Raises StoreError for a damaged line."""
    for row in range(len(batch)):
        offset = int(where.offset[batch.first_trial + row])
        if offset < 0:
            continue
        trial = read_trial(log, offset)
        if trial.string != batch.digests[row]:
            raise StoreError(
                f"{folder.trials_path}: trial {trial.trial} is about string {trial.string}, "
                f"but its seed and index give {batch.digests[row]}"
            )
        try:
            check_reads(trial.response, len(batch.asked[row]), plan.config.symbols)
        except StoreError as error:
            raise StoreError(f"{line_name(log, offset)}: {error}") from None
        yield row, judge_response(plan, batch, row, trial.response), trial


def judge_response(plan: Plan, batch: Batch, row: int, response: ResponseRecord) -> Judged:
    """Return the outcomes of one trial."""
    return batch.condition.elicitation.judge(response, batch.truth(row), plan.reading(batch, row))


def _temperature(folder: RunFolder, plan: Plan) -> float | None:
    """The temperature that replies were drawn at. None where the model samples by its own settings."""
    asked = plan.config.temperature
    return None if asked == "default" or folder.info.model.get("temperature") == OWN else asked
