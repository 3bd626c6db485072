"""Which rules without memory the wrong answers of a condition follow."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ffprompt.analysis.reads import LEVEL, Reads
from ffprompt.runs.reads import Bools
from ffprompt.stats.association import risk_difference
from ffprompt.stats.intervals import rate_interval
from ffprompt.tasks.base import Rule


@dataclass(frozen=True)
class RuleDifference:
    """How much more often answers are wrong where the rule is wrong than where it is right."""

    estimate: float
    low: float
    high: float
    p: float
    wrong_where_rule_is_wrong: float
    wrong_where_rule_is_right: float
    reads_where_rule_is_wrong: int
    reads_where_rule_is_right: int
    strings: int
    warnings: list[str]


@dataclass(frozen=True)
class SameAnswer:
    """How many of the wrong answers are the rule's own."""

    wrong: int
    same: int
    share: float
    low: float
    high: float
    strings: int


@dataclass(frozen=True)
class RuleFit:
    """One rule against the wrong answers. ``by_chance``: share of them that would be the rule's by chance."""

    rule: str
    open_reads: int
    difference: RuleDifference | None
    same_answer: SameAnswer | None
    by_chance: float | None
    explains: bool = False


@dataclass(frozen=True)
class RuleFits:
    """All rules, best first.

    Attributes:
        answered: Reads with an answer.
        wrong: Wrong answers among them.
        best: The rule that explains most, none, or several alike.
        rules: Each rule.
        largest_p: The p-value below which a rule explains something: 0.05, divided by the number of rules tried.
    """

    answered: int
    wrong: int
    best: list[str]
    rules: list[RuleFit]
    largest_p: float | None = None


def explained(reads: Reads) -> RuleFits:
    """Return which rules the wrong answers follow.

    Only reads with an answer count. A rule is tried where it is open (:class:`ffprompt.tasks.base.Rule`), so
    that chance alone says whether it is right: a model whose errors have nothing to do with it is wrong there equally
    often whether the rule is or not. It explains something if the risk difference is above 0 at a level that allows
    for the number of rules tried. With more than two symbols the wrong answers must also be the rule's more often than
    by chance.
    """
    answered = reads.correct | reads.wrong
    # Constants of two symbols are one question asked twice, but a stricter level does no harm.
    largest_p = (1 - LEVEL) / max(len(reads.rules), 1)
    fits = [_fit(name, rule, reads, answered) for name, rule in reads.rules.items()]
    fits = [replace(fit, explains=_explains(fit, reads.symbols, largest_p)) for fit in fits]
    estimates = {fit.rule: fit.difference.estimate for fit in fits if fit.explains and fit.difference}
    most = max(estimates.values(), default=None)
    fits.sort(key=lambda fit: -fit.difference.estimate if fit.difference else 2.0)
    return RuleFits(
        answered=int(answered.sum()),
        wrong=int((answered & reads.wrong).sum()),
        best=[name for name, estimate in estimates.items() if estimate == most],
        rules=fits,
        largest_p=largest_p,
    )


def _fit(name: str, rule: Rule, reads: Reads, answered: Bools) -> RuleFit:
    differs = rule.answers != reads.truth
    wrong = answered & reads.wrong
    same = wrong & (rule.answers == reads.answer)
    # Of wrong answers, those that are not the rule's.
    share = rate_interval(reads.clusters(wrong, ~same), LEVEL)
    agrees = share.complement() if share else None
    return RuleFit(
        rule=name,
        open_reads=int((rule.open & answered).sum()),
        difference=_difference(reads, rule, answered),
        same_answer=None
        if agrees is None
        else SameAnswer(agrees.n_reads, int(same.sum()), agrees.estimate, agrees.low, agrees.high, agrees.n_clusters),
        by_chance=float(differs[answered].mean()) / (reads.symbols - 1) if answered.any() else None,
    )


def _difference(reads: Reads, rule: Rule, answered: Bools) -> RuleDifference | None:
    here = rule.open & answered
    differs = rule.answers != reads.truth
    found = risk_difference(reads.string[here], differs[here], reads.wrong[here], LEVEL)
    if found is None:
        return None
    return RuleDifference(
        estimate=found.estimate,
        low=found.low,
        high=found.high,
        p=found.p,
        wrong_where_rule_is_wrong=found.exposed,
        wrong_where_rule_is_right=found.unexposed,
        reads_where_rule_is_wrong=found.n_exposed,
        reads_where_rule_is_right=found.n_unexposed,
        strings=found.n_clusters,
        warnings=list(found.warnings),
    )


def _explains(fit: RuleFit, symbols: int, largest_p: float) -> bool:
    difference, same = fit.difference, fit.same_answer
    if difference is None or difference.estimate <= 0 or difference.p >= largest_p:
        return False
    return symbols == 2 or (same is not None and fit.by_chance is not None and same.low > fit.by_chance)
