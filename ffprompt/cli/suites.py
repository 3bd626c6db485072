"""``ffprompt suites``: list the bundled suites."""

from __future__ import annotations

import argparse

from rich.markup import escape

from ffprompt.cli.console import new_table, show
from ffprompt.config.suites import load_suite, suite_folder
from ffprompt.errors import ConfigError


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``suites``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="every bundled suite, and whether it needs a model")
    listing.set_defaults(parser=parser)


def execute(options: argparse.Namespace) -> int:
    """Print one line for each bundled suite. Which of them need a model is found out by giving none."""
    table = new_table("suite", "runs", "needs", "summary")
    for path in sorted(suite_folder().glob("*.toml")):
        try:
            suite, needs = load_suite(path.stem, {}), ""
        except ConfigError:
            suite, needs = load_suite(path.stem, {"backend": "scripted", "model": "oracle"}), "--backend and --model"
        table.add_row(*map(escape, (suite.name, str(len(suite.runs)), needs, suite.summary)))
    show(table)
    return 0
