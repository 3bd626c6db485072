"""The pictures of a diagnosis: what is in the tab, and what each figure is made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ffprompt
from ffprompt.analysis.diagnosis import examples
from ffprompt.cli.main import main
from ffprompt.errors import StoreError
from ffprompt.report import data, diagnosis, page
from ffprompt.report.figures import diagnosis_layers
from ffprompt.report.figures import figures as all_figures
from ffprompt.report.figures.diagnosis_map import RoleMap
from tests.support.browser import opened
from tests.support.pages import parsed


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that errs on sparse strings."""
    found = ffprompt.diagnose(
        "transformer-4x128", out=tmp_path_factory.mktemp("diagnosis"), length=256, p_ignore=0.98, strings=12, lens=True,
        remove=1, progress=False,
    )  # fmt: skip
    return Path(found.folder)


def test_the_tab_has_every_figure_and_no_other_part_repeats_them(run: Path) -> None:
    report = data.build([run])
    shown = parsed(page.render(report))
    drawn = [one.attributes["data-name"] for one in shown.all("div") if "chart" in one.attributes.get("class", "")]
    inside = [name for name in drawn if name.startswith("diagnosis")]
    assert {"diagnosis-map", "diagnosis-kinds", "diagnosis-mass-gap", "diagnosis-lens", "diagnosis-ablation"} <= {
        *inside
    }
    assert len(inside) == len(set(inside))
    assert "diagnosis-read" not in drawn  # the page has a browser of reads in its place
    assert "Inside" in shown.text
    assert "no evidence" not in shown.text or "--ablate" in shown.text


def test_the_map_of_a_read_divides_all_attention(run: Path) -> None:
    (one,) = data.build([run]).diagnoses
    assert any(read["wrong"] for read in one.reads)
    for read in one.reads:
        for head in range(len(read["mass"])):
            values = sum(share for _, share in read["mass"][head])
            total = values + read["first"][head] + read["rest"][head] + read["sink"][head]
            assert total <= 1010
            assert total + 2 * read["position"] >= 980  # below 2 thousandths is left out
        assert read["text"].count("w") >= 1
    figure = next(one for one in all_figures.figures(data.build([run])) if one.name == "diagnosis-read")
    assert isinstance(figure, RoleMap)
    assert len(figure.cells) == len(figure.categories)
    assert sum(cell[1] for cell in figure.cells[0] if cell) == pytest.approx(1, abs=0.2)


def test_a_heads_role_is_what_it_attends_to() -> None:
    base = {"write": 0.0, "stale": 0.0, "ignored": 0.0, "answers": 0.0, "first": 0.0, "rest": 0.0, "sink": 0.0}
    for name, shares in (
        ("write", {"write": 0.2, "first": 0.7}),
        ("first", {"write": 0.09, "first": 0.2, "sink": 0.2}),
        ("rest", {"first": 0.29, "rest": 0.7}),
        ("answers", {"write": 0.2, "answers": 0.3}),
    ):
        assert diagnosis.role({**base, **shares})[0] == name


def test_examples_name_their_strings_and_spread_over_them(run: Path) -> None:
    found = json.loads((run / examples.FILE).read_text())
    reads = ffprompt.load(run).reads
    for one in found["reads"]:
        row = reads[(reads.string_index == one["string"]) & (reads.read_index == one["read"])].iloc[0]
        assert (row.outcome == "wrong") == one["wrong"]
        assert (row.truth, row.answer, row.position) == (one["truth"], one["answer"], one["position"])
        assert row.position - row.gap == one["governing"]


