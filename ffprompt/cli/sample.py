"""``ffprompt sample``: write strings to a file in the format of the released data."""

from __future__ import annotations

import argparse
from pathlib import Path

from ffprompt.cli.console import line
from ffprompt.errors import UsageError
from ffprompt.tasks import datasets, registry


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``sample``."""
    parser.add_argument(
        "--spec",
        default="FFL(0.8)",
        metavar="SPEC",
        help="FFL(0.8), FFL(100, 0.6) or FFL(100, 0.2, 0.2, 0.6): T, write, read, ignore",
    )
    parser.add_argument("--strings", type=int, default=1000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument("--symbols", type=int, default=2, metavar="M")
    parser.add_argument("--out", required=True, metavar="FILE", help=".parquet or .jsonl")


def execute(options: argparse.Namespace) -> int:
    """Write strings to a file."""
    if options.strings < 1:
        raise UsageError(f"strings {options.strings}: expected at least 1")
    path = Path(options.out)
    spec = registry.get(registry.DEFAULT).parse_spec(options.spec, options.symbols)
    datasets.write(path, spec, options.seed, options.strings)
    line(f"{path}: {options.strings:,} strings, {path.stat().st_size:,} bytes")
    return 0
