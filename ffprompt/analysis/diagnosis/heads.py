"""What each head does at the reads of a condition, and what differs between right and wrong reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ffprompt._util.plain import Plain
from ffprompt.analysis.diagnosis.estimates import Estimate, Ints, differences, means, share
from ffprompt.analysis.diagnosis.table import AttentionTable
from ffprompt.backends.local.attention import ANSWERS, FIRST, IGNORED, STALE, WRITE

BEST = 8
"""Heads with the most attention on the write, which are shown and whose errors are looked at."""

_SINK_SHARE = 0.3  # mean attention on the first token from which a head counts as a sink (Gu et al. 2025)
_COPIES = 0.1  # share of reads with the write on top from which a head counts as one that retrieves (Wu et al. 2024)


@dataclass(frozen=True)
class Head(Plain):
    """One head, as means over reads. None is no data.

    Attributes:
        name: L22H7 is head 7 of layer 22, both from 0.
        kv_head: The key and value head that it uses.
        write: Attention on the value of the write that is asked for; ``stale`` to ``rest`` as in ``ROLES``.
        sink: What a learned sink of the head takes. It and the six before it sum to 1.
        top1: Share of reads where the write has the most attention of all tokens.
        entropy: Of a row, in nats.
        effective_keys: exp(entropy), the mean over reads.
        margin: Score of the write less the logsumexp of all others, over the reads where it can be seen.
        reachable: Share of reads whose write the layer can see. Below 1 a window hides it.
    """

    name: str
    layer: int
    head: int
    kv_head: int
    write: float
    stale: float
    ignored: float
    answers: float
    first: float
    rest: float
    sink: float
    top1: float
    entropy: float
    effective_keys: float
    margin: float | None
    reachable: float


@dataclass(frozen=True)
class BestHead(Plain):
    """One of the heads with the most attention on the write, with intervals.

    Attributes:
        write_by_outcome: Its attention on the write where the answer is wrong, less that where it is right;
            ``stale_by_outcome`` and so on likewise.
    """

    name: str
    write: Estimate | None
    stale: Estimate | None
    top1: Estimate | None
    margin: Estimate | None
    write_by_outcome: Estimate | None
    stale_by_outcome: Estimate | None
    ignored_by_outcome: Estimate | None
    answers_by_outcome: Estimate | None
    first_by_outcome: Estimate | None
    margin_by_outcome: Estimate | None


@dataclass(frozen=True)
class HeadSummary(Plain):
    """All heads of a condition.

    Attributes:
        heads: Every head, layer by layer.
        best: Those with the most attention on the write, the first of them first.
        retrieving: Heads whose most attended token is the write at a tenth of the reads or more.
        sink_heads: Heads whose mean attention on the first token is above 0.3.
        mean_first: Attention on the first token, over all heads.
    """

    heads: list[Head]
    best: list[BestHead]
    retrieving: int
    sink_heads: int
    mean_first: float


def best_heads(table: AttentionTable, count: int = BEST) -> Ints:
    """Return the places of the heads with the most attention on the write, the first of them first."""
    return np.argsort(-table.mass[:, :, WRITE].mean(0), kind="stable")[: min(count, table.columns)]


def summarise(table: AttentionTable, groups: int) -> HeadSummary:
    """Return what all heads do at these reads. ``groups`` is the number of heads that share keys and values."""
    mass = table.mass.astype(np.float64).mean(0)  # (A, roles)
    top1 = (table.top_role == WRITE).mean(0)
    margins = np.ma.masked_invalid(table.margin.astype(np.float64)).mean(0).filled(np.nan)
    entropy, effective = table.entropy.mean(0), np.exp(table.entropy.astype(np.float64)).mean(0)
    sink, reachable = table.sink.mean(0), table.reachable.mean(0)
    heads = []
    for one in range(table.columns):
        layer, head = divmod(one, table.heads)
        write, stale, ignored, answers, first, rest = (float(value) for value in mass[one])
        heads.append(
            Head(
                name=table.name(one),
                layer=table.layers[layer],
                head=head,
                kv_head=head // groups,
                write=write,
                stale=stale,
                ignored=ignored,
                answers=answers,
                first=first,
                rest=rest,
                sink=float(sink[one]),
                top1=float(top1[one]),
                entropy=float(entropy[one]),
                effective_keys=float(effective[one]),
                margin=float(margins[one]) if np.isfinite(margins[one]) else None,
                reachable=float(reachable[one]),
            )
        )
    return HeadSummary(
        heads,
        _best(table),
        int((top1 >= _COPIES).sum()),
        int((mass[:, FIRST] > _SINK_SHARE).sum()),
        float(mass[:, FIRST].mean()),
    )


def _best(table: AttentionTable) -> list[BestHead]:
    chosen = best_heads(table)
    mass = table.mass[:, chosen].astype(np.float64)
    margin = table.margin[:, chosen].astype(np.float64)
    where = [
        differences(mass[:, :, role], table.wrong, table.string) for role in (WRITE, STALE, IGNORED, ANSWERS, FIRST)
    ]
    columns = [
        means(mass[:, :, WRITE], table.string, 1.0),
        means(mass[:, :, STALE], table.string, 1.0),
        [share(table.top_role[:, one] == WRITE, table.string) for one in chosen],
        means(margin, table.string),
        *where,
        differences(margin, table.wrong, table.string),
    ]
    return [
        BestHead(table.name(int(one)), *values) for one, values in zip(chosen, zip(*columns, strict=True), strict=True)
    ]
