"""``ffprompt score``: compute every number of a run again from its raw lines."""

from __future__ import annotations

import argparse
from pathlib import Path

from ffprompt._util.formatting import counted
from ffprompt.cli import output_flags
from ffprompt.cli.console import line
from ffprompt.cli.output import Output
from ffprompt.cli.result_screen import Ending
from ffprompt.cli.result_table import bill
from ffprompt.evaluation import spending
from ffprompt.evaluation.early_stopping import verdict
from ffprompt.evaluation.rescore import plan_of, rebuild
from ffprompt.evaluation.runner import complete
from ffprompt.report.wording import audit_notes
from ffprompt.runs.folder import RunFolder, UnwritableError
from ffprompt.runs.log import Log


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``score``."""
    parser.add_argument("run", metavar="RUN", help="a folder under results/")
    output_flags.add_flags(parser, "print only the verdict on the model")


def execute(options: argparse.Namespace) -> int:
    """Compute the table of a run again. Returns 3 when the run is not complete."""
    return score(Path(options.run), Output.of(options))


def score(path: Path, output: Output = Output()) -> int:  # noqa: B008
    """Compute a run's table again, and save it unless the run is being written. Returns 3 when it is not complete."""
    folder = RunFolder.open(path)
    try:
        with Log(folder):
            folder = RunFolder.open(path)  # as it is now that nobody else writes it
            rows, differing = rebuild(folder, plan_of(folder))
            before = folder.info.status
            status = "done" if complete(rows) else "incomplete" if before == "done" else before
            folder.update(results=rows, spent=spending.record(folder, rows), status=status)
            folder.save()
    except UnwritableError as error:
        line(f"{error}; nothing is saved")
        rows, differing = rebuild(folder, plan_of(folder), write=False)
        folder.update(results=rows, spent=spending.record(folder, rows))
    info = folder.info.to_json()
    differing_text = [f"{counted(differing, 'trial')} judged differently now than when logged"] if differing else []
    ending = Ending([(folder.info.model_name, row) for row in rows], [*bill(info), *differing_text], audit_notes(info))
    exit_code = verdict(rows) if complete(rows) else 3
    if not output.is_json:
        ending.show(output)
    output.write({"exit_code": exit_code, "run": str(path), "status": folder.info.status, **ending.to_json()})
    return exit_code
