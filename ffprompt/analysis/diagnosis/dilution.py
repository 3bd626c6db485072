"""How margin and attention change with the number of competitors and with the gap, apart from each other.

The margin D of a head is the score of the write less the logsumexp of all others, and its attention on the write is
1 / (1 + exp(-D)). With n competitors of equal scores D falls by log n: a slope of -1 against log n is pure dilution at
a fixed gap of scores. A slope near 0 says that the scores keep up. A head with a negative margin and a low entropy is
confidently wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ffprompt._util.plain import Plain
from ffprompt.analysis.diagnosis.estimates import Bools, Estimate, Floats, Ints, means, slopes
from ffprompt.analysis.diagnosis.table import AttentionTable
from ffprompt.backends.local.attention import WRITE


@dataclass(frozen=True)
class Point(Plain):
    """The mean over the reads of a bin. ``label`` is 3–4 for three to four."""

    label: str
    mass: Estimate | None
    margin: Estimate | None


@dataclass(frozen=True)
class Dilution(Plain):
    """How one head, or the mean of several, changes.

    Attributes:
        head: Its name, or ``best`` for the mean of the best heads.
        margin_on_competitors: Slope of the margin on log(competitors + 1), at a fixed gap.
        margin_on_gap: Slope of the margin on log(gap), at a fixed number of competitors.
        mass_on_competitors: The same of the attention on the write. ``mass_on_gap`` likewise.
        by_competitors: The curve, in bins that end at powers of two.
        by_gap: The same by instructions since the write.
    """

    head: str
    margin_on_competitors: Estimate | None
    margin_on_gap: Estimate | None
    mass_on_competitors: Estimate | None
    mass_on_gap: Estimate | None
    by_competitors: list[Point]
    by_gap: list[Point]


def dilutions(table: AttentionTable, heads: Ints) -> list[Dilution]:
    """Return how the mean of ``heads`` changes, then each of them."""
    mass, margin = table.mass[:, heads, WRITE].astype(np.float64), table.margin[:, heads].astype(np.float64)
    seen = np.isfinite(margin)
    mean_margin = np.where(seen, margin, 0.0).sum(1) / np.maximum(seen.sum(1), 1)
    mean_margin[~seen.any(1)] = np.nan
    found = [_dilution("best", table, mass.mean(1), mean_margin)]
    return [*found, *(_dilution(table.name(int(h)), table, mass[:, n], margin[:, n]) for n, h in enumerate(heads))]


def _dilution(name: str, table: AttentionTable, mass: Floats, margin: Floats) -> Dilution:
    predictors = np.column_stack([np.log1p(table.competitors), np.log(table.gap)])
    margins, masses = slopes(predictors, margin, table.string), slopes(predictors, mass, table.string)
    return Dilution(
        name,
        margins[0],
        margins[1],
        masses[0],
        masses[1],
        _curve(table.competitors, mass, margin, table.string),
        _curve(table.gap, mass, margin, table.string),
    )


def _curve(of: Ints, mass: Floats, margin: Floats, string: Ints) -> list[Point]:
    return [
        Point(label, *means(mass[where], string[where], 1.0), *means(margin[where], string[where]))
        for label, where in bins(of)
    ]


def bins(values: Ints) -> list[tuple[str, Bools]]:
    """Return bins 0, 1, 2, 3–4, 5–8 and so on that hold something."""
    found, low = [], 0
    ends = [0, *(1 << n for n in range(40))]
    for high in ends:
        where = (values >= low) & (values <= high)
        if where.any():
            found.append((str(high) if low == high else f"{low}–{high}", where))
        low = high + 1
    return found
