"""The recurrent baseline of the paper: a one-layer LSTM over single symbols (Liu et al. 2023, arXiv 2306.00946).

Glossary for the shapes in this package:

    B   strings in a batch
    T   tokens in a string, one per symbol of text: instruction, data symbol, instruction, …
    M   data symbols of the language
    V   vocabulary, 3 + M: the tokens 0, 1, 2 are w, r, i, token 3 + s is data symbol s
    e   width of the embedding
    d   width of the hidden state
    R   predictions asked for, over all strings of a batch
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ffprompt.errors import ConfigError
from ffprompt.language import MAX_SYMBOLS, Strings
from ffprompt.reference.text import INSTRUCTIONS

_MOST = {"symbols": MAX_SYMBOLS, "width": 65_536, "hidden": 65_536, "layers": 64}


@dataclass(frozen=True, slots=True)
class LSTMConfig:
    """The size of an LSTM; the defaults are the paper's, 133,381 parameters with two data symbols.

    ``symbols`` is M, ``width`` the embedding dimension e, ``hidden`` the state dimension d. Raises ConfigError when a
    field is no whole number in its range.
    """

    symbols: int = 2
    width: int = 128
    hidden: int = 128
    layers: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least, most = (2 if field.name == "symbols" else 1), _MOST[field.name]
            if type(value) is not int or not least <= value <= most:
                raise ConfigError(f"{field.name} {value!r}: a whole number between {least} and {most} is wanted")

    @property
    def vocabulary(self) -> int:
        """V: the three instructions and the M data symbols."""
        return INSTRUCTIONS + self.symbols


class LSTM(nn.Module):
    """Embedding, LSTM, linear head over the vocabulary; weights are drawn from torch's global generator."""

    def __init__(self, config: LSTMConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        # Time comes first: on a CPU this layout runs a quarter faster than batch_first.
        self.lstm = nn.LSTM(config.width, config.hidden, config.layers)
        self.head = nn.Linear(config.hidden, config.vocabulary)

    def states(self, tokens: Tensor) -> Tensor:
        """The top layer's hidden state after each token, (T, B, d), for ``tokens`` (B, T)."""
        x = self.embedding(tokens.T)  # (T, B, e)
        h, _ = self.lstm(x)  # (T, B, d)
        return torch.as_tensor(h)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the token that follows each token, (B, T, V), for ``tokens`` (B, T)."""
        return torch.as_tensor(self.head(self.states(tokens).transpose(0, 1)))  # (B, T, V)

    def logits_at(self, tokens: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        """Logits (R, V) of the tokens ``positions`` (R,) of the strings ``rows`` (R,), each from the tokens before it.

        ``tokens`` is (B, T); a position lies in 1 … T, T being the token after the last. Only the states that are asked
        for go through the head.
        """
        h = self.states(tokens)  # (T, B, d)
        return torch.as_tensor(self.head(h[positions - 1, rows]))  # (R, V)


def parameters(model: nn.Module) -> int:
    """How many numbers a model has learnt."""
    return sum(weight.numel() for weight in model.parameters())


def encode(strings: Strings) -> Tensor:
    """Token ids (B, T), int64, of B strings: instructions and 3 + data symbols in turn.

    ``w1 i0 r1`` is ``[0, 4, 2, 3, 1, 4]``.
    """
    ids = np.empty((len(strings), strings.length), np.int64)  # (B, T)
    ids[:, 0::2] = strings.ops
    ids[:, 1::2] = strings.bits
    ids[:, 1::2] += INSTRUCTIONS
    return torch.from_numpy(ids)


def predict(
    model: LSTM, ids: NDArray[np.int64], rows: NDArray[np.int64], positions: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Log-probabilities (R, V), natural logarithm over the whole vocabulary, as ``LSTM.logits_at`` places them.

    One pass over ``ids`` (B, T) in the model's own float32; the last softmax is in float64 so that rows sum to one.
    """
    if not len(positions):
        return np.empty((0, model.config.vocabulary))
    device = model.head.weight.device
    # Tokens after the last one asked for cannot matter.
    tokens = torch.from_numpy(ids[:, : int(positions.max())]).to(device)
    with torch.inference_mode(), _exact(device):
        logits = model.logits_at(tokens, torch.from_numpy(rows).to(device), torch.from_numpy(positions).to(device))
        return np.asarray(logits.double().log_softmax(-1).cpu().numpy())


def _exact(device: torch.device) -> AbstractContextManager[None]:
    """On a GPU cuDNN would round the products of an LSTM to TF32; the scores are promised in float32."""
    return torch.backends.cudnn.flags(enabled=False) if device.type == "cuda" else nullcontext()
