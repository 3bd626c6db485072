"""Answers of several tokens on SmolLM2-135M, float32, CPU: one pass a string against one pass an answer.

    python benchmarks/forced_tree.py

All ways score the same prompts in the same process. Times are seconds of the CPU, so that other processes do not
count. With ``pip install "lm-eval[hf]==0.4.13"`` and ``--harness`` the log-likelihoods of lm-evaluation-harness stand
beside them.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import time
from collections.abc import Sequence

import numpy as np
import torch
from forced import harness, requests

from ffprompt.backends.base import Request, Scores
from ffprompt.backends.local.candidate_scores import plan_rows
from ffprompt.backends.local.transformers import TransformersBackend
from ffprompt.backends.local.tree_check import TreeCheck

# Of one to four tokens that tell them apart.
ANSWERS = {
    "that differ": ("dark as night", "shining brightly"),
    "that begin alike": ("tile 7, facing west", "tile 12, facing north"),
    "of two lengths": ("off", "off again"),
}


def reworded(request: Request, answers: Sequence[str]) -> Request:
    """Return a request with other answers at its reads."""
    text, spans, position = "", [], 0
    for start, end in request.reads:
        text += request.text[position:start]
        answer = answers[request.surfaces.index(request.text[start:end])]
        spans.append((len(text), len(text) + len(answer)))
        text, position = text + answer, end
    return dataclasses.replace(
        request, text=text + request.text[position:], reads=tuple(spans), surfaces=tuple(answers)
    )


def answers_of(backend: TransformersBackend, asked: list[Request]) -> np.ndarray:
    return np.concatenate([one.answers for one in asyncio.run(backend.score(asked)) if isinstance(one, Scores)])


def margins(scores: np.ndarray) -> np.ndarray:
    """Return one answer less the other, (reads,). The harness also scores what both begin with, which cancels."""
    return np.asarray(scores[:, 0] - scores[:, 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strings", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--length", type=int, nargs="+", default=[100])
    parser.add_argument("--harness", action="store_true")
    parser.add_argument("--harness-batch", type=int, default=8)
    parser.add_argument("--answers", nargs="+", choices=list(ANSWERS), default=list(ANSWERS))
    options = parser.parse_args()
    backend = TransformersBackend("smollm2-135m", device="cpu", dtype="float32")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.strings} strings, best of rounds")
    for length in options.length:
        plain = requests(backend, length, options.strings)
        for name in options.answers:
            asked = [reworded(request, ANSWERS[name]) for request in plain]
            tokenised = [backend.encoder.tokenise(request) for request in asked]
            sizes = {len(suffix) for prompt in tokenised for read in prompt.suffixes for _, suffix in read}
            rows, _ = plan_rows(tokenised)
            together, apart = [], []
            found = expected = np.empty(0)
            for _ in range(options.rounds):
                backend.trees = TreeCheck(torch.finfo(torch.float32).eps)
                backend.check(asked)
                began = time.process_time()
                found = answers_of(backend, asked)
                together.append(time.process_time() - began)
                backend.trees.refusal = "it is measured without"
                began = time.process_time()
                expected = answers_of(backend, asked)
                apart.append(time.process_time() - began)
            line = (
                f"T = {length}, answers {name}: {len(found)} reads, {min(sizes)} to {max(sizes)} tokens scored each | "
                f"one pass a string {min(together):.2f} s | one pass an answer {min(apart):.2f} s "
                f"({sum(len(row.ids) for row in rows):,} tokens): {min(apart) / min(together):.1f}x | "
                f"largest difference {np.abs(found - expected).max():.1e}"
            )
            if options.harness:
                spent, theirs = harness(backend, asked, options.harness_batch, time.process_time)
                line += f" | harness {spent:.2f} s: {spent / min(together):.1f}x ours"
                line += f", margins differ by at most {np.abs(margins(found) - margins(theirs)).max():.1e}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
