"""Teacher-forced scoring on SmolLM2-135M through vLLM, float32, CPU: against lm-evaluation-harness's vLLM backend.

    pip install "lm-eval==0.4.13" && python benchmarks/forced_vllm.py

The harness is asked for the log-likelihood of both answers at every read of the same strings. Each side has an engine
of its own with the same arguments; both are warm before they are timed.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ffprompt.backends.base import Request, Scores
from ffprompt.backends.local.vllm import VllmBackend
from ffprompt.config.run_config import make
from ffprompt.evaluation.plan import Plan

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
SETTINGS = {"dtype": "float32", "enforce_eager": True, "max_model_len": 4096, "block_size": 32}


def requests(backend: VllmBackend, length: int, strings: int) -> list[Request]:
    config = make(
        {
            "backend": "vllm", "model": "smollm2-135m", "template": "light-switch", "shots": 0,
            "elicitation": "forced", "length": length, "p_ignore": 0.6, "trials": strings,
        }
    )  # fmt: skip
    plan = Plan(config, backend.capabilities)
    return [question.request for question in plan.questions(plan.batch(plan.conditions[0], 0, strings))]


def seconds(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def ours(backend: VllmBackend, asked: list[Request], rounds: int) -> tuple[float, np.ndarray]:
    found: list[Any] = []

    def once() -> None:
        found[:] = asyncio.run(backend.score(asked))

    once()
    spent = min(seconds(once) for _ in range(rounds))
    return spent, np.concatenate([one.answers for one in found if isinstance(one, Scores)])


def harness(folder: str, sets: list[list[Request]]) -> list[tuple[float, np.ndarray]]:
    """One engine; seconds and log-probabilities (reads, 2) of every set of requests."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.vllm_causallms import VLLM

    logging.disable(logging.WARNING)
    model = VLLM(pretrained=folder, batch_size="auto", **SETTINGS)
    results = []
    for asked in sets:
        pairs = [
            (request.text[:start].rstrip(" "), " " + surface)
            for request in asked
            for start, _ in request.reads
            for surface in request.surfaces
        ]
        given = [Instance(request_type="loglikelihood", doc={}, arguments=p, idx=n) for n, p in enumerate(pairs)]
        model.loglikelihood(given[:2], disable_tqdm=True)
        found: list[float] = []
        spent = seconds(lambda: found.extend(v for v, _ in model.loglikelihood(given, disable_tqdm=True)))  # noqa: B023
        results.append((spent, np.array(found).reshape(-1, 2)))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strings", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lengths", type=int, nargs="+", default=[50, 100])
    options = parser.parse_args()
    backend = VllmBackend("smollm2-135m", SETTINGS)
    print(f"vllm {backend.identity.engine['vllm']}, {options.strings} strings a length")
    sets = [requests(backend, length, options.strings) for length in options.lengths]
    mine = [ours(backend, asked, options.rounds) for asked in sets]
    folder = backend.arguments["model"]
    backend.close()
    theirs = harness(folder, sets)
    for length, asked, (spent, answers), (other, known) in zip(options.lengths, sets, mine, theirs, strict=True):
        reads = len(answers) / len(asked)
        same = bool((answers.argmax(1) == known.argmax(1)).all())
        print(
            f"T = {length}: {len(answers)} reads ({reads:.1f} a string) | ours {spent:.2f} s, harness {other:.2f} s: "
            f"{other / spent:.1f}x ours, reads / 2 = {reads / 2:.1f} | "
            f"largest difference {np.abs(answers - known).max():.1e}, same answers: {same}"
        )


if __name__ == "__main__":
    main()
