"""Each published layer against its equations, written out token by token for one head and one string."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pad, silu

from ffprompt.errors import ConfigError
from ffprompt.reference.networks import layers, path
from ffprompt.reference.networks.architectures import build, configure
from ffprompt.reference.networks.transformer import Transformer
from ffprompt.reference.training.config import Training
from ffprompt.reference.training.data import Mixture
from ffprompt.reference.training.loop import Trainer
from ffprompt.tasks.flipflop import Spec

T, WIDTH, HEADS = 9, 16, 2
D = WIDTH // HEADS
X = torch.randn(2, T, WIDTH, generator=torch.Generator().manual_seed(5))
NAMES = layers.NAMES[1:]
LONG = 75  # more than one block or chunk, and no multiple of one


def layer(name: str, place: int = 1) -> Any:
    torch.manual_seed(7)
    config = configure("transformer", {"layers": 2, "width": WIDTH, "heads": HEADS, "attention": name, "window": None})
    if name == "hybrid":
        place = 0
    model = build(config, 7)
    assert isinstance(model, Transformer)
    return model.mixer(place)


def head(of: nn.Module, x: Tensor, number: int) -> Tensor:
    """(T, D) what a projection gives one head of the first string."""
    return of(x[0])[:, number * D : (number + 1) * D]


def joined(of: Any, heads: list[Tensor]) -> Tensor:
    return torch.as_tensor(of.out(torch.cat(heads, 1)))


def softmax(scores: list[Tensor]) -> Tensor:
    raised = torch.stack(scores).exp()
    return raised / raised.sum()


@torch.no_grad()
def test_forgetting_attention_is_equation_3_of_its_paper() -> None:
    one = layer("forgetting")
    heads = []
    for h in range(HEADS):
        q, k, v = (head(of, X, h) for of in (one.query, one.key, one.value))
        f = torch.sigmoid(one.gate(X[0])[:, h])
        rows = []
        for i in range(T):
            scores = [
                q[i] @ k[j] / math.sqrt(D) + sum(torch.log(f[m]) for m in range(j + 1, i + 1)) for j in range(i + 1)
            ]
            rows.append(softmax(scores) @ v[: i + 1])
        heads.append(torch.stack(rows))
    torch.testing.assert_close(one(X, None, None)[0], joined(one, heads), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_differential_attention_is_equations_1_to_3_of_its_paper() -> None:
    place = 2
    one = layer("differential", place)
    q1, k1, q2, k2 = one.vectors
    least = 0.8 - 0.6 * math.exp(-0.3 * place)
    share = torch.exp(q1 @ k1) - torch.exp(q2 @ k2) + least
    heads = []
    for h in range(HEADS):
        q, k, v = (head(of, X, h) for of in (one.query, one.key, one.value))
        rows = []
        for i in range(T):
            first, second = (
                softmax([q[i, half] @ k[j, half] / math.sqrt(D // 2) for j in range(i + 1)])
                for half in (slice(0, D // 2), slice(D // 2, D))
            )
            row = (first - share * second) @ v[: i + 1]
            rows.append((1 - least) * row / torch.sqrt(row.square().mean() + 1e-5))
        heads.append(torch.stack(rows))
    torch.testing.assert_close(one(X, None, None)[0], joined(one, heads), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_hard_attention_takes_the_value_of_the_token_with_the_largest_score() -> None:
    one = layer("hard")
    heads = []
    for h in range(HEADS):
        q, k, v = (head(of, X, h) for of in (one.query, one.key, one.value))
        heads.append(torch.stack([v[max(range(i + 1), key=lambda j: float(q[i] @ k[j]))] for i in range(T)]))
    torch.testing.assert_close(one(X, None, None)[0], joined(one, heads), atol=1e-5, rtol=1e-4)


def test_hard_attention_has_the_gradient_of_the_softmax() -> None:
    one = layer("hard")
    x = X.clone()
    seen: list[Tensor] = []
    one(x, None, seen).sum().backward()
    found = one.key.weight.grad.clone()
    one.zero_grad()
    q, k, v = (one.split(of(x)) for of in (one.query, one.key, one.value))
    soft = one.causal(q @ k.mT / math.sqrt(D), None)
    # The value's part comes from the hard weights, that of the scores from the soft ones.
    one.join(soft @ v.detach()).sum().backward()
    torch.testing.assert_close(found, one.key.weight.grad)
    assert found.abs().sum() > 0
    torch.testing.assert_close(seen[0], soft)


@torch.no_grad()
def test_recurrent_attention_is_the_cell_of_its_paper() -> None:
    one = layer("recurrent")
    heads = []
    for h in range(HEADS):
        k, v = (head(of, X, h) for of in (one.key, one.value))
        numerator, denominator, most = torch.zeros(D), torch.zeros(()), torch.tensor(-torch.inf)
        rows = []
        for t in range(T):
            score = one.token[h] @ k[t] / math.sqrt(D)
            larger = torch.maximum(most, score)
            numerator = numerator * torch.exp(most - larger) + v[t] * torch.exp(score - larger)
            denominator = denominator * torch.exp(most - larger) + torch.exp(score - larger)
            most = larger
            rows.append(numerator / denominator)
        heads.append(torch.stack(rows))
    torch.testing.assert_close(one(X, None, None)[0], joined(one, heads), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_stick_breaking_attention_is_equation_2_of_its_paper() -> None:
    one = layer("stick-breaking")
    heads = []
    for h in range(HEADS):
        q, k, v = (head(of, X, h) for of in (one.query, one.key, one.value))
        rows = []
        for i in range(T):
            share = [torch.sigmoid(q[i] @ k[j] / math.sqrt(D)) for j in range(i)]
            weights = [share[j] * math.prod(1 - float(share[n]) for n in range(j + 1, i)) for j in range(i)]
            rows.append(sum((weight * v[j] for j, weight in enumerate(weights)), torch.zeros(D)))
        heads.append(torch.stack(rows))
    torch.testing.assert_close(one(X, None, None)[0], joined(one, heads), atol=1e-5, rtol=1e-4)


def householder_scores(q: Tensor, k: Tensor, w: Tensor, beta: Tensor) -> Tensor:
    """k_jᵀ H_{j+1} … H_i q_i, (T, T), one transform at a time."""
    found = torch.full((len(q), len(q)), -torch.inf, dtype=q.dtype)
    for i in range(len(q)):
        carried = q[i]
        for j in range(i, -1, -1):
            found[i, j] = k[j] @ carried
            carried = carried - beta[j] * w[j] * (w[j] @ carried)
    return found


@torch.no_grad()
def test_path_attention_is_the_product_of_transforms_of_its_paper() -> None:
    one = layer("path")
    w, beta = one.transforms(X)
    filtered = sum(  # over the token and the two before it, by taps in time
        pad(one.up(one.down(X[0])), (0, 0, 2 - tap, 0))[:T] * one.convolution.weight[tap] for tap in range(3)
    )
    heads = []
    for h in range(HEADS):
        part = silu(filtered + one.convolution.bias)[:, h * D : (h + 1) * D]
        torch.testing.assert_close(w[0, h], part / part.norm(dim=1, keepdim=True))
        torch.testing.assert_close(beta[0, h], 2 * torch.sigmoid(one.strength(X[0])[:, h]))
        q, k, v = (head(of, X, h) for of in (one.query, one.key, one.value))
        weights = (householder_scores(q, k, w[0, h], beta[0, h]) / math.sqrt(D)).softmax(-1)
        heads.append(weights @ v)
    torch.testing.assert_close(one(X, None, None)[0], joined(one, heads), atol=1e-5, rtol=1e-4)


def test_scores_of_path_in_chunks_and_their_gradients_are_those_of_the_products() -> None:
    generator = torch.Generator().manual_seed(0)
    length = 2 * path._CHUNK + 7
    q, k, w = (torch.randn(1, 1, length, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    beta = 2 * torch.rand(1, 1, length, generator=generator, dtype=torch.float64)
    inputs = [x.requires_grad_() for x in (q, k, normalize(w, dim=-1).detach(), beta)]
    rows = path.scores(*inputs)
    fast = path.square(rows, length)[0, 0].tril()
    plain = householder_scores(*(x[0, 0] for x in inputs)).tril()
    torch.testing.assert_close(fast, plain)
    weight = torch.randn(length, length, generator=generator, dtype=torch.float64).tril()
    wanted = torch.autograd.grad((plain * weight).sum(), inputs)
    for found, want in zip(torch.autograd.grad((fast * weight).sum(), inputs), wanted, strict=True):
        torch.testing.assert_close(found, want)


@torch.no_grad()
@pytest.mark.parametrize("positions", ["none", "rope", "alibi"])
def test_a_query_of_a_window_sees_the_last_tokens_alone(positions: str) -> None:
    fields = {"layers": 1, "width": WIDTH, "heads": HEADS, "positions": positions, "window": 3}
    model = build(configure("transformer", fields), 0)
    assert isinstance(model, Transformer)
    one, x = model.blocks[0].attention, long_input()
    whole = one(x, None, None)
    seen: list[Tensor] = []
    torch.testing.assert_close(one(x, None, seen), whole)
    band = torch.ones(LONG, LONG).tril() * torch.ones(LONG, LONG).triu(-2)
    assert torch.equal(seen[0] > 0, band.bool().expand_as(seen[0]))
    at = torch.tensor([[70, 3], [0, 66]])
    torch.testing.assert_close(one(x, at, None), torch.stack([whole[row, at[row]] for row in range(2)]))


def test_a_hybrid_takes_turns_between_a_state_space_layer_and_a_window() -> None:
    model = build(configure("transformer", {"layers": 4, "width": 16, "heads": 2, "attention": "hybrid"}), 0)
    assert isinstance(model, Transformer)
    kinds = [type(block.attention).__name__ for block in model.blocks]
    assert kinds == ["Recurrence", "Attention", "Recurrence", "Attention"]
    assert model.blocks[1].attention.window == 64


def long_input() -> Tensor:
    return torch.randn(2, LONG, WIDTH, generator=torch.Generator().manual_seed(6))


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_in_blocks_has_the_outputs_and_gradients_of_the_open_one(name: str) -> None:
    one, every = layer(name), torch.arange(LONG).expand(2, -1)
    weight = torch.randn(2, LONG, WIDTH, generator=torch.Generator().manual_seed(8))
    outputs, gradients = [], []
    for at in (None, every):
        x = long_input().requires_grad_()
        out = one(x, at, None)
        outputs.append(out.detach())
        gradients.append(torch.autograd.grad((out * weight).sum(), [x, *one.parameters()], allow_unused=True))
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-5, rtol=1e-4)
    for found, want in zip(*gradients, strict=True):
        if want is None:
            assert found is None
        else:
            torch.testing.assert_close(found, want, atol=1e-4, rtol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_a_layer_is_causal_and_answers_for_the_positions_asked_about(name: str) -> None:
    one = layer(name)
    whole = one(X, None, None)
    for place in range(1, T):
        changed = X.clone()
        changed[:, place:] = 5
        torch.testing.assert_close(one(changed, None, None)[:, :place], whole[:, :place])
    at = torch.tensor([[2, 7, 8], [0, 1, 1]])
    torch.testing.assert_close(one(X, at, None), torch.stack([whole[row, at[row]] for row in range(2)]))


@pytest.mark.parametrize("name", NAMES)
def test_a_transformer_of_each_layer_is_trained(name: str) -> None:
    config = configure("transformer", {"layers": 2, "width": 16, "heads": 2, "length": 16, "attention": name})
    model = build(config, 0)
    assert isinstance(model, Transformer)
    assert type(model.blocks[0].attention).__name__ != "Attention"
    recipe = {"steps": 60, "decay_end": 61, "batch": 16, "warmup": 5, "learning_rate": 1e-2}
    trainer = Trainer(config, Training(Mixture.of(Spec.ffl(0.5, 16)), 1, 1, **recipe))  # type: ignore[arg-type]
    losses = [trainer.advance(strings)[0] for strings in trainer.batches()]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"attention": "hart"}, "did you mean 'hard'"),
        (
            {"attention": "hard", "positions": "rope"},
            "positions 'rope': attention 'hard' takes learned",
        ),
        ({"attention": "forgetting", "qk_norm": True}, "qk-norm: attention 'forgetting' has no such setting"),
        ({"attention": "differential", "width": 18, "heads": 6}, "differential needs an even width per head"),
    ],
)
def test_an_option_that_a_layer_has_no_use_for_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        configure("transformer", {"layers": 1, "width": 16, "heads": 2} | fields)