def test_figures_of_layers_are_drawn_as_far_as_they_were_asked_for(run: Path) -> None:
    (one,) = data.build([run]).diagnoses
    at = {"estimate": 0.5, "low": 0.4, "high": 0.6, "reads": 3, "strings": 3}
    (condition,) = one.found["conditions"]
    condition["patching"] = {
        "pairs": 3, "groups": [{"layer": 0, "group": "write", "effect": at}],
        "heads": [{"name": "L0H1", "layer": 0, "head": 1, "effect": at}],
    }  # fmt: skip
    state = {"state": 0, "after_norm": False, "first_token": True, "effective_rank": at, "residual": at, "cosine": at}
    condition["layers"] = {"geometry": [state], "attention": [{"layer": 0, "change": at, "lazy": True}]}
    probe = {"state": 0, "at_right": at, "at_wrong": None, "everywhere": at, "control": at}
    condition["probe"] = {"trained_on": 6, "tested_on": 6, "verdict": "lost", "states": [probe]}
    drawn = {figure.name: figure for figure in diagnosis_layers.figures(one)}
    assert {"diagnosis-patching", "diagnosis-patching-heads", "diagnosis-residual", "diagnosis-lazy"} <= set(drawn)
    assert "Lazy layers, which change nothing: FFL(256, 0.98): 0" in drawn["diagnosis-lazy"].note
    assert "the bit is: lost" in drawn["diagnosis-probe"].note


def test_a_diagnosis_that_cannot_be_read_is_named(run: Path, tmp_path: Path) -> None:
    (tmp_path / "diagnosis.json").write_text("{")
    with pytest.raises(StoreError, match=r"cannot be read .*ffprompt diagnose"):
        diagnosis.read(tmp_path, "it")


def test_the_course_of_a_training_shows_when_a_head_finds_the_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "transformer", "--layers", 1, "--width", 16, "--heads", 2, "--length", 16, "--steps", 4]
    words += ["--warmup", 1, "--evaluate-every", 0, "--final-strings", 4, "--batch", 2, "--out", tmp_path / "t"]
    assert main([str(one) for one in [*words, "--keep-every", 2]]) == 0
    assert sorted(path.name for path in (tmp_path / "t" / "steps").iterdir()) == ["2.safetensors", "4.safetensors"]
    capsys.readouterr()
    assert (
        main(["diagnose", str(tmp_path / "t"), "--course", "--length", "16", "--p-ignore", "0.8", "--strings", "6"])
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["2", "4"]
    found = json.loads((tmp_path / "t" / "course.json").read_text())
    assert [step["step"] for step in found["steps"]] == [2, 4]
    (last,) = found["steps"][-1]["conditions"]
    assert last["followed_name"] == last["best"]["name"]
    assert last["followed_write"] == pytest.approx(last["best"]["write"]["estimate"])
    names = [figure.name for figure in all_figures.figures(data.build([tmp_path / "t"]))]
    assert {"training-course-t", "training-course-margin-t"} <= set(names)
    assert main(["diagnose", str(tmp_path), "--course"]) == 2


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 400])
def test_single_reads_can_be_browsed(run: Path, width: int) -> None:
    report = data.build([run])
    page.write(report, run / "report.html")
    read = next(read for read in report.diagnoses[0].reads if read["wrong"])
    with opened() as shown:
        shown.open(run / "report.html", width=width, part="diagnosis")
        assert shown.run("document.documentElement.scrollWidth") == width
        rows = "document.querySelectorAll('#read-heads tbody tr')"
        assert shown.run(f"{rows}.length") == 16
        columns = int(shown.run(f"{rows}[0].children.length"))
        for head in range(16):
            total = f"[...{rows}[{head}].children].slice(1).reduce((sum, cell) => sum + parseFloat(cell.title), 0)"
            percent = shown.run(total)
            kept = read["first"][head] + read["sink"][head] + read["rest"][head] + sum(s for _, s in read["mass"][head])
            assert percent == pytest.approx(kept / 10, abs=0.01)
            assert 98 - 0.2 * read["position"] <= percent <= 101  # an instruction below 0.2 % is left out
        told = "document.getElementById('read-told').textContent"
        assert "which is wrong" in shown.run(told)
        assert shown.run("document.getElementById('read-next').disabled")  # the run has one wrong read
        shown.run("document.getElementById('read-all').click()")
        assert shown.run(f"{rows}[0].children.length") > columns
        shown.choose("read-kind", "right")
        first = shown.run(told)
        assert "which is right" in first
        shown.run("document.getElementById('read-next').click()")
        assert shown.run(told) != first
        shown.run("document.getElementById('read-before').click()")
        assert shown.run(told) == first
        assert shown.complaints == []
