"""The reads of a run as arrays, condition by condition, beside the settings that they were asked with.

Only the columns that a comparison needs are read from ``reads.parquet``; the rest comes from ``run.json``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ffprompt.backends.base import OWN
from ffprompt.errors import IncompleteRunError, StoreError
from ffprompt.runs.folder import RunFolder
from ffprompt.scoring.score import Outcome
from ffprompt.tasks.flipflop import Spec

if TYPE_CHECKING:
    import pyarrow as pa

Ints = NDArray[np.int64]
OUTCOMES = tuple(Outcome)
CORRECT, ERROR = OUTCOMES.index(Outcome.CORRECT), OUTCOMES.index(Outcome.ERROR)

# Settings that tell the conditions of one run apart, under their names in run.json and reads.parquet.
_OF_A_CONDITION = (
    "template", "shots", "elicitation", "form", "length", "p_write", "p_read", "p_ignore", "turn_instructions",
)  # fmt: skip
# Settings that say which model answered, and how it was run as far as that may change an answer.
OF_THE_MODEL = (
    "model", "backend", "revision", "dtype", "quantization", "lora", "weights", "base_url", "api", "engine_arg",
    "reasoning_effort", "thinking", "reasoning_room", "top_logprobs", "extra_body", "reasoning_tags",
)  # fmt: skip
# What a backend knows a model file or folder by, whatever its name.
_WEIGHTS = ("sha256", "gguf_sha256")


@dataclass(frozen=True)
class Source:
    """The run that answers come from; ``complete`` where every trial has one."""

    path: Path
    run_id: str
    model: str
    complete: bool
    info: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Cell:
    """One condition of one run: its settings and its reads, (n,) each.

    ``string`` and ``read``: which read of which string, numbers from 0, those of each repeat of a prompt higher by the
    string's length than those of the one before; ``digest``: of the string, None where the run
    was made before reads.parquet had it; ``outcome``: index into ``OUTCOMES``; ``prompt``: the digest of what the model
    was shown, where it is known.
    """

    source: Source
    number: int
    name: str
    language: str
    settings: Mapping[str, Any]
    string: Ints
    read: Ints
    digest: NDArray[np.uint64] | None
    outcome: Ints
    prompt: NDArray[np.object_] | None = None

    @property
    def sampled(self) -> bool:
        """Whether the strings follow from seed and number; those of a file do not."""
        return self.settings["p_ignore"] is not None

    @cached_property
    def counts(self) -> dict[str, int]:
        """Reads with each outcome."""
        found = np.bincount(self.outcome, minlength=len(OUTCOMES)).tolist()
        return {str(name): count for name, count in zip(OUTCOMES, found, strict=True)}


def cells_of(run: str | os.PathLike[str], incomplete: bool = False) -> list[Cell]:
    """Every condition of a run, in its order, those without a read too.

    Raises StoreError where the folder is no run, is damaged or its table does not agree with its record, and
    IncompleteRunError where trials have no answer, unless ``incomplete`` asks for what there is.
    """
    folder = RunFolder.open(Path(run))
    info = folder.info.to_json()
    complete = info.get("status") == "done"
    if not (complete or incomplete):
        raise IncompleteRunError(
            f"run {folder.path}: it is {info.get('status')}, not done; finish it with --resume, or compare what there "
            "is with --incomplete"
        )
    table = _table(folder, complete)
    try:
        source = Source(folder.path, str(info["run_id"]), str(info["config"]["model"]), complete, info)
        made = _cells(source, table)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise StoreError(f"run {folder.path}: run.json lacks or garbles something ({error!r:.80})") from error
    if not any(len(cell.outcome) for cell in made):
        raise IncompleteRunError(f"run {folder.path}: no read in it; run it with --resume")
    return made


def _table(folder: RunFolder, complete: bool) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    again = f"make it again with: ffprompt score {folder.path}"
    if not folder.reads_path.is_file():
        raise StoreError(f"run {folder.path}: no reads.parquet yet; {again}")
    wanted = [*_OF_A_CONDITION, "string_index", "read_index", "outcome", "string", "repeat", "prompt"]
    try:
        if not complete and folder.reads_path.stat().st_mtime < folder.trials_path.stat().st_mtime:
            raise StoreError(f"{folder.reads_path}: older than the log of this unfinished run; {again}")
        with pq.ParquetFile(folder.reads_path) as file:
            there = set(file.schema_arrow.names)
        # Columns that came later: without them nothing was set or repeated, and strings have no digest.
        if missing := set(wanted) - there - {"turn_instructions", "string", "repeat", "prompt"}:
            raise StoreError(f"{folder.reads_path}: no column {sorted(missing)[0]}; {again}")
        words = [name for name in ("template", "elicitation", "form", "outcome", "string", "prompt") if name in there]
        return pq.read_table(
            folder.reads_path, columns=[name for name in wanted if name in there], read_dictionary=words
        )
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{folder.reads_path}: not readable ({' '.join(str(error).split())}); {again}") from error


def _cells(source: Source, table: pa.Table) -> list[Cell]:
    conditions = source.info["plan"]["conditions"]
    rows = _rows_by_condition(source, table, conditions)
    string, read = (_integers(source, table, name) for name in ("string_index", "read_index"))
    repeat = _integers(source, table, "repeat") if "repeat" in table.column_names else np.zeros_like(read)
    outcome, digest = _outcomes(source, table), _digests(source, table)
    known = "prompt" in table.column_names and table.column("prompt").null_count < len(table)
    prompt = table.column("prompt").to_numpy() if known else None
    results = source.info.get("results") or []
    made = []
    for number, condition in enumerate(conditions):
        mine = rows.get(number, slice(0, 0))
        cell = Cell(
            source, number, condition["name"], _language(condition), settings_of(source.info, condition),
            string[mine], repeat[mine] * condition["length"] + read[mine],
            None if digest is None else digest[mine], outcome[mine],
            None if prompt is None else prompt[mine],
        )  # fmt: skip
        if source.complete and results[number]["outcomes"] != cell.counts:
            raise StoreError(
                f"run {source.path}: reads.parquet and run.json disagree about {cell.name}; compute both again with: "
                f"ffprompt score {source.path}"
            )
        made.append(cell)
    return made


def _language(condition: Mapping[str, Any]) -> str:
    if condition["p_ignore"] is None:
        return f"file({condition['length']})"
    probabilities = (condition["p_write"], condition["p_read"], condition["p_ignore"])
    return str(Spec(condition["length"], *probabilities, condition["symbols"]))


def settings_of(info: Mapping[str, Any], condition: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting that can change an answer, by name; None for those that play no part in this condition."""
    config, identity = info["config"], info["model"]
    shots, elicitation = condition["shots"], condition["elicitation"]
    versions = {made["name"]: made["digest"] for made in info["plan"]["templates"].values()}
    model = {name: identity.get(name, config.get(name)) for name in OF_THE_MODEL if name != "weights"}
    # Nothing was said of it, or there was nothing to leave room for.
    model |= {name: None for name in ("thinking", "reasoning_room") if model[name] in (OWN, 0)}
    temperature = OWN if identity.get("temperature") == OWN else config["temperature"]
    return {
        **{name: condition.get(name) for name in _OF_A_CONDITION},
        **model,
        # As given, and not as a package's file: the name is what a user knows it by.
        "model": config["model"],
        "weights": {name: identity[name] for name in _WEIGHTS if identity.get(name) is not None} or None,
        "template_version": versions[condition["template"]],
        "symbols": condition["symbols"],
        "seed": config["seed"],
        "repeats": config.get("repeats", 1),
        "shot_length": config["shot_length"] if shots else None,
        "shared_shots": config["shared_shots"] if shots else None,
        "next_read": config["next_read"] if elicitation == "next" else None,
        "temperature": None if elicitation == "forced" else temperature,
        "max_tokens": None if elicitation == "forced" else config["max_tokens"],
        "answers": None if elicitation == "forced" else config.get("answers", "text"),
    }


