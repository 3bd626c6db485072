"""The Transformer of the paper, decoder only, with the choices of its experiments R5 and R6 as options.

By default norms stand before each layer, attention has no biases, and initial weights and dropout places are as in the
library that the paper trained with (x-transformers), so that a recipe means the same here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ffprompt.errors import ConfigError
from ffprompt.reference.networks import layers
from ffprompt.reference.networks.attention import attend, attend_openly, exact, hidden_keys, with_bias
from ffprompt.reference.networks.base import Network, NetworkConfig, number, one_of, whole
from ffprompt.reference.networks.kernels import Linear, gelu
from ffprompt.reference.networks.path import PathAttention
from ffprompt.reference.networks.positions import POSITIONS, Alibi, Cope, T5Bias, rotate, sinusoids
from ffprompt.reference.networks.ssm import Mixer, SSMConfig

ACTIVATIONS = ("gelu", "geglu", "swiglu")
NORMS = ("layernorm", "rmsnorm")
NORM_PLACEMENTS = ("pre", "post", "sandwich")
INITS = ("default", "small", "depth")
# Reads a string are padded to a multiple of this: every new shape costs the matrix library a plan.
_STEP = 16
_WINDOW = 64  # of a hybrid, in tokens


@dataclass(frozen=True, slots=True)
class TransformerConfig(NetworkConfig):
    """The defaults are the paper's baseline: 6 layers, width 512, 8 heads, 19 million parameters.

    ``length`` is the size of a learned table of positions, the most tokens of a string, and of CoPE's, where further
    ones share the last. Other positions have no end.
    ``attention`` is a layer of :mod:`.layers`, or the softmax of the paper. ``window`` is how many keys a query of the
    softmax sees, None for all. In a ``hybrid`` blocks 0, 2, … are state-space layers and the others attend to a window
    (Samba, Ren et al. 2024, arXiv 2406.07522). Only the softmax and the hybrid know rope, alibi, t5 and cope.
    ``expansion`` is the width of the MLP over that of the model, ``temperature`` divides the scores of attention.
    ``norm_placement`` says where norms stand: before a layer (pre), after the layer and what it is added to (post,
    Vaswani et al. 2017), or before and after the layer (sandwich, Ding et al. 2021). ``qk_norm`` normalises queries and
    keys (Henry et al. 2020). ``init`` draws all matrices small (σ² = 2 / 5d, Nguyen and Salazar 2019), or divides those
    that write to the residual stream by √2L (depth, Radford et al. 2019). ``no_residual`` adds nothing to a layer's
    output. Raises ConfigError when a field is not in its range or the width does not divide into heads.
    """

    layers: int = 6
    width: int = 512
    heads: int = 8
    length: int = 512
    positions: str = "learned"
    attention: str = "softmax"
    activation: str = "gelu"
    norm: str = "layernorm"
    expansion: int = 4
    attention_dropout: float = 0.0
    mlp_dropout: float = 0.0
    embedding_dropout: float = 0.0
    temperature: float = 1.0
    norm_placement: str = "pre"
    qk_norm: bool = False
    init: str = "default"
    no_residual: bool = False
    window: int | None = None

    def __post_init__(self) -> None:
        NetworkConfig.__post_init__(self)
        for name, most in (("layers", 256), ("width", 65_536), ("heads", 1_024), ("length", 1 << 22)):
            whole(name, getattr(self, name), 1, most)
        whole("expansion", self.expansion, 1, 64)
        one_of("positions", self.positions, POSITIONS)
        one_of("attention", self.attention, layers.NAMES)
        if self.attention == "hybrid":
            if self.layers < 2:
                raise ConfigError(f"layers {self.layers}: attention 'hybrid' takes at least 2, which take turns")
        elif self.attention != "softmax":
            self._check_layer()
        if self.window is not None:
            whole("window", self.window, 1, 1 << 22)
        one_of("activation", self.activation, ACTIVATIONS)
        one_of("norm", self.norm, NORMS)
        one_of("norm-placement", self.norm_placement, NORM_PLACEMENTS)
        one_of("init", self.init, INITS)
        for name in ("qk_norm", "no_residual"):
            if type(getattr(self, name)) is not bool:
                raise ConfigError(f"{name.replace('_', '-')} {getattr(self, name)!r}: expected true or false")
        for name in ("attention_dropout", "mlp_dropout", "embedding_dropout"):
            number(name, getattr(self, name), 0, 0.99)
        number("temperature", self.temperature, 1e-6, 1e6)
        if self.width % self.heads:
            raise ConfigError(f"width {self.width}: it must divide into {self.heads} heads")
        if self.positions == "rope" and self.width // self.heads % 2:
            raise ConfigError(f"width {self.width} in {self.heads} heads: rope needs an even width per head")

    def _check_layer(self) -> None:
        """Raise ConfigError for an option that another layer than the softmax has no use for."""
        if self.positions not in ("learned", "sinusoidal", "none"):
            raise ConfigError(
                f"positions {self.positions!r}: attention {self.attention!r} takes learned, sinusoidal, none"
            )
        for name, usual in (("qk_norm", False), ("attention_dropout", 0.0), ("temperature", 1.0), ("window", None)):
            if getattr(self, name) != usual:
                raise ConfigError(f"{name.replace('_', '-')}: attention {self.attention!r} has no such setting")
        if self.attention == "differential" and self.width // self.heads % 2:
            raise ConfigError(f"width {self.width} in {self.heads} heads: differential needs an even width per head")

    @property
    def shows_weights(self) -> bool:
        """Whether every block has weights of attention to look at."""
        return self.attention not in ("differential", "hybrid")

    @property
    def scale(self) -> float:
        """What scores are multiplied by: 1 / (√D · temperature)."""
        return float((self.width // self.heads) ** -0.5 / self.temperature)


class Attention(nn.Module):
    """Causal attention of H heads over a string, for all of its tokens or for those that are asked about."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.window = config.window or (_WINDOW if config.attention == "hybrid" else None)
        d = config.width
        self.query, self.key, self.value, self.out = (Linear(d, d, bias=False) for _ in range(4))
        D = d // config.heads
        self.query_norm, self.key_norm = (nn.RMSNorm(D, eps=1e-6) if config.qk_norm else nn.Identity() for _ in "qk")
        self.bias: Alibi | T5Bias | None = None
        self.cope: Cope | None = None
        if config.positions == "alibi":
            self.bias = Alibi(config.heads)
        elif config.positions == "t5":
            self.bias = T5Bias(config.heads, D)
        elif config.positions == "cope":
            self.cope = Cope(D, config.length)

    def forward(self, x: Tensor, at: Tensor | None, seen: list[Tensor] | None) -> Tensor:
        """Outputs (B, T, d) for ``x`` (B, T, d), or (B, R, d) for the positions ``at`` (B, R).

        Weights (B, H, T or R, T) are appended to ``seen`` where it is a list.
        """
        B, T, d = x.shape
        asked = x if at is None else x.gather(1, at[..., None].expand(-1, -1, d))
        q, k, v = self._heads(asked, self.query), self._heads(x, self.key), self._heads(x, self.value)
        q, k = self.query_norm(q), self.key_norm(k)
        if self.config.positions == "rope":
            everywhere = torch.arange(T, device=x.device)[None]
            q, k = rotate(q, everywhere if at is None else at), rotate(k, everywhere)
        dropout = self.config.attention_dropout if self.training else 0.0
        plain = at is None and seen is None and not dropout and self.cope is None
        if plain and self.bias is None:
            out = attend(q, k, v, self.config.scale, self.window)
        elif plain and isinstance(self.bias, Alibi) and exact(q):
            out = attend(*with_bias(q, k, self.bias.of_keys(T), self.config.scale), v, self.config.scale, self.window)
        else:
            out, weights = attend_openly(v, self._scores(q, k, at), at, dropout, self.window)
            if seen is not None:
                seen.append(weights)
        return torch.as_tensor(self.out(out.transpose(1, 2).reshape(B, -1, d)))

    def _heads(self, x: Tensor, layer: Linear) -> Tensor:
        B, T = x.shape[:2]
        return torch.as_tensor(layer(x)).view(B, T, self.config.heads, -1).transpose(1, 2)  # (B, H, T, D)

    def _scores(self, q: Tensor, k: Tensor, at: Tensor | None) -> Tensor:
        """Scores (B, H, R, T) before the mask."""
        T = k.shape[2]
        scores = (q @ k.transpose(2, 3)) * self.config.scale
        if self.bias is not None:
            keys = torch.arange(T, device=k.device)
            scores = scores + self.bias((keys[None] if at is None else at)[..., None] - keys)
        elif self.cope is not None:
            scores = scores + self.cope(q, scores, hidden_keys(at, T, k.device))
        return scores


