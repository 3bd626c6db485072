"""The result table for a paper or a page: LaTeX (booktabs) or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ffprompt._util.formatting import share
from ffprompt._util.records import JsonObject
from ffprompt.errors import ConfigError, StoreError
from ffprompt.report.data import interval_of
from ffprompt.report.figures.series import rate
from ffprompt.report.source import OUTCOMES
from ffprompt.report.study_cells import ERROR

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


def writable(path: Path) -> None:
    """Raise ConfigError where a table cannot be of the file's kind."""
    if path.suffix not in (".tex", ".md"):
        raise ConfigError(f"table {path}: the file's name must end in .tex or .md")


def save(data: JsonObject, path: Path) -> None:
    """Write the table of a report. Raises ConfigError for a name that does not end in .tex or .md, StoreError."""
    writable(path)
    written = _in_latex if path.suffix == ".tex" else _in_markdown
    parts = [written(*_shown(data["rows"]), _NUMBERS_FROM, _note(data["rows"]))] if data["rows"] else []
    if data["study"]:
        parts.append(written(CELL_HEADER, of_cells(data["study"]), _CELL_NUMBERS_FROM, _of_study(data)))
    text = "\n".join(parts)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"table {path}: cannot be written ({error.strerror or error})") from error


def cells(row: JsonObject) -> list[str]:
    """A row as text, in the order of ``HEADER`` and then one count for each outcome; † where it is not complete."""
    dagger = "†" if row["incomplete"] else ""
    low, high = row["interval_low"], row["interval_high"]
    interval = _NOTHING if low is None else f"{share(low)}–{share(high)}"
    floor = _NOTHING if row["floor"] is None else f"{share(row['floor'])} {row['floor_rule']}"
    accuracy = _NOTHING if row["accuracy"] is None else share(row["accuracy"])
    numbers = [f"{row['reads']:,}", f"{row['strings']:,}", accuracy, interval, floor]
    numbers += [f"{row['outcomes'].get(outcome, 0):,}" for outcome in OUTCOMES]
    texts = [row["label"], row["template"], str(row["shots"]), row["asked"], row["language"]]
    return [*texts, *(number + dagger for number in numbers)]


def _note(rows: Sequence[JsonObject]) -> str:
    return _NOTE.format(interval_of(rows)) + (f" {_DAGGER}" if any(row["incomplete"] for row in rows) else "")


def _shown(rows: Sequence[JsonObject]) -> tuple[list[str], list[list[str]]]:
    """Header and rows, without the outcomes that never occur."""
    header = [*HEADER, *OUTCOMES]
    kept = [n for n, name in enumerate(header) if n < len(HEADER) or any(r["outcomes"].get(name) for r in rows)]
    return [header[n] for n in kept], [[cells(row)[n] for n in kept] for row in rows]


def markdown(rows: Sequence[JsonObject]) -> str:
    """The table in Markdown."""
    return _in_markdown(*_shown(rows), _NUMBERS_FROM, _note(rows))


def latex(rows: Sequence[JsonObject]) -> str:
    """The table in LaTeX; it needs the package booktabs."""
    return _in_latex(*_shown(rows), _NUMBERS_FROM, _note(rows))


def of_cells(study: JsonObject) -> list[list[str]]:
    """A study as text, in the order of ``CELL_HEADER``: a row for each cell and data set it was evaluated on.

    A cell that was never evaluated has one row, without a data set.
    """
    rows = []
    for cell in study["cells"]:
        counts = [str(cell["trainings"]), str(cell["diverged"]), str(cell["unfinished"])]
        size = [_NOTHING if value is None else f"{value:,}" for value in (cell["parameters"], cell["steps"])]
        for data, found in cell["sets"].items() or [(_NOTHING, None)]:
            finished = found["trainings"] if found else 0
            ended = [counts[0], str(finished), *counts[1:]]
            rows.append([cell["name"], data, *ended, *(glitches(found) if finished else [_NOTHING] * 4), *size])
    return rows


def glitches(found: JsonObject) -> list[str]:
    """Median, least and most glitch rate of a cell on a data set, and how many trainings made no error, as text."""
    zeros = f"{found['zeros']}" + (f" (at most {rate(found['at_most'])})" if found["zeros"] else "")
    return [*(rate(found[name]) for name in ("median", "least", "most")), zeros]


def _of_study(data: JsonObject) -> str:
    """What stands under the table of cells: what its numbers are, the cells' settings, and what is in no number."""
    study = data["study"]
    told = [f"{cell['name']}: {cell['settings']}." for cell in study["cells"] if cell["settings"]]
    out = [f"Left out: {text}." for text in data["left_out"]]
    return "\n".join(" ".join(line.split()) for line in (CELL_NOTE, *told, *study["notes"], *out))


def _markdown(text: str) -> str:
    escaped = "".join(f"\\{letter}" if letter in "\\`*_[]<>|" else letter for letter in text)
    return " ".join(escaped.split())


def _in_markdown(header: Sequence[str], body: Sequence[Sequence[str]], numbers_from: int, note: str) -> str:
    lines = [header, ["---" if n < numbers_from else "---:" for n in range(len(header))], *body]
    table = "\n".join("| " + " | ".join(_markdown(cell) for cell in line) + " |" for line in lines)
    notes = "\n\n".join(_markdown(line) for line in note.splitlines())
    return f"{table}\n\n{notes}\n"


def _in_latex(header: Sequence[str], body: Sequence[Sequence[str]], numbers_from: int, note: str) -> str:
    columns = "l" * numbers_from + "r" * (len(header) - numbers_from)
    lines = [" & ".join(_tex(cell) for cell in line) + r" \\" for line in (header, *body)]
    parts = [
        *(f"% {line}" for line in note.splitlines()),
        f"\\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        lines[0],
        r"\midrule",
        *lines[1:],
    ]
    return "\n".join([*parts, r"\bottomrule", r"\end{tabular}", ""])


def _tex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))
