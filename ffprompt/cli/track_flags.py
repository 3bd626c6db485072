"""``--track``, which run, gate and train take. It stays light, as every ``--help`` loads it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ffprompt.integrations.trackers.entry import Entry


def add_flags(parser: argparse._ActionsContainer) -> None:
    """Add the flag."""
    parser.add_argument(
        "--track", action="append", metavar="NAME", help="also log to mlflow or wandb, by their own clients; repeatable"
    )


def checked(options: argparse.Namespace) -> Sequence[str]:
    """Return the trackers that were asked for. Raises ConfigError, ModelError for one that cannot be told anything."""
    names: Sequence[str] = getattr(options, "track", None) or ()
    if names:
        from ffprompt.integrations.trackers import tracking

        tracking.check(names)
    return names


def tell(names: Sequence[str], entries: Iterable[Callable[[], Entry]]) -> None:
    """Send entries to trackers and say where each is. One that fails is a warning on standard error.

    Nothing is raised: what is tracked is on disk already, and its exit code stays.
    """
    if not names:
        return
    from ffprompt._util.files import printable
    from ffprompt.cli.console import line
    from ffprompt.integrations.trackers import tracking

    for make in entries:
        try:
            told = tracking.keep(names, make())
        except Exception as error:  # an entry is not worth an exit code
            told = [f"! nothing was tracked ({' '.join(str(error).split()) or type(error).__name__})"]
        for text in told:
            if text.startswith("!"):
                sys.stderr.write(f"{printable(text)}\n")
            else:
                line(text)
