"""What could not be read, and why: the commonest replies of each condition, and ``invalid.md`` beside a run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ffprompt._util.formatting import counted
from ffprompt.backends.reasoning_marks import occurs, strip_reasoning
from ffprompt.scoring.condition_result import ReasoningTags, Unread
from ffprompt.scoring.response_records import DialogueRecord, ReplyRecord, ResponseRecord, SingleRecord
from ffprompt.scoring.score import Judged, Outcome

_KINDS = 500  # different replies that are told apart, for each reason
_SHOWN = 3  # replies that are shown of each reason
_IDS = 3  # trials that are named of each reply
_LONGEST = 2000  # characters of a reply that are shown
_QUOTED = 60  # characters of a reply that are quoted under the table


@dataclass
class _Same:
    """Replies of one text: how many, and the first trials with it."""

    text: str
    length: int
    count: int = 0
    trials: list[str] = field(default_factory=list)


@dataclass
class _Reason:
    """Reads that are invalid for one reason. ``trials`` counts the trials that have such a read."""

    reads: int = 0
    trials: int = 0
    replies: dict[str, _Same] = field(default_factory=dict)


@dataclass
class UnreadReplies:
    """The replies of one condition that gave no answer, noted trial by trial in bounded memory."""

    tags: Sequence[str] = ()
    trials: int = 0  # without errors
    replied: int = 0  # of these, with a text
    tagged: int = 0  # of these, with one of the user's tags
    truncated: int = 0  # trials of which a read is truncated
    thought: int = 0  # of these, with reasoning
    cut: str | None = None  # the first of them
    limit: int | None = None  # tokens that it was allowed
    reasons: dict[str, _Reason] = field(default_factory=dict)

    def note(self, trial_id: str, judged: Judged, response: ResponseRecord, limit: Callable[[int], int]) -> None:
        """Take in one trial. ``limit`` says how many tokens a reply with so many answers may have."""
        if response.error is not None:
            return
        self.trials += 1
        replies = list(_replies(judged, response))
        texts = [text for text, *_ in replies if text is not None]
        self.replied += bool(texts)
        self.tagged += any(occurs(text, self.tags) for text in texts)
        if Outcome.TRUNCATED in judged.outcomes:
            self.truncated += 1
            self.thought += any(_thinks(call, self.tags) for call in response.calls)
            if self.cut is None:
                self.cut, reads = next(
                    (text or "", n) for text, found, _, n, _ in replies if found is Outcome.TRUNCATED
                )
                self.limit = limit(reads)
        seen = set()
        for text, outcome, reason, reads, turn in replies:
            if outcome is Outcome.INVALID:
                kind = re.sub(r"\d+", "N", reason or "no reason is known")  # strings differ in their number of reads
                found = self.reasons.setdefault(kind, _Reason())
                found.reads += reads
                found.trials += kind not in seen
                seen.add(kind)
                _count(found, text, trial_id if turn is None else f"{trial_id}, turn {turn}")

    def tags_used(self) -> ReasoningTags | None:
        """Return how many replies have one of the user's tags. None where there are no tags or no replies."""
        if not self.tags or not self.replied:
            return None
        return ReasoningTags(tags=list(self.tags), replies=self.replied, tagged=self.tagged)

    def summary(self) -> Unread | None:
        """Return why most trials of the condition gave no answer, if most did for one reason or were cut off."""
        if 2 * self.truncated > self.trials:
            thinks = 2 * self.thought > self.truncated
            return Unread(
                outcome="truncated",
                trials=self.truncated,
                of=self.trials,
                reasoning=thinks,
                limit=self.limit,
                quote=_tail(self.cut or ""),
            )
        reason = max(self.reasons, key=lambda name: self.reasons[name].trials, default=None)
        if reason is None or 2 * self.reasons[reason].trials <= self.trials:
            return None
        commonest = _commonest(self.reasons[reason])
        return Unread(
            outcome="invalid",
            trials=self.reasons[reason].trials,
            of=self.trials,
            reason=reason,
            quote=_head(commonest[0].text) if commonest else None,
        )


