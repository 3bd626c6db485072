"""``ffprompt import``: make a run of another harness's log."""

from __future__ import annotations

import argparse
from pathlib import Path

from ffprompt.cli.console import line
from ffprompt.cli.result_table import show_results
from ffprompt.evaluation.runner import complete

EPILOG = """\
Reads samples_*.jsonl of lm_eval run --log_samples and .eval files of Inspect. Needs no harness for the first, and the
extra [inspect] for the second.
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``import``."""
    parser.add_argument("log", metavar="LOG", nargs="+", help="samples_*.jsonl of lm-eval or .eval of Inspect")
    parser.add_argument("--model", metavar="NAME", help="the model's name in the run (default: the log's)")
    parser.add_argument("--out", metavar="DIR", default="results", help="folder for the run (default: results)")


def execute(options: argparse.Namespace) -> int:
    """Make a run of each log and print their tables. Returns 3 where a log lacks answers."""
    from ffprompt.integrations.import_log import import_log

    rows = []
    whole = True
    for name in options.log:
        folder, results = import_log(Path(name), Path(options.out), options.model)
        line(f"{folder.path}: {folder.info.status}")
        rows += [{"model": folder.info.model_name, **row.to_json()} for row in results]
        whole = whole and complete(results)
    show_results(rows)
    return 0 if whole else 3
