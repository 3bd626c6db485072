"""One budget holds for all servers of a run together, also while they fail and their calls are asked elsewhere."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ffprompt.backends.api.openai import OpenAIBackend
from ffprompt.backends.api.retry import Policy
from ffprompt.backends.base import Message, Request
from ffprompt.cost.prices import Allowance
from ffprompt.errors import RunFailedError
from ffprompt.runs.folder import RunFolder
from tests.backends.api.test_budget import PRICE, Watched
from tests.conftest import only_run
from tests.support.faulty_server import KEY, FaultyServer

FAULTS = ("reset", "half-json", "500", "404", "error-body", "html", "400", "empty-choices")
LIMIT = 0.12  # dollars


class Bill:
    """What both servers have answered, in dollars by PRICE, whether or not the answer could be read."""

    def __init__(self) -> None:
        self.usd = 0.0
        self.attempts = 0

    def usage(self, body: Any) -> dict[str, int]:
        prompt, reply = len(json.dumps(body, ensure_ascii=False).encode()), body["max_tokens"]
        self.usd += (prompt * PRICE.input + reply * PRICE.output) / 1e6
        return {"prompt_tokens": prompt, "completion_tokens": reply}

    def fault(self, number: int) -> str | None:
        self.attempts += 1
        return FAULTS[number // 3 % len(FAULTS)] if number % 3 == 1 else None


def test_two_servers_with_faults_stay_within_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is spent and in flight is checked at every step (Watched), and the bill of the servers at the end."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("ffprompt.backends.api.base.Budget", Watched)
    bill = Bill()

    async def nap(_: float) -> None:
        await asyncio.sleep(0)

    async def run(one: FaultyServer, other: FaultyServer) -> tuple[OpenAIBackend, list[Any]]:
        backend = OpenAIBackend("m", base_url=one.v1, more_urls=(other.v1,), policy=Policy(outage=1000), sleep=nap)
        backend.set_allowance(Allowance(PRICE, max_usd=LIMIT))
        requests = [Request(f"{n}", "", (Message("user", f"w{n} r?"),), max_tokens=40) for n in range(600)]
        answers = await asyncio.gather(*(backend.ask(request) for request in requests), return_exceptions=True)
        await backend.aclose()
        return backend, answers

    servers = [FaultyServer(bill.fault, latency=0.02, usage=bill.usage) for _ in range(2)]
    with servers[0] as one, servers[1] as other:
        backend, answers = asyncio.run(run(one, other))
    assert min(len(server.posted) for server in servers) > 50, "both were asked"
    assert any(isinstance(answer, RunFailedError) for answer in answers), "the budget was the end"
    budget = backend.caller.budget
    assert isinstance(budget, Watched)
    assert (budget.in_flight, budget.held_picos) == (0, 0)
    spent = budget.picos / 1e12
    assert LIMIT / 4 < bill.usd <= spent <= LIMIT


def test_a_run_over_two_servers_ends_at_its_budget_and_resumes_within_a_larger_one(
    command: Any, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text('[[price]]\nmodels=["m"]\ninput=1.0\noutput=10.0\nas_of=2026-01-01\nsource="x"\n')
    bill, environment = Bill(), os.environ | {"OPENAI_API_KEY": KEY}
    with FaultyServer(usage=bill.usage, latency=0.005) as one, FaultyServer(usage=bill.usage, latency=0.005) as other:
        words = (
            "--backend", "openai", "--model", "m", "--base-url", one.v1, "--base-url", other.v1, "--length", 12,
            "--trials", 80, "--template", "game", "--elicitation", "list", "--prices", prices, "--max-concurrency", 16,
            "--out", tmp_path / "out",
        )  # fmt: skip
        done = command(*words, "--max-usd", 0.1, env=environment)
        assert done.returncode == 3, done.stderr
        assert "the budget of $0.10 is spent" in done.stderr
        assert min(len(server.posted) for server in (one, other)) > 3
        asked = len(one.posted) + len(other.posted)
        assert 0 < bill.usd <= 0.1
        assert asked < 80
        done = command(*words, "--max-usd", 5, "--resume", env=environment)
        assert done.returncode == 0, done.stderr
    spent = RunFolder.open(only_run(tmp_path / "out")).info.spent
    assert spent is not None and spent.usd is not None
    assert bill.usd <= spent.usd + 1e-9
    assert len(one.posted) + len(other.posted) == 80
