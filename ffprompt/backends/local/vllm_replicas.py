"""Several copies of a model on the GPUs of one machine: ``--data-parallel-size`` for vLLM in process.

vLLM's offline engine has one replica, so each copy is a process with an engine of its own. The copies share nothing:
every chunk of requests is cut into as many parts, always in the same way.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, cast

from ffprompt.backends.base import Failure, Reply, Request, Scores
from ffprompt.backends.local.vllm import VllmBackend, VllmIdentity
from ffprompt.backends.prompt_audit import PromptAudit
from ffprompt.errors import FFPromptError, ModelError, RunFailedError

_PATIENCE = 30.0  # seconds that a copy is given to stop


class ReplicatedVllm:
    """``copies`` of ``VllmBackend(**settings)``, each on ``gpus`` GPUs.

    Raises:
        ModelError: one of them cannot be opened.
    """

    def __init__(self, settings: Mapping[str, Any], copies: int, gpus: int) -> None:
        self.name = settings["model"]
        self.prompts = VllmBackend(**{**settings, "weights": False})  # checks prompts here, without an engine
        context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA
        self.pipes: list[Connection] = []
        self.processes: list[Any] = []
        for rank in range(copies):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, dict(settings), rank, gpus), daemon=False)
            process.start()
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)
        try:
            opened = [self._receive(rank) for rank in range(copies)]
        except BaseException:
            self.close()
            raise
        identity, self.capabilities, chunk = opened[0]
        self.chunk = chunk * copies
        self.identity: VllmIdentity = identity.changed(data_parallel_size=copies)

    def check(self, requests: Sequence[Request]) -> PromptAudit:
        """The tokenisation audit of ``requests``."""
        return self.prompts.check(requests)

    def rendered(self, request: Request) -> str:
        """The text that every copy is given."""
        return self.prompts.rendered(request)

    async def score(self, requests: Sequence[Request]) -> Sequence[Scores | Failure]:
        """Log-probabilities of every answer at every read."""
        return cast("list[Scores | Failure]", await self._share("_score", requests))

    async def complete(self, requests: Sequence[Request]) -> Sequence[Reply | Failure]:
        """Generated replies."""
        return cast("list[Reply | Failure]", await self._share("_complete", requests))

    def close(self) -> None:
        """Stop all copies."""
        for pipe in self.pipes:
            with contextlib.suppress(OSError):
                pipe.send(None)
        for process in self.processes:
            process.join(_PATIENCE)
            if process.is_alive():
                process.terminate()

    async def _share(self, method: str, requests: Sequence[Request]) -> list[Any]:
        size = -(-len(requests) // len(self.pipes))
        parts = [requests[start : start + size] for start in range(0, len(requests), size)]
        found = await asyncio.gather(
            *(asyncio.to_thread(self._ask, rank, method, part) for rank, part in enumerate(parts))
        )
        return [one for part in found for one in part]

    def _ask(self, rank: int, method: str, requests: Sequence[Request]) -> list[Any]:
        try:
            self.pipes[rank].send((method, list(requests)))
        except OSError as error:
            raise self._died(rank) from error
        answer: list[Any] = self._receive(rank)
        return answer

    def _receive(self, rank: int) -> Any:
        try:
            answer = self.pipes[rank].recv()
        except (EOFError, OSError) as error:
            raise self._died(rank) from error
        if isinstance(answer, FFPromptError):
            raise answer
        return answer

    def _died(self, rank: int) -> RunFailedError:
        return RunFailedError(f"model {self.name}: copy {rank} has died; what it said stands above")


def _serve(pipe: Connection, settings: dict[str, Any], rank: int, gpus: int) -> None:
    """One copy: open the model, answer until None comes or the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interruption is the first process's to handle
    _own_devices(rank, gpus)
    try:
        backend = VllmBackend(**settings)
    except FFPromptError as error:
        pipe.send(error)
        return
    except Exception as error:
        pipe.send(ModelError(f"model {settings['model']}: copy {rank}: {error!r:.300}"))
        return
    pipe.send((backend.identity, backend.capabilities, backend.chunk))
    with contextlib.suppress(EOFError, OSError):
        while (asked := pipe.recv()) is not None:
            method, requests = asked
            try:
                pipe.send(getattr(backend, method)(requests))
            except FFPromptError as error:
                pipe.send(error)
    backend.close()


def _own_devices(rank: int, gpus: int) -> None:
    """Leave this process its own GPUs, or its own cores where vLLM binds its threads to cores."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = visible.split(",") if visible else [str(number) for number in range((rank + 1) * gpus)]
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(devices[rank * gpus : (rank + 1) * gpus])
    if "|" in (cores := os.environ.get("VLLM_CPU_OMP_THREADS_BIND", "")):
        os.environ["VLLM_CPU_OMP_THREADS_BIND"] = cores.split("|")[rank]
