"""What a backend finds when it audits the prompts of a condition, as ``run.json`` keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict


class ScoringPasses(TypedDict, total=False):
    """How answers of several tokens are scored: in one pass for each string, or in one for each answer."""

    passes: str
    reason: str  # why one pass for each string will not do
    checked_tokens: int  # depth of the deepest tree of answers that was compared with scores one by one
    largest_difference: float  # nats


class PromptAudit(TypedDict, total=False):
    """An audit of some prompts. A key is missing where a backend cannot know it.

    Means and maxima are over the audited prompts. Of a dialogue they are sums over the calls of one trial.
    """

    condition: str
    audited: int  # prompts
    answer_tokens: dict[str, int]  # prompts by where their answers stand in the tokens
    mean_prompt_tokens: float
    longest_prompt_tokens: int
    mean_prompt_characters: float
    longest_prompt_characters: int
    mean_calls: float  # of a trial
    context: int | None  # tokens
    bos: int | None  # the token that begins every prompt
    tokens: str  # how a reference model divides a string
    longest: int  # symbols of the longest string
    answers_of_several_tokens: ScoringPasses
    notes: Sequence[str]  # for whoever reads the numbers
