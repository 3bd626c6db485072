"""Shares and intervals as text."""

from __future__ import annotations


def share(value: float | None) -> str:
    """Return four decimals, or as many as show that a share is not quite 0 or 1. No data is ``None``.

    >>> share(0.5), share(0.99996), share(1.0), share(None)
    ('0.5000', '0.99996', '1.0000', 'None')
    """
    if value is None:
        return "None"
    decimals = 4
    while 0 < value < 1 and round(value, decimals) in (0, 1) and decimals < 12:
        decimals += 1
    return f"{value:.{decimals}f}"


def span(low: float | None, high: float | None) -> str:
    """Return the two ends of an interval. No data is ``None``."""
    return "None" if low is None or high is None else f"{share(low)}–{share(high)}"
