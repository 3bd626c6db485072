"""Ways to attend that were published since: each takes the place of a Transformer's attention (``--attention NAME``).

``forgetting``     FoX: every token fades what lies before it (Lin et al. 2025, arXiv 2503.02130)
``differential``   the difference of two softmaxes (Ye et al. 2024, arXiv 2410.05258)
``hard``           each query takes the value of one token, with the softmax's gradient (straight-through)
``recurrent``      Aaren: the query is learnt and the same for all tokens (Feng et al. 2024, arXiv 2405.13956)

Shapes as everywhere: ``x`` (B, T, d), ``at`` (B, R) the positions that are asked about, None for all T of them. Weights
(B, H, R, T) go to ``seen`` where it is a list.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ffprompt.reference.networks.attention import hidden_keys
from ffprompt.reference.networks.kernels import Linear

NAMES = ("softmax", "forgetting", "differential", "hard", "recurrent")


class _Heads(nn.Module):
    """What the layers share: H heads of width D, and the way back to the model's width d."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.D = heads, width // heads
        self.query, self.key, self.value, self.out = (Linear(width, width, bias=False) for _ in range(4))

    def split(self, x: Tensor) -> Tensor:
        """(B, H, T, D) for ``x`` (B, T, d)."""
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def join(self, x: Tensor) -> Tensor:
        """(B, R, d) for ``x`` (B, H, R, D)."""
        return torch.as_tensor(self.out(x.transpose(1, 2).flatten(2)))

    def asked(self, x: Tensor, at: Tensor | None) -> Tensor:
        """The tokens (B, R, d) that are asked about."""
        return x if at is None else x.gather(1, at[..., None].expand(-1, -1, x.shape[2]))

    def causal(self, scores: Tensor, at: Tensor | None) -> Tensor:
        """Softmax of ``scores`` (B, H, R, T) over the keys at and before each query."""
        later = hidden_keys(at, scores.shape[3], scores.device)
        return scores.float().masked_fill(later, float("-inf")).softmax(-1)


class ForgettingAttention(_Heads):
    """softmax(q kᵀ / √D + F), F_ij = Σ log f_l over j < l ≤ i, with a gate f_t = σ(w x_t + b) for each head."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.gate = nn.Linear(width, heads)

    def forward(self, x: Tensor, at: Tensor | None, seen: list[Tensor] | None) -> Tensor:
        """Outputs (B, R, d)."""
        q, k, v = self.split(self.query(self.asked(x, at))), self.split(self.key(x)), self.split(self.value(x))
        kept = F.logsigmoid(self.gate(x)).float().cumsum(1).transpose(1, 2)  # (B, H, T): Σ log f_l up to each token
        until = kept if at is None else kept.gather(2, at[:, None].expand(-1, self.heads, -1))  # (B, H, R)
        weights = self.causal(q @ k.mT / math.sqrt(self.D) + until[..., None] - kept[..., None, :], at)
        if seen is not None:
            seen.append(weights)
        return self.join(weights.to(v.dtype) @ v)


class DifferentialAttention(_Heads):
    """(softmax(q₁ k₁ᵀ / √D) - λ softmax(q₂ k₂ᵀ / √D)) v, each head normalised and multiplied by 1 - λ_init.

    λ = exp(λ_q1 · λ_k1) - exp(λ_q2 · λ_k2) + λ_init, and λ_init = 0.8 - 0.6 exp(-0.3 l) in layer l = 0, 1, … A head has
    two queries and two keys of half its width.
    """

    def __init__(self, width: int, heads: int, layer: int) -> None:
        super().__init__(width, heads)
        self.least = 0.8 - 0.6 * math.exp(-0.3 * layer)
        self.vectors = nn.Parameter(torch.randn(4, self.D // 2) * 0.1)  # λ_q1, λ_k1, λ_q2, λ_k2
        self.norm = nn.RMSNorm(self.D, eps=1e-5)

    def forward(self, x: Tensor, at: Tensor | None, seen: list[Tensor] | None) -> Tensor:
        """Outputs (B, R, d). Differences are no weights, so ``seen`` gets nothing."""
        q, k, v = self.split(self.query(self.asked(x, at))), self.split(self.key(x)), self.split(self.value(x))
        pairs = zip(q.chunk(2, -1), k.chunk(2, -1), strict=True)
        first, second = (self.causal(one @ other.mT / math.sqrt(self.D // 2), at) for one, other in pairs)
        weights = first - self.share() * second
        return self.join(self.norm(weights.to(v.dtype) @ v) * (1 - self.least))

    def share(self) -> Tensor:
        """λ, a scalar."""
        q1, k1, q2, k2 = self.vectors.float()
        share: Tensor = (q1 @ k1).exp() - (q2 @ k2).exp() + self.least
        return share


class HardAttention(_Heads):
    """The value of the token with the largest score. Its gradient is that of the softmax (straight-through)."""

    def forward(self, x: Tensor, at: Tensor | None, seen: list[Tensor] | None) -> Tensor:
        """Outputs (B, R, d)."""
        q, k, v = self.split(self.query(self.asked(x, at))), self.split(self.key(x)), self.split(self.value(x))
        soft = self.causal(q @ k.mT / math.sqrt(self.D), at)
        hard = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
        weights = hard + soft - soft.detach()
        if seen is not None:
            seen.append(soft)
        return self.join(weights.to(v.dtype) @ v)


class RecurrentAttention(_Heads):
    """softmax(q kᵀ / √D) v with a learnt query q for each head: a sum over all tokens so far, so a recurrent cell.

    What is kept from token to token are a numerator Σ exp(s_i) v_i and a denominator Σ exp(s_i).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        del self.query
        self.token = nn.Parameter(torch.randn(heads, self.D))

    def forward(self, x: Tensor, at: Tensor | None, seen: list[Tensor] | None) -> Tensor:
        """Outputs (B, R, d)."""
        k, v = self.split(self.key(x)), self.split(self.value(x))
        scores = (k @ self.token[..., None])[..., 0] / math.sqrt(self.D)  # (B, H, T)
        queries = x.shape[1] if at is None else at.shape[1]
        weights = self.causal(scores[:, :, None].expand(-1, -1, queries, -1), at)
        if seen is not None:
            seen.append(weights)
        return self.join(weights.to(v.dtype) @ v)


def layer(name: str, width: int, heads: int, place: int) -> nn.Module:
    """The layer of a name in block ``place``, 0 for the first."""
    match name:
        case "forgetting":
            return ForgettingAttention(width, heads)
        case "differential":
            return DifferentialAttention(width, heads, place)
        case "hard":
            return HardAttention(width, heads)
        case "recurrent":
            return RecurrentAttention(width, heads)
    raise ValueError(f"attention {name!r}: expected one of {', '.join(NAMES[1:])}")
