"""From the scores of one layer at the reads to numbers a head, in torch.

In shapes: B prompts, H heads, R reads (the most in a batch), T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ffprompt.backends.local.attention import ROLES, VALUES, WRITE, Look, Rows

NEVER = float("-inf")


@dataclass
class Layer:
    """What the heads of one layer do at the reads of a batch; fields as in ``attention.Rows``, with B in front."""

    mass: Tensor
    sink: Tensor
    entropy: Tensor
    margin: Tensor
    top: Tensor
    top_value: Tensor
    keys: Tensor
    reachable: Tensor
    full: Tensor | None


@dataclass
class Watching:
    """What is looked at in a batch, and what was found so far.

    Attributes:
        at: (B, R) the tokens whose rows are looked at.
        roles: (B, R, T) what each token is to each read.
        full: Whether whole rows are kept.
        found: By layer.
    """

    at: Tensor
    roles: Tensor
    full: bool = False
    found: dict[int, Layer] = field(default_factory=dict)

    def note(self, layer: int, scores: Tensor, visible: Tensor, sink: Tensor | None = None) -> None:
        """Sum up one layer.

        Args:
            layer: Its number.
            scores: (B, H, R, T) before the softmax, with scale, cap and bias.
            visible: (B, 1, R, T) the tokens that may be seen.
            sink: (H,) the score of a learned sink.
        """
        scores = scores.float().masked_fill(~visible, NEVER)
        whole = _with_sink(scores.logsumexp(-1), sink)  # (B, H, R)
        weights = (scores - whole[..., None]).exp()  # (B, H, R, T)
        roles = torch.stack([self.roles == place for place in range(len(ROLES))], -1).to(weights.dtype)
        is_write = (self.roles == WRITE)[:, None]
        holds = (self.roles <= max(VALUES))[:, None] & visible
        on_write = scores.masked_fill(~is_write, NEVER).logsumexp(-1)
        others = _with_sink(scores.masked_fill(is_write, NEVER).logsumexp(-1), sink)
        entropy = whole - (weights * scores.masked_fill(~visible, 0.0)).sum(-1)
        taken = torch.zeros_like(whole)
        top = weights.argmax(-1)
        if sink is not None:
            taken = (sink.float()[None, :, None] - whole).exp()
            entropy = entropy - taken * sink.float()[None, :, None]
            top = torch.where(taken > weights.amax(-1), -1, top)
        among = weights.masked_fill(~holds, -1.0)
        reachable = (is_write & visible).any(-1)[:, 0]  # (B, R)
        self.found[layer] = Layer(
            mass=torch.einsum("bhrt,brtk->bhrk", weights, roles),
            sink=taken,
            entropy=entropy.clamp_min(0.0),
            margin=(on_write - others).masked_fill(~reachable[:, None], float("nan")),
            top=top,
            top_value=torch.where(among.amax(-1) < 0, -1, among.argmax(-1)),
            keys=visible.sum(-1)[:, 0],
            reachable=reachable,
            full=weights if self.full else None,
        )


def cut_rows(scores: Tensor, visible: Tensor, values: Tensor, roles: Tensor, cut: int, sink: Tensor | None) -> Tensor:
    """Return the outputs (B, H, R, D) of heads that do not see the tokens of a role. ``values`` are (B, H, T, D)."""
    hidden = ~visible | (roles == cut)[:, None]
    scores = scores.float().masked_fill(hidden, NEVER)
    whole = _with_sink(scores.logsumexp(-1), sink)
    weights = (scores - whole[..., None]).exp().nan_to_num(0.0)
    return weights.to(values.dtype) @ values


def _with_sink(whole: Tensor, sink: Tensor | None) -> Tensor:
    return whole if sink is None else torch.logaddexp(whole, sink.float()[None, :, None].expand_as(whole))


def tables(looks: Sequence[Look], device: Any) -> tuple[Tensor, Tensor]:
    """Queries (B, R) and roles (B, R, T) of a batch, padded. A prompt with fewer reads repeats its first."""
    reads = max(len(look.tokens.queries) for look in looks)
    longest = max(len(look.tokens) for look in looks)
    at = np.zeros((len(looks), reads), np.int64)
    roles = np.full((len(looks), reads, longest), -1, np.int8)
    for row, look in enumerate(looks):
        count, size = len(look.tokens.queries), len(look.tokens)
        at[row] = look.tokens.queries[0]
        at[row, :count] = look.tokens.queries
        roles[row, :, :size] = look.roles[0]
        roles[row, :count, :size] = look.roles
    return torch.from_numpy(at).to(device), torch.from_numpy(roles).to(device)


def rows_of(
    found: Mapping[int, Layer], layers: Sequence[int], row: int, look: Look, logprobs: NDArray[np.float64]
) -> Rows:
    """Return the rows of one prompt of a batch, without its padding."""
    reads, size = len(look.tokens.queries), len(look.tokens)

    def stacked(name: str) -> Any:
        parts = [getattr(found[layer], name)[row] for layer in layers]
        return torch.stack([part.cpu() for part in parts]).numpy()  # (L, …)

    whole = found[layers[0]].full
    return Rows(
        logprobs=logprobs,
        mass=stacked("mass")[:, :, :reads],
        sink=stacked("sink")[:, :, :reads],
        entropy=stacked("entropy")[:, :, :reads],
        margin=stacked("margin")[:, :, :reads],
        top=stacked("top")[:, :, :reads],
        top_value=stacked("top_value")[:, :, :reads],
        keys=stacked("keys")[:, :reads],
        reachable=stacked("reachable")[:, :reads],
        full=stacked("full")[:, :, :reads, :size] if whole is not None else None,
    )


def no_rows(logprobs: NDArray[np.float64]) -> Rows:
    """Return the rows of a model without a head that can be looked at."""
    reads = len(logprobs)
    none = np.zeros((0, 0, reads), np.float32)
    whole = none.astype(np.int64)
    return Rows(
        logprobs=logprobs,
        mass=np.zeros((0, 0, reads, len(ROLES)), np.float32),
        sink=none,
        entropy=none,
        margin=none,
        top=whole,
        top_value=whole,
        keys=np.zeros((0, reads), np.int64),
        reachable=np.zeros((0, reads), np.bool_),
    )
