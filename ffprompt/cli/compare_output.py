"""What the terminal shows of comparisons, gates, trends and sample sizes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from ffprompt._util.formatting import probability, share, signed
from ffprompt.cli.console import line, show
from ffprompt.comparison.baselines import Baseline
from ffprompt.comparison.compare import Comparison, ComparisonRow
from ffprompt.comparison.gate import GateCheck, GateReport
from ffprompt.comparison.power import Needed
from ffprompt.comparison.trend import Trend, TrendPoint

# At every number that rests on part of a run.
MARK = "*"
_MARKED = "* of an incomplete run: what is missing may not be missing by chance"


def comparison(made: Comparison, tests: bool = False) -> None:
    """A line a comparison: accuracies, their difference with interval and p-value, who was right alone.

    ``tests``: other tests' p-values, too.
    """
    a = {row.a for row in made.rows}
    several = len(a) > 1 or len({row.b for row in made.rows}) > 1
    if not several:
        line(f"A: {made.rows[0].a} ({made.rows[0].run_a})")
        line(f"B: {made.rows[0].b} ({made.rows[0].run_b})")
    interval = f"{100 * made.level:.12g}% interval"
    names = ["A", "B"] if several else []
    shown = _table(
        ["condition", *names],
        ["reads", "strings", "A right", "B right", "B - A", interval, "p", "p Holm", "lost", "gained"]
        + (["sign flips", "McNemar"] if tests else []),
        ["left out"],
    )
    for row in made.rows:
        shown.add_row(*map(escape, _compared(row, several, tests)))
    show(shown)
    _notes([(row.condition if not several else f"{row.condition}, {row.b}", row.warnings) for row in made.rows])
    if made.incomplete:
        line(_MARKED)
    for name in made.left_out:
        line(f"not compared, as there is nothing to compare it with: {name}")
    line(
        "right: share of these reads; interval, p: one score test with strings as clusters; the interval leaves 0 out "
        f"exactly where p is below {1 - made.level:.12g}; Holm: over all rows; lost, gained: reads that only A, only B "
        "has right" + ("; McNemar: clustered (Yang)" if tests else "")
    )


def _compared(row: ComparisonRow, several: bool, tests: bool) -> list[str]:
    found = row.difference
    numbers = [
        f"{row.n_reads:,}",
        f"{row.n_strings:,}",
        share(row.accuracy_a),
        share(row.accuracy_b),
        signed(found.estimate) if found else "None",
        f"{signed(found.low)} to {signed(found.high)}" if found else "None",
        probability(found.p if found else None),
        probability(row.p_holm),
        f"{found.lost:,}" if found else "None",
        f"{found.gained:,}" if found else "None",
    ]
    if tests:
        numbers += [probability(test.p if test else None) for test in (row.flips, row.yang)]
    numbers = [number + MARK * row.incomplete for number in numbers]
    left_out = {"call failed": row.errors, "only in A": row.only_a, "only in B": row.only_b}
    words = ", ".join(f"{count:,} {why}" for why, count in left_out.items() if count)
    return [row.condition, *([row.a, row.b] if several else []), *numbers, words]


def gated(report: GateReport) -> None:
    """A line a condition, and the verdict."""
    shown = _table(["condition", "verdict"], ["before", "now", "difference", "bounds", "reads", "strings"], ["why"])
    for check in report.checks:
        shown.add_row(*map(escape, _checked(check)))
    show(shown)
    _notes([(check.condition, check.warnings) for check in report.checks])
    for name in report.not_gated:
        line(f"not gated, as the baseline does not have it: {name}")
    for check in report.checks:
        if check.unpaired:
            line(f"{check.condition}: {check.unpaired:,} reads are in one run only")
    line(
        f"{report.verdict}: margin {report.margin:g}; one-sided bounds of the difference: the lower, for a pass, at "
        f"level {report.level:g}, the upper, for a regression among all conditions, at {report.regression_level:.6g}"
    )


def _checked(check: GateCheck) -> list[str]:
    numbers = ["None"] * 4
    if check.estimate is not None:
        numbers = [
            share(check.accuracy_baseline),
            share(check.accuracy_candidate),
            signed(check.estimate),
            f"{signed(check.low)} to {signed(check.high)}",
        ]
    return [check.condition, check.verdict, *numbers, f"{check.n_reads:,}", f"{check.n_strings:,}", check.reason]


def trend(made: Trend) -> None:
    """Blocks of one model and condition, oldest first."""
    shown = _table(["model", "condition", "started"], ["accuracy", "95% interval", "reads", "strings"], ["run", "note"])
    for _, block in itertools.groupby(made.points, key=lambda one: (one.model, one.backend, one.condition)):
        before: TrendPoint | None = None
        for point in block:
            mark = "" if point.complete else MARK
            low_high = (
                "None" if point.interval_low is None else f"{share(point.interval_low)}–{share(point.interval_high)}"
            )
            notes = [f"{point.errors:,} calls failed"] if point.errors else []
            if before is not None:
                notes += [f"other {what} than before" for what in ("data", "settings") if _differ(before, point, what)]
            numbers = [share(point.accuracy), low_high, f"{point.reads:,}", f"{point.strings:,}"]
            numbers = [number + mark for number in numbers]
            row = [point.model, point.condition, point.started[:16], *numbers, point.run_id, ", ".join(notes)]
            shown.add_row(*map(escape, row))
            before = point
    if made.points:
        show(shown)
    if not all(point.complete for point in made.points):
        line(_MARKED)
    for text in made.untold:
        line(f"left out: {text}")


def _differ(before: TrendPoint, now: TrendPoint, what: str) -> bool:
    return bool(getattr(before, what) != getattr(now, what))


def strings_needed(found: Sequence[Needed], question: str) -> None:
    """Strings a condition, and what that rests on."""
    line(question)
    shown = _table(["condition"], ["pilot reads", "pilot strings", "strings", "reads"], ["assumed"])
    for one in found:
        mark = MARK if one.incomplete else ""
        pilot = [f"{one.pilot_reads:,}{mark}", f"{one.pilot_strings:,}{mark}"]
        if one.plan is None:
            shown.add_row(*map(escape, [one.condition, *pilot, "None", "None", one.reason or ""]))
        else:
            counts = [f"{one.plan.strings:,}{mark}", f"{one.plan.reads:,}{mark}"]
            shown.add_row(*map(escape, [one.condition, *pilot, *counts, "; ".join(one.plan.notes)]))
    show(shown)
    if any(one.incomplete for one in found):
        line(_MARKED)


def baselines(found: Sequence[tuple[Baseline, str, str]]) -> None:
    """A line a run of each baseline, with what has become of it."""
    shown = _table(["suite", "baseline", "set", "run", "model and state"], [], [])
    for one, run, now in found:
        shown.add_row(*map(escape, [one.suite or "", one.name, one.set[:16], run, now]))
    show(shown)


def _table(left: Sequence[str], right: Sequence[str], last: Sequence[str]) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in left:
        shown.add_column(name, overflow="fold")
    for name in right:
        shown.add_column(name, justify="right", no_wrap=True)
    for name in last:
        shown.add_column(name, overflow="fold")
    return shown


def _notes(noted: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Each warning once, with the conditions it is about."""
    about: dict[str, list[str]] = {}
    for condition, warnings in noted:
        for warning in warnings:
            about.setdefault(warning, []).append(condition)
    for warning, conditions in about.items():
        line(f"note: {warning} ({'all conditions' if 1 < len(noted) == len(conditions) else '; '.join(conditions)})")
