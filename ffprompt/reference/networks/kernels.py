"""Linear layers in float32 on a CPU by oneDNN, which is in every build of torch but not what ``F.linear`` calls there.

On processors that MKL keeps to its slower paths, a layer takes less than half as long, its gradient two thirds.
Elsewhere, in other precisions and where torch has no such operator, everything is ``F.linear``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Torch keeps this operator for its own compiler; it is looked for, not counted on.
_OPERATOR = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None  # type: ignore[no-untyped-call]


class Linear(nn.Linear):
    """``nn.Linear`` with the same weights and results, up to the order of sums."""

    def forward(self, x: Tensor) -> Tensor:
        """(…, out) for ``x`` (…, in)."""
        if _OPERATOR is None or not _suits(self, x):
            return F.linear(x, self.weight, self.bias)
        out: Tensor = _OneDNN.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return out


def gelu(layer: Linear, x: Tensor) -> Tensor:
    """GELU of ``layer(x)``, in one kernel where no gradient is needed."""
    if _OPERATOR is None or torch.is_grad_enabled() or not _suits(layer, x):
        return F.gelu(layer(x))
    return torch.as_tensor(_OPERATOR(x, layer.weight, layer.bias, "gelu", [], "none"))


def _suits(layer: nn.Linear, x: Tensor) -> bool:
    float32 = x.dtype == torch.float32 == layer.weight.dtype and not torch.is_autocast_enabled("cpu")
    return float32 and x.device.type == "cpu"


class _OneDNN(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].flatten(0, -2)  # (N, out)
        dx = _product(gradients[0], weight.t()) if ctx.needs_input_grad[0] else None
        dweight = _product(gradient.t(), x.flatten(0, -2).t())
        return dx, dweight, gradient.sum(0) if ctx.biased else None


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    assert _OPERATOR is not None
    return torch.as_tensor(_OPERATOR(x, weight, bias, "none", [], ""))
