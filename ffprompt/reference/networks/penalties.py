"""Attention-sharpening penalties (Liu et al. 2023, R6): smaller the more of a head's attention is on one token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def penalty(kind: str, weights: Sequence[Tensor]) -> Tensor:
    """Mean over layers, strings, heads and queries of ``weights``, (B, H, T, T) a layer, as a scalar.

    ``entropy`` is in nats, ``l2`` and ``linf`` are minus the norm of each query's weights: all attention on one token
    gives 0, -1 and -1.
    """
    return torch.stack([_of_layer(kind, layer) for layer in weights]).mean()


def _of_layer(kind: str, weights: Tensor) -> Tensor:
    match kind:
        case "entropy":
            # Weights behind the mask are 0, where the slope of a logarithm is not finite.
            return -(weights * weights.clamp(min=torch.finfo(weights.dtype).tiny).log()).sum(-1).mean()
        case "l2":
            return -weights.square().sum(-1).sqrt().mean()
        case "linf":
            return -weights.amax(-1).mean()
    raise ValueError(f"penalty {kind!r}: expected entropy, l2 or linf")
