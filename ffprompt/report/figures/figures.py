"""The figures of a report as data: which series, which axes. Two renderers draw them, for the page and as files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ffprompt._util.formatting import counted, share
from ffprompt.analysis.accuracy import AccuracyBin
from ffprompt.report.comparisons import comparison_figure
from ffprompt.report.data import Report
from ffprompt.report.figures.attention import attention_maps
from ffprompt.report.figures.diagnosis import figures as of_diagnoses
from ffprompt.report.figures.diagnosis_course import figures as of_courses
from ffprompt.report.figures.error_kinds import error_kinds
from ffprompt.report.figures.error_rates import by_length as errors_by_length
from ffprompt.report.figures.lengths import by_length, overview
from ffprompt.report.figures.series import (
    FLOOR,
    MOST_BARS,
    MOST_CURVES,
    MOST_WITH_BARS,
    Figure,
    Series,
    aside,
    barless,
    describe,
    fewer,
    marked,
    numbered,
    some_of,
)
from ffprompt.report.figures.shift import by_probability
from ffprompt.report.figures.trainings import figures as of_trainings
from ffprompt.report.labels import apart
from ffprompt.report.records import ReportRow, name_apart
from ffprompt.report.series import Tails, Trend
from ffprompt.report.source import OUTCOMES

_GAP_NONE = 0.5  # where a gap of 0 stands on the logarithmic axis


def figures(report: Report) -> list[Figure]:
    """Return all figures that a report gives, the most telling first. One without a point is left out."""
    found = [summary(report)]
    if report.study:
        found += [*of_trainings(report.study), *of_courses(report.study)]
        found += [by_probability(report.study), *error_kinds(report.study), *attention_maps(report.study)]
    found += [_accuracies(report.rows), *by_length(report.lengths), *errors_by_length(report.lengths)]
    found += [_tails(report.tails), _trend(report.trend)]
    found += numbered([comparison_figure(made) for made in report.comparisons])
    found += _gaps(report.rows)
    found += [figure for facet in _FACETS for figure in _binned(report.rows, *facet)]
    found += [_reliability(report.rows), _outcomes(report.rows), *of_diagnoses(report.diagnoses)]
    shown = [figure for figure in found if figure is not None and any(len(one.x) for one in figure.series)]
    return list({figure.name: figure for figure in reversed(shown)}.values())[::-1]


def summary(report: Report) -> Figure | None:
    """Return the one figure that a report shows first: accuracy against T, or one row each where T does not vary."""
    return overview(report.lengths) or _accuracies(report.rows)


def _names(rows: Sequence[ReportRow]) -> tuple[list[str], str]:
    """Short names of rows, with the marks of what is not complete, and what the rows share."""
    names, shared = name_apart(rows)
    return [marked(name, row.incomplete) for name, row in zip(names, rows, strict=True)], shared


def _accuracies(rows: Sequence[ReportRow]) -> Figure | None:
    having = [row for row in rows if row.result.accuracy is not None]
    shown = having[:MOST_BARS]
    plain, shared = _names(shown)
    names = [f"{name} ▼" if row.below else name for name, row in zip(plain, shown, strict=True)]
    series = []
    for incomplete in (False, True):
        here = [(row, name) for row, name in zip(shown, names, strict=True) if row.incomplete == incomplete]
        series.append(
            Series(
                "not complete †" if incomplete else "accuracy, 95% interval",
                [row.result.accuracy for row, _ in here],
                [name for _, name in here],
                "points",
                0,
                x_low=[row.result.interval_low for row, _ in here],
                x_high=[row.result.interval_high for row, _ in here],
                hover=[describe(row.name, row.result, row.incomplete) for row, _ in here],
                hollow=incomplete,
            )
        )
    floors = [(row, name) for row, name in zip(shown, names, strict=True) if row.result.floor is not None]
    rules = [f"{row.name}\nfloor {share(row.result.floor)} {row.result.floor_rule}" for row, _ in floors]
    at = ([row.result.floor for row, _ in floors], [name for _, name in floors])
    series.append(Series(FLOOR, *at, "ticks", None, hover=rules))
    note = "Left of its floor, a model has not shown that it remembers anything."
    if any(row.below for row in shown):
        note += " ▼: its whole interval is below its floor."
    made = [one for one in series if len(one.x)]
    return Figure(
        "accuracy", "Accuracy and floor", fewer(note, len(shown), len(having), "rows"), "accuracy", "", made,
        categories=names, subtitle=shared,
    )  # fmt: skip


def _tails(pairs: Sequence[Tails]) -> Figure | None:
    shown = pairs[:MOST_CURVES]
    names, shared = apart([pair.parts for pair in shown])
    series = []
    for number, (pair, called) in enumerate(zip(shown, names, strict=True)):
        incomplete = pair.sparse.incomplete or pair.dense.incomplete
        series.append(
            Series(
                marked(called, incomplete),
                [pair.sparse.accuracy],
                [pair.dense.accuracy],
                "points",
                number,
                low=[pair.dense.interval_low],
                high=[pair.dense.interval_high],
                x_low=[pair.sparse.interval_low],
                x_high=[pair.sparse.interval_high],
                hover=[f"{pair.full}\n{describe('sparse tail', pair.sparse)}\n{describe('dense tail', pair.dense)}"],
                hollow=incomplete,
            )
        )
    note = fewer("The paper's two tails: few reads, far from their write, and many.", len(shown), len(pairs), "pairs")
    axes = ("accuracy on FFL(0.98), sparse", "accuracy on FFL(0.1), dense")
    return Figure("tails", "Sparse against dense", note, *axes, series, subtitle=shared)


def _trend(trend: Sequence[Trend]) -> Figure | None:
    shown = trend[:MOST_CURVES]
    bars = len(shown) <= MOST_WITH_BARS
    names, shared = apart([one.parts for one in shown])
    series = []
    for number, (one, called) in enumerate(zip(shown, names, strict=True)):
        points = one.points
        incomplete = any(point.incomplete for point in points)
        series.append(
            Series(
                marked(called, incomplete),
                [point.started for point in points],
                [point.accuracy for point in points],
                "line",
                number,
                low=[point.interval_low for point in points] if bars else None,
                high=[point.interval_high for point in points] if bars else None,
                hover=[describe(f"{point.label}, {one.full}", point) for point in points],
                hollow=incomplete,
            )
        )
    note = fewer(barless("One model under one condition, run after run.", len(shown)), len(shown), len(trend), "series")
    axes = ("run started", "accuracy")
    return Figure("trend", "Accuracy over time", note, *axes, series, x_dates=True, subtitle=shared)


def _by_elicitation(
    rows: Sequence[ReportRow], points: Callable[[ReportRow], int]
) -> Iterator[tuple[str, list[ReportRow]]]:
    """Rows that have two points or more, by elicitation: these are different measurements."""
    for elicitation in dict.fromkeys(row.result.elicitation for row in rows):
        mine = [row for row in rows if row.result.elicitation == elicitation and points(row) > 1]
        if mine:
            yield elicitation, mine


def _gaps(rows: Sequence[ReportRow]) -> Iterator[Figure]:
    for elicitation, mine in _by_elicitation(rows, lambda row: len(row.curves.gaps)):
        shown = some_of(mine, [row.label for row in mine], MOST_CURVES)
        names, shared = _names(shown)
        bars = len(mine) <= MOST_WITH_BARS
        series = []
        for number, (row, name) in enumerate(zip(shown, names, strict=True)):
            points = row.curves.gaps
            hover = [
                f"{row.name}\ngap {f'{point.from_} to {point.to}' if point.to > point.from_ else point.to}\n"
                f"{_accuracy(point.accuracy, point.low, point.high, point.reads, point.strings)}"
                for point in points
            ]
            series.append(
                Series(
                    name,
                    [point.mean_gap or _GAP_NONE for point in points],
                    [point.accuracy for point in points],
                    "line",
                    number,
                    low=[point.low for point in points] if bars else None,
                    high=[point.high for point in points] if bars else None,
                    hover=hover,
                    hollow=row.incomplete,
                )
            )
        counted = " or ".join(dict.fromkeys(row.gap_counts for row in mine))
        note = f"Gap: {counted}. Reads in bins of 1, 2, 3 to 4, 5 to 8 and so on."
        note = fewer(barless(note, len(mine)), len(shown), len(mine), "conditions")
        if any(point.mean_gap == 0 for row in mine for point in row.curves.gaps):
            note += f" A gap of 0 stands at {_GAP_NONE:g}."
        longest = max(point.to for row in mine for point in row.curves.gaps)
        ticks = [2.0**power for power in range(int(longest).bit_length())]
        yield Figure(
            f"gap-{elicitation}", f"Accuracy by gap, {elicitation}", note, "gap", "accuracy",
            aside(series, logarithmic=True), x_values=ticks, subtitle=shared,
        )  # fmt: skip


def _accuracy(accuracy: float, low: float, high: float, reads: int, strings: int) -> str:
    """An accuracy with what it rests on, where one points at it."""
    seen = f"{counted(reads, 'read')} of {counted(strings, 'string')}"
    return f"accuracy {share(accuracy)} ({share(low)} to {share(high)})\n{seen}"


_Facet = tuple[str, Callable[[ReportRow], Sequence[AccuracyBin]], str, str, str]
# Name, the bins, title, what x counts, note.
_FACETS: Sequence[_Facet] = (
    (
        "by-contradictions",
        lambda row: row.errors.by_contradictions,
        "Accuracy by contradicting distractors",
        "distractors since then that show another symbol",
        "The more of them, the more a model that copies the last symbol errs. Bins of 0, 1, 2, 3 to 4 and so on.",
    ),
    (
        "by-position",
        lambda row: row.errors.by_position,
        "Accuracy by position",
        "instruction at which the read stands",
        "Tenths of the string. A curve that falls says that the state is lost with length and not only with distance.",
    ),
    (
        "by-steps",
        lambda row: row.errors.by_steps,
        "Accuracy by steps since the state was set",
        "events since then that changed the state",
        "Counted from the latest event that sets the state, or from the start. Bins of 0, 1, 2, 3 to 4 and so on.",
    ),
)


def _binned(
    rows: Sequence[ReportRow],
    name: str,
    bins: Callable[[ReportRow], Sequence[AccuracyBin]],
    title: str,
    counted: str,
    note: str,
) -> Iterator[Figure]:
    """Accuracy in the bins of one part of the error analysis, one figure an elicitation."""
    for elicitation, mine in _by_elicitation(rows, lambda row: len(bins(row))):
        shown = some_of(mine, [row.label for row in mine], MOST_CURVES)
        names, shared = _names(shown)
        bars = len(mine) <= MOST_WITH_BARS
        series = []
        for number, (row, called) in enumerate(zip(shown, names, strict=True)):
            found = bins(row)
            series.append(
                Series(
                    called,
                    [(one.from_ + one.to) / 2 for one in found],
                    [one.accuracy for one in found],
                    "line",
                    number,
                    low=[one.low for one in found] if bars else None,
                    high=[one.high for one in found] if bars else None,
                    hover=[
                        f"{row.name}\n{one.label} {counted}\n"
                        f"{_accuracy(one.accuracy, one.low, one.high, one.reads, one.strings)}"
                        for one in found
                    ],
                    hollow=row.incomplete,
                )
            )
        said = fewer(barless(note, len(mine)), len(shown), len(mine), "conditions")
        yield Figure(
            f"{name}-{elicitation}", f"{title}, {elicitation}", said, counted, "accuracy", aside(series),
            subtitle=shared,
        )  # fmt: skip


def _reliability(rows: Sequence[ReportRow]) -> Figure | None:
    mine = [(row, row.curves.reliability) for row in rows if row.curves.reliability]
    if not mine:
        return None
    shown = some_of(mine, [row.label for row, _ in mine], MOST_CURVES)
    names, shared = _names([row for row, _ in shown])
    bars = len(mine) <= MOST_WITH_BARS
    series = []
    for number, ((row, found), name) in enumerate(zip(shown, names, strict=True)):
        assert found is not None
        hover = [
            f"{row.name}\nprobability {share(one.probability)}, right {share(one.accuracy)}\n"
            f"{counted(one.reads, 'read')} of {counted(one.strings, 'string')}\ncalibration error {share(found.ece)} "
            f"({share(found.ece_low)} to {share(found.ece_high)})"
            for one in found.bins
        ]
        series.append(
            Series(
                name,
                [one.probability for one in found.bins],
                [one.accuracy for one in found.bins],
                "line",
                number,
                low=[one.low for one in found.bins] if bars else None,
                high=[one.high for one in found.bins] if bars else None,
                hover=hover,
                hollow=row.incomplete,
            )
        )
    series = aside(series)
    series.append(Series("calibrated", [0.0, 1.0], [0.0, 1.0], "rule", None))
    note = "Probability of the answer chosen, among the answers. Below the dashed line a model is too sure."
    note = fewer(barless(note, len(mine)), len(shown), len(mine), "conditions")
    left_out: int = sum(found.left_out for _, found in mine if found is not None)
    if left_out:
        note += f" Not in it: {counted(left_out, 'read')} whose probabilities are only known as bounds."
    return Figure("reliability", "Reliability", note, "probability", "share right", series, subtitle=shared)


def _outcomes(rows: Sequence[ReportRow]) -> Figure | None:
    having = [row for row in rows if row.result.reads]
    shown = having[:MOST_BARS]
    names, shared = _names(shown)
    series = []
    for outcome in OUTCOMES:
        counts = [row.result.count(outcome) for row in shown]
        if any(counts):
            parts = [count / row.result.reads for count, row in zip(counts, shown, strict=True)]
            texts = [
                f"{row.name}\n{count:,} of {counted(row.result.reads, 'read')} {outcome}"
                for count, row in zip(counts, shown, strict=True)
            ]
            series.append(Series(outcome, parts, names, "bars", outcome, hover=texts))
    note = fewer("What became of the reads. Counts are in the table.", len(shown), len(having), "rows")
    axes = ("share of reads", "")
    return Figure(
        "outcomes", "Outcomes", note, *axes, series, categories=names, stacked=True, x_range=(0, 1), subtitle=shared
    )
