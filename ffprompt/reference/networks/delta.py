"""Linear attention with a memory that is written to: gates, the delta rule, and both.

A head remembers values by their keys in a matrix S (D, D). With key k_t of length 1, value v_t, query q_t, a gate
0 < α_t < 1 and a strength 0 < β_t < 1, all from the input:

    gated        S_t = α_t S_{t-1} + k_t v_tᵀ                              (one gate a head, as in Mamba-2)
    delta        S_t = S_{t-1} + β_t k_t (v_t - S_{t-1}ᵀ k_t)ᵀ             (Schlag et al. 2021)
    gated-delta  S_t = α_t S_{t-1} + β_t k_t (v_t - α_t S_{t-1}ᵀ k_t)ᵀ     (Yang et al. 2024, arXiv 2412.06464)

and y_t = S_tᵀ q_t. The first fades all that it knows. The second replaces what stands under one key, which is what a
write does to a bit. The third does both. Within a chunk of tokens all is done by matrix products, as in Yang et al.
2024 (arXiv 2406.06484).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ffprompt.errors import ConfigError
from ffprompt.reference.networks.base import NetworkConfig, one_of, whole
from ffprompt.reference.networks.kernels import Linear
from ffprompt.reference.networks.recurrent import ShortConvolution, Stack, chunks

RULES = ("gated", "delta", "gated-delta")
# Tokens that share one matrix product and one triangular solve.
_CHUNK = 32


@dataclass(frozen=True, slots=True)
class DeltaConfig(NetworkConfig):
    """``width`` is d, in ``heads`` heads. ``convolution`` counts the tokens that keys, values and gates are made from.

    Raises ConfigError when a field is not in its range or the width does not divide into heads.
    """

    layers: int = 1
    width: int = 128
    heads: int = 2
    rule: str = "gated-delta"
    convolution: int = 4

    def __post_init__(self) -> None:
        NetworkConfig.__post_init__(self)
        for name, most in (("layers", 256), ("width", 65_536), ("heads", 1_024), ("convolution", 256)):
            whole(name, getattr(self, name), 1, most)
        one_of("rule", self.rule, RULES)
        if self.width % self.heads:
            raise ConfigError(f"width {self.width}: it must divide into {self.heads} heads")


def recall(q: Tensor, k: Tensor, v: Tensor, fade: Tensor | None, strength: Tensor | None) -> Tensor:
    """S_tᵀ q_t (B, T, H, D) of the rules above, from S = 0, for ``q``, ``k``, ``v`` (B, T, H, D).

    ``fade`` is log α (B, T, H), at most 0, and ``strength`` β (B, T, H); None is no gate, and no delta rule. With S the
    memory before a chunk and Γ_ts = α_{s+1} … α_t, the memory after its token t is Γ_t S + Σ Γ_ts k_s u_sᵀ over s ≤ t.
    What is written there, u, is v without the delta rule. With it

        u_t = β_t (v_t - Γ_t Sᵀ k_t - Σ_{s<t} Γ_ts (k_s · k_t) u_s),

    a triangular system, solved for all chunks at once. Every Γ is the exponential of a sum that is at most 0.
    """
    T = q.shape[1]
    q, k, v = (chunks(x, _CHUNK).transpose(2, 3) for x in (q, k, v))  # (B, K, H, Q, D)
    if fade is None:
        fade = q.new_zeros(q.shape[0], T, q.shape[2])
    total = chunks(fade, _CHUNK).transpose(2, 3).cumsum(-1)[..., None]  # (B, K, H, Q, 1)
    lower = torch.ones(_CHUNK, _CHUNK, device=q.device).tril()  # (Q, Q)
    since = (total - total.transpose(3, 4)).clamp(max=0).exp() * lower  # Γ, (B, K, H, Q, Q)
    reached = total.exp()  # Γ_t
    seen, u, taken = (q @ k.transpose(3, 4)) * since, v, None
    if strength is not None:
        beta = chunks(strength, _CHUNK).transpose(2, 3)[..., None]  # (B, K, H, Q, 1)
        system = (beta * (k @ k.transpose(3, 4)) * since).tril(-1)
        both = torch.cat([v, reached * k], -1) * beta  # (B, K, H, Q, 2 D)
        u, taken = torch.linalg.solve_triangular(system, both, upper=False, unitriangular=True).chunk(2, -1)
    asked, kept = reached * q, ((total[..., -1:, :] - total).exp() * k).transpose(3, 4)  # (…, Q, D) and (…, D, Q)
    memory, out = (kept[:, 0] @ u[:, 0]) * 0, []  # (B, H, D, D)
    # unbind, since the gradient of an index is as large as what was indexed, once a chunk.
    parts = [x.unbind(1) for x in (asked, seen, kept, reached[..., -1:, :], u, u if taken is None else taken)]
    for ask, see, keep, reach, add, take in zip(*parts, strict=True):
        written = add if taken is None else add - take @ memory  # (B, H, Q, D)
        out.append(ask @ memory + see @ written)
        memory = reach * memory + keep @ written
    return torch.stack(out, 1).transpose(2, 3).flatten(1, 2)[:, :T]


class Mixer(nn.Module):
    """Convolution, memory and gate: the one layer that a block has."""

    def __init__(self, config: DeltaConfig) -> None:
        super().__init__()
        self.config = config
        d, H = config.width, config.heads
        # The published layers convolve q, k and v and not the gates; then one layer cannot tell a bit by its letter.
        self.convolution = ShortConvolution(d, config.convolution)
        self.query, self.key, self.value, self.gate = (Linear(d, d, bias=False) for _ in range(4))
        self.fade = Linear(d, H) if config.rule != "delta" else None
        self.strength = Linear(d, H) if config.rule != "gated" else None
        if self.fade is not None:
            nn.init.constant_(self.fade.bias, 4.0)  # α begins near 0.98, so that gradients reach back
        self.norm = nn.RMSNorm(d // H, eps=1e-5)
        self.output = Linear(d, d, bias=False)

    def forward(self, u: Tensor) -> Tensor:
        """(B, T, d) for ``u`` (B, T, d)."""
        x = F.silu(self.convolution(u))
        # The memory must keep a bit over hundreds of tokens: in float32 also where a training computes in bfloat16.
        with torch.autocast(x.device.type, enabled=False):
            q, k, v = (layer(x).unflatten(-1, (self.config.heads, -1)) for layer in (self.query, self.key, self.value))
            fade = F.logsigmoid(self.fade(x)) if self.fade is not None else None  # (B, T, H)
            strength = self.strength(x).sigmoid() if self.strength is not None else None
            y = recall(F.normalize(q, dim=-1), F.normalize(k, dim=-1), v, fade, strength)  # (B, T, H, D)
        return torch.as_tensor(self.output(self.norm(y).flatten(2) * F.silu(self.gate(u))))


class DeltaNetwork(Stack):
    """A memory with gates or the delta rule in every block."""

    config: DeltaConfig

    def __init__(self, config: DeltaConfig) -> None:
        super().__init__(config, config.layers, config.width, lambda: Mixer(config))
