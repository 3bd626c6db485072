"""Comparison and gate on a real small language model: it against itself, and against a copy with noise in one layer."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ffprompt
from ffprompt.cli.main import main
from tests.conftest import only_run

pytestmark = [pytest.mark.weights, pytest.mark.slow]

ASKED = ["--template", "light-switch", "--elicitation", "forced", "--length", "100", "--seed", "5", "--no-report"]
Evaluate = Callable[..., Path]


@pytest.fixture(scope="module")
def evaluate(tmp_path_factory: pytest.TempPathFactory) -> Evaluate:
    """A run of a model on the same strings; returns its folder."""

    def run(model: str, *more: object) -> Path:
        out = tmp_path_factory.mktemp("run")
        words = ["run", "--backend", "transformers", "--model", model, *ASKED, *map(str, more), "--out", str(out)]
        assert main(words) == 0
        return only_run(out)

    return run


@pytest.fixture(scope="module")
def baseline(evaluate: Evaluate) -> Path:
    """Zero-shot and one-shot on 32 strings."""
    return evaluate("smollm2-135m", "--shots", 0, 1, "--trials", 32)


@pytest.fixture(scope="module")
def harmed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The model's folder with noise on the attention's output in one layer of the middle."""
    import torch
    from safetensors.torch import load_file, save_file

    from ffprompt.backends.local.weights import locate

    folder = tmp_path_factory.mktemp("model") / "harmed"
    shutil.copytree(locate("smollm2-135m").source, folder)
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.12.self_attn.o_proj.weight"
    noise = torch.randn(tensors[name].shape, generator=torch.Generator().manual_seed(0))
    tensors[name] = tensors[name] + noise * tensors[name].std() * 12
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


def gate(*words: object) -> tuple[int, dict[str, Any]]:
    """Exit code and what it wrote."""
    given = [str(word) for word in words]
    code = main(["gate", *given, "--json", "gate.json"])
    return code, json.loads(Path("gate.json").read_text())


def test_few_shot_and_zero_shot_are_compared_on_the_same_reads(baseline: Path) -> None:
    found = ffprompt.compare([str(baseline)], by="shots")
    (row,) = found.rows
    reads = ffprompt.load(baseline).reads
    right = reads.assign(right=reads.outcome == "correct").pivot_table(
        index=["string_index", "read_index"], columns="shots", values="right", aggfunc="first"
    )
    assert (row.n_reads, row.n_strings) == (len(right), 32)
    assert row.difference is not None and row.flips is not None
    assert row.difference.estimate == pytest.approx(right[1].astype(float).mean() - right[0].astype(float).mean())
    # One demonstration makes this model worse, and 32 strings show it.
    assert row.difference.high < 0 and row.flips.p < 0.01


def test_a_model_passes_against_itself_and_a_harmed_one_does_not(
    baseline: Path, harmed: str, evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, found = gate("--baseline", baseline, "--candidate", baseline, "--margin", 0.1)
    assert (code, found["verdict"]) == (0, "pass")
    worse = evaluate(harmed, "--shots", 0, 1, "--trials", 32)
    code, found = gate("--baseline", baseline, "--candidate", worse, "--margin", 0.1)
    assert (code, found["verdict"]) == (1, "regression")
    few = evaluate("smollm2-135m", "--shots", 0, 1, "--trials", 10)
    code, found = gate("--baseline", few, "--candidate", few, "--margin", 0.1)
    assert (code, found["verdict"]) == (3, "inconclusive")


def test_the_command_line_tells_the_same(
    baseline: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = command("compare", "--by", "shots", baseline, prog="ffprompt")
    assert done.returncode == 0, done.stderr
    assert "FFL(100, 0.6)" in done.stdout
