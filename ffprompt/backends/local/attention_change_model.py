"""What a change does to the outputs of one attention layer, in torch.

In shapes: B prompts, T tokens, R reads, H heads, D width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ffprompt.backends.local.attention import Change


def start_of(change: Change) -> int | None:
    """Return the first layer that a change reaches. None where it changes nothing."""
    if change.cut is not None:
        return 0
    return min((layer for layer, heads in change.heads.items() if heads), default=None)


def without_heads(change: Change, layer: int, output: Tensor) -> Tensor:
    """Return the outputs (B, T, H, D) of a layer without the heads that a change takes away."""
    heads = list(change.heads.get(layer, ()))
    if not heads:
        return output
    output = output.clone()
    instead: Any = 0.0
    if change.mode == "mean" and change.means is not None:
        instead = torch.from_numpy(change.means[layer][heads]).to(output)
    output[:, :, heads] = instead
    return output


def put(output: Tensor, at: Tensor, rows: Tensor) -> Tensor:
    """Return outputs (B, T, H, D) with the rows (B, H, R, D) at the tokens ``at`` (B, R)."""
    index = at[:, :, None, None].expand(-1, -1, rows.shape[1], rows.shape[3])
    return output.scatter(1, index, rows.transpose(1, 2).to(output.dtype))
