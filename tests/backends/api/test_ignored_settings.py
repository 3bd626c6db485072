"""A server that drops a setting without a word ends the run with a line, and not with a wrong label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ffprompt.backends.api.ignored_settings import IgnoredSettings
from ffprompt.backends.base import AnswerSchema, Reply, Request
from ffprompt.cli.main import main
from tests.support.faulty_server import FaultyServer

SCHEMA = Request("k", "", schema=AnswerSchema(("0", "1"), 2))
PLAIN = Request("k", "")
GOOD = Reply('{"answers": ["1", "0"]}', "stop")
LONG = "w 1 means that the stored bit is one now, and the read that follows returns it"


def test_a_reply_of_its_schema_keeps_the_promise_and_a_later_slip_is_the_models() -> None:
    ignored = IgnoredSettings()
    assert ignored.shown_by(SCHEMA, GOOD, None) is None
    assert ignored.shown_by(SCHEMA, Reply("1, 0", "stop"), None) is None


@pytest.mark.parametrize(
    "text", ["1, 0", '{"answers": ["1"]}', '{"answers": ["1", "2"]}', 'Here: {"answers": ["1", "0"]}']
)
def test_a_first_reply_of_another_form_shows_that_the_schema_is_ignored(text: str) -> None:
    assert "ignores --answers schema" in (IgnoredSettings().shown_by(SCHEMA, Reply(text, "stop"), None) or "")


@pytest.mark.parametrize(
    "reply",
    [
        Reply("", "stop"),
        Reply('{"answers": ["1", ', "length"),
        Reply("", "refusal"),
        Reply(f"<think>{LONG}", "stop"),
        Reply(f'<think>{LONG}</think>{{"answers": ["1", "0"]}}<|im_end|>', "stop"),
    ],
)
def test_what_says_nothing_of_the_schema_ends_no_run(reply: Reply) -> None:
    assert IgnoredSettings().shown_by(SCHEMA, reply, None) is None


@pytest.mark.parametrize(
    ("reply", "tokens"),
    [
        (Reply("1, 0", "stop"), 7),
        (Reply("1, 0", "stop", reasoning=LONG), None),
        (Reply(f"<think>{LONG}</think>1, 0", "stop"), None),
        (Reply(f"[THINK]{LONG}", "length"), None),
    ],
)
def test_reasoning_shows_that_it_is_not_switched_off(reply: Reply, tokens: int | None) -> None:
    assert "--thinking off is not honoured" in (IgnoredSettings(no_thinking=True).shown_by(PLAIN, reply, tokens) or "")
    assert IgnoredSettings().shown_by(PLAIN, reply, tokens) is None


@pytest.mark.parametrize(
    "reply",
    [Reply("1, 0", "stop", reasoning="\n"), Reply("<think>\n\n</think>\n\n1, 0", "stop"), Reply("1, 0", "stop")],
)
def test_an_empty_block_is_no_reasoning(reply: Reply) -> None:
    assert IgnoredSettings(no_thinking=True).shown_by(PLAIN, reply, 0) is None


@pytest.mark.parametrize("backend", ["openai", "anthropic"])
def test_a_run_on_a_server_that_ignores_its_schema_ends_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "none")
    with FaultyServer() as server:
        url = server.v1 if backend == "openai" else server.url
        words = ["run", "--backend", backend, "--model", "m", "--base-url", url, "--template", "game", "--trials", "8"]
        words += ["--elicitation", "list", "--length", "12", "--answers", "schema", "--out", str(tmp_path)]
        assert main(words) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert "ignores --answers schema: a reply is '1, 0'; leave it out" in line


class Structured(FaultyServer):
    """Answers as the schema asks, with the first value everywhere."""

    def _good(self, path: str, body: Any, fault: str) -> dict[str, Any] | None:
        found = body.get("response_format", {}).get("json_schema") or body.get("text", {}).get("format")
        schema = (found or body["output_config"]["format"])["schema"]
        if "answers" in schema["properties"]:
            answers = schema["properties"]["answers"]
            self.reply = json.dumps({"answers": [answers["items"]["enum"][0]] * answers["minItems"]})
        else:
            self.reply = json.dumps({name: value["enum"][0] for name, value in schema["properties"].items()})
        return super()._good(path, body, fault)


@pytest.mark.parametrize("api", ["chat", "responses", "anthropic"])
def test_structured_answers_through_every_api(tmp_path: Path, api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "none")
    with Structured() as server:
        words = ["run", "--model", "m", "--template", "game", "--trials", "8", "--no-report", "--length", "12"]
        words += ["--elicitation", "list", "next", "dialogue", "--answers", "schema", "--out", str(tmp_path)]
        if api == "anthropic":
            words += ["--backend", "anthropic", "--base-url", server.url]
        else:
            words += ["--backend", "openai", "--api", api, "--base-url", server.v1]
        assert main(words) == 0
    (run,) = tmp_path.iterdir()
    rows = json.loads((run / "run.json").read_text())["results"]
    assert len(rows) == 3
    for row in rows:
        assert row["outcomes"]["invalid"] == row["outcomes"]["error"] == 0
        assert 0 < row["outcomes"]["correct"] < row["reads"]  # always the first value
