"""The result table of a run on the terminal, and what the run has cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ffprompt._util.files import printable
from ffprompt._util.formatting import NO_DATA, counted, dollars, share, span
from ffprompt.analysis.condition_names import Rows
from ffprompt.cli.console import line, make_console
from ffprompt.cost.prices import unknown
from ffprompt.evaluation.early_stopping import describe
from ffprompt.report.wording import failed, failures, legend, notes, repeated, traced
from ffprompt.scoring.aggregate import Reasons
from ffprompt.scoring.condition_result import ConditionResult
from ffprompt.scoring.score import Outcome

_TABLE_WIDTH = 150


def show_results(rows: Rows) -> None:
    """Print the result table: accuracy always with its n, its interval, its floor and its outcome counts."""
    console = make_console()
    if console.width < _TABLE_WIDTH:
        for model, row in rows:
            _stacked(model, row)
    else:
        _tabled(console, rows)
    for model, row in rows:
        if row.stopping:
            line(f"{model} {row.condition}: {describe(row.stopping)}")
    results = [row for _, row in rows]
    line(legend(results))
    for note in [*notes(rows), *failures(results)]:
        line(note)


def show_errors(found: Reasons) -> None:
    """Print why trials of a run that was stopped have no answer, in one line."""
    for text in failed(found):
        line(text)


def _floor(row: ConditionResult) -> str:
    return f"{share(row.floor)} {row.floor_rule}" if row.floor is not None else NO_DATA


def _stacked(model: str, row: ConditionResult) -> None:
    """A row in lines of its own, for a terminal that a table does not fit into."""
    line(f"{model}  {row.condition}")
    interval = span(row.interval_low, row.interval_high)
    line(f"  accuracy {share(row.accuracy)}  95% interval {interval}  floor {_floor(row)}")
    line(f"  {counted(row.reads, 'read')} of {counted(row.strings, 'string')}: {outcomes(row)}")


def _tabled(console: Console, rows: Rows) -> None:
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("model", overflow="fold")
    for name in ("template", "shots", "asked", "language"):
        shown.add_column(name, no_wrap=True)
    for name in ("reads", "strings", "accuracy", "95% interval", "floor"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("outcomes")
    for model, row in rows:
        shown.add_row(
            escape(printable(model)),
            escape(row.template),
            str(row.shots),
            row.elicitation
            + (f" by {row.turn_instructions}" if row.turn_instructions else "")
            + (", chat" if row.form == "chat" else "")
            + (", schema" if row.answers == "schema" else ""),
            row.language,
            f"{row.reads:,}",
            f"{row.strings:,}",
            share(row.accuracy),
            span(row.interval_low, row.interval_high),
            _floor(row),
            outcomes(row),
        )
    console.print(shown)


def outcomes(row: ConditionResult) -> str:
    """Return the outcomes that occurred, trials that have none, and the mean probability of all answers if known."""
    found = [f"{count:,} {name}" for name in Outcome if (count := row.count(name))]
    if row.missing_trials:
        found.append(f"{row.missing_trials:,} missing trials")
    if row.mean_answer_mass is not None:
        found.append(f"answer mass {row.mean_answer_mass:.2f}")
    if row.near_ties:
        found.append(f"{row.near_ties:,} near ties")
    found += repeated(row) + traced(row)
    if row.calls:
        found.append(used(row.to_json()))
    return ", ".join(found)


def used(row: Mapping[str, Any]) -> str:
    """Tokens of prompts + replies, and what they cost where that is known."""
    if row["replies_without_usage"]:
        return f"tokens unknown ({counted(row['replies_without_usage'], 'reply')} without usage)"
    cost = f", {dollars(row['usd'])}" if row["usd"] is not None else ""
    return f"{row['prompt_tokens']:,} + {counted(row['reply_tokens'], 'token')}{cost}"


def bill(info: Mapping[str, Any]) -> list[str]:
    """Return in one line what a run has used and cost in all, and nothing for a model that is not behind an API."""
    spent, price, model = info.get("spent"), info.get("price"), info["config"]["model"]
    base_url = str((info.get("model") or {}).get("base_url") or "")
    if spent is None:
        return []
    rows = [row for row in info["results"] if row.get("calls")]
    said = "no answers"
    if rows:
        sums: dict[str, Any] = {"replies_without_usage": sum(row["replies_without_usage"] for row in rows)}
        for name in ("prompt_tokens", "reply_tokens", "cached_tokens", "reasoning_tokens", "usd"):
            sums[name] = None if any(row[name] is None for row in rows) else sum(row[name] for row in rows)
        parts = [f"{sums[key]:,} {word}" for key, word in _PARTS.items() if sums[key]]
        said = used(sums) + (f" ({', '.join(parts)})" if parts else "")
    said = (
        f"{model}: {said}; all calls, failed ones at the most they can have used: {counted(spent['tokens'], 'token')}"
    )
    if price is None:
        return [f"{said}; {unknown(model, base_url)}"]
    return [f"{said}, {dollars(spent['usd'])}; prices as of {price['as_of']}"]


_PARTS = {"cached_tokens": "from the cache", "reasoning_tokens": "for reasoning"}
