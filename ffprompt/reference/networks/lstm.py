"""The recurrent baseline of the paper: a one-layer LSTM over single symbols (Liu et al. 2023, arXiv 2306.00946, R2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ffprompt.reference.networks.base import Network, NetworkConfig, whole


@dataclass(frozen=True, slots=True)
class LSTMConfig(NetworkConfig):
    """The size of an LSTM. The defaults are the paper's, 133,381 parameters with two data symbols.

    ``width`` is the embedding dimension e, ``hidden`` the state dimension d. Raises ConfigError when a field is no
    whole number in its range.
    """

    width: int = 128
    hidden: int = 128
    layers: int = 1

    def __post_init__(self) -> None:
        NetworkConfig.__post_init__(self)
        whole("width", self.width, 1, 65_536)
        whole("hidden", self.hidden, 1, 65_536)
        whole("layers", self.layers, 1, 64)


class LSTM(Network):
    """Embedding, LSTM, linear head over the vocabulary. Weights are drawn from torch's global generator."""

    config: LSTMConfig

    def __init__(self, config: LSTMConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        # Time comes first: on a CPU this layout runs a quarter faster than batch_first.
        self.lstm = nn.LSTM(config.width, config.hidden, config.layers)
        self.head = nn.Linear(config.hidden, config.vocabulary)

    def hidden(self, tokens: Tensor) -> Tensor:
        """The top layer's hidden state after each token, (B, T, d), for ``tokens`` (B, T)."""
        return self._states(tokens).transpose(0, 1)

    def hidden_at(self, tokens: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        """``hidden`` (R, d) where it is asked for. Only these states go through the head."""
        return self._states(tokens)[positions - 1, rows]

    def _states(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens.T)  # (T, B, e)
        h, _ = self.lstm(x)  # (T, B, d)
        return torch.as_tensor(h)
