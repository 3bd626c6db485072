"""The flags of ``ffprompt sweep``. Nothing heavy is imported here."""

from __future__ import annotations

import argparse

EPILOG = """\
Every cell of the suite and every seed is a training in a folder of its own, as `ffprompt train` makes it. A sweep that
was stopped goes on with the same command: what is finished is left alone, the rest is resumed.

  ffprompt sweep r2-lstm-cpu --dry-run
  ffprompt sweep mine.toml --out results/studies/mine
  ffprompt sweep r1-seeds --ray-address auto --gpus-per-task 0.25
"""


def add(parser: argparse.ArgumentParser) -> None:
    """The flags of ``sweep``."""
    parser.add_argument("suite", metavar="SUITE", help="a bundled study (see suites/studies) or a .toml file")
    parser.add_argument("--out", metavar="DIR", help="folder of the study (default results/studies/NAME)")
    parser.add_argument("--dry-run", action="store_true", help="show the trainings and what they would cost")
    parser.add_argument("--ray", action="store_true", help="tasks on a Ray that is started here")
    parser.add_argument("--ray-address", metavar="ADDR", help="tasks on a Ray cluster: auto, or ray://host:port")
    parser.add_argument("--cpus-per-task", type=int, metavar="N", help="cores (default: all; with Ray 1 a replicate)")
    parser.add_argument("--gpus-per-task", type=float, metavar="X", help="with Ray: GPUs, or a share of one")
