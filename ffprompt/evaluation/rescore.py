"""``reads.parquet`` and the result table, computed from the lines of a run in flat memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from ffprompt._util.files import printable
from ffprompt._util.storage import replacing
from ffprompt.backends.base import OWN, Capabilities
from ffprompt.config.run_config import make
from ffprompt.cost.prices import Bill, recorded
from ffprompt.errors import StoreError
from ffprompt.evaluation.early_stopping import Course, courses
from ffprompt.evaluation.plan import Batch, Condition, Plan
from ffprompt.runs.folder import Index, RunFolder, index, read_at, replace_file
from ffprompt.scoring.aggregate import Reasons, Tally
from ffprompt.scoring.invalid_replies import Unread, invalid_md
from ffprompt.scoring.repeats import INTERVALS, Repeats
from ffprompt.scoring.score import Judged, Reading, judge, known, margin, mass
from ffprompt.tasks.datasets import read as read_strings
from ffprompt.templates.template import Template

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 1024

# The columns of reads.parquet: added to in later versions, never renamed. The README says what each one holds.
COLUMNS = {
    "trial_id": "string", "model": "string", "template": "string", "shots": "int16", "elicitation": "string",
    "form": "string", "length": "int32", "p_write": "float64", "p_read": "float64", "p_ignore": "float64",
    "symbols": "int16", "seed": "int64", "string_index": "int64", "read_index": "int32", "position": "int32",
    "gap": "int32", "truth": "int16", "answer": "int16", "outcome": "string", "answer_logprobs": "list",
    "answer_mass": "float64", "margin": "float64", "argmax_token": "int64", "argmax_symbol": "int16",
    "reason": "string", "shot_length": "int32", "shared_shots": "bool_", "next_read": "string",
    "temperature": "float64", "data": "string", "turn_instructions": "int32", "string": "string",
    "contradictions": "int32", "earlier_reads": "int32", "ended": "string", "answers": "string", "repeat": "int16",
    "prompt": "string",
}  # fmt: skip


def plan_of(folder: RunFolder) -> Plan:
    """The plan that a run was started with, from its own record: neither templates nor data files are looked up again.

    Raises StoreError where the record is damaged.
    """
    info = folder.info
    try:
        config = make(info["config"], f"run {folder.path}: ")
        kept = {name: Template.model_validate(one["content"]) for name, one in info["plan"]["templates"].items()}
        strings = read_strings(str(folder.strings_path), config.trials, config.symbols) if config.data else None
        return Plan(config, Capabilities(**info["capabilities"]), strings, kept)
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        raise StoreError(f"run {folder.path}: run.json lacks or garbles something ({error!r:.80})") from error


def rebuild(folder: RunFolder, plan: Plan, write: bool = True) -> tuple[list[dict[str, Any]], int]:
    """Write ``reads.parquet`` anew and return the table's rows and how many lines disagreed with their own outcomes.

    Trials are written in the order of the plan, so that a run that was interrupted gives the same file. Without
    ``write`` only the numbers are computed.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    where = index(folder, len(plan))
    price = recorded(folder.info.get("price"))
    tallies = [Tally(bill=Bill(price), repeats=Repeats(plan.repeats)) for _ in plan.conditions]
    unread = [Unread(plan.config.reasoning_tags or ()) for _ in plan.conditions]
    found = courses(plan)
    temperature = _temperature(folder, plan)
    differing = 0
    try:
        with (
            replacing(folder.reads_path) if write else contextlib.nullcontext(os.devnull) as place,
            folder.trials_path.open("rb") as log,
            pq.ParquetWriter(place, _schema()) as out,
        ):
            for condition, start, stop in _with_lines(plan, where):
                batch = plan.batch(condition, start, stop, shots=False)
                columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
                for row, judged, line in _judged(folder, plan, batch, where, log, tallies[condition.number]):
                    if found:
                        found[condition.number].note(start + row, judged.outcomes)
                    differing += [str(outcome) for outcome in judged.outcomes] != line["outcomes"]
                    trial = str(line.get("trial_id", line["trial"]))
                    unread[condition.number].note(trial, judged, line, partial(plan.max_tokens, condition))
                    _add_reads(columns, plan, batch, row, judged, line, temperature)
                out.write_table(pa.table(columns, schema=_schema()))
        if write:
            _write_invalid(folder, plan, unread)
    except OSError as error:
        raise StoreError(f"run {folder.path}: reads.parquet cannot be written ({error.strerror or error})") from error
    rows = []
    for condition, tally in zip(plan.conditions, tallies, strict=True):
        course = found[condition.number] if found else None
        first = condition.number * plan.trials
        wanted = where.offset[first : first + (course.look * plan.repeats if course else plan.trials)]
        tally.missing = int(np.count_nonzero(wanted < 0))
        rows.append(_row(condition, tally, course) | unread[condition.number].row())
    return rows, differing


