"""Replicates one after another, with all cores on every kernel, against together, one core each.

    python benchmarks/replicates.py                       # Transformer 2 x 128 x 2, bfloat16, T = 512, B = 16
    python benchmarks/replicates.py --lstm --replicates 20
    python benchmarks/replicates.py --grouped             # products of S replicates in one torch.bmm, one core

Rounds alternate between the ways, so that what else runs on the machine falls on all of them alike; where something
does, kernels with several threads wait for the one that is held up, and the ratio is above that of an idle machine.
"""

import argparse
import time

import torch

from ffprompt.reference.networks.lstm import LSTMConfig
from ffprompt.reference.networks.transformer import TransformerConfig
from ffprompt.reference.training.config import Training
from ffprompt.reference.training.data import Mixture
from ffprompt.reference.training.loop import Trainer, threads
from ffprompt.reference.training.replicates import cores, side_by_side


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lstm", action="store_true")
    parser.add_argument("--replicates", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--grouped", action="store_true")
    options = parser.parse_args()
    if options.grouped:
        grouped(options.replicates)
        return
    config = LSTMConfig() if options.lstm else TransformerConfig(layers=2, width=128, heads=2)
    precision = "float32" if options.lstm else "bfloat16"
    data = Mixture.parse("FFL(0.8)")
    trainings = [Training(data, seed, seed, precision=precision) for seed in range(options.replicates)]
    trainers = [Trainer(config, training) for training in trainings]
    drawn = [[one.source.batch(step, one.batch) for step in range(1, options.steps + 1)] for one in trainings]

    def one(index):
        for strings in drawn[index]:
            trainers[index].advance(strings)

    def after(count):
        with threads(count):
            for index in range(len(trainers)):
                one(index)

    def together():
        side_by_side([lambda alive, index=index: one(index) for index in range(len(trainers))])

    ways = {
        f"one after another, {cores()} threads": lambda: after(cores()),
        "one after another, 1 thread": lambda: after(1),
        f"together, {cores()} at a time": together,
    }
    for way in ways.values():  # first steps plan kernels and fill caches
        way()
    for number in range(options.rounds):
        found = {}
        for name, way in ways.items():
            found[name] = timed(way) / options.steps / options.replicates
            print(f"round {number + 1}: {name}: {1000 * found[name]:.0f} ms a step of one replicate", flush=True)
        many, single, beside = found.values()
        print(
            f"round {number + 1}: together is {many / beside:.2f} and {single / beside:.2f} times as fast", flush=True
        )


def grouped(replicates):
    with threads(1):
        for dtype in (torch.bfloat16, torch.float32):
            x = torch.randn(replicates, 16 * 512, 128, dtype=dtype, requires_grad=True)
            weight = torch.randn(replicates, 512, 128, dtype=dtype, requires_grad=True)
            pairs = [(a.detach().requires_grad_(), b.detach().requires_grad_()) for a, b in zip(x, weight, strict=True)]

            def in_one(x=x, weight=weight):
                torch.bmm(x, weight.transpose(1, 2)).sum().backward()

            def in_turn(pairs=pairs):
                for a, b in pairs:
                    torch.nn.functional.linear(a, b).sum().backward()

            in_one(), in_turn()
            for _ in range(3):
                one, turn = timed(in_one), timed(in_turn)
                print(f"{dtype}: grouped {1000 * one:.0f} ms, in turn {1000 * turn:.0f} ms", flush=True)


def timed(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
