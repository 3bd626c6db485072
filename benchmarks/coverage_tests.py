"""The second part of coverage.py: tests, their power, differences between kinds of reads, slopes, no errors."""

from __future__ import annotations

import numpy as np
from rivals import RIVALS
from simulate import chances, lengths, pairs, percent, runs_of, sloping, table

from ffprompt.stats.association import slope
from ffprompt.stats.intervals import zero_bound
from ffprompt.stats.paired import Pairs, difference_bounds
from ffprompt.stats.pvalues import mcnemar, sign_flip
from ffprompt.stats.score_test import RiskTest


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


def slopes(rng: np.random.Generator, runs: int) -> None:
    print("Coverage in % of `slope`, the change of the error rate from the first read to the last; in brackets, the")
    print("strings with an error. Reads of a string share a normal variable that makes them fail together.\n")
    rows = []
    for strings in (20, 30, 60, 200):
        for first, last in ((0.02, 0.02), (0.02, 0.1), (0.1, 0.1), (0.1, 0.3), (0.4, 0.6)):
            cells: list[object] = [strings, first, last]
            for correlation in (0.0, 0.2, 0.5):
                covered = erring = 0.0
                for _ in range(runs):
                    string, x, failed = sloping(rng, first, last, correlation, strings)
                    found = slope(string, x, failed)
                    # Without an interval nothing is ruled out.
                    covered += found is None or found.low <= last - first <= found.high
                    erring += len(np.unique(string[failed]))
                cells.append(f"{percent(covered / runs)} ({erring / runs:.0f})")
            rows.append(cells)
    head = ("strings", "rate at the start", "at the end", *(f"correlation {c}" for c in (0.0, 0.2, 0.5)))
    table(head, rows)
