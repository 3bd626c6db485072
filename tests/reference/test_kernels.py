"""Linear layers by oneDNN: what ``nn.Linear`` gives, whichever of the two a machine takes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ffprompt.reference.networks import kernels
from ffprompt.reference.networks.kernels import Linear, gelu


def pair(bias: bool) -> tuple[Linear, nn.Linear]:
    torch.manual_seed(0)
    mine, plain = Linear(24, 40, bias=bias), nn.Linear(24, 40, bias=bias)
    plain.load_state_dict(mine.state_dict())
    return mine, plain


def outputs_and_gradients(layer: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(torch.linspace(-1, 1, y.numel()).view_as(y))
    return [y.detach(), *(tensor.grad for tensor in (x, *layer.parameters()) if tensor.grad is not None)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 24), (3, 7, 24), (2, 3, 1, 24)])
def test_outputs_and_gradients_are_those_of_the_plain_layer(bias: bool, shape: tuple[int, ...]) -> None:
    mine, plain = pair(bias)
    x = torch.randn(shape)
    found, wanted = outputs_and_gradients(mine, x), outputs_and_gradients(plain, x)
    assert len(found) == len(wanted) == 2 + 1 + bias
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_a_layer_without_the_operator_is_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, plain = pair(True)
    x = torch.randn(4, 24)
    monkeypatch.setattr(kernels, "_OPERATOR", None)
    assert torch.equal(mine(x), plain(x))
    with torch.inference_mode():
        assert torch.equal(gelu(mine, x), nn.functional.gelu(plain(x)))


def test_lower_precision_is_left_to_torch() -> None:
    mine, plain = pair(True)
    x = torch.randn(4, 24)
    with torch.autocast("cpu", torch.bfloat16):
        assert mine(x).dtype == torch.bfloat16
        assert torch.equal(mine(x), plain(x))
    assert torch.equal(mine.double()(x.double()), plain.double()(x.double()))


def test_gelu_is_the_same_with_and_without_a_gradient() -> None:
    mine, plain = pair(True)
    x = 3 * torch.randn(6, 5, 24)
    wanted = nn.functional.gelu(plain(x))
    torch.testing.assert_close(gelu(mine, x), wanted, rtol=1e-5, atol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(gelu(mine, x), wanted, rtol=1e-5, atol=1e-5)
