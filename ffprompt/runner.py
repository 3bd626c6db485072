"""Carry out a plan: strings to requests to a backend to outcomes to the log, and on after an interruption."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import re
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ffprompt.config import RunConfig, digest_of
from ffprompt.dataset import read as read_strings
from ffprompt.errors import AuditError, FFPromptError, RunFailedError
from ffprompt.requests import Backend, Failure, Reply, Request, Scores
from ffprompt.scoring import Outcome, raw
from ffprompt.store import Index, Log, RunFolder, index, provenance, unfinished
from ffprompt.table import judge_line, rebuild
from ffprompt.templates import names as template_names
from ffprompt.trials import Batch, Condition, Plan

# Trials of a condition that are audited before the first question; the others are audited when their turn comes.
_AUDITED = 32


@dataclass
class Progress:
    """How far a run is, for whoever watches it."""

    trials: int = 0
    reads: int = 0
    right: int = 0
    scored: int = 0
    condition: str = ""


Watch = Callable[[Progress], None]


def make_plan(config: RunConfig, backend: Backend) -> Plan:
    """The plan of a configuration for a model that is open."""
    trials = config.settled(backend.capabilities).trials
    strings = read_strings(config.data, trials, config.symbols) if config.data else None
    return Plan(config, backend.capabilities, strings)


def audit(plan: Plan, backend: Backend) -> list[dict[str, Any]]:
    """Check the first trials of every condition against tokenizer and context. Raises AuditError with a hint."""
    found = []
    for condition in plan.conditions:
        batch = plan.batch(condition, 0, min(_AUDITED, plan.trials))
        requests = plan.requests(batch)
        try:
            found.append({"condition": condition.name, **backend.check(requests)})
        except AuditError as error:
            raise AuditError(f"{error}{_working(plan, backend, condition)}") from error
    return found


def _working(plan: Plan, backend: Backend, condition: Condition) -> str:
    """Which bundled templates this model's tokenizer could be scored with instead."""
    if condition.elicitation != "forced":
        return ""
    fine = []
    for name in template_names():
        if name == condition.template:
            continue
        settings = {"template": (name,), "trials": 1, "shots": (condition.shots,), "elicitation": ("forced",)}
        with contextlib.suppress(FFPromptError):
            other = Plan(plan.config.model_copy(update=settings), backend.capabilities, plan.file)
            backend.check(other.requests(other.batch(other.conditions[0], 0, 1)))
            fine.append(name)
    return f"; templates that would work: {', '.join(fine)}" if fine else ""


def start(config: RunConfig, backend: Backend, plan: Plan, out: Path, resume: bool) -> tuple[RunFolder, bool]:
    """The folder of a run, and whether it goes on with an earlier one."""
    record = plan.record()
    settings = plan.config.model_dump(mode="json")
    plan_digest = digest_of([settings, record, dict(backend.identity)])
    if resume and (found := unfinished(out, plan_digest)):
        return found, True
    now = dt.datetime.now(dt.UTC)
    model = re.sub(r"[^A-Za-z0-9.]+", "-", config.model.rstrip("/").rsplit("/", 1)[-1]).strip("-") or "model"
    name = f"{now:%Y%m%d-%H%M%S}-{config.backend}-{model}-{plan_digest[:6]}"
    info = {
        "status": "running",
        "plan_digest": plan_digest,
        "started": now.isoformat(timespec="seconds"),
        "ended": None,
        "config": settings,
        "capabilities": _plain(backend.capabilities),
        "model": dict(backend.identity),
        "plan": record,
        "audit": audit(plan, backend),
        "chunk": backend.chunk,
        **provenance(),
    }
    return RunFolder.create(out, name, info), False


