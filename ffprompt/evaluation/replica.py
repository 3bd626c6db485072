"""One replica of a model on a Ray cluster: what runs inside an actor. It answers requests and decides nothing.

Requests and answers cross the cluster pickled into one piece, which is faster than many small arrays.
"""

from __future__ import annotations

import asyncio
import contextlib
import copyreg
import dataclasses
import os
import pickle
import platform
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from ffprompt.backends.base import Capabilities, Failure, Message, Reply, Request, Scores
from ffprompt.backends.identity import Identity
from ffprompt.backends.prompt_audit import PromptAudit
from ffprompt.backends.registry import open_backend
from ffprompt.config.run_config import make
from ffprompt.errors import FFPromptError

Method = Literal["score", "complete"]
Answers = list[Reply | Scores | Failure]


def _packing(kind: type[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """How to pickle a dataclass with slots as its values alone. Its own way asks for the names of fields each time."""
    values = attrgetter(*(field.name for field in dataclasses.fields(kind)))
    return lambda one: (kind, values(one))


for _kind in (Request, Message, Scores, Reply):  # and no subclass of theirs, which may hold more
    copyreg.pickle(_kind, _packing(_kind))


@dataclass(frozen=True, slots=True)
class Opened:
    """What a replica says of itself once its model is open."""

    identity: Identity
    capabilities: Capabilities
    chunk: int
    device: str  # the name of its GPU or CPU
    node: str  # the name of its machine


class Replica:
    """The class of the actors. ``settings`` are those of the run, ``folder`` where its relative paths begin."""

    def __init__(self, settings: Mapping[str, Any], folder: str) -> None:
        self._settings, self._folder = settings, folder

    def open(self) -> Opened | FFPromptError:
        """Open the model. An error is returned and not raised, so that it arrives as what it is."""
        with contextlib.suppress(OSError):
            os.chdir(self._folder)
        for name in [name for name in os.environ if name.startswith("VLLM_DP_")]:
            del os.environ[name]  # this engine is one by itself
        try:
            self._backend = open_backend(make({**self._settings}))
        except FFPromptError as error:
            return error
        backend = self._backend
        identity = backend.identity
        self._device = device_name(identity.to_json())
        return Opened(identity, backend.capabilities, backend.chunk, self._device, socket.gethostname())

    def check(self, requests: bytes) -> PromptAudit | FFPromptError:
        """Audit requests."""
        try:
            return self._backend.check(pickle.loads(requests))
        except FFPromptError as error:
            return error

    def ask(self, method: Method, requests: bytes) -> bytes | FFPromptError:
        """Answer requests, in order. Each answer names the device that it comes from."""
        asked: Sequence[Request] = pickle.loads(requests)
        try:
            answers = asyncio.run(getattr(self._backend, method)(asked))
        except FFPromptError as error:
            return error
        remarks = list(getattr(self._backend, "remarks", ()))
        return pickle.dumps(([_signed(answer, self._device) for answer in answers], remarks), protocol=5)


def _signed(answer: Reply | Scores | Failure, device: str) -> Reply | Scores | Failure:
    return answer if isinstance(answer, Failure) else dataclasses.replace(answer, device=device)


def device_name(identity: Mapping[str, Any]) -> str:
    """Return the name of the GPU or CPU that a model with this identity runs on."""
    if str(identity.get("device") or "").startswith("cuda"):
        import torch

        return torch.cuda.get_device_name()
    engine = identity.get("engine")
    if isinstance(engine, Mapping) and engine.get("platform") != "cpu":
        from vllm.platforms import current_platform

        return str(current_platform.get_device_name())
    return _processor()


def _processor() -> str:
    """Return the name of this machine's processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, colon, value = line.partition(":")
            if colon and name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine() or "unknown processor"
