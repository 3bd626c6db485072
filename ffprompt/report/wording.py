"""Numbers in words: shares, intervals, and what stands under the result table."""

from __future__ import annotations

from collections.abc import Sequence

from ffprompt._util.files import shortened
from ffprompt._util.formatting import counted, plural_of, share, span
from ffprompt._util.records import JsonObject
from ffprompt.analysis.condition_names import Rows
from ffprompt.analysis.verdict import unread
from ffprompt.scoring.aggregate import Reasons
from ffprompt.scoring.condition_result import (
    ConditionResult,
    ReasoningTags,
    StringsWithAnError,
    ZeroErrorBounds,
)
from ffprompt.scoring.score import Outcome

_TOLD_REASONS, _LONGEST_REASON = 3, 400  # of errors, under a table
REPEATS = (
    "self-agreement: how often two repeats of a read give the same answer; always right: strings with every read right "
    "in every repeat"
)
_MORE_INVALID = "more of them in the run's invalid.md"
_LOW_MASS = 0.05  # below it a choice among the answers says little about what a model would write
_WILSON = "Wilson over strings (computed by an earlier version; ffprompt score RUN renews it)"


def legend(rows: Sequence[ConditionResult]) -> str:
    """Return what the columns of the result table mean."""
    methods = dict.fromkeys(row.interval_method or _WILSON for row in rows if row.interval_low is not None)
    said = f"interval: {' or '.join(methods)}; " if methods else ""
    said = said.replace("Korn-Graubard", "Korn-Graubard, with the read as the unit and the string as the cluster")
    said = said.replace("score test", "score test with strings as clusters")
    repeats = f"; {REPEATS}" if any(row.repeats > 1 for row in rows) else ""
    return (
        f"accuracy: correct / (reads - errors); {said}floor: the best of several rules without memory on the same reads"
        f"{repeats}"
    )


def repeated(row: ConditionResult) -> list[str]:
    """Return what the repeats of a row's prompts tell, in words. Nothing where each was asked once."""
    if row.repeats < 2:
        return []
    found = []
    if row.self_agreement is not None:
        ends = _ends(row.self_agreement_low, row.self_agreement_high)
        found.append(f"self-agreement {share(row.self_agreement)}{ends}")
    if row.always_right is not None:
        ends = _ends(row.always_right_low, row.always_right_high)
        found.append(f"always right {share(row.always_right)}{ends} of {counted(row.whole_strings, 'string')}")
    return found


def traced(row: ConditionResult) -> list[str]:
    """Return how many traces end with other answers than their own lines give. Nothing where there are none."""
    found = []
    if row.traces:
        against = row.contradicting_traces or 0
        share_against = share(against / row.traces)
        found.append(f"traces contradicted by their final answers {share_against} ({against:,} of {row.traces:,})")
    if free := row.replies_without_a_trace:
        found.append(f"{counted(free, 'reply')} without a trace")
    return found


def _ends(low: float | None, high: float | None) -> str:
    """An interval in parentheses. None where a run stopped by itself, for which it would not hold."""
    return "" if low is None else f" ({span(low, high)})"


def notes(rows: Rows) -> list[str]:
    """Return what the intervals do not say: how many strings are hit, what no miss shows, and what to beware of.

    Rows of earlier versions, which do not know, have none.
    """
    named = [(f"{model} {row.condition}", row) for model, row in rows]
    found = []
    for name, row in named:
        if row.strings_with_an_error is not None:
            bounds = row.zero_error_bounds
            found.append(f"{name}: {_bounds(row, bounds) if bounds else _hit(row, row.strings_with_an_error)}")
    found += [f"{name}: {unread(row.unread, _MORE_INVALID)}" for name, row in named if row.unread]
    found += _tags_that_never_occur(rows)
    warned: dict[str, list[str]] = {}
    masses = [
        (row.mean_answer_mass, name)
        for name, row in named
        if row.mean_answer_mass is not None and row.mean_answer_mass < _LOW_MASS
    ]
    if masses:
        low, high = min(masses)[0], max(masses)[0]
        least = f"{low:.2g}" if len(masses) == 1 else f"{low:.2g} to {high:.2g}"
        warning = f"answer mass {least}: the model would nearly always write something other than any of the answers"
        warned[warning] = [name for _, name in masses]
    for name, row in named:
        for warning in row.warnings:
            warned.setdefault(warning, []).append(name)
    for warning, names in warned.items():
        more = f", and {len(names) - 1} more" if len(names) > 1 else ""
        found.append(f"beware, {warning} ({names[0]}{more})")
    return found


