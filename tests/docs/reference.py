"""The pages of the reference that are made from the code; ``python -m tests.docs`` writes them anew."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from ffprompt import errors
from ffprompt.cli.main import COMMANDS, _parser
from ffprompt.config import settings
from ffprompt.runs.columns import READS, RESULT
from ffprompt.runs.records import RunInfo, TrialRecord
from ffprompt.scoring.condition_result import ConditionResult
from tests.docs import words
from tests.docs.pages import DOCS

MADE = "<!-- Made by: python -m tests.docs -->"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *map(list, rows)]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def command_line() -> str:
    """Every command with its flags."""
    parts = [
        f"# Command line\n\n{MADE}\n",
        "`ffprompt COMMAND --help` shows the same in a terminal. `python run_eval.py …` is `ffprompt run …` from a "
        "clone. [Settings](settings.md) says more about the flags of `run` that describe a run: values, defaults, and "
        "which backends honour them. [Exit codes](exit-codes.md) are the same for all commands.\n",
    ]
    for command in COMMANDS:
        parser = _command_parser(command.name)
        parts.append(f"## ffprompt {command.name}\n\n{command.help}\n")
        parts += _flags(parser)
        if parser.epilog:
            parts.append(_prose(parser.epilog))
        for name, action in _actions(parser):
            parts.append(f"### ffprompt {command.name} {name}\n")
            parts += _flags(action)
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _prose(epilog: str) -> str:
    """The text under a command's help: paragraphs, and indented lines as commands."""
    parts = []
    for paragraph in epilog.strip("\n").split("\n\n"):
        lines = paragraph.splitlines()
        if all(line.startswith("  ") for line in lines):
            parts.append("```text\n" + "".join(f"{line.removeprefix('  ')}\n" for line in lines) + "```\n")
        else:
            parts.append(" ".join(line.strip() for line in lines) + "\n")
    return "\n".join(parts)


def _command_parser(name: str) -> argparse.ArgumentParser:
    parser = _parser("ffprompt", False, [name])
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found: argparse.ArgumentParser = action.choices[name]
            return found
    raise AssertionError(name)


def _actions(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    helps = {choice.dest: choice.help or "" for action in nested for choice in action._choices_actions}
    if helps:
        return [table(("action", ""), [(f"`{name}`", text) for name, text in helps.items()])]
    rows = [
        (_name(action), _help(action))
        for action in parser._actions
        if not isinstance(action, (argparse._HelpAction, argparse._VersionAction)) and action.help != argparse.SUPPRESS
    ]
    return [table(("argument", "what it is"), rows)] if rows else []


def _name(action: argparse.Action) -> str:
    metavar = action.metavar
    shown = " ".join(metavar) if isinstance(metavar, tuple) else metavar or ("" if action.nargs == 0 else action.dest)
    several = " …" if action.nargs in ("+", "*") else ""
    return f"`{' '.join(filter(None, (', '.join(action.option_strings), shown)))}{several}`"


def _help(action: argparse.Action) -> str:
    # A bare * or < would be read as Markdown or HTML.
    text = (action.help or "").replace("%%", "%").replace("%(default)s", str(action.default))
    return re.sub(r"(?<=\w)\*|<", lambda match: "\\" + match[0], text)


def columns() -> str:
    """The columns of ``reads.parquet``."""
    kinds = {"string": "text", "list": "list of numbers", "bool_": "true or false", "float64": "number"}
    rows = [(f"`{name}`", kinds.get(column.kind, "whole number"), column.about) for name, column in READS.items()]
    return f"""# Columns of reads.parquet

{MADE}

One row a read. Later versions add columns and never rename one. Read it with pandas, DuckDB or whatever reads
Parquet, or with `ffprompt.load(RUN).reads`.

{table(("column", "type", "holds"), rows)}"""


def run_folder() -> str:
    """What a run leaves."""
    return f"""# The run folder

{MADE}

Every run has a folder `results/RUN`, named after the time, the backend, the model and a digest of the plan. Every
number is computed from `trials.jsonl`: `ffprompt score RUN` computes them again and needs nothing but this folder.

{table(("file", "holds"), ((f"`{name}`", text) for name, text in words.FILES))}
## run.json

{_fields(RunInfo, words.RUN)}
It also holds `versions` of packages, the `source` (commit), the `hardware` and the `command`. Keys, passwords and
secret headers are never in it.

### results: a row of the table

{_fields(ConditionResult, RESULT)}
## A line of trials.jsonl

{_fields(TrialRecord, words.TRIAL)}
The columns of `reads.parquet` have [a page of their own](columns.md).
"""


def _fields(record: type, about: Mapping[str, str]) -> str:
    names = [field.name for field in dataclasses.fields(record)]  # type: ignore[arg-type]
    return table(("key", "holds"), ((f"`{name}`", words.of(about, name)) for name in names if words.of(about, name)))


def error_tree() -> str:
    """The tree of errors."""
    rows = []

    def walk(kind: type[errors.FFPromptError], depth: int) -> None:
        summary = (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")
        rows.append((f"{'&nbsp;&nbsp;' * 2 * depth}`{kind.__name__}`", str(kind.exit_code), summary))
        for below in kind.__subclasses__():
            if below.__module__ == errors.__name__:
                walk(below, depth + 1)

    walk(errors.FFPromptError, 0)
    return f"""# Errors

{MADE}

Everything that ffprompt raises on purpose is a `ffprompt.errors.FFPromptError`. On the command line it is one line on
standard error that names the thing, the value and what was expected. Errors of an SDK are translated in one place,
with the original as `__cause__`.

{table(("class", "exit code", "means"), rows)}
Anything else is a defect of ffprompt: exit code 4, and the line names a file with the traceback.
"""


GENERATED: dict[Path, Callable[[], str]] = {
    DOCS / "reference" / "settings.md": lambda: settings.page(settings.ROWS),
    DOCS / "reference" / "command-line.md": command_line,
    DOCS / "reference" / "columns.md": columns,
    DOCS / "reference" / "run-folder.md": run_folder,
    DOCS / "reference" / "errors.md": error_tree,
}
