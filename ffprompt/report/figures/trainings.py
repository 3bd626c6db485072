"""Figures of trainings: how they learn, where they err in the end, and how much replicates differ (Liu et al., 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ffprompt._util.formatting import counted
from ffprompt._util.records import JsonObject
from ffprompt.report.figures.cells import (
    LONGEST,
    MOST_BARS,
    ZEROS,
    Study,
    axis_of,
    bars,
    cells_of,
    ends,
    glitch,
    named_set,
    slug,
    with_note,
)
from ffprompt.report.figures.density import outline
from ffprompt.report.figures.depth import depths
from ffprompt.report.figures.series import MOST_SERIES, MOST_WITH_BARS, Figure, RateAxis, Series, rate
from ffprompt.report.figures.tails import tails

_VIOLIN = 8  # replicates
_JITTER = 0.3  # of the room between two categories


def figures(study: Study) -> list[Figure | None]:
    """All figures of a study."""
    found: list[Figure | None] = [depths(study), _loss(study)]
    found += [_glitches(study, data) for data in study["sets"]]
    found += tails(study)
    found += [_replicates(study, data) for data in study["sets"]]
    found += [_gaps(study, data) for data in study["sets"]]
    return found


def _loss(study: Study) -> Figure | None:
    """Loss against step: a line a training, which ends with a gap where the loss was no number."""
    if all(len(one["curve"]) < 2 for one in study["trainings"]):
        return None  # a single point is no curve
    axis = RateAxis.of(point["loss"] for one in study["trainings"] for point in one["curve"])
    series, marks = [], []
    for number, name, members in cells_of(study):
        # One series a cell; None ends the line of each training.
        points = [(one, point) for one in members for point in (*one["curve"], None)]
        if any(one["curve"] for one in members):
            series.append(
                Series(
                    name,
                    [None if point is None else point["step"] for _, point in points],
                    [None if point is None else axis.at(point["loss"]) for _, point in points],
                    "curve",
                    number,
                    hover=[_point(one, point, "loss") for one, point in points],
                )
            )
        marks += [(one, warning) for one in members for warning in one["warnings"]]
    if marks:
        at = [_near(one, warning["step"]) for one, warning in marks]
        shown = [(axis.at(loss), pair) for loss, pair in zip(at, marks, strict=True) if loss is not None]
        series.append(
            Series(
                f"warning ({len(marks)})",
                [warning["step"] for _, (_, warning) in shown],
                [loss for loss, _ in shown],
                "points",
                "wrong",
                symbol="triangle",
                hover=[f"{one['label']}\nstep {warning['step']:,}: {warning['text']}" for _, (one, warning) in shown],
            )
        )
    note = "A line a training; each point is the mean since the one before." + (
        " Triangles: warnings." if marks else ""
    )
    axes = ("step", "loss, nats per prediction")
    return Figure("training-loss", "Training loss", with_note(study, note), *axes, series, y_rates=axis)


def _point(one: JsonObject, point: JsonObject | None, what: str) -> str:
    return "" if point is None else f"{one['label']}\nstep {point['step']:,}\n{what} {rate(point[what])}"


def _near(one: JsonObject, step: int) -> float | None:
    """The loss of the curve where a step falls, None where there is none."""
    after = [point["loss"] for point in one["curve"] if point["step"] >= step and point["loss"] is not None]
    known = [point["loss"] for point in one["curve"] if point["loss"] is not None]
    return after[0] if after else known[-1] if known else None


def _glitches(study: Study, data: str) -> Figure | None:
    """Glitch rate against step on one data set. None where no training was evaluated on the way."""
    if all(len(one["evaluations"].get(data, ())) < 2 for one in study["trainings"]):
        return None
    bars = len(study["trainings"]) <= MOST_WITH_BARS
    having = [one for one in study["trainings"] if one["evaluations"].get(data)]
    axis = axis_of([found for one in having for found in one["evaluations"][data]], bars)
    series = []
    for number, name, members in cells_of(study):
        mine = [(one, found) for one in members if one in having for found in (*one["evaluations"][data], None)]
        low, high = [], []
        for _, found in mine:
            start, end = (None, None) if found is None else ends(found)
            low.append(axis.down_to(start))
            high.append(end)
        if mine:
            series.append(
                Series(
                    name,
                    [None if found is None else found["step"] for _, found in mine],
                    [None if found is None else axis.at(found["rate"]) for _, found in mine],
                    "line",
                    number,
                    low=low if bars else None,
                    high=high if bars else None,
                    hover=["" if found is None else glitch(one, found) for one, found in mine],
                    hollow=any(one["unfinished"] for one in members),
                )
            )
    strings = sorted({found["strings"] for one in having for found in one["evaluations"][data]})
    note = f"A line a training. {ZEROS}" if bars else "A line a training; a rate of exactly 0 stands on the line 0."
    if len(strings) > 1:
        note += f" On the way fewer strings are looked at than at the end ({strings[0]:,} and {strings[-1]:,})."
    title = f"Glitch rate while training, {named_set(study, data)}"
    name = f"training-glitches-{slug(data)}"
    return Figure(name, title, with_note(study, note), "step", "glitch rate", series, y_rates=axis)


def _replicates(study: Study, data: str) -> Figure | None:
    """Last glitch rates of a cell's replicates: dots, from eight on with the outline of their density around them."""
    finals = [(number, name, _finals(members, data)) for number, name, members in cells_of(study)]
    rows = [one for one in finals if one[2]]
    if max((len(mine) for _, _, mine in rows), default=0) < 2:
        return None
    axis = axis_of([found for _, _, mine in rows for _, found in mine])
    dots = [_dots(row, one, axis) for row, one in enumerate(rows)]
    shapes = [shape for row, one in enumerate(rows) if (shape := _outline(row, one)) is not None]
    found = [study["cells"][number]["sets"][data] for number, _, _ in rows]
    middle = Series(
        "median",
        [axis.at(one["median"]) for one in found],
        list(range(len(rows))),
        "ticks",
        None,
        hover=[f"{name}\nmedian {rate(one['median'])}" for (_, name, _), one in zip(rows, found, strict=True)],
    )
    names = [
        f"{name} · {one['trainings']}, {one['zeros']} exactly 0" for (_, name, _), one in zip(rows, found, strict=True)
    ]
    note = f"A dot a training that has finished. {ZEROS} The upright mark is the median."
    if shapes:
        note += " Outlines show the density of the rates above 0, the wider the larger their share of the trainings."
    if any(len(mine) > MOST_BARS for _, _, mine in rows):
        note += LONGEST
    return Figure(
        f"replicates-{slug(data)}", f"Replicates, {named_set(study, data)}", with_note(study, note),
        "glitch rate after training", "", [*shapes, *dots, middle], categories=names, x_rates=axis, placed=True,
    )  # fmt: skip