def failures(rows: Sequence[ConditionResult]) -> list[str]:
    """Return why trials ended in error, over all rows, in one line. None where none did."""
    found = Reasons()
    for row in rows:
        for reason, trials in row.reasons.get(Outcome.ERROR, ()):
            found.add(reason, trials)
    return failed(found)


def failed(found: Reasons) -> list[str]:
    """Return reasons of failed trials in one line. None without a reason.

    >>> reasons = Reasons()
    >>> reasons.add("HTTP 500: broken", 3)
    >>> failed(reasons)
    ['3 trials ended in error: 3 × HTTP 500: broken']
    """
    if not (most := found.most()):
        return []
    told = [f"{trials:,} × {shortened(reason, _LONGEST_REASON)}" for reason, trials in most[:_TOLD_REASONS]]
    if rest := sum(trials for _, trials in most[_TOLD_REASONS:]):
        told.append(f"{rest:,} × other reasons")
    total = found.counts.total()
    return [f"{counted(total, 'trial')} ended in error: {'; '.join(told)}"]


def audit_notes(info: JsonObject) -> list[str]:
    """Return what a run, by its ``run.json``, has found about its model that a reader of its numbers should know."""
    found = [*(info.get("audit") or ()), info["model"].get("learned") or {}]
    noted = dict.fromkeys(note for each in found for note in each.get("notes", ()))
    noted |= dict.fromkeys(_unlike_devices(info.get("results") or ()))
    return [f"note on {info['config']['model']}: {note}" for note in noted]


def _unlike_devices(rows: Sequence[JsonObject]) -> list[str]:
    """How accurate each device was where answers come from unlike ones, and how many reads that may have decided."""
    notes = []
    for row in rows:
        if devices := row.get("devices"):
            parts = [
                f"{share(right / reads)} of {counted(reads, 'read')} on {name}"
                for name, (reads, right) in devices.items()
            ]
            ties = row.get("near_ties")
            known = "near ties are not known" if ties is None else f"{ties:,} near ties may differ between them"
            notes.append(f"{row['condition']}: answers of unlike devices: {', '.join(parts)}; {known}")
    return notes


def _tags_that_never_occur(rows: Rows) -> list[str]:
    """A user's tags that no reply of a model has, which may be misspelt."""
    models: dict[tuple[str, ...], list[ReasoningTags]] = {}
    for model, row in rows:
        if row.reasoning_tags:
            models.setdefault((model, *row.reasoning_tags.tags), []).append(row.reasoning_tags)
    return [
        f"--reasoning-tags {opens} {closes}: neither occurs in any reply of {model} "
        f"({counted(sum(one.replies for one in found), 'reply')}); are they the tags that it writes?"
        for (model, opens, closes), found in models.items()
        if not any(one.tagged for one in found)
    ]


def _hit(row: ConditionResult, hit: StringsWithAnError) -> str:
    return (
        f"{hit.count:,} of {counted(row.strings, 'string')} {plural_of(hit.count, 'has', 'have')} a read not answered "
        f"correctly, {share(hit.share)} ({span(hit.low, hit.high)}, exact)"
    )


def _bounds(row: ConditionResult, bounds: ZeroErrorBounds) -> str:
    strings, reads = bounds.strings, bounds.reads
    said = (
        f"every read of {counted(row.strings, 'string')} is right. At {strings.level:.0%} confidence, one-sided, the "
        f"error rate is at most {share(strings.high)} if {strings.needs}"
    )
    if reads.n == strings.n:
        return said
    return f"{said}; at most {share(reads.high)} if {reads.needs}"
