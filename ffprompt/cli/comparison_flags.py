"""Flags that several of the commands compare, gate, baseline, trend and power take, and what ``run --gate`` takes."""

from __future__ import annotations

import argparse


def add_allow(parser: argparse.ArgumentParser) -> None:
    """Add ``--allow``."""
    parser.add_argument(
        "--allow", action="append", default=[], metavar="KEY", help="a setting that may differ as well; repeatable"
    )


def add_level(parser: argparse.ArgumentParser) -> None:
    """Add ``--level``."""
    parser.add_argument("--level", type=float, default=0.95, metavar="X", help="confidence (default: 0.95)")


def add_incomplete(parser: argparse.ArgumentParser) -> None:
    """Add ``--incomplete``."""
    parser.add_argument("--incomplete", action="store_true", help="use what there is of unfinished runs, and mark it")


def add_stored(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where a stored baseline is."""
    parser.add_argument("--suite", metavar="NAME", help="the suite that the baseline belongs to")
    parser.add_argument("--out", default="results", metavar="DIR", help="folder of baselines.json (default: results)")


def add_gate_files(group: argparse._ActionsContainer) -> None:
    """Add the files that a gate can write."""
    group.add_argument("--junit", metavar="FILE", help="write JUnit XML, one test case for each condition")
    group.add_argument("--markdown", metavar="FILE", help="write a summary for a pull request")


def add_gate_to_run(parser: argparse.ArgumentParser) -> None:
    """Add what ``run`` takes to gate its result."""
    gate = parser.add_argument_group("the gate")
    gate.add_argument("--gate", action="store_true", help="compare with the stored baseline; see: ffprompt gate --help")
    gate.add_argument("--baseline", metavar="NAME", help="baseline to compare with: a name or a run (default: default)")
    gate.add_argument(
        "--margin", type=float, metavar="X", help="largest acceptable loss of accuracy (default: the suite's)"
    )
    add_gate_files(gate)
