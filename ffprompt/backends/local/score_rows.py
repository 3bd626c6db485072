"""From a tokenised request to the sequences that a model on this machine scores, and back to the request's scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ffprompt.backends.base import Failure, Scores
from ffprompt.backends.local.tokenization import Ids, Tokenised

# The most probable tokens that are asked for at every place of a prompt, where a model's server shows no others.
TOP = 20
NOT_FINITE = "the model returned log-probabilities that are not finite"


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence: its ids, the indices of the tokens to predict (at most one past the end), the candidates there."""

    ids: Ids
    at: Sequence[int]
    wanted: Sequence[Sequence[int]]


# For each index in ``at``: log-probabilities of the wanted tokens, and the token ranked first.
Found = tuple[list[list[float]], list[int]]


def plan_rows(tokenised: Sequence[Tokenised]) -> tuple[list[Row], list[list[int]]]:
    """The rows that a set of requests needs, and which of them belong to each request.

    One row a request, or where answers are several tokens one for every read and answer.
    """
    rows: list[Row] = []
    owners: list[list[int]] = []
    for one in tokenised:
        first = len(rows)
        if one.kind != "suffix":
            end = int(one.position[-1]) if len(one.position) else 1  # nothing after the last read is needed
            rows.append(Row(one.ids[:end], one.position.tolist(), one.answers.tolist()))
        else:
            for read in one.suffixes:
                for common, suffix in read:
                    at = range(len(common), len(common) + len(suffix))
                    rows.append(Row((common + suffix)[:-1], list(at), [[token] for token in suffix]))
        owners.append(list(range(first, len(rows))))
    return rows, owners


def collect(one: Tokenised, found: Sequence[Found]) -> Scores | Failure:
    """The scores of one request from the rows it owns."""
    if one.kind != "suffix":
        logprobs, argmax = found[0]
        answers, symbols = np.array(logprobs), one.answers
    else:
        reads, count = len(one.suffixes), len(one.suffixes[0])
        # The probability of several tokens is the product of each given those before it.
        answers = np.array([sum(row[0] for row in logprobs) for logprobs, _ in found]).reshape(reads, count)
        argmax = [found[read * count][1][0] for read in range(reads)]
        symbols = np.array([[suffix[0] for _, suffix in read] for read in one.suffixes])
    if not np.isfinite(answers).all():
        return Failure(NOT_FINITE)
    ranked = np.array(argmax, np.int64)
    hit = symbols == ranked[:, None]
    # Where answers share their first token the unrestricted argmax says nothing about which was meant.
    symbol = np.where(hit.sum(axis=1) == 1, hit.argmax(axis=1), -1)
    return Scores(answers, ranked, symbol, len(one.ids))
