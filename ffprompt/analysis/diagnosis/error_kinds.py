"""What the heads that look for the write have on top at wrong reads, beside the same at right reads.

At each read every one of the best heads names the token to which it attends most. Its vote counts as much as it attends
to the write on average, and the kind of the read is what has the most votes. An error is then

* ``dilution``: the write is on top and the answer is wrong all the same, its share too small or its value lost later;
* ``stale: first`` (primacy), ``stale: previous`` (recency) or ``stale: other``: an earlier write is on top;
* ``distractor``: the value of an ignore;
* ``echo``: the answer to a read of an earlier write;
* ``answer since the write``: an answer that shows the right value;
* ``sink``: the first token, or a learned sink;
* ``elsewhere``: any other token.

Most heads have a sink on top at most reads, wrong or right, so each kind is also told among tokens that hold a symbol.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ffprompt._util.plain import Plain
from ffprompt.analysis.diagnosis.estimates import Estimate, Ints, share
from ffprompt.analysis.diagnosis.table import SINK, AttentionTable
from ffprompt.backends.local.attention import ANSWERS, FIRST, IGNORED, REST, STALE, WRITE

KINDS = (
    "dilution", "stale: first", "stale: previous", "stale: other", "distractor", "echo", "answer since the write",
    "sink", "elsewhere",
)  # fmt: skip
_NAMED = dict(enumerate(KINDS))


@dataclass(frozen=True)
class Kind(Plain):
    """How often something is on top: its share of the wrong and of the right reads. None without such a read."""

    kind: str
    wrong: Estimate | None
    right: Estimate | None


@dataclass(frozen=True)
class ErrorKinds(Plain):
    """The kinds of errors of a condition.

    Attributes:
        heads: The heads that were asked.
        of_all: Among all tokens.
        of_values: Among the tokens that hold a symbol.
    """

    heads: list[str]
    of_all: list[Kind]
    of_values: list[Kind]


def error_kinds(table: AttentionTable, heads: Ints) -> ErrorKinds:
    """Return what ``heads`` have on top at wrong and at right reads."""
    names = [table.name(int(head)) for head in heads]
    every = _voted(table, heads, table.top_role, table.top_event)
    values = _voted(table, heads, table.value_role, table.value_event)
    return ErrorKinds(names, _shares(table, every), _shares(table, values))


def _voted(table: AttentionTable, heads: Ints, role: Ints, event: Ints) -> Ints:
    """The kind of each read, (N,), as a place in ``KINDS``."""
    role, event = role[:, heads], event[:, heads]
    kinds = np.full(role.shape, KINDS.index("elsewhere"))
    kinds[role == WRITE] = KINDS.index("dilution")
    stale = role == STALE
    kinds[stale] = KINDS.index("stale: other")
    kinds[stale & (event == table.first_write[:, None])] = KINDS.index("stale: first")
    # The only earlier write is both the first and the previous one, and counts as the previous one.
    kinds[stale & (event == table.previous[:, None])] = KINDS.index("stale: previous")
    kinds[role == IGNORED] = KINDS.index("distractor")
    answered = role == ANSWERS
    kinds[answered] = KINDS.index("echo")
    kinds[answered & (event > table.governing[:, None])] = KINDS.index("answer since the write")
    kinds[(role == FIRST) | (role == SINK)] = KINDS.index("sink")
    kinds[role == REST] = KINDS.index("elsewhere")
    weight = table.mass[:, heads, WRITE].mean(0, dtype=np.float64)  # (heads,)
    votes = np.stack([((kinds == kind) * weight).sum(1) for kind in range(len(KINDS))], 1)
    return np.asarray(votes.argmax(1))


def _shares(table: AttentionTable, kinds: Ints) -> list[Kind]:
    found = []
    for place, name in _NAMED.items():
        sides = [share(kinds[side] == place, table.string[side]) for side in (table.wrong, ~table.wrong)]
        found.append(Kind(name, *sides))
    return found
