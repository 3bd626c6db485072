"""What the command line shows: tables, prompts, a progress bar."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ffprompt.asking import Progress as State
from ffprompt.asking import Watch
from ffprompt.requests import Message
from ffprompt.scoring import Outcome
from ffprompt.templates import Template
from ffprompt.trials import Plan

_FILE_WIDTH = 160  # where the output is a file or a pipe, tables are not squeezed into 80 columns


def _console(error: bool = False) -> Console:
    stream = sys.stderr if error else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else _FILE_WIDTH, highlight=False, soft_wrap=False)


def line(text: str) -> None:
    """One line of plain text."""
    _console().print(escape(text), soft_wrap=True)


def table(rows: Sequence[Mapping[str, Any]]) -> None:
    """The result table: accuracy always with its n, its interval, its floor and its outcome counts."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("model", overflow="fold")
    for name in ("template", "shots", "asked", "language"):
        shown.add_column(name, no_wrap=True)
    for name in ("reads", "strings", "accuracy", "95% interval", "floor"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("outcomes")
    for row in rows:
        shown.add_row(
            escape(str(row["model"])),
            escape(row["template"]),
            str(row["shots"]),
            row["elicitation"] + (", chat" if row["form"] == "chat" else ""),
            row["language"],
            f"{row['reads']:,}",
            f"{row['strings']:,}",
            share(row["accuracy"]),
            interval(row),
            f"{share(row['floor'])} {row['floor_rule']}" if row["floor"] is not None else "None",
            outcomes(row),
        )
    _console().print(shown)
    line("accuracy: correct / (reads - errors); interval: Wilson over strings; floor: the best rule without memory")


def share(value: float | None) -> str:
    """Four decimals, or as many as show that a share is not quite 0 or 1; None where there is no data."""
    if value is None:
        return "None"
    decimals = 4
    while 0 < value < 1 and round(value, decimals) in (0, 1) and decimals < 12:
        decimals += 1
    return f"{value:.{decimals}f}"


def interval(row: Mapping[str, Any]) -> str:
    """A row's interval in brackets."""
    if row["interval_low"] is None:
        return "None"
    return f"{share(row['interval_low'])}–{share(row['interval_high'])}"


def outcomes(row: Mapping[str, Any]) -> str:
    """The outcomes that occurred, and trials that have none."""
    found = [f"{count:,} {name}" for name in Outcome if (count := row["outcomes"][name])]
    if row["missing_trials"]:
        found.append(f"{row['missing_trials']:,} trials missing")
    return ", ".join(found)


def templates(found: Sequence[Template]) -> None:
    """One line a template."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("template", "version", "answers", "summary"):
        shown.add_column(name)
    for template in found:
        values = "numbers" if template.values == "numbers" else " / ".join(template.values)
        shown.add_row(template.name, str(template.version), values, escape(template.summary))
    _console().print(shown)


def prompt(
    title: str, messages: Sequence[Message], text: str, reads: Sequence[tuple[int, int]], blank: str | None = None
) -> None:
    """A prompt as the model will see it; scored answers stand in ⟦ ⟧, and so do the blanks to be filled in."""
    console = _console()
    marks = f"{len(reads)} reads, each answer scored where ⟦ ⟧ stands" if reads else "the model writes the answer"
    console.rule(escape(f"{title} ({marks})"), align="left")
    for message in messages:
        body = message.text.replace(blank, f"⟦{blank}⟧") if blank else message.text
        console.print(f"[bold]<{message.role}>[/bold]\n{escape(body)}", soft_wrap=True)
    if messages:
        console.print("[bold]<assistant>[/bold]")
    parts, position = [], 0
    for start, end in reads:
        parts += [text[position:start], "⟦", text[start:end], "⟧"]
        position = end
    body = "".join([*parts, text[position:]])
    if not reads and blank:
        body = body.replace(blank, f"⟦{blank}⟧")
    console.print(escape(body) + ("" if reads else "[bold]▌[/bold]"), soft_wrap=True)


def plan(made: Plan, identity: Mapping[str, Any], audits: Sequence[Mapping[str, Any]]) -> None:
    """What a run would do."""
    console = _console()
    for key, value in identity.items():
        line(f"{key}: {value}")
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("condition", "trials", "expected reads", "prompt tokens (mean)", "in all", "answer tokens"):
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
            "unknown" if tokens is None else f"{tokens:,.1f}",
            "unknown" if tokens is None else f"{tokens * made.trials:,.0f}",
            ", ".join(f"{count} {kind}" for kind, count in found.get("answer_tokens", {}).items()),
        )
    console.print(shown)
    line(f"{len(made):,} trials, about {total:,} prompt tokens" if total else f"{len(made):,} trials")


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
def training(steps: int) -> Iterator[Callable[[int, float], None]]:
    """A bar with the loss on standard error; nothing where it is no terminal."""
    console = _console(error=True)
    with Progress(
        BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), console=console, transient=True
    ) as bar:
        bar.disable = not console.is_terminal
        task = bar.add_task("", total=steps)
        yield lambda step, loss: bar.update(task, completed=step, description=f"loss {loss:.2e}")


def _running(state: State, began: float) -> str:
    if not state.scored:
        return ""
    rate = state.reads / max(time.monotonic() - began, 1e-9)
    return f"  {rate:,.0f} reads/s, accuracy {state.right / state.scored:.4f} so far"
