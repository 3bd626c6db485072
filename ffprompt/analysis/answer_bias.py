"""What a prompt suggests by itself: the prior of each answer in a prompt whose values are blanked (``prior``).

Example: in 20 prompts without content "on" has 0.7 of the probability of both answers on average, so the bias towards
"on" is 0.7 - 0.3 = 0.4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ffprompt.analysis.reads import LEVEL, Reads
from ffprompt.stats.association import mean


@dataclass(frozen=True)
class AnswerPrior:
    """The mean share of the probability of all answers that one answer has without content, over strings."""

    answer: int
    word: str
    share: float
    low: float | None
    high: float | None


def answer_priors(reads: Reads, words: tuple[str, ...]) -> list[AnswerPrior]:
    """Return the prior of each answer, with an interval over strings. Empty without log-probabilities."""
    if reads.logprobs is None:
        return []
    known = np.isfinite(reads.logprobs).all(1)
    logprobs = reads.logprobs[known]
    if not len(logprobs):
        return []
    shares = np.exp(logprobs - logprobs.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    found = []
    for answer, word in enumerate(words):
        interval = mean(reads.string[known], shares[:, answer], LEVEL)
        low, high = (max(0.0, interval[1]), min(1.0, interval[2])) if interval else (None, None)
        found.append(AnswerPrior(answer, word, float(shares[:, answer].mean()), low, high))
    return found
