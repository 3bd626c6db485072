"""The result of one condition: a row of the table, as ``run.json`` keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ffprompt._util.records import Flag, Int, JsonObject, Number, Reader, Text


@dataclass(frozen=True, slots=True, kw_only=True)
class StringsWithAnError:
    """Strings with a read that is not answered correctly: how many, and their share with its interval."""

    count: Int
    share: Number
    low: Number
    high: Number


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroErrorBound:
    """The largest error rate that ``n`` units without an error leave possible, and what that assumes (``needs``)."""

    high: Number
    n: Int | Number
    level: Number
    needs: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroErrorBounds:
    """Bounds where no read was wrong: if only strings are independent, and if all reads are."""

    strings: ZeroErrorBound
    reads: ZeroErrorBound


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """How far a condition is that stops by itself, by ``certify`` (a bound) or ``until_width`` (of an interval).

    ``decision`` is None while nothing is decided. ``low`` and ``high`` are of the error rate: the two ends of one
    interval of that level, or for a bound, which looks at one side, each a bound of that level by itself.
    """

    certify: Number | None = None
    until_width: Number | None = None
    level: Number
    decision: Text | None
    over: Flag
    strings: Int
    budget: Int
    reads: Int
    errors: Int
    low: Number
    high: Number

    def to_json(self) -> JsonObject:
        """Return the record with the key of its own rule alone."""
        return _without(asdict(self), "certify", "until_width")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """Why most trials of a condition gave no answer: one ``reason``, or they were cut off at ``limit`` tokens."""

    outcome: Text
    trials: Int
    of: Int
    reason: Text | None = None
    reasoning: Flag | None = None  # whether most of those that were cut off were reasoning
    limit: Int | None = None
    quote: Text | None

    def to_json(self) -> JsonObject:
        """Return the record with the keys of its own outcome alone."""
        return _without(asdict(self), "reason", "reasoning", "limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasoningTags:
    """A user's tags around reasoning: how many replies there are, and how many have one of the tags."""

    tags: Sequence[Text]
    replies: Int
    tagged: Int

    def to_json(self) -> JsonObject:
        """Return the record as plain values."""
        return {"tags": list(self.tags), "replies": self.replies, "tagged": self.tagged}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionResult:
    """A row of the table. Accuracy counts reads that are not errors. What there is no data for is None.

    Fields stand in the order of the keys in ``run.json``. Those with a default are missing in runs of earlier versions.
    """

    condition: Text = ""
    template: Text = ""
    shots: Int = 0
    elicitation: Text = ""
    turn_instructions: Int | None = None
    form: Text = ""
    answers: Text | None = None  # schema, or None for text
    language: Text = ""
    reads: Int
    strings: Int
    accuracy: Number | None
    interval_low: Number | None
    interval_high: Number | None
    interval_level: Number | None = None
    interval_method: Text | None = None
    n_effective: Number | None = None
    deff: Number | None = None
    warnings: Sequence[Text] = ()
    strings_with_an_error: StringsWithAnError | None = None
    zero_error_bounds: ZeroErrorBounds | None = None
    glitch_rate: Number | None
    mean_answer_mass: Number | None = None
    near_ties: Int | None = None
    perfect_strings: Int | None = None
    floor: Number | None
    floor_rule: Text | None
    floors: Mapping[Text, Number] = field(default_factory=dict)
    outcomes: Mapping[Text, Int]
    reasons: Mapping[Text, Sequence[tuple[Text, Int]]] = field(default_factory=dict)
    missing_trials: Int
    repeats: Int = 1
    repeat_pairs: Int = 0
    self_agreement: Number | None = None
    self_agreement_low: Number | None = None
    self_agreement_high: Number | None = None
    traces: Int = 0  # trials with a trace and answers after it
    contradicting_traces: Int = 0  # of these, trials whose answers are not those in the trace
    replies_without_a_trace: Int = 0  # trials scored on the answers at the end, after reasoning in free words
    whole_strings: Int = 0
    always_right: Number | None = None
    always_right_low: Number | None = None
    always_right_high: Number | None = None
    prompt_tokens: Int | None = None
    reply_tokens: Int | None = None
    cached_tokens: Int | None = None
    reasoning_tokens: Int | None = None
    usd: Number | None = None
    calls: Int = 0
    replies_without_usage: Int = 0
    stopping: Stopping | None = None
    unread: Unread | None = None
    reasoning_tags: ReasoningTags | None = None
    devices: Mapping[Text, tuple[Int, Int]] = field(default_factory=dict)  # reads and correct reads, where unlike

    def count(self, outcome: str) -> int:
        """Return the number of reads with an outcome."""
        return self.outcomes.get(outcome, 0)

    @property
    def contradiction_share(self) -> float | None:
        """The share of traces whose own answers at the end contradict them; None where there are none."""
        return self.contradicting_traces / self.traces if self.traces else None

    @property
    def complete(self) -> bool:
        """Whether every trial has an answer."""
        return not self.count("error") and not self.missing_trials

    def to_json(self) -> JsonObject:
        """Return the row as ``run.json`` keeps it."""
        row = asdict(self)
        for name in ("stopping", "unread", "reasoning_tags"):
            part = getattr(self, name)
            row[name] = part and part.to_json()
        if not self.traces and not self.replies_without_a_trace:
            del row["traces"], row["contradicting_traces"], row["replies_without_a_trace"]
        if not self.devices:
            del row["devices"]
        return _without(row | {"warnings": list(self.warnings)}, "answers", "stopping", "unread", "reasoning_tags")

    @classmethod
    def from_json(cls, row: Mapping[str, Any], where: str = "") -> ConditionResult:
        """Return the row that a JSON object holds.

        Raises:
            StoreError: it is damaged.
        """
        return _RESULT.read(row, where)


_RESULT = Reader(ConditionResult)


def _without(values: JsonObject, *names: str) -> JsonObject:
    """The values but for those of ``names`` that are None."""
    return {key: value for key, value in values.items() if value is not None or key not in names}
