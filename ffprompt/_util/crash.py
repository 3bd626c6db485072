"""What nobody foresaw: a defect of ffprompt, told in one line, with its traceback in a file."""

from __future__ import annotations

import datetime as dt
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from ffprompt import __version__
from ffprompt._util.files import printable, shortened
from ffprompt._util.secrets import redact, shown_command
from ffprompt.errors import FFPromptError


def leaf(error: BaseException) -> BaseException:
    """The exception that a group of groups is about: of several, one that was not raised on purpose."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [leaf(each) for each in error.exceptions]
    return next((each for each in leaves if not isinstance(each, FFPromptError)), leaves[0])


def named(error: BaseException) -> str:
    """An exception in one line, without secrets."""
    text = " ".join(str(error).split())
    return printable(shortened(redact(f"{type(error).__name__}: {text}".rstrip(": ")), 300))


def told(error: BaseException, command: Sequence[str] | None = None) -> str:
    """An exception in one line that says where its traceback is, which is written there without secrets."""
    return f"{named(leaf(error))}; the traceback is in {_written(error, sys.argv[1:] if command is None else command)}"


def _written(error: BaseException, command: Sequence[str]) -> str:
    """The path of a new file with the traceback. Where none can be written, it goes to standard error."""
    now = dt.datetime.now(dt.UTC)
    text = (
        f"ffprompt {__version__}, Python {platform.python_version()}, {platform.platform()}, {now:%Y-%m-%d %H:%M} UTC\n"
        f"command: {shown_command(command)}\n\n{''.join(traceback.format_exception(error))}"
    )
    content = printable(redact(text)).encode()
    for folder in (tempfile.gettempdir(), str(Path.cwd())):
        try:
            handle, path = tempfile.mkstemp(".txt", f"ffprompt-error-{now:%Y%m%d-%H%M%S}-", folder)
        except OSError:
            continue
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        return path
    sys.stderr.write(content.decode())
    return "the lines above"
