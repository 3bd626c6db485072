"""A run by a provider's batches: hand over what has no answer, wait, and log what comes back.

Nothing is asked twice: what is handed over is written down before the provider hears of it (``parts``), a trial that
is under way is not handed over again, and a part whose id was lost is looked for at the provider first.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

import numpy as np

from ffprompt._util.formatting import counted, plural_of
from ffprompt.backends.base import Batcher, BatchResult, BatchStatus, Request
from ffprompt.errors import ConfigError, FFPromptError, GoneError, ModelError, RunFailedError, StoreError
from ffprompt.evaluation import spending
from ffprompt.evaluation.early_stopping import stops
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.rescore import rebuild
from ffprompt.evaluation.runner import begin, complete, end, end_on_sigterm
from ffprompt.evaluation.worker import log_line
from ffprompt.runs.batch_journal import Journal, Part
from ffprompt.runs.folder import RunFolder
from ffprompt.runs.log import Log, index, trials_of
from ffprompt.runs.records import TrialRecord
from ffprompt.scoring.condition_result import ConditionResult
from ffprompt.scoring.response_records import FailureRecord

Say = Callable[[str], None]
Sleep = Callable[[float], Awaitable[None]]
Asked = tuple[int, Request]  # a trial's number and its request
Found = tuple[int, BatchResult]

# Seconds after which a batch that was created shows in the provider's list; before, its absence says nothing.
_SETTLED = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE, _GROWTH = 10.0, 60.0, 1.5
_OUTAGE = 30  # looks in a row that found nobody at home
_TOGETHER = 1024  # results that are sorted and logged with one sync


class Batching:
    """The batches of one run, for whoever holds its log. ``say`` gets a line where something is worth knowing."""

    def __init__(
        self,
        folder: RunFolder,
        log: Log,
        journal: Journal,
        plan: Plan,
        batcher: Batcher,
        say: Say,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.folder, self.log, self.journal, self.plan = folder, log, journal, plan
        self.batcher, self.say, self.sleep = batcher, say, sleep
        self.done = index(folder, len(plan)).done  # (trials,) which have a complete answer
        self.failed: dict[str, set[int]] = {}  # for each batch, the trials whose failure is in the log
        for _, trial in trials_of(folder):
            response = trial.response
            if isinstance(response, FailureRecord) and response.call is not None and response.call.batch:
                self.failed.setdefault(response.call.batch, set()).add(trial.trial)

    async def submit(self, most: int | None = None) -> int:
        """Hand over every trial that has no answer and is not under way, ``most`` a part. Returns how many.

        Raises:
            RunFailedError: while it is not known what became of an earlier part.
        """
        if unclear := await self.settle():
            raise RunFailedError(unclear[0])
        count = 0
        for asked in self._cut(most):
            part = self.journal.begin(self._marker(), [trial for trial, _ in asked], _now())
            await self._create(part, asked)
            self.say(f"part {part.number}: batch {part.id}, {counted(part.count, 'request')}")
            count += part.count
        return count

    async def settle(self) -> list[str]:
        """Find out about parts without an id. Returns why that could not be done, one line a part."""
        unclear = []
        for part in self.journal.open_parts:
            if part.id is not None:
                continue
            if self.batcher.uploads and part.file is None:
                self.journal.note(part, void="it did not reach the provider")
                continue
            age = (_now() - part.created).total_seconds()
            if age < _SETTLED:
                pause = min(_SETTLED, _SETTLED - age)
                self.say(f"part {part.number}: its batch's id was lost; the provider is asked for it in {pause:.0f} s")
                await self.sleep(pause)
            known = {other.id for other in self.journal.parts if other.id is not None}
            try:
                found = await self.batcher.recover(part.marker, part.file, part.count, part.created, known)
            except RunFailedError as error:
                unclear.append(f"part {part.number}: {error}")
                continue
            if found is None:
                self.journal.note(part, void="it did not reach the provider")
            else:
                self.journal.note(part, id=found)
                self.say(f"part {part.number}: is batch {found}")
        return unclear

    async def collect(self) -> list[str]:
        """Log the results of every batch that has ended. Returns one line a part that is still open."""
        waiting, ended = await self._look()
        for part, status in ended:
            await self._take(part, str(part.id), status)
        return waiting

    async def _look(self) -> tuple[list[str], list[tuple[Part, BatchStatus]]]:
        """One line a part that is not to be collected yet, and those that are."""
        waiting, ended = await self.settle(), []
        for part in self.journal.open_parts:
            if part.id is not None:
                status = await self.batcher.status(part.id)
                if status.ended:
                    ended.append((part, status))
                else:
                    waiting.append(describe(part, status, _now()))
        return waiting, ended

    async def wait(self, watch: Say) -> None:
        """Look again and again until every part has ended, and collect each when it does."""
        pause, missed = _FIRST_PAUSE, 0
        while self.journal.open_parts:
            try:
                waiting, ended = await self._look()
                missed = 0
            except RunFailedError as error:
                missed += 1
                if missed == _OUTAGE:
                    raise
                waiting, ended = [str(error)], []
            for part, status in ended:
                await self._take(part, str(part.id), status)
            if not waiting:
                return
            watch("; ".join(waiting))
            await self.sleep(pause)
            pause = min(pause * _GROWTH, _LONGEST_PAUSE)

    async def cancel(self) -> list[str]:
        """Ask the provider to stop every batch that has not ended. Returns one line a part that may still be open."""
        waiting = await self.settle()
        for part in self.journal.open_parts:
            if part.id is not None and not (await self.batcher.status(part.id)).ended:
                await self.batcher.cancel(part.id)
                waiting.append(f"part {part.number}: batch {part.id} is being cancelled")
        return waiting

    def _marker(self) -> str:
        # The end is this part's own: the same trials may be handed over again, and by another run of this plan too.
        return f"{self.folder.info.plan_digest}-{secrets.token_hex(4)}"

    def _cut(self, most: int | None) -> Iterator[list[Asked]]:
        """The trials to hand over, in parts that the provider takes."""
        free = ~self.done
        for part in self.journal.open_parts:
            free[part.numbers] = False
        limit = min(most or self.batcher.most_requests, self.batcher.most_requests)
        asked: list[Asked] = []
        size = 0
        longest_id = f"{self._marker()}-{len(self.plan)}"
        for trial, request in self._requests(np.flatnonzero(free).tolist()):
            more = self.batcher.size(longest_id, request)
            if asked and (len(asked) == limit or size + more > self.batcher.most_bytes):
                yield asked
                asked, size = [], 0
            asked.append((trial, request))
            size += more
        if asked:
            yield asked

    def _requests(self, trials: Sequence[int]) -> Iterator[Asked]:
        """The requests of trials in ascending order, some at a time."""
        for condition, start, stop in _stretches(trials, self.plan.trials):
            for low in range(start, stop, _TOGETHER):
                batch = self.plan.batch(self.plan.conditions[condition], low, min(low + _TOGETHER, stop))
                for row, question in enumerate(self.plan.questions(batch)):
                    yield batch.first_trial + row, question.request

    async def _create(self, part: Part, asked: Sequence[Asked]) -> None:
        requests = [(part.custom_id(trial), request) for trial, request in asked]
        if self.batcher.uploads:
            try:
                file = await self.batcher.upload(requests, part.marker)
            except FFPromptError as error:
                self.journal.note(part, void=str(error))
                raise
            self.journal.note(part, file=file)
        try:
            found = await self.batcher.create(requests, part.marker, part.file)
        except ModelError as error:
            self.journal.note(part, void=str(error))
            raise
        except RunFailedError as error:
            raise RunFailedError(
                f"part {part.number} may or may not have been submitted ({error}); the provider will be asked by: "
                f"ffprompt batch submit {self.folder.path}"
            ) from error
        self.journal.note(part, id=found)

    async def _take(self, part: Part, batch: str, status: BatchStatus) -> None:
        """Log what an ended batch holds. What it holds nothing about has failed."""
        answered: set[int] = set()
        named: set[int] = set()
        foreign = 0
        lost = f"the batch ended as {status.state!r} without this request"
        lost += f" ({status.problem})" if status.problem else ""
        waiting: list[Found] = []
        try:
            async for result in self.batcher.results(batch):
                trial = part.trial(result.custom_id)
                if trial is None:
                    foreign += 1
                    continue
                named.add(trial)
                if result.body is not None:
                    answered.add(trial)
                waiting.append((trial, result))
                if len(waiting) == _TOGETHER:
                    self._log(part, batch, waiting)
                    waiting = []
            self._log(part, batch, waiting)
            if len(answered) + foreign < status.answered:
                raise RunFailedError(
                    f"batch {batch}: the provider counts {counted(status.answered, 'answer')} and hands out "
                    f"{len(answered):,}; collect again later"
                )
        except GoneError as error:
            lost = str(error)
            self.say(f"part {part.number}: {error}; its requests will have to be asked again")
        rest = [int(trial) for trial in part.numbers if trial not in named]
        for start in range(0, len(rest), _TOGETHER):
            some = rest[start : start + _TOGETHER]
            self._log(part, batch, [(t, BatchResult(part.custom_id(t), None, lost, "", "lost")) for t in some])
        if foreign:
            results = f"{counted(foreign, 'result')} that {plural_of(foreign, 'is', 'are')} not of this part"
            self.say(f"part {part.number}: batch {batch} has {results}, left out")
        self.journal.note(part, state=status.state, collected=_now().isoformat(timespec="seconds"))

    def _log(self, part: Part, batch: str, found: Sequence[Found]) -> None:
        """Log results whose trials have no answer yet, failures once a batch."""
        failed = self.failed.setdefault(batch, set())
        results: dict[int, BatchResult] = {}
        for trial, result in sorted(found, key=lambda one: one[0]):
            if not self.done[trial] and (trial not in results or results[trial].body is None):
                results[trial] = result
        new: list[TrialRecord] = []
        for condition, start, stop in _stretches(list(results), self.plan.trials):
            drawn = self.plan.batch(self.plan.conditions[condition], start, stop)
            for row, question in enumerate(self.plan.questions(drawn)):
                trial = drawn.first_trial + row
                response = self.batcher.read(question.request, results[trial], batch)
                line = log_line(self.plan, drawn, row, question, response, part.created, None)
                if line.error is None or trial not in failed:
                    new.append(line)
        if new:
            self.log.append(new)
        for line in new:
            if line.error is not None:
                failed.add(line.trial)
            else:
                self.done[line.trial] = True


def _stretches(trials: Sequence[int], size: int) -> Iterator[tuple[int, int, int]]:
    """(condition, its first trial, last + 1) of consecutive trials. Conditions have ``size`` trials each.

    >>> list(_stretches([0, 1, 2, 3, 7], 3))
    [(0, 0, 3), (1, 0, 1), (2, 1, 2)]
    """
    begun: tuple[int, int, int] | None = None
    for trial in trials:
        condition, own = divmod(trial, size)
        if begun is not None and begun[0] == condition and begun[2] == own:
            begun = (condition, begun[1], own + 1)
            continue
        if begun is not None:
            yield begun
        begun = (condition, own, own + 1)
    if begun is not None:
        yield begun


def describe(part: Part, status: BatchStatus, now: dt.datetime) -> str:
    """One line about a part at the provider."""
    total = status.total or part.count
    text = f"part {part.number}: batch {part.id}, {status.state}, {status.answered:,} of {total:,} answered"
    if status.failed:
        text += f", {status.failed:,} failed"
    text += f", {_span(now - part.created)} old"
    if status.expires is not None and not status.ended:
        text += f", expires in {_span(status.expires - now)}"
    return text + (f" ({status.problem})" if status.problem else "")


def _span(time: dt.timedelta) -> str:
    minutes = max(0, round(time.total_seconds() / 60))
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def batchable(plan: Plan) -> None:
    """Raises ConfigError for a plan of which a batch could not ask everything."""
    if stops(plan.config):
        raise ConfigError(
            "certify and until_width cannot be had in batches, which hand over all strings at once; run without --batch"
        )
    if plan.shard is not None:
        raise ConfigError(f"--shard {plan.shard}: batches ask a whole run; run without --batch")
    for condition in plan.conditions:
        if not condition.elicitation.batchable:
            raise ConfigError(
                f"elicitation {condition.elicitation.name!r} cannot be asked in batches: each turn waits for the reply "
                "before it; run without --batch"
            )


Step = Callable[[Batching], Awaitable[list[str]]]


def carry_out_step(
    folder: RunFolder, plan: Plan, batcher: Batcher, step: Step, say: Say, sleep: Sleep = asyncio.sleep
) -> tuple[list[ConditionResult], list[str]]:
    """Take one step with a run's batches and compute the table. Returns its rows and what ``step`` did.

    ``run.json`` ends as ``waiting`` while a part is open. Interruptions and errors are raised again, as in a live run.
    """
    batchable(plan)
    with Log(folder) as log, Journal(folder) as journal:
        folder.info = RunFolder.open(folder.path).info  # as it is now that nobody else writes it
        started = time.monotonic()
        begin(folder, plan)
        try:
            made = asyncio.run(_in_one_loop(Batching(folder, log, journal, plan, batcher, say, sleep), step))
        except (KeyboardInterrupt, asyncio.CancelledError):
            _conclude(folder, plan, journal, "interrupted", started)
            raise KeyboardInterrupt from None
        except Exception:
            with contextlib.suppress(StoreError):  # a full disk must not hide what went wrong
                _conclude(folder, plan, journal, "failed", started)
            raise
        return _conclude(folder, plan, journal, "incomplete", started), made


async def _in_one_loop(batching: Batching, step: Step) -> list[str]:
    end_on_sigterm()
    try:
        return await step(batching)
    finally:
        await batching.batcher.aclose()


def _conclude(folder: RunFolder, plan: Plan, journal: Journal, status: str, started: float) -> list[ConditionResult]:
    """Write the table and how things stand."""
    rows, _ = rebuild(folder, plan)
    folder.update(results=rows, spent=spending.record(folder, rows), batches=[part.record() for part in journal.parts])
    if journal.open_parts:
        status = "waiting"
    elif complete(rows):
        status = "done"
    end(folder, status, started)
    return rows
