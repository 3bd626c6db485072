"""Rows of a report side by side: accuracy by length, in the two tails, over time and over runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ffprompt._util.records import JsonObject

_SPARSE, _DENSE = "sparse tail", "dense tail"  # presets of a task


@dataclass(frozen=True)
class Point:
    """The accuracy of one row in a series.

    ``at_most``: what all reads being right leaves possible, from one side; None where one was not, or a run does not
    say.
    """

    accuracy: float
    interval_low: float
    interval_high: float
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
class LengthSeries:
    """Accuracy against T."""

    elicitation: str
    name: str
    points: list[Point]


@dataclass(frozen=True)
class Tails:
    """Accuracy on FFL(0.98) beside that on FFL(0.1)."""

    name: str
    sparse: Point
    dense: Point


@dataclass(frozen=True)
class Trend:
    """One model under one condition in several runs."""

    name: str
    points: list[DatedPoint]


@dataclass(frozen=True)
class SharedCondition:
    """A condition that several runs have: ``cells`` are numbers of rows, None where a run lacks it."""

    condition: str
    cells: list[int | None]


def lengths(rows: Sequence[JsonObject]) -> list[LengthSeries]:
    """Return one series for what differs in nothing but T, and only of rows that have an accuracy."""
    series: dict[tuple[str, str, int | None, str], LengthSeries] = {}
    for row in rows:
        if row["accuracy"] is not None:
            key = (row["label"], row["how"], row.get("shot_length"), _rest(row))
            name = f"{row['label']} · {row['how']} · {_language(row)}"
            series.setdefault(key, LengthSeries(row["elicitation"], name, [])).points.append(_point(row))
    for one in series.values():
        one.points.sort(key=lambda point: point.length)
    return list(series.values())


def tails(rows: Sequence[JsonObject]) -> list[Tails]:
    """Return accuracy in both tails where a run has both under the same conditions."""
    pairs: dict[tuple[int, str, int], dict[str, JsonObject]] = {}
    for row in rows:
        if row["accuracy"] is not None and row["preset"] in (_SPARSE, _DENSE):
            pairs.setdefault((row["run"], row["how"], row["length"]), {})[row["preset"]] = row
    return [
        Tails(
            f"{pair[_SPARSE]['label']} · {pair[_SPARSE]['how']} · T = {pair[_SPARSE]['length']}",
            _point(pair[_SPARSE]),
            _point(pair[_DENSE]),
        )
        for pair in pairs.values()
        if len(pair) == 2
    ]


def trends(rows: Sequence[JsonObject]) -> list[Trend]:
    """Return one model under one condition in several runs, by the time that the runs were started."""
    series: dict[tuple[str, str], list[JsonObject]] = {}
    for row in rows:
        if row["accuracy"] is not None and row["started"]:
            series.setdefault((row["model"], row["condition"]), []).append(row)
    return [
        Trend(
            f"{model} · {found[0]['how']} · {found[0]['language']}",
            [
                DatedPoint(**vars(_point(row)), started=row["started"], label=row["label"])
                for row in sorted(found, key=lambda row: str(row["started"]))
            ],
        )
        for (model, _), found in series.items()
        if len({row["run"] for row in found}) > 1
    ]


def side_by_side(runs: int, rows: Sequence[JsonObject]) -> list[SharedCondition]:
    """Return the conditions that several runs have."""
    shared: dict[str, list[int | None]] = {}
    for number, row in enumerate(rows):
        shared.setdefault(row["condition"], [None] * runs)[row["run"]] = number
    return [
        SharedCondition(condition, cells)
        for condition, cells in shared.items()
        if sum(cell is not None for cell in cells) > 1
    ]


def _point(row: JsonObject) -> Point:
    bounds = row.get("zero_error_bounds")
    return Point(
        accuracy=row["accuracy"],
        interval_low=row["interval_low"],
        interval_high=row["interval_high"],
        floor=row["floor"],
        floor_rule=row["floor_rule"],
        reads=row["reads"],
        strings=row["strings"],
        incomplete=row["incomplete"],
        length=row["length"],
        at_most=bounds["strings"]["high"] if bounds and row["accuracy"] == 1 else None,
    )


def _language(row: JsonObject) -> str:
    """A language without its length."""
    return "strings from a file" if row["p_ignore"] is None else f"p(ignore) {row['p_ignore']}"


def _rest(row: JsonObject) -> str:
    """The language of a row but for its length."""
    return str(row["language"]).replace(f"({row['length']}", "(T", 1)