_Row = tuple[int, str, list[tuple[JsonObject, JsonObject]]]


def _dots(row: int, one: _Row, axis: RateAxis) -> Series:
    """The replicates of a cell, one above the other by their rate."""
    number, name, mine = one
    at = [axis.at(found["rate"]) for _, found in mine]
    low, high = bars([found for _, found in mine], axis, len(mine), at)
    return Series(
        name,
        at,
        [row + _JITTER * (2 * (n + 0.5) / len(mine) - 1) for n in range(len(mine))],
        "points",
        number,
        x_low=low,
        x_high=high,
        hover=[glitch(training, found) for training, found in mine],
        twin=True,
    )


def _outline(row: int, one: _Row) -> Series | None:
    """A violin of the rates above 0, whose area is the share that they are of the cell's trainings."""
    number, name, mine = one
    positive = [found["rate"] for _, found in mine if found["rate"] > 0]
    if len(mine) < _VIOLIN or len(set(positive)) < 3:
        return None
    around, density = outline([math.log10(value) for value in positive])
    half = [0.42 * len(positive) / len(mine) * value for value in density]
    at = [10**value for value in around]
    edge = [row - value for value in half] + [row + value for value in reversed(half)]
    return Series(name, [*at, *reversed(at)], edge, "shape", number, twin=True)


