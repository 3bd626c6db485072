"""The command line: flags, exit codes, and nothing heavy until a command runs.

Exit codes: 0 done, 1 regression (of a gate) or a rate above its bound, 2 usage or input, 3 incomplete, invalid or
inconclusive run, 4 a defect of ffprompt (its traceback is in a file that is named), 130 interrupted (and resumable).
"""

from __future__ import annotations

import argparse
import errno
import os
import shlex
import sys
from collections.abc import Sequence
from typing import NoReturn

from ffprompt import __version__
from ffprompt._util.files import printable
from ffprompt._util.secrets import redact, register_environment, shown_command
from ffprompt.cli import compare_flags as compare_parser
from ffprompt.cli import export as export_command
from ffprompt.cli import run_flags
from ffprompt.cli import sweep_flags as sweep_parser
from ffprompt.cli.streams import prepare
from ffprompt.errors import FFPromptError, did_you_mean
from ffprompt.reference.training import settings as training_settings

_EXIT_CODES = (
    "Exit codes: 0 done, 1 a regression or a rate above its bound, 2 usage or input, 3 an incomplete, invalid or "
    "inconclusive run, 4 a defect of ffprompt (the traceback is in a file that is named), 130 interrupted."
)
_TURNS = "instructions a turn of a dialogue (default: all up to the next read)"


class _Parser(argparse.ArgumentParser):
    """Errors in one line, with the nearest known flag."""

    def error(self, message: str) -> NoReturn:
        _say(f"{self.prog}: error: {redact(message)}")
        raise SystemExit(2)

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """As parse_args, but an unknown flag is named together with the one that was probably meant."""
        found, rest = self.parse_known_args(arguments)
        if rest:
            chosen: argparse.ArgumentParser = found.parser
            flag = rest[0].split("=")[0]
            known = [name for action in chosen._actions for name in action.option_strings if name.startswith("--")]
            chosen.error(f"unknown {'flag' if flag.startswith('-') else 'argument'} {flag}{did_you_mean(flag, known)}")
        return found


