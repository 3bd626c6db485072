"""The page: one HTML file that holds all it needs and asks nothing of a network.

Jinja2 escapes whatever is put into it. Trials travel as JSON and are shown as text by the page's script. The policy in
its head forbids every request, so that a slip could not send anything either.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from ffprompt._util.extras import needs
from ffprompt._util.formatting import counted, duration, share
from ffprompt._util.records import JsonObject
from ffprompt._util.storage import write_atomically
from ffprompt.analysis.condition_names import name_rows
from ffprompt.analysis.rule_meanings import meaning
from ffprompt.errors import StoreError
from ffprompt.report import diagnosis
from ffprompt.report.comparisons import comparison_table
from ffprompt.report.data import Report
from ffprompt.report.figures.diagnosis_map import NAMES, SHADES
from ffprompt.report.figures.figures import figures, summary
from ffprompt.report.figures.interactive import chart, plotly_js
from ffprompt.report.figures.palette import OUTCOMES as COLOURS
from ffprompt.report.figures.series import Figure, rate
from ffprompt.report.records import ReportRow
from ffprompt.report.source import OUTCOMES
from ffprompt.report.study_cells import BESIDE_RUNS, ERROR, certificates, certified
from ffprompt.report.tables import of_troubles
from ffprompt.report.wording import REPEATS, repeated, traced
from ffprompt.scoring.condition_result import ConditionResult

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

LARGEST = 15_000_000  # bytes
_MOST_RECORDS = 50  # trainings whose record is in the page
_MOST_PROVENANCE = 40_000  # characters of a run's record
_MOST_WARNINGS = 6  # lines before the first number, beyond which they are folded
_MOST_OPEN = 16  # rows of several models that are not folded


def render(report: Report) -> str:
    """Return the page as text.

    Raises:
        ModelError: plotly is not installed.
        StoreError: The page is larger than 15 MB.
    """
    from markupsafe import Markup

    try:
        library = plotly_js()
    except ImportError as error:
        raise needs("a report", "report", error) from error
    drawn = figures(report)
    page = _template().render(
        **_numbers(report),
        **_drawings(report, drawn),
        **_inside(report, drawn),
        style=Markup(_file("page.css")),
        script=Markup(_file("page.js")),
        library=Markup(library),
        charts=_json({figure.name: chart(figure) for figure in drawn}),
        trials=_json(
            {
                "outcomes": OUTCOMES,
                "trials": report.trials,
                "names": [row.name for row in report.rows],
                "letters": [dict(row.letters) for row in report.rows],
            }
        ),
    )
    if (size := len(page.encode())) > LARGEST:
        raise StoreError(f"report: {size:,} bytes, more than {LARGEST:,}; give it fewer runs")
    return page


def _template() -> Template:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_file), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "share": share,
        "record": _record,
        "counted": counted,
        "duration": duration,
        "rate": rate,
        "repeated": _repeated,
        "diagnosis_table": diagnosis.table,
        "diagnosis_warnings": diagnosis.warnings,
    }
    return environment.get_template("page.html.j2")


def _file(name: str) -> str:
    return (resources.files("ffprompt.report") / name).read_text(encoding="utf-8")


def _numbers(report: Report) -> dict[str, object]:
    """What the page's tables and sentences are made of."""
    names = name_rows([(row.label, row.result) for row in report.rows])
    rules = dict.fromkeys(fit.rule for row in report.rows for fit in row.errors.rules.rules)
    return {
        "data": report,
        "rows": report.rows,
        "runs": report.runs,
        "study": report.study,
        "models": _models(report.rows, names.rows),
        "shared": names.shared,
        "most_warnings": _MOST_WARNINGS,
        "most_open": _MOST_OPEN,
        "most_records": _MOST_RECORDS,
        "meanings": [(rule, meaning(rule)) for rule in rules],
        "statistics": _statistics(report.rows),
        "alone": _alone(report),
        "error_of_training": ERROR,
        "certified": certified,
        "certificates": report.study is not None and certificates(report.study),
        "troubles": of_troubles(report.study) if report.study and report.study["troubles"] else None,
        "beside_runs": BESIDE_RUNS,
        "repeats_legend": REPEATS,
        "outcomes": OUTCOMES,
        "colours": COLOURS,
    }


