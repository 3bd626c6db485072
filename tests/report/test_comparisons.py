"""A comparison as a table and as a figure holds the numbers of the comparison, and names each line by what differs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from ffprompt._util.formatting import signed
from ffprompt.comparison.compare import Comparison, ComparisonRow, compare
from ffprompt.errors import ConfigError, StoreError
from ffprompt.report import tables
from ffprompt.report.comparisons import comparison_figure, comparison_table, warnings_of
from ffprompt.report.figures import printed
from ffprompt.report.labels import apart, parts_of
from tests.report.test_report import made


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Two models at two lengths and two ways of asking, the worse one second."""
    words = ("--elicitation", "forced", "list", "--template", "light-switch", "--length", 20, 40, "--trials", 30)
    out = tmp_path_factory.mktemp("compared")
    return compare([made(out / name, *words, "--shots", 0, model=name) for name in ("oracle", "glitch-0.3")])


def cells_of(text: str) -> list[list[str]]:
    """The cells of a Markdown table, its header first."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    return [[cell.strip().replace("\\", "") for cell in line.strip("|").split("|")] for line in lines]


def test_a_table_has_a_line_for_each_condition_with_its_numbers(compared: Comparison) -> None:
    header, *lines = cells_of(comparison_table(compared).markdown())
    assert len(lines) == len(compared.rows) == 4
    for line, row in zip(lines, compared.rows, strict=True):
        found = dict(zip(header, line, strict=True))
        assert row.difference is not None
        assert found["condition"] == row.condition
        assert found["B - A"] == signed(row.difference.estimate)
        assert found["95% interval"] == f"{signed(row.difference.low)} to {signed(row.difference.high)}"
        assert (found["lost"], found["gained"]) == (str(row.difference.lost), str(row.difference.gained))
    assert compared.rows[0].run_a in comparison_table(compared).note


def test_several_pairs_of_sides_are_named_in_the_lines(compared: Comparison) -> None:
    first, *rest = compared.rows
    several = replace(compared, rows=(replace(first, b="other"), *rest))
    header, line, *_ = cells_of(comparison_table(several).markdown())
    assert header[1:3] == ["A", "B"]
    assert line[1:3] == ["oracle", "other"]
    assert comparison_figure(several).categories[0].startswith("other less oracle, ")


def without_reads(row: ComparisonRow) -> ComparisonRow:
    return replace(row, difference=None, accuracy_a=None, accuracy_b=None, n_reads=0, n_strings=0)


def test_a_line_without_a_common_read_has_no_numbers_and_no_point(compared: Comparison) -> None:
    first, *rest = compared.rows
    partly = replace(compared, rows=(without_reads(first), *(replace(row, incomplete=True) for row in rest)))
    _, line, other, *_ = cells_of(comparison_table(partly).markdown())
    assert line[3:] == ["–"] * 8
    assert all(cell.endswith("†") for cell in other[1:])
    (series,) = comparison_figure(partly).series
    assert series.hollow and len(series.x) == 3


def test_a_figure_has_the_differences_their_intervals_and_a_line_at_none(compared: Comparison) -> None:
    figure = comparison_figure(compared)
    (series,) = figure.series
    found = [row.difference for row in compared.rows if row.difference]
    assert list(series.x) == [one.estimate for one in found]
    assert (series.x_low, series.x_high) == ([one.low for one in found], [one.high for one in found])
    assert figure.x_mark == 0
    assert figure.categories == ["forced, T=20", "forced, T=40", "list, T=20", "list, T=40"]
    assert figure.subtitle.startswith("glitch-0.3 less oracle, light-switch, 0-shot")


def test_warnings_that_differ_in_numbers_alone_are_one_line(compared: Comparison) -> None:
    rows = [replace(row, warnings=(f"few strings: {n}",)) for n, row in enumerate(compared.rows, 7)]
    assert warnings_of(replace(compared, rows=tuple(rows))) == ["few strings: 7 (all lines, with other numbers)"]
    rows[1:] = [replace(row, warnings=()) for row in rows[1:]]
    assert warnings_of(replace(compared, rows=tuple(rows))) == ["few strings: 7 (forced, T=20)"]


@pytest.mark.parametrize("kind", ["pdf", "png", "svg"])
def test_one_figure_goes_into_the_file_that_is_named(compared: Comparison, tmp_path: Path, kind: str) -> None:
    figure, target = comparison_figure(compared), tmp_path / f"fig.{kind}"
    assert printed.save([figure], target) == [target]
    assert target.read_bytes()[:4] in (b"%PDF", b"\x89PNG", b"<?xm")
    first = target.read_bytes()
    printed.save([figure], target)
    assert target.read_bytes() == first  # the same data give the same file


def test_a_folder_gets_each_figure_in_every_kind(compared: Comparison, tmp_path: Path) -> None:
    files = printed.save([comparison_figure(compared)], tmp_path / "figures")
    assert sorted(path.name for path in files) == ["comparison.pdf", "comparison.png", "comparison.svg"]


@pytest.mark.parametrize(
    ("name", "count", "what"),
    [
        ("fig.pdf", 2, r"fig.pdf: one file holds one figure, and there are 2; .* such as .*fig$"),
        ("fig.jpg", 1, r"fig.jpg: expected a folder, or the name of one file that ends in .pdf or .png or .svg"),
    ],
)
def test_a_name_that_figures_do_not_fit_is_refused(
    compared: Comparison, tmp_path: Path, name: str, count: int, what: str
) -> None:
    with pytest.raises(ConfigError, match=what):
        printed.save([comparison_figure(compared)] * count, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_taken_for_a_file_nor_a_file_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "fig.pdf").mkdir()
    (tmp_path / "figures").write_text("")
    for name in ("fig.pdf", "figures", "gone/fig.pdf"):
        with pytest.raises(StoreError, match=name):
            printed.writable(tmp_path / name)


def test_each_latex_file_holds_one_tabular(compared: Comparison, tmp_path: Path) -> None:
    table = comparison_table(compared)
    files = tables.write([table, replace(table, name="again")], tmp_path / "t.tex")
    assert [file.name for file in files] == ["t.tex", "t-again.tex"]
    for file in files:
        text = file.read_text()
        assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
        assert text.count(r"\\") == 5
        assert all(line.count("&") == 10 for line in re.findall(r".*\\\\", text))


def test_names_hold_what_differs_and_are_never_the_same() -> None:
    assert apart([("a", "x", "T=1"), ("b", "x", "T=1")]) == (["a", "b"], "x, T=1")
    assert apart([("a", "x"), ("a", "x")]) == (["a, x", "a, x (2)"], "a, x")
    assert apart([("list", "chat"), ("forced", "completion")])[0] == ["list", "forced"]
    assert apart([("list", "chat"), ("list", "completion")])[0] == ["chat", "completion"]
    assert apart([]) == ([], "")
    assert parts_of("game, FFL(4, 0.1, 0.2, 0.7)") == ["game", "FFL", "T=4", "p=0.1/0.2/0.7"]
    assert parts_of("game, file(12)") == ["game", "file", "T=12", ""]
