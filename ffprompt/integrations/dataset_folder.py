"""Runs and strings as folders that Hugging Face ``datasets``, DuckDB and polars read.

    DIR/README.md                        the card: what it is, how it is read, what each column holds
    DIR/data/reads/RUN.parquet           one row a read: the columns of reads.parquet, and the run
    DIR/data/conditions.parquet          one row a condition of a run: the table, with the run's settings

``ffprompt sample --dataset DIR`` writes strings in the same way, as ``DIR/data/SPLIT.parquet`` with its card.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ffprompt._util.storage import is_folder, sync_folder
from ffprompt.errors import ConfigError, IncompleteRunError, StoreError
from ffprompt.integrations import dataset_card
from ffprompt.integrations.dataset_card import Described, Source
from ffprompt.runs.columns import READS, RESULT
from ffprompt.runs.folder import RunFolder, refuse_nesting
from ffprompt.scoring.condition_result import ConditionResult
from ffprompt.scoring.score import Outcome
from ffprompt.tasks import datasets
from ffprompt.tasks.base import Spec

if TYPE_CHECKING:
    import pyarrow as pa

_RUN = "name of the run, unique in this dataset"
# Columns of conditions.parquet that are not of the row of the table. ``condition`` is the number, as in the reads.
_OF_THE_RUN = {
    "run": ("string", _RUN),
    "condition": ("int32", READS["condition"].about),
    "model": ("string", READS["model"].about),
    "backend": ("string", "the backend that asked the model"),
    "status": ("string", "done, or incomplete where some trials have no answer"),
    "started": ("string", "when the run began (UTC)"),
    "version": ("string", "version of ffprompt"),
    "settings": ("string", "settings of the run, as a JSON object"),
    "name": ("string", "name of the condition"),
    **{name: (READS[name].kind, READS[name].about) for name in ("length", "p_write", "p_read", "p_ignore", "symbols")},
}
_KINDS = {"Int": "int64", "Number": "float64", "Text": "string"}


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: the folder, and how much is in it."""

    folder: Path
    runs: int
    conditions: int
    reads: int


def export(runs: Sequence[Path], folder: Path, incomplete: bool = False) -> Exported:
    """Write runs and their reads as a dataset folder, which appears when it is complete.

    Args:
        runs: Folders of runs, or folders with such folders in them.
        folder: A new or empty folder.
        incomplete: Take runs that lack answers as well. Their ``status`` says so.

    Raises:
        StoreError: A path is no run, a run is damaged, or the folder cannot be written.
        IncompleteRunError: A run lacks answers, and ``incomplete`` is off.
        ConfigError: The folder is not empty.
    """
    with _appearing(folder) as place:
        opened = [_open(path, incomplete) for path in _each(runs)]
        names = _names(opened)
        (place / "data" / "reads").mkdir(parents=True)
        reads = [
            _write_reads(run, name, place / "data" / "reads" / f"{name}.parquet")
            for run, name in zip(opened, names, strict=True)
        ]
        rows = [row for run, name in zip(opened, names, strict=True) for row in _conditions(run, name)]
        _write_conditions(rows, place / "data" / "conditions.parquet")
        card = dataset_card.of_runs(_reads_columns(), _conditions_columns(), rows, sum(reads))
        (place / "README.md").write_text(card, encoding="utf-8")
    return Exported(folder, len(opened), len(rows), sum(reads))


def export_strings(folder: Path, spec: Spec, seed: int, count: int, split: str, source: Source) -> None:
    """Write sampled strings as a dataset folder with one split.

    Args:
        folder: A new or empty folder.
        spec: The language that strings are drawn from.
        seed: Seed of the strings.
        count: How many there are.
        split: The split's name: letters, digits and ``_``.
        source: The commands of the card.

    Raises:
        ConfigError: The folder is not empty, or the split's name is none.
        StoreError: The folder cannot be written.
    """
    if not re.fullmatch(r"\w+", split, re.ASCII):
        raise ConfigError(f"--split {split!r:.80}: expected letters, digits and _, such as test or val_sparse")
    with _appearing(folder) as place:
        (place / "data").mkdir()
        datasets.write(place / "data" / f"{split}.parquet", spec, seed, count)
        card = dataset_card.of_strings(spec, seed, count, split, source)
        (place / "README.md").write_text(card, encoding="utf-8")


