"""Progress on standard error: of runs, of batches that are waited for, and of trainings.

On a terminal something moves: a bar with the time that is left, and for a run a table of its conditions so far.
Elsewhere there is a line now and then: the first after ten seconds, so that a short run says nothing, and then ever
more rarely.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ffprompt._util.formatting import duration, share
from ffprompt.analysis.condition_names import without_shared
from ffprompt.cli.console import make_console, new_table
from ffprompt.evaluation.worker import Progress as State
from ffprompt.evaluation.worker import Watch

_FIRST_LINE, _MOST_WAIT = 10.0, 300.0  # seconds
_LIVE_ROWS = 12  # conditions in the table that moves


class Sparing:
    """Decides when a line may be shown where lines stay: after ten seconds, then after a tenth of the time so far."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.began = clock()
        self._next = self.began + _FIRST_LINE

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self.began

    def due(self) -> bool:
        """Whether it is time for a line. If so, the next one is put off."""
        now = self._clock()
        if now < self._next:
            return False
        self._next = now + min(_MOST_WAIT, max(_FIRST_LINE, (now - self.began) / 10))
        return True


def speed(reads: int, seconds: float) -> str:
    """Return how fast reads are answered, by the second or, where one takes longer, in seconds a read.

    >>> speed(4000, 2), speed(7, 2), speed(1, 8)
    ('2,000 reads/s', '3.5 reads/s', '8 s a read')
    """
    rate = reads / max(seconds, 1e-9)
    if rate >= 10:
        return f"{rate:,.0f} reads/s"
    return f"{rate:.1f} reads/s" if rate >= 1 else f"{1 / rate:,.0f} s a read" if rate else "no read yet"


@contextlib.contextmanager
def progress(
    model: str, conditions: Sequence[str], trials: int, shown: bool = True, clock: Callable[[], float] = time.monotonic
) -> Iterator[Watch]:
    """Show how far a run is: on a terminal a table and a bar, elsewhere a line now and then, unless not ``shown``."""
    console = make_console(error=True)
    sparing = Sparing(clock)
    names = dict(zip(conditions, without_shared(conditions)[0], strict=True))
    if not shown:
        yield lambda _: None
        return
    if not console.is_terminal:
        before = 0  # trials that were there already, when a run goes on

        def say(state: State) -> None:
            nonlocal before
            before = before if state.reads else state.trials
            if state.reads and state.trials < trials and sparing.due():
                done = state.trials - before
                left = f", about {duration(sparing.elapsed * (trials - state.trials) / done)} left" if done else ""
                text = (
                    f"{model}: {state.trials:,} of {trials:,} trials{left}; {names.get(state.condition, '')} accuracy "
                    f"{share(state.accuracy)} so far, {speed(state.reads, sparing.elapsed)}"
                )
                console.print(escape(text), soft_wrap=True)

        yield say
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    bar = Progress(*columns, console=console)
    task = bar.add_task("", total=trials)
    with Live(bar, console=console, transient=True, refresh_per_second=4) as live:

        def move(state: State) -> None:
            rate = f"trials, {speed(state.reads, sparing.elapsed)}, left" if state.reads else "trials"
            bar.update(task, completed=state.trials, description=rate)
            live.update(Group(_so_far(state, names), bar))

        yield move


def _so_far(state: State, names: Mapping[str, str]) -> Table:
    """The conditions that were asked, the latest last."""
    table = new_table("condition", "reads", "accuracy so far", right=("reads", "accuracy so far"))
    for condition, (right, scored) in list(state.counts.items())[-_LIVE_ROWS:]:
        table.add_row(escape(names.get(condition, condition)), f"{scored:,}", share(right / scored if scored else None))
    return table


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
def training(steps: int, shown: bool = True) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Show a training on standard error: a bar with the loss and the time left, warnings and evaluations as lines.

    Where it is no terminal, a line now and then stands for the bar.
    """
    console = make_console(error=True)
    sparing = Sparing()
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal)) as bar:
        task = bar.add_task("", total=steps)
        before: int | None = None  # the step that the training goes on from

        def watch(event: Mapping[str, Any]) -> None:
            nonlocal before
            match event["event"]:
                case "step":
                    step = event["step"]
                    bar.update(task, completed=step, description=f"steps, loss {event['loss']:.2e}")
                    before = step - 1 if before is None else before
                    if shown and not console.is_terminal and sparing.due():
                        left = duration(sparing.elapsed * (steps - step) / (step - before))
                        text = f"step {step:,} of {steps:,}, loss {event['loss']:.2e}, about {left} left"
                        console.print(text, highlight=False, soft_wrap=True)
                case "warning":
                    console.print(f"warning: {event['text']}", highlight=False, soft_wrap=True, markup=False)
                case "evaluation":
                    found = f"{event['errors']:,} errors in {event['reads']:,} reads"
                    if shown:
                        console.print(
                            f"step {event['step']:,}: {event['data']}: {found}", highlight=False, soft_wrap=True
                        )

        yield watch
