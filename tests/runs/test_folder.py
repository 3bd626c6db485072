"""The log of a run and its index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ffprompt.errors import StoreError
from ffprompt.runs.folder import Log, RunFolder, begun, find, index, read_at


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "run", {"status": "running", "plan_digest": "abc"})


def lines(folder: RunFolder, *made: dict[str, Any]) -> None:
    with Log(folder) as log:
        log.append(made)


def kept(folder: RunFolder, trials: int = 3) -> list[Any]:
    """What the index finds for each trial: its value, its error, or None."""
    where = index(folder, trials)
    with folder.trials_path.open("rb") as file:
        found = [read_at(file, int(offset)) if offset >= 0 else {} for offset in where.offset]
    return [line.get("value", line.get("error")) for line in found]


def test_the_first_answer_of_a_trial_counts_and_a_later_one_does_not(folder: RunFolder) -> None:
    lines(folder, {"trial": 1, "value": "first"}, {"trial": 1, "value": "second"})
    assert kept(folder) == [None, "first", None]


def test_an_answer_replaces_a_failure_and_a_failure_never_an_answer(folder: RunFolder) -> None:
    lines(folder, {"trial": 0, "error": "reset"}, {"trial": 0, "error": "again"})
    assert kept(folder)[0] == "again"
    lines(folder, {"trial": 0, "value": "answer"}, {"trial": 0, "error": "late"})
    assert kept(folder)[0] == "answer"
    assert index(folder, 3).done.tolist() == [True, False, False]


def test_of_a_dialogue_that_broke_off_the_longest_attempt_is_kept(folder: RunFolder) -> None:
    def at(first: int, *turns: str, **more: object) -> dict[str, Any]:
        return {"trial": 0, "error": "x", "first_turn": first, "turns": list(turns), **more}

    lines(folder, at(0, "a"), at(1, "b"), at(0, "again"), at(5, "from nowhere"), {"trial": 0, "error": "reset"})
    line = begun(folder, index(folder, 3), 0)
    assert line is not None
    assert line["turns"] == ["a", "b"]
    lines(folder, at(0, "a", "b", "c"))
    line = begun(folder, index(folder, 3), 0)
    assert line is not None
    assert line["turns"] == ["a", "b", "c"]
    lines(folder, {"trial": 0, "turns": ["a", "b", "c", "d"]})
    assert begun(folder, index(folder, 3), 0) is None


def test_a_line_without_its_end_is_cut_off_before_more_is_written(folder: RunFolder) -> None:
    lines(folder, {"trial": 0, "value": "whole"})
    with folder.trials_path.open("ab") as file:
        file.write(b'{"trial": 1, "value": "to')
    assert kept(folder) == ["whole", None, None]
    lines(folder, {"trial": 2, "value": "next"})
    assert kept(folder) == ["whole", None, "next"]
    assert [json.loads(line)["trial"] for line in folder.trials_path.read_text().splitlines()] == [0, 2]


def test_a_log_of_one_torn_line_becomes_empty(folder: RunFolder) -> None:
    folder.trials_path.write_bytes(b"x" * 200_000)
    Log(folder).close()
    assert folder.trials_path.read_bytes() == b""


def test_two_logs_of_one_run_are_refused(folder: RunFolder) -> None:
    with Log(folder), pytest.raises(StoreError, match="another process is writing it"):
        Log(folder)


def test_values_that_are_no_json_never_reach_the_log(folder: RunFolder) -> None:
    with Log(folder) as log, pytest.raises(ValueError, match="not JSON compliant"):
        log.append([{"trial": 0, "value": float("nan")}])
    assert folder.trials_path.read_bytes() == b""


def test_the_newest_unfinished_run_of_the_plan_is_found(tmp_path: Path) -> None:
    for name, status, plan in [
        ("20260101-a", "running", "abc"),
        ("20260102-b", "interrupted", "abc"),
        ("20260103-c", "done", "abc"),
        ("20260104-d", "running", "other"),
    ]:
        RunFolder.create(tmp_path, name, {"status": status, "plan_digest": plan})
    (tmp_path / "20260105-e").mkdir()
    (tmp_path / "20260105-e" / "run.json").write_text("{")
    found, finished = find(tmp_path, "abc", done=False), find(tmp_path, "abc", done=True)
    assert found is not None
    assert found.path.name == "20260102-b"
    assert finished is not None
    assert finished.path.name == "20260103-c"
    assert find(tmp_path, "none of them", done=False) is None


def test_two_runs_started_in_one_second_get_folders_of_their_own(tmp_path: Path) -> None:
    first, second = (RunFolder.create(tmp_path, "same", {}) for _ in range(2))
    assert (first.path.name, second.path.name) == ("same", "same-2")
    assert second.info["run_id"] == "same-2"
