"""Carry out a plan: strings to requests to a backend to outcomes to the log, and on after an interruption."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import re
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from ffprompt._util.formatting import plural_of
from ffprompt.backends.base import Backend, RemoteBackend
from ffprompt.backends.prompt_audit import PromptAudit
from ffprompt.config.run_config import RunConfig, digest_of
from ffprompt.elicitation.condition import Condition
from ffprompt.errors import AuditError, ConfigError, FFPromptError, StoreError
from ffprompt.evaluation import spending
from ffprompt.evaluation.early_stopping import Course, check_budget
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.rescore import counted, rebuild
from ffprompt.evaluation.transcripts import samples
from ffprompt.evaluation.worker import Batches, Progress, Watch, ask_each, ask_in_chunks
from ffprompt.runs.batch_journal import parts
from ffprompt.runs.folder import RunFolder, find
from ffprompt.runs.log import Log, answered_turns, index
from ffprompt.runs.provenance import provenance
from ffprompt.runs.records import TrialRecord
from ffprompt.scoring.condition_result import ConditionResult
from ffprompt.tasks.datasets import read as read_strings
from ffprompt.tasks.datasets import save
from ffprompt.templates.loading import names as template_names
from ffprompt.templates.remarks import remarks

# Prompts of a condition that are audited before the first question; the others are audited when their turn comes.
_AUDITED = 32


def make_plan(config: RunConfig, backend: Backend) -> Plan:
    """The plan of a configuration for a model that is open."""
    trials = config.settled(backend.capabilities).trials
    strings = read_strings(config.data, trials, config.symbols, config.made_task()) if config.data else None
    plan = Plan(config, backend.capabilities, strings)
    check_budget(plan)
    return plan


def audit(plan: Plan, backend: Backend) -> list[PromptAudit]:
    """Check the first trials of every condition against tokenizer and context.

    Raises:
        AuditError: a prompt does not fit, or its answers cannot be scored. The message has a hint.
    """
    found: list[PromptAudit] = []
    once = plan.once
    # Whoever has written a template should hear what is odd about it; the bundled ones are as they are meant to be.
    noted = {made.name: remarks(made) for given, made in plan.templates.items() if given.endswith(".toml")}
    for condition in plan.conditions:
        batch = once.batch(condition, 0, min(_AUDITED, once.trials))
        questions = once.questions(batch)
        try:
            checked = condition.elicitation.check(backend, questions)
            if new := [f"template {condition.template}: {text}" for text in noted.get(condition.template, ())]:
                checked = {**checked, "notes": [*checked.get("notes", ()), *new]}
            found.append({"condition": condition.name, **checked})
        except AuditError as error:
            raise AuditError(f"{error}{_working(plan, backend, condition)}") from error
    return found


def _working(plan: Plan, backend: Backend, condition: Condition) -> str:
    """Which bundled templates this model's tokenizer could be scored with instead."""
    if not condition.elicitation.scored_by_logprobs:
        return ""
    fine = []
    for name in template_names():
        if name == condition.template:
            continue
        elicitation = condition.elicitation
        settings = {"template": (name,), "trials": 1, "shots": (condition.shots,), "elicitation": (elicitation.name,)}
        with contextlib.suppress(FFPromptError):
            other = Plan(plan.config.model_copy(update=settings), backend.capabilities, plan.file)
            elicitation.check(backend, other.questions(other.batch(other.conditions[0], 0, 1)))
            fine.append(name)
    return f"; templates that would work: {', '.join(fine)}" if fine else ""


