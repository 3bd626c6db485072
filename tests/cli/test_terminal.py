"""What a person sees: terminals of 80, 100 and 160 columns, without colour, and in a pipe."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ffprompt.cli.main import main
from ffprompt.cli.progress import Sparing, progress
from ffprompt.cli.result_screen import SCREEN
from ffprompt.evaluation.worker import Progress

SNAPSHOTS = Path(__file__).parent / "snapshots"
SUITE = """
name = "three"
summary = "three scripted models"
[[run]]
backend = "scripted"
model = "oracle"
template = "game"
elicitation = "forced"
length = [10, 20, 50]
trials = 40
[[run]]
backend = "scripted"
model = "glitch-0.3"
template = "game"
elicitation = "forced"
shots = [0, 1]
length = [10, 20, 50]
trials = 40
[[run]]
backend = "scripted"
model = "truncating"
template = "game"
elicitation = "list"
length = 20
trials = 40
"""
MANY = (
    "run", "--backend", "scripted", "--model", "glitch-0.2", "--template", "game", "door", "keys", "--shots", "0", "1",
    "--length", "10", "20", "50", "100", "--trials", "30",
)  # fmt: skip


class Terminal(io.StringIO):
    """Text that believes to be shown on a terminal."""

    def isatty(self) -> bool:
        return True


Show = Callable[..., tuple[int, str]]


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Show:
    """Run a command in an empty folder, on a terminal of some width or in a pipe (None). Returns code and output."""
    (tmp_path / "three.toml").write_text(SUITE)

    def call(width: int | None, *words: object, colour: bool = False) -> tuple[int, str]:
        stream = Terminal() if width is not None else io.StringIO()
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            patch.setattr(sys, "stdout", stream)
            patch.setenv("TERM", "xterm-256color")
            patch.setenv("COLUMNS", str(width or ""))
            patch.delenv("NO_COLOR", raising=False)
            if not colour:
                patch.setenv("NO_COLOR", "1")
            code = main([str(word) for word in words], prog="ffprompt")
        return code, stream.getvalue()

    return call


@pytest.fixture
def snapshot(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    def check(name: str, text: str) -> None:
        path = SNAPSHOTS / f"{name}.txt"
        if request.config.getoption("--update-snapshots"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return check


def steady(text: str) -> str:
    """Output without times; bold and colours are named, and other codes are left out."""
    for old, new in (
        (r"\d{8}-\d{6}-(\S+-[0-9a-f]{6})(-\d+)?", r"DATE-TIME-\1"),
        (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d", "DATE"),
        (r"\x1b\[0m", "</>"),
        (r"\x1b\[1m", "<bold>"),
        (r"\x1b\[31m", "<red>"),
        (r"\x1b\[32m", "<green>"),
        (r"\x1b\[33m", "<yellow>"),
        (r"[ \t]+\n", "\n"),
    ):
        text = re.sub(old, new, text)
    return text


@pytest.mark.parametrize(
    ("name", "width", "colour"),
    [
        pytest.param("terminal-80", 80, False, marks=pytest.mark.slow),
        ("terminal-100", 100, False),
        pytest.param("terminal-160", 160, False, marks=pytest.mark.slow),
        pytest.param("terminal-colour", 100, True, marks=pytest.mark.slow),
        ("terminal-pipe", None, False),
    ],
)
def test_a_terminal_shows_this(
    show: Show, snapshot: Callable[[str, str], None], tmp_path: Path, name: str, width: int | None, colour: bool
) -> None:
    said = []
    code, text = show(width, "run", "--suite", "three.toml", "--out", "r", "--no-report", colour=colour)
    said.append(f"$ ffprompt run --suite three.toml\n{text}exit code {code}\n")
    (run,) = tmp_path.glob("r/*glitch*")
    path = run.relative_to(tmp_path)
    for words in (
        ("compare", "--by", "shots", path),
        ("gate", "--baseline", path, "--candidate", path, "--margin", 0.05),
        ("trend", "r", "--model", "oracle"),
        ("power", path, "--margin", 0.05),
    ):
        code, text = show(width, *words, colour=colour)
        said.append(f"$ ffprompt {' '.join(map(str, words))}\n{text}exit code {code}\n")
    snapshot(name, steady("\n".join(said)))


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_end_of_a_run_fits_one_screen(show: Show, width: int) -> None:
    code, text = show(width, *MANY, "--out", "r", "--no-report")
    assert code == 0
    start, *ending = text.splitlines()
    assert start.startswith("glitch-0.2: 30 strings x 3 templates x 2 shots x 4 lengths = 720 trials")
    assert "rows that are least above their floors" in text
    if width >= 100:
        plain = [re.sub(r"\x1b\[\d*m", "", line) for line in ending]
        assert sum(max(1, -(-len(line) // width)) for line in plain) <= SCREEN, text


def test_quiet_is_the_verdict_alone_and_json_one_document(show: Show) -> None:
    run = ("run", "--suite", "three.toml", "--out", "r", "--no-report")
    code, text = show(None, *run, "--quiet")
    assert (code, len(text.splitlines())) == (0, 3)
    assert text.splitlines()[0].startswith("oracle: all ")
    code, text = show(None, *run, "--json", "--resume")
    document = json.loads(text)
    assert code == document["exit_code"] == 0
    assert [one["model"] for one in document["verdicts"]] == ["oracle", "glitch-0.3", "truncating"]
    assert document["verdicts"][2]["answer"] == "no result"
    assert len(document["rows"]) == 10
    assert all(Path(one["folder"]).parts[0] == "r" for one in document["runs"])


def test_verbose_shows_every_number(show: Show) -> None:
    _, short = show(200, *MANY, "--out", "r", "--no-report")
    _, text = show(200, *MANY, "--out", "r2", "--no-report", "--verbose")
    assert text.count("FFL(") >= 24 > short.count("FFL(")
    assert "strings have a read not answered correctly" in text


def test_a_result_that_means_nothing_names_limit_flag_and_a_reply(show: Show) -> None:
    run = ("run", "--backend", "scripted", "--model", "truncating", "--template", "game", "--trials", 30, "--out", "r")
    _, text = show(100, *run, "--no-report")
    first = " ".join(text.splitlines()[1:3])
    assert first.startswith("truncating: no result: 30 of 30 trials were cut off at the limit of ")
    assert "raise --max-tokens" in first
    assert '("' in first


def test_a_finished_run_is_not_asked_again_unless_a_new_one_is_wanted(show: Show, tmp_path: Path) -> None:
    run = ("run", "--backend", "scripted", "--model", "oracle", "--trials", 5, "--out", "r", "--no-report")
    show(100, *run)
    code, text = show(200, *run, "--resume")
    (made,) = (tmp_path / "r").iterdir()
    assert code == 0
    assert text.splitlines() == [
        f"nothing to resume: r/{made.name} is finished. Its table: ffprompt score r/{made.name}; to ask everything "
        "again: --resume --new"
    ]
    assert len(list((tmp_path / "r").iterdir())) == 1
    show(100, *run, "--resume", "--new")
    assert len(list((tmp_path / "r").iterdir())) == 2
    assert show(100, *run, "--new")[0] == 2


def test_a_comparison_is_written_as_a_table_and_as_a_figure(show: Show, tmp_path: Path) -> None:
    run = ("run", "--backend", "scripted", "--model", "coin", "--trials", 20, "--shots", 0, 1, "--length", 10, 20)
    show(100, *run, "--out", "r", "--no-report")
    (made,) = (tmp_path / "r").iterdir()
    compare = ("compare", "--by", "shots", made)
    code, text = show(None, *compare, "--table", "t.tex", "--figures", "f.pdf")
    assert code == 0
    assert "table: t.tex" in text
    assert "figure: f.pdf" in text
    assert (tmp_path / "t.tex").read_text().count(r"\begin{tabular}") == 1
    assert (tmp_path / "f.pdf").read_bytes().startswith(b"%PDF")
    assert show(None, *compare, "--table", "t.txt")[0] == 2
    assert show(None, *compare, "--figures", "nowhere/f.pdf")[0] == 2


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_pipe_gets_a_line_now_and_then() -> None:
    clock = Clock()
    sparing = Sparing(clock)
    lines = []
    for second in range(2000):
        clock.now = float(second)
        if sparing.due():
            lines.append(second)
    assert lines[:3] == [10, 20, 30]
    assert len(lines) < 60


def test_progress_in_a_pipe_says_the_time_left_and_never_0_reads_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with progress("m", ["game/0-shot/FFL(10, 0.6)", "game/1-shot/FFL(10, 0.6)"], 10, clock=clock) as watch:
        state = Progress(trials=4)
        watch(state)  # what was answered before
        clock.now = 30.0
        state.trials += 1
        state.add("game/0-shot/FFL(10, 0.6)", ["correct"])
        watch(state)
    assert capsys.readouterr().err == (
        "m: 5 of 10 trials, about 2 min left; 0-shot accuracy 1.0000 so far, 30 s a read\n"
    )
