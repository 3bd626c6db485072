"""Where the write's value travels: patching between a string and the same string with one write flipped.

A pair is a prompt up to the first read after a write, and the same with that write's value flipped. With the answer D,
the logit of the true answer less that of the flipped one, a state of the clean prompt is put into the corrupt one::

    effect = Σ (D patched - D corrupt) / Σ (D clean - D corrupt)       sums over pairs

An effect of 1 says that this state alone brings the clean answer back, 0 that it carries nothing of the write. Sums are
divided, and not each pair by itself, because single pairs that the model hardly tells apart would give any number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ffprompt._util.plain import Plain
from ffprompt.analysis.diagnosis.collect import Asked, asked_of
from ffprompt.analysis.diagnosis.dilution import bins
from ffprompt.analysis.diagnosis.estimates import Estimate, Floats, Ints, means, ratios
from ffprompt.backends.local.attention import AttentionModel, Pair, Patched
from ffprompt.errors import ConfigError
from ffprompt.evaluation.plan import Plan
from ffprompt.tasks.flipflop import IGNORE, WRITE
from ffprompt.tasks.strings import String

GROUPS = ("write", "between", "read")
"""Tokens whose states are patched together: the write's value, those between, and the one that predicts the answer."""

_SEED = 0


@dataclass(frozen=True)
class GroupEffect(Plain):
    """The effect of the states before a block at the tokens of a group. None where no pair has such a token."""

    layer: int
    group: str
    effect: Estimate | None


@dataclass(frozen=True)
class HeadEffect(Plain):
    """The effect of the output of one head, at all tokens from the write on."""

    name: str
    layer: int
    head: int
    effect: Estimate | None


@dataclass(frozen=True)
class GapEffect(Plain):
    """D clean - D corrupt over the pairs whose read is ``label`` instructions behind its write, such as 3–4."""

    label: str
    total: Estimate | None


@dataclass(frozen=True)
class Patching(Plain):
    """What patching shows in one condition.

    Attributes:
        pairs: One for each string.
        skipped: Strings whose flipped write changes more than the tokens of its value.
        total: Mean of D clean - D corrupt: what the write's value changes at the read, in logits.
        clean: Mean of D clean. Above 0 where the model answers right.
        by_gap: The total by the distance between write and read: what reaches the read from how far.
        groups: By block and group. The last block's output is not patched: there the read's effect is 1.
        heads: Every head.
    """

    pairs: int
    skipped: int
    total: Estimate | None
    clean: Estimate | None
    by_gap: list[GapEffect]
    groups: list[GroupEffect]
    heads: list[HeadEffect]

    @property
    def has_effect(self) -> bool:
        """Whether flipping the write changes the answer, without which effects say nothing."""
        return self.total is not None and self.total.low is not None and self.total.low > 0


@dataclass(frozen=True, eq=False)
class PatchTable:
    """The pairs of a condition: fields (P,), and what was found, (P, B, G) and (P, L, H)."""

    layers: tuple[int, ...]
    trial: Ints
    string: Ints
    read: Ints
    gap: Ints
    clean: Floats
    corrupt: Floats
    groups: Floats
    heads: Floats


@dataclass(frozen=True)
class _Chosen:
    """A read of a string, the first one after its write, both as events."""

    write: int
    read: int


def patching(plan: Plan, asked: Asked, model: AttentionModel) -> tuple[Patching, PatchTable]:
    """Patch one read of every string.

    Raises:
        ConfigError: No string has a pair.
    """
    rng = np.random.default_rng(_SEED)
    chosen = [_chosen(string, rng) for string in asked.events]
    flipped = _flipped(plan, asked, model, chosen)
    rows, found = [], []
    for row, one in enumerate(chosen):
        pair = _pair(asked, flipped, row, one)
        if pair is not None:
            rows.append(row)
            found.append(model.patch(pair))
    if not rows:
        raise ConfigError(
            f"--patch, condition {asked.condition.name}: flipping a write changes more tokens than its value in every "
            "string; use a --template whose values are single tokens"
        )
    table = _table(asked, model, chosen, rows, found)
    return _summary(table, model, len(chosen) - len(rows)), table


def _chosen(string: String, rng: np.random.Generator) -> _Chosen:
    """One of the reads that come first after their write, at random."""
    writes, reads = np.flatnonzero(string.events == WRITE), np.flatnonzero(string.is_read)
    governing = writes[np.searchsorted(writes, reads) - 1]
    _, first = np.unique(governing, return_index=True)
    read = int(rng.choice(first))
    return _Chosen(int(governing[read]), int(reads[read]))