def errors_of(folder: RunFolder, plan: Plan) -> Reasons:
    """Why trials of a run have no answer so far, by its log."""
    found = Reasons()
    where = index(folder, len(plan))
    with folder.trials_path.open("rb") as log:
        for offset in where.offset[where.failed].tolist():
            found.add(str(read_at(log, offset).get("error")))
    return found


def _write_invalid(folder: RunFolder, plan: Plan, unread: Sequence[Unread]) -> None:
    """Write ``invalid.md``, or remove that of an earlier reckoning where nothing is invalid any more."""
    names = [condition.name for condition in plan.conditions]
    text = invalid_md(folder.path.name, list(zip(names, unread, strict=True)))
    if text is None:
        folder.invalid_path.unlink(missing_ok=True)
    else:
        replace_file(folder.invalid_path, text.encode("utf-8", "backslashreplace"))


def counted(folder: RunFolder, plan: Plan) -> list[Course]:
    """How far each condition is that stops by itself, from the lines of a run; none where all is asked."""
    if not (found := courses(plan)):
        return []
    where = index(folder, len(plan))
    with folder.trials_path.open("rb") as log:
        for condition, start, stop in _with_lines(plan, where):
            batch = plan.batch(condition, start, stop, shots=False)
            for row, judged, _ in _judged(folder, plan, batch, where, log, Tally(repeats=Repeats(plan.repeats))):
                found[condition.number].note(start + row, judged.outcomes)
    return found


def _with_lines(plan: Plan, where: Index) -> Iterator[tuple[Condition, int, int]]:
    """The batches of a plan of which the log has something; a run that has stopped by itself may lack most."""
    for condition, start, stop in plan.batches(_BATCH):
        first = condition.number * plan.trials
        if (where.offset[first + start : first + stop] >= 0).any():
            yield condition, start, stop


def _row(condition: Condition, tally: Tally, course: Course | None) -> dict[str, Any]:
    numbers = tally.row()
    if course is not None:
        # The others are for a number of strings that was settled beforehand; this interval holds wherever one stops.
        fixed = ("strings_with_an_error", "zero_error_bounds", "n_effective", "deff", *INTERVALS)
        numbers |= dict.fromkeys(fixed) | {"warnings": []}
        if numbers["accuracy"] is not None:
            numbers["interval_low"], numbers["interval_high"] = course.accuracy()
            numbers["interval_method"] = "confidence sequence over strings, which holds wherever one stops"
        numbers["stopping"] = course.record()
    return {
        "condition": condition.name,
        "template": condition.template,
        "shots": condition.shots,
        "elicitation": condition.elicitation,
        "turn_instructions": condition.turn_instructions,
        "form": condition.form,
        **({"answers": condition.answers} if condition.answers == "schema" else {}),
        "language": condition.language,
        **numbers,
    }


