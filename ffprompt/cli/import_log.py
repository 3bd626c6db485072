"""``ffprompt import`` makes a run of another harness's log; ``ffprompt tasks-path`` prints the tasks for lm-eval."""

from __future__ import annotations

import argparse
from pathlib import Path

from ffprompt.cli.console import line
from ffprompt.cli.result_table import show_results
from ffprompt.evaluation.runner import complete

EPILOGS = {
    "import": "Reads samples_*.jsonl of lm_eval run --log_samples and .eval files of Inspect. Needs no harness for the "
    "first, and the extra [inspect] for the second.",
    "tasks-path": 'Use: lm_eval run --include_path "$(ffprompt tasks-path)" --tasks flipflop_light_switch …',
}


def _import_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("log", metavar="LOG", nargs="+", help="samples_*.jsonl of lm-eval or .eval of Inspect")
    parser.add_argument("--model", metavar="NAME", help="the model's name in the run (default: the log's)")
    parser.add_argument("--out", metavar="DIR", default="results", help="folder for the run (default: results)")


def _no_flags(parser: argparse.ArgumentParser) -> None:
    """The command takes none."""


FLAGS = {"import": _import_flags, "tasks-path": _no_flags}


def execute(options: argparse.Namespace) -> int:
    """Carry out ``import`` or ``tasks-path``. An import returns 3 where the log lacks answers."""
    if options.command == "tasks-path":
        from ffprompt.integrations.lm_eval import TASKS

        line(str(TASKS))
        return 0
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
