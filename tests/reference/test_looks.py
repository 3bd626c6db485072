"""What is looked at on the way: layers left out, longer strings, and the attention that the log keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ffprompt.errors import ConfigError
from ffprompt.reference.networks.architectures import build, configure
from ffprompt.reference.networks.transformer import Transformer, TransformerConfig
from ffprompt.reference.training.attention_record import MOST_PANELS, MOST_TOKENS, AttentionRecord, source_tokens
from ffprompt.reference.training.config import Training
from ffprompt.reference.training.data import Mixture
from ffprompt.reference.training.diagnostics import Monitors
from ffprompt.reference.training.error_kinds import KINDS, _kinds, error_kinds
from ffprompt.reference.training.looks import Looks, agree
from ffprompt.reference.training.loop import DivergedError, targets
from ffprompt.reference.training.plan import Plan
from ffprompt.reference.training.run import run
from ffprompt.reference.vocabulary import Vocabulary
from ffprompt.tasks import registry
from ffprompt.tasks.flipflop import FLIP_FLOP, Spec, parse

SMALL = TransformerConfig(layers=2, width=16, heads=2, length=16)
TRAINING = Training(Mixture.of(Spec.ffl(0.6, 16)), 3, 3, steps=12, batch=4, learning_rate=1e-2)
PLAN = Plan(log_every=1, evaluate_every=0, monitor_every=3, save_every=5, final_strings=20, keep_attention=True)


def model(config: TransformerConfig = SMALL) -> Transformer:
    made = build(config, 3)
    assert isinstance(made, Transformer)
    return made


def weights(text: str, size: int) -> Any:
    return np.frombuffer(bytes.fromhex(text), np.uint8).reshape(size, size) / 255


# --- losses ---


def test_the_loss_without_a_layer_is_that_of_a_model_that_has_not_got_it() -> None:
    whole = model()
    found = Looks(TRAINING, Plan(monitor_layers=True)).losses(whole)
    assert list(found) == ["loss", "loss_without/0", "loss_without/1"]
    tokens, rows, positions, answers = targets(TRAINING.data.parts[0].sample(3, 0, 16, stream="probe"))

    def loss(blocks: list[nn.Module]) -> float:
        one = model(replace(SMALL, layers=len(blocks)))
        one.load_state_dict(whole.state_dict(), strict=False)
        one.blocks = nn.ModuleList(blocks)
        with torch.no_grad():
            return float(nn.functional.cross_entropy(one.logits_at(tokens, rows, positions), answers))

    first, second = whole.blocks
    assert list(found.values()) == pytest.approx([loss([first, second]), loss([second]), loss([first])], rel=1e-5)
    assert whole.training and list(whole.blocks) == [first, second]


def test_the_loss_on_longer_strings_is_taken_where_the_model_reads_them() -> None:
    config = replace(SMALL, positions="none")
    found = Looks(TRAINING, Plan(monitor_length=40)).losses(model(config))
    assert list(found) == ["loss", "loss_beyond"]
    agree(config, TRAINING, Plan(monitor_length=40))
    with pytest.raises(ConfigError, match="--monitor-length 40: the model has learnt 16 positions, these are 40"):
        agree(SMALL, TRAINING, Plan(monitor_length=40))


TOKENS = torch.from_numpy(TRAINING.vocabulary.encode(TRAINING.data.parts[0].sample(0, 0, 2)).tokens)


def told(monitors: Monitors, step: int, **losses: float) -> list[str]:
    named = {name.replace("_of_", "/"): value for name, value in losses.items()}
    return [one.monitor for one in monitors.probe(step, model(), TOKENS, named)[1]]


def test_a_layer_that_is_worth_nothing_is_told_once_the_task_is_learnt() -> None:
    monitors = Monitors()
    assert told(monitors, 1, loss=0.5, loss_without_of_0=0.5) == []
    assert told(monitors, 2, loss=0.05, loss_without_of_0=0.5, loss_without_of_1=0.055) == ["lazy-layer"]
    assert told(monitors, 3, loss=0.05, loss_without_of_0=0.5, loss_without_of_1=0.055) == []
    assert told(monitors, 4, loss=0.05, loss_without_of_0=0.5, loss_without_of_1=0.08) == []
    assert told(monitors, 5, loss=0.05, loss_without_of_0=0.5, loss_without_of_1=0.055) == ["lazy-layer"]


def test_a_loss_that_is_higher_on_longer_strings_is_forgetting_once_the_task_is_learnt() -> None:
    monitors = Monitors()
    assert told(monitors, 1, loss=0.5, loss_beyond=0.9) == []
    assert told(monitors, 2, loss=0.05, loss_beyond=0.3) == []
    assert told(monitors, 3, loss=0.05, loss_beyond=0.4) == ["forgetting"]
    assert told(monitors, 4, loss=0.05, loss_beyond=0.5) == []


# --- attention ---


def test_the_kept_weights_are_those_of_the_model() -> None:
    strings = TRAINING.data.parts[0].sample(3, 0, 4, stream="probe")
    one = model()
    line = AttentionRecord(strings, TRAINING.vocabulary).first(one)
    (look,), size = line["looks"], len(line["tokens"])
    seen: list[Tensor] = []
    one.hidden(torch.from_numpy(TRAINING.vocabulary.encode(strings).tokens[:1, :size]), seen)
    assert list(look["panels"]) == [f"layer {n}, head {h}" for n in (0, 1) for h in (0, 1)]
    for n, layer in enumerate(seen):
        for h in (0, 1):
            found = weights(look["panels"][f"layer {n}, head {h}"], size)
            np.testing.assert_allclose(found, layer[0, h].detach(), atol=0.5 / 255 + 1e-6)
    assert len(look["wrong"]) == len(line["reads"])


def test_what_is_kept_is_bounded() -> None:
    big = TransformerConfig(layers=12, width=16, heads=2, length=200)
    strings = Spec.ffl(0.6, 200).sample(0, 0, 1)
    record, one = AttentionRecord(strings, Vocabulary(FLIP_FLOP)), model(big)
    line = record.first(one)
    assert len(line["tokens"]) == MOST_TOKENS
    assert len(line["looks"][0]["panels"]) == MOST_PANELS
    assert list(line["looks"][0]["panels"])[-1] == "layer 11, mean of 2 heads"
    lines = [record.look(step, one, [f"trouble {step}"]) for step in range(1, 20)]
    assert sum(made is not None for made in lines) == 6


def test_a_trouble_is_kept_once_with_the_look_before_it() -> None:
    record, one = AttentionRecord(TRAINING.data.parts[0].sample(3, 0, 1), TRAINING.vocabulary), model()

    def steps(line: Any) -> list[int]:
        return [] if line is None else [look["step"] for look in line["looks"]]

    assert steps(record.first(one)) == [0]
    assert steps(record.look(10, one, [])) == []
    assert steps(record.look(20, one, ["rank-collapse", "rank-collapse"])) == [10, 20]
    assert steps(record.look(30, one, ["rank-collapse"])) == []
    again = AttentionRecord(TRAINING.data.parts[0].sample(3, 0, 1), TRAINING.vocabulary)
    again.restore(json.loads(json.dumps(record.state())))
    for other in (record, again):
        assert steps(other.look(40, one, ["vanishing-gradient"])) == [30, 40]
        assert steps(other.end(40, one)) == []
        assert steps(other.broken_off()) == []
        assert steps(other.end(50, one)) == [50]


def test_the_token_that_holds_an_answer_is_found_in_either_way_to_write_a_string() -> None:
    pairs = parse("w1 i0 w0 i1 r0 r0")
    assert source_tokens(pairs, Vocabulary(FLIP_FLOP)).tolist() == [5, 5]
    task = registry.get("undo", ["p_undo=0", "reads=every"])
    strings = task.spec(6, 2).sample(0, 0, 3)
    made = Vocabulary(task).encode(strings)
    names = np.array(Vocabulary(task).names)[made.tokens]
    for row, query, source in zip(made.rows, made.positions - 1, source_tokens(strings, Vocabulary(task)), strict=True):
        writes = [place for place in range(query + 1) if names[row, place].startswith("w")]
        assert source == writes[-1]


# --- kinds of errors ---


def test_the_kind_of_a_read_is_that_of_the_token_on_top() -> None:
    strings = parse("w1 w0 w1 i0 w0 i1 r0")  # tokens 0 1, 2 3, 4 5, 6 7, 8 9, 10 11, 12
    made = Vocabulary(FLIP_FLOP).encode(strings)
    places = {9: "dilution", 8: "dilution", 1: "stale: first", 3: "stale: other", 5: "stale: previous",
              7: "distractor", 12: "elsewhere"}  # fmt: skip
    for place, kind in places.items():
        (found,) = _kinds(strings, made, np.array([place]), Vocabulary(FLIP_FLOP))
        assert KINDS[found] == kind, place


def test_every_read_has_one_kind_and_the_worst_string_is_shown() -> None:
    data = Spec.ffl(0.6, 16)
    found = error_kinds(model(), data, 0, 40, Vocabulary(FLIP_FLOP))
    counts = np.array(list(found["kinds"].values()))
    assert counts[:, [0, 2]].sum() == data.sample(0, 0, 40).is_read.sum()
    assert (counts[:, 1] <= counts[:, 0]).all() and (counts[:, 3] <= counts[:, 2]).all()
    assert sum(found["worst"]["wrong"]) > 0


# --- a training with all of it ---


def lines(folder: Path) -> list[Any]:
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in (folder / "train.jsonl").open()]


def test_the_same_seed_gives_the_same_log_also_after_a_stop(tmp_path: Path) -> None:
    config = replace(SMALL, layers=4, positions="rope", no_residual=True)  # its ranks collapse
    plan = replace(PLAN, monitor_layers=True, monitor_length=32)
    for name in ("one", "two"):
        run(tmp_path / name, config, TRAINING, plan)
    whole = lines(tmp_path / "one")
    assert lines(tmp_path / "two") == whole
    assert {"attention", "kinds", "warning"} <= {line["event"] for line in whole}

    def stop(event: dict[str, Any]) -> None:
        if event["step"] == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", config, TRAINING, plan, watch=stop)
    run(tmp_path / "stopped", config, TRAINING, plan, resume=True)
    assert lines(tmp_path / "stopped") == whole


def test_looking_changes_no_weight(tmp_path: Path) -> None:
    quiet = run(tmp_path / "quiet", SMALL, TRAINING, replace(PLAN, keep_attention=False, monitor_every=0))
    loud = run(tmp_path / "loud", SMALL, TRAINING, replace(PLAN, monitor_layers=True))
    for one, other in zip(quiet.model.parameters(), loud.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_divergence_leaves_the_last_look_in_the_log(tmp_path: Path) -> None:
    training = replace(TRAINING, learning_rate=1000.0, warmup=0, steps=200, decay_end=10**6)
    with pytest.raises(DivergedError):
        run(tmp_path / "m", SMALL, training, replace(PLAN, monitor_every=1))
    found = [line for line in lines(tmp_path / "m") if line["event"] == "attention"]
    assert found[0]["looks"][0]["step"] == 0
    assert found[-1]["looks"][-1]["step"] > 0


@pytest.mark.parametrize(
    ("architecture", "fields", "plan", "said"),
    [
        ("lstm", {}, {"keep_attention": True}, "--keep-attention: this model has no weights of attention"),
        ("lstm", {}, {"monitor_layers": True}, "--monitor-layers: only the layers of a transformer"),
    ],
)
def test_a_model_without_what_is_looked_at_is_refused(
    architecture: str, fields: dict[str, Any], plan: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        agree(configure(architecture, fields), TRAINING, Plan(**plan))
    with pytest.raises(ConfigError, match="it is done at the looks of --monitor-every, which is 0"):
        Plan(monitor_every=0, **plan)
