"""What of a run is shown word for word: the prompts as sent, and single trials, those with an error first.

A page holds a few megabytes at most. What is left out is counted. The log holds everything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np

from ffprompt._util.records import JsonObject
from ffprompt.elicitation.condition import Condition
from ffprompt.elicitation.question import Prompt
from ffprompt.errors import StoreError
from ffprompt.evaluation.rescore import judge_response
from ffprompt.report.source import OUTCOMES, Source
from ffprompt.runs.log import line_name, read_trial
from ffprompt.runs.reads import CORRECT, ConditionReads, Ints
from ffprompt.runs.records import TrialRecord
from ffprompt.scoring.response_records import DialogueRecord, ReplyRecord, ResponseRecord, ScoresRecord, check_reads

LONGEST_PROMPT = 20_000  # characters
LONGEST_REPLY = 4_000  # characters


def prompt(source: Source, condition: Condition) -> list[JsonObject]:
    """The first prompt of a condition as messages: ``role`` (None: a bare text) and ``pieces``, (text, what) each.

    ``what`` is None for plain text, "scored" for an answer whose probability is asked, "blank" for one to be filled
    in, "reply" for the place where the model writes.
    """
    made = source.plan.prompt(source.plan.batch(condition, 0, 1), 0)
    messages, room = [], LONGEST_PROMPT
    for role, pieces in _messages(made):
        kept: list[tuple[str, str | None]] = []
        for text, what in pieces:
            if len(text) > room:
                cut = f"{text[:room]} … {len(text) - room:,} characters are left out here"
                messages.append({"role": role, "pieces": [*kept, (cut, what)]})
                return messages
            room -= len(text)
            kept.append((text, what))
        messages.append({"role": role, "pieces": kept})
    return messages


def _messages(made: Prompt) -> Iterator[tuple[str | None, list[tuple[str, str | None]]]]:
    sent = [(message, None) for message in made.messages]
    said = [(m, t.answer if m is t.messages[-1] else None) for t in made.turns for m in t.messages]
    for number, (message, answer) in enumerate((*sent, *said)):
        spans = [(start, end) for where, start, end in made.blanks if where == number]
        yield message.role, _pieces(message.text, spans, "blank")
        if answer is not None:
            yield "assistant", [(f"(right: {answer})", "reply")]
    if made.turns:
        return
    spans = list(made.reads) or [(start, end) for where, start, end in made.blanks if where == -1]
    pieces = _pieces(made.text, spans, "scored" if made.reads else "blank")
    yield "assistant" if made.messages else None, pieces if made.reads else [*pieces, ("", "reply")]


def _pieces(text: str, spans: Sequence[tuple[int, int]], what: str) -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = []
    at = 0
    for start, end in spans:
        found += [(text[at:start], None), (text[start:end], what)]
        at = end
    return [piece for piece in (*found, (text[at:], None)) if piece[0]]


def outcome_of_trials(reads: ConditionReads, repeats: int) -> tuple[Ints, Ints]:
    """Return the trials of a condition that have a read that is not correct, and those without."""
    numbers, rows = np.unique(reads.string * repeats + reads.repeat, return_inverse=True)
    bad = np.bincount(rows, weights=reads.outcome != CORRECT, minlength=len(numbers)) > 0
    return numbers[bad], numbers[~bad]


def shares(wanted: Sequence[int], room: int) -> list[int]:
    """``room`` places given out evenly, to each at most what it wants.

    >>> shares([10, 1, 10], 11)
    [5, 1, 5]
    """
    given = [0] * len(wanted)
    while room > 0 and (open_ := [n for n, most in enumerate(wanted) if given[n] < most]):
        each = max(1, room // len(open_))
        for n in open_:
            more = min(each, wanted[n] - given[n], room)
            given[n] += more
            room -= more
    return given


def pick(bad: Sequence[Ints], good: Sequence[Ints], room: int) -> list[tuple[int, int]]:
    """(row, trial) of at most ``room`` trials, those with an error first, evenly over the conditions."""
    chosen: list[tuple[int, int]] = []
    for numbers in (bad, good):
        taken = shares([len(one) for one in numbers], room - len(chosen))
        # One of each condition in turn, so that whatever is cut off later is cut off everywhere alike.
        for place in range(max(taken, default=0)):
            chosen += [(n, int(numbers[n][place])) for n, count in enumerate(taken) if place < count]
    return chosen


def trials(
    rows: Sequence[tuple[Source, Condition]], chosen: Sequence[tuple[int, int]], budget: int
) -> list[JsonObject]:
    """Trials for the browser, until they fill ``budget`` characters: string, what was asked, answered and said.

    ``rows`` are those of the report's table, and each trial keeps the number of its own.
    """
    found = []
    for row, trial in chosen:
        source, condition = rows[row]
        offset = int(source.where.offset[condition.number * source.plan.trials + trial])
        if offset < 0:
            continue
        path = source.folder.trials_path
        with path.open("rb") as log:
            line = read_trial(log, offset)
            try:
                made = {"row": row, **_trial(source, condition, trial, line)}
            except StoreError as error:  # the number of a line is counted only where it is told
                raise StoreError(f"{line_name(log, offset)}: {error}") from None
        budget -= len(json.dumps(made))
        if budget < 0:
            break
        found.append(made)
    return found


def _trial(source: Source, condition: Condition, trial: int, line: TrialRecord) -> JsonObject:
    plan = source.plan
    batch = plan.batch(condition, trial, trial + 1, shots=False)
    response = line.response
    check_reads(response, len(batch.asked[0]), plan.config.symbols)
    judged = judge_response(plan, batch, 0, response)
    truth = batch.truth(0)
    made: JsonObject = {
        "string": batch.string(0),
        **({"repeat": batch.repeat(0)} if plan.repeats > 1 else {}),
        "text": batch.strings.texts()[0],
        "asked": batch.asked[0].tolist() if condition.elicitation.asks_one_read else None,
        "outcomes": [OUTCOMES.index(str(outcome)) for outcome in judged.outcomes],
        "answers": list(judged.answers),
        "why": judged.reason,
        "said": _said(response),
    }
    if isinstance(response, ScoresRecord):
        made["p"] = [_share(read, true) for read, true in zip(response.logprobs, truth, strict=True)]
    return made


def _said(response: ResponseRecord) -> list[str]:
    if isinstance(response, DialogueRecord):
        return [_cut(turn.reply) for turn in response.turns]
    return [_cut(response.reply)] if isinstance(response, ReplyRecord) else []


def _cut(text: str) -> str:
    if len(text) <= LONGEST_REPLY:
        return text
    return f"{text[:LONGEST_REPLY]} … {len(text) - LONGEST_REPLY:,} more characters are in trials.jsonl"


def _share(read: Sequence[float], true: int) -> float:
    """The true answer's probability among the answers."""
    weights = np.exp(np.asarray(read, float) - max(read))
    return round(float(weights[true] / weights.sum()), 4)
