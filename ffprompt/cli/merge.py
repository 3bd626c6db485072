"""``ffprompt merge``: the whole run of its shards."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from ffprompt.cli import output_flags
from ffprompt.cli.output import Output
from ffprompt.cli.result_screen import Ending
from ffprompt.cli.result_table import bill
from ffprompt.evaluation.early_stopping import verdict
from ffprompt.evaluation.merge import merge
from ffprompt.evaluation.runner import complete
from ffprompt.report.wording import audit_notes

EPILOG = """\
Every part is a run with --shard I/N, on whichever machine. The whole run is a new folder, and the parts stay as they
are.

  ffprompt run --backend transformers --model gpt2 --trials 100000 --shard 1/2 --out part-1
  ffprompt run --backend transformers --model gpt2 --trials 100000 --shard 2/2 --out part-2
  ffprompt merge part-1/2* part-2/2* --out results
"""


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags of ``merge``."""
    parser.add_argument("runs", nargs="+", metavar="RUN", type=Path, help="the folder of each part, in any order")
    parser.add_argument("--out", type=Path, metavar="DIR", help="results folder (default: that of the first part)")
    output_flags.add_flags(parser, "print only the verdict on the model")


def execute(options: Namespace) -> int:
    """Make the whole run and show its table. Returns the exit code that the run would have had without shards."""
    output = Output.of(options)
    folder = merge(options.runs, options.out)
    info, rows = folder.info.to_json(), folder.info.results or ()
    ending = Ending(
        [(folder.info.model_name, row) for row in rows], [*bill(info), f"run: {folder.path}"], audit_notes(info)
    )
    exit_code = verdict(rows) if complete(rows) else 3
    if not output.is_json:
        ending.show(output)
    output.write({"exit_code": exit_code, "run": str(folder.path), "status": folder.info.status, **ending.to_json()})
    return exit_code
