"""What a model is shown: its digest for the log, and a sample of each condition for the record of a run.

A backend that renders a chat template shows its model the rendered text, and that is what is digested and kept. Behind
an API the provider renders the messages, so these are all that is known.
"""

from __future__ import annotations

import hashlib
from typing import Any

from ffprompt.backends.base import Backend, Renders, Request
from ffprompt.elicitation.dialogue import calls_of
from ffprompt.evaluation.plan import Plan

_LONGEST = 4000  # characters of a text in a sample; more is cut in the middle


def digest(request: Request, backend: Backend | None = None) -> str:
    """Return 16 hex digits of what a model is shown, but for what it says itself in a dialogue.

    A dialogue is rendered with the right answers in place of the model's own, so that it is the same for all models.
    """
    if request.is_chat and isinstance(backend, Renders):
        sent = backend.rendered(calls_of(request)[-1])
    else:
        messages = [*request.messages, *(message for turn in request.turns for message in turn.messages)]
        sent = "\x1e".join([*(f"{message.role}\x1f{message.text}" for message in messages), request.text])
    return hashlib.sha256(sent.encode()).hexdigest()[:16]


def samples(plan: Plan, backend: Backend) -> list[dict[str, Any]]:
    """Return what the model is shown in the first trial of each condition, with its number of tokens where known."""
    found = []
    for condition in plan.conditions:
        request = plan.requests(plan.batch(condition, 0, 1))[0]
        call = calls_of(request)[0]  # of a dialogue, the first turn
        sample: dict[str, Any] = {"condition": condition.name, "trial_id": request.key}
        if isinstance(backend, Renders):
            sample["prompt"] = _cut(backend.rendered(call))
        else:
            sample["messages"] = [{"role": message.role, "text": _cut(message.text)} for message in call.messages]
            sample["prompt"] = _cut(call.text)
        checked = backend.check([call])
        tokens = checked.get("longest_prompt_tokens", checked.get("longest"))  # a reference model's are symbols
        found.append(sample | {"tokens": tokens, "digest": digest(request, backend)})
    return found


def _cut(text: str) -> str:
    left_out = len(text) - _LONGEST
    if left_out <= 0:
        return text
    half = _LONGEST // 2
    return f"{text[:half]}\n[… {left_out:,} characters left out …]\n{text[-half:]}"
