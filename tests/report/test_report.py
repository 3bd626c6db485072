"""Reports as data, as a page and as files, of runs as the command line leaves them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ffprompt
from ffprompt.cli.main import main
from ffprompt.errors import FFPromptError, RunFailedError, StoreError
from ffprompt.report import data, page, samples, tables
from ffprompt.report.figures import figures, printed
from ffprompt.report.source import OUTCOMES, open_run
from tests.conftest import only_run

HOSTILE = "</script><img src=x onerror=\"document.title='broken'\"> & $x_1$ \u2028"


def made(out: Path, *words: object, model: str = "coin", code: int = 0) -> Path:
    """A run of a scripted model; returns its folder."""
    before = set(out.glob("*/run.json"))
    given = ["run", "--backend", "scripted", "--model", model, "--out", out, "--no-report", *words]
    assert main([str(word) for word in given]) == code
    (new,) = set(out.glob("*/run.json")) - before
    return new.parent


@pytest.fixture(scope="module")
def coin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """forced and list, three lengths, 20 strings each; about half of all answers are wrong."""
    words = ("--elicitation", "forced", "list", "--template", "light-switch", "--shots", 1, "--trials", 20)
    return made(tmp_path_factory.mktemp("coin"), *words)


@pytest.fixture
def broken(coin: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(coin, tmp_path / "results" / coin.name))


def info_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "run.json").read_text())
    return found


def change_info(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    info = info_of(run)
    change(info)
    (run / "run.json").write_text(json.dumps(info))


def test_a_report_repeats_the_numbers_of_the_run(coin: Path) -> None:
    found = data.build([coin])
    results = info_of(coin)["results"]
    assert len(found.rows) == len(results) == 6
    for row, result in zip(found.rows, results, strict=True):
        assert row.result.to_json() == result
    json.dumps(found.to_json(), allow_nan=False)  # plain: nothing that JSON does not have


def test_accuracy_by_gap_counts_each_read_once_in_its_bin(coin: Path) -> None:
    reads = ffprompt.load(coin).reads
    for row in data.build([coin]).rows:
        mine = reads[(reads.elicitation == row.result.elicitation) & (reads.length == row.length)]
        assert sum(point.reads for point in row.curves.gaps) == len(mine)
        for point in row.curves.gaps:
            here = mine[(mine.gap >= point.from_) & (mine.gap <= point.to)]
            assert len(here) == point.reads > 0
            assert (here.outcome == "correct").mean() == pytest.approx(point.accuracy)
            assert here.string_index.nunique() == point.strings
            assert point.low <= point.accuracy <= point.high


def test_reliability_is_of_the_answer_chosen_and_only_where_there_are_probabilities(coin: Path) -> None:
    for row in data.build([coin]).rows:
        if row.result.elicitation == "list":
            assert row.curves.reliability is None
            continue
        (point,) = row.curves.reliability.bins  # the scripted model is always equally sure
        assert point.probability == pytest.approx(0.98)
        assert point.accuracy == pytest.approx(row.result.accuracy)
        assert row.curves.reliability.ece == pytest.approx(abs(0.98 - row.result.accuracy))


def test_trials_are_shown_as_they_were_judged(coin: Path) -> None:
    found, reads = data.build([coin]), ffprompt.load(coin).reads
    assert len(found.trials) == found.trials_in_all == 120
    for trial in found.trials:
        row = found.rows[trial["row"]]
        same = (reads.elicitation == row.result.elicitation) & (reads.length == row.length)
        mine = reads[same & (reads.string_index == trial["string"])]
        assert [OUTCOMES[one] for one in trial["outcomes"]] == mine.outcome.tolist()
        assert trial["answers"] == mine.answer.tolist()
        assert [int(pair[1:]) for pair in re.findall(r"r\d", trial["text"])] == mine.truth.tolist()


def test_of_many_trials_those_with_an_error_come_first_and_from_every_condition(
    coin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "MOST_TRIALS", 12)
    found = data.build([coin])
    assert len(found.trials) == 12
    assert {trial["row"] for trial in found.trials} == set(range(6))
    assert all(any(found.trials[n]["outcomes"]) for n in range(12))
    assert "12 of 120 trials, those with an error first" in page.render(found)


def test_a_run_without_errors_does_not_take_the_place_of_one_with_errors(
    coin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "MOST_TRIALS", 30)
    found = data.build([made(tmp_path, "--length", 20, "--trials", 40, model="oracle"), coin])
    assert len(found.trials) == 30
    assert all(found.rows[trial["row"]].run == 1 and any(trial["outcomes"]) for trial in found.trials)


def test_a_sum_of_tokens_of_which_a_part_is_unknown_is_unknown(broken: Path) -> None:
    change_info(broken, lambda info: [row.update(reply_tokens=7) for row in info["results"]])
    assert data.build([broken]).runs[0].reply_tokens == 42
    change_info(broken, lambda info: info["results"][1].update(reply_tokens=None))
    assert data.build([broken]).runs[0].reply_tokens is None


def test_trials_that_do_not_fit_are_counted(coin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_TRIALS_SIZE", 5_000)
    found = data.build([coin])
    assert 3 < len(found.trials) < 60
    assert f"{len(found.trials)} of 120 trials" in page.render(found)


@given(st.lists(st.integers(0, 50), max_size=8), st.integers(0, 200))
def test_places_are_given_out_fully_and_nobody_gets_more_than_asked(wanted: list[int], room: int) -> None:
    given_out = samples.shares(wanted, room)
    assert sum(given_out) == min(room, sum(wanted))
    assert all(0 <= one <= most for one, most in zip(given_out, wanted, strict=True))


def test_prompts_are_those_sent_with_their_reads_marked(coin: Path) -> None:
    source = open_run(coin)
    for condition in source.plan.conditions:
        sent = source.plan.prompt(source.plan.batch(condition, 0, 1), 0)
        messages = samples.prompt(source, condition)
        kinds = [what for message in messages for _, what in message["pieces"] if what]
        texts = ["".join(text for text, _ in message["pieces"]) for message in messages]
        if condition.elicitation.scored_by_logprobs:
            assert texts == [sent.text]
            assert kinds == ["scored"] * len(sent.reads)
        else:
            assert texts[: len(sent.messages)] == [message.text for message in sent.messages]
            assert kinds == ["blank"] * len(sent.blanks) + ["reply"]


def test_a_dialogue_is_shown_turn_by_turn(tmp_path: Path) -> None:
    run = made(tmp_path, "--elicitation", "dialogue", "--length", 20, "--trials", 3)
    found = data.build([run])
    messages = found.prompts[0].messages
    turns = [m for m in messages if m["role"] == "assistant" and m["pieces"][0][1] == "reply"]
    assert len(turns) == len(found.trials[0]["said"]) > 0


@pytest.fixture(scope="module")
def partial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which some calls failed and some were never made."""
    run = made(tmp_path_factory.mktemp("partial"), "--length", 20, 50, "--trials", 10)
    log = run / "trials.jsonl"
    lines = log.read_text().splitlines()
    failed = {key: value for key, value in json.loads(lines[3]).items() if key not in ("reply", "stop", "answers")}
    failed |= {"error": "no answer", "outcomes": ["error"] * len(failed["outcomes"])}
    log.write_text("\n".join([*lines[:3], json.dumps(failed), *lines[4:-2]]) + "\n")
    assert main(["score", str(run)]) == 3
    return run


