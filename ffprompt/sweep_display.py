"""What ``ffprompt sweep`` shows: a bar over all steps, a line for each training that has ended, the estimate."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from ffprompt import display


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
            self._bar.console.print(f"{name}: step {event['step']:,}: {event['text']}", markup=False, soft_wrap=True)
        self._update()

    def ended(self, name: str, why: str | None) -> None:
        """The training ``name`` is finished, or else ``why`` it is not."""
        self._ended += 1
        self._at[name] = self._steps[name]
        self._bar.console.print(f"{name}: {'finished' if why is None else why}", markup=False, soft_wrap=True)
        self._update()

    def _update(self) -> None:
        text = f"{self._ended} of {len(self._steps)} trainings"
        self._bar.update(self._task, completed=sum(self._at.values()), description=text)


@contextlib.contextmanager
def sweeping(steps: Mapping[str, int]) -> Iterator[Shown]:
    """Show a sweep of trainings with these ``steps`` by name, on standard error."""
    terminal = sys.stderr.isatty()
    console = Console(file=sys.stderr, highlight=False, width=None if terminal else 180)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("steps, {task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not terminal) as bar:
        yield Shown(bar, bar.add_task("", total=sum(steps.values())), steps)


def estimates(groups: Mapping[str, Mapping[str, Any]], gpu_hours: float | None) -> None:
    """Table of the cells of a study: trainings, steps, milliseconds a step on one core, core and GPU hours."""
    table = Table("cell", box=None, pad_edge=False)
    for title in ("trainings", "steps", "ms a step", "core hours", "GPU hours"):
        table.add_column(title, justify="right")
    totals = [0, 0, 0.0]
    for name, row in groups.items():
        _row(table, name, row["trainings"], row["steps"], f"{row['step_ms']:.0f}", row["core_hours"], gpu_hours)
        totals = [totals[0] + row["trainings"], totals[1] + row["steps"], totals[2] + row["core_hours"]]
    if len(groups) > 1:
        _row(table, "all", int(totals[0]), int(totals[1]), "", totals[2], gpu_hours)
    display.show(table)


def _row(table: Table, name: str, trainings: int, steps: int, step: str, hours: float, gpu: float | None) -> None:
    on_gpu = "" if gpu is None else f"{trainings * gpu:.2f}"
    table.add_row(name, f"{trainings:,}", f"{steps:,}", step, f"{hours:.2f}", on_gpu)
