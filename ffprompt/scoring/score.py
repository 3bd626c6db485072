"""From a raw answer to one outcome a read.

Rules that never bend: a failed call is not a wrong answer; a reply that cannot be read without guessing is ``invalid``
and counts against the model; where two answers are equally probable none is chosen; no data is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from ffprompt._util.files import shortened
from ffprompt.backends.base import AnswerSchema, Failure, Reply, Scores, Talk
from ffprompt.backends.reasoning_marks import strip_marks, strip_reasoning
from ffprompt.scoring.json_reply import parse_json
from ffprompt.scoring.parse_reply import UNENDED, Parsed, parse_list, parse_next


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

    ``reasons`` says so read by read, where that differs: in a dialogue.
    """

    answers: Sequence[int | None]
    outcomes: Sequence[Outcome]
    reason: str | None = None
    reasons: Sequence[str | None] = ()


def raw(response: Reply | Scores | Failure | Talk) -> dict[str, Any]:
    """A response as the log keeps it; everything that is ever computed about a trial is computed from this."""
    if isinstance(response, Talk):
        return _raw_talk(response)
    call = getattr(response, "call", None)  # an API's answer brings the record of its attempts
    made = {"call": call.record()} if call is not None else {}
    if isinstance(response, Failure):
        return {"error": shortened(response.error), **made}
    if isinstance(response, Reply):
        return {
            **made,
            "reply": response.text,
            "stop": response.stop,
            "served_model": None if response.served_model is None else shortened(str(response.served_model)),
            "prompt_tokens": response.prompt_tokens,
            "reply_tokens": response.reply_tokens,
            **({"ended": response.ended} if response.ended is not None else {}),
            **({"reasoning": response.reasoning} if response.reasoning is not None else {}),
        }
    return {
        **made,
        # Six decimals: below float32's own precision at these magnitudes, and the same after a round trip through JSON.
        "logprobs": [[round(value, 6) for value in read] for read in response.answers.tolist()],
        "argmax": response.argmax.tolist(),
        "argmax_symbol": response.argmax_symbol.tolist(),
        "prompt_tokens": response.prompt_tokens,
        **({"bounds": [list(place) for place in response.bounds]} if response.bounds else {}),
        "reply_tokens": response.reply_tokens,
    }


def _raw_talk(talk: Talk) -> dict[str, Any]:
    """A dialogue: what was answered in each turn, ``shown`` where something else stands for it in the conversation."""
    turns = []
    for reply, reads, shown in zip(talk.replies, talk.reads, talk.shown, strict=True):
        turns.append(raw(reply) | {"reads": reads} | ({"shown": shown} if shown != reply.text else {}))
    tokens = {
        key: sum(counted) if (counted := [turn[key] for turn in turns if turn[key] is not None]) else None
        for key in ("prompt_tokens", "reply_tokens")
    }
    failed = raw(talk.failure) if talk.failure is not None else {}
    return {**failed, "turns": turns, **tokens}


@dataclass(frozen=True, slots=True)
class Reading:
    """How the replies of a condition are read.

    ``completes``: a base model went on with the text; ``one``: a single read was asked (``next``); ``structured``: the
    reply is to be JSON; ``tags`` are a user's own, around reasoning.
    """

    surfaces: Sequence[str]
    completes: bool = False
    one: bool = False
    ignore_case: bool = False
    structured: bool = False
    tags: Sequence[str] = ()


def judge(line: Mapping[str, Any], truth: Sequence[int], reading: Reading) -> Judged:
    """Outcomes of one trial from its raw answer."""
    if "error" in line:
        return _all(Outcome.ERROR, truth, str(line["error"]))
    if "logprobs" in line:
        return _judge_scores(line["logprobs"], truth)
    if "turns" in line:
        return _judge_talk(line["turns"], truth, reading)
    return _judge_reply(line, truth, reading)


def _judge_talk(turns: Sequence[Mapping[str, Any]], truth: Sequence[int], reading: Reading) -> Judged:
    """Each reply answers for the reads of its own turn."""
    if sum(turn["reads"] for turn in turns) != len(truth):
        raise ValueError(f"the turns do not have {len(truth)} reads together")
    answers: list[int | None] = []
    outcomes: list[Outcome] = []
    reasons: list[str | None] = []
    for turn in turns:
        part = truth[len(answers) : len(answers) + turn["reads"]]
        judged = _judge_reply(turn, part, replace(reading, completes=False, one=len(part) == 1))
        answers += judged.answers
        outcomes += judged.outcomes
        reasons += [judged.reason] * len(part)
    said = "; ".join(dict.fromkeys(reason for reason in reasons if reason is not None))
    return Judged(answers, outcomes, said or None, reasons)


def _judge_reply(line: Mapping[str, Any], truth: Sequence[int], reading: Reading) -> Judged:
    if line["stop"] == "refusal":
        return _all(Outcome.REFUSED, truth, "the model refused")
    cut = line["stop"] == "length"
    # A base model always goes on writing. Its first word is the answer, unless the text ends within it.
    first_word = reading.completes and reading.one
    parsed = None if cut and not first_word else _parse(line["reply"], len(truth), reading)
    if parsed is None or (cut and parsed.reason == UNENDED):
        # What is missing could have changed the answer.
        return _all(Outcome.TRUNCATED, truth, "the reply was cut off at the token limit")
    if parsed.answers is None:
        return _all(Outcome.INVALID, truth, parsed.reason)
    return Judged(
        parsed.answers,
        [Outcome.CORRECT if a == t else Outcome.WRONG for a, t in zip(parsed.answers, truth, strict=True)],
    )


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
        if any(math.isnan(value) for value in read):
            raise ValueError("a log-probability is not a number")
        best = max(read)
        tied = sum(value == best for value in read) > 1
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
    first, second = sorted(read, reverse=True)[:2]
    return first - second


def mass(read: Sequence[float]) -> float:
    """Probability of all answers together; the rest went to other words."""
    return math.fsum(math.exp(value) for value in read)


def known(line: Mapping[str, Any]) -> list[list[float | None]]:
    """The log-probabilities of a line, with None where only a bound is known."""
    found: list[list[float | None]] = [list(read) for read in line["logprobs"]]
    for read, symbol in line.get("bounds", ()):
        found[read][symbol] = None
    return found
