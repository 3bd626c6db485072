"""Ask a model everything that has no answer yet, and log every answer as it comes.

Models on this machine are asked in chunks, which they batch. Models behind an API are asked one request at a time with
many under way. Answers are logged in the order in which they arrive, several to a write where they arrive together.

A dialogue that breaks off goes on from its last answered turn when it is asked again. Behind an API, where answers are
paid for, every turn of it is logged at once, by a line of its own until the dialogue is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ffprompt._util.crash import leaf
from ffprompt.backends.base import Backend, Failure, RemoteBackend, Replicated, Reply, Scores, Talk
from ffprompt.elicitation.condition import Condition
from ffprompt.elicitation.question import Question
from ffprompt.errors import FFPromptError, RunFailedError
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.rescore import judge_response
from ffprompt.evaluation.transcripts import digest
from ffprompt.evaluation.trial_batch import Batch
from ffprompt.runs.log import Log
from ffprompt.runs.records import TrialRecord
from ffprompt.scoring.response_records import DialogueRecord, TurnRecord, record
from ffprompt.scoring.score import Outcome

Done = NDArray[np.bool_]  # (trials,) which have a complete answer
Response = Reply | Scores | Failure | Talk
Batches = Iterable[tuple[Condition, int, int]]  # condition, its first trial, last + 1: what is asked, in order
# Of a trial whose dialogue broke off, its latest line in the log and all its answered turns.
Begun = Callable[[int], tuple[TrialRecord, list[TurnRecord]] | None]


@dataclass
class Progress:
    """How far a run is, for whoever watches it."""

    trials: int = 0
    reads: int = 0
    condition: str = ""
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)  # of each condition: reads correct, reads scored

    def add(self, condition: str, outcomes: Sequence[str]) -> None:
        """Count the reads of one more trial."""
        self.condition = condition
        self.reads += len(outcomes)
        right, scored = self.counts.get(condition, (0, 0))
        scored += len(outcomes) - outcomes.count(Outcome.ERROR)
        self.counts[condition] = (right + outcomes.count(Outcome.CORRECT), scored)

    @property
    def accuracy(self) -> float | None:
        """Of the condition that is being asked, so far. Conditions are never pooled."""
        right, scored = self.counts.get(self.condition, (0, 0))
        return right / scored if scored else None


Watch = Callable[[Progress], None]


async def ask_in_chunks(
    log: Log, plan: Plan, backend: Backend, chunks: Batches, done: Done, watch: Watch, begun: Begun, progress: Progress
) -> None:
    """Hand the backend one chunk at a time, or as many as its replicas can take.

    A chunk of which anything is missing is asked whole. Answers are logged chunk by chunk, in the order in which they
    come.
    """
    at_once = backend.at_once if isinstance(backend, Replicated) else 1
    under_way: set[asyncio.Task[None]] = set()

    async def one(condition: Condition, first: int, last: int) -> None:
        batch = plan.batch(condition, first, last)
        new = [line for line in await _chunk(plan, batch, backend, begun) if not done[line.trial]]
        log.append(new)
        for line in new:
            progress.add(condition.name, line.outcomes)
        progress.trials += last - first
        watch(progress)

    try:
        for condition, first, last in chunks:
            start = condition.number * plan.trials + first
            if done[start : start + last - first].all():
                progress.condition, progress.trials = condition.name, progress.trials + last - first
                watch(progress)
                continue
            under_way.add(asyncio.create_task(one(condition, first, last)))
            if len(under_way) == at_once:
                under_way = await _next(under_way)
        while under_way:
            under_way = await _next(under_way)
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _next(under_way: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Wait until a task is done and return the others. Raises what it has raised."""
    done, left = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return left


async def _chunk(plan: Plan, batch: Batch, backend: Backend, begun: Begun) -> list[TrialRecord]:
    questions = plan.questions(batch)
    # Before anything is asked, so that a template with a clock is rendered once for the model and the log.
    prompts = [digest(question, backend) for question in questions]
    earlier = [_earlier(batch, row, prompts[row], begun) for row in range(len(questions))]
    began, clock = dt.datetime.now(dt.UTC), time.monotonic()
    heard = [_replies(turns) for turns in earlier]
    responses = await batch.condition.elicitation.ask_together(backend, questions, heard)
    if len(responses) != len(questions):
        raise RunFailedError(f"the backend gave {len(responses)} answers to {len(questions)} requests")
    seconds = (time.monotonic() - clock) / len(questions)
    return [
        log_line(plan, batch, row, question, response, began, seconds, turns, prompts[row])
        for row, (question, response, turns) in enumerate(zip(questions, responses, earlier, strict=True))
    ]


