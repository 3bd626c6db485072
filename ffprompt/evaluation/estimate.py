"""What asking would cost, before anything is asked."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ffprompt.backends.base import RemoteBackend, Request
from ffprompt.cost.prices import Price, usd
from ffprompt.cost.usage import Bound, Usage
from ffprompt.elicitation.condition import Condition
from ffprompt.elicitation.question import Question
from ffprompt.evaluation.plan import Plan

# Prompts of a condition that are rendered; where there are more, what these come to is scaled up.
_RENDERED = 1000
_PER_MESSAGE = 6  # tokens around a message
_PIECE = re.compile(r"[^\W\d]+|\d|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Estimate:
    """Calls, and their tokens and cost as expected and at most.

    Cost is None where no price is known. For a model that thinks first, the expected tokens of its replies are None and
    so is the expected cost: thinking decides both.
    """

    calls: int
    prompt: float
    prompt_most: int
    reply: float | None
    reply_most: int
    usd: float | None
    usd_most: float | None

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(
            self.calls + other.calls,
            self.prompt + other.prompt,
            self.prompt_most + other.prompt_most,
            _sum(self.reply, other.reply),
            self.reply_most + other.reply_most,
            _sum(self.usd, other.usd),
            _sum(self.usd_most, other.usd_most),
        )


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def tokens(text: str) -> int:
    """About how many tokens a text has: words of up to eight letters, digits and punctuation marks are one each.

    >>> tokens("Alice turns the light off."), tokens("w1i0r1"), tokens("1, 0, 1")
    (6, 6, 5)
    """
    return sum(math.ceil(len(piece) / 8) for piece in _PIECE.findall(text))


def estimate(
    asked: Iterable[tuple[Request, str]],
    most: Callable[[Request], Bound],
    price: Price | None = None,
    batch: bool = False,
    thinks: bool = False,
) -> Estimate:
    """Return what the calls of one trial would come to. Each is a request with the reply that is expected.

    ``most`` bounds a call. Replies to earlier calls of a dialogue stand in its prompt, as long as they may be.
    ``batch``: through the provider's batch interface. ``thinks``: the model thinks first, or may, and only the bounds
    hold what that takes.
    """
    said = 0
    nothing = None if price is None else 0.0
    found = Estimate(0, 0, 0, 0, 0, nothing, nothing)
    for request, answer in asked:
        bound = most(request)
        bound = Bound(bound.prompt + said, bound.reply)
        said += bound.reply  # a model that may think may also write as much
        texts = [request.text, *(message.text for message in request.messages)]
        prompt = sum(map(tokens, texts)) + _PER_MESSAGE * len(request.messages)
        reply = None if thinks else min(bound.reply, tokens(answer) + 1)  # and the token that ends it
        used = None if reply is None else Usage(prompt, reply, batch=batch)
        expected = None if price is None or used is None else usd(price.picos(used))
        worst = None if price is None else price.max_cost(bound)
        if worst is not None and price is not None and batch:
            worst = None if price.batch_discount is None else math.ceil(worst * (1 - price.batch_discount))
        found += Estimate(1, prompt, bound.prompt, reply, bound.reply, expected, usd(worst))
    return found


def of_plan(plan: Plan, backend: RemoteBackend, price: Price | None = None, batch: bool = False) -> list[Estimate]:
    """What each condition of a plan would come to. Where it has more than a thousand trials, scaled up from these."""
    return [_of_condition(plan, condition, backend, price, batch) for condition in plan.conditions]


def _of_condition(
    plan: Plan, condition: Condition, backend: RemoteBackend, price: Price | None, batch: bool
) -> Estimate:
    once = plan.once
    drawn = once.batch(condition, 0, min(once.trials, _RENDERED))
    trials = [
        estimate(_calls(question), backend.max_usage, price, batch, backend.thinks)
        for question in once.questions(drawn)
    ]
    found = sum(trials[1:], trials[0])
    most_of, n = found, plan.repeats
    if once.trials > len(drawn):
        # At most: as if all were as long as the longest of these.
        most_of, n = max(trials, key=lambda one: one.prompt_most + one.reply_most), plan.trials
    each = plan.trials / len(drawn)
    return Estimate(
        round(found.calls * each),
        found.prompt * each,
        most_of.prompt_most * n,
        None if found.reply is None else found.reply * each,
        most_of.reply_most * n,
        None if found.usd is None else found.usd * each,
        None if most_of.usd_most is None else most_of.usd_most * n,
    )


def _calls(question: Question) -> list[tuple[Request, str]]:
    """Return the calls that a trial makes, each with the true reply."""
    return list(zip(question.calls, question.right_replies, strict=True))
