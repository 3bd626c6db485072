"""Warnings that several rows of a table share, said once."""

from __future__ import annotations

from collections.abc import Sequence

# At every number that rests on part of a run, and what it means.
MARK = "*"
MARKED = "* from an incomplete run: what is missing may not be missing by chance"


def grouped(noted: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """Return each warning once, with the rows that it is about.

    >>> grouped([("a", ["few strings"]), ("b", ["few strings"]), ("c", [])])
    ['! few strings (a and b)']
    """
    about: dict[str, list[str]] = {}
    for name, warnings in noted:
        for warning in warnings:
            about.setdefault(warning, []).append(name)
    return [f"! {warning} ({_whose(names, len(noted))})" for warning, names in about.items()]


def _whose(names: Sequence[str], rows: int) -> str:
    if 1 < rows == len(names):
        return "all conditions"
    if len(names) > 3:
        return f"{names[0]} and {len(names) - 1} more"
    return " and ".join(names)
