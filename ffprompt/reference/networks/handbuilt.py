"""A Transformer whose weights are written down, not learnt: two layers of attention with one head make no errors.

That such weights exist is Proposition 2 of Liu et al. 2023 (arXiv 2306.00946). These are our own, by the same idea.
They show what a trained Transformer fails to find. Only the embedding, attention and the residual stream are needed:
no MLP, no norm. With λ = 32:

1. *Look at the token before.* Token t scores token s by λ (2 (t - 1) s - s²), which is largest at s = t - 1 and at
   least λ less elsewhere. Its value says whether that token is a w, so data symbols that were written are now marked.
2. *Look at the latest write.* A token r scores token s by λ (s + length · mark_s): marked tokens first, the latest of
   them first among those. Its value is the data symbol there. Other tokens score s by λ s alone and see themselves.

All scores are λ times whole numbers below 2²⁴, exact in float32, and all but e⁻³² of the attention is on one token.
After w or i the data symbols come out equally probable, after a data symbol the instructions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ffprompt.errors import ConfigError
from ffprompt.reference.networks.attention import hidden_keys
from ffprompt.reference.networks.base import Network, NetworkConfig, whole
from ffprompt.reference.tokens import INSTRUCTIONS
from ffprompt.tasks.flipflop import READ, WRITE

_SHARP = 32.0
# What logits of the wrong kind or the wrong symbol lie below the others by.
_SURE = 32.0


@dataclass(frozen=True, slots=True)
class HandbuiltConfig(NetworkConfig):
    """``length`` is the most tokens of a string. From 2,896 on float32 could no longer hold the scores exactly.

    Raises ConfigError when a field is no whole number in its range.
    """

    length: int = 512

    def __post_init__(self) -> None:
        NetworkConfig.__post_init__(self)
        whole("length", self.length, 1, 2_048)

    @property
    def width(self) -> int:
        """d: three parts of the residual stream."""
        return self.vocabulary + _PLACE + 1 + self.symbols


# Channels of the residual stream: the token, one-hot (V); then 1, s and s² (_PLACE); the mark; the answer (M).
_PLACE = 3


class Block(nn.Module):
    """Causal softmax attention of one head of full width, added to what came in. Scores are what the weights say."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out = nn.Identity()  # a place to look at the head

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d) for ``x`` (B, T, d)."""
        scores = self.query(x) @ self.key(x).transpose(1, 2)  # (B, T, T)
        hidden = hidden_keys(None, x.shape[1], x.device)[:, 0]  # (1, T, T)
        return x + torch.as_tensor(self.out(scores.masked_fill(hidden, float("-inf")).softmax(-1) @ self.value(x)))


class Handbuilt(Network):
    """Embedding, two blocks, linear head, with ``construct``'s weights."""

    config: HandbuiltConfig

    def __init__(self, config: HandbuiltConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.length, config.width)
        self.before, self.latest = Block(config.width), Block(config.width)
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        self.load_state_dict(construct(config))

    @property
    def longest(self) -> int | None:
        """The length that it was written down for."""
        return self.config.length

    def hidden(self, tokens: Tensor) -> Tensor:
        """The stream after the second layer, (B, T, d), for ``tokens`` (B, T)."""
        T = tokens.shape[1]
        if self.config.length < T:
            raise ConfigError(f"{T} tokens: this model has {self.config.length} positions")
        x = self.embedding(tokens) + self.positions.weight[:T]  # (B, T, d)
        return torch.as_tensor(self.latest(self.before(x)))


def construct(config: HandbuiltConfig) -> dict[str, Tensor]:
    """The weights by name. Rows of a matrix are what comes out, columns what goes in."""
    V, M, d, length = config.vocabulary, config.symbols, config.width, config.length
    one, place, square, mark, answer = V, V + 1, V + 2, V + 3, V + 4  # channels
    data, answers = torch.arange(INSTRUCTIONS, V), torch.arange(answer, answer + M)

    embedding = torch.eye(V, d)
    positions = torch.zeros(length, d)
    positions[:, one] = 1
    positions[:, place] = torch.arange(float(length))
    positions[:, square] = positions[:, place].square()

    query, key, value = torch.zeros(3, 2, d, d)  # two layers of each
    # 1: λ (2 (t - 1) s - s²)
    query[0, 0, place], query[0, 0, one] = 2 * _SHARP, -2 * _SHARP
    query[0, 1, one] = -_SHARP
    key[0, 0, place] = key[0, 1, square] = 1
    value[0, mark, WRITE] = 1
    # 2: λ (s + length · mark_s), the second term for r alone
    query[1, 0, one] = query[1, 1, READ] = _SHARP
    key[1, 0, place], key[1, 1, mark] = 1, length
    value[1, answers, data] = 1

    head = torch.zeros(V, d)
    head[INSTRUCTIONS:, answer:] = _SURE * torch.eye(M)
    # A data symbol has seen itself: an instruction follows, whichever the symbol was.
    head[INSTRUCTIONS:, data] = -_SURE * (1 + torch.eye(M))
    head[:INSTRUCTIONS, :INSTRUCTIONS] = -_SURE
    return {
        "embedding.weight": embedding,
        "positions.weight": positions,
        **{
            f"{layer}.{name}.weight": weights[index]
            for name, weights in (("query", query), ("key", key), ("value", value))
            for index, layer in enumerate(("before", "latest"))
        },
        "head.weight": head,
    }
