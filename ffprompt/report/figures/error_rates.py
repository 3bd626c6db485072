"""Errors against length on a logarithmic axis, which tells models apart that are nearly right (the paper's R3)."""

from __future__ import annotations

from collections.abc import Sequence

from ffprompt._util.records import JsonObject
from ffprompt.report.figures.series import MOST_SERIES, Figure, RateAxis, Series, common, fewer, marked, rate, short


def by_length(lengths: Sequence[JsonObject]) -> list[Figure | None]:
    """One figure an elicitation, of 1 - accuracy: a line for each model × template × shots × way of asking."""
    found: list[Figure | None] = []
    for elicitation in dict.fromkeys(one["elicitation"] for one in lengths):
        mine = [one for one in lengths if one["elicitation"] == elicitation]
        if any(len(one["points"]) > 1 for one in mine):
            found.append(_errors(elicitation, mine))
    return found


def _errors(elicitation: str, mine: Sequence[JsonObject]) -> Figure:
    shown = mine[:MOST_SERIES]
    points = [point for one in shown for point in one["points"]]
    ends = [_ends(point)[1] for point in points]
    floors = [1 - point["floor"] for point in points if point["floor"] is not None]
    axis = RateAxis.of([*(_rate(point) for point in points), *ends, *floors])
    names, shared = short([one["name"] for one in shown])
    series = []
    for number, (one, name) in enumerate(zip(shown, names, strict=True)):
        at = [point["length"] for point in one["points"]]
        incomplete = any(point["incomplete"] for point in one["points"])
        bars = [_ends(point) for point in one["points"]]
        series.append(
            Series(
                marked(name, incomplete),
                at,
                [axis.at(_rate(point)) for point in one["points"]],
                "line",
                number,
                low=[axis.down_to(low) for low, _ in bars],
                high=[high for _, high in bars],
                hover=[_describe(one["name"], point) for point in one["points"]],
                hollow=incomplete,
            )
        )
        beside = [point for point in one["points"] if point["floor"] is not None]
        text = [f"floor at T = {p['length']}: error {rate(1 - p['floor'])}, {p['floor_rule']}" for p in beside]
        y = [axis.at(1 - point["floor"]) for point in beside]
        series.append(Series("floor", [p["length"] for p in beside], y, "rule", number, hover=text, twin=True))
    note = "1 - accuracy. Where no read was wrong it stands on the line 0, and its bar ends at the one-sided 95% bound "
    note += "over strings. Dashed: the best rule without memory on the same reads."
    note = common(fewer(note, len(shown), len(mine), "series"), shared)
    return Figure(
        f"errors-{elicitation}",
        f"Error against length, {elicitation}",
        note,
        "T, symbols in a string",
        "error rate",
        series,
        x_values=sorted({point["length"] for point in points}),
        y_rates=axis,
    )


def _rate(point: JsonObject) -> float:
    # Not 1 - accuracy, whose rounding would make 1e-16 of an accuracy computed as 1.
    return 0.0 if point["accuracy"] == 1 else float(1 - point["accuracy"])


def _ends(point: JsonObject) -> tuple[float, float]:
    """The interval of an error rate; where it is 0, up to the bound of one side, if the run has it."""
    if point["at_most"] is not None:
        return 0.0, float(point["at_most"])
    return max(0.0, 1 - point["interval_high"]), 1 - point["interval_low"]


def _describe(name: str, point: JsonObject) -> str:
    low, high = _ends(point)
    text = f"{name}\nT = {point['length']}\nerror rate {rate(_rate(point))}"
    text += f", at most {rate(high)} (95%)" if point["at_most"] is not None else f" ({rate(low)} to {rate(high)})"
    text += f"\n{point['reads']:,} reads of {point['strings']:,} strings"
    if point["floor"] is not None:
        text += f"\nfloor: error {rate(1 - point['floor'])}, {point['floor_rule']}"
    return text + ("\n† not complete" if point["incomplete"] else "")
