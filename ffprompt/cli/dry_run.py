"""``run --dry-run``: the plan, a prompt, tokens and cost, without asking anything."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from ffprompt._util.formatting import dollars
from ffprompt.backends.base import Backend, RemoteBackend
from ffprompt.cli.console import line, make_console, new_table
from ffprompt.cli.prompts import show_prompt
from ffprompt.cost.prices import Price, unknown
from ffprompt.evaluation import spending
from ffprompt.evaluation.early_stopping import forecast
from ffprompt.evaluation.estimate import Estimate, of_plan
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.runner import audit

_SIZES = {"mean_prompt_tokens": "prompt tokens", "mean_prompt_characters": "prompt characters"}
_WRITTEN = (
    "prompt tokens are estimated from the text, reply tokens are those of the true answers, without any reasoning"
)
_THOUGHT = (
    "prompt tokens are estimated from the text; reply tokens and cost are unknown, because reasoning decides them"
)
_MOST = "at most: a token a byte, each at its dearest (a cache write), replies up to their limit, no attempt repeated"


def dry_run(plan: Plan, backend: Backend, batch: bool) -> None:
    """Print the plan of a run, what it would cost, and its first prompt."""
    audits = audit(plan, backend)
    identity = backend.identity.to_json()
    if isinstance(backend, RemoteBackend):
        price = spending.price_of(plan.config, identity)
        show_plan(
            plan, backend.identity.to_json(), audits, of_plan(plan, backend, price, batch), price, thinks=backend.thinks
        )
    else:
        show_plan(plan, identity, audits)
    for text in forecast(plan):
        line(text)
    first = plan.batch(plan.conditions[0], 0, 1)
    show_prompt(f"first prompt, {first.trial_id(0, plan.seed)}", plan.prompt(first, 0))


def show_plan(
    made: Plan,
    identity: Mapping[str, Any],
    audits: Sequence[Mapping[str, Any]],
    estimates: Sequence[Estimate] | None = None,
    price: Price | None = None,
    thinks: bool = False,
) -> None:
    """Print what a run would do; with ``estimates``, one a condition, what it would cost at an API's ``price``.

    ``thinks``: the model thinks before it replies, which is why no reply and no cost is expected.
    """
    console = make_console()
    for key, value in identity.items():
        line(f"{key}: {value}")
    if estimates is not None:
        _estimated(console, made, estimates)
        line(_THOUGHT if thinks else _WRITTEN)
        line(_MOST)
        base_url = str(identity.get("base_url") or "")
        line(unknown(made.config.model, base_url) if price is None else _price(price, dt.datetime.now(dt.UTC).date()))
        _dialogues(made, audits)
        return
    numbers = ("trials", "expected reads", "calls", "prompt tokens (mean)", "in all", "answer tokens")
    shown = new_table("condition", *numbers, right=numbers)
    total = 0
    for condition, found in zip(made.conditions, audits, strict=True):
        reads = condition.expected_reads
        tokens = found.get("mean_prompt_tokens")
        total += round((tokens or 0) * made.trials)
        shown.add_row(
            escape(condition.name),
            f"{made.trials:,}",
            "unknown" if reads is None else f"{reads * made.trials:,.0f}",
            f"{found.get('mean_calls', 1) * made.trials:,.0f}",
            "unknown" if tokens is None else f"{tokens:,.1f}",
            "unknown" if tokens is None else f"{tokens * made.trials:,.0f}",
            ", ".join(f"{count} {kind}" for kind, count in found.get("answer_tokens", {}).items()),
        )
    console.print(shown)
    _dialogues(made, audits)
    line(f"{len(made):,} trials, about {total:,} prompt tokens" if total else f"{len(made):,} trials")
    for note in dict.fromkeys(note for found in audits for note in found.get("notes", ())):
        line(f"note: {note}")


def _dialogues(made: Plan, audits: Sequence[Mapping[str, Any]]) -> None:
    """What is special to dialogues, where each call sends the conversation before it again."""
    if not any(condition.elicitation.has_turns for condition in made.conditions):
        return
    line("a dialogue is one call for every turn with a read, and each call sends the conversation so far again:")
    for condition, found in zip(made.conditions, audits, strict=True):
        if condition.elicitation.has_turns:
            sizes = [f"{found[key]:,.0f} {kind}" for key, kind in _SIZES.items() if key in found]
            sent = f" and about {' and '.join(sizes)} sent" if sizes else ""
            line(f"  {condition.name}: {found['mean_calls']:,.1f} calls{sent} in the mean trial")


def _estimated(console: Console, made: Plan, estimates: Sequence[Estimate]) -> None:
    numbers = ("trials", "calls", "prompt tokens", "at most", "reply tokens", "at most", "cost", "at most")
    shown = new_table("condition", *numbers, right=numbers)
    names = [condition.name for condition in made.conditions]
    counts = [made.trials] * len(names)
    if len(names) > 1:
        names, counts = [*names, "in all"], [*counts, len(made)]
        estimates = [*estimates, sum(estimates[1:], estimates[0])]
    for name, trials, one in zip(names, counts, estimates, strict=True):
        sizes = (one.prompt, one.prompt_most, one.reply, one.reply_most)
        tokens = ["unknown" if size is None else f"{size:,.0f}" for size in sizes]
        cost = [dollars(amount) for amount in (one.usd, one.usd_most)]
        shown.add_row(escape(name), f"{trials:,}", f"{one.calls:,}", *tokens, *cost)
    console.print(shown)


def _price(price: Price, today: dt.date) -> str:
    """What a million tokens cost, as of when, and when the model ends."""
    longer = [
        f"; for prompts above {tier.above:,} tokens {dollars(tier.input)} and {dollars(tier.output)}"
        for tier in price.tiers
    ]
    ends = "" if price.shut_down is None else f"; its provider {_ended(price.shut_down, today)} {price.shut_down}"
    return (
        f"price: {dollars(price.input)} a million tokens of prompt, {dollars(price.output)} of reply, "
        f"as of {price.as_of} ({price.source}){''.join(longer)}{ends}"
    )


def _ended(day: dt.date, today: dt.date) -> str:
    return "shut the model down on" if day <= today else "shuts the model down on"