def test_an_incomplete_run_is_refused_with_exit_code_3(partial: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(partial)]) == 3
    assert "3 of 20 trials have no answer" in capsys.readouterr().err
    assert not (partial / "report.html").exists()


def test_an_incomplete_run_is_marked_on_every_number(partial: Path) -> None:
    found = data.build([partial], incomplete=True)
    for row in found.rows:
        assert all(cell.endswith("†") for cell in tables.cells(row)[5:])
    text = page.render(found)
    body = text[text.index("<tbody>") : text.index("</tbody>")]
    for row in found.rows:
        for number in (f"{row.result.accuracy:.4f}", f"{row.result.interval_high:.4f}", f"{row.result.reads:,}"):
            assert re.search(rf"{number}<abbr", body), number
    assert "2 were never answered and 1 failed" in text
    for figure in figures.figures(found):
        for series in figure.series:
            assert series.hollow or series.twin or series.style in ("bars", "ticks", "rule")
            assert series.style != "line" or "†" in series.name


def test_failed_calls_are_in_no_curve(partial: Path) -> None:
    (first, _) = data.build([partial], incomplete=True).rows
    assert first.result.count("error") > 0
    assert sum(point.reads for point in first.curves.gaps) == first.result.reads - first.result.count("error")


def test_a_run_without_an_answer_has_no_accuracy(tmp_path: Path) -> None:
    run = made(tmp_path, "--length", 20, "--trials", 3, model="failing", code=3)
    found = data.build([run], incomplete=True)
    assert found.rows[0].result.accuracy is None
    assert found.rows[0].curves.gaps == []
    text = page.render(found)
    assert "–, which is not 0" in text
    assert not re.search(r"\bnan\b", text[: text.index("<script")], re.IGNORECASE)
    assert "| –† |" in tables.of_rows(found.rows).markdown()


