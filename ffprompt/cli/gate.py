"""``ffprompt gate``: is a candidate non-inferior to its baseline? Also the gate that ends ``run --gate``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.markup import escape

from ffprompt._util.formatting import counted, plural_of, share, signed
from ffprompt.analysis.condition_names import without_shared
from ffprompt.cli import output_flags, track_flags
from ffprompt.cli.comparison_flags import add_allow, add_gate_files, add_level, add_stored
from ffprompt.cli.console import line, new_table, show, width
from ffprompt.cli.notes import grouped
from ffprompt.cli.output import Output, writable
from ffprompt.comparison import baselines, gate_report
from ffprompt.comparison.conditions import RunCondition, conditions_of
from ffprompt.comparison.gate import GateCheck, GateReport
from ffprompt.comparison.gate import gate as gated
from ffprompt.comparison.gate_strings import too_few
from ffprompt.config.suites import Suite
from ffprompt.errors import ConfigError, FFPromptError
from ffprompt.evaluation.plan import Plan

EPILOG = """\
Exit codes: 0 pass, 1 regression, 3 inconclusive or an incomplete run, 2 usage. The gate passes if a loss of the margin
or more is ruled out in every condition. That no difference was found is not enough.
"""
_STYLES = {"pass": "green", "regression": "red", "inconclusive": "yellow"}
_WIDE = 100  # columns that hold the numbers of reads and strings as well


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags of ``gate``."""
    parser.add_argument("--baseline", required=True, metavar="RUN", help="a run, or the name of a stored baseline")
    parser.add_argument("--candidate", required=True, nargs="+", metavar="RUN", help="a run, or those of a suite")
    parser.add_argument("--margin", required=True, type=float, metavar="X", help="largest acceptable loss of accuracy")
    add_level(parser)
    add_allow(parser)
    add_stored(parser)
    add_gate_files(parser)
    track_flags.add_flags(parser)
    output_flags.add_flags(parser, "print only the verdict")


def execute(options: Namespace) -> int:
    """Compare a candidate with a baseline. Returns 0 for a pass, 1 for a regression, 3 where the runs do not tell."""
    output = Output.of(options)
    trackers = track_flags.checked(options)
    writable(options.junit, options.markdown)
    before = baselines.resolve(Path(options.out), options.baseline, options.suite)
    if output.shows and 0 < options.margin < 1 and 0 < options.level < 1:
        for text in hopeless([cell for run in before for cell in _cells(run)], options.margin, options.level):
            line(text)
    report = gated(before, options.candidate, options.margin, options.level, options.allow)
    show_report(report, output)
    output.write(report.to_json())
    _write(report, options)
    with output.beside():
        _track(report, trackers)
    return report.exit_code


def _track(report: GateReport, trackers: Sequence[str]) -> None:
    if not trackers:
        return
    from ffprompt.integrations.trackers import entry

    track_flags.tell(trackers, [partial(entry.of_gate, report)])


def _cells(run: Path) -> list[RunCondition]:
    """The conditions of a run, none where it cannot be read: the gate itself says why."""
    try:
        return conditions_of(run)
    except FFPromptError:
        return []


def _write(report: GateReport, options: Namespace) -> None:
    if options.junit:
        gate_report.to_junit(Path(options.junit), report)
    if options.markdown:
        gate_report.to_markdown(Path(options.markdown), report)


def hopeless(baseline: Sequence[RunCondition], margin: float, level: float, strings: int | None = None) -> list[str]:
    """Return a line that says that the strings at hand cannot pass, whatever is answered, with the number that can."""
    found = too_few(baseline, margin, level, strings)
    if not found:
        return []
    name, have, _ = found[0]
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return [
        f"margin {margin:g} cannot be passed with {have:,} strings ({name}{more}): even the same answers would be "
        f"inconclusive. At least {max(needed for *_, needed in found):,} strings are needed, in the baseline too"
    ]


