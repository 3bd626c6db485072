"""From a tokenised request to the rows of token ids that a model on this machine scores, and back to Scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ffprompt.backends.base import Failure, Scores
from ffprompt.backends.local.tokenization import Ids, Tokenised

# How many of the most probable tokens are asked for at every place of a prompt, where a server shows no others.
TOP_LOGPROBS = 20
NOT_FINITE = "the model returned log-probabilities that are not finite"


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence of token ids, the positions to predict in it, and the candidate tokens at each position.

    A position may be one past the end of ``ids``.
    """

    ids: Ids
    positions: Sequence[int]
    candidates: Sequence[Sequence[int]]


# For each position of a row: the log-probabilities of its candidates, and the token ranked first.
RowScores = tuple[list[list[float]], list[int]]


def plan_rows(tokenised: Sequence[Tokenised]) -> tuple[list[Row], list[list[int]]]:
    """Plan the rows that requests need.

    A request needs one row. Where its answers are several tokens, it needs one for every read and answer.

    Returns:
        The rows, and for each request the indices of its rows.
    """
    rows: list[Row] = []
    owners: list[list[int]] = []
    for prompt in tokenised:
        first = len(rows)
        if prompt.kind != "suffix":
            end = int(prompt.position[-1]) if len(prompt.position) else 1  # nothing after the last read is needed
            rows.append(Row(prompt.ids[:end], prompt.position.tolist(), prompt.answers.tolist()))
        else:
            for read in prompt.suffixes:
                for common, suffix in read:
                    positions = range(len(common), len(common) + len(suffix))
                    rows.append(Row((common + suffix)[:-1], list(positions), [[token] for token in suffix]))
        owners.append(list(range(first, len(rows))))
    return rows, owners


def collect_scores(
    tokenised: Sequence[Tokenised], owners: Sequence[Sequence[int]], row_scores: Sequence[RowScores]
) -> list[Scores | Failure]:
    """Return the scores of every request, in order, from those of its rows. ``owners`` is what ``plan_rows`` gave."""
    pairs = zip(tokenised, owners, strict=True)
    return [_scores(prompt, [row_scores[index] for index in owner]) for prompt, owner in pairs]


def _scores(prompt: Tokenised, row_scores: Sequence[RowScores]) -> Scores | Failure:
    """Return the scores of one request. Numbers that are not finite give a Failure."""
    if prompt.kind != "suffix":
        logprobs, argmax = row_scores[0]
        answers, symbols = np.array(logprobs), prompt.answers
    else:
        reads, count = len(prompt.suffixes), len(prompt.suffixes[0])
        # The probability of several tokens is the product of each given those before it.
        answers = np.array([sum(row[0] for row in logprobs) for logprobs, _ in row_scores]).reshape(reads, count)
        argmax = [row_scores[read * count][1][0] for read in range(reads)]
        symbols = np.array([[suffix[0] for _, suffix in read] for read in prompt.suffixes])
    if not np.isfinite(answers).all():
        return Failure(NOT_FINITE)
    ranked = np.array(argmax, np.int64)
    hit = symbols == ranked[:, None]
    # Where answers share their first token the unrestricted argmax says nothing about which was meant.
    symbol = np.where(hit.sum(axis=1) == 1, hit.argmax(axis=1), -1)
    return Scores(answers, ranked, symbol, len(prompt.ids))
