"""Numbers in words: shares, intervals, and what stands under the result table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ffprompt._util.files import shortened
from ffprompt._util.formatting import share, span
from ffprompt.scoring.aggregate import Reasons
from ffprompt.scoring.score import Outcome

_TOLD_REASONS, _LONGEST_REASON = 3, 400  # of errors, under a table
REPEATS = (
    "self-agreement: how often two repeats of a read give the same answer; always right: strings with every read right "
    "in every repeat"
)
_LOW_MASS = 0.05  # below it a choice among the answers says little about what a model would write
_WILSON = "Wilson over strings (computed by an earlier version; ffprompt score RUN renews it)"


def interval(row: Mapping[str, Any]) -> str:
    """A row's interval, ``low–high``."""
    return span(row["interval_low"], row["interval_high"])


def legend(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the columns of the result table mean."""
    methods = dict.fromkeys(
        row.get("interval_method") or _WILSON for row in rows if row.get("interval_low") is not None
    )
    said = f"interval: {' or '.join(methods)}; " if methods else ""
    said = said.replace("Korn-Graubard", "Korn-Graubard, with the read as the unit and the string as the cluster")
    said = said.replace("score test", "score test with strings as clusters")
    repeats = f"; {REPEATS}" if any(row.get("repeats", 1) > 1 for row in rows) else ""
    return (
        f"accuracy: correct / (reads - errors); {said}floor: the best of several rules without memory on the same reads"
        f"{repeats}"
    )


def repeated(row: Mapping[str, Any]) -> list[str]:
    """What the repeats of a row's prompts tell, in words; nothing where each was asked once."""
    if row.get("repeats", 1) < 2:
        return []
    found = []
    if (agreement := row["self_agreement"]) is not None:
        found.append(f"self-agreement {share(agreement)}{_ends(row, 'self_agreement')}")
    if (always := row["always_right"]) is not None:
        found.append(f"always right {share(always)}{_ends(row, 'always_right')} of {row['whole_strings']:,} strings")
    return found


def traced(row: Mapping[str, Any]) -> list[str]:
    """How many traces end with other answers than their own lines give, in words; nothing where there are none."""
    found = []
    if traces := row.get("traces"):
        against = row["contradicting_traces"]
        found.append(
            f"traces contradicted by their final answers {share(against / traces)} ({against:,} of {traces:,})"
        )
    if free := row.get("replies_without_a_trace"):
        found.append(f"{free:,} replies without a trace")
    return found


def _ends(row: Mapping[str, Any], name: str) -> str:
    """The interval of a number in parentheses; none where a run stopped by itself, for which it would not hold."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if low is None else f" ({span(low, high)})"


def notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the intervals do not say: how many strings are hit, what no miss at all shows, and what to beware of.

    Rows of earlier versions, which do not know, have none.
    """
    found = []
    for row in rows:
        if (hit := row.get("strings_with_an_error")) is not None:
            name = f"{row['model']} {row['condition']}"
            found.append(f"{name}: {_bounds(row) if row['zero_error_bounds'] else _hit(row, hit)}")
    found += [f"{row['model']} {row['condition']}: {_unread(row['unread'])}" for row in rows if row.get("unread")]
    found += _tags_that_never_occur(rows)
    warned: dict[str, list[str]] = {}
    low = [row for row in rows if (row.get("mean_answer_mass") or 1.0) < _LOW_MASS or row.get("mean_answer_mass") == 0]
    if low:
        masses = [row["mean_answer_mass"] for row in low]
        least = f"{min(masses):.2g}" if len(masses) == 1 else f"{min(masses):.2g} to {max(masses):.2g}"
        warning = f"answer mass {least}: the model would nearly always write something other than any of the answers"
        warned[warning] = [f"{row['model']} {row['condition']}" for row in low]
    for row in rows:
        for warning in row.get("warnings", ()):
            warned.setdefault(warning, []).append(f"{row['model']} {row['condition']}")
    for warning, names in warned.items():
        more = f", and {len(names) - 1} more" if len(names) > 1 else ""
        found.append(f"beware, {warning} ({names[0]}{more})")
    return found


def failures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why trials ended in error, over all rows, in one line; none where none did.

    >>> failures([{"reasons": {"error": [["HTTP 500: broken", 3], ["no answer", 1]]}}])
    ['4 trials ended in error: 3 × HTTP 500: broken; 1 × no answer']
    """
    found = Reasons()
    for row in rows:
        for reason, trials in row.get("reasons", {}).get(Outcome.ERROR, ()):
            found.add(reason, trials)
    if not (most := found.most()):
        return []
    told = [f"{trials:,} × {shortened(reason, _LONGEST_REASON)}" for reason, trials in most[:_TOLD_REASONS]]
    if rest := sum(trials for _, trials in most[_TOLD_REASONS:]):
        told.append(f"{rest:,} × other reasons")
    total = found.counts.total()
    return [f"{total:,} {'trial' if total == 1 else 'trials'} ended in error: {'; '.join(told)}"]


def audit_notes(info: Mapping[str, Any]) -> list[str]:
    """What a run, by its ``run.json``, has found about its model that a reader of its numbers should know."""
    found = [*(info.get("audit") or ()), info["model"].get("learned") or {}]
    noted = dict.fromkeys(note for each in found for note in each.get("notes", ()))
    return [f"note on {info['config']['model']}: {note}" for note in noted]


def _unread(unread: Mapping[str, Any]) -> str:
    """Why most trials of a condition have no answer."""
    trials = f"{unread['trials']:,} of {unread['of']:,} trials"
    quote = f' ("{unread["quote"]}")' if unread["quote"] else ""
    if unread["outcome"] == "invalid":
        return f"{trials} are invalid for one reason: {unread['reason']}{quote}; more of them in the run's invalid.md"
    cure = "raise --max-tokens"
    if unread["reasoning"]:
        cure = "the replies have reasoning: raise --reasoning-room or --max-tokens, or give --thinking off"
    return f"{trials} were cut off at the limit of {unread['limit']:,} tokens a reply{quote}; {cure}"


def _tags_that_never_occur(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A user's tags that no reply of a model has, which may be misspelt."""
    models: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row.get("reasoning_tags"):
            models.setdefault((row["model"], *row["reasoning_tags"]["tags"]), []).append(row["reasoning_tags"])
    return [
        f"--reasoning-tags {opens} {closes}: neither occurs in any reply of {model} "
        f"({sum(one['replies'] for one in found):,} replies); are they the tags that it writes?"
        for (model, opens, closes), found in models.items()
        if not any(one["tagged"] for one in found)
    ]


def _hit(row: Mapping[str, Any], hit: Mapping[str, Any]) -> str:
    return (
        f"{hit['count']:,} of {row['strings']:,} strings have a read not answered correctly, "
        f"{share(hit['share'])} ({span(hit['low'], hit['high'])}, exact)"
    )


def _bounds(row: Mapping[str, Any]) -> str:
    strings, reads = row["zero_error_bounds"]["strings"], row["zero_error_bounds"]["reads"]
    said = (
        f"every read of {row['strings']:,} strings is right. At {strings['level']:.0%} confidence, one-sided, the "
        f"error rate is at most {share(strings['high'])} if {strings['needs']}"
    )
    if reads["n"] == strings["n"]:
        return said
    return f"{said}; at most {share(reads['high'])} if {reads['needs']}"


def signed(value: float | None) -> str:
    """A difference with its sign and four decimals, or more where these would be none; None where there is no data."""
    if value is None:
        return "None"
    decimals = 4
    while value and round(value, decimals) == 0 and decimals < 12:
        decimals += 1
    return f"{value:+.{decimals}f}" if value else "0.0000"


def probability(p: float | None) -> str:
    """A p-value with two digits, never 0; None where there is no data."""
    if p is None:
        return "None"
    return f"{p:.2g}" if p >= 1e-4 else "<0.0001"
