"""``ffprompt merge``: the runs of all shards of a plan to the run that they are parts of."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from ffprompt._util.files import json_bytes
from ffprompt._util.jsonl import read_lines
from ffprompt._util.records import JsonObject
from ffprompt._util.storage import replacing
from ffprompt.config.shard import Shard
from ffprompt.errors import StoreError
from ffprompt.evaluation import spending
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.rescore import counted, plan_of, rebuild
from ffprompt.evaluation.runner import complete, folder_name
from ffprompt.runs.folder import RunFolder


def merge(paths: Sequence[Path], out: Path | None = None) -> RunFolder:
    """Make a new run of all shards of a plan, in ``out`` or beside the first of them.

    Its reads are those of the same run without shards. Where the plan stops by itself, so are its strings: those that
    the run would not have asked any more are left out.

    Raises:
        StoreError: The runs are not all shards of one plan, each once and each finished.
    """
    parts = _in_order([RunFolder.open(path) for path in paths])
    first = parts[0].info
    now = dt.datetime.now(dt.UTC)
    left_out = {"run_id", "shard", "results", "spent", "seconds", "command", "hardware"}
    info = {key: value for key, value in first.to_json().items() if key not in left_out}
    started = [part.info.started for part in parts if part.info.started]
    info |= {
        "status": "running",
        "started": min(started, default=None),
        "ended": now.isoformat(timespec="seconds"),
        "seconds": round(sum(part.info.seconds or 0.0 for part in parts), 3),
        "parts": [_origin(part) for part in parts],
    }
    name = folder_name(now, first.backend_name, first.model_name, first.plan_digest)
    folder = RunFolder.create(out or parts[0].path.parent, name, info)
    try:
        _copy(parts, folder)
        plan = plan_of(folder)
        _leave_out_unasked(folder, plan)
    except OSError as error:
        raise StoreError(f"run {folder.path}: cannot be written ({error.strerror or error})") from error
    rows, _ = rebuild(folder, plan)
    folder.update(results=rows, spent=spending.record(folder, rows), status="done" if complete(rows) else "incomplete")
    folder.save()
    return folder


def _in_order(folders: Sequence[RunFolder]) -> list[RunFolder]:
    """The runs by the number of their shard. Raises StoreError where they do not make a whole run."""
    first, by_number = folders[0], dict[int, RunFolder]()
    for folder in folders:
        if folder.info.shard is None:
            raise StoreError(f"run {folder.path}: no shard of a run (--shard I/N)")
        shard = _shard(folder)
        if folder.info.plan_digest != first.info.plan_digest:
            raise StoreError(f"run {folder.path}: of another plan or model than {first.path}")
        if (folder.info.chunk, shard.count) != (first.info.chunk, _shard(first).count):
            raise StoreError(
                f"run {folder.path}: shard {shard} in chunks of {folder.info.chunk}, but {first.path} is shard "
                f"{first.info.shard} in chunks of {first.info.chunk}"
            )
        if shard.number in by_number:
            raise StoreError(f"run {folder.path}: shard {shard} is there twice, also as {by_number[shard.number].path}")
        if folder.info.status != "done":
            raise StoreError(
                f"run {folder.path}: shard {shard} is not finished ({folder.info.status}); finish it with --resume"
            )
        by_number[shard.number] = folder
    count = _shard(first).count
    if missing := [str(Shard(number, count)) for number in range(1, count + 1) if number not in by_number]:
        raise StoreError(f"shard {', '.join(missing)} of the run is missing: give all {count} runs")
    return [by_number[number] for number in sorted(by_number)]


def _shard(folder: RunFolder) -> Shard:
    try:
        return Shard.parse(folder.info.shard or "")
    except ValueError as error:
        raise StoreError(f"run {folder.path}: run.json: shard {folder.info.shard!r}: expected {error}") from None


def _origin(part: RunFolder) -> JsonObject:
    """Where a part comes from, for the record."""
    content = part.info.to_json()
    known = ("run_id", "shard", "started", "ended", "seconds", "command", "hardware")
    return {key: content[key] for key in known if key in content}


def _copy(parts: Sequence[RunFolder], folder: RunFolder) -> None:
    """Write the lines of all parts into the log of the whole, and number their attempts through."""
    if parts[0].strings_path.exists():
        shutil.copyfile(parts[0].strings_path, folder.strings_path)
    attempts = 0
    with folder.trials_path.open("wb") as log:
        for part in parts:
            for line in _lines(part, attempts):
                log.write(line)
            if part.sent_path.exists():
                with folder.sent_path.open("ab") as journal:
                    attempts += _copy_attempts(part.sent_path, journal, attempts)


def _lines(part: RunFolder, attempts: int) -> Iterator[bytes]:
    """The complete lines of a part, with ``attempts`` added to the number of each attempt at a call."""
    for _, _, line in read_lines(part.trials_path):
        for holder in (line, *line.get("turns", ())):
            for attempt in (holder.get("call") or {}).get("attempts", ()):
                if attempt.get("sent") is not None:
                    attempt["sent"] += attempts
        yield json_bytes(line) + b"\n"


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


def _leave_out_unasked(folder: RunFolder, plan: Plan) -> None:
    """Leave out the strings behind those at which a condition has stopped. No part could know where that would be."""
    asked = [course.drawn * plan.repeats if course.over else plan.trials for course in counted(folder, plan)]
    if all(count == plan.trials for count in asked):
        return
    with replacing(folder.trials_path) as place, Path(place).open("wb") as kept, folder.trials_path.open("rb") as log:
        for line in log:
            condition, trial = divmod(json.loads(line)["trial"], plan.trials)
            if trial < asked[condition]:
                kept.write(line)
