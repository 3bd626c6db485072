"""Is a candidate as good as its baseline, but for a margin, in every condition?

*Pass* is an intersection-union test: only if every condition passes, each at the full level. Then a candidate that is
worse by the margin or more in any one condition passes with probability at most 1 - level, and no adjustment for the
number of conditions is needed (Berger 1982). *Regression* is the opposite claim, and one condition is enough for it: so
each is tested at 1 - (1 - level) / m for m conditions (Bonferroni), and a candidate without a regression anywhere is
said to have one with probability at most 1 - level. All else is *inconclusive*. No mean over conditions is taken:
different elicitations are different measurements.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ffprompt._util.formatting import counted, plural_of
from ffprompt._util.numbers import is_number
from ffprompt._util.plain import Plain
from ffprompt.comparison.compare import Paths
from ffprompt.comparison.conditions import RunCondition, conditions_of
from ffprompt.comparison.gate_strings import strings_that_settle
from ffprompt.comparison.matching import Match, match
from ffprompt.comparison.pairing import paired
from ffprompt.elicitation.base import find_elicitation
from ffprompt.errors import ConfigError, CountsError
from ffprompt.runs.folder import each_run
from ffprompt.stats.gate import Gate, Verdict, noninferior
from ffprompt.stats.paired import Pairs
from ffprompt.stats.quantiles import checked_level

if TYPE_CHECKING:
    from pydantic import JsonValue

Path = str | os.PathLike[str]
EXIT_CODES: dict[Verdict, int] = {"pass": 0, "regression": 1, "inconclusive": 3}


@dataclass(frozen=True)
class GateCheck:
    """The verdict on one condition, and why in one line.

    Attributes:
        condition: The name of the condition.
        baseline: The run of the baseline.
        candidate: The run of the candidate, empty where it was not asked this.
        verdict: ``pass``, ``regression`` or ``inconclusive``.
        reason: Why, in words.
        n_reads: Reads that both answered.
        n_strings: Their strings.
        accuracy_baseline: Share of these reads that the baseline has right.
        accuracy_candidate: Share of these reads that the candidate has right.
        estimate: The candidate's accuracy less the baseline's, or None without a pair.
        low: The bound of the difference that a pass rests on.
        high: The bound of the difference that a regression rests on.
        lost: Reads that only the baseline has right.
        gained: Reads that only the candidate has right.
        unpaired: Reads that only one of the runs has.
        warnings: What to know before the numbers are read.
        lost_to: What became of the lost reads, by outcome.
        mass_baseline: The baseline's mean probability of all answers together, where answers were scored.
        mass_candidate: The candidate's.
        strings_needed: About how many strings an equal model needs to pass, where the verdict is inconclusive.
    """

    condition: str
    baseline: str
    candidate: str
    verdict: Verdict
    reason: str
    n_reads: int
    n_strings: int
    accuracy_baseline: float | None
    accuracy_candidate: float | None
    estimate: float | None
    low: float | None
    high: float | None
    lost: int
    gained: int
    unpaired: int
    warnings: tuple[str, ...] = ()
    lost_to: Mapping[str, int] = field(default_factory=dict)
    mass_baseline: float | None = None
    mass_candidate: float | None = None
    strings_needed: int | None = None

    @property
    def consists(self) -> str:
        """What a loss consists of: ``7 reads lost (5 invalid, 2 wrong), answer mass 0.93 to 0.05``, or nothing."""
        found = []
        if self.lost:
            kinds = ", ".join(f"{count:,} {name}" for name, count in sorted(self.lost_to.items()))
            found.append(f"{counted(self.lost, 'read')} lost{f' ({kinds})' if kinds else ''}")
        if self.mass_fell:
            found.append(f"answer mass {self.mass_baseline:.2g} to {self.mass_candidate:.2g}")
        return ", ".join(found)

    @property
    def mass_fell(self) -> bool:
        """Whether the model would much more often write something other than an answer."""
        before, now = self.mass_baseline, self.mass_candidate
        return before is not None and now is not None and before - now > _MASS_FALL


# A fall of the mean answer mass by more than this is said beside the accuracy, which does not see it.
_MASS_FALL = 0.1


@dataclass(frozen=True)
class GateReport(Plain):
    """The verdict over all conditions, and each one's.

    Attributes:
        verdict: ``pass``, ``regression`` or ``inconclusive``.
        margin: The loss of accuracy that is too much.
        level: The confidence of each pass.
        regression_level: The confidence of each regression.
        checks: The verdict on each condition.
        not_gated: Conditions that the baseline does not have.
    """

    verdict: Verdict
    margin: float
    level: float
    regression_level: float
    checks: tuple[GateCheck, ...]
    not_gated: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The verdict over all conditions, and what a loss consists of, in one line."""
        count = len(self.checks)
        hit = [check for check in self.checks if check.verdict == self.verdict]
        where = "in its one condition" if count == 1 else f"in {len(hit)} of {count} conditions"
        if self.verdict == "pass":
            text = f"pass: a loss of {self.margin:g} or more is ruled out in {'all ' if count > 1 else ''}{count} "
            lower = sum(check.high is not None and check.high < 0 for check in self.checks)
            worse = f". Accuracy is shown to be lower, by less than that, in {lower} of {count}" if lower else ""
            return f"{text}{plural_of(count, 'condition')}{worse}{self._fallen_mass()}"
        if self.verdict == "regression":
            kinds: Counter[str] = Counter()
            for check in hit:
                kinds.update(check.lost_to)
            lost = sum(kinds.values())
            said = ", ".join(f"{number:,} {name}" for name, number in kinds.most_common())
            text = f"regression: accuracy fell by more than {self.margin:g} {where}"
            were = f"{counted(lost, 'read')} {plural_of(lost, 'was', 'were')}"
            return f"{text}. {were} lost there: {said}{self._fallen_mass()}"
        needed = [check.strings_needed for check in hit if check.strings_needed is not None]
        more = f". {_settles(max(needed), min(check.n_strings for check in hit)).capitalize()}" if needed else ""
        return (
            f"inconclusive: a loss of {self.margin:g} is neither ruled out nor shown {where}{more}{self._fallen_mass()}"
        )

    def _fallen_mass(self) -> str:
        fallen = [check for check in self.checks if check.mass_fell]
        if not fallen:
            return ""
        worst = min(fallen, key=lambda check: check.mass_candidate or 0.0)
        more = f" and in {len(fallen) - 1} more" if len(fallen) > 1 else ""
        masses = f"from {worst.mass_baseline:.2g} to {worst.mass_candidate:.2g}"
        return f". Answer mass fell {masses} in {worst.condition}{more}, which accuracy does not see"

    @property
    def exit_code(self) -> int:
        """0 pass, 1 regression, 3 inconclusive."""
        return EXIT_CODES[self.verdict]

    def to_json(self) -> dict[str, JsonValue]:
        """Return plain values, with the exit code before the fields."""
        return {"exit_code": self.exit_code, **super().to_json()}


