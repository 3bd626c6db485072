"""``ffprompt merge``: the runs of all shards of a plan to the run that they are parts of."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from ffprompt._util.records import JsonObject
from ffprompt._util.storage import replacing
from ffprompt.config.shard import Shard
from ffprompt.errors import StoreError
from ffprompt.evaluation import spending
from ffprompt.evaluation.merged_log import write_log
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.rescore import counted, plan_of, rebuild
from ffprompt.evaluation.runner import complete, folder_name
from ffprompt.runs.folder import RunFolder, refuse_nesting


def merge(paths: Sequence[Path], out: Path | None = None) -> RunFolder:
    """Make a new run of all shards of a plan, in ``out`` or beside the first of them.

    Its reads are those of the same run without shards. Where the plan stops by itself, so are its strings: those that
    the run would not have asked any more are left out.

    Raises:
        StoreError: The runs are not all shards of one plan, each once and each finished, two answers to a trial differ,
            or ``out`` is inside a run.
    """
    out = out or _above(Path(paths[0]))
    refuse_nesting(out)
    parts = _in_order([RunFolder.open(path) for path in paths])
    first, now = parts[0].info, dt.datetime.now(dt.UTC)
    name = folder_name(now, first.backend_name, first.model_name, first.plan_digest)
    folder = RunFolder.create(out, name, _info(parts, now))
    try:
        _fill(folder, parts)
    except BaseException as error:
        shutil.rmtree(folder.path, ignore_errors=True)  # half a run would look like one that may go on
        if isinstance(error, OSError):
            raise StoreError(f"run {folder.path}: cannot be written ({error.strerror or error})") from error
        raise
    return folder


def _above(path: Path) -> Path:
    """The folder that holds a folder, also where that is given as ``.`` or ``..``."""
    return (path if path.name not in ("", "..") else path.resolve()).parent


def _info(parts: Sequence[RunFolder], now: dt.datetime) -> JsonObject:
    """What ``run.json`` of the whole run says before its table is known."""
    left_out = {"run_id", "shard", "results", "spent", "seconds", "command", "hardware"}
    started = [part.info.started for part in parts if part.info.started]
    return {key: value for key, value in parts[0].info.to_json().items() if key not in left_out} | {
        "status": "running",
        "started": min(started, default=None),
        "ended": now.isoformat(timespec="seconds"),
        "seconds": round(sum(part.info.seconds or 0.0 for part in parts), 3),
        "parts": [_origin(part) for part in parts],
    }


def _fill(folder: RunFolder, parts: Sequence[RunFolder]) -> None:
    """Give the new run the log of its parts and its table."""
    if parts[0].strings_path.exists():
        shutil.copyfile(parts[0].strings_path, folder.strings_path)
    plan = plan_of(folder)
    if repeats := write_log(parts, folder, plan):
        answers = "1 answer was" if repeats == 1 else f"{repeats:,} answers were"
        note = f"{answers} there twice, and the same both times; each trial counts once"
        folder.update(audit=[*folder.info.audit, {"notes": [note]}])
    _leave_out_unasked(folder, plan)
    rows, _ = rebuild(folder, plan)
    folder.update(results=rows, spent=spending.record(folder, rows), status="done" if complete(rows) else "incomplete")
    folder.save()


def _in_order(folders: Sequence[RunFolder]) -> list[RunFolder]:
    """The runs by the number of their shard. Raises StoreError where they do not make a whole run."""
    first, by_number = folders[0], dict[int, RunFolder]()
    for folder in folders:
        if folder.info.shard is None:
            raise StoreError(f"run {folder.path}: no shard of a run (--shard I/N)")
        shard = _shard(folder)
        if folder.info.plan_digest != first.info.plan_digest:
            raise StoreError(f"run {folder.path}: of another plan or model than {first.path}")
        if (version := _version(folder)) != _version(first):
            raise StoreError(
                f"run {folder.path}: made by ffprompt {version}, and {first.path} by {_version(first)}; expected one "
                "version for all parts"
            )
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


def _version(folder: RunFolder) -> str:
    """The version of ffprompt that asked."""
    versions = folder.info.content.get("versions")
    return str(versions.get("ffprompt", "unknown")) if isinstance(versions, dict) else "unknown"


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
