"""The map of depths: medians of the last evaluations, by task and number of layers, in both renderers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ffprompt.report import data
from ffprompt.report.figures import figures, interactive, printed
from ffprompt.report.figures.depth import HeatMap, depths, percent
from tests.support.studies import swept, training

RATES = {("parity", 1, "transformer"): (0.3, 0.1, 0.2), ("parity", 2, "transformer"): (0.0,), ("s5", 1, "lstm"): (0.0,)}


def evaluated(folder: Path, task: str, rate: float, **settings: Any) -> None:
    """A training of another task: that of the flip-flop with another data set in its last lines."""
    training(folder, **settings)
    path = folder / "train.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [line for line in lines if line["event"] != "evaluation"]
    errors = round(1000 * rate)
    last = {"event": "evaluation", "step": 400, "data": f"{task}(32, reads=every)", "p_ignore": None, "seed": 1000}
    last |= {"strings": 100, "reads": 1000, "errors": errors, "low": rate / 2, "high": rate / 2 + 0.5, "gaps": []}
    path.write_text("".join(json.dumps(line) + "\n" for line in [*kept, last]))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "depths"
    cells = {}
    for (task, layers, architecture), rates in RATES.items():
        for seed, rate in enumerate(rates):
            name = f"{task}-{layers}-{seed}"
            evaluated(folder / name, task, rate, seed=seed, architecture=architecture, layers=layers, task_name=task)
            cells[name] = f"{task}-{layers}"
    return swept(folder, "depths", cells)


def test_a_cell_is_the_median_of_its_seeds(study: Path, tmp_path: Path) -> None:
    made = data.build([study])
    found = next(one for one in figures.figures(made) if isinstance(one, HeatMap))
    assert list(found.categories) == ["parity", "s5"]
    assert list(found.columns) == ["1 layer", "2 layers", "LSTM"]
    assert [[percent(share) for share in row] for row in found.shares] == [["80.0", "100", ""], ["", "", "100"]]
    chart = interactive.chart(found)
    assert chart["data"][0]["z"] == [[0.8, 1.0, None], [None, None, 1.0]]
    assert chart["layout"]["yaxis"]["categoryarray"] == ["s5", "parity"]
    paths = printed.save([found], tmp_path / "figures")
    assert all(path.stat().st_size > 1000 for path in paths)
    text = next(path for path in paths if path.suffix == ".svg").read_text()
    assert "2 layers" in text


def test_a_study_of_one_task_has_no_map(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    for layers in (1, 2):
        evaluated(folder / f"s5-{layers}", "s5", 0.5, layers=layers)
    study = data.build([folder]).study
    assert study is not None
    assert depths(study) is None


def test_only_what_is_exactly_right_is_100() -> None:
    assert [percent(share) for share in (1.0, 0.99999, 0.0)] == ["100", "99.9", "0.0"]
