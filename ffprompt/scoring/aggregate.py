"""From the outcomes of a condition's reads to its row of the table."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ffprompt.cost.prices import Bill
from ffprompt.scoring.condition_result import ConditionResult, StringsWithAnError, ZeroErrorBound, ZeroErrorBounds
from ffprompt.scoring.repeats import Repeats
from ffprompt.scoring.response_records import ResponseRecord, ScoresRecord
from ffprompt.scoring.score import NEAR_TIE, Judged, Outcome, margin, mass
from ffprompt.stats.clusters import Clusters
from ffprompt.stats.intervals import rate_interval, strings_with_an_error, zero_error_bounds

_MOST_REASONS = 100  # kinds that are told apart
_KEPT_REASONS = 10  # of these, the commonest, in the record
_OTHER = "another reason"


def alike(reason: str) -> str:
    """The same text for reasons that differ in numbers, names and ids only. The status of HTTP tells them apart.

    >>> alike("HTTP 500: request req_1a is 7 too long"), alike("HTTP 500: request req_2b is 12 too long")
    ('HTTP 500: request # is # too long', 'HTTP 500: request # is # too long')
    """
    return re.sub(r"\breq_\w+|(?<!HTTP )\b(?=[\w-]*\d)[\w-]+", "#", reason)


@dataclass
class Reasons:
    """How many trials had an outcome for which reason. Those that are ``alike`` count as one, told by the first."""

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
    """Counts of one condition, added up trial by trial in any order. A few numbers a string are all that grows.

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
    missing: int = 0  # trials that should have a line and have none
    traces: int = 0  # trials with a trace and answers after it
    contradicting: int = 0  # of these, trials whose answers are not those in the trace
    free: int = 0  # trials without a trace that reason in their own way
    devices: dict[str, list[int]] = field(default_factory=dict)  # by device: reads, and correct reads
    bill: Bill = field(default_factory=Bill)
    repeats: Repeats = field(default_factory=Repeats)
    reasons: dict[Outcome, Reasons] = field(default_factory=dict)  # why trials had an outcome, so far of errors

    def add(self, string: int, judged: Judged, response: ResponseRecord, floor_hits: Mapping[str, int]) -> None:
        """Count one trial of a string. ``floor_hits``: its asked reads at which each rule without memory is right."""
        reads, correct = len(judged.outcomes), judged.outcomes.count(Outcome.CORRECT)
        self.outcomes[Outcome.CORRECT] += correct
        if correct < reads:
            for outcome in judged.outcomes:
                self.outcomes[outcome] += outcome is not Outcome.CORRECT
        failed = judged.outcomes[0] is Outcome.ERROR
        self.repeats.add(string, None if failed else judged.answers, correct == reads)
        if failed:
            self.reasons.setdefault(Outcome.ERROR, Reasons()).add(judged.reason or "no reason")
            return
        self.free += judged.is_free
        if judged.contradicts is not None:
            self.traces += 1
            self.contradicting += judged.contradicts
        for call in response.calls:
            self.bill.add(call.usage, call.call is not None)
        if device := " and ".join(sorted({call.device for call in response.calls if call.device is not None})):
            known = self.devices.setdefault(device, [0, 0])
            known[0] += reads
            known[1] += correct
        for counts in (self.string_reads, self.string_misses):
            counts.extend([0] * (string + 1 - len(counts)))
        self.string_reads[string] += reads
        self.string_misses[string] += reads - correct
        if isinstance(response, ScoresRecord):
            self._add_scores(response)
        for name, hits in floor_hits.items():
            self.floors[name] = self.floors.get(name, 0) + hits

    def _add_scores(self, scores: ScoresRecord) -> None:
        for read in scores.known:
            exact = [value for value in read if value is not None]
            if len(exact) == len(read):
                self.mass += mass(exact)
                self.weighed += 1
                self.near_ties += margin(exact) < NEAR_TIE

    @property
    def reads(self) -> int:
        """Reads that were asked, errors included."""
        return sum(self.outcomes.values())

    def result(self) -> ConditionResult:
        """Return the numbers of the condition, which the caller gives its name and settings.

        ``interval_low`` … ``warnings`` are those of the accuracy, :func:`.stats.intervals.rate_interval`: a read is
        the unit, and a string with all its repeats is the cluster.
        """
        scored = self.reads - self.outcomes[Outcome.ERROR]
        right, wrong = self.outcomes[Outcome.CORRECT], self.outcomes[Outcome.WRONG]
        strings = Clusters(np.array(self.string_misses, np.int64), np.array(self.string_reads, np.int64))
        floor = max(self.floors, key=lambda name: self.floors[name]) if self.floors else None
        misses = rate_interval(strings)
        interval = misses and misses.complement()
        return ConditionResult(
            reads=self.reads,
            strings=len(strings),
            accuracy=right / scored if scored else None,
            interval_low=interval.low if interval else None,
            interval_high=interval.high if interval else None,
            interval_level=interval.level if interval else None,
            interval_method=interval.method if interval else None,
            n_effective=interval.n_effective if interval else None,
            deff=interval.deff if interval else None,
            # Statistics know of misses alone, and only those with an answer are called wrong.
            warnings=[_named(warning, wrong, strings.n_errors) for warning in interval.warnings] if interval else [],
            strings_with_an_error=_strings_with_an_error(strings),
            zero_error_bounds=_zero_error_bounds(strings),
            glitch_rate=wrong / (right + wrong) if right + wrong else None,
            mean_answer_mass=self.mass / self.weighed if self.weighed else None,
            near_ties=self.near_ties if self.weighed else None,
            perfect_strings=int((strings.errors == 0).sum()),
            floor=self.floors[floor] / scored if floor and scored else None,
            floor_rule=floor,
            floors={name: count / scored for name, count in self.floors.items()} if scored else {},
            outcomes={str(outcome): count for outcome, count in self.outcomes.items()},
            reasons={str(outcome): found.most()[:_KEPT_REASONS] for outcome, found in self.reasons.items()},
            missing_trials=self.missing,
            traces=self.traces,
            contradicting_traces=self.contradicting,
            replies_without_a_trace=self.free,
            devices={name: (reads, right) for name, (reads, right) in sorted(self.devices.items())}
            if len(self.devices) > 1
            else {},
            **self.repeats.row(),
            **self.bill.row(),
        )


def _strings_with_an_error(strings: Clusters) -> StringsWithAnError | None:
    share = strings_with_an_error(strings)
    if share is None:
        return None
    count = int((strings.errors > 0).sum())
    return StringsWithAnError(count=count, share=share.estimate, low=share.low, high=share.high)


def _zero_error_bounds(strings: Clusters) -> ZeroErrorBounds | None:
    """The largest share of reads not answered correctly that all being right leaves possible."""
    bounds = zero_error_bounds(strings)
    if bounds is None:
        return None
    of_strings, of_reads = (
        ZeroErrorBound(high=bound.high, n=bound.n, level=bound.level, needs=bound.needs) for bound in bounds
    )
    return ZeroErrorBounds(strings=of_strings, reads=of_reads)


def _named(warning: str, wrong: int, missed: int) -> str:
    """A warning that calls wrong only what is. Statistics know of misses alone."""
    if wrong == missed:
        return warning
    return warning.replace("every read was wrong", "no read was right" if wrong else "no read has an answer")
