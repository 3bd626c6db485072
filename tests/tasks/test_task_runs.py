"""Every bundled task goes through a run: the oracle is always right, wrong rules are right at their own rates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ffprompt.backends.base import Capabilities
from ffprompt.cli.main import main
from ffprompt.config.run_config import make
from ffprompt.config.suites import load_suite
from ffprompt.elicitation.base import elicitation_names
from ffprompt.errors import ConfigError, SpecError, TemplateError
from ffprompt.evaluation.plan import Plan
from ffprompt.tasks import registry
from ffprompt.templates.loading import load, names
from ffprompt.templates.renderer import Renderer
from tests.conftest import only_run

NAMES = [name for name in registry.names() if name != "flipflop"]
CAN = Capabilities(scores=True, completes=True, chats=True)


def rows(tmp_path: Path, *arguments: object) -> list[dict[str, Any]]:
    """The result table of a run with a scripted model."""
    command = ["run", "--backend", "scripted", *arguments, "--no-report", "--out", tmp_path / "out"]
    assert main([str(argument) for argument in command]) == 0
    return list(json.loads((only_run(tmp_path / "out") / "run.json").read_text())["results"])


@pytest.mark.parametrize("name", NAMES)
def test_the_oracle_is_always_right(tmp_path: Path, name: str) -> None:
    task = registry.get(name)
    # Where reads ask for different things, no trace can be written.
    one_state = task.answers_everywhere(task.spec(10).sample(0, 0, 1)) is not None
    # And a shown answer is judged where the wrong one is the other of two.
    impossible = {"trace"} if not one_state else set()
    impossible |= {"verify", "verify-reply"} if task.spec(10).symbols != 2 else set()
    elicitations = [one for one in elicitation_names() if one not in impossible]
    assert one_state == (name != "registers-4")
    made = rows(tmp_path, "--model", "oracle", "--task", name, "--length", 10, "--shots", 1, "--shot-length", 8,
                "--trials", 4, "--template", *(task.templates or ["light-switch"]),
                "--elicitation", *elicitations)  # fmt: skip
    assert len(made) == len(elicitations) * max(len(task.templates), 1)
    assert [row["condition"] for row in made if row["accuracy"] != 1.0] == []


@pytest.mark.parametrize(("name", "arguments", "rule", "expected"), [
    ("parity", ["--task-arg", "p1=0.98", "--task-arg", "reads=every", "--length", 8], "flip-last-answer", 0.98),
    ("s5", ["--task-arg", "reads=every", "--length", 6], "last-answer", 1 / 3),
    ("s5", ["--task-arg", "p_read=0", "--length", 2], "constant", 1 / 3),
    ("counter-4", ["--task-arg", "p_read=0", "--length", 6], "constant-2", 1 / 4),
])  # fmt: skip
def test_wrong_rules_are_right_at_their_rates(
    tmp_path: Path, name: str, arguments: list[object], rule: str, expected: float
) -> None:
    (row,) = rows(tmp_path, "--model", rule, "--task", name, *arguments, "--trials", 500, "--elicitation", "next")
    assert abs(row["accuracy"] - expected) < 4.5 * (expected * (1 - expected) / 500) ** 0.5
    assert row["floors"].get(rule, row["accuracy"]) == row["accuracy"]


def test_a_task_asks_what_suits_it_unless_told_otherwise() -> None:
    config = make({"backend": "scripted", "model": "oracle", "task": "s5"})
    plan = Plan(config, CAN)
    assert [condition.template for condition in plan.conditions] == ["cups"] * 3
    assert [condition.language for condition in plan.conditions] == ["s5(10)", "s5(50)", "s5(100)"]
    assert config.symbols == 120
    again = make(plan.config.plain())
    assert Plan(again, CAN).conditions == plan.conditions


def test_a_certificate_can_be_had_of_any_task() -> None:
    for name in NAMES:
        settings = {"task": name, "length": 12, "certify": 0.1, "trials": 50, "elicitation": "list"}
        plan = Plan(make({"backend": "scripted", "model": "oracle", **settings}), CAN)
        assert plan.conditions[0].spec is not None
        assert 0 < plan.conditions[0].spec.probabilities["read"] < 1


@pytest.mark.parametrize("template", [name for name in names() if load(name).task != "flipflop"])
def test_templates_word_every_size_and_kind_of_read(template: str) -> None:
    family = load(template).task
    example = registry.example(family)
    for function in getattr(example, "functions", ("state",)):
        arguments = [f"read={function}"] if len(getattr(example, "functions", ())) > 1 else []
        task = registry.get(example.name, arguments)
        assert task.symbols is not None
        words = Renderer(load(template), task.symbols, task)
        assert len(set(words.surfaces)) == task.symbols


@pytest.mark.parametrize("suite", ["base-units", "automata", "relatives", "addition"])
def test_suites_can_be_planned(suite: str) -> None:
    runs = load_suite(suite, {"backend": "scripted", "model": "oracle"}).runs
    for config, optional in runs:
        plan = Plan(config, CAN)
        assert len(plan.conditions) > 0
        assert not optional
    tasks = {config.task for config, _ in runs}
    assert tasks == {
        "base-units": {"flipflop", "parity"},
        "automata": {"parity", "counter-3", "c2-cubed", "grid-9", "dihedral-6", "dihedral-8", "q8", "a5", "s5",
                     "dyck-4-8"},
        "relatives": {"flipflop", "registers-4", "undo", "dense-then-sparse"},
        "addition": {"addition"},
    }[suite]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"task": "s6"}, "--task s6: its 720 states are more than the 256 answers there can be"),
        (
            {"task": "s5", "task_arg": ["p_read=0.3"], "p_read": 0.2},
            "--p-read: --task-arg p_read says it too; give one of them",
        ),
        ({"task": "parity", "task_arg": ["p2=1"]}, "--task-arg p2: task parity has no such setting"),
        ({"task": "parity", "p_ignore": 0.5}, "--p-ignore: task parity has no such probability; it takes --p-read"),
        ({"task": "addition", "p_read": 0.5}, "--p-read: task addition has no such probability; it takes --p-ignore"),
        ({"task": "s5", "symbols": 3}, "--symbols 3: task s5 has 120"),
        ({"task": "s5", "length": 1}, "length 1: task s5 has strings of 2 to"),
        ({"task": "registers-4", "length": 4}, "length 4: task registers-4 has strings of 5 to"),
        ({"task": "dense-then-sparse", "length": 11}, "length 11: T counts symbols and must be even"),
        ({"task": "registers-12", "length": 20}, "template 'drawers': parts.name has 8 words, not 12"),
        ({"task": "dyck-20-3"}, "template 'boxes'"),
        ({"task": "s5", "template": "car"}, "template car: words task dihedral, not s5 (--task)"),
        ({"task": "flipflop", "template": "cups"}, "template cups: words task symmetric, not flipflop (--task)"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_line(settings: dict[str, Any], said: str) -> None:
    with pytest.raises((ConfigError, SpecError, TemplateError)) as caught:
        Plan(make({"backend": "scripted", "model": "oracle", **settings}), CAN)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_another_task_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "parity.jsonl"
    assert main(["sample", "--task", "parity", "--length", "8", "--strings", "3", "--out", str(path)]) == 0
    flags = ["--backend", "scripted", "--model", "oracle", "--trials", "3", "--out", str(tmp_path)]
    assert main(["run", "--task", "parity", "--data", str(path), *flags, "--no-report"]) == 0
    capsys.readouterr()
    assert main(["run", "--task", "s5", "--data", str(path), *flags]) == 2
    said = capsys.readouterr().err
    assert f"data {path}, row 1: event 1 (character 1): 'f' is no event; expected s, w, k or r" in said


def test_sample_lists_events_and_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "strings.jsonl"
    assert main(["sample", "--task", "registers-2", "--length", "9", "--strings", "2", "--out", str(path)]) == 0
    for line in map(json.loads, path.read_text().splitlines()):
        drawers: dict[int, int] = {}
        reads = []
        for place, (event, argument) in enumerate(line["events"]):
            if event == "write":
                drawers[argument[0]] = argument[1]
            else:
                reads.append([place, drawers[argument]])
        assert line["reads"] == reads
    assert main(["sample", "--task", "s5", "--spec", "s5(4, p_read=0)", "--out", str(path)]) == 0
    assert json.loads(path.read_text().splitlines()[0])["reads"][0][0] == 3
    for flags in (["--task", "nope"], ["--task", "s5", "--spec", "q8(5)"], ["--spec", "FFL(0.8)", "--length", "8"]):
        assert main(["sample", *flags, "--out", str(path)]) == 2
    assert "Traceback" not in capsys.readouterr().err
