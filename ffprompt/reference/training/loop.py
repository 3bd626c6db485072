"""Training from scratch, step by step, with the paper's two losses (Liu et al. 2023, 3.1).

The "clean" one is the cross-entropy on the data symbol after each r and nowhere else, since the other tokens are
random. The "noisy" one is that of every token from the second on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ffprompt.errors import ConfigError, ModelError, RunFailedError
from ffprompt.reference.networks.architectures import build
from ffprompt.reference.networks.base import Network, NetworkConfig
from ffprompt.reference.networks.custom import CustomConfig, CustomTransformer, check
from ffprompt.reference.networks.handbuilt import HandbuiltConfig
from ffprompt.reference.networks.penalties import penalty
from ffprompt.reference.networks.threads import DICE, threads
from ffprompt.reference.networks.transformer import Transformer, TransformerConfig
from ffprompt.reference.training.config import Training
from ffprompt.reference.training.data import batches
from ffprompt.reference.vocabulary import Vocabulary
from ffprompt.tasks.strings import Strings

Progress = Callable[[int, float], None]
"""Called after each step with its number, from 1, and its loss in nats per prediction."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A trained model, in evaluation mode. ``losses`` in nats per prediction, one a step. ``seconds`` of wall clock."""

    model: Network
    training: Training
    losses: tuple[float, ...]
    seconds: float

    @property
    def loss(self) -> float:
        """Loss of the last step, nats per prediction."""
        return self.losses[-1]


class DivergedError(RunFailedError):
    """The loss, its gradient or the weights are no longer finite numbers. Where weights are, no step was made."""


class Trainer:
    """A model on its way: ``step`` counts what is done, from 0. The same recipe gives the same weights bit for bit.

    Torch's generators are left as they were. Raises ConfigError when the data has other symbols or longer strings than
    the model, or a penalty is asked of a model without attention, ModelError for a device that is not there.
    """

    def __init__(self, config: NetworkConfig, training: Training) -> None:
        agree(config, training)
        self.config, self.training, self.step = config, training, 0
        try:
            self.device = torch.device(training.device)
            self.model = build(config, training.model_seed).to(self.device).train()
            if isinstance(self.model, CustomTransformer):
                check(self.model)
        except (RuntimeError, AssertionError) as error:  # torch built without CUDA raises the latter
            why = str(error).splitlines()[0]
            raise ModelError(f"device {training.device!r}: {why}; cpu is always there") from error
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=training.learning_rate,
            betas=(training.beta1, training.beta2),
            weight_decay=training.weight_decay,
            fused=True,
        )
        self._logits_at = (
            torch.compile(self.model.logits_at, dynamic=True) if training.compiled else self.model.logits_at
        )

    def advance(self, strings: Strings) -> tuple[float, float]:
        """One step on a batch: its loss, and the norm of the gradient before any clipping.

        Raises:
            DivergedError: when either is not finite, and no weight has changed, or when the new weights are not.
        """
        training, step = self.training, self.step + 1
        for group in self.optimizer.param_groups:
            group["lr"] = training.rate(step)
        self.optimizer.zero_grad()
        low = torch.autocast(self.device.type, torch.bfloat16, enabled=training.precision == "bfloat16")
        with self._randomness(step), low:
            loss, extra = self._loss(strings, step)
        (loss + extra).backward()  # type: ignore[no-untyped-call]
        found = loss.item()
        norm = float(
            nn.utils.clip_grad_norm_(self.model.parameters(), math.inf if training.clip is None else training.clip)
        )
        if not (math.isfinite(found) and math.isfinite(norm)):
            what = f"the loss is {found}" if not math.isfinite(found) else f"the norm of the gradient is {norm}"
            raise DivergedError(f"training step {step}: {what}")
        self.optimizer.step()
        if not math.isfinite(float(nn.utils.get_total_norm([weight.detach() for weight in self.model.parameters()]))):
            raise DivergedError(f"training step {step}: it left weights that are not finite")
        self.step = step
        return found, norm

    def batches(self) -> Iterator[Strings]:
        """The batches of the steps that are still to come."""
        return batches(self.training.source, self.training.batch, self.step + 1, self.training.steps)

    def _loss(self, strings: Strings, step: int) -> tuple[Tensor, Tensor | float]:
        """The loss, and what the sharpening of attention and the z-loss add to it."""
        coefficient = self.training.sharpening.at(step, self.training.steps)
        training = self.training
        found = targets(strings, training.objective, training.vocabulary)
        tokens, rows, positions, answers = (x.to(self.device) for x in found)
        if not coefficient:
            logits = self._logits_at(tokens, rows, positions)  # (R, V)
            return nn.functional.cross_entropy(logits.float(), answers), self._z(logits)
        assert isinstance(self.model, Transformer)
        seen: list[Tensor] = []
        logits = self.model.head(self.model.hidden(tokens, seen)[rows, positions - 1])
        extra = coefficient * penalty(self.training.sharpening.penalty, seen)
        return nn.functional.cross_entropy(logits.float(), answers), extra + self._z(logits)

    def _z(self, logits: Tensor) -> Tensor | float:
        """What the z-loss adds for ``logits`` (R, V)."""
        coefficient = self.training.z_loss
        return coefficient * logits.float().logsumexp(-1).square().mean() if coefficient else 0.0

    @contextmanager
    def _randomness(self, step: int) -> Iterator[None]:
        """Dropout draws from (model seed, step), so that a resumed training has nothing to remember."""
        draws = any(getattr(self.config, f"{place}_dropout", 0) for place in ("attention", "mlp", "embedding"))
        # A layer of the user's own may draw too.
        if not draws and not isinstance(self.config, CustomConfig):
            yield
            return
        devices = [self.device] if self.device.type == "cuda" else []
        # Only the way forward draws; replicates in other threads wait for it to end.
        with DICE, torch.random.fork_rng(devices=devices):
            seed = int(np.random.SeedSequence([self.training.model_seed, step]).generate_state(1, np.uint64)[0] >> 1)
            torch.default_generator.manual_seed(seed)
            if devices:
                torch.cuda.manual_seed(seed)
            elif self.device.type == "mps":
                torch.mps.manual_seed(seed)
            yield


