"""How far a run is: a line that changes in a notebook, a bar in a terminal."""

from __future__ import annotations

import contextlib
import importlib
import sys
import time
from collections.abc import Callable, Iterator
from html import escape
from typing import Any

from ffprompt._util.formatting import counted, share
from ffprompt.evaluation.worker import Progress, Watch

_EVERY = 0.2  # seconds between two changes of the line in a notebook


@contextlib.contextmanager
def watching(trials: int, shown: bool | Watch | None) -> Iterator[Watch]:
    """Yield what is to be called with the state of a run of so many trials.

    Args:
        trials: Trials of the whole run.
        shown: None shows progress in a notebook and in a terminal, True anywhere, False nowhere. A function is called
            in place of showing anything.
    """
    if callable(shown):
        yield shown
    elif shown is not False and in_notebook():
        with _line(trials) as watch:
            yield watch
    elif shown or (shown is None and sys.stderr.isatty()):
        with _bar(trials) as watch:
            yield watch
    else:
        yield lambda _: None


def in_notebook() -> bool:
    """Return whether this is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and getattr(shell, "kernel", None) is not None


def sentence(state: Progress, trials: int, seconds: float) -> str:
    """Return how far a run is, in one line.

    >>> sentence(Progress(trials=50, reads=400, condition="game", counts={"game": (390, 400)}), 200, 2.0)
    '50 of 200 trials, about 6 s left: game, accuracy 0.9750 so far'
    """
    left = f", about {_duration(seconds * (trials - state.trials) / state.trials)} left" if state.trials else ""
    so_far = "" if state.accuracy is None else f", accuracy {share(state.accuracy)} so far"
    return f"{state.trials:,} of {counted(trials, 'trial')}{left}: {state.condition}{so_far}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


@contextlib.contextmanager
def _line(trials: int) -> Iterator[Watch]:
    """Show one line under a cell, which is gone when the run is over."""
    shown: Any = importlib.import_module("IPython.display")
    began = time.monotonic()
    handle: Any = shown.display(shown.HTML(f"0 of {trials:,} trials"), display_id=True)
    last = began

    def watch(state: Progress) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= _EVERY:
            last = now
            handle.update(shown.HTML(escape(sentence(state, trials, now - began))))

    try:
        yield watch
    finally:
        handle.update(shown.HTML(""))


@contextlib.contextmanager
def _bar(trials: int) -> Iterator[Watch]:
    """Show a bar on standard error, or where that is no terminal a line for each condition."""
    from rich.console import Console
    from rich.markup import escape as plain
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True, highlight=False)
    began = time.monotonic()
    if not console.is_terminal:
        yield _lines(trials, lambda text: console.print(plain(text), soft_wrap=True))
        return
    with Bar(BarColumn(20), TextColumn("{task.description}"), console=console, transient=True) as bar:
        task = bar.add_task("", total=trials)
        yield lambda state: bar.update(
            task, completed=state.trials, description=plain(sentence(state, trials, time.monotonic() - began))
        )


def _lines(trials: int, say: Callable[[str], None]) -> Watch:
    """Say how far a run is whenever it comes to another condition."""
    began = time.monotonic()
    last = ""

    def watch(state: Progress) -> None:
        nonlocal last
        if state.condition != last:
            last = state.condition
            say(sentence(state, trials, time.monotonic() - began))

    return watch
