"""Runs as a report reads them: settings, plan, where each trial's line is, and the reads of each condition as arrays.

Nothing is computed twice: the numbers of the table are those of ``run.json``, and the reads those of
``reads.parquet``. What is checked is that both are about the lines that are in the log today.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ffprompt.errors import RunFailedError, StoreError
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.rescore import plan_of
from ffprompt.evaluation.runner import complete
from ffprompt.runs.folder import RunFolder
from ffprompt.runs.log import Index, index
from ffprompt.scoring.score import Outcome

if TYPE_CHECKING:
    import pyarrow as pa

OUTCOMES = tuple(str(outcome) for outcome in Outcome)
_COLUMNS = ("string_index", "gap", "outcome", "answer_logprobs", "template", "shots", "elicitation", "length")
_NUMBERS = ("accuracy", "interval_low", "interval_high", "glitch_rate", "mean_answer_mass", "floor")
_MOST = 1.001  # a sum of probabilities in float32 may pass 1 by a little


@dataclass(frozen=True)
class Reads:
    """The reads of one condition, (n,) each: trial of the condition, string, gap, place of outcome in ``OUTCOMES``."""

    trial: NDArray[np.int64]
    string: NDArray[np.int64]
    gap: NDArray[np.int64]
    outcome: NDArray[np.int64]
    _logprobs: pa.ChunkedArray

    @cached_property
    def logprobs(self) -> NDArray[np.float64] | None:
        """(n, answers) natural log-probabilities, NaN where only a bound is known; None where the model gave none."""
        import pyarrow.compute as pc

        column = self._logprobs.combine_chunks()
        if not len(column) or column.null_count == len(column):
            return None
        if column.null_count:
            column = column.fill_null([None] * len(column.drop_null()[0].as_py()))
        values = column.flatten()
        if pc.any(pc.is_nan(values)).as_py():
            raise StoreError("reads.parquet: an answer_logprobs is NaN, which is no probability; look at trials.jsonl")
        sizes = np.diff(column.offsets.to_numpy())
        if (sizes != sizes[0]).any():
            raise StoreError("reads.parquet: answer_logprobs of different lengths; make it anew with: ffprompt score")
        return np.asarray(values.to_numpy(zero_copy_only=False), float).reshape(-1, int(sizes[0]))


@dataclass(frozen=True)
class Source:
    """A run that can be reported: its rows are those of the result table, one a condition."""

    folder: RunFolder
    plan: Plan
    where: Index
    rows: Sequence[Mapping[str, Any]]

    @property
    def complete(self) -> bool:
        """Whether every trial has an answer."""
        return complete(self.folder.info.results or ())

    def reads(self) -> Iterator[tuple[int, Reads]]:
        """(condition, its reads) in order. Raises StoreError where the table of reads is not that of the rows."""
        import pyarrow.parquet as pq

        path, start = self.folder.reads_path, 0
        try:
            # A run of an earlier version has no such column, and has asked each prompt once.
            columns = [*_COLUMNS, *({"repeat"} & set(pq.read_schema(path).names))]
            found = pq.read_table(path, columns=columns, read_dictionary=["outcome", "template", "elicitation"])
        except FileNotFoundError:
            raise _unscored(self.folder) from None
        except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
            raise StoreError(f"{path}: not readable ({error}); run: ffprompt score {self.folder.path}") from error
        if found.num_rows != sum(row["reads"] for row in self.rows):
            raise _stale(self.folder)
        for number, row in enumerate(self.rows):
            part = found.slice(start, row["reads"])
            start += row["reads"]
            reads = _arrays(part, self.plan.repeats)
            counts = np.bincount(reads.outcome, minlength=len(OUTCOMES)).tolist()
            if counts != [row["outcomes"].get(name, 0) for name in OUTCOMES] or not _same_condition(part, row):
                raise _stale(self.folder)
            yield number, reads


def _same_condition(part: pa.Table, row: Mapping[str, Any]) -> bool:
    """Whether the first and last of some reads are of the row's condition."""
    ends = [part.slice(at, 1).to_pylist()[0] for at in (0, part.num_rows - 1)] if part.num_rows else []
    return all(end[name] == row[name] for end in ends for name in ("template", "shots", "elicitation"))


