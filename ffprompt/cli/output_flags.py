"""The flags that say how much a command prints. They stay light, as every ``--help`` loads them."""

from __future__ import annotations

import argparse

STDOUT = "-"  # as a file's name: standard output


def add_flags(parser: argparse.ArgumentParser, quiet: str = "print only the answer") -> None:
    """Add ``--quiet``, ``--verbose`` and ``--json``. ``quiet``: the help of the first."""
    group = parser.add_argument_group("output")
    amount = group.add_mutually_exclusive_group()
    amount.add_argument("--quiet", action="store_true", help=quiet)
    amount.add_argument("--verbose", action="store_true", help="print everything, with every number and note")
    group.add_argument(
        "--json", nargs="?", const=STDOUT, metavar="FILE", help="write every number as JSON to FILE or standard output"
    )
