"""A selective state-space model: a linear recurrence whose input decides what is kept and what is written.

Per head, with the input x_t (P,), the state h (P, N), and Δ_t ≥ 0, B_t and C_t (N,) computed from the input:

    h_t = h_{t-1} ∘ exp(Δ_t A) + Δ_t x_t ⊗ B_t        y_t = h_t C_t + D x_t

A (N,) is negative and diagonal: Δ = 0 keeps the state, a large Δ replaces it. This is Mamba (Gu & Dao 2023) where a
head is one channel. Heads of several channels that share Δ are from Mamba-2 (Dao & Gu 2024, arXiv 2405.21060), which
has one A a head (``rates = "head"``). That is the gated rule of :mod:`.delta` with log α = Δ A, keys B, queries C and
values Δ x, and a step takes less time.

A one-layer Mamba learns the flip-flop with next to no errors on FFL(0.98) (Sarrof et al. 2024, arXiv 2405.17394).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ffprompt.errors import ConfigError
from ffprompt.reference.networks.base import NetworkConfig, one_of, whole
from ffprompt.reference.networks.delta import recall
from ffprompt.reference.networks.kernels import Linear
from ffprompt.reference.networks.recurrent import ShortConvolution, Stack, chunks

# Tokens that are compared pair by pair, per head and state; a loop carries the state from chunk to chunk. What is
# computed grows with the chunk, the steps of the loop with its inverse.
_CHUNK = 8
RATES = ("state", "head")


@dataclass(frozen=True, slots=True)
class SSMConfig(NetworkConfig):
    """``width`` is d, ``state`` N. A layer has ``expansion`` · d channels in ``heads`` heads of equal width P.

    ``convolution`` counts the tokens that the convolution before the recurrence sees. ``rates`` says whether each of
    the N numbers of a head has an A of its own (state) or all have one (head). Raises ConfigError when a field is not
    in its range or the channels do not divide into heads.
    """

    layers: int = 1
    width: int = 128
    state: int = 16
    heads: int = 4
    expansion: int = 2
    convolution: int = 4
    rates: str = "state"

    def __post_init__(self) -> None:
        NetworkConfig.__post_init__(self)
        for name, most in (("layers", 256), ("width", 65_536), ("state", 4_096), ("heads", 65_536)):
            whole(name, getattr(self, name), 1, most)
        whole("expansion", self.expansion, 1, 64)
        whole("convolution", self.convolution, 1, 256)
        one_of("rates", self.rates, RATES)
        if self.channels % self.heads:
            raise ConfigError(f"heads {self.heads}: they must divide the {self.channels} channels (width · expansion)")

    @property
    def channels(self) -> int:
        """Channels of the recurrence, H · P."""
        return self.width * self.expansion


def scan(x: Tensor, delta: Tensor, rate: Tensor, write: Tensor, read: Tensor) -> Tensor:
    """h_t C_t (B, T, H, P) of the recurrence above, from h = 0.

    ``x`` is (B, T, H, P), ``delta`` Δ (B, T, H), ``rate`` A (H, N), ``write`` B and ``read`` C (B, T, N), shared by the
    heads. Every exponent is a sum of Δ A over later tokens of one chunk, so at most 0: nothing overflows, however long
    the string.
    """
    T = x.shape[1]
    x, delta, write, read = (
        chunks(part, _CHUNK) for part in (x * delta[..., None], delta, write, read)
    )  # (B, K, Q, …)
    total = delta.cumsum(2)  # (B, K, Q, H)
    since = (total[:, :, :, None] - total[:, :, None]).clamp(min=0)  # (B, K, Q, Q, H): from token s to token t
    decay = (since[..., None] * rate).exp()  # (B, K, Q, Q, H, N)
    behind = torch.ones(_CHUNK, _CHUNK, device=x.device).tril()[..., None]  # (Q, Q, 1): s is not after t
    pairs = read[:, :, :, None] * write[:, :, None] * behind  # (B, K, Q, Q, N)
    weights = (decay * pairs[..., None, :]).sum(-1)  # (B, K, Q, Q, H)
    inside = torch.einsum("bktsh,bkshp->bkthp", weights, x)

    to_end = ((total[:, :, -1:] - total)[..., None] * rate).exp()  # (B, K, Q, H, N)
    written = torch.einsum("bkshp,bkshn->bkhpn", x, to_end * write[:, :, :, None])  # (B, K, H, P, N)
    kept = (total[:, :, -1, :, None] * rate).exp()[:, :, :, None]  # (B, K, H, 1, N)
    state, before = torch.zeros_like(written[:, 0]), []
    # unbind, since the gradient of an index is as large as what was indexed, once a chunk.
    for keep, add in zip(kept.unbind(1), written.unbind(1), strict=True):
        before.append(state)
        state = state * keep + add
    seen = (total[..., None] * rate).exp() * read[:, :, :, None]  # (B, K, Q, H, N)
    y = inside + torch.einsum("bkthn,bkhpn->bkthp", seen, torch.stack(before, 1))
    return y.flatten(1, 2)[:, :T]


class Mixer(nn.Module):
    """Convolution, selective recurrence and gate: the one layer that a block has."""

    def __init__(self, config: SSMConfig) -> None:
        super().__init__()
        self.config = config
        e, H, N = config.channels, config.heads, config.state
        self.input = Linear(config.width, 2 * e, bias=False)
        self.convolution = ShortConvolution(e, config.convolution)
        self.select = Linear(e, H + 2 * N, bias=False)  # Δ, B, C
        # As Mamba begins: rates A of 1 … N, and a Δ between 0.001 and 0.1. Mamba-2: an A between 1 and 16 a head.
        each = torch.arange(1.0, N + 1).repeat(H, 1) if config.rates == "state" else torch.empty(H).uniform_(1, 16)
        self.log_rate = nn.Parameter(each.log())  # (H, N) or (H,), A = -exp of it
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
            y = self._states(heads, delta, write, read).flatten(2) + x * self.skip  # (B, T, e)
        return torch.as_tensor(self.output(self.norm(y * F.silu(gate))))

    def _states(self, x: Tensor, delta: Tensor, write: Tensor, read: Tensor) -> Tensor:
        """h_t C_t (B, T, H, P), for arguments as those of :func:`scan`."""
        rate = -self.log_rate.exp()
        if self.config.rates == "state":
            return scan(x, delta, rate, write, read)
        write, read = (part[:, :, None].expand(-1, -1, x.shape[2], -1) for part in (write, read))  # (B, T, H, N)
        return recall(read, write, x * delta[..., None], delta * rate, None)


class SSM(Stack):
    """A selective state-space layer in every block."""

    config: SSMConfig

    def __init__(self, config: SSMConfig) -> None:
        super().__init__(config, config.layers, config.width, lambda: Mixer(config))
