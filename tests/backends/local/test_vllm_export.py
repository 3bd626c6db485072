"""Exported reference models through vLLM, with real engines on the CPU. Run with ``pytest -m vllm``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.conftest import only_run
from tests.reference.test_export import KINDS, T, assert_same_reads, exported, reads_of, saved, trained

pytestmark = pytest.mark.vllm

# An engine in this process starts in seconds where one in its own takes twenty.
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")


@pytest.mark.parametrize("kind", [*KINDS, "trained"])
def test_vllm_agrees_with_the_reference_model_on_every_read(tmp_path: Path, kind: str) -> None:
    config = KINDS.get(kind, KINDS["learned"])
    path = trained(tmp_path, config) if kind == "trained" else saved(tmp_path, config)
    folder = exported(path, tmp_path / "hf")  # which transformers read in tests/reference/test_export.py
    forced = ("--elicitation", "forced", "--symbols", config.symbols)
    wanted = reads_of(tmp_path / "a", "reference", path, *forced)
    assert_same_reads(reads_of(tmp_path / "c", "vllm", folder, *forced, "--dtype", "float32"), wanted)
    run = json.loads((only_run(tmp_path / "c") / "run.json").read_text())
    # The longest string of the model fits, with the token that vLLM writes after it.
    assert run["model"]["engine"]["max_model_len"] == T + 1
    assert all(one["answer_tokens"] == {"single": 6} and one["bos"] is None for one in run["audit"])


def test_the_token_after_an_r_is_written_as_the_reference_model_writes_it(tmp_path: Path) -> None:
    path = saved(tmp_path, KINDS["llama"])
    flags = ("--elicitation", "next", "--symbols", 12, "--max-tokens", 1)
    wanted = reads_of(tmp_path / "a", "reference", path, *flags)
    found = reads_of(tmp_path / "b", "vllm", exported(path, tmp_path / "hf"), *flags, "--dtype", "float32")
    assert found["answer"].tolist() == wanted["answer"].tolist() and found["answer"].notna().any()
