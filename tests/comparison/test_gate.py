"""The gate, its baselines, and ``run --gate``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import ffprompt
from ffprompt.cli.main import main
from ffprompt.comparison import baselines
from ffprompt.comparison.conditions import conditions_of
from ffprompt.comparison.gate import gate_conditions
from ffprompt.comparison.gate_report import markdown
from ffprompt.comparison.gate_strings import fewest_strings
from ffprompt.comparison.pairing import paired
from ffprompt.errors import ConfigError, StoreError
from ffprompt.stats.gate import noninferior
from ffprompt.stats.paired import Pairs
from ffprompt.stats.power import pilot_pairs, strings_for_margin
from ffprompt.tasks.flipflop import Spec, sample
from tests.support.forged import altered, outcome_on, run, wrong_on

FLAGS = ("--template", "game", "--trials", 60)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def good(results: Path) -> Path:
    """Two conditions, all right: 60 strings of 20 and of 50 symbols."""
    return run(results, "oracle", *FLAGS, "--length", 20, 50)


def gate(baseline: object, candidate: object, *more: object, margin: object = 0.1) -> int:
    words = ["gate", "--baseline", baseline, "--candidate", candidate, "--margin", margin, *more]
    return main(list(map(str, words)))


def test_a_run_passes_against_itself(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gate(good, good) == 0
    assert capsys.readouterr().out.startswith("pass: a loss of 0.1 or more is ruled out in all 2 conditions\n")


def asked_twice(rng: np.random.Generator, strings: int) -> Pairs:
    """A model against itself on FFL(100, 0.6): each time a string fails with a chance of its own, 0.13 on average."""
    asked = sample(Spec(100, 0.2, 0.2, 0.6), int(rng.integers(2**31)), 0, strings).is_read
    first, second = (rng.random(asked.shape) < rng.beta(0.3, 2.0, (strings, 1)) for _ in range(2))
    lost, gained = ((~first & second) & asked).sum(1), ((first & ~second) & asked).sum(1)
    return Pairs(lost, gained, asked.sum(1))


@pytest.mark.slow
def test_a_model_against_itself_passes_as_often_as_its_power_says() -> None:
    rng = np.random.default_rng(12)
    plan = strings_for_margin(0.1, pilot_pairs(asked_twice(rng, 3000)), power=0.8)
    assert 57 <= plan.strings <= 63
    gates = [noninferior(asked_twice(rng, 60), 0.1) for _ in range(400)]
    # A plan is raised by twentieths, and 400 experiments know 80 % within 4 points.
    assert 0.75 <= np.mean([gate.verdict == "pass" for gate in gates]) <= 0.88
    assert np.mean([gate.verdict == "regression" for gate in gates]) <= 0.02


def test_a_harmed_model_is_a_regression(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    harmed = altered(good, "harmed", wrong_on(*range(30)))
    assert gate(good, harmed) == 1
    assert "regression: accuracy fell by more than 0.1 in 2 of 2 conditions" in capsys.readouterr().out
    assert gate(harmed, good) == 0  # better is no worse


def test_harm_in_one_condition_of_two_is_a_regression_and_slight_harm_is_no_pass(good: Path) -> None:
    def at_50(count: int, frame: object) -> None:
        frame.loc[(frame.length == 50) & (frame.string_index < count), "outcome"] = "wrong"  # type: ignore[attr-defined]

    report = ffprompt.gate(good, altered(good, "half", lambda frame: at_50(30, frame)), 0.1)
    assert [check.verdict for check in report.checks] == ["pass", "regression"]
    assert report.verdict == "regression"
    report = ffprompt.gate(good, altered(good, "slight", lambda frame: at_50(4, frame)), 0.1)
    assert [check.verdict for check in report.checks] == ["pass", "inconclusive"]
    assert report.exit_code == 3


def test_with_ten_strings_nothing_is_shown(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = run(results, "oracle", "--template", "game", "--trials", 10, "--length", 20)
    assert gate(few, few, margin=0.01) == 3
    shown = capsys.readouterr().out
    assert "margin 0.01 cannot be passed with 10 strings" in shown
    assert re.search(r"At least (3\d\d) strings are needed", shown)
    assert re.search(r"About 3\d\d strings in each condition would let an equal model pass", shown)


def test_a_regression_is_claimed_at_a_level_shared_by_all_conditions(good: Path) -> None:
    """For m conditions, 1 - 0.05 / m each: fewer false alarms than at 0.95 each."""
    harmed = conditions_of(altered(good, "harmed", wrong_on(*range(15))))
    before = conditions_of(good)
    report = gate_conditions(before, harmed, 0.1, 0.95)
    pairs = paired(before[0], harmed[0]).pairs
    alone, shared = (noninferior(pairs, 0.1, level).found for level in (0.95, 0.975))
    assert alone and shared
    assert report.regression_level == pytest.approx(0.975)
    assert report.checks[0].low == alone.low
    assert report.checks[0].high == shared.high > alone.high


def test_a_condition_that_the_candidate_was_not_asked_is_no_pass(good: Path, results: Path) -> None:
    part = run(results, "oracle", *FLAGS, "--length", 20)
    report = ffprompt.gate(good, part, 0.1)
    assert [check.verdict for check in report.checks] == ["pass", "inconclusive"]
    assert report.exit_code == 3
    more = ffprompt.gate(part, good, 0.1)
    assert more.exit_code == 0
    assert more.not_gated == ("game/0-shot/list/chat/FFL(50, 0.6)",)


def test_nothing_passes_on_an_incomplete_run(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = altered(good, "part", outcome_on("error", 3), lambda info: info.update(status="incomplete"))
    assert gate(good, part) == 3
    assert "it is incomplete, not done" in capsys.readouterr().err
    all_failed = altered(good, "failed", outcome_on("error", *range(60)))
    assert gate(good, all_failed) == 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--margin", "0"), "margin 0.0: expected a loss of accuracy between 0 and 1"),
        (("--margin", "nan"), "margin nan"),
        (("--margin", "0.1", "--level", "2"), "level 2.0"),
        (("--margin", "0.1", "--allow", "strings"), "allow 'strings'"),
    ],
)
def test_bad_settings_end_with_2(
    good: Path, flags: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gate", "--baseline", str(good), "--candidate", str(good), *flags]) == 2
    assert message in capsys.readouterr().err


def test_runs_over_other_strings_end_with_2(good: Path, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = run(results, "oracle", *FLAGS, "--length", 20, 50, "--seed", 1)
    assert gate(good, other) == 2
    assert "such runs cannot be paired" in capsys.readouterr().err


def test_junit_markdown_and_json_hold_every_condition(good: Path, tmp_path: Path) -> None:
    def at_20(frame: object) -> None:
        frame.loc[(frame.length == 20) & (frame.string_index < 30), "outcome"] = "wrong"  # type: ignore[attr-defined]

    bad = altered(good, "bad", at_20)
    files = {name: tmp_path / f"gate.{name}" for name in ("junit", "markdown", "json")}
    assert gate(good, bad, *(word for name, path in files.items() for word in (f"--{name}", path))) == 1
    suite = ET.parse(files["junit"]).getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    failed = [case for case in suite.iter("testcase") if case.find("failure") is not None]
    assert [case.get("name") for case in failed] == ["game, 0-shot, list, chat, FFL(20, 0.6)"]
    text = files["markdown"].read_text()
    assert text.startswith("### ffprompt gate: regression\n")
    assert len(re.findall(r"^\| game, ", text, re.M)) == 2
    content = json.loads(files["json"].read_text())
    assert content["exit_code"] == 1
    assert [check["verdict"] for check in content["checks"]] == ["regression", "pass"]


def test_inconclusive_is_an_error_in_junit_and_not_a_pass(results: Path, tmp_path: Path) -> None:
    few = run(results, "oracle", "--template", "game", "--trials", 10, "--length", 20)
    assert gate(few, few, "--junit", tmp_path / "j.xml", margin=0.01) == 3
    suite = ET.parse(tmp_path / "j.xml").getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("failures"), suite.get("errors")) == ("0", "1")
    assert [problem.tag for problem in suite.findall("testcase/*")] == ["error"]


# --- baselines -------------------------------------------------------------------------------------------------------


def test_a_baseline_is_set_shown_replaced_and_used_by_its_name(
    good: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", str(results))
    assert main(["baseline", "show", *out]) == 0
    assert main(["baseline", "set", str(good), "--name", "spring", *out]) == 0
    harmed = altered(good, "harmed", wrong_on(*range(30)))
    assert gate("spring", harmed, *out) == 1
    assert main(["baseline", "set", str(harmed), "--name", "spring", *out]) == 0
    assert main(["baseline", "set", str(good), *out]) == 0
    assert gate("spring", harmed, *out) == 0
    assert gate("default", harmed, *out) == 1
    capsys.readouterr()
    assert main(["baseline", "show", *out]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"spring +\S+ +harmed +oracle, done", shown)
    assert len(baselines.read(results)) == 2
    assert not list(results.glob(".baselines*"))


def test_an_unknown_baseline_is_told_with_the_nearest_name(
    good: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gate("spring", good, "--out", results) == 2
    assert "set one with: ffprompt baseline set RUN" in capsys.readouterr().err
    baselines.put(results, [good], "spring")
    assert gate("sprung", good, "--out", results) == 2
    assert "did you mean 'spring'" in capsys.readouterr().err


def test_only_a_complete_run_can_be_a_baseline(good: Path, results: Path) -> None:
    part = altered(good, "part", info=lambda info: info.update(status="interrupted"))
    with pytest.raises(ConfigError, match="only a complete run can be a baseline"):
        baselines.put(results, [part])
    assert not (results / baselines.FILE).exists()


def test_a_damaged_or_newer_file_of_baselines_is_not_overwritten(good: Path, results: Path) -> None:
    for text, message in (
        ("{", "not readable"),
        ('{"schema": 9, "baselines": []}', "its schema is 9"),
        ('{"schema": 1, "baselines": [{"name": "x"}]}', "damaged"),
        ('{"schema": 1, "baselines": [{"suite": null, "name": "x", "runs": [], "set": "now"}]}', "damaged"),
    ):
        (results / baselines.FILE).write_text(text)
        with pytest.raises(StoreError, match=message):
            baselines.put(results, [good])
        assert (results / baselines.FILE).read_text() == text


def test_a_baseline_whose_run_is_gone_is_told(good: Path, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    baselines.put(results, [good])
    good.rename(results / "elsewhere")
    assert gate("default", results / "elsewhere", "--out", results) == 2
    assert "no run.json" in capsys.readouterr().err
    assert main(["baseline", "show", "--out", str(results)]) == 0
    assert "missing or damaged" in capsys.readouterr().out


def test_a_verdict_names_what_the_loss_consists_of(good: Path, tmp_path: Path) -> None:
    def unreadable(frame: object) -> None:
        frame.loc[frame.string_index < 30, "outcome"] = "invalid"  # type: ignore[attr-defined]
        frame.loc[frame.string_index == 30, "outcome"] = "wrong"  # type: ignore[attr-defined]

    report = ffprompt.gate(good, altered(good, "unreadable", unreadable), 0.1)
    for check in report.checks:
        assert sum(check.lost_to.values()) == check.lost
        assert set(check.lost_to) == {"invalid", "wrong"}
    assert "invalid" in report.sentence
    assert report.sentence.index("invalid") < report.sentence.index("wrong")  # the commonest first
    assert "invalid" in markdown(report)


def test_answer_mass_that_falls_is_said_though_accuracy_does_not_see_it(good: Path) -> None:
    def massive(value: float) -> Callable[[dict[str, Any]], None]:
        return lambda info: [row.update(mean_answer_mass=value) for row in info["results"]] and None

    before = altered(good, "before", info=massive(0.93))
    report = ffprompt.gate(before, altered(good, "now", info=massive(0.05)), 0.1)
    assert report.verdict == "pass"
    assert "Answer mass fell from 0.93 to 0.05" in report.sentence
    assert "Answer mass" not in ffprompt.gate(before, altered(good, "alike", info=massive(0.9)), 0.1).sentence


def test_the_fewest_strings_of_a_margin_are_those_that_identical_answers_need() -> None:
    for strings, margin in ((58, 0.05), (59, 0.05), (298, 0.01), (299, 0.01)):
        pairs = Pairs(*(np.full(strings, count) for count in (0, 0, 7)))
        passes = noninferior(pairs, margin).verdict == "pass"
        assert passes == (strings >= fewest_strings(margin, 0.95, [7] * strings))


# --- run --gate ------------------------------------------------------------------------------------------------------


SUITE = """
name = "release"
[gate]
margin = {margin}
[[run]]
backend = "scripted"
model = "oracle"
template = "game"
length = 20
trials = 60
[[run]]
backend = "scripted"
model = "oracle"
template = "raw-spaced"
length = 20
trials = 60
"""


def test_a_suite_is_run_and_gated_against_its_baseline(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = tmp_path / "release.toml"
    suite.write_text(SUITE.format(margin=0.1))
    out = ("--out", str(results))
    again = ["run", "--suite", str(suite), *out, "--gate"]
    assert main(again) == 2  # there is no baseline yet, and nothing is asked
    assert "baseline set RUN --suite release" in capsys.readouterr().err
    assert not results.exists()
    assert main(["run", "--suite", str(suite), *out]) == 0
    made = sorted(str(path) for path in results.iterdir() if path.is_dir())
    assert main(["baseline", "set", *made, "--suite", "release", *out]) == 0
    assert main(again) == 0
    assert "pass: a loss of 0.1 or more is ruled out" in capsys.readouterr().out
    assert main([*again, "--model", "coin"]) == 1
    assert main([*again, "--margin", "0.001"]) == 3
    assert main([*again, "--model", "failing"]) == 3


def test_one_run_is_gated_against_a_baseline_of_its_own(
    good: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["run", "--backend", "scripted", *map(str, FLAGS), "--length", "20", "50", "--out", str(results)]
    assert main([*flags, "--model", "coin", "--gate"]) == 2
    assert "--gate: expected a margin" in capsys.readouterr().err
    assert main([*flags, "--model", "coin", "--margin", "0.1"]) == 2
    assert "goes with --gate" in capsys.readouterr().err
    assert main([*flags, "--model", "coin", "--gate", "--margin", "0.1", "--baseline", str(good)]) == 1
    assert main([*flags, "--model", "oracle", "--gate", "--margin", "0.1", "--baseline", str(good)]) == 0
    capsys.readouterr()
    files = ["--junit", str(results / "g.xml"), "--markdown", str(results / "g.md")]
    gate_flags = ["--gate", "--margin", "0.001", "--baseline", str(good), *files]
    assert main([*flags, "--model", "oracle", *gate_flags]) == 3
    shown = capsys.readouterr().out
    assert shown.index("margin 0.001 cannot be passed with") < shown.index("oracle: 60 strings")  # before it is asked
    assert (results / "g.xml").read_text().startswith("<?xml")
    assert "strings in each condition would let an equal model pass" in (results / "g.md").read_text()
    assert main([*flags, "--model", "oracle", *gate_flags, "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["gate"]["verdict"] == "inconclusive"
    assert Path(document["runs"][0]["folder"]).is_dir()
    assert main([*flags, "--model", "oracle", "--junit", str(results / "g.xml")]) == 2


@pytest.mark.parametrize(
    ("margin", "message"), [("2", "gate.margin 2"), ("2.0", "gate.margin 2.0"), ('"much"', "gate.margin 'much'")]
)
def test_a_suite_with_a_margin_that_is_none_is_refused(
    tmp_path: Path, margin: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = tmp_path / "bad.toml"
    suite.write_text(SUITE.format(margin=margin))
    assert main(["run", "--suite", str(suite), "--out", str(tmp_path / "r")]) == 2
    assert message in capsys.readouterr().err
    suite.write_text(SUITE.format(margin=0.1).replace("margin", "margn"))
    assert main(["run", "--suite", str(suite), "--out", str(tmp_path / "r")]) == 2
    assert "did you mean 'margin'" in capsys.readouterr().err


def test_a_prompt_with_blanked_values_is_not_gated(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blanked = run(results, "oracle", "--template", "game", "--trials", 5, "--length", 20, "--elicitation", "prior")
    assert gate(blanked, blanked) == 2
    assert "its values are blanked, so its accuracy says nothing" in capsys.readouterr().err
