"""How often a reference model errs, counted straight from its logits; for runs with a report there is the backend."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ffprompt.errors import ConfigError, RunFailedError
from ffprompt.reference.networks.base import Network, encode, predict
from ffprompt.reference.networks.threads import Workers
from ffprompt.reference.tokens import INSTRUCTIONS
from ffprompt.stats.clusters import Clusters
from ffprompt.stats.intervals import korn_graubard
from ffprompt.tasks.flipflop import Spec, sample

TEST_SEED = 1000
"""Strings to test on have a seed of their own, and come from another stream than those trained on."""

PAPER_SETS = ((0.8, 1_000), (0.98, 100_000), (0.1, 3_000))
"""p_ignore and number of strings of the paper's test sets: in distribution, sparse tail, dense tail (B.2)."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Errors of a model on one test set: reads where the token ranked first among all V is not the answer.

    ``low`` and ``high`` are the 95 % Korn–Graubard interval of the glitch rate, strings as clusters; ``gaps`` are the
    errors by instructions since the write, (gap, errors) each.
    """

    data: Spec
    seed: int
    strings: int
    reads: int
    errors: int
    low: float
    high: float
    gaps: tuple[tuple[int, int], ...] = ()

    @property
    def rate(self) -> float:
        """Glitch rate: errors a read."""
        return self.errors / self.reads

    def record(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Evaluation:
        """What ``record`` gave. Raises TypeError, KeyError or UsageError when something is missing, odd or too much."""
        gaps = tuple((int(gap), int(errors)) for gap, errors in record["gaps"])
        return cls(**{**record, "data": Spec(**record["data"]), "gaps": gaps})


def paper_sets(length: int = 512, symbols: int = 2, most: int | None = None) -> list[tuple[Spec, int]]:
    """The three test sets with this T and M, each of at most ``most`` strings."""
    return [
        (Spec.ffl(p, length, symbols), strings if most is None else min(strings, most)) for p, strings in PAPER_SETS
    ]


def evaluate(
    model: Network,
    data: Spec,
    seed: int,
    strings: int,
    batch: int = 16,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Count the errors on the strings 0 … ``strings`` - 1 that ``language.sample`` draws for (data, seed).

    ``progress`` is called with the number of strings that are done. The model's training mode is put back. Raises
    ConfigError when there is no string, RunFailedError when outputs of the model are no numbers: they are no errors.
    """
    if strings < 1:
        raise ConfigError(f"strings {strings}: an evaluation needs at least one")
    parts: list[tuple[Sequence[int], Sequence[int]]] = []
    gaps: Counter[int] = Counter()

    def count(low: int) -> None:
        part = sample(data, seed, low, min(low + batch, strings))
        rows, reads = np.nonzero(part.is_read)  # (R,) each
        logp = predict(model, encode(part).numpy(), rows, 2 * reads + 1)  # (R, V)
        if np.isnan(logp).any():
            raise RunFailedError(f"{data}, strings from {low} on: the outputs of the model are no numbers")
        best = logp.argmax(1)  # (R,)
        wrong = best != part.values[rows, reads].astype(np.int64) + INSTRUCTIONS
        errors = np.bincount(rows[wrong], minlength=len(part))
        found.append((low, errors, part.is_read.sum(1), part.gaps[rows[wrong], reads[wrong]]))
        if progress:
            progress(min(len(found) * batch, strings))

    found: list[tuple[int, Any, Any, Any]] = []
    training = model.training
    model.eval()
    # On a GPU passes of several threads would trip over each other's settings.
    workers = Workers(None if model.head.weight.device.type == "cpu" else 1)
    try:
        workers.map(count, range(0, strings, batch))
    finally:
        workers.close()
        model.train(training)
    for _, errors, reads, wrong_gaps in sorted(found, key=lambda one: one[0]):
        parts.append((errors, reads))
        gaps.update(wrong_gaps.tolist())
    clusters = Clusters(np.concatenate([e for e, _ in parts]), np.concatenate([r for _, r in parts]))
    interval = korn_graubard(clusters)
    assert interval is not None, "every string ends with a read"
    return Evaluation(
        data,
        seed,
        strings,
        clusters.n_reads,
        clusters.n_errors,
        interval.low,
        interval.high,
        tuple(sorted(gaps.items())),
    )
