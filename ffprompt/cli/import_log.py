"""``ffprompt import``: make a run of the log of another harness."""

from __future__ import annotations

import argparse
from pathlib import Path

from ffprompt.cli import output_flags
from ffprompt.cli.output import Output
from ffprompt.cli.result_screen import Ending
from ffprompt.evaluation.runner import complete
from ffprompt.report.wording import audit_notes

EPILOG = """\
Reads samples_*.jsonl of lm_eval run --log_samples and .eval files of Inspect. The second needs the extra [inspect].
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``import``."""
    parser.add_argument("log", metavar="LOG", nargs="+", help="samples_*.jsonl of lm-eval or .eval of Inspect")
    parser.add_argument("--model", metavar="NAME", help="the model's name in the run (default: the log's)")
    parser.add_argument("--out", metavar="DIR", default="results", help="folder for the run (default: results)")
    output_flags.add_flags(parser, "print only the verdict on the model")


def execute(options: argparse.Namespace) -> int:
    """Make a run of each log. Returns 3 where a log lacks answers."""
    from ffprompt.integrations.import_log import import_log

    output = Output.of(options)
    rows, runs = [], []
    notes: list[str] = []
    for name in options.log:
        folder, results = import_log(Path(name), Path(options.out), options.model)
        runs.append(str(folder.path))
        notes += [text for text in audit_notes(folder.info.to_json()) if text not in notes]
        rows += [(folder.info.model_name, row) for row in results]
    ending = Ending(rows, [f"run: {run}" for run in runs], notes)
    exit_code = 0 if complete(row for _, row in rows) else 3
    if not output.is_json:
        ending.show(output)
    output.write({"exit_code": exit_code, "runs": runs, **ending.to_json()})
    return exit_code
