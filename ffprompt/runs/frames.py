"""A run as pandas frames, for whoever goes on with it in a notebook."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ffprompt._util.jsonl import read_lines
from ffprompt._util.records import JsonObject
from ffprompt.errors import StoreError
from ffprompt.runs.folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Run:
    """A run in memory: ``info`` (run.json), ``trials`` (one row a trial) and ``reads`` (one row a read).

    It stands for its folder: what takes the path of a run also takes a run that was loaded.
    """

    info: JsonObject
    trials: pd.DataFrame
    reads: pd.DataFrame
    path: Path

    def __fspath__(self) -> str:
        return str(self.path)


def load(run: str | os.PathLike[str]) -> Run:
    """Load a run folder as pandas frames.

    >>> load("results/20261122-101500-scripted-oracle-1f0c").reads.outcome.value_counts()  # doctest: +SKIP
    """
    import pandas as pd

    folder = RunFolder.open(Path(run))
    if not folder.reads_path.is_file():
        raise StoreError(f"run {folder.path}: no reads.parquet yet; make it with: ffprompt score {folder.path}")
    trials = pd.DataFrame([line for _, _, line in read_lines(folder.trials_path) if "first_turn" not in line])
    try:
        reads = pd.read_parquet(folder.reads_path)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise StoreError(f"{folder.reads_path}: not readable ({error}); run: ffprompt score {folder.path}") from error
    return Run(folder.info.to_json(), trials, reads, folder.path)
