"""What the command line shows: tables, prompts, a progress bar."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ffprompt._util.files import printable
from ffprompt.cost.prices import Price, dollars, unknown
from ffprompt.elicitation.prompts import Prompt
from ffprompt.evaluation.early_stopping import describe
from ffprompt.evaluation.estimate import Estimate
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.worker import Progress as State
from ffprompt.evaluation.worker import Watch
from ffprompt.report.wording import audit_notes as audit_notes
from ffprompt.report.wording import failures, interval, legend, notes, repeated
from ffprompt.report.wording import share as share
from ffprompt.scoring.score import Outcome, Reasons
from ffprompt.templates.template import Template

_TABLE_WIDTH = 150
_FILE_WIDTH = 180  # where the output is a file or a pipe, tables are not squeezed into 80 columns


class _Terminal(Console):
    """A console whose reader may leave: what is on disk matters more than what is shown, so a run goes on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _console(error: bool = False) -> Console:
    stream = sys.stderr if error else sys.stdout
    return _Terminal(file=stream, width=None if stream.isatty() else _FILE_WIDTH, highlight=False, soft_wrap=False)


def line(text: str) -> None:
    """One line of plain text."""
    _console().print(escape(printable(text)), soft_wrap=True)


def show(made: Table) -> None:
    """A table that another module has made."""
    _console().print(made)


def table(rows: Sequence[Mapping[str, Any]]) -> None:
    """The result table: accuracy always with its n, its interval, its floor and its outcome counts."""
    console = _console()
    if console.width < _TABLE_WIDTH:
        for row in rows:
            _stacked(row)
    else:
        _tabled(console, rows)
    for row in rows:
        if row.get("stopping"):
            line(f"{row['model']} {row['condition']}: {describe(row['stopping'])}")
    line(legend(rows))
    for note in [*notes(rows), *failures(rows)]:
        line(note)


def errors(found: Reasons) -> None:
    """Why trials of a run that was stopped have no answer, in one line."""
    for text in failures([{"reasons": {Outcome.ERROR: found.most()}}]):
        line(text)


def _stacked(row: Mapping[str, Any]) -> None:
    """A row in lines of its own, for a terminal that a table does not fit into."""
    floor = f"{share(row['floor'])} {row['floor_rule']}" if row["floor"] is not None else "None"
    line(f"{row['model']}  {row['condition']}")
    line(f"  accuracy {share(row['accuracy'])}  95% interval {interval(row)}  floor {floor}")
    line(f"  {row['reads']:,} reads of {row['strings']:,} strings: {outcomes(row)}")


