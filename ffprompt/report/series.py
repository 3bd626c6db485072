"""Rows of a report side by side: accuracy by length, in the two tails, over time and over runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ffprompt.report.records import ReportRow

_SPARSE, _DENSE = "sparse tail", "dense tail"  # presets of a task


@dataclass(frozen=True)
class Point:
    """The accuracy of one row in a series.

    ``at_most``: what all reads being right leaves possible, from one side. None where one was not, or a run does not
    say.
    """

    accuracy: float
    interval_low: float | None
    interval_high: float | None
    floor: float | None
    floor_rule: str | None
    reads: int
    strings: int
    incomplete: bool
    length: int
    at_most: float | None


@dataclass(frozen=True)
class DatedPoint(Point):
    """The accuracy of one row, with the start and the label of its run."""

    started: str
    label: str


@dataclass(frozen=True)
class _Called:
    """What tells a series from others, part by part: its model, template, shots and so on."""

    parts: tuple[str, ...]

    @property
    def full(self) -> str:
        """All parts in one."""
        return ", ".join(part for part in self.parts if part)


@dataclass(frozen=True)
class LengthSeries(_Called):
    """Accuracy against T of rows that differ in nothing else."""

    elicitation: str
    points: list[Point]


@dataclass(frozen=True)
class Tails(_Called):
    """Accuracy on the sparse tail beside that on the dense one."""

    sparse: Point
    dense: Point


@dataclass(frozen=True)
class Trend(_Called):
    """One model under one condition in several runs."""

    points: list[DatedPoint]


@dataclass(frozen=True)
class SharedCondition:
    """A condition that several runs have: ``cells`` are places of rows, None where a run lacks it."""

    condition: str
    cells: list[int | None]


def lengths(rows: Sequence[ReportRow]) -> list[LengthSeries]:
    """Return one series for what differs in nothing but T, and only of rows that have an accuracy."""
    groups: dict[tuple[str | int, ...], list[ReportRow]] = {}
    for row in rows:
        if row.result.accuracy is not None:
            groups.setdefault((*row.parts(without=("T",)), row.shot_length), []).append(row)
    return [
        LengthSeries(
            found[0].parts(without=("T",)),
            found[0].result.elicitation,
            sorted(map(_point, found), key=lambda point: point.length),
        )
        for found in groups.values()
    ]


def tails(rows: Sequence[ReportRow]) -> list[Tails]:
    """Return accuracy in both tails where a run has both under the same conditions."""
    pairs: dict[tuple[int, str, int], dict[str, ReportRow]] = {}
    for row in rows:
        if row.result.accuracy is not None and row.preset in (_SPARSE, _DENSE):
            pairs.setdefault((row.run, row.how, row.length), {})[row.preset] = row
    return [
        Tails(pair[_SPARSE].parts(without=("p",)), _point(pair[_SPARSE]), _point(pair[_DENSE]))
        for pair in pairs.values()
        if len(pair) == 2
    ]


def trends(rows: Sequence[ReportRow]) -> list[Trend]:
    """Return one model under one condition in several runs, by the time that the runs were started."""
    groups: dict[tuple[str, str], list[ReportRow]] = {}
    for row in rows:
        if row.result.accuracy is not None and row.started:
            groups.setdefault((row.model, row.result.condition), []).append(row)
    return [
        Trend(
            (found[0].model, *found[0].parts()[1:]),
            [
                DatedPoint(**vars(_point(row)), started=row.started or "", label=row.label)
                for row in sorted(found, key=lambda row: row.started or "")
            ],
        )
        for found in groups.values()
        if len({row.run for row in found}) > 1
    ]


def side_by_side(runs: int, rows: Sequence[ReportRow]) -> tuple[list[SharedCondition], list[int]]:
    """Return the conditions that several runs have, and the places of the runs that have one of them.

    A run that shares no condition with another has no cell: it would stand as a column without a number.
    """
    places: dict[str, list[int | None]] = {}
    for number, row in enumerate(rows):
        places.setdefault(row.result.condition, [None] * runs)[row.run] = number
    shared = {name: cells for name, cells in places.items() if sum(cell is not None for cell in cells) > 1}
    shown = [run for run in range(runs) if any(cells[run] is not None for cells in shared.values())]
    return [SharedCondition(name, [cells[run] for run in shown]) for name, cells in shared.items()], shown


def _point(row: ReportRow) -> Point:
    found = row.result
    assert found.accuracy is not None
    bounds = found.zero_error_bounds
    return Point(
        accuracy=found.accuracy,
        interval_low=found.interval_low,
        interval_high=found.interval_high,
        floor=found.floor,
        floor_rule=found.floor_rule,
        reads=found.reads,
        strings=found.strings,
        incomplete=row.incomplete,
        length=row.length,
        at_most=bounds.strings.high if bounds and found.accuracy == 1 else None,
    )
