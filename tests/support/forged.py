"""Run folders for tests of comparisons: made by scripted models through the command line, then changed by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ffprompt.cli.main import main
from ffprompt.evaluation.read_columns import schema
from ffprompt.scoring.score import Outcome


def run(out: Path, model: str, *flags: object) -> Path:
    """A new run of a scripted model under ``out``."""
    before = set(out.glob("*")) if out.is_dir() else set()
    main(["run", "--backend", "scripted", "--model", model, "--out", str(out), *map(str, flags)])
    (made,) = {path for path in out.glob("*") if path.is_dir()} - before
    return made


def altered(
    run: Path,
    name: str,
    reads: Callable[[pd.DataFrame], pd.DataFrame | None] | None = None,
    info: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """A copy of a run beside it, with its reads and then its record changed; run.json's table follows."""
    new = run.parent / name
    shutil.copytree(run, new)
    record = json.loads((new / "run.json").read_text())
    record["run_id"] = name
    if reads is not None:
        frame = pd.read_parquet(new / "reads.parquet")
        changed = reads(frame)
        frame = frame if changed is None else changed
        pq.write_table(pa.Table.from_pandas(frame, schema(), preserve_index=False), new / "reads.parquet")
        for condition, row in zip(record["plan"]["conditions"], record["results"], strict=True):
            mine = frame
            for key in ("template", "shots", "elicitation", "form", "length"):
                mine = mine[mine[key] == condition[key]]
            row["outcomes"] = {str(one): int((mine.outcome == one).sum()) for one in Outcome}
    if info is not None:
        info(record)
    (new / "run.json").write_text(json.dumps(record))
    return new


def wrong_on(*strings: int) -> Callable[[pd.DataFrame], None]:
    """Make every read of these strings wrong."""

    def change(frame: pd.DataFrame) -> None:
        frame.loc[frame.string_index.isin(strings), "outcome"] = "wrong"

    return change


def outcome_on(outcome: str, *strings: int) -> Callable[[pd.DataFrame], None]:
    """Give every read of these strings this outcome."""

    def change(frame: pd.DataFrame) -> None:
        frame.loc[frame.string_index.isin(strings), "outcome"] = outcome

    return change
