"""Training from scratch, with the paper's recipe and loss (Liu et al. 2023, arXiv 2306.00946).

AdamW, a linear warm-up over 50 steps, then a linear decay that reaches 0 at step 10,001. The loss is the "clean" one:
cross-entropy on the data symbol after each r and nowhere else, since the other tokens are random. Every step draws
fresh strings, so a long run has no epochs. The LSTM is trained for 500 steps, where the decay has hardly begun.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ffprompt.errors import ConfigError, RunFailedError
from ffprompt.language import Spec, Strings, sample
from ffprompt.reference.models import LSTM, LSTMConfig, encode, predict
from ffprompt.reference.text import INSTRUCTIONS
from ffprompt.reference.threads import Workers, one_core

Progress = Callable[[int, float], None]
"""Called after each step with its number, from 1, and its loss in nats per read."""


@dataclass(frozen=True, slots=True)
class Training:
    """How a model was trained: together with its config, all that the weights follow from on one machine.

    ``batch`` counts strings a step; ``decay_end`` is the step at which the learning rate would be 0; ``torch`` is the
    version of PyTorch. Raises ConfigError for a value that no training can have.
    """

    data: Spec
    model_seed: int
    data_seed: int
    steps: int = 500
    batch: int = 16
    learning_rate: float = 3e-4
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.999
    warmup: int = 50
    decay_end: int = 10_001
    torch: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.steps < self.decay_end:
            raise ConfigError(f"steps {self.steps}: a number from 1 to {self.decay_end - 1} is wanted")
        if self.batch < 1:
            raise ConfigError(f"batch {self.batch}: at least one string a step is wanted")
        if not 0 <= self.model_seed < 2**63:
            raise ConfigError(f"model seed {self.model_seed}: a whole number from 0 to 2**63 - 1 is wanted")

    def rate(self, step: int) -> float:
        """Learning rate of ``step``, counted from 1."""
        if step <= self.warmup:
            return self.learning_rate * step / self.warmup
        return self.learning_rate * (self.decay_end - step) / (self.decay_end - self.warmup)


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A trained model, in evaluation mode on the CPU; ``losses`` in nats per read, one a step; wall-clock seconds."""

    model: LSTM
    training: Training
    losses: tuple[float, ...]
    seconds: float

    @property
    def loss(self) -> float:
        """Loss of the last step, nats per read."""
        return self.losses[-1]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Errors of a model on one test set: reads where the token ranked first among all V is not the answer."""

    data: Spec
    seed: int
    strings: int
    reads: int
    errors: int


def train_lstm(
    config: LSTMConfig | None = None,
    *,
    seed: int = 0,
    model_seed: int | None = None,
    data_seed: int | None = None,
    steps: int = 500,
    batch: int = 16,
    length: int | None = None,
    data: Spec | None = None,
    learning_rate: float = 3e-4,
    progress: Progress | None = None,
) -> TrainResult:
    """Train an LSTM on ``data`` (default FFL(0.8), T = 512; ``length`` replaces T), on the CPU.

    The same seeds on the same machine, with the same torch, give the same weights bit for bit; torch's generator and
    number of threads are left as they were. ``model_seed`` (initial weights) and ``data_seed`` (strings) default to
    ``seed``. Raises ConfigError for settings that cannot be, RunFailedError when the loss is no longer a finite number.
    """
    config = config or LSTMConfig()
    data = data or Spec.ffl(0.8, symbols=config.symbols)
    if length is not None:
        data = Spec(length, data.p_write, data.p_read, data.p_ignore, data.symbols)
    if data.symbols != config.symbols:
        raise ConfigError(f"data {data} has {data.symbols} symbols and the model {config.symbols}: they must agree")
    training = Training(
        data=data,
        model_seed=seed if model_seed is None else model_seed,
        data_seed=seed if data_seed is None else data_seed,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        torch=str(torch.__version__),
    )
    began = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would reseed every GPU too, which the fork does not restore.
        torch.default_generator.manual_seed(training.model_seed)
        model = LSTM(config)
    with one_core():
        losses = _fit(model, training, progress)
    return TrainResult(model.eval(), training, losses, time.perf_counter() - began)


def _fit(model: LSTM, training: Training, progress: Progress | None) -> tuple[float, ...]:
    optimizer = torch.optim.AdamW(
        model.parameters(), betas=(training.beta1, training.beta2), weight_decay=training.weight_decay
    )
    losses = []
    for step in range(1, training.steps + 1):
        first = (step - 1) * training.batch
        strings = sample(training.data, training.data_seed, first, first + training.batch, stream="train")
        for group in optimizer.param_groups:
            group["lr"] = training.rate(step)
        loss = clean_loss(model, strings)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise RunFailedError(f"training step {step}: the loss is {losses[-1]}; nothing was saved")
        optimizer.step()
        if progress:
            progress(step, losses[-1])
    return tuple(losses)


def clean_loss(model: LSTM, strings: Strings) -> torch.Tensor:
    """Mean cross-entropy, nats, of the data symbols after all r of a batch, each from the tokens before it."""
    tokens = encode(strings)  # (B, T)
    rows, reads = np.nonzero(strings.reads)  # (R,) each
    answers = torch.from_numpy(strings.bits[rows, reads].astype(np.int64) + INSTRUCTIONS)  # (R,)
    logits = model.logits_at(tokens, torch.from_numpy(rows), torch.from_numpy(2 * reads + 1))  # (R, V)
    return nn.functional.cross_entropy(logits, answers)


def evaluate(model: LSTM, data: Spec, seed: int, strings: int, batch: int = 16) -> Evaluation:
    """Count the errors on the strings 0 … ``strings`` - 1 that ``language.sample`` draws for (data, seed)."""

    def count(low: int) -> tuple[int, int]:
        part = sample(data, seed, low, min(low + batch, strings))
        rows, reads = np.nonzero(part.reads)  # (R,) each
        best = predict(model, encode(part).numpy(), rows, 2 * reads + 1).argmax(1)  # (R,)
        return len(rows), int((best != part.bits[rows, reads].astype(np.int64) + INSTRUCTIONS).sum())

    workers = Workers()
    try:
        counts = workers.map(count, range(0, strings, batch))
    finally:
        workers.close()
    return Evaluation(data, seed, strings, sum(reads for reads, _ in counts), sum(errors for _, errors in counts))
