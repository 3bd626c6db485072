"""How many strings a question needs, condition by condition, from how the reads of runs there are cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from ffprompt._util.plain import Plain
from ffprompt.comparison.conditions import RunCondition, conditions_of
from ffprompt.comparison.matching import match
from ffprompt.comparison.pairing import paired
from ffprompt.errors import ConfigError, CountsError
from ffprompt.runs.reads import CORRECT, ERROR
from ffprompt.stats.clusters import Clusters
from ffprompt.stats.power import (
    Plan,
    Sample,
    pilot_errors,
    pilot_pairs,
    strings_for_difference,
    strings_for_margin,
    strings_for_width,
)

Path = str | os.PathLike[str]


@dataclass(frozen=True)
class Needed(Plain):
    """Strings for one condition.

    Attributes:
        condition: The name of the condition.
        pilot_reads: Reads of the pilot.
        pilot_strings: Their strings.
        plan: How many strings are enough, or None where the pilot has no read or no number would do.
        reason: Why there is no plan.
        incomplete: Whether the pilot is not complete.
    """

    condition: str
    pilot_reads: int
    pilot_strings: int
    plan: Plan | None
    reason: str | None = None
    incomplete: bool = False


def strings_needed(
    run: Path,
    half_width: float | None = None,
    difference: float | None = None,
    margin: float | None = None,
    against: Path | None = None,
    power: float = 0.8,
    level: float = 0.95,
    allow: Collection[str] = (),
    incomplete: bool = False,
) -> list[Needed]:
    """Return how many strings each condition needs for one of three questions, judging by a pilot run.

    Args:
        run: The pilot.
        half_width: How many for an interval of this half width, as a share of reads?
        difference: How many to see a difference between two models of this size?
        margin: How many for the gate to pass an equal model with this margin?
        against: A second pilot on the same strings. Without it the other model errs as often, on other reads.
        power: The probability of seeing the difference, or of passing, at confidence ``level``.
        allow: Settings in which the pilots may differ, beside the model.

    Raises:
        ConfigError: none or several questions are asked.
    """
    asked = {"half-width": half_width, "difference": difference, "margin": margin}
    given = {name: value for name, value in asked.items() if value is not None}
    if len(given) != 1:
        raise ConfigError("power: expected one of --half-width, --difference and --margin")
    ((name, value),) = given.items()
    if not 0 < level < 1:
        raise CountsError(f"level {level}: expected a number between 0 and 1, such as 0.95")
    if not 0 < value < (0.5 if name == "half-width" else 1):
        raise CountsError(
            f"{name} {value}: expected a number between 0 and {0.5 if name == 'half-width' else 1}, such as 0.01"
        )
    if not 0.5 <= power < 1:
        raise CountsError(f"power {power}: expected a number from 0.5 to below 1, such as 0.8")
    if half_width is not None:
        if against is not None:
            raise ConfigError(f"against {os.fspath(against)}: goes with --difference or --margin")
        return [
            _needed(cell, lambda sample: strings_for_width(value, sample, level), errors_of(cell))
            for cell in conditions_of(run, incomplete)
        ]
    of_pairs = strings_for_difference if difference is not None else strings_for_margin

    def plan(sample: Sample) -> Plan:
        return of_pairs(value, sample, level, power)

    if against is None:
        return [_needed(cell, _supposing(plan), errors_of(cell)) for cell in conditions_of(run, incomplete)]
    matches, _ = match([conditions_of(run, incomplete), conditions_of(against, incomplete)], ("model",), allow)
    found = []
    for one in matches:
        pairs = paired(one.reference, one.other).pairs
        made = _planned(one.condition, len(pairs), int(pairs.reads.sum()), lambda p=pairs: plan(pilot_pairs(p)))  # type: ignore[misc]
        unfinished = not (one.reference.source.complete and one.other.source.complete)
        found.append(replace(made, incomplete=unfinished))
    return found


def errors_of(cell: RunCondition) -> Clusters:
    """Return the reads that were not answered correctly, string by string. Failed calls are no reads."""
    answered = cell.outcome != ERROR
    return Clusters.from_reads(cell.string[answered], cell.outcome[answered] != CORRECT)


def _needed(cell: RunCondition, plan: Callable[[Sample], Plan], counts: Clusters) -> Needed:
    made = _planned(cell.name, len(counts), counts.n_reads, lambda: plan(pilot_errors(counts)))
    return replace(made, incomplete=not cell.source.complete)


def _planned(condition: str, strings: int, reads: int, plan: Callable[[], Plan]) -> Needed:
    if not strings:
        return Needed(condition, 0, 0, None, "no read was answered")
    try:
        return Needed(condition, reads, strings, plan())
    except CountsError as error:  # more strings than anybody has
        return Needed(condition, reads, strings, None, str(error))


def _supposing(plan: Callable[[Sample], Plan]) -> Callable[[Sample], Plan]:
    """For one pilot: two models that err as often as it did, each on reads of its own, differ in 2 p (1 - p)."""

    def made(sample: Sample) -> Plan:
        found = plan(replace(sample, share=2 * sample.share * (1 - sample.share)))
        note = "no second run: the other model is supposed to err as often, on other reads"
        return replace(found, notes=(*found.notes, note))

    return made
