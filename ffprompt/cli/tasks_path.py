"""``ffprompt tasks-path``: where lm-evaluation-harness finds its tasks."""

from __future__ import annotations

import argparse

from ffprompt.cli.console import line

EPILOG = 'Use: lm_eval run --include_path "$(ffprompt tasks-path)" --tasks flipflop_light_switch …'


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the command takes no flags."""


def execute(options: argparse.Namespace) -> int:
    """Print the folder."""
    from ffprompt.integrations.lm_eval import TASKS

    line(str(TASKS))
    return 0