def start(
    config: RunConfig, backend: Backend, plan: Plan, out: Path, resume: bool, reuse: bool = False
) -> tuple[RunFolder, bool]:
    """The folder of a run, and whether it is an earlier one.

    ``resume`` looks for the newest unfinished run of this plan. With ``reuse`` a finished one will do too.
    """
    record = plan.record()
    settings = plan.config.plain()
    plan_digest = _digest(plan, backend)
    shard = plan.config.shard
    found = find(out, plan_digest, done=False, shard=shard) if resume else None
    if found is None and resume and reuse:
        found = find(out, plan_digest, done=True, shard=shard)
    _enough_chunks(plan, backend.chunk)
    price = spending.price_of(config, backend.identity.to_json(), found.info.price if found else None)
    if isinstance(backend, RemoteBackend):
        firsts = [plan.questions(plan.batch(condition, 0, 1))[0] for condition in plan.conditions]
        spending.enough(
            config,
            price,
            min((backend.max_usage(first.calls[0]) for first in firsts), key=lambda most: most.tokens),
        )
    if found is not None:
        found.update(price=price)
        return found, True
    now = dt.datetime.now(dt.UTC)
    name = folder_name(now, config.backend, config.model, plan_digest)
    info = {
        "status": "running",
        "plan_digest": plan_digest,
        "started": now.isoformat(timespec="seconds"),
        "ended": None,
        "config": settings,
        "capabilities": dataclasses.asdict(backend.capabilities),
        "model": backend.identity.to_json(),
        "plan": record,
        "audit": audit(plan, backend),
        "samples": samples(plan, backend),
        "chunk": backend.chunk,
        **({"shard": shard} if shard is not None else {}),
        "price": price.record() if price else None,
        **provenance(),
    }
    return RunFolder.create(out, name, info), False


def folder_name(now: dt.datetime, backend: str, model: str, plan_digest: str) -> str:
    """Return the name of a new run's folder."""
    short = re.sub(r"[^A-Za-z0-9.]+", "-", model.rstrip("/").rsplit("/", 1)[-1]).strip("-") or "model"
    return f"{now:%Y%m%d-%H%M%S}-{backend}-{short}-{plan_digest[:6]}"


