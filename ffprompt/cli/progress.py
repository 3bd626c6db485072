"""Progress on standard error: of runs, of batches that are waited for, and of trainings."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ffprompt._util.formatting import share
from ffprompt.cli.console import make_console
from ffprompt.evaluation.worker import Progress as State
from ffprompt.evaluation.worker import Watch


@contextlib.contextmanager
def progress(trials: int) -> Iterator[Watch]:
    """A bar on standard error with reads/s and the running accuracy; where it is no terminal, a line a condition."""
    console = make_console(error=True)
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
    console = make_console(error=True)
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
    console = make_console(error=True)
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
