"""Make a bundled checkpoint from a finished training: ``python -m ffprompt.reference.checkpoints.build FOLDER NAME``.

Its matrices are rounded to 8 bits, the full test sets of its task are gone through with what is left, and the file goes
to ``checkpoints/`` with the log of the training beside it.

``python -m ffprompt.reference.checkpoints.build handbuilt`` writes down the Transformer that no training makes.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ffprompt.reference.checkpoints.checkpoint import BUNDLED, WEIGHTS, load, rounded, save
from ffprompt.reference.checkpoints.folder import LOG
from ffprompt.reference.networks.architectures import build as network
from ffprompt.reference.networks.base import Network
from ffprompt.reference.networks.handbuilt import HandbuiltConfig
from ffprompt.reference.training.evaluate import TEST_SEED, Evaluation, evaluate, paper_sets, sets_for
from ffprompt.tasks.base import Spec
from ffprompt.tasks.registry import DEFAULT


def bundle(folder: Path, name: str, packed: bool = True, into: Path = BUNDLED, most: int | None = None) -> Path:
    """Round, evaluate on at most ``most`` strings of each set, and write the model of a training as ``name``.

    Returns its path.
    """
    trained = load(folder / WEIGHTS)
    model = rounded(trained.model) if packed else trained.model
    assert trained.training is not None, "a training has made it"
    training = trained.training
    sets = sets_for(training.data, most=most) if training.data.task.name != DEFAULT else paper_sets(most=most)
    evaluations = _evaluations(model, sets, training.scratchpad)
    path = into / f"{name}.safetensors"
    save(path, model, training, trained.loss, evaluations, packed)
    shutil.copyfile(folder / LOG, into / f"{name}.jsonl")
    return path


def bundle_by_hand(into: Path = BUNDLED, most: int | None = None) -> Path:
    """Write the hand-built Transformer, with its errors on at most ``most`` strings of each test set.

    Returns its path.
    """
    model = network(HandbuiltConfig(), seed=0).eval()  # its weights follow from no seed
    path = into / "handbuilt.safetensors"
    save(path, model, None, None, _evaluations(model, paper_sets(most=most)))
    return path


def _evaluations(model: Network, sets: Sequence[tuple[Spec, int]], scratchpad: bool = False) -> list[Evaluation]:
    evaluations = []
    for data, strings in sets:
        began = time.monotonic()
        one = evaluate(model, data, TEST_SEED, strings, progress=_progress, scratchpad=scratchpad)
        evaluations.append(one)
        found = f"{one.errors:,} errors in {one.reads:,} reads of {one.strings:,} strings"
        _say(f"\r{one.data}: {found} ({one.low:.3g} to {one.high:.3g}), {time.monotonic() - began:.0f} s\n")
    return evaluations


def _progress(strings: int) -> None:
    if strings % 1_600 == 0:
        _say(f"\r{strings:,} strings")


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make a checkpoint that is shipped.")
    parser.add_argument("folder", type=Path, help="of a finished training, or the word handbuilt")
    parser.add_argument("name", nargs="?", help="of the checkpoint (that of the folder)")
    parser.add_argument("--exact", action="store_true", help="keep all 32 bits")
    parser.add_argument("--strings", type=int, metavar="N", help="most of each test set (default: all)")
    parser.add_argument("--into", type=Path, default=BUNDLED, metavar="DIR")
    chosen = parser.parse_args()
    if str(chosen.folder) == "handbuilt":
        bundle_by_hand(chosen.into, chosen.strings)
    else:
        bundle(chosen.folder, chosen.name or chosen.folder.name, not chosen.exact, chosen.into, chosen.strings)