def _rows_by_condition(
    source: Source, table: pa.Table, conditions: Sequence[Mapping[str, Any]]
) -> dict[int, slice | Ints]:
    """Which rows of the table are of which condition, without looking at rows one by one."""
    import pyarrow as pa

    if not len(table):
        return {}
    code = np.zeros(len(table), np.int64)
    for name in _OF_A_CONDITION:
        if name not in table.column_names:
            continue
        column = table.column(name).combine_chunks()
        column = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        code = code * (len(column.dictionary) + 1) + column.indices.fill_null(len(column.dictionary)).to_numpy()
    known = {_key(condition): number for number, condition in enumerate(conditions)}
    # Conditions stand one after another, unless somebody has sorted the table.
    starts = np.flatnonzero(np.diff(code, prepend=code[0] - 1))
    ends = np.append(starts[1:], len(code))
    values, blocks, counts = np.unique(code[starts], return_index=True, return_counts=True)
    found: dict[int, slice | Ints] = {}
    for value, block, count in zip(values.tolist(), blocks.tolist(), counts.tolist(), strict=True):
        start = int(starts[block])
        (row,) = table.slice(start, 1).to_pylist()
        number = known.get(_key(row))
        if number is None:
            raise StoreError(f"{source.path / 'reads.parquet'}, row {start + 1}: of a condition that run.json lacks")
        found[number] = slice(start, int(ends[block])) if count == 1 else np.flatnonzero(code == value)
    return found


def _key(values: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(values.get(name) for name in _OF_A_CONDITION)


def _integers(source: Source, table: pa.Table, name: str) -> Ints:
    column = table.column(name)
    if column.null_count:
        raise StoreError(f"{source.path / 'reads.parquet'}: {column.null_count} rows without {name}")
    return np.asarray(column.to_numpy(), np.int64)


def _outcomes(source: Source, table: pa.Table) -> Ints:
    column = table.column("outcome").unify_dictionaries().combine_chunks()
    names = column.dictionary.to_pylist()
    wrong = [name for name in names if name not in OUTCOMES]
    if wrong or column.null_count:
        raise StoreError(f"{source.path / 'reads.parquet'}: outcome {wrong[0] if wrong else None!r} is unknown")
    codes = np.array([OUTCOMES.index(name) for name in names], np.int64)
    return codes[column.indices.to_numpy()] if names else np.zeros(0, np.int64)


def _digests(source: Source, table: pa.Table) -> NDArray[np.uint64] | None:
    """The digests as numbers; a look at each string, not at each read."""
    if "string" not in table.column_names:
        return None
    column = table.column("string").unify_dictionaries().combine_chunks()
    if column.null_count:
        raise StoreError(f"{source.path / 'reads.parquet'}: {column.null_count} rows without the string's digest")
    try:
        numbers = np.fromiter((int(text, 16) for text in column.dictionary.to_pylist()), np.uint64)
    except (ValueError, OverflowError) as error:
        raise StoreError(f"{source.path / 'reads.parquet'}: a string's digest is damaged ({error})") from error
    return numbers[column.indices.to_numpy()] if len(numbers) else np.zeros(0, np.uint64)