def _earlier(batch: Batch, row: int, prompt: str, begun: Begun) -> Sequence[TurnRecord]:
    """The turns of a trial that an earlier attempt got answers to. They are paid for, and are not asked again."""
    found = begun(batch.first_trial + row) if batch.condition.elicitation.has_turns else None
    if found is None:
        return ()
    latest, turns = found
    return turns if latest.string == batch.digests[row] and latest.prompt == prompt else ()


def _replies(turns: Sequence[TurnRecord]) -> list[Reply]:
    return [turn.to_reply() for turn in turns]


async def ask_each(
    log: Log,
    plan: Plan,
    backend: RemoteBackend,
    batches: Batches,
    done: Done,
    watch: Watch,
    begun: Begun,
    progress: Progress,
) -> None:
    """Keep ``backend.in_flight`` requests under way until all are answered. Memory does not grow with their number.

    What stops one request for good (a bad key, say) stops all. The answers that are there by then are logged.
    """
    answered: asyncio.Queue[TrialRecord | None] = asyncio.Queue()
    places = asyncio.Semaphore(backend.in_flight)

    async def one(batch: Batch, row: int, question: Question) -> None:
        began, clock = dt.datetime.now(dt.UTC), time.monotonic()
        prompt = digest(question, backend)
        earlier = _earlier(batch, row, prompt, begun)

        def write(response: Response) -> None:
            seconds = time.monotonic() - clock
            answered.put_nowait(log_line(plan, batch, row, question, response, began, seconds, earlier, prompt))

        try:
            write(await batch.condition.elicitation.ask(backend.ask, question, _replies(earlier), write))
        finally:
            places.release()

    async def all_of_them() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for condition, first, last in batches:
                    start = condition.number * plan.trials + first
                    if done[start : start + last - first].all():
                        continue
                    batch = plan.batch(condition, first, last)
                    for row, question in enumerate(plan.questions(batch)):
                        if not done[batch.first_trial + row]:
                            await places.acquire()
                            group.create_task(one(batch, row, question))
        finally:
            answered.put_nowait(None)
            await writer  # what was answered is logged, whatever ended the asking

    try:
        # In one group, so that a log that cannot be written stops the asking too.
        async with asyncio.TaskGroup() as both:
            writer = both.create_task(_write(log, plan, answered, watch, progress))
            both.create_task(all_of_them())
    except BaseExceptionGroup as errors:
        found = leaf(errors)
        raise found from (None if isinstance(found, FFPromptError) else errors)
    finally:
        _write_rest(log, answered)


async def _write(
    log: Log, plan: Plan, answered: asyncio.Queue[TrialRecord | None], watch: Watch, progress: Progress
) -> None:
    """Log answers until None comes: all that wait at once, with one sync to the disk, while new ones arrive."""
    line = await answered.get()
    while line is not None:
        lines = [line]
        while not answered.empty() and (line := answered.get_nowait()) is not None:
            lines.append(line)
        await asyncio.to_thread(log.append, lines)
        for written in lines:
            if written.first_turn is not None:
                continue
            progress.trials += 1
            progress.add(plan.conditions[written.trial // plan.trials].name, written.outcomes)
        watch(progress)
        if line is not None:
            line = await answered.get()


def _write_rest(log: Log, answered: asyncio.Queue[TrialRecord | None]) -> None:
    """Log what an interruption left waiting."""
    left = [line for _ in range(answered.qsize()) if (line := answered.get_nowait()) is not None]
    if left:
        with contextlib.suppress(RunFailedError, ValueError, TypeError):  # what has been told already
            log.append(left)


def log_line(
    plan: Plan,
    batch: Batch,
    row: int,
    question: Question,
    response: Response,
    began: dt.datetime,
    seconds: float | None,
    earlier: Sequence[TurnRecord] = (),
    prompt: str | None = None,
) -> TrialRecord:
    """Return one trial as the log keeps it, or the latest turn of a dialogue that goes on.

    ``earlier`` are its turns that an earlier attempt has logged. ``prompt`` is the digest of what the model was shown,
    by default of the question as it is. Nobody knows how many ``seconds`` a request
    of a provider's batch took.
    """
    made = record(response)
    if isinstance(response, Talk) and isinstance(made, DialogueRecord):
        made = replace(made, turns=[*earlier, *made.turns[len(earlier) :]])
        if response.failure is None and len(response.replies) < len(question.prompt.turns):
            made = made.unfinished(len(response.replies) - 1)
    judged = judge_response(plan, batch, row, made)
    return TrialRecord(
        trial=batch.first_trial + row,
        trial_id=question.key,
        spec=batch.condition.language,
        seed=plan.seed,
        index=batch.string(row),
        repeat=batch.repeat(row) if batch.repeats > 1 else None,
        string=batch.digests[row],
        prompt=prompt or digest(question),
        response=made,
        answers=judged.answers,
        outcomes=[str(outcome) for outcome in judged.outcomes],
        reason=judged.reason,
        started=began.isoformat(timespec="milliseconds"),
        seconds=None if seconds is None else round(seconds, 6),
    )
