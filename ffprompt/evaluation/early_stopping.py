"""Draw strings of a condition until a bound on its error rate is shown, or its interval is short enough.

The error rate is the share of reads that are not answered correctly: wrong, invalid, refused and truncated ones alike,
1 - accuracy. It is never smaller than the glitch rate, so that a rate "below" holds for the glitch rate as well, and no
model looks certified because it declines to answer.

Strings count in the order of their index, block by block, and a block only when every string of it has an answer, or
all its answers where prompts are repeated. The reads of all repeats of a string count as reads of that string. Which
strings count is thus settled before any of them is asked. Counting answers as they arrive would favour those that come
quickly, and leave out the ones that fail. The statistics (``stats.sequential``) hold wherever one stops, so they hold
at the ends of blocks. A failed call leaves its block open: the condition stops there, incomplete, until that call has
been made again. What was decided follows from the log alone, so that a run that was interrupted decides the same.

A block is an eighth of what was drawn before, and at least 64 strings::

    0-64, 64-128, … 512-576, 576-648, 648-729, …

so a condition overshoots the string that would have been enough by an eighth at most, or by 63 strings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ffprompt._util.formatting import counted
from ffprompt.config.run_config import RunConfig
from ffprompt.elicitation.condition import Condition
from ffprompt.errors import ConfigError
from ffprompt.evaluation.plan import Plan
from ffprompt.scoring.condition_result import ConditionResult, Stopping
from ffprompt.scoring.score import Outcome
from ffprompt.stats.sequential import Certify, Draws, UntilWidth, fewest_strings, read_cap

# Where runs stop follows from these two: with other values, the runs of today would be scored as incomplete.
_LEAST, _SHARE = 64, 8
LEVEL = 0.95


def stops(config: RunConfig) -> bool:
    """Whether the conditions of a run stop by themselves."""
    return config.certify is not None or config.until_width is not None


@dataclass
class Course:
    """How far one condition is. ``drawn`` strings are counted, the whole blocks. ``look`` ends the block after them.

    ``budget`` is in strings, each of which is asked ``repeats`` times.
    """

    condition: Condition
    budget: int
    state: Certify | UntilWidth
    repeats: int = 1
    drawn: int = 0
    decision: str | None = None  # below, above; reached: the width
    # Strings answered beyond: errors and reads of each repeat.
    _waiting: dict[int, dict[int, tuple[int, int]]] = field(default_factory=dict)
    _missing: int = 0  # strings of the block that lack an answer

    def __post_init__(self) -> None:
        self._missing = self.look

    @classmethod
    def of(cls, plan: Plan, condition: Condition) -> Course:
        """Where a condition begins."""
        config = plan.config
        if config.certify is not None:
            state: Certify | UntilWidth = Certify(config.certify, _draws(plan, condition, config.certify), LEVEL)
        else:
            assert config.until_width is not None
            # A cut that costs little beside a bound costs little of an interval that is a few times as long.
            state = UntilWidth(config.until_width, _draws(plan, condition, config.until_width / 4), LEVEL)
        return cls(condition, plan.string_count, state, plan.repeats)

    @property
    def over(self) -> bool:
        """Whether no more strings are asked."""
        return self.decision is not None or self.drawn == self.budget

    @property
    def look(self) -> int:
        """The strings after which it is looked at next."""
        return self.drawn if self.over else min(self.budget, self.drawn + max(_LEAST, self.drawn // _SHARE))

    def note(self, trial: int, outcomes: Sequence[str]) -> None:
        """Take in the outcomes of a trial of the condition.

        A failed call is no answer, and of several answers to one trial the first counts.
        """
        index, repeat = divmod(trial, self.repeats)
        if self.over or index < self.drawn or Outcome.ERROR in outcomes or repeat in self._waiting.get(index, ()):
            return
        answers = self._waiting.setdefault(index, {})
        answers[repeat] = len(outcomes) - outcomes.count(Outcome.CORRECT), len(outcomes)
        self._missing -= index < self.look and len(answers) == self.repeats
        while not self._missing and not self.over:
            look = self.look
            strings = [self._waiting.pop(known).values() for known in range(self.drawn, look)]
            self._count(np.array([[sum(counts) for counts in zip(*one, strict=True)] for one in strings]), look)
            self._missing = sum(
                len(self._waiting.get(known, ())) < self.repeats for known in range(self.drawn, self.look)
            )

    def _count(self, block: np.typing.NDArray[np.int64], look: int) -> None:
        """Count the strings up to ``look``, (strings, 2) errors and reads, and decide."""
        found = self.state.update(*block.T)
        if isinstance(self.state, Certify):
            self.decision = self.state.decision
        elif isinstance(found, tuple) and found[1] - found[0] <= self.state.width:
            self.decision = "reached"
        self.drawn = look

    def batches(self, size: int) -> Iterator[tuple[Condition, int, int]]:
        """The block that is to be asked, ``size`` trials at a time. Always the same for one ``size``."""
        first, last = self.drawn * self.repeats, self.look * self.repeats
        for start in range(first, last, size):
            yield self.condition, start, min(start + size, last)

    def accuracy(self) -> tuple[float, float]:
        """The interval of the accuracy, which holds wherever one stops."""
        low, high = self.state.draws.limits(self.state.level)
        return 1.0 - high, 1.0 - low

    def record(self) -> Stopping:
        """Return what is shown, as a row of the table and ``run.json`` keep it."""
        draws, state = self.state.draws, self.state
        low, high = draws.limits(2 * state.level - 1 if isinstance(state, Certify) else state.level)
        return Stopping(
            certify=state.bound if isinstance(state, Certify) else None,
            until_width=state.width if isinstance(state, UntilWidth) else None,
            level=state.level,
            decision=self.decision,
            over=self.over,
            strings=self.drawn,
            budget=self.budget,
            reads=draws.reads,
            errors=draws.errors,
            low=low,
            high=high,
        )


def _draws(plan: Plan, condition: Condition, bound: float) -> Draws:
    """Nothing is drawn yet. A string that is asked K times has K times as many reads, and so K times the cap."""
    if condition.elicitation.asks_one_read:
        return Draws(plan.repeats)
    assert condition.spec is not None  # a configuration with strings from a file does not stop by itself
    most, excess = read_cap(condition.spec.instructions, condition.spec.probabilities["read"], bound)
    return Draws(most * plan.repeats, excess * plan.repeats)


def courses(plan: Plan) -> list[Course]:
    """One for each condition, in order. None for a run that asks everything, as a shard does: it cannot know more."""
    if not stops(plan.config) or plan.shard is not None:
        return []
    return [Course.of(plan, condition) for condition in plan.conditions]


def fewest(plan: Plan, condition: Condition) -> int | None:
    """Strings after which a condition stops where no read is answered wrongly. None: not within the budget."""
    course = Course.of(plan, condition)
    while not course.over:
        look = course.look
        reads = plan.strings(condition.spec, course.drawn, look).is_read.sum(1)
        if condition.elicitation.asks_one_read:
            reads = np.ones_like(reads)
        reads = reads * plan.repeats
        course._count(np.stack([np.zeros_like(reads), reads], 1), look)
    return course.drawn if course.decision else None


def check_budget(plan: Plan) -> None:
    """Raises ConfigError where ``trials`` are too few to show what is asked for, even without an error."""
    for condition in plan.conditions if stops(plan.config) else []:
        if fewest(plan, condition) is not None:
            continue
        few = f"--trials {plan.string_count}: too few strings of {condition.name}"
        if plan.config.certify is None:
            raise ConfigError(f"{few} for --until-width {plan.config.until_width:g}, even without an error")
        draws = _draws(plan, condition, plan.config.certify)
        reads = condition.expected_reads or 1.0
        least = fewest_strings(plan.config.certify, reads * plan.repeats, draws.most_reads, draws.excess, LEVEL)
        raise ConfigError(f"{few} for --certify {plan.config.certify:g}, which takes about {least:,} without an error")


def forecast(plan: Plan) -> list[str]:
    """What a dry run says: the fewest strings that each condition can take."""
    if not stops(plan.config):
        return []
    said = [f"a condition stops by itself, after {plan.string_count:,} strings at the latest; without an error:"]
    return said + [f"  {condition.name}: {fewest(plan, condition):,} strings" for condition in plan.conditions]


def describe(found: Stopping) -> str:
    """Return a record in words."""
    seen = f"{counted(found.errors, 'error')} in {counted(found.reads, 'read')}"
    if not found.over:
        return f"not decided after {counted(found.strings, 'string')} ({seen}): the run is not complete"
    decision, low, high = found.decision, f"{found.low:.3g}", f"{found.high:.3g}"
    if found.certify is not None:
        what = f"{decision or 'neither below nor above'} {found.certify:g} shown"
        one_sided = {"below": f", at most {high}, one-sided", "above": f", at least {low}, one-sided"}
        seen += one_sided.get(decision or "", f", {low} to {high}")
    else:
        what = f"{'' if decision else 'not '}known by an interval {found.until_width:g} wide"
        seen += f", {low} to {high}"
    return f"error rate {what} at {100 * found.level:g} % after {counted(found.strings, 'string')} ({seen})"


def verdict(results: Iterable[ConditionResult]) -> int:
    """Return the exit code of a complete table.

    1: a rate is shown to be above its bound. Otherwise 3: something is not shown within the budget. Otherwise 0.
    """
    decisions = [result.stopping.decision for result in results if result.stopping is not None]
    return 1 if "above" in decisions else 3 if None in decisions else 0
