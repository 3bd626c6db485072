"""What stands where on a page: its first screen answers, and the rest is behind tabs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ffprompt._util.formatting import share
from ffprompt.cli.main import main
from ffprompt.report import data, page
from ffprompt.report.data import Report
from ffprompt.report.figures import figures
from ffprompt.report.study_cells import BESIDE_RUNS, TWO_MEASUREMENTS
from tests.report.test_report import made
from tests.support.pages import Element, parsed
from tests.support.studies import study, training


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A model that is always right, one that is below its floor, and one with conditions of its own."""
    out = tmp_path_factory.mktemp("joint")
    words = ("--elicitation", "forced", "--shots", 0, "--length", 20, 60, "--trials", 60, "--template")
    runs = [made(out / model, *words, "light-switch", model=model) for model in ("oracle", "copy-last-bit")]
    return data.build([*runs, made(out / "other", *words, "game", model="glitch-0.1")])


@pytest.fixture(scope="module")
def shown(joint: Report) -> Element:
    return parsed(page.render(joint))


def test_the_first_part_has_the_verdicts_one_figure_and_every_row(joint: Report, shown: Element) -> None:
    parts = shown.all("section", "tab")
    assert [link.attributes["href"] for link in shown.all("nav")[0].all("a")] == [
        f"#{part.attributes['id']}" for part in parts
    ]
    summary = parts[0]
    assert [one.text.rstrip(".").replace(" :", ":") for one in summary.all("p", "verdict")] == [
        str(one) for one in joint.verdicts
    ]
    assert [one.attributes["data-name"] for one in summary.all("div", "chart")] == ["overview"]
    tables = [fold.all("table")[0].rows() for fold in summary.all("details", "model")]
    assert [fold.all("strong")[0].text for fold in summary.all("details", "model")] == [
        "oracle", "copy-last-bit", "glitch-0.1",
    ]  # fmt: skip
    told = [(line[0], line[1], line[4]) for _, *lines in tables for line in lines]
    results = [(row.result, row.verdict.word) for row in joint.rows]
    assert told == [(f"T={n}", share(row.accuracy), word) for n, (row, word) in zip([20, 60] * 3, results, strict=True)]


def test_rows_below_their_floor_are_marked_in_tables_and_figures(joint: Report, shown: Element) -> None:
    below = [row for row in joint.rows if row.below]
    assert below and all(row.label == "copy-last-bit" for row in below)
    for part in ("summary", "results"):
        lines = shown.named(part).all("tr", "below")
        assert len(lines) == len(below)
    (figure,) = [one for one in figures.figures(joint) if one.name == "accuracy"]
    assert [name.endswith("▼") for name in figure.categories] == [row.below for row in joint.rows]


def test_a_run_without_a_shared_condition_is_no_column(joint: Report, shown: Element) -> None:
    table = shown.named("comparison").all("table")[-2]
    header, *lines = table.rows()
    assert header == ["condition", "oracle", "copy-last-bit"]
    assert len(lines) == 2 and not any(cell == "–" for line in lines for cell in line)
    assert any("glitch-0.1" in one.text for one in shown.named("comparison").all("p", "caption"))


def test_the_comparison_has_its_table_its_figure_and_what_could_not_be_compared(joint: Report, shown: Element) -> None:
    part = shown.named("comparison")
    assert part.all("table")[0].rows()[0][0] == "condition"
    assert [one.attributes["data-name"] for one in part.all("div", "chart")] == ["comparison"]
    assert [one.text for one in part.all("li")] == joint.not_compared
    assert joint.not_compared[0].startswith("glitch-0.1 with oracle: no condition to compare by model")


def test_names_of_series_hold_what_differs_alone_and_floors_stand_once_in_the_legend(joint: Report) -> None:
    for figure in figures.figures(joint):
        told = [one.name for one in figure.series if not one.twin]
        assert len(set(told)) == len(told), figure.name
        shared = [part for part in figure.subtitle.split(", ") if part]
        assert not [part for part in shared for name in (*told, *figure.categories) if part in name.split(", ")]
    named = {figure.name: figure for figure in figures.figures(joint)}
    lines = [one for one in named["overview"].series if one.style == "line"]
    assert [one.name for one in lines] == ["oracle, light-switch", "copy-last-bit, light-switch", "glitch-0.1, game"]
    assert named["overview"].subtitle == "0-shot, forced, completion, FFL, p=0.6"
    assert len({one.shift for one in lines}) == 3


def test_one_run_compares_its_shots_and_templates(tmp_path: Path) -> None:
    words = ("--template", "light-switch", "game", "--shots", 0, 1, "--length", 20, "--elicitation", "forced")
    report = data.build([made(tmp_path, *words, "--trials", 30)])
    assert [made.by for made in report.comparisons] == [("shots",), ("template",)]
    charts = parsed(page.render(report)).named("comparison").all("div", "chart")
    assert [one.attributes["data-name"] for one in charts] == ["comparison", "comparison-2"]


def test_one_training_has_no_spread_and_no_curve_of_one_point(tmp_path: Path) -> None:
    one = training(tmp_path / "one")
    log = one / "train.jsonl"
    lines = [line for line in log.read_text().splitlines() if '"step": 400' in line]
    log.write_text("\n".join(lines) + "\n")
    report = data.build([one])
    table = parsed(page.render(report)).named("trainings").all("table")[0].rows()
    assert table[0] == ["cell", "data", "glitch rate", "parameters", "steps"]
    assert not [figure.name for figure in figures.figures(report) if figure.name.startswith("training-gl")]
    assert "training-loss" not in [figure.name for figure in figures.figures(report)]


def test_replicates_have_a_spread(tmp_path: Path) -> None:
    report = data.build([study(tmp_path / "dropout", replicates=3)])
    header = parsed(page.render(report)).named("trainings").all("table")[0].rows()[0]
    assert header[2:7] == ["finished", "median glitch rate", "least", "most", "exactly 0"]


def test_a_training_beside_runs_says_why_their_numbers_differ(joint: Report, tmp_path: Path) -> None:
    run = made(tmp_path, "--length", 20, "--trials", 30, model="oracle")
    one = training(tmp_path / "one")
    both, alone = data.build([run, one]), data.build([run])
    (note,) = set(both.notes) - set(alone.notes)
    assert note == TWO_MEASUREMENTS
    captions = [one.text for one in parsed(page.render(both)).named("trainings").all("p", "caption")]
    assert BESIDE_RUNS in captions
    files = tmp_path / "t.tex"
    assert main(["report", str(run), str(one), "-o", str(tmp_path / "r.html"), "--table", str(files)]) == 0
    for file in (files, tmp_path / "t-trainings.tex"):
        assert file.read_text().count(r"\begin{tabular}") == 1


def test_a_single_file_for_several_figures_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(tmp_path, "--length", 20, "--trials", 30, model="oracle")
    capsys.readouterr()
    target = tmp_path / "fig.pdf"
    assert main(["report", str(run), "-o", str(tmp_path / "r.html"), "--figures", str(target)]) == 2
    assert "one file holds one figure" in capsys.readouterr().err
    assert not target.exists() and not (tmp_path / "r.html").exists()
