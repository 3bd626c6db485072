"""The flags of ``run`` and ``batch submit``. Those of settings are made from the table of settings."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from ffprompt import __version__
from ffprompt.cli import comparison_flags, output_flags, track_flags
from ffprompt.config.setting import Setting
from ffprompt.config.settings import BY_NAME, GROUPS, ROWS

EPILOG = """\
Without any flags, run evaluates two bundled reference models, and SmolLM2 if its weights are installed (ten rows, about
two minutes). A run is the product of the values of --template, --shots, --elicitation, --length and --p-ignore.

  run_eval.py --backend transformers --model smollm2-135m
  run_eval.py --backend transformers --model gpt2 --template light-switch --length 10 50 100 --shots 0 1
  run_eval.py --backend scripted --model oracle --trials 20
"""


def add_flags(parser: argparse.ArgumentParser, submits: bool = False) -> None:
    """Add the flags of ``run``, or of ``batch submit``, which neither waits for a report nor gates."""
    parser.add_argument("--version", action="version", version=f"ffprompt {__version__}")
    add_settings(parser, ROWS)
    run = parser.add_argument_group("the run")
    run.add_argument("--suite", metavar="FILE", help="TOML file or bundled suite to run (see: ffprompt suites list)")
    run.add_argument("--out", default="results", metavar="DIR", help="results folder (default: results)")
    run.add_argument("--resume", action="store_true", help="continue the newest unfinished run of this plan")
    run.add_argument("--new", action="store_true", help="with --resume: start a new run even if one is finished")
    run.add_argument(
        "--dry-run", action="store_true", help="print the plan, a prompt, token counts and cost without asking anything"
    )
    if not submits:
        output_flags.add_flags(parser, "print only the verdict on each model")
        comparison_flags.add_gate_to_run(parser)
    batch = parser.add_argument_group("batches of openai and anthropic: half the price, answers within a day")
    if not submits:
        run.add_argument("--no-report", action="store_true", help="do not write report.html")
        track_flags.add_flags(run)
        batch.add_argument("--batch", action="store_true", help="submit all requests as batches, wait and collect them")
    batch.add_argument(
        "--batch-part", type=int, metavar="N", help="requests in each batch (default: the provider's limit)"
    )


def add_settings(parser: argparse.ArgumentParser, rows: Iterable[Setting]) -> None:
    """Add a flag for each setting, under the heading of its group. Values stay text, which ``RunConfig`` parses."""
    groups = {title: parser.add_argument_group(title) for title in GROUPS}
    for row in rows:
        text = row.help_text.replace("%", "%%")
        group = groups[row.group]
        if row.types == (bool,):
            group.add_argument(row.flag, action="store_true", default=None, help=text)
        elif row.arity is ... and not row.product:
            group.add_argument(row.flag, action="append", metavar=row.metavar, help=text)
        elif row.arity is ...:
            group.add_argument(row.flag, nargs="+", action="extend", metavar=row.metavar, help=text)
        elif row.arity is not None:
            group.add_argument(row.flag, nargs=row.arity, metavar=tuple(row.metavar.split()), help=text)
        else:
            group.add_argument(row.flag, metavar=row.metavar, help=text)


def given_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that were given as flags, by name."""
    return {name: value for name, value in vars(options).items() if name in BY_NAME and value is not None}
