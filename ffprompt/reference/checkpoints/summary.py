"""The models that come with the package, as tables: what each was trained on and how often it errs."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from ffprompt._util.formatting import percent
from ffprompt.reference.checkpoints.checkpoint import Checkpoint, bundled, load
from ffprompt.reference.networks.base import parameters
from ffprompt.reference.training.evaluate import Evaluation
from ffprompt.tasks.registry import DEFAULT

_SETS = {0.8: "in distribution, FFL(0.8)", 0.98: "sparse tail, FFL(0.98)", 0.1: "dense tail, FFL(0.1)"}
AUTOMATA = "| `--model` | parameters | trained on | steps | errors / reads at every input |\n|" + "---|" * 5
HEADER = f"| `--model` | parameters | trained on | steps | {' | '.join(_SETS.values())} |\n|{'---|' * 7}"


def table() -> str:
    """A Markdown table of the flip-flop's models, one a row: errors / reads on each test set, and the interval.

    The interval is the 95 % one of the glitch rate.
    """
    rows = [HEADER]
    for name, kept in _of_task(flip_flop=True):
        trained = "nothing: built by hand" if kept.training is None else str(kept.training.data).replace("512, ", "")
        steps = f"{kept.training.steps:,}" if kept.training else "0"
        by_set = {one.data.probabilities.get("ignore"): one for one in kept.evaluation}
        cells = [cell(by_set[p]) if p in by_set else "" for p in _SETS]
        rows.append(f"| `{name}` | {parameters(kept.model):,} | {trained} | {steps} | {' | '.join(cells)} |")
    return "\n".join(rows)


def automata_table() -> str:
    """The same of the models of other tasks, whose test strings are like those that they were trained on."""
    rows = [AUTOMATA]
    for name, kept in _of_task(flip_flop=False):
        assert kept.training is not None
        cells = ", ".join(cell(one) for one in kept.evaluation)
        trained = f"{kept.training.data} | {kept.training.steps:,}"
        rows.append(f"| `{name}` | {parameters(kept.model):,} | {trained} | {cells} |")
    return "\n".join(rows)


def _of_task(flip_flop: bool) -> Iterator[tuple[str, Checkpoint]]:
    """The bundled models of the flip-flop, or those of all other tasks, by name."""
    for name, path in sorted(bundled().items()):
        kept = load(path)
        if (kept.vocabulary.task.name == DEFAULT) == flip_flop:
            yield name, kept


def cell(one: Evaluation) -> str:
    """``3 / 26,208: 0.0114 % (0.002–0.033)``, and for no error the upper bound alone: ``0 / 26,208 (< 0.38 %)``."""
    if not one.errors:
        return f"0 / {one.reads:,} (< {percent(one.high)} %)"
    rate, low, high = percent(one.rate), percent(one.low), percent(one.high)
    # Below one in a million a lower bound says no more than that there was an error.
    within = f"{low}–{high}" if one.low >= 1e-6 else f"< {high}"
    return f"{one.errors:,} / {one.reads:,}: {rate} % ({within})"


if __name__ == "__main__":
    sys.stdout.write(f"{table()}\n\n{automata_table()}\n")
