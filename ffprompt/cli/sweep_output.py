"""What ``ffprompt sweep`` shows: a bar over all steps, a line for each training that has ended, the estimate."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from ffprompt._util.formatting import counted
from ffprompt.cli.console import show
from ffprompt.report.standing import Result


@dataclass
class Estimate:
    """Of one cell: trainings, their steps, seconds a step on one core, hours of a core and of a GPU for all of them."""

    trainings: int = 0
    steps: int = 0
    step: float | None = None
    core_hours: float | None = None
    gpu_hours: float | None = None


class Shown:
    """A sweep on the terminal: ``tell`` it the lines of the logs, and what ``ended``."""

    def __init__(self, bar: Progress, task: TaskID, steps: Mapping[str, int]) -> None:
        self._bar, self._task, self._steps = bar, task, steps
        self._at = dict.fromkeys(steps, 0)
        self._ended = 0

    def tell(self, name: str, event: Mapping[str, Any]) -> None:
        """A line of the log of the training ``name``."""
        self._at[name] = int(event["step"])
        if event["event"] == "warning":
            self._bar.console.print(f"{name}: warning: {event['text']}", markup=False, soft_wrap=True)
        self._update()

    def ended(self, name: str, why: str | None) -> None:
        """The training ``name`` is finished, or else ``why`` it is not."""
        self._ended += 1
        self._at[name] = self._steps[name]
        self._bar.console.print(f"{name}: {'finished' if why is None else why}", markup=False, soft_wrap=True)
        self._update()

    def _update(self) -> None:
        text = f"{self._ended} of {counted(len(self._steps), 'training')}"
        self._bar.update(self._task, completed=sum(self._at.values()), description=text)


@contextlib.contextmanager
def sweeping(steps: Mapping[str, int], shown: bool = True) -> Iterator[Shown]:
    """Show a sweep of trainings with these ``steps`` by name, on standard error. Unless ``shown``, do not."""
    terminal = shown and sys.stderr.isatty()
    console = Console(file=sys.stderr, highlight=False, width=None if terminal else 180, quiet=not shown)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("steps, {task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not terminal) as bar:
        yield Shown(bar, bar.add_task("", total=sum(steps.values())), steps)


def estimates(groups: Mapping[str, Estimate]) -> None:
    """Print a table of the cells of a study and what they would cost. What no cell knows has no column."""
    cells = list(groups.items())
    if len(groups) > 1:
        rows = list(groups.values())
        cores = [row.core_hours for row in rows if row.core_hours is not None]
        gpus = [row.gpu_hours for row in rows if row.gpu_hours is not None]
        trainings, steps = sum(row.trainings for row in rows), sum(row.steps for row in rows)
        total = Estimate(trainings, steps, None, sum(cores) if cores else None, sum(gpus) if gpus else None)
        cells.append(("all", total))
    table = Table("cell", box=None, pad_edge=False)
    columns = [(title, text) for title, text in _COLUMNS.items() if any(text(row) for row in groups.values())]
    for title, _ in columns:
        table.add_column(title, justify="right")
    for name, row in cells:
        table.add_row(name, *(text(row) for _, text in columns))
    show(table)


def results(rows: Sequence[Result]) -> None:
    """Print a table of glitch rates after training. What no training has is a dash."""
    table = Table("cell", "test set", box=None, pad_edge=False)
    for title in ("finished", "median glitch rate (least–most)", "exactly 0"):
        table.add_column(title, justify="right")
    tested = any(row.certified for row in rows)
    if tested:
        table.add_column("certificate")
    for row in rows:
        cells = [escape(row.cell), row.data or "–", f"{row.finished} of {row.trainings}", row.rates, row.zeros]
        table.add_row(*cells, *([row.certified or "–"] if tested else []))
    show(table)


def troubles(header: Sequence[str], body: Sequence[Sequence[str]]) -> None:
    """Print a table of what the monitors told. Nothing where they told nothing."""
    if not body:
        return
    table = Table(*header, box=None, pad_edge=False)
    for cells in body:
        table.add_row(*map(escape, cells))
    show(table)


def _hours(hours: float | None) -> str:
    """Hours with two decimals. Empty where they are not known, and never 0.00 for what takes time."""
    if hours is None:
        return ""
    return "< 0.01" if 0 < hours < 0.005 else f"{hours:.2f}"


_COLUMNS: dict[str, Callable[[Estimate], str]] = {
    "trainings": lambda row: f"{row.trainings:,}",
    "steps": lambda row: f"{row.steps:,}",
    "ms a step": lambda row: "" if row.step is None else f"{1000 * row.step:.0f}",
    "core hours": lambda row: _hours(row.core_hours),
    "GPU hours": lambda row: _hours(row.gpu_hours),
}
