"""Tables for a paper or a page: LaTeX (booktabs) or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ffprompt._util.formatting import share, span
from ffprompt._util.records import JsonObject
from ffprompt.errors import ConfigError, StoreError
from ffprompt.report import troubles
from ffprompt.report.data import Report, interval_of
from ffprompt.report.figures.series import rate
from ffprompt.report.records import ReportRow
from ffprompt.report.source import OUTCOMES
from ffprompt.report.study_cells import ERROR, certificates, certified

HEADER = ("model", "template", "shots", "asked", "language", "reads", "strings", "accuracy", "95% interval", "floor")
_NUMBERS_FROM = 5  # columns from here on are numbers
CELL_HEADER = (
    "cell", "data", "trainings", "finished", "diverged", "not ended",
    "median", "least", "most", "exactly 0", "parameters", "steps",
)  # fmt: skip
CELL_NOTE = (
    "Glitch rates after training: errors / reads of the finished trainings of a cell, which differ by their seeds "
    "alone. At most: the largest one-sided 95% bound, over strings, of the trainings without an error. " + ERROR
)
_CELL_NUMBERS_FROM = 2
_NOTHING = "–"  # no data
_NOTE = "Accuracy: correct / (reads - errors). Interval: {}. Floor: the best rule without memory on the same reads."
_DAGGER = "The run is not complete: numbers marked † are of what there is."
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "†": r"$^\dagger$", "–": "--",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
}  # fmt: skip


@dataclass(frozen=True)
class TextTable:
    """A table whose cells are text. Columns from ``numbers_from`` on are aligned to the right.

    ``name`` tells it from others of the same report. ``note`` stands below it, one statement a line.
    """

    name: str
    header: Sequence[str]
    body: Sequence[Sequence[str]]
    numbers_from: int
    note: str

    def markdown(self) -> str:
        """Return the table and its note in Markdown."""
        aligned = ["---" if n < self.numbers_from else "---:" for n in range(len(self.header))]
        head, *body = ("| " + " | ".join(map(_markdown, cells)) + " |" for cells in (self.header, *self.body))
        notes = "\n\n".join(_markdown(line) for line in self.note.splitlines())
        return "\n".join([head, "| " + " | ".join(aligned) + " |", *body]) + f"\n\n{notes}\n"

    def latex(self) -> str:
        """Return one tabular with its note as a comment above it. It needs the package booktabs."""
        columns = "l" * self.numbers_from + "r" * (len(self.header) - self.numbers_from)
        head, *body = (" & ".join(map(_tex, cells)) + r" \\" for cells in (self.header, *self.body))
        return "\n".join(
            [
                *(f"% {line}" for line in self.note.splitlines()),
                f"\\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                head,
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                "",
            ]
        )


def writable(path: Path) -> None:
    """Check the name of a file that a table is to be written to.

    Raises:
        ConfigError: It does not end in .tex or .md.
    """
    if path.suffix not in (".tex", ".md"):
        raise ConfigError(f"--table {path}: expected a file name that ends in .tex or .md")


def write(tables: Sequence[TextTable], path: Path) -> list[Path]:
    """Write tables: all into one Markdown file, or each into a LaTeX file of its own.

    The first LaTeX table is written to ``path``, and each other one beside it under its own name:
    ``table.tex`` and ``table-trainings.tex``.

    Returns:
        The files, in the order of the tables.

    Raises:
        ConfigError: The name does not end in .tex or .md.
        StoreError: A file cannot be written.
    """
    writable(path)
    if path.suffix == ".md":
        texts = {path: "\n".join(table.markdown() for table in tables)}
    else:
        texts = {
            path.with_stem(f"{path.stem}-{table.name}") if number else path: table.latex()
            for number, table in enumerate(tables)
        }
    for file, text in texts.items():
        try:
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise StoreError(f"table {file}: cannot be written ({error.strerror or error})") from error
    return list(texts)


def of_report(report: Report) -> list[TextTable]:
    """Return the tables of a report: its conditions, its trainings, or both."""
    found = [of_rows(report.rows)] if report.rows else []
    if report.study:
        note = _of_study(report.study, report.left_out)
        header = [*CELL_HEADER, *(["certificate"] if certificates(report.study) else [])]
        found.append(TextTable("trainings", header, of_cells(report.study), _CELL_NUMBERS_FROM, note))
        if report.study["troubles"]:
            found.append(of_troubles(report.study))
    return found


def of_troubles(study: JsonObject) -> TextTable:
    """Return what the monitors of a study told, when, and the errors in the end."""
    body = troubles.body(study["troubles"], study["cells"], study["sets"])
    note = troubles.CAPTION.format(study["cells"][0]["name"])
    return TextTable("troubles", troubles.header(study["sets"]), body, 2, note)


def cells(row: ReportRow) -> list[str]:
    """Return a row as text, in the order of ``HEADER`` and then one count for each outcome.

    Numbers of a run that is not complete have a dagger.
    """
    dagger, found = "†" if row.incomplete else "", row.result
    low, high = found.interval_low, found.interval_high
    interval = _NOTHING if low is None else span(low, high)
    floor = _NOTHING if found.floor is None else f"{share(found.floor)} {found.floor_rule}"
    accuracy = _NOTHING if found.accuracy is None else share(found.accuracy)
    numbers = [f"{found.reads:,}", f"{found.strings:,}", accuracy, interval, floor]
    numbers += [f"{found.count(outcome):,}" for outcome in OUTCOMES]
    texts = [row.label, found.template, str(found.shots), row.asked, found.language]
    return [*texts, *(number + dagger for number in numbers)]


def _note(rows: Sequence[ReportRow]) -> str:
    return _NOTE.format(interval_of(rows)) + (f" {_DAGGER}" if any(row.incomplete for row in rows) else "")


def of_rows(rows: Sequence[ReportRow]) -> TextTable:
    """Return the result table, without the outcomes that never occur."""
    header = [*HEADER, *OUTCOMES]
    kept = [n for n, name in enumerate(header) if n < len(HEADER) or any(row.result.count(name) for row in rows)]
    body = [[cells(row)[n] for n in kept] for row in rows]
    return TextTable("conditions", [header[n] for n in kept], body, _NUMBERS_FROM, _note(rows))


def of_cells(study: JsonObject) -> list[list[str]]:
    """A study as text, in the order of ``CELL_HEADER``: a row for each cell and data set it was evaluated on.

    A cell that was never evaluated has one row, without a data set. Where trainings have certificates, what these show
    is the last column.
    """
    rows = []
    for cell in study["cells"]:
        counts = [str(cell["trainings"]), str(cell["diverged"]), str(cell["unfinished"])]
        size = [_NOTHING if value is None else f"{value:,}" for value in (cell["parameters"], cell["steps"])]
        for data, found in cell["sets"].items() or [(_NOTHING, None)]:
            finished = found["trainings"] if found else 0
            ended = [counts[0], str(finished), *counts[1:]]
            rates = glitches(found) if finished else [_NOTHING] * 4
            certificate = [certified(found) if found else ""] if certificates(study) else []
            rows.append([cell["name"], data, *ended, *rates, *size, *(text or _NOTHING for text in certificate)])
    return rows


def glitches(found: JsonObject) -> list[str]:
    """Median, least and most glitch rate of a cell on a data set, and how many trainings made no error, as text."""
    zeros = f"{found['zeros']}" + (f" (at most {rate(found['at_most'])})" if found["zeros"] else "")
    return [*(rate(found[name]) for name in ("median", "least", "most")), zeros]


def _of_study(study: JsonObject, left_out: Sequence[str]) -> str:
    """What stands under the table of cells: what its numbers are, the cells' settings, and what is in no number."""
    told = [f"{cell['name']}: {cell['settings']}." for cell in study["cells"] if cell["settings"]]
    out = [f"Left out: {text}." for text in left_out]
    return "\n".join(" ".join(line.split()) for line in (CELL_NOTE, *told, *study["notes"], *out))


def _markdown(text: str) -> str:
    escaped = "".join(f"\\{letter}" if letter in "\\`*_[]<>|" else letter for letter in text)
    return " ".join(escaped.split())


def _tex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))
