"""``trials.jsonl``: one line a trial, appended and synced before a run goes on, and where each trial's line is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ffprompt._util.files import json_bytes
from ffprompt._util.jsonl import read_lines
from ffprompt._util.records import JsonObject
from ffprompt._util.storage import append_synced, cut_unfinished_line, hold, release
from ffprompt.errors import RunFailedError, StoreError
from ffprompt.runs.folder import RunFolder, UnwritableError
from ffprompt.runs.records import TrialRecord
from ffprompt.scoring.response_records import DialogueRecord, TurnRecord


class Log:
    """``trials.jsonl``, open for appending by one process.

    Raises:
        StoreError: another process holds it.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.on_trial: Callable[[TrialRecord], None] | None = None  # hears of every trial that is on the disk
        try:
            self._file: IO[bytes] = folder.trials_path.open("r+b")
            self._file.seek(0, os.SEEK_END)
        except FileNotFoundError as error:
            raise StoreError(f"run {folder.path}: no trials.jsonl in it") from error
        except OSError as error:
            raise UnwritableError(f"run {folder.path}: cannot be written ({error.strerror})") from error
        self._lock()
        cut_unfinished_line(self._file)

    def _lock(self) -> None:
        try:
            self._held = hold(self.folder.path)
        except OSError as error:
            raise UnwritableError(f"run {self.folder.path}: cannot be written ({error.strerror})") from error
        if self._held is None:
            raise UnwritableError(f"run {self.folder.path}: another process is writing it")

    def append(self, trials: Iterable[TrialRecord]) -> None:
        """Write trials and wait until they are on the disk.

        Raises:
            ValueError, TypeError: JSON cannot hold one of them. The others are written first.
            RunFailedError: the disk is full, say.
        """
        written: list[TrialRecord] = []
        content: list[bytes] = []
        problem: Exception | None = None
        for trial in trials:
            try:
                content.append(json_bytes(trial.to_json()) + b"\n")
                written.append(trial)
            except (TypeError, ValueError, RecursionError) as error:
                problem = error
        self._write(b"".join(content))
        if self.on_trial is not None:
            for trial in written:
                self.on_trial(trial)
        if problem is not None:
            raise problem

    def _write(self, content: bytes) -> None:
        try:
            append_synced(self._file, content)
        except OSError as error:
            raise RunFailedError(
                f"run {self.folder.path}: trials cannot be written ({error.strerror}); what is written is kept, "
                "make room and go on with --resume"
            ) from error

    def close(self) -> None:
        """Let go of the file and its lock."""
        self._file.close()
        if self._held is not None:
            release(self._held)
            self._held = None

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Index:
    """Where in the log each trial's line begins. -1 for none. ``failed`` marks lines that hold an error.

    ``parts`` are the lines that hold the answered turns of a dialogue that is not over, in order.
    """

    offset: NDArray[np.int64]  # (trials,)
    failed: NDArray[np.bool_]  # (trials,)
    parts: Mapping[int, Sequence[int]] = field(default_factory=dict)

    @property
    def done(self) -> NDArray[np.bool_]:
        """Trials that have a complete answer and are not asked again."""
        return np.asarray((self.offset >= 0) & ~self.failed)


def index(folder: RunFolder, trials: int) -> Index:
    """Find every trial's line: the first with an answer, or else the latest failure with the most turns answered.

    An unfinished last line is passed over. Lines are not checked any further than this needs.

    Raises:
        StoreError: a line is not one of this run. The message names its number.
    """
    offset, failed = np.full(trials, -1, np.int64), np.zeros(trials, bool)
    parts: dict[int, list[int]] = {}
    turns: dict[int, int] = {}
    for number, start, line in read_lines(folder.trials_path):
        trial = line.get("trial")
        if not isinstance(trial, int) or not 0 <= trial < trials:
            raise StoreError(f"{folder.trials_path}, line {number}: trial {trial!r} is not in the plan of this run")
        if offset[trial] < 0 or failed[trial]:
            first, last = _turns(folder.trials_path, number, line)
            known = turns.get(trial, 0)
            if "error" not in line:
                parts.pop(trial, None)
            elif last < known or 0 < first != known:
                continue  # an attempt that got less far, or does not go on from here
            elif last > first:
                parts[trial] = [*(parts.get(trial, []) if first else []), start]
                turns[trial] = last
            offset[trial], failed[trial] = start, "error" in line
    return Index(offset, failed, parts)


def _turns(path: Path, number: int, line: JsonObject) -> tuple[int, int]:
    """(first, last + 1) of the turns that a line holds. (0, 0) where it is about no dialogue."""
    first, turns = line.get("first_turn", 0), line.get("turns", [])
    if not isinstance(first, int) or first < 0:
        raise StoreError(f"{path}, line {number}: first_turn {first!r:.80}: expected a whole number from 0 on")
    if not isinstance(turns, list):
        raise StoreError(f"{path}, line {number}: turns {turns!r:.80}: expected a list")
    return first, first + len(turns)


def answered_turns(folder: RunFolder, where: Index, trial: int) -> tuple[TrialRecord, list[TurnRecord]] | None:
    """Return the latest line of a dialogue that is not over and all its answered turns. None where there is none.

    Raises:
        StoreError: one of its lines is damaged.
    """
    if trial not in where.parts:
        return None
    turns: list[TurnRecord] = []
    with folder.trials_path.open("rb") as file:
        for offset in where.parts[trial]:
            latest = read_trial(file, offset)
            assert isinstance(latest.response, DialogueRecord)  # as its keys say
            turns += latest.response.turns
    return latest, turns


def trials_of(folder: RunFolder) -> Iterator[tuple[int, TrialRecord]]:
    """Yield (line number from 1, trial) of every complete line of a run's log. Raises StoreError."""
    for number, _, line in read_lines(folder.trials_path):
        yield number, TrialRecord.from_json(line, f"{folder.trials_path}, line {number}")


def read_trial(file: IO[bytes], offset: int) -> TrialRecord:
    """Return the trial whose line begins at a byte offset found by ``index``.

    Raises:
        StoreError: the line is damaged. The message names its number, the key, its value and what was expected.
    """
    file.seek(offset)
    text = file.readline()
    try:
        return TrialRecord.from_json(json.loads(text))
    except StoreError as error:
        raise StoreError(f"{line_name(file, offset)}: {error}") from None


def line_name(file: IO[bytes], offset: int) -> str:
    """How a message names the line that begins at an offset: ``…/trials.jsonl, line 3``."""
    file.seek(0)
    number = file.read(offset).count(b"\n") + 1
    return f"{file.name}, line {number}"
