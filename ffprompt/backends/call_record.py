"""What it took to get one answer of an API, as the log keeps it beside the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ffprompt._util.records import Int, JsonObject, Number, Reader, Text
from ffprompt._util.secrets import redacted


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt at a call. ``sent`` is its number in the run, None in a provider's batch."""

    sent: Int | None = None
    started: Text | None = None
    status: Int | Text | None = None  # HTTP's, or the name of what happened
    request_id: Text | None = None
    seconds: Number | None = None

    def to_json(self) -> JsonObject:
        """Return the attempt as the log keeps it."""
        return {
            **({"sent": self.sent} if self.sent is not None else {}),
            "started": self.started,
            "status": self.status,
            "request_id": self.request_id,
            "seconds": self.seconds,
        }


@dataclass(frozen=True, slots=True)
class CountedRecord:
    """What a call's attempts were counted at against a budget: their usage, or the most that they can have used."""

    prompt_tokens: Int
    reply_tokens: Int
    usd: Number | None = None  # None where no price was known


@dataclass(frozen=True, slots=True)
class CallRecord:
    """What it took to get one answer of an API."""

    attempts: Sequence[AttemptRecord] = ()
    request_id: Text | None = None
    reasoning_tokens: Int | None = None  # part of reply_tokens
    cached_tokens: Int | None = None  # part of prompt_tokens
    cache_write_tokens: Int | None = None  # part of prompt_tokens
    counted: CountedRecord | None = None
    batch: Text | None = None  # the provider's id of the batch that the answer came in

    def to_json(self) -> JsonObject:
        """Return the call as the log keeps it."""
        counted = self.counted
        return {
            "attempts": [attempt.to_json() for attempt in self.attempts],
            "request_id": self.request_id,
            "reasoning_tokens": self.reasoning_tokens,
            "cached_tokens": self.cached_tokens,
            "cache_write_tokens": self.cache_write_tokens,
            "counted": counted
            and {
                "prompt_tokens": counted.prompt_tokens,
                "reply_tokens": counted.reply_tokens,
                "usd": counted.usd,
            },
            **({"batch": self.batch} if self.batch is not None else {}),
        }

    def checked(self) -> CallRecord:
        """Return the record without secrets.

        Raises:
            StoreError: a server has sent what the log cannot hold, such as an object for the id of a request.
        """
        return _CALL.read(redacted(self.to_json()))


_CALL = Reader(CallRecord)


@runtime_checkable
class LoggedCall(Protocol):
    """A call that has a record for the log."""

    def record(self) -> CallRecord:
        """Return what it took."""
