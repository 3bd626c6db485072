"""The reads of one condition from several sides: what makes them fail, which rule the wrong answers follow.

Functions of arrays, one number a read; all intervals take the string as the cluster. What they return goes into JSON.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ffprompt.stats.association import mean, risk_difference, slope
from ffprompt.stats.calibration import Bin, calibration, equal_count_edges, from_logprobs
from ffprompt.stats.clusters import Clusters, group
from ffprompt.stats.intervals import rate_interval
from ffprompt.tasks.base import Rule

LEVEL = 0.95
# Resamples of a calibration's bootstrap, fewer where there are many strings: their number is what costs.
_RESAMPLES, _MOST_DRAWS = 1000, 20_000_000

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Reads:
    """Reads of one condition whose call did not fail, (n,) each; ``rules`` hold (n,) arrays too.

    ``index``: which string of its language; ``answer``: -1 where there is none; ``instructions``: of a string;
    ``logprobs``: (n, symbols), NaN where not known, None where the elicitation gives none; ``repeat``: which
    of the repeats of the prompt, None where each was asked once.
    """

    index: Ints
    position: Ints
    gap: Ints
    truth: Ints
    answer: Ints
    correct: Bools
    wrong: Bools
    contradictions: Ints | None  # None where the task has nothing to say of them
    earlier: Ints | None
    rules: Mapping[str, Rule]
    symbols: int
    instructions: int
    logprobs: NDArray[np.float64] | None = None
    repeat: Ints | None = None

    @cached_property
    def string(self) -> Ints:
        """The strings numbered from 0 without gaps."""
        return group(self.index)[0]

    def clusters(self, where: Bools, missed: Bools) -> Clusters:
        """Counts a string of some reads."""
        rows = self.string[where]
        k = int(self.string.max(initial=-1)) + 1
        return Clusters(np.bincount(rows[missed[where]], minlength=k), np.bincount(rows, minlength=k))


def cell(reads: Reads, where: Bools) -> dict[str, Any] | None:
    """Accuracy of some reads with its interval, reads and strings; None without a read."""
    found = rate_interval(reads.clusters(where, ~reads.correct), LEVEL)
    if found is None:
        return None
    accuracy, right = found.complement(), int((where & reads.correct).sum())
    return {
        "reads": accuracy.n_reads,
        "strings": accuracy.n_clusters,
        "misses": accuracy.n_reads - right,
        "wrong": int((where & reads.wrong).sum()),
        "accuracy": right / accuracy.n_reads,
        "low": accuracy.low,
        "high": accuracy.high,
        "warnings": list(accuracy.warnings),
    }


def by_number(reads: Reads, values: Ints, edges: Sequence[int]) -> list[dict[str, Any]]:
    """Cells of the reads whose value lies from one edge to below the next; those without a read are left out."""
    found = []
    for low, after in itertools.pairwise(edges):
        if (one := cell(reads, (values >= low) & (values < after))) is not None:
            label = str(low) if after == low + 1 else f"{low}–{after - 1}"
            found.append({"label": label, "from": int(low), "to": int(after - 1), **one})
    return found


def doubling(values: Ints) -> list[int]:
    """Edges 0, 1, 2, 3, 5, 9, 17, …: bins that end at powers of two, up to the largest value."""
    edges = [0, 1, 2]
    while edges[-1] <= values.max(initial=0):
        edges.append(2 * edges[-1] - 1 if edges[-1] > 2 else 3)
    return edges


def tenths(instructions: int) -> list[int]:
    """Edges of ten equal parts of a string, in instructions; fewer where it has fewer."""
    return sorted({-(-instructions * part // 10) for part in range(11)})


def drift(reads: Reads) -> dict[str, Any] | None:
    """Change of the accuracy from the first instruction of a string to its last, by a line through all reads.

    None where nothing is to be seen: all reads right or all not, all at one place, or too few strings.
    """
    found = slope(reads.string, reads.position / max(reads.instructions - 1, 1), ~reads.correct, LEVEL)
    if found is None:
        return None
    return {
        "change": -found.estimate,
        "low": -found.high,
        "high": -found.low,
        "reads": found.n_reads,
        "strings": found.n_clusters,
        "warnings": list(found.warnings),
    }


def explained(reads: Reads) -> dict[str, Any]:
    """Which rules the wrong answers follow; ``best`` holds the one that explains most, none or several alike.

    Only reads with an answer count. A rule is tried where it is open (:class:`.history.Rule`), so that chance alone
    says whether it is right: a model whose errors have nothing to do with it is wrong there equally often whether the
    rule is or not. It explains something if the risk difference is above 0 at a level that allows for the number of
    rules tried; with more than two symbols the wrong answers must also be the rule's more often than by chance.
    """
    answered = reads.correct | reads.wrong
    rules = [_tried(name, rule, reads, answered) for name, rule in reads.rules.items()]
    # Constants of two symbols are one question asked twice, but a stricter level does no harm.
    largest_p = (1 - LEVEL) / max(len(rules), 1)
    for row in rules:
        row["explains"] = _explains(row, reads.symbols, largest_p)
    holding = [row for row in rules if row["explains"]]
    most = max((row["difference"]["estimate"] for row in holding), default=None)
    rules.sort(key=lambda row: -row["difference"]["estimate"] if row["difference"] else 2.0)
    return {
        "answered": int(answered.sum()),
        "wrong": int((answered & reads.wrong).sum()),
        "best": [row["rule"] for row in holding if row["difference"]["estimate"] == most],
        "rules": rules,
    }


def _tried(name: str, rule: Rule, reads: Reads, answered: Bools) -> dict[str, Any]:
    differs = rule.answers != reads.truth
    wrong = answered & reads.wrong
    same = wrong & (rule.answers == reads.answer)
    # Of wrong answers, those that are not the rule's.
    share = rate_interval(reads.clusters(wrong, ~same), LEVEL)
    agrees = share and share.complement()
    chance = float(differs[answered].mean()) / (reads.symbols - 1) if answered.any() else None
    return {
        "rule": name,
        "open_reads": int((rule.open & answered).sum()),
        "difference": _difference(reads, rule, answered),
        "same_answer": agrees
        and {
            "wrong": agrees.n_reads,
            "same": int(same.sum()),
            "share": agrees.estimate,
            "low": agrees.low,
            "high": agrees.high,
            "strings": agrees.n_clusters,
        },
        "by_chance": chance,
    }


def _difference(reads: Reads, rule: Rule, answered: Bools) -> dict[str, Any] | None:
    here = rule.open & answered
    differs = rule.answers != reads.truth
    found = risk_difference(reads.string[here], differs[here], reads.wrong[here], LEVEL)
    if found is None:
        return None
    return {
        "estimate": found.estimate,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "wrong_where_rule_is_wrong": found.exposed,
        "wrong_where_rule_is_right": found.unexposed,
        "reads_where_rule_is_wrong": found.n_exposed,
        "reads_where_rule_is_right": found.n_unexposed,
        "strings": found.n_clusters,
        "warnings": list(found.warnings),
    }


def _explains(row: Mapping[str, Any], symbols: int, largest_p: float) -> bool:
    difference, same = row["difference"], row["same_answer"]
    if difference is None or difference["estimate"] <= 0 or difference["p"] >= largest_p:
        return False
    return symbols == 2 or bool(same and same["low"] > row["by_chance"])


def calibrated(reads: Reads) -> dict[str, Any] | None:
    """Does the share that a model gives its answer say how often it is right? None without log-probabilities.

    Reads without all of them are left out and counted. Bins hold about equally many reads.
    """
    if reads.logprobs is None:
        return None
    known = reads.logprobs.max(1) > -np.inf  # which NaN is not
    strings = reads.string[known]
    probability, right, mass = from_logprobs(reads.logprobs[known], reads.truth[known])
    edges = equal_count_edges(probability) if len(probability) else None
    resamples = max(200, min(_RESAMPLES, _MOST_DRAWS // max(len(np.unique(strings)), 1)))
    found = calibration(strings, probability, right, mass, edges, LEVEL, resamples)
    if found is None:
        return None
    weight = mean(strings, mass, LEVEL)
    return {
        "reads": found.n_reads,
        "strings": found.n_clusters,
        "left_out": int((~known).sum()),
        "brier": found.brier,
        "brier_low": found.brier_low,
        "brier_high": found.brier_high,
        "ece": found.ece,
        "ece_low": found.ece_low,
        "ece_high": found.ece_high,
        "ece_if_calibrated": found.ece_if_calibrated,
        "mass": found.mass,
        "mass_low": weight and max(0.0, weight[1]),
        "mass_high": weight and min(1.0, weight[2]),
        "bins": [_bin(one, strings, probability, right) for one in found.bins],
        "warnings": list(found.warnings),
    }


def _bin(one: Bin, strings: Ints, probability: NDArray[np.float64], right: Bools) -> dict[str, Any]:
    here = (probability >= one.low) & ((probability < one.high) | (one.high == 1))
    found = rate_interval(Clusters.from_reads(strings[here], ~right[here]), LEVEL)
    assert found is not None  # a bin has reads
    accuracy = found.complement()
    return {
        "from": one.low,
        "to": one.high,
        "reads": one.reads,
        "strings": one.strings,
        "probability": one.probability,
        "accuracy": one.happened,
        "low": accuracy.low,
        "high": accuracy.high,
    }
