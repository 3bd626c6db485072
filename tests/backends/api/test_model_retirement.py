"""What a provider's list of models says about the end of a model."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from ffprompt.backends.api.model_retirement import shutdown
from ffprompt.cli.main import main
from tests.support.odd_server import OddServer

TODAY = dt.date(2026, 11, 26)


@pytest.mark.parametrize(
    "entry",
    [
        {"shutdown_date": "2026-12-11"},  # OpenAI
        {"retires_at": "2026-12-11T23:30:00Z", "lifecycle": "deprecated"},  # Anthropic
        {"retires_at": dt.datetime(2026, 12, 11, tzinfo=dt.UTC), "lifecycle": "deprecated"},  # its SDK
        {"expiration_date": "2026-12-11"},  # OpenRouter
        {"deprecation": "2026-12-11T12:00:00Z", "deprecation_replacement_model": "m-2"},  # Mistral
        {"deprecation": {"inference": 1797000000, "fine_tune": 1700000000}},  # Azure
        {"deprecation_date": "2026-12-11"},  # LiteLLM
        {"deprecationDate": {"year": 2026, "month": 12, "day": 11}},  # Fireworks
        {"shutdown_date": None, "expiration_date": "2026-12-11"},
        {"retires_at": "2026-12-12T01:30:00+05:00"},  # which is the day before in UTC
    ],
)
def test_every_providers_date_is_one_line(entry: dict[str, Any]) -> None:
    assert shutdown({"id": "m-1", **entry}, TODAY) == "m-1: its provider shuts it down on 2026-12-11"


@pytest.mark.parametrize(
    "value",
    [None, "", "soon", 0, -1, True, [], {}, "2026-13-45", 10**30, {"year": 2026}, {"inference": None}, float("nan")],
)
def test_no_date_and_what_is_none_are_silent(value: object) -> None:
    assert shutdown({"id": "m-1", "shutdown_date": value}, TODAY) is None
    assert shutdown({"id": "m-1", "deprecation": value}, TODAY) is None


def test_an_entry_without_any_end_is_silent() -> None:
    assert shutdown({}, TODAY) is None
    assert shutdown({"id": "m-1", "created": 1700000000, "lifecycle": "active", "retires_at": None}, TODAY) is None


def test_a_day_that_has_come_is_told_as_past() -> None:
    entry = {"id": "o1", "shutdown_date": "2026-10-23"}
    assert shutdown(entry, TODAY) == "o1: its provider was to shut it down on 2026-10-23"
    assert shutdown(entry, dt.date(2026, 10, 23)) == "o1: its provider was to shut it down on 2026-10-23"
    assert shutdown(entry, dt.date(2026, 10, 22)) == "o1: its provider shuts it down on 2026-10-23"


def test_a_stage_of_life_counts_without_a_date() -> None:
    deprecated = {"id": "m-1", "lifecycle": "deprecated", "retires_at": None}
    assert shutdown(deprecated, TODAY) == "m-1: its provider will shut it down and gives no date yet"
    retired = {"id": "m-1", "lifecycle": "retired", "retires_at": "2026-09-01T00:00:00Z"}
    assert shutdown(retired, TODAY) == "m-1: its provider has shut it down"


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "half \ud83d", "x" * 5000, None, 7])
def test_a_name_from_outside_stays_one_printable_line(name: object) -> None:
    said = shutdown({"id": name, "shutdown_date": "2026-12-11"}, TODAY)
    assert said is not None and said.isprintable() and len(said) < 140
    said.encode()


@pytest.mark.parametrize("backend", ["openai", "anthropic"])
def test_a_run_says_when_its_model_is_shut_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "none")
    entry = {"id": "m", "object": "model", "shutdown_date": "2099-12-11"}

    def models(path: str) -> Any:
        return {"object": "list", "data": [{"id": "other"}, entry]} if path == "/v1/models" else entry

    def answer(path: str, body: Any) -> Any:
        if path.endswith("/messages"):
            return {"type": "message", "content": [{"type": "text", "text": "1"}], "stop_reason": "end_turn"}
        return {"choices": [{"message": {"content": "1"}, "finish_reason": "stop"}]}

    with OddServer(answer, models) as server:
        url = server.v1 if backend == "openai" else server.url
        words = ["run", "--backend", backend, "--model", "m", "--base-url", url, "--template", "game", "--trials", "3"]
        assert main([*words, "--elicitation", "next", "--length", "12", "--no-report", "--out", str(tmp_path)]) == 0
    assert "m: its provider shuts it down on 2099-12-11" in capsys.readouterr().out