def gate(
    baseline: Paths,
    candidate: Paths,
    margin: float,
    level: float = 0.95,
    allow: Collection[str] = (),
) -> GateReport:
    """Compare a candidate's runs with a baseline's, condition by condition.

    The risk of a wrong verdict is shared by all conditions (Bonferroni). A condition of the baseline that the candidate
    has not run is inconclusive.

    Args:
        baseline: One run or several, or their folders.
        candidate: The same of the model that is to take its place.
        margin: The largest acceptable loss of accuracy, such as 0.01.
        level: The confidence over all conditions together.
        allow: Settings that may differ, beside the model. Any other difference is refused.

    Returns:
        A verdict over all conditions, ``pass``, ``regression`` or ``inconclusive``, and a check for each.

    Raises:
        ConfigError: the runs cannot be compared.
        CountsError: ``margin`` is not between 0 and 1, or ``level`` is below 0.5 or not below 1.
        StoreError: a run is damaged.
        IncompleteRunError: a run is not done. There is no passing on part of one.
    """
    checked_level(level)
    if not is_number(margin) or not 0 < margin < 1:
        raise CountsError(f"margin {margin!r:.80}: expected a loss of accuracy between 0 and 1, such as 0.01")
    before, after = (
        [cell for path in each_run(paths) for cell in conditions_of(path)] for paths in (baseline, candidate)
    )
    return gate_conditions(before, after, margin, level, allow)


