"""Accuracy against T with intervals and floors: the figure that a report shows first, and one for each elicitation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ffprompt._util.formatting import share
from ffprompt.report.figures.series import (
    MOST_CURVES,
    MOST_WITH_BARS,
    Figure,
    Series,
    aside,
    barless,
    describe,
    fewer,
    floors,
    marked,
    some_of,
)
from ffprompt.report.labels import apart
from ffprompt.report.series import LengthSeries

_MOST_FIRST = 6  # series of the figure that is shown first
_NOTE = "Dashed: the best rule without memory on the same reads."


def overview(lengths: Sequence[LengthSeries]) -> Figure | None:
    """Return accuracy against T of all models and ways of asking in one figure. None where T does not vary."""
    having = [one for one in lengths if len(one.points) > 1]
    if not having:
        return None
    shown = some_of(having, [one.parts[0] for one in having], _MOST_FIRST)
    note = fewer(_NOTE, len(shown), len(lengths), "series")
    return _figure("overview", "Accuracy against length", note, shown)


def by_length(lengths: Sequence[LengthSeries]) -> Iterator[Figure]:
    """Yield one figure for each elicitation: they are different measurements."""
    for elicitation in dict.fromkeys(one.elicitation for one in lengths):
        mine = [one for one in lengths if one.elicitation == elicitation]
        if any(len(one.points) > 1 for one in mine):
            shown = some_of(mine, [one.parts[0] for one in mine], MOST_CURVES)
            note = fewer(barless(_NOTE, len(shown)), len(shown), len(mine), "series")
            yield _figure(f"length-{elicitation}", f"Accuracy against length, {elicitation}", note, shown)


def _figure(name: str, title: str, note: str, shown: Sequence[LengthSeries]) -> Figure:
    bars = len(shown) <= MOST_WITH_BARS
    names, shared = apart([one.parts for one in shown])
    series = []
    for number, (one, called) in enumerate(zip(shown, names, strict=True)):
        incomplete = any(point.incomplete for point in one.points)
        series.append(
            Series(
                marked(called, incomplete),
                [point.length for point in one.points],
                [point.accuracy for point in one.points],
                "line",
                number,
                low=[point.interval_low for point in one.points] if bars else None,
                high=[point.interval_high for point in one.points] if bars else None,
                hover=[describe(f"{one.full}\nT = {point.length}", point) for point in one.points],
                hollow=incomplete,
            )
        )
    beside = [
        [
            (point.length, point.floor, f"floor at T = {point.length}: {share(point.floor)} {point.floor_rule}")
            for point in one.points
            if point.floor is not None
        ]
        for one in shown
    ]
    ticks = sorted({point.length for one in shown for point in one.points})
    return Figure(
        name, title, note, "T, length of a string", "accuracy",
        [*aside(series, logarithmic=True), *floors(names, beside)], x_values=ticks, subtitle=shared,
    )  # fmt: skip
