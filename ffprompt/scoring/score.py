"""From a raw answer to one outcome a read.

Rules that never bend: a failed call is not a wrong answer. A reply that cannot be read without guessing is ``invalid``
and counts against the model. Where two answers are equally probable none is chosen. No data is None.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ffprompt.backends.base import AnswerSchema
from ffprompt.backends.reasoning_marks import strip_marks, strip_reasoning
from ffprompt.scoring.json_reply import parse_json
from ffprompt.scoring.parse_reply import UNENDED, Parsed, parse_list, parse_next
from ffprompt.scoring.parse_trace import Steps, parse_trace
from ffprompt.scoring.response_records import DialogueRecord, ReplyRecord, ResponseRecord, ScoresRecord, TurnRecord


class Outcome(StrEnum):
    """What became of one read."""

    CORRECT = "correct"
    WRONG = "wrong"
    INVALID = "invalid"
    REFUSED = "refused"
    TRUNCATED = "truncated"
    ERROR = "error"  # the call failed: excluded from accuracy, always shown


@dataclass(frozen=True, slots=True)
class Judged:
    """The asked reads of one trial: the symbol answered (None: none), the outcome, and why there is no answer.

    ``reasons`` says so read by read, where that differs: in a dialogue or a trace. ``final`` are the answers that a
    trace ends with; None where there is none or it ends without. ``is_free``: a trace was asked for, and the model
    reasoned in its own way.
    """

    answers: Sequence[int | None]
    outcomes: Sequence[Outcome]
    reason: str | None = None
    reasons: Sequence[str | None] = ()
    final: Sequence[int] | None = None
    is_free: bool = False

    @property
    def contradicts(self) -> bool | None:
        """Whether the answers at the end are others than those in the trace; None where either is missing."""
        if self.final is None or None in self.answers:
            return None
        return list(self.final) != list(self.answers)


@dataclass(frozen=True, slots=True)
class Reading:
    """How the replies of a condition are read.

    ``completes``: a base model went on with the text. ``one``: a single read was asked (``next``). ``structured``: the
    reply is to be JSON. ``tags`` are a user's own, around reasoning. With ``steps`` it is to be a trace.
    """

    surfaces: Sequence[str]
    completes: bool = False
    one: bool = False
    ignore_case: bool = False
    structured: bool = False
    tags: Sequence[str] = ()
    steps: Steps | None = None  # of a trace


def judge(response: ResponseRecord, truth: Sequence[int], reading: Reading) -> Judged:
    """Return the outcomes of one trial, whose response has as many reads as there are true answers."""
    if response.error is not None:
        return _all(Outcome.ERROR, truth, response.error)
    match response:
        case ScoresRecord():
            return _judge_scores(response.logprobs, truth)
        case DialogueRecord():
            return _judge_talk(response.turns, truth, reading)
        case ReplyRecord():
            return _judge_reply(response, truth, reading)
        case _:
            raise AssertionError(response)


def _judge_talk(turns: Sequence[TurnRecord], truth: Sequence[int], reading: Reading) -> Judged:
    """Each reply answers for the reads of its own turn."""
    answers: list[int | None] = []
    outcomes: list[Outcome] = []
    reasons: list[str | None] = []
    for turn in turns:
        part = truth[len(answers) : len(answers) + turn.reads]
        judged = _judge_reply(turn, part, replace(reading, completes=False, one=len(part) == 1))
        answers += judged.answers
        outcomes += judged.outcomes
        reasons += [judged.reason] * len(part)
    said = "; ".join(dict.fromkeys(reason for reason in reasons if reason is not None))
    return Judged(answers, outcomes, said or None, reasons)


def _judge_reply(reply: ReplyRecord, truth: Sequence[int], reading: Reading) -> Judged:
    if reply.stop == "refusal":
        return _all(Outcome.REFUSED, truth, "the model refused")
    cut = reply.stop == "length"
    if reading.steps is not None:
        return _judge_trace(reply.reply, cut, truth, reading, reading.steps)
    # A base model always goes on writing. Its first word is the answer, unless the text ends within it.
    first_word = reading.completes and reading.one
    parsed = None if cut and not first_word else _parse(reply.reply, len(truth), reading)
    if parsed is None or (cut and parsed.reason == UNENDED):
        # What is missing could have changed the answer.
        return _all(Outcome.TRUNCATED, truth, "the reply was cut off at the token limit")
    if parsed.answers is None:
        return _all(Outcome.INVALID, truth, parsed.reason)
    return Judged(
        parsed.answers,
        [Outcome.CORRECT if a == t else Outcome.WRONG for a, t in zip(parsed.answers, truth, strict=True)],
    )


def _judge_trace(text: str, cut: bool, truth: Sequence[int], reading: Reading, steps: Steps) -> Judged:
    """Each read has the answer that the line about it gives. What is missing counts for no other read."""
    trace = parse_trace(
        text,
        steps,
        reading.surfaces,
        ignore_case=reading.ignore_case,
        completion=reading.completes,
        tags=reading.tags,
    )
    if trace.reason == UNENDED or (cut and not trace.ended):
        return _all(Outcome.TRUNCATED, truth, "the reply was cut off at the token limit")
    if trace.reason is not None:
        return _all(Outcome.INVALID, truth, trace.reason)
    outcomes = [
        Outcome.INVALID if answer is None else Outcome.CORRECT if answer == true else Outcome.WRONG
        for answer, true in zip(trace.answers, truth, strict=True)
    ]
    reason = next((reason for reason in trace.reasons if reason is not None), None)
    return Judged(trace.answers, outcomes, reason, trace.reasons if reason else (), trace.final, trace.is_free)


def _parse(text: str, count: int, reading: Reading) -> Parsed:
    """The answers that a reply gives."""
    surfaces, ignore_case, tags = reading.surfaces, reading.ignore_case, reading.tags
    if reading.structured:
        body = strip_reasoning(text, tags)
        if body is None:
            return Parsed(None, UNENDED)
        return parse_json(strip_marks(body), AnswerSchema(tuple(surfaces), count))
    if reading.one:
        return parse_next(text, surfaces, ignore_case=ignore_case, completion=reading.completes, tags=tags)
    return parse_list(text, surfaces, count, ignore_case=ignore_case, tags=tags)


def _judge_scores(logprobs: Sequence[Sequence[float]], truth: Sequence[int]) -> Judged:
    answers: list[int | None] = []
    outcomes: list[Outcome] = []
    for read, true in zip(logprobs, truth, strict=True):
        best = max(read)
        tied = read.count(best) > 1
        answer = None if tied else read.index(best)
        answers.append(answer)
        outcomes.append(Outcome.INVALID if tied else Outcome.CORRECT if answer == true else Outcome.WRONG)
    tie = "two answers are equally probable" if Outcome.INVALID in outcomes else None
    return Judged(answers, outcomes, tie)


def _all(outcome: Outcome, truth: Sequence[int], reason: str | None) -> Judged:
    return Judged([None] * len(truth), [outcome] * len(truth), reason)


# A margin below this, in nats, may fall the other way on other hardware or in another batch: float32 engines differ by
# up to 2e-4 in a log-probability, bfloat16 ones by much more.
NEAR_TIE = 0.001


def margin(read: Sequence[float]) -> float:
    """Log-probability of the best answer minus that of the second best."""
    if len(read) == 2:
        return abs(read[0] - read[1])
    first, second = sorted(read, reverse=True)[:2]
    return first - second


def mass(read: Sequence[float]) -> float:
    """Probability of all answers together. The rest went to other words."""
    return math.fsum(map(math.exp, read))
