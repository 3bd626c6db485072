"""The cells of coverage.py: settings with a known truth, and how our intervals and others do in each of them.

Where the first experiments of a cell do not show clearly that the interval covers, fresh and more experiments replace
them. Otherwise the lowest of hundreds of figures would be low by chance alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from rivals import RIVALS
from simulate import Floats, Ints, models, pairs, pairs_of, runs_of, unlike, very_unequal, whole

from ffprompt.stats.intervals import rate_bounds
from ffprompt.stats.paired import difference_bounds

STRINGS = (20, 30, 100, 300, 1000)
CORRELATIONS = (0.0, 0.1, 0.3, 0.5)
# An interval with this coverage or more is taken to be valid where the sharpest is looked for.
VALID = 0.935
# Below this coverage in the first experiments a cell is measured again.
CLEARLY_VALID = 0.945
# Resampling takes long: so many experiments of it, and no more strings than this.
RESAMPLED, RESAMPLED_STRINGS = 400, 30

Draw = Callable[[np.random.Generator, tuple[int, int]], list[Ints]]


@dataclass(frozen=True)
class Cell:
    """One setting: what it is called, how counts are drawn, the truth."""

    question: str
    name: str
    strings: int
    truth: float
    draw: Draw
    promised: bool = True


@dataclass(frozen=True)
class Outcome:
    """What became of a cell. ``differ``: strings that differ, on average; ``sharpest``: its name and mean width.

    ``cell`` is a number, as the draws of a cell cannot travel between processes.
    """

    cell: int
    runs: int
    differ: float
    coverage: float
    width: float
    sharpest: tuple[str, float] | None

    @property
    def ratio(self) -> float | None:
        """Our mean width over that of the sharpest other interval that is valid in this cell."""
        return self.width / self.sharpest[1] if self.sharpest else None


def difference_cells() -> Iterator[Cell]:
    """Pairs of answers of every kind."""
    shares = [
        (0.001, 0.0), (0.001, 0.001), (0.01, 0.0), (0.01, 0.003), (0.01, 0.01), (0.05, 0.0), (0.05, 0.01),
        (0.05, 0.05), (0.1, 0.05), (0.2, 0.2), (0.3, 0.0), (0.3, 0.1), (0.4, 0.1),
    ]  # fmt: skip
    both = [(0.01, 0.01), (0.05, 0.05), (0.05, 0.15), (0.2, 0.25), (0.3, 0.3), (0.5, 0.5), (0.1, 0.4)]
    for k in STRINGS:
        for c in CORRELATIONS:
            for b, g in shares:
                yield Cell("difference", f"lost {b}, gained {g}, correlation {c}", k, g - b,
                           lambda rng, shape, b=b, g=g, c=c: pairs(rng, b, g, c, shape))  # fmt: skip
            for p, q in both:
                yield Cell("difference", f"two models, rates {p} and {q}, correlation {c}", k, p - q,
                           lambda rng, shape, p=p, q=q, c=c: models(rng, p, q, c, shape))  # fmt: skip
        for b, g in ((0.03, 0.0), (0.1, 0.0), (0.1, 0.03), (0.1, 0.1), (0.3, 0.0), (0.3, 0.1), (0.2, 0.2)):
            yield Cell("difference", f"whole strings, lost {b}, gained {g}", k, g - b,
                       lambda rng, shape, b=b, g=g: whole(rng, b, g, shape))  # fmt: skip
        for b, g, c in ((0.05, 0.0, 0.3), (0.05, 0.01, 0.1), (0.1, 0.1, 0.1), (0.3, 0.1, 0.3)):
            yield Cell("difference", f"very unequal strings, lost {b}, gained {g}, correlation {c}", k, g - b,
                       lambda rng, shape, b=b, g=g, c=c: pairs_of(rng, b, g, c, very_unequal(rng, shape)),
                       promised=False)  # fmt: skip
        for p in (0.02, 0.1, 0.3):
            yield Cell("difference", f"one fails in whole strings, the other here and there, rate {p}", k, 0.0,
                       lambda rng, shape, p=p: unlike(rng, p, shape), promised=False)  # fmt: skip


def rate_cells() -> Iterator[Cell]:
    """One rate, which is a difference with nothing gained."""
    for k in STRINGS:
        for c in CORRELATIONS:
            for p in (0.001, 0.01, 0.05, 0.2, 0.5):
                yield Cell("rate", f"rate {p}, correlation {c}", k, p,
                           lambda rng, shape, p=p, c=c: pairs(rng, p, 0.0, c, shape))  # fmt: skip
        for p in (0.03, 0.1, 0.3):
            yield Cell("rate", f"whole strings, rate {p}", k, p,
                       lambda rng, shape, p=p: whole(rng, p, 0.0, shape))  # fmt: skip
        for p, c in ((0.05, 0.3), (0.2, 0.1)):
            yield Cell("rate", f"very unequal strings, rate {p}, correlation {c}", k, p,
                       lambda rng, shape, p=p, c=c: pairs_of(rng, p, 0.0, c, very_unequal(rng, shape)),
                       promised=False)  # fmt: skip


@cache
def all_cells() -> tuple[Cell, ...]:
    """The whole grid, differences first."""
    return (*difference_cells(), *rate_cells())


def settled(job: tuple[int, int, int]) -> Outcome:
    """Measure a cell: its number, the first experiments, and the fresh ones if those leave its coverage in doubt."""
    number, runs, more = job
    first = measured(number, runs, np.random.default_rng([20231201, number]))
    if first.coverage >= CLEARLY_VALID or not more:
        return first
    return measured(number, more, np.random.default_rng([20231202, number]))


def measured(number: int, runs: int, rng: np.random.Generator) -> Outcome:
    """Coverage and mean width of our interval and of the others, in ``runs`` experiments."""
    cell = all_cells()[number]
    inside = dict.fromkeys(("ours", *RIVALS), 0)
    width = dict.fromkeys(inside, 0.0)
    counted = dict.fromkeys(inside, 0)
    differ = 0.0
    # About as many numbers in memory at a time, whatever the number of strings.
    for size in runs_of(runs, max(50, min(500, 200_000 // cell.strings))):
        lost, gained, reads = cell.draw(rng, (size, cell.strings))
        differ += ((lost + gained) > 0).sum() / runs
        for name in inside:
            taken = size
            if name == "bootstrap-t":
                taken = min(size, RESAMPLED - counted[name]) if cell.strings <= RESAMPLED_STRINGS else 0
            if taken:
                low, high = bounds(name, cell, lost[:taken], gained[:taken], reads[:taken])
                inside[name] += int(((low <= cell.truth) & (cell.truth <= high)).sum())
                width[name] += float((high - low).sum())
                counted[name] += taken
    valid = [
        (width[name] / counted[name], name)
        for name in RIVALS
        if counted[name] and inside[name] / counted[name] >= VALID
    ]
    best = min(valid, default=None)
    return Outcome(number, runs, differ, inside["ours"] / runs, width["ours"] / runs, best and (best[1], best[0]))


def bounds(name: str, cell: Cell, lost: Ints, gained: Ints, reads: Ints) -> tuple[Floats, Floats]:
    """Bounds of one method for many experiments; a rate is a difference with nothing gained, turned around."""
    of_rate = cell.question == "rate"
    if name == "ours":
        low, high = rate_bounds(lost, reads, 0.95) if of_rate else difference_bounds(lost, gained, reads, 0.975)
    else:
        with np.errstate(all="ignore"):
            low, high = RIVALS[name](lost, gained, reads, 0.975)
        low, high = (-high, -low) if of_rate else (low, high)
    return np.nan_to_num(low, nan=-1.0), np.nan_to_num(high, nan=1.0)
