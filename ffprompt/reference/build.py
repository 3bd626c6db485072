"""Make the checkpoints that are shipped: ``python -m ffprompt.reference.build`` trains, evaluates and saves the LSTM.

The test sets have the paper's sizes; they come from another stream of random numbers than the training strings.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from ffprompt.reference.checkpoint import BUNDLED, save
from ffprompt.reference.data import Mixture
from ffprompt.reference.evaluate import TEST_SEED, evaluate, paper_sets
from ffprompt.reference.lstm import LSTMConfig
from ffprompt.reference.recipe import Training
from ffprompt.reference.train import train


def build(path: Path, seed: int = 0) -> None:
    """Train the paper's LSTM with ``seed``, count its errors on the three test sets and write it to ``path``."""
    training = Training(Mixture.parse("FFL(0.8)"), seed, seed, steps=500, torch=str(torch.__version__))
    result = train(LSTMConfig(), training, _progress)
    _say(f"\ntrained in {result.seconds:.1f} s, loss {result.loss:.3g} nats per read\n")
    evaluations = []
    for data, strings in paper_sets():
        evaluations.append(evaluate(result.model, data, TEST_SEED, strings))
        one = evaluations[-1]
        _say(f"{one.data}: {one.errors} errors in {one.reads:,} reads of {one.strings:,} strings\n")
    save(path, result.model, result.training, result.loss, evaluations)


def _progress(step: int, loss: float) -> None:
    if step % 10 == 0:
        _say(f"\rstep {step}  loss {loss:.2e}  ")


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


if __name__ == "__main__":
    build(BUNDLED / "lstm.safetensors")
