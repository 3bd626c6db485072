"""PaTH attention (Yang et al. 2025, arXiv 2505.16381): a position is a product of Householder-like transforms.

A query and a key are compared through all tokens between them, each of which may reflect, project or keep what passes:

    score(i, j) = k_jᵀ H_{j+1} H_{j+2} … H_i q_i / √D        H_t = I - β_t w_t w_tᵀ

with w_t of length 1 and β_t in (0, 2), both computed from the input. β = 2 reflects along w, β = 1 forgets what lies
along w, and β near 0 keeps everything, as RoPE's rotations do wherever they are. A softmax over j follows.

Strings are cut into chunks of C tokens. Within a chunk H_1 … H_C = I - Wᵀ Mᵀ W with M = (I + diag(β) L)⁻¹ diag(β). L is
the part of W Wᵀ below its diagonal. The product over some neighbours has the same form with the rows and columns of M
that are theirs. Queries are brought to the beginning of their chunk, and keys to the end of theirs. Queries then go
back chunk by chunk.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ffprompt.reference.networks.kernels import Linear
from ffprompt.reference.networks.layers import Heads
from ffprompt.reference.networks.recurrent import ShortConvolution, chunks

_CHUNK = 64
_RANK, _TAPS = 32, 3  # of what computes w, as published


class PathAttention(Heads):
    """softmax(score) v with the score above. w comes from a map of low rank and a convolution over three tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.down, self.up = Linear(width, _RANK, bias=False), Linear(_RANK, width, bias=False)
        self.convolution = ShortConvolution(width, _TAPS)
        self.strength = Linear(width, heads)

    def forward(self, x: Tensor, at: Tensor | None, seen: list[Tensor] | None) -> Tensor:
        """Outputs (B, R, d). All T rows of scores are computed, whatever is asked for."""
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        # Products over hundreds of tokens: in float32 also where a training computes in bfloat16.
        with torch.autocast(x.device.type, enabled=False):
            w, beta = self.transforms(x.float())
            rows = scores(q.float(), k.float(), w, beta)
            weights = [(row / math.sqrt(self.D)).softmax(-1) for row in rows]
            values = chunks(v.float().transpose(1, 2), _CHUNK).flatten(1, 2).transpose(1, 2)  # (B, H, K · C, D)
            out = torch.cat([part @ values[:, :, : part.shape[-1]] for part in weights], 2)[:, :, : x.shape[1]]
        if seen is not None:
            seen.append(_rows(square(weights, x.shape[1]), at))
        return self.join(_rows(out, at))

    def transforms(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """w (B, H, T, D) and β (B, H, T) of ``x`` (B, T, d)."""
        w = self.split(F.silu(self.convolution(self.up(self.down(x)))))
        return F.normalize(w, dim=-1), 2 * self.strength(x).sigmoid().transpose(1, 2)


def scores(q: Tensor, k: Tensor, w: Tensor, beta: Tensor) -> list[Tensor]:
    """k_jᵀ H_{j+1} … H_i q_i for ``q``, ``k``, ``w`` (B, H, T, D) and ``beta`` (B, H, T), -∞ where j > i.

    Returns:
        For each chunk of C queries their scores (B, H, C, keys) with all keys up to the end of the chunk. The last
        chunk is filled up with zeros.
    """
    q, k, w = (chunks(part.transpose(1, 2), _CHUNK).permute(0, 3, 1, 2, 4) for part in (q, k, w))  # (B, H, K, C, D)
    beta = chunks(beta.transpose(1, 2), _CHUNK).permute(0, 3, 1, 2)[..., None]  # (B, H, K, C, 1)
    below = (w @ k.mT).tril(-1)  # w_a · k_j for a > j, (B, H, K, C, C)
    solved = torch.linalg.solve_triangular(
        beta * (w @ w.mT).tril(-1), beta * torch.cat([w, below], -1), upper=False, unitriangular=True
    )
    mw, mk = solved.split([w.shape[-1], _CHUNK], -1)  # M W and M tril(W Kᵀ)
    reach = (q @ w.mT).tril()  # q_i · w_b for b ≤ i
    later = torch.full((_CHUNK, _CHUNK), -math.inf, device=q.device).triu(1)
    inside = q @ k.mT - reach @ mk + later
    q, k, back = q - reach @ mw, k - mk.mT @ w, w.mT @ mw  # back: Wᵀ M W, (B, H, K, D, D)
    across: list[Tensor] = []  # queries with keys of 1, 2, … chunks before, (B, H, K - offset, C, C)
    for offset in range(1, q.shape[2]):
        q = q[:, :, 1:]
        across.append(q @ k[:, :, :-offset].mT)
        q = q - q @ back[:, :, :-offset]
    return [
        torch.cat([*(across[chunk - n - 1][:, :, n] for n in range(chunk)), inside[:, :, chunk]], -1)
        for chunk in range(inside.shape[2])
    ]


def _rows(x: Tensor, at: Tensor | None) -> Tensor:
    """The rows ``at`` (B, R) of ``x`` (B, H, T, n)."""
    return x if at is None else x.gather(2, at[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3]))


def square(weights: list[Tensor], length: int) -> Tensor:
    """Weights of all chunks in one (B, H, T, T)."""
    rows = [F.pad(part, (0, len(weights) * _CHUNK - part.shape[-1])) for part in weights]
    return torch.cat(rows, 2)[:, :, :length, :length]
