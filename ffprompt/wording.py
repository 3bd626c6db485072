"""Numbers in words: shares, intervals, and what stands under the result table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_WILSON = "Wilson over strings (computed by an earlier version; ffprompt score RUN renews it)"


def share(value: float | None) -> str:
    """Four decimals, or as many as show that a share is not quite 0 or 1; None where there is no data."""
    if value is None:
        return "None"
    decimals = 4
    while 0 < value < 1 and round(value, decimals) in (0, 1) and decimals < 12:
        decimals += 1
    return f"{value:.{decimals}f}"


def interval(row: Mapping[str, Any]) -> str:
    """A row's interval, ``low–high``."""
    return span(row["interval_low"], row["interval_high"])


def span(low: float | None, high: float | None) -> str:
    """Two ends of an interval; None where there is no data."""
    return "None" if low is None or high is None else f"{share(low)}–{share(high)}"


def legend(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the columns of the result table mean."""
    methods = dict.fromkeys(
        row.get("interval_method") or _WILSON for row in rows if row.get("interval_low") is not None
    )
    said = f"interval: {' or '.join(methods)}; " if methods else ""
    said = said.replace("Korn-Graubard", "Korn-Graubard, with the read as the unit and the string as the cluster")
    said = said.replace("score test", "score test with strings as clusters")
    return (
        f"accuracy: correct / (reads - errors); {said}floor: the best of several rules without memory on the same reads"
    )


def notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the intervals do not say: how many strings are hit, what no miss at all shows, and what to beware of.

    Rows of earlier versions, which do not know, have none.
    """
    found = []
    for row in rows:
        if (hit := row.get("strings_with_an_error")) is not None:
            name = f"{row['model']} {row['condition']}"
            found.append(f"{name}: {_bounds(row) if row['zero_error_bounds'] else _hit(row, hit)}")
    warned: dict[str, list[str]] = {}
    for row in rows:
        for warning in row.get("warnings", ()):
            warned.setdefault(warning, []).append(f"{row['model']} {row['condition']}")
    for warning, names in warned.items():
        more = f", and {len(names) - 1} more" if len(names) > 1 else ""
        found.append(f"beware, {warning} ({names[0]}{more})")
    return found


def audit_notes(info: Mapping[str, Any]) -> list[str]:
    """What the audit of a run, by its ``run.json``, has found that a reader of its numbers should know."""
    noted = dict.fromkeys(note for found in info.get("audit") or () for note in found.get("notes", ()))
    return [f"note on {info['config']['model']}: {note}" for note in noted]


def _hit(row: Mapping[str, Any], hit: Mapping[str, Any]) -> str:
    return (
        f"{hit['count']:,} of {row['strings']:,} strings have a read not answered correctly, "
        f"{share(hit['share'])} ({span(hit['low'], hit['high'])}, exact)"
    )


def _bounds(row: Mapping[str, Any]) -> str:
    strings, reads = row["zero_error_bounds"]["strings"], row["zero_error_bounds"]["reads"]
    said = (
        f"every read of {row['strings']:,} strings is right. At {strings['level']:.0%} confidence, one-sided, the "
        f"error rate is at most {share(strings['high'])} if {strings['needs']}"
    )
    if reads["n"] == strings["n"]:
        return said
    return f"{said}; at most {share(reads['high'])} if {reads['needs']}"
