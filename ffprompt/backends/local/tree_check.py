"""Whether a model scores a tree of answers as it scores each answer by itself.

Not every model does: some take no mask of our own, some count positions by themselves, and some look a limited way
back. Nobody's documentation says which, so the model is asked. A few answers of a tree are scored in rows of their
own, too, and both must give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ffprompt.backends.local.answer_tree import AnswerTree
from ffprompt.backends.local.candidate_scores import Row, RowScores
from ffprompt.backends.local.weights import first_line
from ffprompt.backends.prompt_audit import ScoringPasses
from ffprompt.errors import RunFailedError

# In nats, for a whole answer. float32 engines differ by up to 2e-4 in one log-probability.
_EXACT = 5e-4
# For numbers of lower precision: so many times the distance of 1 to the next number.
_ROUNDING = 16

# What a forward pass raises that cannot work with its arguments. Memory that runs out is another matter.
_REFUSALS = (RunFailedError, TypeError, ValueError, LookupError, AttributeError, AssertionError)

ScoreTrees = Callable[[Sequence[AnswerTree]], list[list[RowScores]]]
ScoreRows = Callable[[Sequence[Row]], list[RowScores]]


@dataclass(slots=True)
class TreeCheck:
    """What is known of a model so far.

    ``epsilon`` is the distance of 1 to the next number of its type. ``depth`` is the length in tokens of the longest
    row that was checked, and ``difference`` the largest difference so far, in nats. ``refusal`` says why trees cannot
    be used. It is empty while they can.
    """

    epsilon: float
    depth: int = 0
    difference: float = 0.0
    refusal: str = ""

    @property
    def tolerance(self) -> float:
        """The largest difference between two ways of computing one number, in nats."""
        return max(_EXACT, _ROUNDING * self.epsilon)

    def passes(self, trees: Sequence[AnswerTree], rows: Sequence[Row], by_tree: ScoreTrees, by_row: ScoreRows) -> bool:
        """Return whether these trees can be scored as trees. The deepest is checked if none as deep has been."""
        deepest = max(trees, key=lambda tree: tree.depth)
        if not self.refusal and deepest.depth > self.depth:
            self._compare(deepest, rows, by_tree, by_row)
        return not self.refusal

    def record(self) -> ScoringPasses:
        """Return what belongs in the record of a run."""
        if self.refusal:
            return {"passes": "one an answer", "reason": self.refusal}
        return {"passes": "one a string", "checked_tokens": self.depth, "largest_difference": self.difference}

    @property
    def note(self) -> str:
        """What a user is told. Empty where there is nothing to tell."""
        if not self.refusal:
            return ""
        return f"answers of several tokens take a pass of their own each, which is slower: {self.refusal}"

    def _compare(self, tree: AnswerTree, rows: Sequence[Row], by_tree: ScoreTrees, by_row: ScoreRows) -> None:
        chosen = _chosen(tree)
        expected = _sums(by_row([rows[tree.rows[place]] for place in chosen]))
        try:
            passes = [by_tree([one])[0] for one in (tree, _disturbed(tree, chosen))]
        except _REFUSALS as error:
            self.refusal = f"the model does not take the mask of a tree ({first_line(error)})"
            return
        found = [_sums([scores[place] for place in chosen]) for scores in passes]
        difference = float(np.abs(np.array(found) - expected).max())
        # A comparison with a number that is none is false.
        if difference <= self.tolerance:
            self.depth, self.difference = tree.depth, max(self.difference, difference)
        else:
            self.refusal = (
                f"scored together they differ by {difference:.2g} nats from scores one by one, at {tree.depth} tokens"
            )


def _chosen(tree: AnswerTree) -> list[int]:
    """Places of rows to check: the first and the last answer of the first, the middle and the last read."""
    each = len(tree.rows) // tree.reads
    firsts = sorted({0, tree.reads // 2 * each, (tree.reads - 1) * each})
    return [place for first in firsts for place in (first, first + each - 1)]


def _disturbed(tree: AnswerTree, chosen: Sequence[int]) -> AnswerTree:
    """Return the tree with another token at every node that no chosen row has."""
    kept: set[int] = set()
    for place in chosen:
        node = tree.nodes[tree.places[place][-1][0]]
        while node >= 0:
            kept.add(node)
            node = tree.parents[node]
    # A token of the tree itself is one that the model has.
    return replace(tree, ids=[token if node in kept else tree.ids[0] for node, token in enumerate(tree.ids)])


def _sums(scores: Sequence[RowScores]) -> list[float]:
    return [sum(tokens[0] for tokens in logprobs) for logprobs, _ in scores]
