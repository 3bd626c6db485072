"""How a Transformer is told where a token stands: the paper's choices (R6), and CoPE.

``learned`` and ``sinusoidal`` are added to the embedding. ``rope`` turns queries and keys. ``alibi`` and ``t5`` are
added to the scores by distance. ``cope`` counts keys by what they are. ``none`` leaves it to the causal mask.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

POSITIONS = ("learned", "sinusoidal", "rope", "alibi", "t5", "cope", "none")
_BASE = 10_000.0


def sinusoids(length: int, width: int) -> Tensor:
    """The table (length, width) of Vaswani et al. 2017: sines in one half of the columns, cosines in the other."""
    angles = torch.arange(length)[:, None] / _BASE ** (torch.arange(0, width, 2) / width)  # (length, ⌈width / 2⌉)
    return torch.cat([angles.sin(), angles.cos()[:, : width // 2]], 1)


def rotate(x: Tensor, at: Tensor) -> Tensor:
    """RoPE (Su et al. 2021): turn ``x`` (B, H, R, D) by the angles of its positions ``at`` (B or 1, R).

    Column j is paired with column j + D / 2, as in the Llama and GPT-NeoX implementations.
    """
    D = x.shape[-1]
    rates = _BASE ** -(torch.arange(0, D, 2, device=x.device) / D)  # (D / 2,)
    angles = (at[..., None] * rates)[:, None]  # (B or 1, 1, R, D / 2)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def slopes(heads: int) -> Tensor:
    """ALiBi's slope of each head (H,) (Press et al. 2022): 2^(-8 h / H), other H filled in from the next power."""
    power = 2 ** math.floor(math.log2(heads))
    first = [2.0 ** (-8 * (h + 1) / power) for h in range(power)]
    between = [2.0 ** (-4 * (h + 1) / power) for h in range(2 * power)][0::2]
    return torch.tensor(first + between[: heads - power])


class Alibi(nn.Module):
    """A penalty per step of distance, fixed, steeper in some heads than in others."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, distance: Tensor) -> Tensor:
        """Bias (B or 1, H, R, T) for ``distance`` (B or 1, R, T), in tokens from key to query."""
        return -slopes(self.heads).to(distance.device)[:, None, None] * distance[:, None]

    def of_keys(self, length: int) -> Tensor:
        """Return the part of the bias that depends on the key, (1, H, T): the softmax takes no notice of the rest."""
        return (slopes(self.heads)[:, None] * torch.arange(length))[None]


class T5Bias(nn.Module):
    """A learnt bias per head and bucket of distance (Raffel et al. 2020): exact near by, logarithmic to 128.

    It is multiplied by √D, as in the library that the paper trained with; T5 itself does not divide scores by √D.
    """

    def __init__(self, heads: int, width: int, buckets: int = 32, furthest: int = 128) -> None:
        super().__init__()
        self.table = nn.Embedding(buckets, heads)
        self.scale = width**0.5
        self.buckets, self.furthest = buckets, furthest

    def forward(self, distance: Tensor) -> Tensor:
        """Bias (B or 1, H, R, T) for ``distance`` (B or 1, R, T), in tokens from key to query."""
        exact = self.buckets // 2
        distance = distance.clamp(min=0)
        beyond = (distance / exact).clamp(min=1).log() / math.log(self.furthest / exact) * (self.buckets - exact)
        bucket = torch.where(distance < exact, distance, (exact + beyond.long()).clamp(max=self.buckets - 1))
        return torch.as_tensor(self.table(bucket) * self.scale).permute(0, 3, 1, 2)


class Cope(nn.Module):
    """Contextual positions (Golovneva et al. 2024, arXiv 2405.18719): a key's position counts the keys that matter.

    The gate of a key is the sigmoid of its score. Its position is the sum of the gates from it to the query, and what
    is added is q · e at that position, between whole positions in proportion.
    """

    def __init__(self, width: int, most: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(most, width))  # (P, D), shared by the heads

    def forward(self, q: Tensor, scores: Tensor, hidden: Tensor) -> Tensor:
        """Bias (B, H, R, T) for ``q`` (B, H, R, D), ``scores`` (B, H, R, T) and ``hidden``, True behind the mask."""
        gates = scores.float().sigmoid().masked_fill(hidden, 0.0)
        position = gates.flip(-1).cumsum(-1).flip(-1).clamp(max=len(self.table) - 1)
        logits = (q @ self.table.to(q.dtype).T).float()  # (B, H, R, P)
        floor, ceiling = position.floor(), position.ceil()
        part = position - floor
        return logits.gather(-1, floor.long()) * (1 - part) + logits.gather(-1, ceiling.long()) * part
