"""The terminal: one console, plain lines, and tables without a frame."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection

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


def line(text: str) -> None:
    """Print one line of plain text."""
    make_console().print(escape(printable(text)), soft_wrap=True)


def show(made: Table) -> None:
    """Print a table."""
    make_console().print(made)


def new_table(*columns: str, right: Collection[str] = ()) -> Table:
    """Return an empty table without a frame. The columns in ``right`` are aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left")
    return table