def _flipped(plan: Plan, asked: Asked, model: AttentionModel, chosen: Sequence[_Chosen]) -> Asked:
    """The same prompts with another value in the chosen write, and in the answers that follow from it."""
    once, count = plan.once, len(asked.events)
    batch = once.batch(asked.condition, int(asked.strings[0]), int(asked.strings[0]) + count)
    arguments = batch.strings.arguments.copy()
    symbols = batch.strings.symbols
    for row, one in enumerate(chosen):
        events = batch.strings.events[row]
        later = np.flatnonzero(events[one.write + 1 :] == WRITE)
        end = one.write + 1 + int(later[0]) if len(later) else len(events)
        mine = np.arange(one.write, end)
        mine = mine[events[mine] != IGNORE]
        arguments[row, mine] = (arguments[row, mine] + 1) % symbols
    strings = replace(batch.strings, arguments=arguments, answers=arguments)
    return asked_of(plan, model, replace(batch, strings=strings))


def _pair(asked: Asked, flipped: Asked, row: int, chosen: _Chosen) -> Pair | None:
    """A pair. None where more than the value's tokens differ, or their number."""
    tokens, other = asked.looks[row].tokens, flipped.looks[row].tokens
    read = int(np.flatnonzero(np.flatnonzero(asked.events[row].is_read) == chosen.read)[0])
    query = int(tokens.queries[read])
    if int(other.queries[read]) != query:
        return None
    clean, corrupt = tokens.ids[: query + 1], other.ids[: query + 1]
    write = tuple(token for token in tokens.values[chosen.write] if token < query)
    changed = np.flatnonzero(clean != corrupt)
    if not write or not len(changed) or not set(changed.tolist()) <= set(write):
        return None
    true, false = asked.truths[row][read], flipped.truths[row][read]
    candidates = int(tokens.candidates[read][true]), int(tokens.candidates[read][false])
    return Pair(clean, corrupt, candidates, (write, tuple(range(write[-1] + 1, query)), (query,)))


def _table(
    asked: Asked, model: AttentionModel, chosen: Sequence[_Chosen], rows: Sequence[int], found: Sequence[Patched]
) -> PatchTable:
    picked = [chosen[row] for row in rows]
    reads = [
        int(np.count_nonzero(asked.events[row].is_read[: one.read])) for row, one in zip(rows, picked, strict=True)
    ]
    return PatchTable(
        layers=model.layers,
        trial=asked.trials[list(rows)],
        string=asked.strings[list(rows)],
        read=np.array(reads),
        gap=np.array([one.read - one.write for one in picked]),
        clean=np.array([one.clean for one in found]),
        corrupt=np.array([one.corrupt for one in found]),
        groups=np.stack([one.groups for one in found]),
        heads=np.stack([one.heads for one in found]),
    )


def _summary(table: PatchTable, model: AttentionModel, skipped: int) -> Patching:
    total = table.clean - table.corrupt
    pairs = len(total)
    groups = ratios((table.groups - table.corrupt[:, None, None]).reshape(pairs, -1), total, table.string)
    heads = ratios((table.heads - table.corrupt[:, None, None]).reshape(pairs, -1), total, table.string)
    kinds = len(GROUPS)
    return Patching(
        pairs,
        skipped,
        means(total, table.string)[0],
        means(table.clean, table.string)[0],
        [GapEffect(label, means(total[where], table.string[where])[0]) for label, where in bins(table.gap)],
        [GroupEffect(place // kinds, GROUPS[place % kinds], effect) for place, effect in enumerate(groups)],
        [
            HeadEffect(f"L{layer}H{head}", layer, head, effect)
            for effect, (layer, head) in zip(
                heads, ((layer, head) for layer in table.layers for head in range(model.heads)), strict=True
            )
        ],
    )


def columns(table: PatchTable) -> dict[str, object]:
    """Return the columns of ``patching.parquet``: a row for each pair and place."""
    P, B, G = table.groups.shape  # noqa: N806
    heads = table.heads.shape[2]
    of_groups, of_heads = B * G, len(table.layers) * heads
    each = of_groups + of_heads

    def repeated(values: np.ndarray) -> np.ndarray:
        return np.repeat(values, each)

    layer = np.concatenate([np.repeat(np.arange(B), G), np.repeat(np.array(table.layers), heads)])
    head = np.concatenate([np.full(of_groups, np.nan), np.tile(np.arange(heads), len(table.layers))])
    group = [*(GROUPS * B), *([None] * of_heads)]
    patched = np.concatenate([table.groups.reshape(P, -1), table.heads.reshape(P, -1)], 1).ravel()
    return {
        "trial": repeated(table.trial),
        "string_index": repeated(table.string),
        "read_index": repeated(table.read).astype(np.int32),
        "gap": repeated(table.gap).astype(np.int32),
        "kind": (["group"] * of_groups + ["head"] * of_heads) * P,
        "layer": np.tile(layer, P).astype(np.int16),
        "group": group * P,
        "head": np.tile(head, P),
        "clean": repeated(table.clean),
        "corrupt": repeated(table.corrupt),
        "patched": patched,
    }
