"""The bundled suites: how much each asks, and that it can be asked."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from ffprompt.backends.scripted import ScriptedBackend
from ffprompt.cli.main import main
from ffprompt.config.suites import load_suite, suite_folder
from ffprompt.errors import ConfigError
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.runner import make_plan
from tests.conftest import ROOT

SCRIPTED = {"backend": "scripted", "model": "oracle"}
# Of each run of a suite: elicitations, lengths, conditions, trials.
SIZES = {
    "paper-r3": [({"next", "forced"}, {10, 50, 100, 150, 200}, 10, 5000)],
    "slides-game": [({"list"}, {94}, 1, 10)],
    "slides-game-200": [({"list"}, {94}, 1, 200)],
    "long-chat": [({"list"}, {100, 200, 400, 600, 800, 1000}, 6, 300), ({"dialogue"}, {100, 400, 1000}, 3, 30)],
    "release-check": [({"forced"}, {50, 200, 500}, 6, 3000), ({"next"}, {200}, 2, 1000)],
    "quick": [
        ({"forced"}, {512}, 3, 1500),
        ({"forced"}, {512}, 3, 600),
        ({"forced"}, {10, 20, 50, 100}, 4, 120),
    ],
}


def plans(name: str) -> list[Plan]:
    backend = ScriptedBackend("oracle")
    found = [make_plan(config, backend) for config, _ in load_suite(name, SCRIPTED).runs]
    if name == "quick":  # all but its last run leave template, shots and elicitation to the backend that they name
        forced = [
            make_plan(plan.config.model_copy(update={"elicitation": ("forced",)}), backend) for plan in found[:-1]
        ]
        found[:-1] = forced
    return found


# The suites of the other tasks, which tests/tasks/test_task_runs.py carries out.
OF_TASKS = {"base-units", "automata", "relatives", "addition"}


def test_every_bundled_suite_is_known_here() -> None:
    assert {path.stem for path in suite_folder().glob("*.toml")} == set(SIZES) | OF_TASKS


@pytest.mark.parametrize("name", SIZES)
def test_a_suite_asks_as_much_as_it_says(name: str) -> None:
    found = [
        (
            {c.elicitation.name for c in plan.conditions},
            {c.length for c in plan.conditions},
            len(plan.conditions),
            len(plan),
        )
        for plan in plans(name)
    ]
    assert found == SIZES[name]


def test_the_paper_shows_one_demonstration_of_length_16_and_asks_the_last_read_of_ffl_06() -> None:
    (plan,) = plans("paper-r3")
    assert {(c.shots, c.shot_length, c.spec.p_ignore, c.form) for c in plan.conditions if c.spec} == {
        (1, 16, 0.6, "completion")
    }
    assert (plan.config.next_read, plan.trials) == ("last", 500)


def test_the_slides_game_has_ten_reads_in_the_mean_string_and_its_strings_are_the_first_of_200() -> None:
    (ten,), (many,) = plans("slides-game"), plans("slides-game-200")
    condition = ten.conditions[0]
    assert condition.spec is not None
    assert condition.spec.expected_reads == pytest.approx(10)
    assert condition == many.conditions[0]
    assert ten.strings(condition.spec, 0, 10).digests() == many.strings(condition.spec, 0, 200).digests()[:10]


@pytest.mark.parametrize("name", sorted(set(SIZES) - {"quick"}))
def test_a_suite_without_a_model_runs_dry_with_one_given(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "--suite", name, "--backend", "scripted", "--model", "oracle", "--out", str(tmp_path)]
    assert main([*words, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n{trials:,} trials" in shown for *_, trials in SIZES[name])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "run 1: model and backend not given; add --model NAME --backend NAME"),
        (["--model", "m"], "run 1: backend not given; add --backend NAME"),
        (["--backend", "scripted"], "run 1: model not given; add --model NAME"),
    ],
)
def test_a_missing_model_is_asked_for_in_one_line(
    given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--suite", "slides-game", *given]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_misspelt_setting_is_named_before_a_missing_model(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[[run]]\nbackend = "scripted"\nmodle = "oracle"\n')
    with pytest.raises(ConfigError, match="modle: unknown setting; did you mean 'model'"):
        load_suite(str(path), {})


def test_a_suite_can_stop_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--certify", "0.05", "--trials", "5000", "--out", str(tmp_path)]
    assert main(["run", "--suite", "slides-game", "--backend", "scripted", "--model", "oracle", *flags]) == 0
    assert main(["run", "--suite", "slides-game", "--backend", "scripted", "--model", "coin", *flags]) == 1
    assert "error rate below 0.05 shown" in capsys.readouterr().out


def test_the_list_says_which_suites_need_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["suites", "list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert set(lines) == set(SIZES) | OF_TASKS
    assert {name for name, line in lines.items() if "--model" not in line} == {"quick"}
    for name, line in lines.items():
        assert tomllib.loads((suite_folder() / f"{name}.toml").read_text())["summary"] in line


def test_the_page_about_suites_names_every_one() -> None:
    page = (ROOT / "suites" / "README.md").read_text()
    assert all(f"`{name}`" in page for name in SIZES)