def _drawings(report: Report, drawn: Sequence[Figure]) -> dict[str, object]:
    """Where each figure stands: on the first screen, beside a comparison, or among the others."""
    first = summary(report) if report.rows else None
    compared = [
        (comparison_table(made), figure)
        for made, figure in zip(report.comparisons, _named(drawn, "comparison"), strict=True)
    ]
    elsewhere = {first.name if first else "", *(figure.name for _, figure in compared)}
    elsewhere |= {figure.name for figure in _named(drawn, "diagnosis")}
    others = [figure for figure in drawn if figure.name not in elsewhere]
    beside = bool(compared or report.not_compared or report.side_by_side or report.differing)
    return {
        "first": first if first and first.name in {figure.name for figure in drawn} else None,
        "comparisons": compared,
        "figures": others,
        "charted": bool(drawn),
        "beside": beside,
        "tabs": _tabs(report, beside, bool(others)),
    }


def _inside(report: Report, drawn: Sequence[Figure]) -> dict[str, object]:
    """What the tab of diagnoses is made of."""
    from markupsafe import Markup

    return {
        "diagnosis_figures": [
            figure for figure in _named(drawn, "diagnosis") if not _named([figure], "diagnosis-read")
        ],
        "diagnoses": _json({"shades": SHADES, "runs": [{**one.to_json(), "found": None} for one in report.diagnoses]}),
        "role_names": NAMES,
        "diagnosis_style": Markup(_file("diagnosis.css")),
        "diagnosis_script": Markup(_file("diagnosis.js")),
    }


def _named(drawn: Sequence[Figure], name: str) -> list[Figure]:
    return [figure for figure in drawn if figure.name == name or figure.name.startswith(f"{name}-")]


def _tabs(report: Report, beside: bool, figures: bool) -> list[tuple[str, str]]:
    """The parts of the page that can be chosen: the name of each, and its title."""
    rows = bool(report.rows)
    parts = [
        ("summary", "Summary", rows), ("results", "Every number", rows), ("comparison", "Comparison", beside),
        ("diagnosis", "Inside", bool(report.diagnoses)), ("trainings", "Trainings", bool(report.study)),
        ("figures", "Figures", figures), ("anatomy", "Errors", rows),
        ("trials", "Trials", rows), ("prompts", "Prompts", rows), ("runs", "Runs", rows),
    ]  # fmt: skip
    return [(name, title) for name, title, there in parts if there]


def _models(rows: Sequence[ReportRow], names: Sequence[str]) -> list[tuple[str, list[tuple[ReportRow, str]]]]:
    """The rows of each model with their short names, under its label."""
    models: dict[str, list[tuple[ReportRow, str]]] = {}
    for row, name in zip(rows, names, strict=True):
        models.setdefault(row.label, []).append((row, name))
    return list(models.items())


def _alone(report: Report) -> list[str]:
    """Labels of the runs that have no condition in common with another one, where there is a table of such."""
    if not report.side_by_side:
        return []
    return [run.label for place, run in enumerate(report.runs) if place not in report.shown_beside]


def _statistics(rows: Sequence[ReportRow]) -> list[str]:
    """What the statistics say of some rows' intervals, each once, with the number of rows."""
    counts = Counter(text for row in rows for text in row.result.warnings)
    return [f"{text} ({count} of {counted(len(rows), 'row')})" for text, count in counts.items()]


def _json(value: object) -> Markup:
    """JSON for a script element, which nothing in it can end: ``<``, ``>`` and ``&`` are written as escapes."""
    from markupsafe import Markup

    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def _repeated(row: ConditionResult) -> list[str]:
    return [*repeated(row), *traced(row)]


def _record(provenance: JsonObject) -> str:
    text = json.dumps(provenance, indent=2, ensure_ascii=False)
    if len(text) <= _MOST_PROVENANCE:
        return text
    return f"{text[:_MOST_PROVENANCE]}\n… {len(text) - _MOST_PROVENANCE:,} more characters are in run.json"


def write(report: Report, path: Path) -> None:
    """Write the page, replacing an earlier one in one step.

    Raises:
        ModelError: plotly is not installed.
        StoreError: The page is too large, or the file cannot be written.
    """
    text = render(report)
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise StoreError(f"report {path}: cannot be written ({error.strerror or error})") from error
