"""Two models, shots, templates …: how much more often one is right on the same reads, with intervals and tests.

>>> compare(["results/RUN-A", "results/RUN-B"]).frame()  # doctest: +SKIP
>>> compare("results/RUN", by="shots").rows[0].difference  # doctest: +SKIP
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ffprompt._util.formatting import counted, plural_of
from ffprompt._util.plain import Plain
from ffprompt.comparison.conditions import RunCondition, conditions_of
from ffprompt.comparison.matching import Match, match
from ffprompt.comparison.pairing import paired
from ffprompt.comparison.prompt_differences import other_prompts
from ffprompt.elicitation.base import find_elicitation
from ffprompt.errors import ConfigError
from ffprompt.runs.folder import each_run
from ffprompt.scoring.score import Outcome
from ffprompt.stats.paired import Difference, difference
from ffprompt.stats.pvalues import Test, holm, mcnemar, sign_flip
from ffprompt.stats.quantiles import checked_level

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import JsonValue

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
# Fields of a row that are records themselves.
_NESTED = ("difference", "flips", "yang", "durkalski")
# Outcomes without an answer that could be right or wrong.
_UNREADABLE = (Outcome.INVALID, Outcome.REFUSED, Outcome.TRUNCATED)


@dataclass(frozen=True)
class ComparisonRow:
    """B against A in one condition, on the reads that both answered.

    Attributes:
        condition: The name of what both have in common.
        a: What A is: a model, or the value that is compared by.
        b: What B is.
        run_a: The run that A is from.
        run_b: The run that B is from.
        n_reads: Reads that both answered.
        n_strings: Their strings.
        accuracy_a: Share of these reads that A has right, or None without a read.
        accuracy_b: Share of these reads that B has right, or None without a read.
        difference: B's accuracy less A's, with its interval and its p-value, or None without a read.
        p_holm: That p-value, adjusted for the number of rows that are tested.
        flips: The test by sign flips over strings.
        yang: McNemar's test for clustered pairs, after Yang and others.
        durkalski: McNemar's test for clustered pairs, after Durkalski and others.
        errors: Pairs left out because a call failed on either side.
        only_a: Reads that only A has.
        only_b: Reads that only B has.
        incomplete: Whether a run has trials without an answer, which may not be missing by chance.
        warnings: What to know before the numbers are read.
        bias_a: How much A leans towards answer 1 of two: its accuracy where that is true less its accuracy where it is
            not, or in ``prior`` the difference between the probabilities of the answers. ``bias_b`` likewise.
        blanked: Whether a side has its values blanked (``prior``). Its accuracy says nothing of a model, so that the
            row has none and no test.
    """

    condition: str
    a: str
    b: str
    run_a: str
    run_b: str
    n_reads: int
    n_strings: int
    accuracy_a: float | None
    accuracy_b: float | None
    difference: Difference | None
    p_holm: float | None
    flips: Test | None
    yang: Test | None
    durkalski: Test | None
    errors: int
    only_a: int
    only_b: int
    incomplete: bool
    warnings: tuple[str, ...] = ()
    bias_a: float | None = None
    bias_b: float | None = None
    blanked: bool = False


@dataclass(frozen=True)
class Comparison(Plain):
    """All rows of a comparison.

    Attributes:
        by: What was compared by.
        level: The confidence of the intervals.
        rows: One for each condition and pair of sides.
        left_out: Conditions that had nothing to be compared with.
    """

    by: tuple[str, ...]
    level: float
    rows: tuple[ComparisonRow, ...]
    left_out: tuple[str, ...] = ()

    @property
    def incomplete(self) -> bool:
        """Whether a number in it rests on a run that is not complete."""
        return any(row.incomplete for row in self.rows)

    def to_json(self) -> dict[str, JsonValue]:
        """Return plain values, with whether the comparison is ``incomplete`` before the fields."""
        return {"incomplete": self.incomplete, **super().to_json()}

    def frame(self) -> pd.DataFrame:
        """One line a row, with the bounds and p-values as columns."""
        import pandas as pd

        return pd.DataFrame([_flat(row) for row in self.rows])


def _flat(row: ComparisonRow) -> dict[str, str | float | None]:
    found = row.difference
    columns: dict[str, str | float | None] = {
        name: value for name, value in vars(row).items() if name not in (*_NESTED, "warnings")
    }
    return columns | {
        "difference": found.estimate if found else None,
        "low": found.low if found else None,
        "high": found.high if found else None,
        "p": found.p if found else None,
        "lost": found.lost if found else None,
        "gained": found.gained if found else None,
        "p_sign_flip": row.flips.p if row.flips else None,
        "p_yang": row.yang.p if row.yang else None,
        "p_durkalski": row.durkalski.p if row.durkalski else None,
        "warnings": "; ".join(row.warnings),
    }


def compare(
    runs: Paths,
    by: str | Sequence[str] = (),
    allow: Collection[str] = (),
    incomplete: bool = False,
    level: float = 0.95,
) -> Comparison:
    """Compare runs, the first with each of the others, condition by condition, or the conditions of one run.

    Args:
        runs: One run or several.
        by: What may differ: ``model`` (the default), ``shots``, ``template``, ``elicitation``, ``backend``, …
        allow: Other settings that may differ as well. Any other difference is refused.
        incomplete: Also use what there is of unfinished runs.
        level: The confidence of the intervals.

    Returns:
        A row for each pair of conditions: the difference of the accuracies on the reads that both answered, with an
        interval and a p-value that Holm's method adjusts for the number of rows.

    Raises:
        ConfigError: The runs cannot be compared.
        StoreError: A run is damaged.
        IncompleteRunError: A run is not done, unless ``incomplete``.
    """
    checked_level(level)
    paths = each_run(runs)
    if not paths:
        raise ConfigError("compare: expected at least one run")
    sides = [conditions_of(path, incomplete) for path in paths]
    return compare_conditions(sides, [by] if isinstance(by, str) else by, allow, level)


def compare_conditions(
    sides: Sequence[Sequence[RunCondition]], by: Sequence[str], allow: Collection[str] = (), level: float = 0.95
) -> Comparison:
    """Do what :func:`compare` does, for runs in memory."""
    matches, left_out = match(sides, by, allow)
    rows = [_row(one, level) for one in matches]
    adjusted = holm([row.difference.p if row.difference else None for row in rows])
    rows = [replace(row, p_holm=p) for row, p in zip(rows, adjusted, strict=True)]
    return Comparison(tuple(by) or ("model",), level, tuple(rows), tuple(left_out))


def _row(one: Match, level: float) -> ComparisonRow:
    made = paired(one.reference, one.other)
    pairs, n = made.pairs, made.n_reads
    blanked = any(find_elicitation(cell.settings["elicitation"]).blanks for cell in (one.reference, one.other))
    found = None if blanked else difference(pairs, level)
    a, b = one.reference.source, one.other.source
    return ComparisonRow(
        one.condition,
        one.reference_label,
        one.other_label,
        a.run_id,
        b.run_id,
        n,
        len(pairs),
        made.right_a / n if n and not blanked else None,
        made.right_b / n if n and not blanked else None,
        found,
        None,
        None if blanked else sign_flip(pairs),
        None if blanked else mcnemar(pairs, "yang"),
        None if blanked else mcnemar(pairs, "durkalski"),
        made.errors,
        made.only_a,
        made.only_b,
        not (a.complete and b.complete),
        (*(found.warnings if found else () if n else ("no read was answered on both sides",)), *warnings(one)),
        one.reference.bias,
        one.other.bias,
        blanked,
    )


def warnings(one: Match) -> list[str]:
    """What a reader has to know of answers that nothing could be read from."""
    found = []
    for label, cell in ((one.reference_label, one.reference), (one.other_label, one.other)):
        answered = len(cell.outcome) - cell.counts[Outcome.ERROR]
        unreadable = sum(cell.counts[name] for name in _UNREADABLE)
        if answered and unreadable > answered / 2:
            have = plural_of(unreadable, "has", "have")
            found.append(f"{label}: {unreadable:,} of {counted(answered, 'read')} {have} no readable answer")
    return [*found, *other_prompts(one.reference, one.other)]
