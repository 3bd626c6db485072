"""Does the model know when it is wrong? What predicts whether an answer is right, as areas under the ROC curve.

``P(True)`` is what ``verify`` gives: the probability of True among True and False, for an answer that is shown. Beside
it stand what ``forced`` gives: the margin between the two best answers, and the probability of all answers together.
An area of 0.5 says that a number tells nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ffprompt.analysis.reads import LEVEL, Reads
from ffprompt.elicitation.condition import Condition
from ffprompt.runs.reads import ERROR, Bools, Floats, Ints, ReadTable
from ffprompt.stats.auroc import auroc

SHOWN, OWN = "the answer that is shown", "its own answer"


@dataclass(frozen=True)
class Predictor:
    """How well a number tells right answers from wrong ones.

    Attributes:
        name: P(True), margin or answer mass.
        of: Whose rightness it predicts: the answer that is shown, or the model's own.
        auroc: The area under the ROC curve, with an interval over strings.
        right: Right answers. ``wrong`` likewise.
    """

    name: str
    of: str
    auroc: float
    low: float | None
    high: float | None
    right: int
    wrong: int
    strings: int


def self_knowledge(conditions: Sequence[Condition], table: ReadTable, every: Sequence[Reads]) -> list[list[Predictor]]:
    """Return for each condition what predicts that its answers are right. Empty without log-probabilities.

    For ``verify`` the model's own answers are those of ``forced`` on the same reads, where the run has them.
    """
    found: list[list[Predictor]] = []
    for condition, reads in zip(conditions, every, strict=True):
        if reads.logprobs is None:
            found.append([])
        elif condition.elicitation.answers_reads:
            found.append(_own(reads, np.isfinite(reads.logprobs).all(1) & (reads.answer >= 0)))
        elif len(shown := _shown(condition, table)):
            partner = next((n for n, one in enumerate(conditions) if _asks_the_same(one, condition)), None)
            found.append(_verified(reads, shown, None if partner is None else every[partner]))
        else:
            found.append([])
    return found


def _shown(condition: Condition, table: ReadTable) -> Ints:
    """The answers that were shown to be judged, (n,), of the reads whose call did not fail. Empty where none was."""
    if "proposed" not in table.names:
        return np.zeros(0, np.int64)
    stored = table.of(condition.number)
    shown = table.integers("proposed", missing=-1)[stored.rows][stored.outcome != ERROR]
    return shown if (shown >= 0).all() else np.zeros(0, np.int64)


def _asks_the_same(own: Condition, verified: Condition) -> bool:
    """Whether a condition has the model's own answers to the reads of one that shows answers."""
    alike = ("template", "shots", "shot_length", "spec", "length")
    return (
        own.elicitation.scored_by_logprobs
        and own.elicitation.answers_reads
        and all(getattr(own, name) == getattr(verified, name) for name in alike)
    )


def _own(reads: Reads, where: Bools) -> list[Predictor]:
    """Margin and mass as predictors of the model's own answers."""
    assert reads.logprobs is not None
    logprobs = reads.logprobs[where]
    best = np.sort(logprobs, 1)
    numbers = (("margin", best[:, -1] - best[:, -2]), ("answer mass", np.exp(logprobs).sum(1)))
    made = [_predictor(name, OWN, reads.index[where], score, reads.correct[where]) for name, score in numbers]
    return [one for one in made if one is not None]


def _verified(reads: Reads, shown: Ints, own: Reads | None) -> list[Predictor]:
    """P(True) of the answers that are shown, and of the model's own answers beside margin and mass."""
    assert reads.logprobs is not None
    known = np.isfinite(reads.logprobs).all(1)
    p = _p_true(reads.logprobs, shown)
    found = [_predictor("P(True)", SHOWN, reads.index[known], p[known], (shown == reads.truth)[known])]
    if own is not None and own.logprobs is not None:
        places = {key: place for place, key in enumerate(zip(own.index.tolist(), own.position.tolist(), strict=True))}
        at = np.array([places.get(key, -1) for key in zip(reads.index.tolist(), reads.position.tolist(), strict=True)])
        both = known & (at >= 0)
        both[both] = (own.answer[at[both]] >= 0) & np.isfinite(own.logprobs[at[both]]).all(1)
        if both.any():
            mine = at[both]
            # Who gives an answer True with p gives the other of two True with 1 - p.
            of_own = np.where(own.answer[mine] == shown[both], p[both], 1 - p[both])
            found.append(_predictor("P(True)", OWN, own.index[mine], of_own, own.correct[mine]))
            where = np.zeros(len(own.index), np.bool_)
            where[mine] = True
            found += _own(own, where)
    return [one for one in found if one is not None]


def _p_true(logprobs: Floats, shown: Ints) -> Floats:
    """The probability of True among True and False, (n,). The answer that is shown stands for True."""
    rows = np.arange(len(shown))
    return np.asarray(1 / (1 + np.exp(logprobs[rows, 1 - shown] - logprobs[rows, shown])))


def _predictor(name: str, of: str, string: Ints, score: Floats, right: Bools) -> Predictor | None:
    found = auroc(string, score, right, LEVEL)
    if found is None:
        return None
    return Predictor(name, of, found.estimate, found.low, found.high, found.cases, found.others, found.n_clusters)
