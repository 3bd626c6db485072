"""Replicates trained together: the same model with other seeds, each in a thread of its own with one core.

Cores that share every kernel of a network this small wait for each other. Cores with a replicate each do not. Grouping
the products of S replicates into one was measured too (``benchmarks/replicates.py --grouped``): on one core it takes
1.1 times as long in float32 and 2.3 times in bfloat16. The kernels of a replicate are those of a training alone with
``threads=1``, so losses and weights are the same bit for bit.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from typing import TypeVar

from ffprompt.errors import ConfigError
from ffprompt.reference.networks.base import NetworkConfig
from ffprompt.reference.networks.threads import Workers, one_core
from ffprompt.reference.training.config import Training
from ffprompt.reference.training.loop import Trainer, TrainResult

T = TypeVar("T")
Alive = Callable[[], None]
"""Called between steps; raises KeyboardInterrupt in every thread once the process was interrupted."""
_LOOK = 0.2  # seconds between looks for a signal
Watch = Callable[[int, int, float], None]
"""Called after each step with the replicate's index, the step's number, from 1, and its loss in nats."""


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(
    work: Sequence[Callable[[Alive], T]], at_once: int | None = None, stopped: threading.Event | None = None
) -> list[T | Exception]:
    """Do each piece of ``work`` in a thread with one core, at most ``at_once`` at a time, by default one a core.

    What a piece returned, or the exception that ended it, in order. One that fails does not stop the others. On Ctrl-C,
    or once ``stopped`` is set, those at work are ended by the KeyboardInterrupt of their next call of ``Alive``, the
    rest are not begun, and it is raised here once all have come to an end.
    """
    stopped = stopped or threading.Event()

    def alive() -> None:
        if stopped.is_set():
            raise KeyboardInterrupt

    def one(piece: Callable[[Alive], T]) -> T | Exception:
        try:
            alive()
            return piece(alive)
        except Exception as error:
            return error

    with one_core():
        workers = Workers(max(1, min(at_once or cores(), len(work))))
        try:
            futures = [workers.submit(one, piece) for piece in work]
            # A signal that comes just before a wait without end would be noticed at the end of it.
            while wait(futures, timeout=_LOOK).not_done:
                pass
        except KeyboardInterrupt:
            stopped.set()
            raise
        finally:
            workers.close()
    alive()
    return [future.result() for future in futures]


def train_together(
    config: NetworkConfig, trainings: Sequence[Training], watch: Watch | None = None, at_once: int | None = None
) -> list[TrainResult | Exception]:
    """Train one model a recipe, in memory, each as ``train`` would alone. Strings are drawn ahead for each.

    One that diverges gives its DivergedError and leaves the others alone.

    Raises:
        ConfigError: for a recipe whose kernels have more than one core.
    """
    for training in trainings:
        if training.threads != 1:
            raise ConfigError(f"threads {training.threads}: a replicate that is trained with others has 1 core")

    def piece(index: int) -> Callable[[Alive], TrainResult]:
        def run(alive: Alive) -> TrainResult:
            began = time.perf_counter()
            trainer, losses = Trainer(config, trainings[index]), []
            for strings in trainer.batches():
                alive()
                losses.append(trainer.advance(strings)[0])
                if watch:
                    watch(index, trainer.step, losses[-1])
            seconds = time.perf_counter() - began
            return TrainResult(trainer.model.eval(), trainings[index], tuple(losses), seconds)

        return run

    return side_by_side([piece(index) for index in range(len(trainings))], at_once)
