"""What a training would cost, from a few of its steps and test strings on one core."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

from ffprompt.reference.networks.base import NetworkConfig, predict
from ffprompt.reference.networks.threads import one_core
from ffprompt.reference.training.config import Training
from ffprompt.reference.training.evaluate import TEST_SEED, sets_for
from ffprompt.reference.training.loop import Trainer
from ffprompt.reference.training.plan import Plan

_STEPS, _STRINGS = 3, 16


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds on one core: of a step, and of a test string, mean of the test sets."""

    step: float
    string: float

    def hours(self, training: Training, plan: Plan) -> float:
        """Core hours of a training with its evaluations."""
        looks = (training.steps - 1) // plan.evaluate_every if plan.evaluate_every else 0
        strings = looks * _strings(training, plan, plan.strings) + _strings(training, plan, plan.final_strings)
        return (training.steps * self.step + strings * self.string) / 3600


def key(config: NetworkConfig, training: Training) -> object:
    """What cells have in common that cost the same."""
    return (
        config,
        training.data.task.name,
        training.data.length,
        training.scratchpad,
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
        sets = sets_for(training.data)
        for data, _ in sets:
            made = training.vocabulary.encode(data.sample(TEST_SEED, 0, _STRINGS))
            predict(trainer.model, made.tokens, made.rows, made.positions)
        return Cost(min(seconds), (time.perf_counter() - began) / _STRINGS / len(sets))


def _strings(training: Training, plan: Plan, most: int | None) -> int:
    return sum(count for _, count in sets_for(training.data, plan.tests(training.data.task), most))
