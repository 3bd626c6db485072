"""Logs of other harnesses become runs with the same numbers, and damaged or foreign ones are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ffprompt.backends.base import Scores
from ffprompt.errors import ConfigError
from ffprompt.integrations.harness import HarnessCondition, summary
from ffprompt.integrations.lm_eval import TASKS, task_files
from ffprompt.scoring.response_records import record
from tests.conftest import Command

SETTINGS = {"template": "raw-spaced", "length": 20, "p_ignore": 0.5, "trials": 30}
WRONG = 0.2


def answered(condition: HarnessCondition) -> list[dict[str, Any]]:
    """The samples that lm-eval would log of a model that errs at every fifth read."""
    rng = np.random.default_rng(1)
    lines = []
    for document in condition.documents():
        question = condition.question(document["trial"])
        resps = []
        for true in question.truth:
            chosen = 1 - true if rng.random() < WRONG else true
            resps += [[[str(-0.1 if symbol == chosen else -3.0), str(symbol == chosen)]] for symbol in (0, 1)]
        lines.append({"doc_id": document["trial"], "doc": document, "resps": resps})
    return lines


def written(folder: Path, lines: list[dict[str, Any]]) -> Path:
    path = folder / "samples_flipflop_raw_spaced_2026-01-01T00-00-00.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def table(done_out: Path) -> dict[str, Any]:
    (run,) = done_out.glob("*/run.json")
    row: dict[str, Any] = json.loads(run.read_text())["results"][0]
    return row


def test_an_imported_run_has_the_numbers_that_the_harness_prints(command: Command, tmp_path: Path) -> None:
    condition = HarnessCondition("lm-eval", SETTINGS)
    lines = answered(condition)
    done = command("import", written(tmp_path, lines), "--out", tmp_path / "r", "--model", "m", prog="ffprompt")
    assert done.returncode == 0, done.stderr
    counts = []
    for line in lines:
        values = np.array([float(reply[0][0]) for reply in line["resps"]]).reshape(-1, 2)
        made = record(Scores(values, values.argmax(1), values.argmax(1)))
        trial = line["doc"]["trial"]
        counts.append(condition.counts(trial, condition.judge(trial, made)))
    printed, row = summary(counts), table(tmp_path / "r")
    assert 0.5 < printed["accuracy"] < 0.95
    for name in ("accuracy", "glitch_rate", "interval_low", "interval_high", "floor", "strings", "reads"):
        assert row[name] == pytest.approx(printed[name], abs=1e-12), name


def test_an_imported_run_can_be_compared_with_a_run_of_its_own(command: Command, tmp_path: Path) -> None:
    path = written(tmp_path, answered(HarnessCondition("lm-eval", SETTINGS)))
    out = tmp_path / "r"
    assert command("import", path, "--out", out, "--model", "a", prog="ffprompt").returncode == 0
    asked = ["--backend", "scripted", "--model", "oracle", "--elicitation", "forced", "--form", "completion"]
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    assert command(*asked, *flags, "--out", out).returncode == 0
    done = command("compare", *sorted(out.glob("*-*")), "--allow", "backend", prog="ffprompt")
    if done.returncode == 2:  # the two differ in model and backend
        done = command("compare", *sorted(out.glob("*-*")), "--by", "backend", prog="ffprompt")
    assert done.returncode == 0, done.stderr
    assert "0.1" in done.stdout or "0.2" in done.stdout


def test_a_log_of_the_first_strings_alone_is_a_whole_run_of_so_many(command: Command, tmp_path: Path) -> None:
    lines = answered(HarnessCondition("lm-eval", SETTINGS))[:7]
    done = command("import", written(tmp_path, lines), "--out", tmp_path / "r", prog="ffprompt")
    assert done.returncode == 0
    assert table(tmp_path / "r")["strings"] == 7


def test_a_missing_string_is_an_error_and_the_run_is_incomplete(command: Command, tmp_path: Path) -> None:
    lines = answered(HarnessCondition("lm-eval", SETTINGS))
    done = command("import", written(tmp_path, lines[:3] + lines[4:]), "--out", tmp_path / "r", prog="ffprompt")
    assert done.returncode == 3
    row = table(tmp_path / "r")
    assert row["strings"] == 29
    assert row["outcomes"]["error"] > 0


def damaged(lines: list[dict[str, Any]], what: str) -> list[dict[str, Any]]:
    if what == "another string":
        lines[2]["doc"]["string"] = "0" * 16
    elif what == "twice":
        lines[2] = lines[1]
    elif what == "other settings":
        lines[2]["doc"] = lines[2]["doc"] | {"settings": lines[2]["doc"]["settings"] | {"length": [30]}}
    elif what == "a read too few":
        lines[2]["resps"] = lines[2]["resps"][:-1]
    elif what == "no number":
        lines[2]["resps"][0] = [["much", "True"]]
    elif what == "another task":
        lines[2] = {"doc": {"question": "?"}, "resps": [[["-1.0", "True"]]]}
    elif what == "unknown template":
        for line in lines:
            line["doc"]["settings"] = line["doc"]["settings"] | {"template": ["no-such"]}
    return lines


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("another string", "trial 2"),
        ("twice", "trial 1"),
        ("other settings", "line 3"),
        ("a read too few", "trial 2"),
        ("no number", "line 3"),
        ("another task", "line 3"),
        ("unknown template", "no-such"),
    ],
)
def test_a_damaged_log_is_refused_in_one_line(command: Command, tmp_path: Path, what: str, named: str) -> None:
    path = written(tmp_path, damaged(answered(HarnessCondition("lm-eval", SETTINGS)), what))
    done = command("import", path, "--out", tmp_path / "r", prog="ffprompt")
    assert done.returncode == 2
    assert named in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.glob("r/*"))


@pytest.mark.parametrize("content", ["", "[", "{}\n", "\x00\n"])
def test_what_is_no_log_is_refused(command: Command, tmp_path: Path, content: str) -> None:
    path = tmp_path / "samples_x.jsonl"
    path.write_text(content)
    done = command("import", path, prog="ffprompt")
    assert done.returncode == 2
    assert str(path) in done.stderr
    assert command("import", tmp_path / "x.txt", prog="ffprompt").returncode == 2
    assert command("import", tmp_path / "none.jsonl", prog="ffprompt").returncode == 2


def test_a_last_line_that_is_cut_is_refused(command: Command, tmp_path: Path) -> None:
    path = written(tmp_path, answered(HarnessCondition("lm-eval", SETTINGS)))
    path.write_text(path.read_text()[:-20])
    done = command("import", path, "--out", tmp_path / "r", prog="ffprompt")
    assert done.returncode == 2
    assert "line 30" in done.stderr
    assert not list(tmp_path.glob("r/*"))


def test_a_harness_task_is_one_condition_of_known_settings() -> None:
    with pytest.raises(ConfigError, match="lenght"):
        HarnessCondition("lm-eval", {"lenght": 5})
    with pytest.raises(ConfigError, match="2 conditions"):
        HarnessCondition("lm-eval", {"length": [20, 30]})


def test_the_yaml_files_are_those_of_the_templates() -> None:
    """``python -m ffprompt.integrations.lm_eval`` writes them anew."""
    assert {path.name: path.read_text() for path in TASKS.glob("*.yaml")} == task_files()


def test_no_run_can_be_asked_of_a_harness(command: Command) -> None:
    done = command("--backend", "lm-eval", "--model", "x")
    assert done.returncode == 2
    assert "ffprompt import" in done.stderr
