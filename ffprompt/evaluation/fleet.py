"""A model of several replicas on a Ray cluster: ``--ray ADDRESS --replicas N``.

Each replica is an actor that holds one backend. This process has the plan and is the only one that writes the log, so a
trial has one answer whatever happens to a request on its way. A replica is handed two chunks at most: the one that it
works on and the one after it. What was under way on a replica that is lost is asked of another, and a new replica takes
its place as soon as the cluster has room, on whichever node.

A chunk can be what ends replicas. After three of them its trials are asked one by one, and a trial that ends two more
is logged as a failed call. Nothing of this shows in the reads: batches are those of a single process.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ffprompt._util.ray_cluster import LOCAL, cluster
from ffprompt.backends.askers import Asker, Askers
from ffprompt.backends.base import Backend, Failure, Renders, Reply, Request, Scores
from ffprompt.backends.identity import Identity
from ffprompt.backends.prompt_audit import PromptAudit
from ffprompt.backends.registry import open_backend
from ffprompt.config.run_config import RunConfig
from ffprompt.errors import ConfigError, FFPromptError, ModelError, RunFailedError
from ffprompt.evaluation.replica import Answers, Method, Opened, Replica

_PLACES = 2  # chunks that a replica is handed at a time
_MOST_LOSSES, _MOST_LOSSES_ALONE = 3, 2  # replicas that a chunk, and then a single trial, may end
_PATIENCE = 1800.0  # seconds without an answer after which a replica is replaced
_SPARE_LOSSES = 6  # replicas lost in a row without any answer, beside two for each, that end the run
_PAUSE = 1.0  # seconds between two attempts to bring a replica up
_TELL = 15.0  # seconds after which somebody who waits hears what for


class _LostError(Exception):
    """A replica is no more. ``guilty``: what it was asked is what it was working on."""

    def __init__(self, why: str, guilty: bool) -> None:
        super().__init__(why)
        self.guilty = guilty


@dataclass(eq=False)
class _Actor:
    """One actor. ``calls`` are under way, in the order in which it works on them."""

    handle: Any
    opened: Opened | None = None
    calls: list[object] = field(default_factory=list)
    since: float = 0.0  # the moment, in the loop's time, from which it works on the first of its calls
    guilty: object = None
    lost: asyncio.Event = field(default_factory=asyncio.Event)


def open_model(config: RunConfig, weights: bool = True) -> Backend:
    """Open the model of a run, in this process or on a cluster.

    Raises:
        ModelError: It cannot be opened, or a setting is given that the backend does not honour.
    """
    if config.ray is None or not weights:
        return open_backend(config, weights)
    prompts = open_backend(config, weights=False)
    return (RenderingFleet if isinstance(prompts, Renders) else Fleet)(config, prompts)


class Fleet:
    """The replicas of a run as one backend. ``prompts`` is the same without weights, in this process.

    Raises:
        ModelError: There is no such cluster, or the model cannot be opened there.
        ConfigError: This machine has no room for so many replicas.
    """

    identity: Identity

    def __init__(self, config: RunConfig, prompts: Backend) -> None:
        self.name, self.prompts, self.replicas = config.model, prompts, config.replicas or 1
        self.patience = config.replica_timeout or _PATIENCE
        self._checks: list[bytes] = []
        self._remarks: dict[str, None] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._losses = 0  # replicas lost since the last answer
        self._stack = contextlib.ExitStack()
        try:
            self._ray = self._stack.enter_context(cluster(config.ray or LOCAL, "--ray"))
            self._make_actor = self._actors(config)
            actors = [self._new() for _ in range(self.replicas)]
            self._starting = {actor.handle.open.remote(): actor for actor in actors}
            self._first()
        except BaseException:
            self.close()
            raise

    def _actors(self, config: RunConfig) -> Any:
        """Return what makes an actor."""
        has = self._ray.cluster_resources()
        wanted = {"CPU": config.replica_cpus or 1.0, "GPU": _gpus(config, has.get("GPU", 0.0))}
        for name, each in wanted.items():
            if config.ray == LOCAL and each * self.replicas > has.get(name, 0.0):
                raise ConfigError(
                    f"--replicas {self.replicas}: {each * self.replicas:g} {name}s needed, this machine has "
                    f"{has.get(name, 0.0):g}"
                )
        self._wanted = ", ".join(f"{each:g} {name}s" for name, each in wanted.items() if each)
        remote = self._ray.remote(num_cpus=wanted["CPU"], num_gpus=wanted["GPU"], max_restarts=0)(Replica)
        settings = config.model_dump(exclude={"ray", "replicas", "replica_cpus", "replica_gpus", "replica_timeout"})
        return lambda: remote.remote(settings, str(Path.cwd()))

    def _new(self) -> _Actor:
        return _Actor(self._make_actor())

    def _first(self) -> None:
        """Wait for the first replica, and as long again for the others, so that those that disagree are found early."""
        first, whys = None, list[str]()
        waited = 0.0  # seconds for the first one, and from then on those that are left for the others
        waiting = list(self._starting)
        while waiting and (first is None or waited > 0):
            done, waiting = self._ray.wait(waiting, timeout=1.0)
            waited += (1.0 if first is None else -1.0) * (not done)
            if first is None and waited == _TELL:
                sys.stderr.write(f"waiting for a first replica, which needs {self._wanted} of the cluster\n")
            for reference in done:
                try:
                    opened = _opened(self._ray.get(reference))
                except self._ray.exceptions.RayError as error:
                    whys.append(_why(error))
                    continue
                self._starting[reference].opened = opened
                if first is None:
                    first, waited = opened, waited + 5.0
                    self.identity, self.capabilities, self.chunk = opened.identity, opened.capabilities, opened.chunk
                    self._reference = opened
                self._agree(opened)
        if first is None:
            raise ModelError(f"model {self.name}: every replica ended while it was loaded: {whys[-1]}")

    def _agree(self, opened: Opened) -> None:
        """Raise ModelError for a replica of another model, or of another version of it."""
        one, other = self._reference.identity.to_json(), opened.identity.to_json()
        for key in (*one, *(other.keys() - one.keys())):
            if key != "device" and one.get(key) != other.get(key):
                raise ModelError(
                    f"model {self.name}: replicas disagree on {key}: {one.get(key)!r:.120} on {self._reference.node}, "
                    f"{other.get(key)!r:.120} on {opened.node}; every node needs the same model and the same versions"
                )

    @property
    def at_once(self) -> int:
        """Two chunks for each replica that may come up, and one that waits with its prompts ready."""
        return _PLACES * self.replicas + 1

    @property
    def remarks(self) -> Sequence[str]:
        """What the replicas have noticed while they were asked."""
        return list(self._remarks)

    def check(self, requests: Sequence[Request]) -> PromptAudit:
        """Audit requests on every replica, since an audit may decide how a model is asked."""
        self._checks.append(pickle.dumps(list(requests), protocol=5))
        ready = [actor.handle for actor in self._starting.values() if actor.opened is not None]
        found: list[PromptAudit | FFPromptError] = []
        for reference in [handle.check.remote(self._checks[-1]) for handle in ready]:
            with contextlib.suppress(self._ray.exceptions.RayError):  # another replica takes its place
                found.append(self._ray.get(reference))
        if not found:
            raise ModelError(f"model {self.name}: every replica was lost over the audit of its prompts")
        if isinstance(found[0], FFPromptError):
            raise found[0]
        return found[0]

    async def score(self, requests: Sequence[Request]) -> Sequence[Scores | Failure]:
        """Score every request on one of the replicas."""
        return await self._answers("score", requests)  # type: ignore[return-value]

    async def complete(self, requests: Sequence[Request]) -> Sequence[Reply | Failure]:
        """Let one of the replicas write."""
        return await self._answers("complete", requests)  # type: ignore[return-value]

    def close(self) -> None:
        """End the actors and leave the cluster."""
        self._stack.close()
        self.prompts.close()

    async def _answers(self, method: Method, requests: Sequence[Request], most: int = _MOST_LOSSES) -> Answers:
        """Ask until a replica has answered, or too many have been lost over it."""
        self._begin()
        packed, losses, why = pickle.dumps(list(requests), protocol=5), 0, ""
        while losses < most:
            with self._askers.use(await self._place()) as asker:
                try:
                    return await self._call(asker.carrier, method, packed)
                except _LostError as lost:
                    self._askers.leave(asker)
                    self._lose(asker.carrier, str(lost))
                    losses, why = losses + lost.guilty, str(lost)
        if len(requests) == 1 and most == _MOST_LOSSES_ALONE:
            return [Failure(f"every replica that was asked this was lost: {why}")]
        one_by_one = [await self._answers(method, [request], _MOST_LOSSES_ALONE) for request in requests]
        return [answer for answers in one_by_one for answer in answers]

    def _begin(self) -> None:
        """Start to keep the replicas up, in the event loop that asks."""
        if self._keepers and self._keepers[0].get_loop() is asyncio.get_running_loop():
            return
        self._askers: Askers[_Actor] = Askers()
        for actor in self._starting.values():  # what they wait for belongs to an earlier loop
            actor.calls, actor.lost = [], asyncio.Event()
        self._keepers = [asyncio.create_task(self._keep(ref, actor)) for ref, actor in self._starting.items()]

    async def _place(self) -> Asker[_Actor]:
        """Wait for a replica that has room."""
        while (asker := self._askers.free()) is None:
            try:
                await asyncio.wait_for(self._askers.change(), None if len(self._askers) else self.patience)
            except TimeoutError:
                raise RunFailedError(
                    f"model {self.name}: no replica for {self.patience:g} s, each needs {self._wanted} of the cluster; "
                    "go on with --resume"
                ) from None
        return asker

    async def _keep(self, reference: Any, actor: _Actor) -> None:
        """Bring a replica up, and another one whenever it is lost. What ends the run ends everybody's waiting."""
        try:
            while True:
                try:
                    await self._up(reference, actor)
                    await actor.lost.wait()
                except _LostError as lost:
                    self._note_loss(str(lost))
                    await asyncio.sleep(_PAUSE)
                self._ray.kill(actor.handle)
                del self._starting[reference]
                actor = self._new()
                reference = actor.handle.open.remote()
                self._starting[reference] = actor
        except Exception as error:
            self._askers.stop(error)

    async def _up(self, reference: Any, actor: _Actor) -> None:
        """Wait until a replica is open, and let it be asked. Raises ModelError where it disagrees with the first."""
        if actor.opened is None:
            actor.opened = _opened(await self._result(reference))
            self._agree(actor.opened)
            for requests in self._checks:
                await self._result(actor.handle.check.remote(requests))
        self._askers.join(Asker(actor.opened.node, actor, _PLACES))

    async def _result(self, reference: Any) -> Any:
        try:
            return await asyncio.wrap_future(reference.future())
        except self._ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from None
        except self._ray.exceptions.RayError as error:
            raise _LostError(_why(error), guilty=False) from error

    async def _call(self, actor: _Actor, method: Method, requests: bytes) -> Answers:
        """Ask one replica. Raises _LostError where it ends, or is silent for too long."""
        loop, call = asyncio.get_running_loop(), object()
        actor.since = actor.since if actor.calls else loop.time()
        actor.calls.append(call)
        answer = asyncio.ensure_future(self._result(actor.handle.ask.remote(method, requests)))
        try:
            while not answer.done():
                left = actor.since + self.patience - loop.time()
                if left <= 0:
                    raise _LostError(f"no answer for {self.patience:g} s", guilty=True)
                await asyncio.wait({answer}, timeout=left)
            found = answer.result()
            if isinstance(found, RunFailedError):  # its device may be broken: another one may do better
                raise _LostError(str(found), guilty=True)
        except _LostError as lost:
            actor.guilty = actor.guilty or actor.calls[0]
            raise _LostError(str(lost), guilty=actor.guilty is call) from None
        finally:
            answer.cancel()
            actor.calls.remove(call)
            actor.since = loop.time()
        if isinstance(found, FFPromptError):
            raise found
        answers, remarks = pickle.loads(found)
        self._remarks |= dict.fromkeys(remarks)
        self._losses = 0
        return list(answers)

    def _lose(self, actor: _Actor, why: str) -> None:
        """Have a replica replaced, once however many of its calls tell of it."""
        if not actor.lost.is_set():
            actor.lost.set()
            self._note_loss(why)

    def _note_loss(self, why: str) -> None:
        self._losses += 1
        if self._losses > 2 * self.replicas + _SPARE_LOSSES:
            self._askers.stop(
                RunFailedError(
                    f"model {self.name}: {self._losses} replicas in a row were lost without an answer; the last: {why}"
                )
            )


class RenderingFleet(Fleet):
    """A fleet whose backend turns messages into a text."""

    def rendered(self, request: Request) -> str:
        """Return the text that every replica is given."""
        assert isinstance(self.prompts, Renders)
        return self.prompts.rendered(request)


def _opened(said: object) -> Opened:
    """What a replica says of itself. Raises the error that it says in place of that."""
    if isinstance(said, FFPromptError):
        raise said
    assert isinstance(said, Opened)
    return said


def _gpus(config: RunConfig, there: float) -> float:
    """GPUs of a replica: as many as its model is split over, where the cluster has some."""
    if config.replica_gpus is not None:
        return config.replica_gpus
    if config.backend == "vllm" and there:
        sizes = (config.tensor_parallel_size, config.pipeline_parallel_size, config.data_parallel_size)
        return float((sizes[0] or 1) * (sizes[1] or 1) * (sizes[2] or 1))
    wants = (config.device or ("cuda" if config.backend == "transformers" else "cpu")).startswith(("cuda", "auto"))
    return float(wants and there > 0)


def _why(error: Exception) -> str:
    """Ray's reason in a few words."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:200]
