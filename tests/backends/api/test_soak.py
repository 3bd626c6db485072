"""Long runs against a server that misbehaves on every fifth request, killed again and again, and gone on with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import ROOT, only_run
from tests.support.faulty_server import KEY, FaultyServer

pytestmark = pytest.mark.slow

FAULTS = (
    "429 ms 20", "500", "503", "529", "408", "409", "reset", "half-json", "html", "hang", "stall", "empty-choices",
    "no-content", "error-body", "error-body-429", "slow", "overloaded", "broken-off", "half-emoji", "empty",
)  # fmt: skip
IN_FLIGHT = 64


def fault(number: int) -> str | None:
    """One request in five meets one of the faults, each of them as often as the others."""
    return FAULTS[number // 5 % len(FAULTS)] if number % 5 == 3 else None


def words(server: FaultyServer, backend: str, trials: int, out: Path) -> list[str]:
    url = server.v1 if backend == "openai" else server.url
    return [
        sys.executable, "run_eval.py", "--backend", backend, "--model", "a-model", "--base-url", url, "--length", "12",
        "--trials", str(trials), "--template", "game", "--elicitation", "list", "--out", str(out), "--resume",
        "--max-concurrency", str(IN_FLIGHT), "--timeout", "0.6",
    ]  # fmt: skip


def lines_in(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in out.glob("*/trials.jsonl"))


def kill_at(command: list[str], environment: dict[str, str], out: Path, lines: int) -> None:
    """Begin or go on, and send SIGKILL when the log has so many lines."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 90
    while lines_in(out) < lines:
        assert process.poll() is None, f"ended before {lines} lines"
        assert time.monotonic() < deadline, f"no progress towards {lines} lines"
        time.sleep(0.005)
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    ("backend", "trials", "kills"),
    [("openai", 2000, (60, 350, 800, 1300, 1800)), ("anthropic", 300, (100,))],
)
def test_every_trial_is_answered_once_and_paid_once(
    tmp_path: Path, backend: str, trials: int, kills: tuple[int, ...]
) -> None:
    environment = os.environ | {"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY}
    with FaultyServer(fault) as server:
        command = words(server, backend, trials, tmp_path)
        for lines in kills:
            kill_at(command, environment, tmp_path, lines)
        codes = []
        while not codes or (codes[-1] == 3 and len(codes) < 8):  # what failed for good is asked again
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
            codes.append(done.returncode)
        assert codes[-1] == 0, (codes, done.stderr)
    run = only_run(tmp_path)
    found = [json.loads(line) for line in (run / "trials.jsonl").read_text().splitlines()]
    good = Counter(line["trial"] for line in found if "error" not in line)
    assert sorted(good) == list(range(trials))
    assert set(good.values()) == {1}
    (row,) = json.loads((run / "run.json").read_text())["results"]
    assert (row["strings"], row["outcomes"]["error"], row["missing_trials"]) == (trials, 0, 0)
    assert trials <= server.good <= trials + len(kills) * IN_FLIGHT
    met = Counter(str(attempt["status"]) for line in found for attempt in line["call"]["attempts"])
    assert {"200", "408", "409", "429", "500", "503", "529", "no JSON", "timeout", "RemoteProtocolError"} <= set(met)
    assert KEY not in (run / "trials.jsonl").read_text()
