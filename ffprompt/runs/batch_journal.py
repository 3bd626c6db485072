"""Which trials of a run are with a provider as batches: ``batches.jsonl``, one JSON object a line, only added to.

::

    {"part": 1, "marker": "4f0c…-9a3e51c7", "trials": [[0, 59]], "created": "2026-11-22T10:15:00+00:00"}
    {"part": 1, "file": "file-abc"}            what was uploaded, where a provider wants that
    {"part": 1, "id": "batch_abc"}             the provider has it
    {"part": 1, "void": "HTTP 400: …"}         or: nothing came of it, its trials are free again
    {"part": 1, "collected": "2026-11-22T…", "state": "completed"}

The first line is on the disk before the provider hears of the part, so a crash leaves at most a part without an id,
about which the provider is asked before anything else is submitted.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ffprompt._util.files import json_bytes
from ffprompt._util.jsonl import read_lines
from ffprompt._util.records import Int, JsonObject, Reader, Text
from ffprompt._util.secrets import redacted
from ffprompt._util.storage import append_synced, cut_unfinished_line, sync_folder
from ffprompt.errors import RunFailedError, StoreError
from ffprompt.runs.folder import RunFolder
from ffprompt.runs.records import PartRecord


@dataclass
class Part:
    """Trials that were handed over together. ``trials`` are (first, last) of consecutive ones, both included."""

    number: int
    marker: str
    trials: tuple[tuple[int, int], ...]
    created: dt.datetime
    file: str | None = None
    id: str | None = None
    void: str | None = None
    collected: str | None = None
    state: str | None = None

    @property
    def open(self) -> bool:
        """Whether its trials may still be answered, or have been and are not yet in the log."""
        return self.void is None and self.collected is None

    @property
    def numbers(self) -> NDArray[np.int64]:
        """(count,) its trials, ascending."""
        return np.concatenate([np.arange(first, last + 1, dtype=np.int64) for first, last in self.trials])

    @property
    def count(self) -> int:
        """How many trials it has."""
        return sum(last - first + 1 for first, last in self.trials)

    def custom_id(self, trial: int) -> str:
        """The name of a trial's request at the provider: at most 64 characters of a-z, 0-9 and hyphens.

        >>> Part(1, "4f0c", ((0, 9),), dt.datetime.now()).custom_id(7)
        '4f0c-7'
        """
        return f"{self.marker}-{trial}"

    def trial(self, custom_id: str) -> int | None:
        """The trial that a custom id names, or None for one that is not of this part."""
        number = custom_id.rpartition("-")[2]
        if not re.fullmatch(r"\d{1,18}", number, re.ASCII) or custom_id != self.custom_id(int(number)):
            return None
        trial = int(number)
        return trial if any(first <= trial <= last for first, last in self.trials) else None

    def record(self) -> PartRecord:
        """Return the part as ``run.json`` shows it."""
        state = "void" if self.void is not None else self.state or "open"
        return PartRecord(part=self.number, id=self.id, trials=self.trials, state=state)


def ranges(trials: Iterable[int]) -> list[list[int]]:
    """[first, last] of every stretch of consecutive numbers.

    >>> ranges([0, 1, 2, 5, 7, 8])
    [[0, 2], [5, 5], [7, 8]]
    """
    found: list[list[int]] = []
    for trial in trials:
        if found and trial == found[-1][1] + 1:
            found[-1][1] = trial
        else:
            found.append([trial, trial])
    return found


def parts(folder: RunFolder) -> list[Part]:
    """Every part of a run, in order.

    An unfinished last line is passed over: what it was to say has not happened, or the provider can be asked about it.

    Raises:
        StoreError: the message names a line that cannot be understood.
    """
    if not folder.batches_path.exists():
        return []
    found: dict[int, Part] = {}
    for number, _, line in read_lines(folder.batches_path):
        where = f"{folder.batches_path}, line {number}"
        if "marker" in line:
            begun = _BEGUN.read(line, where)
            found[begun.part] = Part(begun.part, begun.marker, tuple(begun.trials), begun.created)
            continue
        fact = _FACT.read(line, where)
        if fact.part not in found:
            raise StoreError(f"{where}: part {fact.part}: expected a part that an earlier line begins")
        for key in ("file", "id", "void", "collected", "state"):
            if (value := getattr(fact, key)) is not None:
                setattr(found[fact.part], key, value)
    return list(found.values())


@dataclass(frozen=True)
class _Begun:
    """The line with which a part begins."""

    part: Int
    marker: Text
    trials: list[tuple[Int, Int]]
    created: dt.datetime


@dataclass(frozen=True)
class _Fact:
    """A later line of a part: what has become known of it."""

    part: Int
    file: Text | None = None
    id: Text | None = None
    void: Text | None = None
    collected: Text | None = None
    state: Text | None = None


_BEGUN, _FACT = Reader(_Begun), Reader(_Fact)


class Journal:
    """The parts of a run, open for writing by whoever holds the run's log."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.parts = parts(folder)
        new = not folder.batches_path.exists()
        try:
            folder.batches_path.touch()
            self._file: IO[bytes] = folder.batches_path.open("r+b")
            cut_unfinished_line(self._file)
            if new:
                sync_folder(folder.path)
        except OSError as error:
            raise StoreError(f"{folder.batches_path}: cannot be written ({error.strerror})") from error

    @property
    def open_parts(self) -> list[Part]:
        """Those that are not yet done with."""
        return [part for part in self.parts if part.open]

    def begin(self, marker: str, trials: Iterable[int], now: dt.datetime) -> Part:
        """A new part, on the disk before anybody hears of it."""
        number = max((part.number for part in self.parts), default=0) + 1
        stretches = ranges(trials)
        self._append({"part": number, "marker": marker, "trials": stretches, "created": now.isoformat()})
        part = Part(number, marker, tuple((first, last) for first, last in stretches), now)
        self.parts.append(part)
        return part

    def note(self, part: Part, **facts: str) -> None:
        """Write down what has become known of a part."""
        self._append({"part": part.number, **facts})
        for key, value in facts.items():
            setattr(part, key, value)

    def _append(self, line: JsonObject) -> None:
        try:
            append_synced(self._file, json_bytes(redacted(line)) + b"\n")
        except OSError as error:
            raise RunFailedError(f"{self.folder.batches_path}: cannot be written ({error.strerror})") from error

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
