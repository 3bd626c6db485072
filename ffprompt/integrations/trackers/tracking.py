"""``--track``: tell trackers what was done, after it is on disk. A tracker that fails costs a warning and no more."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ffprompt._util.extras import missing, needs
from ffprompt._util.secrets import redact
from ffprompt.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from ffprompt.integrations.trackers.entry import Entry

TRACKERS = ("mlflow", "wandb")  # also the names of their extras and of their modules here


class Tracker(Protocol):
    """A module of this package."""

    def keep(self, entry: Entry) -> str:
        """Send an entry and return where it is. Raises whatever the client raises."""


def check(names: Sequence[str]) -> None:
    """Refuse trackers that cannot be told anything, before anything is asked of a model.

    Raises:
        ConfigError: A name is unknown or there twice.
        ModelError: Its client is not installed.
    """
    for number, name in enumerate(names):
        if name not in TRACKERS:
            raise ConfigError(f"--track {name}: unknown tracker{did_you_mean(name, TRACKERS)}")
        if name in names[:number]:
            raise ConfigError(f"--track {name}: duplicate value")
        if missing(name):
            raise needs(f"--track {name}", name)


def keep(names: Sequence[str], entry: Entry) -> list[str]:
    """Send an entry to each tracker, and return a line about each: where it is, or why it is not there.

    The client of MLflow tries a server that does not answer for minutes. Here it tries twice, unless
    ``MLFLOW_HTTP_REQUEST_MAX_RETRIES`` and ``MLFLOW_HTTP_REQUEST_TIMEOUT`` say otherwise.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    lines = []
    for name in names:
        try:
            tracker: Tracker = importlib.import_module(f"ffprompt.integrations.trackers.{name}_tracker")
            lines.append(f"{name}: {entry.name} ({tracker.keep(entry)})")
        except Exception as error:  # a client raises what it likes, and what was measured is on disk
            why = " ".join(str(error).split())[:300] or type(error).__name__
            lines.append(f"! {name}: {entry.name} was not tracked ({redact(why)})")
    return lines
