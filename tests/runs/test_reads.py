"""The table of reads as arrays: conditions are found by their number, or by what tells them apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ffprompt.cli.main import main
from ffprompt.errors import StoreError
from ffprompt.runs.folder import RunFolder
from ffprompt.runs.reads import CORRECT, ReadTable
from tests.conftest import only_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two lengths in two elicitations, eight strings each; about half of all answers are wrong."""
    words = ["run", "--backend", "scripted", "--model", "coin", "--template", "raw-spaced", "--trials", "8"]
    words += ["--elicitation", "forced", "list", "--length", "20", "40", "--out", str(tmp_path), "--no-report"]
    assert main(words) == 0
    return only_run(tmp_path)


def written(run: Path, frame: pd.DataFrame) -> None:
    frame.to_parquet(run / "reads.parquet")


def numbered(run: Path) -> pd.DataFrame:
    """The table with the number of each condition, found from its own settings."""
    frame = pd.read_parquet(run / "reads.parquet")
    conditions = RunFolder.open(run).info.plan.conditions
    number = {(one.elicitation, one.length): one.number for one in conditions}
    return frame.assign(condition=[number[key] for key in zip(frame.elicitation, frame.length, strict=True)])


@pytest.mark.parametrize("order", ["as written", "shuffled"])
@pytest.mark.parametrize("column", ["with its number", "without"])
def test_the_reads_of_each_condition_are_those_of_the_table(run: Path, order: str, column: str) -> None:
    frame = numbered(run)
    if order == "shuffled":
        frame = frame.sample(frac=1, random_state=0, ignore_index=True)
    written(run, frame if column == "with its number" else frame.drop(columns="condition"))
    with ReadTable.open(RunFolder.open(run)) as table:
        assert len(table) == len(frame)
        for number in range(4):
            mine, reads = frame[frame.condition == number], table.of(number)
            assert len(reads) == len(mine) > 0
            assert reads.string.tolist() == mine.string_index.tolist()
            assert reads.gap.tolist() == mine.gap.tolist()
            assert reads.answer.tolist() == mine.answer.fillna(-1).tolist()
            assert ((reads.outcome == CORRECT) == (mine.outcome == "correct")).all()
            logprobs = reads.logprobs(2)
            if mine.elicitation.iloc[0] == "list":
                assert logprobs is None
            else:
                assert logprobs is not None
                assert np.array_equal(logprobs, np.stack(mine.answer_logprobs.to_list()))


@pytest.mark.parametrize("number", [-1, 4])
def test_a_read_of_no_condition_is_refused(run: Path, number: int) -> None:
    frame = numbered(run)
    frame.loc[3:, "condition"] = number
    written(run, frame)
    with (
        ReadTable.open(RunFolder.open(run)) as table,
        pytest.raises(StoreError, match=r"row 4: of a condition that run\.json lacks"),
    ):
        table.of(0)


def test_the_first_log_probability_that_is_none_is_named(run: Path) -> None:
    frame = numbered(run)
    scores = frame.answer_logprobs.tolist()
    scores[2] = [-0.1, 0.5]
    written(run, frame.assign(answer_logprobs=scores))
    with ReadTable.open(RunFolder.open(run)) as table:
        conditions = [table.of(number).impossible_logprob() for number in range(4)]
    assert sorted(value for value in conditions if value is not None) == [0.5]


def test_a_column_that_is_missing_is_named_with_the_cure(run: Path) -> None:
    written(run, numbered(run).drop(columns="gap"))
    with (
        ReadTable.open(RunFolder.open(run)) as table,
        pytest.raises(StoreError, match=r"column gap is missing; make it again with: ffprompt score"),
    ):
        _ = table.of(0).gap
