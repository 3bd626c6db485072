"""Whole runs that may spend only so much, through both real SDKs, against a provider that bills all it can."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ffprompt.cli.main import main
from tests.conftest import ROOT, Command, only_run
from tests.support.faulty_server import KEY, STATUS, FaultyServer, counted

Fault = Callable[[int], str | None]
pytestmark = pytest.mark.usefixtures("short_waits")
both = pytest.mark.parametrize("backend", ["openai", "anthropic"])
PRICES = """
[[price]]
models = ["a-model", "claude-haiku-4-5"]
input = 1.0
output = 10.0
as_of = 2026-11-20
source = "a test"
"""
FAULTS = ("500", "reset", "half-json", "html", "529", "429 ms 20", "empty-choices", "error-body")


def often(number: int) -> str | None:
    return FAULTS[number // 5 % len(FAULTS)] if number % 5 == 3 else None


def never(_: int) -> str | None:
    return None


def dearest(body: Mapping[str, Any]) -> Mapping[str, int]:
    """The usage of a provider that makes a token of every byte and always writes up to the limit."""
    prompt = len(json.dumps(body, ensure_ascii=False).encode())
    return {"prompt_tokens": prompt, "completion_tokens": body["max_tokens"]} | {
        "input_tokens": prompt, "output_tokens": body["max_tokens"],
    }  # fmt: skip


def billed(server: FaultyServer, fault: Fault) -> tuple[int, int]:
    """(tokens, millionths of a dollar) that the provider charges: for all that it did not answer with an error."""
    tokens = cost = 0
    for number, body in enumerate(server.posted):
        if (fault(number) or "").split(" ")[0] not in STATUS:
            used = dearest(body)
            tokens += used["input_tokens"] + used["output_tokens"]
            cost += used["input_tokens"] + 10 * used["output_tokens"]
    return tokens, cost


@pytest.fixture
def environment() -> dict[str, str]:
    return os.environ | {"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY}


@pytest.fixture
def prices(tmp_path: Path) -> str:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES)
    return str(path)


def flags(server: FaultyServer, backend: str = "openai", trials: int = 60) -> list[str]:
    model, url = ("a-model", server.v1) if backend == "openai" else ("claude-haiku-4-5", server.url)
    return [
        "--backend", backend, "--model", model, "--base-url", url, "--length", "12", "--trials", str(trials),
        "--template", "raw-spaced", "--elicitation", "list", "--max-concurrency", "64",
    ]  # fmt: skip


def read(run: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    lines = [json.loads(line) for line in (run / "trials.jsonl").read_text().splitlines()]
    return json.loads((run / "run.json").read_text()), lines


@both
def test_a_budget_ends_a_run_and_a_larger_one_lets_it_go_on(
    command: Command, tmp_path: Path, environment: dict[str, str], prices: str, backend: str
) -> None:
    with FaultyServer(usage=dearest) as server:
        words = [*flags(server, backend), "--prices", prices]
        asked = [0]
        for limit in (0.05, 0.05):
            done = command(*words, "--max-usd", limit, "--resume", env=environment)
            assert done.returncode == 3
            (said,) = [line for line in done.stderr.splitlines() if "error" in line]
            assert f"the budget of ${limit:,.2g}" in said and "answers" in said and "--max-usd and --resume" in said
            cost = billed(server, never)[1] / 1e6
            most = max(dearest(body)["input_tokens"] + 10 * body["max_tokens"] for body in server.posted) / 1e6
            assert limit - 1.3 * most < cost <= limit
            asked.append(len(server.posted))
        assert 0 < asked[1] == asked[2] < 60
        done = command(*words, "--max-usd", 9, "--resume", env=environment)
        assert (done.returncode, len(server.posted)) == (0, 60), done.stderr
        total = billed(server, never)
    info, lines = read(only_run(tmp_path / "results"))
    assert sorted(line["trial"] for line in lines) == list(range(60))
    (row,) = info["results"]
    assert (row["prompt_tokens"] + row["reply_tokens"], row["usd"]) == (total[0], total[1] / 1e6)
    assert info["spent"] == {"calls": 60, "answers": 60, "tokens": total[0], "usd": total[1] / 1e6}
    assert info["price"]["as_of"] == "2026-11-20"
    assert "prices as of 2026-11-20" in done.stdout


@pytest.mark.parametrize(("backend", "in_usd"), [("openai", True), ("anthropic", False)])
def test_no_fault_drives_a_run_beyond_its_budget(
    command: Command, tmp_path: Path, environment: dict[str, str], prices: str, backend: str, in_usd: bool
) -> None:
    with FaultyServer(often, latency=0.02, usage=dearest) as server:
        words = [*flags(server, backend, trials=120), *(["--prices", prices] if in_usd else [])]
        limits: list[float] = [0.15, 9] if in_usd else [20_000, 10_000_000]
        for limit in limits:
            done = command(*words, "--max-usd" if in_usd else "--max-tokens-total", limit, "--resume", env=environment)
            tokens, cost = billed(server, often)
            assert (cost / 1e6 if in_usd else tokens) <= limit
        assert server.peak > 4
    info, lines = read(only_run(tmp_path / "results"))
    assert {line["trial"] for line in lines} == set(range(120)), done.stderr
    # What is unknown counts at the most it can have been: never less than the bill.
    assert tokens <= info["spent"]["tokens"]
    assert info["spent"]["usd"] is None if not in_usd else cost / 1e6 <= info["spent"]["usd"]
    assert (info["price"] is None) == (not in_usd)


@pytest.mark.slow
def test_calls_on_the_wire_when_a_run_is_killed_are_counted(
    tmp_path: Path, environment: dict[str, str], prices: str
) -> None:
    limit = 0.5
    with FaultyServer(latency=0.05, usage=dearest) as server:
        words = [
            sys.executable, "run_eval.py", *flags(server, trials=400), "--out", str(tmp_path / "runs"), "--resume",
            "--prices", prices, "--max-usd", str(limit),
        ]  # fmt: skip
        for kept in (20, 60):
            process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
            deadline = time.monotonic() + 60
            while sum(path.read_bytes().count(b"\n") for path in tmp_path.glob("runs/*/trials.jsonl")) < kept:
                assert time.monotonic() < deadline, "no progress"
                time.sleep(0.01)
            process.kill()
            process.wait()
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 3 and "the budget of $0.50 is spent" in done.stderr, done.stderr
        cost = billed(server, never)[1] / 1e6
    run = only_run(tmp_path / "runs")
    _, lines = read(run)
    sent = (run / "sent.tsv").read_text().splitlines()
    assert len(sent) == len(server.posted) or len(sent) - len(server.posted) <= 128  # killed before it was sent
    assert not any(line.startswith("free") for line in sent)
    lost = len(sent) - sum(len(line["call"]["attempts"]) for line in lines)
    assert lost > 0  # some were in flight
    assert 0.3 < cost <= limit


def test_a_run_without_a_price_has_tokens_and_no_cost(
    command: Command, tmp_path: Path, environment: dict[str, str]
) -> None:
    with FaultyServer() as server:
        done = command(*flags(server, trials=10), env=environment)
    info, _ = read(only_run(tmp_path / "results"))
    (row,) = info["results"]
    prompts = sum(map(counted, server.posted))
    assert (row["prompt_tokens"], row["reply_tokens"], row["cached_tokens"], row["usd"]) == (prompts, 50, 30, None)
    assert (info["price"], info["spent"]["usd"]) == (None, None)
    assert f"{prompts:,} + 50 tokens" in done.stdout and "$" not in done.stdout
    assert "no price is known for a-model; give one with --prices FILE" in done.stdout


@both
def test_replies_without_usage_are_counted_and_not_their_tokens(
    command: Command, tmp_path: Path, environment: dict[str, str], prices: str, backend: str
) -> None:
    with FaultyServer(usage=lambda _: None) as server:
        done = command(*flags(server, backend, trials=10), "--prices", prices, env=environment)
    info, lines = read(only_run(tmp_path / "results"))
    (row,) = info["results"]
    assert (row["prompt_tokens"], row["reply_tokens"], row["usd"], row["replies_without_usage"]) == (None,) * 3 + (10,)
    assert "tokens unknown (10 replies without usage)" in done.stdout
    most = sum(line["call"]["counted"]["prompt_tokens"] + line["call"]["counted"]["reply_tokens"] for line in lines)
    assert info["spent"]["tokens"] == most > 10 * 256


def test_score_gives_the_same_cost(command: Command, tmp_path: Path, environment: dict[str, str], prices: str) -> None:
    with FaultyServer(often) as server:
        command(*flags(server, trials=40), "--prices", prices, env=environment)
    run = only_run(tmp_path / "results")
    before, _ = read(run)
    done = command("score", run, prog="ffprompt")
    after, _ = read(run)
    assert (after["results"], after["spent"]) == (before["results"], before["spent"])
    assert "prices as of 2026-11-20" in done.stdout


def test_the_price_of_a_run_is_that_of_its_beginning(
    command: Command, tmp_path: Path, environment: dict[str, str], prices: str
) -> None:
    with FaultyServer() as server:
        words = flags(server, trials=40)
        assert command(*words, "--prices", prices, "--max-tokens-total", 1000, env=environment).returncode == 3
        assert (
            command(*words, "--resume", "--max-usd", 5, env=environment).returncode == 0
        )  # no file, and no list price
    info, _ = read(only_run(tmp_path / "results"))
    assert info["results"][0]["usd"] == (sum(map(counted, server.posted)) + 40 * 50) / 1e6


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--max-usd", "1"], "no price is known for a-model; give one with --prices FILE"),
        (["--max-tokens-total", "100"], "--max-tokens-total 100: too few for a single call"),
        (["--prices", "missing.toml"], "prices missing.toml: "),
        (["--max-usd", "-1"], "--max-usd -1: expected a number above 0"),
    ],
)
def test_a_budget_that_cannot_work_is_one_line_before_anything_is_asked(
    command: Command, tmp_path: Path, environment: dict[str, str], more: list[str], says: str
) -> None:
    with FaultyServer() as server:
        done = command(*flags(server), *more, env=environment)
        assert server.posted == []
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert says in done.stderr
    assert not list(tmp_path.glob("results/*"))


def test_a_dry_run_says_what_it_would_cost(command: Command, prices: str) -> None:
    words = ["--backend", "anthropic", "--model", "claude-haiku-4-5", "--trials", 10, "--dry-run", "--template", "game"]
    env = {key: value for key, value in os.environ.items() if key != "ANTHROPIC_BASE_URL"}
    done = command(*words, "--length", 20, 50, env=env)
    assert done.returncode == 0, done.stderr
    assert "price: $1.00 a million tokens of prompt, $5.00 of reply, as of 2026-" in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.startswith(("game/", "in all"))]
    assert len(rows) == 3
    *parts, total = [[float(cell.strip("$").replace(",", "")) for cell in row.split()[-8:]] for row in rows]
    for column in range(6):
        assert total[column] == pytest.approx(parts[0][column] + parts[1][column], abs=1)
    for trials, calls, prompt, prompt_most, reply, reply_most, cost, cost_most in [*parts, total]:
        assert trials == calls and prompt < prompt_most and reply < reply_most
        assert cost == pytest.approx((prompt + 5 * reply) / 1e6, rel=0.1)
        # a byte may be one that is written to the cache, which costs a quarter more
        assert cost_most == pytest.approx((1.25 * prompt_most + 5 * reply_most) / 1e6, rel=0.1)
    done = command(*words, "--base-url", "http://localhost:9/", env=env)
    assert "no price is known for claude-haiku-4-5" in done.stdout and "$" not in done.stdout.split("<user>")[0]


@pytest.fixture
def dry_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)

    def show(*words: Any) -> str:
        assert main(["run", *map(str, words), "--template", "game", "--dry-run"]) == 0
        return capsys.readouterr().out

    return show


@pytest.mark.parametrize(
    ("words", "thinks"),
    [
        (["--backend", "anthropic", "--model", "claude-opus-5"], True),
        (["--backend", "anthropic", "--model", "claude-haiku-4-5", "--thinking", 2000], True),
        (["--backend", "anthropic", "--model", "claude-haiku-4-5"], False),
        (["--backend", "openai", "--model", "gpt-6-sol"], True),
        (["--backend", "openai", "--model", "gpt-6-sol", "--reasoning-room", 0], True),
        (["--backend", "openai", "--model", "gpt-6-sol", "--reasoning-effort", "none"], False),
        (["--backend", "openai", "--model", "gpt-4.1"], False),
    ],
)
def test_a_dry_run_expects_no_cost_where_reasoning_decides_it(
    dry_run: Callable[..., str], words: list[Any], thinks: bool
) -> None:
    shown = dry_run(*words, "--trials", 20, "--length", 20, 50)
    rows = [line.split()[-4:] for line in shown.splitlines() if line.startswith(("game/", "in all"))]
    assert len(rows) == 3
    for reply, reply_most, cost, cost_most in rows:
        assert (reply == "unknown") == thinks and (cost == "unknown") == thinks
        assert int(reply_most.replace(",", "")) > 0 and float(cost_most.strip("$").replace(",", "")) > 0
    assert ("because reasoning decides them" in shown) == thinks


def test_a_dry_run_names_long_prompts_and_the_end_of_a_model(dry_run: Callable[..., str]) -> None:
    words = ["--backend", "openai", "--trials", 1, "--length", 20]
    shown = dry_run(*words, "--model", "gpt-6-sol")
    assert "; for prompts above 272,000 tokens $4.00 and $15.00" in shown and "the model down" not in shown
    assert "; its provider shut the model down on 2026-10-23" in dry_run(*words, "--model", "o1")


def test_a_dry_run_of_a_dialogue_lets_every_earlier_reply_be_as_long_as_it_may(dry_run: Callable[..., str]) -> None:
    words = ["--backend", "openai", "--model", "gpt-6-sol", "--elicitation", "dialogue", "--trials", 1, "--length", 20]
    most = []
    for room in (100, 1100):
        (row,) = [line for line in dry_run(*words, "--reasoning-room", room).splitlines() if line.startswith("game/")]
        calls, prompt_most = (int(row.split()[-place].replace(",", "")) for place in (7, 5))
        most.append(prompt_most)
    # The visible reply may take all the room; the calls after it send it again.
    assert most[1] - most[0] == pytest.approx(1000 * calls * (calls - 1) / 2, abs=20 * calls)
