"""Reports of trainings and studies: the numbers are those of the logs, and an exact 0 is never lost on an axis."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ffprompt.cli.main import main
from ffprompt.errors import RunFailedError, StoreError
from ffprompt.report import data, naming, page, tables
from ffprompt.report.data import Report
from ffprompt.report.figures import figures, printed
from ffprompt.report.figures.density import outline
from ffprompt.report.figures.interactive import chart
from ffprompt.report.figures.series import Figure, RateAxis
from ffprompt.report.naming import Home
from ffprompt.report.study_cells import thinned
from ffprompt.stats.intervals import zero_bound
from ffprompt.tasks.flipflop import Spec
from ffprompt.tasks.flipflop_gaps import gap_counts
from tests.conftest import ROOT, only_run
from tests.support.studies import SETS, study, swept, training

IN, SPARSE, DENSE = map(str, SETS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study(tmp_path_factory.mktemp("studies") / "dropout")


@pytest.fixture(scope="module")
def found(folder: Path) -> Report:
    return data.build([folder])


def log_of(one: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (one / "train.jsonl").read_text().splitlines()]


def finals_of(folder: Path, cell: str, name: str) -> list[dict[str, Any]]:
    """The evaluations after the last step, straight from the logs of a cell."""
    lines = [line for one in sorted(folder.glob(f"{cell}-seed-?")) for line in log_of(one)]
    return [line for line in lines if line["event"] == "evaluation" and line["step"] == 400 and line["data"] == name]


def named(drawn: list[Figure], name: str) -> Figure:
    (one,) = [figure for figure in drawn if figure.name == name]
    return one


def test_rates_of_a_cell_are_those_of_the_logs(folder: Path, found: Report) -> None:
    json.dumps(found.to_json(), allow_nan=False)
    assert [cell["name"] for cell in found.study["cells"]] == ["plain", "dropout"]
    for cell, prefix in zip(found.study["cells"], ("embedding_dropout-0.0", "embedding_dropout-0.5"), strict=True):
        for name in (IN, SPARSE, DENSE):
            lines = finals_of(folder, prefix, name)
            rates = sorted(line["errors"] / line["reads"] for line in lines)
            shown = cell["sets"][name]
            assert (shown["trainings"], shown["zeros"]) == (9, rates.count(0.0))
            assert (shown["least"], shown["median"], shown["most"]) == (rates[0], rates[4], rates[-1])
            assert shown["errors"] == sum(line["errors"] for line in lines) == sum(n for _, n in shown["gaps"])
    assert found.study["cells"][1]["diverged"] == 1


def test_curves_are_those_of_the_log_with_every_warning(folder: Path, found: Report) -> None:
    for one in found.study["trainings"]:
        lines = log_of(folder / one["id"])
        assert one["curve"] == [{k: line[k] for k in ("step", "loss")} for line in lines if line["event"] == "step"]
        assert [warning["step"] for warning in one["warnings"]] == ([200] if one["id"].endswith("seed-2") else [])
    loss = named(figures.figures(found), "training-loss")
    drawn = [value for series in loss.series[:2] for value in series.y if value is not None]
    assert len(drawn) == sum(len(one["curve"]) for one in found.study["trainings"])
    assert loss.series[-1].name == "warning (2)"
    assert all("loss rose from 0.12 to 0.61" in text for text in loss.series[-1].hover)


def test_a_bound_of_one_side_is_the_one_for_so_many_equal_strings(tmp_path: Path) -> None:
    one = training(tmp_path / "one", glitches=(0.0, 0.0, 0.0))
    lines = log_of(one)
    for line in lines:
        if line["event"] == "evaluation" and line["step"] == 400:
            line["high"] = 1 - 0.025 ** (1 / 150)  # what 150 independent strings without an error give
    (one / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for final in data.build([one]).study["trainings"][0]["final"].values():
        assert final["errors"] == 0
        assert final["at_most"] == pytest.approx(zero_bound(150, 0.95))


def test_every_zero_is_in_the_band_of_zeros_with_a_bar_to_its_bound(folder: Path, found: Report) -> None:
    figure = named(figures.figures(found), "replicates-ffl-64-0.98")
    axis = figure.x_rates
    assert axis is not None and axis.zero is not None and axis.band is not None
    assert (axis.zero, "0") in axis.ticks
    dots = [one for one in figure.series if one.style == "points"]
    for series, prefix in zip(dots, ("embedding_dropout-0.0", "embedding_dropout-0.5"), strict=True):
        rates = sorted(line["errors"] / line["reads"] for line in finals_of(folder, prefix, SPARSE))
        assert list(series.x) == [rate or axis.zero for rate in rates]
        assert series.x_high is not None
        for x, high in zip(series.x, series.x_high, strict=True):
            assert high is not None and high > x
            assert axis.low <= x <= axis.high
            assert (x == axis.zero) == (x < axis.band[1])


def test_both_tails_stand_in_one_figure_and_errors_in_distribution_are_crosses(found: Report) -> None:
    figure = named(figures.figures(found), "training-tails")
    finals = {one["id"]: one["final"] for one in found.study["trainings"] if one["final"]}
    assert sum(len(series.x) for series in figure.series) == len(finals) == 18
    assert {series.name for series in figure.series if series.symbol == "cross"} == {
        f"{name}, errs on {IN} too" for name in ("plain", "dropout")
    }
    crossed = sum(len(series.x) for series in figure.series if series.symbol == "cross")
    assert crossed == sum(one[IN]["errors"] > 0 for one in finals.values()) == 2
    assert figure.x_rates is not None and figure.x_rates.band is not None
    zeros = [x for series in figure.series for x in series.x if x <= figure.x_rates.band[1]]
    assert len(zeros) == sum(one[SPARSE]["errors"] == 0 for one in finals.values()) > 1
    assert len(set(zeros)) > 1  # apart from each other, so that they can be counted
    assert any(series.x_high and any(series.x_high) for series in figure.series)


def test_trainings_of_several_lengths_stand_in_one_figure_by_their_kind(tmp_path: Path) -> None:
    plain = (0.0, 0.05, 0.05)
    training(tmp_path / "short", glitches=plain)
    training(tmp_path / "long", glitches=plain, length=128, attention="path")
    training(tmp_path / "errs", glitches=(0.05, *plain[1:]), length=128, seed=1)
    training(tmp_path / "lstm", glitches=(0.0, 0.0, 0.0), length=128, architecture="lstm")
    found = data.build([tmp_path])
    drawn = figures.figures(found)
    assert {one.name for one in drawn if "tails" in one.name} == {
        "training-tails-all", "training-tails-ffl-64-0.98", "training-tails-ffl-128-0.98",
    }  # fmt: skip
    figure = named(drawn, "training-tails-all")
    finals = {one["id"]: one["final"] for one in found.study["trainings"]}
    places = {series.name: (series.x[0], series.y[0]) for series in figure.series}
    rates = {
        one: tuple(finals[one][str(Spec.ffl(p, length))]["rate"] for p in (0.98, 0.1))
        for one, length in (("short", 64), ("long", 128), ("errs", 128))
    }
    assert places["transformer"] == rates["short"]
    assert places["transformer, path attention"] == rates["long"]
    assert places["transformer, errs in distribution too"] == rates["errs"]
    assert figure.x_rates is not None and figure.x_rates.band is not None
    assert places["lstm"][0] <= figure.x_rates.band[1]  # exactly 0
    assert all(len(series.x) == 1 for series in figure.series) and len(places) == 4


def test_an_unfinished_training_is_named_and_in_no_number(folder: Path, found: Report) -> None:
    said = "\n".join(found.left_out)
    assert "embedding_dropout-0.5-seed-91: running at step 250 of 400" in said
    assert "embedding_dropout-0.5-seed-92: not begun" in said
    assert any("seed-90 diverged" in note for note in found.study["notes"])
    whole = data.build([folder], incomplete=True)
    (late,) = [one for one in whole.study["trainings"] if one["unfinished"]]
    assert late["label"].endswith("†")
    assert late["final"] == {}
    assert whole.study["cells"][1]["sets"] == found.study["cells"][1]["sets"]
    assert "has not ended (running, step 250 of 400)" in page.render(whole)
    with pytest.raises(RunFailedError, match="running at step 250 of 400"):
        data.build([folder / "embedding_dropout-0.5-seed-91"])


def test_a_training_without_a_line_is_reported_as_empty(tmp_path: Path) -> None:
    one = training(tmp_path / "new", status="running", reached=0)
    found = data.build([one], incomplete=True)
    assert found.study["cells"][0]["finished"] == 0
    assert figures.figures(found) == []
    assert tables.of_cells(found.study) == [["new", "–", "1", "0", "0", "1", "–", "–", "–", "–", "101,765", "400"]]
    assert "has not ended (running, step 0 of 400)" in page.render(found)


def test_the_same_training_twice_is_no_replicate(folder: Path, tmp_path: Path) -> None:
    first = folder / "embedding_dropout-0.0-seed-0"
    again = shutil.copytree(first, tmp_path / "again")
    found = data.build([first, again])
    assert len(found.study["trainings"]) == 1
    assert "again: the same settings and seeds as embedding_dropout-0.0-seed-0" in found.left_out[0]


Change = Callable[[list[dict[str, Any]]], object]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda lines: lines[-1].update(errors=lines[-1]["reads"] + 1), "numbers of this evaluation do not fit"),
        (lambda lines: lines[-2].update(low=0.9, high=0.95), "numbers of this evaluation do not fit"),
        (lambda lines: lines[-1].update(gaps=[[3, 1]]), "numbers of this evaluation do not fit"),
        (lambda lines: lines[5].update(step=399), "out of order"),
        (lambda lines: lines[5].update(event="setp"), "not a line of a training's log"),
        (lambda lines: lines.__delitem__(slice(-3, None)), "no evaluation of its last step 400"),
    ],
)
def test_a_log_that_does_not_add_up_is_refused(tmp_path: Path, change: Change, what: str) -> None:
    one = training(tmp_path / "one")
    lines = log_of(one)
    change(lines)
    (one / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(StoreError, match=what):
        data.build([one])


def test_half_a_line_at_the_end_is_no_line(tmp_path: Path) -> None:
    one = training(tmp_path / "one", status="interrupted", reached=150)
    before = data.build([one], incomplete=True).study["trainings"][0]["curve"]
    with (one / "train.jsonl").open("a") as log:
        log.write('{"event": "step", "step": 16')
    assert data.build([one], incomplete=True).study["trainings"][0]["curve"] == before


def test_a_thinned_curve_keeps_the_mean_over_its_steps() -> None:
    curve = [{"step": step, "loss": 1 / step} for step in (10, 20, 30, 45, 50)]
    found = thinned(curve, 2)
    assert [point["step"] for point in found] == [30, 50]
    assert found[1]["loss"] == pytest.approx((15 / 45 + 5 / 50) / 20)
    assert thinned([{"step": 1, "loss": 0.5}, {"step": 2, "loss": None}], 1) == [{"step": 2, "loss": None}]


def test_gaps_of_errors_stand_beside_those_of_all_reads(folder: Path, found: Report) -> None:
    figure = named(figures.figures(found), "error-gaps-ffl-64-0.98")
    lines = finals_of(folder, "embedding_dropout-0.0", SPARSE)
    gaps = [gap for line in lines for gap, count in line["gaps"] for _ in range(count)]
    bins = [1, 2, 4, 8, 16, 32]
    wanted = [sum(low < gap <= high for gap in gaps) / len(gaps) for low, high in zip([0, *bins], bins, strict=False)]
    assert list(figure.series[0].y) == pytest.approx(wanted)
    expected = gap_counts(Spec.ffl(0.98, 64))
    reads = [expected[low:high].sum() / expected.sum() for low, high in zip([0, *bins], bins, strict=False)]
    assert list(figure.series[-1].y) == pytest.approx(reads)


def names(*given: Path) -> list[str]:
    return [cell["name"] for cell in data.build(given).study["cells"]]


def test_a_lone_training_is_named_by_its_folder_and_the_settings_stand_beside_it(tmp_path: Path) -> None:
    training(tmp_path / "a10", architecture="transformer", layers=10)
    training(tmp_path / "a2", architecture="transformer", layers=2)
    training(tmp_path / "b", architecture="lstm", hidden=7)
    found = data.build([tmp_path])
    cells = {cell["name"]: cell["settings"] for cell in found.study["cells"]}
    assert cells == {"a2": "transformer · layers 2", "a10": "transformer · layers 10", "b": "lstm"}
    assert list(cells) == ["a2", "a10", "b"]
    hover = named(figures.figures(found), "training-tails").series[0].hover[0]
    assert hover.startswith("a2 · seeds 0/0\ntransformer · layers 2\nstep 400")
    assert f"<small>{cells['a10']}</small>" in page.render(found)


def test_a_cell_has_the_name_that_its_study_gives_it_in_the_order_of_the_file(tmp_path: Path) -> None:
    for seed in (0, 1):
        training(tmp_path / "knobs" / f"rope_s{seed}", seed=seed, positions="rope")
        training(tmp_path / "knobs" / f"baseline_s{seed}", seed=seed)
        training(tmp_path / "one" / f"s{seed}", seed=seed, width=32)
    knobs = swept(
        tmp_path / "knobs", "knobs", {f"{name}_s{seed}": name for name in ("rope", "baseline") for seed in (0, 1)}
    )
    one = swept(tmp_path / "one", "seeds", {"s0": "", "s1": ""})
    assert names(knobs, one) == ["rope", "baseline", "seeds"]
    assert names(knobs / "baseline_s0") == ["baseline"]
    # The same settings and other seeds are replicates, wherever they stand.
    again = training(tmp_path / "again", seed=7)
    assert names(knobs, again) == ["rope", "baseline and again"]


def test_a_setting_younger_than_a_record_counts_as_its_default(tmp_path: Path) -> None:
    old = training(tmp_path / "old", seed=0)
    new = training(tmp_path / "new", seed=1, qk_norm=False, window=None)
    record = json.loads((new / "training.json").read_text())
    record["training"] |= {"z_loss": 0.0, "sharpening": {"penalty": "none", "coefficient": 0.0, "period": 1_000}}
    (new / "training.json").write_text(json.dumps(record))
    other = training(tmp_path / "other", seed=1, qk_norm=True)
    cells = data.build([old, new, other]).study["cells"]
    assert [(one["name"], one["trainings"], one["settings"]) for one in cells] == [
        ("old and new", 2, "qk-norm False"),
        ("other", 1, "qk-norm True"),
    ]


def test_cells_of_other_settings_never_share_a_name(tmp_path: Path) -> None:
    for number, called in enumerate(("first", "second", "second")):
        folder = tmp_path / f"out{number}"
        training(folder / "baseline_s0", layers=number + 1)
        training(folder / "only_s0", width=number + 1)
        swept(folder, called, {"baseline_s0": "baseline", "only_s0": f"only{number}"})
    folders = [tmp_path / f"out{number}" for number in range(3)]
    assert names(*folders[:2]) == ["first · baseline", "only0", "second · baseline", "only1"]
    assert names(*folders) == [
        "first · baseline", "only0", "out1 · baseline", "only1", "out2 · baseline", "only2",
    ]  # fmt: skip
    # A study whose trainings were made anew by hand, with settings that hardly differ.
    for number in range(3):
        training(folders[0] / f"more_s{number}", attention_dropout=0.1 + number * 1e-9)
    swept(folders[0], "first", {f"more_s{number}": "more" for number in range(3)})
    found = names(*(folders[0] / f"more_s{number}" for number in range(3)))
    assert found == [f"first · more · attention-dropout 0.1{rest}" for rest in ("", "00000001", "00000002")]
    same = [[Home("s0", "study", "cell", 0, "/there")]] * 3
    assert naming.names(same, ["x", "x", "y"]) == ["study · cell · x", "study · cell · x (2)", "study · cell · y"]


def test_a_cell_has_no_row_where_it_was_never_evaluated_and_no_table_says_none(tmp_path: Path) -> None:
    short, long = training(tmp_path / "short"), training(tmp_path / "long", layers=3)
    training(tmp_path / "bad", layers=4, status="diverged", reached=150)
    training(tmp_path / "early", layers=5, status="diverged", reached=50)
    log = long / "train.jsonl"
    log.write_text(log.read_text().replace("FFL(64, ", "FFL(128, "))
    found = data.build([tmp_path])
    rows = {(row[0], row[1]): row for row in tables.of_cells(found.study)}
    assert {name for name, data_set in rows if "128" in data_set} == {"long"}
    assert {name for name, data_set in rows if "64" in data_set} == {short.name, "bad"}
    assert rows["bad", IN][2:10] == ["1", "0", "1", "0", "–", "–", "–", "–"]
    assert rows["early", "–"][2:6] == ["1", "0", "1", "0"]
    for kind in ("tex", "md"):
        tables.write(tables.of_report(found), tmp_path / f"table.{kind}")
        assert "None" not in (tmp_path / f"table.{kind}").read_text()


@pytest.mark.slow
def test_nothing_of_a_figure_for_print_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = {f"x{n}": f"_a-variant-with-a-name_that-goes-on_and-on-{'and-on-' * 20 * (n % 2)}{n}" for n in range(14)}
    for number, name in enumerate(groups):
        for seed in (0, 1):
            training(tmp_path / "wide" / f"{name}_s{seed}", seed=seed, layers=number + 1, strings=30)
    cells = {f"{name}_s{seed}": group for name, group in groups.items() for seed in (0, 1)}
    found = data.build([swept(tmp_path / "wide", "wide", cells)])
    sheets = []
    written = printed._written
    monkeypatch.setattr(printed, "_written", lambda sheet, *rest: (sheets.append(sheet), written(sheet, *rest))[1])
    wanted = ("training-loss", "training-tails", "replicates-ffl-64-0.98", "error-gaps-ffl-64-0.98")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        printed.save([named(figures.figures(found), name) for name in wanted], tmp_path / "figures")
    for sheet in sheets:
        (axes,) = sheet.axes
        for legend in sheet.legends:
            # matplotlib by itself leaves out a name that begins with _.
            assert len(legend.get_texts()) >= len(groups)
        parts = [text for legend in sheet.legends for text in legend.get_texts()]
        if not parts:  # the figure of replicates names them beside their rows
            parts = axes.get_yticklabels()
            assert len({part.get_text() for part in parts}) == len(groups)
        for part in parts:
            box = part.get_window_extent()
            assert box.x0 >= 0 and box.x1 <= sheet.bbox.x1 and box.y0 >= 0 and box.y1 <= sheet.bbox.y1, part
        assert axes.get_window_extent().height > 0.4 * 4.2 * sheet.dpi


def test_an_axis_of_rates_has_a_place_for_zero_only_where_there_is_one() -> None:
    assert RateAxis.of([0.002, 0.5]).zero is None
    axis = RateAxis.of([0.0, 2e-6, 0.7])
    assert axis.zero == pytest.approx(1e-7)
    assert axis.low < axis.at(0.0) < 1e-6  # type: ignore[operator]
    assert [text for _, text in axis.ticks][:3] == ["0", "1e-6", "1e-5"]
    assert axis.down_to(1e-30) == axis.zero
    for spread in (0.0, 0.5, 0.99):
        assert axis.band is not None
        assert axis.band[0] < axis.at(0.0, spread) < axis.band[1]  # type: ignore[operator]
    assert len(RateAxis.of([]).ticks) > 1


def test_an_outline_is_widest_where_most_replicates_are() -> None:
    at, half = outline([-4.0, -3.1, -3.0, -2.9, -1.0])
    assert (at[0], at[-1], max(half)) == (-4.0, -1.0, 1.0)
    assert at[half.index(1.0)] == pytest.approx(-3.0, abs=0.2)


def test_every_figure_is_one_that_plotly_and_matplotlib_draw(found: Report, tmp_path: Path) -> None:
    import plotly.graph_objects as go

    drawn = figures.figures(found)
    assert [figure.name for figure in drawn if figure.name.startswith("training")] == [
        "training-loss",
        *(f"training-glitches-ffl-64-{p}" for p in (0.8, 0.98, 0.1)),
        "training-tails",
    ]
    for figure in drawn:
        go.Figure(chart(figure))
        for axis in (figure.x_rates, figure.y_rates):
            assert axis is None or axis.low > 0  # nothing is at or below 0 on a logarithmic axis
    files = printed.save([named(drawn, "training-tails"), named(drawn, "replicates-ffl-64-0.98")], tmp_path)
    assert all(path.stat().st_size > 5_000 for path in files)


def test_the_command_writes_page_and_table(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["report", str(folder), "-o", str(tmp_path / "r.html"), "--table"]
    assert main([*words, str(tmp_path / "t.md")]) == 0
    assert "19 trainings in 2 cells" in capsys.readouterr().out
    text = (tmp_path / "t.md").read_text()
    cells, told = text.split("| cell | monitor |")  # the second table: what the monitors told
    assert cells.count("\n| plain |") == cells.count("\n| dropout |") == 3
    assert told.count("\n| plain | loss-oscillation | 1 of 9 | 200 |") == 1
    assert "plain: embedding-dropout 0." in text
    assert "seed-90 diverged" in text and "seed-91: running at step 250 of 400" in text
    assert tables.ERROR in text
    shown = (tmp_path / "r.html").read_text()
    assert 'id="trainings"' in shown
    assert tables.ERROR in shown
    assert 'id="results"' not in shown  # no run, so none of what belongs to runs
    assert main([*words, str(tmp_path / "t.tex")]) == 0
    assert (tmp_path / "t.tex").read_text().count(r"\\") == 7


def test_a_real_training_and_a_run_of_its_model_stand_in_one_report(tmp_path: Path) -> None:
    words = ["train", "lstm", "--out", str(tmp_path / "small"), "--width", "8", "--hidden", "8", "--length", "16"]
    words += ["--steps", "20", "--evaluate-every", "10", "--strings", "20", "--final-strings", "40", "--threads", "1"]
    assert main(words) == 0
    given = ["run", "--length", "10", "20", "--p-ignore", "0.6", "--trials", "20", "--elicitation", "forced"]
    given += ["--no-report"]
    asked = (("reference", str(tmp_path / "small")), ("reference", "handbuilt"), ("scripted", "oracle"))
    for backend, model in asked:
        out = str(tmp_path / Path(model).name / "runs")
        assert main([*given, "--backend", backend, "--model", model, "--template", "raw-compact", "--out", out]) == 0
    runs = [only_run(tmp_path / Path(model).name / "runs") for _, model in asked]
    found = data.build([*runs, tmp_path / "small"])
    labels = ["small (trained on this task)", "handbuilt (built for this task)", "oracle"]
    assert [run.label for run in found.runs] == labels
    (one,) = found.study["trainings"]
    for line in log_of(tmp_path / "small")[-3:]:
        assert one["final"][line["data"]]["rate"] == line["errors"] / line["reads"]
        assert one["final"][line["data"]]["high"] == line["high"]
    text = page.render(found)
    assert 'id="results"' in text
    assert 'id="trainings"' in text
    drawn = named(figures.figures(found), "errors-forced")
    assert [series.name for series in drawn.series if series.style == "line"] == labels


def test_errors_against_length_keep_a_model_that_made_none(tmp_path: Path) -> None:
    given = ["run", "--backend", "scripted", "--length", "20", "60", "--elicitation", "forced", "--trials", "20"]
    given += ["--template", "light-switch", "--shots", "0"]
    for model in ("oracle", "copy-last-bit"):
        assert main([*given, "--model", model, "--out", str(tmp_path / model), "--no-report"]) == 0
    found = data.build([only_run(tmp_path / model) for model in ("oracle", "copy-last-bit")])
    figure = named(figures.figures(found), "errors-forced")
    assert figure.y_rates is not None
    right, copied = (one for one in figure.series if one.style == "line")
    assert list(right.y) == [figure.y_rates.zero] * 2
    bounds = [row.result.zero_error_bounds for row in found.rows[:2]]
    assert right.high == [bound.strings.high for bound in bounds if bound]
    assert list(copied.y) == pytest.approx([1 - row.result.accuracy for row in found.rows[2:]])
    # Both models were asked the same reads, so there is one floor, with one entry in the legend.
    entry, floor = (one for one in figure.series if one.style == "rule")
    assert (list(entry.x), entry.twin, floor.twin) == ([], False, True)
    assert list(floor.y) == pytest.approx([1 - (row.result.floor or 0) for row in found.rows[:2]])
    # Their bars stand beside each other, and their numbers stay.
    assert right.shift < 0 < copied.shift
    assert list(right.x) == list(copied.x) == [20, 60]


def test_a_report_of_trainings_needs_no_torch(folder: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from ffprompt.report import data, page
page.render(data.build([Path({str(folder)!r})]))
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_expected_gaps_are_those_of_drawn_strings() -> None:
    from ffprompt.tasks.flipflop import sample

    for spec in (Spec.ffl(0.8, 32), Spec(12, 0.5, 0.1, 0.4), Spec(4, 0.3, 0.3, 0.4)):
        drawn = sample(spec, 0, 0, 20_000)
        expected = gap_counts(spec)
        assert expected.sum() == pytest.approx(spec.expected_reads)
        for gap, mean in enumerate(expected.tolist(), 1):
            seen = int((drawn.gaps[drawn.is_read] == gap).sum()) / len(drawn)
            assert abs(seen - mean) < 5 * math.sqrt(max(mean, 1e-4) / len(drawn))
