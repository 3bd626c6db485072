"""What was recorded is made again and compared, so that a change of the code that changes a number is seen."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest

from ffprompt.cli.main import main
from tests.conftest import only_run
from tests.golden.__main__ import RECORDED
from tests.golden.cases import CASES
from tests.golden.record import differences, of_run
from tests.support.faulty_server import KEY

RUNS = Path(__file__).parent / "runs"  # made by the version of the first recording


def ffprompt(*arguments: object, code: int = 0) -> None:
    assert main([*map(str, arguments)]) == code


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.weights, pytest.mark.slow] if case.weights else [])
        for name, case in CASES.items()
    ],
)
def test_what_was_recorded_comes_out_again(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    golden = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
    made = json.loads(json.dumps(CASES[name].make(ffprompt, tmp_path)))
    found = list(differences(golden, made, CASES[name].tolerance))
    assert not found, "\n".join([f"{len(found)} differences", *found[:20]])


def test_one_changed_score_is_a_difference() -> None:
    golden = json.loads((RECORDED / "scripted.json").read_text(encoding="utf-8"))
    changed = copy.deepcopy(golden)
    changed["trials"][0]["logprobs"][0][1] += 1e-4
    changed["new"] = 1
    (found,) = differences(golden, changed, CASES["scripted"].tolerance)
    assert found.startswith(".trials[0].logprobs[0][1]: ")
    del changed["reads"]["gap"]
    assert ".reads.gap: is gone" in list(differences(golden, changed, 1e-3))


def test_a_finished_run_of_an_earlier_version_is_scored_as_it_was(tmp_path: Path) -> None:
    shutil.copytree(RUNS / "finished", tmp_path, dirs_exist_ok=True)
    before = of_run(only_run(tmp_path))
    (only_run(tmp_path) / "reads.parquet").unlink()
    ffprompt("score", only_run(tmp_path))
    assert not list(differences(before, of_run(only_run(tmp_path)), 1e-9))


def test_an_unfinished_run_of_an_earlier_version_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(RUNS / "unfinished", tmp_path, dirs_exist_ok=True)
    before = (only_run(tmp_path) / "trials.jsonl").read_text().splitlines()
    words = ("--template", "game", "--elicitation", "forced", "dialogue", "--length", 16, "--trials", 6, "--resume")
    ffprompt("run", "--backend", "scripted", "--model", "glitch-0.2", *words, "--no-report", "--out", tmp_path)
    after = (only_run(tmp_path) / "trials.jsonl").read_text().splitlines()
    assert after[:8] == before[:8] and len(after) == 12
    finished = of_run(only_run(RUNS / "finished"))
    assert not list(differences(finished, of_run(only_run(tmp_path)), 1e-9))
