"""Comparisons that a report holds: its runs against the first of them, and the shots and templates of one run."""

from __future__ import annotations

from collections.abc import Sequence

from ffprompt.comparison.compare import Comparison, compare_conditions
from ffprompt.comparison.conditions import RunCondition, conditions_of
from ffprompt.comparison.matching import match
from ffprompt.errors import ConfigError, FFPromptError
from ffprompt.report.source import Source

MOST_COMPARED = 12  # runs
# What the conditions of one run are compared by.
_WITHIN = ("shots", "template")


def compared(sources: Sequence[Source], labels: Sequence[str]) -> tuple[list[Comparison], list[str]]:
    """Return what can be compared among runs, and why other runs cannot be.

    Several runs: each against the first one, condition by condition, by model. One run: its shots and its templates.
    """
    if not 0 < len(sources) <= MOST_COMPARED:
        return [], []
    try:
        sides = [conditions_of(source.folder.path, incomplete=True) for source in sources]
    except FFPromptError as error:  # a run without a read can be reported, and not compared
        return [], [str(error)] if len(sources) > 1 else []
    return _within(sides[0]) if len(sides) == 1 else _between(sides, labels)


def _within(conditions: Sequence[RunCondition]) -> tuple[list[Comparison], list[str]]:
    found = []
    for name in _WITHIN:
        if len({condition.settings[name] for condition in conditions}) > 1:
            try:
                found.append(compare_conditions([conditions], [name]))
            except ConfigError:
                continue  # no two conditions differ in that alone
    return found, []


def _between(sides: Sequence[Sequence[RunCondition]], labels: Sequence[str]) -> tuple[list[Comparison], list[str]]:
    first, *others = sides
    comparable, left_out = [], []
    for side, label in zip(others, labels[1:], strict=True):
        try:
            match([first, side], ["model"])
            comparable.append(side)
        except ConfigError as error:
            left_out.append(f"{label} with {labels[0]}: {error}")
    if not comparable:
        return [], left_out
    try:
        return [compare_conditions([first, *comparable], ["model"])], left_out
    except ConfigError as error:  # two of the others hold the same model's condition
        return [], [*left_out, str(error)]
