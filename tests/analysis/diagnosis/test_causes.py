"""Patching, layers and probes on models whose workings are known, and passes that begin at a changed block."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import ffprompt
from ffprompt.analysis.diagnosis.collect import Asked
from ffprompt.analysis.diagnosis.estimates import Estimate, ratios
from ffprompt.analysis.diagnosis.layers import layers, shape
from ffprompt.analysis.diagnosis.probe import LOST, NONE, THERE, UNCLEAR, verdict
from ffprompt.analysis.diagnosis.ridge import chosen_strength, train
from ffprompt.backends.local.attention import Change, Pair
from ffprompt.backends.local.reference import ReferenceBackend
from ffprompt.backends.local.transformers import TransformersBackend
from ffprompt.cli.main import main
from ffprompt.errors import ModelError
from ffprompt.reference.checkpoints.checkpoint import load, resolve
from ffprompt.reference.export.export import export
from tests.analysis.diagnosis.test_attention import asked
from tests.analysis.diagnosis.test_numbers import table
from tests.support.tiny import make

SMALL = {"length": 20, "p_ignore": 0.4, "strings": 12}


def pairs(model: Any, looks: Any, strings: Any) -> Iterator[Pair]:
    """The first read of each prompt, with the token of its write flipped."""
    for look, string in zip(looks, strings, strict=True):
        tokens, read = look.tokens, int(np.flatnonzero(string.is_read)[0])
        write = int(np.flatnonzero(string.events[:read] == 0)[-1])
        query, true = int(tokens.queries[0]), int(string.answers[read])
        (place,) = tokens.values[write]
        clean = tokens.ids[: query + 1]
        corrupt = clean.copy()
        corrupt[place] = tokens.candidates[0][1 - true]
        candidates = int(tokens.candidates[0][true]), int(tokens.candidates[0][1 - true])
        yield Pair(clean, corrupt, candidates, ((place,), tuple(range(place + 1, query)), (query,)))


def test_the_known_head_carries_the_write_and_the_other_nothing(tmp_path: Path) -> None:
    found = ffprompt.diagnose("handbuilt", out=tmp_path, patch=True, layers=True, probe=True, **SMALL)
    (one,) = found.conditions
    assert one.patching is not None
    effects = {head.name: head.effect.estimate for head in one.patching.heads if head.effect}
    assert effects == pytest.approx({"L0H0": 0, "L1H0": 1}, abs=1e-6)
    groups = {(site.layer, site.group): site.effect.estimate for site in one.patching.groups if site.effect}
    assert groups[0, "write"] == groups[1, "write"] == pytest.approx(1)
    assert groups[0, "read"] == groups[1, "read"] == pytest.approx(0)
    assert sum(point.total.reads for point in one.patching.by_gap if point.total) == one.patching.pairs
    assert any("heads that carry it: L1H0 1.00" in said for said in found.conclusions)
    rows = pd.read_parquet(Path(found.folder) / "patching.parquet")
    assert len(rows) == one.patching.pairs * (2 * 3 + 2)
    sites = rows[rows.group == "write"]
    np.testing.assert_allclose(sites.patched, sites.clean)
    assert one.layers is not None
    assert not any(layer.lazy for layer in one.layers.attention)
    assert one.probe is not None
    last = one.probe.states[-1].at_reads
    assert last is not None
    assert last.estimate == 1  # the head's answer stands in channels of its own
    assert one.probe.verdict == NONE


def test_an_exported_twin_is_patched_alike_from_the_write_on(tmp_path: Path) -> None:
    export(load(resolve("transformer-4x128")), tmp_path / "twin")
    one, looks, _, strings = asked(ReferenceBackend("transformer-4x128"), length=40, trials=2)
    other, twins, _, _ = asked(
        TransformersBackend(str(tmp_path / "twin"), device="cpu"), length=40, trials=2, template="raw-compact"
    )
    for own, twin in zip(pairs(one, looks, strings), pairs(other, twins, strings), strict=True):
        mine, theirs = one.patch(own), other.patch(twin)
        assert mine.clean == pytest.approx(theirs.clean, abs=1e-3)
        assert mine.corrupt == pytest.approx(theirs.corrupt, abs=1e-3)
        np.testing.assert_allclose(mine.groups, theirs.groups, atol=2e-3)
        np.testing.assert_allclose(mine.heads, theirs.heads, atol=2e-3)
        np.testing.assert_allclose(mine.groups[0, 0], mine.clean, atol=1e-3)  # the write's token is the clean one
        assert mine.groups[0, 2] == pytest.approx(mine.corrupt, abs=1e-3)  # the read's token is the same before


@pytest.mark.parametrize("architecture", ["gpt2", "mistral"])
def test_a_pass_that_begins_at_the_changed_block_is_the_whole_pass(architecture: str, tmp_path: Path) -> None:
    backend = TransformersBackend(str(make(tmp_path, architecture)), device="cpu")
    model, looks, _, _ = asked(backend, length=16)
    blocks = backend.model.transformer.h if architecture == "gpt2" else backend.model.model.layers
    passes = []
    handle = blocks[0].register_forward_hook(lambda *_: passes.append(1))
    changes = [Change(), Change(heads={1: [2]}), Change(heads={1: [0, 3]}), Change(heads={1: [2]}, frozen=True)]
    plain, changed, *_ = model.answers(looks, changes)
    handle.remove()
    assert len(passes) == 4  # earlier blocks are asked for what they were given, and compute nothing
    attention = blocks[1].attn if architecture == "gpt2" else blocks[1].self_attn
    with torch.no_grad():
        if architecture == "gpt2":
            attention.c_proj.weight[32:48] = 0
        else:
            attention.o_proj.weight[:, 32:48] = 0
    (whole,) = model.answers(looks, [Change()])
    for first, second, before in zip(changed, whole, plain, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-4)
        assert np.abs(first - before).max() > 1e-3


def test_a_layer_whose_attention_does_nothing_is_lazy() -> None:
    backend = ReferenceBackend("transformer-4x128")
    network: Any = backend.network
    torch.nn.init.zeros_(network.blocks[1].attention.out.weight)
    model, looks, _, strings = asked(backend, trials=4)
    numbers: Any = np.arange(4)
    condition: Any = None
    prompts = Asked(condition, numbers, numbers, strings, looks, [tuple(string.truth.tolist()) for string in strings])
    entropies = table(1, len(model.layers) * model.heads, entropy=np.ones((1, len(model.layers) * model.heads)))
    found, _ = layers(prompts, model, model, entropies)
    assert [one.layer for one in found.attention if one.lazy] == [1]
    assert found.attention[1].change is not None
    assert found.attention[1].change.estimate < 1e-5
    assert any("lazy layers 1:" in warning for warning in found.warnings)


def test_shapes_of_states_are_those_of_the_definitions() -> None:
    rank, residual, cosine = shape(np.eye(4, 8, dtype=np.float32))
    assert rank == pytest.approx(4)
    assert residual == pytest.approx((3 / 4) ** 0.5)
    assert cosine == pytest.approx(0)
    rank, residual, cosine = shape(np.ones((5, 3), np.float32))
    assert (rank, residual, cosine) == pytest.approx((1, 0, 1), abs=1e-3)
    assert np.isnan(shape(np.ones((1, 3), np.float32))).all()


def test_a_probe_tells_what_is_linear_and_not_what_is_random() -> None:
    rng = np.random.default_rng(0)
    states = rng.normal(size=(400, 30))
    string, label = np.arange(400) // 8, (states[:, 3] > 0).astype(np.int64)
    half = string % 2 == 0
    strength, score = chosen_strength(states[half], label[half], 2, string[half], np.ones(half.sum(), bool))
    assert score > 0.85
    labels = np.column_stack([label, rng.integers(2, size=400)])
    right = train(states[half], labels[half], 2, strength).labels(states[~half]) == labels[~half]
    assert right[:, 0].mean() > 0.85
    assert 0.35 < right[:, 1].mean() < 0.65
    few = train(states[:20], labels[:20], 2, 1.0).labels(states[:20])  # fewer samples than channels
    assert (few[:, 0] == label[:20]).mean() > 0.9


def test_the_verdict_of_a_probe() -> None:
    def share(low: float, high: float) -> Estimate:
        return Estimate((low + high) / 2, low, high, 20, 10)

    assert verdict(None, share(0.9, 1), 0.5) == NONE
    assert verdict(share(0.6, 0.8), share(0.9, 1), 0.5) == THERE
    assert verdict(share(0.1, 0.6), share(0.9, 1), 0.5) == LOST
    assert verdict(share(0.4, 0.95), share(0.9, 1), 0.5) == UNCLEAR
    assert verdict(Estimate(0.9, None, None, 3, 1), None, 0.5) == UNCLEAR


def test_a_ratio_of_sums_bears_single_pairs_without_effect() -> None:
    (one,) = ratios(np.array([1.0, 1.0, 0.0]), np.array([2.0, 2.0, 0.0]), np.arange(3))
    assert one is not None
    assert (one.estimate, one.low, one.high) == (0.5, 0.5, 0.5)
    assert ratios(np.ones(2), np.zeros(2), np.arange(2)) == [None]


def test_an_lstm_is_probed_without_attention(tmp_path: Path) -> None:
    found = ffprompt.diagnose("lstm", out=tmp_path, probe=True, layers=True, **SMALL)
    (one,) = found.conditions
    assert one.heads is one.errors is one.patching is None
    assert one.probe is not None
    assert [state.name for state in one.probe.states] == ["embedding", "cell 1", "output 1"]
    embedding, cell, _ = (state.read.estimate for state in one.probe.states if state.read is not None)
    assert cell > 0.9
    assert embedding < 0.8  # the token of a read tells nothing of the bit
    assert one.layers is not None
    assert one.layers.attention == []
    folder = Path(found.folder)
    assert not (folder / "attention.parquet").exists()
    rows = pd.read_parquet(folder / "probe.parquet")
    assert not rows.duplicated(["trial", "read_index", "state", "place"]).any()
    assert rows[rows.place == "read"].at_reads.notna().all()
    assert set(pd.read_parquet(folder / "layers.parquet").columns) >= {"effective_rank", "residual", "cosine"}
    with pytest.raises(ModelError, match="no softmax attention"):
        ffprompt.diagnose("lstm", out=tmp_path, probe=True, patch=True, **SMALL)


def test_the_screen_says_what_was_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--length", "16", "--p-ignore", "0.4", "--out", str(tmp_path)]
    assert main(["diagnose", "transformer-4x128", *flags, "--strings", "4", "--patch", "--layers", "--probe"]) == 0
    said = capsys.readouterr().out
    assert len(said.splitlines()) <= 25
    assert "flipping the write changes the answer by" in said
    assert "effective rank / residual / cosine" in said
    assert "probe of" in said
    assert main(["diagnose", "transformer-4x128", *flags, "--strings", "3", "--probe"]) == 2
    assert "--probe needs at least 4" in capsys.readouterr().err
