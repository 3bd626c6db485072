"""What the recurrent networks share: blocks of one layer, a look at the last few tokens, strings cut into chunks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ffprompt.reference.networks.base import Network, NetworkConfig
from ffprompt.reference.networks.kernels import Linear


class Stack(Network):
    """Embedding, blocks of norm and mixer added to their input, norm, linear head. Weights: torch's generator."""

    def __init__(self, config: NetworkConfig, layers: int, width: int, mixer: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, width)
        self.norms = nn.ModuleList(nn.RMSNorm(width, eps=1e-5) for _ in range(layers))
        self.mixers = nn.ModuleList(mixer() for _ in range(layers))
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.head = Linear(width, config.vocabulary, bias=False)

    def hidden(self, tokens: Tensor) -> Tensor:
        """The last layer's output after each token, (B, T, d), for ``tokens`` (B, T)."""
        x = self.embedding(tokens)  # (B, T, d)
        for norm, mixer in zip(self.norms, self.mixers, strict=True):
            x = x + mixer(norm(x))
        return torch.as_tensor(self.norm(x))


class ShortConvolution(nn.Module):
    """A causal convolution over ``taps`` tokens, each channel by itself: what a bit follows is seen beside the bit."""

    def __init__(self, width: int, taps: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(taps, width).uniform_(-1, 1) * taps**-0.5)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d) for ``x`` (B, T, d). The last tap is the token itself."""
        taps, T = len(self.weight), x.shape[1]
        padded = F.pad(x, (0, 0, taps - 1, 0))  # (B, taps - 1 + T, d)
        # On a CPU a few sums of shifted strings are several times as fast as a grouped convolution.
        out = self.bias + padded[:, :T] * self.weight[0]
        for tap in range(1, taps):
            out = out + padded[:, tap : tap + T] * self.weight[tap]
        return out


def chunks(x: Tensor, size: int) -> Tensor:
    """Cut ``x`` (B, T, …) into (B, ⌈T / size⌉, size, …). Zeros fill the last chunk."""
    B, T = x.shape[:2]
    short = -T % size
    if short:
        x = torch.cat([x, x.new_zeros(B, short, *x.shape[2:])], 1)
    return x.view(B, -1, size, *x.shape[2:])
