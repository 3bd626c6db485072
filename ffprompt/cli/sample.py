"""``ffprompt sample``: write strings to a file in the format of the released data."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from ffprompt._util.formatting import counted
from ffprompt.cli.console import line
from ffprompt.errors import ConfigError, SpecError, UsageError
from ffprompt.tasks import datasets, registry
from ffprompt.tasks.base import Spec


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``sample``."""
    parser.add_argument("--task", metavar="NAME", help="the automaton (default: flipflop)")
    parser.add_argument("--task-arg", action="append", metavar="KEY=VALUE", help="setting of the task; repeatable")
    parser.add_argument(
        "--spec", metavar="SPEC",
        help="FFL(0.8), FFL(100, 0.6) or FFL(100, 0.2, 0.2, 0.6): T, write, read, ignore; or, of another task, s5(100)",
    )  # fmt: skip
    parser.add_argument("--length", type=int, metavar="T", help="in place of --spec: instructions in each string")
    parser.add_argument("--strings", type=int, default=1000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument("--symbols", type=int, default=2, metavar="M")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", metavar="FILE", help=".parquet or .jsonl")
    where.add_argument("--dataset", metavar="DIR", help="a new folder with a card, as hubs and datasets read it")
    parser.add_argument("--split", metavar="NAME", help="with --dataset: the split (default: test)")


def execute(options: argparse.Namespace) -> int:
    """Write strings to a file. With ``--task``, a line of .jsonl also lists the events and the true answers."""
    if options.strings < 1:
        raise UsageError(f"strings {options.strings}: expected at least 1")
    spec = _spec(options)
    if options.dataset is not None:
        return _dataset(options, spec)
    if options.split is not None:
        raise ConfigError(f"--split {options.split}: goes with --dataset")
    path = Path(options.out)
    datasets.write(path, spec, options.seed, options.strings, listed=options.task is not None)
    line(f"{path}: {counted(options.strings, 'string')}, {counted(path.stat().st_size, 'byte')}")
    return 0


def _dataset(options: argparse.Namespace, spec: Spec) -> int:
    """Write a dataset folder."""
    from ffprompt.integrations.dataset_card import Source
    from ffprompt.integrations.dataset_folder import export_strings

    split, folder = options.split or "test", Path(options.dataset)
    task = options.task or registry.DEFAULT
    named = ["--task", task] if task != registry.DEFAULT else []
    for argument in options.task_arg or ():
        named += ["--task-arg", argument]
    named += ["--symbols", str(options.symbols)] if options.symbols != 2 else []
    # A spec has settings of its task already, and takes no --task-arg beside it.
    language = ["--length", str(spec.length)] if options.task_arg else ["--spec", str(spec)]
    numbers = ["--strings", str(options.strings), "--seed", str(options.seed)]
    command = shlex.join(["ffprompt", "sample", *named, *language, *numbers, "--dataset", "DIR", "--split", split])
    flags = f" {shlex.join(named)}" if named else ""
    export_strings(folder, spec, options.seed, options.strings, split, Source(command, flags))
    line(f"{folder}: {counted(options.strings, 'string')} in the split {split}")
    return 0


def _spec(options: argparse.Namespace) -> Spec:
    """The language that the flags name."""
    if options.spec is not None and options.length is not None:
        raise ConfigError("--length: give either it or --spec")
    try:
        task = registry.get(options.task or registry.DEFAULT, options.task_arg or ())
    except SpecError as error:
        raise ConfigError(f"--{error}") from error
    if options.spec is not None:
        if options.task_arg:
            raise ConfigError(f"--task-arg {options.task_arg[0]}: give either it or --spec, which has its own settings")
        return task.parse_spec(options.spec, options.symbols)
    if options.length is not None or options.task not in (None, registry.DEFAULT):
        return task.spec(options.length if options.length is not None else task.lengths[-1], options.symbols)
    return task.parse_spec("FFL(0.8)", options.symbols)
