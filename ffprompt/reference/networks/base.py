"""What every reference model is: tokens of a string in, logits of the next token out.

Glossary for the shapes in this package:

    B   strings in a batch
    T   tokens in a string, as the task's vocabulary makes them
    M   symbols that answers are made of
    V   size of the vocabulary, E + M: the first E tokens are events, token E + s is symbol s
    d   width of the hidden state
    H   attention heads;  D = d / H the width of one
    R   predictions asked for, over all strings of a batch
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ffprompt.errors import ConfigError, did_you_mean
from ffprompt.reference.vocabulary import Vocabulary
from ffprompt.tasks.events import MAX_SYMBOLS
from ffprompt.tasks.strings import Strings


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """What every config has: ``symbols`` is M, ``events`` is E. Raises ConfigError when a field is not in its range.

    The defaults are those of a flip-flop with two symbols.
    """

    symbols: int = 2
    events: int = field(default=3, kw_only=True)

    def __post_init__(self) -> None:
        whole("symbols", self.symbols, 2, MAX_SYMBOLS)
        whole("events", self.events, 1, 1 << 16)

    @property
    def vocabulary(self) -> int:
        """V: the events and the symbols."""
        return self.events + self.symbols


class Network(nn.Module):
    """A reference model. A new one sets ``config`` and ``head`` and says what ``hidden`` is."""

    config: NetworkConfig
    head: nn.Linear

    @property
    def longest(self) -> int | None:
        """The most tokens that it can read, None where there is no limit."""
        return None

    def hidden(self, tokens: Tensor) -> Tensor:
        """The last layer's output after each token, (B, T, d), for ``tokens`` (B, T). Token t sees 0 … t alone."""
        raise NotImplementedError

    def hidden_at(self, tokens: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        """``hidden`` (R, d) of the strings ``rows`` (R,) just before their tokens ``positions`` (R,)."""
        return self.hidden(tokens)[rows, positions - 1]

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the token that follows each token, (B, T, V), for ``tokens`` (B, T)."""
        return torch.as_tensor(self.head(self.hidden(tokens)))

    def logits_at(self, tokens: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        """Logits (R, V) of the tokens ``positions`` (R,) of the strings ``rows`` (R,), each from the tokens before it.

        ``tokens`` is (B, T). A position lies in 1 … T, T being the token after the last. What is computed for these
        positions only, a network leaves out elsewhere.
        """
        return torch.as_tensor(self.head(self.hidden_at(tokens, rows, positions)))


def whole(name: str, value: object, least: int, most: int) -> None:
    """Raise ConfigError unless ``value`` is a whole number from ``least`` to ``most``."""
    if type(value) is not int or not least <= value <= most:
        raise ConfigError(f"{_flag(name)} {value!r}: expected a whole number between {least} and {most}")


def number(name: str, value: object, least: float, most: float) -> None:
    """Raise ConfigError unless ``value`` is a number from ``least`` to ``most``."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= most:
        raise ConfigError(f"{_flag(name)} {value!r}: expected a number between {least} and {most}")


def _flag(name: str) -> str:
    """A field's name as it is typed."""
    return name.replace("_", "-")


def one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise ConfigError unless ``value`` is among ``choices``."""
    if value not in choices:
        raise ConfigError(f"{name} {value!r} is unknown{did_you_mean(str(value), choices)}")


def parameters(model: nn.Module) -> int:
    """How many numbers a model has learnt."""
    return sum(weight.numel() for weight in model.parameters())


def encode(strings: Strings) -> Tensor:
    """Token ids (B, T), int64, of B strings, as the vocabulary of their task makes them.

    ``w1 i0 r1`` is ``[0, 4, 2, 3, 1, 4]``.
    """
    return torch.from_numpy(Vocabulary(strings.task, strings.symbols).encode(strings).tokens)


def predict(
    model: Network, ids: NDArray[np.int64], rows: NDArray[np.int64], positions: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Log-probabilities (R, V), natural logarithm over the whole vocabulary, as ``Network.logits_at`` places them.

    One pass over ``ids`` (B, T) in the model's own float32. The last softmax is in float64 so that rows sum to one.
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
    """On a GPU cuDNN would round the products of an LSTM to TF32. The scores are promised in float32."""
    return torch.backends.cudnn.flags(enabled=False) if device.type == "cuda" else nullcontext()
