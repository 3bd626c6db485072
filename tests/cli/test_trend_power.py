"""Accuracy over the runs of a folder, and how many strings a question needs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ffprompt
from ffprompt.cli.main import main
from ffprompt.comparison.power import strings_needed
from ffprompt.errors import ConfigError, CountsError, StoreError
from ffprompt.stats.clusters import Clusters
from ffprompt.stats.power import pilot_errors, strings_for_width
from tests.support.forged import altered, outcome_on, run, wrong_on

FLAGS = ("--template", "game", "--trials", 40, "--length", 20, 100)


@pytest.fixture(scope="module")
def coin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("results"), "coin", *FLAGS)


def started(when: str, **settings: object) -> Callable[[dict[str, Any]], None]:
    def change(info: dict[str, Any]) -> None:
        info["started"] = when
        info["config"].update(settings)

    return change


# --- trend -----------------------------------------------------------------------------------------------------------


def test_a_trend_holds_each_runs_own_numbers_oldest_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    newest = run(tmp_path, "coin", *FLAGS)
    altered(newest, "older", info=started("2020-01-01T00:00:00+00:00"))
    oracle = run(tmp_path, "oracle", *FLAGS)
    made = ffprompt.trend(tmp_path)
    assert [(one.model, one.condition.rsplit("/", 1)[1], one.run_id) for one in made.points] == [
        ("coin", "FFL(20, 0.6)", "older"),
        ("coin", "FFL(20, 0.6)", newest.name),
        ("coin", "FFL(100, 0.6)", "older"),
        ("coin", "FFL(100, 0.6)", newest.name),
        ("oracle", "FFL(20, 0.6)", oracle.name),
        ("oracle", "FFL(100, 0.6)", oracle.name),
    ]
    row = json.loads((newest / "run.json").read_text())["results"][0]
    point = made.points[1]
    assert (point.accuracy, point.interval_low, point.reads) == (row["accuracy"], row["interval_low"], row["reads"])
    files = ("--json", str(tmp_path / "t.json"), "--csv", str(tmp_path / "t.csv"))
    capsys.readouterr()
    assert main(["trend", str(tmp_path), "--model", "coin", *files]) == 0
    assert "oracle" not in capsys.readouterr().out
    with (tmp_path / "t.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["accuracy"]) for row in rows] == [one.accuracy for one in made.points[:4]]
    assert len(json.loads((tmp_path / "t.json").read_text())["points"]) == 4


def test_incomplete_runs_are_marked_and_what_has_no_table_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, "failing", *FLAGS)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "run.json").write_text('{"schema": 99}')
    assert main(["trend", str(tmp_path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "–* –* 0* 0*" in shown
    assert "calls failed" in shown
    assert "run.json is not readable" in shown
    assert "its schema is 99" in shown


def test_a_trend_says_where_data_or_settings_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = run(tmp_path, "oracle", *FLAGS)
    altered(first, "a", info=started("2020-01-01T00:00:00+00:00"))
    altered(first, "b", info=started("2021-01-01T00:00:00+00:00", seed=5))
    altered(first, "c", info=started("2022-01-01T00:00:00+00:00", seed=5, temperature=1.0))
    capsys.readouterr()
    main(["trend", str(tmp_path)])
    shown = capsys.readouterr().out
    lines = [line for line in shown.splitlines() if " T=20 " in line]
    assert ["other data" in line for line in lines] == [False, True, False, True]
    assert ["other settings" in line for line in lines] == [False, False, True, True]


def test_a_folder_without_a_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no run in it"):
        ffprompt.trend(tmp_path)
    with pytest.raises(StoreError, match="not there"):
        ffprompt.trend(tmp_path / "none")


# --- power -----------------------------------------------------------------------------------------------------------


def test_strings_for_a_width_are_those_of_the_pilots_clustering(coin: Path) -> None:
    reads = ffprompt.load(coin).reads.query("length == 100")
    sample = pilot_errors(Clusters.from_reads(reads.string_index, reads.outcome != "correct"))
    found = strings_needed(coin, half_width=0.05)
    assert found[1].plan == strings_for_width(0.05, sample)
    assert [one.pilot_strings for one in found] == [40, 40]
    clustered = strings_needed(altered(coin, "clustered", lambda frame: clustered_errors(frame)), half_width=0.05)
    assert clustered[1].plan and found[1].plan
    assert clustered[1].plan.strings > 2 * found[1].plan.strings


def clustered_errors(frame: Any) -> None:
    """Half of the strings wrong as a whole."""
    frame["outcome"] = "correct"
    wrong_on(*range(20))(frame)


def test_a_second_pilot_says_how_often_two_models_differ(coin: Path) -> None:
    alike = altered(coin, "alike", wrong_on(0))
    near = strings_needed(coin, difference=0.1, against=alike)
    far = strings_needed(coin, difference=0.1)
    assert near[1].plan and far[1].plan
    assert near[1].plan.assumed.share == 0.1  # fewer reads differ than the difference asks for
    p = 1 - (ffprompt.load(coin).reads.query("length == 100").outcome == "correct").mean()
    assert far[1].plan.assumed.share == pytest.approx(2 * p * (1 - p))
    assert any("no second run" in note for note in far[1].plan.notes)
    assert not any("no second run" in note for note in near[1].plan.notes)


def test_a_pilot_without_an_answer_gives_no_number(coin: Path) -> None:
    silent = altered(coin, "silent", outcome_on("error", *range(40)))
    assert [one.plan for one in strings_needed(silent, half_width=0.1)] == [None, None]


def test_questions_that_are_none_are_refused(coin: Path) -> None:
    with pytest.raises(ConfigError, match="one of --half-width, --difference and --margin"):
        strings_needed(coin)
    with pytest.raises(ConfigError, match="goes with --difference or --margin"):
        strings_needed(coin, half_width=0.1, against=coin)
    with pytest.raises(CountsError, match=r"half-width 0.7: expected a number between 0 and 0.5"):
        strings_needed(coin, half_width=0.7)
    with pytest.raises(CountsError, match="power 1"):
        strings_needed(coin, margin=0.1, power=1)


def test_the_command_prints_and_writes_what_it_found(
    coin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["power", str(coin), "--margin", "0.2", "--json", str(tmp_path / "p.json")]) == 0
    shown = capsys.readouterr().out
    content = json.loads((tmp_path / "p.json").read_text())
    assert [f"{one['plan']['strings']:,}" in shown for one in content["conditions"]] == [True, True]
    assert main(["power", str(coin)]) == 2
    part = altered(coin, "part", outcome_on("error", 1), lambda info: info.update(status="incomplete"))
    assert main(["power", str(part), "--half-width", "0.1"]) == 3
    assert main(["power", str(part), "--half-width", "0.1", "--incomplete"]) == 0
    assert "* from an incomplete run" in capsys.readouterr().out