@contextlib.contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside ``folder``, which takes its place at the end. If the block raises, nothing is left."""
    if folder.exists() and not (is_folder(folder) and not any(folder.iterdir())):
        raise ConfigError(f"{folder}: it is there already; expected a new or an empty folder")
    refuse_nesting(folder)
    whole = folder.absolute()  # which has a name, also for "."
    temporary = whole.with_name(f".{whole.name}.{os.getpid()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        temporary.replace(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _each(given: Sequence[Path]) -> list[Path]:
    """The runs that are named, and those in folders that are named, each once."""
    found: list[Path] = []
    for path in given:
        if (path / "run.json").is_file():
            found.append(path)
            continue
        inside = sorted(one.parent for one in path.glob("*/run.json")) if is_folder(path) else []
        if not inside:
            raise StoreError(f"run {path}: no run and no folder of runs")
        found += inside
    return list({path.resolve(): path for path in found}.values())


def _open(path: Path, incomplete: bool) -> RunFolder:
    run = RunFolder.open(path)
    if run.info.results is None or not run.reads_path.is_file():
        raise StoreError(f"run {path}: it has no table of reads yet; make it with: ffprompt score {path}")
    if not incomplete and not all(row.complete for row in run.info.results):
        raise IncompleteRunError(
            f"run {path}: it lacks answers; ask them with --resume, or write what there is with --incomplete"
        )
    return run


def _names(runs: Sequence[RunFolder]) -> list[str]:
    """A name for each run. Runs of two results folders may have the same one."""
    names: list[str] = []
    for run in runs:
        name, number = run.path.resolve().name, 1
        while (name if number == 1 else f"{name}-{number}") in names:
            number += 1
        names.append(name if number == 1 else f"{name}-{number}")
    return names


def _type(kind: str) -> pa.DataType:
    import pyarrow as pa

    made: pa.DataType = pa.list_(pa.float64()) if kind == "list" else getattr(pa, kind)()
    return made


def _reads_columns() -> list[Described]:
    return [
        Described("run", "string", _RUN),
        *(Described(name, column.kind, column.about) for name, column in READS.items()),
    ]


def _write_reads(run: RunFolder, name: str, path: Path) -> int:
    """Copy the table of a run, a row group at a time. Columns that an earlier version did not have are null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(column.name, _type(column.kind)) for column in _reads_columns()])
    try:
        with pq.ParquetFile(run.reads_path) as file, pq.ParquetWriter(path, schema, compression="zstd") as out:
            if "condition" not in file.schema_arrow.names:
                raise StoreError(
                    f"run {run.path}: its reads.parquet is of an earlier version; make it again with: "
                    f"ffprompt score {run.path}"
                )
            for number in range(file.num_row_groups):
                group = file.read_row_group(number)
                arrays = [pa.array([name] * len(group), pa.string())]
                for column in schema.names[1:]:
                    known = column in group.column_names
                    arrays.append(
                        group.column(column).cast(schema.field(column).type)
                        if known
                        else pa.nulls(len(group), schema.field(column).type)
                    )
                out.write_table(pa.table(arrays, schema=schema))
            return int(file.metadata.num_rows)
    except pa.ArrowException as error:
        raise StoreError(
            f"run {run.path}: reads.parquet is not readable ({' '.join(str(error).split())}); make it again with: "
            f"ffprompt score {run.path}"
        ) from error


def _conditions_columns() -> list[Described]:
    """The columns of conditions.parquet: those of the run, then the numbers of the table, then counts of outcomes."""
    own = [Described(name, kind, about) for name, (kind, about) in _OF_THE_RUN.items()]
    numbers = [
        Described(field.name, kind, RESULT[field.name])
        for field in fields(ConditionResult)
        if field.name not in _OF_THE_RUN and (kind := _KINDS.get(str(field.type).split(" ")[0]))
    ]
    outcomes = [Described(str(name), "int64", f"reads with the outcome {name}") for name in Outcome]
    return [*own, *numbers, *outcomes]


def _conditions(run: RunFolder, name: str) -> Iterator[dict[str, Any]]:
    """The rows of a run."""
    info = run.info
    settings = json.dumps(info.config, ensure_ascii=True)
    for planned, result in zip(info.plan.conditions, info.results or (), strict=True):
        row = result.to_json()
        yield {
            **{column: row.get(column) for column in RESULT},
            **{column: getattr(planned, column) for column in ("length", "p_write", "p_read", "p_ignore", "symbols")},
            **{str(outcome): result.count(outcome) for outcome in Outcome},
            "run": name,
            "condition": planned.number,
            "model": info.model_name,
            "backend": info.backend_name,
            "status": info.status,
            "started": info.started,
            "version": info.content.get("versions", {}).get("ffprompt"),
            "settings": settings,
            "name": planned.name,
        }


def _write_conditions(rows: Sequence[dict[str, Any]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(column.name, _type(column.kind)) for column in _conditions_columns()])
    pq.write_table(pa.Table.from_pylist([{name: row[name] for name in schema.names} for row in rows], schema), path)
