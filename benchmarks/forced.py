"""Teacher-forced scoring on SmolLM2-135M, float32, CPU: against a bare forward pass and lm-evaluation-harness.

    pip install "lm-eval[hf]==0.4.13" && python benchmarks/forced.py

The bare pass runs the model over the very token batches that ffprompt makes, head included and nothing read off. The
harness is asked for the log-likelihood of both answers at every read, through its own Hugging Face backend.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from ffprompt.backends.base import Request, Scores
from ffprompt.backends.local import transformers_model
from ffprompt.backends.local.transformers import TransformersBackend
from ffprompt.config.run_config import make
from ffprompt.evaluation.plan import Plan


def requests(backend: TransformersBackend, length: int, strings: int) -> list[Request]:
    config = make(
        {
            "backend": "transformers", "model": "smollm2-135m", "template": "light-switch", "shots": 0,
            "elicitation": "forced", "length": length, "p_ignore": 0.6, "trials": strings,
        }
    )  # fmt: skip
    plan = Plan(config, backend.capabilities)
    return [question.request for question in plan.questions(plan.batch(plan.conditions[0], 0, strings))]


def seconds(run: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    began = clock()
    run()
    return clock() - began


def batches(backend: TransformersBackend, asked: list[Request]) -> list[torch.Tensor]:
    """The token batches of one ``score`` call."""
    seen: list[torch.Tensor] = []
    original = transformers_model.Forward._logits

    def record(self: Any, ids: torch.Tensor, before: torch.Tensor, options: Mapping[str, Any]) -> torch.Tensor:
        seen.append(ids)
        return original(self, ids, before, options)

    transformers_model.Forward._logits = record  # type: ignore[method-assign]
    try:
        asyncio.run(backend.score(asked))
    finally:
        transformers_model.Forward._logits = original  # type: ignore[method-assign]
    return seen


def bare(backend: TransformersBackend, rows: list[torch.Tensor]) -> None:
    with torch.inference_mode():
        for ids in rows:
            backend.model(input_ids=ids, use_cache=False)


def harness(
    backend: TransformersBackend,
    asked: list[Request],
    batch_size: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, np.ndarray]:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    logging.disable(logging.WARNING)
    model = HFLM(pretrained=backend.model, tokenizer=backend.encoder.tokenizer, batch_size=batch_size, device="cpu")
    pairs = [
        (request.text[:start].rstrip(" "), " " + surface)
        for request in asked
        for start, _ in request.reads
        for surface in request.surfaces
    ]
    instances = [
        Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=number) for number, pair in enumerate(pairs)
    ]
    found: list[float] = []

    def score() -> None:
        found.extend(value for value, _ in model.loglikelihood(instances, disable_tqdm=True))

    spent = seconds(score, clock)
    return spent, np.array(found).reshape(-1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strings", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--harness-batch", type=int, default=8)
    options = parser.parse_args()
    backend = TransformersBackend("smollm2-135m", device="cpu", dtype="float32")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.strings} strings, best of rounds")
    for length in (100, 200):
        asked = requests(backend, length, options.strings)
        rows = batches(backend, asked)
        ours, plain = [], []
        for _ in range(options.rounds):
            plain.append(seconds(lambda: bare(backend, rows)))  # noqa: B023
            ours.append(seconds(lambda: asyncio.run(backend.score(asked))))  # noqa: B023
        spent, theirs = harness(backend, asked, options.harness_batch)
        found = [one for one in asyncio.run(backend.score(asked)) if isinstance(one, Scores)]
        answers = np.concatenate([one.answers for one in found])
        difference = float(np.abs(answers - theirs).max())
        same = bool((answers.argmax(1) == theirs.argmax(1)).all())
        print(
            f"T = {length}: {len(answers)} reads, {sum(ids.numel() for ids in rows):,} tokens | "
            f"ours {min(ours):.2f} s, "
            f"bare {min(plain):.2f} s: {min(ours) / min(plain):.3f}x | harness {spent:.2f} s: "
            f"{spent / min(ours):.1f}x ours | largest difference {difference:.1e}, same answers: {same}"
        )


if __name__ == "__main__":
    main()
