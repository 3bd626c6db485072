"""Exported reference models through vLLM, with real engines on the CPU. Run with ``pytest -m vllm``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ffprompt
from tests.conftest import ROOT, only_run
from tests.reference.test_export import KINDS, T, assert_same_reads, exported, reads_of, saved, trained, words_of

pytestmark = pytest.mark.vllm

# An engine in this process starts in seconds where one in its own takes twenty.
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")


@pytest.mark.parametrize("kind", [*KINDS, "trained"])
def test_three_backends_agree_on_every_read(tmp_path: Path, kind: str) -> None:
    config = KINDS.get(kind, KINDS["learned"])
    path = trained(tmp_path, config) if kind == "trained" else saved(tmp_path, config)
    folder = exported(path, tmp_path / "hf")
    forced = ("--elicitation", "forced", "--symbols", config.symbols)
    wanted = reads_of(tmp_path / "a", "reference", path, *forced)
    # In a process of its own: vLLM changes GPT-NeoX's class in this one.
    words = [sys.executable, "-m", "ffprompt", *map(str, words_of(tmp_path / "b", "transformers", folder, *forced))]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_same_reads(ffprompt.load(only_run(tmp_path / "b")).reads, wanted)
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
