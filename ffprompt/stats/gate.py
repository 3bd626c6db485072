"""Is a candidate as good as what it replaces, but for a margin? Three answers, one of which is "this does not tell"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ffprompt.errors import CountsError
from ffprompt.stats.paired import Difference, Pairs, bounded
from ffprompt.stats.quantiles import checked_level

Verdict = Literal["pass", "regression", "inconclusive"]


@dataclass(frozen=True)
class Gate:
    """The verdict, the bounds that it rests on (None: no read in common), and why in one line.

    ``shown_worse``: the candidate is shown to be worse at all, by whatever amount. It can pass nevertheless.
    """

    verdict: Verdict
    margin: float
    level: float
    found: Difference | None
    reason: str

    @property
    def shown_worse(self) -> bool:
        """Whether even the upper bound of the difference is below 0."""
        return self.found is not None and self.found.high < 0


def noninferior(pairs: Pairs, margin: float, level: float = 0.95) -> Gate:
    """Compare a candidate (B) with a baseline (A) on the same reads.

    With d the true difference in accuracy, B - A, and two one-sided bounds for it at confidence ``level`` each:

    - ``pass``: the lower bound is above -margin. Where d <= -margin this happens with probability <= 1 - level.
    - ``regression``: the upper bound is below -margin: B is shown to be worse by more than the margin. Where
      d >= -margin this happens with probability <= 1 - level.
    - ``inconclusive``: neither. More strings are needed. Without a read in common the verdict is this one.

    Identical answers do not pass by themselves: on k strings of equal length they leave room for a loss of 1 - (1 -
    level)^(1 / k), 3 / k at 95 %.

    Raises:
        CountsError: unless 0 < margin < 1.
    """
    checked_level(level)
    if not 0 < margin < 1:
        raise CountsError(f"margin {margin}: expected a loss of accuracy between 0 and 1, such as 0.01")
    found = bounded(pairs, level, level, one_sided=True)
    if found is None:
        return Gate("inconclusive", margin, level, None, "no read was answered in both runs")
    if found.low > 0:
        return Gate("pass", margin, level, found, "the candidate is better")
    if found.low > -margin:
        return Gate("pass", margin, level, found, f"a loss of more than {-found.low:.2g} is ruled out")
    if found.high < -margin:
        return Gate("regression", margin, level, found, f"the loss is at least {-found.high:.2g}")
    least = f"from {-found.high:.2g}" if found.high < 0 else "from none"
    return Gate("inconclusive", margin, level, found, f"the loss may be anything {least} to {-found.low:.2g}")