def _arrays(part: pa.Table, repeats: int) -> Reads:
    names = part["outcome"].unify_dictionaries().combine_chunks()
    known = {name: place for place, name in enumerate(OUTCOMES)}
    words = names.dictionary.to_pylist()
    if unknown := [word for word in words if word not in known]:
        raise StoreError(f"reads.parquet: outcome {unknown[0]!r} is unknown to this version")
    places = np.array([known[word] for word in words] or [0], np.int64)
    string = part["string_index"].to_numpy().astype(np.int64)
    repeat = part["repeat"].to_numpy().astype(np.int64) if "repeat" in part.column_names else 0
    return Reads(
        string * repeats + repeat,
        string,
        part["gap"].to_numpy().astype(np.int64),
        places[names.indices.to_numpy()],
        part["answer_logprobs"],
    )


def _stale(folder: RunFolder) -> StoreError:
    return StoreError(
        f"run {folder.path}: its table, reads.parquet and trials.jsonl do not agree; compute them anew with: "
        f"ffprompt score {folder.path}"
    )


def _unscored(folder: RunFolder) -> StoreError:
    return StoreError(f"run {folder.path}: it has no table yet; compute it with: ffprompt score {folder.path}")


def open_run(path: Path, incomplete: bool = False) -> Source:
    """A run for a report.

    Raises StoreError for a run that is damaged or whose table is not that of its log (naming the line where there is
    one), RunFailedError for one that is not complete, unless ``incomplete``.
    """
    folder = RunFolder.open(path)
    plan = plan_of(folder)
    where = index(folder, len(plan))
    rows = folder.info.to_json().get("results")
    if not isinstance(rows, list) or not folder.reads_path.is_file():
        if not incomplete and not where.done.all():
            raise _unfinished(folder, int((~where.done).sum()), len(plan))
        raise _unscored(folder)
    _check_rows(folder, plan, rows)
    none = (where.offset < 0).reshape(len(plan.conditions), -1).sum(1).tolist()
    failed = (where.failed & (where.offset >= 0)).reshape(len(plan.conditions), -1).sum(1).tolist()
    for row, missing, failures in zip(rows, none, failed, strict=True):
        # A condition that stopped by itself lacks the trials after its last block, which nobody wants.
        asked = bool(row.get("stopping")) or row["missing_trials"] == missing
        if not asked or bool(row["outcomes"].get("error")) != bool(failures):
            raise _stale(folder)
    source = Source(folder, plan, where, rows)
    if not source.complete and not incomplete:
        raise _unfinished(folder, int((~where.done).sum()), len(plan))
    return source


def _unfinished(folder: RunFolder, left: int, trials: int) -> RunFailedError:
    return RunFailedError(
        f"run {folder.path}: {left:,} of {trials:,} trials have no answer; go on with --resume, or report "
        "what there is with --incomplete"
    )


def _check_rows(folder: RunFolder, plan: Plan, rows: Sequence[Any]) -> None:
    """The rows are those of the plan's conditions and hold numbers. Raises StoreError."""
    try:
        if [row["condition"] for row in rows] != [condition.name for condition in plan.conditions]:
            raise _stale(folder)
        for row in rows:
            for name in _NUMBERS:
                value = row[name]
                if value is not None and not 0 <= value <= _MOST:
                    raise StoreError(
                        f"run {folder.path}: run.json gives {name} {value!r} for {row['condition']}; a share from 0 to "
                        f"1 is wanted; compute it anew with: ffprompt score {folder.path}"
                    )
            if not _adds_up(row):
                raise _stale(folder)
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"run {folder.path}: the table in run.json is damaged ({error!r:.80})") from error


def _adds_up(row: Mapping[str, Any]) -> bool:
    """Whether a row's accuracy is that of its own counts, and inside its interval."""
    scored = row["reads"] - row["outcomes"].get("error", 0)
    if not scored:
        return row["accuracy"] is None
    right: float = row["outcomes"].get("correct", 0) / scored
    if row["accuracy"] is None or abs(row["accuracy"] - right) > 1e-9:
        return False
    return row["interval_low"] is None or bool(row["interval_low"] - 1e-9 <= right <= row["interval_high"] + 1e-9)