def _plain(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def carry_out(folder: RunFolder, plan: Plan, backend: Backend, watch: Watch | None = None) -> list[dict[str, Any]]:
    """Ask everything that has no answer yet, then compute the table.

    Returns its rows; ``run.json`` ends as ``done`` or, where calls failed, ``incomplete``. An interruption or an error
    is noted there too and raised again: KeyboardInterrupt, or an FFPromptError.
    """
    started = time.monotonic()
    try:
        with Log(folder) as log:
            folder.info |= {"status": "running", "ended": None}
            folder.save()
            asyncio.run(_ask(folder, log, plan, backend, watch))
    except (KeyboardInterrupt, asyncio.CancelledError):
        _end(folder, "interrupted", started)
        raise KeyboardInterrupt from None
    except FFPromptError:
        _end(folder, "failed", started)
        raise
    rows, _ = rebuild(folder, plan)
    failed = any(row["outcomes"][Outcome.ERROR] or row["missing_trials"] for row in rows)
    folder.info["results"] = rows
    _end(folder, "incomplete" if failed else "done", started)
    return rows


def _end(folder: RunFolder, status: str, started: float) -> None:
    now = dt.datetime.now(dt.UTC)
    before = folder.info.get("seconds") or 0.0
    seconds = round(before + time.monotonic() - started, 3)
    folder.info |= {"status": status, "ended": now.isoformat(timespec="seconds"), "seconds": seconds}
    folder.save()


async def _ask(folder: RunFolder, log: Log, plan: Plan, backend: Backend, watch: Watch | None) -> None:
    task = asyncio.current_task()
    assert task is not None
    with contextlib.suppress(NotImplementedError, RuntimeError):  # not on Windows, nor outside the main thread
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    done = index(folder, len(plan))
    progress = Progress()
    # The chunk is part of the record: with the same trials batched together, a resumed run gives the same numbers.
    for condition, first, last in plan.batches(folder.info["chunk"]):
        trials = slice(condition.number * plan.trials + first, condition.number * plan.trials + last)
        progress.condition = condition.name
        if done.done[trials].all():
            progress.trials += last - first
        else:
            batch = plan.batch(condition, first, last)
            log.append(await _lines(plan, batch, backend, done, progress))
        if watch:
            watch(progress)


async def _lines(plan: Plan, batch: Batch, backend: Backend, done: Index, progress: Progress) -> list[dict[str, Any]]:
    """Ask a batch and put what is new into lines."""
    requests = plan.requests(batch)
    began, clock = dt.datetime.now(dt.UTC), time.monotonic()
    ask = backend.score if batch.condition.elicitation == "forced" else backend.complete
    responses: Sequence[Reply | Scores | Failure] = await ask(requests)
    if len(responses) != len(requests):
        raise RunFailedError(f"the backend gave {len(responses)} answers to {len(requests)} requests")
    seconds = (time.monotonic() - clock) / len(requests)
    lines = []
    for row, (request, response) in enumerate(zip(requests, responses, strict=True)):
        progress.trials += 1
        if done.done[batch.first_trial + row]:
            continue
        line = {
            "trial": batch.first_trial + row,
            "trial_id": request.key,
            "spec": batch.condition.language,
            "seed": plan.seed,
            "index": batch.start + row,
            "string": batch.digests[row],
            "prompt": _digest(request),
            **raw(response),
        }
        judged = judge_line(plan, batch, row, line)
        line |= {
            "answers": list(judged.answers),
            "outcomes": [str(outcome) for outcome in judged.outcomes],
            "reason": judged.reason,
            "started": began.isoformat(timespec="milliseconds"),
            "seconds": round(seconds, 6),
        }
        lines.append(line)
        progress.reads += len(judged.outcomes)
        progress.right += judged.outcomes.count(Outcome.CORRECT)
        progress.scored += sum(outcome is not Outcome.ERROR for outcome in judged.outcomes)
    return lines


def _digest(request: Request) -> str:
    """16 hex digits of what was sent."""
    sent = "\x1e".join([*(f"{message.role}\x1f{message.text}" for message in request.messages), request.text])
    return hashlib.sha256(sent.encode()).hexdigest()[:16]


def remaining(folder: RunFolder, plan: Plan) -> int:
    """Trials of a run that have no complete answer yet."""
    return len(plan) - int(np.count_nonzero(index(folder, len(plan)).done))
