"""Layers: whether their tokens have grown alike, and whether their attention does anything.

* *Effective rank*: exp of the entropy of the singular values over their sum (Roy and Vetterli 2007), of a string's
  states (T, d).
* *Rank residual*: ‖X - 1 x̄ᵀ‖ / ‖X‖ with x̄ the mean state, as the monitors of a training compute it (after Dong et al.
  2021).
* *Cosine*: the mean cosine similarity between two tokens of a string.

The first token of a pretrained model often has a state many times as long as the others, which hides them. So all three
are given with and without it, and once more behind the final norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ffprompt._util.plain import Plain
from ffprompt.analysis.diagnosis.ablation import Tested
from ffprompt.analysis.diagnosis.collect import Asked
from ffprompt.analysis.diagnosis.estimates import Estimate, Floats, Ints, means, share
from ffprompt.analysis.diagnosis.table import AttentionTable
from ffprompt.backends.local.attention import AttentionModel, Change, StatesModel

STRINGS = 10
"""Strings whose states are looked at, the first ones."""

_CHANGE = 0.01  # mean total variation below which a layer that is taken away changed nothing


@dataclass(frozen=True)
class Geometry(Plain):
    """How different the states of a string's tokens are, as means over strings.

    Attributes:
        state: Its number: 0 before the first block, n after block n.
        name: What it is called.
        after_norm: Whether it is the last state behind the final norm.
        first_token: Whether the first token counts.
    """

    state: int
    name: str
    after_norm: bool
    first_token: bool
    effective_rank: Estimate | None
    residual: Estimate | None
    cosine: Estimate | None


@dataclass(frozen=True)
class AttentionLayer(Plain):
    """What the attention of a whole layer does.

    Attributes:
        layer: Its number.
        entropy: Mean entropy of its rows at reads, in nats.
        change: Mean total variation between the answers' distributions with and without it: 0 none, 1 all.
        changed: Share of the reads with another answer without it.
        error: The error rate without it.
        difference: That less the error rate of the whole model.
        lazy: Whether taking it away changes nothing: a change below 0.01, and no answer.
    """

    layer: int
    entropy: float
    change: Estimate | None
    changed: Estimate | None
    error: Estimate | None
    difference: Estimate | None
    lazy: bool


@dataclass(frozen=True)
class Layers(Plain):
    """The layers of a condition. ``attention`` is empty for a model without attention."""

    strings: int
    geometry: list[Geometry]
    attention: list[AttentionLayer]
    warnings: list[str]


@dataclass(frozen=True, eq=False)
class GeometryTable:
    """The shape of states, string by string: (N, K, 3) of K kinds of state; effective rank, residual, cosine."""

    trial: Ints
    string: Ints
    kinds: Sequence[tuple[int, bool, bool]]  # state, after the norm, with the first token
    values: Floats


def layers(
    asked: Asked, model: StatesModel, attention: AttentionModel | None, table: AttentionTable
) -> tuple[Layers, GeometryTable]:
    """Return what the layers of a model do in one condition, and the shape of its states string by string."""
    geometry = _geometry(asked, model)
    columns = [means(geometry.values[:, :, measure], geometry.string) for measure in range(3)]
    rows = [
        Geometry(state, model.states_are[state], after_norm, first, *(column[kind] for column in columns))
        for kind, (state, after_norm, first) in enumerate(geometry.kinds)
    ]
    whole = _attention(asked, attention, table) if attention is not None else []
    return Layers(len(geometry.string), rows, whole, _warnings(rows, whole)), geometry


def _geometry(asked: Asked, model: StatesModel) -> GeometryTable:
    found: list[list[tuple[float, float, float]]] = []
    kinds: list[tuple[int, bool, bool]] = []
    for states in model.states(asked.looks[:STRINGS]):
        parts = [(state, False, values) for state, values in enumerate(states.values)]
        if states.normed is not None:
            parts.append((len(states.values) - 1, True, states.normed))
        kinds = [(state, after, first) for state, after, _ in parts for first in (True, False)]
        found.append([shape(values[0 if first else 1 :]) for _, _, values in parts for first in (True, False)])
    count = len(found)
    return GeometryTable(asked.trials[:count], asked.strings[:count], kinds, np.array(found))


def shape(x: NDArray[np.float32]) -> tuple[float, float, float]:
    """Return effective rank, rank residual and mean cosine of states (T, d). NaN where there are none to compare."""
    import torch

    from ffprompt.reference.training.diagnostics import residual

    if len(x) < 2:
        return float("nan"), float("nan"), float("nan")
    wide = x.astype(np.float64)
    gram = wide @ wide.T if len(x) <= x.shape[1] else wide.T @ wide
    singular = np.sqrt(np.clip(np.linalg.eigvalsh(gram), 0, None))
    weights = singular[singular > 0] / max(singular.sum(), 1e-300)
    rank = float(np.exp(-(weights * np.log(weights)).sum())) if len(weights) else 0.0
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    unit = np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)
    T = len(x)  # noqa: N806
    cosine = float(((unit.sum(0) ** 2).sum() - (unit**2).sum()) / (T * (T - 1)))
    return rank, float(residual(torch.from_numpy(x)[None])), cosine


def _attention(asked: Asked, model: AttentionModel, table: AttentionTable) -> list[AttentionLayer]:
    tested = Tested(model, asked, range(len(asked.strings)))
    every = list(range(model.heads))
    changes = [Change(), *(Change(heads={layer: every}) for layer in model.layers)]
    whole, *without = tested.logprobs(changes)
    entropy = table.entropy.reshape(len(table), len(model.layers), model.heads).mean((0, 2))
    wrong = whole.argmax(1) != tested.truth
    found = []
    for number, (layer, own) in enumerate(zip(model.layers, without, strict=True)):
        change = np.abs(_distribution(own) - _distribution(whole)).sum(1) / 2
        changed = own.argmax(1) != whole.argmax(1)
        own_wrong = own.argmax(1) != tested.truth
        found.append(
            AttentionLayer(
                layer,
                float(entropy[number]),
                means(change, tested.string, 1.0)[0],
                share(changed, tested.string),
                share(own_wrong, tested.string),
                means(own_wrong.astype(np.float64) - wrong, tested.string)[0],
                bool(change.mean() < _CHANGE and not changed.any()),
            )
        )
    return found


def _distribution(logprobs: Floats) -> Floats:
    """Probabilities (N, M) among the answers alone."""
    weights = np.exp(logprobs - logprobs.max(1, keepdims=True))
    return np.asarray(weights / weights.sum(1, keepdims=True))


def _warnings(rows: Sequence[Geometry], attention: Sequence[AttentionLayer]) -> list[str]:
    """What is beyond the limits at which a training is warned, and lazy layers."""
    from ffprompt.reference.training.diagnostics import Limits

    limits, found = Limits(), []
    for first in (True, False):
        alike = [
            f"{row.name}{' behind the norm' if row.after_norm else ''}"
            for row in rows
            if row.first_token == first and row.residual is not None and row.residual.estimate < limits.rank_residual
        ]
        if alike:
            which = "" if first else " but the first"
            found.append(f"rank collapse: all tokens{which} are nearly alike in {', '.join(alike)}")
    if sharp := [str(one.layer) for one in attention if one.entropy < limits.attention_entropy]:
        found.append(f"attention of layers {', '.join(sharp)} is on single tokens at reads: its entropy has collapsed")
    if lazy := [str(one.layer) for one in attention if one.lazy]:
        found.append(f"lazy layers {', '.join(lazy)}: without their attention no answer changes")
    return found


def columns(table: GeometryTable) -> dict[str, object]:
    """Return the columns of ``layers.parquet``: a row for each string and kind of state."""
    N, K = table.values.shape[:2]  # noqa: N806
    state, after_norm, first = (np.tile([kind[n] for kind in table.kinds], N) for n in range(3))
    return {
        "trial": np.repeat(table.trial, K),
        "string_index": np.repeat(table.string, K),
        "state": state.astype(np.int16),
        "after_norm": after_norm,
        "first_token": first,
        **{
            name: table.values[:, :, place].ravel()
            for place, name in enumerate(("effective_rank", "residual", "cosine"))
        },
    }
