"""The terminal: one console, plain lines, and tables without a frame."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Collection, Iterator
from contextvars import ContextVar
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ffprompt._util.files import printable

_FILE_WIDTH = 180  # where the output is a file or a pipe, tables are not squeezed into 80 columns


class _Terminal(Console):
    """A console whose reader may leave: what is on disk matters more than what is shown, so a run goes on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_console(error: bool = False) -> Console:
    """Return a console on standard output, or on standard error. In a file or a pipe its width is fixed."""
    stream = sys.stderr if error else sys.stdout
    return _Terminal(file=stream, width=None if stream.isatty() else _FILE_WIDTH, highlight=False, soft_wrap=False)


# Where plain lines and tables go.
_where: ContextVar[Literal["stdout", "stderr"] | None] = ContextVar("where", default="stdout")


@contextlib.contextmanager
def elsewhere(where: Literal["stderr"] | None) -> Iterator[None]:
    """Send what ``line`` and ``show`` print to standard error, or nowhere."""
    token = _where.set(where)
    try:
        yield
    finally:
        _where.reset(token)


def line(text: str) -> None:
    """Print one line of plain text. It is never cut or broken, so that a reader can copy it."""
    if (where := _where.get()) is not None:
        make_console(error=where == "stderr").print(escape(printable(text)), soft_wrap=True)


def show(made: Table) -> None:
    """Print a table."""
    if (where := _where.get()) is not None:
        make_console(error=where == "stderr").print(made)


def new_table(*columns: str, right: Collection[str] = ()) -> Table:
    """Return an empty table without a frame.

    Args:
        columns: The headings.
        right: Those of numbers, which are aligned to the right and never broken. Other columns are broken, not cut.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        if name in right:
            table.add_column(name, justify="right", no_wrap=True)
        else:
            table.add_column(name, overflow="fold")
    return table


def width() -> int:
    """Return how many columns there are for tables."""
    return make_console().width
