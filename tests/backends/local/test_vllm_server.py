"""A real vLLM server on the CPU, reached with both official clients, beside vLLM in process and transformers.

Run with ``pytest -m vllm`` where vLLM, both SDKs and the SmolLM2 weights are installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ffprompt.interface.run import Run, load
from ffprompt.scoring.score import NEAR_TIE
from tests.conftest import ROOT, only_run
from tests.support.servers import MODEL, VLLM, Server

pytestmark = [pytest.mark.vllm, pytest.mark.weights]

Evaluate = Callable[..., Run]


@pytest.fixture(scope="module")
def url(vllm_server: Server) -> str:
    """The address of a server that answers."""
    return vllm_server.url


@pytest.fixture(scope="module")
def evaluate(tmp_path_factory: pytest.TempPathFactory) -> Evaluate:
    """Run ``python run_eval.py …`` as a user would, and load what it wrote."""

    def run(*arguments: object) -> Run:
        out = tmp_path_factory.mktemp("run")
        words = [sys.executable, "run_eval.py", *map(str, arguments), "--model", MODEL, "--out", str(out)]
        environment = os.environ | VLLM | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "ANTHROPIC_API_KEY": "none"}
        done = subprocess.run(
            words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return load(only_run(Path(out)))

    return run


FORCED: list[Any] = ["--elicitation", "forced", "--template", "light-switch", "raw-spaced"]
FORCED += ["--shots", 1, "--trials", 6, "--length", 40, "--seed", 7]
ALL_WAYS = ["--elicitation", "forced", "next", "list", "dialogue", *FORCED[2:], "--max-tokens", 24]


@pytest.fixture(scope="module")
def in_process(evaluate: Evaluate) -> Run:
    """The engine in the process, all ways of asking."""
    return evaluate("--backend", "vllm", *ALL_WAYS)


def paired(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """The same reads of two runs side by side."""
    columns = ["trial_id", "read_index"]
    both = one.merge(other, on=columns, suffixes=("", "_other"), validate="one_to_one")
    assert len(both) == len(other) > 0
    return both


def same_answers(both: pd.DataFrame) -> None:
    """Every read has the same answer; one that has not is named, and only a near tie may differ."""
    differing = both[both.answer != both.answer_other]
    near = differing[differing.margin < NEAR_TIE]
    print(f"{len(both)} reads, {len(near)} near ties with another answer: {near.trial_id.tolist()}")
    assert len(differing) == len(near), differing[["trial_id", "read_index", "margin"]].to_string()


def largest_difference(both: pd.DataFrame) -> float:
    """Between two runs' log-probabilities, where both know them; None is a bound."""
    one, other = (np.array(both[name].tolist(), np.float64) for name in ("answer_logprobs", "answer_logprobs_other"))
    assert np.isfinite(one).all() and np.isfinite(other).mean() > 0.5
    return float(np.nanmax(np.abs(one - other)))


def test_vllm_equals_transformers_in_every_way_of_asking(in_process: Run, evaluate: Evaluate) -> None:
    both = paired(in_process.reads, evaluate("--backend", "transformers", *ALL_WAYS).reads)
    assert set(both.elicitation) == {"forced", "next", "list", "dialogue"}
    forced = both[both.elicitation == "forced"]
    assert largest_difference(forced) < 1e-3
    same_answers(forced)
    # Greedy replies may part for good at a near tie in the middle, so a few may differ.
    written = both[both.elicitation != "forced"]
    assert (written.outcome == written.outcome_other).mean() > 0.9


def test_completions_with_log_probabilities_equal_vllm_in_process(
    url: str, in_process: Run, evaluate: Evaluate
) -> None:
    served = evaluate("--backend", "openai", "--api", "completions", "--base-url", f"{url}/v1", *FORCED)
    assert served.info["model"]["top_logprobs"] == 20
    known = in_process.reads[in_process.reads.elicitation == "forced"]
    both = paired(known, served.reads)
    assert len(both) == len(known)
    assert largest_difference(both) < 1e-3
    same_answers(both)


@pytest.mark.parametrize("backend", ["openai", "anthropic"])
def test_a_chat_client_gets_the_replies_of_vllm_in_process(
    backend: str, url: str, in_process: Run, evaluate: Evaluate
) -> None:
    base = f"{url}/v1" if backend == "openai" else url
    served = evaluate("--backend", backend, "--base-url", base, "--elicitation", "list", "dialogue", *ALL_WAYS[5:])
    assert served.info["status"] == "done" and (served.reads.outcome != "error").all()
    known = in_process.trials.set_index("trial_id")
    lists = served.trials[served.trials.turns.isna()].set_index("trial_id")
    lines = known.loc[lists.index]
    assert len(lists) == 12 and set(lists.stop) <= {"stop", "length"} and (lists.reply_tokens > 0).all()
    assert (lists.prompt_tokens == lines.prompt_tokens).all()
    assert (lists.reply.str.strip() == lines.reply.str.strip()).mean() > 0.8
    dialogues = served.trials[served.trials.turns.notna()].set_index("trial_id")
    talks = known.loc[dialogues.index].turns
    assert len(dialogues) == 12
    same = [
        one["reply"].strip() == other["reply"].strip()
        for here, there in zip(dialogues.turns, talks, strict=True)
        for one, other in zip(here, there, strict=True)
    ]
    reads = (served.reads.elicitation == "dialogue").sum()
    print(f"{backend}: {np.mean(same):.3f} of {len(same)} turns as in process")
    assert len(same) == reads and np.mean(same) > 0.8  # after a near tie a conversation goes on differently


def test_a_model_that_the_server_has_not_is_one_line(url: str) -> None:
    words = [sys.executable, "run_eval.py", "--backend", "openai", "--base-url", f"{url}/v1", "--model", "nobody"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "nobody" in done.stderr and "404" in done.stderr
