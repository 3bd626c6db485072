"""A mode: one way in which a server is odd, and what must come of it.

Most modes answer from what they are sent. ``RIGHT`` in a text stands for the right answers to the prompt, ``WRONG`` for
the opposite ones, so a reply that should not have been read shows as a wrong read.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.odd_echoes import Change
from tests.support.odd_server import Answer, Body, Get, echoes, listed

LIST = ("--template", "game", "--elicitation", "list")
FORCED = (
    "--template", "light-switch", "--elicitation", "forced", "--shots", "0", "--api", "completions",
    "--max-concurrency", "1",
)  # fmt: skip
ANTHROPIC = (*LIST, "--backend", "anthropic")
RESPONSES = (*LIST, "--api", "responses")
ONE_BY_ONE = (*LIST, "--max-concurrency", "1")
SCHEMA = (*LIST, "--answers", "schema")
SECRET = "hunter2-and-more-letters"
_STEPS = re.compile(r"(?:(?:write|ignore) [01]|read [01?])(?:, (?:(?:write|ignore) [01]|read [01?]))*")


@dataclass(frozen=True)
class Mode:
    """``server`` says what it does, ``answer`` makes a new one. ``reads`` are the outcomes that occur, and no others.

    ``says`` must stand on the terminal, ``never`` nowhere: neither there nor in any file. ``url`` has {root} and {v1}.
    """

    name: str
    server: str
    answer: Callable[[], Answer]
    reads: str = ""
    says: str = ""
    code: int = 0
    flags: tuple[str, ...] = LIST
    models: Get = listed
    url: str = ""
    trials: int = 4
    length: int = 12
    never: str = ""
    key: str | None = "sk-test"

    @property
    def address(self) -> str:
        """Of the base URL."""
        return self.url or ("{root}" if "anthropic" in self.flags else "{v1}")

    @property
    def happens(self) -> str:
        """What must come of it, for the table."""
        reads = " and ".join(f"`{read}`" for read in self.reads.split())
        code = f"exit code {self.code}" if self.code else ""
        quoted = f"“{self.says}”" if self.says else ""
        return "; ".join(part for part in (reads, code, quoted) if part)


def right(body: Body) -> list[str]:
    """The right answers to the reads of the last turn.

    >>> right({"messages": [{"content": "Example:\\nread ?\\nwrite 1, read ?"}, {"content": "write 0, read ?"}]})
    ['0']
    """
    turns = body.get("messages") or body.get("input") or [{"content": body.get("prompt", "")}]
    texts = [_plain(turn["content"]) for turn in turns if turn.get("role", "user") == "user"]
    memory, answers = "1", list[str]()
    for number, text in enumerate(texts):
        lines = [line for line in text.splitlines() if _STEPS.fullmatch(line)]
        for line in lines[1:] if number == 0 and len(lines) > 1 else lines:  # the first is the example's
            answers = []
            for step in line.split(", "):
                word, bit = step.split(" ")
                memory = bit if word == "write" else memory
                answers += [memory] if bit == "?" else []
    return answers or ["1"]


def _plain(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def filled(text: str, body: Body) -> str:
    """A text with the answers in it."""
    answers = right(body)
    opposite = ", ".join("10"[int(answer)] for answer in answers)
    return text.replace("RIGHT", ", ".join(answers)).replace("WRONG", opposite)


def made(
    path: str,
    body: Body,
    text: Any = "RIGHT",
    why: object = "",
    message: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """An answer as the API at ``path`` gives it. ``more`` overrides parts of it, ``message`` parts of its message."""
    text = filled(text, body) if isinstance(text, str) else text
    same: dict[str, Any] = {"id": "x", "model": body["model"]}
    counted = len(str(body.get("messages") or body.get("input") or body.get("prompt"))) // 3
    if path.endswith("/messages"):
        content = [{"type": "text", "text": text}]
        same |= {"type": "message", "role": "assistant", "stop_reason": why or "end_turn", "content": content}
        return same | {"usage": {"input_tokens": counted, "output_tokens": 5}} | more
    if path.endswith("/responses"):
        part = {"type": "output_text", "text": text, "annotations": []}
        output = [{"type": "message", "role": "assistant", "content": [part]}]
        same |= {"status": why or "completed", "output": output}
        return same | {"usage": {"input_tokens": counted, "output_tokens": 5}} | more
    said = {"role": "assistant", "content": text} | {
        name: filled(value, body) if isinstance(value, str) else value for name, value in (message or {}).items()
    }
    choice = {"index": 0, "finish_reason": "stop" if why == "" else why, "message": said, "text": text}
    usage = {"prompt_tokens": counted, "completion_tokens": 5}
    return same | {"choices": [choice], "usage": usage} | more


def replies(text: Any = "RIGHT", why: object = "", message: Mapping[str, Any] | None = None, **more: Any) -> Any:
    """A server that answers every prompt so."""
    return lambda: lambda path, body: made(path, body, text, why, message, **more)


def answers(answer: Callable[[str, Body], Any]) -> Any:
    """A server with a function of its own."""
    return lambda: answer


def fails(failure: Any, times: int = 1, then: Answer = made) -> Any:
    """A server whose first answers are a failure."""

    def new() -> Answer:
        calls = itertools.count()
        return lambda path, body: failure if next(calls) < times else then(path, body)

    return new


def echo(change: Change, after: int = 0) -> Any:
    """A server whose echo is wrong in one way, after so many good ones."""

    def new() -> Answer:
        calls = itertools.count()
        bad, good = echoes(change), echoes()
        return lambda path, body: (bad if next(calls) >= after else good)(path, body)

    return new
