"""The models that come with the package, as a table: what each was trained on and how often it errs."""

from __future__ import annotations

import sys

from ffprompt._util.formatting import percent
from ffprompt.reference.checkpoints.checkpoint import bundled, load
from ffprompt.reference.networks.base import parameters
from ffprompt.reference.training.evaluate import Evaluation

_SETS = {0.8: "in distribution, FFL(0.8)", 0.98: "sparse tail, FFL(0.98)", 0.1: "dense tail, FFL(0.1)"}
HEADER = f"| `--model` | parameters | trained on | steps | {' | '.join(_SETS.values())} |\n|{'---|' * 7}"


def table() -> str:
    """A Markdown table, a model a row: errors / reads on each test set, and the glitch rate's 95 % interval."""
    rows = [HEADER]
    for name, path in sorted(bundled().items()):
        kept = load(path)
        trained = "nothing: built by hand" if kept.training is None else str(kept.training.data).replace("512, ", "")
        steps = f"{kept.training.steps:,}" if kept.training else "0"
        by_set = {one.data.p_ignore: one for one in kept.evaluation}
        cells = [cell(by_set[p]) if p in by_set else "" for p in _SETS]
        rows.append(f"| `{name}` | {parameters(kept.model):,} | {trained} | {steps} | {' | '.join(cells)} |")
    return "\n".join(rows)


def cell(one: Evaluation) -> str:
    """``3 / 26,208: 0.0114 % (0.002–0.033)``, and for no error the upper bound alone: ``0 / 26,208 (< 0.38 %)``."""
    if not one.errors:
        return f"0 / {one.reads:,} (< {percent(one.high)} %)"
    rate, low, high = percent(one.rate), percent(one.low), percent(one.high)
    # Below one in a million a lower bound says no more than that there was an error.
    within = f"{low}–{high}" if one.low >= 1e-6 else f"< {high}"
    return f"{one.errors:,} / {one.reads:,}: {rate} % ({within})"


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
