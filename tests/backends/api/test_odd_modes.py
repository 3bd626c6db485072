"""Whole runs against servers that are odd, through the real SDKs: the right outcome or one line for each."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ffprompt.backends.api import base as api
from ffprompt.backends.api import openai_probe
from ffprompt.backends.api.retry import Caller
from ffprompt.cli.main import main
from tests.conftest import ROOT
from tests.support.odd_modes import KINDS, MODES
from tests.support.odd_modes.mode import Mode
from tests.support.odd_modes.page import page
from tests.support.odd_server import OddServer


async def _at_once(_: float) -> None:
    """Waits between attempts are not waited for."""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(api, "Caller", lambda policy, name, _, usage: Caller(policy, name, _at_once, usage))
    monkeypatch.setattr(openai_probe, "sleep", lambda _: None)


def command(mode: Mode, server: OddServer, out: Path) -> list[str]:
    """The run of a mode, as a user would type it."""
    host = server.url.removeprefix("http://")
    url = mode.address.format(root=server.url, v1=server.v1, host=host)
    words = ["run", "--model", "m", "--base-url", url, "--out", str(out), "--no-report", "--timeout", "20"]
    words += ["--trials", str(mode.trials), "--length", str(mode.length), *mode.flags]
    return words if "--backend" in mode.flags else [*words, "--backend", "openai"]


def lines_of(out: Path) -> list[dict[str, Any]]:
    """The log of the one run, if it has one; every line must be plain JSON in UTF-8."""
    logs = [path for run in out.iterdir() for path in [run / "trials.jsonl"] if path.exists()]
    return [
        json.loads(line, parse_constant=pytest.fail) for log in logs for line in log.read_text("utf-8").splitlines()
    ]


@pytest.mark.parametrize("name", MODES)
def test_the_right_outcome_or_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mode = MODES[name]
    if mode.key is not None:
        monkeypatch.setenv("OPENAI_API_KEY", mode.key)
        monkeypatch.setenv("ANTHROPIC_API_KEY", mode.key)
    with OddServer(mode.answer(), mode.models) as server:
        code = main(command(mode, server, tmp_path), prog="run_eval.py")
    printed = capsys.readouterr()
    shown = printed.out + printed.err
    told = [line for line in shown.splitlines() if "error: " in line and line.startswith("run_eval.py")]
    # A dialogue is logged in parts, the last of which counts.
    lines = list({line["trial"]: line for line in lines_of(tmp_path)}.values())
    outcomes = Counter(outcome for line in lines for outcome in line["outcomes"])
    assert (code, " ".join(sorted(outcomes))) == (mode.code, " ".join(sorted(mode.reads.split()))), shown
    assert mode.says in shown, shown
    assert "Traceback" not in shown and "internal error" not in shown
    trials = [line["trial"] for line in lines_of(tmp_path) if not line.get("turns")]
    assert len(trials) == len(set(trials))
    if told:
        assert code in (2, 3) and len(told) == 1
    else:
        assert code == (3 if outcomes["error"] else 0) and sorted(line["trial"] for line in lines) == list(
            range(mode.trials)
        )
    if mode.never:
        left = shown + "".join(path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file())
        assert mode.never not in left


def test_the_page_of_the_docs_lists_these_modes() -> None:
    """Made anew by: python -m tests.support.odd_modes > docs/backends/odd-servers.md."""
    assert (ROOT / "docs" / "backends" / "odd-servers.md").read_text("utf-8") == page(KINDS)


def test_every_mode_has_a_name_of_its_own() -> None:
    assert len(MODES) == sum(map(len, KINDS.values()))
