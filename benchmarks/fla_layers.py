"""Compare layers with the reference forms in flash-linear-attention: python benchmarks/fla_layers.py

Needs: pip install --no-deps fla-core einops. The package's layers need triton, its reference forms are plain torch, so
only their files are loaded here. Outputs and gradients are compared in float32 on random inputs.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ffprompt.reference.networks import path
from ffprompt.reference.networks.attention import attend, with_bias
from ffprompt.reference.networks.delta import recall
from ffprompt.reference.networks.layers import sticks

B, T, H, D = 2, 150, 2, 16
SCALE = D**-0.5


def reference(name: str, function: str) -> Callable[..., Any]:
    """Return a function of one file of the installed package."""
    package = importlib.util.find_spec("fla")
    if package is None or package.submodule_search_locations is None:
        raise SystemExit("fla is not installed: pip install --no-deps fla-core einops")
    file = Path(package.submodule_search_locations[0], "ops", *name.split("."), "naive.py")
    spec = importlib.util.spec_from_file_location(f"fla_{name.replace('.', '_')}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[..., Any] = getattr(module, function)
    return found


def compare(name: str, ours: Callable[..., Tensor], theirs: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
    """Print the largest difference of outputs, and of gradients over the largest gradient. Inputs are (B, T, H, …)."""
    mine, other = ([x.clone().requires_grad_() for x in inputs] for _ in range(2))
    out, wanted = ours(*mine), theirs(*other)
    weight = torch.randn(wanted.shape)
    gradients = (torch.autograd.grad((one * weight).sum(), xs) for one, xs in ((out, mine), (wanted, other)))
    slopes = [float((a - b).abs().max() / b.abs().max()) for a, b in zip(*gradients, strict=True)]
    apart = float((out - wanted).detach().abs().max())
    print(f"{name:16} outputs {apart:.1e}  gradients {max(slopes):.1e}", flush=True)


def main() -> None:
    """Compare every layer that the package has in a reference form."""
    torch.manual_seed(0)
    q, k, v, w = (torch.randn(B, T, H, D) for _ in range(4))
    w = torch.nn.functional.normalize(w, dim=-1)
    share, fade = torch.rand(B, T, H), torch.nn.functional.logsigmoid(torch.randn(B, T, H) + 2)

    def turned(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Put heads before tokens, and back."""
        return lambda *parts: function(*(part.transpose(1, 2) for part in parts)).transpose(1, 2)

    def forgetting(q: Tensor, k: Tensor, v: Tensor, fade: Tensor) -> Tensor:
        return attend(*with_bias(q, k, -fade.cumsum(-1), SCALE), v, SCALE)

    def householder(q: Tensor, k: Tensor, v: Tensor, w: Tensor, beta: Tensor) -> Tensor:
        rows = [(row * SCALE).softmax(-1) for row in path.scores(q, k, w, beta)]
        whole = path.square(rows, T)
        return whole @ v

    naive = reference("forgetting_attn", "naive_forgetting_attn")
    compare("forgetting", turned(forgetting), naive, [q, k, v, fade])
    naive_path = reference("path_attn", "naive_path_attn")
    none = torch.zeros(B, T, H)
    compare("path", turned(householder), lambda *x: naive_path(*x, none, SCALE), [q, k, v, w, 2 * share])
    naive_sticks = reference("stickbreaking_attn", "naive_stickbreaking_attn")
    places = torch.arange(T)[None]
    compare(
        "stick-breaking",
        turned(lambda q, k, v: sticks(q * SCALE, k, places) @ v),
        lambda *x: naive_sticks(*x)[0],
        [q, k, v],
    )
    naive_delta = reference("gated_delta_rule", "naive_recurrent_gated_delta_rule")
    compare(
        "gated-delta",
        recall,
        lambda q, k, v, fade, beta: naive_delta(q, k, v, beta, fade, scale=1.0)[0],
        [q, w, v, fade, share],
    )


if __name__ == "__main__":
    main()
