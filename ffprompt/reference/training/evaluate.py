"""How often a reference model errs, counted straight from its logits. For runs with a report there is the backend."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ffprompt.errors import ConfigError, RunFailedError
from ffprompt.reference.networks.base import Network, predict
from ffprompt.reference.networks.threads import Workers
from ffprompt.reference.training.data import Mixture, read_spec, write_spec
from ffprompt.reference.vocabulary import Ints, Vocabulary
from ffprompt.stats.clusters import Clusters
from ffprompt.stats.intervals import korn_graubard
from ffprompt.tasks.base import Spec
from ffprompt.tasks.flipflop import FLIP_FLOP
from ffprompt.tasks.flipflop import Spec as FlipFlopSpec

TEST_SEED = 1000
"""Strings to test on have a seed of their own, and come from another stream than those trained on."""

OTHER_STRINGS = 1_000
"""Test strings of a task that has no published test sets."""

PAPER_SETS = ((0.8, 1_000), (0.98, 100_000), (0.1, 3_000))
"""p_ignore and number of strings of the paper's test sets: in distribution, sparse tail, dense tail (B.2)."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a sequential test showed of the glitch rate on strings of its own, at ``level``.

    ``decision`` is ``below`` or ``above`` the ``bound``, None where ``strings`` were too few for either. ``low`` and
    ``high`` are bounds of one side each, which hold wherever the test stopped.
    """

    bound: float
    level: float
    decision: str | None
    seed: int
    strings: int
    reads: int
    errors: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Errors of a model on one test set: reads where the token ranked first among all V is not the answer.

    ``low`` and ``high`` are the 95 % Korn–Graubard interval of the glitch rate, strings as clusters. ``gaps`` are the
    errors by the gap of the read, (gap, errors) each. ``positions`` are (inputs, reads, errors), where inputs counts
    the events before a read that are no reads. A flip-flop has none of these: its reads are told by their gaps.
    """

    data: Spec
    seed: int
    strings: int
    reads: int
    errors: int
    low: float
    high: float
    gaps: tuple[tuple[int, int], ...] = ()
    positions: tuple[tuple[int, int, int], ...] = ()
    certificate: Certificate | None = None

    @property
    def rate(self) -> float:
        """Glitch rate: errors a read."""
        return self.errors / self.reads

    def record(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        record = {field.name: getattr(self, field.name) for field in fields(self)} | {"data": write_spec(self.data)}
        record["certificate"] = self.certificate and asdict(self.certificate)
        for name in ("positions", "certificate"):
            if not record[name]:
                del record[name]
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Evaluation:
        """What ``record`` gave. Raises TypeError, KeyError or UsageError when something is missing, odd or too much."""
        gaps = tuple((int(gap), int(errors)) for gap, errors in record["gaps"])
        places = tuple((int(inputs), int(reads), int(errors)) for inputs, reads, errors in record.get("positions", ()))
        shown = record.get("certificate")
        certificate = None if shown is None else Certificate(**shown)
        own = {"data": read_spec(record["data"]), "gaps": gaps, "positions": places, "certificate": certificate}
        return cls(**{**record, **own})


def paper_sets(length: int = 512, symbols: int = 2, most: int | None = None) -> list[tuple[Spec, int]]:
    """The three test sets with this T and M, each of at most ``most`` strings."""
    return [
        (FlipFlopSpec.ffl(p, length, symbols), strings if most is None else min(strings, most))
        for p, strings in PAPER_SETS
    ]


def sets_for(data: Mixture, others: Sequence[Spec] = (), most: int | None = None) -> list[tuple[Spec, int]]:
    """What a model that was trained on ``data`` is tested on, with at most ``most`` strings of each.

    The paper's sets for a flip-flop. For another task the specs of its training. ``others`` come after them.
    """
    if data.task.name == FLIP_FLOP.name:
        sets = paper_sets(data.length, data.symbols, most)
    else:
        count = OTHER_STRINGS if most is None else most
        sets = [(part, count) for part in data.parts]
    known = [spec for spec, _ in sets]
    return sets + [(one, OTHER_STRINGS if most is None else most) for one in others if one not in known]


def evaluate(
    model: Network,
    data: Spec,
    seed: int,
    strings: int,
    batch: int = 16,
    progress: Callable[[int], None] | None = None,
    scratchpad: bool = False,
) -> Evaluation:
    """Count the errors on the strings 0 … ``strings`` - 1 of (data, seed).

    With ``scratchpad`` the model sees the true answers to earlier reads, of a task that leaves it open. ``progress`` is
    called with the number of strings that are done. The model's training mode is put back.

    Raises:
        ConfigError: when there is no string.
        RunFailedError: when outputs of the model are no numbers: they are no errors.
    """
    if strings < 1:
        raise ConfigError(f"strings {strings}: an evaluation needs at least one")
    gaps: Counter[int] = Counter()
    places = np.zeros((2, data.instructions), np.int64)  # reads and errors by the inputs before them
    vocabulary = Vocabulary(data.task, data.symbols, scratchpad)
    counted = count(model, data, seed, 0, strings, batch, progress, vocabulary)
    for one in counted:
        gaps.update(one.gaps.tolist())
        places[0] += np.bincount(one.inputs, minlength=data.instructions)
        places[1] += np.bincount(one.inputs[one.wrong], minlength=data.instructions)
    errors, reads = (
        np.concatenate(arrays) for arrays in zip(*((one.errors, one.reads) for one in counted), strict=True)
    )
    clusters = Clusters(errors, reads)
    interval = korn_graubard(clusters)
    shown = [] if vocabulary.in_pairs else np.flatnonzero(places[0]).tolist()
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
        tuple((n, int(places[0, n]), int(places[1, n])) for n in shown),
    )


