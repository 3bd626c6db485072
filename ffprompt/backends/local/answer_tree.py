"""Answers of several tokens as one tree, so that a single forward pass scores all of them.

Scored one by one, every answer at every read is a row of its own, and the rows of a string are nearly the same::

    A robot is on tile 1 . It moves left . It is on tile | 1 , first
                                                         | 2 , second
    A robot is on tile 1 . It moves left . It is on tile 1 , first . It moves right . It is on tile | 1 , first
                                                                                                    | 2 , second

In the tree each beginning stands once, whatever tokens a tokenizer made of it. A token sees its ancestors alone, and
its position is its depth, so it is predicted exactly as in its own row::

    A … tile ─┬─ 1 ─ , ─ first ─ . It moves right … tile ─┬─ 1 ─ ,
              └─ 2 ─ ,                                    └─ 2 ─ ,
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ffprompt.backends.local.candidate_scores import Row, RowScores
from ffprompt.backends.local.tokenization import Ids


@dataclass(slots=True)
class AnswerTree:
    """Rows of one string, whose common beginnings stand once.

    ``ids``, ``parents`` and ``depths`` (N,) are the token of each node, the node before it (-1: none) and the number
    of nodes before it. A parent stands before its children. ``rows`` are numbers of the rows that it holds, and
    ``reads`` is how many reads they belong to.
    """

    ids: Ids = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    reads: int = 0
    # For each row and each of its positions: the node that predicts it, as a number in ``nodes``, and the place of the
    # position's candidate in ``candidates``.
    places: list[list[tuple[int, int]]] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)  # (R,) those that predict something
    candidates: list[Ids] = field(default_factory=list)  # (R, …) the tokens whose probability is asked there

    @property
    def depth(self) -> int:
        """The length of the longest row in tokens."""
        return max(self.depths) + 1

    def ancestors(self) -> NDArray[np.bool_]:
        """(N, N) which nodes each node sees: those before it on its own branch, and itself."""
        sees = np.eye(len(self.ids), dtype=bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                sees[node, : parent + 1] = sees[parent, : parent + 1]
        return sees

    def scores(self, logprobs: Sequence[Sequence[float]], argmax: Sequence[int]) -> list[RowScores]:
        """Return the scores of every row from those of the nodes that predict something."""
        return [
            ([[logprobs[node][candidate]] for node, candidate in row], [argmax[node] for node, _ in row])
            for row in self.places
        ]


class _Grower:
    """Adds rows to a tree."""

    def __init__(self) -> None:
        self.tree = AnswerTree()
        self._children: dict[tuple[int, int], int] = {}
        self._path: list[int] = []  # the nodes of the row that was added last
        self._last: Ids = []
        self._numbers: dict[int, int] = {}

    def add(self, number: int, row: Row) -> None:
        """Add a row, whose tokens up to where it leaves the tree are there already."""
        shared = _common_length(self._last, row.ids)
        path = self._path[:shared]
        node = path[-1] if path else -1
        for token in row.ids[shared:]:
            node = self._child(node, token)
            path.append(node)
        self._path, self._last = path, row.ids
        self.tree.rows.append(number)
        positions = zip(row.positions, row.candidates, strict=True)
        self.tree.places.append([self._place(path[position - 1], *tokens) for position, tokens in positions])

    def _child(self, parent: int, token: int) -> int:
        tree = self.tree
        node = self._children.get((parent, token))
        if node is None:
            node = self._children[parent, token] = len(tree.ids)
            tree.ids.append(token)
            tree.parents.append(parent)
            tree.depths.append(tree.depths[parent] + 1 if parent >= 0 else 0)
        return node

    def _place(self, node: int, token: int) -> tuple[int, int]:
        tree = self.tree
        number = self._numbers.setdefault(node, len(tree.nodes))
        if number == len(tree.nodes):
            tree.nodes.append(node)
            tree.candidates.append([])
        candidates = tree.candidates[number]
        if token not in candidates:
            candidates.append(token)
        return number, candidates.index(token)


def _common_length(one: Ids, other: Ids) -> int:
    """How many leading tokens two rows share."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # slices are compared much faster than tokens one by one
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def plan_trees(rows: Sequence[Row], reads: Sequence[Sequence[int]], most: int) -> list[AnswerTree]:
    """Return trees of at most ``most`` nodes that hold all rows of one string.

    ``reads`` are the numbers of the rows of each read, which stay together: a tree may be larger where the rows of a
    single read are.
    """
    pieces = [reads]
    while True:
        trees = [_grown(rows, piece) for piece in pieces]
        if all(len(tree.ids) <= most or tree.reads == 1 for tree in trees):
            return trees
        # Half the reads do not make half a tree, because what stands before the later ones is in it.
        pieces = [half for piece, tree in zip(pieces, trees, strict=True) for half in _halves(piece, tree, most)]


def _halves(reads: Sequence[Sequence[int]], tree: AnswerTree, most: int) -> list[Sequence[Sequence[int]]]:
    if len(tree.ids) <= most or tree.reads == 1:
        return [reads]
    bounds = (0, len(reads) // 2, len(reads))
    return [reads[low:high] for low, high in pairwise(bounds)]


def _grown(rows: Sequence[Row], reads: Sequence[Sequence[int]]) -> AnswerTree:
    grower = _Grower()
    for read in reads:
        for number in read:
            grower.add(number, rows[number])
    grower.tree.reads = len(reads)
    return grower.tree
