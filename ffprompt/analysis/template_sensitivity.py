"""How much the accuracy depends on the template, everything else being the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ffprompt.analysis.accuracy import Accuracy
from ffprompt.analysis.reads import LEVEL, Reads
from ffprompt.elicitation.condition import Condition
from ffprompt.runs.reads import Ints
from ffprompt.stats.paired import Pairs, difference


@dataclass(frozen=True)
class _Named:
    template: str
    condition: str


@dataclass(frozen=True)
class TemplateAccuracy(Accuracy, _Named):
    """Accuracy under one template."""


@dataclass(frozen=True)
class TemplateDifference:
    """Best less worst template on the reads that both have."""

    best: str
    worst: str
    estimate: float
    low: float
    high: float
    p: float
    reads: int
    strings: int
    warnings: list[str]


@dataclass(frozen=True)
class TemplateSensitivity:
    """Conditions that differ in the template alone, most accurate first.

    ``spread``: accuracy of the best less that of the worst. ``sd``: standard deviation over templates;
    ``widest_interval``: length of the widest interval of one template, to compare the spread with.
    """

    language: str
    shots: int
    elicitation: str
    form: str
    turn_instructions: int | None
    templates: list[TemplateAccuracy]
    spread: float
    sd: float
    widest_interval: float
    difference: TemplateDifference | None


_Side = tuple[Condition, Accuracy, Reads]


def sensitivities(
    conditions: Sequence[Condition], accuracies: Sequence[Accuracy | None], reads: Sequence[Reads]
) -> list[TemplateSensitivity]:
    """Return one for each group of two or more conditions that differ in the template alone."""
    groups: dict[tuple[str, int, str, str, int | None], list[_Side]] = {}
    for condition, accuracy, mine in zip(conditions, accuracies, reads, strict=True):
        if accuracy is not None:
            key = (
                condition.language, condition.shots, condition.elicitation.name, condition.form,
                condition.turn_instructions,
            )  # fmt: skip
            groups.setdefault(key, []).append((condition, accuracy, mine))
    return [_sensitivity(key, sides) for key, sides in groups.items() if len(sides) > 1]


def _sensitivity(key: tuple[str, int, str, str, int | None], sides: list[_Side]) -> TemplateSensitivity:
    sides = sorted(sides, key=lambda side: -side[1].accuracy)
    shares = [accuracy.accuracy for _, accuracy, _ in sides]
    return TemplateSensitivity(
        *key,
        templates=[
            TemplateAccuracy(template=condition.template, condition=condition.name, **vars(accuracy))
            for condition, accuracy, _ in sides
        ],
        spread=shares[0] - shares[-1],
        sd=float(np.std(shares, ddof=1)),
        widest_interval=max(accuracy.high - accuracy.low for _, accuracy, _ in sides),
        difference=_difference(sides[0], sides[-1]),
    )


def _difference(best: _Side, worst: _Side) -> TemplateDifference | None:
    """On the same reads of the same strings. None where they share none."""
    a, b = worst[2], best[2]
    strings = 1 + max(int(side.index.max(initial=0)) for side in (a, b))
    _, left, right = np.intersect1d(_numbers(a, strings), _numbers(b, strings), True, return_indices=True)
    found = difference(Pairs.from_reads(a.index[left], a.correct[left], b.correct[right]), LEVEL)
    if found is None:
        return None
    return TemplateDifference(
        best[0].template, worst[0].template, found.estimate, found.low, found.high, found.p, found.n_reads,
        found.n_clusters, list(found.warnings),
    )  # fmt: skip


def _numbers(reads: Reads, strings: int) -> Ints:
    """(n,) a number for each read, the same in every condition: by repeat, string and position."""
    string = reads.index if reads.repeat is None else reads.repeat * strings + reads.index
    return string * reads.instructions + reads.position
