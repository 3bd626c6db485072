"""Whatever the code page of a terminal, everything is shown and nothing fails."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ffprompt.cli.main import main
from tests.conftest import ROOT, only_run

CODE_PAGES = ("ascii", "cp1252", "latin-1", "cp437", "cp932", "utf-8")
Run = Callable[..., "tuple[int, str, str]"]


class Screen(io.TextIOWrapper):
    """A terminal with a code page."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(params=CODE_PAGES)
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command with both streams in a code page, strict as Python's are. Returns exit code, output, errors."""

    def call(*words: str, kind: type[io.TextIOWrapper] = io.TextIOWrapper) -> tuple[int, str, str]:
        streams = [kind(io.BytesIO(), encoding=request.param, errors="strict") for _ in range(2)]
        monkeypatch.setattr(sys, "stdout", streams[0])
        monkeypatch.setattr(sys, "stderr", streams[1])
        code = main(words)
        written = []
        for stream in streams:
            stream.flush()
            assert isinstance(stream.buffer, io.BytesIO)
            written.append(stream.buffer.getvalue().decode(request.param))
        return code, *written  # type: ignore[return-value]

    return call


def test_a_prompt_shows_where_answers_are_scored(run: Run, request: pytest.FixtureRequest) -> None:
    code, said, _ = run("prompts", "show", "light-switch", "--elicitation", "forced")
    assert code == 0
    page = request.node.callspec.params["run"]
    assert ("⟦" if page == "utf-8" else "[[") in said
    assert "\\u" not in said


@pytest.mark.parametrize("kind", [io.TextIOWrapper, Screen])
def test_a_run_and_what_is_made_of_it_are_shown(run: Run, tmp_path: Path, kind: type[io.TextIOWrapper]) -> None:
    words = [
        "--backend", "scripted", "--model", "constant-1", "--length", "12", "--trials", "30", "--out", str(tmp_path)
    ]  # fmt: skip
    code, said, _ = run("run", *words, "--no-report", kind=kind)
    assert code == 0
    assert "accuracy" in said and "\\u" not in said
    folder = str(only_run(tmp_path))
    for more in (
        ("score", folder),
        ("anatomy", folder),
        ("compare", folder, folder),
        ("gate", "--baseline", folder, "--candidate", folder, "--margin", "0.5"),
        ("trend", str(tmp_path)),
        ("prompts", "list"),
        ("suites", "list"),
    ):
        code, said, complained = run(*more, kind=kind)
        assert code in (0, 3), complained
        assert said and "\\u" not in said


def test_an_error_is_one_line_whatever_is_in_it(run: Run) -> None:
    name = "mödel ⟦ \ud83d 😀 \x1b[2J\x07"
    code, _, complained = run("run", "--backend", "scripted", "--model", "oracle", "--template", name)
    assert code == 2
    assert len(complained.splitlines()) == 1
    assert "\x1b" not in complained


def test_the_command_line_heeds_the_code_page_of_the_environment() -> None:
    words = [sys.executable, "-m", "ffprompt", "prompts", "show", "light-switch"]
    environment = {"PYTHONIOENCODING": "cp437:strict", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, capture_output=True, env=environment, cwd=ROOT, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"[[" in done.stdout


def test_a_command_without_output_streams_does_its_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["sample", "--out", str(tmp_path / "x.jsonl"), "--strings", "2"]) == 0
    assert main(["sample", "--out", "nowhere/x.jsonl", "--strings", "2"]) == 2
