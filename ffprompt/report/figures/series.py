"""What a figure is made of: series, axes, and names that leave out what they share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ffprompt._util.formatting import share
from ffprompt._util.records import JsonObject

MOST_SERIES = 40
MOST_BARS = 120
# The bars of more curves than these hide each other; an interval is then seen by pointing at its mark.
MOST_WITH_BARS = 6


@dataclass(frozen=True)
class Series:
    """Points, a line through points, a line alone (dashed: ``rule``, else ``curve``), bars, or a filled ``shape``.

    Where a value is None a line is broken; bounds are None where there are none. ``colour`` is a place in the palette,
    an outcome, or None for a neutral one; ``hollow`` marks what is not complete. ``twin`` belongs to the series before
    it (or to the first of its ``group``), and is left out of the legend.
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
    symbol: Literal["circle", "cross", "triangle"] = "circle"
    group: str | None = None


@dataclass(frozen=True)
class RateAxis:
    """A logarithmic axis on which an exact 0 has a place of its own: ``zero``, below all else; None: no 0 is on it.

    ``low`` and ``high`` are the ends of the axis, ``ticks`` its marks with their texts.
    """

    zero: float | None
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]

    def at(self, value: float | None, spread: float = 0.5) -> float | None:
        """Where a value is drawn; a zero ``spread`` from 0 to 1 over its band, so that several can be counted."""
        if value is None or value > 0:
            return value
        assert self.zero is not None
        return self.zero * 10 ** (0.4 * (spread - 0.5))

    def down_to(self, low: float | None) -> float | None:
        """Where a bar begins: at ``low``, or at the foot of the axis where that is out of sight."""
        return None if low is None else max(low, self.low if self.zero is None else self.zero)

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
    """``categories``: the y axis holds these, from the top; ``x_values``: ticks of a logarithmic x axis.

    ``subtitle`` names what all series share: model, template, shots and so on. ``x_mark`` is where an upright line
    stands that is no series. With ``placed`` the y of a series are numbers: 0 is the middle of the first category, 1
    that of the next one.
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
    """An error rate in words: three digits however small it is, and 0 for exactly 0; None where there is no data.

    >>> rate(0.0), rate(0.000023456), rate(0.25), rate(None)
    ('0', '2.35e-05', '0.25', 'None')
    """
    return "None" if value is None else "0" if value == 0 else f"{value:.3g}"


def describe(name: str, row: JsonObject) -> str:
    """What is shown where one points at an accuracy."""
    text = f"{name}\naccuracy {share(row['accuracy'])} ({share(row['interval_low'])} to {share(row['interval_high'])})"
    text += f"\n{row['reads']:,} reads of {row['strings']:,} strings"
    if row.get("floor") is not None:
        text += f"\nfloor {share(row['floor'])} {row['floor_rule']}"
    return text + ("\n† not complete" if row["incomplete"] else "")


def marked(name: str, incomplete: bool) -> str:
    """A name, with the mark of what is not complete."""
    return f"{name} †" if incomplete else name


def short(names: Sequence[str]) -> tuple[list[str], str]:
    """Names without the parts that all of them share, and these parts.

    >>> short(["a · game · T = 2", "a · game · T = 4"])
    (['T = 2', 'T = 4'], 'a · game')
    """
    if len(names) == 1:
        return list(names), names[0]
    parts = [name.split(" · ") for name in names]
    if not names or len({len(one) for one in parts}) > 1 or len(set(names)) < len(names):
        return list(names), ""
    same = [len(set(column)) == 1 for column in zip(*parts, strict=True)]
    kept = [" · ".join(part for part, shared in zip(one, same, strict=True) if not shared) for one in parts]
    return kept, " · ".join(part for part, shared in zip(parts[0], same, strict=True) if shared)


def common(note: str, shared: str) -> str:
    """A note that names what all series share."""
    return f"{note} All: {shared}." if shared else note


def fewer(note: str, shown: int, of: int, what: str) -> str:
    """A note that says how many are drawn, where that is not all."""
    return note if shown == of else f"{note} The first {shown} of {of} {what} are drawn."


def barless(note: str, curves: int) -> str:
    """A note that says where the intervals are, where there are too many curves to draw them."""
    return note if curves <= MOST_WITH_BARS else f"{note} Pointing at a mark of the page shows its interval."
