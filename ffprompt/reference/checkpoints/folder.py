"""The files in a training's folder: their names, and reading and writing them whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ffprompt._util.files import read_text
from ffprompt.errors import ModelError

LOG, RECORD, STATE, STEPS = "train.jsonl", "training.json", "state.safetensors", "steps"
FORMAT = 1


def read_record(folder: Path) -> dict[str, Any]:
    """The training.json of a folder.

    Raises:
        ModelError: when it cannot be read or is of another format.
    """
    path = folder / RECORD
    try:
        record = json.loads(read_text(path))
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise ModelError(f"{path}: not the record of a training, or of another format than {FORMAT}")
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ModelError(f"{path}: damaged ({error})") from error
    return record


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise ModelError where ``path`` cannot be written."""
    try:
        yield
    except OSError as error:
        raise ModelError(f"{path}: cannot be written: {error.strerror or error}") from error
