"""Seconds of a training step of every layer, beside the plain Transformer's: python benchmarks/layers.py

All train on FFL(0.8) with the same batches, layers, width and heads, on one core. Steps take turns, so that what else
the machine does falls on all alike, and a ratio is the median over rounds of a layer's seconds over the Transformer's
in the same round. Seconds are of processor time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch

from ffprompt.reference.networks.architectures import configure
from ffprompt.reference.networks.layers import NAMES
from ffprompt.reference.training.config import Training
from ffprompt.reference.training.data import Mixture
from ffprompt.reference.training.loop import Trainer

PLAIN = "softmax, learned"


def models(layers: int, width: int, heads: int, length: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Architecture and fields of each model by name, the plain Transformer first."""
    size = {"layers": layers, "width": width, "heads": heads, "length": length}
    found: dict[str, tuple[str, dict[str, Any]]] = {PLAIN: ("transformer", size)}
    for name in ("sinusoidal", "rope", "alibi", "t5", "cope"):
        found[f"softmax, {name}"] = "transformer", size | {"positions": name}
    found["softmax, window of 64"] = "transformer", size | {"window": 64}
    for name in NAMES[1:]:
        if name != "hybrid" or layers > 1:
            found[name] = "transformer", size | {"attention": name, "positions": "none"}
    found["ssm"] = "ssm", {"layers": layers, "width": width, "rates": "head"}
    found["gated-delta"] = "delta", {"layers": layers, "width": width, "heads": heads}
    found["lstm"] = "lstm", {"width": width, "hidden": width, "layers": layers}
    return found


def measure(chosen: argparse.Namespace) -> None:
    """Print the median step of each model, and its ratio to the Transformer's."""
    data = Mixture.parse("FFL(0.8)", chosen.length)
    recipe = Training(data, 0, 0, batch=chosen.batch, precision=chosen.precision)
    found = models(chosen.layers, chosen.width, chosen.heads, chosen.length)
    trainers = {name: Trainer(configure(kind, fields), recipe) for name, (kind, fields) in found.items()}
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    for number in range(1, chosen.rounds + 2):
        strings = recipe.source.batch(number, chosen.batch)
        for name, trainer in trainers.items():
            began = time.process_time()
            trainer.advance(strings)
            if number > 1:  # the first step of a shape plans its products
                seconds[name].append(time.process_time() - began)
    print(f"{chosen.layers} x {chosen.width}, {chosen.heads} heads, {chosen.batch} strings of {chosen.length}")
    for name, mine in seconds.items():
        ratio = statistics.median(one / other for one, other in zip(mine, seconds[PLAIN], strict=True))
        print(f"{name:24} {1000 * statistics.median(mine):6.0f} ms  {ratio:5.2f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    torch.set_num_threads(1)
    measure(parser.parse_args())