@dataclass(frozen=True, slots=True)
class Counts:
    """Some strings: ``errors`` and ``reads`` (N,) of each, ``inputs`` and ``wrong`` (R,) of each read.

    ``gaps`` are those of the wrong reads.
    """

    errors: Ints
    reads: Ints
    inputs: Ints
    wrong: NDArray[np.bool_]
    gaps: Ints


def count(
    model: Network,
    data: Spec,
    seed: int,
    start: int,
    stop: int,
    batch: int = 16,
    progress: Callable[[int], None] | None = None,
    vocabulary: Vocabulary | None = None,
) -> list[Counts]:
    """Count the errors on the strings ``start`` … ``stop`` - 1, in order, ``batch`` at a time.

    The model's training mode is put back.

    Raises:
        RunFailedError: when outputs of the model are no numbers.
    """
    words = vocabulary or Vocabulary(data.task, data.symbols)
    done = 0

    def some(low: int) -> Counts:
        nonlocal done
        part = data.sample(seed, low, min(low + batch, stop))
        made = words.encode(part)
        rows, reads = made.rows, made.events  # (R,) each
        logp = predict(model, made.tokens, rows, made.positions)  # (R, V)
        if np.isnan(logp).any():
            raise RunFailedError(f"{data}, strings from {low} on: the outputs of the model are no numbers")
        wrong = logp.argmax(1) != made.answers  # (R,)
        gaps = np.zeros(0, np.int64)
        if wrong.any():
            gaps = data.task.covariates(part)["gap"][rows[wrong], reads[wrong]]
        inputs = np.cumsum(~part.is_read, axis=1, dtype=np.int64)[rows, reads]
        errors = np.bincount(rows[wrong], minlength=len(part))
        done += len(part)
        if progress:
            progress(done)
        return Counts(errors, part.is_read.sum(1), inputs, np.asarray(wrong), gaps)

    training = model.training
    model.eval()
    # On a GPU passes of several threads would trip over each other's settings.
    workers = Workers(None if model.head.weight.device.type == "cpu" else 1)
    try:
        return list(workers.map(some, range(start, stop, batch)))
    finally:
        workers.close()
        model.train(training)
