"""Glitch rates on the sparse tail against those on the dense one, after training (Liu et al., figure of section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ffprompt._util.records import JsonObject
from ffprompt.report.figures.cells import (
    LONGEST,
    MOST_BARS,
    ZEROS,
    Study,
    axis_of,
    bars,
    cells_of,
    glitch,
    p_ignore,
    slug,
    with_note,
)
from ffprompt.report.figures.palette import SERIES
from ffprompt.report.figures.series import Figure, RateAxis, Series
from ffprompt.report.study_cells import DENSE, SPARSE

# Multiples of these, modulo 1, fill a square evenly: trainings with 0 on both tails do not hide each other.
_STRIDES = (0.7548776662, 0.5698402910)


def tails(study: Study) -> list[Figure | None]:
    """Return a figure for each length and alphabet, and one of all trainings by their kind.

    The latter is there where there are several lengths, or more cells than colours.
    """
    families = _families(study)
    found = [_of_family(study, family, len(families) == 1) for family in families]
    drawn = sum(figure is not None for figure in found)
    if drawn > 1 or (drawn and len(study["cells"]) > len(SERIES)):
        found.append(_of_all(study, families))
    return found


def _families(study: Study) -> list[list[str]]:
    """The data sets that differ in p_ignore alone: those of one length and alphabet."""
    found: dict[str, list[str]] = {}
    for data in study["sets"]:
        found.setdefault(data.replace(f" {p_ignore(study, data)}", "", 1), []).append(data)
    return list(found.values())


def _ends_of(study: Study, family: Sequence[str]) -> tuple[str, str] | None:
    """The sparse and the dense set of a family. None where one is missing."""
    sets = {p_ignore(study, data): data for data in family}
    return (sets[SPARSE], sets[DENSE]) if SPARSE in sets and DENSE in sets else None


def _of_family(study: Study, family: Sequence[str], only: bool) -> Figure | None:
    """Points of the colour of their cell, on the sets of one length."""
    pair = _ends_of(study, family)
    if pair is None:
        return None
    others = [data for data in family if data not in pair]
    points = [
        _Point(number, name, one, pair, _clean(one, others))
        for number, name, members in cells_of(study)
        for one in members
        if pair[0] in one["final"] and pair[1] in one["final"]
    ]
    figure = _scatter(points, f"on {' or '.join(others)}" if others else "")
    return replace(
        figure,
        name="training-tails" if only else f"training-tails-{slug(pair[0])}",
        note=with_note(study, figure.note),
        x_title=f"glitch rate on {pair[0]}, sparse",
        y_title=f"glitch rate on {pair[1]}, dense",
    )


def _of_all(study: Study, families: Sequence[Sequence[str]]) -> Figure:
    """Points of the colour of their kind of model, each on the sets of its own length."""
    points: list[_Point] = []
    kinds: dict[str, int] = {}
    for family in families:
        pair = _ends_of(study, family)
        others = [data for data in family if pair and data not in pair]
        for one in study["trainings"]:
            if pair and pair[0] in one["final"] and pair[1] in one["final"]:
                kind = one["kind"]
                points.append(_Point(kinds.setdefault(kind, len(kinds)), kind, one, pair, _clean(one, others)))
    figure = _scatter(points, "in distribution")
    return replace(figure, name="training-tails-all", title="Sparse against dense, all trainings by their kind")


@dataclass(frozen=True)
class _Point:
    """A training, the colour and the name of its series, its sparse and dense set, and whether it errs on no other."""

    colour: int
    name: str
    training: JsonObject
    pair: tuple[str, str]
    clean: bool


def _clean(one: JsonObject, sets: Sequence[str]) -> bool:
    return not any(one["final"][data]["errors"] for data in sets if data in one["final"])


def _scatter(points: Sequence[_Point], elsewhere: str) -> Figure:
    """Return the last glitch rates, sparse against dense: a cross for a training that errs ``elsewhere`` too."""
    axes = [axis_of([point.training["final"][point.pair[side]] for point in points]) for side in (0, 1)]
    groups: dict[tuple[int, str, bool], list[_Point]] = {}
    for point in sorted(points, key=lambda point: (point.colour, not point.clean)):
        groups.setdefault((point.colour, point.name, point.clean), []).append(point)
    series: list[Series] = []
    for (colour, name, clean), mine in groups.items():
        what = name if clean else f"{name}, errs {elsewhere} too"
        drawn = _series(what, colour, mine, axes, len(points))
        series.append(drawn if clean else replace(drawn, symbol="cross"))
    note = f"A point a training that has finished. {ZEROS}"
    if elsewhere:
        note += f" Crosses err {elsewhere} as well, dots do not."
    if len(points) > MOST_BARS:
        note += LONGEST
    return Figure(
        "training-tails",
        "Sparse against dense, after training",
        note,
        "glitch rate on the sparse tail",
        "glitch rate on the dense tail",
        series,
        x_rates=axes[0],
        y_rates=axes[1],
    )


def _series(name: str, colour: int, mine: Sequence[_Point], axes: Sequence[RateAxis], points: int) -> Series:
    """Points of one series, in a figure of so many ``points``."""
    columns = []
    for side, (axis, stride) in enumerate(zip(axes, _STRIDES, strict=True)):
        finals = [point.training["final"][point.pair[side]] for point in mine]
        at = [axis.at(found["rate"], (0.5 + stride * (n + 7 * colour)) % 1) for n, found in enumerate(finals)]
        columns.append((at, *bars(finals, axis, points, at)))
    (x, x_low, x_high), (y, low, high) = columns
    hover = ["\n".join(glitch(one.training, found) for found in one.training["final"].values()) for one in mine]
    return Series(name, x, y, "points", colour, low, high, x_low, x_high, hover=hover)
