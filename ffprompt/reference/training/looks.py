"""What is looked at every ``--monitor-every`` steps: strings on which no model is trained or tested.

Besides the readings of ``Monitors.probe`` there are, where the plan asks for them, the loss without each layer, the
loss on longer strings, and the attention of one string for the log.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ffprompt.errors import ConfigError
from ffprompt.reference.networks.base import Network, NetworkConfig
from ffprompt.reference.networks.transformer import Block, Transformer, TransformerConfig
from ffprompt.reference.training.attention_record import AttentionRecord, AttentionState
from ffprompt.reference.training.config import Training
from ffprompt.reference.training.diagnostics import LOSS, LOSS_BEYOND, LOSS_WITHOUT
from ffprompt.reference.training.loop import targets
from ffprompt.reference.training.plan import Plan
from ffprompt.tasks.strings import Strings

_STRINGS = 4  # whose hidden states and weights are looked at
_LOSSES = 16  # whose loss is taken


def agree(config: NetworkConfig, training: Training, plan: Plan) -> None:
    """Raise ConfigError where a model of ``config`` has nothing of what ``plan`` looks at."""
    shows = isinstance(config, TransformerConfig) and config.shows_weights
    if plan.keep_attention and not shows:
        raise ConfigError("--keep-attention: this model has no weights of attention to keep")
    if plan.monitor_layers and not isinstance(config, TransformerConfig):
        raise ConfigError("--monitor-layers: only the layers of a transformer can be left out")
    if plan.monitor_length:
        longest = training.vocabulary.longest(training.data.parts[0].with_length(plan.monitor_length))
        length, learned = getattr(config, "length", None), getattr(config, "positions", "") == "learned"
        if learned and length is not None and longest > length:
            raise ConfigError(
                f"--monitor-length {plan.monitor_length}: the model has learnt {length} positions, these are {longest}"
            )


class Looks:
    """The strings that one training is looked at with, and what the log keeps of their attention."""

    def __init__(self, training: Training, plan: Plan) -> None:
        self._training, self._plan = training, plan
        strings = self._sample(_STRINGS)
        self.tokens = torch.from_numpy(training.vocabulary.encode(strings).tokens)
        self.attention = AttentionRecord(strings, training.vocabulary) if plan.keep_attention else None
        self._within = self._targets(self._sample(_LOSSES))
        self._beyond = self._targets(self._sample(_LOSSES, plan.monitor_length)) if plan.monitor_length else None

    def _sample(self, strings: int, length: int = 0) -> Strings:
        data = self._training.data.parts[0]
        longer = data.with_length(length) if length else data
        return longer.sample(self._training.data_seed, 0, strings, stream="probe")

    def _targets(self, strings: Strings) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return targets(strings, "clean", self._training.vocabulary)

    def losses(self, model: Network) -> dict[str, float]:
        """Losses in nats per read by name: of the model, without each of its layers, and on longer strings."""
        training = model.training
        model.eval()
        try:
            with torch.no_grad():
                found = {LOSS: _loss(model, self._within)}
                if self._plan.monitor_layers and isinstance(model, Transformer):
                    for place in range(len(model.blocks)):
                        with _left_out(model, place):
                            found[f"{LOSS_WITHOUT}/{place}"] = _loss(model, self._within)
                if self._beyond is not None:
                    found[LOSS_BEYOND] = _loss(model, self._beyond)
        finally:
            model.train(training)
        return found

    def state(self) -> AttentionState:
        """What a resumed training has to know, as JSON takes it. Empty where no attention is kept."""
        return self.attention.state() if self.attention else {}

    def restore(self, state: AttentionState) -> None:
        """Go on from what ``state`` gave.

        Raises:
            KeyError: when something is missing.
        """
        if self.attention:
            self.attention.restore(state)


def _loss(model: Network, wanted: tuple[Tensor, Tensor, Tensor, Tensor]) -> float:
    tokens, rows, positions, answers = (x.to(model.head.weight.device) for x in wanted)
    return float(nn.functional.cross_entropy(model.logits_at(tokens, rows, positions).float(), answers))


class _Skip(nn.Module):
    """Hands on what comes in."""

    def forward(self, x: Tensor, at: Tensor | None = None, seen: list[Tensor] | None = None) -> Tensor:
        return x if at is None else x.gather(1, at[..., None].expand(-1, -1, x.shape[2]))


@contextmanager
def _left_out(model: Transformer, place: int) -> Iterator[None]:
    """Without the block ``place``: what comes into it goes on unchanged."""
    block = model.blocks[place]
    assert isinstance(block, Block)
    model.blocks[place] = _Skip()
    try:
        yield
    finally:
        model.blocks[place] = block
