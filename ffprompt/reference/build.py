"""Make a checkpoint that is shipped: ``python -m ffprompt.reference.build FOLDER NAME``, from a finished training.

Its matrices are rounded to 8 bits, the paper's full test sets are gone through with what is left, and the file goes to
``checkpoints/`` with the log of the training beside it. ``--exact`` keeps all 32 bits.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

from ffprompt.reference.checkpoint import BUNDLED, WEIGHTS, load, rounded, save
from ffprompt.reference.evaluate import TEST_SEED, evaluate, paper_sets
from ffprompt.reference.session import LOG


def bundle(folder: Path, name: str, packed: bool = True, into: Path = BUNDLED) -> Path:
    """Round, evaluate and write the model of a training as ``name``; the path of the file."""
    trained = load(folder / WEIGHTS)
    model = rounded(trained.model) if packed else trained.model
    evaluations = []
    for data, strings in paper_sets(trained.training.data.length if trained.training else 512):
        began = time.monotonic()
        one = evaluate(model, data, TEST_SEED, strings, progress=_progress)
        evaluations.append(one)
        found = f"{one.errors:,} errors in {one.reads:,} reads of {one.strings:,} strings"
        _say(f"\r{one.data}: {found} ({one.low:.3g} to {one.high:.3g}), {time.monotonic() - began:.0f} s\n")
    path = into / f"{name}.safetensors"
    save(path, model, trained.training, trained.loss, evaluations, packed)
    shutil.copyfile(folder / LOG, into / f"{name}.jsonl")
    return path


def _progress(strings: int) -> None:
    if strings % 1_600 == 0:
        _say(f"\r{strings:,} strings")


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make a checkpoint that is shipped.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    parser.add_argument("--exact", action="store_true")
    chosen = parser.parse_args()
    bundle(chosen.folder, chosen.name, not chosen.exact)