def _parser(prog: str, run_only: bool) -> _Parser:
    text = "How reliably does a language model remember one bit?"
    parser = _Parser(prog=prog, description=text, epilog=_EXIT_CODES, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"ffprompt {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str, epilog: str | None = None) -> argparse.ArgumentParser:
        wrapped = argparse.RawDescriptionHelpFormatter
        shown = prog if run_only else None  # run_eval.py has one command and does not name it
        made = commands.add_parser(
            name, help=text, description=text, allow_abbrev=False, formatter_class=wrapped, prog=shown, epilog=epilog
        )
        made.set_defaults(parser=made)
        return made

    run_flags.add(add("run", "Evaluate a model.", epilog=run_flags.EPILOG))
    if run_only:
        return parser
    score = add("score", "Compute every number of a run again from its raw lines.")
    score.add_argument("run", metavar="RUN", help="a folder under results/")
    anatomy = add("anatomy", "Show what the errors of a run have in common.")
    anatomy.add_argument("run", metavar="RUN", help="a folder under results/")
    anatomy.add_argument("--json", metavar="FILE", help="also write every number to a file")
    _batch_parsers(add("batch", "Run by a provider's batches: submit, status, collect, cancel."))
    compare_parser.add_parsers(add)
    _report_parser(add("report", "One HTML file: tables, figures, trials, prompts and provenance of runs."))
    suites = add("suites", "List the bundled suites.")
    suites.add_subparsers(dest="action", required=True, metavar="list").add_parser(
        "list", help="every bundled suite, and whether it needs a model"
    ).set_defaults(parser=suites)
    prompts = add("prompts", "List the templates, or show what a model will see.")
    actions = prompts.add_subparsers(dest="action", required=True, metavar="list|show")
    actions.add_parser("list", help="every bundled template").set_defaults(parser=prompts)
    show = actions.add_parser("show", help="one prompt, every read marked", allow_abbrev=False)
    show.set_defaults(parser=show)
    show.add_argument("template", metavar="NAME", help="a bundled template or a .toml file")
    show.add_argument("--length", type=int, default=20, metavar="T")
    show.add_argument("--p-ignore", type=float, default=0.6, metavar="P")
    show.add_argument("--symbols", type=int, default=2, metavar="M")
    show.add_argument("--seed", type=int, default=0, metavar="S")
    show.add_argument("--index", type=int, default=0, metavar="I", help="which string of the seed")
    show.add_argument("--shots", type=int, default=0, metavar="K")
    show.add_argument("--shot-length", type=int, default=16, metavar="T")
    elicitations = "forced, next, list or dialogue (default: forced, and list as chat)"
    show.add_argument("--elicitation", metavar="NAME", help=elicitations)
    show.add_argument("--turn-instructions", type=int, metavar="N", help=_TURNS)
    show.add_argument("--form", metavar="NAME", help="completion or chat")
    training_settings.add(add("train", "Train a reference model from scratch.", epilog=training_settings.EPILOG))
    export_command.add_parser(add)
    sweep_parser.add(add("sweep", "Train every cell of a study, with every seed.", epilog=sweep_parser.EPILOG))
    sample = add("sample", "Write strings to a file in the format of the released data.")
    sample.add_argument(
        "--spec",
        default="FFL(0.8)",
        metavar="SPEC",
        help="FFL(0.8), FFL(100, 0.6) or FFL(100, 0.2, 0.2, 0.6): T, write, read, ignore",
    )
    sample.add_argument("--strings", type=int, default=1000, metavar="N")
    sample.add_argument("--seed", type=int, default=0, metavar="S")
    sample.add_argument("--symbols", type=int, default=2, metavar="M")
    sample.add_argument("--out", required=True, metavar="FILE", help=".parquet or .jsonl")
    return parser


def _report_parser(report: argparse.ArgumentParser) -> None:
    report.add_argument(
        "run",
        nargs="+",
        metavar="RUN",
        help="folders of runs and of trainings, results folders and folders of a study; any number of them",
    )
    report.add_argument("-o", "--output", metavar="FILE", help="default: report.html in the one folder named, or here")
    report.add_argument("--figures", metavar="DIR", help="also write every figure as PNG and SVG")
    report.add_argument("--table", metavar="FILE", help="also write the table, as .tex or .md")
    report.add_argument("--incomplete", action="store_true", help="also report runs that lack answers, and mark them")


def _batch_parsers(batch: argparse.ArgumentParser) -> None:
    actions = batch.add_subparsers(dest="action", required=True, metavar="submit|status|collect|cancel")
    submit = actions.add_parser(
        "submit", help="hand over what has no answer yet, of a run or of a new one with these flags", allow_abbrev=False
    )
    submit.set_defaults(parser=submit, batch=True)
    submit.add_argument("run", nargs="?", metavar="RUN", help="a folder under results/; without it flags make a run")
    run_flags.add(submit, submits=True)
    for name, text in (
        ("status", "one line a part; exit code 3 while one is not to be collected yet"),
        ("collect", "log what the ended batches hold; exit code 3 while the run is not complete"),
        ("cancel", "ask the provider to stop; what was answered stays to be collected"),
    ):
        made = actions.add_parser(name, help=text, description=text.capitalize(), allow_abbrev=False)
        made.set_defaults(parser=made)
        made.add_argument("run", metavar="RUN", help="a folder under results/")
        made.add_argument("--key-file", metavar="FILE", help="holds the key, instead of the environment")


def main(arguments: Sequence[str] | None = None, prog: str = "ffprompt") -> int:
    """Run a command and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    prepare()
    try:
        register_environment()
        shown_command(given)  # which remembers the secrets in it
        options = _parser(prog, run_only=prog == "run_eval.py").parse(given)
        from ffprompt.cli import commands

        return commands.execute(options)
    except SystemExit as end:  # argparse: --help, --version, errors
        return 0 if end.code is None else end.code if end.code in (0, 2) else _failed(end, given, prog)
    except KeyboardInterrupt:
        _say(f"{prog}: interrupted{_going_on(given, prog)}")
        return 130
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BaseException as error:  # libraries raise some that are no Exception
        return _failed(error, given, prog)


def _going_on(given: Sequence[str], prog: str) -> str:
    """How an interrupted command goes on, without the secrets that may be in it."""
    words = given[1:] if prog == "run_eval.py" else given
    if given[:1] in (["run"], ["train"]):
        words = [*(word for word in words if word != "--resume"), "--resume"]
    elif given[:1] != ["sweep"]:
        return ""
    return f"; go on with: {shlex.join([prog, *shown_command(words)])}"


def _failed(error: BaseException, given: Sequence[str], prog: str) -> int:
    """Say what ended a command in one line. Returns the exit code."""
    from ffprompt._util.crash import leaf, named, told

    found = leaf(error)
    if isinstance(found, FFPromptError):
        _say(f"{prog}: error: {redact(' '.join(str(found).split()))}")
        return found.exit_code
    if isinstance(found, OSError) and found.errno in _OF_THE_MACHINE:
        where = f"{found.filename}: " if found.filename is not None else ""
        _say(f"{prog}: error: {where}{named(found)}")
        return 2
    _say(f"{prog}: internal error: {told(error, given)}{_KEPT.get(given[0] if given else '', '')}")
    return 4


# Errors that are of the disk or of permissions, and no defect.
_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE)
_KEPT = {
    "run": "; what was answered is kept, go on with --resume",
    "batch": "; what was answered is kept, go on with: ffprompt batch collect RUN",
    "train": "; what was saved is kept, go on with --resume",
    "sweep": "; what was saved is kept, the same command goes on",
}


def _say(text: str) -> None:
    """One line on standard error."""
    print(printable(" ".join(text.split())), file=sys.stderr)  # noqa: T201
