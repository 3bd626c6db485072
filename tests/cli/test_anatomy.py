"""``ffprompt anatomy`` on the terminal: a screen at most, filtered by condition, with counts and meanings of rules."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import ffprompt
from ffprompt.analysis.reads import steps_since_anchor
from ffprompt.analysis.rule_meanings import meaning
from ffprompt.cli.main import main
from ffprompt.tasks import registry
from ffprompt.tasks.flipflop import FLIP_FLOP
from tests.conftest import only_run
from tests.report.test_report import made

SCREEN = 25


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen conditions of a model that copies the last symbol."""
    words = ("--template", "light-switch", "game", "--shots", 0, 1, "--elicitation", "forced", "list")
    out = tmp_path_factory.mktemp("anatomy")
    return made(out, *words, "--length", 20, 60, "--trials", 40, model="copy-last-bit")


def shown(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> list[str]:
    capsys.readouterr()
    assert main(["anatomy", *map(str, words)]) == code
    return capsys.readouterr().out.splitlines()


def test_many_conditions_fit_a_screen_with_what_explains_them(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, run)
    assert len(lines) <= SCREEN
    assert any("copy-last-bit *" in line for line in lines)
    (count,) = [re.match(r"copy-last-bit \(in (\d+) of 16\): (.+)", line) for line in lines if "in " in line[:20]]
    assert count is not None
    conditions = ffprompt.anatomy(run).conditions
    assert int(count[1]) == sum("copy-last-bit" in one.rules.best for one in conditions)
    assert count[2] == meaning("copy-last-bit")


def test_one_condition_is_shown_with_counts_for_each_rule_and_its_bins(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(
        capsys, run, "--condition", "game", "--condition", "1-shot", "--condition", "list", "--condition", "T=60"
    )
    assert len(lines) <= SCREEN
    (one,) = [
        one
        for one in ffprompt.anatomy(run).conditions
        if (one.template, one.shots, one.elicitation, one.language) == ("game", 1, "list", "FFL(60, 0.6)")
    ]
    assert lines[1] == one.condition
    for fit in one.rules.rules:
        (line,) = [line for line in lines if line.split()[:1] == [fit.rule]]
        assert ("*" in line.split()[1]) == fit.explains
        assert fit.same_answer is not None
        assert f"{fit.same_answer.same} of {fit.same_answer.wrong}" in line
        assert line.endswith(meaning(fit.rule))
    (gaps,) = [line for line in lines if line.startswith("by gap")]
    assert [int(n) for n in re.findall(r"\((\d+)\)", gaps)] == [one.reads for one in one.by_gap]


def test_everything_is_there_when_asked_for(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, run, "--verbose")
    assert [one.condition for one in ffprompt.anatomy(run).conditions] == [line for line in lines if "/" in line[:20]]
    assert sum(line.startswith("first-write: ") for line in lines) == 1


def test_a_condition_that_is_not_there_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["anatomy", str(run), "--condition", "T=600"]) == 2
    assert "did you mean 'T=60'?" in capsys.readouterr().err


def test_the_file_holds_every_condition_and_the_new_keys(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "anatomy.json"
    assert main(["anatomy", str(run), "--condition", "T=60", "--json", str(file)]) == 0
    found = json.loads(file.read_text())["conditions"]
    assert len(found) == 16
    assert all(one["p_ignore"] == 0.6 and one["by_steps"] == one["by_kind"] == [] for one in found)
    assert found[0]["rules"]["largest_p"] == pytest.approx(0.05 / len(found[0]["rules"]["rules"]))


def test_steps_are_counted_from_the_event_that_sets_the_state_or_from_the_start() -> None:
    parity = registry.get("parity")
    strings = parity.parse("f k f r0 f r1")
    assert steps_since_anchor(strings).tolist() == [[1, 1, 2, 2, 3, 3]]
    assert not steps_since_anchor(FLIP_FLOP.parse("w1i0r1w0r0")).any()


def test_every_rule_of_every_task_has_a_meaning() -> None:
    unknown = [rule for rule in registry.rule_names() if meaning(rule) == meaning("no such rule")]
    assert unknown == []


TEMPLATE = """\
name = "boxes-by-name"
version = 1
summary = "what was put into which box last"
task = "registers"
values = ["coin", "key"]

[instructions]
write = "Put a {{ value }} into box {{ name }}."
read = "Box {{ name }} holds a {{ answer }}."

[completion]
list_string = "{{ events }}\\nMissing: {{ answers }}"
"""


def test_steps_and_kinds_of_reads_are_those_of_the_strings(tmp_path: Path) -> None:
    template = tmp_path / "boxes.toml"
    template.write_text(TEMPLATE)
    words = ("--task", "registers-3", "--template", template, "--length", 20, "--trials", 40, "--elicitation", "list")
    words = (*words, "--form", "completion")
    (one,) = ffprompt.anatomy(made(tmp_path, *words, model="last-write")).conditions
    strings = registry.get("registers-3").spec(20).sample(0, 0, 40)
    names = [f"read {number}" for number in range(3)]
    counts = np.bincount(strings.arguments[strings.is_read], minlength=3).tolist()
    assert {part.label: part.reads for part in one.by_kind} == dict(zip(names, counts, strict=True))
    assert sum(part.reads for part in one.by_steps) == int(strings.is_read.sum())


@pytest.mark.parametrize(
    ("task", "length", "counted"),
    [
        ("s5", 12, "inputs so far that changed the answer"),
        ("addition", 8, "columns since the one that set the carry"),
        ("dense-then-sparse", 24, "instructions since what is asked for"),
    ],
)
def test_gaps_are_named_after_what_they_count_in_the_task(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str, length: int, counted: str
) -> None:
    command = ["run", "--backend", "scripted", "--model", "glitch-0.3", "--task", task, "--length", str(length)]
    assert main([*command, "--trials", "30", "--no-report", "--quiet", "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    lines = shown(capsys, only_run(tmp_path))
    assert any(line.startswith(f"by gap: {counted} (reads)") for line in lines)
