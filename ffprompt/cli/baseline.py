"""``ffprompt baseline``: which run a gate compares with."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.markup import escape

from ffprompt.cli.comparison_flags import add_stored
from ffprompt.cli.console import line, new_table, show
from ffprompt.comparison import baselines
from ffprompt.errors import StoreError
from ffprompt.runs.folder import RunFolder


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``baseline``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    put = actions.add_parser("set", help="store a complete run as the baseline of a name", allow_abbrev=False)
    put.set_defaults(parser=put)
    put.add_argument("runs", nargs="+", metavar="RUN", help="a run, or all runs of a suite")
    put.add_argument("--name", default="default", metavar="NAME", help="name of the baseline (default: default)")
    add_stored(put)
    shown = actions.add_parser("show", help="list the baselines of a results folder", allow_abbrev=False)
    shown.set_defaults(parser=shown)
    shown.add_argument("--out", default="results", metavar="DIR", help="results folder (default: results)")


def execute(options: argparse.Namespace) -> int:
    """Store a baseline or list them all. Returns 0."""
    results = Path(options.out)
    if options.action == "set":
        made = baselines.put(results, [Path(run) for run in options.runs], options.name, options.suite)
        whose = f" of suite {made.suite}" if made.suite else ""
        line(f"{results / baselines.FILE}: baseline {made.name}{whose} is {', '.join(made.runs)}")
        return 0
    known = baselines.read(results)
    if not known:
        line(f"{results / baselines.FILE}: no baseline; set one with: ffprompt baseline set RUN")
        return 0
    table = new_table("suite", "baseline", "set", "run", "model and state")
    for one in known:
        for run, folder in zip(one.runs, baselines.folders(results, one), strict=True):
            table.add_row(*map(escape, [one.suite or "", one.name, one.set[:16], run, _state(folder)]))
    show(table)
    return 0


def _state(path: Path) -> str:
    """The model of a run and how far it is."""
    try:
        info = RunFolder.open(path).info
        return f"{info.model_name}, {info.status}"
    except (StoreError, KeyError, TypeError):
        return "missing or damaged"
