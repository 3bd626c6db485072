"""How many tokens calls have used, as providers report it, and how many they may use at most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. ``cached`` and ``written`` are parts of ``prompt``, ``reasoning`` is part of ``reply``.

    ``cached`` were read from the provider's cache and ``written`` put into it; None where the provider does not say.
    """

    prompt: int
    reply: int
    cached: int | None = None
    written: int | None = None
    reasoning: int | None = None
    batch: bool = False  # asked through the provider's batch interface, which is cheaper

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.prompt + self.reply


@dataclass(frozen=True, slots=True)
class Bound:
    """The most tokens that one call can use."""

    prompt: int = 0
    reply: int = 0

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.prompt + self.reply


def count(value: object) -> int | None:
    """Return a number of tokens as a server gave it, or None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def calls(line: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield what the log says about each call of a trial: the line itself, or the turns of a dialogue."""
    turns = line.get("turns")
    if turns is None or line.get("call"):
        yield line
    yield from turns or ()


def logged(call: Mapping[str, Any]) -> Usage | None:
    """Return the tokens that a call used by its log, or None where the prompt's or the reply's are unknown.

    A line with log-probabilities and no word about a reply had none.
    """
    prompt = count(call.get("prompt_tokens"))
    reply = count(call.get("reply_tokens", 0 if "logprobs" in call else None))
    if prompt is None or reply is None:
        return None
    record = call.get("call") or {}
    return Usage(
        prompt,
        reply,
        count(record.get("cached_tokens")),
        count(record.get("cache_write_tokens")),
        count(record.get("reasoning_tokens")),
        batch=bool(record.get("batch")),
    )
