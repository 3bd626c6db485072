"""What a training would cost, from a few of its steps and test strings on one core."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

from ffprompt.reference.networks.base import NetworkConfig, encode, predict
from ffprompt.reference.networks.threads import one_core
from ffprompt.reference.training.config import Training
from ffprompt.reference.training.evaluate import PAPER_SETS, TEST_SEED, paper_sets
from ffprompt.reference.training.loop import Trainer
from ffprompt.reference.training.run import Plan
from ffprompt.tasks.flipflop import sample

_STEPS, _STRINGS = 3, 16


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds on one core: of a step, and of a test string, mean of the paper's three sets."""

    step: float
    string: float

    def hours(self, training: Training, plan: Plan) -> float:
        """Core hours of a training with its evaluations."""
        looks = (training.steps - 1) // plan.evaluate_every if plan.evaluate_every else 0
        strings = looks * _strings(training, plan.strings) + _strings(training, plan.final_strings)
        return (training.steps * self.step + strings * self.string) / 3600


def key(config: NetworkConfig, training: Training) -> object:
    """What cells have in common that cost the same."""
    return (
        config,
        training.data.length,
        training.batch,
        training.precision,
        training.objective,
        training.sharpening.penalty,
    )


def measure(config: NetworkConfig, training: Training) -> Cost:
    """Time the first steps and a batch of each test set, on the CPU whatever the recipe says.

    A step with a penalty on attention is timed as one with it, whenever it would start.
    """
    sharpening = dataclasses.replace(training.sharpening, start=0, schedule="constant")
    training = dataclasses.replace(
        training, device="cpu", threads=1, compiled=False, sharpening=sharpening, steps=max(training.steps, _STEPS)
    )
    with one_core():
        trainer = Trainer(config, training)
        seconds = []
        for step in range(1, _STEPS + 1):
            strings = training.source.batch(step, training.batch)
            began = time.perf_counter()
            trainer.advance(strings)
            seconds.append(time.perf_counter() - began)
        trainer.model.eval()
        began = time.perf_counter()
        for data, _ in paper_sets(training.data.length, training.data.symbols):
            part = sample(data, TEST_SEED, 0, _STRINGS)
            rows, reads = part.is_read.nonzero()
            predict(trainer.model, encode(part).numpy(), rows, 2 * reads + 1)
        return Cost(min(seconds), (time.perf_counter() - began) / _STRINGS / len(PAPER_SETS))


def _strings(training: Training, most: int | None) -> int:
    return sum(count for _, count in paper_sets(training.data.length, training.data.symbols, most))
