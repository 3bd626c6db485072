"""Warnings during a training: each from a training or a model that really has the trouble, none from healthy ones."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ffprompt.reference.networks.architectures import build
from ffprompt.reference.networks.base import Network, NetworkConfig, encode
from ffprompt.reference.networks.lstm import LSTM, LSTMConfig
from ffprompt.reference.networks.transformer import Transformer, TransformerConfig
from ffprompt.reference.training.config import Training
from ffprompt.reference.training.data import Mixture
from ffprompt.reference.training.diagnostics import WINDOW, Limits, Monitors, layer_norms, look, residual
from ffprompt.reference.training.diagnostics import Warning as Trouble
from ffprompt.reference.training.loop import DivergedError, Trainer
from ffprompt.tasks.flipflop import Spec, sample

SMALL_LSTM = LSTMConfig(width=16, hidden=16)
SMALL = TransformerConfig(layers=2, width=16, heads=2, length=32)
TOKENS = encode(sample(Spec.ffl(0.8, 32), 5, 0, 4))


@pytest.fixture(autouse=True)
def one_core() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trainer(config: NetworkConfig, **settings: Any) -> Trainer:
    data = Mixture.parse(settings.pop("data", "FFL(0.8)"), 32)
    return Trainer(config, Training(data, 0, 0, **{"steps": 220, "batch": 8, **settings}))


def watched(work: Trainer, monitors: Monitors, steps: int = 10_000) -> list[Trouble]:
    """Train with the monitors on, to the end or for ``steps``; a divergence ends it too."""
    found = []
    batches = work.batches()
    try:
        for _, strings in zip(range(steps), batches, strict=False):
            loss, norm = work.advance(strings)
            found += monitors.step(work.step, loss, norm, layer_norms(work.model))
            if work.step % 10 == 0:
                found += monitors.probe(work.step, work.model, TOKENS)[1]
    except DivergedError:
        pass
    finally:
        batches.close()  # type: ignore[attr-defined]
    return found


def transformer() -> Transformer:
    model = build(SMALL, 0)
    assert isinstance(model, Transformer)
    return model


def names(found: list[Trouble]) -> list[str]:
    return [one.monitor for one in found]


# --- healthy trainings ---


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (SMALL_LSTM, {"learning_rate": 1e-2}),
        (SMALL_LSTM, {"learning_rate": 3e-3, "objective": "noisy"}),
        (replace(SMALL_LSTM, layers=2), {"learning_rate": 3e-3, "data": "FFL(0.8)+FFL(0.98)+FFL(0.1)"}),
        (SMALL, {"learning_rate": 3e-3}),
        (SMALL, {"learning_rate": 3e-3, "data": "FFL(0.1)", "clip": 1.0}),
    ],
    ids=["lstm", "lstm-noisy", "lstm-mixture", "transformer", "transformer-dense"],
)
def test_a_healthy_training_raises_nothing(config: NetworkConfig, settings: dict[str, Any]) -> None:
    work = trainer(config, **settings)
    assert watched(work, Monitors()) == []
    assert work.step == 220


def test_noise_of_the_losses_is_no_oscillation_and_converging_no_vanishing_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    monitors, found = Monitors(), []
    for step, noise in enumerate(torch.randn(2_000, generator=generator).tolist(), 1):
        loss = 0.7 * math.exp(-step / 100) * math.exp(0.5 * noise)
        found += monitors.step(step, loss, 3 * loss * math.exp(noise / 2), {"a": loss, "b": loss / 50})
    assert found == []


# --- the loss ---


def test_too_large_a_rate_after_convergence_is_an_oscillation_told_once() -> None:
    work, monitors = trainer(SMALL_LSTM, learning_rate=1e-2), Monitors()
    assert watched(work, monitors, 150) == []
    work.training = replace(work.training, learning_rate=3.0)
    found = [one for one in watched(work, monitors) if one.monitor == "loss-oscillation"]
    assert len(found) == 1
    (one,) = found
    assert 150 < one.step < 200
    assert one.value is not None and one.limit is not None and one.value > one.limit
    assert "\n" not in one.text
    assert f"at step {one.step}" in one.text and "--learning-rate" in one.text


def losses(monitors: Monitors, first: int, values: list[float]) -> list[Trouble]:
    return [one for step, loss in enumerate(values, first) for one in monitors.step(step, loss, 1.0)]


def test_the_limit_of_an_oscillation_is_as_documented() -> None:
    monitors = Monitors(Limits(loss_rise=0.1))
    assert losses(monitors, 1, [0.5] * WINDOW) == []
    # Means of 20: 0.5 + 0.1 · k after k steps at 2.5; above 0.5 + 0.1 from the second on.
    assert losses(monitors, 21, [2.5]) == []
    (one,) = losses(monitors, 22, [2.5] * 30)
    assert (one.step, one.value, one.limit) == (22, pytest.approx(0.7), pytest.approx(0.6))
    assert one.text == "loss rose from 0.5 to 0.7 within 2 steps at step 22: lower --learning-rate"
    # Over, and a second episode.
    assert losses(monitors, 52, [0.5] * 40) == []
    assert names(losses(monitors, 92, [2.5] * 30)) == ["loss-oscillation"]


def test_deviations_of_the_best_window_raise_the_limit() -> None:
    noisy = [0.4, 0.6] * (WINDOW // 2)  # mean 0.5, deviation 0.1: the limit is 0.9
    for level, expected in ((0.89, []), (0.91, ["loss-oscillation"])):
        monitors = Monitors()
        losses(monitors, 1, noisy)
        assert names(losses(monitors, 21, [level] * WINDOW)) == expected


def test_a_loss_that_is_no_number_is_told_once_and_does_not_stay_in_the_windows() -> None:
    monitors = Monitors()
    losses(monitors, 1, [0.5] * WINDOW)
    (one,) = losses(monitors, 21, [math.nan, math.inf, math.nan])
    assert (one.step, one.monitor, one.value, one.limit) == (21, "non-finite", None, None)
    assert "loss" in one.text
    assert losses(monitors, 24, [0.5]) == []
    assert names(losses(monitors, 25, [9.0])) == ["loss-oscillation"]  # not hidden by what came before
    (again,) = monitors.step(99, 0.5, math.inf)
    assert again.monitor == "non-finite" and "gradient" in again.text
    json.dumps(monitors.state(), allow_nan=False)


# --- gradients ---


def test_a_rate_beyond_all_measure_explodes_the_gradient() -> None:
    work, monitors = trainer(SMALL, learning_rate=30.0, steps=60), Monitors()
    found = [one for one in watched(work, monitors) if one.monitor == "exploding-gradient"]
    assert found
    assert all(one.value is not None and one.limit is not None and one.value > one.limit for one in found)
    assert "--clip" in found[0].text


def test_an_explosion_is_one_episode_until_the_norms_are_calm_for_a_window() -> None:
    monitors = Monitors()

    def norms(first: int, values: list[float]) -> list[str]:
        return [one.monitor for step, norm in enumerate(values, first) for one in monitors.step(step, 0.5, norm)]

    assert norms(1, [1.0] * WINDOW + [19.0]) == []
    assert norms(22, [21.0, 1.0, 30.0, 1.0, 25.0]) == ["exploding-gradient"]
    assert norms(27, [1.0] * WINDOW) == []
    assert norms(60, [21.0]) == ["exploding-gradient"]


def gradients(model: Network, monitors: Monitors, first: int, steps: int) -> list[Trouble]:
    """The warnings of real gradients of ``model``, whose weights stay."""
    found = []
    for step in range(first, first + steps):
        tokens = encode(sample(Spec.ffl(0.8, 32), step, 0, 4))
        model.zero_grad()
        loss = nn.functional.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        by_layer = layer_norms(model)
        norm = math.sqrt(math.fsum(value**2 for value in by_layer.values()))
        found += monitors.step(step, loss.item(), norm, by_layer)
    return found


def test_a_gradient_that_dies_while_the_loss_is_high_is_told_once() -> None:
    model, monitors = transformer(), Monitors()
    assert gradients(model, monitors, 1, WINDOW) == []
    with torch.no_grad():  # logits of nearly nothing: a loss of ln V, and hardly a slope
        for weight in (model.head.weight, *model.norm.parameters()):
            weight.mul_(1e-5)
    (one,) = [one for one in gradients(model, monitors, 21, 2 * WINDOW) if one.monitor == "vanishing-gradient"]
    assert one.value is not None and one.limit is not None and one.value < one.limit


def test_a_layer_cut_off_from_the_loss_is_named() -> None:
    model, monitors = build(LSTMConfig(width=16, hidden=16, layers=2), 0), Monitors()
    assert gradients(model, monitors, 1, WINDOW) == []
    assert isinstance(model, LSTM)
    with torch.no_grad():
        model.lstm.weight_ih_l1.mul_(1e-9)
    found = gradients(model, monitors, 21, 2 * WINDOW)
    assert names(found) == ["vanishing-layer"] * 2
    assert "gradient of embedding" in found[0].text and "gradient of lstm.0" in found[1].text


def test_norms_by_layer_are_those_of_the_blocks_and_sum_to_the_whole() -> None:
    model = transformer()
    model(TOKENS).square().mean().backward()
    found = layer_norms(model)
    assert list(found) == ["embedding", "positions", "blocks.0", "blocks.1", "norm", "head"]
    block = torch.cat([weight.grad.flatten() for weight in model.blocks[1].parameters() if weight.grad is not None])
    assert found["blocks.1"] == pytest.approx(float(block.norm()), rel=1e-5)
    whole = nn.utils.get_total_norm([weight.grad for weight in model.parameters() if weight.grad is not None])
    assert math.hypot(*found.values()) == pytest.approx(float(whole), rel=1e-5)


def test_layers_of_a_recurrent_network_are_apart_and_weights_that_are_not_trained_do_not_count() -> None:
    model = build(LSTMConfig(width=4, hidden=4, layers=2), 0)
    assert layer_norms(model) == {"embedding": 0.0, "lstm.0": 0.0, "lstm.1": 0.0, "head": 0.0}
    model.get_parameter("embedding.weight").requires_grad_(False)
    assert "embedding" not in layer_norms(model)


# --- attention and hidden states ---


def test_entropy_of_attention_is_that_of_its_weights() -> None:
    model = transformer()
    seen: list[Tensor] = []
    model.hidden(TOKENS, seen)
    found = look(model, TOKENS)
    assert list(found) == ["attention_entropy/0", "attention_entropy/1", "rank_residual"]
    for layer, weights in enumerate(seen):
        rows = [
            -math.fsum(w * math.log(w) for w in row.tolist() if w > 0)
            for row in weights[:, :, 1:].reshape(-1, weights.shape[-1]).double()
        ]
        assert found[f"attention_entropy/{layer}"] == pytest.approx(math.fsum(rows) / len(rows), rel=1e-5)


def test_attention_on_single_tokens_is_told_for_its_layer_once() -> None:
    model, monitors = transformer(), Monitors()
    with torch.no_grad():
        model.blocks[1].get_parameter("attention.query.weight").mul_(1e5)
    readings, found = monitors.probe(100, model, TOKENS)
    assert readings["attention_entropy/0"] > 1
    assert readings["attention_entropy/1"] < 0.01
    (one,) = found
    assert (one.step, one.monitor) == (100, "attention-entropy")
    equal = (
        math.fsum(math.log(keys) for keys in range(2, 33)) / 31
    )  # entropy of equal weights, the first query left out
    assert one.limit == pytest.approx(0.1 * equal)
    assert "layer 1" in one.text
    assert monitors.probe(200, model, TOKENS)[1] == []
    assert monitors.probe(300, transformer(), TOKENS)[1] == []
    assert names(monitors.probe(400, model, TOKENS)[1]) == ["attention-entropy"]


def test_attention_on_single_tokens_is_no_trouble_once_the_task_is_learnt() -> None:
    model, monitors = transformer(), Monitors()
    with torch.no_grad():
        model.blocks[1].get_parameter("attention.query.weight").mul_(1e5)
    assert monitors.probe(100, model, TOKENS, {"loss": 0.09})[1] == []
    assert names(monitors.probe(200, model, TOKENS, {"loss": 0.11})[1]) == ["attention-entropy"]


@pytest.mark.parametrize("config", [SMALL, SMALL_LSTM], ids=["transformer", "lstm"])
def test_hidden_states_that_are_all_the_same_are_a_collapse(config: NetworkConfig) -> None:
    model, monitors = build(config, 0), Monitors()
    healthy, none = monitors.probe(1, model, TOKENS)
    assert healthy["rank_residual"] > 0.1 and none == []
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name or "embedding" in name or "weight_hh" in name:
                weight.zero_()  # tokens say nothing
            if name == "norm.bias":
                weight.fill_(1.0)
            if name == "lstm.bias_ih_l0":  # shut forget gates: the time since the first token says nothing either
                weight[16:32] = -30.0
    readings, found = monitors.probe(2, model, TOKENS)
    assert readings["rank_residual"] < 1e-5
    assert names(found) == ["rank-collapse"]


def test_the_residual_worked_by_hand() -> None:
    x = torch.tensor([[[3.0, 0.0], [1.0, 0.0]], [[2.0, 2.0], [2.0, 2.0]], [[0.0, 0.0], [0.0, 0.0]]])
    # mean (2, 0), spread √2 over √10; the other strings have none
    assert float(residual(x[:1])) == pytest.approx(math.sqrt(2 / 10))
    assert float(residual(x)) == pytest.approx(math.sqrt(2 / 10) / 3)


def test_hidden_states_that_are_no_number_are_told_and_not_recorded() -> None:
    model, monitors = transformer(), Monitors()
    with torch.no_grad():
        model.norm.get_parameter("weight").fill_(math.inf)
    readings, found = monitors.probe(7, model, TOKENS)
    assert "rank_residual" not in readings
    assert names(found) == ["non-finite"]
    json.dumps(readings, allow_nan=False)


# --- what monitors leave alone ---


@pytest.mark.parametrize("training", [True, False])
def test_a_probe_leaves_mode_gradients_and_random_numbers_as_they_were(training: bool) -> None:
    model = build(replace(SMALL, attention_dropout=0.5, mlp_dropout=0.5, embedding_dropout=0.5), 0).train(training)
    before = torch.random.get_rng_state()
    first, _ = Monitors().probe(1, model, TOKENS)
    assert first == Monitors().probe(1, model, TOKENS)[0]  # no dropout
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(module.training == training for module in model.modules())
    assert all(weight.grad is None for weight in model.parameters())


def test_a_monitored_training_has_the_weights_of_one_that_is_not() -> None:
    config = replace(SMALL, mlp_dropout=0.2)
    quiet, loud = (trainer(config, steps=20) for _ in range(2))
    for strings in quiet.batches():
        quiet.advance(strings)
    watched(loud, Monitors())
    for one, other in zip(quiet.model.parameters(), loud.model.parameters(), strict=True):
        assert torch.equal(one, other)


# --- resuming ---


@pytest.mark.slow
def test_a_resumed_training_warns_at_the_steps_of_an_uninterrupted_one() -> None:
    def stop_and_go(stops: list[int]) -> list[Trouble]:
        work, monitors, found = trainer(SMALL, learning_rate=1.0, steps=80, batch=4), Monitors(), []
        for stop in stops:
            found += watched(work, monitors, stop - work.step)
            monitors = Monitors.restore(json.loads(json.dumps(monitors.state())))
        return found

    whole = stop_and_go([80])
    assert {"loss-oscillation", "rank-collapse"} & set(names(whole))
    first = whole[0].step
    for stop in (7, first - 1, first):
        assert stop_and_go([stop, 80]) == whole, stop


def test_a_state_is_a_copy_and_one_of_another_shape_is_refused() -> None:
    monitors = Monitors(Limits(explosion=7))
    losses(monitors, 1, [0.5] * 5)
    state = monitors.state()
    losses(Monitors.restore(state), 6, [0.7] * 5)
    losses(monitors, 6, [0.7])
    assert state["memory"]["losses"] == [0.5] * 5
    assert state["limits"]["explosion"] == 7
    with pytest.raises(TypeError, match="unknown"):
        Monitors.restore({"limits": {}, "memory": {"unknown": 1}})
