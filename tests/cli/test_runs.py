"""Whole runs through the command line, as a user starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

import ffprompt
from ffprompt.backends import scripted as scripted_model
from ffprompt.cli import result_table
from ffprompt.cli.main import main
from ffprompt.errors import StoreError
from ffprompt.scoring.aggregate import Tally
from tests.conftest import ROOT, Command, only_run
from tests.support.tiny import make


def results(folder: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((only_run(folder) / "run.json").read_text())["results"]
    return found


def scripted(command: Command, model: str, *more: object) -> subprocess.CompletedProcess[str]:
    return command("--backend", "scripted", "--model", model, "--trials", 60, *more)


def test_the_oracle_is_always_right(command: Command, tmp_path: Path) -> None:
    done = scripted(command, "oracle", "--elicitation", "forced", "next", "list", "--template", "game", "raw-spaced")
    assert done.returncode == 0, done.stderr
    rows = results(tmp_path / "results")
    assert {row["elicitation"] for row in rows} == {"forced", "next", "list"}
    assert all(row["accuracy"] == 1.0 and row["interval_low"] < 1 and row["interval_high"] == 1 for row in rows)  # type: ignore[operator]
    assert "1.0000" in done.stdout


@pytest.mark.parametrize("rule", ["constant-0", "constant-1", "copy-last-bit", "first-write", "majority"])
def test_a_rule_scores_exactly_its_floor(command: Command, tmp_path: Path, rule: str) -> None:
    assert scripted(command, rule).returncode == 0
    for row in results(tmp_path / "results"):
        assert row["accuracy"] == row["floors"][rule]  # type: ignore[index]


def test_a_coin_is_near_one_half(command: Command, tmp_path: Path) -> None:
    scripted(command, "coin", "--length", 100, "--trials", 200)
    (row,) = results(tmp_path / "results")
    assert 0.46 < float(str(row["accuracy"])) < 0.54


@pytest.mark.parametrize(
    ("model", "outcome"), [("malformed", "invalid"), ("refusing", "refused"), ("truncating", "truncated")]
)
def test_a_reply_without_answers_counts_against_but_is_never_wrong(
    command: Command, tmp_path: Path, model: str, outcome: str
) -> None:
    assert scripted(command, model).returncode == 0
    for row in results(tmp_path / "results"):
        counts = row["outcomes"]
        assert isinstance(counts, dict)
        assert counts[outcome] == row["reads"]
        assert counts["wrong"] == counts["error"] == 0
        assert row["accuracy"] == 0.0
        assert row["glitch_rate"] is None


def test_failed_calls_are_no_data_and_exit_with_3(command: Command, tmp_path: Path) -> None:
    done = scripted(command, "failing")
    assert done.returncode == 3
    assert "–" in done.stdout
    info = json.loads((only_run(tmp_path / "results") / "run.json").read_text())
    assert info["status"] == "incomplete"
    for row in info["results"]:
        assert row["accuracy"] is None
        assert row["interval_low"] is None
        assert row["outcomes"]["error"] == row["reads"] > 0


def test_failed_trials_are_asked_again_on_resume_and_only_they(command: Command, tmp_path: Path) -> None:
    scripted(command, "failing")
    again = scripted(command, "failing", "--resume")
    assert "going on" in again.stdout
    lines = (only_run(tmp_path / "results") / "trials.jsonl").read_text().splitlines()
    assert len(lines) == 2 * 180


def test_a_second_run_gives_the_same_reads(command: Command, tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        done = command(
            "--backend", "reference", "--model", "lstm", "--trials", 20, "--length", 64, "--out", tmp_path / name
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        files.append((only_run(tmp_path / name) / "reads.parquet").read_bytes())
    assert files[0] == files[1]


def test_the_bundled_lstm_makes_no_error(command: Command, tmp_path: Path) -> None:
    assert command("--backend", "reference", "--model", "lstm", "--trials", 100).returncode == 0
    for row in results(tmp_path / "results"):
        assert row["accuracy"] == 1.0


SLOW = ("--backend", "scripted", "--model", "slow", "--trials", "40", "--length", "10", "20")


def start(out: Path, *more: str) -> subprocess.Popen[str]:
    words = [sys.executable, "run_eval.py", *SLOW, *more, "--out", str(out), "--resume"]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_lines(out: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while sum(path.read_bytes().count(b"\n") for path in out.glob("*/trials.jsonl")) < count:
        assert time.monotonic() < deadline, "no progress"
        time.sleep(0.02)


def test_killed_three_times_a_run_ends_as_if_nothing_had_happened(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripted_model, "_DELAY", 0.0)  # of this process, not of those that are killed
    assert command(*SLOW, "--out", tmp_path / "calm").returncode == 0
    rough = tmp_path / "rough"
    for lines in (5, 30, 60):
        process = start(rough)
        wait_for_lines(rough, lines)
        process.kill()
        process.communicate()
        (log,) = rough.glob("*/trials.jsonl")
        with log.open("ab") as file:  # what a crash within a write leaves
            file.write(b'{"trial": 7, "repl')
    assert command(*SLOW, "--out", rough, "--resume").returncode == 0
    calm, run = only_run(tmp_path / "calm"), only_run(rough)
    assert (calm / "reads.parquet").read_bytes() == (run / "reads.parquet").read_bytes()
    trials = [json.loads(line)["trial"] for line in (run / "trials.jsonl").read_text().splitlines()]
    assert sorted(trials) == list(range(80))
    assert json.loads((run / "run.json").read_text())["status"] == "done"


def test_a_batch_cut_in_half_is_resumed_with_the_same_numbers(command: Command, tmp_path: Path) -> None:
    model = make(tmp_path / "model", "llama")
    flags = (
        "--backend", "transformers", "--model", model, "--template", "game", "--elicitation", "forced",
        "--length", 10, 40, "--trials", 20, "--shots", 1,
    )  # fmt: skip
    assert command(*flags, "--out", tmp_path / "calm").returncode == 0
    assert command(*flags, "--out", tmp_path / "rough").returncode == 0
    calm, rough = only_run(tmp_path / "calm"), only_run(tmp_path / "rough")
    log = rough / "trials.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:21]))  # 16 + 5: within the second batch
    info = json.loads((rough / "run.json").read_text())
    (rough / "run.json").write_text(json.dumps(info | {"status": "running"}))
    (rough / "reads.parquet").unlink()
    done = command(*flags, "--out", tmp_path / "rough", "--resume")
    assert "19 of 40 trials are left" in done.stdout
    assert (calm / "reads.parquet").read_bytes() == (rough / "reads.parquet").read_bytes()


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path, which: signal.Signals) -> None:
    process = start(tmp_path)
    wait_for_lines(tmp_path, 3)
    process.send_signal(which)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in errors.splitlines()[-1]
    assert json.loads((only_run(tmp_path) / "run.json").read_text())["status"] == "interrupted"


def test_two_processes_do_not_write_one_run(tmp_path: Path) -> None:
    process = start(tmp_path)
    wait_for_lines(tmp_path, 2)
    second = start(tmp_path)
    _, errors = second.communicate(timeout=60)
    assert json.loads((only_run(tmp_path) / "run.json").read_text())["status"] == "running"
    process.kill()
    process.communicate()
    assert second.returncode == 2
    assert "another process is writing it" in errors


def test_score_finds_the_same_numbers_from_the_raw_lines(command: Command, tmp_path: Path) -> None:
    scripted(command, "coin", "--elicitation", "forced", "list")
    run = only_run(tmp_path / "results")
    before, table = (run / "reads.parquet").read_bytes(), json.loads((run / "run.json").read_text())["results"]
    (run / "reads.parquet").unlink()
    done = command("score", run, prog="ffprompt")
    assert done.returncode == 0, done.stderr
    assert (run / "reads.parquet").read_bytes() == before
    assert json.loads((run / "run.json").read_text())["results"] == table
    assert "judged differently" not in done.stdout


def test_score_notices_outcomes_that_do_not_follow_from_the_raw_answer(command: Command, tmp_path: Path) -> None:
    scripted(command, "oracle")
    log = only_run(tmp_path / "results") / "trials.jsonl"
    log.write_text(log.read_text().replace('"correct"', '"wrong"', 1))
    done = command("score", log.parent, prog="ffprompt")
    assert "1 trial judged differently" in done.stdout


def test_score_leaves_a_run_alone_that_is_being_written(command: Command, tmp_path: Path) -> None:
    process = start(tmp_path, "--trials", "30")
    wait_for_lines(tmp_path, 2)
    shown = command("score", only_run(tmp_path), prog="ffprompt")
    assert "another process is writing it; nothing is saved" in shown.stdout
    assert shown.returncode == 3
    assert process.wait(60) == 0
    assert json.loads((only_run(tmp_path) / "run.json").read_text())["status"] == "done"


def test_score_says_that_a_finished_run_lost_a_line_and_resume_mends_it(command: Command, tmp_path: Path) -> None:
    scripted(command, "oracle")
    log = only_run(tmp_path / "results") / "trials.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
    assert command("score", log.parent, prog="ffprompt").returncode == 3
    assert json.loads((log.parent / "run.json").read_text())["status"] == "incomplete"
    assert "1 of 180 trials are left" in scripted(command, "oracle", "--resume").stdout
    assert json.loads((log.parent / "run.json").read_text())["status"] == "done"


def test_a_run_is_scored_without_the_template_and_data_it_was_made_from(command: Command, tmp_path: Path) -> None:
    template, data = tmp_path / "mine.toml", tmp_path / "data.jsonl"
    template.write_text((ROOT / "prompts" / "game.toml").read_text().replace('name = "game"', 'name = "mine"'))
    command("sample", "--spec", "FFL(20, 0.6)", "--strings", 5, "--out", data, prog="ffprompt")
    done = command(
        "--backend", "scripted", "--model", "coin", "--template", template, "--data", data, "--trials", 5
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path / "results")
    before = (run / "reads.parquet").read_bytes()
    template.unlink()
    data.unlink()
    assert command("score", run, prog="ffprompt").returncode == 0
    assert (run / "reads.parquet").read_bytes() == before


def test_a_template_of_ones_own_may_not_pass_for_a_bundled_one(command: Command, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text((ROOT / "prompts" / "game.toml").read_text().replace("Hi!", "Hello!"))
    assert scripted(command, "oracle", "--template", "prompts/game.toml").returncode == 0
    done = scripted(command, "oracle", "--template", tmp_path / "own.toml")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "give yours another name" in done.stderr


def test_a_resumed_suite_does_not_ask_its_finished_runs_again(command: Command, tmp_path: Path) -> None:
    suite = tmp_path / "two.toml"
    run = '[[run]]\nbackend = "scripted"\nmodel = "{}"\nlength = 10\ntrials = 5\n'
    suite.write_text(run.format("oracle") + run.format("coin"))
    first = command("--suite", suite)
    again = command("--suite", suite, "--resume")
    assert again.stdout.count("already complete") == 2
    assert first.stdout.split("verdict")[1] == again.stdout.split("verdict")[1]
    assert len(list((tmp_path / "results").glob("*/run.json"))) == 2


def test_a_reader_that_leaves_does_not_stop_a_run(tmp_path: Path) -> None:
    words = f"{sys.executable} run_eval.py --backend scripted --model oracle --trials 3 --out {tmp_path} | head -n 0"
    subprocess.run(words, shell=True, cwd=ROOT, check=True, timeout=60, capture_output=True)
    assert json.loads((only_run(tmp_path) / "run.json").read_text())["status"] == "done"


@pytest.mark.parametrize("width", [60, 200])
def test_a_table_keeps_every_number_on_any_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    row = replace(
        Tally().result(), condition="light-switch/0-shot/forced/completion/FFL(10, 0.6)", template="light-switch",
        shots=0, elicitation="forced", form="completion", language="FFL(10, 0.6)", reads=1234567, accuracy=0.999999,
        interval_low=0.99999, interval_high=1.0,
    )  # fmt: skip
    monkeypatch.setattr(result_table, "make_console", lambda error=False: Console(width=width, highlight=False))
    result_table.show_results([("a-model-with-a-rather-long-name", row)])
    shown = capsys.readouterr().out
    assert all(part in shown for part in ("a-model-with-a-rather-long-name", "1,234,567", "0.999999", "0.99999–1.0000"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace('"reply": "', '"rply": "', 1), "line 1: reply is missing"),
        (lambda text: text.replace('"outcomes": ', '"outcome": ', 1), "line 1: outcomes is missing"),
        (lambda text: text.replace('"string": "', '"string": "0', 1), "is about string 0"),
        (lambda text: "nonsense\n" + text, "line 1: not JSON"),
        (lambda text: text.replace('{"trial": 3,', '{"trial": 3333333,'), "line 4: trial 3333333 is not in the plan"),
    ],
)
def test_a_corrupt_line_is_named(command: Command, tmp_path: Path, change: Callable[[str], str], message: str) -> None:
    scripted(command, "oracle")
    log = only_run(tmp_path / "results") / "trials.jsonl"
    log.write_text(change(log.read_text()))
    done = command("score", log.parent, prog="ffprompt")
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_newer_schema_is_refused(command: Command, tmp_path: Path) -> None:
    scripted(command, "oracle")
    path = only_run(tmp_path / "results") / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 99}))
    done = command("score", path.parent, prog="ffprompt")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "schema is 99" in done.stderr


def test_load_gives_frames_of_trials_and_reads(command: Command, tmp_path: Path) -> None:
    scripted(command, "coin", "--elicitation", "forced")
    run = ffprompt.load(only_run(tmp_path / "results"))
    promised = (
        "trial_id template shots elicitation length p_write p_read p_ignore seed string_index read_index position gap "
        "truth answer outcome answer_logprobs answer_mass margin"
    )
    assert set(promised.split()) <= set(run.reads.columns)
    assert len(run.trials) == 180
    scored = run.reads
    assert ((scored.answer == scored.truth) == (scored.outcome == "correct")).all()
    assert (scored.gap > 0).all()
    assert scored.answer_mass.between(0.999, 1.001).all()
    by_length = scored.groupby("length").outcome.agg(lambda found: (found == "correct").mean())
    assert by_length.tolist() == [row["accuracy"] for row in run.info["results"]]


def test_load_of_no_run_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no run\.json"):
        ffprompt.load(tmp_path)


def test_run_json_says_what_was_run_on_what(command: Command, tmp_path: Path) -> None:
    scripted(command, "oracle")
    info = json.loads((only_run(tmp_path / "results") / "run.json").read_text())
    assert info["versions"]["ffprompt"] == ffprompt.__version__
    assert info["plan"]["templates"]["game"]["digest"]
    assert info["plan"]["data_digest"]
    assert info["hardware"]["cores"] == os.cpu_count()
    assert set(info["source"]) == {"commit", "dirty"}
    assert info["started"] <= info["ended"]


def test_strings_from_a_file_are_evaluated(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "val.parquet"
    made = command("sample", "--spec", "FFL(64, 0.8)", "--strings", 30, "--out", file, prog="ffprompt")
    assert made.returncode == 0, made.stderr
    done = command("--backend", "reference", "--model", "lstm", "--data", file, "--trials", 30)
    assert done.returncode == 0, done.stderr
    (row,) = results(tmp_path / "results")
    assert (row["accuracy"], row["strings"]) == (1.0, 30)


def test_a_dry_run_asks_nothing_and_writes_nothing(command: Command, tmp_path: Path) -> None:
    done = command("--backend", "scripted", "--model", "failing", "--dry-run", "--shots", 0, 1)
    assert done.returncode == 0, done.stderr
    assert "game/1-shot-of-16/list/chat" in done.stdout
    assert "Hi! I would like to play a game" in done.stdout
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lenght", "10"], "did you mean '--length'"),
        (["--backend", "transformer", "--model", "x"], "did you mean 'transformers'"),
        (["--backend", "scripted"], "--model is missing"),
        (["--model", "oracle"], "--backend is missing"),
        (["--backend", "scripted", "--model", "oracel"], "did you mean 'oracle'"),
        (["--backend", "scripted", "--model", "oracle", "--template", "gmae"], "did you mean 'game'"),
        (["--backend", "scripted", "--model", "oracle", "--template", "no.toml"], "no such file"),
        (["--backend", "scripted", "--model", "oracle", "--length", "11"], "even and at least 4"),
        (["--backend", "scripted", "--model", "oracle", "--length", "ten"], "expected an even number of at least 4"),
        (["--backend", "scripted", "--model", "oracle", "--p-ignore", "1.2"], "between 0 and 1"),
        (["--backend", "scripted", "--model", "oracle", "--p-write", "0.2"], "--p-write: also give --p-read"),
        (
            ["--backend", "scripted", "--model", "oracle", "--p-write", "0.8", "--p-read", "0.7"],
            "p_write 0.8 and p_read 0.7",
        ),
        (["--backend", "scripted", "--model", "oracle", "--trials", "0"], "trials"),
        (["--backend", "scripted", "--model", "oracle", "--seed", "-1"], "seed"),
        (["--backend", "scripted", "--model", "oracle", "--temperature", "nan"], "temperature"),
        (["--backend", "scripted", "--model", "oracle", "--elicitation", "lst"], "elicitation"),
        (["--backend", "scripted", "--model", "oracle", "--device", "cuda"], "--device cuda"),
        (["--backend", "scripted", "--model", "malformed", "--elicitation", "forced"], "no log-probabilities"),
        (["--backend", "scripted", "--model", "oracle", "--data", "nowhere.parquet"], "no such file"),
        (["--backend", "scripted", "--model", "oracle", "--symbols", "3"], "words 2 data symbols, not 3"),
        (["--backend", "scripted", "--model", "oracle", "--out", "pyproject.toml"], "cannot be written"),
        (["--backend", "scripted", "--model", "oracle", "--out", "/proc/results"], "cannot be written"),
        (["--backend", "reference", "--model", "lstm", "--shots", "1"], "--shots 0"),
        (["--backend", "reference", "--model", "nowhere"], "nowhere"),
        (["--suite", "nowhere"], "no such file or bundled suite"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    out = [] if "--out" in arguments else ["--out", str(tmp_path)]
    code = main(["run", *arguments, *out], prog="run_eval.py")
    shown = capsys.readouterr()
    assert code == 2, (shown.out, shown.err)
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1, shown.err
    assert not list(tmp_path.iterdir())


def test_the_prompts_command_marks_every_read(command: Command) -> None:
    shown = command(
        "prompts", "show", "light-switch", "--length", 20, "--seed", 3, "--shots", 1, prog="ffprompt"
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    string = shown.stdout.splitlines()[0].split()[-1]
    assert shown.stdout.count("⟦on⟧") + shown.stdout.count("⟦off⟧") == string.count("r")
    assert "Alice turns the light" in shown.stdout
    listed = command("prompts", "list", prog="ffprompt").stdout
    assert all(name in listed for name in ("raw-spaced", "light-switch", "game", "keys", "door", "html", "code"))


@pytest.mark.slow
@pytest.mark.weights
def test_smollm2_answers_all_three_elicitations(command: Command, tmp_path: Path) -> None:
    done = command(
        "--backend", "transformers", "--model", "smollm2-135m", "--template", "light-switch", "--shots", 0, 1,
        "--elicitation", "forced", "next", "list", "--length", 10, "--trials", 4,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = results(tmp_path / "results")
    assert len(rows) == 6
    assert all(row["outcomes"]["error"] == 0 for row in rows)  # type: ignore[index]
    info = json.loads((only_run(tmp_path / "results") / "run.json").read_text())
    assert info["model"]["gguf_sha256"]
    assert info["audit"][0]["answer_tokens"]
