"""Errors against length on a logarithmic axis, which tells models apart that are nearly right (the paper's R3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ffprompt._util.formatting import counted
from ffprompt.report.figures.series import (
    MOST_CURVES,
    MOST_WITH_BARS,
    Figure,
    RateAxis,
    Series,
    aside,
    barless,
    fewer,
    floors,
    marked,
    rate,
    some_of,
)
from ffprompt.report.labels import apart
from ffprompt.report.series import LengthSeries, Point


def by_length(lengths: Sequence[LengthSeries]) -> Iterator[Figure]:
    """Yield one figure for each elicitation, of 1 - accuracy: a line for each model × template × shots × asking."""
    for elicitation in dict.fromkeys(one.elicitation for one in lengths):
        mine = [one for one in lengths if one.elicitation == elicitation]
        if any(len(one.points) > 1 for one in mine):
            yield _errors(elicitation, mine)


def _errors(elicitation: str, mine: Sequence[LengthSeries]) -> Figure:
    shown = some_of(mine, [one.parts[0] for one in mine], MOST_CURVES)
    names, shared = apart([one.parts for one in shown])
    bars = len(shown) <= MOST_WITH_BARS
    points = [point for one in shown for point in one.points]
    beside = [
        [
            (
                point.length,
                1 - point.floor,
                f"floor at T = {point.length}: error {rate(1 - point.floor)}, {point.floor_rule}",
            )
            for point in one.points
            if point.floor is not None
        ]
        for one in shown
    ]
    least = [floor for one in beside for _, floor, _ in one]
    axis = RateAxis.of([*map(_rate, points), *(_ends(point)[1] for point in points), *least])
    series = []
    for number, (one, called) in enumerate(zip(shown, names, strict=True)):
        incomplete = any(point.incomplete for point in one.points)
        ends = [_ends(point) for point in one.points]
        series.append(
            Series(
                marked(called, incomplete),
                [point.length for point in one.points],
                [axis.at(_rate(point)) for point in one.points],
                "line",
                number,
                low=[axis.down_to(low) for low, _ in ends] if bars else None,
                high=[high for _, high in ends] if bars else None,
                hover=[_describe(one.full, point) for point in one.points],
                hollow=incomplete,
            )
        )
    moved = aside(series, logarithmic=True)
    cut = [
        mark
        for one, drawn in zip(shown, moved, strict=True)
        if bars and (mark := axis.cut(drawn, [_ends(point)[0] for point in one.points]))
    ]
    note = "1 - accuracy. Where no read was wrong it stands on the line 0, and its bar ends at the one-sided 95% bound "
    note += "over strings. Dashed: the best rule without memory on the same reads."
    if cut:
        note += " ▼: the interval goes on below the axis."
    dashed = [[(x, at, text) for x, y, text in found if (at := axis.at(y)) is not None] for found in beside]
    return Figure(
        f"errors-{elicitation}",
        f"Error against length, {elicitation}",
        fewer(barless(note, len(shown)), len(shown), len(mine), "series"),
        "T, length of a string",
        "error rate",
        [*moved, *cut, *floors(names, dashed)],
        x_values=sorted({point.length for point in points}),
        y_rates=axis,
        subtitle=shared,
    )


def _rate(point: Point) -> float:
    # Not 1 - accuracy, whose rounding would make 1e-16 of an accuracy computed as 1.
    return 0.0 if point.accuracy == 1 else 1 - point.accuracy


def _ends(point: Point) -> tuple[float | None, float | None]:
    """The interval of an error rate. Where it is 0, up to the bound of one side, if the run has it."""
    if point.at_most is not None:
        return 0.0, point.at_most
    low, high = point.interval_low, point.interval_high
    return None if high is None else max(0.0, 1 - high), None if low is None else 1 - low


def _describe(name: str, point: Point) -> str:
    low, high = _ends(point)
    text = f"{name}\nT = {point.length}\nerror rate {rate(_rate(point))}"
    text += f", at most {rate(high)} (95%)" if point.at_most is not None else f" ({rate(low)} to {rate(high)})"
    text += f"\n{counted(point.reads, 'read')} of {counted(point.strings, 'string')}"
    if point.floor is not None:
        text += f"\nfloor: error {rate(1 - point.floor)}, {point.floor_rule}"
    return text + ("\n† not complete" if point.incomplete else "")
