"""Attention at reads against models' own eager attention, and what heads do that are known."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GptOssConfig, GptOssForCausalLM

from ffprompt.analysis.diagnosis.places import place, roles, token_events, value_of
from ffprompt.backends.local.attention import (
    ANSWERS,
    FIRST,
    IGNORED,
    REST,
    STALE,
    WRITE,
    AttentionModel,
    Change,
    Look,
    attention_of,
)
from ffprompt.backends.local.reference import ReferenceBackend
from ffprompt.backends.local.transformers import TransformersBackend
from ffprompt.config.run_config import make as make_config
from ffprompt.errors import ModelError
from ffprompt.evaluation.plan import Plan
from ffprompt.reference.checkpoints.checkpoint import load, resolve
from ffprompt.reference.export.export import export
from ffprompt.tasks.strings import String
from tests.support.tiny import make, tokenizer


def asked(backend: Any, trials: int = 3, **settings: Any) -> tuple[AttentionModel, list[Look], list[Any], list[String]]:
    """The attention of a backend, and looks, requests and strings of a small plan."""
    reference = isinstance(backend, ReferenceBackend)
    defaults: dict[str, Any] = {
        "backend": "reference" if reference else "transformers", "model": "x", "elicitation": "forced", "shots": 0,
        "template": "raw-compact" if reference else "light-switch", "length": 24, "p_ignore": 0.4, "trials": trials,
    }  # fmt: skip
    plan = Plan(make_config(defaults | settings), backend.capabilities)
    condition = plan.conditions[0]
    batch = plan.batch(condition, 0, trials)
    model = attention_of(backend)
    looks, requests, strings = [], [], []
    for row, question in enumerate(plan.questions(batch)):
        string = batch.strings.string(row)
        tokens = model.tokens(question.request, place(plan.words(condition), string, question.is_chat))
        looks.append(Look(tokens, roles(tokens, string)))
        requests.append(question.request)
        strings.append(string)
    return model, looks, requests, strings


def eager(backend: TransformersBackend, look: Look) -> np.ndarray:
    """(L, H, R, T) rows as the model itself gives them out."""
    before = backend.model.config._attn_implementation
    backend.model.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            ids = torch.from_numpy(look.tokens.ids)[None]
            weights = backend.model(input_ids=ids, output_attentions=True, use_cache=False).attentions
    finally:
        backend.model.set_attn_implementation(before)
    return np.stack([layer[0, :, look.tokens.queries].numpy() for layer in weights])


@pytest.mark.parametrize("architecture", ["gpt2", "gpt-neox", "llama", "mistral", "gemma2", "gemma3"])
def test_rows_and_answers_are_those_of_the_model(architecture: str, tmp_path: Path) -> None:
    backend = TransformersBackend(str(make(tmp_path, architecture)), device="cpu")
    if architecture == "gemma2":
        for layer in backend.model.model.layers:
            layer.self_attn.attn_logit_softcapping = 0.5  # low enough to show
    model, looks, requests, _ = asked(backend)
    rows = model.look(looks, full=True)
    scores: Sequence[Any] = asyncio.run(backend.score(requests))
    for look, own, score in zip(looks, rows, scores, strict=True):
        assert own.full is not None
        np.testing.assert_allclose(own.full, eager(backend, look), atol=1e-4)
        np.testing.assert_allclose(own.logprobs, score.answers, atol=1e-4)
        np.testing.assert_allclose(own.mass.sum(-1) + own.sink, 1, atol=1e-5)
        plain = np.where(own.full > 0, own.full * np.log(np.maximum(own.full, 1e-30)), 0).sum(-1)
        np.testing.assert_allclose(own.entropy, -plain, atol=1e-3)
        write = own.mass[..., WRITE]
        seen = np.broadcast_to(own.reachable[:, None], write.shape)
        np.testing.assert_allclose(1 / (1 + np.exp(-own.margin[seen])), write[seen], atol=1e-4)
        assert np.isnan(own.margin[~seen]).all()
        assert not write[~seen].any()


def test_a_window_hides_a_far_write_and_full_layers_see_it(tmp_path: Path) -> None:
    backend = TransformersBackend(str(make(tmp_path, "gemma3")), device="cpu")
    model, looks, _, _ = asked(backend, p_ignore=0.8, length=60)
    rows = model.look(looks)
    assert all(own.reachable[1].all() for own in rows)
    assert not all(own.reachable[0].all() for own in rows)
    assert max(own.keys[0].max() for own in rows) == 32


def test_a_learned_sink_takes_its_share(tmp_path: Path) -> None:
    words = tokenizer()
    config = GptOssConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, num_local_experts=2, num_experts_per_tok=1, max_position_embeddings=512,
        bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = GptOssForCausalLM(config)
        for layer in made.model.layers:
            layer.self_attn.sinks.data.fill_(1.0)
    made.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    backend = TransformersBackend(str(tmp_path), device="cpu")
    model, looks, _, _ = asked(backend)
    (own, *_) = model.look(looks, full=True)
    assert own.full is not None
    np.testing.assert_allclose(own.full, eager(backend, looks[0]), atol=1e-4)
    assert own.sink.min() > 0.01
    np.testing.assert_allclose(own.mass.sum(-1) + own.sink, 1, atol=1e-5)
    whole = np.concatenate([own.full, own.sink[..., None]], -1)
    plain = np.where(whole > 0, whole * np.log(np.maximum(whole, 1e-30)), 0).sum(-1)
    np.testing.assert_allclose(own.entropy, -plain, atol=1e-3)
    # Rows without a token to cut off are made again, and are the same.
    blank = [Look(look.tokens, np.full_like(look.roles, REST)) for look in looks]
    for same, answers in zip(model.look(looks), model.answers(blank, [Change(cut=WRITE)])[0], strict=True):
        np.testing.assert_allclose(same.logprobs, answers, atol=1e-4)


def test_an_undispatched_model_is_refused_by_name(tmp_path: Path) -> None:
    backend = TransformersBackend(str(make(tmp_path, "bloom")), device="cpu")
    with pytest.raises(ModelError, match=r"BloomForCausalLM does not dispatch.*ffprompt anatomy RUN"):
        attention_of(backend)


def test_an_lstm_is_refused_and_told_what_works() -> None:
    with pytest.raises(ModelError, match=r"model lstm: .* no softmax attention.*ffprompt anatomy RUN"):
        attention_of(ReferenceBackend("lstm"))


def test_the_handbuilt_model_reads_the_write_and_nothing_else() -> None:
    model, looks, _, strings = asked(ReferenceBackend("handbuilt"), trials=8, length=40)
    rows = model.look(looks)
    for own, look in zip(rows, looks, strict=True):
        np.testing.assert_allclose(own.mass[1, 0, :, WRITE], 1, atol=1e-6)
        np.testing.assert_array_equal(
            own.top[0, 0], look.tokens.queries - 1
        )  # its first head looks at the token before
    truths = np.concatenate([string.truth for string in strings])

    def right(**change: Any) -> float:
        found = model.answers(looks, [Change(**change)])[0]
        return float(np.mean(np.concatenate([one.argmax(1) for one in found]) == truths))

    assert right() == 1
    assert right(heads={1: [0]}) < 0.9
    assert right(heads={0: [0]}) < 0.9  # without the marks, the second head does not know which tokens were written
    assert right(heads={0: [0]}, frozen=True) == 1  # its pattern alone matters
    assert right(cut=WRITE) < 0.9
    assert right(cut=IGNORED) == 1
    assert right(cut=FIRST) == 1


def test_an_exported_twin_has_the_rows_of_its_model(tmp_path: Path) -> None:
    export(load(resolve("transformer-4x128")), tmp_path / "twin")
    one, looks, _, _ = asked(ReferenceBackend("transformer-4x128"), length=60)
    other, twins, _, _ = asked(
        TransformersBackend(str(tmp_path / "twin"), device="cpu"), length=60, template="raw-compact"
    )
    assert (one.layers, one.heads, one.groups) == (other.layers, other.heads, other.groups)
    for own, twin, look, same in zip(one.look(looks, True), other.look(twins, True), looks, twins, strict=True):
        assert own.full is not None
        assert twin.full is not None
        np.testing.assert_array_equal(look.roles, same.roles)
        np.testing.assert_allclose(own.full, twin.full, atol=1e-4)
        np.testing.assert_allclose(own.margin, twin.margin, atol=1e-2)
    heads = Change(heads={0: [0], 2: [1]})
    changes = [Change(), heads, Change(cut=STALE), Change(heads={2: [1]}, frozen=True)]
    for own_change, twin_change in zip(one.answers(looks, changes), other.answers(twins, changes), strict=True):
        for own_answers, twin_answers in zip(own_change, twin_change, strict=True):
            np.testing.assert_allclose(own_answers, twin_answers, atol=2e-3)
    own_lens, twin_lens = one.lens(looks), other.lens(twins)
    assert own_lens is not None
    assert twin_lens is not None
    for own_logits, twin_logits in zip(own_lens, twin_lens, strict=True):
        assert len(own_logits) == len(one.layers) + 1
        np.testing.assert_allclose(own_logits, twin_logits, atol=2e-3)
    for layer, mean in one.means(looks).items():
        np.testing.assert_allclose(mean, other.means(twins)[layer], atol=1e-4)


def test_permuted_heads_give_permuted_rows(tmp_path: Path) -> None:
    backend = TransformersBackend(str(make(tmp_path, "llama")), device="cpu")
    model, looks, _, _ = asked(backend)
    before = model.look(looks)
    order = torch.tensor([2, 3, 0, 1])  # whole groups change places, so that each keeps its key and value head
    width = 16
    with torch.no_grad():
        attention = backend.model.model.layers[0].self_attn
        rows = (order[:, None] * width + torch.arange(width)).ravel()
        groups = (torch.tensor([1, 0])[:, None] * width + torch.arange(width)).ravel()
        attention.q_proj.weight.copy_(attention.q_proj.weight[rows].clone())
        attention.k_proj.weight.copy_(attention.k_proj.weight[groups].clone())
        attention.v_proj.weight.copy_(attention.v_proj.weight[groups].clone())
        attention.o_proj.weight.copy_(attention.o_proj.weight[:, rows].clone())
    for one, other in zip(before, model.look(looks), strict=True):
        np.testing.assert_allclose(one.mass[0][order.numpy()], other.mass[0], atol=1e-5)
        np.testing.assert_allclose(one.mass[1], other.mass[1], atol=1e-5)


def test_a_prompt_has_the_same_rows_alone_and_beside_others(tmp_path: Path) -> None:
    backend = TransformersBackend(str(make(tmp_path, "mistral")), device="cpu")
    model, looks, _, _ = asked(backend, trials=5)
    for one, look in zip(model.look(looks), looks, strict=True):
        (alone,) = model.look([look])
        np.testing.assert_allclose(one.mass, alone.mass, atol=1e-5)
        np.testing.assert_array_equal(one.keys, alone.keys)


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    backend = TransformersBackend(str(make(tmp_path, "llama")), device="cpu")
    before = backend.model.config._attn_implementation
    model, looks, requests, _ = asked(backend)
    plain: Any = asyncio.run(backend.score(requests))
    model.answers(looks, [Change(heads={0: [0, 1]})])
    again: Any = asyncio.run(backend.score(requests))
    assert backend.model.config._attn_implementation == before
    np.testing.assert_array_equal(plain[0].answers, again[0].answers)


def test_values_are_found_as_whole_words() -> None:
    assert value_of("turns it on.", ["turns it on.", "turns it off."]) == (9, 11)
    assert value_of("turns it off.", ["turns it on.", "turns it off."]) == (9, 12)
    assert value_of("w1", ["w0", "w1"]) == (1, 2)
    assert value_of("eats an apple", ["eats an apple", "eats a banana"]) == (5, 13)
    assert value_of("eats a banana", ["eats an apple", "eats a banana"]) == (5, 13)
    assert value_of("nothing", ["nothing", "nothing"]) is None


def test_roles_of_tokens_follow_the_string() -> None:
    _, looks, _, strings = asked(ReferenceBackend("transformer-4x128"), trials=20)
    for look, string in zip(looks, strings, strict=True):
        reads = np.flatnonzero(string.is_read)
        events = token_events(look.tokens, reads)
        letters = np.array(list("wri"))[string.events]
        for read, row in zip(reads, look.roles, strict=True):
            anchor = max(n for n in range(read) if letters[n] == "w")
            for event in range(read):
                expected = {"w": WRITE if event == anchor else STALE, "i": IGNORED, "r": ANSWERS}[letters[event]]
                assert row[events == event].tolist() == [expected]
        assert (look.roles[:, 0] == FIRST).all()
