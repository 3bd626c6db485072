"""The log of a run and its index."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ffprompt.errors import StoreError
from ffprompt.runs.folder import RunFolder, find
from ffprompt.runs.log import Log, answered_turns, index, read_trial
from ffprompt.runs.records import TrialRecord
from ffprompt.scoring.response_records import DialogueRecord, ReplyRecord, TurnRecord
from tests.support.records import failure, run_content, trial


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "run", run_content())


def lines(folder: RunFolder, *made: TrialRecord) -> None:
    with Log(folder) as log:
        log.append(made)


def kept(folder: RunFolder, trials: int = 3) -> list[str | None]:
    """What the index finds for each trial: its reply, its error, or None."""
    where = index(folder, trials)
    with folder.trials_path.open("rb") as file:
        found = [read_trial(file, int(offset)).response if offset >= 0 else None for offset in where.offset]
    return [one.reply if isinstance(one, ReplyRecord) else one and one.error for one in found]


def dialogue(*turns: str, first: int | None = None) -> TrialRecord:
    """Answered turns of trial 0. With ``first`` the dialogue is not over, and they are those from that one on."""
    made = [TurnRecord(reply=reply, stop="stop", reads=1) for reply in turns]
    error = None if first is None else "x"
    return trial(0, DialogueRecord(turns=made, error=error, first_turn=first))


def replies(folder: RunFolder) -> list[str] | None:
    """The replies to all answered turns of trial 0, if its dialogue is not over."""
    found = answered_turns(folder, index(folder, 3), 0)
    return None if found is None else [turn.reply for turn in found[1]]


def test_the_first_answer_of_a_trial_counts_and_a_later_one_does_not(folder: RunFolder) -> None:
    lines(folder, trial(1, "first"), trial(1, "second"))
    assert kept(folder) == [None, "first", None]


def test_an_answer_replaces_a_failure_and_a_failure_never_an_answer(folder: RunFolder) -> None:
    lines(folder, failure(0, "reset"), failure(0, "again"))
    assert kept(folder)[0] == "again"
    lines(folder, trial(0, "answer"), failure(0, "late"))
    assert kept(folder)[0] == "answer"
    assert index(folder, 3).done.tolist() == [True, False, False]


def test_of_a_dialogue_that_broke_off_the_longest_attempt_is_kept(folder: RunFolder) -> None:
    lines(folder, dialogue("a", first=0), dialogue("b", first=1), dialogue("again", first=0))
    lines(folder, dialogue("from nowhere", first=5), failure(0, "reset"))
    assert replies(folder) == ["a", "b"]
    lines(folder, dialogue("a", "b", "c", first=0))
    assert replies(folder) == ["a", "b", "c"]
    lines(folder, dialogue("a", "b", "c", "d"))
    assert replies(folder) is None


def test_a_line_without_its_end_is_cut_off_before_more_is_written(folder: RunFolder) -> None:
    lines(folder, trial(0, "whole"))
    with folder.trials_path.open("ab") as file:
        file.write(b'{"trial": 1, "reply": "to')
    assert kept(folder) == ["whole", None, None]
    lines(folder, trial(2, "next"))
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
        log.append([replace(trial(0, "1"), seconds=float("nan"))])
    assert folder.trials_path.read_bytes() == b""


def test_the_newest_unfinished_run_of_the_plan_is_found(tmp_path: Path) -> None:
    for name, status, plan in [
        ("20260101-a", "running", "abc"),
        ("20260102-b", "interrupted", "abc"),
        ("20260103-c", "done", "abc"),
        ("20260104-d", "running", "other"),
    ]:
        RunFolder.create(tmp_path, name, run_content(status=status, plan_digest=plan))
    (tmp_path / "20260105-e").mkdir()
    (tmp_path / "20260105-e" / "run.json").write_text("{")
    found, finished = find(tmp_path, "abc", done=False), find(tmp_path, "abc", done=True)
    assert found is not None
    assert found.path.name == "20260102-b"
    assert finished is not None
    assert finished.path.name == "20260103-c"
    assert find(tmp_path, "none of them", done=False) is None


def test_two_runs_started_in_one_second_get_folders_of_their_own(tmp_path: Path) -> None:
    first, second = (RunFolder.create(tmp_path, "same", run_content()) for _ in range(2))
    assert (first.path.name, second.path.name) == ("same", "same-2")
    assert second.info.run_id == "same-2"


def test_a_folder_of_runs_is_refused_with_the_name_of_a_run_in_it(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "run.json").write_text("{}")
    with pytest.raises(StoreError, match=f"a folder of runs; give one of them: {tmp_path / 'one'}"):
        RunFolder.open(tmp_path)
