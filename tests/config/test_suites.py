"""Suites: what they hold, and mistakes in one line that names the file and the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ffprompt.backends.base import Capabilities
from ffprompt.config.suites import load_suite, suite_folder
from ffprompt.errors import ConfigError

SCORES = Capabilities(scores=True, completes=True, chats=False)

TWO_RUNS = """
name = "two"
summary = "two runs"

[[run]]
backend = "reference"
model = "lstm"
p_ignore = [0.8, 0.98]

[[run]]
optional = true
backend = "scripted"
model = "oracle"
"""


def suite_file(folder: Path, text: str) -> str:
    path = folder / "some-suite.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def suite_refusal(path: str, overrides: dict[str, Any] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_suite(path, overrides or {})
    message = str(caught.value)
    assert message.startswith(f"suite {path}")
    assert "\n" not in message
    return message.removeprefix(f"suite {path}")


@pytest.mark.parametrize("path", sorted(suite_folder().glob("*.toml")), ids=lambda path: path.stem)
def test_every_bundled_suite_loads_and_names_languages(path: Path) -> None:
    suite = load_suite(path.stem, {"backend": "scripted", "model": "oracle"})
    assert suite.name == path.stem
    assert suite.summary
    assert suite.runs
    for config, _ in suite.runs:
        assert config.settled(SCORES).data or config.settled(SCORES).specs()


def test_there_are_bundled_suites() -> None:
    assert "quick" in [path.stem for path in suite_folder().glob("*.toml")]


def test_a_suite_has_its_runs_in_order(tmp_path: Path) -> None:
    suite = load_suite(suite_file(tmp_path, TWO_RUNS), {})
    assert (suite.name, suite.summary) == ("two", "two runs")
    assert [(config.model, optional) for config, optional in suite.runs] == [("lstm", False), ("oracle", True)]
    assert suite.runs[0][0].p_ignore == (0.8, 0.98)


def test_a_suite_without_a_name_is_called_like_its_file(tmp_path: Path) -> None:
    suite = load_suite(suite_file(tmp_path, '[[run]]\nbackend = "scripted"\nmodel = "oracle"'), {})
    assert (suite.name, suite.summary, len(suite.runs)) == ("some-suite", "", 1)


def test_overrides_hold_for_every_run(tmp_path: Path) -> None:
    suite = load_suite(suite_file(tmp_path, TWO_RUNS), {"p_ignore": 0.5, "trials": 3, "seed": 9})
    assert [(run.p_ignore, run.trials, run.seed) for run, _ in suite.runs] == [((0.5,), 3, 9)] * 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected at least one [[run]] table"),
        ('name = "x"', "expected at least one [[run]] table"),
        ("run = []", "expected at least one [[run]] table"),
        ("run = 5", "expected at least one [[run]] table"),
        ('[run]\nbackend = "scripted"\nmodel = "m"', "expected at least one [[run]] table"),
        ('[[runs]]\nbackend = "scripted"\nmodel = "m"', "runs: unknown key; did you mean 'run'?"),
        ("sumary = 1", "sumary: unknown key; did you mean 'summary'?"),
        ('[[run]]\nbackend = "scripted"\nmodel = "m"\n[[run]]\nbackend = "scripted"', ", run 2: model"),
        (
            '[[run]]\nbackend = "scripted"\nmodel = "m"\nshot = 1',
            ", run 1: shot: unknown setting; did you mean 'shots'?",
        ),
        ('[[run]]\nbackend = "skripted"\nmodel = "m"', ", run 1: --backend skripted: unknown backend; did you mean"),
        ('[[run]]\nbackend = "scripted"\nmodel = "m"\nlength = [20, 20]', "--length 20 20: expected each value once"),
        ("[[run]]\nbackend = \n", "at line 2"),
        ("[[run]", "at line 1"),
        ('name = "x"\nname = "y"\n', "at line 2"),
    ],
)
def test_a_mistake_in_a_suite_is_refused_with_the_file_and_the_run(tmp_path: Path, text: str, said: str) -> None:
    assert said in suite_refusal(suite_file(tmp_path, text))


def test_an_override_that_does_not_fit_is_refused_with_the_run(tmp_path: Path) -> None:
    message = suite_refusal(suite_file(tmp_path, TWO_RUNS), {"p_write": 0.1, "p_read": 0.1})
    assert message.startswith(", run 1: --p-ignore: give either it or --p-write and --p-read")


def test_a_suite_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes('name = "é"'.encode("latin-1"))
    assert "save the file as UTF-8" in suite_refusal(str(path))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("quikc", "suite 'quikc': no such file or bundled suite; did you mean 'quick'?"),
        ("qqq/none.toml", "suite 'qqq/none.toml': no such file"),
        ("", "suite '': no such file"),
    ],
)
def test_a_suite_that_is_not_there_is_refused(name: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_suite(name, {})
    assert said in str(caught.value)
    assert "known: " in str(caught.value)


@pytest.mark.parametrize("text", ['run = ["a"]', "run = [5]", "run = [[]]"])
def test_runs_that_are_no_tables_are_refused(tmp_path: Path, text: str) -> None:
    assert "run" in suite_refusal(suite_file(tmp_path, text))


@pytest.mark.parametrize("value", ['"no"', '"false"', "2", "[]"])
def test_optional_is_true_or_false(tmp_path: Path, value: str) -> None:
    text = f'[[run]]\noptional = {value}\nbackend = "scripted"\nmodel = "m"'
    assert ", run 1: optional" in suite_refusal(suite_file(tmp_path, text))


@pytest.mark.parametrize("key", ["name", "summary"])
def test_the_name_and_summary_of_a_suite_are_texts(tmp_path: Path, key: str) -> None:
    text = f'{key} = 5\n[[run]]\nbackend = "scripted"\nmodel = "m"'
    assert key in suite_refusal(suite_file(tmp_path, text))
