"""The command line: flags, exit codes, and nothing heavy until a command runs.

Exit codes: 0 done, 1 regression (of a gate) or a rate above its bound, 2 usage or input, 3 incomplete, invalid or
inconclusive run, 4 a defect of ffprompt (its traceback is in a file that is named), 130 interrupted (and resumable).
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NoReturn

from ffprompt import __version__
from ffprompt._util.files import printable
from ffprompt._util.secrets import redact, register_environment, shown_command
from ffprompt.cli.streams import prepare
from ffprompt.errors import FFPromptError, did_you_mean

_EXIT_CODES = (
    "Exit codes: 0 done, 1 a regression or a rate above its bound, 2 usage or input, 3 an incomplete, invalid or "
    "inconclusive run, 4 a defect of ffprompt (the traceback is in a file that is named), 130 interrupted."
)


@dataclass(frozen=True)
class Command:
    """A command: its name, its help, and the module in ``ffprompt.cli`` that adds its flags and carries it out.

    Only the module of the command that is given is imported.
    """

    name: str
    help: str
    flags: str = ""  # the module that adds its flags, where that has to stay light; default: the command's own
    own_module: str = ""  # default: the name

    @property
    def module(self) -> str:
        """The module that carries it out."""
        return self.own_module or self.name.replace("-", "_")

    def add_flags(self, parser: argparse.ArgumentParser) -> None:
        """Add the flags and the epilog of the command to its parser."""
        module = import_module(f"ffprompt.cli.{self.flags or self.module}")
        module.add_flags(parser)
        parser.epilog = getattr(module, "EPILOG", None)

    def execute(self, options: argparse.Namespace) -> int:
        """Carry out the command and return its exit code."""
        exit_code: int = import_module(f"ffprompt.cli.{self.module}").execute(options)
        return exit_code


COMMANDS = (
    Command("run", "Evaluate a model.", flags="run_flags"),
    Command("merge", "Make the whole run of its shards."),
    Command("score", "Compute every number of a run again from its raw lines."),
    Command("anatomy", "Show what the errors of a run have in common."),
    Command("diagnose", "Look inside a model: where its heads of attention look at reads."),
    Command("batch", "Run by a provider's batches: submit, status, collect, cancel."),
    Command("compare", "Differences between runs, or between conditions of one, on the same reads."),
    Command("gate", "Is a candidate non-inferior to its baseline, within a margin?"),
    Command("baseline", "Which run a gate compares with: set, show."),
    Command("trend", "Accuracy over all runs of a results folder, by model, condition and date."),
    Command("power", "How many strings a question needs, from a pilot run."),
    Command("report", "One HTML file: tables, figures, trials, prompts and provenance of runs."),
    Command("import", "Make a run of a log of lm-evaluation-harness or Inspect.", own_module="import_log"),
    Command("tasks-path", "Print the folder of the tasks for lm-evaluation-harness."),
    Command("suites", "List the bundled suites."),
    Command("prompts", "List, show, check and start templates."),
    Command("train", "Train a reference model from scratch."),
    Command("export-data", "Write runs and their reads as a folder for datasets, DuckDB and polars."),
    Command("export", "Write a reference Transformer as a folder that transformers and vLLM load."),
    Command("sweep", "Train every cell of a study, with every seed."),
    Command("sample", "Write strings to a file in the format of the released data."),
    Command("doctor", "Which backends can run here, and what to install or set where one cannot."),
    Command("docs", "Where the documentation is, or one page of it."),
    Command("completion", "A script that completes commands, flags and names in bash, zsh or fish."),
    Command("help", "A short text on a topic: concepts, elicitations, outcomes, floors, models, costs and more."),
)


class _Parser(argparse.ArgumentParser):
    """Errors in one line, with the nearest known flag."""

    def error(self, message: str) -> NoReturn:
        choices = next((each.choices for each in self._actions if isinstance(each, argparse._SubParsersAction)), None)
        if choices and message.startswith("the following arguments are required"):
            message += f" (known: {', '.join(choices)})"
        _say(f"{self.prog}: error: {redact(message)}")
        raise SystemExit(2)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a command, an action or a choice that there is none of, with the one that was probably meant."""
        if action.choices is not None and value not in action.choices:
            name = action.option_strings[-1] if action.option_strings else str(action.metavar or action.dest)
            name = name.lower() if isinstance(action, argparse._SubParsersAction) else name
            self.error(f"unknown {name} {value!r:.80}{did_you_mean(value, map(str, action.choices))}")

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """As parse_args, but an unknown flag is named together with the one that was probably meant."""
        found, rest = self.parse_known_args(arguments)
        if rest:
            chosen: argparse.ArgumentParser = found.parser
            flag = rest[0].split("=")[0]
            known = [name for action in chosen._actions for name in action.option_strings if name.startswith("--")]
            chosen.error(f"unknown {'flag' if flag.startswith('-') else 'argument'} {flag}{did_you_mean(flag, known)}")
        return found


def _parser(prog: str, run_only: bool, given: Sequence[str]) -> _Parser:
    text = "How reliably does a language model remember one bit?"
    parser = _Parser(prog=prog, description=text, epilog=_EXIT_CODES, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"ffprompt {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS[:1] if run_only else COMMANDS:
        command_parser = commands.add_parser(
            command.name,
            help=command.help,
            description=command.help,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            prog=prog if run_only else None,  # run_eval.py has one command and does not name it
        )
        command_parser.set_defaults(parser=command_parser, execute=command.execute)
        if command.name in given:
            command.add_flags(command_parser)
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "ffprompt") -> int:
    """Run a command and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    prepare()
    with _quiet_libraries():
        return _run(given, prog)


@contextlib.contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Keep warnings that libraries address to programmers out of the output, unless Python was asked for them."""
    shown = warnings.showwarning
    if not sys.warnoptions:
        warnings.showwarning = lambda *_, **__: None
    try:
        yield
    finally:
        warnings.showwarning = shown


def _run(given: Sequence[str], prog: str) -> int:
    """Run a command and return its exit code, whatever it ends with."""
    try:
        register_environment()
        shown_command(given)  # which remembers the secrets in it
        options = _parser(prog, prog == "run_eval.py", given).parse(given)
        exit_code: int = options.execute(options)
        return exit_code
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
