"""``ffprompt trend``: accuracy over all runs of a results folder, by model, condition and date."""

from __future__ import annotations

import itertools
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from ffprompt._util.formatting import counted, share, span
from ffprompt.analysis.condition_names import without_shared
from ffprompt.cli import output_flags
from ffprompt.cli.console import line, new_table, show, width
from ffprompt.cli.notes import MARK, MARKED
from ffprompt.cli.output import Output, writable
from ffprompt.comparison import gate_report
from ffprompt.comparison.trend import Trend, TrendPoint
from ffprompt.comparison.trend import trend as over_time
from ffprompt.errors import ConfigError

_LATEST = 3  # runs of each condition that are shown, unless all fit
_WIDE = 130  # columns that hold the runs' names as well
_FITTING = 18  # rows that fit one screen


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags of ``trend``."""
    parser.add_argument(
        "results", nargs="?", default="results", metavar="DIR", help="results folder (default: results)"
    )
    parser.add_argument("--model", metavar="NAME", help="show only this model")
    parser.add_argument("--csv", metavar="FILE", help="write every point as CSV")
    output_flags.add_flags(parser, "print only how the latest run of each condition differs from the one before")


def execute(options: Namespace) -> int:
    """Show accuracy over time. Returns 0."""
    output = Output.of(options)
    writable(options.csv)
    made = over_time(options.results)
    if options.model:
        points = tuple(one for one in made.points if one.model == options.model)
        if not points:
            known = ", ".join(sorted({one.model for one in made.points}))
            raise ConfigError(f"--model {options.model}: no run of it in {options.results} (there are: {known})")
        made = Trend(points, made.untold)
    if not output.is_json:
        for text in changes(made):
            line(text)
    if output.shows:
        show_trend(made, output.verbose)
    output.write(made.to_json())
    if options.csv:
        gate_report.to_csv(Path(options.csv), made.rows())
    return 0


def _blocks(made: Trend) -> list[list[TrendPoint]]:
    """The points of each model and condition, oldest first."""
    key = lambda one: (one.model, one.backend, one.condition)  # noqa: E731
    return [list(block) for _, block in itertools.groupby(made.points, key=key)]


def changes(made: Trend) -> list[str]:
    """Return one line for each model: how its latest runs differ from those before.

    Intervals that do not overlap count as a change. ``ffprompt compare`` tests it on the same reads.
    """
    said = []
    by_model = itertools.groupby(_blocks(made), key=lambda block: (block[0].model, block[0].backend))
    for (model, backend), blocks in by_model:
        repeated = [block for block in blocks if len(block) > 1]
        name = f"{model} ({backend})"
        if not repeated:
            said.append(f"{name}: one run of each condition, so nothing to set it beside")
            continue
        moved = [_moved(*block[-2:]) for block in repeated]
        counts = {kind: moved.count(kind) for kind in ("higher", "lower", "no clear change", "not comparable")}
        text = ", ".join(f"{kind} in {count}" for kind, count in counts.items() if count)
        said.append(f"{name}: latest run against the one before, {text} of {counted(len(repeated), 'condition')}")
    return said


def _moved(before: TrendPoint, now: TrendPoint) -> str:
    if before.data != now.data or before.settings != now.settings:
        return "not comparable"
    bounds = (before.interval_low, before.interval_high, now.interval_low, now.interval_high)
    if None in bounds:
        return "no clear change"
    low_before, high_before, low_now, high_now = (bound or 0.0 for bound in bounds)
    return "higher" if low_now > high_before else "lower" if high_now < low_before else "no clear change"


def show_trend(made: Trend, verbose: bool = False) -> None:
    """Print a row for each point, oldest first, or the latest few of each condition if all would not fit a screen."""
    blocks = _blocks(made)
    names, shared = without_shared([block[0].condition for block in blocks])
    if verbose or len(blocks) == 1:
        names, shared = [block[0].condition for block in blocks], ""
    latest = len(made.points) if verbose or len(made.points) <= _FITTING else _LATEST
    numbers = ("accuracy", "95% interval", "reads", "strings")
    noted = any(_notes(*pair) for block in blocks for pair in zip([None, *block], block, strict=False))
    last = ["note"] if noted else []
    run = ["run"] if verbose or width() >= _WIDE else []
    table = new_table("model", "condition", "started", *numbers, *run, *last, right=("started", *numbers))
    hidden = 0
    for block, name in zip(blocks, names, strict=True):
        hidden += max(0, len(block) - latest)
        pairs = list(zip([None, *block], block, strict=False))[-latest:]
        for before, point in pairs:
            mark = "" if point.complete else MARK
            values = [
                share(point.accuracy), span(point.interval_low, point.interval_high), f"{point.reads:,}",
                f"{point.strings:,}",
            ]  # fmt: skip
            row = [point.model, name, point.started[:16], *(value + mark for value in values)]
            row += [point.run_id] if run else []
            table.add_row(*map(escape, [*row, *([_notes(before, point)] if noted else [])]))
    if made.points:
        show(table)
    _below(made, shared, hidden)


def _below(made: Trend, shared: str, hidden: int) -> None:
    for text in _lines(made, shared, hidden):
        line(text)


def _lines(made: Trend, shared: str, hidden: int) -> Sequence[str]:
    """What stands under the table."""
    marked = [] if all(point.complete for point in made.points) else [MARKED]
    more = [f"{hidden:,} earlier points: --verbose, --csv FILE"] if hidden else []
    return [*([f"all: {shared}"] if shared else []), *more, *marked, *(f"left out: {text}" for text in made.untold)]


def _notes(before: TrendPoint | None, point: TrendPoint) -> str:
    """What a reader should know of a point beside the one before it."""
    found = [f"{counted(point.errors, 'call')} failed"] if point.errors else []
    if before is not None:
        for what in ("data", "settings"):
            if getattr(before, what) != getattr(point, what):
                found.append(f"other {what} than before")
    return ", ".join(found)
