"""What the errors of a run have in common: runs whose errors are known by construction, and reads made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ffprompt
from ffprompt.analysis.accuracy import accuracy as accuracy_of
from ffprompt.analysis.accuracy import by_number, doubling, drift, tenths
from ffprompt.analysis.calibration import calibrated
from ffprompt.analysis.error_analysis import ConditionErrors
from ffprompt.analysis.reads import Reads
from ffprompt.analysis.rule_fits import RuleFit, explained
from ffprompt.cli.main import main
from ffprompt.errors import StoreError
from ffprompt.stats.clusters import Clusters
from ffprompt.stats.intervals import rate_interval
from ffprompt.tasks.covariates import contradictions, earlier_reads, rules
from ffprompt.tasks.flipflop import Spec, sample
from tests.conftest import only_run
from tests.support.flags import replaced


def scripted(folder: Path, model: str, *more: object) -> Path:
    """A run of a scripted model, two conditions of 60 strings each."""
    words = ["--backend", "scripted", "--model", model, "--template", "raw-spaced", "--trials", "60"]
    words += ["--elicitation", "forced", "--length", "40", "80", "--out", str(folder)]
    assert main(["run", *replaced(*words, *more)]) in (0, 3)
    return only_run(folder)


def edited(run: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    """The run with another table of reads."""
    change(pd.read_parquet(run / "reads.parquet")).to_parquet(run / "reads.parquet")
    return run


def rule(one: ConditionErrors, name: str) -> RuleFit:
    (found,) = [row for row in one.rules.rules if row.rule == name]
    return found


@pytest.mark.parametrize("model", ["copy-last-bit", "copy-last-read", "first-write", "constant-0", "constant-1"])
def test_a_rule_is_found_out(tmp_path: Path, model: str) -> None:
    for one in ffprompt.anatomy(scripted(tmp_path, model)).conditions:
        assert one.rules.best == [model]
        found = rule(one, model)
        # Right wherever the rule is right, wrong wherever it is wrong.
        assert found.difference.estimate == 1.0
        assert 0.7 < found.difference.low < 1 == found.difference.high
        assert found.same_answer.share == 1.0
        assert found.by_chance == pytest.approx(one.all.misses / one.all.reads)


def test_a_rule_is_found_out_where_earlier_answers_are_not_shown(tmp_path: Path) -> None:
    for one in ffprompt.anatomy(scripted(tmp_path, "copy-last-bit", "--elicitation", "list")).conditions:
        assert one.rules.best == ["copy-last-bit"]
        assert not one.reads_visible
        assert "copy-last-read" not in [row.rule for row in one.rules.rules]


@pytest.mark.parametrize("seed", range(5))
def test_a_coin_follows_no_rule(tmp_path: Path, seed: int) -> None:
    for one in ffprompt.anatomy(scripted(tmp_path, "coin", "--seed", seed)).conditions:
        assert one.rules.best == []
        assert one.rules.wrong > 50
        assert all(row.difference.low < 0.1 for row in one.rules.rules)


def test_no_wrong_answer_leaves_nothing_to_explain(tmp_path: Path) -> None:
    for one in ffprompt.anatomy(scripted(tmp_path, "oracle")).conditions:
        assert (one.rules.wrong, one.rules.best) == (0, [])
        assert one.drift is None
        assert one.all.accuracy == 1.0
        assert one.all.low < 1.0
        assert all(row.same_answer is None for row in one.rules.rules)


def reads_of(spec: Spec, strings: int, wrong: Callable[[Reads], np.ndarray], seed: int = 0) -> Reads:
    """All reads of some strings, answered wrong where ``wrong`` says (with the next symbol)."""
    drawn = sample(spec, seed, 0, strings)
    at = np.nonzero(drawn.is_read)
    truth = drawn.values[at].astype(np.int64)
    every = np.ones(len(truth), bool)
    found = {name: type(one)(one.answers[at], one.open[at]) for name, one in rules(drawn).items()}
    base = (at[0], at[1], drawn.gaps[at], truth)
    counts = (contradictions(drawn)[at], earlier_reads(drawn)[at], found, spec.symbols, spec.instructions)
    missed = wrong(Reads(*base, truth, every, ~every, *counts))
    return Reads(*base, np.where(missed, (truth + 1) % spec.symbols, truth), ~missed, missed, *counts)


def test_failing_after_distractors_is_not_copying_them() -> None:
    """The model answers at random after an ignore, whatever its bit, and never fails elsewhere."""
    rng = np.random.default_rng(0)
    reads = reads_of(
        Spec.ffl(0.6, 60), 400, lambda one: one.rules["copy-last-bit"].open & (rng.random(len(one.truth)) < 0.5)
    )
    # Compared over all reads, it seems to copy the last bit: that can only be wrong after an ignore.
    differs = reads.rules["copy-last-bit"].answers != reads.truth
    assert reads.wrong[differs].mean() > 2 * reads.wrong[~differs].mean()
    assert explained(reads).best == []


def test_the_previous_write_is_found_out() -> None:
    rng = np.random.default_rng(0)

    def stale(one: Reads) -> np.ndarray:
        return (one.rules["previous-write"].answers != one.truth) & (rng.random(len(one.truth)) < 0.3)

    found = explained(reads_of(Spec.ffl(0.6, 60), 200, stale))
    assert found.best == ["previous-write"]
    assert found.rules[0].rule == "previous-write"
    assert 0.2 < found.rules[0].difference.estimate < 0.4


@pytest.mark.parametrize("bit", [0, 1])
def test_a_model_that_gives_one_answer_whenever_it_errs_is_found_out(bit: int) -> None:
    """It never fails where that answer is right, so one of the two rates is exactly 0."""
    rng = np.random.default_rng(2)
    reads = reads_of(Spec.ffl(0.6, 60), 30, lambda one: (one.truth != bit) & (rng.random(len(one.truth)) < 0.15))
    found = explained(reads)
    assert found.best == [f"constant-{bit}"]
    best = found.rules[0].difference
    assert 0 < best.low < best.wrong_where_rule_is_wrong < best.high
    assert best.wrong_where_rule_is_right == 0


def test_with_three_symbols_the_wrong_answers_must_be_the_rules_own() -> None:
    """Wrong just where copy-last-bit is, but with a symbol of its own."""
    spec = Spec.ffl(0.6, 60, 3)
    other = reads_of(spec, 200, lambda one: one.rules["copy-last-bit"].answers != one.truth)
    said = other.rules["copy-last-bit"].answers
    never = Reads(**{**vars(other), "answer": np.where(other.wrong, 3 - said - other.truth, other.truth)})
    assert explained(never).best == []
    follows = Reads(**{**vars(other), "answer": said.astype(np.int64)})
    assert explained(follows).best == ["copy-last-bit"]


HAND = Reads(
    index=np.array([7, 7, 7, 9, 9, 4]),
    position=np.array([1, 4, 9, 2, 9, 9]),
    gap=np.array([1, 2, 7, 2, 4, 3]),
    truth=np.array([0, 1, 1, 0, 0, 1]),
    answer=np.array([0, 0, 1, 0, -1, 0]),
    correct=np.array([True, False, True, True, False, False]),
    wrong=np.array([False, True, False, False, False, True]),
    contradictions=np.array([0, 1, 0, 0, 2, 1]),
    earlier=np.zeros(6, np.int64),
    rules={},
    symbols=2,
    instructions=10,
)


def test_a_cell_counts_reads_and_strings_and_has_the_tables_interval() -> None:
    found = accuracy_of(HAND, HAND.gap >= 2)
    assert found is not None
    expected = rate_interval(Clusters(np.array([1, 1, 1]), np.array([2, 2, 1])))
    assert expected is not None
    assert (found.reads, found.strings, found.misses, found.wrong) == (5, 3, 3, 2)
    assert (found.accuracy, found.low, found.high) == (0.4, 1 - expected.high, 1 - expected.low)
    assert accuracy_of(HAND, HAND.gap > 99) is None


def test_bins_end_at_powers_of_two_and_empty_ones_are_left_out() -> None:
    assert doubling(HAND.gap) == [0, 1, 2, 3, 5, 9]
    found = by_number(HAND, HAND.gap, doubling(HAND.gap))
    assert [(one.label, one.from_, one.to, one.reads, one.misses) for one in found] == [
        ("1", 1, 1, 1, 0), ("2", 2, 2, 2, 1), ("3–4", 3, 4, 2, 2), ("5–8", 5, 8, 1, 0),
    ]  # fmt: skip


def test_tenths_of_a_string_hold_all_of_it() -> None:
    assert tenths(256) == [0, 26, 52, 77, 103, 128, 154, 180, 205, 231, 256]
    assert tenths(5) == [0, 1, 2, 3, 4, 5]
    assert sum(one.reads for one in by_number(HAND, HAND.position, tenths(10))) == 6


def test_accuracy_that_falls_along_the_string_is_seen() -> None:
    rng = np.random.default_rng(0)
    falling = reads_of(Spec.ffl(0.5, 60), 200, lambda one: rng.random(len(one.truth)) < 0.4 * one.position / 29)
    found = drift(falling)
    assert found is not None
    assert found.low < -0.4 < found.high < -0.2
    level = drift(reads_of(Spec.ffl(0.5, 60), 200, lambda one: rng.random(len(one.truth)) < 0.2))
    assert level is not None
    assert level.low < 0 < level.high


def test_facets_agree_with_the_table_of_reads(tmp_path: Path) -> None:
    run = scripted(tmp_path, "copy-last-bit")
    frame = ffprompt.load(run).reads
    for one, row in zip(ffprompt.anatomy(run).conditions, ffprompt.load(run).info["results"], strict=True):
        part = frame[frame.length == int(one.language.split("(")[1].split(",")[0])]
        assert (one.all.accuracy, one.all.low, one.all.high) == (
            row["accuracy"], row["interval_low"], row["interval_high"],
        )  # fmt: skip
        columns = {"by_gap": "gap", "by_contradictions": "contradictions", "by_position": "position"}
        for key, column in columns.items():
            assert sum(found.reads for found in getattr(one, key)) == len(part)
            for found in getattr(one, key):
                here = part[part[column].between(found.from_, found.to)]
                assert (found.reads, found.strings) == (len(here), here.string_index.nunique())
                assert found.misses == (here.outcome != "correct").sum()
        first, again = one.by_earlier_read
        assert (first.reads, again.reads) == ((part.earlier_reads == 0).sum(), (part.earlier_reads > 0).sum())
        assert [found.reads for found in one.by_truth] == part.truth.value_counts().sort_index().tolist()
        # Copying the last bit is right wherever nothing contradicts the stored one.
        assert one.by_contradictions[0].accuracy == 1.0 > one.by_contradictions[1].accuracy


def test_calibration_knows_what_the_model_said_and_how_often_it_was_right(tmp_path: Path) -> None:
    for one in ffprompt.anatomy(scripted(tmp_path, "copy-last-bit")).conditions:
        found, accuracy = one.calibration, one.all.accuracy
        (only,) = found.bins
        assert (only.probability, only.accuracy) == (pytest.approx(0.98), pytest.approx(accuracy))
        assert (only.low, only.high) == (one.all.low, one.all.high)
        assert found.ece == pytest.approx(0.98 - accuracy)
        assert found.brier == pytest.approx(accuracy * 0.02**2 + (1 - accuracy) * 0.98**2)
        assert found.mass == pytest.approx(1.0)
        assert found.mass_low <= found.mass <= found.mass_high
        assert (found.reads, found.left_out) == (one.all.reads, 0)


def test_bins_of_a_calibration_hold_every_read_once() -> None:
    rng = np.random.default_rng(0)
    reads = reads_of(Spec.ffl(0.5, 60), 100, lambda one: rng.random(len(one.truth)) < 0.2)
    share = rng.integers(11, 20, len(reads.truth)) / 20  # so few values that some lie on the edges of bins
    logs = np.log(np.where(np.arange(2) == reads.answer[:, None], share[:, None], 1 - share[:, None]))
    found = calibrated(Reads(**vars(reads) | {"logprobs": logs}))
    assert found is not None
    assert sum(one.reads for one in found.bins) == len(share)
    for one in found.bins:
        here = (share >= one.from_ - 1e-9) & (share < one.to - 1e-9)
        missed = rate_interval(Clusters.from_reads(reads.index[here], reads.wrong[here]))
        assert missed is not None
        assert (one.reads, one.probability) == (here.sum(), pytest.approx(share[here].mean()))
        assert (one.low, one.high) == (pytest.approx(1 - missed.high), pytest.approx(1 - missed.low))


def test_reads_without_log_probabilities_are_left_out_of_the_calibration_and_counted(tmp_path: Path) -> None:
    def holes(frame: pd.DataFrame) -> pd.DataFrame:
        logs = frame.answer_logprobs.tolist()
        logs[0], logs[1], logs[2] = None, [float("nan"), -0.1], [-0.1]
        return frame.assign(answer_logprobs=logs)

    first, other = ffprompt.anatomy(edited(scripted(tmp_path, "coin"), holes)).conditions
    assert first.calibration.left_out == 3
    assert first.calibration.reads == first.all.reads - 3
    assert other.calibration.left_out == 0
    run = edited(only_run(tmp_path), lambda frame: frame.assign(answer_logprobs=[[float("nan")] * 2] * len(frame)))
    assert all(one.calibration is None for one in ffprompt.anatomy(run).conditions)


def test_replies_have_no_calibration(tmp_path: Path) -> None:
    made = ffprompt.anatomy(scripted(tmp_path, "coin", "--elicitation", "list"))
    assert all(one.calibration is None for one in made.conditions)


def test_invalid_replies_count_against_the_model_and_follow_no_rule(tmp_path: Path) -> None:
    for one in ffprompt.anatomy(scripted(tmp_path, "malformed", "--elicitation", "list")).conditions:
        assert one.all.accuracy == 0.0
        assert one.all.high > 0.0
        assert one.all.wrong == 0
        assert (one.rules.answered, one.rules.best) == (0, [])
        assert all(row.difference is row.by_chance is row.same_answer is None for row in one.rules.rules)


def test_failed_calls_are_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = scripted(tmp_path, "failing")
    made = ffprompt.anatomy(run)
    assert not made.complete
    for one in made.conditions:
        assert one.all is one.drift is one.calibration is None
        assert one.by_gap == one.by_truth == []
        assert set(one.outcomes) == {"error"}
    capsys.readouterr()
    assert main(["anatomy", str(run)]) == 3
    shown = capsys.readouterr().out
    assert "no reads to count" in shown
    assert "not complete" in shown


def test_a_run_that_is_not_complete_is_marked_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = scripted(tmp_path, "coin")
    lines = (run / "trials.jsonl").read_text().splitlines(keepends=True)
    (run / "trials.jsonl").write_text("".join(lines[:50]))
    assert main(["score", str(run)]) == 3
    made = ffprompt.anatomy(run)
    assert not made.complete
    assert [one.missing_trials for one in made.conditions] == [10, 60]
    assert made.conditions[0].all.strings == 50
    assert made.conditions[1].all is None
    assert main(["anatomy", str(run)]) == 3
    assert "70 trials missing, in 2 of these conditions" in capsys.readouterr().out


def test_one_string_is_enough_to_be_shown_and_comes_with_a_warning(tmp_path: Path) -> None:
    for one in ffprompt.anatomy(scripted(tmp_path, "copy-last-bit", "--trials", 1)).conditions:
        assert one.all.strings == 1
        assert "few strings: 1; 30 or more are needed" in one.all.warnings
        assert one.rules.best == []
        assert one.drift is None


def test_template_sensitivity_is_the_spread_beside_the_interval_of_one(tmp_path: Path) -> None:
    run = scripted(tmp_path, "coin", "--template", "raw-spaced", "light-switch", "door", "--shots", 0, 1)
    made = ffprompt.anatomy(run)
    assert len(made.templates) == 4  # two lengths, two numbers of shots
    rows = {row["condition"]: row for row in ffprompt.load(run).info["results"]}
    frame = ffprompt.load(run).reads
    for group in made.templates:
        found = [rows[one.condition]["accuracy"] for one in group.templates]
        assert len(found) == 3
        assert found == sorted(found, reverse=True)
        assert group.spread == pytest.approx(max(found) - min(found))
        assert group.sd == pytest.approx(np.std(found, ddof=1))
        lengths = [rows[one.condition] for one in group.templates]
        assert group.widest_interval == max(row["interval_high"] - row["interval_low"] for row in lengths)
        apart = group.difference
        same = frame[(frame.shots == group.shots) & (frame.length == int(group.language[4:6]))]
        wide = same.assign(right=same.outcome == "correct").pivot_table(
            index=["string_index", "read_index"], columns="template", values="right"
        )
        assert apart.estimate == pytest.approx((wide[apart.best] - wide[apart.worst]).mean())
        assert (apart.reads, apart.strings) == (len(wide), 60)
        assert apart.low < 0 < apart.high


def test_one_template_has_no_sensitivity(tmp_path: Path) -> None:
    assert ffprompt.anatomy(scripted(tmp_path, "coin")).templates == []


def test_reads_that_are_not_those_of_the_plan_are_refused(tmp_path: Path) -> None:
    run = edited(scripted(tmp_path, "coin"), lambda frame: frame.assign(truth=1 - frame.truth))
    with pytest.raises(StoreError, match="not those of the plan; run: ffprompt score"):
        ffprompt.anatomy(run)
    assert main(["score", str(run)]) == 0
    run = edited(run, lambda frame: frame.assign(string_index=frame.string_index + 60))
    with pytest.raises(StoreError, match="not in its plan"):
        ffprompt.anatomy(run)


@pytest.mark.parametrize("broken", ["no file", "not parquet", "a column less"])
def test_a_table_that_cannot_be_read_is_named_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    run = scripted(tmp_path, "coin")
    if broken == "no file":
        (run / "reads.parquet").unlink()
    elif broken == "not parquet":
        (run / "reads.parquet").write_text("nonsense")
    else:
        edited(run, lambda frame: frame.drop(columns="gap"))
    capsys.readouterr()
    assert main(["anatomy", str(run)]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    expected = {
        "no file": "no reads.parquet yet",
        "not parquet": "not readable",
        "a column less": "column gap is missing",
    }
    assert expected[broken] in error
    assert f"ffprompt score {run}" in error


def test_a_run_of_an_earlier_version_needs_no_columns_that_it_lacks(tmp_path: Path) -> None:
    run = scripted(tmp_path, "copy-last-bit")
    before = ffprompt.anatomy(run)
    edited(run, lambda frame: frame.drop(columns=["contradictions", "earlier_reads", "turn_instructions"]))
    assert ffprompt.anatomy(run) == before


def test_a_run_that_was_loaded_is_as_good_as_its_path(tmp_path: Path) -> None:
    run = scripted(tmp_path, "copy-last-bit")
    assert ffprompt.anatomy(ffprompt.load(run)) == ffprompt.anatomy(run)
    assert len(ffprompt.compare([ffprompt.load(run), run], allow=["model"]).rows) == 2


def test_strings_from_a_file_have_an_anatomy_too(tmp_path: Path) -> None:
    assert main(["sample", "--spec", "FFL(40, 0.6)", "--strings", "60", "--out", str(tmp_path / "some.jsonl")]) == 0
    words = ["run", "--backend", "scripted", "--model", "copy-last-bit", "--template", "raw-spaced", "--trials", "60"]
    words += ["--data", str(tmp_path / "some.jsonl"), "--elicitation", "forced", "--out", str(tmp_path / "results")]
    assert main(words) == 0
    (one,) = ffprompt.anatomy(only_run(tmp_path / "results")).conditions
    assert one.rules.best == ["copy-last-bit"]


def test_the_command_prints_and_writes_what_the_function_returns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = scripted(tmp_path / "results", "copy-last-bit", "--template", "raw-spaced", "light-switch")
    capsys.readouterr()
    assert main(["anatomy", str(run), "--json", str(tmp_path / "a.json")]) == 0
    shown = capsys.readouterr().out
    made = ffprompt.anatomy(run)
    assert json.loads((tmp_path / "a.json").read_text()) == made.to_json()
    (first, *_) = made.conditions
    assert first.all is not None
    assert f"{first.all.accuracy:.4f}" in shown
    assert "copy-last-bit *" in shown
    assert main(["anatomy", str(run), "--verbose"]) == 0
    shown = capsys.readouterr().out
    assert "explained best by copy-last-bit" in shown
    assert shown.count("distractors that contradict") == 4
    assert "best less worst 0.0000" in shown
    assert f"{first.by_gap[1].accuracy:.4f}" in shown
    assert main(["anatomy", str(run), "--json", str(tmp_path / "nowhere" / "a.json")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_score_gives_an_old_run_the_new_interval(tmp_path: Path) -> None:
    run = scripted(tmp_path, "copy-last-bit")
    info = json.loads((run / "run.json").read_text())
    new = info["results"]
    keys = ("interval_method", "interval_level", "n_effective", "deff", "warnings", "strings_with_an_error",
            "zero_error_bounds")  # fmt: skip
    info["results"] = [{key: value for key, value in row.items() if key not in keys} for row in new]
    (run / "run.json").write_text(json.dumps(info))
    assert main(["score", str(run)]) == 0
    assert json.loads((run / "run.json").read_text())["results"] == new