def gate_conditions(
    before: Sequence[RunCondition],
    after: Sequence[RunCondition],
    margin: float,
    level: float,
    allow: Collection[str] = (),
) -> GateReport:
    """Do what :func:`gate` does, for runs in memory."""
    if not before or not after:
        raise ConfigError("gate: expected at least one run of the baseline and one of the candidate")
    for cell in (*before, *after):
        if find_elicitation(cell.settings["elicitation"]).blanks:
            raise ConfigError(
                f"gate: {cell.name} in {cell.source.run_id}: its values are blanked, so its accuracy says nothing; "
                "gate a run without this elicitation"
            )
    matches, _ = match([before, after], ("model",), allow)
    gated = {(id(one.reference), id(one.other)) for one in matches}
    missing = [cell for cell in before if id(cell) not in {a for a, _ in gated}]
    extra = [cell for cell in after if id(cell) not in {b for _, b in gated}]
    # Bonferroni: the risk is shared by all conditions that the baseline asks for.
    strict = 1 - (1 - level) / len(before)
    checks = [_check(one, margin, level, strict) for one in matches] + [_not_run(cell) for cell in missing]
    verdicts = {check.verdict for check in checks}
    verdict: Verdict = "inconclusive"
    if "regression" in verdicts:
        verdict = "regression"
    elif verdicts == {"pass"}:
        verdict = "pass"
    return GateReport(verdict, margin, level, strict, tuple(checks), tuple(cell.name for cell in extra))


def _check(one: Match, margin: float, level: float, strict: float) -> GateCheck:
    made = paired(one.reference, one.other)
    passing, failing = noninferior(made.pairs, margin, level), noninferior(made.pairs, margin, strict)
    verdict, reason = _verdict(made.pairs, passing, failing)
    needed = None
    if verdict == "inconclusive" and len(made.pairs):
        needed = strings_that_settle(made.pairs, margin, level)
        reason += f"; {_settles(needed, len(made.pairs))}" if needed else ""
    n = made.n_reads
    found, wide = passing.found, failing.found
    return GateCheck(
        one.condition,
        one.reference.source.run_id,
        one.other.source.run_id,
        verdict,
        reason,
        n,
        len(made.pairs),
        made.right_a / n if n else None,
        made.right_b / n if n else None,
        found.estimate if found else None,
        found.low if found else None,
        wide.high if wide else None,
        found.lost if found else 0,
        found.gained if found else 0,
        made.only_a + made.only_b,
        found.warnings if found else (),
        made.lost_to,
        _mass(one.reference),
        _mass(one.other),
        needed,
    )


def _settles(needed: int, strings: int) -> str:
    """What more strings would do, given how many an equal model needs to pass and how many there are."""
    if needed > strings:
        step = 10 ** max(0, len(str(needed)) - 2)  # two digits, as it is a formula's number
        return f"about {-(-needed // step) * step:,} strings in each condition would let an equal model pass"
    return f"an equal model would probably have passed with these {strings:,} strings, so more may well show a loss"


def _mass(cell: RunCondition) -> float | None:
    """The mean answer mass of a condition, from the table of its run."""
    rows = cell.source.info.get("results") or []
    return rows[cell.number].get("mean_answer_mass") if cell.number < len(rows) else None


def _verdict(pairs: Pairs, passing: Gate, failing: Gate) -> tuple[Verdict, str]:
    """Pass at the level of one condition, regression at the stricter level of many."""
    if passing.verdict == "pass":
        worse = ", though it is shown to be worse" if failing.shown_worse else ""
        return "pass", passing.reason + worse
    if failing.verdict == "regression":
        return "regression", failing.reason
    if not len(pairs) or failing.found is None or passing.found is None:
        return "inconclusive", passing.reason
    least = f"from {-failing.found.high:.2g}" if failing.found.high < 0 else "from none"
    return "inconclusive", f"the loss may be anything {least} to {-passing.found.low:.2g}"


def _not_run(cell: RunCondition) -> GateCheck:
    reason = "the candidate was not asked this"
    return GateCheck(
        cell.name, cell.source.run_id, "", "inconclusive", reason, 0, 0, None, None, None, None, None, 0, 0,
        len(cell.outcome),
    )  # fmt: skip
