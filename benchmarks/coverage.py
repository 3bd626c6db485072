"""Do the statistics keep what they promise? Simulated experiments with a known truth; prints a page of tables.

OMP_NUM_THREADS=1 python benchmarks/coverage.py > benchmarks/coverage.md

It also draws the two pictures of docs/methods.md. ``--experiments`` and ``--part`` make it shorter.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from coverage_plans import calibrations, certificates, gates, planning
from rivals import RIVALS
from simulate import (
    Ints,
    chances,
    lengths,
    models,
    pairs,
    pairs_of,
    percent,
    runs_of,
    table,
    unlike,
    very_unequal,
    whole,
)

from ffprompt.stats.intervals import rate_bounds, zero_bound
from ffprompt.stats.paired import Pairs, difference_bounds
from ffprompt.stats.pvalues import mcnemar, sign_flip
from ffprompt.stats.score_test import RiskTest

STRINGS = (20, 30, 100, 300, 1000)
CORRELATIONS = (0.0, 0.1, 0.3, 0.5)
# An interval with this coverage or more is taken to be valid where the sharpest is looked for.
VALID = 0.935
# Resampling takes long: so many experiments of it, and no more strings than this.
_RESAMPLED, _RESAMPLED_STRINGS = 100, 30
DOCS = Path(__file__).parents[1] / "docs"

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
    """What became of a cell. ``differ``: strings that differ, on average; ``sharpest``: its name and mean width."""

    cell: Cell
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


def measured(cell: Cell, runs: int, seed: int) -> Outcome:
    """Coverage and mean width of our interval and of the others."""
    rng = np.random.default_rng(seed)
    of_rate = cell.question == "rate"
    inside = dict.fromkeys(("ours", *RIVALS), 0.0)
    width = dict.fromkeys(inside, 0.0)
    counted = dict.fromkeys(inside, 0)
    differ = 0.0
    # About as many numbers in memory at a time, whatever the number of strings.
    for size in runs_of(runs, max(50, min(500, 200_000 // cell.strings))):
        lost, gained, reads = cell.draw(rng, (size, cell.strings))
        differ += ((lost + gained) > 0).sum() / runs
        for name in inside:
            if name == "ours":
                bounds = rate_bounds(lost, reads, 0.95) if of_rate else difference_bounds(lost, gained, reads, 0.975)
                now = size
            else:
                now = size
                if name == "bootstrap-t":
                    now = min(size, _RESAMPLED - counted[name]) if cell.strings <= _RESAMPLED_STRINGS else 0
                if now <= 0:
                    continue
                with np.errstate(all="ignore"):
                    low, high = RIVALS[name](lost[:now], gained[:now], reads[:now], 0.975)
                bounds = (-high, -low) if of_rate else (low, high)
            low, high = np.nan_to_num(bounds[0], nan=-1.0), np.nan_to_num(bounds[1], nan=1.0)
            inside[name] += ((low <= cell.truth) & (cell.truth <= high)).sum()
            width[name] += (high - low).sum()
            counted[name] += now
    valid = [
        (width[name] / counted[name], name)
        for name in RIVALS
        if counted[name] and inside[name] / counted[name] >= VALID
    ]
    best = min(valid, default=None)
    return Outcome(cell, differ, inside["ours"] / runs, width["ours"] / runs, best and (best[1], best[0]))


def intervals(title: str, cells: list[Cell], runs: int, seed: int) -> list[Outcome]:
    """Every cell, one line each as it is done, and what they have in common."""
    print(f"## {title}\n")
    print("| setting | strings | differ | coverage | width | sharpest valid other | ratio |\n" + "|---" * 7 + "|")
    outcomes = []
    for number, cell in enumerate(cells):
        one = measured(cell, runs, seed + number)
        outcomes.append(one)
        best = f"{one.sharpest[0]} {one.sharpest[1]:.4f}" if one.sharpest else "none is valid"
        ratio = f"{one.ratio:.2f}" if one.ratio else ""
        shown = (cell.name, cell.strings, f"{one.differ:.1f}", percent(one.coverage), f"{one.width:.4f}", best, ratio)
        print(f"| {' | '.join(map(str, shown))} |", flush=True)
    print()
    summary(outcomes)
    return outcomes


def summary(outcomes: list[Outcome]) -> None:
    rows = []
    groups = {
        "8 strings or more differ on average": lambda one: one.cell.promised and one.differ >= 8,
        "20 or more": lambda one: one.cell.promised and one.differ >= 20,
        "fewer than 8": lambda one: one.cell.promised and one.differ < 8,
        "not promised (see docs/methods.md)": lambda one: not one.cell.promised,
    }
    for name, belongs in groups.items():
        mine = [one for one in outcomes if belongs(one)]
        if not mine:
            continue
        covered = [one.coverage for one in mine]
        ratios = [one.ratio for one in mine if one.ratio]
        rows.append((
            name, len(mine), percent(min(covered)), percent(float(np.median(covered))), percent(max(covered)),
            f"{sum(0.94 <= value <= 0.965 for value in covered) / len(mine):.0%}",
            f"{np.median(ratios):.2f}" if ratios else "", f"{max(ratios):.2f}" if ratios else "",
            f"{sum(value <= 1.1 for value in ratios)} of {len(ratios)}",
        ))  # fmt: skip
    head = ("cells", "number", "lowest coverage", "median", "highest", "from 94 to 96.5")
    table((*head, "median ratio", "largest ratio", "ratio at most 1.1"), rows)


def risk_differences(rng: np.random.Generator, runs: int) -> None:
    print("## Two kinds of reads in the same strings (anatomy)\n")
    rows = []
    for strings in (20, 30, 60, 200):
        for p, q in (
            (0.05, 0.0),
            (0.05, 0.01),
            (0.1, 0.1),
            (0.3, 0.1),
            (0.3, 0.0),
            (0.9, 0.0),
            (0.98, 0.02),
            (0.5, 0.5),
        ):
            cells: list[object] = [strings, p, q]
            for correlation in (0.0, 0.2, 0.5):
                reads = lengths(rng, (runs, strings))
                exposed = rng.binomial(reads, 0.5)
                errors = rng.binomial(exposed, chances(rng, p, correlation, reads.shape))
                others = rng.binomial(reads - exposed, chances(rng, q, correlation, reads.shape))
                columns = (errors, exposed, others, reads - exposed)
                low, high = RiskTest.of(*(column.astype(float) for column in columns)).bounds(0.975, -1.0)
                differ = float((errors + others > 0).sum(-1).mean())
                cells.append(f"{percent(((low <= p - q) & (p - q <= high)).mean())} ({differ:.0f})")
            rows.append(cells)
    print("Coverage in % of `risk_difference`; in brackets, strings with an error.\n")
    head = ("strings", "rate where exposed", "rate elsewhere", *(f"correlation {c}" for c in (0.0, 0.2, 0.5)))
    table(head, rows)


def no_errors(rng: np.random.Generator, runs: int) -> None:
    rows = []
    for strings in (30, 300):
        for correlation in (0.0, 0.2, 1.0):
            cells = []
            for unit in ("strings", "reads"):
                # The rate at which the bound is as likely to be wrong as it may ever be.
                rate = zero_bound(strings if unit == "strings" else strings * 20, 0.95)
                wrong = 0
                for size in runs_of(runs * 5, 5000):
                    chance = chances(rng, rate, correlation, (size, strings))
                    wrong += int((rng.binomial(20, chance).sum(1) == 0).sum())
                cells.append(percent(wrong / (runs * 5)))
            rows.append((strings, correlation, *cells))
    print("How often, in %, `zero_error_bounds` is wrong at the rate where it is wrong most often, 20 reads a string;")
    print("5 is promised: by strings whatever the correlation, by reads only if reads are independent.\n")
    table(("strings", "correlation", "by strings", "by reads"), rows)


def tests(rng: np.random.Generator, runs: int) -> None:
    print("Tests of two equally good models: how often p <= 0.05, in %.\n")
    rows = []
    for share in (0.002, 0.02, 0.1):
        for strings in (20, 100, 500):
            for correlation in (0.0, 0.3):
                drawn = pairs(rng, share, share, correlation, (runs, strings))
                low, high = difference_bounds(*drawn, 0.975)
                found = np.zeros(4)
                some = min(runs, 500)
                for row in range(some):
                    made = Pairs(*(column[row] for column in drawn))
                    p = [sign_flip(made), *(mcnemar(made, name) for name in ("yang", "obuchowski", "durkalski"))]
                    found += [test is not None and test.p <= 0.05 for test in p]
                ours = ((low > 0) | (high < 0)).mean()
                rows.append((share, strings, correlation, percent(ours), *(percent(cell) for cell in found / some)))
    head = ("lost = gained", "strings", "correlation", "score test", "sign flips", "Yang", "Obuchowski", "Durkalski")
    table(head, rows)


def power(rng: np.random.Generator, runs: int) -> None:
    print("A true loss of 0.05 (lost 0.1, gained 0.05): how often the interval leaves out 0, in %.\n")
    rows = []
    for strings in (30, 100, 300):
        for correlation in (0.0, 0.1, 0.3):
            drawn = pairs(rng, 0.1, 0.05, correlation, (runs, strings))
            cells = []
            for low, high in (difference_bounds(*drawn, 0.975), RIVALS["cluster t"](*drawn, 0.975)):
                cells.append(percent(((low > 0) | (high < 0)).mean()))
            rows.append((strings, correlation, *cells))
    table(("strings", "correlation", "ours", "cluster t"), rows)


def pictures(outcomes: list[Outcome]) -> None:
    """Coverage and width against the strings that differ."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    kinds = (("difference", "#1b6ca8", "o"), ("rate", "#c1531f", "s"))
    for name, value, label, bands, shown in (
        ("coverage", lambda one: 100 * one.coverage, "coverage of the 95 % interval, %", (94, 96.5), (91, 100.3)),
        ("width", lambda one: one.ratio, "width / sharpest other that covers", (0.9, 1.1), (0.7, 2.2)),
    ):
        figure, axes = plt.subplots(figsize=(7, 3.6), dpi=110)
        axes.axhspan(*bands, color="#e8efe6", zorder=0)
        for question, colour, marker in kinds:
            points = [(one.differ, value(one)) for one in outcomes
                      if one.cell.question == question and one.cell.promised and value(one) is not None]  # fmt: skip
            at, height = zip(*points, strict=True)
            axes.scatter(at, height, s=14, c=colour, marker=marker, linewidths=0, alpha=0.7, label=question)
        axes.axvline(8, color="#888888", linewidth=0.8, linestyle="--")
        axes.set(xscale="log", xlabel="strings that differ, or have an error (mean)", ylabel=label, ylim=shown)
        axes.set_xlim(left=2)
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        DOCS.mkdir(exist_ok=True)
        figure.savefig(DOCS / f"{name}.png")
        plt.close(figure)


