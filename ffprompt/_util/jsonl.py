"""Read logs of one JSON object a line, as runs and trainings write them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from ffprompt._util.records import JsonObject
from ffprompt.errors import StoreError


def read_lines(path: Path) -> Iterator[tuple[int, int, JsonObject]]:
    """Yield (line number from 1, byte offset, content) of every complete line.

    A last line without its end is passed over: it was being written when the process or the machine stopped.

    Raises:
        StoreError: the file cannot be read, or a line holds no JSON object. The message names the line's number.
    """
    start = 0
    try:
        file = path.open("rb")
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from error
    with file:
        for number, text in enumerate(file, start=1):
            if text.endswith(b"\n"):
                yield number, start, _content(path, number, text)
            start += len(text)


def _content(path: Path, number: int, text: bytes) -> JsonObject:
    try:
        line = json.loads(text)
    except ValueError as error:
        raise StoreError(f"{path}, line {number}: not JSON ({error})") from error
    if not isinstance(line, dict):
        raise StoreError(f"{path}, line {number}: not a JSON object")
    return line