class Recurrence(nn.Module):
    """The state-space layer of a hybrid, with the arguments of attention."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.mixer = Mixer(SSMConfig(width=config.width, heads=config.heads, rates="head"))

    def forward(self, x: Tensor, at: Tensor | None, seen: list[Tensor] | None) -> Tensor:
        """Outputs (B, T, d) for ``x`` (B, T, d), or (B, R, d) for the positions ``at`` (B, R)."""
        out: Tensor = self.mixer(x)
        return out if at is None else out.gather(1, at[..., None].expand(-1, -1, x.shape[2]))


class MLP(nn.Module):
    """Two linear layers around an activation. Gated ones have a second projection that the first one opens."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        inner = config.width * config.expansion
        self.up = Linear(config.width, inner)
        self.gate = Linear(config.width, inner) if config.activation != "gelu" else None
        self.down = Linear(inner, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d) for ``x`` (B, T, d)."""
        if self.gate is None:
            h = gelu(self.up, x)  # (B, T, expansion · d)
        else:
            opened = gelu(self.gate, x) if self.config.activation == "geglu" else F.silu(self.gate(x))
            h = opened * self.up(x)
        return torch.as_tensor(self.down(F.dropout(h, self.config.mlp_dropout, self.training)))


class Block(nn.Module):
    """Attention, then the MLP, each added to what came in."""

    def __init__(self, config: TransformerConfig, mixer: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.attention_norm = norm(config)
        self.attention = cast("Attention", mixer)  # or what is called like it
        self.mlp_norm, self.mlp = norm(config), MLP(config)
        sandwich = config.norm_placement == "sandwich"
        self.attention_after, self.mlp_after = (norm(config) if sandwich else nn.Identity() for _ in range(2))

    def forward(self, x: Tensor, at: Tensor | None = None, seen: list[Tensor] | None = None) -> Tensor:
        """(B, T, d) for ``x`` (B, T, d). With ``at`` (B, R) only these positions, (B, R, d)."""
        own = x if at is None else x.gather(1, at[..., None].expand(-1, -1, x.shape[2]))
        if self.config.norm_placement == "post":
            x = self.attention_norm(self._added(own, self.attention(x, at, seen)))
            return torch.as_tensor(self.mlp_norm(self._added(x, self.mlp(x))))
        x = self._added(own, self.attention_after(self.attention(self.attention_norm(x), at, seen)))
        return self._added(x, self.mlp_after(self.mlp(self.mlp_norm(x))))

    def _added(self, x: Tensor, output: Tensor) -> Tensor:
        return output if self.config.no_residual else x + output


class Transformer(Network):
    """Embedding, blocks, norm, linear head. Weights are drawn from torch's global generator."""

    config: TransformerConfig

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        nn.init.normal_(self.embedding.weight, std=(2 / config.width) ** 0.5)
        self.positions = nn.Embedding(config.length, config.width) if config.positions == "learned" else None
        self.blocks = nn.ModuleList(Block(config, self.mixer(place)) for place in range(config.layers))
        self.norm = norm(config) if config.norm_placement != "post" else nn.Identity()
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        self._initialise()

    def mixer(self, place: int) -> nn.Module:
        """What mixes the tokens of block ``place``: (x, positions or None, weights or None) to (B, T or R, d)."""
        config = self.config
        match config.attention:
            case "softmax":
                return Attention(config)
            case "hybrid":
                return Attention(config) if place % 2 else Recurrence(config)
            case "path":
                return PathAttention(config.width, config.heads)
        return layers.layer(config.attention, config.width, config.heads, place)

    def _initialise(self) -> None:
        """Draw or scale the matrices as ``init`` says. By default they stay as they are."""
        config = self.config
        for name, weight in self.blocks.named_parameters():
            if weight.dim() != 2 or config.init == "default":
                continue
            if config.init == "small":
                nn.init.normal_(weight, std=(2 / (5 * config.width)) ** 0.5)
            elif name.endswith(("attention.out.weight", "mlp.down.weight")):
                weight.data.div_((2 * config.layers) ** 0.5)

    @property
    def longest(self) -> int | None:
        """The length of a learned table of positions."""
        return self.config.length if self.positions is not None else None

    def hidden(self, tokens: Tensor, seen: list[Tensor] | None = None) -> Tensor:
        """The last layer's output after each token, (B, T, d). Each block's weights (B, H, T, T) go to ``seen``."""
        x = self._embed(tokens)
        for block in self.blocks:
            x = block(x, None, seen)
        return torch.as_tensor(self.norm(x))

    def hidden_at(self, tokens: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        """``hidden`` (R, d) where it is asked for. The last block computes keys and values for the other tokens."""
        at, slots = spread(rows, positions - 1, len(tokens))
        x = self._embed(tokens)
        for block in self.blocks[:-1]:
            x = block(x)
        return torch.as_tensor(self.norm(self.blocks[-1](x, at)[rows, slots]))

    def _embed(self, tokens: Tensor) -> Tensor:
        T, d = tokens.shape[1], self.config.width
        x = torch.as_tensor(self.embedding(tokens))  # (B, T, d)
        if self.positions is not None:
            if len(self.positions.weight) < T:
                raise ConfigError(f"{T} tokens: this model has learnt {len(self.positions.weight)} positions")
            x = x + self.positions.weight[:T] * d**-0.5
        elif self.config.positions == "sinusoidal":
            x = x + sinusoids(T, d).to(x) * d**-0.5
        return F.dropout(x, self.config.embedding_dropout, self.training)


def norm(config: TransformerConfig) -> nn.Module:
    """The norm that a config asks for."""
    return nn.LayerNorm(config.width) if config.norm == "layernorm" else nn.RMSNorm(config.width, eps=1e-5)


def spread(rows: Tensor, values: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """Put ``values`` (R,) of the strings ``rows`` (R,) side by side: a table (B, most of a string), and their columns.

    rows [0, 2, 0], values [5, 6, 7] become [[5, 7, 0 …], [0 …], [6, 0 …]] and columns [0, 0, 1]. Unused places are 0.
    """
    order = torch.argsort(rows, stable=True)
    counts = torch.bincount(rows, minlength=batch)  # (B,)
    starts = counts.cumsum(0) - counts
    columns = torch.empty_like(rows)
    columns[order] = torch.arange(len(rows), device=rows.device) - starts[rows[order]]
    width = -(-int(counts.max()) // _STEP) * _STEP
    table = values.new_zeros(batch, width)
    table[rows, columns] = values
    return table, columns