def _enough_chunks(plan: Plan, chunk: int) -> None:
    """Raise ConfigError where a shard would be left without any string."""
    chunks = len(plan.conditions) * -(-plan.trials // chunk)
    if plan.shard is not None and plan.shard.count > chunks:
        cure = f"expected at most {chunks} shards" if chunks > 1 else "run it without --shard"
        only = "" if chunks > 1 else "only "
        trials = f"{chunk} {plural_of(chunk, 'trial')}"
        parts = f"{only}{chunks} {plural_of(chunks, 'chunk')} of at most {trials}"
        raise ConfigError(f"--shard {plan.shard}: this run has {parts}; {cure}")


def finished(backend: Backend, plan: Plan, out: Path) -> RunFolder | None:
    """The newest finished run of a plan, if none of it is unfinished; None otherwise."""
    plan_digest = _digest(plan, backend)
    shard = plan.config.shard
    return None if find(out, plan_digest, False, shard) else find(out, plan_digest, True, shard)


def _digest(plan: Plan, backend: Backend) -> str:
    """What identifies a plan for a model."""
    return digest_of([plan.config.plain(), plan.record(), backend.identity.to_json()])


def carry_out(folder: RunFolder, plan: Plan, backend: Backend, watch: Watch | None = None) -> list[ConditionResult]:
    """Ask everything that has no answer yet, then compute and return the table.

    As for the record: ``run.json`` ends as ``done`` or, where calls failed, ``incomplete``. An interruption or an error
    is noted there too and raised again.
    """
    # The lock is taken before anything is noted, so that a second process leaves a run's record alone.
    with Log(folder) as log:
        if waiting := [part for part in parts(folder) if part.open]:
            raise StoreError(
                f"run {folder.path}: {len(waiting)} of its batches are still open; finish them with: ffprompt batch "
                f"collect {folder.path} (or give them up with: ffprompt batch cancel {folder.path})"
            )
        started = time.monotonic()
        begin(folder, plan)
        _learning(folder, backend)
        try:
            with spending.held(folder, plan.config, backend):
                asyncio.run(_ask(folder, log, plan, backend, watch or (lambda _: None)))
        except (KeyboardInterrupt, asyncio.CancelledError):
            end(folder, "interrupted", started)
            raise KeyboardInterrupt from None
        except Exception:
            with contextlib.suppress(StoreError):  # a full disk must not hide what went wrong
                end(folder, "failed", started)
            raise
        _keep_remarks(folder, getattr(backend, "remarks", ()))
        rows, _ = rebuild(folder, plan)
        folder.update(results=rows, spent=spending.record(folder, rows))
        end(folder, "done" if complete(rows) else "incomplete", started)
        return rows


def _learning(folder: RunFolder, backend: Backend) -> None:
    """Let the model's record hold what is learnt about it, before anything is asked in the way that was learnt."""
    if not isinstance(backend, RemoteBackend):
        return

    def note() -> None:
        folder.update(model=backend.identity.to_json())
        folder.save()

    backend.restore_learned(folder.info.model.get("learned"))
    backend.on_learned = note


def _keep_remarks(folder: RunFolder, remarks: Sequence[str]) -> None:
    """Keep what was noticed while asking beside what the audit found before it."""
    audits = folder.info.audit
    known = {note for found in audits for note in found.get("notes", ())}
    if new := [remark for remark in remarks if remark not in known]:
        folder.update(audit=[*audits, {"notes": new}])


def complete(results: Iterable[ConditionResult]) -> bool:
    """Whether every trial of a table has an answer."""
    return all(result.complete for result in results)


def begin(folder: RunFolder, plan: Plan) -> None:
    """Note that a run is under way, and keep the strings of a file. The run's log must be held."""
    folder.update(status="running", ended=None)
    folder.save()
    if plan.file is not None and not folder.strings_path.exists():
        save(folder.strings_path, plan.file)


def end(folder: RunFolder, status: str, started: float) -> None:
    """Note how a run ended and the seconds since ``started``, on the monotonic clock."""
    now = dt.datetime.now(dt.UTC)
    before = folder.info.seconds or 0.0
    seconds = round(before + time.monotonic() - started, 3)
    folder.update(status=status, ended=now.isoformat(timespec="seconds"), seconds=seconds)
    folder.save()


def end_on_sigterm() -> None:
    """A polite kill ends the running task as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None
    with contextlib.suppress(NotImplementedError, RuntimeError):  # not on Windows, nor outside the main thread
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


async def _ask(folder: RunFolder, log: Log, plan: Plan, backend: Backend, watch: Watch) -> None:
    end_on_sigterm()
    where = index(folder, len(plan))
    done, earlier = where.done, partial(answered_turns, folder, where)
    found = counted(folder, plan)
    if isinstance(backend, RemoteBackend):
        progress = Progress(trials=int(done.sum()))
        try:
            for batches in _rounds(log, plan, found, folder.info.chunk or backend.chunk):
                await ask_each(log, plan, backend, batches, done, watch, earlier, progress)
        finally:
            await backend.aclose()
    else:
        progress = Progress(trials=sum(course.drawn for course in found) * plan.repeats)
        # The chunk is part of the record: with the same trials batched together, a resumed run gives the same numbers.
        for batches in _rounds(log, plan, found, folder.info.chunk or backend.chunk):
            await ask_in_chunks(log, plan, backend, batches, done, watch, earlier, progress)


def _rounds(log: Log, plan: Plan, found: Sequence[Course], size: int) -> Iterator[Batches]:
    """What is asked before it is looked at what came: everything, or the next block of each condition that goes on."""
    if not found:
        yield plan.own_batches(size)
        return

    def note(trial: TrialRecord) -> None:
        found[trial.trial // plan.trials].note(trial.trial % plan.trials, trial.outcomes)

    log.on_trial = note
    going = [course for course in found if not course.over]
    while going:
        drawn = [course.drawn for course in going]
        yield chain.from_iterable(course.batches(size) for course in going)
        # Where a call has failed the block is not whole: the condition waits for --resume, the others go on.
        going = [c for c, before in zip(going, drawn, strict=True) if c.drawn > before and not c.over]


def own_trials(folder: RunFolder, plan: Plan) -> int:
    """Trials of a run, or of its shard."""
    return int(np.count_nonzero(plan.is_own(folder.info.chunk or len(plan))))


def remaining(folder: RunFolder, plan: Plan) -> int:
    """Trials of a run, or of its shard, that have no complete answer yet."""
    own = plan.is_own(folder.info.chunk or len(plan))
    return int(np.count_nonzero(own & ~index(folder, len(plan)).done))
