"""``ffprompt anatomy``: what the errors of a run have in common, on the terminal and as JSON."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from ffprompt._util.files import json_bytes
from ffprompt._util.formatting import share, span
from ffprompt.analysis.accuracy import Accuracy, AccuracyBin, Drift
from ffprompt.analysis.calibration import Calibration
from ffprompt.analysis.error_analysis import ConditionErrors, anatomy
from ffprompt.analysis.rule_fits import RuleDifference, RuleFits
from ffprompt.analysis.template_sensitivity import TemplateDifference, TemplateSensitivity
from ffprompt.cli.console import line
from ffprompt.runs.folder import replace_file


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``anatomy``."""
    parser.add_argument("run", metavar="RUN", help="a folder under results/")
    parser.add_argument("--json", metavar="FILE", help="also write every number to a file")


def execute(options: argparse.Namespace) -> int:
    """Show the anatomy of a run's errors."""
    return show(Path(options.run), options.json and Path(options.json))


def show(path: Path, json_file: Path | None) -> int:
    """Print the anatomy of a run, and write it to a file if one is given. Returns 3 when the run is not complete."""
    found = anatomy(path)
    if json_file is not None:
        replace_file(json_file, json_bytes(found.to_json(), indent=2) + b"\n")
    line(f"{found.model}: {found.run_id}")
    for one in found.conditions:
        line("")
        for text in _condition(one):
            line(text)
    for group in found.templates:
        line("")
        for text in _templates(group):
            line(text)
    line("")
    line(_LEGEND)
    if not found.complete:
        line(f"the run is {found.status}, not complete: these are the reads that it has so far")
    return 0 if found.complete else 3


_LEGEND = (
    "accuracy and intervals (95%) as in the result table: the read is the unit, the string the cluster. "
    "A rule explains wrong answers if the model fails more often where the rule is wrong than where it is right, "
    "on reads where only chance decides which of the two it is."
)


def _condition(one: ConditionErrors) -> Iterator[str]:
    yield f"{one.condition}"
    missing = f", {one.missing_trials:,} trials are missing" if one.missing_trials else ""
    if one.all is None:
        yield f"  no reads to count{_failed(one)}{missing}"
        return
    yield f"  {_numbers(one.all)}{_failed(one)}{missing}"
    for title, bins in (
        ("instructions since the write", one.by_gap),
        ("contradicting ignores since the write", one.by_contradictions),
        ("position in the string", one.by_position),
        ("the same bit", one.by_earlier_read),
        ("true symbol", one.by_truth),
    ):
        if len(bins) > 1:  # a single one says what the line above says
            yield from _bins(title, bins)
    yield from _drift(one.drift)
    yield from _rules(one.rules)
    yield from _calibration(one.calibration)


def _failed(one: ConditionErrors) -> str:
    failed = one.outcomes.get("error", 0)
    return f", {failed:,} reads had no answer because their call failed" if failed else ""


def _numbers(all_reads: Accuracy) -> str:
    return (
        f"{share(all_reads.accuracy)} ({span(all_reads.low, all_reads.high)}), "
        f"{all_reads.misses:,} missed of {all_reads.reads:,} reads in {all_reads.strings:,} strings"
    )


def _aligned(rows: Sequence[Sequence[str]], indent: str) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield (indent + "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True))).rstrip()


def _bins(title: str, bins: Sequence[AccuracyBin]) -> Iterator[str]:
    yield f"  {title}"
    yield from _aligned(
        [
            (
                one.label,
                share(one.accuracy),
                span(one.low, one.high),
                f"{one.reads:,} reads",
                f"{one.strings:,} strings",
            )
            for one in bins
        ],
        "    ",
    )


def _drift(drift: Drift | None) -> Iterator[str]:
    if drift is not None:
        yield (
            f"  along the string the accuracy changes by {drift.change:+.4f} "
            f"({drift.low:+.4f} to {drift.high:+.4f}){_beware(drift)}"
        )


def _rules(rules: RuleFits) -> Iterator[str]:
    if not rules.wrong:
        yield f"  no wrong answer among {rules.answered:,}: nothing for a rule to explain"
        return
    best = " and ".join(rules.best)
    yield f"  {rules.wrong:,} wrong answers: {f'explained best by {best}' if best else 'no rule explains them'}"
    rows = [("rule", "wrong where it is", "where it is not", "difference", "95% interval", "its answer", "by chance")]
    for fit in rules.rules:
        own = share(fit.same_answer.share if fit.same_answer else None)
        rows.append((fit.rule, *_compared(fit.difference), own, share(fit.by_chance)))
    yield from _aligned(rows, "    ")


def _compared(found: RuleDifference | None) -> tuple[str, str, str, str]:
    """How often answers are wrong where a rule is wrong and where it is right, and the difference with its interval."""
    if found is None:
        return "None", "None", "None", "None"
    rates = share(found.wrong_where_rule_is_wrong), share(found.wrong_where_rule_is_right)
    return *rates, f"{found.estimate:+.4f}", f"{found.low:+.4f} to {found.high:+.4f}"


def _calibration(found: Calibration | None) -> Iterator[str]:
    if found is None:
        return
    left = f", {found.left_out:,} without all log-probabilities left out" if found.left_out else ""
    yield (
        f"  calibration of {found.reads:,} reads{left}: Brier score {share(found.brier)} "
        f"({span(found.brier_low, found.brier_high)}), calibration error {share(found.ece)} "
        f"({span(found.ece_low, found.ece_high)}; {share(found.ece_if_calibrated)} by chance alone), "
        f"answer mass {share(found.mass)} ({span(found.mass_low, found.mass_high)}){_beware(found)}"
    )
    rows = [
        (
            f"says {share(one.probability)}",
            f"is right {share(one.accuracy)}",
            span(one.low, one.high),
            f"{one.reads:,} reads",
            f"{one.strings:,} strings",
        )
        for one in found.bins
    ]
    yield from _aligned(rows, "    ")


def _templates(group: TemplateSensitivity) -> Iterator[str]:
    yield f"templates, {group.language}, {group.shots} shots, {group.elicitation} ({group.form})"
    yield from _aligned(
        [
            (one.template, share(one.accuracy), span(one.low, one.high), f"{one.reads:,} reads",
             f"{one.strings:,} strings")
            for one in group.templates
        ],
        "  ",
    )  # fmt: skip
    yield (
        f"  best less worst {share(group.spread)}, standard deviation {share(group.sd)}; "
        f"the widest interval of one template is {share(group.widest_interval)} long"
    )
    if (apart := group.difference) is not None:
        yield (
            f"  {apart.best} less {apart.worst} on the same {apart.reads:,} reads: {apart.estimate:+.4f} "
            f"({apart.low:+.4f} to {apart.high:+.4f}), chosen as best and worst on these reads{_beware(apart)}"
        )


def _beware(found: Drift | Calibration | TemplateDifference) -> str:
    return "".join(f"; beware, {warning}" for warning in found.warnings)
