"""Do the heads that attend to the write matter? Take them away and see.

Heads are ranked by their attention on the write over the strings of one half, and taken away on the strings of the
other. Beside them stand random heads, as many in each layer: without that match, random heads fall into early layers
too, and taking those away breaks the model as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ffprompt._util.plain import Plain
from ffprompt.analysis.diagnosis.collect import Asked
from ffprompt.analysis.diagnosis.estimates import Estimate, Floats, Ints, means, share
from ffprompt.analysis.diagnosis.heads import best_heads
from ffprompt.analysis.diagnosis.table import AttentionTable
from ffprompt.backends.local.attention import FIRST, IGNORED, ROLES, STALE, WRITE, AttentionModel, Change, Mode
from ffprompt.errors import ConfigError

DRAWS = 20
"""Random sets of heads beside each chosen one."""

_CUTS = (WRITE, STALE, IGNORED, FIRST)
_SEED = 0
_TRIES = 20  # draws for each set, since a set counts once however often it is drawn


@dataclass(frozen=True)
class Removed(Plain):
    """What became of the reads when some heads were taken away.

    Attributes:
        count: How many.
        heads: Those that were chosen, the one with the most attention on the write first.
        error: The error rate without them.
        random: The error rate without each random set that is matched by layer. No set counts twice, so there are
            fewer where the layers have few heads.
        random_error: The mean over these sets.
        difference: Error rate without the chosen heads, less that without random ones.
        p: Share of sets, the chosen one counted among them, that do at least as much harm as the chosen one.
        unmatched: Layers with too few other heads, from which a random set may hold chosen ones.
    """

    count: int
    heads: list[str]
    error: Estimate | None
    random: list[float]
    random_error: Estimate | None
    difference: Estimate | None
    p: float
    unmatched: list[int]


@dataclass(frozen=True)
class Cut(Plain):
    """The error rate when no head sees the tokens of a role at a read. ``difference`` is to the whole model."""

    role: str
    error: Estimate | None
    difference: Estimate | None


@dataclass(frozen=True)
class Ablation(Plain):
    """What taking heads and edges away does in one condition.

    Attributes:
        mode: What takes the place of a head's output: zero, or its mean.
        frozen: Whether attention stayed as in the whole model.
        ranked_on: Strings on which heads were ranked.
        tested_on: Strings on which they were taken away.
        whole: The error rate of the whole model there.
        removed: For each number of heads.
        cuts: For edges from a read.
    """

    mode: str
    frozen: bool
    ranked_on: int
    tested_on: int
    whole: Estimate | None
    removed: list[Removed]
    cuts: list[Cut]


def ablate(
    model: AttentionModel,
    asked: Asked,
    table: AttentionTable,
    counts: Sequence[int],
    mode: Mode = "zero",
    frozen: bool = False,
    draws: int = DRAWS,
) -> Ablation:
    """Take heads away in one condition.

    Args:
        model: The open model.
        asked: The prompts of the condition.
        table: The attention at its reads.
        counts: How many heads are taken away, one number after the other.
        mode: What takes the place of a head's output.
        frozen: Whether attention stays as in the whole model.
        draws: Random sets for each number of heads.

    Raises:
        ConfigError: There are not so many heads, or fewer than four strings.
    """
    total = len(model.layers) * model.heads
    if wrong := [count for count in counts if not 1 <= count <= total // 2]:
        raise ConfigError(f"--ablate {wrong[0]}: expected 1 to {total // 2}, half of the model's {total} heads")
    if len(asked.strings) < 4:
        raise ConfigError(f"--strings {len(asked.strings)}: --ablate needs at least 4, half of them to rank heads on")
    ranking, testing = range(0, len(asked.strings), 2), range(1, len(asked.strings), 2)
    order = best_heads(table.where(np.isin(table.string, asked.strings[::2])), total)
    values = model.means([asked.looks[number] for number in ranking]) if mode == "mean" else None
    rng = np.random.default_rng(_SEED)
    sets = [(order[:count], *_random_sets(order[:count], model.heads, draws, rng)) for count in counts]

    def without(heads: Sequence[int]) -> Change:
        return Change(_by_layer(heads, model), mode, values, None, frozen)

    changes = [Change()]
    for chosen, random, _ in sets:
        changes += [without(chosen.tolist()), *map(without, random)]
    tested = Tested(model, asked, testing)
    wrong_reads = iter(tested.wrong([*changes, *(Change(cut=role) for role in _CUTS)]))
    whole = next(wrong_reads)
    removed = [
        _removed(table, model, chosen, unmatched, next(wrong_reads), [next(wrong_reads) for _ in random], tested.string)
        for chosen, random, unmatched in sets
    ]
    cuts = [_cut(role, next(wrong_reads), whole, tested.string) for role in _CUTS]
    return Ablation(mode, frozen, len(ranking), len(testing), share(whole > 0, tested.string), removed, cuts)


class Tested:
    """The reads of some strings, asked again and again of a model that is changed.

    Attributes:
        string: (N,) the string of each read.
        truth: (N,) its true answer.
    """

    def __init__(self, model: AttentionModel, asked: Asked, strings: Sequence[int]) -> None:
        self._model = model
        self._looks = [asked.looks[number] for number in strings]
        truths = [np.array(asked.truths[number], np.int64) for number in strings]
        self.truth = np.concatenate(truths)
        self.string = np.concatenate(
            [np.full(len(truth), number) for number, truth in zip(strings, truths, strict=True)]
        )

    def logprobs(self, changes: Sequence[Change]) -> list[Floats]:
        """Return the log-probabilities (N, M) of the answers under each change."""
        return [np.concatenate(own) for own in self._model.answers(self._looks, changes)]

    def wrong(self, changes: Sequence[Change]) -> list[Floats]:
        """Return 1.0 for each read that is answered wrong under each change, (N,)."""
        return [(own.argmax(1) != self.truth).astype(np.float64) for own in self.logprobs(changes)]


def _removed(
    table: AttentionTable,
    model: AttentionModel,
    chosen: Ints,
    unmatched: list[int],
    mine: Floats,
    others: Sequence[Floats],
    string: Ints,
) -> Removed:
    random = np.array(others)  # (draws, reads)
    rates = random.mean(1)
    return Removed(
        len(chosen),
        [table.name(int(head)) for head in chosen],
        share(mine > 0, string),
        [float(rate) for rate in rates],
        means(random.mean(0), string, 1.0)[0],
        _mean(mine - random.mean(0), string),
        float((1 + (rates >= mine.mean()).sum()) / (1 + len(rates))),
        [model.layers[layer] for layer in unmatched],
    )


def _cut(role: int, cut: Floats, whole: Floats, string: Ints) -> Cut:
    return Cut(ROLES[role], share(cut > 0, string), _mean(cut - whole, string))


def _mean(values: Floats, string: Ints) -> Estimate | None:
    return means(values, string)[0]


def _by_layer(heads: Sequence[int], model: AttentionModel) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for head in heads:
        found.setdefault(model.layers[head // model.heads], []).append(head % model.heads)
    return found


def _random_sets(chosen: Ints, heads: int, draws: int, rng: np.random.Generator) -> tuple[list[list[int]], list[int]]:
    """Up to ``draws`` different sets of heads with as many in each layer as ``chosen`` has.

    They are of other heads where a layer has enough of them.
    """
    layers, counts = np.unique(chosen // heads, return_counts=True)
    pools, unmatched = [], []
    for layer, count in zip(layers.tolist(), counts.tolist(), strict=True):
        every = np.arange(layer * heads, (layer + 1) * heads)
        others = np.setdiff1d(every, chosen)
        if len(others) < count:
            unmatched.append(layer)
        pools.append((others if len(others) >= count else every, count))
    sets: list[list[int]] = []
    for _ in range(_TRIES * draws):
        drawn = sorted(int(head) for pool, count in pools for head in rng.choice(pool, count, replace=False))
        if drawn not in sets:
            sets.append(drawn)
        if len(sets) == draws:
            break
    return sets, unmatched
