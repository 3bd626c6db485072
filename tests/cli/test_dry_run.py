"""A dry run says about how long the run takes, and whether its budgets hold."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ffprompt.cli.dry_run import budgets, time_needed
from ffprompt.config.run_config import make
from ffprompt.evaluation.estimate import Estimate
from ffprompt.evaluation.plan import Plan
from tests.conftest import Command, only_run

SCRIPTED = ("--backend", "scripted", "--model", "coin", "--trials", 20)


def estimate(usd: float | None, usd_most: float | None) -> Estimate:
    return Estimate(100, 5000, 9000, None if usd is None else 300, 1000, usd, usd_most)


@pytest.mark.parametrize(
    ("limit", "expected", "most", "said"),
    [
        (5.0, 1.0, 4.0, "--max-usd 5: holds, as the run takes at most $4.00"),
        (2.0, 1.0, 4.0, "--max-usd 2: holds if all goes as expected ($1.00, at most $4.00)"),
        (0.5, 1.0, 4.0, "--max-usd 0.5: does not hold, as about $1.00 are expected; the run stops before it is"),
        (0.5, None, 4.0, "--max-usd 0.5: it is not known whether it holds"),
        (0.5, None, None, "--max-usd 0.5: it is not known whether it holds"),
    ],
)
def test_a_budget_in_dollars_holds_or_does_not(
    limit: float, expected: float | None, most: float | None, said: str
) -> None:
    config = make({"backend": "openai", "model": "m", "max_usd": limit})
    (text,) = budgets(config, estimate(expected, most))
    assert text.startswith(said)


def test_a_budget_in_tokens_counts_prompts_and_replies() -> None:
    config = make({"backend": "openai", "model": "m", "max_tokens_total": 5300})
    assert budgets(config, estimate(1.0, 2.0)) == [
        "--max-tokens-total 5300: holds if all goes as expected (5,300 tokens, at most 10,000 tokens)"
    ]
    assert budgets(make({"backend": "openai", "model": "m"}), estimate(1.0, 2.0)) == []


def test_an_earlier_run_of_the_model_tells_how_long_another_takes(command: Command, tmp_path: Path) -> None:
    before = command(*SCRIPTED, "--dry-run", "--length", 20)
    assert "time: not known before a first run of this model here" in before.stdout
    command(*SCRIPTED, "--length", 20)
    path = only_run(tmp_path / "results") / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds": 100.0}))
    found = command(*SCRIPTED, "--dry-run", "--length", 20, 40)
    assert found.stdout.startswith("coin: 20 strings x 2 lengths = 40 trials\n")  # numbers before anything else
    assert re.search(r"time: about 5 min, as fast as \S+/\d{8}", found.stdout)  # three times as many instructions


def test_calls_of_an_api_take_two_seconds_or_as_the_rate_limit_says(tmp_path: Path) -> None:
    from ffprompt.backends.scripted import ScriptedBackend

    can = ScriptedBackend("oracle").capabilities
    plain = Plan(make({"backend": "openai", "model": "m", "trials": 5, "max_concurrency": 10}), can)
    audits = [{"mean_prompt_tokens": None} for _ in plain.conditions]
    assert time_needed(plain, audits, tmp_path, calls=3000) == "time: about 10 min, if a call takes 2 s"
    slow = Plan(make({"backend": "openai", "model": "m", "trials": 5, "requests_per_minute": 100}), can)
    assert time_needed(slow, audits, tmp_path, calls=3000) == "time: about 30 min, as 100 requests a minute are allowed"
    assert "within a day" in time_needed(slow, audits, tmp_path, batch=True)
