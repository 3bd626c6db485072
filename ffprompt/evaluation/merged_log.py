"""The log of a merged run: the lines of all parts, each trial answered once, attempts numbered through."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ffprompt._util.files import json_bytes
from ffprompt._util.jsonl import read_lines
from ffprompt._util.records import JsonObject
from ffprompt.errors import StoreError
from ffprompt.evaluation.plan import Plan
from ffprompt.runs.folder import RunFolder

# What differs between two answers that say the same.
_CIRCUMSTANCES = frozenset({"call", "started", "seconds", "prompt_tokens", "reply_tokens", "device"})


def write_log(parts: Sequence[RunFolder], folder: RunFolder, plan: Plan) -> int:
    """Write the logs of all parts, in the order of their shards, as the log of the whole run.

    A part may hold a trial that belongs to another, for example in a line that was copied. The same answer counts once.

    Returns:
        How many answers were left out as repeats.

    Raises:
        StoreError: A trial has two different answers, or a line is damaged or of no trial of the plan.
        OSError: The log cannot be written.
    """
    owners = _owners(plan, folder.info.chunk or len(plan), len(parts))
    firsts: list[int] = []  # the number of each part's first attempt in the whole run
    attempts = 0
    with folder.trials_path.open("w+b") as file:
        log = _WholeLog(file, parts, len(plan))
        strays: list[int] = []  # parts with answers to the trials of others
        for number, part in enumerate(parts):
            firsts.append(attempts)
            for line in _lines(part, len(plan)):
                if owners[line["trial"]] == number:
                    log.add(number, line, attempts)
                elif strays[-1:] != [number]:
                    strays.append(number)
            if part.sent_path.exists():
                with folder.sent_path.open("ab") as journal:
                    attempts += _copy_attempts(part.sent_path, journal, attempts)
        for number in strays:
            for line in _lines(parts[number], len(plan)):
                # A failed call for another part's trial says nothing: that part has asked it to its end.
                if owners[line["trial"]] != number and "error" not in line:
                    log.add(number, line, firsts[number])
    return log.repeats


class _WholeLog:
    """The log under construction. It knows where the answer of each trial is, and which part gave it."""

    def __init__(self, file: IO[bytes], parts: Sequence[RunFolder], trials: int) -> None:
        self._file, self._parts = file, parts
        self._offset = np.full(trials, -1, np.int64)
        self._source = np.full(trials, -1, np.int32)
        self._end = 0
        self.repeats = 0

    def add(self, number: int, line: JsonObject, attempts: int) -> None:
        """Write a line of a part, with ``attempts`` added to the number of each attempt at a call.

        A second answer to a trial is left out. Raises StoreError where it is not the first one again.
        """
        trial, answered = line["trial"], "error" not in line
        if answered and (known := int(self._offset[trial])) >= 0:
            self._file.seek(known)
            same = _answer(json.loads(self._file.readline())) == _answer(line)
            self._file.seek(self._end)
            if not same:
                first, second = (self._parts[one].path for one in (int(self._source[trial]), number))
                where = f"runs {first} and {second}" if first != second else f"run {first}"
                raise StoreError(
                    f"{where}: two different answers to trial {line.get('trial_id') or trial}; expected one, so take "
                    "the wrong line out of trials.jsonl"
                )
            self.repeats += 1
            return
        for holder in (line, *line.get("turns", ())):
            for attempt in (holder.get("call") or {}).get("attempts", ()):
                if attempt.get("sent") is not None:
                    attempt["sent"] += attempts
        if answered:
            self._offset[trial], self._source[trial] = self._end, number
        self._end += self._file.write(json_bytes(line) + b"\n")


def _owners(plan: Plan, chunk: int, count: int) -> NDArray[np.int32]:
    """(trials,) the number from 0 of the part that each trial belongs to."""
    owners = np.empty(len(plan), np.int32)
    for number, (condition, start, stop) in enumerate(plan.batches(chunk)):
        first = condition.number * plan.trials
        owners[first + start : first + stop] = number % count
    return owners


def _lines(part: RunFolder, trials: int) -> Iterator[JsonObject]:
    """The complete lines of a part."""
    for number, _, line in read_lines(part.trials_path):
        trial = line.get("trial")
        if not isinstance(trial, int) or not 0 <= trial < trials:
            raise StoreError(f"{part.trials_path}, line {number}: trial {trial!r} is not in the plan of this run")
        yield line


def _answer(line: JsonObject) -> JsonObject:
    """What a line says of its trial, without when and at what cost it was found."""
    kept = {key: value for key, value in line.items() if key not in _CIRCUMSTANCES}
    if "turns" in kept:
        kept["turns"] = [_answer(turn) for turn in kept["turns"]]
    return kept


def _copy_attempts(path: Path, journal: IO[bytes], attempts: int) -> int:
    """Copy ``sent.tsv`` behind that of earlier parts. Returns how many attempts it holds."""
    count = 0
    with path.open("rb") as file:
        for line in file:
            if line.startswith(b"free\t"):
                line = b"free\t%d\n" % (int(line[5:]) + attempts)
            else:
                count += 1
            journal.write(line)
    return count
