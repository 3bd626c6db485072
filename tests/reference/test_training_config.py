"""The recipe in numbers: schedules at their ends, losses and penalties against plain arithmetic, and determinism."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ffprompt.errors import ConfigError, RunFailedError
from ffprompt.reference.networks.architectures import build
from ffprompt.reference.networks.base import encode
from ffprompt.reference.networks.lstm import LSTMConfig
from ffprompt.reference.networks.penalties import penalty
from ffprompt.reference.networks.transformer import Transformer, TransformerConfig
from ffprompt.reference.training.config import Sharpening, Training
from ffprompt.reference.training.data import Mixture
from ffprompt.reference.training.evaluate import evaluate
from ffprompt.reference.training.loop import DivergedError, Trainer, targets, train
from ffprompt.tasks.flipflop import Spec, parse, sample

SMALL = TransformerConfig(layers=2, width=16, heads=2, length=32)
DATA = Mixture.parse("FFL(0.5)", 16)


@pytest.fixture(autouse=True)
def one_core() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def recipe(**fields: Any) -> Training:
    return Training(**{"data": DATA, "model_seed": 0, "data_seed": 0, "steps": 4, "batch": 4, **fields})


# --- the learning rate ---


def test_the_rate_warms_up_over_50_steps_and_falls_to_0_at_step_10_001() -> None:
    rate = recipe(steps=10_000).rate
    assert rate(1) == pytest.approx(3e-4 / 50)
    assert rate(25) == pytest.approx(1.5e-4)
    assert rate(50) == pytest.approx(3e-4)
    assert rate(51) == pytest.approx(3e-4 * 9_950 / 9_951)
    assert rate(10_000) == pytest.approx(3e-4 / 9_951)
    assert rate(10_001) == 0
    rates = [rate(step) for step in range(1, 10_001)]
    assert max(rates) == rates[49] and min(rates) > 0
    # straight on both sides
    assert np.ptp(np.diff(rates[:50])) < 1e-12 and np.ptp(np.diff(rates[49:])) < 1e-12


def test_without_warm_up_the_first_step_is_already_on_the_way_down() -> None:
    assert recipe(warmup=0, decay_end=10).rate(1) == pytest.approx(3e-4 * 9 / 10)


def test_the_optimizer_takes_each_step_at_its_rate() -> None:
    trainer = Trainer(LSTMConfig(width=4, hidden=4), recipe(warmup=2, decay_end=6))
    rates = []
    for strings in trainer.batches():
        trainer.advance(strings)
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1.5e-4, 3e-4, 3e-4 * 3 / 4, 3e-4 * 2 / 4])


# --- sharpening ---


@pytest.mark.parametrize("start", [0, 20])
def test_schedules_at_their_ends(start: int) -> None:
    steps, period = 100, 40
    constant, linear, wave = (
        Sharpening("entropy", 0.3, schedule, start, period) for schedule in ("constant", "linear", "oscillating")
    )
    for one in (constant, linear, wave):
        assert one.at(start, steps) == 0
    assert [constant.at(step, steps) for step in (start + 1, steps)] == [0.3, 0.3]
    assert linear.at(start + 1, steps) == pytest.approx(0.3 / (steps - start))
    assert linear.at((start + steps) // 2, steps) == pytest.approx(0.15)
    assert linear.at(steps, steps) == pytest.approx(0.3)
    assert wave.at(start + 10, steps) == pytest.approx(0.15)
    assert wave.at(start + 20, steps) == pytest.approx(0.3)
    assert wave.at(start + 40, steps) == pytest.approx(0, abs=1e-12)
    assert all(0 <= wave.at(step, steps) <= 0.3 for step in range(1, steps + 1))


def test_no_penalty_has_no_coefficient() -> None:
    assert Sharpening("none", 5.0).at(7, 10) == 0


def test_a_penalty_that_no_step_would_see_is_refused() -> None:
    recipe(sharpening=Sharpening("l2", 1.0, start=3))
    recipe(sharpening=Sharpening(start=4))
    with pytest.raises(ConfigError, match="sharpen-start 4"):
        recipe(sharpening=Sharpening("l2", 1.0, start=4))


def naive(kind: str, layers: list[Tensor]) -> Tensor:
    """The penalty, query by query over the keys that it sees."""
    values = []
    for weights in layers:
        B, H, T, _ = weights.shape
        for b, h, t in np.ndindex(B, H, T):
            seen = weights[b, h, t, : t + 1]
            match kind:
                case "entropy":
                    values.append(-(seen * seen.log()).sum())
                case "l2":
                    values.append(-torch.linalg.vector_norm(seen))
                case "linf":
                    values.append(-seen.max())
    return torch.stack(values).mean()


@pytest.mark.parametrize("kind", ["entropy", "l2", "linf"])
def test_a_penalty_and_its_gradient_are_those_of_plain_arithmetic(kind: str) -> None:
    tokens = encode(sample(Spec.ffl(0.5, 8), 0, 0, 2))
    found = []
    for how in (penalty, naive):
        model = build(SMALL, 1)
        assert isinstance(model, Transformer)
        with torch.no_grad():  # far enough from uniform for the penalties to differ
            for block in model.blocks:
                block.get_parameter("attention.query.weight").mul_(8)
        seen: list[Tensor] = []
        model.hidden(tokens, seen)
        value = how(kind, seen)
        value.backward()  # type: ignore[no-untyped-call]
        gradients = {name: w.grad for name, w in model.named_parameters() if w.grad is not None}
        found.append((value.item(), gradients))
    (value, gradients), (expected, by_hand) = found
    assert value == pytest.approx(expected, rel=1e-5)
    assert gradients.keys() == by_hand.keys() and "blocks.1.attention.key.weight" in gradients
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, by_hand[name], rtol=1e-4, atol=1e-7)


def test_penalties_of_hard_and_of_even_attention() -> None:
    hard, even = torch.eye(4)[None, None], (torch.ones(4, 4).tril() / torch.arange(1, 5)[:, None])[None, None]
    for kind, at_best in (("entropy", 0.0), ("l2", -1.0), ("linf", -1.0)):
        assert float(penalty(kind, [hard, hard])) == pytest.approx(at_best)
    assert float(penalty("entropy", [even])) == pytest.approx(math.log(24) / 4)
    assert float(penalty("l2", [even])) == pytest.approx(-sum(n**-0.5 for n in range(1, 5)) / 4)
    assert float(penalty("linf", [even])) == pytest.approx(-(1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert float(penalty("linf", [hard, even])) == pytest.approx((-1 - (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4) / 2)


def test_entropy_of_weights_that_are_0_has_a_finite_gradient() -> None:
    scores = torch.tensor([[[[300.0, 0.0], [0.0, 300.0]]]], requires_grad=True)
    penalty("entropy", [scores.softmax(-1)]).backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None and torch.isfinite(scores.grad).all()


def test_sharpening_changes_weights_and_not_the_loss_that_is_told() -> None:
    plain, sharp = (recipe(sharpening=Sharpening(kind, 2.0, start=2)) for kind in ("none", "entropy"))
    one, other = train(SMALL, plain), train(SMALL, sharp)
    # Step 3 is the first with the penalty, and its loss is still that of the same weights.
    assert other.losses[:3] == pytest.approx(one.losses[:3], abs=1e-5)
    assert any(not torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))


# --- the loss ---


def test_targets_worked_example() -> None:
    strings = parse("w1r1i0r1")
    tokens, rows, positions, answers = targets(strings)
    assert tokens.tolist() == [[0, 4, 1, 4, 2, 3, 1]]
    assert (rows.tolist(), positions.tolist(), answers.tolist()) == ([0, 0], [3, 7], [4, 4])
    tokens, rows, positions, answers = targets(strings, "noisy")
    assert positions.tolist() == [1, 2, 3, 4, 5, 6, 7] and answers.tolist() == [4, 1, 4, 2, 3, 1, 4]


@pytest.mark.parametrize("objective", ["clean", "noisy"])
def test_the_loss_of_a_step_is_the_mean_of_minus_the_log_probabilities(objective: str) -> None:
    trainer = Trainer(SMALL, recipe(objective=objective))
    strings = trainer.training.source.batch(1, 4)
    tokens = encode(strings)
    logp = build(SMALL, 0)(tokens).log_softmax(-1)
    wanted = [
        -logp[b, t - 1, tokens[b, t]].item()
        for b in range(4)
        for t in range(1, 16)
        if objective == "noisy" or (t % 2 and strings.is_read[b, t // 2])
    ]
    assert trainer.advance(strings)[0] == pytest.approx(sum(wanted) / len(wanted), rel=1e-5)


# --- training ---


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_recipe_gives_one_set_of_weights_and_leaves_the_generators_alone(dropout: float) -> None:
    config = replace(SMALL, attention_dropout=dropout, mlp_dropout=dropout, embedding_dropout=dropout)
    before = torch.random.get_rng_state()
    first = train(config, recipe())
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    second, other = train(config, recipe()), train(config, recipe(model_seed=1))
    assert first.losses == second.losses != other.losses
    assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True))


def test_dropout_differs_between_steps() -> None:
    trainer = Trainer(replace(SMALL, mlp_dropout=0.5), recipe(learning_rate=0.0))
    strings = trainer.training.source.batch(1, 4)
    assert trainer.advance(strings)[0] != trainer.advance(strings)[0]


def test_a_step_that_diverges_leaves_the_weights() -> None:
    trainer = Trainer(SMALL, recipe())
    strings = trainer.training.source.batch(1, 4)
    with torch.no_grad():
        trainer.model.head.weight.fill_(math.inf)
    before = [weight.clone() for weight in trainer.model.parameters()]
    with pytest.raises(DivergedError, match="training step 1"):
        trainer.advance(strings)
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))
    assert trainer.step == 0


def test_the_norm_that_is_told_is_that_before_clipping() -> None:
    free, clipped = (Trainer(SMALL, recipe(clip=clip)) for clip in (None, 1e-3))
    strings = free.training.source.batch(1, 4)
    assert free.advance(strings) == clipped.advance(strings)
    norm = math.sqrt(sum(float(w.grad.square().sum()) for w in clipped.model.parameters() if w.grad is not None))
    assert norm == pytest.approx(1e-3, rel=1e-3)


def test_a_recipe_survives_its_record() -> None:
    mixed = recipe(data=Mixture.parse("2*FFL(0.5)+FFL(0.1)", 16), sharpening=Sharpening("l2", 0.1, "linear", 2), clip=1)
    assert Training.from_record(json.loads(json.dumps(mixed.record()))) == mixed


# --- evaluation ---


def test_errors_are_counted_read_by_read() -> None:
    model = build(SMALL, 0)
    spec = Spec.ffl(0.5, 16)
    strings = sample(spec, 9, 0, 30)
    best = model(encode(strings)).argmax(-1)  # (B, T)
    gaps: dict[int, int] = {}
    for b, k in np.argwhere(strings.is_read).tolist():
        if best[b, 2 * k] != 3 + strings.values[b, k]:
            gap = k - max(j for j in range(k) if strings.events[b, j] == 0)
            gaps[gap] = gaps.get(gap, 0) + 1
    found = evaluate(model, spec, 9, 30, batch=7)
    assert (found.strings, found.reads) == (30, int(strings.is_read.sum()))
    assert found.errors == sum(gaps.values()) > 0
    assert dict(found.gaps) == gaps
    assert found.low <= found.rate <= found.high


def test_a_model_whose_outputs_are_no_numbers_is_not_counted_as_wrong() -> None:
    model = build(SMALL, 0)
    with torch.no_grad():
        model.head.weight.fill_(math.nan)
    with pytest.raises(RunFailedError, match="no numbers"):
        evaluate(model, Spec.ffl(0.5, 16), 9, 4)


def test_an_evaluation_of_no_strings_is_refused() -> None:
    with pytest.raises(ConfigError, match="strings 0"):
        evaluate(build(SMALL, 0), Spec.ffl(0.5, 16), 9, 0)
