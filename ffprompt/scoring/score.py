"""From a raw answer to one outcome a read, and from outcomes to the row of a table.

Rules that never bend: a failed call is not a wrong answer; a reply that cannot be read without guessing is ``invalid``
and counts against the model; where two answers are equally probable none is chosen; no data is None.
"""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np

from ffprompt._util.files import shortened
from ffprompt.backends.base import AnswerSchema, Failure, Reply, Scores, Talk
from ffprompt.backends.reasoning_marks import strip_marks, strip_reasoning
from ffprompt.cost.prices import Bill
from ffprompt.evaluation.plan import Batch
from ffprompt.scoring.json_reply import parse_json
from ffprompt.scoring.parse_reply import UNENDED, Parsed, parse_list, parse_next
from ffprompt.scoring.repeats import Repeats
from ffprompt.stats.clusters import Clusters
from ffprompt.stats.intervals import rate_interval, strings_with_an_error, zero_error_bounds


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


_MOST_REASONS = 100  # kinds that are told apart
_KEPT_REASONS = 10  # of these, the commonest, in the record
_OTHER = "another reason"


def alike(reason: str) -> str:
    """The same text for reasons that differ in numbers, names and ids only; the status of HTTP tells them apart.

    >>> alike("HTTP 500: request req_1a is 7 too long"), alike("HTTP 500: request req_2b is 12 too long")
    ('HTTP 500: request # is # too long', 'HTTP 500: request # is # too long')
    """
    return re.sub(r"\breq_\w+|(?<!HTTP )\b(?=[\w-]*\d)[\w-]+", "#", reason)


@dataclass
class Reasons:
    """How many trials had an outcome for which reason; those that are ``alike`` count as one, told by the first."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, trials: int = 1) -> None:
        """Count a reason."""
        kind = alike(reason)
        if kind not in self.counts and len(self.counts) >= _MOST_REASONS:
            kind = reason = _OTHER
        self.counts[kind] += trials
        self.examples.setdefault(kind, reason)

    def most(self) -> list[tuple[str, int]]:
        """(reason, trials), the commonest first."""
        return [(self.examples[kind], count) for kind, count in self.counts.most_common()]


@dataclass
class Tally:
    """Counts of one condition, added up trial by trial in any order; a few numbers a string are all that grows.

    A string is one cluster: the reads of all its repeats are added up.
    """

    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    # By the string's number: reads, and reads not answered correctly. 0 reads where no call was answered.
    string_reads: array[int] = field(default_factory=lambda: array("q"))
    string_misses: array[int] = field(default_factory=lambda: array("q"))
    mass: float = 0.0  # sum over scored reads of the probability of all answers together
    weighed: int = 0  # reads that have such a probability
    near_ties: int = 0  # of these, reads whose two best answers are nearly as probable
    floors: dict[str, int] = field(default_factory=dict)
    missing: int = 0  # trials that are wanted and have no line
    bill: Bill = field(default_factory=Bill)
    repeats: Repeats = field(default_factory=Repeats)
    reasons: dict[Outcome, Reasons] = field(default_factory=dict)  # why trials had an outcome, so far of errors

    def add(self, batch: Batch, row: int, judged: Judged, line: Mapping[str, Any]) -> None:
        """Count one trial."""
        for outcome in judged.outcomes:
            self.outcomes[outcome] += 1
        string = batch.string(row)
        failed = judged.outcomes[0] is Outcome.ERROR
        right = all(outcome is Outcome.CORRECT for outcome in judged.outcomes)
        self.repeats.add(string, None if failed else judged.answers, right)
        if failed:
            self.reasons.setdefault(Outcome.ERROR, Reasons()).add(judged.reason or "no reason")
            return
        self.bill.add(line)
        for counts in (self.string_reads, self.string_misses):
            counts.extend([0] * (string + 1 - len(counts)))
        self.string_reads[string] += len(judged.outcomes)
        self.string_misses[string] += sum(outcome is not Outcome.CORRECT for outcome in judged.outcomes)
        for read in known(line) if "logprobs" in line else ():
            exact = [value for value in read if value is not None]
            if len(exact) == len(read):
                self.mass += mass(exact)
                self.weighed += 1
                self.near_ties += margin(exact) < NEAR_TIE
        positions = batch.positions(row)
        for name, hit in batch.floor_hits.items():
            self.floors[name] = self.floors.get(name, 0) + int(np.count_nonzero(hit[row, positions]))

    @property
    def reads(self) -> int:
        """Reads that were asked, errors included."""
        return sum(self.outcomes.values())

    def row(self) -> dict[str, Any]:
        """The numbers of a condition. Accuracy counts what is not an error; without such reads it is None.

        ``interval_low`` … ``warnings`` are those of the accuracy, :func:`.stats.intervals.rate_interval`: a read is
        the unit, and a string with all its repeats is the cluster.
        """
        scored = self.reads - self.outcomes[Outcome.ERROR]
        right, wrong = self.outcomes[Outcome.CORRECT], self.outcomes[Outcome.WRONG]
        strings = Clusters(np.array(self.string_misses, np.int64), np.array(self.string_reads, np.int64))
        floor = max(self.floors, key=lambda name: self.floors[name]) if self.floors else None
        return {
            "reads": self.reads,
            "strings": len(strings),
            "accuracy": right / scored if scored else None,
            **_uncertainty(strings, wrong),
            "glitch_rate": wrong / (right + wrong) if right + wrong else None,
            "mean_answer_mass": self.mass / self.weighed if self.weighed else None,
            "near_ties": self.near_ties if self.weighed else None,
            "perfect_strings": int((strings.errors == 0).sum()),
            "floor": self.floors[floor] / scored if floor and scored else None,
            "floor_rule": floor,
            "floors": {name: count / scored for name, count in self.floors.items()} if scored else {},
            "outcomes": {str(outcome): count for outcome, count in self.outcomes.items()},
            "reasons": {str(outcome): found.most()[:_KEPT_REASONS] for outcome, found in self.reasons.items()},
            "missing_trials": self.missing,
            **self.repeats.row(),
            **self.bill.row(),
        }


def _uncertainty(strings: Clusters, wrong: int) -> dict[str, Any]:
    """What is known of an accuracy, from the reads that each string has and those that were not answered correctly.

    ``wrong`` of the latter have an answer, and only these are called wrong.
    """
    misses = rate_interval(strings)
    hit = strings_with_an_error(strings)
    none = zero_error_bounds(strings)
    found = misses and misses.complement()
    return {
        "interval_low": found and found.low,
        "interval_high": found and found.high,
        "interval_level": found and found.level,
        "interval_method": found and found.method,
        "n_effective": found and found.n_effective,
        "deff": found and found.deff,
        "warnings": [_named(warning, wrong, strings.n_errors) for warning in found.warnings] if found else [],
        "strings_with_an_error": hit
        and {"count": int((strings.errors > 0).sum()), "share": hit.estimate, "low": hit.low, "high": hit.high},
        # The largest share of reads not answered correctly that all being right leaves possible.
        "zero_error_bounds": none
        and {
            by: {"high": bound.high, "n": bound.n, "level": bound.level, "needs": bound.needs}
            for by, bound in zip(("strings", "reads"), none, strict=True)
        },
    }


def _named(warning: str, wrong: int, missed: int) -> str:
    """A warning that calls wrong only what is; statistics know of misses alone."""
    if wrong == missed:
        return warning
    return warning.replace("every read was wrong", "no read was right" if wrong else "no read has an answer")