def agree(config: NetworkConfig, training: Training) -> None:
    """Raise ConfigError unless a model of ``config`` can be trained so."""
    data = training.data
    if isinstance(config, HandbuiltConfig):
        raise ConfigError("architecture 'handbuilt': its weights are written down; there is nothing to train")
    vocabulary = training.vocabulary
    if data.symbols != config.symbols:
        raise ConfigError(f"data {data} has {data.symbols} symbols and the model {config.symbols}: they must agree")
    if vocabulary.events != config.events:
        raise ConfigError(f"data {data} has {vocabulary.events} events and the model {config.events}: they must agree")
    if training.objective == "noisy" and not (vocabulary.in_pairs or vocabulary.scratchpad):
        raise ConfigError("objective 'noisy': the answers are not among the tokens; add --scratchpad")
    length, learned = getattr(config, "length", None), getattr(config, "positions", "learned") == "learned"
    longest = vocabulary.longest(data.parts[0])
    if length is not None and learned and longest > length:
        raise ConfigError(f"data {data} has strings of {longest} tokens and the model learns {length} positions")
    if training.sharpening.penalty != "none" and not (isinstance(config, TransformerConfig) and config.shows_weights):
        raise ConfigError(f"sharpen {training.sharpening.penalty!r}: only a transformer has attention to sharpen")


def targets(
    strings: Strings, objective: str = "clean", vocabulary: Vocabulary | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tokens (B, L), and for R predictions their strings, positions and answers, (R,) each.

    What is only ever predicted is left out of the tokens: ``w1 r1`` is tokens ``[[0, 4, 1]]``, rows ``[0]``, positions
    ``[3]``, answers ``[4]``.
    """
    made = (vocabulary or Vocabulary(strings.task, strings.symbols)).encode(strings)
    rows, positions, answers = made.rows, made.positions, made.answers
    if objective == "noisy":
        lengths = np.zeros(len(strings), np.int64)  # every string ends with a read, and its answer is the last token
        np.maximum.at(lengths, rows, positions + 1)
        rows, positions = np.nonzero(np.arange(1, lengths.max()) < lengths[:, None])
        positions = positions + 1
        answers = made.tokens[rows, positions]
    tokens = made.tokens[:, : int(positions.max())]
    return tuple(torch.from_numpy(np.ascontiguousarray(x)) for x in (tokens, rows, positions, answers))  # type: ignore[return-value]


def train(config: NetworkConfig, training: Training, progress: Progress | None = None) -> TrainResult:
    """Train in one go, in memory. Raises as ``Trainer`` does, DivergedError among them."""
    began = time.perf_counter()
    losses = []
    with threads(training.threads):
        trainer = Trainer(config, training)
        for strings in trainer.batches():
            loss, _ = trainer.advance(strings)
            losses.append(loss)
            if progress:
                progress(trainer.step, loss)
    return TrainResult(trainer.model.eval(), training, tuple(losses), time.perf_counter() - began)