def test_an_empty_run_is_reported_as_empty(tmp_path: Path) -> None:
    run = made(tmp_path, "--length", 20, "--trials", 3)
    (run / "trials.jsonl").write_text("")
    assert main(["score", str(run)]) == 3
    with pytest.raises(RunFailedError, match="3 of 3 trials have no answer"):
        data.build([run])
    found = data.build([run], incomplete=True)
    assert found.trials == []
    assert figures.figures(found) == []
    assert "<h2>Figures</h2>" not in page.render(found)


def test_all_invalid_is_an_accuracy_of_0_with_the_reason_beside_it(tmp_path: Path) -> None:
    found = data.build([made(tmp_path, "--length", 20, "--trials", 3, model="malformed")])
    assert found.rows[0].result.accuracy == 0
    assert found.rows[0].verdict.problem is not None
    assert any("no result" in text for text in found.warnings)
    assert found.trials[0]["answers"] == [None] * len(found.trials[0]["outcomes"])
    assert found.trials[0]["why"]


def test_a_corrupt_line_is_named(broken: Path) -> None:
    lines = (broken / "trials.jsonl").read_text().splitlines()
    lines[6] = lines[6][:20]
    (broken / "trials.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(StoreError, match=r"trials\.jsonl, line 7: not JSON"):
        data.build([broken])


def test_a_results_folder_goes_without_its_broken_runs_and_names_them(
    broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = made(broken.parent, "--length", 20, "--trials", 3, model="oracle")
    (broken / "trials.jsonl").write_text("{\n")
    assert main(["report", str(broken.parent)]) == 0
    assert "line 1: not JSON" in capsys.readouterr().out
    text = (broken.parent / "report.html").read_text()
    assert "line 1: not JSON" in text
    assert good.name in text


def lose_a_line(run: Path) -> None:
    (run / "trials.jsonl").write_text("\n".join((run / "trials.jsonl").read_text().splitlines()[1:]) + "\n")


def lose_reads(run: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(run / "reads.parquet").slice(1), run / "reads.parquet")


def more_reads(run: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = pq.read_table(run / "reads.parquet")
    pq.write_table(pa.concat_tables([found, found.slice(0, 1)]), run / "reads.parquet")


def swap_outcomes(run: Path) -> None:
    import pandas as pd

    reads = pd.read_parquet(run / "reads.parquet")
    reads["outcome"] = reads["outcome"].replace({"wrong": "correct"})
    reads.to_parquet(run / "reads.parquet")


def other_count(run: Path) -> None:
    change_info(run, lambda info: info["results"][0].update(reads=7))


@pytest.mark.parametrize("damage", [lose_a_line, lose_reads, more_reads, swap_outcomes, other_count])
def test_a_table_that_is_not_that_of_the_log_is_refused(broken: Path, damage: Callable[[Path], None]) -> None:
    damage(broken)
    with pytest.raises(StoreError, match="do not agree; compute them anew with: ffprompt score"):
        data.build([broken], incomplete=True)


def test_a_run_without_a_table_says_how_to_make_one(broken: Path) -> None:
    (broken / "reads.parquet").unlink()
    with pytest.raises(StoreError, match="ffprompt score"):
        data.build([broken])


@pytest.mark.parametrize("value", [float("nan"), 1.5, -0.1, "0.5"])
def test_a_number_that_cannot_be_is_refused(broken: Path, value: object) -> None:
    change_info(broken, lambda info: info["results"][0].update(accuracy=value))
    with pytest.raises(StoreError, match=r"accuracy|damaged"):
        data.build([broken])


def put_logprob(run: Path, value: float | None) -> None:
    """Change the first log-probability of the first read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = pq.read_table(run / "reads.parquet")
    column = found["answer_logprobs"].to_pylist()
    column[0] = [value, column[0][1]]
    where = found.schema.get_field_index("answer_logprobs")
    found = found.set_column(where, "answer_logprobs", pa.array(column, pa.list_(pa.float64())))
    pq.write_table(found, run / "reads.parquet")


@pytest.mark.parametrize(("value", "message"), [(float("nan"), "is NaN"), (0.5, "at most 0 is possible")])
def test_a_probability_that_cannot_be_is_refused(broken: Path, value: float, message: str) -> None:
    put_logprob(broken, value)
    with pytest.raises(StoreError, match=message):
        data.build([broken])


def test_reads_known_only_as_bounds_are_left_out_and_counted(broken: Path) -> None:
    put_logprob(broken, None)
    made = data.build([broken])
    assert [row.curves.reliability.left_out for row in made.rows if row.curves.reliability] == [1, 0, 0]
    assert "1 read whose probabilities are only known as bounds" in page.render(made)


def test_no_run_is_a_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "no run, no training and no folder of them" in capsys.readouterr().err
    assert main(["report", str(tmp_path / "gone")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_several_runs_stand_side_by_side_and_are_never_pooled(coin: Path, tmp_path: Path) -> None:
    words = ("--elicitation", "forced", "list", "--template", "light-switch", "--shots", 1, "--trials", 20)
    other = made(tmp_path, *words, "--seed", 1)
    found = data.build([coin, other])
    assert [run.label for run in found.runs] == [f"coin ({coin.name})", f"coin ({other.name})"]
    assert len(found.rows) == 12
    assert [line.cells for line in found.side_by_side] == [[n, n + 6] for n in range(6)]
    assert any("same strings" in note for note in found.notes)
    assert data.Setting("seed", [0, 1]) in found.differing
    assert len(found.trend) == 6
    assert "Accuracy over time" in [figure.title for figure in figures.figures(found)]


def test_runs_of_one_model_on_two_tasks_are_named_by_what_they_ask(tmp_path: Path) -> None:
    words = ("--elicitation", "forced", "--shots", 0, "--trials", 20, "--length", 10, 20)
    flipflop = made(tmp_path / "f", *words, "--template", "light-switch", "explain")
    parity = made(tmp_path / "p", *words, "--task", "parity", "--template", "coin-turning", "parity-symbols")
    found = data.build([flipflop, parity])
    assert [run.label for run in found.runs] == ["coin", "coin"]
    drawn = {figure.name: figure for figure in figures.figures(found)}
    note = drawn["gap-forced"].note
    assert "Gap: instructions since the latest write or inputs so far that changed the answer." in note
    # Two templates share each floor, and the floors of the two tasks do not look alike.
    floors = [one for one in drawn["length-forced"].series if one.twin]
    assert len({one.colour for one in floors} - {None}) == len(floors) == 2


def test_the_tails_are_paired_within_a_run_and_a_condition(tmp_path: Path) -> None:
    words = ("--elicitation", "forced", "--length", 64, 128, "--p-ignore", 0.98, 0.1, 0.8, "--trials", 20)
    found = data.build([made(tmp_path, *words)])
    assert [pair.parts[-1] for pair in found.tails] == ["T=64", "T=128"]
    for pair in found.tails:
        rows = {row.p_ignore: row for row in found.rows if row.length == pair.sparse.length}
        assert pair.sparse.accuracy == rows[0.98].result.accuracy
        assert pair.dense.accuracy == rows[0.1].result.accuracy
    (drawn,) = [figure for figure in figures.figures(found) if figure.name == "tails"]
    assert [list(one.x) for one in drawn.series] == [[pair.sparse.accuracy] for pair in found.tails]


def test_every_figure_is_one_that_plotly_knows(coin: Path, partial: Path) -> None:
    import plotly.graph_objects as go

    from ffprompt.report.figures.interactive import chart

    names = set()
    for run in (coin, partial):
        for figure in figures.figures(data.build([run], incomplete=True)):
            names.add(figure.name)
            go.Figure(chart(figure))  # raises ValueError for a property it does not have
    assert names >= {"accuracy", "length-forced", "length-list", "gap-forced", "gap-list", "reliability", "outcomes"}


def test_elicitations_have_figures_of_their_own(coin: Path) -> None:
    found = data.build([coin])
    for figure in figures.figures(found):
        if figure.name.startswith(("length-", "gap-")):
            elicitation = figure.name.split("-")[1]
            mine = [row for row in found.rows if row.result.elicitation == elicitation]
            drawn = [value for one in figure.series if not one.twin for value in one.y]
            if figure.name.startswith("length-"):
                assert drawn == [row.result.accuracy for row in mine]
            else:
                assert drawn == [point.accuracy for row in mine for point in row.curves.gaps]


@pytest.mark.slow
def test_figures_and_tables_are_written_as_files(tmp_path: Path) -> None:
    run = made(tmp_path, "--elicitation", "forced", "--template", "light-switch", "--shots", 0, "--trials", 10)
    words = ["report", str(run), "-o", str(tmp_path / "r.html"), "--figures", str(tmp_path / "a")]
    assert main([*words, "--table", str(tmp_path / "t.tex")]) == 0
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert {"accuracy.png", "accuracy.svg", "reliability.png", "outcomes.svg"} <= names
    assert all((tmp_path / "a" / name).read_bytes()[:4] == b"\x89PNG" for name in names if name.endswith("png"))
    again = tmp_path / "b"
    printed.save(figures.figures(data.build([run]))[:2], again)
    assert len(list(again.iterdir())) == 6
    assert all(path.read_bytes() == (tmp_path / "a" / path.name).read_bytes() for path in again.iterdir())
    assert (tmp_path / "t.tex").read_text().count(r"\\") == 4


def test_names_are_escaped_in_every_format(coin: Path, tmp_path: Path) -> None:
    found = data.build([coin])
    hostile = [replace(row, label=HOSTILE, result=replace(row.result, template=HOSTILE)) for row in found.rows]
    found = replace(found, rows=hostile, warnings=[HOSTILE], verdicts=[replace(found.verdicts[0], model=HOSTILE)])
    assert r"\textless{}/script\textgreater{}" in tables.of_rows(found.rows).latex()
    assert r"\& \$x\_1\$" in tables.of_rows(found.rows).latex()
    assert r"\</script\>" in tables.of_rows(found.rows).markdown()
    text = page.render(found)
    assert "<img" not in text.replace(page.plotly_js(), "")
    assert "&lt;/script&gt;" in text
    (accuracies,) = [figure for figure in figures.figures(found) if figure.name == "accuracy"]
    assert HOSTILE in accuracies.subtitle
    printed.save([accuracies], tmp_path)  # $x_1$ is no formula


def test_the_page_asks_nothing_of_a_network(coin: Path) -> None:
    text = page.render(data.build([coin])).replace(page.plotly_js(), "")
    assert not re.search(r"""(src|href)=["']?(https?:|//)|@import|url\(""", text)
    assert "default-src 'none'" in text


def test_a_page_too_large_to_send_is_refused(coin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "LARGEST", 1_000_000)
    with pytest.raises(StoreError, match="more than 1,000,000"):
        page.render(data.build([coin]))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "report.pdf"], "must end in .html"),
        (["-o", "gone/report.html"], "is not there"),
        (["--table", "table.csv"], "expected a file name that ends in .tex or .md"),
    ],
)
def test_bad_names_are_one_line_and_nothing_is_written(
    coin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(coin), *words]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