def _judged(
    folder: RunFolder, plan: Plan, batch: Batch, where: Index, log: IO[bytes], tally: Tally
) -> Iterator[tuple[int, Judged, dict[str, Any]]]:
    """Each trial of a batch that has a line, judged from its raw answer and counted."""
    for row in range(len(batch)):
        offset = int(where.offset[batch.first_trial + row])
        if offset < 0:
            continue
        line = read_at(log, offset)
        if line.get("string") != batch.digests[row]:
            raise StoreError(
                f"{folder.trials_path}: trial {line['trial']} is about string {line.get('string')}, "
                f"but its seed and index give {batch.digests[row]}"
            )
        try:
            judged = judge_line(plan, batch, row, line)
            tally.add(batch, row, judged, line)
            line["outcomes"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(f"{folder.trials_path}: trial {line['trial']}: damaged line ({error!r})") from error
        yield row, judged, line


def judge_line(plan: Plan, batch: Batch, row: int, line: dict[str, Any]) -> Judged:
    """The outcomes of one trial."""
    condition = batch.condition
    words = plan.words(condition)
    reading = Reading(
        words.surfaces,
        completes=condition.form == "completion",
        one=condition.elicitation == "next",
        ignore_case=words.template.reply.ignore_case,
        structured=condition.answers == "schema",
        tags=plan.config.reasoning_tags or (),
    )
    return judge(line, batch.truth(row), reading)


def _temperature(folder: RunFolder, plan: Plan) -> float | None:
    """The temperature that replies were drawn at; None where the model samples by its own settings."""
    asked = plan.config.temperature
    return None if asked == "default" or folder.info["model"].get("temperature") == OWN else asked


def _add_reads(
    columns: dict[str, list[Any]],
    plan: Plan,
    batch: Batch,
    row: int,
    judged: Judged,
    line: dict[str, Any],
    temperature: float | None,
) -> None:
    each = _of_each_read(batch, row, judged, line)
    for name, value in _of_all_reads(plan, batch, row, line, temperature).items():
        columns[name] += [printable(value)] * len(each["position"])
    for name, values in each.items():
        columns[name] += values


def _of_all_reads(
    plan: Plan, batch: Batch, row: int, line: dict[str, Any], temperature: float | None
) -> dict[str, Any]:
    """The columns that are the same for all reads of a trial."""
    condition: Condition = batch.condition
    spec = condition.spec
    return {
        "trial_id": batch.trial_id(row, plan.seed),
        "model": plan.config.model,
        "template": condition.template,
        "shots": condition.shots,
        "elicitation": condition.elicitation,
        "form": condition.form,
        "length": condition.length,
        "p_write": spec.p_write if spec else None,
        "p_read": spec.p_read if spec else None,
        "p_ignore": spec.p_ignore if spec else None,
        "symbols": plan.config.symbols,
        "seed": plan.seed,
        "string_index": batch.string(row),
        "shot_length": condition.shot_length if condition.shots else None,
        "shared_shots": plan.config.shared_shots if condition.shots else None,
        "next_read": plan.config.next_read if condition.elicitation == "next" else None,
        "temperature": temperature if condition.elicitation != "forced" else None,
        "data": plan.config.data,
        "turn_instructions": condition.turn_instructions,
        "string": batch.digests[row],
        "answers": condition.answers,
        "repeat": batch.repeat(row),
        "prompt": line.get("prompt"),
    }


def _of_each_read(batch: Batch, row: int, judged: Judged, line: dict[str, Any]) -> dict[str, list[Any]]:
    """The columns that differ from read to read."""
    positions = batch.positions(row).tolist()
    none = [None] * len(positions)
    scores = known(line) if "logprobs" in line else None
    # Where an answer is only bounded, neither the mass of all nor the margin is known.
    whole = [[v for v in read if v is not None] if None not in read else None for read in scores or ()]
    return {
        "read_index": batch.asked[row].tolist(),
        "position": positions,
        "gap": batch.strings.gaps[row, positions].tolist(),
        "contradictions": batch.contradictions[row, positions].tolist(),
        "earlier_reads": batch.earlier_reads[row, positions].tolist(),
        "truth": batch.truth(row),
        "answer": list(judged.answers),
        "outcome": [str(outcome) for outcome in judged.outcomes],
        "reason": printable(list(judged.reasons) or [judged.reason] * len(positions)),
        "ended": printable(_ended(line, len(positions))),
        "answer_logprobs": none if scores is None else scores,
        "answer_mass": none if scores is None else [read and mass(read) for read in whole],
        "margin": none if scores is None else [read and margin(read) for read in whole],
        "argmax_token": none if scores is None else line["argmax"],
        "argmax_symbol": none if scores is None else line["argmax_symbol"],
    }


def _ended(line: dict[str, Any], reads: int) -> list[str | None]:
    """Why the reply ended that holds each read, in the words of whoever wrote it; of a dialogue, the turn's."""
    if "turns" not in line or "error" in line:
        return [line.get("ended")] * reads
    return [turn.get("ended") for turn in line["turns"] for _ in range(turn["reads"])]


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [(name, pa.list_(pa.float64()) if kind == "list" else getattr(pa, kind)()) for name, kind in COLUMNS.items()]
    )
