"""Runs that stop by themselves: --certify and --until-width."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ffprompt.backends.scripted import ScriptedBackend
from ffprompt.cli.main import main
from ffprompt.config.run_config import make
from ffprompt.errors import ConfigError, ModelError
from ffprompt.evaluation.batch_runner import batchable
from ffprompt.evaluation.early_stopping import Course, describe, fewest, verdict
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.runner import make_plan
from ffprompt.scoring.aggregate import Tally
from ffprompt.stats.sequential import Draws, UntilWidth
from tests.conftest import ROOT, only_run
from tests.support.faulty_server import KEY, FaultyServer
from tests.support.flags import replaced

FLAGS = ("--backend", "scripted", "--length", "20", "--template", "game", "--elicitation", "next")


def run(out: Path, model: str, *more: object) -> int:
    return main(["run", *replaced(*FLAGS, "--model", model, *more, "--out", out)], prog="run_eval.py")


def info(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((only_run(out) / "run.json").read_text())
    return found


def shown(out: Path) -> dict[str, Any]:
    (row,) = info(out)["results"]
    found: dict[str, Any] = row["stopping"]
    return found


def logged(out: Path) -> list[int]:
    return [json.loads(line)["trial"] for line in (only_run(out) / "trials.jsonl").read_text().splitlines()]


def plan(trials: int = 5000, **settings: Any) -> Plan:
    given = {"backend": "scripted", "model": "oracle", "length": 20, "elicitation": "next", "template": "game"}
    return make_plan(make(given | {"trials": trials} | settings), ScriptedBackend("oracle"))


def course(**settings: Any) -> Course:
    made = plan(**settings)
    return Course.of(made, made.conditions[0])


# ------------------------------------------------------------------------------------------------------- courses


def test_a_look_comes_after_64_strings_and_then_after_an_eighth_more() -> None:
    one, looks = course(certify=0.01), []
    while len(looks) < 12:
        looks.append(one.look)
        for index in range(one.drawn, one.look):
            one.note(index, ["wrong" if index % 100 == 0 else "correct"])
    assert looks == [64, 128, 192, 256, 320, 384, 448, 512, 576, 648, 729, 820]


@pytest.mark.parametrize("rule", [{"certify": 0.1}, {"until_width": 0.15}])
def test_the_order_of_arrival_decides_nothing(rule: dict[str, float]) -> None:
    rng = np.random.default_rng(0)
    outcomes = [["wrong" if x < 0.03 else "correct"] for x in rng.random(2000)]
    found = []
    for order in (range(2000), reversed(range(2000)), rng.permutation(2000).tolist()):
        one = course(trials=2000, **rule)
        for index in order:
            one.note(index, outcomes[index])
        found.append(one.record())
    assert found[0] == found[1] == found[2]
    assert found[0].decision and found[0].strings < 2000


def test_nothing_is_decided_past_a_string_that_has_no_answer() -> None:
    one = course(certify=0.02)
    one.note(70, ["error"])
    for index in range(1000):
        if index != 70:
            one.note(index, ["correct"])
    assert (one.drawn, one.decision, one.look) == (64, None, 128)
    assert [first_and_last for _, *first_and_last in one.batches(50)] == [[64, 114], [114, 128]]
    one.note(70, ["correct"])
    assert one.decision == "below"
    assert one.drawn == fewest(plan(certify=0.02), one.condition)


def test_of_several_answers_to_one_string_the_first_counts() -> None:
    one = course(certify=0.1, trials=64)
    for _ in range(3):
        one.note(0, ["wrong"])
        one.note(0, ["correct"])
    for index in range(1, 64):
        one.note(index, ["correct"])
    assert (one.record().errors, one.record().reads, one.over) == (1, 64, True)


@pytest.mark.parametrize("outcome", ["wrong", "invalid", "refused", "truncated"])
def test_every_read_that_is_not_answered_correctly_is_an_error(outcome: str) -> None:
    one = course(certify=0.1)
    for index in range(64):
        one.note(index, [outcome])
    assert one.decision == "above"


@pytest.mark.parametrize("elicitation", ["forced", "list", "next", "dialogue"])
def test_the_fewest_strings_are_those_that_a_model_without_errors_takes(tmp_path: Path, elicitation: str) -> None:
    made = plan(certify=0.03, elicitation=elicitation)
    code = run(tmp_path, "oracle", "--elicitation", elicitation, "--certify", 0.03, "--trials", 5000)
    assert (code, shown(tmp_path)["strings"]) == (0, fewest(made, made.conditions[0]))
    assert logged(tmp_path) == list(range(shown(tmp_path)["strings"]))


# ---------------------------------------------------------------------------------------------------------- runs


def test_an_oracle_is_certified_and_the_record_says_how(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "oracle", "--certify", "1e-2", "--trials", 100_000) == 0
    found = shown(tmp_path)
    assert (found["decision"], found["certify"], found["level"], found["budget"]) == ("below", 0.01, 0.95, 100_000)
    assert found["low"] == found["errors"] == 0 and found["high"] <= 0.01
    assert info(tmp_path)["status"] == "done"
    assert info(tmp_path)["results"][0]["missing_trials"] == 0
    line = f"error rate below 0.01 shown at 95 % after {found['strings']:,} strings (0 errors in"
    out = capsys.readouterr().out
    assert line in out and "hold wherever one stops" in out and "Wilson" not in out
    assert found["strings"] < 1000 and len(logged(tmp_path)) == found["strings"]


def test_a_coin_is_above_at_the_first_look_and_the_exit_code_is_1(tmp_path: Path) -> None:
    assert run(tmp_path, "coin", "--certify", "1e-2", "--trials", 5000) == 1
    assert (shown(tmp_path)["decision"], shown(tmp_path)["strings"]) == ("above", 64)
    assert shown(tmp_path)["low"] > 0.01
    assert info(tmp_path)["status"] == "done"


@pytest.mark.parametrize("model", ["refusing", "malformed", "truncating"])
def test_a_model_that_gives_no_answers_is_not_certified(tmp_path: Path, model: str) -> None:
    assert run(tmp_path, model, "--elicitation", "list", "--certify", "1e-2", "--trials", 5000) == 1
    assert info(tmp_path)["results"][0]["outcomes"]["wrong"] == 0


def test_what_is_not_shown_within_the_budget_is_exit_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "glitch-0.05", "--certify", "0.05", "--trials", 500) == 3
    found = shown(tmp_path)
    assert (found["decision"], found["strings"], found["over"]) == (None, 500, True)
    assert found["low"] < 0.05 < found["high"]
    assert "neither below nor above 0.05 shown at 95 % after 500 strings" in capsys.readouterr().out
    assert info(tmp_path)["status"] == "done"  # all was asked; nothing is left for --resume


def test_a_small_rate_is_certified_below_a_bound_that_is_larger(tmp_path: Path) -> None:
    assert run(tmp_path, "glitch-0.01", "--certify", "0.05", "--trials", 5000) == 0
    assert shown(tmp_path)["errors"] > 0


def test_a_run_goes_on_until_its_interval_is_short(tmp_path: Path) -> None:
    code = run(tmp_path, "glitch-0.1", "--elicitation", "list", "--until-width", 0.08, "--trials", 20_000)
    (row,) = info(tmp_path)["results"]
    found = row["stopping"]
    assert (code, found["decision"], found["over"]) == (0, "reached", True)
    assert found["low"] < 0.1 < found["high"] and found["high"] - found["low"] <= 0.08
    assert (row["interval_low"], row["interval_high"]) == (1 - found["high"], 1 - found["low"])
    # The block before it was not enough.
    state = UntilWidth(0.08, Draws(10))
    reads = [json.loads(line)["outcomes"] for line in (only_run(tmp_path) / "trials.jsonl").read_text().splitlines()]
    kept = reads[: found["strings"] - max(64, found["strings"] // 9)]
    state.update([len(one) - one.count("correct") for one in kept], [len(one) for one in kept])
    assert not state.done


def test_a_width_that_is_not_reached_within_the_budget_is_exit_code_3(tmp_path: Path) -> None:
    assert run(tmp_path, "coin", "--until-width", 0.08, "--trials", 300) == 3
    assert (shown(tmp_path)["decision"], shown(tmp_path)["strings"]) == (None, 300)


def test_each_condition_stops_by_itself(tmp_path: Path) -> None:
    more = ("--elicitation", "list", "next", "--length", 20, 100, "--certify", 0.02, "--trials", 5000)
    assert run(tmp_path, "oracle", *more) == 0
    rows = info(tmp_path)["results"]
    assert len({row["stopping"]["strings"] for row in rows}) > 2
    assert all(row["strings"] == row["stopping"]["strings"] for row in rows)


def test_score_finds_the_same_decision_in_the_raw_lines(tmp_path: Path) -> None:
    run(tmp_path, "coin", "--certify", "1e-2", "--trials", 5000)
    before, path = info(tmp_path), only_run(tmp_path) / "run.json"
    path.write_text(json.dumps(before | {"results": []}))
    assert main(["score", str(path.parent)]) == 1
    assert info(tmp_path)["results"] == before["results"]


def cut(log: Path, lines: int) -> None:
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:lines]))


def slow(*values: object) -> list[object]:
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


@pytest.mark.parametrize("lines", [1, 100, *slow(0, 64, 300)])
@pytest.mark.parametrize("rule", [("--certify", 0.03), ("--until-width", 0.04)])
def test_an_interrupted_run_ends_as_if_nothing_had_happened(
    tmp_path: Path, rule: tuple[object, ...], lines: int
) -> None:
    flags = ("glitch-0.01", *rule, "--trials", 5000)
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    assert run(calm, *flags) == run(rough, *flags) == 0
    cut(only_run(rough) / "trials.jsonl", lines)
    (only_run(rough) / "run.json").write_text(json.dumps(info(rough) | {"status": "running", "results": []}))
    assert main(["score", str(only_run(rough))]) == 3
    assert info(rough)["results"][0]["missing_trials"] > 0
    assert run(rough, *flags, "--resume") == 0
    assert info(rough)["results"] == info(calm)["results"]
    assert sorted(logged(rough)) == logged(calm)
    assert (only_run(rough) / "reads.parquet").read_bytes() == (only_run(calm) / "reads.parquet").read_bytes()


def test_a_lost_line_is_asked_again_and_nothing_else(tmp_path: Path) -> None:
    run(tmp_path, "oracle", "--certify", 0.05, "--trials", 5000)
    log, before = only_run(tmp_path) / "trials.jsonl", info(tmp_path)["results"]
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:10] + lines[11:]))
    assert main(["score", str(log.parent)]) == 3
    assert run(tmp_path, "oracle", "--certify", 0.05, "--trials", 5000, "--resume") == 0
    assert len(log.read_text().splitlines()) == len(lines)
    assert info(tmp_path)["results"] == before


def test_failed_calls_leave_a_condition_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "failing", "--certify", 0.05, "--trials", 5000) == 3
    assert info(tmp_path)["status"] == "incomplete"
    assert logged(tmp_path) == list(range(64))
    assert "not decided after 0 strings" in capsys.readouterr().out


def test_a_dry_run_says_the_fewest_strings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "oracle", "--certify", 0.01, "--trials", 5000, "--dry-run") == 0
    made = plan(certify=0.01)
    assert f"{made.conditions[0].name}: {fewest(made, made.conditions[0])} strings" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--certify", "1e-4", "--trials", "5000"], "takes about 36,495 without an error"),
        (["--until-width", "0.001", "--trials", "100"], "too few strings of game/0-shot/next"),
        (["--certify", "0.01"], "--certify 0.01: also give --trials"),
        (["--until-width", "0.01"], "--until-width 0.01: also give --trials"),
        (["--certify", "0.01", "--until-width", "0.01", "--trials", "9"], "--certify: give either it or --until-width"),
        (["--certify", "1", "--trials", "9"], "certify"),
        (["--certify", "0", "--trials", "9"], "certify"),
        (["--until-width", "nan", "--trials", "9"], "--until-width nan: expected"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    assert run(tmp_path / "out", "oracle", *flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "out").exists()


def test_strings_from_a_file_are_no_draws() -> None:
    with pytest.raises(ConfigError, match=r"--certify 0\.1: needs sampled strings"):
        make({"backend": "scripted", "model": "oracle", "data": "a.parquet", "trials": 9, "certify": 0.1})


def test_a_table_of_several_is_as_good_as_its_worst() -> None:
    plain, begun = Tally().result(), course(certify=0.1).record()
    rows = {
        name: replace(plain, stopping=replace(begun, decision=name)) for name in ("below", "above", "reached", None)
    }
    assert verdict([plain, rows["below"], rows["reached"]]) == 0
    assert verdict([rows["below"], rows[None]]) == 3
    assert verdict([rows[None], rows["above"], rows["below"]]) == 1
    assert "below" not in describe(course(certify=0.1).record())


@pytest.mark.slow
def test_a_glitching_model_is_wrong_as_often_as_it_says(tmp_path: Path) -> None:
    for share, low, high in (("0", 0, 0), ("0.01", 0.005, 0.016), ("1", 1, 1)):
        out = tmp_path / share
        run(out, f"glitch-{share}", "--elicitation", "forced", "--trials", 1000, "--length", 40)
        assert low <= info(out)["results"][0]["glitch_rate"] <= high
    for name in ("glitch-2", "glitch-", "glitch-x", "glitch-nan"):
        with pytest.raises(ModelError, match="unknown"):
            ScriptedBackend(name)


# --------------------------------------------------------------------------------------------------- behind an API


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def api(server: FaultyServer, out: Path, *more: object) -> list[str]:
    return [
        "run", "--backend", "openai", "--model", "a-model", "--base-url", server.v1, "--length", "12",
        "--template", "game", "--elicitation", "next", "--max-concurrency", "16", "--out", str(out), *map(str, more),
    ]  # fmt: skip


def test_behind_an_api_no_more_is_asked_than_a_block(tmp_path: Path) -> None:
    with FaultyServer(latency=0.01, reply="1") as server:
        assert main(api(server, tmp_path, "--until-width", 0.35, "--trials", 100_000)) == 0
        strings = shown(tmp_path)["strings"]
        assert 64 < strings < 500
        assert len(server.posted) == strings == len(logged(tmp_path))
        assert server.peak > 4
    assert sorted(logged(tmp_path)) == list(range(strings))


def test_a_call_that_fails_stops_its_condition_until_it_is_made_again(tmp_path: Path) -> None:
    flags = ("--until-width", 0.35, "--trials", 100_000)
    with FaultyServer(reply="1") as server:
        assert main(api(server, tmp_path / "calm", *flags)) == 0
    with FaultyServer(lambda number: "400" if number == 80 else None, reply="1") as server:
        assert main(api(server, tmp_path / "rough", *flags)) == 3
        assert len(server.posted) == 128
        (lost,) = [n for n, line in enumerate(lines(tmp_path / "rough")) if "error" in line]
        assert shown(tmp_path / "rough")["strings"] == 64
        assert main(api(server, tmp_path / "rough", *flags, "--resume")) == 0
    assert shown(tmp_path / "rough") == shown(tmp_path / "calm")
    assert len(server.posted) == shown(tmp_path / "calm")["strings"] + 1
    assert lines(tmp_path / "rough")[lost]["trial"] >= 64


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (only_run(out) / "trials.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_killed_run_decides_the_same_and_pays_for_nothing_twice(tmp_path: Path) -> None:
    flags = ("--until-width", 0.35, "--trials", 100_000)
    with FaultyServer(latency=0.05, reply="1") as server:
        assert main(api(server, tmp_path / "calm", *flags)) == 0
        words = [sys.executable, "-m", "ffprompt", *api(server, tmp_path / "rough", *flags), "--resume"]
        process = subprocess.Popen(words, cwd=ROOT, env=os.environ, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while sum(path.read_bytes().count(b"\n") for path in tmp_path.glob("rough/*/trials.jsonl")) < 80:
            assert time.monotonic() < deadline, "no progress"
            time.sleep(0.01)
        process.kill()
        process.wait()
        server.settle()
        (log,) = tmp_path.glob("rough/*/trials.jsonl")
        kept, asked = log.read_bytes().count(b"\n"), len(server.posted)
        assert main(words[3:]) == 0
        assert len(server.posted) - asked == shown(tmp_path / "calm")["strings"] - kept
    assert shown(tmp_path / "rough") == shown(tmp_path / "calm")
    assert sorted(logged(tmp_path / "rough")) == sorted(logged(tmp_path / "calm"))


def test_batches_ask_everything_and_cannot_stop() -> None:
    batchable(plan())
    for rule in ({"certify": 0.1}, {"until_width": 0.1}):
        with pytest.raises(ConfigError, match="all strings at once; run without --batch"):
            batchable(plan(**rule))
