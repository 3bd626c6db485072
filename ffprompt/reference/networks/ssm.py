"""A selective state-space model: a linear recurrence whose input decides what is kept and what is written.

Per head, with the input x_t (P,), the state h (P, N), and Δ_t ≥ 0, B_t and C_t (N,) computed from the input:

    h_t = h_{t-1} exp(Δ_t A) + Δ_t x_t ⊗ B_t        y_t = h_t C_t + D x_t

A is a negative number: Δ = 0 keeps the state, a large Δ replaces it. This is Mamba-2 (Dao & Gu 2024, arXiv 2405.21060).
Mamba (Gu & Dao 2023) has heads of one channel and an A for each of the N numbers. A Mamba of one layer learns the
flip-flop with next to no errors on FFL(0.98) (Sarrof et al. 2024, arXiv 2405.17394).

The recurrence is the gated rule of :mod:`.delta`, with log α = Δ A, keys B, queries C and values Δ x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ffprompt.errors import ConfigError
from ffprompt.reference.networks.base import NetworkConfig, whole
from ffprompt.reference.networks.delta import recall
from ffprompt.reference.networks.kernels import Linear
from ffprompt.reference.networks.recurrent import ShortConvolution, Stack


@dataclass(frozen=True, slots=True)
class SSMConfig(NetworkConfig):
    """``width`` is d, ``state`` N. A layer has ``expansion`` · d channels in ``heads`` heads of equal width P.

    ``convolution`` counts the tokens that the convolution before the recurrence sees. Raises ConfigError when a field
    is not in its range or the channels do not divide into heads.
    """

    layers: int = 1
    width: int = 128
    state: int = 16
    heads: int = 4
    expansion: int = 2
    convolution: int = 4

    def __post_init__(self) -> None:
        NetworkConfig.__post_init__(self)
        for name, most in (("layers", 256), ("width", 65_536), ("state", 4_096), ("heads", 65_536)):
            whole(name, getattr(self, name), 1, most)
        whole("expansion", self.expansion, 1, 64)
        whole("convolution", self.convolution, 1, 256)
        if self.channels % self.heads:
            raise ConfigError(f"heads {self.heads}: they must divide the {self.channels} channels (width · expansion)")

    @property
    def channels(self) -> int:
        """Channels of the recurrence, H · P."""
        return self.width * self.expansion


class Mixer(nn.Module):
    """Convolution, selective recurrence and gate: the one layer that a block has."""

    def __init__(self, config: SSMConfig) -> None:
        super().__init__()
        self.config = config
        e, H, N = config.channels, config.heads, config.state
        self.input = Linear(config.width, 2 * e, bias=False)
        self.convolution = ShortConvolution(e, config.convolution)
        self.select = Linear(e, H + 2 * N, bias=False)  # Δ, B, C
        # As Mamba-2 begins: rates -A between 1 and 16, and a Δ between 0.001 and 0.1.
        self.log_rate = nn.Parameter(torch.empty(H).uniform_(1, 16).log())  # A = -exp of it
        steps = torch.empty(H).uniform_(math.log(1e-3), math.log(1e-1)).exp()
        self.step = nn.Parameter(steps + (-(-steps).expm1()).log())  # softplus of it is ``steps``
        self.skip = nn.Parameter(torch.ones(e))  # D
        self.norm = nn.RMSNorm(e, eps=1e-5)
        self.output = Linear(e, config.width, bias=False)

    def forward(self, u: Tensor) -> Tensor:
        """(B, T, d) for ``u`` (B, T, d)."""
        H, N = self.config.heads, self.config.state
        x, gate = self.input(u).chunk(2, -1)  # (B, T, e) each
        x = F.silu(self.convolution(x))
        # The state must keep a bit over hundreds of tokens: in float32 also where a training computes in bfloat16.
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            step, write, read = self.select(x).split([H, N, N], -1)
            delta = F.softplus(step + self.step)  # (B, T, H)
            heads = x.view(*x.shape[:2], H, -1)  # (B, T, H, P)
            write, read = (part[:, :, None].expand(-1, -1, H, -1) for part in (write, read))  # (B, T, H, N)
            fade = -delta * self.log_rate.exp()
            y = recall(read, write, heads * delta[..., None], fade, None).flatten(2)  # (B, T, e)
            y = y + x * self.skip
        return torch.as_tensor(self.output(self.norm(y * F.silu(gate))))


class SSM(Stack):
    """A selective state-space layer in every block."""

    config: SSMConfig

    def __init__(self, config: SSMConfig) -> None:
        super().__init__(config, config.layers, config.width, lambda: Mixer(config))
