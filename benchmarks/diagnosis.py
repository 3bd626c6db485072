"""Time and memory of looking at the attention of reads, beside those of the plain ``forced`` pass.

    python benchmarks/diagnosis.py --model smollm2-135m --length 200 --strings 20
    python benchmarks/diagnosis.py --model smollm2-135m --length 50 --strings 4 --pairs reuse whole --layer 21

Each runs in a process of its own, whose peak of memory includes the weights. Seconds are of the processor. ``reuse``
takes heads of a layer away, one after the other, and begins each pass at that layer. ``whole`` begins it at the first
token's embedding.
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
from ffprompt.backends.local.attention import Change, Look, attention_of
from ffprompt.backends.registry import open_backend
from ffprompt.config.run_config import make
from ffprompt.evaluation.plan import Plan


def measure(model: str, length: int, strings: int, what: str, layer: int = 0, sets: int = 5) -> dict[str, float]:
    """Seconds over all strings, after a first pass over one of several, and the peak of memory in MB."""
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
        asyncio.run(opened.score(requests[: strings > 1]))
        started = time.process_time()
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

        attention.look(looks()[: strings > 1])
        if what == "whole":
            _begin_at_the_embedding()
        started = time.process_time()
        if what == "look":
            attention.look(looks())
        else:
            attention.answers(looks(), [Change(heads={layer: [head % attention.heads]}) for head in range(sets)])
    seconds = time.process_time() - started
    return {"seconds": seconds, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _begin_at_the_embedding() -> None:
    from ffprompt.backends.local import attention_model, attention_reference_model

    for module in (attention_model, attention_reference_model):
        module.start_of = lambda change: 0 if change.heads else None  # type: ignore[attr-defined]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--strings", type=int, default=20)
    parser.add_argument("--pairs", nargs=2, default=("look", "plain"), help="what is compared, the second is 1")
    parser.add_argument("--layer", type=int, default=0, help="the layer whose heads are taken away")
    parser.add_argument("--sets", type=int, default=5, help="heads that are taken away, one after the other")
    parser.add_argument("--what", choices=("plain", "look", "reuse", "whole"))
    options = parser.parse_args()
    if options.what:
        found = measure(options.model, options.length, options.strings, options.what, options.layer, options.sets)
        print(json.dumps(found))
        return
    flags = [
        "--model", options.model, "--length", str(options.length), "--strings", str(options.strings),
        "--layer", str(options.layer), "--sets", str(options.sets),
    ]  # fmt: skip
    results = {}
    for what in reversed(options.pairs):
        done = subprocess.run(
            [sys.executable, __file__, *flags, "--what", what], check=True, capture_output=True, text=True
        )
        results[what] = json.loads(done.stdout.splitlines()[-1])
        print(f"{what}: {results[what]['seconds']:.1f} s, {results[what]['megabytes']:,.0f} MB", flush=True)
    one, other = options.pairs
    ratio = {name: results[one][name] / results[other][name] for name in ("seconds", "megabytes")}
    print(f"{one} / {other}: {ratio['seconds']:.2f} of the time, {ratio['megabytes']:.2f} of the memory")


if __name__ == "__main__":
    main()