RUN = ("run", "--backend", "scripted", "--model", "oracle", "--length", "10", "--trials", "3")


@pytest.mark.reports
def test_a_run_ends_with_a_report_in_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "--out", str(tmp_path)]) == 0
    path = only_run(tmp_path) / "report.html"
    assert path.stat().st_size > 1_000_000
    assert path.name in capsys.readouterr().out.replace("\n", "")


def test_no_report_writes_none(tmp_path: Path) -> None:
    assert main([*RUN, "--out", str(tmp_path), "--no-report"]) == 0
    assert not (only_run(tmp_path) / "report.html").exists()


@pytest.mark.reports
def test_without_plotly_a_run_ends_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main([*RUN, "--out", str(tmp_path)]) == 0
    assert not (only_run(tmp_path) / "report.html").exists()


@pytest.mark.reports
@pytest.mark.parametrize("error", [OSError("the disk is full"), ValueError("a slip"), MemoryError()])
def test_a_report_that_fails_does_not_fail_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(data, "build", fail)
    assert main([*RUN, "--out", str(tmp_path)]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("no report:")]
    assert said == [f"no report: {str(error) or 'MemoryError'}"]


@pytest.mark.reports
def test_an_incomplete_run_gets_a_report_that_says_so(tmp_path: Path) -> None:
    assert main([*RUN[:4], "failing", *RUN[5:], "--out", str(tmp_path)]) == 3
    assert "is not complete" in (only_run(tmp_path) / "report.html").read_text()


