"""Figures of trainings: how they learn, where they err in the end, and how much replicates differ (Liu et al., 4)."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from ffprompt._util.formatting import counted
from ffprompt._util.records import JsonObject
from ffprompt.report.figures.density import outline
from ffprompt.report.figures.depth import depths
from ffprompt.report.figures.series import MOST_SERIES, MOST_WITH_BARS, Figure, RateAxis, Series, fewer, rate
from ffprompt.report.study_cells import DENSE, SPARSE

_MOST_BARS = 12  # points of a scatter, or replicates of a cell, whose intervals do not hide each other
_VIOLIN = 8  # replicates
_HOVER = 60  # characters of a line
_JITTER = 0.3  # of the room between two categories
# Multiples of these, modulo 1, fill a square evenly: trainings with 0 on both tails do not hide each other.
_STRIDES = (0.7548776662, 0.5698402910)
_ZEROS = "A glitch rate of exactly 0 stands on the line 0; its bar ends at the one-sided 95% bound."
_LONGEST = f" Among more than {_MOST_BARS} only the longest bar of a 0 is drawn."

Study = JsonObject


def figures(study: Study) -> list[Figure | None]:
    """All figures of a study."""
    found: list[Figure | None] = [depths(study), _loss(study)]
    found += [_glitches(study, data) for data in study["sets"]]
    found += [_tails(study, family) for family in _families(study)]
    found += [_replicates(study, data) for data in study["sets"]]
    found += [_gaps(study, data) for data in study["sets"]]
    return found


def _slug(data: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", data.lower()).strip("-")


def _named(study: Study, data: str) -> str:
    """A data set in a title, with what it is in the paper."""
    p_ignore = _p_ignore(study, data)
    return data + {SPARSE: ", sparse", DENSE: ", dense"}.get(p_ignore or 0.0, "")


def _p_ignore(study: Study, data: str) -> float | None:
    """The share of ignores. None for a task that has none."""
    found = next(one["evaluations"][data][0]["p_ignore"] for one in study["trainings"] if data in one["evaluations"])
    return None if found is None else float(found)


def _members(study: Study) -> Iterator[tuple[int, str, list[JsonObject]]]:
    """Cells with their trainings, as many as can be told apart."""
    for number, cell in enumerate(study["cells"][:MOST_SERIES]):
        yield number, cell["name"], [one for one in study["trainings"] if one["cell"] == number]


def _note(study: Study, note: str) -> str:
    return fewer(note, min(len(study["cells"]), MOST_SERIES), len(study["cells"]), "cells")


def _loss(study: Study) -> Figure | None:
    """Loss against step: a line a training, which ends with a gap where the loss was no number."""
    if all(len(one["curve"]) < 2 for one in study["trainings"]):
        return None  # a single point is no curve
    axis = RateAxis.of(point["loss"] for one in study["trainings"] for point in one["curve"])
    series, marks = [], []
    for number, name, members in _members(study):
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
    return Figure("training-loss", "Training loss", _note(study, note), *axes, series, y_rates=axis)


def _point(one: JsonObject, point: JsonObject | None, what: str) -> str:
    return "" if point is None else f"{one['label']}\nstep {point['step']:,}\n{what} {rate(point[what])}"


def _near(one: JsonObject, step: int) -> float | None:
    """The loss of the curve where a step falls, None where there is none."""
    after = [point["loss"] for point in one["curve"] if point["step"] >= step and point["loss"] is not None]
    known = [point["loss"] for point in one["curve"] if point["loss"] is not None]
    return after[0] if after else known[-1] if known else None


def _glitch(one: JsonObject, found: JsonObject) -> str:
    text = f"{one['label']}\n"
    # What tells its cell from the others may be long, and the page folds no line of its own.
    text += "".join(f"{line}\n" for line in textwrap.wrap(one["settings"], _HOVER))
    text += f"step {found['step']:,}, {found['data']}\nglitch rate {rate(found['rate'])}"
    reads = counted(found["reads"], "read")
    if found["at_most"] is not None:
        return f"{text} of {reads}, {counted(found['strings'], 'string')}\nat most {rate(found['at_most'])} (95%)"
    return f"{text} ({rate(found['low'])} to {rate(found['high'])})\n{found['errors']:,} of {reads}"


def _ends(found: JsonObject) -> tuple[float, float]:
    """Where a bar begins and ends: the interval, or from no error to the bound that no error shows."""
    return (0.0, found["at_most"]) if found["at_most"] is not None else (found["low"], found["high"])


def _axis(evaluations: Sequence[JsonObject], bars: bool = True) -> RateAxis:
    values = [one["rate"] for one in evaluations]
    return RateAxis.of([*values, *(_ends(one)[1] for one in evaluations if bars)])


def _glitches(study: Study, data: str) -> Figure | None:
    """Glitch rate against step on one data set. None where no training was evaluated on the way."""
    if all(len(one["evaluations"].get(data, ())) < 2 for one in study["trainings"]):
        return None
    bars = len(study["trainings"]) <= MOST_WITH_BARS
    having = [one for one in study["trainings"] if one["evaluations"].get(data)]
    axis = _axis([found for one in having for found in one["evaluations"][data]], bars)
    series = []
    for number, name, members in _members(study):
        mine = [(one, found) for one in members if one in having for found in (*one["evaluations"][data], None)]
        low, high = [], []
        for _, found in mine:
            start, end = (None, None) if found is None else _ends(found)
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
                    hover=["" if found is None else _glitch(one, found) for one, found in mine],
                    hollow=any(one["unfinished"] for one in members),
                )
            )
    strings = sorted({found["strings"] for one in having for found in one["evaluations"][data]})
    note = f"A line a training. {_ZEROS}" if bars else "A line a training; a rate of exactly 0 stands on the line 0."
    if len(strings) > 1:
        note += f" On the way fewer strings are looked at than at the end ({strings[0]:,} and {strings[-1]:,})."
    title = f"Glitch rate while training, {_named(study, data)}"
    name = f"training-glitches-{_slug(data)}"
    return Figure(name, title, _note(study, note), "step", "glitch rate", series, y_rates=axis)


def _families(study: Study) -> list[list[str]]:
    """The data sets that differ in p_ignore alone: those of one length and alphabet."""
    found: dict[str, list[str]] = {}
    for data in study["sets"]:
        found.setdefault(data.replace(f" {_p_ignore(study, data)}", "", 1), []).append(data)
    return list(found.values())


def _tails(study: Study, family: Sequence[str]) -> Figure | None:
    """Last glitch rates on the sparse tail against those on the dense one: a point a training."""
    sets = {_p_ignore(study, data): data for data in family}
    if SPARSE not in sets or DENSE not in sets:
        return None
    x_set, y_set = sets[SPARSE], sets[DENSE]
    others = [data for data in family if data not in (x_set, y_set)]
    having = [one for one in study["trainings"] if x_set in one["final"] and y_set in one["final"]]
    axes = [_axis([one["final"][data] for one in having]) for data in (x_set, y_set)]
    series: list[Series] = []
    for number, name, members in _members(study):
        for clean in (True, False):
            mine = [one for one in members if one in having and _clean(one, others) == clean]
            if mine:
                what = name if clean else f"{name}, errs on {' or '.join(others)} too"
                points = _scatter(what, number, mine, (x_set, y_set), axes, len(having))
                series.append(points if clean else replace(points, symbol="cross"))
    note = f"A point a training that has finished. {_ZEROS}"
    if others:
        note += f" Crosses err on {' or '.join(others)} as well, dots do not."
    if len(having) > _MOST_BARS:
        note += _LONGEST
    return Figure(
        "training-tails" if len(_families(study)) == 1 else f"training-tails-{_slug(x_set)}",
        "Sparse against dense, after training",
        _note(study, note),
        f"glitch rate on {x_set}, sparse",
        f"glitch rate on {y_set}, dense",
        series,
        x_rates=axes[0],
        y_rates=axes[1],
    )


def _clean(one: JsonObject, sets: Sequence[str]) -> bool:
    return not any(one["final"][data]["errors"] for data in sets if data in one["final"])


def _scatter(
    name: str,
    colour: int,
    members: Sequence[JsonObject],
    sets: tuple[str, str],
    axes: Sequence[RateAxis],
    points: int,
) -> Series:
    """Points of one cell, in a figure of so many ``points``."""
    columns = []
    for data, axis, stride in zip(sets, axes, _STRIDES, strict=True):
        finals = [one["final"][data] for one in members]
        at = [axis.at(found["rate"], (0.5 + stride * (n + 7 * colour)) % 1) for n, found in enumerate(finals)]
        columns.append((at, *_bars(finals, axis, points, at)))
    (x, x_low, x_high), (y, low, high) = columns
    hover = ["\n".join(_glitch(one, one["final"][data]) for data in one["final"]) for one in members]
    return Series(name, x, y, "points", colour, low, high, x_low, x_high, hover=hover)


def _bars(
    finals: Sequence[JsonObject], axis: RateAxis, points: int, at: Sequence[float | None]
) -> tuple[list[float | None], list[float | None]]:
    """Ends of the bars. Among many points, only the zero that shows least keeps its own."""
    zeros = [n for n, found in enumerate(finals) if found["errors"] == 0]
    kept = set(range(len(finals)))
    if points > _MOST_BARS:
        kept = {max(zeros, key=lambda n: finals[n]["at_most"])} if zeros else set()
    low = [at[n] if n in zeros else axis.down_to(found["low"]) for n, found in enumerate(finals)]
    high = [_ends(found)[1] for found in finals]
    return (
        [one if n in kept else None for n, one in enumerate(low)],
        [one if n in kept else None for n, one in enumerate(high)],
    )


def _replicates(study: Study, data: str) -> Figure | None:
    """Last glitch rates of a cell's replicates: dots, from eight on with the outline of their density around them."""
    finals = [(number, name, _finals(members, data)) for number, name, members in _members(study)]
    rows = [one for one in finals if one[2]]
    if max((len(mine) for _, _, mine in rows), default=0) < 2:
        return None
    axis = _axis([found for _, _, mine in rows for _, found in mine])
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
    note = f"A dot a training that has finished. {_ZEROS} The upright mark is the median."
    if shapes:
        note += " Outlines show the density of the rates above 0, the wider the larger their share of the trainings."
    if any(len(mine) > _MOST_BARS for _, _, mine in rows):
        note += _LONGEST
    return Figure(
        f"replicates-{_slug(data)}", f"Replicates, {_named(study, data)}", _note(study, note),
        "glitch rate after training", "", [*shapes, *dots, middle], categories=names, x_rates=axis, placed=True,
    )  # fmt: skip


_Row = tuple[int, str, list[tuple[JsonObject, JsonObject]]]


def _dots(row: int, one: _Row, axis: RateAxis) -> Series:
    """The replicates of a cell, one above the other by their rate."""
    number, name, mine = one
    at = [axis.at(found["rate"]) for _, found in mine]
    low, high = _bars([found for _, found in mine], axis, len(mine), at)
    return Series(
        name,
        at,
        [row + _JITTER * (2 * (n + 0.5) / len(mine) - 1) for n in range(len(mine))],
        "points",
        number,
        x_low=low,
        x_high=high,
        hover=[_glitch(training, found) for training, found in mine],
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
    title = f"Dependency lengths of errors, {_named(study, data)}"
    return Figure(
        f"error-gaps-{_slug(data)}", title, _note(study, note), "gap", "share", series, x_values=ticks
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
