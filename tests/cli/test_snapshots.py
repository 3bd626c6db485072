"""What each command says, word for word, in one file a command: ``python -m pytest tests/cli --update-snapshots``.

Other tests assert outcomes, and of a message the names and values that it holds.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command, Done, only_run

SNAPSHOTS = Path(__file__).parent / "snapshots"
SMALL = ("--template", "game", "--elicitation", "forced", "list", "--shots", 0, 1, "--length", 16, "--trials", 40)
Snapshot = Callable[..., None]


@pytest.fixture
def snapshot(request: pytest.FixtureRequest, tmp_path: Path) -> Snapshot:
    """Hold what commands said against the snapshot of a name, or write it with ``--update-snapshots``."""

    def check(name: str, *done: Done) -> None:
        said = "\n".join(_shown(one, tmp_path) for one in done)
        path = SNAPSHOTS / f"{name}.txt"
        if request.config.getoption("--update-snapshots"):
            path.write_text(said, encoding="utf-8")
        assert said == path.read_text(encoding="utf-8")

    return check


def _shown(done: Done, folder: Path) -> str:
    """What a command said, without what is another each time: times, places, versions and trailing spaces."""
    words = " ".join(f"'{word}'" if " " in word else word for word in done.args)
    text = f"$ {words}\n{done.stdout}{done.stderr}exit code {done.returncode}\n"
    for old, new in (
        (re.escape(str(folder)), "TMP"),
        (re.escape(str(ROOT)), "CHECKOUT"),
        (r"\d{8}-\d{6}-(\S+-[0-9a-f]{6})(-\d+)?", r"DATE-\1"),  # numbered, where two runs begin in one second
        (r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d)?", "DATE"),
        (r"time: about [^,]+", "time: about N s"),
        (r"[ \t]+\n", "\n"),
    ):
        text = re.sub(old, new, text)
    return text


@pytest.fixture
def runs(command: Command, tmp_path: Path) -> tuple[Path, Path]:
    """Two runs of scripted models on the same strings."""
    for model in ("glitch-0.1", "glitch-0.2"):
        assert command("--backend", "scripted", "--model", model, *SMALL, "--out", tmp_path / model).returncode == 0
    return only_run(tmp_path / "glitch-0.1"), only_run(tmp_path / "glitch-0.2")


def test_run(command: Command, snapshot: Snapshot) -> None:
    run = ("--backend", "scripted", "--model", "glitch-0.1", *SMALL)
    snapshot("run", command(*run), command(*run, "--resume"), command(*run, "--dry-run"))


def test_compare_and_gate(command: Command, snapshot: Snapshot, runs: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = runs
    two = command("compare", a, b, "--tests", prog="ffprompt")
    snapshot("compare", two, command("compare", "--by", "shots", a, prog="ffprompt"))
    gate = ("gate", "--baseline", a, "--candidate", b, "--margin")
    snapshot("gate", *(command(*gate, margin, prog="ffprompt") for margin in (0.5, 0.1, 0.01)))
    snapshot("trend", command("trend", tmp_path / "glitch-0.1", prog="ffprompt"))
    snapshot("anatomy", command("anatomy", a, prog="ffprompt"))


def test_prompts_and_suites(command: Command, snapshot: Snapshot) -> None:
    shown = [
        command("prompts", "show", "light-switch", "--seed", 3, "--elicitation", name, "--shots", 1, prog="ffprompt")
        for name in ("forced", "next", "list", "dialogue")
    ]
    snapshot("prompts", command("prompts", "list", prog="ffprompt"), *shown)
    snapshot("suites", command("suites", "list", prog="ffprompt"))


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse words its help in another way")
def test_help(command: Command, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    names = ("run", "score", "anatomy", "batch", "compare", "gate", "baseline", "trend", "power", "report", "train")
    others = ("suites", "prompts", "export", "sweep", "sample")
    snapshot("help", *(command(name, "--help", prog="ffprompt") for name in (*names, *others)))


def test_errors(command: Command, snapshot: Snapshot, tmp_path: Path) -> None:
    scripted = ("run", "--backend", "scripted", "--model", "oracle")
    wrong: list[tuple[object, ...]] = [
        (*scripted, "--length", 7),
        (*scripted, "--length", 2),
        (*scripted, "--p-ignore", 1.5),
        (*scripted, "--trials", 0),
        (*scripted, "--template", "gmae"),
        (*scripted, "--elicitation", "listt"),
        (*scripted, "--shots", -1),
        (*scripted, "--symbols", 1),
        (*scripted, "--certify", 0.01),
        (*scripted, "--turn-instructions", 3, "--elicitation", "list"),
        (*scripted, "--elicitation", "dialogue", "--form", "completion"),
        (*scripted, "--batch"),
        (*scripted, "--tempreature", 1),
        ("run", "--backend", "scripted"),
        ("run", "--model", "oracle"),
        ("run", "--backend", "openia", "--model", "m"),
        ("run", "--backend", "reference", "--model", "lstmm"),
        ("run", "--suite", "qiuck"),
        ("score", tmp_path / "gone"),
        ("compare", tmp_path / "gone", tmp_path / "gone"),
        ("prompts", "show", "game", "--index", -1),
        ("sample", "--out", tmp_path / "a.txt"),
        ("train", "lsmt"),
    ]
    out = ("--out", tmp_path / "results")
    snapshot("errors", *(command(*words, *(out if words[0] == "run" else ()), prog="ffprompt") for words in wrong))
