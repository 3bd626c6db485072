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


class NoApi(FaultyServer):
    """A server that answers everything, and no question."""

    kind = "nothing"

    async def _route(
        self, writer: asyncio.StreamWriter, method: str, path: str, headers: Mapping[str, str], text: bytes
    ) -> bool | None:
        if self.kind == "page":
            return await self._send(writer, 200, "<html><body>Welcome!</body></html>", "text/html")
        if self.kind == "error":
            return await self._send(writer, 200, json.dumps({"error": "Unexpected endpoint"}))
        return await self._error(writer, {"nothing": "404", "locked": "401"}[self.kind], headers)


@pytest.mark.parametrize("api", ["chat", "completions"])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("nothing", "HTTP 404"),
        ("page", "a web page and no API is at this base URL"),
        ("locked", "HTTP 401"),
        ("error", "Unexpected endpoint"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_an_address_without_an_api_is_refused_by_its_name(command, environment, tmp_path, kind, said, api, first):
    with Served(latency=0.01) as good, NoApi() as bad:
        bad.kind = kind
        servers = (bad, good) if first else (good, bad)
        done = command(*(chat if api == "chat" else flags)(*servers), env=environment)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert f"openai model m at {bad.v1}: " in done.stderr
    assert said in done.stderr
    assert not (tmp_path / "results").exists()


def chat(*servers: FaultyServer, trials: int = 60) -> list[Any]:
    words = [word for word in flags(*servers, trials=trials) if word not in ("--api", "completions")]
    words[words.index("forced")] = "list"
    return words


@pytest.mark.parametrize("first", [True, False])
def test_a_server_of_another_model_is_refused_by_its_name(command, environment, pair, first):
    class Other(Served):
        async def _models(self, writer: asyncio.StreamWriter, headers: Mapping[str, str]) -> bool:
            return await self._send(writer, 200, json.dumps({"object": "list", "data": [{"id": "another"}]}))

    with Other() as other:
        done = command(*chat(*((other, pair[0]) if first else (pair[0], other))), env=environment)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert f"another at {other.v1}" in done.stderr


def test_a_server_that_lists_no_models_but_answers_is_asked(command, environment, tmp_path, pair):
    with FaultyServer(models="404", latency=0.01) as plain:
        done = command(*chat(pair[0], plain), env=environment)
        assert done.returncode == 0, done.stderr
        assert len(plain.posted) > 10


def test_a_server_that_is_loading_is_left_out_with_what_it_said(command, environment, pair):
    with FaultyServer(models="503") as loading:
        done = command(*chat(pair[0], loading), env=environment)
        assert done.returncode == 0, done.stderr
        assert f"{loading.v1} is left out for now: HTTP 503" in done.stderr
        assert loading.posted == []


def test_a_server_that_loses_its_model_on_the_way_costs_no_answer(command, environment, tmp_path, pair):
    one, other = pair
    other._fault = lambda number: "404" if number >= 5 else None
    done = command(*chat(one, other), "--out", tmp_path / "both", env=environment)
    assert done.returncode == 0, done.stderr
    info = RunFolder.open(only_run(tmp_path / "both")).info
    assert info.status == "done"
    assert f"{other.v1} gave 5 answers and was left out" in json.dumps(info.audit[-1])
    assert "(HTTP 404)" in json.dumps(info.audit[-1])


def test_an_address_that_turns_out_to_be_no_api_stays_left_out(command, environment, tmp_path, pair, monkeypatch):
    monkeypatch.setattr("ffprompt.backends.api.servers._FIRST_PAUSE", 0.02)

    class Late(NoApi):
        """A server that is loading, and then a web page."""

        kind = "page"
        looks = 0

        async def _route(
            self, writer: asyncio.StreamWriter, method: str, path: str, headers: Mapping[str, str], text: bytes
        ) -> bool | None:
            self.looks += 1
            if self.looks <= 2:
                return await self._error(writer, "503", headers)
            return await super()._route(writer, method, path, headers, text)

    with Late() as late:
        done = command(*chat(pair[0], late), "--out", tmp_path / "both", env=environment)
        assert late.looks > 2
    assert done.returncode == 0, done.stderr
    info = RunFolder.open(only_run(tmp_path / "both")).info
    assert info.status == "done"
    assert "no list of models is there" in json.dumps(info.audit[-1])


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
