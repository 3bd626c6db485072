"""Causal attention: a fast one for training on a CPU, and a plain one that shows its weights.

Both compute softmax(q kᵀ · scale + bias) v over the keys at and before each query (Vaswani et al. 2017).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# Queries that share one matrix product. On a CPU their scores, over all strings and heads of a batch, then stay in the
# cache between the product, the softmax and the next product.
_BLOCK = 64


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Outputs (B, H, T, D) for ``q``, ``k``, ``v`` (B, H, T, D).

    On a CPU torch's fused kernel takes 1.5 (float32) to 3.5 times (bfloat16) as long at T = 512 as blocks of queries
    over the keys before them. A GPU has a better one.
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
    B, H, T, D = q.shape
    flat = [x.reshape(B * H, T, D) for x in (q, k, v)]
    out: Tensor = _Blocked.apply(*flat, scale)  # type: ignore[no-untyped-call]
    return out.view(B, H, T, D)


def attend_openly(
    q: Tensor, k: Tensor, v: Tensor, scores: Tensor, at: Tensor | None, dropout: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Outputs (B, H, R, D) and weights (B, H, R, T) from ``scores`` (B, H, R, T), before the mask is on.

    ``at`` (B, R) are the positions of the queries, None where they are all T. Weights are those before ``dropout``.
    """
    weights = scores.float().masked_fill(hidden_keys(at, k.shape[2], k.device), float("-inf")).softmax(-1)
    used = F.dropout(weights, dropout) if dropout else weights
    return used.to(v.dtype) @ v, weights


def hidden_keys(at: Tensor | None, length: int, device: torch.device) -> Tensor:
    """True where a query may not look, (B or 1, 1, R, T): at keys after it."""
    keys = torch.arange(length, device=device)
    queries = keys[None] if at is None else at  # (B or 1, R)
    return (keys > queries[..., None])[:, None]


class _Blocked(torch.autograd.Function):
    """Attention for queries in blocks, each over the keys up to its end, so that two fifths are never computed."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        q = q * scale
        T = q.shape[1]
        out = torch.empty_like(q)  # (N, T, D), N = B · H
        after = torch.full((_BLOCK, _BLOCK), float("-inf"), dtype=q.dtype).triu(1)
        kept = []
        for low in range(0, T, _BLOCK):
            high = min(low + _BLOCK, T)
            scores = torch.bmm(q[:, low:high], k[:, :high].transpose(1, 2))  # (N, block, high)
            scores[:, :, low:] += after[: high - low, : high - low]
            weights = scores.softmax(-1)
            out[:, low:high] = torch.bmm(weights, v[:, :high])
            kept.append(weights)
        ctx.save_for_backward(q, k, v, *kept)
        ctx.scale = scale
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, *kept = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        dq, T = torch.empty_like(q), q.shape[1]
        # Sums over blocks are kept in float32; in bfloat16 the first keys would lose most of theirs.
        dk, dv = torch.zeros_like(k, dtype=torch.float32), torch.zeros_like(v, dtype=torch.float32)
        for weights, low in zip(kept, range(0, T, _BLOCK), strict=True):
            high = min(low + _BLOCK, T)
            part = gradient[:, low:high]  # (N, block, D)
            dv[:, :high] += torch.bmm(weights.transpose(1, 2), part)
            dweights = torch.bmm(part, v[:, :high].transpose(1, 2))  # (N, block, high)
            dscores = torch._softmax_backward_data(dweights, weights, -1, weights.dtype)
            dq[:, low:high] = torch.bmm(dscores, k[:, :high])
            dk[:, :high] += torch.bmm(dscores.transpose(1, 2), q[:, low:high])
        return dq * ctx.scale, dk.to(k.dtype), dv.to(v.dtype), None
