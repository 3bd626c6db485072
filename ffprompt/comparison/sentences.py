"""What a comparison says, in words: better, worse or unclear, row by row and over all rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ffprompt.comparison.compare import Comparison, ComparisonRow

Word = Literal["better", "worse", "unclear", "not tested", "no data"]


def word(row: ComparisonRow, level: float) -> Word:
    """Return whether B is better or worse than A, by the p-value adjusted for the number of rows.

    ``level``: the confidence of the comparison. With 0.95, the adjusted p-value must be below 0.05.
    """
    if row.blanked:
        return "not tested"
    if row.difference is None or row.p_holm is None:
        return "no data"
    if row.p_holm >= 1 - level:
        return "unclear"
    return "better" if row.difference.estimate > 0 else "worse"


def sentences(made: Comparison) -> list[str]:
    """Return one line for each pair of sides: how often B is better or worse, and by how much at most.

    For example ``shots 1 against shots 0: worse in 1 of 4 conditions (-0.0821), unclear in 3``.
    """
    pairs: dict[tuple[str, str], list[ComparisonRow]] = {}
    for row in made.rows:
        pairs.setdefault((row.a, row.b), []).append(row)
    return [f"{b} against {a}: {_said(rows, made.level)}" for (a, b), rows in pairs.items()]


def _said(rows: Sequence[ComparisonRow], level: float) -> str:
    by: dict[str, list[ComparisonRow]] = {}
    for row in rows:
        by.setdefault(word(row, level), []).append(row)
    parts: list[str] = []
    for kind in ("better", "worse", "unclear", "not tested", "no data"):
        hit = by.get(kind, [])
        if not hit:
            continue
        text = f"{kind} in {len(hit)}"
        if not parts:
            text += f" of {len(rows)} conditions" if len(rows) > 1 else " condition"
        differences = [row.difference.estimate for row in hit if row.difference is not None]
        if kind in ("better", "worse"):
            low, high = min(differences, key=abs), max(differences, key=abs)
            text += f" ({low:+.4f})" if low == high else f" ({low:+.4f} to {high:+.4f})"
        parts.append(text)
    return ", ".join(parts)
