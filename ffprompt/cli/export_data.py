"""``ffprompt export-data``: runs and their reads as a folder for Hugging Face datasets, DuckDB and polars."""

from __future__ import annotations

import argparse
from pathlib import Path

from ffprompt._util.formatting import counted
from ffprompt.cli.console import line

EPILOG = """\
The folder has a card (README.md), data/reads/RUN.parquet with a row for each read, and data/conditions.parquet with a
row for each condition. Settings and replies' reasons are in it, prompts and whole replies are not.
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``export-data``."""
    parser.add_argument("run", nargs="+", metavar="RUN", help="folders of runs, and results folders")
    parser.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")
    parser.add_argument("--incomplete", action="store_true", help="also write runs that lack answers, and mark them")


def execute(options: argparse.Namespace) -> int:
    """Write the folder. Returns 0."""
    from ffprompt.integrations.dataset_folder import export

    made = export([Path(run) for run in options.run], Path(options.out), options.incomplete)
    amounts = {"read": made.reads, "condition": made.conditions, "run": made.runs}
    reads, conditions, runs = (counted(n, noun) for noun, n in amounts.items())
    line(f"{made.folder}: {reads} in {conditions} of {runs}")
    line(f"read it with: datasets.load_dataset({str(made.folder)!r}, 'reads', split='test')")
    return 0
