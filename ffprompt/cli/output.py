"""How much a command says, and where: ``--quiet``, ``--verbose`` and ``--json``, the same for every command."""

from __future__ import annotations

import contextlib
import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ffprompt._util.files import json_bytes
from ffprompt.cli.console import elsewhere
from ffprompt.cli.output_flags import STDOUT
from ffprompt.comparison import gate_report
from ffprompt.errors import ConfigError, StoreError


@dataclass(frozen=True)
class Output:
    """What was asked for.

    Attributes:
        quiet: Only the answer, in a line or a few.
        verbose: Everything there is, also what the report holds.
        json: A file for every number as JSON, ``-`` for standard output, or None.
    """

    quiet: bool = False
    verbose: bool = False
    json: str | None = None

    @classmethod
    def of(cls, options: Namespace) -> Output:
        """Return what the flags of a command ask for.

        Raises:
            ConfigError: ``--json`` names a folder.
            StoreError: The folder of the file is not there. That is said before anything is computed.
        """
        file = getattr(options, "json", None)
        if file not in (None, STDOUT):
            if Path(file).is_dir():
                raise ConfigError(
                    f"--json {file}: it is a folder; give --json last for standard output, or --json FILE"
                )
            writable(file)
        return cls(getattr(options, "quiet", False), getattr(options, "verbose", False), file)

    @property
    def is_json(self) -> bool:
        """Whether standard output is for one JSON document alone."""
        return self.json == STDOUT

    @property
    def shows(self) -> bool:
        """Whether tables and notes are shown."""
        return not self.quiet and not self.is_json

    def beside(self) -> contextlib.AbstractContextManager[None]:
        """Send plain lines and tables to where they do not disturb: with JSON to standard error, when quiet nowhere."""
        if self.quiet:
            return elsewhere(None)
        return elsewhere("stderr") if self.is_json else contextlib.nullcontext()

    def answer(self) -> contextlib.AbstractContextManager[None]:
        """Send what ``--quiet`` leaves to standard output, or with JSON there to standard error."""
        return elsewhere("stderr") if self.is_json else contextlib.nullcontext()

    def write(self, document: Mapping[str, Any]) -> None:
        """Write the JSON document, where one was asked for.

        Raises:
            StoreError: The file cannot be written.
        """
        if self.is_json:
            sys.stdout.write(json_bytes(gate_report.finite(dict(document)), indent=2).decode() + "\n")
        elif self.json is not None:
            gate_report.to_json(Path(self.json), document)


def writable(*files: str | None) -> None:
    """Say that a file cannot be written before anything is computed.

    Raises:
        StoreError: The folder of a file is not there.
    """
    for file in files:
        if file and not Path(file).parent.is_dir():
            raise StoreError(f"{file}: the folder {Path(file).parent} is not there")