def _tabled(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("model", overflow="fold")
    for name in ("template", "shots", "asked", "language"):
        shown.add_column(name, no_wrap=True)
    for name in ("reads", "strings", "accuracy", "95% interval", "floor"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("outcomes")
    for row in rows:
        shown.add_row(
            escape(printable(str(row["model"]))),
            escape(row["template"]),
            str(row["shots"]),
            row["elicitation"]
            + (f" by {row['turn_instructions']}" if row.get("turn_instructions") else "")
            + (", chat" if row["form"] == "chat" else "")
            + (", schema" if row.get("answers") == "schema" else ""),
            row["language"],
            f"{row['reads']:,}",
            f"{row['strings']:,}",
            share(row["accuracy"]),
            interval(row),
            f"{share(row['floor'])} {row['floor_rule']}" if row["floor"] is not None else "None",
            outcomes(row),
        )
    console.print(shown)


def outcomes(row: Mapping[str, Any]) -> str:
    """The outcomes that occurred, trials that have none, and the mean probability of all answers where it is known."""
    found = [f"{count:,} {name}" for name in Outcome if (count := row["outcomes"][name])]
    if row["missing_trials"]:
        found.append(f"{row['missing_trials']:,} missing trials")
    if (weight := row.get("mean_answer_mass")) is not None:
        found.append(f"answer mass {weight:.2f}")
    if near := row.get("near_ties"):
        found.append(f"{near:,} near ties")
    found += repeated(row)
    if row.get("calls"):
        found.append(used(row))
    return ", ".join(found)


def used(row: Mapping[str, Any]) -> str:
    """Tokens of prompts + replies, and what they cost where that is known."""
    if row["replies_without_usage"]:
        return f"tokens unknown ({row['replies_without_usage']:,} replies without usage)"
    cost = f", {dollars(row['usd'])}" if row["usd"] is not None else ""
    return f"{row['prompt_tokens']:,} + {row['reply_tokens']:,} tokens{cost}"


def bill(info: Mapping[str, Any]) -> list[str]:
    """What a run has used and cost in all, in one line; none for a model that is not behind an API."""
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
    said = f"{model}: {said}; all calls, failed ones at the most they can have used: {spent['tokens']:,} tokens"
    if price is None:
        return [f"{said}; {unknown(model, base_url)}"]
    return [f"{said}, {dollars(spent['usd'])}; prices as of {price['as_of']}"]


_PARTS = {"cached_tokens": "from the cache", "reasoning_tokens": "for reasoning"}


def templates(found: Sequence[Template]) -> None:
    """One line a template."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("template", "version", "answers", "summary"):
        shown.add_column(name)
    for template in found:
        values = "numbers" if template.values == "numbers" else " / ".join(template.values)
        shown.add_row(template.name, str(template.version), values, escape(template.summary))
    _console().print(shown)


def suites(found: Sequence[tuple[str, str, str, str]]) -> None:
    """One line a suite."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("suite", "runs", "needs", "summary"):
        shown.add_column(name)
    for row in found:
        shown.add_row(*map(escape, row))
    _console().print(shown)


def prompt(title: str, made: Prompt) -> None:
    """A prompt as the model will see it; scored answers stand in ⟦ ⟧, and so do the blanks to be filled in."""
    console = _console()
    marks = f"{len(made.reads)} reads, scored where ⟦ ⟧ stands" if made.reads else "the model writes the answer"
    if made.turns:
        marks = f"{len(made.asked)} reads in {len(made.turns)} turns, each of which the model answers"
    console.rule(escape(f"{title} ({marks})"), align="left")
    messages = [*made.messages, *(message for turn in made.turns for message in turn.messages)]
    blanks = [[(start, end) for where, start, end in made.blanks if where == n] for n in range(-1, len(messages))]
    asked = {len(made.messages) + last - 1: turn for turn, last in zip(made.turns, _ends(made), strict=True)}
    for number, (message, spans) in enumerate(zip(messages, blanks[1:], strict=True)):
        console.print(f"[bold]<{message.role}>[/bold]\n{escape(_marked(message.text, spans))}", soft_wrap=True)
        if number in asked:
            console.print(f"[bold]<assistant>[/bold]\n[bold]▌[/bold] (right: {escape(asked[number].answer)})")
    if made.turns:
        return
    if made.messages:
        console.print("[bold]<assistant>[/bold]")
    body = _marked(made.text, made.reads or blanks[0])
    console.print(escape(body) + ("" if made.reads else "[bold]▌[/bold]"), soft_wrap=True)


def _ends(made: Prompt) -> list[int]:
    """After how many messages of the dialogue each of its turns ends."""
    return list(itertools.accumulate(len(turn.messages) for turn in made.turns))


def _marked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    parts, position = [], 0
    for start, end in spans:
        parts += [text[position:start], "⟦", text[start:end], "⟧"]
        position = end
    return "".join([*parts, text[position:]])


def plan(
    made: Plan,
    identity: Mapping[str, Any],
    audits: Sequence[Mapping[str, Any]],
    estimates: Sequence[Estimate] | None = None,
    price: Price | None = None,
    thinks: bool = False,
) -> None:
    """What a run would do; with ``estimates``, one a condition, what it would cost at an API's ``price``.

    ``thinks``: the model thinks before it replies, which is why no reply and no cost is expected.
    """
    console = _console()
    for key, value in identity.items():
        line(f"{key}: {value}")
    if estimates is not None:
        _estimated(console, made, estimates)
        line(_THOUGHT if thinks else _WRITTEN)
        line(_MOST)
        base_url = str(identity.get("base_url") or "")
        line(unknown(made.config.model, base_url) if price is None else _price(price, dt.datetime.now(dt.UTC).date()))
        _dialogues(made, audits)
        return
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("condition", "trials", "expected reads", "calls", "prompt tokens (mean)", "in all", "answer tokens"):
        shown.add_column(name, justify="left" if name == "condition" else "right")
    total = 0
    for condition, found in zip(made.conditions, audits, strict=True):
        one = condition.elicitation == "next"
        reads = 1.0 if one else condition.spec.expected_reads if condition.spec else None
        tokens = found.get("mean_prompt_tokens")
        total += round((tokens or 0) * made.trials)
        shown.add_row(
            escape(condition.name),
            f"{made.trials:,}",
            "unknown" if reads is None else f"{reads * made.trials:,.0f}",
            f"{found.get('mean_calls', 1) * made.trials:,.0f}",
            "unknown" if tokens is None else f"{tokens:,.1f}",
            "unknown" if tokens is None else f"{tokens * made.trials:,.0f}",
            ", ".join(f"{count} {kind}" for kind, count in found.get("answer_tokens", {}).items()),
        )
    console.print(shown)
    _dialogues(made, audits)
    line(f"{len(made):,} trials, about {total:,} prompt tokens" if total else f"{len(made):,} trials")
    for note in dict.fromkeys(note for found in audits for note in found.get("notes", ())):
        line(f"note: {note}")


def _dialogues(made: Plan, audits: Sequence[Mapping[str, Any]]) -> None:
    """What is special to dialogues, where each call sends the conversation before it again."""
    if "dialogue" not in {condition.elicitation for condition in made.conditions}:
        return
    line("a dialogue is one call for every turn with a read, and each call sends the conversation so far again:")
    for condition, found in zip(made.conditions, audits, strict=True):
        if condition.elicitation == "dialogue":
            sizes = [f"{found[key]:,.0f} {kind}" for key, kind in _SIZES.items() if key in found]
            sent = f" and about {' and '.join(sizes)} sent" if sizes else ""
            line(f"  {condition.name}: {found['mean_calls']:,.1f} calls{sent} in the mean trial")


_SIZES = {"mean_prompt_tokens": "prompt tokens", "mean_prompt_characters": "prompt characters"}


def _estimated(console: Console, made: Plan, estimates: Sequence[Estimate]) -> None:
    shown = Table(box=None, pad_edge=False, header_style="bold")
    columns = ("condition", "trials", "calls", "prompt tokens", "at most", "reply tokens", "at most", "cost", "at most")
    for name in columns:
        shown.add_column(name, justify="left" if name == "condition" else "right")
    names = [condition.name for condition in made.conditions]
    counts = [made.trials] * len(names)
    if len(names) > 1:
        names, counts = [*names, "in all"], [*counts, len(made)]
        estimates = [*estimates, sum(estimates[1:], estimates[0])]
    for name, trials, one in zip(names, counts, estimates, strict=True):
        sizes = (one.prompt, one.prompt_most, one.reply, one.reply_most)
        tokens = ["unknown" if size is None else f"{size:,.0f}" for size in sizes]
        cost = [dollars(amount) for amount in (one.usd, one.usd_most)]
        shown.add_row(escape(name), f"{trials:,}", f"{one.calls:,}", *tokens, *cost)
    console.print(shown)


_WRITTEN = (
    "prompt tokens are estimated from the text, reply tokens are those of the true answers, without any reasoning"
)
_THOUGHT = (
    "prompt tokens are estimated from the text; reply tokens and cost are unknown, because reasoning decides them"
)
_MOST = "at most: a token a byte, each at its dearest (a cache write), replies up to their limit, no attempt repeated"


def _price(price: Price, today: dt.date) -> str:
    """What a million tokens cost, as of when, and when the model ends."""
    longer = [
        f"; for prompts above {tier.above:,} tokens {dollars(tier.input)} and {dollars(tier.output)}"
        for tier in price.tiers
    ]
    ends = "" if price.shut_down is None else f"; its provider {_ended(price.shut_down, today)} {price.shut_down}"
    return (
        f"price: {dollars(price.input)} a million tokens of prompt, {dollars(price.output)} of reply, "
        f"as of {price.as_of} ({price.source}){''.join(longer)}{ends}"
    )


def _ended(day: dt.date, today: dt.date) -> str:
    return "shut the model down on" if day <= today else "shuts the model down on"


@contextlib.contextmanager
def progress(trials: int) -> Iterator[Watch]:
    """A bar on standard error with reads/s and the running accuracy; where it is no terminal, a line a condition."""
    console = _console(error=True)
    began = time.monotonic()
    if not console.is_terminal:
        seen: list[str] = []

        def say(state: State) -> None:
            if state.condition not in seen[-1:]:
                seen.append(state.condition)
                console.print(escape(f"{state.trials:,}/{trials:,} {state.condition}{_running(state, began)}"))

        yield say
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=trials)

        def move(state: State) -> None:
            bar.update(task, completed=state.trials, description=escape(state.condition) + _running(state, began))

        yield move


@contextlib.contextmanager
def waiting() -> Iterator[Callable[[str], None]]:
    """Shows on standard error what is waited for: one line that changes, or a line a change where it is no terminal."""
    console = _console(error=True)
    if not console.is_terminal:
        seen: list[str] = []

        def say(text: str) -> None:
            if text not in seen[-1:]:
                seen.append(text)
                console.print(escape(text), soft_wrap=True)

        yield say
        return
    with console.status("") as status:
        yield lambda text: status.update(escape(text))


@contextlib.contextmanager
def training(steps: int) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A bar with the loss on standard error, nothing where it is no terminal; warnings and evaluations as lines."""
    console = _console(error=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=steps)

        def watch(event: Mapping[str, Any]) -> None:
            match event["event"]:
                case "step":
                    bar.update(task, completed=event["step"], description=f"loss {event['loss']:.2e}")
                case "warning":
                    console.print(f"warning: {event['text']}", highlight=False)
                case "evaluation":
                    found = f"{event['errors']:,} errors in {event['reads']:,} reads"
                    console.print(f"step {event['step']:,}: {event['data']}: {found}", highlight=False)

        yield watch


def _running(state: State, began: float) -> str:
    rate = state.reads / max(time.monotonic() - began, 1e-9)
    return f"  {rate:,.0f} reads/s, accuracy {share(state.accuracy)} so far" if state.reads else ""