def _finals(members: Sequence[JsonObject], data: str) -> list[tuple[JsonObject, JsonObject]]:
    found = [(one, one["final"][data]) for one in members if data in one["final"]]
    return sorted(found, key=lambda pair: pair[1]["rate"])


def _gaps(study: Study, data: str) -> Figure | None:
    """How far errors are from their write, in bins of 1, 2, 3 to 4, 5 to 8 …, beside all reads of the language."""
    expected = study["reads_by_gap"][data]
    series = []
    longest = 1
    for number, cell in enumerate(study["cells"][:MOST_SERIES]):
        found = cell["sets"].get(data)
        if found and found["gaps"]:
            longest = max(longest, found["gaps"][-1][0])
            bins = _bins(found["gaps"])
            hover = [
                f"{cell['name']}\ngap {_span(one)}: {errors:,} of {counted(found['errors'], 'error')}"
                + _share(one, found, expected)
                for one, errors in bins.items()
            ]
            name = f"{cell['name']}: {counted(found['errors'], 'error')} of {counted(found['trainings'], 'training')}"
            shares = [errors / found["errors"] for errors in bins.values()]
            series.append(Series(name, [_middle(one) for one in bins], shares, "line", number, hover=hover))
    if not series:
        return None
    if expected:
        bins = _bins(list(enumerate(expected, 1)))
        total = sum(expected)
        longest = max(longest, 2 ** max((one for one, value in bins.items() if value / total >= 1e-4), default=0))
        shown = {one: value / total for one, value in bins.items() if 2**one <= 2 * longest}
        hover = [f"all reads\ngap {_span(one)}: {rate(value)} of them" for one, value in shown.items()]
        at = [_middle(one) for one in shown]
        series.append(Series("all reads of the language", at, list(shown.values()), "rule", None, hover=hover))
    note = (
        "Gap: instructions since the write, in bins of 1, 2, 3 to 4 and so on. Errors of a cell's trainings together: "
    )
    note += "one that errs often weighs most. Dashed: where all reads are, computed exactly."
    ticks = [2.0**power for power in range(int(longest).bit_length() + 1)]
    title = f"Dependency lengths of errors, {named_set(study, data)}"
    return Figure(
        f"error-gaps-{slug(data)}", title, with_note(study, note), "gap", "share", series, x_values=ticks
    )  # fmt: skip


def _bins(gaps: Sequence[tuple[int, float]]) -> dict[int, Any]:
    """Sums by bin: 0 is gap 1, 1 is 2, 2 is 3 to 4. With empty ones between the first and the last."""
    found: dict[int, Any] = {}
    for gap, count in gaps:
        place = math.ceil(math.log2(gap))
        found[place] = found.get(place, 0) + count
    return {place: found.get(place, 0) for place in range(max(found) + 1)}


def _span(place: int) -> str:
    low = 2 ** (place - 1) + 1 if place else 1
    return str(low) if low == 2**place else f"{low} to {2**place}"


def _middle(place: int) -> float:
    """Where a bin stands on a logarithmic axis."""
    low = 2 ** (place - 1) + 1 if place else 1
    return math.sqrt(low * 2**place)


def _share(place: int, found: JsonObject, expected: Sequence[float] | None) -> str:
    if not expected:
        return ""
    here = _bins(list(enumerate(expected, 1)))[place] / sum(expected)
    errors = _bins(found["gaps"])[place]
    return (
        f"\nabout {here * found['reads']:,.0f} reads there, glitch rate about {rate(errors / (here * found['reads']))}"
    )
