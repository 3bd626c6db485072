"""A response as the log keeps it: what a model wrote or scored, and what it took to get that.

Everything that is ever computed about a trial is computed from one of these, never from the response itself. In JSON
the kinds are told apart by their keys: ``turns`` is a dialogue, otherwise ``error`` a failed call, ``logprobs`` scores,
and anything else one reply. ``to_json`` keeps the order of keys that logs have always had.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from ffprompt._util.files import shortened
from ffprompt._util.records import Int, JsonObject, Number, Reader, Text
from ffprompt._util.secrets import redacted
from ffprompt.backends.base import Failure, Reply, Scores, Talk
from ffprompt.backends.call_record import CallRecord, LoggedCall
from ffprompt.cost.usage import Usage, count
from ffprompt.errors import StoreError

NOT_OVER = "the dialogue is not over"


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRecord:
    """A call that brought no answer, and why."""

    error: Text
    call: CallRecord | None = None

    @property
    def device(self) -> None:
        """No answer was computed."""

    @property
    def usage(self) -> Usage | None:
        """What the call used, which nobody knows."""
        return None

    @property
    def calls(self) -> Iterator[SingleRecord]:
        """The call itself."""
        yield self

    def to_json(self) -> JsonObject:
        """Return the failure as the log keeps it."""
        return {"error": self.error, **_call(self.call)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _AnswerRecord:
    """What all answers of one call have: the tokens, and what it took to get the answer."""

    prompt_tokens: Int | None = None
    reply_tokens: Int | None = None
    call: CallRecord | None = None
    device: Text | None = None  # what it was computed on, where a run has replicas on several machines

    @property
    def error(self) -> None:
        """There is none."""

    @property
    def usage(self) -> Usage | None:
        """What the call used. None where the tokens of its prompt or of its reply are unknown."""
        return _usage(self.prompt_tokens, self.reply_tokens, self.call)

    @property
    def calls(self) -> Iterator[SingleRecord]:
        """The call itself."""
        yield cast("SingleRecord", self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyRecord(_AnswerRecord):
    """What a model wrote: the text ``reply``, why it stops there, and how many tokens it took."""

    reply: Text
    stop: Text
    served_model: Text | None = None
    ended: Text | None = None  # why the reply ended, in the words of whoever wrote it
    reasoning: Text | None = None

    def to_json(self) -> JsonObject:
        """Return the reply as the log keeps it."""
        return {
            **_call(self.call),
            "reply": self.reply,
            "stop": self.stop,
            "served_model": self.served_model,
            "prompt_tokens": self.prompt_tokens,
            "reply_tokens": self.reply_tokens,
            **({"ended": self.ended} if self.ended is not None else {}),
            **({"reasoning": self.reasoning} if self.reasoning is not None else {}),
            **_device(self.device),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRecord(ReplyRecord):
    """One turn of a dialogue. The reply is to hold ``reads`` answers.

    ``shown`` stands for the reply in the conversation. None where the reply itself does.
    """

    reads: Int
    shown: Text | None = None

    def to_json(self) -> JsonObject:
        """Return the turn as the log keeps it."""
        made = ReplyRecord.to_json(self) | {"reads": self.reads}
        return made if self.shown is None else made | {"shown": self.shown}

    def to_reply(self) -> Reply:
        """Return the reply as a backend gave it, as far as a dialogue that goes on needs it."""
        return Reply(self.reply, self.stop, self.served_model, self.prompt_tokens, self.reply_tokens)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoresRecord(_AnswerRecord):
    """Log-probabilities of every answer at every read: ``logprobs`` (reads, symbols), natural logarithm.

    ``argmax`` is the token that the model ranks first at each read, ``argmax_symbol`` the symbol that this token is, or
    -1. ``bounds`` are the (read, symbol) places in ``logprobs`` that hold only what the log-probability is at most.
    """

    logprobs: list[list[Number]]
    argmax: list[Int]
    argmax_symbol: list[Int]
    bounds: list[tuple[Int, Int]] | None = None
    reply_tokens: Int | None = 0  # some servers write a token before they give the prompt's

    @property
    def known(self) -> list[list[float | None]]:
        """The log-probabilities, with None where only a bound is known."""
        found: list[list[float | None]] = [list(read) for read in self.logprobs]
        for read, symbol in self.bounds or ():
            found[read][symbol] = None
        return found

    def to_json(self) -> JsonObject:
        """Return the scores as the log keeps them."""
        return {
            **_call(self.call),
            "logprobs": self.logprobs,
            "argmax": self.argmax,
            "argmax_symbol": self.argmax_symbol,
            "prompt_tokens": self.prompt_tokens,
            **({"bounds": [list(place) for place in self.bounds]} if self.bounds else {}),
            "reply_tokens": self.reply_tokens,
            **_device(self.device),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DialogueRecord:
    """The answered turns of a dialogue, with the sums of their tokens.

    ``error`` and ``call`` are those of a call that ended it early. With ``first_turn`` the dialogue is not over and the
    turns from that one on have just been answered. The earlier ones stand in earlier lines.
    """

    turns: list[TurnRecord]
    prompt_tokens: Int | None = None
    reply_tokens: Int | None = None
    error: Text | None = None
    call: CallRecord | None = None
    first_turn: Int | None = None

    @property
    def calls(self) -> Iterator[SingleRecord]:
        """The call that failed, if one did, then those of the turns."""
        if self.error is not None and self.call is not None:
            yield FailureRecord(error=self.error, call=self.call)
        yield from self.turns

    def unfinished(self, first_turn: int) -> DialogueRecord:
        """Return the turns from ``first_turn`` on, as the log keeps those of a dialogue that is not over."""
        return replace(self, turns=self.turns[first_turn:], error=NOT_OVER, first_turn=first_turn)

    def to_json(self) -> JsonObject:
        """Return the dialogue as the log keeps it."""
        failed = {} if self.error is None else {"error": self.error}
        made = {
            **(failed | _call(self.call) if self.first_turn is None else {}),
            "turns": [turn.to_json() for turn in self.turns],
            "prompt_tokens": self.prompt_tokens,
            "reply_tokens": self.reply_tokens,
        }
        return made if self.first_turn is None else {**made, **failed, "first_turn": self.first_turn}


SingleRecord = FailureRecord | ReplyRecord | ScoresRecord  # of one call
ResponseRecord = SingleRecord | DialogueRecord

_FAILURE, _REPLY = Reader(FailureRecord), Reader(ReplyRecord)
_SCORES, _DIALOGUE = Reader(ScoresRecord), Reader(DialogueRecord)


def read_response(line: Mapping[str, Any], where: str = "") -> ResponseRecord:
    """Return the response of a line of the log.

    Raises:
        StoreError: it is damaged.
    """
    if "turns" in line:
        return _DIALOGUE.read(line, where)
    if "error" in line:
        return _FAILURE.read(line, where)
    return _SCORES.read(line, where) if "logprobs" in line else _REPLY.read(line, where)


def check_reads(response: ResponseRecord, reads: int, symbols: int) -> None:
    """Raise StoreError for a response from the log that is not about ``reads`` reads of ``symbols`` symbols.

    One reply may hold any number of answers, and a failed call has none.
    """
    if isinstance(response, ScoresRecord):
        for key in ("logprobs", "argmax", "argmax_symbol"):
            if len(getattr(response, key)) != reads:
                raise StoreError(f"{key}: {len(getattr(response, key))} reads: expected {reads}")
        for number, values in enumerate(response.logprobs):
            if len(values) != symbols:
                raise StoreError(f"logprobs[{number}]: {len(values)} symbols: expected {symbols}")
        for read, symbol in response.bounds or ():
            if not (0 <= read < reads and 0 <= symbol < symbols):
                raise StoreError(f"bounds {[read, symbol]}: expected a read below {reads}, a symbol below {symbols}")
    elif isinstance(response, DialogueRecord) and response.error is None:
        counts = [turn.reads for turn in response.turns]
        if min(counts, default=0) < 1 or sum(counts) != reads:
            raise StoreError(f"turns: {sum(counts)} reads: expected {reads}, and one or more in each turn")


def record(response: Reply | Scores | Failure | Talk) -> ResponseRecord:
    """Return a response as the log keeps it, without secrets."""
    if isinstance(response, Talk):
        return _dialogue(response)
    call = _call_of(response)
    if isinstance(response, Failure):
        return FailureRecord(error=redacted(shortened(response.error)), call=call)
    if isinstance(response, Reply):
        return _reply(response, call)
    return ScoresRecord(
        # Six decimals: below float32's own precision at these magnitudes, and the same after a round trip through JSON.
        logprobs=[[round(value, 6) for value in read] for read in response.answers.tolist()],
        argmax=response.argmax.tolist(),
        argmax_symbol=response.argmax_symbol.tolist(),
        prompt_tokens=response.prompt_tokens,
        bounds=list(response.bounds) or None,
        reply_tokens=response.reply_tokens,
        call=call,
        device=redacted(response.device),
    )


def _reply(reply: Reply, call: CallRecord | None) -> ReplyRecord:
    served = reply.served_model
    return ReplyRecord(
        reply=redacted(reply.text),
        stop=reply.stop,
        served_model=None if served is None else redacted(shortened(str(served))),
        prompt_tokens=reply.prompt_tokens,
        reply_tokens=reply.reply_tokens,
        ended=redacted(reply.ended),
        reasoning=redacted(reply.reasoning),
        call=call,
        device=redacted(reply.device),
    )


def _dialogue(talk: Talk) -> DialogueRecord:
    turns = []
    for reply, reads, shown in zip(talk.replies, talk.reads, talk.shown, strict=True):
        made = _reply(reply, _call_of(reply))
        other = redacted(shown) if shown != reply.text else None
        turns.append(TurnRecord(**{name: getattr(made, name) for name in _OF_A_REPLY}, reads=reads, shown=other))
    failed = None if talk.failure is None else record(talk.failure)
    return DialogueRecord(
        turns=turns,
        prompt_tokens=_sum([turn.prompt_tokens for turn in turns]),
        reply_tokens=_sum([turn.reply_tokens for turn in turns]),
        error=failed.error if isinstance(failed, FailureRecord) else None,
        call=failed.call if isinstance(failed, FailureRecord) else None,
    )


_OF_A_REPLY = tuple(ReplyRecord.__dataclass_fields__)


def _sum(tokens: Sequence[int | None]) -> int | None:
    """The sum of those that are known, None where none is."""
    counted = [number for number in tokens if number is not None]
    return sum(counted) if counted else None


def _call_of(response: Reply | Scores | Failure) -> CallRecord | None:
    """The record of its attempts, which an API's answer brings."""
    call = getattr(response, "call", None)
    return call.record() if call is not None and isinstance(call, LoggedCall) else None


def _device(device: str | None) -> JsonObject:
    return {} if device is None else {"device": device}


def _call(call: CallRecord | None) -> JsonObject:
    return {} if call is None else {"call": call.to_json()}


def _usage(prompt_tokens: int | None, reply_tokens: int | None, call: CallRecord | None) -> Usage | None:
    prompt, reply = count(prompt_tokens), count(reply_tokens)
    if prompt is None or reply is None:
        return None
    if call is None:
        return Usage(prompt, reply)
    cached, written, reasoning = map(count, (call.cached_tokens, call.cache_write_tokens, call.reasoning_tokens))
    return Usage(prompt, reply, cached, written, reasoning, batch=bool(call.batch))
