"""A comparison as a table and as a figure: B's accuracy less A's, condition by condition, on the same reads."""

from __future__ import annotations

import re

from ffprompt._util.formatting import counted, probability, share, signed
from ffprompt.comparison.compare import Comparison, ComparisonRow
from ffprompt.report.figures.series import MOST_BARS, Figure, Series, fewer, marked
from ffprompt.report.labels import apart, parts_of
from ffprompt.report.tables import TextTable

_NUMBER = re.compile(r"[\d.,]*\d")
_NOTHING = "–"  # no data
_DAGGER = "†: the run is not complete, and what is missing may not be missing by chance."


def comparison_table(made: Comparison) -> TextTable:
    """Return a comparison as a table for a paper or a page: a line for each condition.

    Its columns are those of ``ffprompt compare``. Where every line is about the same two sides, A and B are named in
    the note, and otherwise in columns. ``tables.write`` writes it to a file.
    """
    several = _several(made)
    interval = f"{100 * made.level:.12g}% interval"
    sides = ["A", "B"] if several else []
    numbers = [
        "reads", "strings", "A right", "B right", "B - A", interval, "p", "p Holm", "lost", "gained",
    ]  # fmt: skip
    body = []
    for row in made.rows:
        dagger = "†" if row.incomplete else ""
        names = [row.condition, *([row.a, row.b] if several else [])]
        body.append([*names, *(number + dagger for number in _numbers(row))])
    return TextTable("comparison", ["condition", *sides, *numbers], body, 1 + len(sides), _note(made))


def _numbers(row: ComparisonRow) -> list[str]:
    found = row.difference
    counts = [f"{row.n_reads:,}", f"{row.n_strings:,}"]
    if found is None or row.accuracy_a is None or row.accuracy_b is None:
        return [*counts, *[_NOTHING] * 8]
    return [
        *counts, share(row.accuracy_a), share(row.accuracy_b), signed(found.estimate),
        f"{signed(found.low)} to {signed(found.high)}", probability(found.p), probability(row.p_holm),
        f"{found.lost:,}", f"{found.gained:,}",
    ]  # fmt: skip


def _several(made: Comparison) -> bool:
    """Whether the lines are about more than one pair of sides."""
    return len({(row.a, row.b) for row in made.rows}) > 1


def _note(made: Comparison) -> str:
    lines = (
        []
        if _several(made)
        else [f"A: {made.rows[0].a} ({made.rows[0].run_a}). B: {made.rows[0].b} ({made.rows[0].run_b})."]
    )
    lines.append(
        f"Right: share of the reads that both answered. {_method(made)} p Holm: adjusted for the number of "
        "lines that are tested. Lost and gained: reads that only A or only B has right."
    )
    if made.incomplete:
        lines.append(_DAGGER)
    lines += [f"{text}." for text in warnings_of(made)]
    return "\n".join(lines)


def _method(made: Comparison) -> str:
    methods = dict.fromkeys(row.difference.method for row in made.rows if row.difference)
    return f"Interval and p: {' or '.join(methods) or 'none'}, with strings as clusters."


def warnings_of(made: Comparison) -> list[str]:
    """Return the warnings of a comparison, one line for those that differ in nothing but their numbers."""
    kinds: dict[str, list[tuple[str, str]]] = {}
    for row, name in zip(made.rows, _short_names(made)[0], strict=True):
        for warning in row.warnings:
            kinds.setdefault(_NUMBER.sub("#", warning), []).append((warning, name))
    found = []
    for group in kinds.values():
        text, name = group[0]
        if len(group) > 1:
            name = "all lines" if len(group) == len(made.rows) else f"{name} and {len(group) - 1} more lines"
            name += "" if len({warning for warning, _ in group}) == 1 else ", with other numbers"
        found.append(text if len(made.rows) == 1 else f"{text} ({name})")
    return found


def _short_names(made: Comparison) -> tuple[list[str], str]:
    """The lines' names by what differs between them, and what they share. Sides that differ are part of the name."""
    parts = [[f"{row.b} less {row.a}", *parts_of(row.condition)] for row in made.rows]
    most = max(map(len, parts), default=0)  # what is compared by is left out of some names
    return apart([[*one, *[""] * (most - len(one))] for one in parts])


def comparison_figure(made: Comparison) -> Figure:
    """Return the figure of a comparison: a point for each condition, its interval, and a line at no difference.

    ``printed.save`` writes it as a file, and a report draws it on its page.
    """
    plain, shared = _short_names(made)
    rows = [(row, name) for row, name in zip(made.rows, plain, strict=True) if row.difference is not None]
    shown = rows[:MOST_BARS]
    names = [marked(name, row.incomplete) for row, name in shown]
    series = []
    for incomplete in (False, True):
        here = [(row, name) for (row, _), name in zip(shown, names, strict=True) if row.incomplete == incomplete]
        differences = [row.difference for row, _ in here if row.difference]
        if here:
            series.append(
                Series(
                    "not complete †" if incomplete else f"difference, {100 * made.level:.12g}% interval",
                    [one.estimate for one in differences],
                    [name for _, name in here],
                    "points",
                    0,
                    x_low=[one.low for one in differences],
                    x_high=[one.high for one in differences],
                    hover=[_describe(row) for row, _ in here],
                    hollow=incomplete,
                )
            )
    note = f"{_method(made)} Right of the line B is right more often."
    if not _several(made):
        note = f"A: {made.rows[0].a}. B: {made.rows[0].b}. {note}"
    return Figure(
        "comparison", "Difference of accuracy", fewer(note, len(shown), len(rows), "lines"),
        "accuracy of B less that of A", "", series, categories=names, subtitle=shared, x_mark=0.0,
    )  # fmt: skip


def _describe(row: ComparisonRow) -> str:
    found = row.difference
    assert found is not None
    return (
        f"{row.condition}\nA: {row.a}, right {share(row.accuracy_a)}\nB: {row.b}, right {share(row.accuracy_b)}\n"
        f"B less A {signed(found.estimate)} ({signed(found.low)} to {signed(found.high)}), p {probability(found.p)}\n"
        f"{counted(row.n_reads, 'read')} of {counted(row.n_strings, 'string')}"
        + ("\n† not complete" if row.incomplete else "")
    )
