"""Seconds of a training step, beside x-transformers on the same batches: python benchmarks/training.py

Both train on FFL(0.8), B = 16, T = 512, AdamW, the clean loss, with the same initial recipe. The peer runs twice, as it
comes and at its best (flash attention, fused AdamW); steps of the three take turns, and the ratio is that of our median
to the lower one of the peer's. Needs: pip install x-transformers
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from x_transformers import Decoder, TransformerWrapper

from ffprompt.reference.networks.lstm import LSTMConfig
from ffprompt.reference.networks.transformer import Transformer, TransformerConfig
from ffprompt.reference.training.config import Training
from ffprompt.reference.training.data import Mixture
from ffprompt.reference.training.evaluate import TEST_SEED, evaluate, paper_sets
from ffprompt.reference.training.loop import Trainer, targets, train

SIZES = ((2, 128, 2), (4, 256, 4), (6, 512, 8))
DATA = Mixture.parse("FFL(0.8)")


def peer(layers: int, width: int, heads: int, precision: str, best: bool = False) -> Callable[[int], float]:
    """A step of the same model made with x-transformers: every position goes through every layer."""
    model = TransformerWrapper(
        num_tokens=5,
        max_seq_len=512,
        attn_layers=Decoder(dim=width, depth=layers, heads=heads, attn_dim_head=width // heads, attn_flash=best),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.999), weight_decay=0.1, fused=best)
    source = Training(DATA, 0, 0).source

    def step(number: int) -> float:
        tokens, rows, positions, answers = targets(source.batch(number, 16))
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(tokens)[rows, positions - 1]
        loss = torch.nn.functional.cross_entropy(logits.float(), answers)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def ours(layers: int, width: int, heads: int, precision: str) -> Callable[[int], float]:
    config = TransformerConfig(layers=layers, width=width, heads=heads)
    trainer = Trainer(config, Training(DATA, 0, 0, precision=precision, threads=torch.get_num_threads()))
    batches = trainer.batches()
    return lambda number: trainer.advance(next(batches))[0]


def ratios(steps: int) -> None:
    for layers, width, heads in SIZES:
        for precision in ("float32", "bfloat16"):
            size = (layers, width, heads, precision)
            each = [ours(*size), peer(*size), peer(*size, best=True)]
            seconds: list[list[float]] = [[], [], []]
            for number in range(1, steps + 3):
                for index, step in enumerate(each):
                    began = time.perf_counter()
                    step(number)
                    if number > 2:
                        seconds[index].append(time.perf_counter() - began)
            mine, plain, best = map(statistics.median, seconds)
            print(
                f"{layers} x {width} x {heads} {precision}: {mine:.3f} s, x-transformers {plain:.3f} s, "
                f"at its best {best:.3f} s: {min(plain, best) / mine:.2f} times as fast",
                flush=True,
            )


def lstm() -> None:
    result = train(LSTMConfig(), Training(DATA, 0, 0, steps=500))
    print(f"LSTM, 500 steps: {result.seconds:.1f} s, loss {result.loss:.2g}")


def sparse(strings: int) -> None:
    model = Transformer(TransformerConfig(layers=2, width=128, heads=2)).requires_grad_(False)
    data = paper_sets()[1][0]
    began = time.perf_counter()
    evaluate(model, data, TEST_SEED, strings)
    print(f"2 x 128 on {strings:,} strings of {data}: {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=7, help="steps of each that are timed")
    parser.add_argument("--strings", type=int, default=100_000, help="sparse strings to evaluate on")
    parser.add_argument("--only", choices=("ratios", "lstm", "sparse"))
    chosen = parser.parse_args()
    if chosen.only in (None, "ratios"):
        ratios(chosen.steps)
    if chosen.only in (None, "lstm"):
        lstm()
    if chosen.only in (None, "sparse"):
        sparse(chosen.strings)
