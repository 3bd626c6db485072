"""Whole runs against a provider that misbehaves, through the real SDKs and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ffprompt.backends.registry import open_backend
from ffprompt.config.run_config import make
from ffprompt.errors import ModelError
from tests.conftest import ROOT, Command, only_run
from tests.support.faulty_server import KEY, FaultyServer

pytestmark = pytest.mark.usefixtures("short_waits")
FAULTS = ("500", "reset", "half-json", "html", "529", "429 ms 20", "empty-choices", "error-body")


def flags(server: FaultyServer, backend: str = "openai", trials: int = 60) -> list[str]:
    url = server.v1 if backend == "openai" else server.url
    return [
        "--backend", backend, "--model", "a-model", "--base-url", url, "--length", "12", "--trials", str(trials),
        "--template", "game", "--elicitation", "list", "--max-concurrency", "16",
    ]  # fmt: skip


@pytest.fixture
def environment() -> dict[str, str]:
    return os.environ | {"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY}


@pytest.mark.parametrize("backend", ["openai", "anthropic"])
def test_every_trial_is_logged_once_whatever_the_server_does(
    command: Command, tmp_path: Path, environment: dict[str, str], backend: str
) -> None:
    def fault(number: int) -> str | None:
        return FAULTS[number // 10 % len(FAULTS)] if number % 10 == 5 else None

    with FaultyServer(fault, latency=0.02) as server:
        done = command(*flags(server, backend), env=environment)
        assert server.peak > 4
    run = only_run(tmp_path / "results")
    info = json.loads((run / "run.json").read_text())
    (row,) = info["results"]
    lines = [json.loads(line) for line in (run / "trials.jsonl").read_text().splitlines()]
    assert sorted(line["trial"] for line in lines) == list(range(60))
    failed = [line for line in lines if "error" in line]
    assert row["outcomes"]["error"] == sum(len(line["outcomes"]) for line in failed)
    assert all(set(line["outcomes"]) == {"error"} for line in failed)
    assert done.returncode == (3 if failed else 0), done.stderr
    assert any(len(line["call"]["attempts"]) > 1 for line in lines)
    assert KEY not in "".join(path.read_text() for path in (run / "run.json", run / "trials.jsonl"))
    assert KEY not in done.stdout + done.stderr


def test_a_wrong_key_stops_the_run_in_one_line(command: Command, tmp_path: Path, environment: dict[str, str]) -> None:
    with FaultyServer(lambda _: "401", models="404") as server:
        done = command(*flags(server), env=environment)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert "401" in line and KEY not in line


@pytest.mark.parametrize("backend", ["openai", "anthropic"])
def test_a_missing_key_is_named_before_anything_is_sent(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = f"{backend.upper()}_API_KEY"
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ModelError, match=variable):
        open_backend(make({"backend": backend, "model": "a-model"}))


@pytest.mark.parametrize("backend", ["openai", "anthropic"])
def test_a_server_of_ones_own_needs_no_key(command: Command, environment: dict[str, str], backend: str) -> None:
    del environment["ANTHROPIC_API_KEY"], environment["OPENAI_API_KEY"]
    with FaultyServer() as server:
        assert command(*flags(server, backend), env=environment).returncode == 0
        assert "no-key" in server.headers[0].get("authorization", "") + server.headers[0].get("x-api-key", "")


@pytest.mark.slow
def test_a_killed_run_goes_on_and_pays_for_no_answer_twice(tmp_path: Path, environment: dict[str, str]) -> None:
    with FaultyServer(latency=0.05) as server:
        words = [sys.executable, "run_eval.py", *flags(server, trials=120), "--out", str(tmp_path), "--resume"]
        process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while sum(path.read_bytes().count(b"\n") for path in tmp_path.glob("*/trials.jsonl")) < 40:
            assert time.monotonic() < deadline, "no progress"
            time.sleep(0.01)
        process.kill()
        process.wait()
        server.settle()
        kept = (only_run(tmp_path) / "trials.jsonl").read_bytes().count(b"\n")
        asked = len(server.posted)
        assert subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, check=False).returncode == 0
        assert len(server.posted) - asked == 120 - kept
    trials = [json.loads(line)["trial"] for line in (only_run(tmp_path) / "trials.jsonl").read_text().splitlines()]
    assert sorted(trials) == list(range(120))


def test_forced_through_echoed_log_probabilities(command: Command, tmp_path: Path, environment: dict[str, str]) -> None:
    with FaultyServer() as server:
        done = command(
            "--backend", "openai", "--model", "a-model", "--base-url", server.v1, "--api", "completions",
            "--template", "raw-spaced", "--elicitation", "forced", "--length", 20, "--trials", 20, "--shots", 0,
            env=environment,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((only_run(tmp_path / "results") / "run.json").read_text())["results"]
    assert row["accuracy"] == row["floors"]["constant-1"]  # the server always finds 1 likelier


def test_forced_without_log_probabilities_names_the_alternative(command: Command, environment: dict[str, str]) -> None:
    with FaultyServer() as server:
        done = command(*flags(server), "--elicitation", "forced", env=environment)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "--elicitation next, list" in done.stderr
