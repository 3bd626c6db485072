"""The page: one HTML file that holds all it needs and asks nothing of a network.

Jinja2 escapes whatever is put into it; trials travel as JSON and are shown as text by the page's script. The policy in
its head forbids every request, so that a slip could not send anything either.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from ffprompt._util.extras import needs
from ffprompt._util.formatting import duration, share
from ffprompt._util.records import JsonObject
from ffprompt._util.storage import write_atomically
from ffprompt.errors import StoreError
from ffprompt.report.figures.figures import figures
from ffprompt.report.figures.interactive import chart, plotly_js
from ffprompt.report.figures.palette import OUTCOMES as COLOURS
from ffprompt.report.figures.series import rate
from ffprompt.report.source import OUTCOMES
from ffprompt.report.study_cells import ERROR
from ffprompt.report.wording import REPEATS, repeated, traced

LARGEST = 15_000_000  # bytes
_MOST_RECORDS = 50  # trainings whose record is in the page
_MOST_PROVENANCE = 40_000  # characters of a run's record


def render(data: JsonObject) -> str:
    """The page as text. Raises ModelError where plotly is not installed, StoreError for one larger than 15 MB."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    try:
        library = plotly_js()
    except ImportError as error:
        raise needs("a report", "report", error) from error
    files = resources.files("ffprompt.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "share": share,
        "record": _record,
        "duration": duration,
        "rate": rate,
        "repeated": lambda row: [*repeated(row), *traced(row)],
    }
    shown = figures(data)
    page = environment.from_string((files / "page.html.j2").read_text(encoding="utf-8")).render(
        data=data,
        rows=data["rows"],
        runs=data["runs"],
        study=data["study"],
        error_of_training=ERROR,
        repeats_legend=REPEATS,
        figures=shown,
        most_records=_MOST_RECORDS,
        outcomes=OUTCOMES,
        colours=COLOURS,
        style=Markup((files / "page.css").read_text(encoding="utf-8")),
        script=Markup((files / "page.js").read_text(encoding="utf-8")),
        library=Markup(library),
        charts=_json({figure.name: chart(figure) for figure in shown}),
        trials=_json(
            {
                "outcomes": OUTCOMES,
                "trials": data["trials"],
                "names": [row["name"] for row in data["rows"]],
                "letters": [row["letters"] for row in data["rows"]],
            }
        ),
    )
    if (size := len(page.encode())) > LARGEST:
        raise StoreError(f"report: {size:,} bytes, more than {LARGEST:,}; give it fewer runs")
    return page


def _json(value: Any) -> Any:
    """JSON for a script element, which nothing in it can end: ``<``, ``>`` and ``&`` are written as escapes."""
    from markupsafe import Markup

    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def _record(run: JsonObject) -> str:
    text = json.dumps(run["provenance"], indent=2, ensure_ascii=False)
    if len(text) <= _MOST_PROVENANCE:
        return text
    return f"{text[:_MOST_PROVENANCE]}\n… {len(text) - _MOST_PROVENANCE:,} more characters are in run.json"


def write(data: JsonObject, path: Path) -> None:
    """Write the page, replacing an earlier one in one step. Raises ModelError, StoreError."""
    text = render(data)
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise StoreError(f"report {path}: cannot be written ({error.strerror or error})") from error
