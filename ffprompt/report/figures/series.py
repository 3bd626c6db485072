"""What a figure is made of: series, axes, and names that leave out what they share."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from ffprompt._util.formatting import NO_DATA, counted, share
from ffprompt.report.series import Point
from ffprompt.scoring.condition_result import ConditionResult

T = TypeVar("T")

MOST_SERIES = 40  # of trainings
MOST_CURVES = 12  # of conditions: more cannot be told apart
MOST_BARS = 120
# The bars of more curves than these hide each other; an interval is then seen by pointing at its mark.
MOST_WITH_BARS = 6
FLOOR = "floor: best rule without memory"


@dataclass(frozen=True)
class Series:
    """Numbers that are drawn in one way.

    Attributes:
        name: Its entry in the legend.
        x: Where it is drawn. A line is broken where a value is None.
        y: The same for the other axis.
        style: Points, a ``line`` through points, a line alone (``curve``, or dashed: ``rule``), upright ``ticks``,
            ``bars``, or a filled ``shape``.
        colour: A place in the palette, an outcome, or None for a neutral colour.
        low: Lower ends of its bars along y, None without bars. So are ``high``, ``x_low`` and ``x_high``.
        hover: What is shown where one points at a mark.
        hollow: Whether it is of what is not complete.
        twin: Whether it belongs to the series before it, or to its ``group``, and is left out of the legend.
        symbol: The kind of its marks.
        group: Series that are shown and hidden together.
        shift: How far it is drawn beside its numbers, so that bars do not hide each other. On a logarithmic axis it is
            added to the power of ten.
    """

    name: str
    x: Sequence[Any]
    y: Sequence[Any]
    style: Literal["points", "line", "curve", "rule", "ticks", "bars", "shape"] = "line"
    colour: int | str | None = None
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None
    x_low: Sequence[float | None] | None = None
    x_high: Sequence[float | None] | None = None
    hover: Sequence[str] = ()
    hollow: bool = False
    twin: bool = False
    symbol: Literal["circle", "cross", "triangle", "down"] = "circle"
    group: str | None = None
    shift: float = 0.0


@dataclass(frozen=True)
class RateAxis:
    """A logarithmic axis on which an exact 0 has a place of its own: ``zero``, below all else. None: no 0 is on it.

    ``low`` and ``high`` are the ends of the axis, ``ticks`` its marks with their texts.
    """

    zero: float | None
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]

    def at(self, value: float | None, spread: float = 0.5) -> float | None:
        """Where a value is drawn. A zero ``spread`` from 0 to 1 over its band, so that several can be counted."""
        if value is None or value > 0:
            return value
        assert self.zero is not None
        return self.zero * 10 ** (0.4 * (spread - 0.5))

    def down_to(self, low: float | None) -> float | None:
        """Where a bar begins: at ``low``, or at the foot of the axis where that is out of sight."""
        return None if low is None else max(low, self.low if self.zero is None else self.zero)

    def cut(self, series: Series, low: Sequence[float | None]) -> Series | None:
        """Return marks at the foot of the axis where bars of a series go on below it. None where none does.

        ``low`` are the lower ends of its intervals. A bar that ends on the line 0 is not cut.
        """
        if self.zero is not None:
            return None
        below = [(x, end) for x, end in zip(series.x, low, strict=True) if end is not None and end < self.low]
        if not below:
            return None
        hover = [f"the interval goes on to {rate(end)}" for _, end in below]
        x, y = [x for x, _ in below], [self.low * 1.04] * len(below)
        return Series(
            series.name, x, y, "points", series.colour, hover=hover, twin=True, symbol="down", shift=series.shift
        )

    @property
    def band(self) -> tuple[float, float] | None:
        """The strip in which zeros are drawn."""
        return None if self.zero is None else (self.low, self.zero * 10**0.3)

    @classmethod
    def of(cls, values: Iterable[float | None]) -> RateAxis:
        """An axis for these values. Lower ends of intervals are best not among them: they may be 1e-30.

        >>> RateAxis.of([0.0, 0.002, 0.7]).ticks
        ((0.0001, '0'), (0.001, '0.001'), (0.01, '0.01'), (0.1, '0.1'), (1.0, '1'))
        """
        known = [value for value in values if value is not None]
        some = [value for value in known if value > 0]
        first = math.floor(math.log10(min(some, default=0.1)) + 1e-9)
        last = max(math.ceil(math.log10(max(some, default=1.0)) - 1e-9), first + 1)
        steps = (1, 2, 5) if last - first <= 2 else (1,)
        marks = [step * 10.0**power for power in range(first, last + 1) for step in steps if power < last or step == 1]
        ticks = [(float(f"{mark:.0e}"), _power(mark)) for mark in marks]
        zero = 10.0 ** (first - 1) if any(value == 0 for value in known) else None
        low = 10.0**first * 0.8 if zero is None else zero * 10**-0.3
        if zero is not None:
            ticks.insert(0, (zero, "0"))
        high = min(10.0**last * 1.1, max(some, default=1.0) * 1.6)
        return cls(zero, low, high, tuple(tick for tick in ticks if tick[0] <= high))


def _power(mark: float) -> str:
    """A tick's text: 0.001, and 1e-4 where zeros would have to be counted."""
    if mark >= 0.00099:
        return f"{mark:.3g}"
    digit, power = f"{mark:.0e}".split("e")
    return f"{digit}e{int(power)}"


