"""Time and memory of looking at the attention of reads, beside those of the plain ``forced`` pass.

    python benchmarks/diagnosis.py --model smollm2-135m --length 200 --strings 20

Each of the two runs in a process of its own, whose peak of memory includes the weights.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import time

from ffprompt.analysis.diagnosis.places import place, roles
from ffprompt.backends.local.attention import Look, attention_of
from ffprompt.backends.registry import open_backend
from ffprompt.config.run_config import make
from ffprompt.evaluation.plan import Plan


def measure(model: str, length: int, strings: int, what: str) -> dict[str, float]:
    """Seconds of one pass over all strings after a first one of one string, and the peak of memory in MB."""
    backend = "reference" if model.startswith(("transformer-", "handbuilt")) else "transformers"
    config = make(
        {
            "backend": backend, "model": model, "elicitation": "forced", "shots": 0, "length": length, "p_ignore": 0.6,
            "template": "raw-compact" if backend == "reference" else "light-switch", "trials": strings,
        }
    )  # fmt: skip
    opened = open_backend(config)
    plan = Plan(config, opened.capabilities)
    condition = plan.conditions[0]
    batch = plan.batch(condition, 0, strings)
    questions = plan.questions(batch)
    if what == "plain":
        requests = [question.request for question in questions]
        asyncio.run(opened.score(requests[:1]))
        started = time.perf_counter()
        asyncio.run(opened.score(requests))
    else:
        attention = attention_of(opened)

        def looks() -> list[Look]:
            found = []
            for row, question in enumerate(questions):
                string = batch.strings.string(row)
                tokens = attention.tokens(question.request, place(plan.words(condition), string, question.is_chat))
                found.append(Look(tokens, roles(tokens, string)))
            return found

        attention.look(looks()[:1])
        started = time.perf_counter()
        attention.look(looks())
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--strings", type=int, default=20)
    parser.add_argument("--what", choices=("plain", "look"))
    options = parser.parse_args()
    if options.what:
        print(json.dumps(measure(options.model, options.length, options.strings, options.what)))
        return
    flags = ["--model", options.model, "--length", str(options.length), "--strings", str(options.strings)]
    found = {}
    for what in ("plain", "look"):
        done = subprocess.run(
            [sys.executable, __file__, *flags, "--what", what], check=True, capture_output=True, text=True
        )
        found[what] = json.loads(done.stdout.splitlines()[-1])
        print(f"{what}: {found[what]['seconds']:.1f} s, {found[what]['megabytes']:,.0f} MB")
    ratio = {name: found["look"][name] / found["plain"][name] for name in ("seconds", "megabytes")}
    print(f"look / plain: {ratio['seconds']:.2f} of the time, {ratio['megabytes']:.2f} of the memory")


if __name__ == "__main__":
    main()
