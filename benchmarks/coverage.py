"""Do the statistics keep what they promise? Simulated experiments with a known truth; prints a page of tables.

OMP_NUM_THREADS=1 python benchmarks/coverage.py --processes 2 > docs/methods/coverage.md

It also draws the two pictures of docs/methods/statistics.md. ``--experiments`` and ``--part`` make it shorter. The
number of processes does not change the results.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from coverage_cells import CLEARLY_VALID, RESAMPLED, RESAMPLED_STRINGS, VALID, Outcome, all_cells, settled
from coverage_plans import calibrations, certificates, gates, planning
from coverage_tests import no_errors, power, risk_differences, slopes, tests
from rivals import RIVALS
from simulate import percent, table

DOCS = Path(__file__).parents[1] / "docs" / "methods"
TITLES = {"difference": "Two models on the same strings", "rate": "One rate"}
Jobs = list[tuple[int, int, int]]


@contextmanager
def outcomes_of(jobs: Jobs, processes: int) -> Iterator[Iterator[Outcome]]:
    """Outcomes in the order of the jobs, each as soon as it and those before it are done."""
    if processes == 1:
        yield map(settled, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield pool.imap(settled, jobs)
        pool.close()
        pool.join()


def intervals(options: argparse.Namespace) -> None:
    """The grid: a line for each cell, what the cells of a question have in common, and the pictures."""
    jobs = [
        (number, options.experiments, options.more)
        for number, cell in enumerate(all_cells())
        if options.least_strings <= cell.strings <= options.most_strings
    ]
    outcomes: dict[str, list[Outcome]] = {question: [] for question in TITLES}
    with outcomes_of(jobs, options.processes) as found:
        for done, outcome in enumerate(found, 1):
            outcomes[all_cells()[outcome.cell].question].append(outcome)
            print(f"\r{done} of {len(jobs)} cells", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    for question, mine in outcomes.items():
        print(f"## {TITLES[question]}\n")
        summary(mine)
        lowest(mine)
    for question, mine in outcomes.items():
        print(f"## {TITLES[question]}: every cell\n")
        head = ("setting", "strings", "differ", "experiments", "coverage", "width", "sharpest valid other", "ratio")
        table(head, map(row, mine))
    pictures([outcome for mine in outcomes.values() for outcome in mine])


def row(one: Outcome) -> tuple[object, ...]:
    cell = all_cells()[one.cell]
    sharpest = f"{one.sharpest[0]} {one.sharpest[1]:.4f}" if one.sharpest else "none is valid"
    ratio = f"{one.ratio:.2f}" if one.ratio else ""
    width = f"{one.width:.4f}"
    return cell.name, cell.strings, f"{one.differ:.1f}", one.runs, percent(one.coverage), width, sharpest, ratio


def summary(outcomes: Iterable[Outcome]) -> None:
    """Coverage and width by how many strings differ."""
    rows = []
    groups = {
        "8 strings or more differ on average": lambda one: all_cells()[one.cell].promised and one.differ >= 8,
        "20 or more": lambda one: all_cells()[one.cell].promised and one.differ >= 20,
        "fewer than 8": lambda one: all_cells()[one.cell].promised and one.differ < 8,
        "not promised (see [Methods](statistics.md))": lambda one: not all_cells()[one.cell].promised,
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


def lowest(outcomes: Iterable[Outcome]) -> None:
    """Every promised cell that covers less than it should."""
    below = sorted(
        (one for one in outcomes if all_cells()[one.cell].promised and one.coverage < VALID),
        key=lambda one: one.coverage,
    )
    print(f"Promised cells below {percent(VALID)} %: {len(below) or 'none'}.\n")
    if below:
        head = ("setting", "strings", "differ", "experiments", "coverage")
        table(head, (row(one)[: len(head)] for one in below))


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
                      if all_cells()[one.cell].question == question
                      and all_cells()[one.cell].promised and value(one) is not None]  # fmt: skip
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
    first, more = options.experiments, options.more
    good, better = (196 * (0.95 * 0.05 / runs) ** 0.5 for runs in (first, more or first))
    few, most = options.least_strings, options.most_strings
    print(f"""# Coverage ({options.part}; {few:,} to {most:,} strings)

Every cell has {first:,} experiments, and a figure near 95 % is good to {good:.1f} points. Where a cell covers less than
{percent(CLEARLY_VALID)} % in these, {more:,} fresh experiments replace them, good to {better:.1f} points.

Unless the text says otherwise, errors of a string are beta-binomial with the given intra-string correlation, and
strings have 5 to 40 reads.

- *differ*: strings in which an answer differs (or, for a rate, is wrong), on average.
- *ratio*: our mean width over that of the sharpest other interval that covers {percent(VALID)} % or more in the cell.
  The others are {", ".join(RIVALS)} (this one in {RESAMPLED} experiments of at most {RESAMPLED_STRINGS} strings).
""")


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate what the statistics promise.")
    parser.add_argument("--experiments", type=int, default=2000, help="of every cell of the large tables")
    parser.add_argument("--more", type=int, default=8000, help="fresh experiments of a cell in doubt (0: none)")
    parser.add_argument("--least-strings", type=int, default=20, help="leave out cells with fewer")
    parser.add_argument("--most-strings", type=int, default=1000, help="leave out cells with more")
    parser.add_argument("--part", choices=("all", "intervals", "tests", "plans"), default="all")
    parser.add_argument("--processes", type=int, default=1, help="for the large tables")
    options = parser.parse_args()
    began = time.perf_counter()
    heading(options)
    if options.part in ("all", "intervals"):
        intervals(options)
    if options.part in ("all", "tests"):
        rng = np.random.default_rng(20231201)
        runs = options.experiments // 2
        power(rng, 2 * runs)
        gates(rng, runs)
        risk_differences(rng, runs)
        slopes(rng, runs // 2)
        tests(rng, runs)
        no_errors(rng, runs)
    if options.part in ("all", "plans"):
        rng = np.random.default_rng(20231202)
        planning(rng)
        calibrations(rng, options.experiments // 5)
        certificates(rng)
    used = sum(
        getattr(resource.getrusage(who), kind)
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        for kind in ("ru_utime", "ru_stime")
    )
    print(f"{time.perf_counter() - began:.0f} s with {options.processes} processes, {used:.0f} s of processor time.")


if __name__ == "__main__":
    main()
