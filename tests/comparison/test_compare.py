"""Comparing runs: which reads pair, what the numbers are, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

import ffprompt
from ffprompt.cli.main import main
from ffprompt.comparison.compare import compare_conditions
from ffprompt.comparison.conditions import conditions_of
from ffprompt.errors import ConfigError, IncompleteRunError, StoreError
from ffprompt.runs.reads import CORRECT, OUTCOMES
from ffprompt.scoring.score import Outcome
from tests.support.forged import altered, outcome_on, run, wrong_on

WRONG = OUTCOMES.index(Outcome.WRONG)
FLAGS = ("--template", "game", "--length", 20, 50, "--trials", 60)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def oracle(results: Path) -> Path:
    return run(results, "oracle", *FLAGS, "--elicitation", "next", "list", "--shots", 0, 2)


@pytest.fixture(scope="module")
def coin(results: Path) -> Path:
    return run(results, "coin", *FLAGS, "--elicitation", "next", "list", "--shots", 0, 2)


@pytest.fixture(scope="module")
def one(results: Path) -> Path:
    """One condition, all right: list, 60 strings of 20 symbols."""
    return run(results, "oracle", "--template", "game", "--length", 20, "--trials", 60)


# --- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_numbers_are_those_of_a_join_of_the_two_tables(oracle: Path, coin: Path) -> None:
    a, b = ffprompt.load(oracle).reads, ffprompt.load(coin).reads
    keys = ["template", "shots", "elicitation", "length", "string_index", "read_index"]
    joined = a.merge(b, on=keys, validate="one_to_one")
    made = ffprompt.compare([oracle, coin])
    assert len(made.rows) == 8
    assert sum(row.n_reads for row in made.rows) == len(joined) == len(a)
    blocks = dict(list(joined.groupby(["elicitation", "length", "shots"])))
    for row in made.rows:
        kind = "list" if "list" in row.condition else "next"
        block = blocks[kind, 50 if "FFL(50" in row.condition else 20, 2 if "2-shot" in row.condition else 0]
        right_a, right_b = block.outcome_x == "correct", block.outcome_y == "correct"
        assert row.difference is not None
        assert row.accuracy_b == right_b.mean()
        assert row.difference.estimate == pytest.approx(right_b.mean() - right_a.mean())
        assert (row.difference.lost, row.difference.gained) == ((right_a & ~right_b).sum(), (right_b & ~right_a).sum())
        assert row.n_strings == 60


def test_with_one_read_a_string_the_tests_are_mcnemars_own(oracle: Path, results: Path, coin: Path) -> None:
    worse = altered(oracle, "own", wrong_on(*range(7)))
    rows = [row for row in ffprompt.compare([worse, coin]).rows if ", next," in row.condition]
    for row in rows:
        assert row.difference and row.flips and row.durkalski
        lost, gained = row.difference.lost, row.difference.gained
        table = [[row.n_reads - lost - gained, lost], [gained, 0]]
        assert row.durkalski.p == pytest.approx(mcnemar(table, exact=False, correction=False).pvalue)
        assert row.flips.p == pytest.approx(mcnemar(table, exact=True).pvalue)


def test_p_values_are_adjusted_over_all_rows(oracle: Path, coin: Path) -> None:
    made = ffprompt.compare([oracle, coin])
    p = [row.difference.p for row in made.rows if row.difference]
    np.testing.assert_allclose([row.p_holm for row in made.rows], multipletests(p, method="holm")[1])


@pytest.mark.parametrize(
    "level", [pytest.param(0.9, marks=pytest.mark.slow), 0.95, pytest.param(0.99, marks=pytest.mark.slow)]
)
def test_an_interval_leaves_out_0_exactly_where_p_is_small_in_every_row_of_random_tables(
    oracle: Path, level: float
) -> None:
    rng, cells, seen = np.random.default_rng(1), conditions_of(oracle), set()
    for _ in range(40):
        sides = []
        for _ in range(2):
            rates = rng.choice([0.0, 0.02, 0.1, 0.3, 0.5], len(cells))
            wrong = [
                rng.random(len(cell.outcome)) < rng.beta(rate + 0.01, 1.01 - rate, 60)[cell.string]
                for cell, rate in zip(cells, rates, strict=True)
            ]
            sides.append([
                replace(cell, outcome=np.where(here, WRONG, CORRECT)) for cell, here in zip(cells, wrong, strict=True)
            ])  # fmt: skip
        for row in compare_conditions(sides, ("model",), level=level).rows:
            assert row.difference is not None
            shown = row.difference.low > 0 or row.difference.high < 0
            assert shown == (row.difference.p < 1 - level), row
            seen.add(shown)
    assert seen == {True, False}


def test_rows_of_the_table_may_be_in_any_order(oracle: Path, coin: Path) -> None:
    mixed = altered(coin, "mixed", lambda frame: frame.sample(frac=1, random_state=1))
    straight, shuffled = (ffprompt.compare([oracle, one]).rows for one in (coin, mixed))
    assert [row.difference for row in straight] == [row.difference for row in shuffled]


def test_a_failed_call_is_no_pair_and_what_cannot_be_read_is_not_correct(one: Path) -> None:
    failed = altered(one, "failed", outcome_on("error", 0, 1))
    (row,) = ffprompt.compare([one, failed]).rows
    reads = ffprompt.load(one).reads.string_index.isin([0, 1]).sum()
    assert row.errors == reads > 0
    assert row.n_strings == 58
    assert row.difference is not None
    assert row.difference.estimate == 0
    for outcome in ("invalid", "refused", "truncated"):
        (row,) = ffprompt.compare([one, altered(one, f"some-{outcome}", outcome_on(outcome, 0, 1))]).rows
        assert row.errors == 0
        assert row.difference is not None
        assert row.difference.lost == reads


def test_where_every_read_is_invalid_the_row_says_so(one: Path) -> None:
    bad = altered(one, "all-invalid", outcome_on("invalid", *range(60)))
    (row,) = ffprompt.compare([bad, altered(one, "all-refused", outcome_on("refused", *range(60)))]).rows
    assert row.accuracy_a == row.accuracy_b == 0
    assert row.difference is not None
    assert row.difference.low < 0 < row.difference.high
    assert sum("no readable answer" in warning for warning in row.warnings) == 2


def test_where_every_call_failed_there_is_no_number(one: Path) -> None:
    (row,) = ffprompt.compare([one, altered(one, "all-failed", outcome_on("error", *range(60)))]).rows
    assert (row.difference, row.flips, row.p_holm, row.accuracy_a) == (None, None, None, None)
    assert "no read was answered on both sides" in row.warnings


def test_one_string_gives_an_interval_that_says_little(one: Path) -> None:
    def first(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame.string_index == 0]

    (row,) = ffprompt.compare([altered(one, "one-string", first), one]).rows
    assert row.n_strings == 1
    assert row.only_b > 0
    assert row.difference is not None
    assert row.difference.high - row.difference.low > 1
    assert any("few strings: 1" in warning for warning in row.warnings)


def test_a_shorter_run_pairs_with_the_first_strings_of_a_longer_one(one: Path, results: Path) -> None:
    short = run(results, "copy-last-bit", "--template", "game", "--length", 20, "--trials", 25)
    (row,) = ffprompt.compare([one, short]).rows
    assert row.n_strings == 25
    assert row.only_a > 0
    assert row.only_b == 0


# --- what is compared ------------------------------------------------------------------------------------------------


def test_by_shots_each_number_is_compared_with_the_fewest(results: Path) -> None:
    made = run(results, "coin", "--template", "game", "--length", 20, "--trials", 20, "--shots", 4, 0, 1)
    rows = ffprompt.compare(made, by="shots").rows
    assert [(row.a, row.b) for row in rows] == [("shots 0", "shots 1"), ("shots 0", "shots 4")]


def test_by_shots_the_runs_of_one_model_may_be_two(results: Path) -> None:
    flags = ("--template", "game", "--length", 20, "--trials", 20)
    runs = [
        run(results, "coin", *flags, "--shots", shots, *more) for shots, more in ((2, ()), (0, ("--shot-length", 20)))
    ]
    (row,) = ffprompt.compare(runs, by="shots").rows
    assert (row.a, row.b, row.n_strings) == ("shots 0", "shots 2", 20)


def test_by_template_and_by_elicitation(results: Path) -> None:
    flags = ("--length", 20, "--trials", 20, "--form", "completion")
    made = run(results, "coin", *flags, "--template", "game", "code", "--elicitation", "list", "next")
    assert [row.b for row in ffprompt.compare(made, by="template").rows] == ["template code"] * 2
    rows = ffprompt.compare(made, by="elicitation").rows
    assert [row.n_reads for row in rows] == [20, 20]  # next asks one read a string
    assert all(row.only_a > 0 and row.only_b == 0 for row in rows)


def test_three_models_are_each_compared_with_the_first(one: Path, results: Path) -> None:
    others = [
        run(results, name, "--template", "game", "--length", 20, "--trials", 60) for name in ("coin", "constant-1")
    ]
    assert [(row.a, row.b) for row in ffprompt.compare([one, *others]).rows] == [
        ("oracle", "coin"),
        ("oracle", "constant-1"),
    ]


def test_a_condition_without_a_partner_is_left_out_and_named(oracle: Path, one: Path) -> None:
    made = ffprompt.compare([one, oracle])
    assert len(made.rows) == 1
    assert len(made.left_out) == 7


def test_strings_of_a_file_pair_by_what_they_are(results: Path, tmp_path: Path) -> None:
    texts = ["w1i0r1w0i1r0", "w0i0r0w1i1r1", "w1i0r1w0i1r0", "w0w1r1i0i1r1"]
    for name, order in (("a", [0, 1, 2, 3]), ("b", [3, 2, 1, 0, 1])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": texts[i]}) + "\n" for i in order))
    a, b = (
        run(results, "oracle", "--data", tmp_path / f"{name}.jsonl", "--trials", n) for name, n in (("a", 4), ("b", 5))
    )
    b = altered(b, "file-b", wrong_on(0))  # the last string of the other file
    (row,) = ffprompt.compare([a, b]).rows
    assert (row.n_strings, row.only_a) == (4, 0)
    assert row.only_b == 2  # the string that stands twice in one file and once in the other
    assert row.difference is not None
    assert row.difference.lost == 2


# --- what is refused -------------------------------------------------------------------------------------------------

SETTINGS: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (lambda info: info["config"].update(seed=7), "seed is 0 in .* and 7 in .*; such runs cannot be paired"),
    (lambda info: info["config"].update(temperature=1.0), "temperature is 0.0 .* and 1.0 .*--allow temperature"),
    (lambda info: info["config"].update(max_tokens=9), "max_tokens is None .* and 9 .*--allow max_tokens"),
    (lambda info: info["plan"]["templates"]["game"].update(digest="x"), "template_version is .*--allow template_v"),
    (lambda info: [one.update(symbols=3) for one in info["plan"]["conditions"]], "symbols is 2 .* and 3"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), SETTINGS)
def test_other_settings_are_refused_in_one_line(
    one: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    other = altered(one, f"other-{tmp_path.name}", info=change)
    with pytest.raises(ConfigError, match=message):
        ffprompt.compare([one, other])


def test_what_is_allowed_may_differ(one: Path) -> None:
    warm = altered(one, "warm", info=lambda info: info["config"].update(temperature=1.0))
    assert len(ffprompt.compare([one, warm], allow=["temperature"]).rows) == 1
    assert len(ffprompt.compare([one, warm], by="temperature").rows) == 1


def test_the_last_read_is_not_compared_with_the_first(results: Path) -> None:
    flags = ("--template", "game", "--length", 20, "--trials", 20, "--elicitation", "next")
    first, last = (run(results, "oracle", *flags, "--next-read", which) for which in ("first", "last"))
    with pytest.raises(ConfigError, match=r"next_read is 'first' .* and 'last' .*; such runs cannot be paired"):
        ffprompt.compare([first, last])


def test_shots_of_other_lengths_are_refused(results: Path) -> None:
    flags = ("--template", "game", "--length", 20, "--trials", 20, "--shots", 1)
    a, b = (run(results, "oracle", *flags, "--shot-length", length) for length in (16, 20))
    with pytest.raises(ConfigError, match="shot_length is 16"):
        ffprompt.compare([a, b])
    assert len(ffprompt.compare([a, b], by="shot_length").rows) == 1


def test_two_models_are_refused_where_backends_are_compared(one: Path, coin: Path, results: Path) -> None:
    with pytest.raises(ConfigError, match=r"model is 'oracle' .* and 'coin'"):
        ffprompt.compare([one, coin], by="backend", allow=["weights"])


def test_one_model_on_two_backends_is_compared_by_backend(one: Path) -> None:
    def moved(info: dict[str, Any]) -> None:
        info["config"]["backend"] = info["model"]["backend"] = "vllm"
        info["config"]["tensor_parallel_size"] = 2

    other = altered(one, "on-vllm", info=moved)
    (row,) = ffprompt.compare([one, other], by="backend").rows
    assert (row.a, row.b) == ("backend scripted", "backend vllm")
    with pytest.raises(ConfigError, match="backend is 'scripted'"):
        ffprompt.compare([one, other], by="dtype")


def test_no_run_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected at least one run"):
        ffprompt.compare([], by="shots")
    with pytest.raises(ConfigError, match="at least one run of the baseline"):
        ffprompt.gate([], [], 0.1)


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("shots", "shots is 0 throughout"),
        ("model", "one run: expected at least two to compare by model"),
        ("length", "other strings or reads cannot be paired"),
        ("seed", "other strings or reads cannot be paired"),
        ("shot", "did you mean 'shots'"),
    ],
)
def test_what_cannot_be_compared_by_is_said(one: Path, by: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ffprompt.compare(one, by=by)


def test_other_strings_under_one_number_are_refused(one: Path) -> None:
    def other(frame: pd.DataFrame) -> None:
        frame.loc[frame.string_index == 3, "string"] = "00000000deadbeef"

    with pytest.raises(StoreError, match="string 3 of seed 0 is not the same"):
        ffprompt.compare([one, altered(one, "other-strings", other)])


def test_a_read_that_stands_twice_is_refused(one: Path) -> None:
    def twice(frame: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([frame, frame.tail(1)])

    with pytest.raises(StoreError, match="a read stands twice"):
        ffprompt.compare([one, altered(one, "twice", twice)])


def test_a_table_that_does_not_agree_with_its_record_is_refused(one: Path) -> None:
    def better(info: dict[str, Any]) -> None:
        info["results"][0]["outcomes"]["correct"] += 1

    with pytest.raises(StoreError, match=r"disagree about game/0-shot/list.*ffprompt score"):
        ffprompt.compare([one, altered(one, "disagrees", info=better)])


def test_a_table_from_before_there_were_digests_is_still_read(one: Path) -> None:
    old = altered(one, "old")
    pd.read_parquet(old / "reads.parquet").drop(columns=["string"]).to_parquet(old / "reads.parquet")
    assert conditions_of(old)[0].digest is None
    assert len(ffprompt.compare([one, old]).rows) == 1


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda path: (path / "reads.parquet").unlink(), "no reads.parquet yet; make it again with: ffprompt score"),
        (lambda path: (path / "reads.parquet").write_bytes(b"PAR1"), "not readable .*ffprompt score"),
        (lambda path: (path / "run.json").write_text('{"schema": 99}'), "its schema is 99, this version reads up to 1"),
        (lambda path: (path / "run.json").write_text('{"schema": 1, "status": "done"}'), "run.json: run_id is missing"),
    ],
)  # fmt: skip
def test_a_damaged_run_is_told_in_one_line(
    one: Path, tmp_path: Path, break_it: Callable[[Path], object], message: str
) -> None:
    broken = altered(one, f"broken-{tmp_path.name}")
    break_it(broken)
    with pytest.raises(StoreError, match=message) as caught:
        ffprompt.compare([one, broken])
    assert "\n" not in str(caught.value)


def test_scoring_a_run_again_names_the_damaged_line_and_a_log_probability_that_is_none(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = run(results, "oracle", "--elicitation", "forced", "--length", 20, "--trials", 5)
    log = made / "trials.jsonl"
    good = log.read_text()
    lines = good.splitlines(keepends=True)
    log.write_text("".join([*lines[:2], "{not json\n", *lines[3:]]))
    assert main(["score", str(made)]) == 2
    assert "trials.jsonl, line 3: not JSON" in capsys.readouterr().err
    content = json.loads(lines[2])
    content["logprobs"][0][0] = float("nan")
    log.write_text("".join([*lines[:2], json.dumps(content) + "\n", *lines[3:]]))
    assert main(["score", str(made)]) == 2
    assert "line 3: logprobs[0][0] nan: expected a finite number" in capsys.readouterr().err


# --- incomplete runs, and the command --------------------------------------------------------------------------------


def test_an_incomplete_run_is_refused_unless_asked_for_and_then_marked(
    one: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = altered(one, "part", outcome_on("error", 4), lambda info: info.update(status="incomplete"))
    with pytest.raises(IncompleteRunError, match="it is incomplete, not done"):
        ffprompt.compare([one, part])
    assert main(["compare", str(one), str(part)]) == 3
    capsys.readouterr()
    assert main(["compare", str(one), str(part), "--incomplete"]) == 0
    shown = capsys.readouterr().out
    assert "1.0000*" in shown
    assert "* from an incomplete run" in shown
    assert "call failed" in shown
    assert ffprompt.compare([one, part], incomplete=True).incomplete


def test_a_run_without_a_read_is_refused(one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = altered(one, "empty", lambda frame: frame.head(0))
    assert main(["compare", str(one), str(empty)]) == 3
    assert "no read in it" in capsys.readouterr().err


def test_the_command_prints_a_table_and_writes_every_number(
    oracle: Path, coin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(oracle), str(coin), "--json", str(tmp_path / "c.json")]) == 0
    shown = capsys.readouterr().out
    assert "A: oracle" in shown
    assert "coin against oracle: worse in 8 of 8 conditions" in shown
    assert "\n0-shot, list, chat, T=50 " in shown
    assert "McNemar" not in shown
    assert main(["compare", str(oracle), str(coin), "--tests"]) == 0
    assert "sign flips" in (more := capsys.readouterr().out) and "McNemar" in more
    content = json.loads((tmp_path / "c.json").read_text())
    assert len(content["rows"]) == 8
    assert content["rows"][0]["difference"]["low"] < content["rows"][0]["difference"]["high"] < 0
    frame = ffprompt.compare([oracle, coin]).frame()
    assert list(frame["low"]) == [row["difference"]["low"] for row in content["rows"]]


def test_what_cannot_be_compared_ends_with_2_and_one_line(
    one: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["compare", str(one), str(tmp_path)]) == 2
    assert main(["compare", str(one), str(one), "--json", str(tmp_path / "no" / "c.json")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_after_a_run_with_several_numbers_of_shots_these_are_compared(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = run(results, "coin", "--template", "game", "--length", 20, "--trials", 20, "--shots", 0, 1, 4)
    shown = capsys.readouterr().out
    assert f"ffprompt compare --by shots {made}" in shown.replace("\n", "")
    assert "shots 4" in shown
    run(results, "coin", "--template", "game", "--length", 20, "--trials", 20, "--shots", 1)
    assert "compare" not in capsys.readouterr().out


def test_a_prompt_with_blanked_values_is_not_tested_and_counts_in_no_adjustment(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--template", "game", "--length", 20, "--trials", 40, "--shots", 0)
    a, b = (run(results, model, *flags, "--elicitation", "forced", "prior") for model in ("oracle", "coin"))
    made = ffprompt.compare([a, b])
    by = {row.blanked: row for row in made.rows}
    assert len(made.rows) == 2 and set(by) == {False, True}
    prior, forced = by[True], by[False]
    assert (prior.difference, prior.p_holm, prior.accuracy_a, prior.flips, prior.yang) == (None,) * 5
    assert prior.n_reads == prior.n_strings == 40 and prior.bias_a is not None
    assert forced.difference is not None and forced.p_holm == forced.difference.p  # alone, so not adjusted
    assert main(["compare", str(a), str(b)]) == 0
    said = capsys.readouterr().out
    assert "not tested" in said and "adjusted for 1 row," in said
