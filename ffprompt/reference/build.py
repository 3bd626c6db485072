"""Make the checkpoints that are shipped: ``python -m ffprompt.reference.build`` trains, evaluates and saves the LSTM.

The test sets have the paper's sizes; they come from another stream of random numbers than the training strings.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ffprompt.language import Spec
from ffprompt.reference.checkpoint import BUNDLED, save
from ffprompt.reference.train import evaluate, train_lstm

SETS = ((0.8, 1_000), (0.98, 100_000), (0.1, 3_000))
"""p_ignore and number of strings of each test set."""
SEED = 1000


def build(path: Path, seed: int = 0) -> None:
    """Train the paper's LSTM with ``seed``, count its errors on the three test sets and write it to ``path``."""
    result = train_lstm(seed=seed, progress=_progress)
    _say(f"\ntrained in {result.seconds:.1f} s, loss {result.loss:.3g} nats per read\n")
    evaluations = []
    for p_ignore, strings in SETS:
        evaluations.append(evaluate(result.model, Spec.ffl(p_ignore), SEED, strings))
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
