"""Why calls failed is told where their number is."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ffprompt.cli.main import main
from ffprompt.report.wording import failures
from ffprompt.scoring.aggregate import Reasons, Tally
from tests.conftest import only_run
from tests.support.faulty_server import KEY, FaultyServer


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def run(server: FaultyServer, out: Path, *more: str) -> int:
    words = [
        "run", "--backend", "openai", "--model", "a-model", "--base-url", server.v1, "--template", "game", "--out",
        str(out), "--elicitation", "list", "--trials", "8", "--max-concurrency", "1", "--no-report", *more,
    ]  # fmt: skip
    return main(words)


def told(said: str) -> list[str]:
    return [line.removeprefix("! ") for line in said.splitlines() if "ended in error" in line]


def test_a_table_tells_the_commonest_reason_once_for_all_conditions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = {1: "400 context", 2: "400 context", 5: "400", 11: "400 context"}
    with FaultyServer(faults.get) as server:
        assert run(server, tmp_path, "--length", "12", "14") == 3
    said = capsys.readouterr().out
    assert told(said) == [
        "4 trials ended in error: 3 × HTTP 400: the context of 4097 tokens is too short for your 4102; "
        "1 × HTTP 400: a fault of kind 400 for Bearer [redacted]"
    ]
    folder = only_run(tmp_path)
    first, second = json.loads((folder / "run.json").read_bytes())["results"]
    assert [trials for _, trials in first["reasons"]["error"]] == [2, 1]
    assert [trials for _, trials in second["reasons"]["error"]] == [1]
    assert main(["score", str(folder)]) == 3
    assert told(capsys.readouterr().out) == told(said)


def test_a_run_without_errors_tells_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FaultyServer() as server:
        assert run(server, tmp_path, "--length", "12") == 0
    assert told(capsys.readouterr().out) == []


def test_a_run_that_stops_tells_what_its_calls_failed_of_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FaultyServer(lambda number: "400 context" if number < 4 else "400") as server:
        assert run(server, tmp_path, "--length", "12", "--trials", "20") == 3
        (line,) = told(capsys.readouterr().out)
        assert re.search(r"8 trials ended in error: 4 × HTTP 400: the context.*; 4 × HTTP 400: a fault", line)


@pytest.mark.parametrize("status", ["400", "401", "404"])
@pytest.mark.parametrize("key", [None, KEY])
def test_a_call_that_is_refused_without_a_key_says_that_none_is_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, status: str, key: str | None
) -> None:
    if key is None:
        monkeypatch.delenv("OPENAI_API_KEY")
    with FaultyServer(lambda _: status) as server:
        assert run(server, tmp_path, "--length", "12", "--trials", "2") in (2, 3)
    shown = capsys.readouterr()
    assert ("no key is set, so that 'no-key' was sent" in shown.out + shown.err) == (key is None)


def test_a_server_that_refuses_to_be_looked_at_without_a_key_says_that_none_is_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with FaultyServer(models="401") as server:
        assert run(server, tmp_path, "--length", "12") == 2
    assert "no key is set, so that 'no-key' was sent" in capsys.readouterr().err


def test_reasons_that_differ_in_numbers_are_one_and_statuses_are_not() -> None:
    found = Reasons()
    for number in range(300):
        found.add(f"HTTP 500: request req_{number:x} took {number} s")
    found.add("HTTP 502: request req_1 took 1 s")
    assert found.most() == [("HTTP 500: request req_0 took 0 s", 300), ("HTTP 502: request req_1 took 1 s", 1)]


def test_reasons_without_end_are_counted_in_bounded_memory() -> None:
    found = Reasons()
    for number in range(1000):
        found.add("x" * number)
    assert len(found.counts) <= 101
    assert found.counts.total() == 1000


def test_many_reasons_are_told_in_one_short_line() -> None:
    row = Tally().result()
    reasons = {"error": [(f"{'reason ' * 200}{chr(97 + n)}", 10 - n) for n in range(6)]}
    rows = [replace(row, reasons=reasons), row]
    (line,) = failures(rows)
    assert line.startswith("45 trials ended in error: 10 × reason")
    assert line.endswith("; 18 × other reasons")
    assert len(line) < 1600
