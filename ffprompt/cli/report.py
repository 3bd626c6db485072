"""``ffprompt report``: one HTML file of runs and trainings. Also the report that ends a run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ffprompt._util.formatting import counted
from ffprompt.cli.console import line
from ffprompt.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from ffprompt.report.data import Report


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``report``."""
    parser.add_argument(
        "run",
        nargs="+",
        metavar="RUN",
        help="folders of runs and of trainings, results folders and folders of a study; any number of them",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="default: report.html in the one folder named, or here")
    parser.add_argument(
        "--figures",
        metavar="DIR",
        help="also write every figure as PDF, PNG and SVG; or one to FILE.pdf",
    )
    parser.add_argument("--table", metavar="FILE", help="also write the table, as .tex (one tabular a file) or .md")
    parser.add_argument("--incomplete", action="store_true", help="also report runs that lack answers, and mark them")


def execute(options: argparse.Namespace) -> int:
    """Write a report; with ``--figures`` and ``--table`` also its figures and its table as files."""
    from ffprompt.report import data, page, tables, trainings
    from ffprompt.report.figures import figures, printed

    given = [Path(one) for one in options.run]
    trainings.find(given)  # a mistyped run is told before anything else
    out = Path(options.output) if options.output else place(given)
    if out.suffix not in (".html", ".htm"):
        raise ConfigError(f"output {out}: the file's name must end in .html")
    table = Path(options.table) if options.table else None
    target = Path(options.figures) if options.figures else None
    for path in (out, table):
        if path is not None and not path.parent.is_dir():
            raise StoreError(f"{path}: the folder {path.parent} is not there")
    if table is not None:
        tables.writable(table)
    if target is not None:
        printed.writable(target)
    made = data.build(given, options.incomplete)
    drawn = figures.figures(made) if target is not None else []
    if target is not None:
        printed.writable(target, len(drawn))
    for text in made.left_out:
        line(f"left out: {text}")
    page.write(made, out)
    line(f"{out}: {_what(made)}, {counted(out.stat().st_size, 'byte')}")
    if table is not None:
        found = tables.of_report(made)
        files = tables.write(found, table)
        # Tables that share a file are counted together.
        if len(files) == len(found):
            for file, one in zip(files, found, strict=True):
                line(f"{file}: {counted(len(one.body), 'row')}")
        else:
            line(f"{table}: {counted(sum(len(one.body) for one in found), 'row')}")
    if target is not None:
        line(f"{target}: {counted(len(printed.save(drawn, target)), 'file')}")
    return 0


def _what(made: Report) -> str:
    """What is in a report."""
    parts = [f"{counted(len(made.rows), 'condition')} of {counted(len(made.runs), 'run')}"] if made.runs else []
    if made.study:
        trainings, cells = len(made.study["trainings"]), len(made.study["cells"])
        parts.append(f"{counted(trainings, 'training')} in {counted(cells, 'cell')}")
    return ", ".join(parts)


def place(given: Sequence[Path]) -> Path:
    """Where a report goes by itself: into the one folder that was named, or here."""
    return given[0] / "report.html" if len(given) == 1 else Path("report.html")


def after(runs: Sequence[Path], out: Path, suite: str | None) -> str | None:
    """Write the report at the end of a run: in its folder, or beside the runs of a suite, which it is named after.

    Returns:
        One line that says where it is, or what went wrong, since the run itself is done. None without plotly.
    """
    import importlib.util

    if not runs or importlib.util.find_spec("plotly") is None:
        return None
    path = runs[0] / "report.html" if suite is None else out / f"{suite}.html"
    try:
        from ffprompt.report import data, page

        page.write(data.build(runs, incomplete=True, title=suite), path)
    except Exception as error:  # numbers are safe on disk, and a picture of them is not worth an exit code
        return f"no report: {' '.join(str(error).split()) or type(error).__name__}"
    return f"report: {path}"