def show_report(report: GateReport, output: Output) -> None:
    """Print the verdict and a row for each condition, as far as that was asked for."""
    if output.is_json:
        return
    line(report.sentence)
    if output.quiet:
        return
    names, shared = without_shared([check.condition for check in report.checks], ", ")
    conditions = [check.condition for check in report.checks] if output.verbose else names
    counts = ("reads", "strings") if output.verbose or width() >= _WIDE else ()
    numbers = ("before", "now", "difference", "bounds", *counts)
    table = new_table("condition", "verdict", *numbers, "lost", *(["why"] if output.verbose else []), right=numbers)
    for check, name in zip(report.checks, conditions, strict=True):
        style = _STYLES[check.verdict]
        cells = [*map(escape, (*_numbers(check)[: len(numbers)], _lost(check)))]
        why = [escape(check.reason)] if output.verbose else []
        table.add_row(escape(name), f"[{style}]{check.verdict}[/]", *cells, *why)
    show(table)
    said = f"{shared}. " if shared and not output.verbose else ""
    line(
        f"{said}margin {report.margin:g}. bounds are one-sided: the lower one decides a pass (level {report.level:g}), "
        f"the upper one a regression ({report.regression_level:.6g})"
    )
    for text in grouped([(name, check.warnings) for check, name in zip(report.checks, conditions, strict=True)]):
        line(text)
    for check, name in zip(report.checks, conditions, strict=True):
        if check.estimate is None:
            line(f"{name}: {check.reason}")
    for name in report.not_gated:
        line(f"not gated, as the baseline does not have it: {name}")
    for check, name in zip(report.checks, conditions, strict=True):
        if check.unpaired:
            line(f"{name}: {counted(check.unpaired, 'read')} {plural_of(check.unpaired, 'is', 'are')} in one run only")


def _numbers(check: GateCheck) -> list[str]:
    """Accuracies, their difference with its bounds, and what they rest on."""
    counts = [f"{check.n_reads:,}", f"{check.n_strings:,}"]
    if check.estimate is None:
        return ["–"] * 4 + counts
    bounds = f"{signed(check.low)} to {signed(check.high)}"
    return [share(check.accuracy_baseline), share(check.accuracy_candidate), signed(check.estimate), bounds, *counts]


def _lost(check: GateCheck) -> str:
    """What became of the reads that only the baseline has right."""
    found = [f"{count:,} {name}" for name, count in check.lost_to.items()] or ["none" if check.n_reads else ""]
    if check.mass_fell:
        found.append(f"answer mass {check.mass_baseline:.2g} to {check.mass_candidate:.2g}")
    return ", ".join(found)


class AfterRun:
    """The gate of ``run --gate``: settled before anything is asked of the model, held after it."""

    def __init__(self, options: Namespace, suite: Suite | None) -> None:
        known = suite.gate if suite else {}
        margin = options.margin if options.margin is not None else known.get("margin")
        if margin is None:
            raise ConfigError("--gate: expected a margin, from --margin or [gate] margin of the suite")
        self.margin: float = margin
        self.level = known.get("level", 0.95)
        self._options = options
        name = suite.name if suite else None
        if not 0 < self.margin < 1:
            raise ConfigError(f"--margin {self.margin:g}: expected a loss of accuracy between 0 and 1, such as 0.01")
        writable(options.junit, options.markdown)
        results = Path(options.out)
        if options.baseline and Path(options.baseline).is_dir():
            self.baseline = [Path(options.baseline)]
        else:
            self.baseline = baselines.find(results, options.baseline or baselines.DEFAULT, name)
        self._cells = [cell for run in self.baseline for cell in _cells(run)]

    def before(self, plan: Plan) -> list[str]:
        """Say before a run whether its strings can pass at all."""
        names = {condition.name for condition in plan.conditions}
        cells = [cell for cell in self._cells if cell.name in names]
        return hopeless(cells, self.margin, self.level, plan.string_count)

    def gate(self, made: Sequence[Path]) -> GateReport:
        """Compare what was made with the baseline, and write the files that were asked for."""
        report = gated(self.baseline, made, self.margin, self.level)
        _write(report, self._options)
        return report

    @staticmethod
    def show(report: GateReport, output: Output) -> None:
        """Print the verdict."""
        show_report(report, output)