def heading(options: argparse.Namespace) -> None:
    runs = options.experiments
    good = 196 * (0.95 * 0.05 / runs) ** 0.5
    few, most = options.least_strings, options.most_strings
    print(f"# Coverage ({options.part}; {runs:,} experiments a cell; {few:,} to {most:,} strings)\n")
    print(
        "Where nothing else is said, errors of a string are beta-binomial with the given intra-string correlation, and"
    )
    print(f"strings have 5 to 40 reads. A figure near 95 % is good to {good:.1f} points.")
    print("*differ*: strings in which an answer differs (or, for a rate, is wrong), on average. *ratio*: our mean")
    print(f"width over that of the sharpest other interval which covers {percent(VALID)} % or more in that cell, of")
    print(f"{', '.join(RIVALS)} (this one in {_RESAMPLED} experiments of at most {_RESAMPLED_STRINGS} strings).\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate what the statistics promise.")
    parser.add_argument("--experiments", type=int, default=1000, help="a cell of the large tables")
    parser.add_argument("--least-strings", type=int, default=20, help="leave out cells with fewer")
    parser.add_argument("--most-strings", type=int, default=1000, help="leave out cells with more")
    parser.add_argument("--part", choices=("all", "intervals", "tests", "plans"), default="all")
    options = parser.parse_args()
    runs = options.experiments
    began = time.perf_counter()
    heading(options)
    if options.part in ("all", "intervals"):
        outcomes = []
        for title, cells in (("Two models on the same strings", difference_cells()), ("One rate", rate_cells())):
            chosen = [cell for cell in cells if options.least_strings <= cell.strings <= options.most_strings]
            outcomes += intervals(title, chosen, runs, 20231201)
        pictures(outcomes)
    if options.part in ("all", "tests"):
        rng = np.random.default_rng(20231201)
        power(rng, 2 * runs)
        gates(rng, runs)
        risk_differences(rng, runs)
        tests(rng, runs)
        no_errors(rng, runs)
    if options.part in ("all", "plans"):
        rng = np.random.default_rng(20231202)
        planning(rng)
        calibrations(rng)
        certificates(rng)
    print(f"{time.perf_counter() - began:.0f} s on one core.")


if __name__ == "__main__":
    main()
