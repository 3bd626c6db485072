"""What of the vLLM backend needs no vLLM: plans, engine arguments, and one page of documentation for every backend."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from ffprompt.backends.entry_points import BACKENDS
from ffprompt.backends.local.vllm import VllmBackend, parse_engine_arguments
from ffprompt.backends.local.vllm import _defaults as defaults
from ffprompt.backends.registry import open_backend
from ffprompt.config.run_config import make as make_config
from ffprompt.errors import ModelError
from tests.conftest import ROOT, Command
from tests.support import tiny


def test_a_dry_run_needs_neither_a_gpu_nor_weights_nor_a_tokenizer(command: Command, tmp_path: Path) -> None:
    done = command(
        "--backend", "vllm", "--model", "EleutherAI/pythia-12b", "--tensor-parallel-size", 4, "--dtype", "bfloat16",
        "--gpu-memory-utilization", 0.8, "--engine-arg", "kv-cache-dtype=fp8", "--template", "light-switch",
        "--elicitation", "forced", "next", "--shots", 0, 1, "--length", 50, "--trials", 30, "--dry-run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for said in ("'tensor_parallel_size': 4", "'kv_cache_dtype': 'fp8'", "'dtype': 'bfloat16'"):
        assert said in done.stdout
    assert "'gpu_memory_utilization': 0.8" in done.stdout and "'max_logprobs': 20" in done.stdout
    assert done.stdout.count("light-switch/1-shot-of-16/") == 2 and "120 trials" in done.stdout
    assert "tokens are not counted" in done.stdout and "Alice turns the light" in done.stdout
    assert not (tmp_path / "results").exists()


def test_without_vllm_the_install_line_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "vllm" else found(name, *rest))
    folder = tiny.make(tmp_path / "model", "gpt2")
    with pytest.raises(ModelError, match=r"needs vllm, .*\[vllm\]"):
        VllmBackend(str(folder), {})
    backend = VllmBackend(str(folder), {}, weights=False)
    assert backend.encoder is not None and "nobody has checked" in backend.notes[0]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"engine_arg": ("foo",)}, "--engine-arg foo: expected name=value"),
        ({"engine_arg": ("a=1", "a=2")}, "a is given twice"),
        ({"engine_arg": ("model=x",)}, "--engine-arg model: "),
        ({"engine_arg": ("data_parallel_size=8",)}, "--engine-arg data_parallel_size: it has a flag of its own"),
        ({"engine_arg": ("block-size=8",), "block_size": 16}, "--engine-arg block_size: --block-size is given too"),
        ({"dtype": "fp32"}, "dtype 'fp32' is unknown (known: auto"),
        ({"lora": "/nowhere"}, "--lora /nowhere: no LoRA adapter there"),
        ({"batch_size": 4}, "--batch-size 4: the vllm backend has no such setting"),
        ({"base_url": "http://x"}, "--base-url http://x: the vllm backend has no such setting"),
    ],
)
def test_a_mistake_is_one_line(settings: dict[str, Any], said: str) -> None:
    config = make_config({"backend": "vllm", "model": "EleutherAI/pythia-12b", **settings})
    with pytest.raises(ModelError) as error:
        open_backend(config, weights=False)
    assert said in str(error.value)


@pytest.mark.parametrize("backend", ["transformers", "reference", "scripted", "openai", "anthropic"])
def test_an_argument_of_vllms_is_refused_by_other_backends(backend: str) -> None:
    config = make_config({"backend": backend, "model": "m", "tensor_parallel_size": 2})
    with pytest.raises(ModelError, match=f"--tensor-parallel-size 2: the {backend} backend has no such setting"):
        open_backend(config, weights=False)


def test_values_are_json_where_they_can_be() -> None:
    given = ["a=1", "b-c=true", "d=0.5", 'e={"x": [1]}', "f=fp8", "g=", "h=a=b"]
    assert parse_engine_arguments(given) == {
        "a": 1, "b_c": True, "d": 0.5, "e": {"x": [1]}, "f": "fp8", "g": "", "h": "a=b",
    }  # fmt: skip


@pytest.mark.parametrize(("vocabulary", "tokens"), [(50_304, 1024), (151_936, 512), (262_144, 256), (600, 8192)])
def test_the_logits_of_a_step_stay_bounded(vocabulary: int, tokens: int) -> None:
    class Config:
        vocab_size = vocabulary

        def get_text_config(self) -> Config:
            return self

    assert defaults(False, Config())["max_num_batched_tokens"] == tokens
    assert tokens * vocabulary * 12 <= 1 << 30 or tokens == 256
    assert "max_num_batched_tokens" not in defaults(False, None)  # nothing is scored: vLLM's own choice


def test_every_backend_has_its_page() -> None:
    pages = {path.stem: path.read_text() for path in (ROOT / "docs" / "backends").glob("*.md")}
    assert set(BACKENDS) <= set(pages)
    for name in BACKENDS:
        page = pages[name]
        assert f"--backend {name}" in page
        for heading in ("## What it can do", "## What it costs", "## Limits"):
            assert heading in page, (name, heading)
