"""``ffprompt anatomy``: what the errors of a run have in common, on the terminal and as JSON."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ffprompt._util.files import json_bytes
from ffprompt.analysis.error_analysis import anatomy
from ffprompt.cli.console import line
from ffprompt.report.wording import share, span
from ffprompt.runs.folder import replace_file

Row = Mapping[str, Any]

_FACETS = {
    "by_gap": "instructions since the write",
    "by_contradictions": "contradicting ignores since the write",
    "by_position": "position in the string",
    "by_earlier_read": "the same bit",
    "by_truth": "true symbol",
}


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
        replace_file(json_file, json_bytes(found, indent=2) + b"\n")
    line(f"{found['model']}: {found['run_id']}")
    for one in found["conditions"]:
        line("")
        for text in _condition(one):
            line(text)
    for group in found["templates"]:
        line("")
        for text in _templates(group):
            line(text)
    line("")
    line(_LEGEND)
    if not found["complete"]:
        line(f"the run is {found['status']}, not complete: these are the reads that it has so far")
    return 0 if found["complete"] else 3


_LEGEND = (
    "accuracy and intervals (95%) as in the result table: the read is the unit, the string the cluster. "
    "A rule explains wrong answers if the model fails more often where the rule is wrong than where it is right, "
    "on reads where only chance decides which of the two it is."
)


def _condition(one: Row) -> Iterator[str]:
    yield f"{one['condition']}"
    missing = f", {one['missing_trials']:,} trials are missing" if one["missing_trials"] else ""
    if one["all"] is None:
        yield f"  no reads to count{_failed(one)}{missing}"
        return
    yield f"  {_numbers(one['all'])}{_failed(one)}{missing}"
    for key, title in _FACETS.items():
        if len(one[key]) > 1:  # a single cell says what the line above says
            yield from _cells(title, one[key])
    yield from _drift(one["drift"])
    yield from _rules(one["rules"])
    yield from _calibration(one["calibration"])


def _failed(one: Row) -> str:
    failed = one["outcomes"].get("error", 0)
    return f", {failed:,} reads had no answer because their call failed" if failed else ""


def _numbers(cell: Row) -> str:
    return (
        f"{share(cell['accuracy'])} ({span(cell['low'], cell['high'])}), "
        f"{cell['misses']:,} missed of {cell['reads']:,} reads in {cell['strings']:,} strings"
    )


def _aligned(rows: Sequence[Sequence[str]], indent: str) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield (indent + "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True))).rstrip()


def _cells(title: str, cells: Sequence[Row]) -> Iterator[str]:
    yield f"  {title}"
    yield from _aligned(
        [
            (
                cell["label"],
                share(cell["accuracy"]),
                span(cell["low"], cell["high"]),
                f"{cell['reads']:,} reads",
                f"{cell['strings']:,} strings",
            )
            for cell in cells
        ],
        "    ",
    )


def _drift(drift: Row | None) -> Iterator[str]:
    if drift is not None:
        yield (
            f"  along the string the accuracy changes by {drift['change']:+.4f} "
            f"({drift['low']:+.4f} to {drift['high']:+.4f}){_beware(drift)}"
        )


def _rules(rules: Row) -> Iterator[str]:
    if not rules["wrong"]:
        yield f"  no wrong answer among {rules['answered']:,}: nothing for a rule to explain"
        return
    best = " and ".join(rules["best"])
    yield f"  {rules['wrong']:,} wrong answers: {f'explained best by {best}' if best else 'no rule explains them'}"
    rows = [("rule", "wrong where it is", "where it is not", "difference", "95% interval", "its answer", "by chance")]
    for row in rules["rules"]:
        apart, same = row["difference"], row["same_answer"]
        rows.append(
            (
                row["rule"],
                share(apart and apart["wrong_where_rule_is_wrong"]),
                share(apart and apart["wrong_where_rule_is_right"]),
                _signed(apart, lambda found: f"{found['estimate']:+.4f}"),
                _signed(apart, lambda found: f"{found['low']:+.4f} to {found['high']:+.4f}"),
                share(same and same["share"]),
                share(row["by_chance"]),
            )
        )
    yield from _aligned(rows, "    ")


def _signed(found: Row | None, say: Callable[[Row], str]) -> str:
    return "None" if found is None else say(found)


def _calibration(found: Row | None) -> Iterator[str]:
    if found is None:
        return
    left = f", {found['left_out']:,} without all log-probabilities left out" if found["left_out"] else ""
    yield (
        f"  calibration of {found['reads']:,} reads{left}: Brier score {share(found['brier'])} "
        f"({span(found['brier_low'], found['brier_high'])}), calibration error {share(found['ece'])} "
        f"({span(found['ece_low'], found['ece_high'])}; {share(found['ece_if_calibrated'])} by chance alone), "
        f"answer mass {share(found['mass'])} ({span(found['mass_low'], found['mass_high'])}){_beware(found)}"
    )
    rows = [
        (
            f"says {share(one['probability'])}",
            f"is right {share(one['accuracy'])}",
            span(one["low"], one["high"]),
            f"{one['reads']:,} reads",
            f"{one['strings']:,} strings",
        )
        for one in found["bins"]
    ]
    yield from _aligned(rows, "    ")


def _templates(group: Row) -> Iterator[str]:
    yield f"templates, {group['language']}, {group['shots']} shots, {group['elicitation']} ({group['form']})"
    yield from _aligned(
        [
            (one["template"], share(one["accuracy"]), span(one["low"], one["high"]), f"{one['reads']:,} reads",
             f"{one['strings']:,} strings")
            for one in group["templates"]
        ],
        "  ",
    )  # fmt: skip
    yield (
        f"  best less worst {share(group['spread'])}, standard deviation {share(group['sd'])}; "
        f"the widest interval of one template is {share(group['widest_interval'])} long"
    )
    if (apart := group["difference"]) is not None:
        yield (
            f"  {apart['best']} less {apart['worst']} on the same {apart['reads']:,} reads: {apart['estimate']:+.4f} "
            f"({apart['low']:+.4f} to {apart['high']:+.4f}), chosen as best and worst on these reads{_beware(apart)}"
        )


def _beware(found: Row) -> str:
    return "".join(f"; beware, {warning}" for warning in found["warnings"])
