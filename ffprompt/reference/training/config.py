"""How a model is trained: every setting that its weights follow from, with the paper's values as defaults.

AdamW, a linear warm-up over 50 steps, then a linear decay that reaches 0 at step 10,001 (Liu et al. 2023, B.2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ffprompt.errors import ConfigError
from ffprompt.reference.networks.base import number, one_of, whole
from ffprompt.reference.training.data import Mixture, Source
from ffprompt.reference.vocabulary import Vocabulary

PRECISIONS = ("float32", "bfloat16")
OBJECTIVES = ("clean", "noisy")
PENALTIES = ("none", "entropy", "l2", "linf")
SCHEDULES = ("constant", "linear", "oscillating")


@dataclass(frozen=True, slots=True)
class Sharpening:
    """A penalty on soft attention, averaged over layers, heads and queries (R6), added to the loss.

    ``penalty`` is the entropy of the weights, or minus their L2 or L∞ norm. ``coefficient`` multiplies it in the steps
    after the first ``start``: constant, growing linearly from 0 at ``start`` to itself at the last step, or oscillating
    between 0 and itself with ``period`` steps a wave.
    """

    penalty: str = "none"
    coefficient: float = 0.0
    schedule: str = "constant"
    start: int = 0
    period: int = 1_000

    def __post_init__(self) -> None:
        one_of("sharpen", self.penalty, PENALTIES)
        one_of("sharpen-schedule", self.schedule, SCHEDULES)
        number("sharpen-coefficient", self.coefficient, 0, 1e6)
        whole("sharpen-start", self.start, 0, 1 << 40)
        whole("sharpen-period", self.period, 1, 1 << 40)

    def at(self, step: int, steps: int) -> float:
        """The coefficient of ``step``, counted from 1, in a training of ``steps``; 0 up to ``start``."""
        if self.penalty == "none" or step <= self.start:
            return 0.0
        match self.schedule:
            case "linear":
                return self.coefficient * (step - self.start) / max(steps - self.start, 1)
            case "oscillating":
                return self.coefficient * 0.5 * (1 - math.cos(2 * math.pi * (step - self.start) / self.period))
        return self.coefficient


@dataclass(frozen=True, slots=True)
class Training:
    """How a model was trained: together with its config, all that its weights follow from on one machine.

    ``batch`` counts strings a step. ``decay_end`` is the step at which the learning rate would be 0. ``clip`` is the
    largest norm of the gradient, None for any. ``data_size`` is the size of a fixed set of strings, None for fresh
    ones. ``scratchpad`` says whether a model sees the true answers to earlier reads where the task leaves that open.
    ``z_loss`` multiplies the mean square of log Z, the logarithm of the softmax's denominator, which is added to the
    loss (Chowdhery et al. 2022). ``threads`` is how many cores a kernel had, ``compiled`` whether torch.compile made
    it, and ``torch`` the version of PyTorch. Raises ConfigError for a value that no training can have.
    """

    data: Mixture
    model_seed: int
    data_seed: int
    steps: int = 10_000
    batch: int = 16
    learning_rate: float = 3e-4
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.999
    warmup: int = 50
    decay_end: int = 10_001
    clip: float | None = None
    objective: str = "clean"
    data_size: int | None = None
    scratchpad: bool = False
    z_loss: float = 0.0
    precision: str = "float32"
    sharpening: Sharpening = Sharpening()
    device: str = "cpu"
    threads: int = 1
    compiled: bool = False
    torch: str = ""

    def __post_init__(self) -> None:
        whole("decay-end", self.decay_end, 2, 1 << 40)
        whole("steps", self.steps, 1, 1 << 40)
        if self.steps >= self.decay_end:
            raise ConfigError(f"steps {self.steps}: expected fewer than decay-end {self.decay_end}")
        whole("warmup", self.warmup, 0, self.decay_end - 1)
        if type(self.batch) is not int or self.batch < 1:
            raise ConfigError(f"batch {self.batch!r}: expected at least one string a step")
        if type(self.model_seed) is not int or not 0 <= self.model_seed < 2**63:
            raise ConfigError(f"model seed {self.model_seed!r}: expected a whole number from 0 to 2**63 - 1")
        whole("threads", self.threads, 1, 4_096)
        number("learning-rate", self.learning_rate, 0, 1e3)
        number("weight-decay", self.weight_decay, 0, 1e3)
        number("z-loss", self.z_loss, 0, 1e3)
        number("beta1", self.beta1, 0, 1 - 1e-12)
        number("beta2", self.beta2, 0, 1 - 1e-12)
        if self.clip is not None:
            number("clip", self.clip, 1e-12, 1e12)
        one_of("objective", self.objective, OBJECTIVES)
        one_of("precision", self.precision, PRECISIONS)
        if self.sharpening.penalty != "none" and self.sharpening.start >= self.steps:
            raise ConfigError(
                f"sharpen-start {self.sharpening.start}: the training has {self.steps} steps and would have no penalty"
            )
        if type(self.scratchpad) is not bool:
            raise ConfigError(f"scratchpad {self.scratchpad!r}: expected true or false")
        self.source, self.vocabulary  # noqa: B018 – checks the data seed and size, and the scratchpad

    def rate(self, step: int) -> float:
        """Learning rate of ``step``, counted from 1."""
        if step <= self.warmup:
            return self.learning_rate * step / self.warmup
        return self.learning_rate * (self.decay_end - step) / (self.decay_end - self.warmup)

    @property
    def source(self) -> Source:
        """Where its strings come from."""
        return Source(self.data, self.data_seed, self.data_size)

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokens of its strings."""
        return Vocabulary(self.data.task, self.data.symbols, self.scratchpad)

    def record(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return plain | {"data": self.data.record(), "sharpening": asdict(self.sharpening)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Training:
        """What ``record`` gave. Raises TypeError, KeyError or UsageError when something is missing, odd or too much."""
        sharpening = Sharpening(**record["sharpening"])
        return cls(**{**record, "data": Mixture.from_record(record["data"]), "sharpening": sharpening})
