"""What monitors told beside the loss, maps of attention, and certificates: each from a log that is written by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ffprompt.errors import StoreError
from ffprompt.report import data, page, tables
from ffprompt.report.figures import figures, printed
from ffprompt.report.figures.attention import AttentionMaps, attention_maps
from ffprompt.report.figures.error_kinds import error_kinds
from ffprompt.report.figures.interactive import chart
from ffprompt.report.standing import standing
from ffprompt.report.troubles import spread, troubles
from tests.support.studies import SETS, swept, training

IN = str(SETS[0])


def made(losses: Sequence[float | None], warnings: dict[int, str], **recipe: Any) -> dict[str, Any]:
    """A training as ``trainings.read`` gives it, with a loss every step."""
    return {
        "curve": [{"step": step, "loss": loss} for step, loss in enumerate(losses, 1)],
        "warnings": [{"step": step, "monitor": monitor} for step, monitor in warnings.items()],
        "training": {"data": "undo", "objective": "clean", "scratchpad": False} | recipe,
    }


HEALTHY = [made([0.5] * 30 + [0.1] * 70, {}), made([0.6] * 30 + [0.1] * 70, {})]


def test_a_monitor_is_told_with_the_step_at_which_the_loss_shows_it() -> None:
    # The mean of 20 steps of the worse healthy one falls from 0.6 at step 30 to 0.475 at 35: 0.7 is 0.1 above it then.
    stuck = [made([0.69] * 100, {10: "rank-collapse", 40: "rank-collapse"}), made([0.69] * 100, {20: "rank-collapse"})]
    healthy, bad = troubles(["healthy", "bad"], [HEALTHY, stuck])
    assert (healthy["monitor"], healthy["fired"], healthy["loss"]) == ("none", 0, None)
    assert (bad["monitor"], bad["fired"], bad["trainings"]) == ("rank-collapse", 2, 2)
    assert bad["first"] == [15, 10, 20]
    assert bad["loss"] == [31, 31, 31]
    assert bad["before"] == 2


def test_a_loss_that_comes_back_or_rises_by_itself_or_is_no_number_is_told_so() -> None:
    back = made([0.9] * 50 + [0.05] * 50, {5: "attention-entropy"})
    rose = made([0.1] * 100, {60: "loss-oscillation", 70: "attention-entropy"})
    ended = made([0.1] * 40 + [None], {41: "non-finite"})
    rows = troubles(["healthy", "back", "rose", "ended"], [HEALTHY, [back], [rose], [ended]])
    by_cell = {(row["cell"], row["monitor"]): (row["loss"], row["before"]) for row in rows}
    assert by_cell["back", "attention-entropy"] == (None, 1)
    assert by_cell["rose", "loss-oscillation"] == ([60, 60, 60], 0)
    assert by_cell["rose", "attention-entropy"] == ([60, 60, 60], 0)
    assert by_cell["ended", "non-finite"] == ([41, 41, 41], 0)


def test_losses_of_other_strings_are_not_compared_and_a_quiet_study_has_no_table() -> None:
    other = made([2.0] * 100, {5: "vanishing-layer"}, data="another")
    assert troubles(["healthy", "other"], [HEALTHY, [other]])[1]["loss"] is None
    assert troubles(["healthy"], [HEALTHY]) == []
    assert (spread(None), spread([15, 10, 20]), spread([1000, 1000, 1000])) == ("–", "15 (10–20)", "1,000")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("studies") / "modes"
    for seed in (0, 1):
        training(root / f"plain_s{seed}", seed=seed)
        training(root / f"bad_s{seed}", seed=seed, warnings=(100,), glitches=(0.3, 0.3, 0.3), embedding_dropout=0.5)
    for name in ("plain_s0", "bad_s0"):
        look_at(root / name)
    return swept(root, "modes", {f"{cell}_s{seed}": cell for cell in ("plain", "bad") for seed in (0, 1)})


TOKENS = ["w1", "i0", "w0"]
PANEL = bytes([255, 0, 0, 51, 204, 0, 0, 0, 255]).hex()


def look_at(folder: Path) -> None:
    """Add looks, kinds of errors and a certificate to the log of a training."""
    path = folder / "train.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    look = {"panels": {"layer 0, head 0": PANEL}, "wrong": [0, 1]}
    reads = [[1, 0], [2, 2]]
    for line in lines:
        if line["event"] == "evaluation" and line["step"] == 400:
            line["certificate"] = {
                "bound": 1e-2, "level": 0.95, "decision": "below", "seed": 1001, "strings": 100, "reads": 900,
                "errors": 0, "low": 0.0, "high": 0.009,
            }  # fmt: skip
    first = {"event": "attention", "step": 0, "tokens": TOKENS, "reads": reads, "looks": [{"step": 0, **look}]}
    counts = {"dilution": [1, 0, 90, 9], "stale: first": [8, 6, 1, 0]}
    worst = {"tokens": TOKENS, "reads": reads, **look}
    kinds = {"event": "kinds", "step": 400, "data": IN, "strings": 20, "kinds": counts, "worst": worst}
    last = {**first, "step": 400, "looks": [{"step": 300, **look}, {"step": 400, **look}]}
    place = next(n for n, line in enumerate(lines) if line["event"] == "evaluation" and line["step"] == 400)
    lines = [first, *lines[:place], last, *lines[place:], kinds]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_tables_hold_what_monitors_told_and_what_is_certified(folder: Path) -> None:
    report = data.build([folder])
    cells, told = tables.of_report(report)
    assert told.name == "troubles"
    rows = {row[0]: row[1:5] for row in told.body}
    assert rows["plain"] == ["none", "0 of 2", "–", "–"]
    assert rows["bad"] == ["loss-oscillation", "2 of 2", "100", "100"]
    assert cells.header[-1] == "certificate"
    assert {row[-1] for row in cells.body} == {"0.01: below in 1 of 1 (at most 0.009)"}
    text = page.render(report)
    assert "What the monitors told" in text and "0.01: below in 1 of 1 (at most 0.009)" in text
    now = standing({one: one.name.split("_")[0] for one in sorted(folder.glob("*_s?"))})
    assert now.header[-1] == f"error, {IN}" and len(now.troubles) == 2
    assert {row.certified for row in now.rows} == {"0.01: below in 1 of 1 (at most 0.009)"}


def test_maps_show_the_looks_and_where_reads_ought_to_look(folder: Path, tmp_path: Path) -> None:
    report = data.build([folder])
    assert report.study is not None
    plain, bad = attention_maps(report.study)
    assert [look["title"] for look in bad.looks] == ["step 0", "step 300: loss-oscillation", "step 400"]
    assert [look["title"] for look in plain.looks] == ["step 0", "step 400", "a wrong read, its attention sharpest"]
    heat, right, wrong = chart(bad)["data"][:3]
    assert heat["z"] == [[1.0, 0.0, 0.0], [0.2, 0.8, 0.0], [0.0, 0.0, 1.0]]
    assert (right["x"], right["y"], wrong["x"], wrong["y"]) == ([0], [1], [2], [2])
    assert len(printed.save([bad], tmp_path)) == 3
    assert {figure.name for figure in figures.figures(report)} >= {"attention-plain", "attention-bad"}
    assert isinstance(bad, AttentionMaps) and "bad_s0" in bad.note


def test_bars_of_wrong_reads_add_up_to_the_glitch_rate(folder: Path) -> None:
    report = data.build([folder])
    assert report.study is not None
    (figure,) = error_kinds(report.study)
    assert [series.name for series in figure.series] == ["dilution", "stale: first"]
    assert [series.x[0] for series in figure.series] == [1 / 100, 8 / 100]
    assert "9 errors, 6 sharp elsewhere" in figure.categories[0]


@pytest.mark.parametrize("change", [{"looks": [{"step": 0, "panels": {"a": "00"}, "wrong": []}]}, {"tokens": None}])
def test_a_damaged_look_is_told_with_its_line(tmp_path: Path, change: dict[str, Any]) -> None:
    one = training(tmp_path / "one")
    look_at(one)
    lines = (one / "train.jsonl").read_text().splitlines()
    (one / "train.jsonl").write_text("\n".join([json.dumps(json.loads(lines[0]) | change), *lines[1:]]) + "\n")
    with pytest.raises(StoreError, match=r"line 1: the numbers of this attention do not fit"):
        data.build([one])