@dataclass(frozen=True)
class Figure:
    """A figure as data.

    Attributes:
        name: The name of its file.
        title: What stands above it.
        note: What a reader has to know, below it.
        x_title: What is on the x axis, and ``y_title`` what is on the y axis.
        series: What is drawn.
        categories: Names on the y axis, from the top.
        x_values: Ticks of a logarithmic x axis.
        x_dates: Whether the x axis is of dates.
        stacked: Whether bars stand behind each other.
        x_range: The ends of the x axis, as shares.
        x_rates: A logarithmic axis of rates, and ``y_rates`` the same for y.
        placed: Whether the y of a series are numbers: 0 is the middle of the first category, 1 that of the next one.
        subtitle: What all series share: model, template, shots and so on.
        x_mark: Where an upright line stands that is no series.
    """

    name: str
    title: str
    note: str
    x_title: str
    y_title: str
    series: Sequence[Series]
    categories: Sequence[str] = ()
    x_values: Sequence[float] = ()
    x_dates: bool = False
    stacked: bool = False
    x_range: tuple[float, float] | None = None
    x_rates: RateAxis | None = None
    y_rates: RateAxis | None = None
    placed: bool = False
    subtitle: str = ""
    x_mark: float | None = None


def rate(value: float | None) -> str:
    """An error rate in words: three digits however small it is, and 0 for exactly 0. None where there is no data.

    >>> rate(0.0), rate(0.000023456), rate(0.25), rate(None)
    ('0', '2.35e-05', '0.25', 'None')
    """
    return NO_DATA if value is None else "0" if value == 0 else f"{value:.3g}"


def describe(name: str, row: ConditionResult | Point, incomplete: bool = False) -> str:
    """Return what is shown where one points at an accuracy."""
    text = f"{name}\naccuracy {share(row.accuracy)} ({share(row.interval_low)} to {share(row.interval_high)})"
    text += f"\n{counted(row.reads, 'read')} of {counted(row.strings, 'string')}"
    if row.floor is not None:
        text += f"\nfloor {share(row.floor)} {row.floor_rule}"
    return text + ("\n† not complete" if incomplete or (isinstance(row, Point) and row.incomplete) else "")


def marked(name: str, incomplete: bool) -> str:
    """A name, with the mark of what is not complete."""
    return f"{name} †" if incomplete else name


def aside(series: Sequence[Series], logarithmic: bool = False) -> list[Series]:
    """Return series that are drawn a little beside each other, so that their bars do not lie on each other.

    Their numbers stay: ``shift`` is added when they are drawn, on a logarithmic axis to the power of ten.
    """
    moved = [one for one in series if one.low is not None]
    if len(moved) < 2:
        return list(series)
    places = sorted({math.log10(x) if logarithmic else float(x) for one in moved for x in one.x})
    span = places[-1] - places[0] if len(places) > 1 else 0.5
    nearest = min((b - a for a, b in itertools.pairwise(places) if b - a > span / 50), default=span)
    step = min(0.014 * span, 0.5 * nearest / len(moved))
    shifts = {id(one): step * (n - (len(moved) - 1) / 2) for n, one in enumerate(moved)}
    return [replace(one, shift=shifts.get(id(one), 0.0)) for one in series]


def floors(names: Sequence[str], beside: Sequence[Sequence[tuple[float, float, str]]]) -> list[Series]:
    """Return the dashed floors of named series, each of (x, floor, text) points, with one entry in the legend.

    Series that were asked the same reads have the same floor, and it is drawn once. Among several floors, each has the
    colour of the first series that it belongs to.
    """
    owners: dict[tuple[tuple[float, float], ...], list[int]] = {}
    for number, points in enumerate(beside):
        if points:
            owners.setdefault(tuple((x, y) for x, y, _ in points), []).append(number)
    drawn: list[Series] = []
    for floor, numbers in owners.items():
        owner = f"\nof {', '.join(names[n] for n in numbers)}" if len(owners) > 1 else ""
        texts = [text + owner for _, _, text in beside[numbers[0]]]
        colour = numbers[0] if len(owners) > 1 else None
        x, y = [x for x, _ in floor], [y for _, y in floor]
        drawn.append(Series(FLOOR, x, y, "rule", colour, hover=texts, twin=True, group="floor"))
    if not drawn:
        return []
    # The entry in the legend has a colour of its own, as it stands for all of them.
    entry = FLOOR if len(owners) == 1 else f"{FLOOR}, in the colour of its line"
    return [Series(entry, [], [], "rule", None, group="floor"), *drawn]


def some_of(things: Sequence[T], owners: Sequence[str], most: int) -> list[T]:
    """Return at most so many things in their order, so that each owner has its first one before any has its second.

    >>> some_of(["a1", "a2", "b1"], ["a", "a", "b"], 2)
    ['a1', 'b1']
    """
    seen: Counter[str] = Counter()
    turns = []
    for owner in owners:
        turns.append(seen[owner])
        seen[owner] += 1
    return [things[n] for n in sorted(sorted(range(len(things)), key=lambda n: turns[n])[:most])]


def numbered(figures: Sequence[Figure]) -> list[Figure]:
    """Return figures whose names differ: ``comparison``, ``comparison-2`` and so on."""
    return [replace(one, name=f"{one.name}-{n}" if n > 1 else one.name) for n, one in enumerate(figures, 1)]


def fewer(note: str, shown: int, of: int, what: str) -> str:
    """A note that says how many are drawn, where that is not all."""
    return note if shown == of else f"{note} {shown} of {of} {what} are drawn."


def barless(note: str, curves: int) -> str:
    """A note that says where the intervals are, where there are too many curves to draw them."""
    return note if curves <= MOST_WITH_BARS else f"{note} Pointing at a mark of the page shows its interval."