def _replies(
    judged: Judged, response: ResponseRecord
) -> Iterator[tuple[str | None, Outcome, str | None, int, int | None]]:
    """(text, outcome, reason, reads, turn) of each reply. Scores have no text, and of them each read is looked at."""
    if isinstance(response, DialogueRecord):
        at = 0
        for number, turn in enumerate(response.turns, start=1):
            reason = judged.reasons[at] if judged.reasons else judged.reason
            yield turn.reply, judged.outcomes[at], reason, turn.reads, number
            at += turn.reads
    elif isinstance(response, ReplyRecord):
        yield response.reply, judged.outcomes[0], judged.reason, len(judged.outcomes), None
    elif invalid := judged.outcomes.count(Outcome.INVALID):
        yield None, Outcome.INVALID, judged.reason, invalid, None


def _thinks(response: SingleRecord, tags: Sequence[str]) -> bool:
    """Whether there was reasoning in or before a reply."""
    if not isinstance(response, ReplyRecord):
        return False
    used = response.call.reasoning_tokens if response.call is not None else None
    return bool(response.reasoning) or bool(used) or strip_reasoning(response.reply, tags) != response.reply


def _count(found: _Reason, text: str | None, trial: str) -> None:
    key = text if text is not None else ""
    key = key if len(key) <= _LONGEST else f"{key[:_LONGEST]}{hash(key)}"
    if key not in found.replies:
        if len(found.replies) >= _KINDS:
            return
        found.replies[key] = _Same(key[:_LONGEST] if text is not None else "", len(text or ""))
    same = found.replies[key]
    same.count += 1
    if len(same.trials) < _IDS:
        same.trials.append(trial)


def _commonest(found: _Reason) -> list[_Same]:
    return sorted(found.replies.values(), key=lambda same: -same.count)


def _head(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _QUOTED else f"{words[:_QUOTED]}…"


def _tail(text: str) -> str:
    words = " ".join(text[-4 * _QUOTED :].split())
    return words if len(words) <= _QUOTED else f"…{words[-_QUOTED:]}"


def invalid_md(run: str, conditions: Sequence[tuple[str, UnreadReplies]]) -> str | None:
    """The text of ``invalid.md``. None where every reply could be read."""
    parts = [part for name, unread in conditions if (part := _condition(name, unread))]
    if not parts:
        return None
    intro = (
        f"# Replies that could not be read: {run}\n\n"
        "These reads have the outcome `invalid` and count against the model. Every reply is shown word for word, the "
        f"commonest {_SHOWN} for each reason, up to {_LONGEST:,} characters of each. All of them are in "
        "`trials.jsonl`.\n"
    )
    return "\n".join([intro, *parts])


def _condition(name: str, unread: UnreadReplies) -> str:
    made = []
    for reason, found in sorted(unread.reasons.items(), key=lambda item: -item[1].reads):
        trials = f"{found.trials:,} of {counted(unread.trials, 'trial')}"
        made.append(f"### {reason}: {counted(found.reads, 'read')} in {trials}\n")
        for same in _commonest(found)[:_SHOWN]:
            named = ", ".join(f"`{trial}`" for trial in same.trials)
            more = f" and {same.count - len(same.trials):,} more" if same.count > len(same.trials) else ""
            made.append(f"{counted(same.count, 'time')}: {named}{more}\n")
            if same.length:
                made.append(_fenced(same))
    return "\n".join([f"## {name}\n", *made]) if made else ""


def _fenced(same: _Same) -> str:
    """A reply in a fence that is longer than any run of backticks in it."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", same.text)), default=0))
    cut = f"\n(cut after {_LONGEST:,} of {same.length:,} characters)\n" if same.length > len(same.text) else ""
    return f"{fence}text\n{same.text}\n{fence}\n{cut}"
