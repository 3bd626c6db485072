"""Where norms stand, normalised queries and keys, initial weights, no residual, and the z-loss: each by its formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ffprompt.errors import ConfigError, ModelError
from ffprompt.reference.checkpoints import checkpoint as files
from ffprompt.reference.export.export import export
from ffprompt.reference.networks.architectures import build, configure
from ffprompt.reference.networks.base import encode
from ffprompt.reference.networks.transformer import INITS, NORM_PLACEMENTS, Block, Transformer
from ffprompt.reference.training.config import Training
from ffprompt.reference.training.data import Mixture
from ffprompt.reference.training.diagnostics import Monitors
from ffprompt.reference.training.loop import Trainer, targets
from ffprompt.tasks.flipflop import Spec, sample

SIZE = {"layers": 2, "width": 16, "heads": 2, "length": 16}
X = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(1))


def model(**fields: Any) -> Transformer:
    made = build(configure("transformer", SIZE | fields), 3).eval()
    assert isinstance(made, Transformer)
    return made


def block(**fields: Any) -> Block:
    made = model(**fields).blocks[0]
    assert isinstance(made, Block)
    with torch.no_grad():  # norms that are not all alike
        for name, weight in made.named_parameters():
            if "norm" in name or "after" in name:
                weight += torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name)))
    return made


@torch.no_grad()
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("placement", NORM_PLACEMENTS)
def test_norms_stand_where_their_papers_put_them(placement: str, residual: bool) -> None:
    one = block(norm_placement=placement, no_residual=not residual)
    attention, mlp = (lambda x: one.attention(x, None, None)), one.mlp
    first, second, own = one.attention_norm, one.mlp_norm, float(residual)
    if placement == "pre":  # x + f(norm(x))
        h = own * X + attention(first(X))
        expected = own * h + mlp(second(h))
    elif placement == "post":  # norm(x + f(x))
        h = first(own * X + attention(X))
        expected = second(own * h + mlp(h))
    else:  # x + norm(f(norm(x)))
        h = own * X + one.attention_after(attention(first(X)))
        expected = own * h + one.mlp_after(mlp(second(h)))
    torch.testing.assert_close(one(X), expected)
    at = torch.tensor([[2, 7, 8], [0, 1, 1]])
    torch.testing.assert_close(one(X, at), torch.stack([expected[row, at[row]] for row in range(2)]))


@torch.no_grad()
def test_normalised_queries_and_keys_bound_the_scores() -> None:
    one = block(qk_norm=True).attention
    q, k, v = (layer(X).view(2, 9, 2, 8).transpose(1, 2) for layer in (one.query, one.key, one.value))
    q, k = (x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() for x in (q, k))
    q, k = q * one.query_norm.weight, k * one.key_norm.weight
    weights = (q @ k.mT / 8**0.5).masked_fill(torch.ones(9, 9).triu(1).bool(), -torch.inf).softmax(-1)
    expected = one.out((weights @ v).transpose(1, 2).reshape(2, 9, 16))
    torch.testing.assert_close(one(X, None, None), expected)
    with torch.no_grad():
        one.query.weight *= 100
    torch.testing.assert_close(one(X, None, None), expected, atol=1e-3, rtol=1e-3)


def spread(weight: Tensor) -> float:
    return float(weight.detach().std())


def test_initial_weights_are_drawn_as_their_papers_say() -> None:
    plain, small, deep = (build(configure("transformer", {"layers": 8, "width": 64, "heads": 2, "init": init}), 3)
                          for init in INITS)  # fmt: skip
    for name, weight in plain.named_parameters():
        other, scaled = small.get_parameter(name), deep.get_parameter(name)
        if weight.dim() == 2 and name.startswith("blocks."):
            assert spread(other) == pytest.approx((2 / (5 * 64)) ** 0.5, rel=0.1)
            writes = name.endswith(("attention.out.weight", "mlp.down.weight"))
            torch.testing.assert_close(scaled, weight / (16**0.5 if writes else 1))
        else:
            assert torch.equal(scaled, weight)
    assert sum(not torch.equal(plain.get_parameter(n), w) for n, w in small.named_parameters()) == 8 * 6


def test_the_z_loss_is_the_mean_square_of_log_z() -> None:
    config = configure("transformer", SIZE)
    strings = sample(Spec.ffl(0.5, 16), 0, 0, 4)
    plain = Training(Mixture.of(Spec.ffl(0.5, 16)), 3, 3, steps=3)
    tokens, rows, positions, answers = targets(strings)
    with torch.no_grad():
        logits = build(config, 3).logits_at(tokens, rows, positions)
    loss, extra = Trainer(config, Training(Mixture.of(Spec.ffl(0.5, 16)), 3, 3, steps=3, z_loss=0.25))._loss(strings, 1)
    assert loss.item() == pytest.approx(float(nn.functional.cross_entropy(logits, answers)))
    assert isinstance(extra, Tensor)
    assert extra.item() == pytest.approx(0.25 * float(logits.exp().sum(-1).log().square().mean()), rel=1e-5)
    assert Trainer(config, plain)._loss(strings, 1)[1] == 0.0


@pytest.mark.parametrize(
    "fields", [{"norm_placement": "post"}, {"norm_placement": "sandwich"}, {"qk_norm": True}, {"no_residual": True}]
)
def test_a_remedy_is_trained_and_kept_in_the_file_and_not_exported(fields: dict[str, Any], tmp_path: Any) -> None:
    config = configure("transformer", SIZE | fields)
    trainer = Trainer(config, Training(Mixture.of(Spec.ffl(0.5, 16)), 3, 3, steps=2, batch=2))
    for strings in trainer.batches():
        trainer.advance(strings)
    path = tmp_path / "m.safetensors"
    files.save(path, trainer.model, trainer.training, 0.5)
    kept = files.load(path)
    tokens = encode(sample(Spec.ffl(0.5, 16), 0, 0, 2))
    torch.testing.assert_close(kept.model(tokens), trainer.model.eval()(tokens))
    with pytest.raises(ModelError, match="cannot be exported"):
        export(kept, tmp_path / "exported")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"norm_placement": "after"}, "norm-placement 'after' is unknown"),
        ({"init": "smal"}, "did you mean 'small'"),
        ({"qk_norm": 1}, "qk-norm 1: expected true or false"),
    ],
)
def test_an_odd_remedy_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        configure("transformer", SIZE | fields)
    with pytest.raises(ConfigError, match="z-loss -1"):
        Training(Mixture.of(Spec.ffl(0.5, 16)), 3, 3, z_loss=-1)


def test_without_a_residual_the_ranks_collapse_and_the_monitor_says_so() -> None:
    tokens = encode(sample(Spec.ffl(0.8, 16), 0, 0, 4))
    bare, whole = (model(layers=8, no_residual=without) for without in (True, False))
    readings, warnings = Monitors().probe(1, bare, tokens)
    assert readings["rank_residual"] < 0.01
    assert [one.monitor for one in warnings] == ["rank-collapse"]
    readings, warnings = Monitors().probe(1, whole, tokens)
    assert readings["rank_residual"] > 0.1
    assert warnings == []


def test_large_queries_collapse_the_entropy_unless_they_are_normalised() -> None:
    tokens = encode(sample(Spec.ffl(0.8, 16), 0, 0, 4))
    fired = {}
    for normalised in (False, True):
        one = model(qk_norm=normalised)
        with torch.no_grad():
            for block in one.blocks:
                block.attention.query.weight.mul_(1e4)  # type: ignore[union-attr]
        _, warnings = Monitors().probe(1, one, tokens)
        fired[normalised] = [warning.monitor for warning in warnings]
    assert fired == {False: ["attention-entropy"] * 2, True: []}
