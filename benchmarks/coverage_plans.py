"""The second half of coverage.py: gates, certificates, planned numbers of strings, calibration."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from simulate import Floats, Ints, chances, lengths, pairs, percent, table

from ffprompt.stats.calibration import calibration
from ffprompt.stats.clusters import Clusters
from ffprompt.stats.intervals import rate_bounds
from ffprompt.stats.paired import Pairs, difference_bounds
from ffprompt.stats.power import (
    pilot_errors,
    pilot_pairs,
    strings_for_difference,
    strings_for_margin,
    strings_for_width,
)
from ffprompt.stats.sequential import Certify, Draws, fewest_strings, log_factors, mixed, read_cap


def watched(
    rng: np.random.Generator,
    runs: int,
    horizon: int,
    bound: float,
    draw: Callable[..., tuple[Ints, Ints]],
    cap: tuple[int, float],
) -> Floats:
    """How often either bet, and the interval, is ever wrong at a rate that equals the bound; a look each 10 strings."""
    capital = {side: np.zeros((runs, shares)) for side, shares in (("below", 15), ("above", 20))}
    ever = np.zeros((3, runs), bool)
    for _ in range(horizon // 10):
        errors, reads = draw((runs, 10))
        for row, side in enumerate(("below", "above")):
            capital[side] += log_factors(side, errors, reads, bound, *cap).sum(1)  # type: ignore[arg-type]
            logs = mixed(side, capital[side])  # type: ignore[arg-type]
            ever[row] |= logs >= np.log(20)
            ever[2] |= logs >= np.log(40)
    return ever.mean(1)


def gates(rng: np.random.Generator, runs: int) -> None:
    print(
        "`noninferior` at 95 %, in %: how often it passes a candidate that is worse by exactly the margin / calls it a"
    )
    print("regression (each at most 5), and how often it passes one that is as good.\n")
    rows, worst = [], np.zeros(2)
    correlations = (0.0, 0.1, 0.3, 0.5)
    for margin, noise in (
        (0.01, 0.0),
        (0.01, 0.003),
        (0.01, 0.01),
        (0.05, 0.0),
        (0.05, 0.01),
        (0.05, 0.05),
        (0.1, 0.1),
    ):
        for strings in (30, 60, 100, 300):
            cells = []
            for correlation in correlations:
                at = pairs(rng, margin + noise, noise, correlation, (runs, strings))
                same = pairs(rng, noise, noise, correlation, (runs, strings))
                low, high = difference_bounds(*at, 0.95, one_sided=True)
                equal, _ = difference_bounds(*same, 0.95, one_sided=True)
                shares = np.array([(low > -margin).mean(), (high < -margin).mean(), (equal > -margin).mean()])
                worst = np.maximum(worst, shares[:2])
                cells.append(" / ".join(percent(share) for share in shares))
            rows.append((margin, noise, strings, *cells))
    table(("margin", "lost and gained besides", "strings", *(f"correlation {c}" for c in correlations)), rows)
    print(f"Highest: false pass {percent(worst[0])}, false regression {percent(worst[1])}.\n")


def certificates(rng: np.random.Generator, runs: int = 1000, horizon: int = 3000) -> None:
    print("## Looking after every few strings\n")
    print("`Certify` at 95 % when the rate equals the bound: how often it ever says below / above (each at most 5) and")
    print(
        f"the running interval misses (at most 5), in %; {runs:,} experiments of {horizon:,} strings, looks every 10.\n"
    )
    rows = []
    for bound in (0.002, 0.02):
        for name, correlation in (("independent", 0.0), ("correlation 0.3", 0.3), ("whole strings", 1.0)):

            def draw(shape: tuple[int, int], b: float = bound, c: float = correlation) -> tuple[Ints, Ints]:
                reads = lengths(rng, shape)
                return rng.binomial(reads, chances(rng, b, c, shape)), reads

            rows.append((bound, name, "5 to 40", *map(percent, watched(rng, runs, horizon, bound, draw, (40, 0.0)))))

            def longer(shape: tuple[int, int], b: float = bound, c: float = correlation) -> tuple[Ints, Ints]:
                reads = 1 + rng.binomial(254, 0.1, shape)
                return rng.binomial(reads, chances(rng, b, c, shape)), reads

            cap = read_cap(256, 0.1, bound)
            rows.append((bound, name, "FFL(0.8)", *map(percent, watched(rng, runs, horizon, bound, longer, cap))))
    table(("bound", "errors", "reads", "below", "above", "interval misses"), rows)
    costs(rng)


def costs(rng: np.random.Generator) -> None:
    cap, reads_mean = read_cap(256, 0.1, 1e-3), 26.4
    rows = []
    for ratio in (0.0, 0.1, 0.5, 2.0, 10.0):
        cells = []
        for correlation in (0.0, 0.3):
            took, said = [], set()
            for _ in range(20):
                state = Certify(1e-3, Draws(*cap))
                while state.decision is None and state.draws.strings < 300_000:
                    reads = 1 + rng.binomial(254, 0.1, 500)
                    state.update(rng.binomial(reads, chances(rng, ratio * 1e-3, correlation, reads.shape)), reads)
                took.append(state.draws.strings)
                said.add(str(state.decision))
            cells.append(f"{np.median(took):,.0f} ({', '.join(sorted(said))})")
        rows.append((f"{ratio:g} x bound", *cells))
    least = fewest_strings(1e-3, reads_mean, *cap)
    print(f"Strings of FFL(0.8) until a bound of 0.001 is decided, median of 20; without an error {least:,}.\n")
    table(("true rate", "independent reads", "correlation 0.3"), rows)


def planning(rng: np.random.Generator, runs: int = 1000) -> None:
    print("## Planned numbers of strings\n")
    print("From a pilot of 300 strings, median of 10 pilots; then what that number gives in 1,000 experiments.\n")
    rows = []
    for rate, correlation, half in ((0.01, 0.2, 0.005), (0.1, 0.1, 0.02), (0.3, 0.3, 0.05)):
        plans = []
        for _ in range(10):
            reads = lengths(rng, (300,))
            pilot = pilot_errors(Clusters(rng.binomial(reads, chances(rng, rate, correlation, (300,))), reads))
            plans.append(strings_for_width(half, pilot).strings)
        reads = lengths(rng, (runs, int(np.median(plans))))
        errors = rng.binomial(reads, chances(rng, rate, correlation, reads.shape))
        low, high = rate_bounds(errors, reads, 0.95)
        gives = f"half width {(high - low).mean() / 2:.4f}"
        rows.append((f"half width {half} at rate {rate}", correlation, int(np.median(plans)), gives))
    for lost, gained, correlation in ((0.01, 0.03, 0.2), (0.05, 0.1, 0.1), (0.05, 0.05, 0.1), (0.005, 0.005, 0.2)):
        gap, plans = gained - lost, []
        for _ in range(10):
            seen = pilot_pairs(Pairs(*(column[0] for column in pairs(rng, lost, gained, correlation, (1, 300)))))
            plans.append((strings_for_difference(gap, seen) if gap else strings_for_margin(0.02, seen)).strings)
        made = pairs(rng, lost, gained, correlation, (runs, int(np.median(plans))))
        low, _ = difference_bounds(*made, 0.975) if gap else difference_bounds(*made, 0.95, one_sided=True)
        what = f"power 80 %, {f'difference {gap:.2g}' if gap else 'margin 0.02'}; lost {lost}, gained {gained}"
        gives = f"power {percent((low > (0 if gap else -0.02)).mean())} %"
        rows.append((what, correlation, int(np.median(plans)), gives))
    table(("wanted", "correlation", "strings planned", "simulated"), rows)


def calibrations(rng: np.random.Generator, runs: int = 200) -> None:
    print("## Calibration\n")
    print(f"Coverage in % of the 95 % intervals, {runs} experiments; probabilities are too high by `bias`, and strings")
    print("differ by `spread`.\n")

    def draw(strings: int, bias: float, spread: float) -> tuple[Ints, Floats, NDArray[np.bool_]]:
        rows = np.repeat(np.arange(strings), lengths(rng, (strings,)))
        stated = rng.beta(4, 1.2, len(rows))
        true = np.clip(stated - bias + rng.normal(0, spread, strings)[rows], 0, 1)
        return rows, stated, rng.random(len(rows)) < true

    rows = []
    for bias, spread in ((0.0, 0.0), (0.05, 0.0), (0.05, 0.2), (0.2, 0.2)):
        truth = calibration(*draw(40_000, bias, spread), resamples=100)
        assert truth is not None
        for strings in (20, 50, 200):
            found = np.zeros(2)
            for number in range(runs):
                made = calibration(*draw(strings, bias, spread), resamples=400, seed=number)
                assert made is not None
                found += [made.brier_low <= truth.brier <= made.brier_high, made.ece_low <= truth.ece <= made.ece_high]
            rows.append((bias, spread, strings, f"{truth.ece:.3f}", *map(percent, found / runs)))
    table(("bias", "spread", "strings", "true ECE", "Brier", "ECE"), rows)
