"""Ways to attend that were published since: each takes the place of a Transformer's attention (``--attention NAME``).

``forgetting``      FoX: every token fades what lies before it (Lin et al. 2025, arXiv 2503.02130)
``differential``    the difference of two softmaxes (Ye et al. 2024, arXiv 2410.05258)
``hard``            each query takes the value of one token, with the softmax's gradient (straight-through)
``recurrent``       Aaren: the query is learnt and the same for all tokens (Feng et al. 2024, arXiv 2405.13956)
``stick-breaking``  nearer keys take their share first (Tan et al. 2024, arXiv 2410.17980)
``path``            products of Householder transforms between query and key, in :mod:`.path`
``hybrid``          a state-space layer and attention over a window take turns, in :mod:`.transformer`

Shapes as everywhere: ``x`` (B, T, d), ``at`` (B, R) the positions that are asked about, None for all T of them. Weights
(B, H, R, T) go to ``seen`` where it is a list.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ffprompt.reference.networks.attention import attend, attend_hard, blocks, exact, hidden_keys, with_bias
from ffprompt.reference.networks.kernels import Linear

NAMES = ("softmax", "forgetting", "differential", "hard", "recurrent", "stick-breaking", "path", "hybrid")


class Heads(nn.Module):
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


class ForgettingAttention(Heads):
    """softmax(q kᵀ / √D + F), F_ij = Σ log f_l over j < l ≤ i, with a gate f_t = σ(w x_t + b) for each head."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.gate = Linear(width, heads)

    def forward(self, x: Tensor, at: Tensor | None, seen: list[Tensor] | None) -> Tensor:
        """Outputs (B, R, d)."""
        q, k, v = self.split(self.query(self.asked(x, at))), self.split(self.key(x)), self.split(self.value(x))
        kept = F.logsigmoid(self.gate(x).float()).cumsum(1).transpose(1, 2)  # (B, H, T): Σ log f_l up to each token
        if at is None and seen is None and exact(q):
            scale = self.D**-0.5
            return self.join(attend(*with_bias(q, k, -kept, scale), v, scale))
        until = kept if at is None else kept.gather(2, at[:, None].expand(-1, self.heads, -1))  # (B, H, R)
        weights = self.causal(q @ k.mT / math.sqrt(self.D) + until[..., None] - kept[..., None, :], at)
        if seen is not None:
            seen.append(weights)
        return self.join(weights.to(v.dtype) @ v)


class DifferentialAttention(Heads):
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
        scale = (self.D // 2) ** -0.5
        if at is None:
            first, second = (attend(one, other, v, scale) for one, other in pairs)
        else:
            first, second = (self.causal(one @ other.mT * scale, at).to(v.dtype) @ v for one, other in pairs)
        return self.join(self.norm(first - self.share() * second) * (1 - self.least))

    def share(self) -> Tensor:
        """λ, a scalar."""
        q1, k1, q2, k2 = self.vectors.float()
        share: Tensor = (q1 @ k1).exp() - (q2 @ k2).exp() + self.least
        return share


class HardAttention(Heads):
    """The value of the token with the largest score. Its gradient is that of the softmax (straight-through)."""

    def forward(self, x: Tensor, at: Tensor | None, seen: list[Tensor] | None) -> Tensor:
        """Outputs (B, R, d)."""
        q, k, v = self.split(self.query(self.asked(x, at))), self.split(self.key(x)), self.split(self.value(x))
        if at is None and seen is None and q.device.type == "cpu":
            return self.join(attend_hard(q, k, v, self.D**-0.5))
        soft = self.causal(q @ k.mT / math.sqrt(self.D), at)
        hard = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
        weights = hard + soft - soft.detach()
        if seen is not None:
            seen.append(soft)
        return self.join(weights.to(v.dtype) @ v)


class RecurrentAttention(Heads):
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
        if at is None and seen is None:
            return self.join(attend(torch.ones_like(scores)[..., None], scores[..., None], v, 1.0))
        queries = x.shape[1] if at is None else at.shape[1]
        weights = self.causal(scores[:, :, None].expand(-1, -1, queries, -1), at)
        if seen is not None:
            seen.append(weights)
        return self.join(weights.to(v.dtype) @ v)


class StickBreakingAttention(Heads):
    """A v with A_ij = σ(z_ij) Π (1 - σ(z_il)) over j < l < i, z = q kᵀ / √D, for keys j before the query i.

    Each key takes the share σ of what the nearer ones have left. No key is the query's own, and what is left in the end
    goes to none, so the weights of a query sum to at most 1.
    """

    def forward(self, x: Tensor, at: Tensor | None, seen: list[Tensor] | None) -> Tensor:
        """Outputs (B, R, d)."""
        q, k, v = self.split(self.query(self.asked(x, at))), self.split(self.key(x)), self.split(self.value(x))
        q = q / math.sqrt(self.D)
        places = torch.arange(x.shape[1], device=x.device)
        if at is None and seen is None:
            parts = []
            for low, high, _ in blocks(x.shape[1]):
                weights = sticks(q[:, :, low:high], k[:, :, :high], places[None, low:high])
                parts.append(weights.to(v.dtype) @ v[:, :, :high])
            return self.join(torch.cat(parts, 2))
        weights = sticks(q, k, places[None] if at is None else at)
        if seen is not None:
            seen.append(weights)
        return self.join(weights.to(v.dtype) @ v)


def sticks(q: Tensor, k: Tensor, at: Tensor) -> Tensor:
    """Weights (B, H, R, T) of queries (B, H, R, D) at the positions ``at`` (B or 1, R) over keys (B, H, T, D)."""
    unseen = torch.arange(k.shape[2], device=k.device) >= at[..., None]  # (B or 1, R, T)
    weights: Tensor = _StickBreaking.apply(q @ k.mT, unseen[:, None])  # type: ignore[no-untyped-call]
    return weights


class _StickBreaking(torch.autograd.Function):
    """Weights (…, R, T) in float32 from scores z (…, R, T), 0 at keys that are ``unseen``."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, unseen: Tensor) -> Tensor:
        z = z.float()
        left = F.logsigmoid(-z).masked_fill(unseen, 0.0)  # log (1 - σ(z))
        # log σ(z) is z + log (1 - σ(z)); the sum over nearer keys is the whole sum less that up to this key.
        total = left.cumsum(-1)
        weights = (z + left + total[..., -1:] - total).exp().masked_fill(unseen, 0.0)
        weights = F.threshold(weights, 1e-20, 0.0)  # numbers below 1e-38 make products very slow
        ctx.save_for_backward(weights, left)
        return weights

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        weights, left = ctx.saved_tensors
        slope = weights * gradients[0]  # by log A
        # z_l stands in log A_l as log σ(z_l), and in that of every key before it as log (1 - σ(z_l)).
        return slope + left.expm1() * slope.cumsum(-1), None


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
        case "stick-breaking":
            return StickBreakingAttention(width, heads)
    raise ValueError(f"attention {name!r}: expected one of {', '.join(NAMES[1:])}")
