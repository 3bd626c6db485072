"""Traces of reasoning models: the effort reaches the request, and what was reasoned is no part of the trace."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ffprompt.cli.main import main
from tests.conftest import only_run
from tests.support.faulty_server import KEY, FaultyServer

# A draft with every state wrong, and with the words that end a trace.
DRAFT = "1. write 1 -> 0\n2. read ? -> 0\nHm, once more.\nAnswers: 0, 0"


class ReasoningServer(FaultyServer):
    """A model that plays the game: it drafts a wrong trace while it reasons, and replies with the true one.

    ``inline``: the draft stands in the reply, between tags. ``traced``: the reply holds the lines, and not the answers
    alone.
    """

    def __init__(self, inline: bool = False, traced: bool = True) -> None:
        super().__init__()
        self.inline, self.traced = inline, traced

    def reply_to(self, messages: list[Mapping[str, Any]]) -> str:
        """The true trace of the sequence in the last message."""
        content = messages[-1]["content"]
        text = content if isinstance(content, str) else content[0]["text"]
        sequence = re.findall(r"^(?:write|ignore|read) .*$", text, re.MULTILINE)[-1]
        state = ""
        lines: list[str] = []
        answers: list[str] = []
        for number, event in enumerate(sequence.split(", "), 1):
            state = event[-1] if event.startswith("write") else state
            answers += [state] if event.startswith("read") else []
            lines.append(f"{number}. {event} -> {state}")
        reply = "\n".join([*(lines if self.traced else []), f"Answers: {', '.join(answers)}"])
        return f"<think>\n{DRAFT}\n</think>\n\n{reply}" if self.inline else reply

    def _chat(self, body: Mapping[str, Any], fault: str) -> dict[str, Any]:
        found = super()._chat(body, fault)
        found["choices"][0]["message"] |= {"content": self.reply_to(body["messages"])}
        if not self.inline:
            found["choices"][0]["message"]["reasoning_content"] = DRAFT
        return found | {"usage": used("completion", 500)}

    def _response(self, body: Mapping[str, Any], fault: str) -> dict[str, Any]:
        found = super()._response(body, fault)
        found["output"][0]["summary"] = [{"type": "summary_text", "text": DRAFT}]
        found["output"][1]["content"][0]["text"] = self.reply_to(body["input"])
        return found | {"usage": used("output", 500)}

    def _message(self, body: Mapping[str, Any], fault: str) -> dict[str, Any]:
        content = [{"type": "thinking", "thinking": DRAFT, "signature": "s"}]
        return super()._message(body, fault) | {
            "content": [*content, {"type": "text", "text": self.reply_to(body["messages"])}],
            "usage": {"input_tokens": 100, "output_tokens": 600},
        }


def used(kind: str, reasoning: int) -> dict[str, Any]:
    """What OpenAI's APIs report of 600 tokens that were written."""
    prompt = "input" if kind == "output" else "prompt"
    return {
        f"{prompt}_tokens": 100,
        f"{kind}_tokens": 600,
        f"{kind}_tokens_details": {"reasoning_tokens": reasoning},
    }


OPENAI = ("--backend", "openai", "--model", "gpt-5-mini", "--reasoning-effort", "low")
CASES = {
    "chat": ((*OPENAI, "--api", "chat"), {"reasoning_effort": "low"}, "max_completion_tokens"),
    "responses": ((*OPENAI, "--api", "responses"), {"reasoning": {"effort": "low"}}, "max_output_tokens"),
    "thinking": (
        ("--backend", "anthropic", "--model", "claude-haiku-4-5", "--thinking", "2048"),
        {"thinking": {"type": "enabled", "budget_tokens": 2048}},
        "max_tokens",
    ),
    "effort": (
        ("--backend", "anthropic", "--model", "claude-opus-5", "--reasoning-effort", "low"),
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        "max_tokens",
    ),
}


class Run:
    """A run of traces over a server: what it was sent, the log and the row of the table."""

    def __init__(self, folder: Path, server: ReasoningServer, *flags: str) -> None:
        url = server.url if "anthropic" in flags else server.v1
        words = ["run", *flags, "--base-url", url, "--elicitation", "trace", "--template", "game", "--length", "20"]
        words += ["--shots", "0", "--trials", "3", "--no-report", "--out", str(folder)]
        assert main(words) in (0, 3)
        self.sent = server.posted[-1]
        self.trials = [json.loads(line) for line in (only_run(folder) / "trials.jsonl").read_text().splitlines()]
        (self.row,) = json.loads((only_run(folder) / "run.json").read_text())["results"]


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI", "ANTHROPIC"):
        monkeypatch.setenv(f"{name}_API_KEY", KEY)
        monkeypatch.delenv(f"{name}_BASE_URL", raising=False)


@pytest.mark.parametrize("case", CASES)
def test_an_effort_reaches_the_request_and_the_draft_is_no_trace(tmp_path: Path, case: str) -> None:
    flags, expected, limit = CASES[case]
    with ReasoningServer() as server:
        run = Run(tmp_path / "low", server, *flags)
        wider = Run(tmp_path / "wider", server, *flags, "--max-tokens", str(run.sent[limit] + 100))
    assert {key: run.sent[key] for key in expected} == expected
    # The room for reasoning comes on top of the room for the trace.
    assert wider.sent[limit] > run.sent[limit] + 100
    assert (run.row["accuracy"], run.row["traces"], run.row["contradicting_traces"]) == (1.0, 3, 0)
    assert run.row["replies_without_a_trace"] == 0
    for trial in run.trials:
        assert trial["reply"].startswith("1. write") and "Hm" not in trial["reply"]


def test_a_draft_between_tags_is_no_trace(tmp_path: Path) -> None:
    with ReasoningServer(inline=True) as server:
        run = Run(tmp_path, server, *CASES["chat"][0])
    assert (run.row["accuracy"], run.row["traces"], run.row["replies_without_a_trace"]) == (1.0, 3, 0)
    assert all("Hm" in trial["reply"] for trial in run.trials)


@pytest.mark.parametrize("inline", [False, True])
def test_a_trace_in_the_reasoning_alone_is_counted_as_none(tmp_path: Path, inline: bool) -> None:
    with ReasoningServer(inline=inline, traced=False) as server:
        run = Run(tmp_path, server, *CASES["chat"][0])
    assert (run.row["accuracy"], run.row["traces"], run.row["replies_without_a_trace"]) == (1.0, 0, 3)
