"""``run --dry-run``: the plan, a prompt, tokens and cost, without asking anything."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from ffprompt._util.formatting import counted, dollars, duration
from ffprompt.backends.base import Backend, RemoteBackend
from ffprompt.backends.prompt_audit import PromptAudit
from ffprompt.cli.console import line, make_console, new_table
from ffprompt.cli.prompts import show_prompt
from ffprompt.config.run_config import RunConfig
from ffprompt.cost.prices import Price, unknown
from ffprompt.errors import StoreError
from ffprompt.evaluation import spending
from ffprompt.evaluation.early_stopping import forecast
from ffprompt.evaluation.estimate import Estimate, of_plan
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.runner import audit
from ffprompt.runs.folder import RunFolder

_WRITTEN = (
    "prompt tokens are estimated from the text, reply tokens are those of the true answers, without any reasoning"
)
_THOUGHT = (
    "prompt tokens are estimated from the text; reply tokens and cost are unknown, because reasoning decides them"
)
_MOST = "at most: a token a byte, each at its dearest (a cache write), replies up to their limit, no attempt repeated"


def dry_run(plan: Plan, backend: Backend, batch: bool, out: Path) -> None:
    """Print the plan of a run, what it would cost, about how long it takes, and its first prompt.

    Args:
        batch: Whether it goes through the provider's batches.
        out: The results folder, whose earlier runs of the model tell how fast it is.
    """
    audits = audit(plan, backend)
    identity = backend.identity.to_json()
    if isinstance(backend, RemoteBackend):
        price = spending.price_of(plan.config, identity)
        estimates = of_plan(plan, backend, price, batch)
        show_plan(plan, backend.identity.to_json(), audits, estimates, price, thinks=backend.thinks)
        for text in budgets(plan.config, sum(estimates[1:], estimates[0])):
            line(text)
        calls: int | None = sum(one.calls for one in estimates)
    else:
        show_plan(plan, identity, audits)
        calls = None
    line(time_needed(plan, audits, out, None if batch else calls, batch))
    for text in forecast(plan):
        line(text)
    first = plan.batch(plan.conditions[0], 0, 1)
    show_prompt(f"first prompt, {first.trial_id(0, plan.seed)}", plan.prompt(first, 0))


_SECONDS = 2.0  # of a call, where nothing is known
_CONCURRENCY = 64  # requests in flight, unless --max-concurrency says otherwise


def time_needed(
    plan: Plan, audits: Sequence[PromptAudit], out: Path, calls: int | None = None, batch: bool = False
) -> str:
    """Return one line that says about how long a run takes.

    Earlier runs of the model in the results folder tell how fast it is. Without one, calls of an API are taken to last
    two seconds each.
    """
    if batch:
        return "time: batches are answered within a day, most of them much sooner"
    sizes = [found.get("mean_prompt_tokens") for found in audits]
    lengths = [condition.length for condition in plan.conditions]
    if (known := _pace(plan, out)) is not None:
        folder, seconds, tokens, instructions = known
        by_tokens = tokens > 0 and None not in sizes
        now = plan.trials * (sum(size or 0.0 for size in sizes) if by_tokens else sum(lengths))
        return f"time: about {duration(seconds * now / (tokens if by_tokens else instructions))}, as fast as {folder}"
    if calls is not None:
        config = plan.config
        least = calls * _SECONDS / (config.max_concurrency or _CONCURRENCY)
        limited = 60 * calls / config.requests_per_minute if config.requests_per_minute else 0.0
        if limited > least:
            return f"time: about {duration(limited)}, as {config.requests_per_minute:g} requests a minute are allowed"
        return f"time: about {duration(max(_SECONDS, least))}, if a call takes {_SECONDS:g} s"
    return "time: not known before a first run of this model here; one with --trials 2 tells"


def _pace(plan: Plan, out: Path) -> tuple[Path, float, float, float] | None:
    """The latest finished run of a model: its folder, seconds, tokens of all prompts (0: not known), instructions."""
    config = plan.config
    for path in sorted(out.glob("*/run.json"), key=lambda one: one.parent.name, reverse=True):
        try:
            info = RunFolder.open(path.parent).info
        except StoreError:
            continue
        if (info.backend_name, info.model_name, info.status) != (config.backend, config.model, "done"):
            continue
        trials, conditions = info.plan.trials_per_condition, info.plan.conditions
        if not info.seconds or not trials or not conditions:
            continue
        sizes = [one.get("mean_prompt_tokens") for one in info.audit if "condition" in one]
        tokens = 0.0 if None in sizes else trials * sum(size or 0.0 for size in sizes)
        return path.parent, info.seconds, tokens, float(trials * sum(one.length for one in conditions))
    return None


def budgets(config: RunConfig, estimate: Estimate) -> list[str]:
    """Return whether the budgets of a run hold, one line each."""
    tokens = None if estimate.reply is None else estimate.prompt + estimate.reply
    most = estimate.prompt_most + estimate.reply_most
    found = []
    if config.max_usd is not None:
        found.append(_holds(f"--max-usd {config.max_usd:g}", config.max_usd, estimate.usd, estimate.usd_most, dollars))
    if config.max_tokens_total is not None:
        limit = config.max_tokens_total
        found.append(_holds(f"--max-tokens-total {limit}", limit, tokens, most, lambda n: f"{n:,.0f} tokens"))
    return found


def _holds(flag: str, limit: float, expected: float | None, most: float | None, shown: Callable[[float], str]) -> str:
    if most is not None and most <= limit:
        return f"{flag}: holds, as the run takes at most {shown(most)}"
    if expected is None:
        return f"{flag}: it is not known whether it holds; the run stops before it is exceeded"
    if expected <= limit:
        worst = f", at most {shown(most)}" if most is not None else ""
        return f"{flag}: holds if all goes as expected ({shown(expected)}{worst})"
    return f"{flag}: does not hold, as about {shown(expected)} are expected; the run stops before it is exceeded"


def show_plan(
    made: Plan,
    identity: Mapping[str, Any],
    audits: Sequence[PromptAudit],
    estimates: Sequence[Estimate] | None = None,
    price: Price | None = None,
    thinks: bool = False,
) -> None:
    """Print what a run would do.

    Args:
        estimates: What each condition would cost, for a model behind an API.
        price: The price of its tokens, where it is known.
        thinks: Whether the model thinks before it replies, so that no reply and no cost can be estimated.
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
    line(f"{counted(len(made), 'trial')}, about {total:,} prompt tokens" if total else counted(len(made), "trial"))
    for note in dict.fromkeys(note for found in audits for note in found.get("notes", ())):
        line(f"note: {note}")


def _dialogues(made: Plan, audits: Sequence[PromptAudit]) -> None:
    """What is special to dialogues, where each call sends the conversation before it again."""
    if not any(condition.elicitation.has_turns for condition in made.conditions):
        return
    line("a dialogue is one call for every turn with a read, and each call sends the conversation so far again:")
    for condition, found in zip(made.conditions, audits, strict=True):
        if condition.elicitation.has_turns:
            means = {"tokens": found.get("mean_prompt_tokens"), "characters": found.get("mean_prompt_characters")}
            sizes = [f"{mean:,.0f} prompt {unit}" for unit, mean in means.items() if mean is not None]
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
