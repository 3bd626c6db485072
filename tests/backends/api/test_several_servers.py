"""A model behind several addresses: requests are spread, a server that fails costs nothing, others are refused."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ffprompt.backends.api.echo import Token
from ffprompt.backends.api.servers import ServerFacts
from ffprompt.runs.folder import RunFolder
from tests.conftest import only_run
from tests.support.faulty_server import KEY, FaultyServer


class Served(FaultyServer):
    """A server like vLLM's, which says what it serves and in which version."""

    version, most = "0.32.0", 2048

    async def _models(self, writer: asyncio.StreamWriter, headers: Mapping[str, str]) -> bool:
        rows = [{"id": "m", "root": "/weights/m", "max_model_len": self.most}]
        return await self._send(writer, 200, json.dumps({"object": "list", "data": rows}))

    async def _route(
        self, writer: asyncio.StreamWriter, method: str, path: str, headers: Mapping[str, str], text: bytes
    ) -> bool | None:
        if path == "/version":
            return await self._send(writer, 200, json.dumps({"version": self.version}))
        return None

    def vanish(self) -> None:
        """End as a process that is killed does, without waiting for it."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop)


@pytest.fixture
def environment() -> dict[str, str]:
    return os.environ | {"OPENAI_API_KEY": KEY}


@pytest.fixture
def pair() -> Iterator[tuple[Served, Served]]:
    with Served(latency=0.01) as one, Served(latency=0.01) as other:
        yield one, other


def flags(*servers: FaultyServer, trials: int = 60) -> list[Any]:
    return [
        "--backend", "openai", "--model", "m", "--length", 12, "--trials", trials, "--template", "raw-spaced",
        "--elicitation", "forced", "--shots", 0, "--api", "completions", "--max-concurrency", 8,
        *(word for server in servers for word in ("--base-url", server.v1)),
    ]  # fmt: skip


def reads(run: Path) -> bytes:
    return (run / "reads.parquet").read_bytes()


def test_requests_are_spread_and_the_run_is_the_same_as_with_one(command, tmp_path, environment, pair):
    both = command(*flags(*pair), "--out", tmp_path / "both", env=environment)
    asked = [len(server.posted) for server in pair]
    alone = command(*flags(pair[0]), "--out", tmp_path / "alone", env=environment)
    assert (both.returncode, alone.returncode) == (0, 0), both.stderr
    assert min(asked) > 20, asked
    one, other = only_run(tmp_path / "both"), only_run(tmp_path / "alone")
    assert reads(one) == reads(other)
    assert RunFolder.open(one).info.plan_digest == RunFolder.open(other).info.plan_digest
    assert "2 servers: " in json.dumps(RunFolder.open(one).info.audit[-1])


def test_a_server_that_is_killed_loses_nothing(command, tmp_path, environment, pair):
    one, other = pair
    one._fault = lambda number: other.vanish() if number == 20 else None  # type: ignore[func-returns-value]
    done = command(*flags(one, other, trials=120), "--out", tmp_path / "both", env=environment)
    assert done.returncode == 0, done.stderr
    with Served() as alone:
        command(*flags(alone, trials=120), "--out", tmp_path / "alone", env=environment)
    assert [len(server.posted) > 5 for server in pair] == [True, True]
    one_run, other_run = only_run(tmp_path / "both"), only_run(tmp_path / "alone")
    assert reads(one_run) == reads(other_run)
    assert "left out 1 time" in json.dumps(RunFolder.open(one_run).info.audit[-1])


def test_a_server_that_is_not_there_yet_is_left_out(command, tmp_path, environment, pair):
    one, other = pair
    other.vanish()
    done = command(*flags(one, other), env=environment)
    assert done.returncode == 0
    assert f"{other.v1}/ is left out for now" in done.stderr or f"{other.v1} is left out for now" in done.stderr


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"version": "0.31.0"}, "version is 0.32.0 at {} and 0.31.0 at {}"),
        ({"most": 512}, "max model len is 2048 at {} and 512 at {}"),
        ({"echo": "refused"}, "{1}: the server refuses echo"),
    ],
)
def test_servers_of_different_models_are_refused_in_one_line(command, environment, pair, fault, said):
    for name, value in fault.items():
        setattr(pair[1], name, value)
    done = command(*flags(*pair), env=environment)
    assert done.returncode == 2
    assert said.format(*(server.v1 for server in pair)) in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_server_that_comes_back_as_another_model_stops_the_run(command, environment, pair, monkeypatch):
    monkeypatch.setattr("ffprompt.backends.api.servers._FIRST_PAUSE", 0.05)
    one, other = pair

    def change(number: int) -> str | None:
        if number == 10:
            other.version = "0.40.0"
        return "500" if number == 10 else None

    other._fault = change
    one.latency = other.latency = 0.05
    done = command(*flags(one, other, trials=300), env=environment)
    assert done.returncode == 2
    assert "version is 0.32.0" in done.stderr
    assert "0.40.0" in done.stderr


def test_addresses_that_cannot_be_used_together_are_refused(command, environment, pair):
    one, _ = pair
    done = command(*flags(one, one), env=environment)
    assert done.returncode == 2
    assert done.stderr.strip().endswith(f"--base-url {one.v1}: expected each address once")
    words = [*flags(*pair)]
    words[1] = "anthropic"
    done = command(*words, env=environment | {"ANTHROPIC_API_KEY": KEY})
    assert done.returncode == 2
    assert "anthropic" in done.stderr


def test_facts_that_a_server_does_not_tell_are_no_difference():
    assert ServerFacts("m", "w", 10, "1").difference(ServerFacts("m")) is None
    assert ServerFacts("m", "w").difference(ServerFacts("m", "v")) == ("weights", "w", "v")


def test_models_of_one_name_are_told_apart_by_what_they_find_probable():
    def facts(*logprobs: float | None, text: str = "abc") -> ServerFacts:
        return ServerFacts("m", echo=[Token(i, t, p, {}) for i, (t, p) in enumerate(zip(text, logprobs, strict=True))])

    one = facts(None, -1.0, -2.0)
    assert one.difference(facts(None, -1.02, -2.05)) is None, "what another device computes"
    assert one.difference(facts(None, -1.5, -2.0)) == ("mean log-probability of the same text", -1.5, -1.75)
    assert one.difference(facts(None, -1.0, -2.0, text="abd")) == ("tokens of the same text", 3, 3)
