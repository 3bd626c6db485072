"""The rows of ``reads.parquet``: a value of every column for each read of a batch of trials.

Most columns are the same for all reads of a batch, and some for all reads of a trial. Each value is made once, however
many reads have it: this is most of what scoring a run costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ffprompt._util.files import printable
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.trial_batch import Batch
from ffprompt.runs.columns import READS
from ffprompt.runs.records import TrialRecord
from ffprompt.scoring.response_records import DialogueRecord, ReplyRecord, ResponseRecord, ScoresRecord
from ffprompt.scoring.score import Judged, margin, mass
from ffprompt.tasks.base import PROBABILITIES

if TYPE_CHECKING:
    import pyarrow as pa

Columns = dict[str, list[Any]]  # by name, a value for each read
Value = str | int | float | None

_OF_EACH_READ = (
    "read_index", "proposed", "position", "gap", "contradictions", "earlier_reads", "truth", "answer", "final_answer",
    "outcome", "reason", "ended", "answer_logprobs", "answer_mass", "margin", "argmax_token", "argmax_symbol",
)  # fmt: skip
_OF_A_TRIAL = ("trial_id", "string_index", "string", "repeat", "prompt")


def schema() -> pa.Schema:
    """Return the columns of ``reads.parquet`` with their types."""
    import pyarrow as pa

    return pa.schema(
        [
            (name, pa.list_(pa.float64()) if column.kind == "list" else getattr(pa, column.kind)())
            for name, column in READS.items()
        ]
    )


class ReadColumns:
    """The rows of one batch, trial by trial. ``temperature`` is what replies were drawn at."""

    def __init__(self, plan: Plan, batch: Batch, temperature: float | None) -> None:
        self._plan, self._batch = plan, batch
        self._columns: Columns = {name: [] for name in (*_OF_A_TRIAL, *_OF_EACH_READ)}
        self._same = printable(_of_the_batch(plan, batch, temperature))

    def add(self, row: int, judged: Judged, trial: TrialRecord) -> None:
        """Add the reads of one trial."""
        columns, reads = self._columns, len(judged.outcomes)
        for name, value in _of_a_trial(self._plan, self._batch, row, trial).items():
            columns[name] += [value] * reads
        for name, values in _of_each_read(self._batch, row, judged, trial.response).items():
            columns[name] += values

    def table(self) -> pa.Table:
        """Return the rows, in the order in which their trials were added."""
        import pyarrow as pa

        kinds, rows = schema(), len(self._columns["read_index"])
        arrays = [
            pa.array(self._columns[field.name], field.type)
            if field.name in self._columns
            else pa.repeat(pa.scalar(self._same[field.name], field.type), rows)
            for field in kinds
        ]
        return pa.table(arrays, schema=kinds)


def _of_the_batch(plan: Plan, batch: Batch, temperature: float | None) -> dict[str, Value]:
    """The columns that are the same for all reads of a condition."""
    condition = batch.condition
    spec = condition.spec
    return {
        "model": plan.config.model,
        "template": condition.template,
        "shots": condition.shots,
        "elicitation": condition.elicitation.name,
        "form": condition.form,
        "length": condition.length,
        **{f"p_{name}": spec.probabilities.get(name) if spec else None for name in PROBABILITIES},
        "symbols": plan.config.symbols,
        "seed": plan.seed,
        "shot_length": condition.shot_length if condition.shots else None,
        "shared_shots": plan.config.shared_shots if condition.shots else None,
        "next_read": plan.config.next_read if "next_read" in condition.elicitation.settings else None,
        "temperature": temperature if "temperature" in condition.elicitation.settings else None,
        "data": plan.config.data,
        "turn_instructions": condition.turn_instructions,
        "answers": condition.answers,
        "condition": condition.number,
    }


def _of_a_trial(plan: Plan, batch: Batch, row: int, trial: TrialRecord) -> dict[str, Value]:
    """The columns that are the same for all reads of a trial."""
    return {
        "trial_id": printable(batch.trial_id(row, plan.seed)),
        "string_index": batch.string(row),
        "string": batch.digests[row],
        "repeat": batch.repeat(row),
        "prompt": printable(trial.prompt),
    }


def _of_each_read(batch: Batch, row: int, judged: Judged, response: ResponseRecord) -> Columns:
    """The columns that differ from read to read."""
    positions = batch.positions(row).tolist()
    none = [None] * len(positions)
    scored = response if isinstance(response, ScoresRecord) else None
    scores = None if scored is None else scored.known
    # Where an answer is only bounded, neither the mass of all nor the margin is known.
    whole = [[v for v in read if v is not None] if None not in read else None for read in scores or ()]
    return {
        "read_index": batch.asked[row].tolist(),
        "proposed": _proposed(batch, row),
        "position": positions,
        **{name: batch.covariate(name, row) for name in ("gap", "contradictions", "earlier_reads")},
        "truth": batch.truth(row),
        "answer": list(judged.answers),
        "final_answer": none if judged.final is None else list(judged.final),
        "outcome": list(judged.outcomes),
        "reason": _reasons(judged, len(positions)),
        "ended": _ended(response, len(positions)),
        "answer_logprobs": none if scores is None else scores,
        "answer_mass": none if scores is None else [read and mass(read) for read in whole],
        "margin": none if scores is None else [read and margin(read) for read in whole],
        "argmax_token": none if scored is None else scored.argmax,
        "argmax_symbol": none if scored is None else scored.argmax_symbol,
    }


def _proposed(batch: Batch, row: int) -> list[int | None]:
    """The answers that were shown to be judged. None where the model was to answer by itself."""
    elicitation = batch.condition.elicitation
    if elicitation.answers_reads:
        return [None] * len(batch.asked[row])
    string = batch.strings.string(row)
    return [elicitation.proposed(string, read, batch.string(row)) for read in batch.asked[row].tolist()]


def _reasons(judged: Judged, reads: int) -> list[str | None]:
    """Why each read has no answer."""
    return printable(list(judged.reasons)) if judged.reasons else [printable(judged.reason)] * reads


def _ended(response: ResponseRecord, reads: int) -> list[str | None]:
    """Why the reply ended that holds each read, in the words of whoever wrote it. Of a dialogue, the turn's."""
    if isinstance(response, DialogueRecord) and response.error is None:
        return [printable(turn.ended) for turn in response.turns for _ in range(turn.reads)]
    return [printable(response.ended) if isinstance(response, ReplyRecord) else None] * reads