@pytest.mark.reports
def test_a_suite_gets_one_report_beside_its_runs(tmp_path: Path) -> None:
    suite = tmp_path / "pair.toml"
    one = '[[run]]\nbackend = "scripted"\nmodel = "{}"\nlength = 10\ntrials = 3\n'
    suite.write_text('name = "pair"\nsummary = "two"\n' + one.format("oracle") + one.format("coin"))
    assert main(["run", "--suite", str(suite), "--out", str(tmp_path / "results")]) == 0
    text = (tmp_path / "results" / "pair.html").read_text()
    assert "oracle" in text
    assert "coin" in text
    assert not list((tmp_path / "results").glob("*/report.html"))


def test_errors_of_a_report_are_of_the_tree(broken: Path) -> None:
    (broken / "run.json").write_text("{}")
    with pytest.raises(FFPromptError):
        data.build([broken])


def test_a_run_that_stopped_by_itself_is_reported_whole(tmp_path: Path) -> None:
    words = ("--template", "light-switch", "--elicitation", "forced", "--length", 20, "--trials", 5000)
    run = made(tmp_path, *words, "--certify", 0.05, model="oracle")
    found = data.build([run])
    (row,) = found.rows
    assert row.result.strings < 5000 and found.runs[0].trials == row.result.strings and not found.runs[0].incomplete
    assert found.trials_in_all == row.result.strings
    anatomy = ffprompt.anatomy(run)
    assert anatomy.complete and anatomy.conditions[0].missing_trials == 0


@pytest.mark.parametrize("change", [{"accuracy": 0.999}, {"interval_low": 0.99}, {"interval_high": 0.01}])
def test_a_table_whose_numbers_do_not_add_up_is_refused(broken: Path, change: dict[str, float]) -> None:
    change_info(broken, lambda info: info["results"][0].update(change))
    with pytest.raises(StoreError, match="do not agree"):
        data.build([broken])


def test_whose_errors_they_are_is_said(tmp_path: Path) -> None:
    words = ("--template", "light-switch", "--elicitation", "forced", "--length", 100, "--trials", 40)
    run = made(tmp_path, *words, model="copy-last-bit")
    found = data.build([run])
    assert found.rows[0].errors.rules.best == ["copy-last-bit"]
    drawn = {figure.name: figure for figure in figures.figures(found)}
    curve = drawn["by-contradictions-forced"].series[0]
    assert curve.y[0] == 1.0 and curve.y[1] < 0.8  # right wherever no ignore contradicts
    out = tmp_path / "page.html"
    assert main(["report", str(run), "-o", str(out)]) == 0
    assert "What kind of errors" in out.read_text()
