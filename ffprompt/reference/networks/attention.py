"""Causal attention: a fast one for training on a CPU, and a plain one that shows its weights.

Both compute softmax(q kᵀ · scale + bias) v over the keys at and before each query (Vaswani et al. 2017).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# Queries that share one matrix product. On a CPU their scores, over all strings and heads of a batch, then stay in the
# cache between the product, the softmax and the next product.
_BLOCK = 64


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None = None) -> Tensor:
    """Return the outputs (B, H, T, E) for ``q``, ``k`` (B, H, T, D) and ``v`` (B, H, T, E).

    A query sees itself and the ``window`` - 1 keys before it, or all of them where ``window`` is None.

    On a CPU torch's fused kernel takes 1.5 (float32) to 3.5 times (bfloat16) as long at T = 512 as blocks of queries
    over the keys before them. A GPU has a better one.
    """
    if q.device.type != "cpu":
        if window is None:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
        seen = ~hidden_keys(None, q.shape[2], q.device, window)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scale)
    return _in_blocks(q, k, v, scale, window, hard=False)


def attend_hard(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Return for each query the value of the key with the largest score, (B, H, T, E), with the softmax's gradient."""
    return _in_blocks(q, k, v, scale, None, hard=True)


def with_bias(q: Tensor, k: Tensor, bias: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Return queries and keys with one more column, so that their scores have ``bias`` (B or 1, H, T) of the key added.

    A bias that depends on the key and the query as f(query) - g(key) is such a one: a softmax over keys is the same
    whatever is added for the query. Needs float32, as biases of hundreds lose their digits in bfloat16.
    """
    one = q.new_full((*q.shape[:-1], 1), 1 / scale)
    return torch.cat([q, one], -1), torch.cat([k, bias[..., None].to(k).expand(*k.shape[:-1], 1)], -1)


def exact(x: Tensor) -> bool:
    """Return whether ``x`` is in float32 and stays so: :func:`with_bias` needs it."""
    return x.dtype == torch.float32 and not torch.is_autocast_enabled(x.device.type)


def attend_openly(
    v: Tensor, scores: Tensor, at: Tensor | None, dropout: float = 0.0, window: int | None = None
) -> tuple[Tensor, Tensor]:
    """Outputs (B, H, R, E) and weights (B, H, R, T) from ``scores`` (B, H, R, T), before the mask is on.

    ``at`` (B, R) are the positions of the queries, None where they are all T. Weights are those before ``dropout``.
    """
    hidden = hidden_keys(at, v.shape[2], v.device, window)
    weights = scores.float().masked_fill(hidden, float("-inf")).softmax(-1)
    used = F.dropout(weights, dropout) if dropout else weights
    return used.to(v.dtype) @ v, weights


def hidden_keys(at: Tensor | None, length: int, device: torch.device, window: int | None = None) -> Tensor:
    """True where a query may not look, (B or 1, 1, R, T): at keys after it, and at those before its window."""
    keys = torch.arange(length, device=device)
    queries = (keys[None] if at is None else at)[..., None]  # (B or 1, R, 1)
    hidden = keys > queries
    if window is not None:
        hidden = hidden | (keys <= queries - window)
    return hidden[:, None]


def blocks(length: int, window: int | None = None) -> Iterator[tuple[int, int, int]]:
    """Yield the first and last query + 1 of each block, and the first key that one of them sees."""
    for low in range(0, length, _BLOCK):
        yield low, min(low + _BLOCK, length), 0 if window is None else max(0, low - window + 1)


@contextmanager
def flushed() -> Iterator[None]:
    """Take numbers below 1e-38 for 0 in this thread: weights that fade are such, and products of them are very slow."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _in_blocks(q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, hard: bool) -> Tensor:
    B, H, T = q.shape[:3]
    flat = [x.reshape(B * H, T, -1) for x in (q, k, v)]
    out: Tensor = _Blocked.apply(*flat, scale, window, hard)  # type: ignore[no-untyped-call]
    return out.view(B, H, T, -1)


class _Blocked(torch.autograd.Function):
    """Attention for queries in blocks, each over the keys up to its end, so that two fifths are never computed.

    A hard one goes forward with all weight on the largest score, and back as if its scores had gone through a softmax.
    """

    @staticmethod
    @flushed()
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float, window: int | None, hard: bool) -> Tensor:
        q = q * scale
        out = torch.empty_like(v)  # (N, T, E), N = B · H
        after = torch.full((_BLOCK, _BLOCK), float("-inf"), dtype=q.dtype).triu(1)
        queries = torch.arange(q.shape[1])
        kept = []
        for low, high, first in blocks(q.shape[1], window):
            scores = torch.bmm(q[:, low:high], k[:, first:high].transpose(1, 2))  # (N, block, keys)
            scores[:, :, low - first :] += after[: high - low, : high - low]
            if window is not None:
                scores.masked_fill_(
                    hidden_keys(queries[None, low:high] - first, high - first, q.device, window)[0], -torch.inf
                )
            weights = scores.softmax(-1)
            kept.append(weights)
            used = F.one_hot(weights.argmax(-1), high - first).to(v.dtype) if hard else weights
            out[:, low:high] = torch.bmm(used, v[:, first:high])
        ctx.save_for_backward(q, k, v, *kept)
        ctx.scale, ctx.window, ctx.hard = scale, window, hard
        return out

    @staticmethod
    @flushed()
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        q, k, v, *kept = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        dq = torch.empty_like(q)
        # Sums over blocks are kept in float32; in bfloat16 the first keys would lose most of theirs.
        dk, dv = torch.zeros_like(k, dtype=torch.float32), torch.zeros_like(v, dtype=torch.float32)
        for weights, (low, high, first) in zip(kept, blocks(q.shape[1], ctx.window), strict=True):
            part = gradient[:, low:high]  # (N, block, E)
            used = F.one_hot(weights.argmax(-1), high - first).to(v.dtype) if ctx.hard else weights
            dv[:, first:high] += torch.bmm(used.transpose(1, 2), part)
            dweights = torch.bmm(part, v[:, first:high].transpose(1, 2))  # (N, block, keys)
            dscores = torch._softmax_backward_data(dweights, weights, -1, weights.dtype)
            dq[:, low:high] = torch.bmm(dscores, k[:, first:high])
            dk[:, first:high] += torch.bmm(dscores.transpose(1, 2), q[:, low:high])
        return dq * ctx.scale, dk.to(k.dtype), dv.to(v.dtype), None, None, None
